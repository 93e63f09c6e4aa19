//! Residual languages as hash-consed expressions.
//!
//! An expression is what may still be written in one frame of the stack: a regular expression over bytes
//! (Brzozowski 1964; Owens, Reppy and Turon 2009), extended by calls to rules, literal tables with a tail for each
//! literal, JSON strings over an automaton of their decoded text, decimal numbers in closed form, and the members of
//! objects and arrays, which unfold when they are reached. Equal expressions have equal ids, always compared
//! structurally, so whatever is known of a residual is found again in every grammar, request and thread of a store.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU8;

use super::byteset::ByteSet;
use super::counted::CountedState;
use super::distinct::DistinctState;
use super::elements::ElementsState;
use super::members::MembersState;
use super::number::NumberState;
use super::row::Row;
use super::text::TextState;
use crate::idna::Label;
use crate::vocab::SPECIAL;

/// The id of an interned expression.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ExprId(pub(crate) u32);

/// The id of a rule: a named expression that may call itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RuleId(pub(crate) u32);

/// The id of an interned table of literals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct TableId(pub(crate) u32);

/// A byte that is in no UTF-8, by which a set says that it isn't part of a character.
pub(crate) const NO_TEXT: u8 = 0xC0;

/// No upper bound of a repetition or a length.
pub const UNBOUNDED: u32 = u32::MAX;

/// One count less, where a count may be unbounded.
pub(crate) fn one_less(count: u32) -> u32 {
    if count == UNBOUNDED { count } else { count.saturating_sub(1) }
}

/// A range of the literals of a table that share their first `depth` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Slice {
    pub(crate) table: TableId,
    pub(crate) lo: u32,
    pub(crate) hi: u32,
    pub(crate) depth: u32,
}

/// One shape of residual.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Node {
    /// Nothing can be written: a dead end.
    Empty,
    /// Nothing more has to be written.
    Eps,
    /// One byte of a set.
    Bytes(ByteSet),
    /// One after the other; the first is never itself a `Concat`.
    Concat(ExprId, ExprId),
    /// Any of several, sorted by id.
    Union(Box<[ExprId]>),
    /// All of several, sorted by id; regular members only.
    Inter(Box<[ExprId]>),
    /// Whatever the regular member is not.
    Not(ExprId),
    /// Between `min` and `max` times.
    Repeat { body: ExprId, min: u32, max: u32 },
    /// A rule, entered by a non-empty text.
    Call(RuleId),
    /// The rest of one of the literals of a slice, and then that literal's tail.
    Switch(Slice),
    /// The same for those literals of a slice whose rank is in a range: at least the first, below the second.
    Ranked(Slice, u32, u32),
    /// Any bytes that are not the rest of one of the literals of a slice.
    Except(Slice),
    /// The rest of a JSON string, closing quote included.
    Text(TextState),
    /// The rest of a bounded decimal number.
    Number(NumberState),
    /// The rest of a label of a host name that hangs on its whole text.
    Label(Label),
    /// The rest of an object, closing brace included.
    Members(MembersState),
    /// A member after its key: the colon, a value of the rule, and the rest of the object.
    Value(RuleId, MembersState),
    /// The rest of an array, closing bracket included.
    Elements(ElementsState),
    /// The rest of an array of which some items are counted, closing bracket included.
    Counted(CountedState),
    /// The rest of an array without equal items, closing bracket included.
    Distinct(DistinctState),
    /// The rest of a part that may take so many more tokens, the one that is being written included if it has some of it.
    Timed { body: ExprId, left: u32, begun: bool },
    /// No text: the end of the whole. What stands before it can end there, but it is never left for a frame below.
    Final,
    /// No text: tells the stack that something has just been completed that must not come again.
    Mark(Mark),
}

/// What must not come again in the object or array whose frame is marked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Mark {
    /// An undeclared key of an object, or a string of an array: what stands between the last two quotes.
    Key,
    /// An item of an array, whatever value it is.
    Item,
}

/// What is known of an expression without looking at its derivatives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Flags(u16);

impl Flags {
    pub(crate) const NULLABLE: u16 = 1;
    /// Contains `Inter` or `Not`: whether it is dead takes a search.
    pub(crate) const BOOLEAN: u16 = 2;
    /// Contains calls, members or elements: not regular by itself.
    pub(crate) const CALLS: u16 = 4;

    /// Contains complements or [`NO_TEXT`]: may hold bytes that are no UTF-8.
    pub(crate) const BYTES: u16 = 8;

    /// A rule may be called right at the start, or something is marked there.
    pub(crate) const STARTS: u16 = 16;

    /// The whole may end here.
    pub(crate) const ENDS: u16 = 32;

    /// Holds bytes that stand for special tokens, which no text has.
    pub(crate) const TOKENS: u16 = 64;

    /// Holds labels that hang on their whole text.
    pub(crate) const LABELS: u16 = 128;

    /// Holds parts that may take so many tokens.
    pub(crate) const TIMED: u16 = 256;

    pub(crate) fn new(nullable: bool, others: u16) -> Self {
        Self(u16::from(nullable) | (others & !Self::NULLABLE))
    }
    pub(crate) fn nullable(self) -> bool {
        self.0 & Self::NULLABLE != 0
    }
    pub(crate) fn boolean(self) -> bool {
        self.0 & Self::BOOLEAN != 0
    }
    pub(crate) fn bytes(self) -> bool {
        self.0 & Self::BYTES != 0
    }
    pub(crate) fn tokens(self) -> bool {
        self.0 & Self::TOKENS != 0
    }
    pub(crate) fn labels(self) -> bool {
        self.0 & Self::LABELS != 0
    }
    pub(crate) fn timed(self) -> bool {
        self.0 & Self::TIMED != 0
    }
    pub(crate) fn calls(self) -> bool {
        self.0 & Self::CALLS != 0
    }
    /// Whether the first byte may belong to a rule that is called; if not, the row says where it leads.
    pub(crate) fn starts_calls(self) -> bool {
        self.0 & Self::STARTS != 0
    }
    pub(crate) fn inherited(self) -> u16 {
        self.0 & !(Self::NULLABLE | Self::STARTS | Self::ENDS)
    }
    pub(crate) fn starts(self) -> u16 {
        self.0 & Self::STARTS
    }
    /// Whether the whole may end here.
    pub(crate) fn ends(self) -> bool {
        self.0 & Self::ENDS != 0
    }
}

/// An interned expression with what has been computed of it.
///
/// With the byte by which the list of slots marks those that are there, this takes two lines of a processor's cache: what it is
/// lies in the first, what nearly every step asks for in the second, where that byte is.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Slot {
    pub(crate) node: Node,
    /// What members and elements unfold to.
    pub(crate) unfolded: OnceLock<ExprId>,
    /// The rule that it is the body of.
    pub(crate) rule: OnceLock<RuleId>,
    pub(crate) row: OnceLock<Row>,
    pub(crate) frame: OnceLock<Box<super::frame::Frame>>,
    _padding: u64,
    pub(crate) flags: Flags,
    /// Whether anything can still be completed: 0 not known, 1 yes, 2 no. Only `BOOLEAN` expressions need it.
    pub(crate) alive: AtomicU8,
    /// How often a byte has been written from here before its row was made.
    pub(crate) stepped: AtomicU8,
}

impl Slot {
    pub(crate) fn new(node: Node, flags: Flags) -> Self {
        Self {
            node,
            unfolded: OnceLock::new(),
            rule: OnceLock::new(),
            row: OnceLock::new(),
            frame: OnceLock::new(),
            _padding: 0,
            flags,
            alive: AtomicU8::new(0),
            stepped: AtomicU8::new(0),
        }
    }
}

// Where a `OnceLock` is larger, more lines are read; nothing else depends on it.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
const _: () = assert!(size_of::<Slot>() == 120);

/// A sorted list of literals, each with what follows it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Table {
    pub(crate) entries: Box<[(Box<[u8]>, ExprId)]>,
    /// The rank of each literal, by which a part of them can be named; empty where that isn't needed.
    pub(crate) ranks: Box<[u32]>,
    /// Whether special tokens are among the literals.
    pub(crate) tokens: bool,
}

impl Table {
    pub(crate) fn new(entries: Box<[(Box<[u8]>, ExprId)]>, ranks: Box<[u32]>) -> Self {
        let tokens = entries.iter().any(|(text, _)| text.contains(&SPECIAL));
        Self { entries, ranks, tokens }
    }

    /// The distinct bytes at `depth` with their sub-ranges; literals that end at `depth` are left out.
    pub(crate) fn branches(&self, slice: Slice) -> Vec<(u8, Slice)> {
        let depth = slice.depth as usize;
        let mut out: Vec<(u8, Slice)> = Vec::new();
        for i in slice.lo..slice.hi {
            let Some(&b) = self.entries[i as usize].0.get(depth) else { continue };
            match out.last_mut() {
                Some((last, part)) if *last == b => part.hi = i + 1,
                _ => out.push((b, Slice { table: slice.table, lo: i, hi: i + 1, depth: slice.depth + 1 })),
            }
        }
        out
    }

    /// The literals of a slice that go on with a byte; none of them ends at its depth.
    pub(crate) fn branch(&self, slice: Slice, b: u8) -> Option<Slice> {
        let literals = &self.entries[slice.lo as usize..slice.hi as usize];
        let depth = slice.depth as usize;
        let next = |(text, _): &(Box<[u8]>, ExprId)| text.get(depth).copied();
        let lo = slice.lo + literals.partition_point(|literal| next(literal) < Some(b)) as u32;
        let hi = slice.lo + literals.partition_point(|literal| next(literal) <= Some(b)) as u32;
        (lo < hi).then_some(Slice { lo, hi, depth: slice.depth + 1, ..slice })
    }

    /// The literal of a slice that ends at its depth, if there is one.
    pub(crate) fn ended(&self, slice: Slice) -> Option<ExprId> {
        let (bytes, tail) = self.entries.get(slice.lo as usize)?;
        (slice.lo < slice.hi && bytes.len() == slice.depth as usize).then_some(*tail)
    }
}
