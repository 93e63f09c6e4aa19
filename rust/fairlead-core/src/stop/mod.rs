//! Stop sequences: finding where a stream of text must end, chunk by chunk.
//!
//! The match that is completed first wins; of those completed at the same byte the longest. Nothing of that occurrence
//! is emitted, unless asked for. Until then everything is emitted at once, except for what may still become part of a
//! match (exactly the longest suffix that is a proper prefix of a sequence) and for an unfinished UTF-8 character. How
//! the text is cut into chunks changes nothing.
//!
//! [`StopSequences`] is compiled once and shared; a [`StopStream`] is the state of one generation.
//!
//! ```
//! use fairlead_core::stop::{StopSequences, StopStream};
//!
//! let mut stream = StopStream::new(StopSequences::new(["</code>"])?);
//! assert_eq!(stream.feed(b"x = 1\n</co").to_vec(), b"x = 1\n");
//! assert_eq!(stream.feed(b"de> and more").to_vec(), b"");
//! assert_eq!(stream.matched().map(|found| (found.sequence, found.start, found.end)), Some((0, 6, 13)));
//! # Ok::<(), fairlead_core::Error>(())
//! ```

mod automaton;
mod stream;
mod utf8;

pub use automaton::StopSequences;
pub use stream::{Emitted, StopMatch, StopStream};
pub use utf8::unfinished_suffix_len;
