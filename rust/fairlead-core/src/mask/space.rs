//! What one tokenizer's grammars share: the interned expressions and, under exactly the frames that they depend on,
//! the masks.
//!
//! A mask is found from the top of the stack downwards. The top frame, at the start of a token, gives the tokens that
//! stay inside it and the trie nodes at which it can be left; the frame below, reached at those nodes, gives more
//! tokens and more exits; and so on until nothing can be left. Each step is remembered under (set of nodes, frame),
//! so that it serves every deeper stack, every grammar and every thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hashbrown::HashSet;
use smallvec::SmallVec;

use super::assembly::{Events, Mask};
use super::classes::{Chain, ChainSteps};
use super::entry::{DENSE, MaskEntry, clear_bits, set_bits};
use super::events::{KeyEvents, decoded};
use super::exits::{AT_ROOT, ExitSets, ExitsId, NO_EXITS, Tails};
use super::frame_walk::{FrameWalk, OwnBytes, Part as Inside, leading};
use super::text::{Escaped, TextMasks, find_closed};
use super::walk::{Found, walk};
use crate::automata::{EMPTY, EPS, ExprId, FreeText, GoesOn, Mark, Node, Spelling, Stack, Store, Top, UNBOUNDED};
use crate::matcher::{Reach, Unit};
use crate::memo::Memo;
use crate::vocab::{Child, ROOT, Trie, Vocabulary};

/// Up to so many nodes what follows an optional beginning is looked for together with what follows none.
const TOGETHER: usize = 64;
/// What goes on at more nodes than this is looked for among the children of all of them.
const MANY: usize = 256;

/// One epoch of sharing.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) vocab: Arc<Vocabulary>,
    pub(crate) store: Store,
    text: Arc<OnceLock<TextMasks>>,
    entries: boxcar::Vec<MaskEntry>,
    /// The masks of frames that are returned to, or entered, at exits, where there are more than a frame keeps.
    after: Memo<(u32, ExprId), u32>,
    exits: ExitSets,
    /// The exits of a free string.
    free_exits: OnceLock<ExitsId>,
    chains: ChainSteps,
    /// What short texts that complete frames take, and what tokens can make of frames.
    pub(crate) costs: Memo<(ExprId, Unit), u32>,
    pub(crate) reaches: Memo<(ExprId, ExitsId, Unit, bool), Reach>,
    /// Ids of masks, by all that decides them.
    mask_ids: Memo<Box<[u32]>, u64>,
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
        Self {
            store: Store::of(&vocab),
            text,
            entries: boxcar::Vec::new(),
            after: Memo::default(),
            exits: ExitSets::new(&vocab.trie),
            free_exits: OnceLock::new(),
            chains: ChainSteps::default(),
            costs: Memo::default(),
            reaches: Memo::default(),
            mask_ids: Memo::default(),
            uncached,
            vocab,
        }
    }

    pub(crate) fn text(&self) -> &TextMasks {
        self.text.get_or_init(|| TextMasks::new(&self.vocab))
    }

    /// The id of the mask that is decided by `key`; another space never gives the same.
    pub(crate) fn mask_id(&self, key: Box<[u32]>) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let bytes = 32 + key.len() * 4;
        self.mask_ids.get_or_insert_with(key, || {
            self.store.charge(bytes);
            NEXT.fetch_add(1, Ordering::Relaxed)
        })
    }

    pub(crate) fn entry(&self, index: u32) -> &MaskEntry {
        &self.entries[index as usize]
    }

    /// The id of a set of nodes, ascending.
    pub(crate) fn exits_id(&self, nodes: Vec<u32>) -> ExitsId {
        self.exits.id(nodes, |bytes| self.store.charge(bytes))
    }

    /// Where a frame that is returned to at a set of nodes is left.
    pub(crate) fn exits_after(&self, exits: ExitsId, frame: ExprId) -> ExitsId {
        self.entry(self.next(exits, frame, false)).exits
    }

    /// The nodes of a set.
    pub(crate) fn exit_nodes(&self, exits: ExitsId) -> &[u32] {
        self.exits.nodes(exits)
    }

    /// The children of all nodes of a set, by their bytes.
    pub(crate) fn exit_heads(&self, exits: ExitsId) -> &[Child] {
        self.exits.heads(&self.vocab.trie, exits, |bytes| self.store.charge(bytes))
    }

    /// The entry of a string or regular expression.
    fn keep(&self, found: OwnBytes, base: Option<Arc<[u32]>>) -> u32 {
        let OwnBytes { tokens, exits, heads, parts } = found;
        debug_assert!(parts.is_empty(), "what is regular calls no rule");
        let mut mask = Mask { base, exits, heads, ..Mask::default() };
        mask.add_tokens(tokens);
        self.store_mask(mask)
    }

    /// What a frame finds by its own bytes in a trie, from its root on.
    fn walk_own(&self, trie: &Trie, frame: ExprId) -> OwnBytes {
        let mut walk = FrameWalk::regular(&self.store, trie);
        walk.visit(ROOT, frame);
        walk.finish()
    }

    /// All exits of a mask as one set.
    fn exits_of(&self, mask: &mut Mask) -> ExitsId {
        match (&mask.left_at[..], &mask.exits[..]) {
            ([one], []) => return *one,
            ([], _) => {}
            (sets, _) => sets.iter().for_each(|&set| mask.exits.extend_from_slice(self.exits.nodes(set))),
        }
        mask.exits.sort_unstable();
        mask.exits.dedup();
        let many = mask.exits.len() > MANY;
        let all = self.exits_id(std::mem::take(&mut mask.exits));
        if let Some(heads) = mask.heads.take().filter(|_| many && mask.left_at.is_empty()) {
            self.exits.set_heads(all, &heads, |bytes| self.store.charge(bytes));
        }
        mask.left_at = SmallVec::from_slice(&[all]);
        all
    }

    fn store_mask(&self, mut mask: Mask) -> u32 {
        let exits = self.exits_of(&mut mask);
        let Mask { mut base, mut removed, mut tokens, shared_events: mut all_events, events, .. } = mask;
        if tokens.len() > DENSE {
            let mut row = base.map_or_else(|| vec![0u32; self.vocab.words()], |b| b.to_vec());
            clear_bits(&mut row, &removed);
            set_bits(&mut row, &tokens);
            (base, removed, tokens) = (Some(row.into()), Vec::new(), Vec::new());
        }
        // A row that nobody else has was made for this entry.
        let own = base.as_ref().filter(|base| Arc::strong_count(base) == 1).map_or(0, |row| row.len());
        self.store.charge(size_of::<MaskEntry>() + (tokens.len() + removed.len() + own) * 4 + events.len() * 48);
        if !events.is_empty() {
            all_events.push(Arc::new(KeyEvents::new(events)));
        }
        self.entries.push(MaskEntry { base, removed: removed.into(), tokens: tokens.into(), exits, events: all_events })
            as u32
    }

    /// The entry of a free string at the start of a token: the one entry of all of them, less what would complete some
    /// texts that are excluded, at the nodes that are `gone`.
    fn keep_free_text(&self, gone: &[u32]) -> u32 {
        let text = self.text();
        let main = &self.vocab.trie;
        let all = text.exits();
        let exits = *self.free_exits.get_or_init(|| self.exits_id(all.to_vec()));
        let (exits, removed) = if gone.is_empty() {
            (exits, Vec::new())
        } else {
            let removed = gone.iter().flat_map(|&n| main.own_tokens(n)).copied().collect();
            (self.exits.without(exits, gone, |bytes| self.store.charge(bytes)), removed)
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

    /// The nodes, ascending, at which a free string that goes on at some exits is one of some sorted texts.
    fn closed_by(&self, exits: ExitsId, all: u32, texts: &[&[u8]]) -> Vec<u32> {
        let main = &self.vocab.trie;
        if exits == AT_ROOT {
            return self.text().closed_by(main, texts);
        }
        let mut closed = Vec::new();
        for &start in self.exits.nodes(exits) {
            find_closed(main, start, texts, 0, &mut closed);
        }
        let escaped = self.escaped(exits, all);
        closed.extend(texts.iter().filter_map(|text| escaped.get(*text)).flatten());
        closed.sort_unstable();
        closed.dedup();
        closed
    }

    /// What a free string that goes on at some exits is where it ends with escapes in it.
    fn escaped(&self, exits: ExitsId, all: u32) -> &Escaped {
        let main = &self.vocab.trie;
        self.exits.escaped(exits, || {
            let mut out = Escaped::default();
            for &end in self.exits.nodes(self.entry(all).exits) {
                let path = main.path(end);
                for &start in self.exits.nodes(exits).iter().filter(|&&start| start <= end && end < main.end(start)) {
                    let raw = &path[main.path(start).len()..path.len() - 1];
                    if raw.contains(&b'\\') {
                        out.entry(decoded(raw)).or_default().push(end);
                    }
                }
            }
            out
        })
    }

    /// An entry without what lies below some nodes.
    fn keep_less(&self, of: u32, gone: &[u32]) -> u32 {
        let (main, all) = (&self.vocab.trie, self.entry(of));
        let below = |node: u32| gone.iter().any(|&n| n <= node && node < main.end(n));
        let left = all.tokens.iter().filter(|&&token| !gone.iter().any(|&n| main.holds(n, token))).copied().collect();
        let exits = self.exits.nodes(all.exits).iter().filter(|&&n| !below(n)).copied().collect();
        // Events at nodes that are gone do nothing: their tokens are not in the mask.
        let shared_events = all.events.clone();
        let base = all.base.clone();
        let entry = self.store_mask(Mask { base, tokens: left, exits, shared_events, ..Mask::default() });
        if all.base.is_some() {
            // A frame that is returned to has a base only when it has very many tokens.
            let mut row = self.entry(entry).base.as_ref().map_or_else(Vec::new, |b| b.to_vec());
            for &node in gone {
                clear_bits(&mut row, main.all_tokens(node));
            }
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
        if let Node::Call(rule) = self.store.node(frame) {
            let entry = self.next(exits, self.store.body(*rule), true);
            if self.entry(entry).events.is_empty() {
                return entry;
            }
        }
        let frame = self.store.frame(frame).shared_by;
        let entered = entered && self.store.nullable(frame);
        if exits == AT_ROOT && !entered {
            return self.first(frame);
        }
        let (known, place) = (&self.store.frame(frame).masks, exits << 1 | u32::from(entered));
        if let Some(entry) = known.get(place) {
            return entry;
        }
        if known.is_full()
            && let Some(entry) = self.after.get(&(place, frame))
        {
            return entry;
        }
        let entry = match self.exits.lacking(exits) {
            Some((wider, gone)) => self.keep_less(self.next(*wider, frame, entered), gone),
            None => self.work_out(exits, frame, entered),
        };
        if !known.insert(place, entry) {
            self.after.insert((place, frame), entry);
        }
        entry
    }

    /// Everything by one walk, with nothing remembered: what the other ways are held against.
    fn walked(&self, exits: ExitsId, frame: ExprId) -> u32 {
        let Found { tokens, exits, events, items } =
            walk(&self.store, &self.vocab.trie, self.exits.nodes(exits), frame);
        let items = (!items.is_empty()).then(|| Arc::new(KeyEvents::of_items(items)));
        self.store_mask(Mask { tokens, exits, events, shared_events: items.into_iter().collect(), ..Mask::default() })
    }

    /// An entry, worked out from the frame's own bytes by a walk, and from the entries of the rules that it may call.
    fn work_out(&self, exits: ExitsId, frame: ExprId, entered: bool) -> u32 {
        match self.store.as_free_text(frame) {
            Some(FreeText::Any) if exits == AT_ROOT => return self.keep_free_text(&[]),
            Some(FreeText::But(excluded)) => {
                let all = self.next(exits, self.store.free_text, false);
                let gone = self.closed_by(exits, all, &self.store.entries_of(excluded));
                match gone[..] {
                    [] => return all,
                    _ if exits == AT_ROOT => return self.keep_free_text(&gone),
                    // A text that is excluded from one node on may be free from another.
                    _ if self.exits.nested(&self.vocab.trie, exits) => {}
                    _ => return self.keep_less(all, &gone),
                }
            }
            _ => {}
        }
        if exits == AT_ROOT
            && let Node::Text(state) = self.store.node(frame)
            && state.spelling == Spelling::Raw
        {
            let text = self.text();
            if state.content == self.store.any {
                let (tokens, exits) = text.others(state.lo, state.hi);
                let found = OwnBytes { tokens: tokens.into(), exits, ..OwnBytes::default() };
                return self.keep(found, Some(text.plain(state.hi).clone()));
            }
            if state.hi == UNBOUNDED && self.store.takes_any_prefix(state.content) {
                let found = self.walk_own(&text.rest, frame);
                return self.keep(found, Some(text.plain(state.hi).clone()));
            }
        }
        if exits == AT_ROOT
            && let Some(entry) = self.far_from_bounds(frame)
        {
            return entry;
        }
        let mut mask = Mask::default();
        let mark = self.store.mark(frame);
        // Keys of the same object, which may have been told of one already.
        let own = if mark == Some(Mark::Key) { Events::OwnAgain } else { Events::Own };
        if let Some(mark) = mark {
            mask.shared_events.push(self.exits.events(&self.vocab.trie, exits, mark));
        }
        let frame = self.store.after_mark(frame);
        match self.store.node(frame) {
            // Objects and arrays are taken apart as they are, without residuals of their own.
            Node::Value(rule, rest) => {
                let after_key = self.store.body(self.store.after_key(*rule, rest));
                let left = self.add(&mut mask, exits, after_key, true, Events::Inner);
                if left != NO_EXITS {
                    self.add_rest(&mut mask, left, self.store.intern(Node::Members(rest.clone())), own);
                }
            }
            Node::Members(state) if let Some(goes_on) = self.store.object_goes_on(state) => {
                self.go_on(&mut mask, exits, goes_on, || self.store.next_keys(state), own);
            }
            Node::Elements(state) if let Some(goes_on) = self.store.array_goes_on(state) => {
                self.go_on(&mut mask, exits, goes_on, || self.store.next_item(state), own);
            }
            _ => self.put_together(&mut mask, exits, self.store.unfold(frame), entered, own),
        }
        let left = self.exits_of(&mut mask);
        if let Some(same) = mask.first.filter(|_| !mask.more && mask.events.is_empty() && mask.shared_events.is_empty())
            && left == self.entry(same).exits
        {
            return same;
        }
        self.store_mask(mask)
    }

    /// Puts a mask together of what an object or array goes on with, and of what follows the comma.
    fn go_on(&self, mask: &mut Mask, exits: ExitsId, goes_on: GoesOn, then: impl Fn() -> ExprId, own: Events) {
        let GoesOn { space, close, comma } = goes_on;
        let spaced = self.add(mask, exits, space, true, Events::Inner);
        let at = self.both(exits, spaced);
        let closed = self.add(mask, at, close, true, Events::Inner);
        mask.leave(closed);
        let left = if comma == EPS { at } else { self.add(mask, at, comma, true, Events::Inner) };
        if left != NO_EXITS {
            self.add_rest(mask, left, then(), own);
        }
    }

    /// Two sets of exits as one.
    fn both(&self, a: ExitsId, b: ExitsId) -> ExitsId {
        if b == NO_EXITS {
            return a;
        }
        let mut nodes = [self.exits.nodes(a), self.exits.nodes(b)].concat();
        nodes.sort_unstable();
        nodes.dedup();
        self.exits_id(nodes)
    }

    /// Puts a mask together of the frame's own bytes and of what it calls.
    fn put_together(&self, mask: &mut Mask, exits: ExitsId, frame: ExprId, entered: bool, own: Events) {
        if let Some((first, rest)) = leading(&self.store, frame) {
            let left = self.add(mask, exits, first, true, Events::Inner);
            let (behind, before) = (self.exits.nodes(left).len(), self.exits.nodes(exits).len());
            // From a single node others go on too, who may have found what follows already.
            let few = behind <= TOGETHER && before <= MANY && (behind, before) != (1, 1);
            if few && !self.store.nullable(rest) {
                // Whitespace or none: what follows is found at once.
                return self.add_rest(mask, self.both(exits, left), rest, own);
            }
            self.add_rest(mask, left, rest, own);
            let left = self.add(mask, exits, rest, entered, own);
            mask.leave(left);
            return;
        }
        if self.store.has_bytes(frame) {
            let in_class = if exits == AT_ROOT { self.in_class(frame) } else { None };
            let (OwnBytes { tokens, exits: left, heads, parts }, base) = match in_class {
                Some((own, base)) => (own, Some(base)),
                None => (self.walk_from(exits, frame), None),
            };
            mask.more |= base.is_some() || !tokens.is_empty();
            mask.add_base(base);
            mask.add_tokens(tokens);
            debug_assert!(mask.exits.is_empty(), "a frame is walked once");
            (mask.exits, mask.heads) = (left, heads);
            for Inside { frame, nodes, walked } in parts {
                let at = self.exits_id(nodes);
                if let Some(tails) = self.tails(exits) {
                    // What is merged there is merged here.
                    self.exits.set_tails(at, &tails.trie, walked);
                }
                self.add_rest(mask, at, frame, own);
            }
        }
        for (rule, rest) in self.store.calls(frame) {
            let body = self.store.body(rule);
            if body == EMPTY || rest == EMPTY {
                continue;
            }
            // Objects inside the rule have seen no key yet; those of `rest` are the frame's own.
            let left = self.add(mask, exits, body, true, Events::Inner);
            self.add_rest(mask, left, rest, own);
        }
        if self.store.nullable(frame) && !entered {
            mask.leave(exits);
        }
    }

    /// Adds the entry of a frame that is returned to, or entered, at a set of nodes to a mask, but for its exits, which
    /// are returned.
    fn add(&self, mask: &mut Mask, exits: ExitsId, frame: ExprId, entered: bool, events: Events) -> ExitsId {
        if exits == NO_EXITS || frame == EMPTY || (frame == EPS && entered) {
            return NO_EXITS;
        }
        let index = self.next(exits, frame, entered);
        let entry = self.entry(index);
        if !entry.is_empty() {
            mask.more |= mask.first.is_some_and(|first| first != index) || !entry.events.is_empty();
            mask.first.get_or_insert(index);
            mask.add(entry, self.vocab.words(), events);
        }
        entry.exits
    }

    /// Adds what goes on at a set of nodes to a mask, and where that may be left.
    fn add_rest(&self, mask: &mut Mask, exits: ExitsId, rest: ExprId, events: Events) {
        let left = match rest {
            _ if exits == NO_EXITS => NO_EXITS,
            EPS => exits,
            _ => self.add(mask, exits, rest, false, events),
        };
        mask.leave(left);
    }

    /// The entry of a string whose counts are so far from their bounds that only some long tokens can feel them: that
    /// of the string without bounds, but for those.
    fn far_from_bounds(&self, frame: ExprId) -> Option<u32> {
        let (loose, safe) = self.store.loosened(frame)?;
        let text = self.text();
        let longer = text.levels.within(&self.vocab, safe)?;
        let wide = self.first(loose);
        let entry = self.entry(wide);
        let found = self.walk_own(&longer.trie, frame);
        let mut row = entry.base.as_ref().map_or_else(|| vec![0; self.vocab.words()], |base| base.to_vec());
        clear_bits(&mut row, &entry.removed);
        set_bits(&mut row, &entry.tokens);
        let mut mine: Vec<u32> = row.iter().zip(&*longer.short).map(|(word, short)| word & short).collect();
        set_bits(&mut mine, &found.tokens.list);
        mine.iter_mut().zip(&found.tokens.row).for_each(|(word, more)| *word |= more);
        let nodes = self.exits.nodes(entry.exits);
        let near = nodes.iter().copied().filter(|&n| !longer.is_deep(n));
        let mut exits: Vec<u32> = near.chain(found.exits.iter().copied().filter(|&n| longer.is_deep(n))).collect();
        exits.sort_unstable();
        if mine == row && *exits == *nodes {
            return Some(wide);
        }
        Some(self.store_mask(Mask { base: Some(mine.into()), exits, ..Mask::default() }))
    }

    /// What a frame finds by its own bytes at the start of a token that takes characters of one class, whichever they are, at
    /// least for a while; and the tokens of that class alone.
    fn in_class(&self, frame: ExprId) -> Option<(OwnBytes, Arc<[u32]>)> {
        let mut chain = Chain::new(&self.store, &self.chains, frame)?;
        let classes = self.text().classes(&self.vocab);
        let (chars, leaving, exits) = chain.leave(classes, &self.vocab.trie)?;
        let new = if self.store.flags(frame).calls() { FrameWalk::new } else { FrameWalk::regular };
        let mut walk = new(&self.store, &self.vocab.trie);
        for (frame, nodes) in &leaving {
            walk.enter(*frame, nodes);
        }
        for node in exits {
            walk.leave_at(node);
        }
        Some((walk.finish(), classes.mask(chain.class, chars, &self.store)))
    }

    /// What follows a set of exits, merged.
    fn tails(&self, exits: ExitsId) -> Option<&Tails> {
        self.exits.tails(&self.vocab.trie, exits, |bytes| self.store.charge(bytes))
    }

    /// The tokens that go on with a frame's own bytes.
    fn walk_from(&self, exits: ExitsId, frame: ExprId) -> OwnBytes {
        let tails = self.tails(exits);
        let (trie, starts) = match tails {
            Some(tails) => (&*tails.trie, &*tails.starts),
            None => (&self.vocab.trie, self.exits.nodes(exits)),
        };
        // A string's own residuals are strings again.
        let string = matches!(self.store.node(frame), Node::Text(_));
        let new = if string { FrameWalk::regular } else { FrameWalk::new };
        let mut walk = new(&self.store, trie);
        if tails.is_none() && starts.len() > MANY {
            let heads = self.exit_heads(exits);
            walk.visit_all(heads, frame);
            return walk.finish();
        }
        for &start in starts {
            walk.visit(start, frame);
        }
        walk.finish()
    }

    /// The entries whose union is the mask of a stack.
    pub(crate) fn parts(&self, stack: &Stack, tops: &[Top]) -> Parts {
        let mut parts = Parts::new();
        // Once there is more than one stack, ways that meet again are followed once.
        let mut many = tops.len() > 1;
        let mut seen: HashSet<(Top, Option<ExitsId>)> = HashSet::new();
        let mut open: SmallVec<[(Top, Option<ExitsId>); 4]> = tops.iter().rev().map(|&top| (top, None)).collect();
        while let Some((top, exits)) = open.pop() {
            if many && !seen.insert((top, exits)) {
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
                many |= under.len() > 1;
                open.extend(under.into_iter().rev().map(|below| (below, Some(exits))));
            }
        }
        parts
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
        let space = self.space();
        space.text().classes(&self.vocab);
        space.text().levels.warm_up(&self.vocab);
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
