//! What objects and arrays of a text have already that must not come again: undeclared keys, items.

use std::sync::Arc;

use serde_json::Value;

use crate::automata::{Completed, Keys, Mark};
use crate::json_schema::identity;
use crate::mask::{decoded, opening_quote};

/// Undeclared keys that an object has, as a list from the last to the first.
#[derive(Clone, Debug)]
pub(super) struct SeenKey {
    before: u32,
    pub(super) key: Box<[u8]>,
    /// Whether a key of the text so far is of a kind that can run out, as those of `^[0-9]{3}$` can.
    pub(super) scarce: bool,
    /// Whether this one or one before it in its object is.
    scarce_here: bool,
}

/// Items of an array of which no two are equal, likewise.
#[derive(Clone, Debug)]
pub(super) struct SeenItem {
    before: u32,
    /// Where it ends in the text.
    pub(super) end: usize,
    pub(super) item: Arc<Item>,
}

/// An item's value.
#[derive(Debug)]
pub(super) struct Item {
    /// What it has in common with its equals; where it is nested too deep to be read, its text.
    identity: Box<[u8]>,
    pub(super) value: Option<Value>,
}

impl Item {
    fn new(raw: &[u8]) -> Self {
        let value: Option<Value> = serde_json::from_slice(raw).ok();
        let identity = value.as_ref().map_or_else(|| raw.into(), |value| identity(value).into_bytes().into());
        Self { identity, value }
    }
}

/// Tells the list of an array's items from that of an object's keys.
const ITEMS: u32 = 1 << 31;

/// Whether what is remembered of a frame is the items of an array.
pub(super) fn has_items(extra: u32) -> bool {
    extra & ITEMS != 0
}

/// Where the JSON value begins that a text ends with.
fn value_start(text: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (text.len(), 0);
    match text.last()? {
        b'"' => return opening_quote(&text[..at - 1]),
        b'}' | b']' => {}
        _ => {
            let outside = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' | b'[');
            return Some(text.iter().rposition(outside).map_or(0, |before| before + 1));
        }
    }
    while at > 0 {
        at -= 1;
        match text[at] {
            b'"' => at = opening_quote(&text[..at])?,
            b'}' | b']' => depth += 1,
            b'{' | b'[' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// What there is, where something more is completed.
pub(super) struct Seen<'a> {
    pub(super) text: &'a [u8],
    pub(super) keys: &'a mut Vec<SeenKey>,
    /// Whether the keys being written can run out.
    pub(super) scarce: bool,
    pub(super) items: &'a mut Vec<SeenItem>,
}

impl Seen<'_> {
    /// The keys of an object, the last first.
    pub(super) fn keys(seen: &[SeenKey], extra: u32) -> impl Iterator<Item = &[u8]> {
        let list = |at: u32| (at != 0 && !has_items(at)).then(|| &seen[at as usize - 1]);
        std::iter::successors(list(extra), move |entry| list(entry.before)).map(|entry| &*entry.key)
    }

    /// The items of an array, the last first.
    pub(super) fn items(seen: &[SeenItem], extra: u32) -> impl Iterator<Item = &SeenItem> {
        let list = |at: u32| has_items(at).then(|| &seen[(at ^ ITEMS) as usize]);
        std::iter::successors(list(extra), move |entry| list(entry.before))
    }

    /// How many keys of an object begin like this.
    pub(super) fn count(seen: &[SeenKey], extra: u32, prefix: &[u8]) -> usize {
        Self::keys(seen, extra).filter(|key| key.starts_with(prefix)).count()
    }

    /// Whether keys of an object are of a kind that can run out.
    pub(super) fn has_scarce(seen: &[SeenKey], extra: u32) -> bool {
        extra != 0 && !has_items(extra) && seen[extra as usize - 1].scarce_here
    }

    pub(super) fn has(seen: &[SeenKey], extra: u32, key: &[u8]) -> bool {
        Self::keys(seen, extra).any(|k| k == key)
    }

    fn key(&mut self, extra: u32) -> Option<u32> {
        let raw = self.text.strip_suffix(b"\"")?;
        let key = decoded(&raw[opening_quote(raw)? + 1..]);
        if Self::has(self.keys, extra, &key) {
            return None;
        }
        let scarce = self.scarce || self.keys.last().is_some_and(|s| s.scarce);
        let scarce_here = self.scarce || Self::has_scarce(self.keys, extra);
        self.keys.push(SeenKey { before: extra, key, scarce, scarce_here });
        Some(self.keys.len() as u32)
    }

    fn item(&mut self, before: u32, end: usize) -> Option<u32> {
        let item = Item::new(&self.text[value_start(&self.text[..end])?..end]);
        let equal = |seen: &SeenItem| seen.item.identity == item.identity;
        if Self::items(self.items, before).any(equal) {
            return None;
        }
        // Two ways to read an item end it twice.
        let here = self.items.iter().enumerate().rev().take_while(|(_, seen)| seen.end == end);
        let known = here.into_iter().find(|(_, seen)| seen.before == before && equal(seen)).map(|(at, _)| at);
        let at = known.unwrap_or(self.items.len());
        if known.is_none() {
            self.items.push(SeenItem { before, end, item: Arc::new(item) });
        }
        Some(at as u32 | ITEMS)
    }
}

impl Keys for Seen<'_> {
    fn completed(&mut self, what: Completed) -> Option<u32> {
        match what.mark {
            Mark::Key => self.key(what.extra),
            Mark::Item => self.item(what.extra, self.text.len() - usize::from(what.before)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::value_start;

    #[test]
    fn a_value_is_found_from_its_end() {
        for value in [r#""a\"]""#, r#"{"a": ["]", {"b": "\\"}]}"#, "[[], {}]", "-1.5e3", "true", r#""""#, "[]"] {
            for before in ["", "[1, ", r#"{"k":"#, "[\n"] {
                let text = format!("{before}{value}");
                assert_eq!(value_start(text.as_bytes()), Some(before.len()), "{text}");
            }
        }
    }
}
