//! `regex`: patterns of ECMA-262 in its Unicode mode, up to a depth of nesting.

use super::Make;
use crate::automata::{ByteSet, ExprId};

/// Groups inside of groups.
const DEPTH: usize = 8;

/// The short names of the general categories, for `\p{...}`.
const CATEGORIES: [&str; 37] = [
    "C", "Cc", "Cf", "Cn", "Co", "Cs", "L", "LC", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl",
    "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zs",
];

impl Make<'_> {
    /// A subset of the valid patterns, since all of them are not a regular language: groups are nested at most eight
    /// deep; there is at most one named group, and a named back-reference, which follows it, only where its name is
    /// one letter; no numbered back-references; the ranges of a class are within digits, lower case or upper case;
    /// the bounds of `{m,n}` are below 100 and 10,000; properties are general categories.
    pub(super) fn regex(&self) -> ExprId {
        let named = self.named_groups();
        self.store.inter([self.nested(), named])
    }

    /// The shape, groups balanced.
    fn nested(&self) -> ExprId {
        let quantifier = self.opt(self.seq([self.quantifier(), self.opt(self.lit("?"))]));
        let escape = self.escape("^$\\.*+?()[]{}|/", &[self.class("dDwWsS")]);
        let reference = self.then("\\k<", self.seq([self.class("A-Za-z"), self.lit(">")]));
        let plain = [('\0', '#'), ('%', '\''), (',', '-'), ('/', '>'), ('@', 'Z'), ('_', 'z'), ('~', char::MAX)];
        let single = self.alt([self.store.char_class(&plain), self.lit("."), escape, reference, self.bracketed()]);
        let unit = self.seq([single, quantifier]);
        let assertion = self.alt([self.class("^$|"), self.then("\\", self.class("bB"))]);
        let flat = self.alt([unit, assertion]);
        let name = self.seq([self.class("A-Za-z_$"), self.star(self.class("A-Za-z0-9_$")), self.lit(">")]);
        let mut body = self.star(flat);
        for _ in 0..DEPTH {
            let closed = self.seq([body, self.lit(")"), quantifier]);
            let special = self.alt([
                self.then(":", closed),
                self.then("<", self.seq([name, closed])),
                // Assertions take no quantifier.
                self.seq([self.class("=!"), body, self.lit(")")]),
                self.then("<", self.seq([self.class("=!"), body, self.lit(")")])),
            ]);
            let group = self.then("(", self.alt([closed, self.then("?", special)]));
            body = self.star(self.alt([flat, group]));
        }
        body
    }

    /// At most one named group, and back-references to it only. Apart from these, anything.
    fn named_groups(&self) -> ExprId {
        let not_k = [('\0', 'j'), ('l', char::MAX)];
        let escaped = self.then("\\", self.store.char_class(&not_k));
        let in_class = [('\0', '['), ('^', char::MAX)];
        let in_class = self.star(self.alt([self.store.char_class(&in_class), escaped]));
        let class = self.then("[", self.seq([in_class, self.lit("]")]));
        let other = self.alt([self.store.char_class(&[('\0', '\''), (')', 'Z'), (']', char::MAX)]), escaped, class]);
        // Parentheses that open no named group.
        let look = self.then("?", self.alt([self.class(":=!"), self.then("<", self.class("=!"))]));
        let inside = [('\0', '\''), (')', '>'), ('@', 'Z'), (']', char::MAX)];
        let inside = self.alt([self.store.char_class(&inside), escaped, class, look]);
        let opened = self.plus(self.lit("("));
        let other = self.alt([other, self.seq([opened, inside])]);
        let free = self.star(other);
        let long = self.seq([self.class("A-Za-z_$"), self.plus(self.class("A-Za-z0-9_$")), self.lit(">"), free]);
        let short = self.store.union((b'A'..=b'Z').chain(b'a'..=b'z').map(char::from).map(|c| {
            let reference = self.lit(&format!("\\k<{c}>"));
            self.then(&format!("{c}>"), self.star(self.alt([other, reference])))
        }));
        let sign = self.seq([self.class("_$"), self.lit(">"), free]);
        let named = self.then("?<", self.alt([long, short, sign]));
        self.seq([free, self.opt(self.seq([opened, named]))])
    }

    fn quantifier(&self) -> ExprId {
        let below = self.store.repeat(self.digit(), 1, 2);
        let open = self.seq([below, self.opt(self.lit(","))]);
        let larger = self.seq([self.class("1-9"), self.store.repeat(self.digit(), 2, 3)]);
        let bounded = self.store.union((0..100u8).map(|n| {
            let upper = self.alt([self.at_least(n), larger]);
            let bounds = self.then(&format!("{n},"), upper);
            if n < 10 { self.alt([bounds, self.then(&format!("0{n},"), upper)]) } else { bounds }
        }));
        self.alt([self.class("*+?"), self.then("{", self.seq([self.alt([open, bounded]), self.lit("}")]))])
    }

    /// The numbers from n to 99, without leading zeros.
    fn at_least(&self, n: u8) -> ExprId {
        if n >= 10 {
            return self.number(n, 99);
        }
        self.alt([self.class(&format!("{n}-9")), self.number(10, 99)])
    }

    /// What may follow a backslash both inside and outside of classes, and the given.
    fn escape(&self, syntax: &str, more: &[ExprId]) -> ExprId {
        let hex = |n| self.times(self.hex(), n);
        let property = self.store.union(CATEGORIES.iter().map(|name| self.lit(name)));
        let property = self.seq([self.class("pP"), self.lit("{"), property, self.lit("}")]);
        let fixed = [
            self.class("fnrtv"),
            self.then("c", self.class("A-Za-z")),
            self.then("x", hex(2)),
            self.then("u", hex(4)),
            property,
            self.store.byte_set(ByteSet::of(syntax.as_bytes())),
        ];
        self.then("\\", self.store.union(fixed.into_iter().chain(more.iter().copied())))
    }

    /// `[...]`: single characters, escapes, and ranges within digits or letters.
    fn bracketed(&self) -> ExprId {
        let mut ranges = Vec::new();
        for (first, last) in [(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')] {
            for lo in first..=last {
                let upper = self.store.byte_set(ByteSet::range(lo, last));
                ranges.push(self.then(&format!("{}-", char::from(lo)), upper));
            }
        }
        let plain = self.store.char_class(&[('\0', ','), ('.', '['), ('^', char::MAX)]);
        let escape = self.escape("^$\\.*+?()[]{}|/-", &[self.class("dDwWsSb")]);
        let item = self.store.union(ranges.into_iter().chain([plain, escape]));
        let hyphen = self.opt(self.lit("-"));
        // A caret at the start negates; a hyphen stands for itself at either end.
        let items = self.seq([hyphen, self.star(item), hyphen]);
        self.then("[", self.seq([self.opt(self.lit("^")), items, self.lit("]")]))
    }
}
