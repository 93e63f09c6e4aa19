//! A tokenizer's vocabulary: the exact bytes of every token, and which tokens end a text.

mod shape;
mod trie;

pub(crate) use shape::{Blocks, CUT, KINDS, LEAD, Shape, span};
pub(crate) use trie::{Child, ROOT, Sibling, Trie};

use hashbrown::HashMap;

use crate::error::{Error, ErrorKind};

/// A byte that is in no UTF-8: the engine spells a special token by it and its id. No other token can write that, so a
/// grammar may ask for one among texts, and no text ever has one.
pub(crate) const SPECIAL: u8 = 0xFF;

/// Six bits of the id in each byte, all of them bytes that continue a character and are none by themselves.
fn special_spelling(id: u32) -> [u8; 5] {
    let part = |shift: u32| 0x80 | (id >> shift & 0x3F) as u8;
    [SPECIAL, part(18), part(12), part(6), part(0)]
}

/// The tokens of a model, as bytes. Special tokens, holes and padding have none and are never part of a text.
#[derive(Debug)]
pub struct Vocabulary {
    tokens: Vec<Option<Box<[u8]>>>,
    stop_ids: Vec<u32>,
    /// Special tokens by name.
    special: HashMap<Box<str>, u32>,
    /// Tokens that no text holds because of that byte; they aren't among `tokens`.
    unwritable: HashMap<u32, Box<[u8]>>,
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
    pub fn new(tokens: Vec<Option<Box<[u8]>>>, stop_ids: Vec<u32>, size: usize) -> Result<Self, Error> {
        Self::with_special(tokens, stop_ids, size, [])
    }

    /// The same with special tokens, which grammars may name or give by their ids. They have no bytes, whatever `tokens`
    /// says; a name may be empty.
    ///
    /// # Errors
    /// As of [`Vocabulary::new`], or a special token outside the vocabulary.
    pub fn with_special(
        mut tokens: Vec<Option<Box<[u8]>>>,
        mut stop_ids: Vec<u32>,
        size: usize,
        special: impl IntoIterator<Item = (u32, Box<str>)>,
    ) -> Result<Self, Error> {
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
        let (mut names, mut unwritable) = (HashMap::new(), HashMap::new());
        for (id, token) in tokens.iter_mut().enumerate() {
            if let Some(bytes) = token.take_if(|bytes| bytes.contains(&SPECIAL)) {
                unwritable.insert(id as u32, bytes);
            }
        }
        for (id, name) in special {
            if id as usize >= tokens.len() {
                return bad(format!("special token id {id} is outside the vocabulary of {size}"));
            }
            if !name.is_empty() {
                names.insert(name, id);
            }
            unwritable.remove(&id);
            let stops = stop_ids.binary_search(&id).is_ok();
            tokens[id as usize] = (!stops).then(|| special_spelling(id).into());
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
        Ok(Self { tokens, stop_ids, special: names, unwritable, longest, alphabet, trie })
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
        let bytes = self.spelling(id).filter(|bytes| !Self::is_special(bytes));
        bytes.or_else(|| self.unwritable.get(&id).map(|bytes| &**bytes))
    }

    /// What a token is for the engine: its bytes, or those that stand for a special token; `None` if it is in no text.
    pub(crate) fn spelling(&self, id: u32) -> Option<&[u8]> {
        self.tokens.get(id as usize)?.as_deref()
    }

    /// Whether some bytes are the spelling of a special token, or begin with one.
    pub(crate) fn is_special(bytes: &[u8]) -> bool {
        bytes.first() == Some(&SPECIAL)
    }

    /// A text without the special tokens in it.
    pub(crate) fn without_special(text: &[u8]) -> Vec<u8> {
        let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
        while let Some(at) = rest.iter().position(|&b| b == SPECIAL) {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[(at + special_spelling(0).len()).min(rest.len())..];
        }
        out.extend_from_slice(rest);
        out
    }

    /// Special tokens that have a name, by their ids.
    pub fn special_tokens(&self) -> Vec<(u32, &str)> {
        let mut all: Vec<_> = self.special.iter().map(|(name, &id)| (id, &**name)).collect();
        all.sort_unstable();
        all
    }

    /// The special tokens that have a name, in no order.
    pub(crate) fn special_names(&self) -> impl Iterator<Item = (&str, u32)> {
        self.special.iter().map(|(name, &id)| (&**name, id))
    }

    /// The special token of that name.
    pub(crate) fn special(&self, name: &str) -> Option<u32> {
        self.special.get(name).copied()
    }

    /// What is written for a text of a notation that has no other way to say a special token: names of such tokens stand for
    /// them, since no model spells them. With it how much the shortest part takes that covers `least` bytes of the text.
    pub(crate) fn written(&self, text: &[u8], least: usize) -> (Box<[u8]>, usize) {
        // Most names begin alike, most texts have few places where one could.
        let mut first = [false; 256];
        self.special_names().for_each(|(name, _)| first[usize::from(name.as_bytes()[0])] = true);
        // A stop token has no spelling: what is named so is a text.
        let leading = |text: &[u8]| {
            let names = self.special_names().filter(|(name, _)| text.starts_with(name.as_bytes()));
            let (name, id) = names.max_by_key(|(name, _)| name.len())?;
            self.spelling(id).map(|spelled| (spelled, name.len()))
        };
        let (mut out, mut covered, mut at) = (Vec::with_capacity(text.len()), None, 0);
        while at < text.len() {
            if at >= least {
                covered.get_or_insert(out.len());
            }
            let named = if first[usize::from(text[at])] { leading(&text[at..]) } else { None };
            let (spelled, len) = named.unwrap_or((&text[at..=at], 1));
            out.extend(spelled);
            at += len;
        }
        let covered = covered.unwrap_or(out.len());
        (out.into(), covered)
    }

    /// What stands for the special tokens that a text may have.
    pub(crate) fn specials(&self) -> impl Iterator<Item = &[u8]> {
        self.tokens.iter().flatten().map(|spelled| &**spelled).filter(|spelled| Self::is_special(spelled))
    }

    /// Whether a token writes exactly this text.
    pub(crate) fn has_token(&self, text: &[u8]) -> bool {
        let node = text.iter().try_fold(ROOT, |node, &b| self.trie.child(node, b));
        !text.is_empty() && node.is_some_and(|node| !self.trie.own_tokens(node).is_empty())
    }

    /// The length of the longest token in bytes.
    pub fn longest(&self) -> usize {
        self.longest
    }
}
