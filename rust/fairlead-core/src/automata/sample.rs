//! A text as authors of schemas mean it: every declared member, of many in nested objects the required ones, an item in each
//! array, a space where one may stand.
//!
//! It is for walking ahead, so it need not be whole: where no short text is known, it ends there.

use super::elements::ElementsState;
use super::expr::{ExprId, Node, RuleId};
use super::members::{Layout, MembersState};
use super::shortest::Key;
use super::store::Store;
use super::text::Spelling;

/// Bytes that a sample may have at most.
const LONGEST: usize = 1 << 14;
/// How many rules may be open.
const OPEN: usize = 64;
/// Expressions that are looked at for one value without members or items.
const FUEL: usize = 200;
/// Expressions that are looked at to see what alternatives begin with.
const LOOKS: usize = 64;

struct Sample<'a> {
    store: &'a Store,
    longest: usize,
    out: Vec<u8>,
    open: Vec<RuleId>,
}

impl Store {
    /// The beginning of a text of an expression, or a whole one; hardly longer than so many bytes.
    pub(crate) fn sample(&self, e: ExprId, longest: usize) -> Vec<u8> {
        let longest = longest.min(LONGEST);
        let mut sample = Sample { store: self, longest, out: Vec::new(), open: Vec::new() };
        // What stopped it is of no interest.
        let _ = sample.write(e);
        sample.out
    }
}

impl Sample<'_> {
    /// Writes a text of an expression; `None` where that ends before it is whole.
    fn write(&mut self, e: ExprId) -> Option<()> {
        let store = self.store;
        if self.out.len() > self.longest {
            return None;
        }
        match store.node(e) {
            Node::Concat(a, b) => {
                self.write(*a)?;
                self.write(*b)
            }
            Node::Union(parts) if !store.nullable(e) => {
                let mut looks = LOOKS;
                let likely = parts.iter().rev().max_by_key(|&&part| self.likely(part, &mut looks)).copied()?;
                self.write(likely)
            }
            Node::Call(rule) => self.rule(*rule),
            Node::Members(state) => self.members(state),
            Node::Elements(state) => self.elements(state),
            Node::Text(state) if state.spelling == Spelling::Raw && state.content == store.any => {
                let length = state.lo.max(1).min(state.hi) as usize;
                self.out.extend(std::iter::repeat_n(b'a', length.min(self.longest)));
                self.out.push(b'"');
                Some(())
            }
            _ => self.short(e),
        }
    }

    fn short(&mut self, e: ExprId) -> Option<()> {
        let text = self.store.shortest_within(e, FUEL)?;
        self.out.extend_from_slice(&text);
        Some(())
    }

    fn rule(&mut self, rule: RuleId) -> Option<()> {
        if self.open.len() >= OPEN {
            return None;
        }
        if self.open.contains(&rule) {
            return self.short(self.store.call(rule));
        }
        self.open.push(rule);
        let written = self.write(self.store.body(rule));
        self.open.pop();
        written
    }

    /// Of alternatives an object is likelier than an array, and that than a string.
    fn likely(&self, e: ExprId, looks: &mut usize) -> u8 {
        let Some(left) = looks.checked_sub(1) else { return 0 };
        *looks = left;
        match self.store.node(e) {
            Node::Concat(a, _) => self.likely(*a, looks),
            Node::Call(rule) => self.likely(self.store.body(*rule), looks),
            Node::Union(parts) => parts.iter().map(|&part| self.likely(part, looks)).max().unwrap_or(0),
            Node::Bytes(set) => [b'"', b'[', b'{'].iter().rposition(|&b| set.contains(b)).map_or(0, |i| i as u8 + 1),
            _ => 0,
        }
    }

    /// Whitespace: one space where that may be, as most write it.
    fn space(&mut self, e: ExprId) -> Option<()> {
        let store = self.store;
        let takes = |e: ExprId| store.nullable(store.after_byte(e, b' '));
        if takes(e) || store.calls(e).iter().any(|&(rule, rest)| store.nullable(rest) && takes(store.body(rule))) {
            self.out.push(b' ');
            return Some(());
        }
        self.short(e)
    }

    /// What stands before a member or item.
    fn before(&mut self, layout: &Layout, first: bool) -> Option<()> {
        if first {
            return self.short(layout.open);
        }
        self.short(layout.before_comma)?;
        self.out.push(b',');
        self.space(layout.after_comma)
    }

    fn members(&mut self, state: &MembersState) -> Option<()> {
        let (layout, members) = self.store.members_sample(state, self.open.len() > 1);
        let mut first = true;
        for (key, value) in members {
            self.before(&layout, first)?;
            first = false;
            match key {
                Key::Spelled(key) => self.out.extend_from_slice(&key),
                Key::Any(key) => self.short(key)?,
            }
            self.short(layout.before_colon)?;
            self.out.push(b':');
            self.space(layout.after_colon)?;
            self.rule(value)?;
        }
        self.short(if first { layout.empty } else { layout.close })?;
        self.out.push(b'}');
        Some(())
    }

    fn elements(&mut self, state: &ElementsState) -> Option<()> {
        let (layout, items) = self.store.elements_sample(state);
        let mut first = true;
        for item in items {
            self.before(&layout, first)?;
            first = false;
            self.rule(item)?;
        }
        self.short(if first { layout.empty } else { layout.close })?;
        self.out.push(b']');
        Some(())
    }
}
