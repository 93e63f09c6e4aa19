//! Arrays of which so many items have to be of some kind: `contains`, and "some item breaks the rule".
//!
//! An item counts for nothing, or for some of the tallies. Each way is a rule of its own, so whoever lowers a schema
//! splits an item's values into those that match and those that don't; where only a least number is asked for, the
//! two may overlap.

use hashbrown::HashMap;

use super::elements::ElementsSpec;
use super::expr::{ExprId, Mark, Node, RuleId, UNBOUNDED};
use super::members::Layout;
use super::store::{EMPTY, Store};

/// How many more there must and may be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Tally {
    /// At least.
    pub lo: u32,
    /// At most, or [`UNBOUNDED`].
    pub hi: u32,
}

impl Tally {
    fn after(self, n: u32) -> Option<Self> {
        let hi = if self.hi == UNBOUNDED { UNBOUNDED } else { self.hi.checked_sub(n)? };
        Some(Self { lo: self.lo.saturating_sub(n), hi })
    }

    fn is_idle(self) -> bool {
        self.lo == 0 && self.hi == UNBOUNDED
    }
}

/// What an item may be at one position: the tallies that it counts for, one bit each, and its rule.
pub type Choices = Box<[(u16, RuleId)]>;

/// An array whose items are counted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CountedSpec {
    /// The first items.
    pub prefix: Box<[Choices]>,
    /// The items after them.
    pub rest: Choices,
    /// Whether no two items may be equal. Then no kind may run out of values, however many there are already.
    pub unique: bool,
    /// Whitespace.
    pub layout: Layout,
}

impl CountedSpec {
    pub(crate) fn heap_bytes(&self) -> usize {
        self.prefix.iter().chain([&self.rest]).map(|choices| 16 + choices.len() * 8).sum()
    }

    fn at(&self, index: u32) -> &Choices {
        self.prefix.get(index as usize).unwrap_or(&self.rest)
    }
}

/// The rest of an array: the next item, how many must and may follow, and how many of them for each tally.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct CountedState {
    spec: u32,
    at: u32,
    first: bool,
    total: Tally,
    tallies: Box<[Tally]>,
}

impl CountedState {
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.tallies)
    }
}

/// For each position, and all after, which sets of tallies an item may count for.
#[derive(Debug)]
pub(crate) struct Kinds {
    pub(crate) prefix: Vec<Vec<u16>>,
    pub(crate) rest: Vec<u16>,
}

impl Kinds {
    /// A bound on what one question about these arrays costs.
    pub(crate) fn cost(&self, total: Tally, tallies: &[Tally]) -> f64 {
        let most = |t: &Tally| f64::from(t.lo) + 1.0;
        if tallies.iter().all(|t| t.hi == UNBOUNDED) {
            let states: f64 = tallies.iter().map(most).product();
            let kinds = f64::from(self.rest.len() as u32);
            return states * (f64::from(self.prefix.len() as u32) + if tallies.len() > 1 { kinds } else { 1.0 });
        }
        let states: f64 =
            tallies.iter().map(|t| most(t) + if t.hi == UNBOUNDED { 0.0 } else { f64::from(t.hi) }).product();
        let several = self.rest.iter().filter(|kind| kind.count_ones() > 1);
        let each = tallies.iter().map(most).fold(most(&total), f64::max);
        (f64::from(self.prefix.len() as u32) * states).max(1.0) * several.map(|_| each).product::<f64>()
    }

    /// Whether some array goes on from the position with the given numbers of items.
    pub(crate) fn completable(&self, at: u32, total: Tally, tallies: &[Tally]) -> bool {
        self.search(at as usize, total, tallies, &mut HashMap::new())
    }

    fn search(
        &self,
        at: usize,
        total: Tally,
        tallies: &[Tally],
        known: &mut HashMap<(usize, Box<[Tally]>), bool>,
    ) -> bool {
        if total.lo == 0 && tallies.iter().all(|t| t.lo == 0) {
            return true;
        }
        let Some(kinds) = self.prefix.get(at) else {
            if tallies.len() > 1 && tallies.iter().all(|t| t.hi == UNBOUNDED) {
                // Further items, of any kind, make up for what the total lacks.
                let enough = |n: u32| total.lo <= n || (total.lo <= total.hi && !self.rest.is_empty());
                return self.least_items(total.hi, tallies).is_some_and(enough);
            }
            let several: Vec<u16> = self.rest.iter().copied().filter(|kind| kind.count_ones() > 1).collect();
            return self.rest_fits(&several, total, tallies);
        };
        let key = (at, tallies.into());
        if let Some(&known) = known.get(&key) {
            return known;
        }
        let found = total.after(1).is_some_and(|total| {
            kinds.iter().any(|&kind| counted(kind, 1, tallies).is_some_and(|t| self.search(at + 1, total, &t, known)))
        });
        known.insert(key, found);
        found
    }

    /// How few of the items after the listed ones reach all least numbers, where there are no greatest, and no more
    /// than `most` items; breadth first.
    fn least_items(&self, most: u32, tallies: &[Tally]) -> Option<u32> {
        let mut reached: Vec<Box<[Tally]>> = vec![tallies.into()];
        let mut known: hashbrown::HashSet<Box<[Tally]>> = reached.iter().cloned().collect();
        let mut n = 0;
        while !reached.iter().any(|tallies| tallies.iter().all(|t| t.lo == 0)) {
            let next =
                reached.iter().flat_map(|tallies| self.rest.iter().filter_map(|&kind| counted(kind, 1, tallies)));
            reached = next.filter(|tallies| known.insert(tallies.clone())).collect();
            n += 1;
            if reached.is_empty() || n > most {
                return None;
            }
        }
        Some(n)
    }

    /// The items after the listed ones, whose order doesn't matter: how many are there of each kind?
    fn rest_fits(&self, several: &[u16], total: Tally, tallies: &[Tally]) -> bool {
        if let Some((&kind, others)) = several.split_first() {
            // More than any least number is never needed.
            let most = tallies.iter().map(|t| t.lo).fold(total.lo, u32::max);
            return (0..=most).any(|n| {
                let (total, tallies) = (total.after(n), counted(kind, n, tallies));
                total.zip(tallies).is_some_and(|(total, tallies)| self.rest_fits(others, total, &tallies))
            });
        }
        let (mut lo, mut hi) = (0u64, 0u64);
        for (i, tally) in tallies.iter().enumerate() {
            if self.rest.contains(&(1 << i)) {
                lo += u64::from(tally.lo);
                hi += u64::from(tally.hi);
            } else if tally.lo > 0 {
                return false;
            }
        }
        let hi = if self.rest.contains(&0) { u64::MAX } else { hi };
        lo <= u64::from(total.hi) && u64::from(total.lo) <= hi
    }
}

/// The tallies after `n` items of a kind; `None` if one has too many.
fn counted(kind: u16, n: u32, tallies: &[Tally]) -> Option<Box<[Tally]>> {
    tallies.iter().enumerate().map(|(i, t)| t.after(n * u32::from(kind >> i & 1))).collect()
}

impl Store {
    /// An array whose items meet a total and some tallies; [`EMPTY`](super::EMPTY) if there is none. No item that is
    /// listed may be dead.
    pub fn counted_array(&self, spec: CountedSpec, total: Tally, tallies: &[Tally]) -> ExprId {
        let hi = if self.writes(',') { total.hi } else { total.hi.min(1) };
        if total.lo > hi || !self.writes(']') {
            return EMPTY;
        }
        let spec = self.intern_counted(spec);
        let total = Tally { hi, ..total };
        let rest = self.counted(CountedState { spec, at: 0, first: true, total, tallies: tallies.into() });
        self.concat(self.byte(b'['), rest)
    }

    /// A state, if it can be completed. One that counts nothing any more is a plain array.
    fn counted(&self, state: CountedState) -> ExprId {
        let spec = self.counted_spec(state.spec);
        if state.tallies.iter().all(|t| t.is_idle()) {
            let plain = |choices: &Choices| choices.iter().find(|(kind, _)| *kind == 0).map(|(_, rule)| *rule);
            let prefix: Vec<RuleId> = spec.prefix.iter().map_while(plain).collect();
            let rest = plain(&spec.rest).filter(|_| prefix.len() == spec.prefix.len());
            let spec = ElementsSpec { prefix: prefix.into(), rest, unique: spec.unique, layout: spec.layout };
            return self.array_rest(spec, state.at, state.first, state.total.lo, state.total.hi);
        }
        let kinds = |choices: &Choices| choices.iter().map(|(kind, _)| *kind).collect();
        let kinds = Kinds { prefix: spec.prefix.iter().map(kinds).collect(), rest: kinds(&spec.rest) };
        if kinds.completable(state.at, state.total, &state.tallies) { self.intern(Node::Counted(state)) } else { EMPTY }
    }

    /// One step of a [`CountedState`]: closes, or writes a separator, an item of some kind and goes on.
    pub(super) fn unfold_counted(&self, state: &CountedState) -> ExprId {
        let spec = self.counted_spec(state.spec);
        let mut options = Vec::new();
        for &(kind, rule) in spec.at(state.at) {
            // What is idle need not be counted: the same item counts for nothing as well.
            let idle = state.tallies.iter().enumerate().any(|(i, t)| kind >> i & 1 == 1 && t.is_idle());
            let (Some(total), Some(tallies)) = (state.total.after(1), counted(kind, 1, &state.tallies)) else {
                continue;
            };
            if idle {
                continue;
            }
            let at = (state.at + 1).min(spec.prefix.len() as u32);
            let rest = self.counted(CountedState { spec: state.spec, at, first: false, total, tallies });
            let item = if state.first { self.call(rule) } else { self.spaced(spec.layout.after_comma, rule) };
            let rest = if spec.unique { self.marked(Mark::Item, rest) } else { rest };
            options.push(self.concat(item, rest));
        }
        let mut more = self.union(options);
        if !state.first {
            more = self.concat(self.byte(b','), more);
        }
        let done = state.total.lo == 0 && state.tallies.iter().all(|t| t.lo == 0);
        let closed = if done { self.byte(b']') } else { EMPTY };
        self.close_or_go_on(&spec.layout, state.first, closed, more)
    }

    /// Counts further than any token from their bounds are let go, where no bound stands against another.
    pub(super) fn clamp_counted(&self, e: ExprId, state: &CountedState) -> ExprId {
        let needed: u64 = state.tallies.iter().chain([&state.total]).map(|t| u64::from(t.lo)).sum();
        let far = |t: Tally| t.hi == UNBOUNDED || u64::from(t.hi) > needed + u64::from(self.horizon);
        if !state.tallies.iter().chain([&state.total]).all(|&t| far(t)) {
            return e;
        }
        let near = |lo: u32| lo.min(self.horizon + 1);
        let needed: u32 = state.tallies.iter().chain([&state.total]).map(|t| near(t.lo)).sum();
        // A tally that has a bound keeps one: what doesn't count is told apart there.
        let bound = |hi: u32| if hi == UNBOUNDED { UNBOUNDED } else { needed + self.horizon + 1 };
        let total = Tally { lo: near(state.total.lo), hi: UNBOUNDED };
        let tallies = state.tallies.iter().map(|t| Tally { lo: near(t.lo), hi: bound(t.hi) }).collect();
        self.counted(CountedState { total, tallies, ..state.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All arrays of up to seven items, one by one.
    fn found(kinds: &Kinds, at: usize, total: Tally, tallies: &[Tally], depth: u32) -> bool {
        let fits = |t: &Tally| t.lo == 0;
        if fits(&total) && tallies.iter().all(fits) {
            return true;
        }
        let Some(total) = total.after(1).filter(|_| depth > 0) else { return false };
        let here = kinds.prefix.get(at).unwrap_or(&kinds.rest);
        let mut next = here.iter().filter_map(|&kind| counted(kind, 1, tallies));
        next.any(|tallies| found(kinds, at + 1, total, &tallies, depth - 1))
    }

    fn tally() -> impl Strategy<Value = Tally> {
        (0..3u32, prop_oneof![Just(UNBOUNDED), 0..4u32]).prop_map(|(lo, hi)| Tally { lo, hi })
    }

    proptest! {
        #[test]
        fn what_can_be_completed_is_what_a_search_completes(
            prefix in proptest::collection::vec(proptest::sample::subsequence((0..8u16).collect::<Vec<_>>(), 0..4), 0..3),
            rest in proptest::sample::subsequence((0..8u16).collect::<Vec<_>>(), 0..4),
            (total, tallies) in (tally(), proptest::collection::vec(tally(), 3)),
        ) {
            let kinds = Kinds { prefix, rest };
            let fine = tallies.iter().chain([&total]).all(|t| t.lo <= t.hi);
            prop_assume!(fine);
            prop_assert_eq!(kinds.completable(0, total, &tallies), found(&kinds, 0, total, &tallies, 8));
        }
    }
}
