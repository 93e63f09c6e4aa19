//! Dynamic scopes: what `$dynamicRef` and `$recursiveRef` lead to depends on the resources on the way to them.
//!
//! Of a scope matters only which dynamic anchor of each name was the first. So a schema is read once for each such
//! choice, and where no document has dynamic anchors there is one scope only.

use std::rc::Rc;

use hashbrown::HashMap;

use super::document::{Documents, Place};

/// The first dynamic anchor of each name, in the order in which they were met.
type Anchors<'a> = Vec<(Rc<str>, Place<'a>)>;

/// Scopes by number; the first is empty.
#[derive(Debug, Default)]
pub(super) struct Scopes<'a> {
    scopes: Vec<Anchors<'a>>,
    number_of: HashMap<Vec<(Rc<str>, usize)>, u32>,
}

impl<'a> Scopes<'a> {
    fn anchors(&self, scope: u32) -> &[(Rc<str>, Place<'a>)] {
        (scope as usize).checked_sub(1).and_then(|at| self.scopes.get(at)).map_or(&[], |anchors| anchors)
    }

    /// A place, come to from a scope: the anchors of its resource are in scope from now on.
    pub(super) fn enter(&mut self, documents: &Documents<'a>, scope: u32, place: Place<'a>) -> Place<'a> {
        let Some(more) = documents.dynamic.get(&place.base) else { return Place { scope, ..place } };
        let mut anchors = self.anchors(scope).to_vec();
        for (name, at) in more {
            if anchors.iter().all(|(known, _)| known != name) {
                anchors.push((name.clone(), at.clone()));
            }
        }
        anchors.sort_by(|a, b| a.0.cmp(&b.0));
        let key = anchors.iter().map(|(name, at)| (name.clone(), at.key())).collect();
        let scopes = &mut self.scopes;
        let scope = *self.number_of.entry(key).or_insert_with(|| {
            scopes.push(anchors);
            scopes.len() as u32
        });
        Place { scope, ..place }
    }

    /// The target of a dynamic reference: the first anchor of that name in scope, if the reference leads to such an
    /// anchor to begin with.
    pub(super) fn outermost(&self, documents: &Documents<'a>, scope: u32, name: &str, target: Place<'a>) -> Place<'a> {
        let of_target = documents.dynamic.get(&target.base).into_iter().flatten();
        if !of_target.into_iter().any(|(known, at)| **known == *name && at.key() == target.key()) {
            return target;
        }
        let first = self.anchors(scope).iter().find(|(known, _)| **known == *name);
        first.map_or(target, |(_, at)| at.clone())
    }
}
