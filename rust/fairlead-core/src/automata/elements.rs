//! Arrays: the first items one by one, the others alike.

use super::expr::{ExprId, Flags, Mark, Node, RuleId, UNBOUNDED, one_less};
use super::members::{GoesOn, Layout};
use super::shortest::MOST_EXTRA;
use super::store::{EMPTY, Store};

/// What an array may contain.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ElementsSpec {
    /// The first items.
    pub prefix: Box<[RuleId]>,
    /// The items after them, if there may be any.
    pub rest: Option<RuleId>,
    /// Whether no two items may be equal. Then no position may run out of values, however many there are already.
    pub unique: bool,
    /// Whitespace.
    pub layout: Layout,
}

/// Items of a sample.
const MOST_ITEMS: u32 = 16;

/// The rest of an array: the next item, and how many must and may follow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct ElementsState {
    spec: u32,
    at: u32,
    first: bool,
    lo: u32,
    hi: u32,
}

impl ElementsState {
    pub(super) fn is_first(&self) -> bool {
        self.first
    }
}

impl Store {
    /// An array with `lo` to `hi` items; [`EMPTY`] if there is none. No item that is listed may be dead.
    pub fn array(&self, spec: ElementsSpec, lo: u32, hi: u32) -> ExprId {
        let hi = if spec.rest.is_none() { hi.min(spec.prefix.len() as u32) } else { hi };
        let hi = if self.writes(',') { hi } else { hi.min(1) };
        if lo > hi || !self.writes(']') {
            return EMPTY;
        }
        self.concat(self.byte(b'['), self.array_rest(spec, 0, true, lo, hi))
    }

    /// The rest of an array from one of its items on; it must be possible to complete it.
    pub(super) fn array_rest(&self, spec: ElementsSpec, at: u32, first: bool, lo: u32, hi: u32) -> ExprId {
        let possible =
            if spec.rest.is_none() { spec.prefix.len() as u32 - at.min(spec.prefix.len() as u32) } else { hi };
        if lo > hi.min(possible) {
            return EMPTY;
        }
        let at = at.min(spec.prefix.len() as u32);
        let spec = self.intern_elements(spec);
        self.intern(Node::Elements(ElementsState { spec, at, first, lo, hi: hi.min(possible) }))
    }

    /// Whether a rule may begin right at this state, as a flag.
    pub(super) fn elements_start(&self, state: &ElementsState) -> u16 {
        if state.first { Flags::STARTS } else { self.starts_after(&self.elements_spec(state.spec).layout) }
    }

    /// One step of an [`ElementsState`]: closes, or writes a separator, an item and goes on.
    pub(super) fn unfold_elements(&self, state: &ElementsState) -> ExprId {
        let spec = self.elements_spec(state.spec);
        let more = self.item_of(state).map_or(EMPTY, |item| {
            if state.first {
                self.next_item(state)
            } else {
                let item = self.spaced(spec.layout.after_comma, item);
                self.sequence(&[self.byte(b','), item, self.after_item(state)])
            }
        });
        let closed = if state.lo == 0 { self.byte(b']') } else { EMPTY };
        self.close_or_go_on(&spec.layout, state.first, closed, more)
    }

    fn item_of(&self, state: &ElementsState) -> Option<RuleId> {
        let spec = self.elements_spec(state.spec);
        spec.prefix.get(state.at as usize).copied().or(spec.rest).filter(|_| state.hi > 0)
    }

    fn after_item(&self, state: &ElementsState) -> ExprId {
        let spec = self.elements_spec(state.spec);
        let rest = self.intern(Node::Elements(ElementsState {
            at: (state.at + 1).min(spec.prefix.len() as u32),
            first: false,
            lo: state.lo.saturating_sub(1),
            hi: one_less(state.hi),
            ..*state
        }));
        if spec.unique { self.marked(Mark::Item, rest) } else { rest }
    }

    /// Whether there may be any number of items, or the next one's values have no end.
    pub(super) fn elements_endless(&self, state: &ElementsState, endless: impl FnOnce(RuleId) -> bool) -> bool {
        let spec = self.elements_spec(state.spec);
        let any_number = state.hi == UNBOUNDED && !spec.unique && spec.rest.is_some();
        any_number || self.item_of(state).is_some_and(endless)
    }

    /// The items that an array lacks, and its layout; `None` if there are very many, or must not be equal.
    pub(super) fn elements_missing(&self, state: &ElementsState) -> Option<(Layout, Vec<RuleId>)> {
        let spec = self.elements_spec(state.spec);
        let item = |i: u32| spec.prefix.get((state.at + i) as usize).copied().or(spec.rest);
        let again = spec.unique && state.lo > u32::from(state.first);
        if state.lo > MOST_EXTRA || again {
            return None;
        }
        Some((spec.layout, (0..state.lo).map(item).collect::<Option<_>>()?))
    }

    /// The items that a sample of an array has, and its layout.
    pub(super) fn elements_sample(&self, state: &ElementsState) -> (Layout, Vec<RuleId>) {
        let spec = self.elements_spec(state.spec);
        let usual = spec.prefix.len() as u32 + u32::from(spec.rest.is_some());
        let many = usual.max(state.lo).min(state.hi).min(MOST_ITEMS) as usize;
        let items = spec.prefix.iter().copied().chain(spec.rest.into_iter().cycle());
        (spec.layout, items.take(many).collect())
    }

    /// The next item and the rest of an array.
    pub(crate) fn next_item(&self, state: &ElementsState) -> ExprId {
        self.item_of(state).map_or(EMPTY, |item| self.concat(self.call(item), self.after_item(state)))
    }

    /// What an array goes on with.
    pub(crate) fn array_goes_on(&self, state: &ElementsState) -> Option<GoesOn> {
        let close = if state.lo == 0 { self.byte(b']') } else { EMPTY };
        self.goes_on(&self.elements_spec(state.spec).layout, state.first, close, self.item_of(state).is_some())
    }

    pub(super) fn clamp_elements(&self, e: ExprId, state: &ElementsState) -> ExprId {
        if self.elements_spec(state.spec).rest.is_none() {
            return e;
        }
        let hi = if state.hi > self.horizon { UNBOUNDED } else { state.hi };
        let lo = state.lo.min(self.horizon + 1);
        self.intern(Node::Elements(ElementsState { lo, hi, ..*state }))
    }
}
