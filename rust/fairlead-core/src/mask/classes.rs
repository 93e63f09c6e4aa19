//! Strings over a class of characters, such as `[A-Za-z0-9_-]{1,255}`: as free strings, but for any class. The tokens
//! made of the class alone are one bitmask, shared by all counts; the others are found where they leave the class.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::entry::{clear_bits, set_bits};
use crate::automata::{Beyond, ExprId, Node, Store};
use crate::memo::Memo;
use crate::vocab::{Child, ROOT, Shape, Trie, Vocabulary, span};

/// Fewer characters than this are not worth a class.
const LEAST: u32 = 8;

/// A class of characters: some ASCII ones, and all others or none of them, with or without the separators of lines and
/// paragraphs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Class {
    ascii: u128,
    beyond: bool,
    separators: bool,
}

impl Class {
    const NONE: Self = Self { ascii: 0, beyond: false, separators: false };

    /// The class with a character beyond ASCII.
    fn with(self, c: char) -> Self {
        let separator = matches!(c, '\u{2028}' | '\u{2029}');
        Self { beyond: self.beyond || !separator, separators: self.separators || separator, ..self }
    }

    /// Whether it lacks [rare](RARE) ASCII characters only.
    fn lacks_little(self) -> bool {
        !self.ascii & !RARE == 0
    }

    fn has(self, made_of: Class) -> bool {
        let others = (self.beyond || !made_of.beyond) && (self.separators || !made_of.separators);
        made_of.ascii & !self.ascii == 0 && others
    }
}

/// ASCII characters that classes mostly have all or none of.
const BLOCKS: [u128; 5] = [span(b'a', b'f'), span(b'g', b'z'), span(b'A', b'F'), span(b'G', b'Z'), span(b'0', b'9')];
/// ASCII characters that few tokens have.
const RARE: u128 = !(LETTERS | span(b'0', b'9') | span(b' ', b' '));
const LETTERS: u128 = span(b'a', b'z') | span(b'A', b'Z');

/// A node of the trie after whole characters.
#[derive(Clone, Copy, Debug)]
struct Entered {
    node: Child,
    /// What stands before the node's own byte, and how many characters that are.
    before: Class,
    chars: u32,
}

/// Tokens of characters of the same blocks.
#[derive(Debug, Default)]
struct Group {
    /// Characters, token and its class, ascending.
    tokens: Vec<(u32, u32, Class)>,
    /// All of them as a bitmask, where there are many.
    row: Option<Box<[u32]>>,
}

impl Group {
    fn longest(&self) -> u32 {
        self.tokens.last().map_or(0, |t| t.0)
    }
}

/// So many tokens of a group are worth a bitmask.
const MANY: usize = 512;

/// The vocabulary by classes of characters.
#[derive(Debug)]
pub(super) struct Classes {
    groups: Vec<(Class, Group)>,
    /// For each ASCII byte that is no letter: where it follows whole characters.
    entered: Vec<Vec<Entered>>,
    /// For each [rare](RARE) byte: the nodes of whole characters on the way to where it follows, their own in `before`.
    passed: Vec<Vec<Entered>>,
    /// All tokens of whole characters, as a bitmask.
    all: Box<[u32]>,
    /// For each ASCII byte that is [rare](RARE), the tokens that it occurs in; and those with separators.
    with: Vec<Vec<u32>>,
    separated: Vec<u32>,
    words: usize,
    masks: Memo<(Class, u32), Arc<[u32]>>,
    longest: Memo<Class, u32>,
}

fn blocks_of(class: Class) -> Class {
    let ascii = BLOCKS.iter().filter(|&b| class.ascii & b != 0).fold(class.ascii, |all, b| all | b);
    Class { ascii, ..class }
}

impl Classes {
    pub(super) fn new(vocab: &Vocabulary) -> Self {
        let mut groups: HashMap<Class, Group, FixedState> = HashMap::default();
        let (mut all, mut with, mut separated) = (vec![0; vocab.words()], vec![Vec::new(); 128], Vec::new());
        for token in 0..vocab.size() as u32 {
            let Some((chars, class)) = vocab.bytes(token).and_then(class_of) else { continue };
            set_bits(&mut all, &[token]);
            let mut rare = class.ascii & RARE;
            while rare != 0 {
                with[rare.trailing_zeros() as usize].push(token);
                rare &= rare - 1;
            }
            if class.separators {
                separated.push(token);
            }
            groups.entry(blocks_of(class)).or_default().tokens.push((chars, token, class));
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        for (_, group) in &mut groups {
            group.tokens.sort_unstable_by_key(|&(chars, token, _)| (chars, token));
            if group.tokens.len() >= MANY {
                let mut row = vec![0; vocab.words()];
                set_bits(&mut row, &group.tokens.iter().map(|t| t.1).collect::<Vec<_>>());
                group.row = Some(row.into());
            }
        }
        let none = vec![Vec::new(); 128];
        let mut ways = Ways { entered: none.clone(), passed: none, last: vec![Vec::new(); 128], path: Vec::new() };
        ways.enter(&vocab.trie, ROOT, Class::NONE, 0);
        let Ways { entered, passed, .. } = ways;
        let (all, words, masks, longest) = (all.into(), vocab.words(), Memo::default(), Memo::default());
        Self { groups, entered, passed, all, with, separated, words, masks, longest }
    }

    /// Calls `each` with the groups that may have tokens made of a class alone, and whether all of theirs are.
    fn groups_of(&self, class: Class, mut each: impl FnMut(&Group, bool)) {
        let whole = BLOCKS.iter().filter(|&b| class.ascii & b != 0).fold(class.ascii, |all, b| all | b);
        for (blocks, group) in &self.groups {
            if class.has(*blocks) {
                each(group, true);
            } else if (Class { ascii: whole, ..class }).has(*blocks) {
                each(group, false);
            }
        }
    }

    /// The most characters of a class that a token begins with, before a byte that is no letter or its end.
    fn longest(&self, class: Class) -> u32 {
        self.longest.get_or_insert_with(class, || {
            let mut longest = 0;
            self.groups_of(class, |group, _| longest = longest.max(group.longest()));
            let entered = self.entered.iter().flatten().filter(|at| class.has(at.before));
            entered.map(|at| at.chars).max().map_or(longest, |most| most.max(longest))
        })
    }

    /// The tokens made of a class that lacks rare characters only: all but those that these occur in.
    fn without(&self, class: Class) -> Arc<[u32]> {
        let mut row = self.all.to_vec();
        for (b, tokens) in self.with.iter().enumerate().filter(|(b, _)| class.ascii >> b & 1 == 0) {
            debug_assert!(RARE >> b & 1 == 1 || tokens.is_empty());
            clear_bits(&mut row, tokens);
        }
        if !class.separators {
            clear_bits(&mut row, &self.separated);
        }
        row.into()
    }

    /// The tokens made of at most `chars` characters of a class, as a bitmask.
    pub(super) fn mask(&self, class: Class, chars: u32, store: &Store) -> Arc<[u32]> {
        // Without a bound it doesn't matter how long the longest is, which takes a look at every list.
        let chars = if chars == u32::MAX { chars } else { chars.min(self.longest(class)) };
        self.masks.get_or_insert_with((class, chars), || {
            if chars == u32::MAX && class.beyond && class.lacks_little() {
                store.charge(self.words * 4);
                return self.without(class);
            }
            let mut row = vec![0u32; self.words];
            let mut ids = Vec::new();
            self.groups_of(class, |Group { tokens, row: whole }, all| {
                let upto = tokens.partition_point(|t| t.0 <= chars);
                if let (Some(whole), true) = (whole, all && upto == tokens.len()) {
                    row.iter_mut().zip(whole).for_each(|(word, more)| *word |= more);
                    return;
                }
                ids.clear();
                ids.extend(tokens[..upto].iter().filter(|t| all || class.has(t.2)).map(|t| t.1));
                set_bits(&mut row, &ids);
            });
            store.charge(row.len() * 4);
            row.into()
        })
    }
}

/// What a token is made of; its last character may be unfinished.
fn class_of(token: &[u8]) -> Option<(u32, Class)> {
    let mut class = Class::NONE;
    let whole = match std::str::from_utf8(token) {
        Ok(text) => text,
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&token[..e.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    for c in whole.chars() {
        class = if c.is_ascii() { Class { ascii: class.ascii | 1 << (c as u32), ..class } } else { class.with(c) };
    }
    let unfinished = whole.len() < token.len();
    class.beyond |= unfinished;
    let chars = whole.chars().count() as u32 + u32::from(unfinished);
    (chars > 0).then_some((chars, class))
}

/// Where bytes follow whole characters, while the trie is gone through.
struct Ways {
    entered: Vec<Vec<Entered>>,
    passed: Vec<Vec<Entered>>,
    /// For each byte the way to where it followed last.
    last: Vec<Vec<Child>>,
    /// The nodes of whole characters on the way, the root left out.
    path: Vec<Entered>,
}

impl Ways {
    fn enter(&mut self, trie: &Trie, node: u32, before: Class, chars: u32) {
        for next in trie.children(node) {
            let b = next.byte();
            if b < 0x80 {
                if LETTERS >> b & 1 == 0 {
                    self.entered[usize::from(b)].push(Entered { node: *next, before, chars });
                }
                if RARE >> b & 1 == 1 {
                    self.pass(b);
                }
                self.go_on(trie, *next, Class { ascii: before.ascii | 1 << b, ..before }, chars + 1);
            } else if let Some(more @ 1..=3) = (b.leading_ones() as usize).checked_sub(1) {
                self.enter_char(trie, *next, more, &mut vec![b], before, chars);
            }
        }
    }

    /// Goes on behind a character, which is part of `before`.
    fn go_on(&mut self, trie: &Trie, node: Child, before: Class, chars: u32) {
        self.path.push(Entered { node, before, chars });
        self.enter(trie, node.node(), before, chars);
        self.path.pop();
    }

    /// Notes the nodes on the way to a byte, each once: the beginning of the way is that of the last one, or new.
    fn pass(&mut self, b: u8) {
        let (passed, last) = (&mut self.passed[usize::from(b)], &mut self.last[usize::from(b)]);
        let known = self.path.iter().zip(&*last).take_while(|(at, old)| at.node == **old).count();
        last.truncate(known);
        last.extend(self.path[known..].iter().map(|at| at.node));
        passed.extend_from_slice(&self.path[known..]);
    }

    /// The same inside a character that still lacks some bytes.
    fn enter_char(&mut self, trie: &Trie, node: Child, more: usize, written: &mut Vec<u8>, before: Class, chars: u32) {
        if more == 0 {
            let c = std::str::from_utf8(written).ok().and_then(|text| text.chars().next());
            return self.go_on(trie, node, before.with(c.unwrap_or(char::REPLACEMENT_CHARACTER)), chars + 1);
        }
        for next in trie.children(node.node()).iter().filter(|next| next.byte() & 0xC0 == 0x80) {
            written.push(next.byte());
            self.enter_char(trie, *next, more - 1, written, before, chars);
            written.pop();
        }
    }
}

/// Residuals, each with the nodes of the trie at which it begins.
pub(super) type Leaving = Vec<(ExprId, Vec<Child>)>;

/// The states that a frame goes through while characters of one class are written, whichever they are.
pub(super) struct Chain<'a> {
    store: &'a Store,
    pub(super) class: Class,
    /// The steps of all chains so far.
    known: &'a ChainSteps,
    /// The state after each number of characters.
    states: Vec<ExprId>,
    /// Whether the last state stays the same.
    endless: bool,
    /// Whether the last state takes the class's characters to different states.
    ended: bool,
}

impl<'a> Chain<'a> {
    /// The chain of a frame's own bytes, if it has one: what rules it may call at its start, and whether it may end there, isn't
    /// asked.
    pub(super) fn new(store: &'a Store, known: &'a ChainSteps, frame: ExprId) -> Option<Self> {
        let flags = store.flags(frame);
        if flags.labels() || (flags.calls() && !Self::may_begin(store, frame)) {
            return None;
        }
        let mut targets: Vec<(ExprId, u128)> = Vec::new();
        for edge in store.row(frame).edges.iter().filter(|e| e.lo < 0x80 && store.alive(e.to)) {
            let bytes = span(edge.lo, edge.hi.min(0x7F));
            match targets.iter_mut().find(|(to, _)| *to == edge.to) {
                Some((_, all)) => *all |= bytes,
                None => targets.push((edge.to, bytes)),
            }
        }
        let &(next, ascii) = targets.iter().max_by_key(|(_, bytes)| bytes.count_ones())?;
        if ascii.count_ones() < LEAST {
            return None;
        }
        let beyond = store.row(frame).edges.iter().any(|e| e.hi >= 0x80 && store.alive(e.to));
        let separators = match store.beyond(frame, next) {
            _ if !beyond => false,
            Beyond::All => true,
            Beyond::OfLines => false,
            Beyond::Some => return None,
        };
        let class = Class { ascii, beyond, separators };
        Some(Self { store, class, known, states: vec![frame], endless: false, ended: false })
    }

    /// Whether a frame with calls may begin with a class, told without making its row: most are literals, objects or arrays.
    fn may_begin(store: &Store, frame: ExprId) -> bool {
        match store.node(frame) {
            Node::Concat(first, _) => Self::may_begin(store, *first),
            Node::Union(parts) => parts.iter().any(|&part| Self::may_begin(store, part)),
            Node::Repeat { .. } | Node::Inter(_) => true,
            _ => false,
        }
    }

    /// The nodes at which the frame may be complete on the way to where tokens leave the class; `None` if there may be others.
    /// What is of the class alone needs none: it is allowed, whatever follows the frame.
    fn exits(&self, classes: &Classes) -> Option<Vec<u32>> {
        // By other characters too many tokens leave it, and they are in no list.
        if !self.endless || !self.class.beyond || !self.class.separators || !self.class.lacks_little() {
            return None;
        }
        let may_end = |at: &&Entered| {
            let state = self.states.get(at.chars as usize).or(self.states.last());
            self.class.has(at.before) && state.is_some_and(|&state| self.store.nullable(state))
        };
        let elsewhere = classes.passed.iter().enumerate().filter(|(b, _)| self.class.ascii >> b & 1 == 0);
        let exits = elsewhere.flat_map(|(_, passed)| passed.iter().filter(may_end)).map(|at| at.node.node()).collect();
        Some(exits)
    }

    /// The state after some characters; `None` where the characters begin to matter, or where it is too involved.
    fn state(&mut self, chars: u32) -> Option<ExprId> {
        while !self.endless && !self.ended && self.states.len() <= chars as usize {
            let last = self.states[self.states.len() - 1];
            let next = self.known.get_or_insert_with((last, self.class), || self.next(last));
            match next {
                Some(next) if next == last => self.endless = true,
                Some(next) => self.states.push(next),
                None => self.ended = true,
            }
        }
        let last = self.states.last().filter(|_| self.endless);
        self.states.get(chars as usize).or(last).copied()
    }

    fn next(&self, state: ExprId) -> Option<ExprId> {
        let (mut left, mut to) = (self.class.ascii, None);
        for edge in &self.store.row(state).edges {
            let here = if edge.lo < 0x80 { span(edge.lo, edge.hi.min(0x7F)) & self.class.ascii } else { 0 };
            if here != 0 {
                if *to.get_or_insert(edge.to) != edge.to {
                    return None;
                }
                left &= !here;
            }
        }
        let own = |to: ExprId| self.store.alive(to) && !self.store.flags(to).starts_calls();
        let to = to.filter(|&to| left == 0 && own(to))?;
        let same = if self.class.separators { Beyond::All } else { Beyond::OfLines };
        (!self.class.beyond || self.store.beyond(state, to) == same).then_some(to)
    }

    /// How many characters the tokens of the class alone may have, and the nodes of the trie at which other tokens
    /// leave the class, with where they lead, and those at which the frame may be complete before; `None` if a walk is the
    /// better way.
    pub(super) fn leave(&mut self, classes: &Classes, trie: &Trie) -> Option<(u32, Leaving, Vec<u32>)> {
        self.state(1);
        if !self.endless {
            self.state(classes.longest(self.class) + 1);
        }
        let limit = if self.ended { self.states.len() as u32 - 1 } else { u32::MAX };
        let mut leaving = 0u128;
        let may_end = self
            .states
            .iter()
            .enumerate()
            .any(|(chars, &state)| (chars > 0 || self.states.len() == 1) && self.store.nullable(state));
        let exits = if may_end { self.exits(classes)? } else { Vec::new() };
        for &state in &self.states {
            for edge in self.store.row(state).edges.iter().filter(|e| self.store.alive(e.to)) {
                // What is beyond the class is no way out, and a special token is in no class.
                if (edge.hi >= 0x80 && !self.class.beyond) || Vocabulary::is_special(&[edge.hi]) {
                    return None;
                }
                leaving |= if edge.lo < 0x80 { span(edge.lo, edge.hi.min(0x7F)) } else { 0 };
            }
        }
        let mut out: Leaving = Vec::new();
        if self.ended {
            let last = self.states[limit as usize];
            if self.store.row(last).edges.iter().any(|e| e.hi >= 0x80 && self.store.alive(e.to)) {
                return None;
            }
            let on = self.store.row(last).edges.iter().filter(|e| e.lo < 0x80 && self.store.alive(e.to));
            let on = on.map(|e| (span(e.lo, e.hi.min(0x7F)), e.to)).filter(|(set, _)| set & self.class.ascii != 0);
            for (set, to) in on {
                let mut nodes = Vec::new();
                self.reach(trie, ROOT, limit, set & self.class.ascii, &mut nodes)?;
                out.push((to, nodes));
            }
        }
        leaving &= !self.class.ascii;
        if leaving & LETTERS != 0 {
            return None;
        }
        for b in (0..128u8).filter(|b| leaving >> b & 1 == 1) {
            let mut by_chars: Vec<Vec<Child>> = Vec::new();
            for at in classes.entered[usize::from(b)].iter().filter(|at| self.class.has(at.before)) {
                if by_chars.len() <= at.chars as usize {
                    by_chars.resize(at.chars as usize + 1, Vec::new());
                }
                by_chars[at.chars as usize].push(at.node);
            }
            for (chars, nodes) in by_chars.into_iter().enumerate().filter(|(_, nodes)| !nodes.is_empty()) {
                let Some(state) = self.state(chars as u32) else { break };
                let to = self.store.step(state, b);
                if !self.store.alive(to) {
                    continue;
                }
                match out.iter_mut().find(|(known, _)| *known == to) {
                    Some((_, all)) => all.extend(nodes),
                    None => out.push((to, nodes)),
                }
            }
        }
        Some((limit, out, exits))
    }

    /// The nodes entered by one of some bytes after so many characters of the class.
    fn reach(&self, trie: &Trie, node: u32, chars: u32, then: u128, out: &mut Vec<Child>) -> Option<()> {
        for next in trie.children(node) {
            let (b, child) = (next.byte(), next.node());
            if chars == 0 {
                if b < 0x80 && then >> b & 1 == 1 {
                    out.push(*next);
                }
            } else if b >= 0x80 {
                if self.class.beyond {
                    return None;
                }
            } else if self.class.ascii >> b & 1 == 1 && enough(trie.shape(child), chars - 1) {
                self.reach(trie, child, chars - 1, then, out)?;
            }
        }
        Some(())
    }
}

/// Whether some token below has more than so many characters.
fn enough(shape: &Shape, chars: u32) -> bool {
    shape.chars == 255 || u32::from(shape.chars) > chars
}

/// Where characters of a class lead a state, if it is one place.
pub(super) type ChainSteps = Memo<(ExprId, Class), Option<ExprId>>;
