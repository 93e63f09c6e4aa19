//! A matcher: one text being written under a grammar.

mod ahead;
mod budget;
mod drafts;
mod items;
mod keys;
mod reading;
mod seen;
mod timed;

use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use smallvec::{SmallVec, smallvec};

use crate::automata::{EPS, ExprId, Height, Link, Stack, Top, Tops};
use crate::compile::CompiledGrammar;
use crate::error::Error;
use crate::mask::{Part, Parts, Space};
use crate::vocab::Vocabulary;

use budget::{Plan, Spent};
use seen::{Seen, SeenItem, SeenKey};

pub(crate) use ahead::walk_ahead;
pub use budget::Budget;
pub(crate) use budget::{Reach, Unit};
pub use drafts::DraftTree;

/// How much text is looked ahead for at once; a schema may force any amount.
pub(crate) const MAX_FORCED: usize = 4096;

/// What to go back to.
#[derive(Clone, Debug)]
struct Checkpoint {
    tops: Tops,
    height: Height,
    text: usize,
    seen: usize,
    items: usize,
    terminated: bool,
    spent: Spent,
}

/// The state of one text under a grammar: which tokens may follow, and what has been accepted.
#[derive(Clone, Debug)]
pub struct GrammarMatcher {
    grammar: Arc<CompiledGrammar>,
    space: Arc<Space>,
    root: ExprId,
    stack: Stack,
    tops: Tops,
    text: Vec<u8>,
    seen: Vec<SeenKey>,
    items: Vec<SeenItem>,
    history: Vec<Checkpoint>,
    max_rollback: usize,
    terminated: bool,
    ends_by_itself: bool,
    budget: Budget,
    spent: Spent,
    plan: Plan,
}

impl GrammarMatcher {
    /// A matcher at the start. `max_rollback` bounds how many tokens can be taken back; `None`: all of them.
    /// With `ends_by_itself` the text is terminated as soon as it is complete and nothing can follow.
    pub fn new(grammar: &Arc<CompiledGrammar>, max_rollback: Option<usize>, ends_by_itself: bool) -> Self {
        let (space, root) = grammar.instance();
        let mut matcher = Self {
            grammar: Arc::clone(grammar),
            space,
            root,
            stack: Stack::new(),
            tops: smallvec![Top { frame: root, extra: 0, link: Link::BASE }],
            text: Vec::new(),
            seen: Vec::new(),
            items: Vec::new(),
            history: Vec::new(),
            max_rollback: max_rollback.unwrap_or(usize::MAX),
            terminated: false,
            ends_by_itself,
            budget: Budget::default(),
            spent: Spent::default(),
            plan: Plan::default(),
        };
        matcher.end_by_itself();
        matcher
    }

    /// Back to the start; what was learned of the grammar is kept.
    pub fn reset(&mut self) {
        self.stack = Stack::new();
        self.tops = smallvec![Top { frame: self.root, extra: 0, link: Link::BASE }];
        self.text.clear();
        self.seen.clear();
        self.items.clear();
        self.history.clear();
        self.spent = Spent::default();
        self.plan = Plan::default();
        self.terminated = false;
        self.end_by_itself();
    }

    /// The grammar.
    pub fn grammar(&self) -> &Arc<CompiledGrammar> {
        &self.grammar
    }

    /// How many tokens (or strings) have been accepted and can be taken back.
    pub fn accepted(&self) -> usize {
        self.history.len()
    }

    /// The text accepted so far; special tokens are the bytes that stand for them.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            tops: self.tops.clone(),
            height: self.stack.height(),
            text: self.text.len(),
            seen: self.seen.len(),
            items: self.items.len(),
            terminated: self.terminated,
            spent: self.spent,
        }
    }

    fn restore(&mut self, to: Checkpoint) {
        self.tops = to.tops;
        self.stack.truncate(to.height);
        self.text.truncate(to.text);
        self.seen.truncate(to.seen);
        self.items.truncate(to.items);
        self.terminated = to.terminated;
        self.spent = to.spent;
    }

    fn remember(&mut self, before: Checkpoint) {
        if self.max_rollback == 0 {
            return;
        }
        // Forgotten in batches, so that the cost per token stays constant.
        if self.history.len() >= self.max_rollback.saturating_mul(2) {
            self.history.drain(..self.history.len() - self.max_rollback);
        }
        self.history.push(before);
    }

    /// Goes on by some bytes; `false`, with everything to be restored, if the grammar refuses them.
    fn advance(&mut self, bytes: &[u8]) -> bool {
        if !self.step(bytes) {
            return false;
        }
        self.drop_repetitions();
        !self.tops.is_empty()
    }

    /// The same, whether or not anything can be written in arrays that isn't there already.
    fn step(&mut self, bytes: &[u8]) -> bool {
        let mut at = 0;
        while let Some(&b) = bytes.get(at) {
            let plain = |&&b: &&u8| (0x20..0x7F).contains(&b) && b != b'"' && b != b'\\';
            let run = bytes[at..].iter().take_while(plain).count();
            if run > 1
                && !self.has_scarce_keys()
                && let Some(next) = Stack::pass(&self.space.store, &self.tops, &bytes[at..at + run])
            {
                self.text.extend_from_slice(&bytes[at..at + run]);
                self.tops = next;
                at += run;
                if self.tops.is_empty() {
                    return false;
                }
                continue;
            }
            at += 1;
            self.text.push(b);
            // A key ends with a quote; only then does it matter what kind it is of.
            let scarce = b == b'"' && self.tops.iter().any(|t| self.space.store.ends_scarce_key(t.frame));
            let mut keys = Seen { text: &self.text, keys: &mut self.seen, scarce, items: &mut self.items };
            let next = self.stack.step(&self.space.store, &self.tops, b, &mut keys);
            self.tops = next;
            if self.has_scarce_keys() {
                let tops = std::mem::take(&mut self.tops);
                self.tops = tops.into_iter().filter(|top| !self.keys_ran_out(*top, self.text.len())).collect();
            }
            if self.tops.is_empty() {
                return false;
            }
        }
        true
    }

    fn end_by_itself(&mut self) {
        if self.ends_by_itself && self.is_completed() {
            let open = self.tops.iter().any(|t| t.frame != EPS || t.link != Link::BASE);
            let more = open && {
                let mut row = vec![0; self.space.vocab.words()];
                let parts = self.parts();
                self.space.emit(&parts, &mut row);
                row.iter().any(|&w| w != 0)
            };
            self.terminated = !more;
        }
    }

    /// Accepts a token. `false`, with nothing changed, if the grammar refuses it. A stop id is accepted exactly when
    /// the text is complete, and terminates it; after termination a stop id changes nothing.
    pub fn accept_token(&mut self, id: u32) -> bool {
        let stop = self.space.vocab.stop_ids().binary_search(&id).is_ok();
        if self.terminated {
            return stop;
        }
        if stop {
            if !self.is_completed() {
                return false;
            }
            self.remember(self.checkpoint());
            self.terminated = true;
            return true;
        }
        let before = self.text.len();
        let fine = self.spelling(id).is_some_and(|bytes| self.take(&bytes, true));
        if fine && self.has_budget() {
            self.plan.follow(before, id, self.text.len());
        }
        fine
    }

    /// The bytes of a token that may be part of a text. They are copied: a further owner of the vocabulary would be counted where
    /// every thread counts, and each would wait for the others.
    fn spelling(&self, id: u32) -> Option<SmallVec<[u8; 32]>> {
        self.space.vocab.spelling(id).filter(|bytes| !bytes.is_empty()).map(SmallVec::from_slice)
    }

    /// Accepts a text that need not be a token, as one step of the history.
    pub fn accept_bytes(&mut self, bytes: &[u8]) -> bool {
        self.plan = Plan::default();
        // Special tokens aren't text: nobody writes one by the bytes that stand for it.
        !bytes.iter().any(|&b| Vocabulary::is_special(&[b])) && self.take(bytes, false)
    }

    /// Takes some bytes, which may be those of a token.
    fn take(&mut self, bytes: &[u8], token: bool) -> bool {
        if self.terminated {
            return false;
        }
        let before = self.checkpoint();
        if !self.advance(bytes) {
            self.restore(before);
            return false;
        }
        if token {
            self.end_token();
        }
        self.spent.add(if Vocabulary::is_special(bytes) { &[] } else { bytes });
        self.remember(before);
        self.end_by_itself();
        true
    }

    /// Takes back the last `n` accepted tokens; `false`, with nothing changed, if there are not so many.
    pub fn rollback(&mut self, n: usize) -> bool {
        if n > self.history.len().min(self.max_rollback) {
            return false;
        }
        // Another text may come to the same length.
        self.plan = Plan::default();
        let at = self.history.len() - n;
        let to = self.history.drain(at..).next();
        if let Some(to) = to {
            self.restore(to);
        }
        true
    }

    /// Whether a stop token was accepted, or the text ended by itself.
    pub fn is_terminated(&self) -> bool {
        self.terminated
    }

    /// Whether what was accepted is a whole sentence of the grammar.
    pub fn is_completed(&self) -> bool {
        self.stack.is_complete(&self.space.store, &self.tops)
    }

    /// Writes the mask of the next token into a row of 32-bit words, bit 1 for allowed; every word is written.
    /// Returns whether anything is masked, which is always so while a text goes on.
    ///
    /// # Panics
    /// If the row has fewer words than the vocabulary needs.
    pub fn fill(&mut self, row: &mut [u32]) -> bool {
        assert!(row.len() >= self.space.vocab.words(), "the row is too short for the vocabulary");
        if self.terminated {
            row.fill(0);
        } else {
            let parts = self.parts();
            self.space.emit(&parts, row);
            let run_out = self.may_run_out(&parts);
            if run_out || parts.iter().any(|part| self.space.entry(part.entry).may_repeat(part.extra != 0)) {
                let space = Arc::clone(&self.space);
                self.clear_repeated_keys(&space, &parts, row);
                if run_out {
                    self.clear_exhausted_keys(&space, row);
                }
            }
            if self.may_repeat_items(&parts) {
                let space = Arc::clone(&self.space);
                self.clear_repeated_items(&space, &parts, row);
            }
            if self.has_budget() {
                self.keep_to_budget(row);
            }
        }
        if self.terminated || self.is_completed() {
            for &id in self.space.vocab.stop_ids() {
                row[id as usize / 32] |= 1 << (id % 32);
            }
        }
        true
    }

    /// An id of the next mask: equal ids, equal masks, for all matchers of one process.
    pub fn mask_id(&mut self) -> u64 {
        let parts = if self.terminated { Parts::new() } else { self.parts() };
        let mut key = vec![u32::from(self.terminated) | u32::from(self.is_completed()) << 1];
        key.extend(parts.iter().map(|part| part.entry));
        let event = |part: &Part| part.extra != 0 && !self.space.entry(part.entry).events.is_empty();
        let repeats = self.may_run_out(&parts) || parts.iter().any(event) || self.may_repeat_items(&parts);
        if !self.terminated && (self.has_budget() || repeats) {
            // What else decides is a matter of this grammar and text alone.
            key.extend([u32::MAX, self.root.0, self.text.len() as u32]);
            key.extend(self.text.chunks(4).map(|four| four.iter().fold(0, |all, &b| all << 8 | u32::from(b))));
            let Budget { tokens, characters } = self.budget;
            let spent = self.spent.tokens();
            key.extend(
                [tokens, characters].into_iter().flat_map(|limit| [u32::from(limit.is_some()), limit.unwrap_or(0)]),
            );
            key.push(spent);
        }
        self.space.mask_id(key.into())
    }

    /// Whether a token would be accepted now.
    pub fn allows(&mut self, id: u32) -> bool {
        if self.space.vocab.stop_ids().binary_search(&id).is_ok() {
            return self.terminated || self.is_completed();
        }
        if self.terminated {
            return false;
        }
        let Some(bytes) = self.spelling(id) else { return false };
        let before = self.checkpoint();
        let fine = self.advance(&bytes);
        self.restore(before);
        fine
    }

    /// What named rules of the grammar stand for in the text, which must be complete: for each name the texts in the
    /// order in which they begin, outer ones first, without special tokens. See [`CompiledGrammar::captures`].
    ///
    /// # Errors
    /// As of [`CompiledGrammar::captures`].
    pub fn captures(&self, names: &[&str]) -> Result<Vec<Vec<Vec<u8>>>, Error> {
        let spans = self.grammar.captures(names, &self.text)?;
        let text = |span: Range<usize>| Vocabulary::without_special(&self.text[span]);
        Ok(spans.into_iter().map(|spans| spans.into_iter().map(text).collect()).collect())
    }

    /// What rules that the grammar's author has marked stand for in the text, which must be complete: names with texts in the order
    /// in which they end, inner ones first, without special tokens. See [`CompiledGrammar::marked_captures`].
    ///
    /// # Errors
    /// As of [`CompiledGrammar::marked_captures`].
    pub fn marked_captures(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let spans = self.grammar.marked_captures(&self.text)?;
        Ok(spans.into_iter().map(|(name, span)| (name, Vocabulary::without_special(&self.text[span]))).collect())
    }

    /// Why a token is refused, or that it is allowed.
    pub fn explain(&mut self, id: u32) -> String {
        let vocab = Arc::clone(&self.space.vocab);
        if vocab.stop_ids().binary_search(&id).is_ok() {
            return match (self.terminated, self.is_completed()) {
                (true, _) => "the text is terminated; a stop token changes nothing".to_owned(),
                (_, true) => "allowed: the text is complete".to_owned(),
                _ => "refused: the text is not complete, so it cannot end here".to_owned(),
            };
        }
        if self.terminated {
            return "refused: the text is terminated".to_owned();
        }
        let Some(bytes) = vocab.spelling(id).filter(|b| !b.is_empty()) else {
            return "refused: a special token or an unused id is never part of a text".to_owned();
        };
        if Vocabulary::is_special(bytes) {
            let asked = "allowed: the grammar asks for this special token";
            let never = "refused: a special token is never part of a text, and the grammar doesn't ask for it here";
            return if self.allows(id) { asked } else { never }.to_owned();
        }
        let token = bytes.escape_ascii();
        let good = self.longest_prefix(bytes);
        if good == bytes.len() {
            return format!("allowed: \"{token}\"");
        }
        let before = self.checkpoint();
        self.advance(&bytes[..good]);
        let options: Vec<u8> = (0..=255u8)
            .filter(|&b| {
                let here = self.checkpoint();
                let fine = self.advance(&[b]);
                self.restore(here);
                fine
            })
            .collect();
        self.restore(before);
        let shown = crate::automata::ByteSet::of(&options);
        let bad = bytes[good].escape_ascii();
        format!("refused: in \"{token}\" byte {good} is '{bad}', but here only {shown:?} can follow")
    }

    /// How many bytes of a text would be accepted.
    pub fn longest_prefix(&mut self, bytes: &[u8]) -> usize {
        let before = self.checkpoint();
        let mut taken = 0;
        while taken < bytes.len() && !self.terminated {
            let here = self.checkpoint();
            if !self.advance(&bytes[taken..=taken]) {
                self.restore(here);
                break;
            }
            taken += 1;
        }
        self.restore(before);
        taken
    }

    /// The text that must come next whatever is chosen, at most 4,096 bytes of it; empty if there is a choice
    /// or the text may end.
    pub fn forced_text(&mut self) -> Vec<u8> {
        if self.terminated {
            return Vec::new();
        }
        let before = self.checkpoint();
        while !self.is_completed() && self.text.len() - before.text < MAX_FORCED {
            let near = self.next_bytes();
            let mut options = (0..=255u8).filter(|&b| {
                near[usize::from(b)] && {
                    let here = self.checkpoint();
                    let fine = self.advance(&[b]);
                    self.restore(here);
                    fine
                }
            });
            let (Some(only), None) = (options.next(), options.next()) else { break };
            drop(options);
            // A special token isn't text.
            if Vocabulary::is_special(&[only]) || !self.advance(&[only]) {
                break;
            }
        }
        let forced = self.text[before.text..].to_vec();
        self.restore(before);
        forced
    }

    /// Tokens that write the text that must come next, each the longest that there is. The last one is left out if a longer token
    /// goes on from it: that one may be what a tokenizer would write.
    pub fn forced_tokens(&mut self) -> Vec<u32> {
        let forced = self.forced_text();
        let trie = &self.space.vocab.trie;
        let (mut tokens, mut at) = (Vec::new(), 0);
        while at < forced.len() {
            let (mut node, mut found) = (0, None);
            for (&b, upto) in forced[at..].iter().zip(at + 1..) {
                let Some(child) = trie.child(node, b) else { break };
                node = child;
                if let Some(&token) = trie.own_tokens(node).iter().min() {
                    found = Some((token, upto, node));
                }
            }
            let Some((token, upto, node)) = found else { break };
            if upto == forced.len() && trie.all_tokens(node).len() > trie.own_tokens(node).len() {
                break;
            }
            tokens.push(token);
            at = upto;
        }
        tokens
    }

    /// The bytes that some frame has an edge for: all that may follow, and those that only a key that the object has
    /// already stands against.
    fn next_bytes(&self) -> [bool; 256] {
        let store = &self.space.store;
        let mut out = [false; 256];
        let mut mark = |lo: u8, hi: u8| out[usize::from(lo)..=usize::from(hi)].fill(true);
        let mut open: Vec<Top> = self.tops.to_vec();
        let mut seen: HashSet<(ExprId, Link), FixedState> = HashSet::default();
        while let Some(top) = open.pop() {
            if !seen.insert((top.frame, top.link)) {
                continue;
            }
            let flags = store.flags(top.frame);
            if flags.starts_calls() {
                store.moves(top.frame).edges.iter().for_each(|e| mark(e.lo, e.hi));
            } else {
                store.row(top.frame).edges.iter().for_each(|e| mark(e.lo, e.hi));
            }
            if flags.nullable() {
                let (under, _) = self.stack.under(top.link);
                open.extend(under.into_iter().map(|below| Top { frame: store.after_mark(below.frame), ..below }));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{Compiler, CompilerOptions, Grammar};

    #[test]
    fn ambiguity_makes_frames_for_each_byte_and_links_for_each_pair() {
        let tokens = (0..=255u8).map(|b| Some([b].into())).chain([None]).collect();
        let vocabulary = Arc::new(Vocabulary::new(tokens, vec![256], 257).expect("a vocabulary of bytes"));
        let compiler = Compiler::new(vocabulary, CompilerOptions::default());
        for source in
            [r#"root ::= root root root | root root | "a" | """#, r#"root ::= "a" root "a"? | root root | """#]
        {
            let grammar = compiler.compile(&Grammar::Ebnf(source.to_owned())).expect("a grammar");
            let size = |n: usize| {
                let mut matcher = GrammarMatcher::new(&grammar, None, false);
                assert!(matcher.accept_bytes(&vec![b'a'; n]) && matcher.is_completed());
                matcher.stack.size()
            };
            let ((frames, links), (more_frames, more_links)) = (size(50), size(200));
            assert!(more_frames <= 5 * frames, "{source}: {frames} frames become {more_frames}");
            assert!(more_links <= 18 * links.max(50), "{source}: {links} links become {more_links}");
        }
    }
}
