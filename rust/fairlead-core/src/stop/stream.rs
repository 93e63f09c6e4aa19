//! The state of one generation: what was read, what is held back, whether it has stopped.

use super::automaton::{ROOT, StopSequences};
use super::utf8::unfinished_suffix_len;

/// Where a stop sequence was found. Offsets count from the beginning of the stream or the last reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StopMatch {
    /// Index of the sequence.
    pub sequence: usize,
    /// Byte offset where the occurrence begins: the length of everything before it.
    pub start: usize,
    /// Byte offset where the occurrence ends.
    pub end: usize,
    /// Where the occurrence begins, in characters.
    pub start_char: usize,
}

/// What a chunk brought out: first bytes that had been held back, then bytes of the chunk itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Emitted<'a> {
    /// Bytes held back earlier.
    pub held: &'a [u8],
    /// Bytes of the chunk that was fed.
    pub chunk: &'a [u8],
}

impl Emitted<'_> {
    /// Whether nothing came out.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.chunk.is_empty()
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.held.len() + self.chunk.len()
    }

    /// Both parts in one.
    pub fn to_vec(&self) -> Vec<u8> {
        [self.held, self.chunk].concat()
    }
}

/// The state of one generation over shared [`StopSequences`].
#[derive(Clone, Debug)]
pub struct StopStream {
    sequences: StopSequences,
    include_stop: bool,
    state: u32,
    /// What is withheld now. After `feed` the bytes before `released` are those that it emitted.
    held: Vec<u8>,
    released: usize,
    /// Bytes and characters before `held[released..]`.
    emitted: usize,
    emitted_chars: usize,
    matched: Option<StopMatch>,
}

impl StopStream {
    /// A stream that has read nothing.
    pub fn new(sequences: StopSequences) -> Self {
        Self {
            sequences,
            include_stop: false,
            state: ROOT,
            held: Vec::new(),
            released: 0,
            emitted: 0,
            emitted_chars: 0,
            matched: None,
        }
    }

    /// The same, with the matched sequence emitted (`true`) or not (`false`, the default).
    pub fn include_stop(mut self, include: bool) -> Self {
        self.include_stop = include;
        self
    }

    /// Reads `chunk` and returns what can be emitted now. After a match everything fed is dropped.
    pub fn feed<'a>(&'a mut self, chunk: &'a [u8]) -> Emitted<'a> {
        self.forget_released();
        if self.matched.is_some() {
            return Emitted::default();
        }
        let (state, found) = self.sequences.run(self.state, chunk);
        self.state = state;
        // Everything is counted from the first byte that is held.
        let out = match found {
            Some((sequence, read)) => {
                let length = self.sequences.get(sequence).map_or(0, <[u8]>::len);
                let end = self.held.len() + read;
                let start = end - length;
                self.matched = Some(StopMatch {
                    sequence,
                    start: self.emitted + start,
                    end: self.emitted + end,
                    start_char: self.emitted_chars + self.count_chars(chunk, start),
                });
                if self.include_stop { end } else { start }
            }
            None => self.held.len() + chunk.len() - self.hold_back(chunk),
        };
        if self.held.is_empty() && out == chunk.len() {
            self.emitted += out;
            self.emitted_chars += count_chars(chunk);
            return Emitted { held: &[], chunk };
        }
        self.emitted_chars += self.count_chars(chunk, out);
        self.emitted += out;
        let held = self.held.len();
        if out >= held {
            // All of the old bytes go out, and some of the chunk; the rest of it is kept behind them.
            let emitted = out - held;
            if self.matched.is_none() {
                self.held.extend_from_slice(&chunk[emitted..]);
            }
            self.released = held;
            Emitted { held: &self.held[..held], chunk: &chunk[..emitted] }
        } else {
            if self.matched.is_none() {
                self.held.extend_from_slice(chunk);
            } else {
                self.held.truncate(out);
            }
            self.released = out;
            Emitted { held: &self.held[..out], chunk: &[] }
        }
    }

    /// Ends the text: returns what was held back, an unfinished character included. A match can't reach across; what
    /// is fed later is read like the beginning of a text, with offsets that go on.
    pub fn finish(&mut self) -> Emitted<'_> {
        self.forget_released();
        self.state = ROOT;
        self.released = self.held.len();
        self.emitted += self.held.len();
        self.emitted_chars += count_chars(&self.held);
        Emitted { held: &self.held, chunk: &[] }
    }

    /// Forgets all that was read.
    pub fn reset(&mut self) {
        self.state = ROOT;
        self.held.clear();
        self.released = 0;
        self.emitted = 0;
        self.emitted_chars = 0;
        self.matched = None;
    }

    /// The match, once there is one.
    pub fn matched(&self) -> Option<StopMatch> {
        self.matched
    }

    /// What is withheld now.
    pub fn held_back(&self) -> &[u8] {
        &self.held[self.released..]
    }

    /// Number of bytes read so far, those behind a match not counted.
    pub fn position(&self) -> usize {
        self.matched.map_or(self.emitted + self.held_back().len(), |found| found.end)
    }

    /// Characters emitted or withheld so far; an unfinished one counts.
    pub fn position_char(&self) -> usize {
        self.emitted_chars + count_chars(self.held_back())
    }

    /// The sequences.
    pub fn sequences(&self) -> &StopSequences {
        &self.sequences
    }

    fn forget_released(&mut self) {
        if self.released > 0 {
            self.held.drain(..self.released);
            self.released = 0;
        }
    }

    /// How much of the held bytes and the chunk together must be withheld.
    fn hold_back(&self, chunk: &[u8]) -> usize {
        let prefix = self.sequences.depth(self.state);
        if chunk.last().is_some_and(u8::is_ascii) {
            return prefix;
        }
        // The character at the end may have begun in an earlier chunk, and is then still held.
        let mut end = [0; 3];
        let mut len = 0;
        for &byte in chunk.iter().rev().chain(self.held.iter().rev()).take(3) {
            len += 1;
            end[3 - len] = byte;
        }
        prefix.max(unfinished_suffix_len(&end[3 - len..]))
    }

    /// Characters in the first `len` bytes of the held bytes and the chunk together.
    fn count_chars(&self, chunk: &[u8], len: usize) -> usize {
        let held = len.min(self.held.len());
        count_chars(&self.held[..held]) + count_chars(&chunk[..len - held])
    }
}

/// Characters are counted by their first bytes.
fn count_chars(text: &[u8]) -> usize {
    text.iter().filter(|byte| *byte & 0xC0 != 0x80).count()
}
