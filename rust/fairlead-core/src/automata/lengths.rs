//! How many characters the texts of a regular expression have, and how many their ends need.

use indexmap::IndexSet;

use super::expr::{ExprId, Node, UNBOUNDED, one_less};
use super::store::{EMPTY, Store};

/// So many states are looked at to find out what a language needs.
const MANY_STATES: usize = 256;

/// The lengths of a language in code points: from `min` to `max`, every one of them unless there are `gaps`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lengths {
    min: u32,
    max: u32,
    gaps: bool,
}

fn times(a: u32, b: u32) -> u32 {
    match (a, b) {
        (0, _) | (_, 0) => 0,
        (UNBOUNDED, _) | (_, UNBOUNDED) => UNBOUNDED,
        _ => a.saturating_mul(b),
    }
}

impl Lengths {
    fn exactly(n: u32) -> Self {
        Self { min: n, max: n, gaps: false }
    }

    fn then(self, other: Self) -> Self {
        Self {
            min: self.min.saturating_add(other.min),
            max: self.max.saturating_add(other.max),
            gaps: self.gaps || other.gaps,
        }
    }

    fn or(self, other: Self) -> Self {
        let (a, b) = if self.min <= other.min { (self, other) } else { (other, self) };
        Self { min: a.min, max: a.max.max(b.max), gaps: a.gaps || b.gaps || b.min > a.max.saturating_add(1) }
    }

    fn repeated(self, min: u32, max: u32) -> Self {
        let step = times(min.saturating_add(1), self.min) > times(min, self.max).saturating_add(1);
        Self { min: times(min, self.min), max: times(max, self.max), gaps: self.gaps || (step && max > min) }
    }

    pub(crate) fn min(self) -> u32 {
        self.min
    }

    /// Whether some length lies between `lo` and `hi`; `None` when gaps leave it open.
    pub(crate) fn meets(self, lo: u32, hi: u32) -> Option<bool> {
        if self.max < lo || self.min > hi || lo > hi {
            return Some(false);
        }
        // The ends themselves are always lengths.
        let end_inside = (lo..=hi).contains(&self.min) || (self.max != UNBOUNDED && (lo..=hi).contains(&self.max));
        (!self.gaps || end_inside).then_some(true)
    }
}

impl Store {
    /// The lengths of a regular expression; `None` where intersections or complements hide them.
    pub(crate) fn lengths(&self, e: ExprId) -> Option<Lengths> {
        self.known_lengths.get_or_insert_with(e, || self.count_lengths(e))
    }

    fn count_lengths(&self, e: ExprId) -> Option<Lengths> {
        let starts = |b: u8| b & 0xC0 != 0x80;
        match self.node(e) {
            Node::Eps => Some(Lengths::exactly(0)),
            Node::Bytes(set) => {
                let mut kinds = set.ranges().flat_map(|(lo, hi)| [starts(lo), starts(hi)]);
                let first = kinds.next()?;
                kinds.all(|k| k == first).then(|| Lengths::exactly(u32::from(first)))
            }
            Node::Concat(a, b) => Some(self.lengths(*a)?.then(self.lengths(*b)?)),
            Node::Union(parts) => {
                // Joined from the shortest, so that a gap is seen exactly where there is one.
                let mut all: Vec<_> = parts.iter().map(|&p| self.lengths(p)).collect::<Option<_>>()?;
                all.sort_unstable_by_key(|l: &Lengths| l.min);
                all.into_iter().reduce(Lengths::or)
            }
            Node::Repeat { body, min, max } => Some(self.lengths(*body)?.repeated(*min, *max)),
            Node::Switch(slice) => {
                let entries = &self.table(slice.table).entries[slice.lo as usize..slice.hi as usize];
                let mut all = Vec::new();
                for (text, tail) in entries {
                    let rest = text[slice.depth as usize..].iter().filter(|&&b| starts(b)).count() as u32;
                    all.push(Lengths::exactly(rest).then(self.lengths(*tail)?));
                }
                all.sort_unstable_by_key(|l: &Lengths| l.min);
                all.into_iter().reduce(Lengths::or)
            }
            _ => None,
        }
    }

    /// So many characters complete a text of a regular expression wherever it stands, or fewer; `None` if that isn't found
    /// out.
    pub(crate) fn needed(&self, e: ExprId) -> Option<u32> {
        self.known_needs.get_or_insert_with(e, || self.find_needed(e))
    }

    fn find_needed(&self, e: ExprId) -> Option<u32> {
        let least = |e: ExprId| self.lengths(e).map(Lengths::min).or_else(|| self.needed(e));
        match self.node(e) {
            Node::Eps => Some(0),
            Node::Bytes(_) => Some(1),
            Node::Concat(a, b) => {
                let first = self.needed(*a)?.saturating_add(least(*b)?);
                Some(first.max(self.needed(*b)?))
            }
            Node::Union(parts) => {
                parts.iter().map(|&part| self.needed(part)).try_fold(0, |most, one| Some(most.max(one?)))
            }
            Node::Repeat { body, min, .. } => {
                let others = match one_less(*min) {
                    0 => 0,
                    others => least(*body)?.saturating_mul(others),
                };
                Some(self.needed(*body)?.saturating_add(others))
            }
            Node::Switch(slice) => {
                let entries = &self.table(slice.table).entries[slice.lo as usize..slice.hi as usize];
                let rest = |(text, tail): &(Box<[u8]>, ExprId)| {
                    Some((text.len() as u32 - slice.depth).saturating_add(self.needed(*tail)?))
                };
                entries.iter().map(rest).try_fold(0, |most, one| Some(most.max(one?)))
            }
            _ => self.search_needed(e),
        }
    }

    /// The same by a look at all states, if they aren't many.
    fn search_needed(&self, e: ExprId) -> Option<u32> {
        let flags = self.flags(e);
        if flags.calls() || flags.labels() || flags.tokens() {
            return None;
        }
        let mut states: IndexSet<ExprId> = [e].into_iter().collect();
        let mut edges: Vec<Vec<usize>> = Vec::new();
        while edges.len() < states.len() {
            let mut targets = Vec::new();
            for edge in &self.row(states[edges.len()]).edges {
                if edge.to != EMPTY && self.alive(edge.to) {
                    targets.push(states.insert_full(edge.to).0);
                }
            }
            if states.len() > MANY_STATES {
                return None;
            }
            targets.dedup();
            edges.push(targets);
        }
        let mut needed: Vec<u32> =
            states.iter().map(|&state| if self.nullable(state) { 0 } else { UNBOUNDED }).collect();
        loop {
            let mut changed = false;
            for (at, targets) in edges.iter().enumerate().rev() {
                let next = targets.iter().map(|&to| needed[to].saturating_add(1)).min().unwrap_or(UNBOUNDED);
                if next < needed[at] {
                    needed[at] = next;
                    changed = true;
                }
            }
            if !changed {
                return needed.into_iter().max();
            }
        }
    }
}
