//! Arguments of tool calls as models write them whose arrays and objects are tags again, each member and each item one.
//!
//! As with [`super::parameters`]: members are those that the schema names, in its order; a text holds no closing tag, and no
//! characters that XML has not. Before each tag, and before that which closes an array or object, whitespace may stand.

use std::rc::Rc;

use hashbrown::{HashMap, HashSet};
use serde_json::Value;

use super::IndexMap;
use super::branches::Overlapping;
use super::document::escaped;
use super::emit::Emitter;
use super::parameters::{is_character, raw_text, refuse_conditions};
use super::plan::{PlannedArray, PlannedObject};
use super::shape::Demands;
use crate::automata::{Decimal, EMPTY, EPS, ExprId, RuleId, Store, UNBOUNDED};
use crate::error::Error;

/// How one family of models writes a value in a tag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NestedStyle {
    /// Before the key of a member, and behind it.
    member: (&'static str, &'static str),
    /// Before an item of an array.
    item: &'static str,
    /// What the closing tag of an item has for a key.
    item_key: &'static str,
    /// Before a text, another scalar, the members of an object, and the items of an array.
    heads: [&'static str; 4],
    /// Behind the value; `{key}` stands for the key.
    close: &'static str,
    /// What no text holds.
    mark: &'static str,
    /// Whether whitespace may stand around scalars that are no texts.
    spaced: bool,
    /// Characters that no key has.
    no_key: &'static str,
}

impl NestedStyle {
    /// The style of a name in structural tags.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "cohere_xml" => Self {
                member: ("<cofl:value name=\"", "\""),
                item: "<cofl:value",
                item_key: "",
                heads: [" type=\"raw\">", " type=\"json\">", " type=\"dict\">", " type=\"list\">"],
                close: "</cofl:value>",
                mark: "</cofl:value>",
                spaced: true,
                no_key: "<>\"&",
            },
            "minimax_m3_xml" => Self {
                member: ("]<]minimax[>[<", ">"),
                item: "]<]minimax[>[<item>",
                item_key: "item",
                heads: [""; 4],
                close: "]<]minimax[>[</{key}>",
                mark: "]<]minimax[>[",
                spaced: false,
                no_key: "<>\"",
            },
            _ => return None,
        })
    }
}

/// A value position: its values type by type, as expressions or planned.
#[derive(Default)]
struct Tagged {
    texts: Vec<ExprId>,
    scalars: Vec<ExprId>,
    arrays: Vec<PlannedArray>,
    objects: Vec<PlannedObject>,
    /// Arrays and objects that are given as a whole.
    exact: Vec<Rc<Value>>,
}

/// All value positions of one schema, and the rules of those that are emitted.
struct Nested<'s> {
    store: &'s Store,
    style: NestedStyle,
    space: ExprId,
    positions: IndexMap<Demands, Rc<Tagged>>,
    /// Those that have values.
    alive: HashSet<Demands>,
    rules: HashMap<(Demands, Rc<str>), RuleId>,
    /// Positions being emitted, and the rules of those that were reached again meanwhile.
    open: HashMap<(Demands, Rc<str>), Option<RuleId>>,
}

impl Emitter<'_, '_> {
    /// The expression of the members of all objects that satisfy some demands, as tags in tags. As [`Emitter::lower`].
    pub(super) fn lower_nested(
        &mut self,
        root: &Demands,
        style: NestedStyle,
    ) -> Result<Result<ExprId, Overlapping>, Error> {
        self.depth = 0;
        let mut nested = Nested {
            store: self.store,
            style,
            space: self.layout().empty,
            positions: IndexMap::default(),
            alive: HashSet::new(),
            rules: HashMap::new(),
            open: HashMap::new(),
        };
        let mut todo = Vec::new();
        let roots = self.plan_arguments(root)?;
        for object in &roots {
            nested.check(object)?;
            todo.extend(object.demands().cloned());
        }
        while let Some(demands) = todo.pop() {
            if !nested.positions.contains_key(&demands) {
                let position = self.plan_tagged(&demands, &nested)?;
                todo.extend(position.arrays.iter().flat_map(PlannedArray::demands).cloned());
                todo.extend(position.objects.iter().flat_map(PlannedObject::demands).cloned());
                nested.positions.insert(demands, Rc::new(position));
            }
            if nested.positions.len() > self.reader.limits.max_nodes / 8 {
                return Err(Error::limit("the schema has too many combinations of subschemas"));
            }
        }
        if let Err(overlapping) = self.settle()? {
            return Ok(Err(overlapping));
        }
        nested.find_alive();
        let roots: Vec<ExprId> = roots.iter().map(|object| nested.members(object)).collect();
        Ok(Ok(self.store.union(roots)))
    }

    fn plan_tagged(&mut self, demands: &Demands, nested: &Nested<'_>) -> Result<Tagged, Error> {
        let store = self.store;
        let shape = self.reader.shape_of(demands)?;
        let mut position = Tagged::default();
        for strings in &shape.strings {
            position.texts.push(match &strings.exact {
                Some(text) => nested.known_text(text),
                None => raw_text(store, strings, nested.style.mark, self.reader.limits)?,
            });
        }
        for (there, word) in [(shape.null, "null"), (shape.yes, "true"), (shape.no, "false")] {
            if there {
                position.scalars.push(store.literal(word.as_bytes()));
            }
        }
        for numbers in &shape.numbers {
            position.scalars.push(self.reader.number(numbers)?);
        }
        for arrays in &shape.arrays {
            if let Some(value) = arrays.exact.clone() {
                if self.reader.admits_array(arrays, &value)? {
                    nested.check_value(&value)?;
                    position.exact.push(value);
                }
                continue;
            }
            let array = PlannedArray::new(arrays)?;
            let refuse = |pointer: &str, keyword: &str, what: &str| {
                let what = format!("{what} can't be held to where arrays are written as tags");
                Err(Error::unsupported(pointer, keyword, what))
            };
            if let Some(pointer) = &array.unique {
                return refuse(pointer, "uniqueItems", "that no two items are equal");
            }
            if !array.tallies.is_empty() {
                return refuse("", "contains", "a number of items that match");
            }
            position.arrays.push(array);
        }
        for objects in &shape.objects {
            if let Some(value) = objects.exact.clone() {
                if self.reader.admits_object(objects, &value)? {
                    nested.check_value(&value)?;
                    position.exact.push(value);
                }
                continue;
            }
            for objects in self.reader.expanded(objects)? {
                if let Some(object) = PlannedObject::new(self.reader, &objects)? {
                    nested.check(&object)?;
                    position.objects.push(object);
                }
            }
        }
        position.texts.retain(|&e| e != EMPTY);
        position.scalars.retain(|&e| e != EMPTY);
        Ok(position)
    }
}

impl Nested<'_> {
    fn literal(&self, text: &str) -> ExprId {
        self.store.literal(&self.store.written(text.as_bytes(), 0).0)
    }

    /// Refuses what can't be written of an object.
    fn check(&self, object: &PlannedObject) -> Result<(), Error> {
        refuse_conditions(object)?;
        object.declared[..object.named].iter().try_for_each(|member| self.check_key(&member.key))
    }

    fn check_key(&self, key: &str) -> Result<(), Error> {
        let refused = |c: char| c.is_control() || self.style.no_key.contains(c);
        if key.is_empty() || key.contains(refused) || self.literal(key) == EMPTY {
            let what = format!("the key {key:?} can't be written as that of a parameter");
            return Err(Error::unsupported(format!("/properties/{}", escaped(key)), "properties", what));
        }
        Ok(())
    }

    /// The same for a value that is given as a whole.
    fn check_value(&self, value: &Value) -> Result<(), Error> {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.check_value(item)),
            Value::Object(members) => members.iter().try_for_each(|(key, value)| {
                self.check_key(key)?;
                self.check_value(value)
            }),
            Value::Number(n) if Decimal::parse(&n.to_string()).is_none() => {
                Err(Error::limit("a number has too many digits"))
            }
            _ => Ok(()),
        }
    }

    fn known_text(&self, text: &str) -> ExprId {
        let written = !text.contains(self.style.mark) && text.chars().all(is_character);
        if written { self.store.literal(text.as_bytes()) } else { EMPTY }
    }

    fn find_alive(&mut self) {
        loop {
            let dead = self.positions.iter().rev().filter(|(demands, _)| !self.is_alive(demands));
            let is_alive = |demands: &Demands| self.is_alive(demands);
            let found = dead.filter(|(_, position)| {
                !position.texts.is_empty()
                    || !position.scalars.is_empty()
                    || position.exact.iter().any(|value| self.exactly(value, "") != EMPTY)
                    || position.arrays.iter().any(|a| a.alive(&is_alive))
                    || position.objects.iter().any(|o| o.alive(&is_alive))
            });
            let found: Vec<Demands> = found.map(|(demands, _)| demands.clone()).collect();
            if found.is_empty() {
                return;
            }
            self.alive.extend(found);
        }
    }

    fn is_alive(&self, demands: &Demands) -> bool {
        self.alive.contains(demands)
    }

    /// A value of some type with what closes its tag.
    fn closed(&self, head: usize, value: ExprId, key: &str) -> ExprId {
        let close = self.literal(&self.style.close.replace("{key}", key));
        self.store.sequence(&[self.literal(self.style.heads[head]), value, close])
    }

    /// The same for a scalar that is no text.
    fn scalar(&self, value: ExprId, key: &str) -> ExprId {
        let space = if self.style.spaced { self.space } else { EPS };
        self.closed(1, self.store.sequence(&[space, value, space]), key)
    }

    /// The rule of what stands behind a key, or behind what opens an item: its type, a value, and the closing tag.
    fn rule(&mut self, demands: &Demands, key: &str) -> RuleId {
        let named = if self.style.close.contains("{key}") { key } else { "" };
        let place = (demands.clone(), Rc::from(named));
        if let Some(&rule) = self.rules.get(&place) {
            return rule;
        }
        let store = self.store;
        if let Some(again) = self.open.get_mut(&place) {
            return *again.get_or_insert_with(|| store.declare_rule());
        }
        self.open.insert(place.clone(), None);
        let position = Rc::clone(&self.positions[demands]);
        let mut ways = Vec::new();
        if !position.texts.is_empty() {
            ways.push(self.closed(0, store.union(position.texts.iter().copied()), named));
        }
        if !position.scalars.is_empty() {
            ways.push(self.scalar(store.call_of(store.union(position.scalars.iter().copied())), named));
        }
        ways.extend(position.exact.iter().map(|value| self.exactly(value, named)));
        for object in &position.objects {
            let members = self.members(object);
            ways.push(self.closed(2, members, named));
        }
        for array in &position.arrays {
            let items = self.items(array);
            ways.push(self.closed(3, items, named));
        }
        let body = store.union(ways);
        let rule = match self.open.remove(&place).flatten() {
            Some(rule) => {
                store.define_rule(rule, body);
                rule
            }
            None => store.rule(body),
        };
        self.rules.insert(place, rule);
        rule
    }

    fn member(&self, key: &str, value: ExprId) -> ExprId {
        let (open, behind) = self.style.member;
        self.store.sequence(&[self.space, self.literal(&format!("{open}{key}{behind}")), value])
    }

    fn item(&self, value: ExprId) -> ExprId {
        self.store.sequence(&[self.space, self.literal(self.style.item), value])
    }

    /// The members of an object, one behind the other.
    fn members(&mut self, object: &PlannedObject) -> ExprId {
        let store = self.store;
        if !object.alive(&|demands| self.is_alive(demands)) {
            return EMPTY;
        }
        let mut all = Vec::new();
        for member in &object.declared[..object.named] {
            if self.is_alive(&member.demands) {
                let rule = self.rule(&member.demands, &member.key);
                let one = self.member(&member.key, store.call(rule));
                all.push(if member.required { one } else { store.optional(one) });
            }
        }
        all.push(self.space);
        store.sequence(&all)
    }

    /// The items of an array.
    fn items(&mut self, array: &PlannedArray) -> ExprId {
        let store = self.store;
        if !array.alive(&|demands| self.is_alive(demands)) {
            return EMPTY;
        }
        let mut items = Vec::new();
        let listed = array.prefix.iter().take(array.total.hi as usize);
        for demands in listed.chain([&array.rest]).map_while(|choices| Some(&choices.first()?.1)) {
            if !self.is_alive(demands) {
                break;
            }
            let rule = self.rule(demands, self.style.item_key);
            items.push(self.item(store.call(rule)));
        }
        let prefix = array.prefix.len() as u32;
        let (lo, hi) = (array.total.lo, array.total.hi);
        let mut all = match items.get(prefix as usize) {
            Some(&rest) if hi > prefix => {
                let most = if hi == UNBOUNDED { UNBOUNDED } else { hi - prefix };
                store.repeat(rest, lo.saturating_sub(prefix), most)
            }
            _ => EPS,
        };
        for (at, &item) in (0..prefix.min(hi)).zip(&items).collect::<Vec<_>>().into_iter().rev() {
            all = store.concat(item, all);
            if at >= lo {
                all = store.optional(all);
            }
        }
        store.concat(all, self.space)
    }

    /// One value, as `enum` and `const` give it.
    fn exactly(&self, value: &Value, key: &str) -> ExprId {
        let store = self.store;
        match value {
            Value::String(text) => self.closed(0, self.known_text(text), key),
            Value::Array(items) => {
                let item = |value| self.item(self.exactly(value, self.style.item_key));
                let items: Vec<ExprId> = items.iter().map(item).chain([self.space]).collect();
                self.closed(3, store.sequence(&items), key)
            }
            Value::Object(members) => {
                let member = |(key, value): (&String, &Value)| self.member(key, self.exactly(value, key));
                let members: Vec<ExprId> = members.iter().map(member).chain([self.space]).collect();
                self.closed(2, store.sequence(&members), key)
            }
            Value::Number(n) => match Decimal::parse(&n.to_string()) {
                Some(number) => self.scalar(store.exact_number(&number, false), key),
                None => EMPTY,
            },
            Value::Null | Value::Bool(_) => self.scalar(store.literal(value.to_string().as_bytes()), key),
        }
    }
}
