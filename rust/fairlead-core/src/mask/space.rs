//! What one tokenizer's grammars share: the interned expressions and, under exactly the frames that they depend on,
//! the masks.
//!
//! A mask is found from the top of the stack downwards. The top frame, at the start of a token, gives the tokens that
//! stay inside it and the trie nodes at which it can be left; the frame below, reached at those nodes, gives more
//! tokens and more exits; and so on until nothing can be left. Each step is remembered under (set of nodes, frame),
//! so that it serves every deeper stack, every grammar and every thread.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hashbrown::HashSet;
use smallvec::SmallVec;

use super::classes::{Chain, ChainSteps};
use super::entry::{ExitsId, MaskEntry, NO_EXITS, clear_bits, set_bits};
use super::events::{KeyEvent, KeyEvents};
use super::text::TextMasks;
use super::walk::{Calls, Found, walk, walk_on};
use crate::automata::{EMPTY, EPS, ExprId, Node, Slice, Spelling, Stack, Store, Top, UNBOUNDED};
use crate::vocab::{ROOT, Trie, Vocabulary};

/// More tokens than this are kept as a bitmask of their own.
const DENSE: usize = 1500;
/// Nodes below a set of exits up to which its tails are merged into a trie of their own.
const MERGED: usize = 1 << 16;

/// The start of a token as a set of exits.
const AT_ROOT: ExitsId = 1;

/// A mask being put together.
#[derive(Default)]
struct Mask {
    base: Option<Arc<[u32]>>,
    removed: Vec<u32>,
    tokens: Vec<u32>,
    exits: Vec<u32>,
    /// Events shared with other masks, and further ones.
    shared_events: SmallVec<[Arc<KeyEvents>; 1]>,
    events: Vec<KeyEvent>,
}

impl Mask {
    /// Adds an entry's tokens, and its events: all of them, or those whose token has completed a key before.
    fn add(&mut self, entry: &MaskEntry, words: usize, all_events: bool) {
        match (&self.base, &entry.base) {
            (_, None) => {}
            (None, Some(base)) => {
                self.removed = entry.removed.to_vec();
                self.base = Some(Arc::clone(base));
            }
            (Some(mine), Some(base)) => {
                let (mut row, mut other) = (mine.to_vec(), base.to_vec());
                row.resize(words, 0);
                clear_bits(&mut row, &self.removed);
                clear_bits(&mut other, &entry.removed);
                row.iter_mut().zip(&other).for_each(|(a, b)| *a |= b);
                (self.base, self.removed) = (Some(row.into()), Vec::new());
            }
        }
        self.tokens.extend_from_slice(&entry.tokens);
        for shared in &entry.events {
            if all_events {
                if !self.shared_events.iter().any(|e| Arc::ptr_eq(e, shared)) {
                    self.shared_events.push(Arc::clone(shared));
                }
            } else if shared.again {
                self.events.extend(shared.list.iter().filter(|e| e.again).cloned());
            }
        }
    }

    fn tidy(&mut self) {
        self.exits.sort_unstable();
        self.exits.dedup();
    }
}

#[derive(Debug)]
struct Exits {
    nodes: Box<[u32]>,
    /// Another set of which this one lacks a few nodes: its masks are the other's without the tokens below those.
    lacking: Option<(ExitsId, Box<[u32]>)>,
    /// The merged trie of what follows; a single node needs none.
    tails: OnceLock<Option<Trie>>,
    /// The events of keys that are completed at these nodes.
    events: OnceLock<Arc<KeyEvents>>,
}

/// One epoch of sharing.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) vocab: Arc<Vocabulary>,
    pub(crate) store: Store,
    text: Arc<OnceLock<TextMasks>>,
    entries: boxcar::Vec<MaskEntry>,
    after: papaya::HashMap<(ExitsId, ExprId, bool), u32, foldhash::quality::FixedState>,
    exits: boxcar::Vec<Exits>,
    exits_of: papaya::HashMap<Box<[u32]>, ExitsId, foldhash::quality::FixedState>,
    /// The exits of a free string.
    free_exits: OnceLock<ExitsId>,
    chains: ChainSteps,
    /// Masks are worked out anew each time, for tests.
    uncached: bool,
}

/// One of the entries that make up a mask, with what the matcher remembers of the frame that it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) entry: u32,
    pub(crate) extra: u32,
}

/// All entries whose union is a mask.
pub(crate) type Parts = SmallVec<[Part; 6]>;

impl Space {
    pub(crate) fn new(vocab: Arc<Vocabulary>, text: Arc<OnceLock<TextMasks>>, uncached: bool) -> Self {
        let space = Self {
            store: Store::over(vocab.longest() as u32, vocab.alphabet.clone()),
            vocab,
            text,
            entries: boxcar::Vec::new(),
            after: papaya::HashMap::with_hasher(foldhash::quality::FixedState::default()),
            exits: boxcar::Vec::new(),
            exits_of: papaya::HashMap::with_hasher(foldhash::quality::FixedState::default()),
            free_exits: OnceLock::new(),
            chains: ChainSteps::default(),
            uncached,
        };
        space.exits_id(Vec::new());
        space.exits_id(vec![ROOT]);
        space
    }

    pub(crate) fn text(&self) -> &TextMasks {
        self.text.get_or_init(|| TextMasks::new(&self.vocab))
    }

    pub(crate) fn entry(&self, index: u32) -> &MaskEntry {
        &self.entries[index as usize]
    }

    fn exits_id(&self, nodes: Vec<u32>) -> ExitsId {
        self.exits_lacking(nodes, || None)
    }

    fn exits_lacking(&self, nodes: Vec<u32>, lacking: impl Fn() -> Option<(ExitsId, Box<[u32]>)>) -> ExitsId {
        let nodes: Box<[u32]> = nodes.into();
        let map = self.exits_of.pin();
        if let Some(&id) = map.get(&nodes) {
            return id;
        }
        self.store.charge(64 + nodes.len() * 8);
        *map.get_or_insert_with(nodes.clone(), || {
            self.exits.push(Exits {
                nodes: nodes.clone(),
                lacking: lacking(),
                tails: OnceLock::new(),
                events: OnceLock::new(),
            }) as ExitsId
        })
    }

    fn keep(&self, found: Found, base: Option<Arc<[u32]>>) -> u32 {
        let Found { tokens, exits, events } = found;
        self.store_mask(Mask { base, tokens, exits, events, ..Mask::default() })
    }

    fn store_mask(&self, mask: Mask) -> u32 {
        let Mask { mut base, mut removed, mut tokens, exits, shared_events: mut all_events, events } = mask;
        if tokens.len() > DENSE {
            let mut row = base.map_or_else(|| vec![0u32; self.vocab.words()], |b| b.to_vec());
            clear_bits(&mut row, &removed);
            set_bits(&mut row, &tokens);
            self.store.charge(row.len() * 4);
            (base, removed, tokens) = (Some(row.into()), Vec::new(), Vec::new());
        }
        let exits = self.exits_id(exits);
        self.store.charge(size_of::<MaskEntry>() + (tokens.len() + removed.len()) * 4 + events.len() * 48);
        if !events.is_empty() {
            all_events.push(Arc::new(KeyEvents::new(events)));
        }
        self.entries.push(MaskEntry { base, removed: removed.into(), tokens: tokens.into(), exits, events: all_events })
            as u32
    }

    /// The entry of a free string, any text but the rest of some literals: the one entry of all free strings, less
    /// what would complete one of those.
    fn keep_free_text(&self, excluded: Option<Slice>) -> u32 {
        let text = self.text();
        let main = &self.vocab.trie;
        let gone = excluded.map_or_else(Vec::new, |slice| text.closed_by(main, &self.store.entries_of(slice)));
        let all = text.exits();
        let exits = *self.free_exits.get_or_init(|| self.exits_id(all.to_vec()));
        let (exits, removed) = if gone.is_empty() {
            (exits, Vec::new())
        } else {
            let left = all.iter().filter(|n| !gone.contains(n)).copied().collect();
            let removed = gone.iter().flat_map(|&n| main.own_tokens(n)).copied().collect();
            (self.exits_lacking(left, || Some((exits, gone.clone().into()))), removed)
        };
        self.store.charge(size_of::<MaskEntry>() + removed.len() * 4);
        self.entries.push(MaskEntry {
            base: Some(Arc::clone(text.everything())),
            removed: removed.into(),
            tokens: Box::default(),
            exits,
            events: SmallVec::new(),
        }) as u32
    }

    /// An entry without what lies below some nodes.
    fn keep_less(&self, of: u32, gone: &[u32]) -> u32 {
        let (main, all) = (&self.vocab.trie, self.entry(of));
        let mut tokens: Vec<u32> = gone.iter().flat_map(|&n| main.all_tokens(n)).copied().collect();
        tokens.sort_unstable();
        let below = |node: u32| gone.iter().any(|&n| n <= node && node < main.end(n));
        let left = all.tokens.iter().filter(|t| tokens.binary_search(t).is_err()).copied().collect();
        let exits = self.exits[all.exits as usize].nodes.iter().filter(|&&n| !below(n)).copied().collect();
        // Events at nodes that are gone do nothing: their tokens are not in the mask.
        let shared_events = all.events.clone();
        let base = all.base.clone();
        let entry = self.store_mask(Mask { base, tokens: left, exits, shared_events, ..Mask::default() });
        if all.base.is_some() {
            // A frame that is returned to has a base only when it has very many tokens.
            let mut row = self.entry(entry).base.as_ref().map_or_else(Vec::new, |b| b.to_vec());
            clear_bits(&mut row, &tokens);
            let MaskEntry { exits, events, .. } = self.entry(entry);
            return self.entries.push(MaskEntry {
                base: Some(row.into()),
                removed: Box::default(),
                tokens: Box::default(),
                exits: *exits,
                events: events.clone(),
            }) as u32;
        }
        entry
    }

    /// The entry of a frame at the start of a token.
    fn first(&self, frame: ExprId) -> u32 {
        let known = self.store.frame(frame);
        if self.uncached {
            return self.walked(AT_ROOT, frame);
        }
        if known.shared_by != frame {
            return self.first(known.shared_by);
        }
        *known.mask.get_or_init(|| self.work_out(AT_ROOT, frame, false))
    }

    /// The entry of a frame that is returned to at a set of trie nodes; with `entered`, of a rule's body that is
    /// entered there, and so cannot be left before a byte is written.
    fn next(&self, exits: ExitsId, frame: ExprId, entered: bool) -> u32 {
        if self.uncached {
            return self.walked(exits, frame);
        }
        let frame = self.store.frame(frame).shared_by;
        let entered = entered && self.store.nullable(frame);
        if exits == AT_ROOT && !entered {
            return self.first(frame);
        }
        let map = self.after.pin();
        if let Some(&entry) = map.get(&(exits, frame, entered)) {
            return entry;
        }
        let entry = match &self.exits[exits as usize].lacking {
            Some((wider, gone)) => self.keep_less(self.next(*wider, frame, entered), gone),
            None => self.work_out(exits, frame, entered),
        };
        map.insert((exits, frame, entered), entry);
        entry
    }

    /// Everything by one walk, with nothing remembered: what the other ways are held against.
    fn walked(&self, exits: ExitsId, frame: ExprId) -> u32 {
        let (main, nodes) = (&self.vocab.trie, &self.exits[exits as usize].nodes);
        self.keep(walk(&self.store, main, main, nodes, frame, Calls::Followed), None)
    }

    /// An entry, worked out from the frame's own bytes by a walk, and from the entries of the rules that it may call.
    fn work_out(&self, exits: ExitsId, frame: ExprId, entered: bool) -> u32 {
        if exits == AT_ROOT
            && let Node::Text(state) = self.store.node(frame)
            && state.spelling == Spelling::Raw
        {
            let text = self.text();
            if state.lo == 0
                && state.hi == UNBOUNDED
                && let Some(excluded) = self.store.free_but(state.content)
            {
                return self.keep_free_text(Some(excluded));
            }
            if state.lo == 0 && state.hi == UNBOUNDED && state.content == self.store.any {
                return self.keep_free_text(None);
            }
            if state.content == self.store.any {
                let (tokens, exits) = text.others(state.lo, state.hi);
                let found = Found { tokens, exits, events: Vec::new() };
                return self.keep(found, Some(text.plain(state.hi).clone()));
            }
            if state.hi == UNBOUNDED && self.store.takes_any_prefix(state.content) {
                let found = walk(&self.store, &self.vocab.trie, &text.rest, &[ROOT], frame, Calls::Left);
                return self.keep(found, Some(text.plain(state.hi).clone()));
            }
        }
        if exits == AT_ROOT
            && let Some(entry) = self.far_from_bounds(frame).or_else(|| self.in_class(frame))
        {
            return entry;
        }
        let mut mask = Mask::default();
        let Found { tokens, exits: left, events } = self.walk_from(exits, frame);
        (mask.tokens, mask.exits, mask.events) = (tokens, left, events);
        let inner = self.store.after_mark(frame);
        if inner != frame {
            mask.shared_events.push(self.key_events(exits));
        }
        for (rule, rest) in self.store.calls(inner) {
            let body = self.store.body(rule);
            if body == EMPTY || rest == EMPTY {
                continue;
            }
            // Objects inside the rule have seen no key yet; those of `rest` are the frame's own.
            let entry = self.entry(self.next(exits, body, true));
            mask.add(entry, self.vocab.words(), false);
            if rest == EPS {
                mask.exits.extend_from_slice(&self.exits[entry.exits as usize].nodes);
            } else if entry.exits != NO_EXITS {
                let entry = self.entry(self.next(entry.exits, rest, false));
                mask.add(entry, self.vocab.words(), true);
                mask.exits.extend_from_slice(&self.exits[entry.exits as usize].nodes);
            }
        }
        if self.store.nullable(inner) && !entered {
            mask.exits.extend_from_slice(&self.exits[exits as usize].nodes);
        }
        mask.tidy();
        self.store_mask(mask)
    }

    /// The entry of a string whose counts are so far from their bounds that only some long tokens can feel them: that
    /// of the string without bounds, but for those.
    fn far_from_bounds(&self, frame: ExprId) -> Option<u32> {
        let (loose, safe) = self.store.loosened(frame)?;
        let (text, main) = (self.text(), &self.vocab.trie);
        let longer = text.levels.within(&self.vocab, safe)?;
        let wide = self.first(loose);
        let entry = self.entry(wide);
        let found = walk(&self.store, main, &longer.trie, &[ROOT], frame, Calls::Left);
        let mut row = entry.base.as_ref().map_or_else(|| vec![0; self.vocab.words()], |base| base.to_vec());
        clear_bits(&mut row, &entry.removed);
        set_bits(&mut row, &entry.tokens);
        let mut mine: Vec<u32> = row.iter().zip(&*longer.short).map(|(word, short)| word & short).collect();
        set_bits(&mut mine, &found.tokens);
        let nodes = &self.exits[entry.exits as usize].nodes;
        let near = nodes.iter().copied().filter(|&n| !longer.is_deep(n));
        let mut exits: Vec<u32> = near.chain(found.exits.iter().copied().filter(|&n| longer.is_deep(n))).collect();
        exits.sort_unstable();
        if mine == row && *exits == **nodes {
            return Some(wide);
        }
        self.store.charge(mine.len() * 4);
        Some(self.store_mask(Mask { base: Some(mine.into()), exits, ..Mask::default() }))
    }

    /// The entry of a frame that takes characters of one class, whichever they are, at least for a while.
    fn in_class(&self, frame: ExprId) -> Option<u32> {
        let mut chain = Chain::new(&self.store, &self.chains, frame)?;
        let classes = self.text().classes(&self.vocab);
        let (chars, leaving) = chain.leave(classes, &self.vocab.trie)?;
        let found = walk_on(&self.store, &self.vocab.trie, &leaving);
        Some(self.keep(found, Some(classes.mask(chain.class, chars, &self.store))))
    }

    /// The events of undeclared keys that are completed at a set of nodes.
    fn key_events(&self, exits: ExitsId) -> Arc<KeyEvents> {
        let (set, main) = (&self.exits[exits as usize], &self.vocab.trie);
        let make = || {
            let events = set.nodes.iter().map(|&node| KeyEvent::new(&main.path(node), node, false)).collect();
            Arc::new(KeyEvents::new(events))
        };
        Arc::clone(set.events.get_or_init(make))
    }

    /// The tokens that go on with a frame's own bytes.
    fn walk_from(&self, exits: ExitsId, frame: ExprId) -> Found {
        let (main, set) = (&self.vocab.trie, &self.exits[exits as usize]);
        let tails = set.tails.get_or_init(|| {
            let size: usize = set.nodes.iter().map(|&n| main.below(n)).sum();
            (set.nodes.len() > 1 && size <= MERGED).then(|| {
                let tails = main.derive(&set.nodes, |_| true);
                self.store.charge(tails.len() * 56);
                tails
            })
        });
        match tails {
            Some(tails) => walk(&self.store, main, tails, &[ROOT], frame, Calls::Left),
            None => walk(&self.store, main, main, &set.nodes, frame, Calls::Left),
        }
    }

    /// The entries whose union is the mask of a stack.
    pub(crate) fn parts(&self, stack: &Stack, tops: &[Top]) -> Parts {
        let mut parts = Parts::new();
        self.gather(stack, tops, None, &mut parts, tops.len() > 1, &mut HashSet::new());
        parts
    }

    /// Once there is more than one stack (`many`), ways that meet again are followed once.
    fn gather(
        &self,
        stack: &Stack,
        tops: &[Top],
        exits: Option<ExitsId>,
        parts: &mut Parts,
        many: bool,
        seen: &mut HashSet<(Top, Option<ExitsId>)>,
    ) {
        for top in tops {
            if many && !seen.insert((*top, exits)) {
                continue;
            }
            let entry = match exits {
                None => self.first(top.frame),
                Some(exits) => self.next(exits, top.frame, false),
            };
            if !many || !parts.iter().any(|p| p.entry == entry && p.extra == top.extra) {
                parts.push(Part { entry, extra: top.extra });
            }
            let exits = self.entries[entry as usize].exits;
            if exits != NO_EXITS {
                let (under, _) = stack.under(top.link);
                self.gather(stack, &under, Some(exits), parts, many || under.len() > 1, seen);
            }
        }
    }

    /// Writes the union of entries into a row, every word of it.
    pub(crate) fn emit(&self, parts: &Parts, row: &mut [u32]) {
        let mut based = parts.iter().map(|p| self.entry(p.entry)).filter_map(|e| Some((e, e.base.as_deref()?)));
        match based.next() {
            Some((entry, base)) => {
                let (head, tail) = row.split_at_mut(base.len());
                head.copy_from_slice(base);
                tail.fill(0);
                clear_bits(row, &entry.removed);
            }
            None => row.fill(0),
        }
        for (entry, base) in based {
            let kept: SmallVec<[u32; 8]> =
                entry.removed.iter().copied().filter(|&t| row[t as usize / 32] >> (t % 32) & 1 == 1).collect();
            for (word, more) in row.iter_mut().zip(base) {
                *word |= more;
            }
            clear_bits(row, &entry.removed);
            set_bits(row, &kept);
        }
        for part in parts {
            set_bits(row, &self.entry(part.entry).tokens);
        }
    }
}

/// What belongs to one tokenizer for as long as the process lives: its vocabulary and the current [`Space`].
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) vocab: Arc<Vocabulary>,
    text: Arc<OnceLock<TextMasks>>,
    current: Mutex<Arc<Space>>,
    budget: usize,
    uncached: bool,
}

impl Shared {
    pub(crate) fn new(vocab: Arc<Vocabulary>, budget: usize, uncached: bool) -> Self {
        let text = Arc::new(OnceLock::new());
        let space = Arc::new(Space::new(Arc::clone(&vocab), Arc::clone(&text), uncached));
        Self { vocab, text, current: Mutex::new(space), budget, uncached }
    }

    /// Works out what masks of strings need once per vocabulary.
    pub(crate) fn warm_up(&self) {
        self.space().text().classes(&self.vocab);
    }

    /// The space to begin new matchers in: a fresh one once the last has grown past the budget.
    pub(crate) fn space(&self) -> Arc<Space> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.store.bytes() > self.budget {
            *current = Arc::new(Space::new(Arc::clone(&self.vocab), Arc::clone(&self.text), self.uncached));
        }
        Arc::clone(&current)
    }

    /// Bytes that the current space holds, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).store.bytes()
    }
}
