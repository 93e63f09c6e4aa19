//! Objects: declared members in the schema's order or in any, undeclared ones by the text of their keys.

use super::expr::{ExprId, Node, RuleId, UNBOUNDED, one_less};
use super::store::{EMPTY, Store};

/// What may stand around punctuation; each is an expression that may be empty.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Layout {
    /// Between the brackets of an empty array or object.
    pub empty: ExprId,
    /// After an opening bracket that something follows.
    pub open: ExprId,
    /// Before a closing bracket that something precedes.
    pub close: ExprId,
    /// Before a comma.
    pub before_comma: ExprId,
    /// After a comma.
    pub after_comma: ExprId,
    /// Before a colon.
    pub before_colon: ExprId,
    /// After a colon.
    pub after_colon: ExprId,
}

/// A declared member.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Declared {
    /// The key as it is spelled, quotes included.
    pub key: Box<[u8]>,
    /// The value.
    pub value: RuleId,
    /// Whether the object must have it.
    pub required: bool,
}

/// What an object may contain.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MembersSpec {
    /// In the order of the schema.
    pub declared: Box<[Declared]>,
    /// Undeclared members: the JSON string that is the key, quotes included, and the value. Their key texts are
    /// disjoint and infinitely many.
    pub undeclared: Box<[(ExprId, RuleId)]>,
    /// Whether declared members may come in any order, and undeclared ones between them.
    pub any_order: bool,
    /// Whitespace.
    pub layout: Layout,
}

impl MembersSpec {
    pub(crate) fn heap_bytes(&self) -> usize {
        self.declared.iter().map(|d| d.key.len() + size_of::<Declared>()).sum::<usize>() + self.undeclared.len() * 8
    }
}

/// Which declared members are done with.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Done {
    /// In the order of the schema: all before this one.
    Before(u32),
    /// In any order: one bit each.
    Seen(Box<[u64]>),
}

impl Done {
    fn has(&self, index: usize) -> bool {
        match self {
            Self::Before(next) => index < *next as usize,
            Self::Seen(bits) => bits[index / 64] >> (index % 64) & 1 == 1,
        }
    }

    fn with(&self, index: usize) -> Self {
        match self {
            Self::Before(_) => Self::Before(index as u32 + 1),
            Self::Seen(bits) => {
                let mut bits = bits.clone();
                bits[index / 64] |= 1 << (index % 64);
                Self::Seen(bits)
            }
        }
    }
}

/// The rest of an object: what is done, and how many members must and may follow.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct MembersState {
    spec: u32,
    done: Done,
    first: bool,
    lo: u32,
    hi: u32,
}

impl MembersState {
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.done {
            Done::Before(_) => 0,
            Done::Seen(bits) => bits.len() * 8,
        }
    }
}

impl Store {
    /// An object with `lo` to `hi` members; [`EMPTY`] if there is none. A declared member whose value is dead must
    /// not be listed unless it is required.
    pub fn object(&self, spec: MembersSpec, lo: u32, hi: u32) -> ExprId {
        let required = spec.declared.iter().filter(|d| d.required).count() as u32;
        let most = if spec.undeclared.is_empty() { spec.declared.len() as u32 } else { UNBOUNDED };
        if lo > hi.min(most) || required > hi {
            return EMPTY;
        }
        let hi = if hi >= most { UNBOUNDED } else { hi };
        let done =
            if spec.any_order { Done::Seen(vec![0; spec.declared.len().div_ceil(64)].into()) } else { Done::Before(0) };
        let spec = self.intern_members(spec);
        let rest = self.intern(Node::Members(MembersState { spec, done, first: true, lo: lo.max(required), hi }));
        self.concat(self.byte(b'{'), rest)
    }

    /// One step of a [`MembersState`]: closes, or writes a separator, a key, a value and goes on.
    pub(super) fn unfold_members(&self, state: &MembersState) -> ExprId {
        let spec = self.members_spec(state.spec);
        let layout = spec.layout;
        let open: Vec<usize> = (0..spec.declared.len()).filter(|&i| !state.done.has(i)).collect();
        let required = open.iter().filter(|&&i| spec.declared[i].required).count() as u32;
        let extra = !spec.undeclared.is_empty();
        let go_on = |done: Done| MembersState {
            spec: state.spec,
            done,
            first: false,
            lo: state.lo.saturating_sub(1),
            hi: one_less(state.hi),
        };
        let value = |rule: RuleId, done: Done| {
            let rest = self.intern(Node::Members(go_on(done)));
            let value = self.concat(self.call(rule), rest);
            self.sequence(&[layout.before_colon, self.byte(b':'), layout.after_colon, value])
        };
        let mut keys = Vec::new();
        if state.hi > 0 {
            let mut table = Vec::new();
            for (k, &i) in open.iter().enumerate() {
                let member = &spec.declared[i];
                let after = if spec.any_order { open.len() - 1 } else { open.len() - k - 1 };
                let enough = extra || after as u32 >= state.lo.saturating_sub(1);
                let room = required - u32::from(member.required) <= one_less(state.hi);
                if enough && room {
                    table.push((member.key.clone(), value(member.value, state.done.with(i))));
                }
                if member.required && !spec.any_order {
                    break;
                }
            }
            keys.push(self.switch(table));
            let last = || match &state.done {
                Done::Before(_) => Done::Before(spec.declared.len() as u32),
                seen @ Done::Seen(_) => seen.clone(),
            };
            if if spec.any_order { required <= one_less(state.hi) } else { required == 0 } {
                for &(key, rule) in &spec.undeclared {
                    let tail = self.concat(self.intern(Node::KeyMark), value(rule, last()));
                    if self.call(rule) != EMPTY {
                        keys.push(self.concat(self.call_of(key), tail));
                    }
                }
            }
        }
        let closed = if state.lo == 0 && required == 0 { self.byte(b'}') } else { EMPTY };
        self.close_or_go_on(&layout, state.first, closed, self.union(keys))
    }

    /// What objects and arrays share: the closing bracket, or a comma unless it is the first, and then more.
    pub(super) fn close_or_go_on(&self, layout: &Layout, first: bool, closed: ExprId, more: ExprId) -> ExprId {
        let (before_close, before_more) =
            if first { (layout.empty, layout.open) } else { (layout.close, layout.before_comma) };
        let more = if first { more } else { self.sequence(&[self.byte(b','), layout.after_comma, more]) };
        if before_close == before_more {
            self.concat(before_close, self.union([closed, more]))
        } else {
            self.union([self.concat(before_close, closed), self.concat(before_more, more)])
        }
    }
}
