//! Whatever a shape is not, as far as no member or item has to be searched for.
//!
//! A complement is a union: one condition broken is enough. "Some item breaks the rule" or "some undeclared member
//! does" would need a condition of its own in arrays and objects; such complements are refused.

use std::rc::Rc;

use serde_json::Value;

use super::shape::{Arrays, Demands, Keys, NEVER, Numbers, Objects, Shape, Strings, opposite};
use crate::automata::{Bound, NumberRange, Store, UNBOUNDED};

/// What a refused complement would have needed.
pub(super) type Refused = &'static str;

/// Positions up to which "some item" is spelled out as "this one or that one".
const FEW_ITEMS: u32 = 16;

fn numbers(n: &Numbers) -> Vec<Numbers> {
    let part = |range: NumberRange| Numbers { range, ..Numbers::default() };
    let flipped = |bound: &Bound| Some(Bound { value: bound.value.clone(), closed: !bound.closed });
    if let Some(value) = &n.exact {
        let open = Some(Bound { value: value.clone(), closed: false });
        return vec![
            part(NumberRange { hi: open.clone(), ..NumberRange::default() }),
            part(NumberRange { lo: open, ..NumberRange::default() }),
        ];
    }
    let mut out = Vec::new();
    if let Some(lo) = &n.range.lo {
        out.push(part(NumberRange { hi: flipped(lo), ..NumberRange::default() }));
    }
    if let Some(hi) = &n.range.hi {
        out.push(part(NumberRange { lo: flipped(hi), ..NumberRange::default() }));
    }
    if n.range.integer || n.range.multiple_of.is_some() {
        let all = NumberRange { lo: None, hi: None, integer_fraction: true, ..n.range.clone() };
        out.push(Numbers { excluded: vec![all], ..Numbers::default() });
    }
    out.extend(n.excluded.iter().map(|range| part(range.clone())));
    out
}

fn strings(store: &Store, s: &Strings) -> Vec<Strings> {
    let any = Strings::any(store);
    if let Some(text) = &s.exact {
        let content = store.inter([store.any_text(), store.except([text.as_bytes().into()])]);
        return vec![Strings { content, ..any }];
    }
    let mut out = Vec::new();
    if s.lo > 0 {
        out.push(Strings { hi: s.lo - 1, ..any.clone() });
    }
    if s.hi != UNBOUNDED {
        out.push(Strings { lo: s.hi + 1, ..any.clone() });
    }
    if s.content != store.any_text() {
        let content = store.inter([store.any_text(), store.not(s.content)]);
        out.push(Strings { content, ..any });
    }
    out
}

fn arrays(a: &Arrays) -> Result<Vec<Arrays>, Refused> {
    let at_least = |lo: u32| Arrays { lo, ..Arrays::default() };
    if let Some(value) = &a.exact {
        let empty = matches!(&**value, Value::Array(items) if items.is_empty());
        return if empty { Ok(vec![at_least(1)]) } else { Err("all arrays but one that is not empty") };
    }
    let mut out = Vec::new();
    if a.lo > 0 {
        out.push(Arrays { hi: a.lo - 1, ..Arrays::default() });
    }
    if a.hi != UNBOUNDED {
        out.push(at_least(a.hi + 1));
    }
    let mut breaks = |index: usize, demands: &Demands| {
        for &demand in demands.iter() {
            let any: Demands = Rc::new([]);
            let mut prefix: Vec<Demands> = std::iter::repeat_n(any, index).collect();
            prefix.push(Rc::new([opposite(demand)]));
            out.push(Arrays { prefix, ..at_least(index as u32 + 1) });
        }
    };
    for (index, demands) in a.prefix.iter().enumerate() {
        breaks(index, demands);
    }
    let listed = a.prefix.len();
    if a.rest.contains(&NEVER) {
        out.push(at_least(listed as u32 + 1));
    } else if !a.rest.is_empty() {
        if a.hi > FEW_ITEMS {
            return Err("some item of an array that breaks a condition");
        }
        for index in listed..a.hi as usize {
            breaks(index, &a.rest);
        }
    }
    Ok(out)
}

fn objects(o: &Objects) -> Result<Vec<Objects>, Refused> {
    if let Some(value) = &o.exact {
        let empty = matches!(&**value, Value::Object(map) if map.is_empty());
        let other = Objects { lo: 1, ..Objects::default() };
        return if empty { Ok(vec![other]) } else { Err("all objects but one that is not empty") };
    }
    let mut out = Vec::new();
    if o.lo > 0 {
        out.push(Objects { hi: o.lo - 1, ..Objects::default() });
    }
    if o.hi != UNBOUNDED {
        out.push(Objects { lo: o.hi + 1, ..Objects::default() });
    }
    out.extend(o.required.iter().map(Objects::without));
    for (keys, demands) in &o.members {
        let Keys::Named(key) = keys else {
            return Err("some undeclared member of an object that breaks a condition");
        };
        for &demand in demands.iter() {
            let mut part = Objects::with(key);
            part.members.push((keys.clone(), Rc::new([opposite(demand)])));
            out.push(part);
        }
    }
    if !o.names.is_empty() {
        return Err("some key of an object that breaks a condition");
    }
    Ok(out)
}

impl Shape {
    /// All values that are not of this shape.
    pub(super) fn complement(&self, store: &Store) -> Result<Self, Refused> {
        let mut all = Self { null: !self.null, yes: !self.yes, no: !self.no, ..Self::any(store) };
        for n in &self.numbers {
            all.numbers = all.meet(store, &Self { numbers: numbers(n), ..Self::default() }).numbers;
        }
        for s in &self.strings {
            all.strings = all.meet(store, &Self { strings: strings(store, s), ..Self::default() }).strings;
        }
        for a in &self.arrays {
            all.arrays = all.meet(store, &Self { arrays: arrays(a)?, ..Self::default() }).arrays;
        }
        for o in &self.objects {
            all.objects = all.meet(store, &Self { objects: objects(o)?, ..Self::default() }).objects;
        }
        Ok(all)
    }
}
