//! URIs (RFC 3986), IRIs (RFC 3987) and URI templates (RFC 6570).

use super::Make;
use crate::automata::{EMPTY, ExprId};

const UNRESERVED_AND_DELIMITERS: &str = "A-Za-z0-9._~!$&'()*+,;=-";

/// `ucschar`: what an IRI has beyond a URI.
const BEYOND: [(char, char); 17] = [
    ('\u{A0}', '\u{D7FF}'),
    ('\u{F900}', '\u{FDCF}'),
    ('\u{FDF0}', '\u{FFEF}'),
    ('\u{10000}', '\u{1FFFD}'),
    ('\u{20000}', '\u{2FFFD}'),
    ('\u{30000}', '\u{3FFFD}'),
    ('\u{40000}', '\u{4FFFD}'),
    ('\u{50000}', '\u{5FFFD}'),
    ('\u{60000}', '\u{6FFFD}'),
    ('\u{70000}', '\u{7FFFD}'),
    ('\u{80000}', '\u{8FFFD}'),
    ('\u{90000}', '\u{9FFFD}'),
    ('\u{A0000}', '\u{AFFFD}'),
    ('\u{B0000}', '\u{BFFFD}'),
    ('\u{C0000}', '\u{CFFFD}'),
    ('\u{D0000}', '\u{DFFFD}'),
    ('\u{E1000}', '\u{EFFFD}'),
];
/// `iprivate`: only in queries.
const PRIVATE: [(char, char); 3] = [('\u{E000}', '\u{F8FF}'), ('\u{F0000}', '\u{FFFFD}'), ('\u{100000}', '\u{10FFFD}')];

/// The characters that the parts of a reference are made of.
struct Parts {
    name: ExprId,
    segments: ExprId,
    segment_char: ExprId,
    rest: ExprId,
}

impl Make<'_> {
    pub(super) fn uri(&self) -> ExprId {
        self.absolute(&self.parts(EMPTY, EMPTY))
    }

    pub(super) fn uri_reference(&self) -> ExprId {
        self.reference(&self.parts(EMPTY, EMPTY))
    }

    pub(super) fn iri(&self) -> ExprId {
        self.absolute(&self.parts(self.store.char_class(&BEYOND), self.store.char_class(&PRIVATE)))
    }

    pub(super) fn iri_reference(&self) -> ExprId {
        self.reference(&self.parts(self.store.char_class(&BEYOND), self.store.char_class(&PRIVATE)))
    }

    fn percent(&self) -> ExprId {
        self.then("%", self.times(self.hex(), 2))
    }

    fn parts(&self, beyond: ExprId, private: ExprId) -> Parts {
        let name = self.alt([self.class(UNRESERVED_AND_DELIMITERS), self.percent(), beyond]);
        let segment_char = self.alt([name, self.class(":@")]);
        let fragment = self.star(self.alt([segment_char, self.class("/?")]));
        let query = self.star(self.alt([segment_char, self.class("/?"), private]));
        Parts {
            name,
            segments: self.star(self.alt([segment_char, self.class("/")])),
            segment_char,
            rest: self.seq([self.opt(self.then("?", query)), self.opt(self.then("#", fragment))]),
        }
    }

    fn absolute(&self, parts: &Parts) -> ExprId {
        let scheme = self.seq([self.class("A-Za-z"), self.star(self.class("A-Za-z0-9+.-"))]);
        let rootless = self.seq([parts.segment_char, parts.segments]);
        self.seq([scheme, self.lit(":"), self.opt(self.alt([self.rooted(parts), rootless])), parts.rest])
    }

    fn reference(&self, parts: &Parts) -> ExprId {
        // A colon in the first segment would make what is before it a scheme.
        let first = self.plus(self.alt([parts.name, self.class("@")]));
        let rootless = self.seq([first, self.opt(self.then("/", parts.segments))]);
        let relative = self.seq([self.opt(self.alt([self.rooted(parts), rootless])), parts.rest]);
        self.alt([self.absolute(parts), relative])
    }

    /// An authority with its path, or a path from the root.
    fn rooted(&self, parts: &Parts) -> ExprId {
        let path = self.opt(self.then("/", parts.segments));
        let authority = self.then("/", self.seq([self.authority(parts.name), path]));
        let absolute = self.opt(self.seq([parts.segment_char, parts.segments]));
        self.then("/", self.alt([authority, absolute]))
    }

    fn authority(&self, name: ExprId) -> ExprId {
        let user = self.seq([self.star(self.alt([name, self.class(":")])), self.lit("@")]);
        let version = self.seq([self.class("Vv"), self.plus(self.hex()), self.lit(".")]);
        let future = self.seq([version, self.plus(self.class(":A-Za-z0-9._~!$&'()*+,;=-"))]);
        let literal = self.seq([self.lit("["), self.alt([self.ipv6(), future]), self.lit("]")]);
        let port = self.opt(self.then(":", self.star(self.digit())));
        self.seq([self.opt(user), self.alt([literal, self.star(name)]), port])
    }

    /// Literals as RFC 6570 has them, and the apostrophe, which its erratum adds. The reserved operators are part of
    /// its grammar.
    pub(super) fn uri_template(&self) -> ExprId {
        let plain = self.class("!#-$&-;=?-[]_a-z~");
        let beyond = self.alt([self.store.char_class(&BEYOND), self.store.char_class(&PRIVATE)]);
        let name_char = self.alt([self.class("A-Za-z0-9_"), self.percent()]);
        let name = self.seq([name_char, self.star(self.seq([self.opt(self.lit(".")), name_char]))]);
        let digits = self.store.repeat(self.digit(), 0, 3);
        let modifier = self.alt([self.lit("*"), self.then(":", self.seq([self.class("1-9"), digits]))]);
        let variable = self.seq([name, self.opt(modifier)]);
        let variables = self.seq([variable, self.star(self.then(",", variable))]);
        let operator = self.opt(self.class("+#./;?&=,!@|"));
        let expression = self.then("{", self.seq([operator, variables, self.lit("}")]));
        self.star(self.alt([plain, self.percent(), beyond, expression]))
    }
}
