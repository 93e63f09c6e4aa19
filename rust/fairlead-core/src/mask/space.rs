//! What one tokenizer's grammars share: the interned expressions and, under exactly the frames that they depend on,
//! the masks.
//!
//! A mask is found from the top of the stack downwards. The top frame, at the start of a token, gives the tokens that
//! stay inside it and the trie nodes at which it can be left; the frame below, reached at those nodes, gives more
//! tokens and more exits; and so on until nothing can be left. Each step is remembered under (set of nodes, frame),
//! so that it serves every deeper stack, every grammar and every thread.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use smallvec::SmallVec;

use super::entry::{ExitsId, MaskEntry, NO_EXITS, clear_bits, set_bits};
use super::text::TextMasks;
use super::walk::{Found, walk};
use crate::automata::{ExprId, Node, Slice, Spelling, Stack, Store, Top, UNBOUNDED};
use crate::vocab::{ROOT, Trie, Vocabulary};

/// More tokens than this are kept as a bitmask of their own.
const DENSE: usize = 1500;
/// Nodes below a set of exits up to which its tails are merged into a trie of their own.
const MERGED: usize = 1 << 16;

#[derive(Debug)]
struct Exits {
    nodes: Box<[u32]>,
    /// Another set of which this one lacks a few nodes: its masks are the other's without the tokens below those.
    lacking: Option<(ExitsId, Box<[u32]>)>,
    /// The merged trie of what follows; a single node needs none.
    tails: OnceLock<Option<Trie>>,
}

/// One epoch of sharing.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) vocab: Arc<Vocabulary>,
    pub(crate) store: Store,
    text: Arc<OnceLock<TextMasks>>,
    entries: boxcar::Vec<MaskEntry>,
    after: papaya::HashMap<(ExitsId, ExprId), u32, foldhash::fast::FixedState>,
    exits: boxcar::Vec<Exits>,
    exits_of: papaya::HashMap<Box<[u32]>, ExitsId, foldhash::fast::FixedState>,
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
            store: Store::new(vocab.longest() as u32),
            vocab,
            text,
            entries: boxcar::Vec::new(),
            after: papaya::HashMap::with_hasher(foldhash::fast::FixedState::default()),
            exits: boxcar::Vec::new(),
            exits_of: papaya::HashMap::with_hasher(foldhash::fast::FixedState::default()),
            uncached,
        };
        space.exits_id(Vec::new());
        space
    }

    fn text(&self) -> &TextMasks {
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
            self.exits.push(Exits { nodes: nodes.clone(), lacking: lacking(), tails: OnceLock::new() }) as ExitsId
        })
    }

    fn keep(&self, found: Found, base: Option<Arc<[u32]>>) -> u32 {
        let Found { tokens, exits, events } = found;
        let exits = self.exits_id(exits);
        let (base, tokens) = if tokens.len() > DENSE {
            let mut row = base.map_or_else(|| vec![0u32; self.vocab.words()], |b| b.to_vec());
            set_bits(&mut row, &tokens);
            self.store.charge(row.len() * 4);
            (Some(row.into()), Vec::new())
        } else {
            (base, tokens)
        };
        self.store.charge(size_of::<MaskEntry>() + tokens.len() * 4 + events.len() * 48);
        let removed = Box::default();
        self.entries.push(MaskEntry { base, removed, tokens: tokens.into(), exits, events: events.into() }) as u32
    }

    /// The entry of a free string, any text but the rest of some literals: the one entry of all free strings, less
    /// what would complete one of those.
    fn keep_free_text(&self, excluded: Option<Slice>) -> u32 {
        let text = self.text();
        let main = &self.vocab.trie;
        let gone = excluded.map_or_else(Vec::new, |slice| {
            text.closed_by(main, |t| self.store.is_entry(slice, t), &self.store.entries_of(slice))
        });
        let all = text.exits();
        let exits = self.exits_id(all.clone());
        let (exits, removed) = if gone.is_empty() {
            (exits, Vec::new())
        } else {
            let left = all.into_iter().filter(|n| !gone.contains(n)).collect();
            let removed = gone.iter().flat_map(|&n| main.own_tokens(n)).copied().collect();
            (self.exits_lacking(left, || Some((exits, gone.clone().into()))), removed)
        };
        self.store.charge(size_of::<MaskEntry>() + removed.len() * 4);
        self.entries.push(MaskEntry {
            base: Some(Arc::clone(text.everything())),
            removed: removed.into(),
            tokens: Box::default(),
            exits,
            events: Box::default(),
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
        let events = all.events.iter().filter(|e| !below(e.node)).cloned().collect();
        let entry = self.keep(Found { tokens: left, exits, events }, all.base.clone());
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
            return self.keep(walk(&self.store, &self.vocab.trie, &self.vocab.trie, &[ROOT], frame), None);
        }
        if known.mask_frame != frame {
            return self.first(known.mask_frame);
        }
        *known.mask.get_or_init(|| {
            if let Node::Text(state) = self.store.node(frame)
                && state.spelling == Spelling::Raw
            {
                let text = self.text();
                if state.lo == 0
                    && state.hi == UNBOUNDED
                    && let Some(excluded) = self.store.free_but(state.content)
                {
                    return self.keep_free_text(excluded);
                }
                if state.content == self.store.any {
                    let (tokens, exits) = text.others(state.lo, state.hi);
                    let found = Found { tokens, exits, events: Vec::new() };
                    return self.keep(found, Some(text.plain(state.hi).clone()));
                }
                if self.store.takes_any_prefix(state.content) {
                    let found = walk(&self.store, &self.vocab.trie, &text.rest, &[ROOT], frame);
                    return self.keep(found, Some(text.plain(state.hi).clone()));
                }
            }
            self.keep(walk(&self.store, &self.vocab.trie, &self.vocab.trie, &[ROOT], frame), None)
        })
    }

    /// The entry of a frame that is returned to at a set of trie nodes.
    fn next(&self, exits: ExitsId, frame: ExprId) -> u32 {
        let frame = if self.uncached { frame } else { self.store.frame(frame).mask_frame };
        let map = self.after.pin();
        if !self.uncached
            && let Some(&entry) = map.get(&(exits, frame))
        {
            return entry;
        }
        let set = &self.exits[exits as usize];
        let main = &self.vocab.trie;
        if let Some((wider, gone)) = set.lacking.as_ref().filter(|_| !self.uncached) {
            let entry = self.keep_less(self.next(*wider, frame), gone);
            map.insert((exits, frame), entry);
            return entry;
        }
        let tails = set.tails.get_or_init(|| {
            let size: usize = set.nodes.iter().map(|&n| main.below(n)).sum();
            let merge = set.nodes.len() > 1 && size <= MERGED && !self.uncached;
            merge.then(|| {
                let tails = main.derive(&set.nodes, |_| true);
                self.store.charge(tails.len() * 56);
                tails
            })
        });
        let found = match tails {
            Some(tails) => walk(&self.store, main, tails, &[ROOT], frame),
            None => walk(&self.store, main, main, &set.nodes, frame),
        };
        let entry = self.keep(found, None);
        map.insert((exits, frame), entry);
        entry
    }

    /// The entries whose union is the mask of a stack.
    pub(crate) fn parts(&self, stack: &Stack, tops: &[Top]) -> Parts {
        let mut parts = Parts::new();
        self.gather(stack, tops, None, &mut parts);
        parts
    }

    fn gather(&self, stack: &Stack, tops: &[Top], exits: Option<ExitsId>, parts: &mut Parts) {
        for top in tops {
            let entry = match exits {
                None => self.first(top.frame),
                Some(exits) => self.next(exits, top.frame),
            };
            parts.push(Part { entry, extra: top.extra });
            let exits = self.entries[entry as usize].exits;
            if exits != NO_EXITS {
                let (under, _) = stack.under(top.link);
                self.gather(stack, &under, Some(exits), parts);
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
