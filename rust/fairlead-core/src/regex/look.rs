//! Look-ahead in patterns that are searched for: what must follow is met with what does follow.
//!
//! A pattern is taken apart from its end: behind each place stand all texts that may follow there, and a look-ahead meets
//! these with the texts that begin with what it asks for, or with their complement. Such a rest of a text depends on whether
//! the place is the beginning of the text, as `^` may follow. A look-behind is known only right before the text's end, where it is
//! about the whole text. Groups that look around are written out as often as they come; those that come any number of times look
//! at one character after the other up to the text's end, as in `((?!a).)*$`, which is a condition on all rests of the text.

use std::cell::Cell;
use std::ops::Range;

use super::{Anchored, Dialect, anchored};
use crate::automata::{EMPTY, EPS, ExprId, Store, UNBOUNDED};
use crate::error::Error;
use crate::limits::Limits;

/// So often a group is written out that looks around.
const MANY_TIMES: u32 = 32;

/// And so often all such groups of a pattern, those within others included.
const MANY_GROUPS: usize = 256;

const QUANTIFIERS: [char; 4] = ['*', '+', '?', '{'];

/// What may follow a place, up to the text's end.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Rest {
    /// Where the place is not the beginning of the text.
    inside: ExprId,
    /// Where it is.
    start: ExprId,
}

/// A part of a pattern.
enum Part {
    /// Without assertions but `^` and `$`.
    Plain(Range<usize>),
    /// A group that holds some, so many times.
    Group { inner: Range<usize>, lo: u32, hi: u32, at: usize },
    /// What has to follow, or must not.
    Ahead { inner: Range<usize>, not: bool },
    /// What has to stand before, or must not.
    Behind { inner: Range<usize>, not: bool, at: usize },
}

struct Reader<'a> {
    store: &'a Store,
    limits: &'a Limits,
    pattern: &'a str,
    /// How often groups that look around have been written out.
    written: Cell<usize>,
}

/// The texts in which a pattern with look-around is found.
pub(super) fn search(store: &Store, pattern: &str, limits: &Limits) -> Result<ExprId, Error> {
    let reader = Reader { store, limits, pattern, written: Cell::new(0) };
    if let Some(at) = reader.flags() {
        return reader.refused(at);
    }
    let any = store.any_text();
    let mut found = Vec::new();
    for alternative in reader.alternatives(0..pattern.len()) {
        let mut parts = reader.parts(alternative)?;
        // Right before the end of the text, what stands before is the whole text.
        let end = parts.pop_if(|part| matches!(part, Part::Plain(range) if &pattern[range.clone()] == "$"));
        let mut whole = vec![any];
        if end.is_some() {
            while let Some(Part::Behind { inner, not, .. }) = parts.pop_if(|part| matches!(part, Part::Behind { .. })) {
                let Anchored { at: [free, to_end, from_start, both] } = reader.plain(&inner)?;
                let before = store.union([free, to_end]);
                let texts = store.union([store.concat(any, before), from_start, both]);
                whole.push(if not { store.not(texts) } else { texts });
            }
        }
        let last = if end.is_some() { EPS } else { any };
        let rest = reader.before_all(&parts, Rest { inside: last, start: last })?;
        let anywhere = if rest.inside == rest.start {
            store.concat(any, rest.inside)
        } else {
            let some = store.concat(store.char_class(&[('\0', char::MAX)]), any);
            store.union([store.concat(some, rest.inside), rest.start])
        };
        whole.push(anywhere);
        found.push(reader.meet(&whole)?);
    }
    Ok(store.union(found))
}

impl Reader<'_> {
    fn refused<T>(&self, at: usize) -> Result<T, Error> {
        let what = "look-around assertions are not supported here in a constraint";
        Err(Error::grammar(format!("{what}: {:?}", self.pattern)).at_offset(at))
    }

    /// What satisfies all of some conditions; nothing if no text does.
    fn meet(&self, all: &[ExprId]) -> Result<ExprId, Error> {
        let met = self.store.inter(all.iter().copied());
        match self.store.alive_within(met, self.limits.max_states) {
            Some(true) => Ok(met),
            Some(false) => Ok(EMPTY),
            None => Err(Error::limit("whether this pattern is found in any text takes too many states to tell")),
        }
    }

    /// Calls `each` with the bytes of a part that are neither escaped nor in a class, until it has had enough.
    fn scan(&self, range: Range<usize>, mut each: impl FnMut(usize, u8) -> bool) {
        let bytes = self.pattern.as_bytes();
        let (mut at, mut class) = (range.start, false);
        while at < range.end {
            match bytes[at] {
                b'\\' => at += 1,
                b'[' if !class => class = true,
                b']' if class => class = false,
                _ if class => {}
                b => {
                    if !each(at, b) {
                        return;
                    }
                }
            }
            at += 1;
        }
    }

    /// Where flags are set for whatever follows: that would have to be the same in all parts.
    fn flags(&self) -> Option<usize> {
        let mut found = None;
        self.scan(0..self.pattern.len(), |at, b| {
            let inside = self.pattern[at..].strip_prefix("(?").and_then(|rest| rest.split_once(')'));
            let flags = inside.is_some_and(|(inside, _)| inside.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-'));
            found = Some(at).filter(|_| b == b'(' && flags);
            found.is_none()
        });
        found
    }

    fn alternatives(&self, range: Range<usize>) -> Vec<Range<usize>> {
        let (mut out, mut depth, mut from) = (Vec::new(), 0, range.start);
        self.scan(range.clone(), |at, b| {
            match b {
                b'(' => depth += 1,
                b')' => depth -= 1,
                b'|' if depth == 0 => {
                    out.push(from..at);
                    from = at + 1;
                }
                _ => {}
            }
            true
        });
        out.push(from..range.end);
        out
    }

    /// Where the group is closed that opens here.
    fn closing(&self, open: usize, end: usize) -> Result<usize, Error> {
        let (mut depth, mut found) = (0, None);
        self.scan(open..end, |at, b| {
            depth += i32::from(b == b'(') - i32::from(b == b')');
            found = Some(at).filter(|_| depth == 0);
            found.is_none()
        });
        let unclosed = || Error::grammar(format!("the pattern {:?} cannot be used: unclosed group", self.pattern));
        found.ok_or_else(|| unclosed().at_offset(open))
    }

    /// A sequence in its parts.
    fn parts(&self, range: Range<usize>) -> Result<Vec<Part>, Error> {
        let mut groups = Vec::new();
        let mut depth = 0;
        self.scan(range.clone(), |at, b| {
            if b == b'(' && depth == 0 {
                groups.push(at);
            }
            depth += i32::from(b == b'(') - i32::from(b == b')');
            true
        });
        let (mut out, mut from) = (Vec::new(), range.start);
        let plain = |out: &mut Vec<Part>, range: Range<usize>| {
            if !range.is_empty() {
                out.push(Part::Plain(range));
            }
        };
        for open in groups {
            let close = self.closing(open, range.end)?;
            let text = &self.pattern[open..close];
            let Some(look) = looks_around(text) else { continue };
            let after = &self.pattern[close + 1..range.end];
            let Some((lo, hi, length)) = quantifier(after).filter(|_| look > 0 || !after.starts_with(QUANTIFIERS))
            else {
                return self.refused(open + look);
            };
            plain(&mut out, from..open);
            from = close + 1 + length;
            let inner = |prefix: usize| open + prefix..close;
            let group = |prefix: usize| Part::Group { inner: inner(prefix), lo, hi, at: open + look };
            out.push(match text.as_bytes() {
                [b'(', b'?', sign @ (b'=' | b'!'), ..] => Part::Ahead { inner: inner(3), not: *sign == b'!' },
                [b'(', b'?', b'<', sign @ (b'=' | b'!'), ..] => {
                    Part::Behind { inner: inner(4), not: *sign == b'!', at: open }
                }
                [b'(', b'?', b':', ..] => group(3),
                [b'(', b'?', ..] => return self.refused(open + look),
                _ => group(1),
            });
        }
        plain(&mut out, from..range.end);
        // Each anchor at the end by itself.
        if let Some(Part::Plain(last)) = out.last_mut()
            && last.len() > 1
            && self.pattern[last.clone()].ends_with('$')
            && !self.is_escaped(last.end - 1)
        {
            let end = last.end;
            last.end -= 1;
            out.push(Part::Plain(end - 1..end));
        }
        Ok(out)
    }

    fn is_escaped(&self, at: usize) -> bool {
        self.pattern.as_bytes()[..at].iter().rev().take_while(|&&b| b == b'\\').count() % 2 == 1
    }

    fn plain(&self, range: &Range<usize>) -> Result<Anchored, Error> {
        let text = &self.pattern[range.clone()];
        if let Some(look) = looks_around(text) {
            return self.refused(range.start + look);
        }
        let place = |e: Error| match e.offset() {
            Some(at) => e.at_offset(range.start + at),
            None => e,
        };
        anchored(self.store, text, Dialect::Search, self.limits).map_err(place)
    }

    /// What may follow where a part of the pattern begins, by what may follow it.
    fn before(&self, range: Range<usize>, rest: Rest) -> Result<Rest, Error> {
        let (mut inside, mut start) = (Vec::new(), Vec::new());
        for alternative in self.alternatives(range) {
            let rest = self.before_all(&self.parts(alternative)?, rest)?;
            inside.push(rest.inside);
            start.push(rest.start);
        }
        Ok(Rest { inside: self.store.union(inside), start: self.store.union(start) })
    }

    fn before_all(&self, parts: &[Part], rest: Rest) -> Result<Rest, Error> {
        let store = self.store;
        parts.iter().rev().try_fold(rest, |rest, part| match part {
            Part::Plain(range) => Ok(self.before_plain(self.plain(range)?, rest)),
            Part::Group { inner, lo, hi, at } => self.before_repeated(inner, (*lo, *hi), *at, rest),
            Part::Ahead { inner, not } => {
                let any = store.any_text();
                let asked = self.before(inner.clone(), Rest { inside: any, start: any })?;
                let side = |asked: ExprId| if *not { store.not(asked) } else { asked };
                Ok(Rest {
                    inside: self.meet(&[rest.inside, side(asked.inside)])?,
                    start: self.meet(&[rest.start, side(asked.start)])?,
                })
            }
            Part::Behind { at, .. } => self.refused(*at),
        })
    }

    /// The same for a group that comes `lo` to `hi` times.
    fn before_repeated(
        &self,
        group: &Range<usize>,
        (lo, hi): (u32, u32),
        at: usize,
        rest: Rest,
    ) -> Result<Rest, Error> {
        if lo.max(if hi == UNBOUNDED { 0 } else { hi }) > MANY_TIMES {
            return self.refused(at);
        }
        let mut all = if hi == UNBOUNDED { self.before_any_number(group, at, rest)? } else { rest };
        let once = |rest: Rest| {
            self.written.set(self.written.get() + 1);
            if self.written.get() > MANY_GROUPS {
                let what = format!("groups that look around come more than {MANY_GROUPS} times in this pattern");
                return Err(Error::limit(what).at_offset(at));
            }
            self.before(group.clone(), rest)
        };
        for _ in lo..if hi == UNBOUNDED { lo } else { hi } {
            let once = once(all)?;
            let either = |a: ExprId, b: ExprId| self.store.union([a, b]);
            all = Rest { inside: either(rest.inside, once.inside), start: either(rest.start, once.start) };
        }
        (0..lo).try_fold(all, |all, _| once(all))
    }

    /// The same for any number of times. Of characters that are looked at one by one, up to the end of the text, all rests of
    /// the text satisfy what is asked for: none that doesn't stands behind anything.
    fn before_any_number(&self, group: &Range<usize>, at: usize, rest: Rest) -> Result<Rest, Error> {
        let store = self.store;
        let any = store.any_text();
        if rest == (Rest { inside: any, start: any }) {
            return Ok(rest);
        }
        let [alternative] = &self.alternatives(group.clone())[..] else { return self.refused(at) };
        if rest != (Rest { inside: EPS, start: EPS }) {
            return self.refused(at);
        }
        let some = store.concat(store.char_class(&[('\0', char::MAX)]), any);
        let (mut character, mut wrong) = (None, Vec::new());
        for part in self.parts(alternative.clone())? {
            match part {
                Part::Plain(range) if character.is_none() => {
                    let Anchored { at: [free, others @ ..] } = self.plain(&range)?;
                    let longer = store.inter([free, store.not(store.characters(1, 1))]);
                    if others != [EMPTY; 3] || store.alive_within(longer, self.limits.max_states) != Some(false) {
                        return self.refused(at);
                    }
                    character = Some(free);
                }
                Part::Ahead { inner, not } => {
                    let asked = self.before(inner, Rest { inside: any, start: any })?;
                    if asked.inside != asked.start {
                        return self.refused(at);
                    }
                    let fails = if not { asked.inside } else { store.not(asked.inside) };
                    // Before a character something follows, behind one something stands before.
                    wrong.push(match character {
                        None => store.concat(any, store.inter([fails, some])),
                        Some(_) => store.concat(some, fails),
                    });
                }
                _ => return self.refused(at),
            }
        }
        let Some(character) = character else { return self.refused(at) };
        let texts = store.inter([store.repeat(character, 0, UNBOUNDED), store.not(store.union(wrong))]);
        let texts = self.meet(&[texts])?;
        Ok(Rest { inside: texts, start: texts })
    }

    fn before_plain(&self, part: Anchored, rest: Rest) -> Rest {
        let store = self.store;
        let Anchored { at: [free, to_end, from_start, both] } = part;
        let ended = |e: ExprId, then: ExprId| if store.nullable(then) { e } else { EMPTY };
        let inside = store.union([store.concat(free, rest.inside), ended(to_end, rest.inside)]);
        let (first, last) = (store.union([free, from_start]), store.union([to_end, both]));
        let start = if rest.inside == rest.start {
            [store.concat(first, rest.inside), ended(last, rest.inside), EMPTY, EMPTY]
        } else {
            // What writes nothing leaves the place where it is.
            let some = |e: ExprId| if store.nullable(e) { store.inter([e, store.not(EPS)]) } else { e };
            let none = |e: ExprId| if store.nullable(e) { EPS } else { EMPTY };
            [
                store.concat(some(first), rest.inside),
                ended(some(last), rest.inside),
                store.concat(none(first), rest.start),
                ended(none(last), rest.start),
            ]
        };
        Rest { inside, start: store.union(start) }
    }
}

/// How often what stands before comes, by the quantifier that a text begins with, and its length; once without one.
fn quantifier(text: &str) -> Option<(u32, u32, usize)> {
    let (lo, hi, length) = match text.as_bytes() {
        [b'*', ..] => (0, UNBOUNDED, 1),
        [b'+', ..] => (1, UNBOUNDED, 1),
        [b'?', ..] => (0, 1, 1),
        [b'{', ..] => {
            let (inside, _) = text[1..].split_once('}')?;
            let (lo, hi) = inside.split_once(',').unwrap_or((inside, inside));
            let (lo, hi) = (lo.parse().ok()?, if hi.is_empty() { UNBOUNDED } else { hi.parse().ok()? });
            (lo, hi, inside.len() + 2)
        }
        _ => return Some((1, 1, 0)),
    };
    // That it takes as little as it can changes nothing.
    let lazy = usize::from(text[length..].starts_with('?'));
    (lo <= hi).then_some((lo, hi, length + lazy))
}

/// Where a pattern looks around first, if it does.
pub(super) fn looks_around(pattern: &str) -> Option<usize> {
    let bytes = pattern.as_bytes();
    let (mut at, mut class) = (0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'[' if !class => class = true,
            b']' if class => class = false,
            b'(' if !class && is_look(&pattern[at..]) => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Whether a look-around begins here.
pub(super) fn is_look(rest: &str) -> bool {
    ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|look| rest.starts_with(look))
}
