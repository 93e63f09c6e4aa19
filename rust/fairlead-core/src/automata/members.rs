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
    /// The key as a JSON string that may be spelled in any way, where the schema doesn't name it itself.
    pub spellings: Option<ExprId>,
    /// The value.
    pub value: RuleId,
    /// Whether the object must have it.
    pub required: bool,
}

/// What an object may contain.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MembersSpec {
    /// The members whose keys are known, in the order of the schema.
    pub declared: Box<[Declared]>,
    /// How many of them come in that order; the others, after them, in any.
    pub ordered: u32,
    /// Undeclared members: the JSON string that is the key, quotes included, and the value. Their key texts are
    /// disjoint and infinitely many.
    pub undeclared: Box<[(ExprId, RuleId)]>,
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
struct Done {
    /// Of the ordered members all before this one; past them all once a member without order was written.
    next: u32,
    /// The others, one bit each.
    seen: Box<[u64]>,
}

impl Done {
    fn has(&self, index: u32, ordered: u32) -> bool {
        if index < ordered {
            return index < self.next;
        }
        let bit = (index - ordered) as usize;
        self.seen[bit / 64] >> (bit % 64) & 1 == 1
    }

    fn with(&self, index: u32, ordered: u32) -> Self {
        let mut done = Self { next: self.next.max((index + 1).min(ordered)), ..self.clone() };
        if index >= ordered {
            let bit = (index - ordered) as usize;
            done.seen[bit / 64] |= 1 << (bit % 64);
        }
        done
    }
}

/// The rest of an object: what is done, and how many members must and may follow.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct MembersState {
    spec: u32,
    done: Done,
    first: bool,
    /// 0 also where the required members are as many.
    lo: u32,
    hi: u32,
}

impl MembersState {
    pub(crate) fn heap_bytes(&self) -> usize {
        self.done.seen.len() * 8
    }
}

impl Store {
    /// An object with `lo` to `hi` members; [`EMPTY`] if there is none. A declared member whose value is dead must
    /// not be listed unless it is required.
    pub fn object(&self, spec: MembersSpec, lo: u32, hi: u32) -> ExprId {
        // Without a comma there is one member at most, without a colon none.
        let hi = if self.writes(',') { hi } else { hi.min(1) };
        let hi = if self.writes(':') { hi } else { 0 };
        let required = spec.declared.iter().filter(|d| d.required).count() as u32;
        let most = if spec.undeclared.is_empty() { spec.declared.len() as u32 } else { UNBOUNDED };
        if lo > hi.min(most) || required > hi || !self.writes('}') {
            return EMPTY;
        }
        let hi = if hi >= most { UNBOUNDED } else { hi };
        let free = spec.declared.len() - spec.ordered as usize;
        let done = Done { next: 0, seen: vec![0; free.div_ceil(64)].into() };
        let spec = self.intern_members(spec);
        let lo = if lo <= required { 0 } else { lo };
        let rest = self.intern(Node::Members(MembersState { spec, done, first: true, lo, hi }));
        self.concat(self.byte(b'{'), rest)
    }

    /// One step of a [`MembersState`]: closes, or writes a separator, a key, a value and goes on.
    pub(super) fn unfold_members(&self, state: &MembersState) -> ExprId {
        let spec = self.members_spec(state.spec);
        let layout = spec.layout;
        let ordered = spec.ordered;
        let open: Vec<u32> = (0..spec.declared.len() as u32).filter(|&i| !state.done.has(i, ordered)).collect();
        let needed = |i: &&u32| spec.declared[**i as usize].required;
        let required = open.iter().filter(needed).count() as u32;
        // Once a member without order is written, the ordered ones still open are given up.
        let free = open.partition_point(|&i| i < ordered);
        let held_back = open[..free].iter().filter(needed).count() > 0;
        let extra = !spec.undeclared.is_empty();
        // A member with its value, after which so many required ones are left.
        let value = |rule: RuleId, done: Done, left: u32| {
            let (lo, hi) = (state.lo.saturating_sub(1), one_less(state.hi));
            let lo = if lo <= left { 0 } else { lo };
            self.intern(Node::Value(rule, MembersState { spec: state.spec, done, first: false, lo, hi }))
        };
        let mut keys = Vec::new();
        if let Some(choice) = self.choice_in_order(spec, state) {
            keys.push(choice);
        } else if state.hi > 0 {
            let mut table = Vec::new();
            for (k, &i) in open.iter().enumerate() {
                if i >= ordered && held_back {
                    break;
                }
                let member = &spec.declared[i as usize];
                let after = if i < ordered { open.len() - k - 1 } else { open.len() - free - 1 };
                let enough = extra || after as u32 >= state.lo.saturating_sub(1);
                let room = required - u32::from(member.required) <= one_less(state.hi);
                if enough && room {
                    let tail = value(member.value, state.done.with(i, ordered), required - u32::from(member.required));
                    match member.spellings {
                        Some(key) => keys.push(self.concat(self.call_of(key), tail)),
                        None => table.push((member.key.clone(), tail)),
                    }
                }
                if i < ordered && member.required {
                    break;
                }
            }
            keys.push(self.switch(table));
        }
        if state.hi > 0 && !held_back && required <= one_less(state.hi) {
            let done = Done { next: ordered, ..state.done.clone() };
            for &(key, rule) in &spec.undeclared {
                let tail = self.concat(self.intern(Node::KeyMark), value(rule, done.clone(), required));
                if self.call(rule) != EMPTY {
                    keys.push(self.concat(self.call_of(key), tail));
                }
            }
        }
        let closed = if state.lo == 0 && required == 0 { self.byte(b'}') } else { EMPTY };
        let mut more = self.union(keys);
        if !state.first {
            more = self.sequence(&[self.byte(b','), layout.after_comma, more]);
        }
        self.close_or_go_on(&layout, state.first, closed, more)
    }

    /// The declared keys that may come next, where they come in the schema's order and no count is left to keep: all
    /// such states share one table of the keys, and what they have in common.
    fn choice_in_order(&self, spec: &MembersSpec, state: &MembersState) -> Option<ExprId> {
        let in_order =
            spec.ordered as usize == spec.declared.len() && spec.declared.iter().all(|d| d.spellings.is_none());
        if !in_order || state.lo > 0 || state.hi != UNBOUNDED {
            return None;
        }
        let from = state.done.next;
        let rest = &spec.declared[from as usize..];
        let upto = rest.iter().position(|d| d.required).map_or(spec.ordered, |i| from + i as u32 + 1);
        let table = *self.key_tables.pin().get_or_insert_with(state.spec, || {
            let entry = |(i, member): (usize, &Declared)| {
                let done = state.done.with(i as u32, spec.ordered);
                let done = Done { next: i as u32 + 1, ..done };
                let rest = MembersState { done, first: false, ..state.clone() };
                (member.key.clone(), self.intern(Node::Value(member.value, rest)), i as u32)
            };
            self.ranked_table(spec.declared.iter().enumerate().map(entry).collect())
        });
        Some(self.ranked(table, from, upto))
    }

    /// The colon and the value after a key, and then the rest.
    pub(super) fn unfold_value(&self, rule: RuleId, rest: &MembersState) -> ExprId {
        let layout = self.members_spec(rest.spec).layout;
        let rest = self.intern(Node::Members(rest.clone()));
        let value = self.spaced(layout.after_colon, rule);
        self.sequence(&[layout.before_colon, self.byte(b':'), value, rest])
    }

    /// Whitespace and a value as one call, so that its masks are the same wherever it stands.
    pub(super) fn spaced(&self, space: ExprId, value: RuleId) -> ExprId {
        let value = self.call(value);
        if space == super::EPS { value } else { self.call_of(self.concat(space, value)) }
    }

    /// What objects and arrays share: the closing bracket, or more, each after its whitespace.
    pub(super) fn close_or_go_on(&self, layout: &Layout, first: bool, closed: ExprId, more: ExprId) -> ExprId {
        let (before_close, before_more) =
            if first { (layout.empty, layout.open) } else { (layout.close, layout.before_comma) };
        if before_close == before_more {
            self.concat(before_close, self.union([closed, more]))
        } else {
            self.union([self.concat(before_close, closed), self.concat(before_more, more)])
        }
    }
}
