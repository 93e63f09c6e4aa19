//! From shapes to expressions.
//!
//! Every value position is a slot: the demands that meet there. All slots that can be reached are read first, so that
//! whatever is unsupported is found now; then it is worked out which of them have any value at all, as a least fixed
//! point; then expressions are made, with dead alternatives left out.

use super::IndexMap;
use hashbrown::{HashMap, HashSet};
use serde_json::Value;

use super::options::{JsonOptions, Whitespace};
use super::plan::{PlannedArray, PlannedObject};
use super::read::{Branches, Reader};
use super::shape::{Demands, Numbers, Shape, Strings};
use crate::automata::{
    ByteSet, Choices, CountedSpec, Decimal, Declared, EMPTY, EPS, ElementsSpec, ExprId, Fulfilment, Layout,
    MembersSpec, NumberRange, RuleId, Store, UNBOUNDED, Undeclared,
};
use crate::error::Error;

/// A value position.
#[derive(Debug, Default)]
struct Slot {
    /// Alternatives that need no further slot.
    simple: Vec<ExprId>,
    arrays: Vec<PlannedArray>,
    objects: Vec<PlannedObject>,
    alive: bool,
}

pub(super) struct Emitter<'r, 'a> {
    pub(super) reader: &'r mut Reader<'a>,
    pub(super) store: &'a Store,
    pub(super) layout: Layout,
    slots: IndexMap<Demands, Slot>,
    rules: HashMap<Demands, RuleId>,
    /// Slots being emitted, and the rules of those that were reached again meanwhile.
    open: HashMap<Demands, Option<RuleId>>,
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

fn layout(store: &Store, whitespace: &Whitespace) -> Layout {
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
    match whitespace {
        Whitespace::Compact => everywhere(EPS),
        Whitespace::Free => everywhere(store.call_of(store.repeat(bytes(b" \t\r\n"), 0, UNBOUNDED))),
        Whitespace::Bounded(most) => {
            let indent = store.concat(store.byte(b'\n'), store.repeat(bytes(b" \t"), 0, *most));
            everywhere(store.call_of(store.union([store.repeat(store.byte(b' '), 0, 2), indent])))
        }
        Whitespace::Separators { item, key } => {
            let after = |text: &str, mark: char| {
                let (before, after) = text.split_once(mark).unwrap_or((text, ""));
                (store.literal(before.as_bytes()), store.literal(after.as_bytes()))
            };
            let ((before_comma, after_comma), (before_colon, after_colon)) = (after(item, ','), after(key, ':'));
            Layout { before_comma, after_comma, before_colon, after_colon, ..everywhere(EPS) }
        }
    }
}

impl<'r, 'a> Emitter<'r, 'a> {
    pub(super) fn new(reader: &'r mut Reader<'a>) -> Self {
        let store = reader.store;
        let layout = layout(store, &reader.options.whitespace);
        Self { reader, store, layout, slots: IndexMap::default(), rules: HashMap::new(), open: HashMap::new() }
    }

    fn options(&self) -> &'a JsonOptions {
        self.reader.options
    }

    /// The expression of all values that satisfy some demands, [`EMPTY`] if there is none; or those of `oneOf`
    /// that have been taken for exclusive and are not.
    pub(super) fn lower(&mut self, root: &Demands) -> Result<Result<ExprId, HashSet<Branches>>, Error> {
        self.plan_all(root)?;
        let exclusive = std::mem::take(&mut self.reader.exclusive);
        for (pair, _) in &exclusive {
            self.plan_all(pair)?;
        }
        self.find_alive();
        let overlapping =
            exclusive.into_iter().filter(|(pair, _)| self.slots[pair].alive).map(|(_, branches)| branches);
        let overlapping: HashSet<Branches> = overlapping.collect();
        if !overlapping.is_empty() {
            return Ok(Err(overlapping));
        }
        if !self.slots[root].alive {
            return Ok(Ok(EMPTY));
        }
        let rule = self.rule(root);
        Ok(Ok(self.store.body(rule)))
    }

    // ---- planning --------------------------------------------------------------------------------------------

    fn plan_all(&mut self, root: &Demands) -> Result<(), Error> {
        let mut todo = vec![root.clone()];
        while let Some(demands) = todo.pop() {
            if self.slots.contains_key(&demands) {
                continue;
            }
            let shape = self.reader.shape_of(&demands)?;
            let slot = self.plan(shape)?;
            for array in &slot.arrays {
                todo.extend(array.demands().cloned());
            }
            for object in &slot.objects {
                todo.extend(object.demands().cloned());
            }
            self.slots.insert(demands, slot);
            if self.slots.len() > self.reader.limits.max_nodes / 8 {
                return Err(Error::limit("the schema has too many combinations of subschemas"));
            }
        }
        Ok(())
    }

    fn plan(&mut self, shape: Shape) -> Result<Slot, Error> {
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
                None => simple.push(self.text(strings)?),
            }
        }
        for numbers in &shape.numbers {
            simple.push(self.number(numbers)?);
        }
        simple.push(store.switch(literals));
        let mut slot = Slot::default();
        for arrays in shape.arrays {
            if let Some(value) = arrays.exact.clone() {
                if self.reader.admits_array(&arrays, &value)? {
                    simple.push(self.exactly(&value)?);
                }
            } else {
                match arrays.unique.clone().filter(|_| arrays.hi > 1) {
                    Some(pointer) => simple.push(self.distinct(&arrays, &pointer)?),
                    None => slot.arrays.push(PlannedArray::new(&arrays)?),
                }
            }
        }
        for objects in shape.objects {
            if let Some(value) = objects.exact.clone() {
                if self.reader.admits_object(&objects, &value)? {
                    simple.push(self.exactly(&value)?);
                }
            } else if let Some(planned) = PlannedObject::new(self.reader, &objects)? {
                slot.objects.push(planned);
            }
        }
        simple.retain(|&e| e != EMPTY);
        slot.simple = simple;
        Ok(slot)
    }

    fn text(&self, strings: &Strings) -> Result<ExprId, Error> {
        let limits = self.reader.limits;
        let Strings { content, lo, hi, .. } = *strings;
        if self.store.feasible_within(content, lo, hi, limits.max_states).is_none() {
            let what = "whether this combination of string conditions admits anything takes too many states to tell";
            return Err(Error::limit(what));
        }
        Ok(self.store.text(content, lo, hi))
    }

    pub(super) fn number(&self, numbers: &Numbers) -> Result<ExprId, Error> {
        let store = self.store;
        let fraction = self.options().integer_fraction;
        if let Some(value) = &numbers.exact {
            return Ok(store.exact_number(value, fraction));
        }
        if !numbers.is_free() {
            let mut range = numbers.range.clone();
            range.integer_fraction = fraction;
            let compiled = |range: &NumberRange| {
                let number = store.number(range);
                number.ok_or_else(|| Error::limit("the multipleOf conditions have too many digits together"))
            };
            let mut parts = vec![compiled(&range)?];
            for excluded in &numbers.excluded {
                parts.push(store.not(compiled(excluded)?));
            }
            let number = store.inter(parts);
            return match store.alive_within(number, self.reader.limits.max_states) {
                Some(alive) => Ok(if alive { number } else { EMPTY }),
                None => Err(Error::limit("whether any number is left takes too many states to tell")),
            };
        }
        let digit = |lo: u8| store.byte_set(ByteSet::range(lo, b'9'));
        let digits = |min| store.repeat(digit(b'0'), min, UNBOUNDED);
        let sign = store.optional(store.byte(b'-'));
        let int = store.union([store.byte(b'0'), store.concat(digit(b'1'), digits(0))]);
        let zeros = store.concat(store.byte(b'.'), store.repeat(store.byte(b'0'), 1, UNBOUNDED));
        let tail = match (numbers.range.integer, fraction) {
            (true, false) => EPS,
            (true, true) => store.optional(zeros),
            (false, _) => {
                let frac = store.optional(store.concat(store.byte(b'.'), digits(1)));
                let e = store.byte_set(ByteSet::of(b"eE"));
                let sign = store.optional(store.byte_set(ByteSet::of(b"+-")));
                store.concat(frac, store.optional(store.sequence(&[e, sign, digits(1)])))
            }
        };
        Ok(store.sequence(&[sign, int, tail]))
    }

    // ---- which slots have values -----------------------------------------------------------------------------

    fn find_alive(&mut self) {
        loop {
            let mut changed = false;
            for at in (0..self.slots.len()).rev() {
                let slot = &self.slots[at];
                if slot.alive {
                    continue;
                }
                let alive = !slot.simple.is_empty()
                    || slot.arrays.iter().any(|a| a.alive(&|d| self.is_alive(d)))
                    || slot.objects.iter().any(|o| o.alive(&|d| self.is_alive(d)));
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

    fn is_alive(&self, demands: &Demands) -> bool {
        self.slots.get(demands).is_some_and(|slot| slot.alive)
    }

    // ---- emission --------------------------------------------------------------------------------------------

    /// The rule of a slot that has values. Slots without recursion share their rule with every equal one.
    fn rule(&mut self, demands: &Demands) -> RuleId {
        if let Some(&rule) = self.rules.get(demands) {
            return rule;
        }
        if let Some(again) = self.open.get_mut(demands) {
            return *again.get_or_insert_with(|| self.store.declare_rule());
        }
        // Any value at all is the same recursion in every grammar.
        let shared = demands.is_empty().then(|| format!("json {:?}", self.options_that_matter()));
        if let Some(rule) = shared.as_ref().and_then(|name| self.store.named_rule(name)) {
            self.rules.insert(demands.clone(), rule);
            return rule;
        }
        self.open.insert(demands.clone(), None);
        let body = self.body(demands);
        let rule = match self.open.remove(demands).flatten() {
            Some(rule) => {
                self.store.define_rule(rule, body);
                rule
            }
            None => self.store.rule(body),
        };
        if let Some(name) = shared {
            self.store.name_rule(name, rule);
        }
        self.rules.insert(demands.clone(), rule);
        rule
    }

    fn options_that_matter(&self) -> (&Whitespace, bool) {
        (&self.options().whitespace, self.options().any_order)
    }

    fn body(&mut self, demands: &Demands) -> ExprId {
        let Some(slot) = self.slots.get_mut(demands) else { return EMPTY };
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
        if !array.tallies.is_empty() {
            let mut choices = |choices: &[(u16, Demands)]| -> Choices {
                let alive = choices.iter().filter(|(_, d)| self.slots.get(d).is_some_and(|slot| slot.alive));
                let alive: Vec<(u16, Demands)> = alive.cloned().collect();
                alive.iter().map(|(kind, d)| (*kind, self.rule(d))).collect()
            };
            let prefix = array.prefix.iter().map(|c| choices(c)).collect();
            let spec = CountedSpec { prefix, rest: choices(&array.rest), layout: self.layout };
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
        let spec = ElementsSpec { prefix: rules.into(), rest, layout: self.layout };
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
        let mut ordered = 0;
        for (i, member) in object.declared.iter().enumerate() {
            if self.is_alive(&member.demands) {
                let value = self.rule(&member.demands);
                let spellings = (i >= object.named).then(|| {
                    let literal = self.store.literal(member.key.as_bytes());
                    self.store.text(literal, 0, UNBOUNDED)
                });
                let fulfils = self.fulfilments(&member.fulfils);
                let key = spelled(&member.key);
                declared.push(Declared { key, spellings, value, required: member.required, fulfils });
                ordered += u32::from(i < object.ordered);
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
            MembersSpec { declared: declared.into(), ordered, undeclared: undeclared.into(), layout: self.layout };
        self.store.object(spec, object.lo, object.hi, object.obligations)
    }

    /// One value, as `enum` and `const` give it.
    pub(super) fn exactly(&self, value: &Value) -> Result<ExprId, Error> {
        let store = self.store;
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
                    items.iter().map(|v| Ok(store.rule(self.exactly(v)?))).collect::<Result<_, Error>>()?;
                let n = items.len() as u32;
                store.array(ElementsSpec { prefix: prefix.into(), rest: None, layout: self.layout }, n, n)
            }
            Value::Object(map) => {
                let mut declared = Vec::new();
                for (key, v) in map {
                    declared.push(Declared {
                        key: spelled(key),
                        spellings: None,
                        value: store.rule(self.exactly(v)?),
                        required: true,
                        fulfils: Box::default(),
                    });
                }
                let n = declared.len() as u32;
                let spec = MembersSpec {
                    declared: declared.into(),
                    ordered: if self.options().any_order { 0 } else { n },
                    undeclared: Box::default(),
                    layout: self.layout,
                };
                store.object(spec, n, n, 0)
            }
        })
    }
}
