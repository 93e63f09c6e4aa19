//! Labels of host names that hang on their whole text: each text is a state of its own, so that what leads on from one is
//! asked for byte by byte.

use smallvec::SmallVec;

use super::expr::{ExprId, Node, UNBOUNDED};
use super::row::Edge;
use super::store::{EMPTY, EPS, Store};
use super::text::{Spelling, TextState};
use crate::idna::{Form, Label, Side};

impl Store {
    /// A label in some form; [`EMPTY`] where the vocabulary can't write all of its characters.
    pub(crate) fn label(&self, form: Form, side: Side) -> ExprId {
        let ascii = ('a'..='z').chain('0'..='9').chain(['-']);
        let beyond = (form == Form::Unicode).then_some('\u{80}'..='\u{7FF}').into_iter().flatten();
        if !self.writes_all() && !ascii.chain(beyond).all(|c| self.writes(c)) {
            return EMPTY;
        }
        self.intern(Node::Label(Label::new(form, side)))
    }

    fn label_after(&self, label: &Label, b: u8) -> ExprId {
        label.after(b).map_or(EMPTY, |next| self.intern(Node::Label(next)))
    }

    pub(super) fn derive_label(&self, label: &Label) -> Vec<Edge<ExprId>> {
        let bytes = Label::bytes(label.form).iter().flat_map(|&(lo, hi)| lo..=hi);
        let edges = bytes.map(|b| Edge { lo: b, hi: b, to: self.label_after(label, b) });
        edges.filter(|edge| edge.to != EMPTY).collect()
    }

    /// Whether a byte may belong to a label that has begun, or begins here.
    pub(crate) fn begins_label(&self, e: ExprId) -> bool {
        self.flags(e).labels()
            && match self.node(e) {
                Node::Label(_) => true,
                Node::Concat(a, b) => self.begins_label(*a) || (self.nullable(*a) && self.begins_label(*b)),
                Node::Union(parts) => parts.iter().any(|&part| self.begins_label(part)),
                Node::Repeat { body, .. } => self.begins_label(*body),
                Node::Text(state) => state.spelling == Spelling::Raw && self.begins_label(state.content),
                _ => false,
            }
    }

    /// Where one byte leads, without a look at the others; dead where [`Store::alive`] says so.
    pub(crate) fn after_byte(&self, e: ExprId, b: u8) -> ExprId {
        if !self.begins_label(e) {
            return self.step(e, b);
        }
        match self.node(e) {
            Node::Label(label) => self.label_after(label, b),
            Node::Concat(first, rest) => {
                let inside = self.concat(self.after_byte(*first, b), *rest);
                let behind = if self.nullable(*first) { self.after_byte(*rest, b) } else { EMPTY };
                self.union([inside, behind])
            }
            Node::Union(parts) => self.union(parts.iter().map(|&part| self.after_byte(part, b)).collect::<Vec<_>>()),
            Node::Text(state) => match b {
                b'"' if self.nullable(state.content) => EPS,
                b'"' | 0..0x20 => EMPTY,
                b'\\' if self.inside_character(state.content) => EMPTY,
                b'\\' => {
                    let escape = self.intern(Node::Text(TextState { spelling: Spelling::Escape, ..*state }));
                    let goes_on = self.writes_all() && !self.nullable(state.content);
                    if goes_on || !self.row(escape).edges.is_empty() { escape } else { EMPTY }
                }
                _ => {
                    let content = self.after_byte(state.content, b);
                    if self.feasible(content, state.lo, state.hi) {
                        self.intern(Node::Text(TextState { content, ..*state }))
                    } else {
                        EMPTY
                    }
                }
            },
            _ => self.step(e, b),
        }
    }

    /// Whether a character of several bytes has begun.
    fn inside_character(&self, content: ExprId) -> bool {
        match self.node(content) {
            Node::Label(label) => label.is_inside_character(),
            Node::Union(parts) => parts.iter().any(|&part| self.inside_character(part)),
            Node::Concat(first, _) if self.begins_label(*first) => self.inside_character(*first),
            _ => self.row(content).edges.iter().any(|edge| (0x80..0xC0).contains(&edge.lo)),
        }
    }

    /// The labels that have begun at the front of an expression, and what else it may go on with; `None` if there are none.
    pub(crate) fn labels(&self, e: ExprId) -> Option<(BegunLabels, ExprId)> {
        if !self.begins_label(e) {
            return None;
        }
        let (mut begun, mut others) = (BegunLabels::new(), Vec::new());
        self.split(e, EPS, &mut begun, &mut others);
        (!begun.is_empty()).then(|| (begun, self.union(others)))
    }

    /// Takes apart an expression that is followed by another one.
    fn split(&self, e: ExprId, then: ExprId, begun: &mut BegunLabels, others: &mut Vec<ExprId>) {
        match *self.node(e) {
            Node::Union(ref parts) => parts.iter().for_each(|&part| self.split(part, then, begun, others)),
            Node::Concat(first, next) if self.begins_label(first) => {
                self.split(first, self.concat(next, then), begun, others);
            }
            Node::Text(TextState { content, lo: 0, hi: UNBOUNDED, spelling: Spelling::Raw }) => {
                let (mut inside, mut texts) = (Vec::new(), Vec::new());
                self.split_content(content, EPS, &mut inside, &mut texts);
                begun.extend(inside.into_iter().map(|(label, behind)| BegunLabel { label, behind, then }));
                others.push(self.string(self.union(texts), then));
            }
            _ => others.push(self.concat(e, then)),
        }
    }

    fn split_content(&self, e: ExprId, then: ExprId, begun: &mut Vec<(Label, ExprId)>, others: &mut Vec<ExprId>) {
        match self.node(e) {
            Node::Label(label) => begun.push((label.clone(), then)),
            Node::Union(parts) => parts.iter().for_each(|&part| self.split_content(part, then, begun, others)),
            Node::Concat(first, next) if self.begins_label(*first) => {
                self.split_content(*first, self.concat(*next, then), begun, others);
            }
            _ => others.extend(Some(self.concat(e, then)).filter(|&other| self.alive(other))),
        }
    }

    /// The rest of a string, and what follows it.
    fn string(&self, content: ExprId, then: ExprId) -> ExprId {
        if content == EMPTY {
            return EMPTY;
        }
        let state = TextState { content, lo: 0, hi: UNBOUNDED, spelling: Spelling::Raw };
        self.concat(self.intern(Node::Text(state)), then)
    }

    /// The labels that go on after a byte, and what the byte leads to where it is none of theirs.
    pub(crate) fn after_labels(&self, begun: &BegunLabels, b: u8) -> (BegunLabels, ExprId) {
        let (mut next, mut left) = (BegunLabels::new(), SmallVec::<[ExprId; 4]>::new());
        for BegunLabel { label, behind, then } in begun {
            match b {
                b'"' if self.nullable(*behind) && label.is_complete() => left.push(*then),
                b'\\' if !label.is_inside_character() => {
                    let content = self.concat(self.intern(Node::Label(label.clone())), *behind);
                    left.push(self.after_byte(self.string(content, *then), b));
                }
                0..0x20 | b'"' | b'\\' => {}
                _ => {
                    next.extend(label.after(b).map(|label| BegunLabel { label, behind: *behind, then: *then }));
                    let content = self.after_byte(*behind, b);
                    if content != EMPTY && label.is_complete() {
                        left.push(self.string(content, *then));
                    }
                }
            }
        }
        (next, self.union(left))
    }

    /// An expression without its labels: they don't meet other expressions, nor bounds of length, since whether one of
    /// them is within both would take a look at all that complete it.
    pub(crate) fn unlabelled(&self, e: ExprId) -> ExprId {
        if !self.flags(e).labels() {
            return e;
        }
        match self.node(e) {
            Node::Label(_) => EMPTY,
            Node::Concat(a, b) => self.concat(self.unlabelled(*a), self.unlabelled(*b)),
            Node::Union(parts) => self.union(parts.iter().map(|&part| self.unlabelled(part)).collect::<Vec<_>>()),
            Node::Repeat { body, min, max } => self.repeat(self.unlabelled(*body), *min, *max),
            Node::Switch(slice) => {
                let entries = &self.table(slice.table).entries[slice.lo as usize..slice.hi as usize];
                let rest = |(text, tail): &(Box<[u8]>, ExprId)| {
                    (Box::from(&text[slice.depth as usize..]), self.unlabelled(*tail))
                };
                self.switch(entries.iter().map(rest).collect())
            }
            _ => e,
        }
    }
}

/// A label in a string that has begun.
#[derive(Clone, Debug)]
pub(crate) struct BegunLabel {
    label: Label,
    /// What follows it in the string.
    behind: ExprId,
    /// What follows the string.
    then: ExprId,
}

/// All that have.
pub(crate) type BegunLabels = SmallVec<[BegunLabel; 2]>;
