//! `Vocabulary`.

use std::sync::{Arc, OnceLock};

use fairlead_core::Vocabulary as CoreVocabulary;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::OrRaise;

/// The bytes of every token of a tokenizer, as the engine needs them.
///
/// Made by ``fairlead.TokenizerInfo``. Stop tokens are never text, whatever their bytes.
///
/// Args:
///     tokens: The bytes of each token by id; None for special tokens, unused ids and holes.
///     stop_token_ids: The ids that end a text.
///     vocab_size: The number of ids, padding included; default ``len(tokens)``.
///     special_tokens: Ids without text that grammars may name, with their names; a name may be empty.
///
/// Raises:
///     TokenizerError: A stop id or a special token is outside the vocabulary, or the vocabulary is too large.
#[pyclass(frozen, module = "fairlead._core")]
pub(crate) struct Vocabulary {
    pub(crate) core: Arc<CoreVocabulary>,
    fingerprint: OnceLock<String>,
}

impl From<Arc<CoreVocabulary>> for Vocabulary {
    fn from(core: Arc<CoreVocabulary>) -> Self {
        Self { core, fingerprint: OnceLock::new() }
    }
}

#[pymethods]
impl Vocabulary {
    #[new]
    #[pyo3(signature = (tokens, *, stop_token_ids, vocab_size=None, special_tokens=None))]
    fn new(
        py: Python<'_>,
        tokens: Vec<Option<Bound<'_, PyBytes>>>,
        stop_token_ids: Vec<u32>,
        vocab_size: Option<usize>,
        special_tokens: Option<Vec<(u32, String)>>,
    ) -> PyResult<Self> {
        let tokens: Vec<Option<Box<[u8]>>> = tokens.into_iter().map(|t| t.map(|b| b.as_bytes().into())).collect();
        let special = special_tokens.unwrap_or_default().into_iter().map(|(id, name)| (id, name.into()));
        let size = vocab_size.unwrap_or(tokens.len());
        let core = py.detach(|| CoreVocabulary::with_special(tokens, stop_token_ids, size, special)).or_raise(py)?;
        Ok(Arc::new(core).into())
    }

    /// The number of ids, padding included.
    #[getter]
    fn vocab_size(&self) -> usize {
        self.core.size()
    }

    /// The ids that end a text, ascending.
    #[getter]
    fn stop_token_ids(&self) -> Vec<u32> {
        self.core.stop_ids().to_vec()
    }

    /// 64 hexadecimal digits, equal for equal vocabularies: a hash of all bytes, stop ids, and names of special tokens.
    #[getter]
    fn fingerprint(&self, py: Python<'_>) -> String {
        py.detach(|| self.fingerprint.get_or_init(|| fingerprint(&self.core)).clone())
    }

    /// The bytes of a token; None for special tokens, stop tokens, holes and ids outside the vocabulary.
    fn token_bytes<'py>(&self, py: Python<'py>, token_id: u32) -> Option<Bound<'py, PyBytes>> {
        self.core.bytes(token_id).map(|bytes| PyBytes::new(py, bytes))
    }
}

fn fingerprint(core: &CoreVocabulary) -> String {
    let mut hash = blake3::Hasher::new();
    let mut add = |kind: u8, number: u32, bytes: &[u8]| {
        hash.update(&[kind]);
        hash.update(&number.to_le_bytes());
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(0, core.size() as u32, &[]);
    core.stop_ids().iter().for_each(|&id| add(1, id, &[]));
    core.special_tokens().into_iter().for_each(|(id, name)| add(2, id, name.as_bytes()));
    for id in 0..core.size() as u32 {
        if let Some(bytes) = core.bytes(id) {
            add(3, id, bytes);
        }
    }
    hash.finalize().to_hex().to_string()
}
