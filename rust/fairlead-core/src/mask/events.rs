//! What tokens complete that must not come again: undeclared keys of an object, items of an array. A matcher looks at these
//! tokens once more.

use std::sync::OnceLock;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

/// A token, or the beginning of one, that completes an undeclared key of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyEvent {
    /// The node of the vocabulary's trie at which the key's closing quote stands.
    pub(crate) node: u32,
    /// The key's raw text in the token, up to the closing quote; the whole key if `whole`.
    pub(crate) text: Box<[u8]>,
    /// Whether the key began in the token too.
    pub(crate) whole: bool,
    /// Whether the token has completed another key of the same object before.
    pub(crate) again: bool,
}

impl KeyEvent {
    /// The event of a text that ends with a key's closing quote.
    pub(crate) fn new(path: &[u8], node: u32, again: bool) -> Self {
        let text = path.strip_suffix(b"\"").unwrap_or(path);
        let start = opening_quote(text);
        let (text, whole) = start.map_or((text, false), |at| (&text[at + 1..], true));
        Self { node, text: text.into(), whole, again }
    }
}

/// The key events of a walk, with an index by text that is made when it is first asked for; or nodes at which an item ends.
#[derive(Debug)]
pub(crate) struct KeyEvents {
    pub(crate) list: Vec<KeyEvent>,
    /// Whether there is an event whose token has completed a key before.
    pub(crate) again: bool,
    /// The nodes at which an item ends or may end that no other one of its array may equal.
    pub(crate) items: Box<[u32]>,
    index: OnceLock<Index>,
}

/// Events by their text, escapes decoded; apart from those whose escapes aren't whole.
#[derive(Debug, Default)]
struct Index {
    whole: HashMap<Box<[u8]>, Vec<u32>, FixedState>,
    rest: HashMap<Box<[u8]>, Vec<u32>, FixedState>,
    broken: Vec<u32>,
}

impl KeyEvents {
    pub(crate) fn new(list: Vec<KeyEvent>) -> Self {
        Self { again: list.iter().any(|e| e.again), list, items: Box::default(), index: OnceLock::new() }
    }

    pub(crate) fn of_items(nodes: Vec<u32>) -> Self {
        Self { items: nodes.into(), ..Self::new(Vec::new()) }
    }

    /// Calls `each` with the nodes of all tokens that may write one of some keys a second time, where `begun` is the
    /// raw text since the last quote. Too many nodes are fine, too few are not.
    pub(crate) fn repeats(&self, keys: &[&[u8]], begun: Option<&[u8]>, mut each: impl FnMut(u32)) {
        if self.again {
            self.list.iter().filter(|e| e.again).for_each(|e| each(e.node));
        }
        if keys.is_empty() {
            return;
        }
        let index = self.index.get_or_init(|| self.make_index());
        // Where a token begins inside an escape, the exact check has to find out where its key begins.
        let Some(begun) = begun.filter(|b| !b.contains(&b'\\')) else {
            let keys = keys.iter().copied().collect();
            return self.list.iter().filter(|e| may_repeat(e, &keys, begun)).for_each(|e| each(e.node));
        };
        for key in keys {
            let whole = index.whole.get(*key);
            let rest = key.strip_prefix(begun).and_then(|rest| index.rest.get(rest));
            whole.into_iter().chain(rest).flatten().for_each(|&node| each(node));
        }
        if index.broken.is_empty() {
            return;
        }
        let keys = keys.iter().copied().collect();
        let broken = index.broken.iter().map(|&i| &self.list[i as usize]);
        broken.filter(|e| may_repeat(e, &keys, Some(begun))).for_each(|e| each(e.node));
    }

    fn make_index(&self) -> Index {
        let mut index = Index::default();
        for (i, event) in self.list.iter().enumerate() {
            let Some(text) = try_decode(&event.text) else {
                index.broken.push(i as u32);
                continue;
            };
            let map = if event.whole { &mut index.whole } else { &mut index.rest };
            map.entry(text).or_default().push(event.node);
        }
        index
    }
}

/// Whether the key of an event is one of some keys, or cannot be told without the exact check.
fn may_repeat(event: &KeyEvent, keys: &HashSet<&[u8], FixedState>, begun: Option<&[u8]>) -> bool {
    let raw = match begun {
        _ if event.whole && !begun.is_some_and(|b| b.ends_with(b"\\")) => event.text.to_vec(),
        Some(begun) if !event.whole => [begun, &event.text].concat(),
        // The token begins inside an escape: where its key begins is for the exact check to find out.
        _ => return true,
    };
    keys.contains(&*decoded(&raw))
}

/// The last quote of a text that no backslash escapes.
pub(crate) fn opening_quote(text: &[u8]) -> Option<usize> {
    (0..text.len())
        .rev()
        .find(|&at| text[at] == b'"' && text[..at].iter().rev().take_while(|&&b| b == b'\\').count() % 2 == 0)
}

/// A string's text, its JSON escapes decoded; as it stands if it isn't the inside of a JSON string.
pub(crate) fn decoded(raw: &[u8]) -> Box<[u8]> {
    try_decode(raw).unwrap_or_else(|| raw.into())
}

fn try_decode(raw: &[u8]) -> Option<Box<[u8]>> {
    if !raw.contains(&b'\\') {
        return Some(raw.into());
    }
    let quoted = [b"\"", raw, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).ok().map(|s| s.into_bytes().into())
}
