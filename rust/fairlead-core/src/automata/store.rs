//! Every expression, table and rule of one tokenizer, interned: shared by grammars, requests and threads.
//!
//! Nothing in a store is ever evicted singly. A store that has grown past its budget is replaced as a whole: live
//! matchers keep theirs through an `Arc`, new ones begin in a fresh one, with identical results.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::counted::CountedSpec;
use super::distinct::DistinctSpec;
use super::elements::ElementsSpec;
use super::expr::{ExprId, Flags, NO_TEXT, Node, RuleId, Slice, Slot, Table, TableId, UNBOUNDED};
use super::interner::Interner;
use super::members::MembersSpec;
use super::number::NumberSpec;
use super::text::{Spelling, TextState};
use crate::memo::Memo;
use crate::vocab::{KINDS, SPECIAL, Vocabulary};

/// A rule: its body may not be known yet while a recursive schema or grammar is lowered.
#[derive(Debug)]
pub(crate) struct Rule {
    body: OnceLock<ExprId>,
}

/// All that is interned, see the module's description.
#[derive(Debug)]
pub struct Store {
    slots: Interner<Slot, 256>,
    pub(super) tables: Interner<Table>,
    members: Interner<MembersSpec>,
    elements: Interner<ElementsSpec>,
    counted: Interner<CountedSpec>,
    distinct: Interner<DistinctSpec>,
    numbers: Interner<NumberSpec>,
    rules: boxcar::Vec<Rule>,
    names: Memo<String, RuleId>,
    /// Whether an expression has more words than are ever used.
    pub(crate) plenty: Memo<ExprId, bool>,
    /// Short texts that complete an expression.
    pub(super) short_texts: Memo<ExprId, Option<Arc<[u8]>>>,
    pub(super) remainders: Memo<ExprId, Option<u32>>,
    /// Whether an expression has no end of values.
    pub(super) known_endless: Memo<ExprId, bool>,
    /// Whether every text is the beginning of one in an expression.
    pub(super) takes_any: Memo<ExprId, bool>,
    /// The table of the declared keys of members that come in order.
    pub(crate) key_tables: Memo<u32, Slice>,
    /// The rules of a colon and a value, by the value's and the whitespace around the colon.
    pub(super) after_keys: Memo<(RuleId, ExprId, ExprId), RuleId>,
    pub(crate) known_lengths: Memo<ExprId, Option<super::lengths::Lengths>>,
    pub(super) known_needs: Memo<ExprId, Option<u32>>,
    pub(crate) moves: boxcar::Vec<Box<[super::frame::Move]>>,
    bytes: AtomicUsize,
    /// The longest token in bytes: counters further than this from their bounds make the same masks.
    pub(crate) horizon: u32,
    /// The characters that the vocabulary can write, if not all: a text with others is in no language here.
    pub(super) alphabet: Option<Vec<(char, char)>>,
    /// The vocabulary, for grammars that name its tokens.
    pub(crate) vocab: Option<Arc<Vocabulary>>,
    pub(crate) any: ExprId,
    pub(crate) all: ExprId,
    pub(crate) scalar: ExprId,
    /// One character of each kind beyond ASCII, as [`KINDS`] has them.
    pub(super) kinds: [ExprId; 3],
    /// The rest of a JSON string of any text.
    pub(crate) free_text: ExprId,
}

/// Dead: no text at all.
pub const EMPTY: ExprId = ExprId(0);
/// Done: only the empty text.
pub const EPS: ExprId = ExprId(1);
/// The end of the whole text.
pub(crate) const FINAL: ExprId = ExprId(2);

impl Store {
    /// An empty store for a vocabulary whose longest token has `horizon` bytes.
    pub fn new(horizon: u32) -> Self {
        Self::over(horizon, None)
    }

    /// A store for the tokens of a vocabulary.
    pub(crate) fn of(vocab: &Arc<Vocabulary>) -> Self {
        let mut store = Self::over(vocab.longest() as u32, vocab.alphabet.clone());
        store.vocab = Some(Arc::clone(vocab));
        store
    }

    /// The same for a vocabulary that can write the characters of some sorted ranges only.
    pub fn over(horizon: u32, alphabet: Option<Vec<(char, char)>>) -> Self {
        let mut store = Self {
            slots: Interner::new(),
            tables: Interner::new(),
            members: Interner::new(),
            elements: Interner::new(),
            counted: Interner::new(),
            distinct: Interner::new(),
            numbers: Interner::new(),
            rules: boxcar::Vec::new(),
            names: Memo::default(),
            plenty: Memo::default(),
            known_endless: Memo::default(),
            short_texts: Memo::default(),
            remainders: Memo::default(),
            takes_any: Memo::default(),
            key_tables: Memo::default(),
            after_keys: Memo::default(),
            known_lengths: Memo::default(),
            known_needs: Memo::default(),
            moves: boxcar::Vec::new(),
            bytes: AtomicUsize::new(0),
            horizon: horizon.max(4),
            alphabet,
            vocab: None,
            any: EMPTY,
            all: EMPTY,
            scalar: EMPTY,
            kinds: [EMPTY; 3],
            free_text: EMPTY,
        };
        assert_eq!(store.intern(Node::Empty), EMPTY);
        assert_eq!(store.intern(Node::Eps), EPS);
        assert_eq!(store.intern(Node::Final), FINAL);
        store.all = store.intern(Node::Not(EMPTY));
        store.scalar = store.char_class(&[('\0', char::MAX)]);
        store.kinds = KINDS.map(|(_, ranges)| store.char_class(ranges));
        store.any = store.repeat(store.scalar, 0, UNBOUNDED);
        let any_text = TextState { content: store.any, lo: 0, hi: UNBOUNDED, spelling: Spelling::Raw };
        store.free_text = store.intern(Node::Text(any_text));
        store
    }

    /// Bytes that the store holds, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn charge(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many expressions are interned.
    pub fn len(&self) -> usize {
        self.slots.values.count()
    }

    /// Whether nothing is interned; never true, since the constants are.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn slot(&self, e: ExprId) -> &Slot {
        &self.slots.values[e.0 as usize]
    }

    pub(crate) fn node(&self, e: ExprId) -> &Node {
        &self.slot(e).node
    }

    /// Whether nothing more has to be written.
    pub fn nullable(&self, e: ExprId) -> bool {
        self.slot(e).flags.nullable()
    }

    pub(crate) fn flags(&self, e: ExprId) -> Flags {
        self.slot(e).flags
    }

    pub(crate) fn intern(&self, node: Node) -> ExprId {
        let make = |node: Node| {
            let owned = match &node {
                Node::Union(v) | Node::Inter(v) => v.len() * 4,
                Node::Members(m) | Node::Value(_, m) => m.heap_bytes(),
                Node::Counted(c) => c.heap_bytes(),
                Node::Distinct(d) => d.heap_bytes(),
                Node::Label(label) => label.text.len(),
                _ => 0,
            };
            self.charge(size_of::<Slot>() + 24 + owned);
            let flags = self.flags_of(&node);
            Slot::new(node, flags)
        };
        ExprId(self.slots.intern(node, |slot, key| slot.node == *key, make))
    }

    fn flags_of(&self, node: &Node) -> Flags {
        let of = |e: &ExprId| self.flags(*e);
        match node {
            Node::Bytes(set) if set.contains(SPECIAL) => Flags::new(false, Flags::TOKENS),
            Node::Bytes(set) if set.contains(NO_TEXT) => Flags::new(false, Flags::BYTES),
            Node::Empty | Node::Bytes(_) => Flags::new(false, 0),
            Node::Text(state) => Flags::new(false, of(&state.content).inherited() & Flags::LABELS),
            Node::Label(label) => Flags::new(label.is_complete(), Flags::LABELS),
            Node::Eps => Flags::new(true, 0),
            Node::Final => Flags::new(false, Flags::ENDS),
            Node::Concat(a, b) => {
                let starts = of(a).starts() | if of(a).nullable() { of(b).starts() } else { 0 };
                let ends = if of(a).nullable() && of(b).ends() { Flags::ENDS } else { 0 };
                Flags::new(of(a).nullable() && of(b).nullable(), of(a).inherited() | of(b).inherited() | starts | ends)
            }
            Node::Union(parts) => {
                let ends = if parts.iter().any(|p| of(p).ends()) { Flags::ENDS } else { 0 };
                let others = parts.iter().fold(ends, |f, p| f | of(p).inherited() | of(p).starts());
                Flags::new(parts.iter().any(|p| of(p).nullable()), others)
            }
            Node::Inter(parts) => Flags::new(
                parts.iter().all(|p| of(p).nullable()),
                parts.iter().fold(Flags::BOOLEAN, |f, p| f | of(p).inherited()),
            ),
            Node::Not(e) => Flags::new(!of(e).nullable(), of(e).inherited() | Flags::BOOLEAN | Flags::BYTES),
            Node::Repeat { body, min, .. } => {
                Flags::new(*min == 0 || of(body).nullable(), of(body).inherited() | of(body).starts())
            }
            // Only members have tables with ranks, and their tails all call.
            Node::Ranked(..) => Flags::new(false, Flags::CALLS),
            Node::Members(state) => Flags::new(false, Flags::CALLS | self.members_start(state)),
            Node::Elements(state) => Flags::new(false, Flags::CALLS | self.elements_start(state)),
            Node::Call(_) | Node::Value(..) | Node::Counted(_) | Node::Distinct(_) | Node::Mark(_) => {
                Flags::new(false, Flags::CALLS | Flags::STARTS)
            }
            Node::Switch(slice) => {
                let table = self.table(slice.table);
                let tails = &table.entries[slice.lo as usize..slice.hi as usize];
                let ended = table.ended(*slice).map_or(Flags::new(false, 0), |tail| of(&tail));
                let others = tails.iter().fold(ended.starts(), |f, (_, tail)| f | of(tail).inherited());
                Flags::new(ended.nullable(), if table.tokens { others | Flags::TOKENS } else { others })
            }
            Node::Except(slice) => Flags::new(self.table(slice.table).ended(*slice).is_none(), Flags::BYTES),
            Node::Timed { body, .. } => Flags::new(of(body).nullable(), of(body).inherited() | Flags::TIMED),
            Node::Number(n) => Flags::new(self.number_spec(n.spec).may_end(n), 0),
        }
    }

    /// Any text at all: valid UTF-8.
    pub fn any_text(&self) -> ExprId {
        self.any
    }

    /// Any one character.
    pub(crate) fn scalar(&self) -> ExprId {
        self.scalar
    }

    /// Whether a regular expression matches a text as a whole.
    pub fn matches(&self, e: ExprId, text: &[u8]) -> bool {
        self.nullable(text.iter().fold(e, |e, &b| self.step(e, b)))
    }

    // ---- rules -----------------------------------------------------------------------------------------------

    /// A rule without a body yet, for recursion.
    pub fn declare_rule(&self) -> RuleId {
        self.charge(32);
        RuleId(self.rules.push(Rule { body: OnceLock::new() }) as u32)
    }

    /// Gives a declared rule its body, once.
    pub fn define_rule(&self, rule: RuleId, body: ExprId) {
        let _ = self.rules[rule.0 as usize].body.set(body);
    }

    /// The rule whose body this is; equal bodies share one rule.
    pub fn rule(&self, body: ExprId) -> RuleId {
        *self.slot(body).rule.get_or_init(|| {
            let rule = self.declare_rule();
            self.define_rule(rule, body);
            rule
        })
    }

    /// A rule that has been given a name, so that grammars share it.
    pub fn named_rule(&self, name: &str) -> Option<RuleId> {
        self.names.get(name)
    }

    /// Gives a rule a name.
    pub fn name_rule(&self, name: String, rule: RuleId) {
        self.names.insert(name, rule);
    }

    /// The body of a rule; a rule never defined has none and is dead.
    pub fn body(&self, rule: RuleId) -> ExprId {
        self.rules[rule.0 as usize].body.get().copied().unwrap_or(EMPTY)
    }

    /// A call of a rule. A rule that may be empty is called only for its non-empty texts.
    pub fn call(&self, rule: RuleId) -> ExprId {
        let body = self.rules[rule.0 as usize].body.get();
        match body {
            Some(&EMPTY) => EMPTY,
            Some(&EPS) => EPS,
            Some(&body) if self.nullable(body) => self.union([self.intern(Node::Call(rule)), EPS]),
            _ => self.intern(Node::Call(rule)),
        }
    }

    /// The texts of an expression that are not empty.
    pub(crate) fn non_empty(&self, e: ExprId) -> ExprId {
        match e {
            EPS => EMPTY,
            e if self.nullable(e) => self.enter(self.rule(e)),
            e => e,
        }
    }

    /// A call of a rule for its non-empty texts, of which there must be some.
    pub(crate) fn enter(&self, rule: RuleId) -> ExprId {
        self.intern(Node::Call(rule))
    }

    /// A call of the rule whose body this is; a rule that nothing completes is not called.
    pub fn call_of(&self, body: ExprId) -> ExprId {
        match body {
            EMPTY | EPS => body,
            _ if !self.alive(body) => EMPTY,
            _ => self.call(self.rule(body)),
        }
    }

    /// The texts of an expression, the empty one perhaps besides, without calls, if a rule that it calls right at its start is all
    /// that makes it irregular.
    pub(crate) fn regular(&self, e: ExprId) -> Option<ExprId> {
        self.regular_within(e, 8)
    }

    fn regular_within(&self, e: ExprId, calls: usize) -> Option<ExprId> {
        match self.node(e) {
            _ if !self.flags(e).calls() => Some(e),
            Node::Call(rule) if calls > 0 => self.regular_within(self.body(*rule), calls - 1),
            Node::Union(all) => {
                let all = all.iter().map(|&e| self.regular_within(e, calls)).collect::<Option<Vec<_>>>();
                Some(self.union(all?))
            }
            _ => None,
        }
    }

    // ---- specs -----------------------------------------------------------------------------------------------

    pub(crate) fn members_spec(&self, id: u32) -> &MembersSpec {
        &self.members.values[id as usize]
    }
    pub(crate) fn elements_spec(&self, id: u32) -> &ElementsSpec {
        &self.elements.values[id as usize]
    }
    pub(crate) fn counted_spec(&self, id: u32) -> &CountedSpec {
        &self.counted.values[id as usize]
    }
    pub(crate) fn distinct_spec(&self, id: u32) -> &DistinctSpec {
        &self.distinct.values[id as usize]
    }
    pub(crate) fn number_spec(&self, id: u32) -> &NumberSpec {
        &self.numbers.values[id as usize]
    }
    pub(crate) fn intern_members(&self, spec: MembersSpec) -> u32 {
        self.charge(64 + spec.heap_bytes());
        self.members.intern(spec, |a, b| a == b, |spec| spec)
    }
    pub(crate) fn intern_elements(&self, spec: ElementsSpec) -> u32 {
        self.charge(96);
        self.elements.intern(spec, |a, b| a == b, |spec| spec)
    }
    pub(crate) fn intern_counted(&self, spec: CountedSpec) -> u32 {
        self.charge(64 + spec.heap_bytes());
        self.counted.intern(spec, |a, b| a == b, |spec| spec)
    }
    pub(crate) fn intern_distinct(&self, spec: DistinctSpec) -> u32 {
        self.charge(96 + spec.heap_bytes());
        self.distinct.intern(spec, |a, b| a == b, |spec| spec)
    }
    pub(crate) fn intern_number(&self, spec: NumberSpec) -> u32 {
        self.charge(256);
        self.numbers.intern(spec, |a, b| a == b, |spec| spec)
    }
    /// What members and elements stand for, one step of it; made once.
    pub(crate) fn unfold(&self, e: ExprId) -> ExprId {
        *self.slot(e).unfolded.get_or_init(|| match self.node(e) {
            Node::Members(state) => self.unfold_members(state),
            Node::Value(rule, state) => self.unfold_value(*rule, state),
            Node::Elements(state) => self.unfold_elements(state),
            Node::Counted(state) => self.unfold_counted(state),
            Node::Distinct(state) => self.unfold_distinct(state),
            _ => e,
        })
    }

    pub(crate) fn table(&self, id: TableId) -> &Table {
        &self.tables.values[id.0 as usize]
    }
}
