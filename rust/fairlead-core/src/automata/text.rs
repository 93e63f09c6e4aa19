//! JSON strings: an automaton over the decoded text, seen through JSON's escapes.

use super::byteset::ByteSet;
use super::expr::{ExprId, NO_TEXT, Node, Slice, UNBOUNDED, one_less};
use super::row::{Edge, overlay};
use super::store::{EMPTY, EPS, Store};

/// Where in the spelling of a character a string stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Spelling {
    /// Between characters, or inside the UTF-8 of one.
    Raw,
    /// After a backslash.
    Escape,
    /// After `\u` and `digits` hexadecimal digits of that value.
    Hex { digits: u8, value: u16 },
    /// After the escape of a high surrogate: the backslash of the low one must follow.
    High { high: u16 },
    /// After a high surrogate and a backslash.
    HighEscape { high: u16 },
    /// After a high surrogate, `\u` and some digits of the low one.
    Low { high: u16, digits: u8, value: u16 },
}

/// The rest of a JSON string whose decoded text must be in `content` and have `lo` to `hi` more characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct TextState {
    pub(crate) content: ExprId,
    pub(crate) lo: u32,
    pub(crate) hi: u32,
    pub(crate) spelling: Spelling,
}

const SIMPLE: [(u8, u8); 8] =
    [(b'"', b'"'), (b'\\', b'\\'), (b'/', b'/'), (b'b', 8), (b'f', 12), (b'n', 10), (b'r', 13), (b't', 9)];

fn low_surrogates(high: u16) -> (u32, u32) {
    let base = 0x1_0000 + ((u32::from(high) - 0xD800) << 10);
    (base, base + 0x3FF)
}

impl Store {
    /// A JSON string, quotes included, whose decoded text is in `content` (a regular expression over UTF-8) and has
    /// `lo` to `hi` code points; [`EMPTY`](super::EMPTY) if there is none.
    pub fn text(&self, content: ExprId, lo: u32, hi: u32) -> ExprId {
        let bounded = lo > 0 || hi != UNBOUNDED;
        // Where characters are counted, a byte that only goes on with one may not stand where none has begun: a complement
        // would have such texts.
        let content = if bounded { self.inter([self.unlabelled(content), self.any]) } else { content };
        let state = TextState { content, lo, hi, spelling: Spelling::Raw };
        self.concat(self.byte(b'"'), self.text_rest(state))
    }

    fn text_rest(&self, state: TextState) -> ExprId {
        if self.feasible(state.content, state.lo, state.hi) { self.intern(Node::Text(state)) } else { EMPTY }
    }

    /// [`Store::feasible`] within a number of states; `None` when they don't suffice.
    pub(crate) fn feasible_within(&self, content: ExprId, lo: u32, hi: u32, max_states: usize) -> Option<bool> {
        let bounded = lo > 0 || hi != UNBOUNDED;
        let told = self.lengths(content).and_then(|lengths| lengths.meets(lo, hi));
        match told {
            Some(answer) if bounded => Some(answer),
            None if bounded && content != self.any => {
                self.alive_within(self.inter([content, self.characters(lo, hi)]), max_states)
            }
            _ => self.alive_within(content, max_states),
        }
    }

    /// Whether some text of `content` has between `lo` and `hi` characters.
    pub(crate) fn feasible(&self, content: ExprId, lo: u32, hi: u32) -> bool {
        if content == EMPTY || lo > hi {
            return false;
        }
        if content == self.any {
            return true;
        }
        if lo == 0 && hi == UNBOUNDED {
            return self.alive(content);
        }
        if let Some(answer) = self.lengths(content).and_then(|lengths| lengths.meets(lo, hi)) {
            return answer;
        }
        self.alive(self.inter([content, self.characters(lo, hi)]))
    }

    /// Texts of so many characters, behind what is left of one that has begun.
    pub(crate) fn characters(&self, lo: u32, hi: u32) -> ExprId {
        // With a byte that no text has, so that this isn't taken for text by itself.
        let rest = self.byte_set(ByteSet::range(0x80, NO_TEXT));
        self.concat(self.repeat(rest, 0, 3), self.repeat(self.scalar, lo, hi))
    }

    /// Whether some character from `lo` to `hi` may come next in the decoded text.
    fn may_continue(&self, state: &TextState, lo: u32, hi: u32) -> bool {
        let (Some(lo), Some(hi)) = (char::from_u32(lo), char::from_u32(hi)) else { return false };
        regex_syntax::utf8::Utf8Sequences::new(lo, hi).any(|sequence| {
            let ranges: Vec<_> = sequence.as_slice().iter().map(|r| (r.start, r.end)).collect();
            self.may_follow(state, state.content, &ranges)
        })
    }

    fn may_follow(&self, state: &TextState, content: ExprId, ranges: &[(u8, u8)]) -> bool {
        let Some((&(lo, hi), rest)) = ranges.split_first() else {
            return self.feasible(content, state.lo.saturating_sub(1), one_less(state.hi));
        };
        if content == self.any && state.hi > 0 && self.writes_all() {
            return true;
        }
        self.row(content).edges.iter().any(|e| e.lo <= hi && lo <= e.hi && self.may_follow(state, e.to, rest))
    }

    /// The decoded text went on by one character, however it was spelled.
    fn after_char(&self, state: &TextState, c: char) -> ExprId {
        let mut buffer = [0; 4];
        let content = c.encode_utf8(&mut buffer).bytes().fold(state.content, |e, b| self.step(e, b));
        if state.hi == 0 {
            return EMPTY;
        }
        let (lo, hi) = (state.lo.saturating_sub(1), one_less(state.hi));
        self.text_rest(TextState { content, lo, hi, spelling: Spelling::Raw })
    }

    pub(super) fn derive_text(&self, state: &TextState) -> Vec<Edge<ExprId>> {
        let spelled = |spelling| self.intern(Node::Text(TextState { spelling, ..*state }));
        let one = |b: u8, to: ExprId| vec![Edge { lo: b, hi: b, to }];
        match state.spelling {
            Spelling::Raw => self.derive_raw(state),
            Spelling::Escape => {
                let mut out: Vec<_> = SIMPLE
                    .iter()
                    .filter(|&&(b, _)| self.writes(char::from(b)))
                    .map(|&(b, c)| Edge { lo: b, hi: b, to: self.after_char(state, char::from(c)) })
                    .filter(|edge| edge.to != EMPTY)
                    .collect();
                if "u0123456789abcdefABCDEF".chars().all(|c| self.writes(c)) && self.hex_may_follow(state, 0, 0) {
                    out.extend(one(b'u', spelled(Spelling::Hex { digits: 0, value: 0 })));
                }
                out
            }
            Spelling::Hex { digits, value } => Self::derive_hex(|d| {
                let value = value << 4 | d;
                if digits < 3 {
                    let alive = self.hex_may_follow(state, digits + 1, value);
                    return if alive { spelled(Spelling::Hex { digits: digits + 1, value }) } else { EMPTY };
                }
                match value {
                    0xD800..=0xDBFF => {
                        let (lo, hi) = low_surrogates(value);
                        if self.may_continue(state, lo, hi) { spelled(Spelling::High { high: value }) } else { EMPTY }
                    }
                    _ => char::from_u32(u32::from(value)).map_or(EMPTY, |c| self.after_char(state, c)),
                }
            }),
            Spelling::High { high } => one(b'\\', spelled(Spelling::HighEscape { high })),
            Spelling::HighEscape { high } => one(b'u', spelled(Spelling::Low { high, digits: 0, value: 0 })),
            Spelling::Low { high, digits, value } => Self::derive_hex(|d| {
                let value = value << 4 | d;
                let (digits, open) = (digits + 1, 4 * (3 - u32::from(digits)));
                let (first, last) = (u32::from(value) << open, (u32::from(value) << open) + (1 << open) - 1);
                let (first, last) = (first.max(0xDC00), last.min(0xDFFF));
                let base = low_surrogates(high).0;
                if first > last || !self.may_continue(state, base + (first - 0xDC00), base + (last - 0xDC00)) {
                    return EMPTY;
                }
                if digits < 4 {
                    return spelled(Spelling::Low { high, digits, value });
                }
                char::from_u32(base + (first - 0xDC00)).map_or(EMPTY, |c| self.after_char(state, c))
            }),
        }
    }

    /// The derivatives of any text but the rest of some literals: those of any text, but for the literals' next bytes.
    fn derive_all_but(&self, slice: Slice, state: &TextState) -> Option<Vec<Edge<ExprId>>> {
        let branches = self.table(slice.table).branches(slice);
        if state.lo > 0 || state.hi != UNBOUNDED || !self.writes_all() || branches.iter().any(|&(b, _)| b >= 0x80) {
            return None;
        }
        let spelled = |content, spelling| self.intern(Node::Text(TextState { content, spelling, ..*state }));
        let plain = |b: u8| b >= 0x20 && b != b'"' && b != b'\\';
        let branches = branches.into_iter().filter(|&(b, _)| plain(b));
        let branches: Vec<_> = branches.map(|(b, part)| Edge { lo: b, hi: b, to: self.all_but(part, state) }).collect();
        let mut out = Vec::with_capacity(branches.len() * 2 + 8);
        let ended = self.table(slice.table).ended(slice).is_some();
        overlay(&[&self.row(spelled(self.any, Spelling::Raw)).edges, &branches], |lo, hi, found| {
            let Some(to) = found[1].or(found[0]) else { return };
            match lo {
                b'"' if ended => {}
                b'\\' => out.push(Edge { lo, hi, to: spelled(state.content, Spelling::Escape) }),
                _ => out.push(Edge { lo, hi, to }),
            }
        });
        Some(out)
    }

    /// A string of any text, of which so many characters have been written as they are.
    pub(super) fn fewer(&self, state: &TextState, written: u32) -> ExprId {
        let hi = if state.hi == UNBOUNDED { Some(UNBOUNDED) } else { state.hi.checked_sub(written) };
        let lo = state.lo.saturating_sub(written);
        hi.map_or(EMPTY, |hi| self.intern(Node::Text(TextState { lo, hi, ..*state })))
    }

    /// A string of any text but the rest of some literals.
    pub(super) fn all_but(&self, part: Slice, state: &TextState) -> ExprId {
        let content = self.inter([self.any, self.intern(Node::Except(part))]);
        self.intern(Node::Text(TextState { content, spelling: Spelling::Raw, ..*state }))
    }

    fn derive_raw(&self, state: &TextState) -> Vec<Edge<ExprId>> {
        if let Some(out) = self.free_but(state.content).and_then(|slice| self.derive_all_but(slice, state)) {
            return out;
        }
        let mut out = Vec::new();
        let (mut inside, mut goes_on) = (false, false);
        for edge in &self.row(state.content).edges {
            inside |= (0x80..0xC0).contains(&edge.lo);
            for (from, to) in [(0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7F), (0x80, 0xBF), (0xC0, 0xFF)] {
                let (lo, hi) = (edge.lo.max(from), edge.hi.min(to));
                let starts = from != 0x80;
                if lo > hi || (starts && state.hi == 0) {
                    continue;
                }
                let less = u32::from(starts);
                let rest = TextState {
                    content: edge.to,
                    lo: state.lo.saturating_sub(less),
                    hi: if starts { one_less(state.hi) } else { state.hi },
                    spelling: Spelling::Raw,
                };
                let to = self.text_rest(rest);
                if to != EMPTY {
                    goes_on |= starts;
                    out.push(Edge { lo, hi, to });
                }
            }
        }
        if inside {
            return out;
        }
        if state.lo == 0 && self.nullable(state.content) {
            out.push(Edge { lo: b'"', hi: b'"', to: EPS });
        }
        if state.hi > 0 && self.writes('\\') {
            let escape = self.intern(Node::Text(TextState { spelling: Spelling::Escape, ..*state }));
            // What can be written as it stands can be escaped too; only if nothing can, it takes a look at all escapes.
            if (goes_on && self.writes_all()) || !self.row(escape).edges.is_empty() {
                out.push(Edge { lo: b'\\', hi: b'\\', to: escape });
            }
        }
        out
    }

    /// Whether four digits that begin like this can spell a character that may come next.
    fn hex_may_follow(&self, state: &TextState, digits: u8, value: u16) -> bool {
        let open = 4 * (4 - u32::from(digits));
        let first = u32::from(value) << open;
        let last = first + (1 << open) - 1;
        let below = (first, last.min(0xD7FF));
        let above = (first.max(0xE000), last);
        let high = (first.max(0xD800), last.min(0xDBFF));
        (below.0 <= below.1 && self.may_continue(state, below.0, below.1))
            || (above.0 <= above.1 && self.may_continue(state, above.0, above.1))
            || (high.0 <= high.1
                && self.may_continue(state, low_surrogates(high.0 as u16).0, low_surrogates(high.1 as u16).1))
    }

    fn derive_hex(after: impl Fn(u16) -> ExprId) -> Vec<Edge<ExprId>> {
        (0..16u8)
            .flat_map(|d| {
                let to = after(u16::from(d));
                let lower = b"0123456789abcdef"[usize::from(d)];
                let upper = lower.to_ascii_uppercase();
                let second = (upper != lower).then_some(upper);
                [Some(lower), second].into_iter().flatten().map(move |b| Edge { lo: b, hi: b, to })
            })
            .filter(|edge| edge.to != EMPTY)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_characters_are_passed_without_rows() {
        for (lo, hi) in [(0, 0), (0, 1), (0, 4), (1, 3), (3, 3), (5, 7), (2, UNBOUNDED), (9, UNBOUNDED)] {
            for word in ["ab", "0 /", "wxyz~", "eighteen"] {
                let store = Store::new(8);
                let text = store.text(store.any_text(), lo, hi);
                let begin = store.step(text, b'"');
                let passed = store.after_plain(begin, word.as_bytes());
                let one_by_one = word.bytes().try_fold(begin, |e, b| store.after(e, b)).unwrap_or(EMPTY);
                assert!(store.slot(begin).row.get().is_none(), "{lo} to {hi}");
                let by_rows = word.bytes().fold(begin, |e, b| store.step(e, b));
                assert_eq!((passed, one_by_one), (Some(by_rows), by_rows), "{word} of {lo} to {hi}");
            }
        }
        // Neither the end, nor an escape, nor a character that takes several bytes, nor the rest of one.
        let store = Store::new(8);
        let begin = store.step(store.text(store.any_text(), 0, 1), b'"');
        for b in [b'"', b'\\', 0xC3, 0x80, b'\n'] {
            assert_eq!(store.after(begin, b), store.row(begin).get(b), "{b:#x}");
        }
        let escape = store.step(begin, b'\\');
        assert_eq!(store.after_plain(escape, b"ux"), None);
    }
}
