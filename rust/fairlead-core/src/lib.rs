//! Constrained decoding and stop-sequence matching: the pure Rust core of fairlead.
//!
//! A [`Vocabulary`] has the bytes of every token of a model. A [`Compiler`] lowers a [`Grammar`] for it, and a
//! [`GrammarMatcher`] follows one text: before each token it says which may come next, one bit each, and after each it
//! is told which came.
//!
//! ```
//! use std::sync::Arc;
//!
//! use fairlead_core::{Compiler, CompilerOptions, Grammar, GrammarMatcher, Vocabulary};
//!
//! // The bytes of each id; special tokens have none. Id 6 ends a text.
//! let tokens = ["{\"", "ok", "\":", "true", "false", "}"].map(|t| Some(Box::from(t.as_bytes())));
//! let tokens: Vec<Option<Box<[u8]>>> = tokens.into_iter().chain([None]).collect();
//! let vocabulary = Arc::new(Vocabulary::new(tokens, vec![6], 7)?);
//!
//! let compiler = Compiler::new(Arc::clone(&vocabulary), CompilerOptions::default());
//! let schema = r#"{"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}"#;
//! let compiled = compiler.compile(&Grammar::json_schema(schema))?;
//!
//! let mut matcher = GrammarMatcher::new(&compiled, None, false);
//! for id in [0, 1, 2] {
//!     assert!(matcher.accept_token(id));
//! }
//! let mut mask = vec![0u32; vocabulary.words()];
//! matcher.fill(&mut mask);
//! assert_eq!(mask, [1 << 3 | 1 << 4]); // only true and false
//! assert!(!matcher.accept_token(5)); // refused, and nothing has changed
//!
//! for id in [4, 5, 6] {
//!     assert!(matcher.accept_token(id));
//! }
//! assert!(matcher.is_terminated());
//! assert!(matcher.rollback(3) && matcher.accept_token(3));
//! assert_eq!(matcher.text(), br#"{"ok":true"#);
//! # Ok::<(), fairlead_core::Error>(())
//! ```
//!
//! A grammar that cannot be used is an [`Error`] of [`Compiler::compile`], with the place that it points to; nothing is
//! first found out at a token. Grammars of one compiler share what they have in common. [`stop`] has the matcher of
//! stop sequences, [`mask::apply`] writes a mask into logits.
//!
//! How it works is described in `DESIGN.md` of the repository; lowest layer first: [`error`], [`limits`], [`automata`]
//! (expressions and stacks), the vocabulary's trie, [`regex`], [`stop`], [`json_schema`], [`mask`], and compiler and
//! matcher on top.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod automata;
mod compile;
pub mod error;
mod grammar;
mod idna;
pub mod json_schema;
pub mod limits;
pub mod mask;
mod matcher;
mod memo;
pub mod regex;
pub mod stop;
mod vocab;

pub use compile::{CompiledGrammar, Compiler, CompilerOptions, Grammar};
pub use error::{Error, ErrorKind};
pub use json_schema::JsonOptions;
pub use limits::Limits;
pub use matcher::{Budget, DraftTree, GrammarMatcher};
pub use vocab::Vocabulary;
