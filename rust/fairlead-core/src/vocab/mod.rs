//! A tokenizer's vocabulary: the exact bytes of every token, and which tokens end a text.

mod trie;

pub(crate) use trie::{Child, KINDS, ROOT, Shape, Trie};

use crate::error::{Error, ErrorKind};

/// The tokens of a model, as bytes. Special tokens, holes and padding have none and are never part of a text.
#[derive(Debug)]
pub struct Vocabulary {
    tokens: Vec<Option<Box<[u8]>>>,
    stop_ids: Vec<u32>,
    longest: usize,
    /// The characters that can be written, if not all of them can.
    pub(crate) alphabet: Option<Vec<(char, char)>>,
    pub(crate) trie: Trie,
}

/// The characters that occur in tokens, as sorted ranges; `None` if every byte has a token of its own.
fn alphabet(tokens: &[Option<Box<[u8]>>]) -> Option<Vec<(char, char)>> {
    let mut bytes = [false; 256];
    for token in tokens.iter().flatten() {
        if let [b] = **token {
            bytes[usize::from(b)] = true;
        }
    }
    // 0xC0, 0xC1 and what follows 0xF4 are in no UTF-8.
    if (0..=0xF4usize).all(|b| bytes[b] || b == 0xC0 || b == 0xC1) {
        return None;
    }
    let texts = tokens.iter().flatten().filter_map(|token| std::str::from_utf8(token).ok());
    let mut chars: Vec<char> = texts.flat_map(str::chars).collect();
    chars.sort_unstable();
    chars.dedup();
    Some(chars.into_iter().map(|c| (c, c)).collect())
}

impl Vocabulary {
    /// A vocabulary of `size` ids (at least as many as `tokens`); ids past `tokens` are padding.
    ///
    /// # Errors
    /// A stop id outside the vocabulary, more than 2^24 tokens or bytes of tokens, or a token longer than 65,535 bytes.
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
        let bytes = tokens.iter().flatten().map(|t| t.len()).sum::<usize>();
        if bytes > Trie::MOST_BYTES {
            return bad(format!("the tokens have {bytes} bytes; {} are supported", Trie::MOST_BYTES));
        }
        let trie = Trie::new(&tokens);
        let alphabet = alphabet(&tokens);
        Ok(Self { tokens, stop_ids, longest, alphabet, trie })
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
