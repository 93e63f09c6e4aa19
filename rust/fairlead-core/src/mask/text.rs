//! Free JSON strings, by far the most frequent mask: worked out once per vocabulary, for every bound of length.

use std::sync::{Arc, OnceLock};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::classes::Classes;
use super::entry::set_bits;
use super::events::decoded;
use super::longer::Levels;
use crate::automata::{EMPTY, EPS, ExprId, Node, Spelling, Store};
use crate::vocab::{ROOT, Trie, Vocabulary};

/// No string is bounded by this, so that a state tells how many characters it has taken.
const MANY: u32 = 1 << 30;

/// What the tokens do inside a free JSON string.
#[derive(Debug)]
pub(crate) struct TextMasks {
    /// Entry `n`: the tokens of at most `n` plain characters; the last entry has them all.
    ladder: Vec<Arc<[u32]>>,
    /// The trie of all other tokens.
    pub(super) rest: Trie,
    /// Other tokens that stay inside the string, with the characters that they take, ascending.
    inside: Vec<(u32, u32)>,
    /// Tokens that end with the closing quote, likewise.
    closing: Vec<(u32, u32)>,
    /// Nodes of the vocabulary's trie at which the closing quote stands, likewise.
    exits: Vec<(u32, u32)>,
    /// These nodes alone, ascending.
    all_exits: Box<[u32]>,
    /// The exits whose text has escapes, by the text decoded.
    escaped: Escaped,
    /// All tokens that a free string without bounds allows.
    everything: Arc<[u32]>,
    /// The tokens above some lengths.
    pub(super) levels: Levels,
    /// Made when the first class of characters is met.
    classes: OnceLock<Classes>,
    /// Tokens with a quote.
    opening: Opening,
    /// Tokens with a backslash or a quote that is not their last byte.
    pub(crate) awkward: Vec<u32>,
}

/// Tokens that may open a string, by what they write of it.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    /// Those that write nothing of it.
    bare: Vec<u32>,
    /// Those that write an escape.
    escaped: Vec<u32>,
    /// The others by their text after the last quote.
    begun: HashMap<Box<[u8]>, Vec<u32>, FixedState>,
}

impl Opening {
    fn add(&mut self, token: u32, bytes: &[u8]) {
        let begun = bytes.rsplit(|&b| b == b'"').next().unwrap_or_default();
        if begun.is_empty() {
            self.bare.push(token);
        } else if begun.contains(&b'\\') {
            self.escaped.push(token);
        } else {
            self.begun.entry(begun.into()).or_default().push(token);
        }
    }

    /// The tokens that write a part of one of some strings, and with `bare` also those that write nothing of any.
    pub(crate) fn of<'a>(&self, strings: impl Iterator<Item = &'a [u8]>, bare: bool) -> Vec<u32> {
        let mut tokens = self.escaped.clone();
        if bare {
            tokens.extend_from_slice(&self.bare);
        }
        for string in strings {
            let begun = (1..=string.len()).filter_map(|upto| self.begun.get(&string[..upto]));
            tokens.extend(begun.flatten());
        }
        tokens
    }
}

/// Texts, decoded, with the nodes at which their closing quotes stand.
pub(super) type Escaped = HashMap<Box<[u8]>, Vec<u32>, FixedState>;

/// Adds the nodes at which some sorted texts that share their first bytes are closed, where those lead to a node: trie
/// and texts side by side.
pub(super) fn find_closed(main: &Trie, node: u32, texts: &[&[u8]], shared: usize, out: &mut Vec<u32>) {
    let ended = texts.partition_point(|text| text.len() == shared);
    if ended > 0 {
        out.extend(main.child(node, b'"'));
    }
    if main.below(node) == 0 {
        return;
    }
    for group in texts[ended..].chunk_by(|a, b| a[shared] == b[shared]) {
        if let Some(child) = main.child(node, group[0][shared]) {
            find_closed(main, child, group, shared + 1, out);
        }
    }
}

/// The number of characters of a token that stands for itself inside a JSON string.
fn plain_chars(token: &[u8]) -> Option<usize> {
    let plain = |&b: &u8| b >= 0x20 && b != b'"' && b != b'\\';
    if token.is_empty() || !token.iter().all(plain) {
        return None;
    }
    std::str::from_utf8(token).ok().map(|text| text.chars().count())
}

fn is_opening(token: &[u8]) -> bool {
    token.split_last().is_some_and(|(_, head)| head.contains(&b'"'))
}

impl TextMasks {
    pub(crate) fn new(vocab: &Vocabulary) -> Self {
        let chars: Vec<Option<usize>> =
            (0..vocab.size() as u32).map(|t| vocab.bytes(t).and_then(plain_chars)).collect();
        let most = chars.iter().flatten().copied().max().unwrap_or(0);
        let mut by_length: Vec<Vec<u32>> = vec![Vec::new(); most + 1];
        for (token, n) in chars.iter().enumerate() {
            if let Some(n) = n {
                by_length[*n].push(token as u32);
            }
        }
        let mut row = vec![0u32; vocab.words()];
        let mut ladder: Vec<Arc<[u32]>> = Vec::with_capacity(most + 1);
        for tokens in by_length {
            // Lengths that no token has share their predecessor's mask.
            let shared = ladder.last().filter(|_| tokens.is_empty()).cloned();
            set_bits(&mut row, &tokens);
            ladder.push(shared.unwrap_or_else(|| row.clone().into()));
        }
        let tokens_that = |kind: &dyn Fn(&[u8]) -> bool| -> Vec<u32> {
            (0..vocab.size() as u32).filter(|&t| vocab.bytes(t).is_some_and(kind)).collect()
        };
        let rest = vocab.trie.derive(&[ROOT], |t| chars[t as usize].is_none());
        let mut masks = Self {
            ladder,
            rest: Trie::default(),
            inside: Vec::new(),
            closing: Vec::new(),
            exits: Vec::new(),
            all_exits: Box::default(),
            escaped: Escaped::default(),
            everything: Arc::default(),
            levels: Levels::default(),
            classes: OnceLock::new(),
            opening: Opening::default(),
            awkward: tokens_that(&|token| token.contains(&b'\\') || is_opening(token)),
        };
        let store = Store::over(vocab.longest() as u32, vocab.alphabet.clone());
        let text = store.step(store.text(store.any, 0, MANY), b'"');
        for &token in &tokens_that(&is_opening) {
            masks.opening.add(token, vocab.bytes(token).unwrap_or_default());
        }
        masks.explore(&store, &rest, ROOT, text);
        masks.rest = rest;
        masks.inside.sort_unstable();
        masks.closing.sort_unstable();
        masks.exits.sort_unstable();
        let (others, exits) = masks.others(0, MANY);
        masks.all_exits = exits.into();
        set_bits(&mut row, &others);
        masks.everything = row.into();
        for &(_, node) in &masks.exits {
            let path = vocab.trie.path(node);
            if path.contains(&b'\\') {
                masks.escaped.entry(decoded(path.strip_suffix(b"\"").unwrap_or(&path))).or_default().push(node);
            }
        }
        masks
    }

    fn explore(&mut self, store: &Store, trie: &Trie, node: u32, state: ExprId) {
        let taken = |e: ExprId| match store.node(e) {
            Node::Text(s) => MANY - s.hi + u32::from(s.spelling != Spelling::Raw),
            _ => 0,
        };
        for next in trie.children(node) {
            let child = next.node();
            match store.step(state, next.byte()) {
                EMPTY => {}
                EPS => {
                    let chars = taken(state);
                    self.closing.extend(trie.own_tokens(child).iter().map(|&t| (chars, t)));
                    self.exits.extend(trie.origins(child).iter().map(|&n| (chars, n)));
                }
                next => {
                    let chars = taken(next);
                    self.inside.extend(trie.own_tokens(child).iter().map(|&t| (chars, t)));
                    self.explore(store, trie, child, next);
                }
            }
        }
    }

    /// The tokens with a quote that is not their last byte.
    pub(crate) fn opening(&self) -> &Opening {
        &self.opening
    }

    /// All tokens that a free string without bounds allows.
    pub(super) fn everything(&self) -> &Arc<[u32]> {
        &self.everything
    }

    /// The vocabulary by classes of characters.
    pub(super) fn classes(&self, vocab: &Vocabulary) -> &Classes {
        self.classes.get_or_init(|| Classes::new(vocab))
    }

    /// All exits of a free string, ascending.
    pub(super) fn exits(&self) -> &[u32] {
        &self.all_exits
    }

    /// The exits, ascending, at which one of some sorted texts is closed, escapes decoded.
    pub(super) fn closed_by(&self, main: &Trie, texts: &[&[u8]]) -> Vec<u32> {
        let mut nodes = Vec::new();
        find_closed(main, ROOT, texts, 0, &mut nodes);
        nodes.extend(texts.iter().filter_map(|text| self.escaped.get(*text)).flatten());
        nodes.sort_unstable();
        nodes
    }

    /// The plain tokens of at most `hi` characters.
    pub(super) fn plain(&self, hi: u32) -> &Arc<[u32]> {
        &self.ladder[(hi as usize).min(self.ladder.len() - 1)]
    }

    /// The other tokens and the exits of a free string that must take `lo` to `hi` more characters.
    pub(super) fn others(&self, lo: u32, hi: u32) -> (Vec<u32>, Vec<u32>) {
        let upto = |list: &'_ [(u32, u32)]| list.partition_point(|&(n, _)| n <= hi);
        let below = |list: &'_ [(u32, u32)]| list.partition_point(|&(n, _)| n < lo);
        let ids = |list: &[(u32, u32)]| list.iter().map(|&(_, id)| id).collect::<Vec<_>>();
        let within = |list: &[(u32, u32)]| ids(&list[below(list).min(upto(list))..upto(list)]);
        let mut tokens = ids(&self.inside[..upto(&self.inside)]);
        tokens.extend(within(&self.closing));
        let mut exits = within(&self.exits);
        exits.sort_unstable();
        (tokens, exits)
    }
}
