//! From shapes to expressions.
//!
//! Every value position is a slot: the demands that meet there. All slots that can be reached are read first, so that
//! whatever is unsupported is found now; then it is worked out which of them have any value at all, as a least fixed
//! point; then expressions are made, with dead alternatives left out.

use std::cell::OnceCell;

use super::IndexMap;
use hashbrown::HashMap;
use serde_json::Value;

use super::branches::{Branches, Overlapping, Types};
use super::options::{JsonOptions, MAX_INDENTED, Whitespace};
use super::plan::{PlannedArray, PlannedObject};
use super::read::Reader;
use super::shape::{Demands, Shape};
use crate::automata::{
    ByteSet, Choices, CountedSpec, Decimal, Declared, EMPTY, EPS, ElementsSpec, ExprId, Fulfilment, Layout,
    MembersSpec, RuleId, Store, UNBOUNDED, Undeclared,
};
use crate::error::Error;

/// Where a slot is: its demands, and how many arrays and objects are around it, if it matters.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Place {
    pub(super) demands: Demands,
    depth: u32,
}

impl Place {
    fn outermost(demands: &Demands) -> Self {
        Self { demands: demands.clone(), depth: 0 }
    }
}

/// A value position.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Alternatives that need no further slot, and of which types they are.
    simple: Vec<ExprId>,
    types: Types,
    pub(super) arrays: Vec<PlannedArray>,
    objects: Vec<PlannedObject>,
    pub(super) alive: bool,
}

pub(super) struct Emitter<'r, 'a> {
    pub(super) reader: &'r mut Reader<'a>,
    pub(super) store: &'a Store,
    /// The whitespace of arrays and objects by what is around them; that of the outermost is that of all, unless they are
    /// indented.
    layouts: [OnceCell<Layout>; MAX_INDENTED as usize],
    /// The depth of the slot that is being looked at.
    pub(super) depth: u32,
    pub(super) slots: IndexMap<Place, Slot>,
    rules: HashMap<Place, RuleId>,
    /// Slots being emitted, and the rules of those that were reached again meanwhile.
    open: HashMap<Place, Option<RuleId>>,
}

/// A key or string in its one spelling: only quotes, backslashes and control characters escaped, as short as can be.
pub(super) fn spelled(text: &str) -> Box<[u8]> {
    let mut out = Vec::with_capacity(text.len() + 2);
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend(b"\\\""),
            '\\' => out.extend(b"\\\\"),
            '\n' => out.extend(b"\\n"),
            '\r' => out.extend(b"\\r"),
            '\t' => out.extend(b"\\t"),
            '\u{8}' => out.extend(b"\\b"),
            '\u{c}' => out.extend(b"\\f"),
            c if u32::from(c) < 0x20 => out.extend(format!("\\u{:04x}", u32::from(c)).bytes()),
            c => out.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    out.push(b'"');
    out.into()
}

/// The whitespace of an array or object that has so many others around it.
fn layout(store: &Store, whitespace: &Whitespace, depth: u32) -> Layout {
    let everywhere = |space: ExprId| Layout {
        empty: space,
        open: space,
        close: space,
        before_comma: space,
        after_comma: space,
        before_colon: space,
        after_colon: space,
    };
    let bytes = |set: &[u8]| store.byte_set(ByteSet::of(set));
    let around = |text: &str, mark: char| {
        let (before, after) = text.split_once(mark).unwrap_or((text, ""));
        (store.literal(before.as_bytes()), store.literal(after.as_bytes()))
    };
    match whitespace {
        Whitespace::Compact => everywhere(EPS),
        Whitespace::Free => everywhere(store.call_of(store.repeat(bytes(b" \t\r\n"), 0, UNBOUNDED))),
        Whitespace::AtMost(most) => everywhere(store.call_of(store.repeat(bytes(b" \t\r\n"), 0, *most))),
        Whitespace::Bounded(most) => {
            let indent = store.concat(store.byte(b'\n'), store.repeat(bytes(b" \t"), 0, *most));
            everywhere(store.call_of(store.union([store.repeat(store.byte(b' '), 0, 2), indent])))
        }
        Whitespace::Separators { item, key } => {
            let ((before_comma, after_comma), (before_colon, after_colon)) = (around(item, ','), around(key, ':'));
            Layout { before_comma, after_comma, before_colon, after_colon, ..everywhere(EPS) }
        }
        Whitespace::Indented { indent, item, key } => {
            let line = |depth: u32| store.literal(format!("\n{}", indent.repeat(depth as usize)).as_bytes());
            let ((before_comma, after_comma), (before_colon, after_colon)) = (around(item, ','), around(key, ':'));
            let open = line(depth + 1);
            let after_comma = store.concat(after_comma, open);
            Layout { empty: EPS, open, close: line(depth), before_comma, after_comma, before_colon, after_colon }
        }
    }
}

impl<'r, 'a> Emitter<'r, 'a> {
    pub(super) fn new(reader: &'r mut Reader<'a>) -> Self {
        let store = reader.store;
        let layouts = std::array::from_fn(|_| OnceCell::new());
        let (slots, rules, open) = (IndexMap::default(), HashMap::new(), HashMap::new());
        Self { reader, store, layouts, depth: 0, slots, rules, open }
    }

    /// The whitespace of the array or object that is being looked at.
    pub(super) fn layout(&self) -> Layout {
        self.layout_at(self.depth)
    }

    fn layout_at(&self, depth: u32) -> Layout {
        let new = || layout(self.store, &self.options().whitespace, depth);
        self.layouts.get(depth as usize).map_or_else(new, |known| *known.get_or_init(new))
    }

    fn is_indented(&self) -> bool {
        matches!(self.options().whitespace, Whitespace::Indented { .. })
    }

    /// The depth of the values inside of one.
    pub(super) fn depth_inside(&self, depth: u32) -> u32 {
        if self.is_indented() { depth + 1 } else { 0 }
    }

    /// Where a value inside of the slot is that is being looked at.
    fn inside(&self, demands: &Demands) -> Place {
        Place { demands: demands.clone(), depth: self.depth_inside(self.depth) }
    }

    fn options(&self) -> &'a JsonOptions {
        self.reader.options
    }

    /// The expression of all values that satisfy some demands, [`EMPTY`] if there is none; or those of `oneOf`
    /// that have been taken for exclusive and are not.
    pub(super) fn lower(&mut self, root: &Demands) -> Result<Result<ExprId, Overlapping>, Error> {
        self.plan_all(root)?;
        Ok(self.settle()?.map(|()| self.value_outermost(root).unwrap_or(EMPTY)))
    }

    /// Finds out which of the slots that are planned have values; the error as of [`Emitter::lower`].
    pub(super) fn settle(&mut self) -> Result<Result<(), Overlapping>, Error> {
        let exclusive = std::mem::take(&mut self.reader.exclusive);
        for (pair, _) in &exclusive {
            self.plan_all(pair)?;
        }
        self.find_alive();
        while self.bound_unique()? {
            self.slots.values_mut().for_each(|slot| slot.alive = false);
            self.find_alive();
        }
        let new = |(pair, branches): (Demands, Branches)| {
            let known = self.reader.overlapping.get(&branches).copied().unwrap_or_default();
            (branches, self.types_of(&pair).without(known))
        };
        let overlapping: Overlapping = exclusive.into_iter().map(new).filter(|(_, types)| !types.is_none()).collect();
        Ok(if overlapping.is_empty() { Ok(()) } else { Err(overlapping) })
    }

    /// The types of the values that satisfy demands that are planned.
    fn types_of(&self, demands: &Demands) -> Types {
        let slot = &self.slots[&Place::outermost(demands)];
        let is_alive = |d: &Demands| self.is_alive_at(&Place { demands: d.clone(), depth: self.depth_inside(0) });
        Types {
            arrays: slot.types.arrays || slot.arrays.iter().any(|a| a.alive(&is_alive)),
            objects: slot.types.objects || slot.objects.iter().any(|o| o.alive(&is_alive)),
            ..slot.types
        }
    }

    /// The expression of the values that satisfy demands that are planned, with no array or object around them.
    pub(super) fn value_outermost(&mut self, demands: &Demands) -> Option<ExprId> {
        let place = Place::outermost(demands);
        if !self.is_alive_at(&place) {
            return None;
        }
        let rule = self.rule_at(place);
        Some(self.store.body(rule))
    }

    // ---- planning --------------------------------------------------------------------------------------------

    pub(super) fn plan_all(&mut self, root: &Demands) -> Result<(), Error> {
        let mut todo = vec![Place::outermost(root)];
        while let Some(place) = todo.pop() {
            if self.slots.contains_key(&place) {
                continue;
            }
            if let Some(rule) = self.shared_name(&place).and_then(|name| self.store.named_rule(&name)) {
                let types = Types { scalars: true, arrays: true, objects: true };
                self.slots.insert(place, Slot { simple: vec![self.store.call(rule)], types, ..Slot::default() });
                continue;
            }
            let shape = self.reader.shape_of(&place.demands)?;
            self.depth = place.depth;
            let slot = self.plan(&shape)?;
            for array in &slot.arrays {
                todo.extend(array.demands().map(|demands| self.inside(demands)));
            }
            for object in &slot.objects {
                todo.extend(object.demands().map(|demands| self.inside(demands)));
            }
            self.slots.insert(place, slot);
            if self.slots.len() > self.reader.limits.max_nodes / 8 {
                return Err(Error::limit("the schema has too many combinations of subschemas"));
            }
        }
        Ok(())
    }

    fn plan(&mut self, shape: &Shape) -> Result<Slot, Error> {
        let store = self.store;
        let mut simple = Vec::new();
        let mut literals: Vec<(Box<[u8]>, ExprId)> = Vec::new();
        let mut word = |there: bool, text: &str| {
            if there {
                literals.push((text.as_bytes().into(), EPS));
            }
        };
        word(shape.null, "null");
        word(shape.yes, "true");
        word(shape.no, "false");
        for strings in &shape.strings {
            match &strings.exact {
                Some(text) => literals.push((spelled(text), EPS)),
                None => simple.push(self.reader.text(strings)?),
            }
        }
        for numbers in &shape.numbers {
            simple.push(self.reader.number(numbers)?);
        }
        simple.push(store.switch(literals));
        let mut slot = Slot::default();
        slot.types.scalars = simple.iter().any(|&e| e != EMPTY);
        // Deeper values than that aren't written.
        let written = !self.is_indented() || self.depth < MAX_INDENTED;
        for arrays in shape.arrays.iter().filter(|_| written) {
            if let Some(value) = arrays.exact.clone() {
                if self.reader.admits_array(arrays, &value)? {
                    simple.push(self.exactly(&value, self.depth)?);
                    slot.types.arrays = true;
                }
            } else {
                let unique = arrays.unique.is_some() && arrays.hi > 1;
                if let Some(array) = if unique { self.distinct(arrays)? } else { None } {
                    simple.push(array);
                    slot.types.arrays |= array != EMPTY;
                } else {
                    let once = if unique { self.once(arrays)? } else { Vec::new() };
                    slot.arrays.push(PlannedArray::with_once(arrays, &once)?);
                }
            }
        }
        for objects in shape.objects.iter().filter(|_| written) {
            if let Some(value) = objects.exact.clone() {
                if self.reader.admits_object(objects, &value)? {
                    simple.push(self.exactly(&value, self.depth)?);
                    slot.types.objects = true;
                }
            } else {
                for objects in self.reader.expanded(objects)? {
                    slot.objects.extend(PlannedObject::new(self.reader, &objects)?);
                }
            }
        }
        simple.retain(|&e| e != EMPTY);
        slot.simple = simple;
        Ok(slot)
    }

    // ---- which slots have values -----------------------------------------------------------------------------

    fn find_alive(&mut self) {
        loop {
            let mut changed = false;
            for at in (0..self.slots.len()).rev() {
                let Some((place, slot)) = self.slots.get_index(at).filter(|(_, slot)| !slot.alive) else { continue };
                let depth = self.depth_inside(place.depth);
                let is_alive = |demands: &Demands| self.is_alive_at(&Place { demands: demands.clone(), depth });
                let alive = !slot.simple.is_empty()
                    || slot.arrays.iter().any(|a| a.alive(&is_alive))
                    || slot.objects.iter().any(|o| o.alive(&is_alive));
                if alive {
                    self.slots[at].alive = true;
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }

    fn is_alive_at(&self, place: &Place) -> bool {
        self.slots.get(place).is_some_and(|slot| slot.alive)
    }

    /// Whether a value inside of the slot that is being looked at has any.
    fn is_alive(&self, demands: &Demands) -> bool {
        self.is_alive_at(&self.inside(demands))
    }

    // ---- emission --------------------------------------------------------------------------------------------

    /// The rule of a value inside of the slot that is being looked at.
    fn rule(&mut self, demands: &Demands) -> RuleId {
        self.rule_at(self.inside(demands))
    }

    /// The rule of a slot that has values. Slots without recursion share their rule with every equal one.
    fn rule_at(&mut self, place: Place) -> RuleId {
        if let Some(&rule) = self.rules.get(&place) {
            return rule;
        }
        if let Some(again) = self.open.get_mut(&place) {
            return *again.get_or_insert_with(|| self.store.declare_rule());
        }
        let shared = self.shared_name(&place);
        if let Some(rule) = shared.as_ref().and_then(|name| self.store.named_rule(name)) {
            self.rules.insert(place, rule);
            return rule;
        }
        self.open.insert(place.clone(), None);
        let around = std::mem::replace(&mut self.depth, place.depth);
        let body = self.body(&place);
        self.depth = around;
        let rule = match self.open.remove(&place).flatten() {
            Some(rule) => {
                self.store.define_rule(rule, body);
                rule
            }
            None => self.store.rule(body),
        };
        if let Some(name) = shared {
            self.store.name_rule(name, rule);
        }
        self.rules.insert(place, rule);
        rule
    }

    /// The name of the rule of any value at all, which is the same recursion in every grammar.
    fn shared_name(&self, place: &Place) -> Option<String> {
        let JsonOptions { whitespace, any_order, .. } = self.options();
        place.demands.is_empty().then(|| format!("json {:?} {}", (whitespace, any_order), place.depth))
    }

    fn body(&mut self, place: &Place) -> ExprId {
        let Some(slot) = self.slots.get_mut(place) else { return EMPTY };
        // Emitted once; whether it is alive is still asked for.
        let alive = slot.alive;
        let slot = std::mem::replace(slot, Slot { alive, ..Slot::default() });
        let mut options = slot.simple.clone();
        for array in &slot.arrays {
            options.push(self.array(array));
        }
        for object in &slot.objects {
            options.push(self.object(object));
        }
        self.store.union(options)
    }

    fn array(&mut self, array: &PlannedArray) -> ExprId {
        if !array.alive(&|d| self.is_alive(d)) {
            return EMPTY;
        }
        let unique = array.unique.is_some();
        if !array.tallies.is_empty() {
            let mut choices = |choices: &[(u16, Demands)]| -> Choices {
                let alive = choices.iter().filter(|(_, d)| self.is_alive(d));
                let alive: Vec<(u16, Demands)> = alive.cloned().collect();
                alive.iter().map(|(kind, d)| (*kind, self.rule(d))).collect()
            };
            let prefix = array.prefix.iter().map(|c| choices(c)).collect();
            let spec = CountedSpec { prefix, rest: choices(&array.rest), unique, layout: self.layout() };
            return self.store.counted_array(spec, array.total, &array.tallies);
        }
        let mut rules = Vec::with_capacity(array.prefix.len() + 1);
        for (_, demands) in array.prefix.iter().chain([&array.rest]).flatten() {
            if !self.is_alive(demands) {
                break;
            }
            rules.push(self.rule(demands));
        }
        let rest = if rules.len() > array.prefix.len() { rules.pop() } else { None };
        let spec = ElementsSpec { prefix: rules.into(), rest, unique, layout: self.layout() };
        self.store.array(spec, array.total.lo, array.total.hi)
    }

    fn fulfilments(&mut self, fulfils: &[(u16, Demands)]) -> Box<[Fulfilment]> {
        let mut out = Vec::new();
        for (of, demands) in fulfils {
            if self.is_alive(demands) {
                out.push(Fulfilment { of: *of, value: self.rule(demands) });
            }
        }
        out.into()
    }

    fn object(&mut self, object: &PlannedObject) -> ExprId {
        if !object.alive(&|d| self.is_alive(d)) {
            return EMPTY;
        }
        let mut declared = Vec::new();
        let (mut ordered, mut owed) = (0, object.owed);
        for (i, member) in object.declared.iter().enumerate() {
            if self.is_alive(&member.demands) {
                let value = self.rule(&member.demands);
                let spellings = (i >= object.named).then(|| {
                    let literal = self.store.literal(member.key.as_bytes());
                    self.store.text(literal, 0, UNBOUNDED)
                });
                let fulfils = self.fulfilments(&member.fulfils);
                let key = spelled(&member.key);
                declared.push(Declared {
                    key,
                    spellings,
                    value,
                    required: member.required,
                    fulfils,
                    absent: member.absent,
                });
                ordered += u32::from(i < object.ordered);
            } else {
                owed &= !member.absent;
            }
        }
        let mut undeclared = Vec::new();
        for kind in &object.undeclared {
            if self.is_alive(&kind.demands) {
                let key = self.store.text(kind.content, 0, UNBOUNDED);
                let fulfils = self.fulfilments(&kind.fulfils);
                undeclared.push(Undeclared { key, value: self.rule(&kind.demands), fulfils });
            }
        }
        let spec =
            MembersSpec { declared: declared.into(), ordered, undeclared: undeclared.into(), layout: self.layout() };
        self.store.object(spec, object.lo, object.hi, owed)
    }

    /// One value, as `enum` and `const` give it, with so many arrays and objects around it.
    pub(super) fn exactly(&self, value: &Value, depth: u32) -> Result<ExprId, Error> {
        let store = self.store;
        let layout = self.layout_at(depth);
        let inside = self.depth_inside(depth);
        Ok(match value {
            Value::Null => store.literal(b"null"),
            Value::Bool(b) => store.literal(if *b { b"true" } else { b"false" }),
            Value::String(s) => store.literal(&spelled(s)),
            Value::Number(n) => {
                let value =
                    Decimal::parse(&n.to_string()).ok_or_else(|| Error::limit("a number has too many digits"))?;
                store.exact_number(&value, self.options().integer_fraction)
            }
            Value::Array(items) => {
                let prefix: Vec<RuleId> =
                    items.iter().map(|v| Ok(store.rule(self.exactly(v, inside)?))).collect::<Result<_, Error>>()?;
                let n = items.len() as u32;
                let spec = ElementsSpec { prefix: prefix.into(), rest: None, unique: false, layout };
                store.array(spec, n, n)
            }
            Value::Object(map) => {
                let mut declared = Vec::new();
                for (key, v) in map {
                    declared.push(Declared {
                        key: spelled(key),
                        spellings: None,
                        value: store.rule(self.exactly(v, inside)?),
                        required: true,
                        fulfils: Box::default(),
                        absent: 0,
                    });
                }
                let n = declared.len() as u32;
                let spec = MembersSpec {
                    declared: declared.into(),
                    ordered: if self.options().any_order { 0 } else { n },
                    undeclared: Box::default(),
                    layout,
                };
                store.object(spec, n, n, 0)
            }
        })
    }
}
