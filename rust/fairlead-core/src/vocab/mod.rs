//! A tokenizer's vocabulary: the exact bytes of every token, and which tokens end a text.

mod trie;

pub(crate) use trie::{ROOT, Shape, Trie};

use crate::error::{Error, ErrorKind};

/// The tokens of a model, as bytes. Special tokens, holes and padding have none and are never part of a text.
#[derive(Debug)]
pub struct Vocabulary {
    tokens: Vec<Option<Box<[u8]>>>,
    stop_ids: Vec<u32>,
    longest: usize,
    pub(crate) trie: Trie,
}

impl Vocabulary {
    /// A vocabulary of `size` ids (at least as many as `tokens`); ids past `tokens` are padding.
    ///
    /// # Errors
    /// A stop id outside the vocabulary, more than 2^24 tokens, or a token longer than 65,535 bytes.
    pub fn new(mut tokens: Vec<Option<Box<[u8]>>>, mut stop_ids: Vec<u32>, size: usize) -> Result<Self, Error> {
        let bad = |message: String| Err(Error::new(ErrorKind::Vocabulary, message));
        if size < tokens.len() {
            return bad(format!("vocab_size {size} is less than the {} tokens given", tokens.len()));
        }
        if size > 1 << 24 {
            return bad(format!("{size} tokens are more than the 16,777,216 that are supported"));
        }
        tokens.resize(size, None);
        stop_ids.sort_unstable();
        stop_ids.dedup();
        for &id in &stop_ids {
            match tokens.get_mut(id as usize) {
                // A stop token is never text, whatever its spelling.
                Some(token) => *token = None,
                None => return bad(format!("stop token id {id} is outside the vocabulary of {size}")),
            }
        }
        let longest = tokens.iter().flatten().map(|t| t.len()).max().unwrap_or(0);
        if longest > usize::from(u16::MAX) {
            return bad(format!("a token has {longest} bytes; 65,535 are supported"));
        }
        let trie = Trie::new(&tokens);
        Ok(Self { tokens, stop_ids, longest, trie })
    }

    /// How many ids there are, padding included.
    pub fn size(&self) -> usize {
        self.tokens.len()
    }

    /// How many 32-bit words a mask has.
    pub fn words(&self) -> usize {
        self.tokens.len().div_ceil(32)
    }

    /// The ids that end a text, ascending.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// The bytes of a token; `None` for special tokens, stop tokens, holes and ids outside the vocabulary.
    pub fn bytes(&self, id: u32) -> Option<&[u8]> {
        self.tokens.get(id as usize)?.as_deref()
    }

    /// The length of the longest token in bytes.
    pub fn longest(&self) -> usize {
        self.longest
    }
}
