//! From keywords to shapes.

use std::rc::Rc;

use hashbrown::{HashMap, HashSet};
use indexmap::IndexSet;
use serde_json::Value;

use super::document::{Documents, Place, escaped, keywords};
use super::keywords::{self, Kind};
use super::options::JsonOptions;
use super::shape::{ALWAYS, Arrays, Demands, Keys, NEVER, Numbers, Objects, Shape, Strings, opposite, same};
use crate::automata::{Bound, Decimal, Store};
use crate::error::Error;
use crate::limits::Limits;
use crate::regex::{self, Dialect};

/// Combinations of arrays or objects that one schema may have after all its alternatives are multiplied out.
const MANY_COMPOSITES: usize = 4096;

/// Reads schemas on demand and remembers the shape of each.
pub(super) struct Reader<'a> {
    pub(super) store: &'a Store,
    pub(super) options: &'a JsonOptions,
    pub(super) limits: &'a Limits,
    pub(super) documents: Documents<'a>,
    /// Schemas by number, as [`Demands`] name them.
    places: Vec<Place<'a>>,
    number_of: HashMap<usize, u32>,
    shapes: HashMap<u32, Rc<Shape>>,
    /// Schemas being read, against references that lead back without a value between.
    open: Vec<u32>,
    /// Branches of `oneOf` that must turn out to exclude each other.
    pub(super) exclusive: Vec<(Demands, String)>,
    /// Pointers of those `oneOf` whose branches turned out to overlap; they are read by negation.
    overlapping: HashSet<String>,
    work: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        store: &'a Store,
        options: &'a JsonOptions,
        limits: &'a Limits,
        documents: Documents<'a>,
        overlapping: HashSet<String>,
    ) -> Self {
        Self {
            store,
            options,
            limits,
            documents,
            places: Vec::new(),
            number_of: HashMap::new(),
            shapes: HashMap::new(),
            open: Vec::new(),
            exclusive: Vec::new(),
            overlapping,
            work: 0,
        }
    }

    /// The demands that one schema makes; none if it admits everything.
    pub(super) fn demand(&mut self, place: Place<'a>) -> Demands {
        if place.schema == &Value::Bool(true) || keywords(place.schema).is_some_and(serde_json::Map::is_empty) {
            return Rc::new([]);
        }
        if place.schema == &Value::Bool(false) {
            return Rc::new([NEVER]);
        }
        let places = &mut self.places;
        let number = *self.number_of.entry(place.key()).or_insert_with(|| {
            places.push(place);
            places.len() as u32 - 1
        });
        Rc::new([2 * number])
    }

    /// The shape of all values that satisfy some demands.
    pub(super) fn shape_of(&mut self, demands: &Demands) -> Result<Shape, Error> {
        let mut all = Shape::any(self.store);
        for &demand in demands.iter() {
            match demand {
                NEVER => return Ok(Shape::default()),
                ALWAYS => continue,
                _ => {}
            }
            let shape = self.shape(demand)?;
            let pointer = Rc::clone(&self.places[demand as usize / 2].pointer);
            all = self.meet(&all, &shape, &pointer)?;
        }
        Ok(all)
    }

    fn meet(&mut self, a: &Shape, b: &Shape, pointer: &str) -> Result<Shape, Error> {
        self.work += 1 + a.alternatives() * b.alternatives();
        if a.composites() * b.composites() > MANY_COMPOSITES {
            let what = format!("this schema has more than {MANY_COMPOSITES} combinations of alternatives");
            return Err(Error::limit(what).at_pointer(pointer));
        }
        if self.work > self.limits.max_nodes {
            let what = format!("combining this schema takes more than {} steps", self.limits.max_nodes);
            return Err(Error::limit(what).at_pointer(pointer));
        }
        Ok(a.meet(self.store, b))
    }

    /// The shape of all values that satisfy one demand.
    fn shape(&mut self, demand: u32) -> Result<Rc<Shape>, Error> {
        match demand {
            NEVER => return Ok(Rc::new(Shape::default())),
            ALWAYS => return Ok(Rc::new(Shape::any(self.store))),
            _ => {}
        }
        if let Some(shape) = self.shapes.get(&demand) {
            return Ok(Rc::clone(shape));
        }
        let place = self.places[demand as usize / 2].clone();
        if self.open.contains(&demand) {
            return Err(Error::schema(&*place.pointer, "this schema refers to itself without a value in between"));
        }
        if self.open.len() >= self.limits.max_depth {
            let what = format!("schemas are nested deeper than {}", self.limits.max_depth);
            return Err(Error::limit(what).at_pointer(&place.pointer));
        }
        self.open.push(demand);
        let shape = if demand.is_multiple_of(2) {
            self.read(&place)
        } else {
            self.shape(opposite(demand)).and_then(|shape| self.complement(&shape, &place.pointer))
        };
        self.open.pop();
        let shape = Rc::new(shape?);
        self.shapes.insert(demand, Rc::clone(&shape));
        Ok(shape)
    }

    fn complement(&mut self, shape: &Shape, pointer: &str) -> Result<Shape, Error> {
        self.work += 1 + shape.alternatives() * shape.alternatives();
        if self.work > self.limits.max_nodes || shape.composites() > MANY_COMPOSITES {
            return Err(Error::limit("negating this schema takes too many steps").at_pointer(pointer));
        }
        shape.complement(self.store).map_err(|needed| {
            let what = format!("the negation of this schema means \"{needed}\", which is not supported yet");
            let keyword = pointer.rsplit('/').find(|part| ["not", "if", "oneOf"].contains(part)).unwrap_or("not");
            Error::unsupported(pointer, keyword, what)
        })
    }

    fn subschema(&mut self, parent: &Place<'a>, schema: &'a Value, tail: &str) -> Result<Rc<Shape>, Error> {
        let demands = self.sub(parent, schema, tail)?;
        match demands[..] {
            [number] => self.shape(number),
            _ => Ok(Rc::new(Shape::any(self.store))),
        }
    }

    /// The demands of a schema below another one.
    fn sub(&mut self, parent: &Place<'a>, schema: &'a Value, tail: &str) -> Result<Demands, Error> {
        let place = self.documents.child(parent, schema, tail);
        if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
            return Err(Error::schema(&*place.pointer, "a schema must be an object or a boolean"));
        }
        Ok(self.demand(place))
    }

    fn read(&mut self, place: &Place<'a>) -> Result<Shape, Error> {
        let map = match place.schema {
            Value::Bool(true) => return Ok(Shape::any(self.store)),
            Value::Bool(false) => return Ok(Shape::default()),
            Value::Object(map) => map,
            _ => return Err(Error::schema(&*place.pointer, "a schema must be an object or a boolean")),
        };
        if place.draft.ref_hides_siblings()
            && let Some(reference) = map.get("$ref")
        {
            let mut shape = Shape::any(self.store);
            self.apply(place, "$ref", reference, &mut shape)?;
            return Ok(shape);
        }
        let mut shape = Shape::any(self.store);
        for (keyword, value) in map {
            self.apply(place, keyword, value, &mut shape)
                .map_err(|e| e.at_pointer(&format!("{}/{}", place.pointer, escaped(keyword))).with_keyword(keyword))?;
        }
        Ok(shape)
    }

    /// Narrows a shape by one keyword, in the order in which the schema has them.
    fn apply(&mut self, place: &Place<'a>, keyword: &str, value: &'a Value, shape: &mut Shape) -> Result<(), Error> {
        let at = format!("/{}", escaped(keyword));
        let pointer = || format!("{}{at}", place.pointer);
        match keywords::kind(keyword, place.draft) {
            Kind::Ignored => return Ok(()),
            Kind::Unsupported => {
                let what = format!("the keyword {keyword:?} constrains and is not supported yet");
                return Err(Error::unsupported(pointer(), keyword, what));
            }
            Kind::Supported => {}
        }
        match keyword {
            "type" => Self::read_type(value, shape).map_err(|what| Error::schema(pointer(), what))?,
            "enum" => {
                let Value::Array(values) = value else { return Err(Error::schema(pointer(), "enum must be a list")) };
                self.one_of_values(values, shape, &pointer())?;
            }
            "const" => self.one_of_values(std::slice::from_ref(value), shape, &pointer())?,
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
                self.read_number(place, keyword, value, shape).map_err(|what| Error::schema(pointer(), what))?;
            }
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
                let count = self.count(value, &pointer())?;
                Self::read_count(keyword, count, shape);
            }
            "pattern" => {
                let pattern = value.as_str().ok_or_else(|| Error::schema(pointer(), "pattern must be a string"))?;
                let content = self.pattern(pattern, &pointer(), keyword)?;
                for strings in &mut shape.strings {
                    strings.restrict(self.store, content);
                }
            }
            "format" => {
                let name = value.as_str().filter(|_| self.options.format_assertion);
                if let Some(content) = name.and_then(|n| super::format::content(self.store, n, self.limits)) {
                    let content = content.map_err(|e| e.at_pointer(&pointer()).with_keyword("format"))?;
                    for strings in &mut shape.strings {
                        strings.restrict(self.store, content);
                    }
                }
            }
            "not" => {
                if let Value::Object(_) | Value::Bool(_) = value {
                    let inner = self.subschema(place, value, &at)?;
                    let place = self.documents.child(place, value, &at);
                    let other = self.complement(&inner, &place.pointer)?;
                    *shape = self.meet(shape, &other, &place.pointer)?;
                } else {
                    return Err(Error::schema(pointer(), "not must be a schema"));
                }
            }
            "if" => self.read_condition(place, value, shape)?,
            "dependentRequired" | "dependentSchemas" | "dependencies" => {
                self.read_dependents(place, keyword, value, shape)?;
            }
            "uniqueItems" if value == &Value::Bool(false) => {}
            "uniqueItems" => {
                // An array of one item has no equal ones.
                if shape.arrays.iter().any(|a| a.hi > 1) && !Self::has_few_items(place) {
                    let what = "uniqueItems is supported only where maxItems is at most 1";
                    return Err(Error::unsupported(pointer(), keyword, what));
                }
            }
            "$ref" => {
                let reference = value.as_str().ok_or_else(|| Error::schema(pointer(), "$ref must be a string"))?;
                let target = self.documents.target(place, reference)?;
                if let [number] = self.demand(target)[..] {
                    let other = self.shape(number)?;
                    *shape = self.meet(shape, &other, &place.pointer)?;
                }
            }
            "allOf" | "anyOf" | "oneOf" => self.read_combination(place, keyword, value, shape)?,
            "properties" | "patternProperties" | "additionalProperties" | "required" | "propertyNames" => {
                self.read_members(place, keyword, value, shape)?;
            }
            _ => self.read_items(place, keyword, value, shape)?,
        }
        Ok(())
    }

    fn read_type(value: &Value, shape: &mut Shape) -> Result<(), String> {
        let names = match value {
            Value::String(_) => std::slice::from_ref(value),
            Value::Array(names) => names,
            _ => return Err("type must be a name or a list of names".to_owned()),
        };
        let mut types = HashSet::new();
        for name in names {
            let known = ["null", "boolean", "integer", "number", "string", "array", "object"];
            match name.as_str().filter(|n| known.contains(n)) {
                Some(name) => types.insert(name),
                None => return Err(format!("{name} is not a type")),
            };
        }
        let has = |name: &str| types.contains(name);
        shape.null &= has("null");
        shape.yes &= has("boolean");
        shape.no &= has("boolean");
        if !has("number") {
            if has("integer") {
                shape.numbers.retain_mut(|n| {
                    n.range.integer |= n.exact.is_none();
                    n.exact.as_ref().is_none_or(Decimal::is_integer)
                });
            } else {
                shape.numbers.clear();
            }
        }
        if !has("string") {
            shape.strings.clear();
        }
        if !has("array") {
            shape.arrays.clear();
        }
        if !has("object") {
            shape.objects.clear();
        }
        Ok(())
    }

    fn one_of_values(&mut self, values: &[Value], shape: &mut Shape, pointer: &str) -> Result<(), Error> {
        let mut union = Shape::default();
        for value in values {
            let one = Shape::exactly(self.store, value)
                .ok_or_else(|| Error::limit("a number has too many digits").at_pointer(pointer))?;
            // Joined by hand: thousands of values need no comparison with each other.
            union.null |= one.null;
            union.yes |= one.yes;
            union.no |= one.no;
            union.numbers.extend(one.numbers);
            union.strings.extend(one.strings);
            union.arrays.extend(one.arrays);
            union.objects.extend(one.objects);
        }
        *shape = self.meet(shape, &union, pointer)?;
        Ok(())
    }

    fn read_number(&self, place: &Place<'a>, keyword: &str, value: &Value, shape: &mut Shape) -> Result<(), String> {
        let map = keywords(place.schema).ok_or("a schema must be an object")?;
        if let Value::Bool(_) = value {
            // Draft 4: a flag on the bound beside it, which reads it.
            return if keyword.starts_with("exclusive") { Ok(()) } else { Err(format!("{keyword} must be a number")) };
        }
        let number = match value {
            Value::Number(n) => n.to_string(),
            _ => return Err(format!("{keyword} must be a number")),
        };
        let value = Decimal::parse(&number).ok_or_else(|| format!("{number} has too many digits"))?;
        let flag = |name: &str| map.get(name) == Some(&Value::Bool(true));
        let bound = |closed: bool| Some(Bound { value: value.clone(), closed });
        let mut limit = Numbers::default();
        match keyword {
            "minimum" => limit.range.lo = bound(!flag("exclusiveMinimum")),
            "maximum" => limit.range.hi = bound(!flag("exclusiveMaximum")),
            "exclusiveMinimum" => limit.range.lo = bound(false),
            "exclusiveMaximum" => limit.range.hi = bound(false),
            _ if value.is_positive() => limit.range.multiple_of = Some(value.clone()),
            _ => return Err("multipleOf must be above zero".to_owned()),
        }
        let only = Shape { numbers: vec![limit], ..Shape::default() };
        shape.numbers = shape.meet(self.store, &only).numbers;
        Ok(())
    }

    fn count(&self, value: &Value, pointer: &str) -> Result<u32, Error> {
        let Value::Number(n) = value else { return Err(Error::schema(pointer, "a count must be a number")) };
        let count = Decimal::parse(&n.to_string())
            .filter(|d| d.is_integer() && (d.is_positive() || d.is_zero()))
            .ok_or_else(|| Error::schema(pointer, format!("{n} is not a whole number from zero up")))?;
        let count: u64 = count.spelling().parse().unwrap_or(u64::MAX);
        if count > u64::from(self.limits.max_repetition) {
            let what = format!("a count of {count} is larger than the limit {}", self.limits.max_repetition);
            return Err(Error::limit(what).at_pointer(pointer));
        }
        Ok(count as u32)
    }

    fn read_count(keyword: &str, n: u32, shape: &mut Shape) {
        let least = keyword.starts_with("min");
        let narrowed = |lo: u32, hi: u32| if least { (lo.max(n), hi) } else { (lo, hi.min(n)) };
        match keyword {
            "minLength" | "maxLength" => shape.strings.retain_mut(|s| {
                (s.lo, s.hi) = narrowed(s.lo, s.hi);
                let fits = |t: &str| (s.lo..=s.hi).contains(&(t.chars().count() as u32));
                s.lo <= s.hi && s.exact.as_deref().is_none_or(fits)
            }),
            "minItems" | "maxItems" => shape.arrays.retain_mut(|a| {
                (a.lo, a.hi) = narrowed(a.lo, a.hi);
                a.lo <= a.hi
            }),
            _ => shape.objects.retain_mut(|o| {
                (o.lo, o.hi) = narrowed(o.lo, o.hi);
                o.lo <= o.hi
            }),
        }
    }

    fn pattern(&self, pattern: &str, pointer: &str, keyword: &str) -> Result<crate::automata::ExprId, Error> {
        regex::compile(self.store, pattern, Dialect::Search, self.limits).map_err(|e| match e.kind() {
            crate::ErrorKind::Limit => e.at_pointer(pointer),
            _ => Error::unsupported(pointer, keyword, e.to_string()),
        })
    }

    fn read_combination(
        &mut self,
        place: &Place<'a>,
        keyword: &str,
        value: &'a Value,
        shape: &mut Shape,
    ) -> Result<(), Error> {
        let at = format!("{}/{keyword}", place.pointer);
        let branches = value
            .as_array()
            .filter(|list| !list.is_empty())
            .ok_or_else(|| Error::schema(&*at, format!("{keyword} must be a list of schemas")))?;
        let mut shapes: Vec<Rc<Shape>> = Vec::new();
        let mut demands: Vec<Demands> = Vec::new();
        for (i, branch) in branches.iter().enumerate() {
            let tail = format!("/{keyword}/{i}");
            let branch_shape = self.subschema(place, branch, &tail)?;
            if keyword == "allOf" {
                *shape = self.meet(shape, &branch_shape, &place.pointer)?;
            } else {
                demands.push(self.sub(place, branch, &tail)?);
                shapes.push(branch_shape);
            }
        }
        if keyword == "allOf" {
            return Ok(());
        }
        let overlapping = keyword == "oneOf" && self.overlapping.contains(&at);
        if keyword == "oneOf" && !overlapping {
            for (i, a) in demands.iter().enumerate() {
                for b in &demands[..i] {
                    self.exclusive.push((super::shape::both(a, b), at.clone()));
                }
            }
        }
        let others = if overlapping {
            let each = shapes.iter().enumerate();
            each.map(|(i, s)| self.complement(s, &format!("{at}/{i}"))).collect::<Result<Vec<_>, _>>()?
        } else {
            Vec::new()
        };
        let mut union = Shape::default();
        for (i, branch) in shapes.iter().enumerate() {
            let mut only = (**branch).clone();
            for other in others.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, other)| other) {
                only = self.meet(&only, other, &at)?;
            }
            union.join(only);
        }
        *shape = self.meet(shape, &union, &place.pointer)?;
        Ok(())
    }

    /// `if` with its `then` and `else`: one of them holds with `if`, the other without it.
    fn read_condition(&mut self, place: &Place<'a>, value: &'a Value, shape: &mut Shape) -> Result<(), Error> {
        let map = keywords(place.schema);
        let (Some(yes), no) = (map.map(|m| m.get("then")), map.and_then(|m| m.get("else"))) else { return Ok(()) };
        if yes.is_none() && no.is_none() {
            return Ok(());
        }
        let test = self.subschema(place, value, "/if")?;
        let mut holds = (*test).clone();
        let mut fails = self.complement(&test, &format!("{}/if", place.pointer))?;
        if let Some(schema) = yes {
            let then = self.subschema(place, schema, "/then")?;
            holds = self.meet(&holds, &then, &place.pointer)?;
        }
        if let Some(schema) = no {
            let otherwise = self.subschema(place, schema, "/else")?;
            fails = self.meet(&fails, &otherwise, &place.pointer)?;
        }
        holds.join(fails);
        *shape = self.meet(shape, &holds, &place.pointer)?;
        Ok(())
    }

    /// A member that asks for others, or for a schema of the whole object.
    fn read_dependents(
        &mut self,
        place: &Place<'a>,
        keyword: &str,
        value: &'a Value,
        shape: &mut Shape,
    ) -> Result<(), Error> {
        let at = format!("{}/{keyword}", place.pointer);
        let map = value.as_object().ok_or_else(|| Error::schema(&*at, format!("{keyword} must be an object")))?;
        for (key, dependent) in map {
            let key: Rc<str> = key.as_str().into();
            let mut present = Shape { objects: vec![Objects::with(&key)], ..Shape::default() };
            match dependent {
                Value::Array(names) if keyword != "dependentSchemas" => {
                    for name in names {
                        let name = name.as_str().ok_or_else(|| Error::schema(&*at, "a key must be a string"))?;
                        present.objects[0].required.insert(name.into());
                    }
                }
                Value::Object(_) | Value::Bool(_) if keyword != "dependentRequired" => {
                    let schema = self.subschema(place, dependent, &format!("/{keyword}/{}", escaped(&key)))?;
                    present = self.meet(&present, &schema, &at)?;
                }
                _ => return Err(Error::schema(&*at, format!("{keyword} does not take {dependent}"))),
            }
            // Only objects are concerned.
            let mut either = Shape { objects: vec![Objects::without(&key)], ..Shape::any(self.store) };
            either.join(Shape { objects: present.objects, ..Shape::default() });
            *shape = self.meet(shape, &either, &at)?;
        }
        Ok(())
    }

    fn has_few_items(place: &Place<'a>) -> bool {
        keywords(place.schema).and_then(|m| m.get("maxItems")).and_then(Value::as_f64).is_some_and(|n| n <= 1.0)
    }

    fn read_members(
        &mut self,
        place: &Place<'a>,
        keyword: &str,
        value: &'a Value,
        shape: &mut Shape,
    ) -> Result<(), Error> {
        let at = format!("{}/{keyword}", place.pointer);
        let mut more = Objects::default();
        match keyword {
            "required" => {
                if place.draft <= super::options::Draft::Draft4 && value.is_boolean() {
                    return Ok(());
                }
                let names = value.as_array().ok_or_else(|| Error::schema(&*at, "required must be a list of keys"))?;
                for name in names {
                    let name = name.as_str().ok_or_else(|| Error::schema(&*at, "a required key must be a string"))?;
                    more.required.insert(name.into());
                }
            }
            "properties" | "patternProperties" => {
                let map =
                    value.as_object().ok_or_else(|| Error::schema(&*at, format!("{keyword} must be an object")))?;
                for (name, schema) in map {
                    let tail = format!("/{keyword}/{}", escaped(name));
                    let demands = self.sub(place, schema, &tail)?;
                    let keys = if keyword == "properties" {
                        more.order.insert(name.as_str().into());
                        Keys::Named(name.as_str().into())
                    } else {
                        Keys::Matching(self.pattern(name, &format!("{}{tail}", place.pointer), keyword)?)
                    };
                    more.members.push((keys, demands));
                }
            }
            "additionalProperties" => {
                let demands = self.sub(place, value, "/additionalProperties")?;
                if demands.is_empty() {
                    return Ok(());
                }
                let map = keywords(place.schema);
                let named = |key: &str| map.and_then(|m| m.get(key)).and_then(Value::as_object);
                let names: IndexSet<Rc<str>> =
                    named("properties").into_iter().flat_map(|m| m.keys().map(|k| k.as_str().into())).collect();
                let mut patterns = Vec::new();
                for name in named("patternProperties").into_iter().flat_map(|m| m.keys()) {
                    patterns.push(self.pattern(name, &at, "patternProperties")?);
                }
                more.members.push((Keys::Others(Rc::new(names), patterns.into()), demands));
            }
            _ => {
                let demands = self.sub(place, value, "/propertyNames")?;
                if demands.is_empty() {
                    return Ok(());
                }
                more.names.push(demands);
            }
        }
        let only = Shape { objects: vec![more], ..Shape::default() };
        shape.objects = self.meet(shape, &only, &place.pointer)?.objects;
        Ok(())
    }

    fn read_items(
        &mut self,
        place: &Place<'a>,
        keyword: &str,
        value: &'a Value,
        shape: &mut Shape,
    ) -> Result<(), Error> {
        let at = format!("{}/{keyword}", place.pointer);
        let map = keywords(place.schema);
        let mut more = Arrays::default();
        let tuple = |key: &str| map.and_then(|m| m.get(key)).and_then(Value::as_array);
        match (keyword, value) {
            ("prefixItems" | "items", Value::Array(schemas)) => {
                for (i, schema) in schemas.iter().enumerate() {
                    more.prefix.push(self.sub(place, schema, &format!("/{keyword}/{i}"))?);
                }
            }
            ("prefixItems", _) => return Err(Error::schema(&*at, "prefixItems must be a list of schemas")),
            ("items", _) => {
                // The items after those that `prefixItems` describes.
                let known = keywords::kind("prefixItems", place.draft) == Kind::Supported;
                let skipped = tuple("prefixItems").filter(|_| known).map_or(0, Vec::len);
                more.prefix = vec![Rc::new([]) as Demands; skipped];
                more.rest = self.sub(place, value, "/items")?;
            }
            _ => {
                // `additionalItems` says something only beside a list of items.
                let Some(items) = tuple("items") else { return Ok(()) };
                more.prefix = vec![Rc::new([]) as Demands; items.len()];
                more.rest = self.sub(place, value, "/additionalItems")?;
            }
        }
        let only = Shape { arrays: vec![more], ..Shape::default() };
        shape.arrays = self.meet(shape, &only, &place.pointer)?.arrays;
        Ok(())
    }

    // ---- instances -------------------------------------------------------------------------------------------

    /// Whether a value satisfies some demands.
    pub(super) fn admits(&mut self, demands: &Demands, value: &Value) -> Result<bool, Error> {
        let shape = self.shape_of(demands)?;
        Ok(match value {
            Value::Null => shape.null,
            Value::Bool(b) => {
                if *b {
                    shape.yes
                } else {
                    shape.no
                }
            }
            Value::Number(n) => {
                Decimal::parse(&n.to_string()).is_some_and(|n| shape.numbers.iter().any(|r| r.contains(&n)))
            }
            Value::String(s) => shape.strings.iter().any(|r| r.contains(self.store, s)),
            Value::Array(_) => self.any_of(&shape.arrays, |me, a| me.admits_array(a, value))?,
            Value::Object(_) => self.any_of(&shape.objects, |me, o| me.admits_object(o, value))?,
        })
    }

    fn any_of<T>(
        &mut self,
        list: &[T],
        mut test: impl FnMut(&mut Self, &T) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        for item in list {
            if test(self, item)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn admits_array(&mut self, arrays: &Arrays, value: &Value) -> Result<bool, Error> {
        let Value::Array(items) = value else { return Ok(false) };
        if !(arrays.lo..=arrays.hi).contains(&(items.len() as u32))
            || arrays.exact.as_ref().is_some_and(|e| !same(e, value))
        {
            return Ok(false);
        }
        for (i, item) in items.iter().enumerate() {
            if !self.admits(arrays.item(i), item)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn admits_object(&mut self, objects: &Objects, value: &Value) -> Result<bool, Error> {
        let Value::Object(map) = value else { return Ok(false) };
        if !(objects.lo..=objects.hi).contains(&(map.len() as u32))
            || objects.exact.as_ref().is_some_and(|e| !same(e, value))
            || !objects.required.iter().all(|key| map.contains_key(&**key))
        {
            return Ok(false);
        }
        for (key, item) in map {
            for names in &objects.names {
                if !self.admits(names, &Value::String(key.clone()))? {
                    return Ok(false);
                }
            }
            if !self.admits(&objects.demands(self.store, key), item)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What keys `propertyNames` leaves.
    pub(super) fn key_texts(&mut self, names: &Demands) -> Result<Vec<Strings>, Error> {
        Ok(self.shape_of(names)?.strings)
    }
}
