//! The token bitmask as a Python object, and its application to logits.

use std::ffi::c_int;

use fairlead_core::mask::apply::{apply_bf16, apply_f16, apply_f32};
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::buffers::{LogitsRow, SharedWords, extends, for_each_masked_row, read_ids};

/// A batch of token bitmasks: int32, shape ``(batch, ceil(vocab_size / 32))``, bit 1 = allowed, all bits 0 at first.
///
/// Exports the buffer protocol, writable and without a copy: ``numpy.asarray(bitmask)``, ``memoryview(bitmask)`` and
/// ``torch.frombuffer(bitmask, dtype=torch.int32)`` see what the matchers write.
#[pyclass(frozen, module = "fairlead._core")]
pub(crate) struct TokenBitmask {
    words: SharedWords,
    vocab_size: usize,
}

impl TokenBitmask {
    /// The memory.
    pub(crate) fn words(&self) -> &SharedWords {
        &self.words
    }

    fn allocate(batch: usize, vocab_size: usize) -> PyResult<Self> {
        if vocab_size == 0 {
            return Err(PyValueError::new_err("vocab_size must be at least 1"));
        }
        Ok(Self { words: SharedWords::new(batch, vocab_size.div_ceil(32))?, vocab_size })
    }
}

#[pymethods]
impl TokenBitmask {
    #[new]
    fn new(batch: usize, vocab_size: usize) -> PyResult<Self> {
        Self::allocate(batch, vocab_size)
    }

    /// The shape, ``(batch, ceil(vocab_size / 32))``.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        self.words.shape()
    }

    /// The number of tokens that a row has bits for.
    #[getter]
    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// A numpy array of dtype int32 on the same memory.
    fn numpy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let numpy = slf.py().import("numpy")?;
        numpy.call_method1("asarray", (slf,))
    }

    /// Sets every bit of one row, or of all rows: everything allowed.
    #[pyo3(signature = (index = None))]
    fn fill_ones(&self, index: Option<usize>) -> PyResult<()> {
        let rows = match index {
            Some(index) => index..index.saturating_add(1),
            None => 0..self.words.shape().0,
        };
        let spare = self.vocab_size % 32;
        for index in rows {
            self.words.write(index, |row| {
                row.fill(u32::MAX);
                // Bits beyond the vocabulary stay 0.
                if let (Some(last), true) = (row.last_mut(), spare > 0) {
                    *last = (1 << spare) - 1;
                }
            })?;
        }
        Ok(())
    }

    fn __len__(&self) -> usize {
        self.words.shape().0
    }

    fn __repr__(&self) -> String {
        format!("TokenBitmask(batch={}, vocab_size={})", self.words.shape().0, self.vocab_size)
    }

    #[allow(unsafe_code)] // the slot's signature; what is unsafe about it stands in `buffers`
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.clone();
        // SAFETY: the interpreter passes a valid view; the words belong to `slf`, which becomes the view's owner.
        unsafe { this.get().words.export(slf.into_any(), view, flags) }
    }
}

/// A fresh [`TokenBitmask`] of ``batch`` rows for a vocabulary of ``vocab_size`` tokens, all bits 0.
#[pyfunction]
pub(crate) fn allocate_token_bitmask(batch: usize, vocab_size: usize) -> PyResult<TokenBitmask> {
    TokenBitmask::allocate(batch, vocab_size)
}

/// Sets the logits of all tokens that the bitmask doesn't allow to negative infinity, in place.
///
/// Args:
///     logits: Shape ``(batch, vocab)`` or ``(vocab,)``; a writable array of float32 or float16, or a CPU torch tensor of
///         float32, float16 or bfloat16. Rows may be strided. Logits beyond the bitmask are masked.
///     bitmask: Shape ``(batch, words)`` or ``(words,)``, int32: a TokenBitmask, an array or a CPU torch tensor.
///     indices: The rows to mask, of both; None means all, and then the batches must be equally large.
///
/// Raises:
///     TypeError: Elements of another type.
///     ValueError: Another shape or layout, read-only memory, another device.
///     IndexError: An index outside of either batch.
#[pyfunction]
#[pyo3(signature = (logits, bitmask, indices = None))]
pub(crate) fn apply_token_bitmask(
    logits: &Bound<'_, PyAny>,
    bitmask: &Bound<'_, PyAny>,
    indices: Option<Vec<usize>>,
) -> PyResult<()> {
    for_each_masked_row(logits, bitmask, indices.as_deref(), |row, mask| match row {
        LogitsRow::F32(row) => apply_f32(row, mask),
        LogitsRow::F16(row) => apply_f16(row, mask),
        LogitsRow::BF16(row) => apply_bf16(row, mask),
    })
}

/// The token ids of each row from column ``start`` on, as lists: much quicker than slicing a tensor.
///
/// Args:
///     input_ids: Shape ``(rows, length)`` or ``(length,)``, int64 or int32: a CPU torch tensor or an array.
///     start: The first column.
///
/// Raises:
///     TypeError: Elements of another type.
///     ValueError: Another shape or layout, another device.
#[pyfunction]
pub(crate) fn read_token_ids(input_ids: &Bound<'_, PyAny>, start: usize) -> PyResult<Vec<Vec<i64>>> {
    read_ids(input_ids, start)
}

/// Whether each row of ``input_ids`` begins with the whole row of ``before`` (as :func:`read_token_ids` takes them).
#[pyfunction]
pub(crate) fn extends_token_ids(input_ids: &Bound<'_, PyAny>, before: &Bound<'_, PyAny>) -> PyResult<bool> {
    extends(input_ids, before)
}
