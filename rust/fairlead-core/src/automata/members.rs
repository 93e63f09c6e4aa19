//! Objects: declared members in the schema's order or in any, undeclared ones by the text of their keys.

use hashbrown::HashMap;

use super::expr::{ExprId, Flags, Mark, Node, RuleId, UNBOUNDED, one_less};
use super::shortest::{Key, MOST_EXTRA, Missing};
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
    /// Values that fulfil some of the object's obligations.
    pub fulfils: Box<[Fulfilment]>,
    /// Obligations that are fulfilled if the object lacks it, one bit each.
    pub absent: u16,
}

/// A value by which a member fulfils obligations of its object, as in "some member is a string".
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Fulfilment {
    /// The obligations, one bit each.
    pub of: u16,
    /// The value.
    pub value: RuleId,
}

/// Members whose keys are not declared.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Undeclared {
    /// The JSON string that is the key, quotes included.
    pub key: ExprId,
    /// The value.
    pub value: RuleId,
    /// Values that fulfil some of the object's obligations.
    pub fulfils: Box<[Fulfilment]>,
}

/// What an object may contain.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MembersSpec {
    /// The members whose keys are known, in the order of the schema.
    pub declared: Box<[Declared]>,
    /// How many of them come in that order; the others, after them, in any.
    pub ordered: u32,
    /// Undeclared members. Their key texts are disjoint and infinitely many.
    pub undeclared: Box<[Undeclared]>,
    /// Whitespace.
    pub layout: Layout,
}

impl MembersSpec {
    pub(crate) fn heap_bytes(&self) -> usize {
        let declared = self.declared.iter().map(|d| d.key.len() + size_of::<Declared>() + d.fulfils.len() * 8);
        let undeclared = self.undeclared.iter().map(|u| size_of::<Undeclared>() + u.fulfils.len() * 8);
        declared.sum::<usize>() + undeclared.sum::<usize>()
    }
}

/// Members of an object in a sample.
const MOST_MEMBERS: usize = 512;
/// Declared members of a nested object of which a sample has all: of more, texts mostly have few.
const FEW_MEMBERS: usize = 6;

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

/// The rest of an object: what is done, what is owed, and how many members must and may follow.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct MembersState {
    spec: u32,
    done: Done,
    /// Obligations that no member has fulfilled yet, one bit each.
    owed: u16,
    first: bool,
    /// 0 also where the required members are as many.
    lo: u32,
    hi: u32,
}

/// What an object or array goes on with: whitespace, and then the closing bracket, or a comma and the whitespace after it
/// (nothing before the first member or item); [`EMPTY`] for what can't come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GoesOn {
    pub(crate) space: ExprId,
    pub(crate) close: ExprId,
    pub(crate) comma: ExprId,
}

impl MembersState {
    pub(crate) fn heap_bytes(&self) -> usize {
        self.done.seen.len() * 8
    }
}

/// What a declared member can fulfil: with its value, in several ways, or if it isn't there.
#[derive(Clone, Debug)]
pub(crate) struct MemberWays {
    pub(crate) required: bool,
    pub(crate) present: Vec<u16>,
    pub(crate) absent: u16,
}

impl MemberWays {
    /// The sets of obligations that it can fulfil, each with the members that this takes beside those that are required.
    fn all(&self) -> impl Iterator<Item = (u16, u32)> {
        let there = self.present.iter().map(|&way| (way, u32::from(!self.required)));
        there.chain((!self.required && self.absent != 0).then_some((self.absent, 0)))
    }
}

/// How many members, beside those that are required, it takes to fulfil all that is owed, of `most` that there may be;
/// `None` if they can't. `again`: the ways of members that may come repeatedly.
pub(crate) fn members_owed(owed: u16, members: &[MemberWays], again: &[Vec<u16>], most: u32) -> Option<u32> {
    let mut owed = owed;
    if most == UNBOUNDED {
        // Where nothing is counted, what some way does at least as well as all others is taken for done.
        owed &= !again.iter().flatten().fold(0, |all, way| all | way);
        loop {
            let best = |member: &MemberWays| {
                let all = member.all().fold(0, |all, (way, _)| all | way);
                member.all().map(|(way, _)| way & owed).find(|&way| way == all & owed).unwrap_or(0)
            };
            match members.iter().map(best).fold(0, |all, way| all | way) {
                0 => break,
                done => owed &= !done,
            }
        }
    }
    // The least number for each set of obligations fulfilled.
    let mut least: HashMap<u16, u32> = HashMap::from([(0, 0)]);
    let add = |ways: &[(u16, u32)], least: &mut HashMap<u16, u32>| {
        for (done, n) in least.clone() {
            for &(way, cost) in ways {
                let better = least.entry(done | (way & owed)).or_insert(u32::MAX);
                *better = (*better).min(n + cost);
            }
        }
    };
    for member in members {
        let ways: Vec<_> = member.all().filter(|(way, _)| way & owed != 0).collect();
        if !ways.is_empty() {
            add(&ways, &mut least);
        }
    }
    for _ in 0..owed.count_ones() {
        for ways in again {
            add(&ways.iter().map(|&way| (way, 1)).collect::<Vec<_>>(), &mut least);
        }
    }
    least.get(&owed).copied()
}

fn ways(fulfils: &[Fulfilment]) -> Vec<u16> {
    fulfils.iter().map(|f| f.of).collect()
}

impl Store {
    /// An object with `lo` to `hi` members that fulfil what is owed, one bit each; [`EMPTY`] if there is none. A declared
    /// member whose value is dead must not be listed unless it is required.
    pub fn object(&self, spec: MembersSpec, lo: u32, hi: u32, owed: u16) -> ExprId {
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
        let state = MembersState { spec, done, owed, first: true, lo: if lo <= required { 0 } else { lo }, hi };
        if !self.can_fulfil(&state) {
            return EMPTY;
        }
        self.concat(self.byte(b'{'), self.intern(Node::Members(state)))
    }

    /// Whether a rule may begin right at this state, as a flag.
    pub(super) fn members_start(&self, state: &MembersState) -> u16 {
        let spec = self.members_spec(state.spec);
        if !state.first {
            return Flags::STARTS;
        }
        let key = !spec.undeclared.is_empty() || spec.declared.iter().any(|d| d.spellings.is_some());
        let space = self.flags(spec.layout.empty).starts() | self.flags(spec.layout.open).starts();
        if key { Flags::STARTS } else { space }
    }

    /// The same for what follows an item: a closing bracket or a comma.
    pub(super) fn starts_after(&self, layout: &Layout) -> u16 {
        self.flags(layout.close).starts() | self.flags(layout.before_comma).starts()
    }

    /// Whether the members still open can fulfil what is owed, within the number of members that may follow.
    fn can_fulfil(&self, state: &MembersState) -> bool {
        if state.owed == 0 {
            return true;
        }
        let spec = self.members_spec(state.spec);
        let open = || {
            let numbered = (0u32..).zip(&*spec.declared);
            numbered.filter(|(i, _)| !state.done.has(*i, spec.ordered)).map(|(_, declared)| declared)
        };
        let member = |d: &Declared| MemberWays { required: d.required, present: ways(&d.fulfils), absent: d.absent };
        let members: Vec<MemberWays> = open().map(member).collect();
        let again: Vec<Vec<u16>> = spec.undeclared.iter().map(|u| ways(&u.fulfils)).collect();
        let required = members.iter().filter(|m| m.required).count() as u32;
        let more = members_owed(state.owed, &members, &again, state.hi);
        let free = !spec.undeclared.is_empty() || members.len() as u64 >= u64::from(state.lo);
        free && more.is_some_and(|more| required.saturating_add(more) <= state.hi)
    }

    /// What is owed if no member comes any more.
    fn owed_at_end(&self, state: &MembersState) -> u16 {
        let spec = self.members_spec(state.spec);
        let lacking = (0u32..).zip(&*spec.declared).filter(|(i, _)| !state.done.has(*i, spec.ordered));
        lacking.fold(state.owed, |owed, (_, member)| owed & !member.absent)
    }

    /// Whether a key may be free, or one of the values that may come have no end.
    pub(super) fn members_endless(&self, state: &MembersState, mut endless: impl FnMut(RuleId) -> bool) -> bool {
        let spec = self.members_spec(state.spec);
        let open = || (0u32..).zip(&*spec.declared).filter(|(i, _)| !state.done.has(*i, spec.ordered)).map(|(_, d)| d);
        let room = state.hi as usize > open().filter(|member| member.required).count();
        (room && spec.undeclared.iter().any(|kind| self.call(kind.value) != EMPTY && self.names_freely(kind.key)))
            || open().any(|member| (room || member.required) && endless(member.value))
    }

    /// One step of a [`MembersState`]: closes, or writes a separator, a key, a value and goes on.
    pub(super) fn unfold_members(&self, state: &MembersState) -> ExprId {
        let layout = self.members_spec(state.spec).layout;
        let closed = if self.may_close(state) { self.byte(b'}') } else { EMPTY };
        let mut more = self.next_keys(state);
        if !state.first {
            // A call of its own, so that its masks are the same whatever keys follow.
            let comma = self.call_of(self.concat(self.byte(b','), layout.after_comma));
            more = self.concat(comma, more);
        }
        self.close_or_go_on(&layout, state.first, closed, more)
    }

    /// Whether an object can end now.
    fn may_close(&self, state: &MembersState) -> bool {
        let spec = self.members_spec(state.spec);
        let required = || (0u32..).zip(&*spec.declared).any(|(i, d)| d.required && !state.done.has(i, spec.ordered));
        state.lo == 0 && (state.owed == 0 || self.owed_at_end(state) == 0) && !required()
    }

    /// The members that an object lacks: those required, and as many others as it takes to have enough. `None` where
    /// that depends on values, or takes several undeclared keys of a certain kind.
    pub(super) fn members_missing(&self, state: &MembersState) -> Option<Missing> {
        let spec = self.members_spec(state.spec);
        if state.lo > MOST_EXTRA || (state.owed != 0 && self.owed_at_end(state) != 0) {
            return None;
        }
        let open = || (0u32..).zip(&*spec.declared).filter(|(i, _)| !state.done.has(*i, spec.ordered)).map(|(_, d)| d);
        let required = open().filter(|d| d.required).count() as u32;
        let mut spare = state.lo.saturating_sub(required);
        let mut members = Vec::new();
        for member in open() {
            let extra = !member.required && spare > 0;
            if member.required || extra {
                spare -= u32::from(extra);
                members.push((Key::Spelled(member.key.clone()), member.value));
            }
        }
        if spare > 0 {
            // Free keys, longer than those of most objects, so that they are none of theirs.
            let mut kinds = spec.undeclared.iter().filter(|u| self.call(u.value) != EMPTY);
            let name = |i: u32| Key::Spelled(format!("\"x{i}\"").into_bytes().into());
            match kinds.clone().find(|u| self.names_freely(u.key)) {
                Some(free) => members.extend((0..spare).map(|i| (name(i), free.value))),
                None if spare == 1 => members.extend(kinds.next().map(|kind| (Key::Any(kind.key), kind.value))),
                None => return None,
            }
        }
        Some(Missing { layout: spec.layout, first: state.first, members })
    }

    /// The members that a sample of an object has, with its layout: those that the schema names, as far as there is room
    /// beside what is required, or one that it doesn't name. Of many in a nested object those that are required, or a few.
    pub(super) fn members_sample(&self, state: &MembersState, nested: bool) -> (Layout, Vec<(Key, RuleId)>) {
        let spec = self.members_spec(state.spec);
        let required = spec.declared.iter().filter(|d| d.required).count() as u32;
        let mut spare = state.hi.saturating_sub(required);
        if nested && spec.declared.len() > FEW_MEMBERS {
            let few = if required > 0 { 0 } else { FEW_MEMBERS as u32 };
            spare = spare.min(few.max(state.lo.saturating_sub(required)));
        }
        let mut members = Vec::new();
        for member in spec.declared.iter().take(MOST_MEMBERS) {
            if member.required || spare > 0 {
                spare -= u32::from(!member.required);
                members.push((Key::Spelled(member.key.clone()), member.value));
            }
        }
        if members.is_empty()
            && state.hi > 0
            && let Some(kind) = spec.undeclared.iter().find(|u| self.call(u.value) != EMPTY)
        {
            let key = if self.names_freely(kind.key) { Key::Spelled((*b"\"x0\"").into()) } else { Key::Any(kind.key) };
            members.push((key, kind.value));
        }
        (spec.layout, members)
    }

    /// Whether a key may be any text, or any but some.
    pub(super) fn names_freely(&self, key: ExprId) -> bool {
        self.row(key).get(b'"').is_some_and(|rest| self.as_free_text(rest).is_some())
    }

    /// The keys that may come next, each with its value and the rest.
    pub(crate) fn next_keys(&self, state: &MembersState) -> ExprId {
        let spec = self.members_spec(state.spec);
        let ordered = spec.ordered;
        let open: Vec<u32> = (0..spec.declared.len() as u32).filter(|&i| !state.done.has(i, ordered)).collect();
        let needed = |i: &&u32| spec.declared[**i as usize].required;
        let required = open.iter().filter(needed).count() as u32;
        // Once a member without order is written, the ordered ones still open are given up.
        let free = open.partition_point(|&i| i < ordered);
        let held_back = open[..free].iter().filter(needed).count() > 0;
        let extra = !spec.undeclared.is_empty();
        let (lo, hi) = (state.lo.saturating_sub(1), one_less(state.hi));
        // A member with its value, after which so many required ones are left.
        let after = |rule: RuleId, done: &Done, left: u32, owed: u16| {
            let lo = if lo <= left { 0 } else { lo };
            let rest = MembersState { spec: state.spec, done: done.clone(), owed, first: false, lo, hi };
            if self.can_fulfil(&rest) { self.intern(Node::Value(rule, rest)) } else { EMPTY }
        };
        // Once a member comes, the ordered ones before it that aren't there yet never will be.
        let passed_by = |upto: u32| {
            let passed =
                spec.declared[..upto as usize].iter().zip(0u32..).filter(|(_, i)| !state.done.has(*i, ordered));
            passed.fold(state.owed, |owed, (member, _)| owed & !member.absent)
        };
        let value = |rule: RuleId, fulfils: &[Fulfilment], done: &Done, left: u32, upto: u32| {
            let owed = if state.owed == 0 { 0 } else { passed_by(upto) };
            let plain = after(rule, done, left, owed);
            if owed == 0 {
                return plain;
            }
            // The value may fulfil something or not: both are tried at once.
            let less = |f: &Fulfilment, g: &Fulfilment| g != f && g.of & f.of == g.of && g.of & owed == f.of & owed;
            let useful = fulfils.iter().filter(|f| f.of & owed != 0 && !fulfils.iter().any(|g| less(f, g)));
            self.union(useful.map(|f| after(f.value, done, left, owed & !f.of)).chain([plain]))
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
                let left = if i < ordered { open.len() - k - 1 } else { open.len() - free - 1 };
                let enough = extra || left as u32 >= lo;
                let room = required - u32::from(member.required) <= hi;
                if enough && room {
                    let left = required - u32::from(member.required);
                    let tail = value(member.value, &member.fulfils, &state.done.with(i, ordered), left, i.min(ordered));
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
        if state.hi > 0 && !held_back && required <= hi {
            let done = Done { next: ordered, ..state.done.clone() };
            for Undeclared { key, value: rule, fulfils } in &spec.undeclared {
                let tail = self.marked(Mark::Key, value(*rule, fulfils, &done, required, ordered));
                if self.call(*rule) != EMPTY {
                    keys.push(self.concat(self.call_of(*key), tail));
                }
            }
        }
        self.union(keys)
    }

    /// Whether the declared members come in the schema's order, and no count is left to keep.
    fn is_in_order(spec: &MembersSpec, state: &MembersState) -> bool {
        let in_order =
            spec.ordered as usize == spec.declared.len() && spec.declared.iter().all(|d| d.spellings.is_none());
        in_order && state.lo == 0 && state.hi == UNBOUNDED && state.owed == 0
    }

    /// The declared keys that may come next, where they come in the schema's order and no count is left to keep: all
    /// such states share one table of the keys, and what they have in common.
    fn choice_in_order(&self, spec: &MembersSpec, state: &MembersState) -> Option<ExprId> {
        if !Self::is_in_order(spec, state) {
            return None;
        }
        let from = state.done.next;
        let rest = &spec.declared[from as usize..];
        let upto = rest.iter().position(|d| d.required).map_or(spec.ordered, |i| from + i as u32 + 1);
        let table = self.key_tables.get_or_insert_with(state.spec, || {
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
        self.concat(self.call(self.after_key(rule, rest)), self.intern(Node::Members(rest.clone())))
    }

    /// A colon and a value as a rule, so that its masks are the same after any key whose values are these.
    pub(crate) fn after_key(&self, rule: RuleId, rest: &MembersState) -> RuleId {
        let Layout { before_colon, after_colon, .. } = self.members_spec(rest.spec).layout;
        self.after_keys.get_or_insert_with((rule, before_colon, after_colon), || {
            let colon = self.call_of(self.concat(before_colon, self.byte(b':')));
            self.rule(self.concat(colon, self.spaced(after_colon, rule)))
        })
    }

    /// What an object goes on with, where that takes no look at all of its keys.
    pub(crate) fn object_goes_on(&self, state: &MembersState) -> Option<GoesOn> {
        let spec = self.members_spec(state.spec);
        if !Self::is_in_order(spec, state) {
            return None;
        }
        let left = &spec.declared[state.done.next as usize..];
        let may_close = !left.iter().any(|d| d.required);
        let more = !left.is_empty() || spec.undeclared.iter().any(|u| self.call(u.value) != EMPTY);
        self.goes_on(&spec.layout, state.first, if may_close { self.byte(b'}') } else { EMPTY }, more)
    }

    /// What objects and arrays have in common.
    pub(super) fn goes_on(&self, layout: &Layout, first: bool, close: ExprId, more: bool) -> Option<GoesOn> {
        let (space, other) = if first { (layout.empty, layout.open) } else { (layout.close, layout.before_comma) };
        if space != other || !self.nullable(space) || !self.writes_all() {
            return None;
        }
        let comma = match (more, first) {
            (false, _) => EMPTY,
            (true, true) => super::EPS,
            (true, false) => self.concat(self.byte(b','), layout.after_comma),
        };
        Some(GoesOn { space, close, comma })
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
