//! Constrained decoding and stop-sequence matching: the pure Rust core of fairlead.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod error;
pub mod limits;
pub mod mask;
pub mod stop;

pub use error::{Error, ErrorKind};
pub use limits::Limits;
