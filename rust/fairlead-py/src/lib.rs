//! Python bindings of fairlead: the extension module `fairlead._core`.
//!
//! Conversion, buffers and detaching, nothing else: what is computed is computed in `fairlead-core`. Unsafe code stands
//! in [`buffers`], where the allocator is told what to take, and where a batch is lent to other threads.
#![deny(unsafe_code)]
// Doc comments of Python-visible items are Python docstrings.
#![allow(clippy::doc_markdown)]
// Arguments are converted from Python objects by value.
#![allow(clippy::needless_pass_by_value)]

#[cfg(feature = "mimalloc")]
mod allocator;
mod bitmask;
mod buffers;
mod errors;
mod grammar;
mod images;
mod matcher;
mod messages;
mod stop;
mod vocab;
mod workers;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use crate::bitmask::{
        TokenBitmask, allocate_token_bitmask, apply_token_bitmask, extends_token_ids, read_token_ids,
    };
    #[pymodule_export]
    use crate::grammar::{CompiledGrammar, Compiler, Grammar, unknown_schema_keywords};
    #[pymodule_export]
    use crate::images::{content_hash, encode_png};
    #[pymodule_export]
    use crate::matcher::{GrammarMatcher, fill_batch};
    #[pymodule_export]
    use crate::messages::clean_messages;
    #[pymodule_export]
    use crate::stop::{StopSequenceMatcher, TokenStops};
    #[pymodule_export]
    use crate::vocab::Vocabulary;
}
