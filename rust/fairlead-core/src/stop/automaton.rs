//! All stop sequences as one automaton over bytes.
//!
//! The states are the prefixes of the sequences; the state after some text is its longest suffix that is such a prefix,
//! so a state's depth is the hold-back. Transitions stay sparse and a miss follows failure links, which costs at most
//! one extra step per byte fed, taken over the whole stream: memory is linear in the sequences, whatever their number.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};

/// State of the automaton before any text, and whenever no sequence has begun.
pub(super) const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;
/// Bytes of all sequences together; a state takes about 20 bytes.
const MAX_TOTAL_BYTES: usize = 64 << 20;

/// Stop sequences, compiled. Cheap to clone and safe to share.
#[derive(Clone, Debug)]
pub struct StopSequences {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sequences: Vec<Box<[u8]>>,
    states: Vec<State>,
    /// The root's transitions, by byte.
    start: Box<[u32; 256]>,
    max_len: usize,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// The children of a state are a list: the first one here, the others by `sibling`.
    child: u32,
    sibling: u32,
    /// Where to go on when no child fits: the longest proper suffix that is a state.
    fail: u32,
    depth: u32,
    /// The longest sequence that ends in this state.
    matched: u32,
    /// The byte that leads here from the parent.
    byte: u8,
}

impl StopSequences {
    /// Compiles `sequences`. An empty list is fine and never matches.
    ///
    /// # Errors
    /// An empty sequence is an error of kind [`ErrorKind::StopSequence`], more than 64 MiB of sequences one of kind
    /// [`ErrorKind::Limit`].
    pub fn new<S: AsRef<[u8]>>(sequences: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        let mut inner = Inner {
            sequences: Vec::new(),
            states: vec![State { child: NONE, sibling: NONE, fail: ROOT, depth: 0, matched: NONE, byte: 0 }],
            start: Box::new([ROOT; 256]),
            max_len: 0,
        };
        let mut total = 0_usize;
        for sequence in sequences {
            let sequence = sequence.as_ref();
            let index = inner.sequences.len();
            if sequence.is_empty() {
                let message = format!("stop sequence {index} is empty: it would match before anything is generated");
                return Err(Error::new(ErrorKind::StopSequence, message));
            }
            total = total.saturating_add(sequence.len());
            if total > MAX_TOTAL_BYTES {
                return Err(Error::limit(format!("the stop sequences have more than {MAX_TOTAL_BYTES} bytes")));
            }
            inner.insert(sequence, index as u32);
            inner.max_len = inner.max_len.max(sequence.len());
            inner.sequences.push(sequence.into());
        }
        inner.link();
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The sequences, in the order given.
    pub fn sequences(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.inner.sequences.iter().map(AsRef::as_ref)
    }

    /// The sequence at `index`.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.inner.sequences.get(index).map(AsRef::as_ref)
    }

    /// How many sequences there are.
    pub fn len(&self) -> usize {
        self.inner.sequences.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inner.sequences.is_empty()
    }

    /// Length of the longest sequence in bytes.
    pub fn max_len(&self) -> usize {
        self.inner.max_len
    }

    /// Reads `text` from `state` on, up to the end of the first match: the state reached, and the match as the index of
    /// its sequence and the number of bytes read.
    pub(super) fn run(&self, mut state: u32, text: &[u8]) -> (u32, Option<(usize, usize)>) {
        let inner = &*self.inner;
        let mut read = 0;
        while let Some(&byte) = text.get(read) {
            if state == ROOT {
                // The usual place by far: skip what can't begin a sequence.
                state = inner.start[usize::from(byte)];
            } else {
                state = inner.next(state, byte);
            }
            read += 1;
            if state != ROOT {
                let matched = inner.states[state as usize].matched;
                if matched != NONE {
                    return (state, Some((matched as usize, read)));
                }
            }
        }
        (state, None)
    }

    /// Length of the longest suffix of what was read that is a prefix of a sequence.
    pub(super) fn depth(&self, state: u32) -> usize {
        self.inner.states[state as usize].depth as usize
    }
}

impl Inner {
    fn insert(&mut self, sequence: &[u8], index: u32) {
        let mut state = ROOT;
        for &byte in sequence {
            let child = if state == ROOT { self.start[usize::from(byte)] } else { self.child(state, byte) };
            // ROOT is nobody's child: as an entry of `start` it means that there is none.
            state = if child == NONE || child == ROOT { self.add(state, byte) } else { child };
        }
        let matched = &mut self.states[state as usize].matched;
        // Of equal sequences the first counts.
        if *matched == NONE {
            *matched = index;
        }
    }

    fn add(&mut self, parent: u32, byte: u8) -> u32 {
        let id = self.states.len() as u32;
        let State { child: sibling, depth, .. } = self.states[parent as usize];
        self.states.push(State { child: NONE, sibling, fail: ROOT, depth: depth + 1, matched: NONE, byte });
        self.states[parent as usize].child = id;
        if parent == ROOT {
            self.start[usize::from(byte)] = id;
        }
        id
    }

    fn child(&self, state: u32, byte: u8) -> u32 {
        let mut child = self.states[state as usize].child;
        while child != NONE && self.states[child as usize].byte != byte {
            child = self.states[child as usize].sibling;
        }
        child
    }

    fn next(&self, mut state: u32, byte: u8) -> u32 {
        while state != ROOT {
            let child = self.child(state, byte);
            if child != NONE {
                return child;
            }
            state = self.states[state as usize].fail;
        }
        self.start[usize::from(byte)]
    }

    /// Sets failure links and inherited matches, breadth first: both look at shorter states only.
    fn link(&mut self) {
        let mut queue: VecDeque<u32> = VecDeque::from([ROOT]);
        while let Some(state) = queue.pop_front() {
            let mut child = self.states[state as usize].child;
            while child != NONE {
                let State { byte, sibling, .. } = self.states[child as usize];
                if state != ROOT {
                    let fail = self.next(self.states[state as usize].fail, byte);
                    let inherited = self.states[fail as usize].matched;
                    let entry = &mut self.states[child as usize];
                    entry.fail = fail;
                    // The state's own sequence is longer than any that ends in a suffix of it.
                    if entry.matched == NONE {
                        entry.matched = inherited;
                    }
                }
                queue.push_back(child);
                child = sibling;
            }
        }
    }
}
