//! From shapes to expressions.
//!
//! Every value position is a slot: the demands that meet there. All slots that can be reached are read first, so that
//! whatever is unsupported is found now; then it is worked out which of them have any value at all, as a least fixed
//! point; then expressions are made, with dead alternatives left out.

use std::rc::Rc;

use hashbrown::{HashMap, HashSet};
use indexmap::{IndexMap, IndexSet};
use serde_json::Value;

use super::options::{JsonOptions, Whitespace};
use super::read::Reader;
use super::shape::{Arrays, Demands, Keys, Numbers, Objects, Shape, Strings};
use crate::automata::{
    ByteSet, Decimal, Declared, EMPTY, EPS, ElementsSpec, ExprId, Layout, MembersSpec, NumberRange, RuleId, Store,
    UNBOUNDED,
};
use crate::error::Error;

/// An object ready to be emitted: its demands by key.
#[derive(Debug)]
struct PlannedObject {
    /// Key, demands, and whether it is required.
    declared: Vec<(Rc<str>, Demands, bool)>,
    /// How many of them the schema names; the others are all the undeclared keys that there can be.
    named: usize,
    /// How many of them are in the schema's order.
    ordered: usize,
    /// Texts of undeclared keys, and what their values have to satisfy.
    undeclared: Vec<(ExprId, Demands)>,
    lo: u32,
    hi: u32,
}

#[derive(Debug)]
struct PlannedArray {
    prefix: Vec<Demands>,
    rest: Demands,
    lo: u32,
    hi: u32,
}

/// Up to so many possible undeclared keys are enumerated.
const FEW_KEYS: usize = 128;

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
    reader: &'r mut Reader<'a>,
    store: &'a Store,
    layout: Layout,
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
        Self { reader, store, layout, slots: IndexMap::new(), rules: HashMap::new(), open: HashMap::new() }
    }

    fn options(&self) -> &'a JsonOptions {
        self.reader.options
    }

    /// The expression of all values that satisfy some demands, [`EMPTY`] if there is none; or the pointers of `oneOf`
    /// whose branches have been taken for exclusive and are not.
    pub(super) fn lower(&mut self, root: &Demands) -> Result<Result<ExprId, HashSet<String>>, Error> {
        self.plan_all(root)?;
        let exclusive = std::mem::take(&mut self.reader.exclusive);
        for (pair, _) in &exclusive {
            self.plan_all(pair)?;
        }
        self.find_alive();
        let overlapping = exclusive.into_iter().filter(|(pair, _)| self.slots[pair].alive).map(|(_, pointer)| pointer);
        let overlapping: HashSet<String> = overlapping.collect();
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
                todo.extend(array.prefix.iter().cloned());
                todo.push(array.rest.clone());
            }
            for object in &slot.objects {
                todo.extend(object.declared.iter().map(|(_, demands, _)| demands.clone()));
                todo.extend(object.undeclared.iter().map(|(_, demands)| demands.clone()));
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
                slot.arrays.push(Self::plan_array(arrays));
            }
        }
        for objects in shape.objects {
            if let Some(value) = objects.exact.clone() {
                if self.reader.admits_object(&objects, &value)? {
                    simple.push(self.exactly(&value)?);
                }
            } else if let Some(planned) = self.plan_object(&objects)? {
                slot.objects.push(planned);
            }
        }
        simple.retain(|&e| e != EMPTY);
        slot.simple = simple;
        Ok(slot)
    }

    fn text(&self, strings: &Strings) -> Result<ExprId, Error> {
        let limits = self.reader.limits;
        if self.store.alive_within(strings.content, limits.max_states).is_none() {
            let what = "whether this combination of string conditions admits anything takes too many states to tell";
            return Err(Error::limit(what));
        }
        Ok(self.store.text(strings.content, strings.lo, strings.hi))
    }

    fn number(&self, numbers: &Numbers) -> Result<ExprId, Error> {
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

    fn plan_array(arrays: Arrays) -> PlannedArray {
        PlannedArray { prefix: arrays.prefix, rest: arrays.rest, lo: arrays.lo, hi: arrays.hi }
    }

    fn plan_object(&mut self, objects: &Objects) -> Result<Option<PlannedObject>, Error> {
        let store = self.store;
        let named = objects.members.iter().filter_map(|(keys, _)| match keys {
            Keys::Named(key) => Some(key),
            _ => None,
        });
        let keys: IndexSet<Rc<str>> = objects.order.iter().chain(&objects.required).chain(named).cloned().collect();
        let mut names = Vec::new();
        for demands in &objects.names {
            names.push(self.reader.key_texts(demands)?);
        }
        let admitted = |key: &str| names.iter().all(|texts| texts.iter().any(|t| t.contains(store, key)));
        let mut declared = Vec::new();
        for key in &keys {
            let required = objects.required.contains(key);
            if admitted(key) {
                declared.push((key.clone(), objects.demands(store, key), required));
            } else if required {
                return Ok(None);
            }
        }
        let named = declared.len();
        let ordered = if self.options().any_order { 0 } else { named };
        let mut undeclared = Vec::new();
        for (content, demands) in self.plan_undeclared(objects, &keys, &names)? {
            // A few possible keys are as good as declared ones, and it is known when they run out.
            match store.few_words(content, FEW_KEYS) {
                Some(words) => {
                    let words = words.into_iter().map(|w| String::from_utf8_lossy(&w).into_owned());
                    declared.extend(words.map(|w| (w.into(), demands.clone(), false)));
                }
                None => undeclared.push((content, demands)),
            }
        }
        if objects.lo > 0 && !undeclared.is_empty() {
            let needed = objects.lo as usize;
            let mut room = 0usize;
            for (content, _) in &undeclared {
                room = room.saturating_add(store.few_words(*content, needed).map_or(usize::MAX, |words| words.len()));
            }
            if room < needed {
                if room.saturating_add(declared.len()) < needed {
                    return Ok(None);
                }
                let what = "minProperties near the number of keys that the patterns of keys admit is not supported";
                return Err(Error::unsupported("", "minProperties", what));
            }
        }
        Ok(Some(PlannedObject { declared, named, ordered, undeclared, lo: objects.lo, hi: objects.hi }))
    }

    /// Undeclared keys, divided by which of the patterns they match.
    fn plan_undeclared(
        &self,
        objects: &Objects,
        keys: &IndexSet<Rc<str>>,
        names: &[Vec<Strings>],
    ) -> Result<Vec<(ExprId, Demands)>, Error> {
        let store = self.store;
        let mut patterns: IndexSet<ExprId> = IndexSet::new();
        for (keys, _) in &objects.members {
            match keys {
                Keys::Matching(pattern) => drop(patterns.insert(*pattern)),
                Keys::Others(_, excluded) => patterns.extend(excluded.iter().copied()),
                Keys::Named(_) => {}
            }
        }
        if patterns.len() > 12 {
            return Err(Error::limit("more than 12 patterns of keys meet in one object"));
        }
        let mut base = vec![store.any_text(), store.except(keys.iter().map(|k| k.as_bytes().into()))];
        for texts in names {
            base.push(store.union(texts.iter().map(|t| match &t.exact {
                Some(text) => store.literal(text.as_bytes()),
                None if t.lo == 0 && t.hi == UNBOUNDED => t.content,
                None => {
                    let any_char = store.char_class(&[('\0', char::MAX)]);
                    store.inter([t.content, store.repeat(any_char, t.lo, t.hi)])
                }
            })));
        }
        let max_states = self.reader.limits.max_states;
        let mut out: Vec<(ExprId, Demands)> = Vec::new();
        for choice in 0u32..1 << patterns.len() {
            let matched: HashSet<ExprId> =
                patterns.iter().enumerate().filter(|(i, _)| choice >> i & 1 == 1).map(|(_, p)| *p).collect();
            let parts = patterns.iter().map(|p| if matched.contains(p) { *p } else { store.not(*p) });
            let content = store.inter(base.iter().copied().chain(parts));
            match store.alive_within(content, max_states) {
                Some(false) => continue,
                Some(true) => {}
                None => return Err(Error::limit("the patterns of keys take too many states to tell apart")),
            }
            let mut demands: Demands = Rc::new([]);
            for (about, more) in &objects.members {
                let concerns = match about {
                    Keys::Named(_) => false,
                    Keys::Matching(pattern) => matched.contains(pattern),
                    Keys::Others(_, excluded) => !excluded.iter().any(|p| matched.contains(p)),
                };
                if concerns {
                    demands = super::shape::both(&demands, more);
                }
            }
            out.push((content, demands));
        }
        Ok(out)
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
                    || slot.arrays.iter().any(|a| self.array_alive(a))
                    || slot.objects.iter().any(|o| self.object_alive(o));
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

    fn array_alive(&self, array: &PlannedArray) -> bool {
        let listed = array.prefix.iter().take(array.lo as usize).all(|d| self.is_alive(d));
        listed && (array.lo as usize <= array.prefix.len() || self.is_alive(&array.rest))
    }

    fn object_alive(&self, object: &PlannedObject) -> bool {
        let required = object.declared.iter().filter(|(_, _, required)| *required);
        let possible = object.declared.iter().filter(|(_, d, _)| self.is_alive(d)).count() as u32;
        let free = object.undeclared.iter().any(|(_, d)| self.is_alive(d));
        required.clone().all(|(_, d, _)| self.is_alive(d))
            && required.count() as u32 <= object.hi
            && (free || possible >= object.lo)
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
        if !self.array_alive(array) {
            return EMPTY;
        }
        let dead = array.prefix.iter().position(|d| !self.is_alive(d));
        let listed = dead.unwrap_or(array.prefix.len());
        let prefix = array.prefix[..listed].iter().map(|d| self.rule(d)).collect();
        let rest = (dead.is_none() && self.is_alive(&array.rest)).then(|| self.rule(&array.rest));
        self.store.array(ElementsSpec { prefix, rest, layout: self.layout }, array.lo, array.hi)
    }

    fn object(&mut self, object: &PlannedObject) -> ExprId {
        if !self.object_alive(object) {
            return EMPTY;
        }
        let mut declared = Vec::new();
        let mut ordered = 0;
        for (i, (key, demands, required)) in object.declared.iter().enumerate() {
            if self.is_alive(demands) {
                let value = self.rule(demands);
                let spellings = (i >= object.named).then(|| {
                    let literal = self.store.literal(key.as_bytes());
                    self.store.text(literal, 0, UNBOUNDED)
                });
                declared.push(Declared { key: spelled(key), spellings, value, required: *required });
                ordered += u32::from(i < object.ordered);
            }
        }
        let mut undeclared = Vec::new();
        for (content, demands) in &object.undeclared {
            if self.is_alive(demands) {
                let key = self.store.text(*content, 0, UNBOUNDED);
                undeclared.push((key, self.rule(demands)));
            }
        }
        let spec =
            MembersSpec { declared: declared.into(), ordered, undeclared: undeclared.into(), layout: self.layout };
        self.store.object(spec, object.lo, object.hi)
    }

    /// One value, as `enum` and `const` give it.
    fn exactly(&self, value: &Value) -> Result<ExprId, Error> {
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
                    });
                }
                let n = declared.len() as u32;
                let spec = MembersSpec {
                    declared: declared.into(),
                    ordered: if self.options().any_order { 0 } else { n },
                    undeclared: Box::default(),
                    layout: self.layout,
                };
                store.object(spec, n, n)
            }
        })
    }
}
