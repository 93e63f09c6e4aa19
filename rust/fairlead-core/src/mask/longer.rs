//! The tokens above a length: all that a count far from its bound has to be looked at for.

use std::sync::{Arc, OnceLock};

use super::entry::set_bits;
use crate::vocab::{ROOT, Trie, Vocabulary};

/// Lengths in bytes, ascending.
const LEVELS: [u32; 3] = [16, 32, 64];

/// The tokens of more bytes than a level.
#[derive(Debug)]
pub(super) struct Longer {
    /// Their trie.
    pub(super) trie: Trie,
    /// All others, as a bitmask.
    pub(super) short: Box<[u32]>,
    /// The nodes of the vocabulary's trie deeper than the level, one bit each.
    deep: Box<[u64]>,
}

impl Longer {
    fn new(vocab: &Vocabulary, level: u32) -> Self {
        let long = |token: u32| vocab.bytes(token).is_some_and(|bytes| bytes.len() > level as usize);
        let short: Vec<u32> = (0..vocab.size() as u32).filter(|&t| !long(t)).collect();
        let mut row = vec![0; vocab.words()];
        set_bits(&mut row, &short);
        let mut deep = vec![0; vocab.trie.len().div_ceil(64)];
        mark(&vocab.trie, ROOT, level, &mut deep);
        Self { trie: vocab.trie.derive(&[ROOT], long), short: row.into(), deep: deep.into() }
    }

    /// Whether a node of the vocabulary's trie is deeper than the level.
    pub(super) fn is_deep(&self, node: u32) -> bool {
        self.deep[node as usize / 64] >> (node % 64) & 1 == 1
    }
}

fn mark(trie: &Trie, node: u32, left: u32, deep: &mut [u64]) {
    if left == 0 {
        // The nodes below follow in one run.
        for below in node + 1..trie.end(node) {
            deep[below as usize / 64] |= 1 << (below % 64);
        }
        return;
    }
    for child in trie.children(node) {
        mark(trie, child.node(), left - 1, deep);
    }
}

/// All levels, each made when it is first asked for.
#[derive(Debug, Default)]
pub(super) struct Levels([OnceLock<Arc<Longer>>; LEVELS.len()]);

impl Levels {
    /// Makes all levels.
    pub(super) fn warm_up(&self, vocab: &Vocabulary) {
        for (level, bytes) in self.0.iter().zip(LEVELS) {
            level.get_or_init(|| Arc::new(Longer::new(vocab, bytes)));
        }
    }

    /// The highest level within so many bytes.
    pub(super) fn within(&self, vocab: &Vocabulary, bytes: u32) -> Option<&Longer> {
        let at = LEVELS.iter().rposition(|&level| level <= bytes)?;
        Some(self.0[at].get_or_init(|| Arc::new(Longer::new(vocab, LEVELS[at]))))
    }
}
