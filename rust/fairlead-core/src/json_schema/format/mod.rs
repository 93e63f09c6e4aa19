//! `format`: the texts that each known format admits.
//!
//! A format is built from combinators, from its end to its beginning, so that the states of its automaton are few:
//! two beginnings after which the same may follow share what follows.

mod hosts;
mod idn;
mod patterns;
mod times;
mod uris;

use crate::automata::{ByteSet, ExprId, Store, UNBOUNDED};
use crate::error::Error;
use crate::limits::Limits;

/// The content of a known format, over decoded UTF-8; `None` for one that is only an annotation.
///
/// Built once per store: later uses of the same format cost one look-up.
pub(super) fn content<'a>(store: &'a Store, name: &str, limits: &Limits) -> Option<Result<ExprId, Error>> {
    let make = Make { store };
    let build: fn(&Make<'a>) -> ExprId = match name {
        "date" => Make::date,
        "time" => Make::time,
        "date-time" => Make::date_time,
        "duration" => Make::duration,
        "email" => Make::email,
        "idn-email" => Make::idn_email,
        "hostname" => Make::hostname,
        "idn-hostname" => Make::idn_hostname,
        "ipv4" => Make::ipv4,
        "ipv6" => Make::ipv6,
        "uri" => Make::uri,
        "uri-reference" => Make::uri_reference,
        "iri" => Make::iri,
        "iri-reference" => Make::iri_reference,
        "uri-template" => Make::uri_template,
        "uuid" => Make::uuid,
        "json-pointer" => Make::json_pointer,
        "relative-json-pointer" => Make::relative_json_pointer,
        "regex" => Make::regex,
        _ => return None,
    };
    let known = rule_name(name);
    if let Some(rule) = store.named_rule(&known) {
        return Some(Ok(store.body(rule)));
    }
    let before = store.len();
    let content = build(&make);
    if store.len() - before > limits.max_nodes {
        let what = format!("the format {name:?} needs more than {} nodes", limits.max_nodes);
        return Some(Err(Error::limit(what)));
    }
    store.name_rule(known, store.rule(content));
    Some(Ok(content))
}

/// The name of the rule of a format; a space keeps it apart from the rules of grammars.
fn rule_name(format: &str) -> String {
    format!("format {format}")
}

/// Whether a content is a format's of which no text breaks some bounds of length.
pub(super) fn keeps_bounds(store: &Store, content: ExprId, lo: u32, hi: u32) -> bool {
    let is = |name: &str| store.named_rule(&rule_name(name)).is_some_and(|rule| store.body(rule) == content);
    lo <= 1 && hi >= 253 && (is("hostname") || is("idn-hostname"))
}

/// What a format that is compiled with less than it admits is certainly within.
pub(super) fn within(store: &Store, name: &str) -> Option<ExprId> {
    let make = Make { store };
    match name {
        "hostname" => Some(make.plus(make.class("a-zA-Z0-9.-"))),
        "idn-hostname" => Some(make.plus(make.alt([make.class("a-zA-Z0-9.-"), make.beyond_ascii()]))),
        // With what only the later drafts know.
        "relative-json-pointer" => {
            let up = make.plus(make.digit());
            let moved = make.opt(make.seq([make.class("+-"), make.plus(make.digit())]));
            Some(make.seq([up, moved, make.alt([make.lit("#"), make.json_pointer()])]))
        }
        _ => None,
    }
}

/// The combinators of a store, named for reading grammars.
struct Make<'a> {
    store: &'a Store,
}

impl Make<'_> {
    /// One ASCII character of a class, written as between the brackets of a pattern: `a-z0-9_`; a hyphen that stands
    /// for itself comes last, and nothing is escaped.
    fn class(&self, ranges: &str) -> ExprId {
        let mut set = ByteSet::EMPTY;
        let mut rest = ranges.as_bytes();
        while let Some((&lo, after)) = rest.split_first() {
            if let [b'-', hi, after @ ..] = after {
                set = set.union(&ByteSet::range(lo, *hi));
                rest = after;
            } else {
                set.insert(lo);
                rest = after;
            }
        }
        self.store.byte_set(set)
    }

    fn digit(&self) -> ExprId {
        self.class("0-9")
    }

    fn hex(&self) -> ExprId {
        self.class("0-9A-Fa-f")
    }

    fn lit(&self, text: &str) -> ExprId {
        self.store.literal(text.as_bytes())
    }

    /// A text and then an expression.
    fn then(&self, text: &str, tail: ExprId) -> ExprId {
        text.bytes().rev().fold(tail, |tail, b| self.store.concat(self.store.byte(b), tail))
    }

    fn seq<const N: usize>(&self, parts: [ExprId; N]) -> ExprId {
        self.store.sequence(&parts)
    }

    fn alt<const N: usize>(&self, parts: [ExprId; N]) -> ExprId {
        self.store.union(parts)
    }

    fn opt(&self, e: ExprId) -> ExprId {
        self.store.optional(e)
    }

    fn star(&self, e: ExprId) -> ExprId {
        self.store.repeat(e, 0, UNBOUNDED)
    }

    fn plus(&self, e: ExprId) -> ExprId {
        self.store.repeat(e, 1, UNBOUNDED)
    }

    fn times(&self, e: ExprId, n: u32) -> ExprId {
        self.store.repeat(e, n, n)
    }

    /// The numbers from `lo` to `hi`, below 100, with two digits each.
    fn number(&self, lo: u8, hi: u8) -> ExprId {
        self.store.union((lo / 10..=hi / 10).map(|tens| {
            let first = if tens == lo / 10 { lo % 10 } else { 0 };
            let last = if tens == hi / 10 { hi % 10 } else { 9 };
            let ones = self.store.byte_set(ByteSet::range(b'0' + first, b'0' + last));
            self.store.concat(self.store.byte(b'0' + tens), ones)
        }))
    }

    /// Any character but ASCII.
    fn beyond_ascii(&self) -> ExprId {
        self.store.char_class(&[('\u{80}', char::MAX)])
    }

    fn uuid(&self) -> ExprId {
        let hex = |n| self.times(self.hex(), n);
        let group = |n| self.then("-", hex(n));
        self.seq([hex(8), group(4), group(4), group(4), group(12)])
    }

    /// RFC 6901.
    fn json_pointer(&self) -> ExprId {
        let plain = [('\0', '.'), ('0', '}'), ('\u{7f}', char::MAX)];
        let token = self.alt([self.store.char_class(&plain), self.then("~", self.class("01"))]);
        self.star(self.then("/", self.star(token)))
    }

    /// What all drafts of relative JSON pointers agree on: no index manipulation (`0+1`), which the older don't know.
    fn relative_json_pointer(&self) -> ExprId {
        let up = self.alt([self.lit("0"), self.seq([self.class("1-9"), self.star(self.digit())])]);
        self.seq([up, self.alt([self.lit("#"), self.json_pointer()])])
    }
}
