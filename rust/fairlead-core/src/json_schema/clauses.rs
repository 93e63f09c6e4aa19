//! Objects of which one of several conditions holds, as what a schema excludes leaves them.
//!
//! What isn't excluded is a union, and the unions of several branches of a `oneOf` multiply. So they are kept as clauses, of
//! which each needs one literal: most literals are decided by what else is said of an object, what is left is multiplied
//! out where that is little, and is owed by the members otherwise.

use std::rc::Rc;

use super::composite::{Keys, Literal, Objects, widest};
use super::read::Reader;
use super::shape::{ALWAYS, Demands, NEVER, both, only, opposite};
use crate::automata::UNBOUNDED;
use crate::error::Error;

/// So many alternatives are better than clauses, and so many are possible where the members are counted too.
const FEW: usize = 16;
const MANY: usize = 512;

/// What is known of a literal beside the other conditions.
enum Known {
    Holds,
    /// One of these; none: it doesn't hold.
    Open(Vec<Literal>),
}

impl Reader<'_> {
    /// The same objects, without clauses where these can be decided or multiplied out.
    pub(super) fn expanded(&mut self, objects: &Objects) -> Result<Vec<Objects>, Error> {
        if objects.clauses.is_empty() {
            return Ok(vec![objects.clone()]);
        }
        let Some(objects) = self.simplified(objects)? else { return Ok(Vec::new()) };
        // A member that isn't there may fulfil something and be missed by the count.
        let lacks = |clause: &Rc<[Literal]>| clause.iter().any(|literal| matches!(literal, Literal::Lacks(_)));
        let counted = objects.lo as usize > objects.required.len() || objects.hi != UNBOUNDED;
        let counted = counted && objects.clauses.iter().any(lacks);
        let mut all = vec![Objects { clauses: Vec::new(), ..objects.clone() }];
        for clause in &objects.clauses {
            let each = all.iter().flat_map(|one| clause.iter().filter_map(|literal| one.meet(&literal.objects())));
            all = widest(each.collect(), Objects::includes);
            if all.len() > FEW && !counted {
                return Ok(vec![objects]);
            }
            if all.len() > MANY {
                let what = "too many conditions of which one must hold meet a bound on the number of members";
                return Err(Error::limit(what));
            }
        }
        Ok(all)
    }

    /// The objects with what can be decided of their clauses; `None` if there are none.
    fn simplified(&mut self, objects: &Objects) -> Result<Option<Objects>, Error> {
        let mut objects = objects.clone();
        loop {
            let mut kept: Vec<Rc<[Literal]>> = Vec::new();
            let mut certain = None;
            for clause in std::mem::take(&mut objects.clauses) {
                match self.decide(&objects, &clause)? {
                    Known::Holds => {}
                    Known::Open(literals) => match &literals[..] {
                        [] => return Ok(None),
                        [one] if certain.is_none() => certain = Some(one.objects()),
                        _ => kept.push(literals.into()),
                    },
                }
            }
            objects.clauses = kept;
            // What is certain now may decide others.
            let Some(certain) = certain else { return Ok(Some(objects)) };
            match objects.meet(&certain) {
                Some(met) => objects = met,
                None => return Ok(None),
            }
        }
    }

    fn decide(&mut self, objects: &Objects, clause: &[Literal]) -> Result<Known, Error> {
        let mut open: Vec<Literal> = Vec::new();
        for literal in clause {
            match self.known(objects, literal)? {
                Known::Holds => return Ok(Known::Holds),
                Known::Open(literals) => literals.into_iter().for_each(|literal| {
                    if !open.contains(&literal) {
                        open.push(literal);
                    }
                }),
            }
        }
        // A member is there or not.
        let is_there = |key: &Rc<str>| open.contains(&Literal::Has(Keys::Named(key.clone()), ALWAYS));
        let always = open.iter().any(|literal| matches!(literal, Literal::Lacks(key) if is_there(key)));
        Ok(if always { Known::Holds } else { Known::Open(open) })
    }

    fn known(&mut self, objects: &Objects, literal: &Literal) -> Result<Known, Error> {
        Ok(match literal {
            Literal::Lacks(key) if objects.required.contains(key) => Known::Open(Vec::new()),
            Literal::Lacks(key) => {
                let value = objects.demands(self.store, key);
                if self.is_empty(&value)? { Known::Holds } else { Known::Open(vec![literal.clone()]) }
            }
            Literal::Has(Keys::Named(key), demand) => self.known_member(objects, key, *demand)?,
            Literal::Has(keys, demand) => {
                if let Some(names) = objects.all_keys(keys) {
                    let mut open = Vec::new();
                    for key in names {
                        match self.known_member(objects, &key, *demand)? {
                            Known::Holds => return Ok(Known::Holds),
                            Known::Open(literals) => open.extend(literals),
                        }
                    }
                    return Ok(Known::Open(open));
                }
                let there = *demand == ALWAYS && objects.required.iter().any(|key| keys.has(self.store, key));
                if there { Known::Holds } else { Known::Open(vec![literal.clone()]) }
            }
        })
    }

    fn known_member(&mut self, objects: &Objects, key: &Rc<str>, demand: u32) -> Result<Known, Error> {
        let value = objects.demands(self.store, key);
        if demand == NEVER || self.is_empty(&both(&value, &only(demand)))? {
            return Ok(Known::Open(Vec::new()));
        }
        let always = demand == ALWAYS || self.is_empty(&both(&value, &only(opposite(demand))))?;
        Ok(match always {
            true if objects.required.contains(key) => Known::Holds,
            true => Known::Open(vec![Literal::Has(Keys::Named(key.clone()), ALWAYS)]),
            false => Known::Open(vec![Literal::Has(Keys::Named(key.clone()), demand)]),
        })
    }

    /// Whether no value satisfies some demands, as far as the conditions themselves tell.
    pub(super) fn is_empty(&mut self, demands: &Demands) -> Result<bool, Error> {
        if demands.is_empty() {
            return Ok(false);
        }
        let shape = self.shape_of(demands)?;
        Ok(shape.alternatives() == 0 && !shape.null && !shape.yes && !shape.no)
    }
}

impl Objects {
    /// The keys among some that members can have, where no others than these can be there.
    fn all_keys(&self, among: &Keys) -> Option<Vec<Rc<str>>> {
        let Keys::Others(excluded, patterns) = among else { return None };
        if !patterns.is_empty() {
            return None;
        }
        self.members.iter().find_map(|(keys, demands)| match keys {
            Keys::Others(names, patterns) if patterns.is_empty() && demands.contains(&NEVER) => {
                Some(names.iter().filter(|name| !excluded.contains(*name)).cloned().collect())
            }
            _ => None,
        })
    }
}
