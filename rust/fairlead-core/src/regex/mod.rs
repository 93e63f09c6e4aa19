//! Regular expressions: from patterns to expressions.
//!
//! Patterns are parsed by `regex-syntax`. Two dialects are known, see [`Dialect`]; both work on Unicode text.
//! Back-references and word boundaries are refused with their offset, and so is look-around but for what `look` knows in
//! patterns that are searched for.

mod ecma;
mod look;

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::automata::{EMPTY, EPS, ExprId, Store, UNBOUNDED};
use crate::error::Error;
use crate::limits::Limits;

/// How a pattern is written and what it has to match.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dialect {
    /// A pattern in the syntax that Python and Rust share, matched against the whole text. `\d`, `\w` and `\s` are
    /// Unicode classes, `.` is any character but a line feed, and a final `$` does not match before a line feed.
    Whole,
    /// ECMA-262 as JSON Schema uses it, found anywhere in the text. `\d` and `\w` are ASCII, `.` is any character
    /// but the four line ends, and what Unicode mode would reject (an unneeded escape, a lone brace) stands for
    /// itself.
    Search,
}

/// A match that may have to begin at the start of the text or end at its end.
///
/// Assertions are resolved while the expression is built: `at[2 * s + e]` are the matches that must begin at the start
/// (`s`) and end at the end (`e`).
#[derive(Clone, Copy)]
struct Anchored {
    at: [ExprId; 4],
}

struct Builder<'a> {
    store: &'a Store,
    limits: &'a Limits,
}

/// The texts that a pattern matches.
///
/// # Errors
/// A malformed pattern, or one that uses what cannot be compiled, with its offset; or a limit.
pub fn compile(store: &Store, pattern: &str, dialect: Dialect, limits: &Limits) -> Result<ExprId, Error> {
    if pattern.len() > limits.max_source_bytes {
        return Err(Error::limit(format!("the pattern has more than {} bytes", limits.max_source_bytes)));
    }
    if dialect == Dialect::Search && look::looks_around(pattern).is_some() {
        let before = store.len();
        let found = look::search(store, pattern, limits)?;
        return within_limits(store, before, limits).map(|()| found);
    }
    let matched = anchored(store, pattern, dialect, limits)?;
    let [free, to_end, from_start, both] = matched.at;
    Ok(match dialect {
        Dialect::Whole => store.union(matched.at),
        Dialect::Search => store.union([
            both,
            store.concat(from_start, store.any_text()),
            store.concat(store.any_text(), to_end),
            store.sequence(&[store.any_text(), free, store.any_text()]),
        ]),
    })
}

fn within_limits(store: &Store, before: usize, limits: &Limits) -> Result<(), Error> {
    if store.len() - before > limits.max_nodes {
        return Err(Error::limit(format!("the pattern needs more than {} nodes", limits.max_nodes)));
    }
    Ok(())
}

/// The matches of a pattern that doesn't look around.
fn anchored(store: &Store, pattern: &str, dialect: Dialect, limits: &Limits) -> Result<Anchored, Error> {
    refuse_irregular(pattern, dialect)?;
    let (text, offsets) = match dialect {
        Dialect::Whole => (pattern.to_owned(), None),
        Dialect::Search => {
            let translated = ecma::translate(pattern)?;
            (translated.text, Some(translated.offsets))
        }
    };
    let place = |offset: usize| offsets.as_ref().map_or(offset, |map| map[offset.min(map.len() - 1)]);
    let hir = ParserBuilder::new()
        .nest_limit(limits.max_depth as u32)
        .utf8(true)
        .build()
        .parse(&text)
        .map_err(|e| parse_error(pattern, &e, place))?;
    let builder = Builder { store, limits };
    let before = store.len();
    let matched = builder.build(&hir)?;
    within_limits(store, before, limits)?;
    Ok(matched)
}

fn parse_error(pattern: &str, error: &regex_syntax::Error, place: impl Fn(usize) -> usize) -> Error {
    if let regex_syntax::Error::Parse(e) = error
        && let regex_syntax::ast::ErrorKind::NestLimitExceeded(depth) = e.kind()
    {
        return Error::limit(format!("the pattern is nested deeper than {depth}"))
            .at_offset(place(e.span().start.offset));
    }
    let (message, span) = match error {
        regex_syntax::Error::Parse(e) => (e.kind().to_string(), *e.span()),
        regex_syntax::Error::Translate(e) => (e.kind().to_string(), *e.span()),
        _ => return Error::grammar(format!("the pattern {pattern:?} is malformed")),
    };
    Error::grammar(format!("the pattern {pattern:?} cannot be used: {message}")).at_offset(place(span.start.offset))
}

/// Refuses what `regex-syntax` refuses too, but with the reason, and possessive quantifiers, which it would read as
/// something else.
fn refuse_irregular(pattern: &str, dialect: Dialect) -> Result<(), Error> {
    let bytes = pattern.as_bytes();
    let fail = |what: &str, at: usize| Err(Error::grammar(format!("{what}: {pattern:?}")).at_offset(at));
    let mut class_start = None;
    let mut quantified = false;
    let mut at = 0;
    while at < bytes.len() {
        let was_quantified = std::mem::take(&mut quantified);
        match bytes[at] {
            b'\\' => {
                let next = bytes.get(at + 1).copied().unwrap_or(0);
                if class_start.is_none() {
                    if next.is_ascii_digit() && next != b'0' || next == b'k' {
                        return fail("back-references are not regular and cannot be used in a constraint", at);
                    }
                    if next == b'b' || next == b'B' {
                        return fail("word boundaries are not supported in a constraint", at);
                    }
                }
                at += 1;
            }
            b'[' if class_start.is_none() => {
                class_start = Some(at + 1 + usize::from(bytes.get(at + 1) == Some(&b'^')));
            }
            // Right after the opening, Python and Rust take the bracket as a member.
            b']' if class_start.is_some_and(|start| dialect == Dialect::Search || at > start) => class_start = None,
            _ if class_start.is_some() => {}
            b'(' => {
                let rest = &pattern[at..];
                if look::is_look(rest) {
                    return fail("look-around assertions are not supported in a constraint", at);
                }
                if rest.starts_with("(?>") {
                    return fail("atomic groups are not supported in a constraint", at);
                }
            }
            b'+' if was_quantified => return fail("possessive quantifiers are not supported in a constraint", at),
            b'*' | b'+' | b'?' => quantified = !was_quantified,
            b'}' => quantified = ends_count(&bytes[..at]),
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Whether a brace closed after this text ends a count such as `{2,3}`, and not `\\x{41}` or `\\p{L}`.
fn ends_count(text: &[u8]) -> bool {
    let Some(open) = text.iter().rposition(|&b| b == b'{') else { return false };
    let escaped = text[..open].iter().rev().take_while(|&&b| b == b'\\').count() % 2 == 1;
    let property = matches!(text[..open], [.., b'\\', b'x' | b'u' | b'U' | b'p' | b'P']);
    !escaped && !property && text[open + 1..].iter().all(|b| b.is_ascii_digit() || *b == b',')
}

impl Builder<'_> {
    fn plain(e: ExprId) -> Anchored {
        Anchored { at: [e, EMPTY, EMPTY, EMPTY] }
    }

    fn build(&self, hir: &Hir) -> Result<Anchored, Error> {
        Ok(match hir.kind() {
            HirKind::Empty => Self::plain(EPS),
            HirKind::Literal(literal) => Self::plain(self.store.literal(&literal.0)),
            HirKind::Class(Class::Unicode(class)) => {
                let ranges: Vec<_> = class.iter().map(|r| (r.start(), r.end())).collect();
                Self::plain(self.store.char_class(&ranges))
            }
            HirKind::Class(Class::Bytes(class)) => {
                let ranges: Vec<_> = class.iter().map(|r| (char::from(r.start()), char::from(r.end()))).collect();
                Self::plain(self.store.char_class(&ranges))
            }
            HirKind::Look(Look::Start) => Anchored { at: [EMPTY, EMPTY, EPS, EMPTY] },
            HirKind::Look(Look::End) => Anchored { at: [EMPTY, EPS, EMPTY, EMPTY] },
            HirKind::Look(_) => {
                let what = "line anchors such as those of (?m) are not supported in a constraint";
                return Err(Error::grammar(what).at_offset(0));
            }
            HirKind::Capture(capture) => self.build(&capture.sub)?,
            HirKind::Concat(parts) => {
                let parts = parts.iter().map(|p| self.build(p)).collect::<Result<Vec<_>, _>>()?;
                // From the right, so that each part is joined to a finished rest.
                parts.into_iter().rev().reduce(|rest, part| self.then(part, rest)).unwrap_or(Self::plain(EPS))
            }
            HirKind::Alternation(parts) => {
                let parts = parts.iter().map(|p| self.build(p)).collect::<Result<Vec<_>, _>>()?;
                self.either(&parts)
            }
            HirKind::Repetition(repetition) => {
                let (min, max) = (repetition.min, repetition.max.unwrap_or(UNBOUNDED));
                let largest = if max == UNBOUNDED { min } else { max };
                if largest > self.limits.max_repetition {
                    return Err(Error::limit(format!("the repetition {{{min},{max}}} is larger than the limit")));
                }
                self.repeated(self.build(&repetition.sub)?, min, max)
            }
        })
    }

    fn either(&self, parts: &[Anchored]) -> Anchored {
        Anchored { at: std::array::from_fn(|i| self.store.union(parts.iter().map(|p| p.at[i]))) }
    }

    /// One match and then another; an assertion in the middle lets only the empty text stand on its other side.
    fn then(&self, a: Anchored, b: Anchored) -> Anchored {
        let store = self.store;
        let mut at = [EMPTY; 4];
        for (i, &left) in a.at.iter().enumerate() {
            for (j, &right) in b.at.iter().enumerate() {
                if left == EMPTY || right == EMPTY {
                    continue;
                }
                let (start, end) = (i & 2, j & 1);
                let (left_ends, right_starts) = (i & 1 == 1, j & 2 == 2);
                let (flags, text) = match (left_ends, right_starts) {
                    (false, false) => (start | end, store.concat(left, right)),
                    (true, false) if store.nullable(right) => (start | 1, left),
                    (false, true) if store.nullable(left) => (2 | end, right),
                    (true, true) if store.nullable(left) && store.nullable(right) => (3, EPS),
                    _ => continue,
                };
                at[flags] = store.union([at[flags], text]);
            }
        }
        Anchored { at }
    }

    fn repeated(&self, body: Anchored, min: u32, max: u32) -> Anchored {
        let store = self.store;
        let [free, rest @ ..] = body.at;
        if rest.iter().all(|&e| e == EMPTY) {
            return Self::plain(store.repeat(free, min, max));
        }
        // Only the first and the last turn that write something can touch the ends of the text.
        let mut options = Vec::new();
        // Turns that are an assertion and nothing else count as turns: beside one of them no minimum remains.
        let assertion = |i: usize| {
            let mut at = [EMPTY; 4];
            at[i] = if store.nullable(body.at[i]) { EPS } else { EMPTY };
            Anchored { at }
        };
        let fewer = |n: u32| Self::plain(store.repeat(free, 0, if max == UNBOUNDED { max } else { max - n }));
        if min >= 1 && max >= 2 {
            let (start, end) = (assertion(2), assertion(1));
            options.push(self.then(start, fewer(1)));
            options.push(self.then(fewer(1), end));
            options.push(self.then(start, self.then(fewer(2), body)));
            options.push(self.then(body, self.then(fewer(2), end)));
            // The empty text, both of whose ends every turn asserts.
            options.push(assertion(3));
        }
        if min == 0 {
            options.push(Self::plain(EPS));
        }
        if min <= 1 && max >= 1 {
            options.push(body);
        }
        if max >= 2 {
            let less = |n: u32| if n == UNBOUNDED { n } else { n.saturating_sub(2) };
            let middle = Self::plain(store.repeat(free, less(min), less(max)));
            options.push(self.then(body, self.then(middle, body)));
        }
        self.either(&options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, dialect: Dialect, text: &str) -> bool {
        let store = Store::new(64);
        let e = compile(&store, pattern, dialect, &Limits::default()).unwrap();
        store.matches(e, text.as_bytes())
    }

    #[test]
    fn whole_patterns_match_the_whole_text() {
        for (pattern, text, expected) in [
            ("a+b?", "aab", true),
            ("a+b?", "aabb", false),
            ("^ab$", "ab", true),
            ("(foo|ba[rz]){2}", "foobaz", true),
            ("(foo|ba[rz]){2}", "foo", false),
            ("a{2,3}", "aaaa", false),
            (".", "é", true),
            (".", "\n", false),
            ("\\d+", "٣", true),
            ("(a|b)*?c", "abac", true),
            ("(?i)straße", "STRAßE", true),
            ("x^y", "xy", false),
            ("(^|,)a", ",a", true),
            ("(^|,)a", "a", true),
        ] {
            assert_eq!(matches(pattern, Dialect::Whole, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn search_patterns_are_found_anywhere() {
        for (pattern, text, expected) in [
            ("b", "abc", true),
            ("^b", "abc", false),
            ("^a", "abc", true),
            ("c$", "abc", true),
            ("^abc$", "abcd", false),
            ("a|c$", "xa", true),
            ("(^|,)x(,|$)", "a,x", true),
            ("(^|,)x(,|$)", "ax,b", false),
            ("^\\d+$", "٣", false),
            ("^a{,2}$", "a{,2}", true),
            ("^[\\w-]+$", "a-b_1", true),
            ("^[^\\s]+$", "a b", false),
            ("^\\/x$", "/x", true),
            ("^[[]$", "[", true),
            ("^\\u00e9\\x41\\cJ$", "éA\n", true),
            ("", "anything", true),
            ("^$", "", true),
            ("^$", "a", false),
            ("^(a$|b)*$", "bba", true),
            ("^[\\u0020-\\uD7FF\\uE000-\\uFFFD\\uD800\\uDBFF-\\uDC00\\uDFFF\\r]*$", "é\r\u{e000}", true),
            ("^[\\u0020-\\uD7FF\\uE000-\\uFFFD\\uD800\\uDBFF-\\uDC00\\uDFFF\\r]*$", "🙂", false),
            ("^[b-\\uDFFF]$", "a", false),
            ("^[b-\\uDFFF]$", "\u{d7ff}", true),
            ("^[\\uD800-\\uFFFF]$", "\u{e000}", true),
            ("^[^\\uD800-\\uDFFF]$", "🙂", true),
            ("^(a|[\\uD800])$", "a", true),
            ("^[a-]$", "-", true),
            ("(?:^$|a){3,}", "", true),
            ("^(?:^$|a){3,}$", "aa", false),
        ] {
            assert_eq!(matches(pattern, Dialect::Search, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn what_is_not_regular_is_refused_with_its_offset() {
        let store = Store::new(64);
        let both = [("(a)\\1", 3), ("a(?<!b)c", 1), ("a[b", 1), ("x(?:(?=a)b)*c", 4)];
        let whole = [("ab(?=c)", 2)];
        let cases = both.iter().flat_map(|case| [(case, Dialect::Whole), (case, Dialect::Search)]);
        for ((pattern, offset), dialect) in cases.chain(whole.iter().map(|case| (case, Dialect::Whole))) {
            let error = compile(&store, pattern, dialect, &Limits::default()).unwrap_err();
            assert_eq!(error.offset(), Some(*offset), "{pattern}: {error}");
        }
    }

    #[test]
    fn looking_ahead_meets_what_follows() {
        for (pattern, text, expected) in [
            ("^(?!aws:)[a-z:]+$", "aws:x", false),
            ("^(?!aws:)[a-z:]+$", "aw:s", true),
            ("(?=^[ab]+$).{2,3}", "abab", true),
            ("^(?=.*[a-z])(?=.*[0-9])[a-z0-9]+$", "ab1", true),
            ("^(?=.*[a-z])(?=.*[0-9])[a-z0-9]+$", "ab", false),
            ("a(?!b)", "abac", true),
            ("a(?!b)", "abab", false),
            ("a(?=b|$)", "aca", true),
            ("a(?=b|$)", "ac", false),
            ("(?!^x)x", "x", false),
            ("(?!^x)x", "xx", true),
            ("^([a-z]+(?=-)-[0-9]+|(?!no)[a-z]+)$", "no", false),
            ("^([a-z]+(?=-)-[0-9]+|(?!no)[a-z]+)$", "no-1", true),
            ("^[a-z-]+(?<!-)$", "a-", false),
            ("^[a-z-]+(?<!-)$", "a-b", true),
            ("[a-z]+(?<=ab)$|^(?!.)", "xab", true),
            ("[a-z]+(?<=ab)$|^(?!.)", "", true),
            ("[a-z]+(?<=ab)$|^(?!.)", "abx", false),
            ("^(?!\\[)[\\[(?=]+$", "(?=[", true),
            ("^(?:(?!a)[ab])(?:a|b)$", "ba", true),
            ("^(?:(?!a)[ab])(?:a|b)$", "ab", false),
        ] {
            assert_eq!(matches(pattern, Dialect::Search, text), expected, "{pattern} on {text}");
        }
    }
}
