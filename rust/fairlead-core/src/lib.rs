//! Constrained decoding and stop-sequence matching: the pure Rust core of fairlead.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod automata;
mod compile;
pub mod error;
pub mod json_schema;
pub mod limits;
pub mod mask;
mod matcher;
pub mod regex;
pub mod stop;
mod vocab;

pub use compile::{CompiledGrammar, Compiler, CompilerOptions, Grammar};
pub use error::{Error, ErrorKind};
pub use json_schema::JsonOptions;
pub use limits::Limits;
pub use matcher::GrammarMatcher;
pub use vocab::Vocabulary;
