//! Bounded decimal numbers in closed form.
//!
//! A bound is compared digit by digit: what matters of the digits written so far is how many there are, whether they
//! are below, equal to or above the same digits of each bound, and their remainder by the divisor. Whether anything
//! completes a state is then arithmetic on one interval, never a walk through an automaton.

use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{Pow, Signed, ToPrimitive, Zero};

use super::expr::{ExprId, Node};
use super::row::Edge;
use super::store::{EMPTY, Store};

/// An exact decimal: `units / 10^scale`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Decimal {
    units: BigInt,
    scale: u32,
}

fn power(exponent: u32) -> BigInt {
    BigInt::from(10u8).pow(exponent)
}

impl Decimal {
    /// Digits that a number in a schema may have when it is written without an exponent.
    pub const MAX_DIGITS: u32 = 4096;

    /// Reads a JSON number; `None` if it isn't one or has too many digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((m, e)) => (m, e.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (int, frac) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if exponent.unsigned_abs() > Self::MAX_DIGITS || (int.len() + frac.len()) as u64 > u64::from(Self::MAX_DIGITS) {
            return None;
        }
        let units: BigInt = format!("{int}{frac}").parse().ok()?;
        let scale = i32::try_from(frac.len()).ok()? - exponent;
        let (units, scale) =
            if scale < 0 { (units * power(scale.unsigned_abs()), 0) } else { (units, scale.unsigned_abs()) };
        Some(Self { units, scale }.reduced())
    }

    /// An integer.
    pub fn integer(value: i64) -> Self {
        Self { units: value.into(), scale: 0 }
    }

    fn reduced(mut self) -> Self {
        let ten = BigInt::from(10u8);
        while self.scale > 0 && (&self.units % &ten).is_zero() {
            self.units /= &ten;
            self.scale -= 1;
        }
        self
    }

    /// Whether the value is a whole number.
    pub fn is_integer(&self) -> bool {
        self.scale == 0
    }

    /// Whether the value is zero.
    pub fn is_zero(&self) -> bool {
        self.units.is_zero()
    }

    /// Whether the value is above zero.
    pub fn is_positive(&self) -> bool {
        self.units.is_positive()
    }

    fn scaled(&self, scale: u32) -> BigInt {
        &self.units * power(scale - self.scale)
    }

    /// Whether the value is a multiple of another, positive one.
    pub fn is_multiple_of(&self, divisor: &Self) -> bool {
        let scale = self.scale.max(divisor.scale);
        self.scaled(scale).is_multiple_of(&divisor.scaled(scale))
    }

    /// The least common multiple of two positive values.
    pub fn lcm(&self, other: &Self) -> Self {
        let scale = self.scale.max(other.scale);
        Self { units: self.scaled(scale).lcm(&other.scaled(scale)), scale }.reduced()
    }

    /// The multiples of a positive value from one number to another, these included; `None` if they are more than so many.
    pub fn multiples(&self, from: &Self, to: &Self, most: usize) -> Option<Vec<Self>> {
        let scale = self.scale.max(from.scale).max(to.scale);
        let step = self.scaled(scale);
        let (first, last) = (from.scaled(scale).div_ceil(&step), to.scaled(scale).div_floor(&step));
        if &last - &first >= BigInt::from(most) {
            return None;
        }
        let all = std::iter::successors(Some(first), |n| Some(n + 1)).take_while(|n| *n <= last);
        Some(all.map(|n| Self { units: n * &step, scale }.reduced()).collect())
    }

    /// The shortest plain spelling, without an exponent.
    pub fn spelling(&self) -> String {
        let digits = self.units.magnitude().to_string();
        let scale = self.scale as usize;
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (int, frac) = digits.split_at(digits.len() - scale);
        let sign = if self.units.is_negative() { "-" } else { "" };
        if frac.is_empty() { format!("{sign}{int}") } else { format!("{sign}{int}.{frac}") }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let scale = self.scale.max(other.scale);
        self.scaled(scale).cmp(&other.scaled(scale))
    }
}

/// A bound with whether it is itself allowed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Bound {
    /// The value.
    pub value: Decimal,
    /// Whether the value itself is allowed.
    pub closed: bool,
}

/// What a number has to satisfy, as a schema says it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct NumberRange {
    /// The lower bound.
    pub lo: Option<Bound>,
    /// The upper bound.
    pub hi: Option<Bound>,
    /// The number is a multiple of this positive value.
    pub multiple_of: Option<Decimal>,
    /// The number is whole.
    pub integer: bool,
    /// Whether a whole number may be written with a fraction of zeros.
    pub integer_fraction: bool,
}

/// One bound of the magnitude, with its digits.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Edgepoint {
    /// The digits before the point, and then exactly `scale` digits after it.
    digits: Vec<u8>,
    int_len: u32,
    units: BigInt,
    closed: bool,
}

impl Edgepoint {
    fn new(units: BigInt, scale: u32, closed: bool) -> Self {
        let text = units.to_string();
        let digits: Vec<u8> =
            format!("{text:0>width$}", width = scale as usize + 1).bytes().map(|b| b - b'0').collect();
        Self { int_len: digits.len() as u32 - scale, digits, units, closed }
    }
}

/// The magnitudes allowed under one sign.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Side {
    lo: Edgepoint,
    hi: Option<Edgepoint>,
}

/// A compiled [`NumberRange`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct NumberSpec {
    scale: u32,
    /// The divisor in units of `10^-scale`; 0 if any value will do.
    divisor: u64,
    /// Digits that may be added before every remainder can be reached.
    spread: u32,
    fraction: bool,
    positive: Option<Side>,
    negative: Option<Side>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Phase {
    Start,
    Minus,
    /// After a leading zero: no further digit before the point.
    Zero,
    Int,
    Frac,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Against {
    Below,
    Equal,
    Above,
}

impl Against {
    fn then(self, digit: u8, bound: u8) -> Self {
        match (self, digit.cmp(&bound)) {
            (Self::Equal, std::cmp::Ordering::Less) => Self::Below,
            (Self::Equal, std::cmp::Ordering::Greater) => Self::Above,
            _ => self,
        }
    }
}

/// What has been written of a number, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct NumberState {
    pub(crate) spec: u32,
    negative: bool,
    phase: Phase,
    /// Digits written in this phase.
    digits: u32,
    low: Against,
    high: Against,
    remainder: u64,
}

/// A lower or upper end of the values still reachable, relative to the digits written.
struct End {
    at: BigInt,
    closed: bool,
}

impl NumberSpec {
    /// `None` if the divisor is too large to be handled.
    fn new(range: &NumberRange) -> Option<Self> {
        let whole = Decimal::integer(1);
        let multiple = match (&range.multiple_of, range.integer) {
            (Some(m), true) => Some(m.lcm(&whole)),
            (Some(m), false) => Some(m.clone()),
            (None, true) => Some(whole),
            (None, false) => None,
        };
        let parts = [range.lo.as_ref().map(|b| &b.value), range.hi.as_ref().map(|b| &b.value), multiple.as_ref()];
        let scale = parts.iter().flatten().map(|d| d.scale).max().unwrap_or(0);
        let divisor = match &multiple {
            Some(m) => m.scaled(scale).to_u64().filter(|&m| m < 1 << 62)?,
            None => 0,
        };
        let spread = (0..64).find(|&k| power(k + scale) >= BigInt::from(divisor)).unwrap_or(0);
        let lo = range.lo.as_ref().map(|b| (b.value.scaled(scale), b.closed));
        let hi = range.hi.as_ref().map(|b| (b.value.scaled(scale), b.closed));
        let negated = |end: &Option<(BigInt, bool)>| end.as_ref().map(|(v, c)| (-v, *c));
        Some(Self {
            scale,
            divisor,
            spread,
            fraction: !range.integer || range.integer_fraction,
            positive: Self::side(lo.clone(), hi.clone(), scale),
            negative: Self::side(negated(&hi), negated(&lo), scale),
        })
    }

    fn side(lo: Option<(BigInt, bool)>, hi: Option<(BigInt, bool)>, scale: u32) -> Option<Side> {
        let (lo, lo_closed) = match lo {
            Some((v, closed)) if !v.is_negative() => (v, closed),
            _ => (BigInt::zero(), true),
        };
        if let Some((v, closed)) = &hi
            && (*v < lo || (*v == lo && !(*closed && lo_closed)))
        {
            return None;
        }
        let hi = hi.map(|(v, closed)| Edgepoint::new(v, scale, closed));
        Some(Side { lo: Edgepoint::new(lo, scale, lo_closed), hi })
    }

    fn side_of(&self, negative: bool) -> Option<&Side> {
        if negative { self.negative.as_ref() } else { self.positive.as_ref() }
    }

    /// Whether the digits written are a whole number of the range.
    pub(crate) fn may_end(&self, s: &NumberState) -> bool {
        let Some(side) = self.side_of(s.negative) else { return false };
        let open = match s.phase {
            Phase::Start | Phase::Minus => return false,
            Phase::Zero | Phase::Int => self.scale,
            Phase::Frac if s.digits == 0 => return false,
            Phase::Frac => self.scale.saturating_sub(s.digits),
        };
        let unit = power(open);
        let int = s.phase != Phase::Frac;
        let rest = |end: &Edgepoint| &end.units % &unit;
        let low = match s.low {
            _ if int && s.digits != side.lo.int_len => s.digits > side.lo.int_len,
            Against::Above => true,
            Against::Equal => rest(&side.lo).is_zero() && side.lo.closed,
            Against::Below => false,
        };
        let high = side.hi.as_ref().is_none_or(|hi| match s.high {
            _ if int && s.digits != hi.int_len => s.digits < hi.int_len,
            Against::Below => true,
            Against::Equal => !rest(hi).is_zero() || hi.closed,
            Against::Above => false,
        });
        low && high && (self.divisor == 0 || (BigInt::from(s.remainder) * unit).is_multiple_of(&self.divisor.into()))
    }

    /// Whether some value is reached with `open` more digits (point ignored), between the ends.
    fn reaches(&self, s: &NumberState, open: u32, low: Option<&End>, high: Option<&End>) -> bool {
        let size = power(open);
        let zero = BigInt::zero();
        let (from, from_closed) = low.map_or((&zero, true), |e| (&e.at, e.closed));
        let (to, to_closed) = high.map_or((&size, false), |e| (&e.at, e.closed));
        if self.divisor == 0 {
            return from < to || (from == to && from_closed && to_closed);
        }
        let m = BigInt::from(self.divisor);
        let target = (-(BigInt::from(s.remainder) * &size)).mod_floor(&m);
        let from = if from_closed { from.clone() } else { from + 1u8 };
        let first = &from + (&target - &from).mod_floor(&m);
        first < size && (first < *to || (to_closed && first == *to))
    }

    /// Whether anything completes the digits written.
    fn alive(&self, s: &NumberState) -> bool {
        let Some(side) = self.side_of(s.negative) else { return false };
        let hi = side.hi.as_ref();
        let end = |e: &Edgepoint, open: u32| End { at: &e.units % power(open), closed: e.closed };
        if s.phase == Phase::Frac {
            let open = self.scale.saturating_sub(s.digits);
            if s.low == Against::Below || (hi.is_some() && s.high == Against::Above) {
                return false;
            }
            let low = (s.low == Against::Equal).then(|| end(&side.lo, open));
            let high = hi.filter(|_| s.high == Against::Equal).map(|e| end(e, open));
            return self.reaches(s, open, low.as_ref(), high.as_ref());
        }
        let n = s.digits;
        let hi_len = hi.map_or(u32::MAX, |e| e.int_len);
        if n > hi_len {
            return false;
        }
        if s.phase == Phase::Int && (side.lo.int_len + 1).max(n + self.spread) < hi_len {
            return true;
        }
        let last = if s.phase == Phase::Zero { n } else { hi_len.min((side.lo.int_len + 1).max(n + self.spread)) };
        (n.max(side.lo.int_len)..=last).any(|len| {
            let open = len - n + self.scale;
            let low = match s.low {
                _ if len > side.lo.int_len => None,
                Against::Above => None,
                Against::Equal => Some(end(&side.lo, open)),
                Against::Below => return false,
            };
            let high = match (hi, s.high) {
                (Some(e), Against::Equal) if len == e.int_len => Some(end(e, open)),
                (Some(e), Against::Above) if len == e.int_len => return false,
                _ => None,
            };
            self.reaches(s, open, low.as_ref(), high.as_ref())
        })
    }

    fn after_digit(&self, s: &NumberState, digit: u8) -> Option<NumberState> {
        let side = self.side_of(s.negative)?;
        let at = s.digits as usize;
        let mut next = *s;
        let shifted = |m: u64| ((u128::from(s.remainder) * 10 + u128::from(digit)) % u128::from(m)) as u64;
        if s.phase == Phase::Frac {
            let bound = |e: &Edgepoint| if s.digits < self.scale { e.digits[e.int_len as usize + at] } else { 0 };
            next.low = s.low.then(digit, bound(&side.lo));
            next.high = side.hi.as_ref().map_or(Against::Below, |e| s.high.then(digit, bound(e)));
            next.digits = (s.digits + 1).min(self.scale + 1);
            if self.divisor != 0 {
                if s.digits < self.scale {
                    next.remainder = shifted(self.divisor);
                } else if digit != 0 {
                    return None;
                }
            }
        } else {
            next.phase = match s.phase {
                Phase::Zero => return None,
                Phase::Int => Phase::Int,
                _ if digit == 0 => Phase::Zero,
                _ => Phase::Int,
            };
            next.digits = s.digits + 1;
            next.low =
                if next.digits > side.lo.int_len { Against::Above } else { s.low.then(digit, side.lo.digits[at]) };
            next.high = match &side.hi {
                None => Against::Below,
                Some(e) if next.digits > e.int_len => return None,
                Some(e) => s.high.then(digit, e.digits[at]),
            };
            if side.hi.is_none() {
                next.digits = next.digits.min(side.lo.int_len + 1);
            }
            if self.divisor != 0 {
                next.remainder = shifted(self.divisor);
            }
        }
        self.alive(&next).then_some(next)
    }

    fn after_point(&self, s: &NumberState) -> Option<NumberState> {
        let side = self.side_of(s.negative)?;
        if !self.fraction || !matches!(s.phase, Phase::Zero | Phase::Int) {
            return None;
        }
        let low = if s.digits > side.lo.int_len { Against::Above } else { s.low };
        let high = match &side.hi {
            Some(e) if s.digits == e.int_len => s.high,
            _ => Against::Below,
        };
        if s.digits < side.lo.int_len {
            return None;
        }
        let next = NumberState { phase: Phase::Frac, digits: 0, low, high, ..*s };
        self.alive(&next).then_some(next)
    }

    fn successors(&self, s: &NumberState) -> Vec<(u8, NumberState)> {
        let mut out = Vec::new();
        if s.phase == Phase::Start && self.negative.is_some() {
            out.push((b'-', NumberState { negative: true, phase: Phase::Minus, ..*s }));
        }
        if let Some(next) = self.after_point(s) {
            out.push((b'.', next));
        }
        for digit in 0..10 {
            if let Some(next) = self.after_digit(s, digit) {
                out.push((b'0' + digit, next));
            }
        }
        // A sign that no digit can follow is a dead end.
        out.retain(|(b, next)| *b != b'-' || (0..10).any(|d| self.after_digit(next, d).is_some()));
        out
    }
}

impl Store {
    /// A number of a range, written as a plain decimal without exponent; `-0` counts as 0. [`EMPTY`] if there is
    /// none, `None` if the divisor has too many digits to be handled.
    pub fn number(&self, range: &NumberRange) -> Option<ExprId> {
        if !"0123456789-.".chars().all(|c| self.writes(c)) {
            return Some(EMPTY);
        }
        let spec = NumberSpec::new(range)?;
        let state = NumberState {
            spec: self.intern_number(spec.clone()),
            negative: false,
            phase: Phase::Start,
            digits: 0,
            low: Against::Equal,
            high: Against::Equal,
            remainder: 0,
        };
        let dead = spec.successors(&state).is_empty();
        Some(if dead { EMPTY } else { self.intern(Node::Number(state)) })
    }

    /// One exact number: its shortest plain spelling, with zeros after a fraction, and after a whole number only if
    /// `integer_fraction`.
    pub fn exact_number(&self, value: &Decimal, integer_fraction: bool) -> ExprId {
        let zeros = |min| self.repeat(self.byte(b'0'), min, super::UNBOUNDED);
        let tail = match (value.is_integer(), integer_fraction) {
            (true, false) => super::EPS,
            (true, true) => self.optional(self.concat(self.byte(b'.'), zeros(1))),
            (false, _) => zeros(0),
        };
        let number = self.literal_then(value.spelling().as_bytes(), tail);
        if value.is_zero() { self.concat(self.optional(self.byte(b'-')), number) } else { number }
    }

    pub(super) fn derive_number(&self, state: &NumberState) -> Vec<Edge<ExprId>> {
        let next = self.number_spec(state.spec).successors(state);
        next.into_iter().map(|(b, next)| Edge { lo: b, hi: b, to: self.intern(Node::Number(next)) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(store: &Store, e: ExprId, text: &str) -> bool {
        let end = text.bytes().fold(e, |e, b| store.step(e, b));
        end != EMPTY && store.nullable(end)
    }

    /// Every state reached must be completable: a short search shows it.
    fn completable(store: &Store, e: ExprId, depth: u32) -> bool {
        store.nullable(e) || (depth > 0 && store.row(e).edges.iter().any(|edge| completable(store, edge.to, depth - 1)))
    }

    fn bound(value: i64, scale: u32, closed: bool) -> Bound {
        Bound { value: Decimal { units: value.into(), scale }.reduced(), closed }
    }

    proptest! {
        #[test]
        fn agrees_with_arithmetic(
            lo in proptest::option::of((-3000i64..3000, 0u32..3, any::<bool>())),
            hi in proptest::option::of((-3000i64..3000, 0u32..3, any::<bool>())),
            multiple in proptest::option::of((1i64..70, 0u32..3)),
            integer in any::<bool>(),
            integer_fraction in any::<bool>(),
            values in proptest::collection::vec((-4000i64..4000, 0u32..4), 40),
        ) {
            let store = Store::new(64);
            let range = NumberRange {
                lo: lo.map(|(v, s, c)| bound(v, s, c)),
                hi: hi.map(|(v, s, c)| bound(v, s, c)),
                multiple_of: multiple.map(|(v, s)| Decimal { units: v.into(), scale: s }.reduced()),
                integer,
                integer_fraction,
            };
            let e = store.number(&range).unwrap();
            for (units, scale) in values {
                let exact = Decimal { units: units.into(), scale };
                let text = exact.spelling();
                let value = exact.reduced();
                let inside = range.lo.as_ref().is_none_or(|b| value > b.value || (b.closed && value == b.value))
                    && range.hi.as_ref().is_none_or(|b| value < b.value || (b.closed && value == b.value))
                    && range.multiple_of.as_ref().is_none_or(|m| value.is_multiple_of(m))
                    && (!integer || value.is_integer());
                let spelled = !integer || integer_fraction || !text.contains('.');
                prop_assert_eq!(accepts(&store, e, &text), inside && spelled, "{} in {:?}", text, range);
                let mut at = e;
                for b in text.bytes() {
                    at = store.step(at, b);
                    if at == EMPTY {
                        break;
                    }
                    prop_assert!(completable(&store, at, 8), "{} in {:?} cannot be completed", text, range);
                }
            }
        }
    }
}
