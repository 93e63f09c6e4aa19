//! Arrays without equal items, where each item is one of finitely many values or a string.
//!
//! Which of the finitely many were written is part of the state. Strings are told to the owner of the stack as the
//! keys of objects are, so that what was written stays out of the state, and out of the masks.

use super::expr::{ExprId, Mark, Node, one_less};
use super::members::Layout;
use super::store::{EMPTY, Store};

/// One of finitely many values.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DistinctValue {
    /// Its number: equal values have equal numbers.
    pub number: u32,
    /// Its only spelling, if it has but one.
    pub text: Option<Box<[u8]>>,
    /// Its spellings.
    pub spellings: ExprId,
}

/// What an item may be at one position.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct DistinctItem {
    /// Some of the finitely many values.
    pub values: Box<[DistinctValue]>,
    /// Any of infinitely many strings, quotes included. None of them is among the values of any position.
    pub strings: Option<ExprId>,
}

/// An array without equal items.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DistinctSpec {
    /// The first items.
    pub prefix: Box<[DistinctItem]>,
    /// The items after them.
    pub rest: DistinctItem,
    /// Whitespace.
    pub layout: Layout,
}

impl DistinctSpec {
    pub(crate) fn heap_bytes(&self) -> usize {
        let values = self.prefix.iter().chain([&self.rest]).flat_map(|item| &item.values);
        values.map(|v| size_of::<DistinctValue>() + v.text.as_ref().map_or(0, |t| t.len())).sum()
    }

    fn at(&self, index: u32) -> &DistinctItem {
        self.prefix.get(index as usize).unwrap_or(&self.rest)
    }
}

/// The rest of such an array: the next item, which of the values are used, how many items must and may follow.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct DistinctState {
    spec: u32,
    at: u32,
    used: Box<[u64]>,
    first: bool,
    lo: u32,
    hi: u32,
}

impl DistinctState {
    pub(crate) fn heap_bytes(&self) -> usize {
        self.used.len() * 8
    }

    fn has(&self, number: u32) -> bool {
        self.used[number as usize / 64] >> (number % 64) & 1 == 1
    }
}

/// Whether each of some positions can have a value of its own, by augmenting paths.
fn assignable(positions: &[Vec<u32>]) -> bool {
    fn place(
        at: usize,
        positions: &[Vec<u32>],
        owner: &mut hashbrown::HashMap<u32, usize>,
        tried: &mut hashbrown::HashSet<u32>,
    ) -> bool {
        positions[at].iter().any(|&value| {
            tried.insert(value)
                && owner.get(&value).copied().is_none_or(|other| place(other, positions, owner, tried))
                && {
                    owner.insert(value, at);
                    true
                }
        })
    }
    let mut owner = hashbrown::HashMap::new();
    (0..positions.len()).all(|at| place(at, positions, &mut owner, &mut hashbrown::HashSet::new()))
}

impl Store {
    /// An array of `lo` to `hi` different items; [`EMPTY`] if there is none. `values` is how many values there are.
    pub fn distinct_array(&self, spec: DistinctSpec, lo: u32, hi: u32, values: u32) -> ExprId {
        let hi = if self.writes(',') { hi } else { hi.min(1) };
        if lo > hi || !self.writes(']') {
            return EMPTY;
        }
        // More items than there are values can't be without strings that never run out.
        let most = if spec.rest.strings.is_some() { hi } else { hi.min(spec.prefix.len() as u32 + values) };
        let spec = self.intern_distinct(spec);
        let used = vec![0; values.div_ceil(64) as usize].into();
        let rest = self.distinct(DistinctState { spec, at: 0, used, first: true, lo, hi: most });
        self.concat(self.byte(b'['), rest)
    }

    /// A state, if it can be completed.
    fn distinct(&self, state: DistinctState) -> ExprId {
        let spec = self.distinct_spec(state.spec);
        if state.lo > state.hi {
            return EMPTY;
        }
        if state.at as usize >= spec.prefix.len() {
            // All positions are alike.
            let left = spec.rest.values.iter().filter(|v| !state.has(v.number)).count() as u64;
            let enough = spec.rest.strings.is_some() || left >= u64::from(state.lo);
            return if enough { self.intern(Node::Distinct(state)) } else { EMPTY };
        }
        let mut positions = Vec::new();
        for index in 0..state.lo {
            let item = spec.at(state.at.saturating_add(index));
            if item.strings.is_some() {
                // So have all after the listed ones.
                if state.at.saturating_add(index) as usize >= spec.prefix.len() {
                    break;
                }
                continue;
            }
            positions.push(item.values.iter().map(|v| v.number).filter(|&n| !state.has(n)).collect());
            if positions.len() > state.used.len() * 64 {
                return EMPTY;
            }
        }
        if assignable(&positions) { self.intern(Node::Distinct(state)) } else { EMPTY }
    }

    /// One step of a [`DistinctState`]: closes, or writes a separator, an item that isn't there yet, and goes on.
    pub(super) fn unfold_distinct(&self, state: &DistinctState) -> ExprId {
        let spec = self.distinct_spec(state.spec);
        let item = spec.at(state.at);
        let after = |used: Box<[u64]>| {
            let at = (state.at + 1).min(spec.prefix.len() as u32);
            let (lo, hi) = (state.lo.saturating_sub(1), one_less(state.hi));
            self.distinct(DistinctState { spec: state.spec, at, used, first: false, lo, hi })
        };
        let mut options = Vec::new();
        if state.hi > 0 {
            let mut literals = Vec::new();
            for value in item.values.iter().filter(|v| !state.has(v.number)) {
                let mut used = state.used.clone();
                used[value.number as usize / 64] |= 1 << (value.number % 64);
                let rest = after(used);
                match &value.text {
                    Some(text) => literals.push((text.clone(), rest)),
                    None => options.push(self.concat(value.spellings, rest)),
                }
            }
            options.push(self.switch(literals));
            if let Some(strings) = item.strings {
                let rest = self.marked(Mark::Key, after(state.used.clone()));
                options.push(self.concat(self.call_of(strings), rest));
            }
        }
        let mut more = self.union(options);
        if !state.first {
            more = self.sequence(&[self.byte(b','), spec.layout.after_comma, more]);
        }
        let closed = if state.lo == 0 { self.byte(b']') } else { EMPTY };
        self.close_or_go_on(&spec.layout, state.first, closed, more)
    }
}

#[cfg(test)]
mod tests {
    use super::assignable;

    #[test]
    fn positions_share_no_value() {
        assert!(assignable(&[]));
        assert!(assignable(&[vec![1, 2], vec![1]]));
        assert!(assignable(&[vec![1, 2], vec![1, 3], vec![1]]));
        assert!(!assignable(&[vec![1], vec![1]]));
        assert!(!assignable(&[vec![1, 2], vec![1, 2], vec![2, 1]]));
    }
}
