//! From keywords to shapes.

use std::fmt::{self, Write as _};
use std::rc::Rc;

use hashbrown::{HashMap, HashSet};
use serde_json::Value;
use smallvec::SmallVec;

use super::branches::{Branches, Overlapping};
use super::document::{Documents, Place, escaped, keywords};
use super::keywords::{self, Kind};
use super::options::{Draft, JsonOptions};
use super::scope::Scopes;
use super::shape::{ALWAYS, Demands, NEVER, Numbers, Shape, opposite};
use crate::automata::{Bound, Decimal, Store};
use crate::error::Error;
use crate::limits::Limits;
use crate::regex::{self, Dialect};

/// Combinations of arrays or objects that one schema may have after all its alternatives are multiplied out.
const MANY_COMPOSITES: usize = 4096;

/// What a demand asks for.
#[derive(Clone)]
enum Source<'a> {
    /// What a schema says, in a dynamic scope.
    Schema(Place<'a>),
    /// One value.
    Exactly(Rc<Value>),
    /// One of several demands.
    Either(Rc<[u32]>),
}

/// Writes a name for what a schema says and returns true, if that is only about its own value: such schemas are the same
/// wherever they stand.
fn leaf(place: &Place<'_>, name: &mut String) -> bool {
    let mut said: SmallVec<[(&str, &Value); 8]> = SmallVec::new();
    for (keyword, value) in keywords(place.schema).into_iter().flatten() {
        match &**keyword {
            "title" | "description" | "default" | "examples" | "$comment" | "deprecated" | "readOnly" | "writeOnly" => {
            }
            "type" | "enum" | "const" | "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum"
            | "multipleOf" | "minLength" | "maxLength" | "pattern" | "format" => said.push((keyword, value)),
            _ => return false,
        }
    }
    let short = |value: &Value| value.as_array().is_none_or(|all| all.len() <= 16);
    if !said.iter().all(|(_, value)| short(value)) {
        return false;
    }
    said.sort_unstable_by_key(|(keyword, _)| *keyword);
    let _ = write!(name, "{:?}", place.draft);
    for (keyword, value) in said {
        let _ = write!(name, " {keyword} {value}");
    }
    keywords(place.schema).is_some()
}

/// Reads schemas on demand and remembers the shape of each.
pub(super) struct Reader<'a> {
    pub(super) store: &'a Store,
    pub(super) options: &'a JsonOptions,
    pub(super) limits: &'a Limits,
    pub(super) documents: Documents<'a>,
    /// What is asked for, by number, as [`Demands`] name it.
    sources: Vec<Source<'a>>,
    number_of: HashMap<(usize, u32), u32>,
    /// The numbers of what no schema says by itself.
    number_of_others: HashMap<String, u32>,
    /// Room for such a name.
    name: String,
    pub(super) scopes: Scopes<'a>,
    shapes: HashMap<u32, Rc<Shape>>,
    /// Schemas being read, against references that lead back without a value between.
    open: Vec<u32>,
    /// Branches of `oneOf` that must turn out to exclude each other, but where they are known to overlap.
    pub(super) exclusive: Vec<(Demands, Branches)>,
    /// Those that turned out to overlap; they are read by negation.
    pub(super) overlapping: Overlapping,
    pub(super) work: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        store: &'a Store,
        options: &'a JsonOptions,
        limits: &'a Limits,
        documents: Documents<'a>,
        overlapping: Overlapping,
    ) -> Self {
        Self {
            store,
            options,
            limits,
            documents,
            sources: Vec::new(),
            number_of: HashMap::new(),
            number_of_others: HashMap::new(),
            name: String::new(),
            scopes: Scopes::default(),
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
        let key = (place.key(), place.scope);
        if let Some(&number) = self.number_of.get(&key) {
            return Rc::new([2 * number]);
        }
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        let number = if leaf(&place, &mut name) && self.documents.validates(&place) {
            self.other(&name, Source::Schema(place)) / 2
        } else {
            self.sources.push(Source::Schema(place));
            self.sources.len() as u32 - 1
        };
        self.name = name;
        self.number_of.insert(key, number);
        Rc::new([2 * number])
    }

    fn other(&mut self, name: &str, source: Source<'a>) -> u32 {
        let sources = &mut self.sources;
        2 * *self.number_of_others.entry_ref(name).or_insert_with(|| {
            sources.push(source);
            sources.len() as u32 - 1
        })
    }

    /// The demand that only one value satisfies.
    pub(super) fn exactly(&mut self, value: &Value) -> u32 {
        self.other(&format!("= {value}"), Source::Exactly(Rc::new(value.clone())))
    }

    /// The demand that whatever satisfies one of several satisfies.
    pub(super) fn either(&mut self, demands: Vec<u32>) -> u32 {
        match demands[..] {
            [] => NEVER,
            [one] => one,
            _ if demands.contains(&ALWAYS) => ALWAYS,
            _ => self.other(&format!("| {demands:?}"), Source::Either(demands.into())),
        }
    }

    /// One demand for all of some.
    pub(super) fn all_of(&mut self, demands: &Demands) -> u32 {
        match demands[..] {
            [] => ALWAYS,
            [one] => one,
            _ => opposite(self.either(demands.iter().map(|&demand| opposite(demand)).collect())),
        }
    }

    fn pointer_of(&self, demand: u32) -> Rc<str> {
        match &self.sources[demand as usize / 2] {
            Source::Schema(place) => Rc::clone(&place.pointer),
            _ => "".into(),
        }
    }

    /// The shape of all values that satisfy some demands.
    pub(super) fn shape_of(&mut self, demands: &Demands) -> Result<Rc<Shape>, Error> {
        if let [demand] = demands[..] {
            return self.shape(demand);
        }
        let mut all = Shape::any(self.store);
        for &demand in demands.iter() {
            match demand {
                NEVER => return Ok(Rc::default()),
                ALWAYS => continue,
                _ => {}
            }
            let shape = self.shape(demand)?;
            let pointer = self.pointer_of(demand);
            all = self.meet(&all, &shape, &pointer)?;
        }
        Ok(all.into())
    }

    pub(super) fn meet(&mut self, a: &Shape, b: &Shape, pointer: &str) -> Result<Shape, Error> {
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
    pub(super) fn shape(&mut self, demand: u32) -> Result<Rc<Shape>, Error> {
        match demand {
            NEVER => return Ok(Rc::new(Shape::default())),
            ALWAYS => return Ok(Rc::new(Shape::any(self.store))),
            _ => {}
        }
        if let Some(shape) = self.shapes.get(&demand) {
            return Ok(Rc::clone(shape));
        }
        let pointer = self.pointer_of(demand);
        if self.open.contains(&demand) {
            return Err(Error::schema(&*pointer, "this schema refers to itself without a value in between"));
        }
        if self.open.len() >= self.limits.max_depth {
            let what = format!("schemas are nested deeper than {}", self.limits.max_depth);
            return Err(Error::limit(what).at_pointer(&pointer));
        }
        self.open.push(demand);
        let shape = if demand.is_multiple_of(2) {
            self.shape_of_source(demand as usize / 2)
        } else {
            self.shape(opposite(demand)).and_then(|shape| self.complement(&shape, &pointer))
        };
        self.open.pop();
        let shape = Rc::new(shape?);
        self.shapes.insert(demand, Rc::clone(&shape));
        Ok(shape)
    }

    fn shape_of_source(&mut self, number: usize) -> Result<Shape, Error> {
        match self.sources[number].clone() {
            Source::Schema(place) => self.read(&place),
            Source::Exactly(value) => {
                Shape::exactly(self.store, &value).ok_or_else(|| Error::limit("a number has too many digits"))
            }
            Source::Either(demands) => {
                let mut union = Shape::default();
                for &demand in &*demands {
                    union.join((*self.shape(demand)?).clone());
                }
                Ok(union)
            }
        }
    }

    pub(super) fn subschema(
        &mut self,
        parent: &Place<'a>,
        schema: &'a Value,
        tail: fmt::Arguments<'_>,
    ) -> Result<Rc<Shape>, Error> {
        let demands = self.sub(parent, schema, tail)?;
        match demands[..] {
            [number] => self.shape(number),
            _ => Ok(Rc::new(Shape::any(self.store))),
        }
    }

    /// The demands of a schema below another one.
    pub(super) fn sub(
        &mut self,
        parent: &Place<'a>,
        schema: &'a Value,
        tail: fmt::Arguments<'_>,
    ) -> Result<Demands, Error> {
        let place = self.documents.child(parent, schema, tail);
        let place = self.scopes.enter(&self.documents, parent.scope, place);
        if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
            return Err(Error::schema(&*place.pointer, "a schema must be an object or a boolean"));
        }
        Ok(self.demand(place))
    }

    fn read(&mut self, place: &Place<'a>) -> Result<Shape, Error> {
        if place.draft == Draft::Draft3 {
            let what = "draft 3 is not supported; a later draft can be named by $schema or draft=";
            return Err(Error::unsupported(format!("{}/$schema", place.pointer), "$schema", what));
        }
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
        // Conditions come after what declares keys, so that their keys have no say in the order where that has; and
        // what nothing else has looked at is known at the end only.
        let rank = |keyword: &str| match keyword {
            "if" | "not" | "dependencies" | "dependentRequired" | "dependentSchemas" => 1,
            "unevaluatedProperties" | "unevaluatedItems" => 2,
            _ => 0,
        };
        let last = map.keys().map(|keyword| rank(keyword)).max().unwrap_or(0);
        for (keyword, value) in (0..=last).flat_map(|now| map.iter().filter(move |(keyword, _)| rank(keyword) == now)) {
            self.apply(place, keyword, value, &mut shape)
                .map_err(|e| e.at_pointer(&format!("{}/{}", place.pointer, escaped(keyword))).with_keyword(keyword))?;
        }
        Ok(shape)
    }

    /// Narrows a shape by one keyword, in the order in which the schema has them.
    fn apply(&mut self, place: &Place<'a>, keyword: &str, value: &'a Value, shape: &mut Shape) -> Result<(), Error> {
        let pointer = || format!("{}/{}", place.pointer, escaped(keyword));
        match keywords::kind(keyword, place.draft) {
            Kind::Ignored => return Ok(()),
            Kind::Supported if keywords::validates(keyword) && !self.documents.validates(place) => return Ok(()),
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
                    strings.restrict(self.store, content, content);
                }
            }
            "format" => {
                let name = value.as_str().filter(|_| self.options.format_assertion);
                if let Some(content) = name.and_then(|n| super::format::content(self.store, n, self.limits)) {
                    let content = content.map_err(|e| e.at_pointer(&pointer()).with_keyword("format"))?;
                    let within = name.and_then(|n| super::format::within(self.store, n)).unwrap_or(content);
                    for strings in &mut shape.strings {
                        strings.restrict(self.store, content, within);
                    }
                }
            }
            "not" => {
                if let Value::Object(_) | Value::Bool(_) = value {
                    let inner = self.subschema(place, value, format_args!("/not"))?;
                    let other = self.complement(&inner, &pointer())?;
                    *shape = self.meet(shape, &other, &pointer())?;
                } else {
                    return Err(Error::schema(pointer(), "not must be a schema"));
                }
            }
            "if" => self.read_condition(place, value, shape)?,
            "dependentRequired" | "dependentSchemas" | "dependencies" => {
                self.read_dependents(place, keyword, value, shape)?;
            }
            "uniqueItems" if value == &Value::Bool(false) => {}
            "uniqueItems" if value == &Value::Bool(true) => {
                for arrays in &mut shape.arrays {
                    arrays.unique = Some(pointer().into());
                }
            }
            "uniqueItems" => return Err(Error::schema(pointer(), "uniqueItems must be true or false")),
            "$ref" => {
                let reference = value.as_str().ok_or_else(|| Error::schema(pointer(), "$ref must be a string"))?;
                let target = self.documents.target(place, reference, keyword)?;
                self.refer(place, target, shape)?;
            }
            "$dynamicRef" | "$recursiveRef" => {
                let wrong = || Error::schema(pointer(), format!("{keyword} must be a string"));
                let reference = value.as_str().ok_or_else(wrong)?;
                let target = self.documents.target(place, reference, keyword)?;
                let anchor = reference.split_once('#').map_or("/", |(_, anchor)| anchor);
                let name = if keyword == "$recursiveRef" { "" } else { anchor };
                let target = self.scopes.outermost(&self.documents, place.scope, name, target);
                self.refer(place, target, shape)?;
            }
            "allOf" | "anyOf" | "oneOf" => self.read_combination(place, keyword, value, shape)?,
            "properties" | "patternProperties" | "additionalProperties" | "required" | "propertyNames" => {
                self.read_members(place, keyword, value, shape)?;
            }
            "contains" => self.read_contains(place, value, shape)?,
            "minContains" | "maxContains" => drop(self.count(value, &pointer())?),
            "unevaluatedProperties" | "unevaluatedItems" => self.read_unevaluated(place, keyword, value, shape)?,
            _ => self.read_items(place, keyword, value, shape)?,
        }
        Ok(())
    }

    fn refer(&mut self, place: &Place<'a>, target: Place<'a>, shape: &mut Shape) -> Result<(), Error> {
        let target = self.scopes.enter(&self.documents, place.scope, target);
        if let [number] = self.demand(target)[..] {
            let other = self.shape(number)?;
            *shape = self.meet(shape, &other, &place.pointer)?;
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

    pub(super) fn count(&self, value: &Value, pointer: &str) -> Result<u32, Error> {
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

    pub(super) fn pattern(
        &self,
        pattern: &str,
        pointer: &str,
        keyword: &str,
    ) -> Result<crate::automata::ExprId, Error> {
        regex::compile(self.store, pattern, Dialect::Search, self.limits).map_err(|e| match e.kind() {
            crate::ErrorKind::Limit => e.at_pointer(pointer),
            _ => Error::unsupported(pointer, keyword, e.to_string()),
        })
    }
}
