//! Strings and numbers as expressions.

use super::read::Reader;
use super::shape::{Numbers, Strings};
use crate::automata::{ByteSet, EMPTY, EPS, ExprId, NumberRange, UNBOUNDED};
use crate::error::Error;

impl Reader<'_> {
    /// All of some strings, quotes included.
    ///
    /// # Errors
    /// Whether there is any takes too many states to tell.
    pub(super) fn text(&self, strings: &Strings) -> Result<ExprId, Error> {
        let limits = self.limits;
        let Strings { content, mut lo, mut hi, .. } = *strings;
        if super::format::keeps_bounds(self.store, content, lo, hi) {
            (lo, hi) = (0, UNBOUNDED);
        }
        if self.store.feasible_within(content, lo, hi, limits.max_states).is_none() {
            let what = "whether this combination of string conditions admits anything takes too many states to tell";
            return Err(Error::limit(what));
        }
        Ok(self.store.text(content, lo, hi))
    }

    /// All of some numbers.
    ///
    /// # Errors
    /// As of [`Reader::text`], or their divisors have too many digits.
    pub(super) fn number(&self, numbers: &Numbers) -> Result<ExprId, Error> {
        let store = self.store;
        let fraction = self.options.integer_fraction;
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
            return match store.alive_within(number, self.limits.max_states) {
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
}
