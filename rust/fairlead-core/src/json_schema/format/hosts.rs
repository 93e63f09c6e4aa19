//! Addresses, host names and mailboxes.

use super::Make;
use crate::automata::{EMPTY, ExprId};
use crate::idna::{Form, Side};

impl Make<'_> {
    /// Four numbers up to 255 without leading zeros.
    pub(super) fn ipv4(&self) -> ExprId {
        let number = self.alt([
            self.lit("0"),
            self.seq([self.class("3-9"), self.opt(self.digit())]),
            self.then("1", self.store.repeat(self.digit(), 0, 2)),
            self.then(
                "2",
                self.opt(self.alt([
                    self.seq([self.class("0-4"), self.opt(self.digit())]),
                    self.then("5", self.opt(self.class("0-5"))),
                    self.class("6-9"),
                ])),
            ),
        ]);
        let next = self.then(".", number);
        self.seq([number, next, next, next])
    }

    /// RFC 4291 as in RFC 3986: eight groups, the last two perhaps an IPv4 address; `::` for one zero group or more.
    pub(super) fn ipv6(&self) -> ExprId {
        self.ipv6_with(7)
    }

    /// At most `beside` groups are beside a `::`.
    fn ipv6_with(&self, beside: usize) -> ExprId {
        let group = self.store.repeat(self.hex(), 1, 4);
        let ipv4 = self.ipv4();
        // `later[k]`: at least one and at most k groups, after a `::`.
        let mut later = vec![EMPTY];
        for k in 1..=beside {
            let more = self.opt(self.then(":", later[k - 1]));
            let address = if k >= 2 { ipv4 } else { EMPTY };
            later.push(self.alt([self.seq([group, more]), address]));
        }
        let gap = |before: usize| match beside.checked_sub(before) {
            Some(k) => self.then(":", self.opt(later[k])),
            None => EMPTY,
        };
        // What follows the first n groups, the colon before the next one included.
        let mut head = self.then(":", self.alt([group, gap(7)]));
        for n in (0..7).rev() {
            let last = if n == 6 { ipv4 } else { EMPTY };
            let next = self.alt([self.seq([group, head]), last]);
            head = if n == 0 {
                self.alt([next, self.then(":", gap(0))])
            } else {
                self.then(":", self.alt([next, gap(n)]))
            };
        }
        head
    }

    /// RFC 1123: labels of letters, digits and inner hyphens, 63 characters each and 253 in all. Names of at most three
    /// labels, which are never too long, may also have labels that begin with `xn--`, where these stand for labels of
    /// `idn-hostname`.
    pub(super) fn hostname(&self) -> ExprId {
        let label = self.ascii_label(false);
        let name = self.seq([label, self.star(self.then(".", label))]);
        let ascii = self.store.inter([name, self.store.repeat(self.class("a-zA-Z0-9.-"), 1, 253)]);
        let label = self.alt([label, self.a_label(Side::Any)]);
        let next = self.then(".", label);
        self.alt([ascii, self.seq([label, self.store.repeat(next, 0, 2)])])
    }

    /// A label in Punycode.
    pub(super) fn a_label(&self, side: Side) -> ExprId {
        self.then("xn--", self.store.label(Form::Ascii, side))
    }

    /// A label of up to 63 letters, digits and inner hyphens that doesn't begin with `xn--`, or, if `strict`, has no
    /// `--` at its third place.
    pub(super) fn ascii_label(&self, strict: bool) -> ExprId {
        let sign = self.class("a-zA-Z0-9");
        let hyphens = self.plus(self.lit("-"));
        // Runs of hyphens are always followed by something.
        let label = self.seq([sign, self.star(self.alt([sign, self.seq([hyphens, sign])]))]);
        let inner = self.class("a-zA-Z0-9-");
        let length = self.store.repeat(inner, 1, 63);
        let start = if strict { self.times(inner, 2) } else { self.seq([self.class("Xx"), self.class("Nn")]) };
        let reserved = self.seq([start, self.lit("--"), self.star(inner)]);
        self.store.inter([label, length, self.store.not(reserved)])
    }

    /// `Mailbox` of RFC 5321.
    pub(super) fn email(&self) -> ExprId {
        self.mailbox(EMPTY)
    }

    /// `Mailbox` of RFC 6531.
    pub(super) fn idn_email(&self) -> ExprId {
        self.mailbox(self.beyond_ascii())
    }

    fn mailbox(&self, beyond: ExprId) -> ExprId {
        let atom = self.plus(self.alt([self.class("A-Za-z0-9!#$%&'*+/=?^_`{|}~-"), beyond]));
        let dotted = self.seq([atom, self.star(self.then(".", atom))]);
        let quoted_char = self.alt([self.class(" !#-[]-~"), self.then("\\", self.class(" -~")), beyond]);
        let quoted = self.then("\"", self.seq([self.star(quoted_char), self.lit("\"")]));
        let sign = self.alt([self.class("A-Za-z0-9"), beyond]);
        let label = self.seq([sign, self.star(self.seq([self.star(self.lit("-")), sign]))]);
        let domain = self.seq([label, self.star(self.then(".", label))]);
        let tag = [self.class("Ii"), self.class("Pp"), self.class("Vv"), self.lit("6:")];
        let ipv6 = self.seq([self.seq(tag), self.ipv6_with(6)]);
        let address = self.then("[", self.seq([self.alt([self.ipv4(), ipv6]), self.lit("]")]));
        self.seq([self.alt([dotted, quoted]), self.lit("@"), self.alt([domain, address])])
    }
}
