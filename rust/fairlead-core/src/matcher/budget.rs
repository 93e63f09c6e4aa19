//! Budgets: masks are narrowed in time, so that a text is complete before its tokens or characters run out.
//!
//! What it takes to complete a text is the sum over its frames of what a short text for each takes, which is remembered
//! by frame. A mask is narrowed only where some token could make more necessary than is left. How much that can be is
//! put together as masks are: of what tokens can make of one frame, and where they leave it, each found by a walk of the
//! vocabulary and remembered by frame. Near the end a walk with all frames decides which tokens stay.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::GrammarMatcher;
use crate::automata::{Completed, EPS, ExprId, Keys, Link, Stack, Store, Top, Tops};
use crate::error::Error;
use crate::mask::{AT_ROOT, ExitsId, NO_EXITS, Space, covers, set_bits};
use crate::vocab::{CUT, Child, ROOT, Vocabulary};

/// How much a text may have in all. Where it can't be kept to, because the text is further from its end than it was
/// thought to be, masks are those without it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Budget {
    /// Tokens, the stop token among them; a string that is accepted counts as one.
    pub tokens: Option<u32>,
    /// Unicode characters.
    pub characters: Option<u32>,
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Unit {
    Tokens,
    Characters,
}

impl Unit {
    /// What ending the text takes.
    fn end(self) -> u32 {
        u32::from(self == Self::Tokens)
    }

    fn of(self, vocab: &Vocabulary, token: u32) -> u32 {
        match self {
            Self::Tokens => 1,
            Self::Characters => characters(vocab.bytes(token).unwrap_or_default()),
        }
    }
}

/// What has been written of a budget.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    tokens: u32,
    characters: u32,
}

impl Spent {
    pub(super) fn tokens(self) -> u32 {
        self.tokens
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.tokens += 1;
        self.characters += characters(bytes);
    }
}

/// Tokens that complete the text from a place on.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    at: usize,
    tokens: Vec<u32>,
}

impl Plan {
    /// Keeps the plan if a token follows it.
    pub(super) fn follow(&mut self, before: usize, token: u32, after: usize) {
        if self.at == before && self.tokens.first() == Some(&token) {
            self.tokens.remove(0);
            self.at = after;
        } else {
            self.tokens.clear();
        }
    }
}

fn characters(bytes: &[u8]) -> u32 {
    bytes.iter().filter(|&&b| b & 0xC0 != 0x80).count() as u32
}

/// What it may take more to make a key, or an item, another one.
const ANOTHER: u32 = 2;
/// What a frame takes of which no short text is known.
const UNKNOWN: u32 = 256;
/// Nodes below which it is worth while to ask what a string's structure tells.
const WORTH_A_LOOK: usize = 24;
/// Frames that are looked at before it is given up to bound what a token can add.
const MOST_FRAMES: usize = 256;

/// What tokens can make of a frame, from a set of trie nodes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// The most that a token and completing the frame after it takes.
    most: u32,
    /// Where tokens leave it.
    exits: ExitsId,
}

impl Space {
    /// What a short text that completes a frame takes.
    fn cost(&self, frame: ExprId, unit: Unit) -> u32 {
        self.costs.get_or_insert_with((frame, unit), || {
            self.store.charge(32);
            match (self.store.shortest(frame), unit) {
                (None, _) => UNKNOWN,
                (Some(text), Unit::Characters) => characters(&text),
                (Some(text), Unit::Tokens) => self.spell(&text).map_or(text.len(), |tokens| tokens.len()) as u32,
            }
        })
    }

    /// What tokens can make of a frame, from a set of nodes on; of a string, with `rough`, what its structure tells.
    fn reach(&self, frame: ExprId, from: ExitsId, unit: Unit, rough: bool) -> Reach {
        self.reaches.get_or_insert_with((frame, from, unit, rough), || {
            self.store.charge(32);
            let told = self.store.string_remainder(frame).filter(|_| rough);
            if let Some(most) = told {
                let longest = if unit == Unit::Tokens { 1 } else { self.vocab.longest() as u32 };
                return Reach { most: most.saturating_add(longest), exits: self.exits_after(from, frame) };
            }
            let mut stack = Stack::new();
            let mut walk = Walk::new(self, &mut stack, unit);
            let frame = self.store.after_mark(frame);
            let tops = Tops::from([Top { frame, extra: 0, link: Link::BASE }]);
            let mut exits = if self.store.nullable(frame) { self.exit_nodes(from).to_vec() } else { Vec::new() };
            let mut found = Found { rough, most: 0, exits: Some(&mut exits) };
            if frame != EPS {
                walk.visit_all(self.exit_heads(from), &tops, &mut found);
            }
            let most = found.most;
            exits.sort_unstable();
            exits.dedup();
            Reach { most, exits: self.exits_id(exits) }
        })
    }

    /// The fewest tokens that write a text.
    fn spell(&self, text: &[u8]) -> Option<Vec<u32>> {
        let trie = &self.vocab.trie;
        // From the end: how many tokens the rest takes, and the first of them with its length.
        let mut best: Vec<Option<(u32, u32, usize)>> = vec![None; text.len() + 1];
        best[text.len()] = Some((0, 0, 0));
        for from in (0..text.len()).rev() {
            let mut node = ROOT;
            for to in from + 1..=text.len() {
                let Some(next) = trie.child(node, text[to - 1]) else { break };
                node = next;
                let (Some(&token), Some((rest, ..))) = (trie.own_tokens(node).first(), best[to]) else { continue };
                if best[from].is_none_or(|(count, ..)| rest + 1 < count) {
                    best[from] = Some((rest + 1, token, to - from));
                }
            }
        }
        let (mut tokens, mut at) = (Vec::new(), 0);
        while at < text.len() {
            let (_, token, length) = best[at]?;
            tokens.push(token);
            at += length;
        }
        Some(tokens)
    }
}

/// In a walk every undeclared key or item is a new one: those that are not are taken out of the mask besides.
struct AnyKey;

impl Keys for AnyKey {
    fn completed(&mut self, what: Completed) -> Option<u32> {
        Some(what.extra)
    }
}

/// What is done with what a walk comes to.
trait Visitor {
    /// Tokens, and what the text takes after any of them, or less.
    fn tokens(&mut self, walk: &Walk<'_>, tokens: &[u32], cost: u32);

    /// A node at which all frames may be complete.
    fn exit(&mut self, _node: u32) {}

    /// Takes out the tops that are dealt with below a node without a walk.
    fn skip(&mut self, _walk: &Walk<'_>, _node: u32, _tops: &mut Tops) {}
}

/// The most that is necessary after a token, with it, and where the frames are left, if that is asked for.
struct Found<'a> {
    /// Strings are taken for what their structure tells.
    rough: bool,
    most: u32,
    exits: Option<&'a mut Vec<u32>>,
}

impl Found<'_> {
    /// Adds what tokens make of some tops from a set of nodes on, frame by frame; `false` if these are too many.
    fn follow(&mut self, walk: &Walk<'_>, tops: &[Top], from: ExitsId) -> bool {
        let mut open: SmallVec<[(Top, ExitsId); 8]> = tops.iter().map(|&top| (top, from)).collect();
        let mut seen = 0;
        while let Some((top, from)) = open.pop() {
            seen += 1;
            if seen > MOST_FRAMES {
                return false;
            }
            let Reach { most, exits } = walk.space.reach(top.frame, from, walk.unit, self.rough);
            self.most = self.most.max(most.saturating_add(walk.under(top.link)));
            if exits != NO_EXITS {
                let (owners, based) = walk.stack.under(top.link);
                open.extend(owners.iter().map(|&owner| (owner, exits)));
                if let Some(left) = self.exits.as_mut().filter(|_| based) {
                    left.extend_from_slice(walk.space.exit_nodes(exits));
                }
            }
        }
        true
    }
}

impl Visitor for Found<'_> {
    fn tokens(&mut self, walk: &Walk<'_>, tokens: &[u32], cost: u32) {
        let used = tokens.iter().map(|&token| walk.used(token)).max();
        self.most = self.most.max(used.map_or(0, |used| used.saturating_add(cost)));
    }

    fn exit(&mut self, node: u32) {
        self.exits.iter_mut().for_each(|exits| exits.push(node));
    }

    fn skip(&mut self, walk: &Walk<'_>, node: u32, tops: &mut Tops) {
        if self.rough && walk.space.vocab.trie.below(node) >= WORTH_A_LOOK {
            let from = walk.space.exits_id(vec![node]);
            let told = |top: &Top| walk.space.store.string_remainder(top.frame).is_some();
            tops.retain(|top| !(told(top) && self.follow(walk, &[*top], from)));
        }
    }
}

/// The tokens after which the text can be completed with what is left.
struct Fine {
    left: u32,
    row: Vec<u32>,
}

impl Visitor for Fine {
    fn tokens(&mut self, walk: &Walk<'_>, tokens: &[u32], cost: u32) {
        let Some(room) = self.left.checked_sub(cost.saturating_add(walk.unit.end())) else { return };
        let short: SmallVec<[u32; 8]> = tokens.iter().copied().filter(|&token| walk.used(token) <= room).collect();
        set_bits(&mut self.row, &short);
    }
}

/// A walk of the vocabulary from some tops, which tells what completing the text takes after each token.
struct Walk<'a> {
    space: &'a Space,
    stack: &'a mut Stack,
    unit: Unit,
    /// What all below takes, for the links that were there before the walk.
    below: HashMap<Link, u32, FixedState>,
}

impl<'a> Walk<'a> {
    fn new(space: &'a Space, stack: &'a mut Stack, unit: Unit) -> Self {
        Self { space, stack, unit, below: HashMap::default() }
    }

    /// What a token itself takes.
    fn used(&self, token: u32) -> u32 {
        self.unit.of(&self.space.vocab, token)
    }

    /// What is below a link takes so much.
    fn under(&self, link: Link) -> u32 {
        if let Some(&known) = self.below.get(&link) {
            return known;
        }
        let (owners, based) = self.stack.under(link);
        if based || link == Link::BASE {
            return 0;
        }
        owners.iter().map(|&owner| self.of(owner)).min().unwrap_or(0)
    }

    fn of(&self, top: Top) -> u32 {
        // The shortest way to end a key or an item may be one that is there already.
        let another = if self.space.store.mark(top.frame).is_some() { ANOTHER } else { 0 };
        self.space.cost(top.frame, self.unit).saturating_add(another).saturating_add(self.under(top.link))
    }

    fn of_all(&self, tops: &[Top]) -> u32 {
        tops.iter().map(|&top| self.of(top)).min().unwrap_or(0)
    }

    /// Remembers what is below some tops, the lowest first.
    fn settle(&mut self, tops: &[Top]) {
        let mut todo: Vec<(Link, bool)> = tops.iter().map(|top| (top.link, false)).collect();
        while let Some((link, ready)) = todo.pop() {
            if self.below.contains_key(&link) {
                continue;
            }
            if ready {
                let cost = self.under(link);
                self.below.insert(link, cost);
                continue;
            }
            todo.push((link, true));
            if link != Link::BASE {
                todo.extend(self.stack.under(link).0.iter().map(|owner| (owner.link, false)));
            }
        }
    }

    /// A bound on what a token can make necessary, itself included: of all that is possible the most. `None` if too much
    /// is.
    fn most(&self, tops: &[Top], rough: bool) -> Option<u32> {
        let mut found = Found { rough, most: 0, exits: None };
        found.follow(self, tops, AT_ROOT).then_some(found.most)
    }

    fn visit(&mut self, node: u32, tops: &Tops, found: &mut impl Visitor) {
        self.visit_all(self.space.vocab.trie.children(node), tops, found);
    }

    /// Goes through children of one node or of many, ordered by their bytes.
    fn visit_all(&mut self, children: &[Child], tops: &Tops, found: &mut impl Visitor) {
        let (space, trie) = (self.space, &self.space.vocab.trie);
        for same in children.chunk_by(|a, b| a.byte() == b.byte()) {
            let height = self.stack.height();
            let next = self.stack.step(&space.store, tops, same[0].byte(), &mut AnyKey);
            if !next.is_empty() {
                let cost = self.of_all(&next);
                let ends = self.stack.may_end(&space.store, &next);
                // Characters that change nothing of what follows.
                let steady = match next[..] {
                    [top] if space.store.never_longer(top.frame) => space.store.bulk(top.frame),
                    _ => None,
                };
                for node in same.iter().map(|child| child.node()) {
                    let (leaf, shape) = (trie.below(node) == 0, trie.shape(node));
                    if ends && !leaf {
                        found.exit(node);
                    }
                    if !leaf && shape.beyond & CUT == 0 && steady.is_some_and(|bulk| covers(bulk, shape)) {
                        found.tokens(self, trie.all_tokens(node), cost);
                        continue;
                    }
                    found.tokens(self, trie.own_tokens(node), cost);
                    if leaf {
                        continue;
                    }
                    let mut tops = next.clone();
                    found.skip(self, node, &mut tops);
                    if !tops.is_empty() {
                        self.visit(node, &tops, found);
                    }
                }
            }
            self.stack.truncate(height);
        }
    }
}

impl GrammarMatcher {
    /// Sets how much the text may have, what has been accepted included.
    ///
    /// # Errors
    /// The shortest text that is known takes more.
    pub fn set_budget(&mut self, budget: Budget) -> Result<(), Error> {
        self.budget = budget;
        for (unit, name) in [(Unit::Tokens, "tokens"), (Unit::Characters, "characters")] {
            let Some(left) = self.left(unit) else { continue };
            let least = self.plan(unit).map(|(_, cost)| cost);
            if let Some(least) = least.filter(|&least| least > left) {
                self.budget = Budget::default();
                let end = if unit == Unit::Tokens { ", the stop token among them" } else { "" };
                return Err(Error::limit(format!(
                    "a budget of {left} {name} is too small: completing the text takes {least}{end}"
                )));
            }
        }
        Ok(())
    }

    /// How much the text may have.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    fn left(&self, unit: Unit) -> Option<u32> {
        let (limit, spent) = match unit {
            Unit::Tokens => (self.budget.tokens?, self.spent.tokens),
            Unit::Characters => (self.budget.characters?, self.spent.characters),
        };
        Some(limit.saturating_sub(spent))
    }

    /// Whether masks depend on how much is left.
    pub(super) fn has_budget(&self) -> bool {
        self.budget != Budget::default()
    }

    /// Takes the tokens out of a row after which the text could not be completed within its budget.
    pub(super) fn keep_to_budget(&mut self, row: &mut [u32]) {
        for unit in [Unit::Tokens, Unit::Characters] {
            if let Some(left) = self.left(unit) {
                self.narrow(unit, left, row);
            }
        }
    }

    fn narrow(&mut self, unit: Unit, left: u32, row: &mut [u32]) {
        let space = Arc::clone(&self.space);
        let tops = self.tops.clone();
        let mut walk = Walk::new(&space, &mut self.stack, unit);
        walk.settle(&tops);
        let enough = |most: u32| most.saturating_add(unit.end()) <= left;
        if [true, false].into_iter().any(|rough| walk.most(&tops, rough).is_some_and(enough)) {
            return;
        }
        let mut fine = Fine { left, row: vec![0; row.len()] };
        walk.visit(ROOT, &tops, &mut fine);
        let mut fine = fine.row;
        if let Some((plan, _)) = self.plan(unit).filter(|&(_, cost)| cost <= left) {
            set_bits(&mut fine, &plan[..plan.len().min(1)]);
        }
        fine.iter_mut().zip(&*row).for_each(|(word, allowed)| *word &= allowed);
        // What can't be completed in time is better written on than given up.
        if self.is_completed() || fine.iter().any(|&word| word != 0) {
            row.copy_from_slice(&fine);
        }
    }

    /// A short text that completes the text so far, if one is found that does.
    pub fn completion(&mut self) -> Option<Vec<u8>> {
        let space = Arc::clone(&self.space);
        let tops = self.tops.clone();
        let mut walk = Walk::new(&space, &mut self.stack, Unit::Tokens);
        walk.settle(&tops);
        let mut top = tops.iter().copied().min_by_key(|&top| walk.of(top))?;
        let mut text = Vec::new();
        loop {
            text.extend_from_slice(&space.store.shortest(top.frame)?);
            let (owners, based) = walk.stack.under(top.link);
            match owners.iter().copied().min_by_key(|&owner| walk.of(owner)) {
                Some(owner) if !based => top = owner,
                _ => break,
            }
        }
        let before = self.checkpoint();
        let fine = self.advance(&text) && self.is_completed();
        self.restore(before);
        fine.then_some(text)
    }

    /// Tokens that complete the text so far, the stop token not among them: few, if not the fewest. `None` if no such
    /// text is found.
    pub fn completion_tokens(&mut self) -> Option<Vec<u32>> {
        if self.terminated { Some(Vec::new()) } else { self.plan(Unit::Tokens).map(|(tokens, _)| tokens) }
    }

    /// Tokens that complete the text, with what they and its end take: those of the last plan if it was followed, or of a
    /// new one if that takes less.
    fn plan(&mut self, unit: Unit) -> Option<(Vec<u32>, u32)> {
        let kept = (self.plan.at == self.text.len() && !self.plan.tokens.is_empty()).then(|| self.plan.tokens.clone());
        let made = self.completion().and_then(|text| self.space.spell(&text));
        let vocab = &self.space.vocab;
        let cost = |tokens: &Vec<u32>| tokens.iter().map(|&token| unit.of(vocab, token)).sum::<u32>() + unit.end();
        let best = [kept, made].into_iter().flatten().min_by_key(cost)?;
        let least = cost(&best);
        self.plan = Plan { at: self.text.len(), tokens: best.clone() };
        Some((best, least))
    }
}

impl Store {
    /// Whether the text that completes a string never gets longer by characters of its bulk.
    fn never_longer(&self, frame: ExprId) -> bool {
        self.as_free_text(frame).is_some() || self.is_steady_text(frame)
    }
}
