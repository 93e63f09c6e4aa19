//! Keys that an object has already: the tokens that would write one again are taken out of a mask.

use smallvec::{SmallVec, smallvec};

use super::GrammarMatcher;
use super::seen::Seen;
use crate::automata::{Mark, Node, Spelling, Top};
use crate::json_schema::FEW_KEYS;
use crate::mask::{Parts, Space, clear_bits, decoded, opening_quote};
use crate::vocab::ROOT;

/// The text of the inside of a JSON string; `None` if it ends inside a character or an escape.
fn whole_text(raw: &[u8]) -> Option<Box<[u8]>> {
    if std::str::from_utf8(raw).is_err() {
        return None;
    }
    let quoted = [b"\"", raw, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).ok().map(|s| s.into_bytes().into())
}

impl GrammarMatcher {
    pub(super) fn has_scarce_keys(&self) -> bool {
        self.seen.last().is_some_and(|s| s.scarce)
    }

    /// Whether a top is an undeclared key of which only keys that the object has already can be made.
    pub(super) fn keys_ran_out(&self, top: Top, at: usize) -> bool {
        let store = &self.space.store;
        let Node::Text(state) = store.node(top.frame) else { return false };
        let (owners, based) = self.stack.under(top.link);
        if based || owners.is_empty() || owners.iter().any(|o| o.extra == 0 || store.mark(o.frame) != Some(Mark::Key)) {
            return false;
        }
        if !store.is_scarce(top.frame) {
            return false;
        }
        let text = &self.text[..at];
        let raw = opening_quote(text).map_or(&[][..], |quote| &text[quote + 1..]);
        let Some(prefix) = whole_text(raw).filter(|_| state.spelling == Spelling::Raw) else {
            // Inside a character: it lives if one of the ways to finish it does.
            return store.row(top.frame).edges.iter().all(|edge| {
                (edge.lo..=edge.hi).all(|b| {
                    let mut matcher = self.clone();
                    matcher.tops = smallvec![top];
                    !matcher.advance(&[b])
                })
            });
        };
        owners.iter().all(|owner| {
            let used = Seen::count(&self.seen, owner.extra, &prefix);
            let written = |rest: &[u8]| Seen::has(&self.seen, owner.extra, &[&prefix, rest].concat());
            used > 0 && store.few_words(state.content, used).is_some_and(|words| words.iter().all(|w| written(w)))
        })
    }

    /// Tokens that would write an undeclared key a second time are taken out. Masks are shared without regard to the
    /// keys seen; only tokens that may complete one of them are looked at again, exactly.
    pub(super) fn clear_repeated_keys(&mut self, space: &Space, parts: &Parts, row: &mut [u32]) {
        let mut suspects: Vec<u32> = Vec::new();
        let trie = &space.vocab.trie;
        for part in parts {
            let entry = space.entry(part.entry);
            if !entry.may_repeat(part.extra != 0) {
                continue;
            }
            let begun = self.key_begun();
            let keys: SmallVec<[&[u8]; 16]> = Seen::keys(&self.seen, part.extra).collect();
            for events in &entry.events {
                events.repeats(&keys, begun.as_deref(), |node| suspects.push(node));
            }
        }
        for node in suspects {
            let tokens = trie.all_tokens(node);
            if !tokens.iter().any(|&t| row[t as usize / 32] >> (t % 32) & 1 == 1) {
                continue;
            }
            // Mostly all of them are refused, for the same reason.
            if self.longest_prefix(&trie.path(node)) < trie.path(node).len() {
                clear_bits(row, tokens);
            } else {
                self.clear_refused(tokens, row);
            }
        }
    }

    /// Takes out those of some tokens that are refused after all.
    fn clear_refused(&mut self, suspects: &[u32], row: &mut [u32]) {
        for &token in suspects {
            let (word, bit) = (token as usize / 32, 1 << (token % 32));
            if row[word] & bit != 0 && !self.allows(token) {
                row[word] &= !bit;
            }
        }
    }

    /// Whether the next token can write, or begin, a key of an object whose keys can run out and that has some.
    pub(super) fn may_run_out(&self, parts: &Parts) -> bool {
        let scarce = |extra: u32| Seen::has_scarce(&self.seen, extra);
        self.has_scarce_keys()
            && (parts.iter().any(|part| scarce(part.extra))
                || self.tops.iter().any(|top| self.stack.under(top.link).0.iter().any(|owner| scarce(owner.extra))))
    }

    /// Where undeclared keys can run out, tokens after which only keys that the object has could be written are taken
    /// out: those on the way to one of these keys, and those whose spelling hides where the key stands.
    pub(super) fn clear_exhausted_keys(&mut self, space: &Space, row: &mut [u32]) {
        // Outside of keys a token has to open one to write one.
        let text = space.text();
        let mut suspects = if self.writes_key() {
            text.awkward.clone()
        } else {
            // Kinds of keys that can run out have more of them than this; those of fewer are declared members.
            let bare = self.seen.len() >= FEW_KEYS;
            text.opening().of(self.seen.iter().map(|seen| &*seen.key), bare)
        };
        let begun = self.key_begun().unwrap_or_default();
        let prefix = decoded(&begun);
        let trie = &space.vocab.trie;
        for seen in &self.seen {
            let Some(rest) = seen.key.strip_prefix(&*prefix) else { continue };
            let mut node = Some(ROOT);
            for &b in rest {
                node = node.and_then(|n| trie.child(n, b));
                suspects.extend(node.into_iter().flat_map(|n| trie.own_tokens(n)));
            }
        }
        self.clear_refused(&suspects, row);
    }

    /// Whether an undeclared key is being written.
    fn writes_key(&self) -> bool {
        let store = &self.space.store;
        let owned =
            |top: &Top| self.stack.under(top.link).0.iter().any(|owner| store.mark(owner.frame) == Some(Mark::Key));
        self.tops.iter().any(owned)
    }

    /// The raw text since the last quote.
    fn key_begun(&self) -> Option<Vec<u8>> {
        Some(self.text[opening_quote(&self.text)? + 1..].to_vec())
    }
}
