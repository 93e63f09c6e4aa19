//! What a JSON value may be, type by type: the algebra in which schemas are combined.
//!
//! A shape is a union per type. Meeting two shapes meets every alternative of one with every alternative of the other
//! of the same type, so `allOf`, `anyOf`, `$ref` and siblings combine by the same operation.

use std::rc::Rc;

use num_bigint::BigInt;
use serde_json::{Number, Value};

use super::composite::{Arrays, Objects};
use crate::automata::{Bound, Decimal, ExprId, NumberRange, Store, UNBOUNDED};

/// The schemas that a value position has to satisfy or not to satisfy, sorted; none: any value. A demand is twice the
/// number of a schema in the [`Reader`](super::read::Reader), plus one if the schema must not be satisfied.
pub(super) type Demands = Rc<[u32]>;

/// The demand that no value satisfies.
pub(super) const NEVER: u32 = u32::MAX;

/// The demand that every value satisfies.
pub(super) const ALWAYS: u32 = NEVER ^ 1;

/// What is satisfied exactly by the values that don't satisfy a demand.
pub(super) fn opposite(demand: u32) -> u32 {
    demand ^ 1
}

/// Both of two lists of demands; what contradicts itself is [`NEVER`].
pub(super) fn both(a: &Demands, b: &Demands) -> Demands {
    if a.is_empty() || a == b {
        return b.clone();
    }
    if b.is_empty() {
        return a.clone();
    }
    let mut all: Vec<u32> = a.iter().chain(b.iter()).copied().filter(|&demand| demand != ALWAYS).collect();
    all.sort_unstable();
    all.dedup();
    let contradiction = all.last() == Some(&NEVER) || all.windows(2).any(|pair| pair[0] == opposite(pair[1]));
    if contradiction { Rc::new([NEVER]) } else { all.into() }
}

/// The list of one demand.
pub(super) fn only(demand: u32) -> Demands {
    if demand == ALWAYS { Rc::new([]) } else { Rc::new([demand]) }
}

/// Numbers.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Numbers {
    pub(super) range: NumberRange,
    /// Exactly this one.
    pub(super) exact: Option<Decimal>,
    /// Ranges that the number is not in.
    pub(super) excluded: Vec<NumberRange>,
}

fn within(r: &NumberRange, value: &Decimal) -> bool {
    r.lo.as_ref().is_none_or(|b| *value > b.value || (b.closed && *value == b.value))
        && r.hi.as_ref().is_none_or(|b| *value < b.value || (b.closed && *value == b.value))
        && r.multiple_of.as_ref().is_none_or(|m| value.is_multiple_of(m))
        && (!r.integer || value.is_integer())
}

fn tighter(a: Option<Bound>, b: Option<Bound>, lower: bool) -> Option<Bound> {
    match (a, b) {
        (Some(a), Some(b)) => {
            let order = a.value.cmp(&b.value);
            Some(match (order, lower) {
                (std::cmp::Ordering::Equal, _) => Bound { closed: a.closed && b.closed, ..a },
                (std::cmp::Ordering::Less, false) | (std::cmp::Ordering::Greater, true) => a,
                _ => b,
            })
        }
        (a, b) => a.or(b),
    }
}

impl Numbers {
    pub(super) fn exactly(value: Decimal) -> Self {
        Self { exact: Some(value), ..Self::default() }
    }

    /// Whether nothing but the type, and perhaps wholeness, is asked for.
    pub(super) fn is_free(&self) -> bool {
        self.exact.is_none()
            && self.excluded.is_empty()
            && self.range.lo.is_none()
            && self.range.hi.is_none()
            && self.range.multiple_of.is_none()
    }

    pub(super) fn contains(&self, value: &Decimal) -> bool {
        self.exact.as_ref().is_none_or(|e| e == value)
            && within(&self.range, value)
            && !self.excluded.iter().any(|range| within(range, value))
    }

    fn meet(&self, other: &Self) -> Option<Self> {
        let (a, b) = (self.range.clone(), other.range.clone());
        let range = NumberRange {
            lo: tighter(a.lo, b.lo, true),
            hi: tighter(a.hi, b.hi, false),
            multiple_of: match (a.multiple_of, b.multiple_of) {
                (Some(a), Some(b)) => Some(a.lcm(&b)),
                (a, b) => a.or(b),
            },
            integer: a.integer || b.integer,
            integer_fraction: a.integer_fraction,
        };
        let exact = match (&self.exact, &other.exact) {
            (Some(a), Some(b)) if a != b => return None,
            (a, b) => a.clone().or_else(|| b.clone()),
        };
        let mut excluded = self.excluded.clone();
        add_new(&mut excluded, other.excluded.clone());
        let met = Self { range, exact: None, excluded };
        match exact {
            Some(value) => met.contains(&value).then(|| Self::exactly(value)),
            None => Some(met),
        }
    }
}

/// Strings: the decoded text is in `content` and has `lo` to `hi` characters.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Strings {
    pub(super) content: ExprId,
    /// What the content is certainly within: wider where a format is compiled with less than it admits, so that what
    /// is negated is not more than what fails it.
    pub(super) within: ExprId,
    pub(super) lo: u32,
    pub(super) hi: u32,
    /// Exactly this one, in its one spelling.
    pub(super) exact: Option<Rc<str>>,
}

impl Strings {
    pub(super) fn any(store: &Store) -> Self {
        let any = store.any_text();
        Self { content: any, within: any, lo: 0, hi: UNBOUNDED, exact: None }
    }

    pub(super) fn exactly(store: &Store, text: &str) -> Self {
        Self { exact: Some(text.into()), ..Self::any(store) }
    }

    pub(super) fn contains(&self, store: &Store, text: &str) -> bool {
        let n = text.chars().count() as u32;
        self.exact.as_deref().is_none_or(|e| e == text)
            && (self.lo..=self.hi).contains(&n)
            && (self.content == store.any_text() || store.matches(self.content, text.as_bytes()))
    }

    /// A further condition on the text, and what it is certainly within.
    pub(super) fn restrict(&mut self, store: &Store, content: ExprId, within: ExprId) {
        let both = |a: ExprId, b: ExprId| match (a == store.any_text(), b == store.any_text()) {
            (true, _) => b,
            (_, true) => a,
            _ if a == b => a,
            _ => store.inter([a, b]),
        };
        self.content = both(self.content, content);
        self.within = both(self.within, within);
    }

    fn meet(&self, store: &Store, other: &Self) -> Option<Self> {
        let mut met = self.clone();
        met.restrict(store, other.content, other.within);
        met.lo = self.lo.max(other.lo);
        met.hi = self.hi.min(other.hi);
        let exact = self.exact.clone().or_else(|| other.exact.clone());
        met.exact = None;
        match exact {
            Some(text) if self.contains(store, &text) && other.contains(store, &text) => {
                Some(Self::exactly(store, &text))
            }
            Some(_) => None,
            None => (met.lo <= met.hi).then_some(met),
        }
    }
}

/// What a value may be: a union for each type.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Shape {
    pub(super) null: bool,
    pub(super) yes: bool,
    pub(super) no: bool,
    pub(super) numbers: Vec<Numbers>,
    pub(super) strings: Vec<Strings>,
    pub(super) arrays: Vec<Arrays>,
    pub(super) objects: Vec<Objects>,
}

/// JSON equality: numbers by value, objects without order.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || number_identity(x) == number_identity(y),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| same(v, w)))
        }
        _ => a == b,
    }
}

/// The same for numbers: their digits without zeros at either end, and what power of ten those stand for. No exponent is too
/// large for it, since nothing is multiplied out.
fn number_identity(number: &Number) -> String {
    let text = number.to_string();
    let (sign, text) = text.strip_prefix('-').map_or(("", &*text), |text| ("-", text));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (int, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{int}{fraction}");
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return "0".to_owned();
    }
    let exponent: BigInt = exponent.parse().unwrap_or_default();
    let power = exponent - fraction.len() + (digits.len() - significant.len());
    format!("{sign}{significant}e{power}")
}

/// A text that two values have in common exactly if they are equal.
pub(crate) fn identity(value: &Value) -> String {
    match value {
        Value::Number(n) => number_identity(n),
        Value::Array(items) => format!("[{}]", items.iter().map(identity).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let mut all: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), identity(value)))
                .collect();
            all.sort_unstable();
            format!("{{{}}}", all.join(","))
        }
        other => other.to_string(),
    }
}

pub(super) fn add_new<T: PartialEq>(all: &mut Vec<T>, more: Vec<T>) {
    for item in more {
        // Repetitions do no harm; long lists, such as large enums, are not compared.
        if all.len() > 64 || !all.contains(&item) {
            all.push(item);
        }
    }
}

fn products<T: PartialEq>(a: &[T], b: &[T], meet: impl Fn(&T, &T) -> Option<T>) -> Vec<T> {
    let mut out = Vec::new();
    for x in a {
        for y in b {
            add_new(&mut out, meet(x, y).into_iter().collect());
        }
    }
    out
}

impl Shape {
    /// Any value.
    pub(super) fn any(store: &Store) -> Self {
        Self {
            null: true,
            yes: true,
            no: true,
            numbers: vec![Numbers::default()],
            strings: vec![Strings::any(store)],
            arrays: vec![Arrays::default()],
            objects: vec![Objects::default()],
        }
    }

    /// One value; `None` if it has a number with too many digits.
    pub(super) fn exactly(store: &Store, value: &Value) -> Option<Self> {
        let mut shape = Self::default();
        match value {
            Value::Null => shape.null = true,
            Value::Bool(true) => shape.yes = true,
            Value::Bool(false) => shape.no = true,
            Value::Number(n) => shape.numbers.push(Numbers::exactly(Decimal::parse(&n.to_string())?)),
            Value::String(s) => shape.strings.push(Strings::exactly(store, s)),
            Value::Array(_) => {
                shape.arrays.push(Arrays { exact: Some(Rc::new(value.clone())), ..Arrays::default() });
            }
            Value::Object(_) => {
                shape.objects.push(Objects { exact: Some(Rc::new(value.clone())), ..Objects::default() });
            }
        }
        Some(shape)
    }

    /// How many alternatives there are.
    pub(super) fn alternatives(&self) -> usize {
        self.numbers.len() + self.strings.len() + self.arrays.len() + self.objects.len()
    }

    /// How many alternatives have conditions on parts, and so take room.
    pub(super) fn composites(&self) -> usize {
        self.arrays.len() + self.objects.len()
    }

    /// Values of either shape.
    pub(super) fn join(&mut self, other: Self) {
        self.null |= other.null;
        self.yes |= other.yes;
        self.no |= other.no;
        add_new(&mut self.numbers, other.numbers);
        add_new(&mut self.strings, other.strings);
        add_new(&mut self.arrays, other.arrays);
        add_new(&mut self.objects, other.objects);
        // A type without conditions takes the others of its kind in.
        if self.numbers.iter().any(|n| n.is_free() && !n.range.integer) {
            self.numbers.truncate(0);
            self.numbers.push(Numbers::default());
        }
        // Those that have looked at some of their parts are kept for `unevaluated*`.
        if self.arrays.contains(&Arrays::default()) {
            self.arrays.retain(|a| *a == Arrays::default() || !a.evaluated.is_nothing());
        }
        if self.objects.contains(&Objects::default()) {
            self.objects.retain(|o| *o == Objects::default() || !o.evaluated.is_nothing());
        }
    }

    /// Values of both shapes.
    pub(super) fn meet(&self, store: &Store, other: &Self) -> Self {
        Self {
            null: self.null && other.null,
            yes: self.yes && other.yes,
            no: self.no && other.no,
            numbers: products(&self.numbers, &other.numbers, Numbers::meet),
            strings: products(&self.strings, &other.strings, |a, b| a.meet(store, b)),
            arrays: products(&self.arrays, &other.arrays, Arrays::meet),
            objects: products(&self.objects, &other.objects, Objects::meet),
        }
    }
}
