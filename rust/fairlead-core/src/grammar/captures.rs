//! What the rules of a grammar stand for in a text: one derivation, read off a chart of where each rule that is needed
//! may end (top-down; rules that need themselves at one place are worked out in passes until nothing changes).
//!
//! Of several derivations it is the one in which, from the left, each piece of a sequence and each round of a repetition
//! takes as much as it can, and of the alternatives the first that fits.

use std::ops::Range;

use hashbrown::{HashMap, HashSet};

use super::{Item, Rule};
use crate::automata::{Completed, ExprId, Keys, Link, Stack, Store, Top, Tops, UNBOUNDED};
use crate::error::Error;
use crate::limits::Limits;

/// Steps of the chart for each node that a grammar may have.
const STEPS: usize = 32;

/// Places in a text, ascending.
type Ends = Vec<u32>;

/// A rule that stands for a part of the text.
pub(super) struct Capture {
    pub(super) rule: usize,
    pub(super) span: Range<usize>,
    /// How many others had ended before.
    pub(super) ended: usize,
}

/// So deep may rules stand in one another, on a stack of so many bytes.
const DEPTH: usize = 10_000;
const STACK: usize = 128 << 20;

struct Chart<'a> {
    store: &'a Store,
    rules: &'a [Rule],
    text: &'a [u8],
    /// Where a rule that begins at a place may end: known, or what is known so far.
    ends: HashMap<(usize, usize), Entry>,
    terminals: HashMap<(ExprId, usize), Ends>,
    depth: usize,
    left: usize,
}

#[derive(Default)]
struct Entry {
    ends: Ends,
    visit: Visit,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Visit {
    /// Not looked at in this pass.
    #[default]
    New,
    Open,
    /// Looked at in this pass, with what was known then.
    Seen,
    Known,
}

/// The rules that begin at one place, while they are worked out together.
#[derive(Default)]
struct Pass {
    start: usize,
    seen: Vec<usize>,
    /// A rule was needed while it was looked at.
    recursive: bool,
    changed: bool,
}

/// Keys were told apart when the text was accepted.
struct AnyKey;

impl Keys for AnyKey {
    fn completed(&mut self, what: Completed) -> Option<u32> {
        Some(what.extra)
    }
}

/// All rules that one derivation of a text uses, in the order in which they begin, outer ones first; `None` if the text
/// has no derivation.
///
/// # Errors
/// The text takes more steps than the limits allow, or rules stand in one another too deeply.
pub(super) fn captures(
    store: &Store,
    rules: &[Rule],
    root: usize,
    text: &[u8],
    limits: &Limits,
) -> Result<Option<Vec<Capture>>, Error> {
    let work = || {
        let left = limits.max_nodes.saturating_mul(STEPS);
        let mut chart = Chart { store, rules, text, ends: HashMap::new(), terminals: HashMap::new(), depth: 0, left };
        chart.rule(root, 0, None)?;
        let mut derivation = Derivation { chart, found: Vec::new(), ended: 0, open: HashSet::new() };
        let whole = derivation.rule(root, 0, text.len() as u32)?;
        Ok(whole.then_some(derivation.found))
    };
    // Rules that stand in one another are calls that do; a thread of its own has the room.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let thread = thread.map_err(|e| Error::limit(format!("no thread for the captures: {e}")))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn union(into: &mut Ends, more: &[u32]) {
    let sorted = into.last().is_none_or(|last| more.first().is_none_or(|first| last < first));
    into.extend_from_slice(more);
    if !sorted {
        into.sort_unstable();
        into.dedup();
    }
}

impl Chart<'_> {
    fn spend(&mut self, steps: usize) -> Result<(), Error> {
        match self.left.checked_sub(steps) {
            Some(left) => self.left = left,
            None => return Err(Error::limit("the captures of this text take too many steps")),
        }
        Ok(())
    }

    /// Where a rule that begins at a place may end. What begins behind it never needs what begins here, so rules that
    /// need one another begin at one place: `pass` is that of those which are being worked out.
    fn rule(&mut self, rule: usize, start: usize, pass: Option<&mut Pass>) -> Result<Ends, Error> {
        if let Some(pass) = pass.filter(|pass| pass.start == start) {
            return self.visit(rule, pass);
        }
        if let Some(entry) = self.ends.get(&(rule, start)).filter(|entry| entry.visit == Visit::Known) {
            return Ok(entry.ends.clone());
        }
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Error::limit(format!("rules stand in one another more than {DEPTH} deep in this text")));
        }
        let mut pass = Pass { start, ..Pass::default() };
        let ends = loop {
            let ends = self.visit(rule, &mut pass)?;
            let again = std::mem::take(&mut pass.recursive) & std::mem::take(&mut pass.changed);
            for rule in pass.seen.drain(..) {
                let entry = self.ends.entry((rule, start)).or_default();
                entry.visit = if again { Visit::New } else { Visit::Known };
            }
            if !again {
                break ends;
            }
        };
        self.depth -= 1;
        Ok(ends)
    }

    fn visit(&mut self, rule: usize, pass: &mut Pass) -> Result<Ends, Error> {
        let place = (rule, pass.start);
        let entry = self.ends.entry(place).or_default();
        if entry.visit != Visit::New {
            pass.recursive |= entry.visit == Visit::Open;
            return Ok(entry.ends.clone());
        }
        entry.visit = Visit::Open;
        let rules = self.rules;
        let ends = self.ends_of(&rules[rule].body, pass.start, Some(pass))?;
        let entry = self.ends.entry(place).or_default();
        pass.changed |= entry.ends != ends;
        pass.seen.push(rule);
        *entry = Entry { ends: ends.clone(), visit: Visit::Seen };
        Ok(ends)
    }

    /// Where an item that begins at a place may end.
    fn ends_of(&mut self, item: &Item, start: usize, mut pass: Option<&mut Pass>) -> Result<Ends, Error> {
        self.spend(1)?;
        let text = self.text;
        Ok(match item {
            Item::Text(wanted) if text[start..].starts_with(wanted) => vec![(start + wanted.len()) as u32],
            Item::Text(_) => Vec::new(),
            Item::Class(ranges) => {
                let next = text[start..].utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
                let fits = |c: &char| ranges.iter().any(|(lo, hi)| (lo..=hi).contains(&c));
                next.filter(fits).map(|c| (start + c.len_utf8()) as u32).into_iter().collect()
            }
            Item::Expr(e) | Item::Read(e, _) => self.terminal(*e, start)?,
            Item::Rule(rule) | Item::Call(rule) => {
                let mut ends = self.rule(*rule, start, pass)?;
                let least = start + usize::from(matches!(item, Item::Call(_)));
                ends.retain(|&end| end as usize >= least);
                ends
            }
            Item::Sequence(items) => self.sequence(items, start, pass)?,
            Item::Choice(items) => {
                let mut all = Vec::new();
                for item in items {
                    let ends = self.ends_of(item, start, pass.as_deref_mut())?;
                    union(&mut all, &ends);
                }
                all
            }
            Item::Repeat(inner, min, max) => self.repetition(inner, (*min, *max), start, pass)?,
        })
    }

    fn sequence(&mut self, items: &[Item], start: usize, mut pass: Option<&mut Pass>) -> Result<Ends, Error> {
        let mut places = vec![start as u32];
        for item in items {
            let mut next = Vec::new();
            for place in places {
                let ends = self.ends_of(item, place as usize, pass.as_deref_mut())?;
                union(&mut next, &ends);
            }
            places = next;
        }
        Ok(places)
    }

    fn repetition(
        &mut self,
        inner: &Item,
        (min, max): (u32, u32),
        start: usize,
        mut pass: Option<&mut Pass>,
    ) -> Result<Ends, Error> {
        let mut reached = if min == 0 { vec![start as u32] } else { Vec::new() };
        let mut places = vec![start as u32];
        let mut round = 0;
        while round < max && !places.is_empty() {
            round += 1;
            let mut next = Vec::new();
            for &place in &places {
                let ends = self.ends_of(inner, place as usize, pass.as_deref_mut())?;
                union(&mut next, &ends);
            }
            if round < min && next == places {
                // Only empty rounds are left.
                round = min;
            }
            if round >= min {
                // Who was here with fewer rounds has gone on from here.
                next.retain(|place| reached.binary_search(place).is_err());
                union(&mut reached, &next);
            }
            places = next;
        }
        Ok(reached)
    }

    /// Where a text of an expression that begins at a place may end.
    fn terminal(&mut self, e: ExprId, start: usize) -> Result<Ends, Error> {
        if let Some(ends) = self.terminals.get(&(e, start)) {
            return Ok(ends.clone());
        }
        let mut stack = Stack::new();
        let mut tops: Tops = std::iter::once(Top { frame: e, extra: 0, link: Link::BASE }).collect();
        let mut ends = Vec::new();
        for at in start..=self.text.len() {
            if stack.may_end(self.store, &tops) {
                ends.push(at as u32);
            }
            let Some(&b) = self.text.get(at) else { break };
            tops = stack.step(self.store, &tops, b, &mut AnyKey);
            if tops.is_empty() {
                break;
            }
            self.spend(1)?;
        }
        self.terminals.insert((e, start), ends.clone());
        Ok(ends)
    }
}

/// One derivation, read off a chart that is complete.
struct Derivation<'a> {
    chart: Chart<'a>,
    found: Vec<Capture>,
    ended: usize,
    /// What stands for itself, which a derivation never needs.
    open: HashSet<(usize, u32, u32)>,
}

impl Derivation<'_> {
    /// Derives a part of the text; `false`, with nothing changed, if that only goes round in a circle.
    fn rule(&mut self, rule: usize, start: u32, end: u32) -> Result<bool, Error> {
        let fits = self.chart.rule(rule, start as usize, None)?.contains(&end);
        if !fits || !self.open.insert((rule, start, end)) {
            return Ok(false);
        }
        if self.open.len() > DEPTH {
            return Err(Error::limit(format!("rules stand in one another more than {DEPTH} deep in this text")));
        }
        let before = self.found.len();
        self.found.push(Capture { rule, span: start as usize..end as usize, ended: 0 });
        let rules = self.chart.rules;
        let fine = self.item(&rules[rule].body, start, end)?;
        self.open.remove(&(rule, start, end));
        if fine {
            self.found[before].ended = self.ended;
            self.ended += 1;
        } else {
            self.found.truncate(before);
        }
        Ok(fine)
    }

    fn ends_of(&mut self, item: &Item, start: u32) -> Result<Ends, Error> {
        self.chart.ends_of(item, start as usize, None)
    }

    fn item(&mut self, item: &Item, start: u32, end: u32) -> Result<bool, Error> {
        match item {
            Item::Rule(rule) | Item::Call(rule) => self.rule(*rule, start, end),
            Item::Read(_, read) => self.item(read, start, end),
            Item::Sequence(items) => self.sequence(items, start, end),
            Item::Choice(items) => {
                for item in items {
                    if self.ends_of(item, start)?.contains(&end) && self.item(item, start, end)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Item::Repeat(inner, min, max) => self.repetition(inner, (*min, *max), start, end),
            Item::Text(_) | Item::Class(_) | Item::Expr(_) => Ok(self.ends_of(item, start)?.contains(&end)),
        }
    }

    fn sequence(&mut self, items: &[Item], start: u32, end: u32) -> Result<bool, Error> {
        let Some((first, rest)) = items.split_first() else { return Ok(start == end) };
        let before = self.found.len();
        for place in self.ends_of(first, start)?.into_iter().rev().filter(|&place| place <= end) {
            let fits = self.chart.sequence(rest, place as usize, None)?.contains(&end);
            if fits && self.item(first, start, place)? && self.sequence(rest, place, end)? {
                return Ok(true);
            }
            self.found.truncate(before);
        }
        Ok(false)
    }

    fn repetition(&mut self, inner: &Item, (min, max): (u32, u32), start: u32, end: u32) -> Result<bool, Error> {
        if min <= 1 && max == UNBOUNDED {
            return self.rounds(inner, min, start, end);
        }
        let (mut at, mut bounds, before) = (start, (min, max), self.found.len());
        // Each round is fixed before the next: whatever it takes, the rest fits.
        while at < end && bounds.1 > 0 {
            let left = (bounds.0.saturating_sub(1), if bounds.1 == UNBOUNDED { UNBOUNDED } else { bounds.1 - 1 });
            let mut taken = None;
            for place in self.ends_of(inner, at)?.into_iter().rev().filter(|&place| at < place && place <= end) {
                let fits = self.chart.repetition(inner, left, place as usize, None)?.contains(&end);
                if fits && self.item(inner, at, place)? {
                    taken = Some(place);
                    break;
                }
            }
            let Some(place) = taken else {
                self.found.truncate(before);
                return Ok(false);
            };
            (at, bounds) = (place, left);
        }
        // Rounds that are owed still are empty ones.
        Ok(at == end && (bounds.0 == 0 || self.ends_of(inner, at)?.contains(&at)))
    }

    /// The same for any number of rounds, in which a place is good if the end can be reached from it.
    fn rounds(&mut self, inner: &Item, min: u32, start: u32, end: u32) -> Result<bool, Error> {
        let mut reached = self.chart.repetition(inner, (0, UNBOUNDED), start as usize, None)?;
        reached.retain(|&place| place <= end);
        let mut good: HashMap<u32, Ends> = HashMap::new();
        for &place in reached.iter().rev() {
            let ends = self.ends_of(inner, place)?;
            let fits = |to: &u32| place < *to && (*to == end || good.contains_key(to));
            let ends: Ends = ends.into_iter().filter(fits).collect();
            if !ends.is_empty() {
                good.insert(place, ends);
            }
        }
        let (mut at, before) = (start, self.found.len());
        while at < end {
            let mut taken = None;
            for &place in good.get(&at).into_iter().flatten().rev() {
                if self.item(inner, at, place)? {
                    taken = Some(place);
                    break;
                }
            }
            let Some(place) = taken else {
                self.found.truncate(before);
                return Ok(false);
            };
            at = place;
        }
        Ok(min == 0 || start < end || self.ends_of(inner, at)?.contains(&at))
    }
}
