//! Whatever a shape is not.
//!
//! A complement is a union: one condition broken is enough. That some item or some member breaks a rule is a condition
//! of its own, which arrays count and objects owe.

use std::rc::Rc;

use serde_json::Value;

use super::composite::{Arrays, Count, Keys, Literal, Objects, widest};
use super::read::Reader;
use super::shape::{ALWAYS, Demands, NEVER, Numbers, Shape, Strings, only, opposite};
use crate::automata::{Bound, EMPTY, ExprId, NumberRange, Store, UNBOUNDED};
use crate::error::Error;

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
        return vec![Strings { content, within: content, ..any }];
    }
    let mut out = Vec::new();
    if s.lo > 0 {
        out.push(Strings { hi: s.lo - 1, ..any.clone() });
    }
    if s.hi != UNBOUNDED {
        out.push(Strings { lo: s.hi + 1, ..any.clone() });
    }
    if s.content != store.any_text() {
        let without =
            |e: ExprId| if e == store.any_text() { EMPTY } else { store.inter([store.any_text(), store.not(e)]) };
        // Labels of host names meet nothing, so neither does what they aren't.
        out.push(Strings { content: without(s.within), within: without(store.unlabelled(s.content)), ..any });
    }
    out
}

/// Arrays with an item at an index that satisfies a demand.
fn with_item(index: usize, demand: u32) -> Arrays {
    let any: Demands = Rc::new([]);
    let mut prefix: Vec<Demands> = std::iter::repeat_n(any, index).collect();
    prefix.push(only(demand));
    Arrays { prefix, lo: index as u32 + 1, ..Arrays::default() }
}

impl Reader<'_> {
    /// All values that are not of a shape.
    pub(super) fn complement(&mut self, shape: &Shape, pointer: &str) -> Result<Shape, Error> {
        let mut all = Shape { null: !shape.null, yes: !shape.yes, no: !shape.no, ..Shape::any(self.store) };
        for n in &shape.numbers {
            all.numbers = self.meet(&all, &Shape { numbers: numbers(n), ..Shape::default() }, pointer)?.numbers;
        }
        for s in &shape.strings {
            let strings = strings(self.store, s);
            all.strings = self.meet(&all, &Shape { strings, ..Shape::default() }, pointer)?.strings;
        }
        for a in &shape.arrays {
            let arrays = self.broken_arrays(a)?;
            let met = self.meet(&all, &Shape { arrays, ..Shape::default() }, pointer)?.arrays;
            self.work += met.len() * met.len() / 8;
            all.arrays = widest(met, Arrays::includes);
        }
        for o in &shape.objects {
            let objects = self.broken_objects(o)?;
            let met = self.meet(&all, &Shape { objects, ..Shape::default() }, pointer)?.objects;
            self.work += met.len() * met.len() / 8;
            all.objects = widest(met, Objects::includes);
        }
        Ok(all)
    }

    fn broken_arrays(&mut self, a: &Arrays) -> Result<Vec<Arrays>, Error> {
        let at_least = |lo: u32| Arrays { lo, ..Arrays::default() };
        let at_most = |hi: u32| Arrays { hi, ..Arrays::default() };
        let mut out = Vec::new();
        if let Some(value) = &a.exact {
            let Value::Array(items) = &**value else { return Ok(vec![Arrays::default()]) };
            if !self.admits_array(a, value)? {
                return Ok(vec![Arrays::default()]);
            }
            out.extend(items.len().checked_sub(1).map(|n| at_most(n as u32)));
            out.push(at_least(items.len() as u32 + 1));
            for (index, item) in items.iter().enumerate() {
                let this = self.exactly(item);
                out.push(with_item(index, opposite(this)));
            }
            return Ok(out);
        }
        if let Some(pointer) = a.unique.as_ref().filter(|_| a.hi > 1) {
            let what = "the negation of uniqueItems, some two items that are equal, is not supported";
            return Err(Error::unsupported(&**pointer, "uniqueItems", what));
        }
        if a.lo > 0 {
            out.push(at_most(a.lo - 1));
        }
        if a.hi != UNBOUNDED {
            out.push(at_least(a.hi + 1));
        }
        for (index, demands) in a.prefix.iter().enumerate() {
            out.extend(demands.iter().map(|&demand| with_item(index, opposite(demand))));
        }
        let from = a.prefix.len() as u32;
        let some = |what: u32, from: u32, lo: u32, hi: u32| Arrays::default().counting(&Count { what, from, lo, hi });
        out.extend(a.rest.iter().filter_map(|&demand| some(opposite(demand), from, 1, UNBOUNDED)));
        for Count { what, from, lo, hi } in &a.counts {
            out.extend(lo.checked_sub(1).and_then(|hi| some(*what, *from, 0, hi)));
            out.extend((*hi != UNBOUNDED).then(|| some(*what, *from, hi + 1, UNBOUNDED)).flatten());
        }
        Ok(out)
    }

    /// Conditions that one member can break, or the lack of one, are one alternative: which of them is broken is followed
    /// while an object is written, or multiplied out where that is little.
    fn broken_objects(&mut self, o: &Objects) -> Result<Vec<Objects>, Error> {
        let at_least = |lo: u32| Objects { lo, ..Objects::default() };
        let mut out = Vec::new();
        let mut broken = Vec::new();
        if let Some(value) = &o.exact {
            let Value::Object(map) = &**value else { return Ok(vec![Objects::default()]) };
            if !self.admits_object(o, value)? {
                return Ok(vec![Objects::default()]);
            }
            out.push(at_least(map.len() as u32 + 1));
            for (key, item) in map {
                let key: Rc<str> = key.as_str().into();
                let this = self.exactly(item);
                broken.extend([Literal::Lacks(key.clone()), Literal::Has(Keys::Named(key), opposite(this))]);
            }
        } else {
            if o.lo > 0 {
                out.push(Objects { hi: o.lo - 1, ..Objects::default() });
            }
            if o.hi != UNBOUNDED {
                out.push(at_least(o.hi + 1));
            }
            broken.extend(o.required.iter().cloned().map(Literal::Lacks));
            for (keys, demands) in &o.members {
                broken.extend(demands.iter().map(|&demand| Literal::Has(keys.clone(), opposite(demand))));
            }
            out.extend(o.some.iter().map(|(keys, demand)| Literal::Has(keys.clone(), *demand).others()));
            for clause in &o.clauses {
                let all = clause.iter().try_fold(Objects::default(), |all, literal| all.meet(&literal.others()));
                out.extend(all);
            }
            for names in &o.names {
                let content = self.key_within(names)?;
                let others = self.store.inter([self.store.any_text(), self.store.not(content)]);
                broken.push(Literal::Has(Keys::Matching(others), ALWAYS));
            }
        }
        broken.retain(|literal| !matches!(literal, Literal::Has(_, NEVER)));
        match &broken[..] {
            [] => {}
            [one] => out.push(one.objects()),
            _ => out.push(Objects { clauses: vec![broken.into()], ..Objects::default() }),
        }
        Ok(out)
    }
}
