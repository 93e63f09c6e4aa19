//! Rows of memory that Python owns, as Rust slices: the only unsafe code of the crate.
//!
//! A token bitmask comes as our own [`TokenBitmask`], as any object with a writable buffer of 32-bit integers (a numpy
//! array), or as a CPU torch tensor, through its `data_ptr()`. Logits come as a writable buffer of 16- or 32-bit floats
//! or as a CPU torch tensor. Rows may be strided, columns may not.
//!
//! Two Rust calls never hold the same row of a [`TokenBitmask`] at once: it counts its readers and writers, and a
//! conflict is a `RuntimeError`. Memory of others has no such counter; like every consumer of the buffer protocol we
//! rely on the caller not to write to a row in one thread while another one uses it.
#![allow(unsafe_code)]
// Sizes of memory that exists fit an isize.
#![allow(clippy::cast_possible_wrap)]

use std::cell::UnsafeCell;
use std::ffi::{CString, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::buffer::{ElementType, PyUntypedBuffer};
use pyo3::exceptions::{PyBufferError, PyIndexError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::bitmask::TokenBitmask;

/// The words of a [`TokenBitmask`], shared with Python through the buffer protocol.
pub(crate) struct SharedWords {
    words: Box<[UnsafeCell<u32>]>,
    /// Per row: the number of readers, or [`WRITER`].
    locks: Box<[AtomicU32]>,
    // `Py_buffer` points at these as long as a view lives; the owner never moves them.
    shape: Box<[ffi::Py_ssize_t; 2]>,
    strides: Box<[ffi::Py_ssize_t; 2]>,
}

const WRITER: u32 = u32::MAX;

// SAFETY: Rust code reaches the words only through `read` and `write`, which hold the row's lock. What Python does
// through an exported view is outside of Rust's reach, as with every exporter.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// `rows` rows of `width` words, all zero.
    pub(crate) fn new(rows: usize, width: usize) -> PyResult<Self> {
        let too_large = || PyValueError::new_err(format!("a bitmask of {rows} rows of {width} words is too large"));
        let count = rows.checked_mul(width).filter(|n| *n <= isize::MAX as usize / 4).ok_or_else(too_large)?;
        let mut words = Vec::new();
        words.try_reserve_exact(count).map_err(|_| too_large())?;
        words.resize_with(count, || UnsafeCell::new(0));
        let signed = |n: usize| ffi::Py_ssize_t::try_from(n).map_err(|_| too_large());
        Ok(Self {
            words: words.into_boxed_slice(),
            locks: std::iter::repeat_with(|| AtomicU32::new(0)).take(rows).collect(),
            shape: Box::new([signed(rows)?, signed(width)?]),
            strides: Box::new([signed(width * 4)?, 4]),
        })
    }

    /// Rows and words of a row.
    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.shape[0].unsigned_abs(), self.shape[1].unsigned_abs())
    }

    fn row(&self, index: usize) -> PyResult<*mut [u32]> {
        let (rows, width) = self.shape();
        check_index(index, rows)?;
        // SAFETY: index < rows, so the row lies inside the allocation. `UnsafeCell<u32>` has the layout of `u32`.
        let start = unsafe { self.words.as_ptr().cast::<u32>().cast_mut().add(index * width) };
        Ok(ptr::slice_from_raw_parts_mut(start, width))
    }

    /// Writes one row.
    pub(crate) fn write<R>(&self, index: usize, f: impl FnOnce(&mut [u32]) -> R) -> PyResult<R> {
        let row = self.row(index)?;
        let _guard = WriteGuard::acquire(&self.locks[index..=index])?;
        // SAFETY: `row` is in bounds, initialised and aligned; the guard makes this the only Rust reference to it.
        Ok(f(unsafe { &mut *row }))
    }

    /// Writes all rows at once.
    fn write_all<R>(&self, f: impl FnOnce(Vec<&mut [u32]>) -> R) -> PyResult<R> {
        let _guard = WriteGuard::acquire(&self.locks)?;
        let rows = (0..self.locks.len())
            // SAFETY: as in `write`; distinct rows do not overlap.
            .map(|index| self.row(index).map(|row| unsafe { &mut *row }))
            .collect::<PyResult<Vec<_>>>()?;
        Ok(f(rows))
    }

    /// Fills a `Py_buffer` with a view of all words.
    ///
    /// # Safety
    /// `view` must be a valid pointer to a `Py_buffer` that the interpreter handed to `bf_getbuffer`, and `self` must
    /// belong to `owner`.
    pub(crate) unsafe fn export(
        &self,
        owner: Bound<'_, PyAny>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no view to fill"));
        }
        let has = |flag: c_int| flags & flag == flag;
        // SAFETY: `view` is valid for writes. The shape and the strides live in boxes of `self`, and `owner`, which the
        // view holds, keeps `self` alive.
        unsafe {
            (*view).buf = self.words.as_ptr().cast_mut().cast::<c_void>();
            (*view).len = self.shape[0] * self.strides[0];
            (*view).itemsize = 4;
            (*view).readonly = 0;
            (*view).ndim = 2;
            (*view).format = if has(ffi::PyBUF_FORMAT) { c"i".as_ptr().cast_mut() } else { ptr::null_mut() };
            (*view).shape = if has(ffi::PyBUF_ND) { self.shape.as_ptr().cast_mut() } else { ptr::null_mut() };
            (*view).strides = if has(ffi::PyBUF_STRIDES) { self.strides.as_ptr().cast_mut() } else { ptr::null_mut() };
            (*view).suboffsets = ptr::null_mut();
            (*view).internal = ptr::null_mut();
            (*view).obj = owner.into_ptr();
        }
        Ok(())
    }
}

struct WriteGuard<'a>(&'a [AtomicU32]);

impl<'a> WriteGuard<'a> {
    fn acquire(locks: &'a [AtomicU32]) -> PyResult<Self> {
        for (held, lock) in locks.iter().enumerate() {
            if lock.compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed).is_err() {
                drop(Self(&locks[..held]));
                return Err(in_use());
            }
        }
        Ok(Self(locks))
    }
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        for lock in self.0 {
            lock.store(0, Ordering::Release);
        }
    }
}

struct ReadGuard<'a>(&'a AtomicU32);

impl<'a> ReadGuard<'a> {
    fn acquire(lock: &'a AtomicU32) -> PyResult<Self> {
        let count = |n: u32| if n >= WRITER - 1 { None } else { Some(n + 1) };
        lock.fetch_update(Ordering::Acquire, Ordering::Relaxed, count).map_err(|_| in_use())?;
        Ok(Self(lock))
    }
}

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

#[cold]
fn in_use() -> PyErr {
    PyRuntimeError::new_err("another thread is using this row of the bitmask")
}

fn check_index(index: usize, rows: usize) -> PyResult<()> {
    if index < rows {
        return Ok(());
    }
    Err(PyIndexError::new_err(format!("row {index} is out of range for a batch of {rows}")))
}

/// What the elements of a row are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dtype {
    Int64,
    Int32,
    Float32,
    Float16,
    BFloat16,
}

impl Dtype {
    fn size(self) -> usize {
        match self {
            Self::Int64 => 8,
            Self::Int32 | Self::Float32 => 4,
            Self::Float16 | Self::BFloat16 => 2,
        }
    }
}

/// What an argument is, for checks and for error messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Mask,
    Logits,
    Ids,
}

impl Role {
    fn admits(self, dtype: Dtype) -> bool {
        match self {
            Self::Mask => dtype == Dtype::Int32,
            Self::Ids => matches!(dtype, Dtype::Int64 | Dtype::Int32),
            Self::Logits => matches!(dtype, Dtype::Float32 | Dtype::Float16 | Dtype::BFloat16),
        }
    }

    fn wanted(self) -> &'static str {
        match self {
            Self::Mask => "int32",
            Self::Ids => "int64 or int32",
            Self::Logits => "float32, float16 or bfloat16",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mask => "the bitmask",
            Self::Logits => "logits",
            Self::Ids => "input_ids",
        })
    }
}

/// Memory of a Python object as rows of equal width. Holding the object keeps the memory.
struct Matrix<'py> {
    start: *mut u8,
    rows: usize,
    width: usize,
    /// Bytes from one row to the next.
    step: isize,
    dtype: Dtype,
    _buffer: Option<PyUntypedBuffer>,
    _owner: Bound<'py, PyAny>,
}

impl<'py> Matrix<'py> {
    /// The rows of a buffer or a torch tensor; one dimension counts as a single row.
    fn new(obj: &Bound<'py, PyAny>, what: Role, writable: bool) -> PyResult<Self> {
        // SAFETY: `obj` is a valid object.
        let rows = if unsafe { ffi::PyObject_CheckBuffer(obj.as_ptr()) } == 1 {
            Self::of_buffer(obj, what, writable)?
        } else {
            Self::of_tensor(obj, what)?
        };
        if !what.admits(rows.dtype) {
            return Err(wrong_dtype(what));
        }
        if rows.width > 0 && rows.rows > 0 && rows.start.align_offset(rows.dtype.size()) != 0 {
            return Err(PyValueError::new_err(format!("{what} is not aligned to its elements")));
        }
        let (step, size) = (rows.step.unsigned_abs(), rows.dtype.size());
        if rows.rows > 1 && !step.is_multiple_of(size) {
            return Err(PyValueError::new_err(format!("{what} is not aligned to its elements")));
        }
        // Rows that overlap would give two exclusive references to one element.
        if writable && rows.rows > 1 && step < rows.width * size {
            return Err(PyValueError::new_err(format!("the rows of {what} overlap")));
        }
        Ok(rows)
    }

    fn of_buffer(obj: &Bound<'py, PyAny>, what: Role, writable: bool) -> PyResult<Self> {
        let buffer = PyUntypedBuffer::get(obj).map_err(|error| {
            let told = PyTypeError::new_err(format!("{what} gives no buffer that can be used: {error}"));
            told.set_cause(obj.py(), Some(error));
            told
        })?;
        if writable && buffer.readonly() {
            return Err(PyValueError::new_err(format!("{what} is read-only")));
        }
        let dtype = match ElementType::from_format(buffer.format()) {
            _ if matches!(buffer.format().to_bytes(), [b'>' | b'!', ..]) && cfg!(target_endian = "little") => None,
            ElementType::SignedInteger { bytes: 4 } | ElementType::UnsignedInteger { bytes: 4 } => Some(Dtype::Int32),
            ElementType::SignedInteger { bytes: 8 } => Some(Dtype::Int64),
            ElementType::Float { bytes: 4 } => Some(Dtype::Float32),
            ElementType::Float { bytes: 2 } => Some(Dtype::Float16),
            _ => None,
        };
        let Some(dtype) = dtype else {
            let format = CString::from(buffer.format());
            return Err(PyTypeError::new_err(format!(
                "{what} has elements of format {format:?}; wanted is {}",
                what.wanted()
            )));
        };
        let (rows, width, step, column) = match (buffer.shape(), buffer.strides()) {
            ([width], [column]) => (1, *width, 0, *column),
            ([rows, width], [step, column]) => (*rows, *width, *step, *column),
            (shape, _) => return Err(wrong_dimensions(what, shape.len())),
        };
        if buffer.suboffsets().is_some() || (width > 1 && column.unsigned_abs() != dtype.size()) || column < 0 {
            return Err(not_contiguous(what));
        }
        let start = buffer.buf_ptr().cast();
        Ok(Self { start, rows, width, step, dtype, _buffer: Some(buffer), _owner: obj.clone() })
    }

    fn of_tensor(obj: &Bound<'py, PyAny>, what: Role) -> PyResult<Self> {
        let py = obj.py();
        let Ok(data_ptr) = obj.getattr(intern!(py, "data_ptr")) else {
            let name = obj.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "{what} must be a TokenBitmask, an array with the buffer protocol or a torch tensor, not {name}"
            )));
        };
        if !obj.getattr(intern!(py, "is_cpu"))?.is_truthy()? {
            return Err(PyValueError::new_err(format!("{what} is a tensor on another device; a CPU tensor is needed")));
        }
        let dtype = torch_dtype(&obj.getattr(intern!(py, "dtype"))?, what)?;
        let shape = obj.getattr(intern!(py, "shape"))?;
        let stride = obj.call_method0(intern!(py, "stride"))?;
        let (rows, width, step, column) = match shape.len()? {
            1 => {
                let ((width,), (column,)) = (shape.extract::<(usize,)>()?, stride.extract::<(isize,)>()?);
                (1, width, 0, column)
            }
            2 => {
                let ((rows, width), (step, column)) =
                    (shape.extract::<(usize, usize)>()?, stride.extract::<(isize, isize)>()?);
                (rows, width, step * dtype.size() as isize, column)
            }
            dimensions => return Err(wrong_dimensions(what, dimensions)),
        };
        if width > 1 && column != 1 {
            return Err(not_contiguous(what));
        }
        let address: usize = data_ptr.call0()?.extract()?;
        if address == 0 && rows * width > 0 {
            return Err(PyValueError::new_err(format!("{what} is a tensor without memory")));
        }
        let start = ptr::with_exposed_provenance_mut(address);
        Ok(Self { start, rows, width, step, dtype, _buffer: None, _owner: obj.clone() })
    }

    fn row(&self, index: usize) -> PyResult<*mut u8> {
        check_index(index, self.rows)?;
        // SAFETY: the exporter promises `rows` rows at this distance; index < rows.
        Ok(unsafe { self.start.offset(self.step * index as isize) })
    }

    /// The row as elements of type `T`; an empty row needs no memory at all.
    fn elements<T>(&self, index: usize) -> PyResult<*mut [T]> {
        let start = self.row(index)?.cast::<T>();
        let start = if self.width == 0 { ptr::dangling_mut() } else { start };
        Ok(ptr::slice_from_raw_parts_mut(start, self.width))
    }

    /// First and last byte of all rows.
    fn span(&self) -> (usize, usize) {
        let first = self.start.addr();
        let last = first.wrapping_add_signed(self.step * self.rows.saturating_sub(1) as isize);
        (first.min(last), first.max(last) + self.width * self.dtype.size())
    }
}

#[cold]
fn wrong_dtype(what: Role) -> PyErr {
    PyTypeError::new_err(format!("{what} must have elements of type {}", what.wanted()))
}

#[cold]
fn wrong_dimensions(what: Role, got: usize) -> PyErr {
    PyValueError::new_err(format!("{what} must have one or two dimensions, not {got}"))
}

#[cold]
fn not_contiguous(what: Role) -> PyErr {
    PyValueError::new_err(format!("the elements of a row of {what} must lie side by side"))
}

fn torch_dtype(dtype: &Bound<'_, PyAny>, what: Role) -> PyResult<Dtype> {
    static KNOWN: PyOnceLock<[(Py<PyAny>, Dtype); 5]> = PyOnceLock::new();
    let py = dtype.py();
    let known = KNOWN.get_or_try_init(py, || {
        // The object is a tensor, so torch is loaded: this import loads nothing.
        let torch = py.import("torch")?;
        let pair = |name: &str, dtype| PyResult::Ok((torch.getattr(name)?.unbind(), dtype));
        PyResult::Ok([
            pair("int32", Dtype::Int32)?,
            pair("int64", Dtype::Int64)?,
            pair("float32", Dtype::Float32)?,
            pair("bfloat16", Dtype::BFloat16)?,
            pair("float16", Dtype::Float16)?,
        ])
    })?;
    known
        .iter()
        .find(|(known, _)| known.is(dtype))
        .map(|(_, dtype)| *dtype)
        .ok_or_else(|| PyTypeError::new_err(format!("{what} has dtype {dtype}; wanted is {}", what.wanted())))
}

fn check_words(have: usize, words: usize) -> PyResult<()> {
    if have >= words {
        return Ok(());
    }
    Err(PyValueError::new_err(format!("the bitmask has {have} words a row, the vocabulary needs {words}")))
}

fn clear_tail(row: &mut [u32], words: usize) -> &mut [u32] {
    let (head, tail) = row.split_at_mut(words);
    tail.fill(0);
    head
}

/// Lets `f` write one row of a token bitmask.
///
/// `f` gets exactly `words` words. A row that is longer (a bitmask made for a padded vocabulary) has its further words
/// set to 0 first, so that every word of the row is written.
///
/// A row of fewer words is a `ValueError`, an index outside the batch an `IndexError`, memory of another kind a
/// `TypeError` or a `ValueError`.
pub(crate) fn with_mask_row<R>(
    obj: &Bound<'_, PyAny>,
    index: usize,
    words: usize,
    f: impl FnOnce(&mut [u32]) -> R,
) -> PyResult<R> {
    if let Ok(own) = obj.cast_exact::<TokenBitmask>() {
        let own = own.get().words();
        check_words(own.shape().1, words)?;
        return own.write(index, |row| f(clear_tail(row, words)));
    }
    let rows = Matrix::new(obj, Role::Mask, true)?;
    check_words(rows.width, words)?;
    // SAFETY: the row is in bounds, aligned and writable (checked by `Matrix`), and `rows` keeps its memory.
    let row = unsafe { &mut *rows.elements::<u32>(index)? };
    Ok(f(clear_tail(row, words)))
}

/// Lets `f` write all rows of a token bitmask, each cut to `words` words as in [`with_mask_row`].
///
/// The slices may go to other threads; `f` may detach from the interpreter.
pub(crate) fn with_mask_rows<R>(
    obj: &Bound<'_, PyAny>,
    words: usize,
    f: impl FnOnce(Vec<&mut [u32]>) -> R,
) -> PyResult<R> {
    if let Ok(own) = obj.cast_exact::<TokenBitmask>() {
        let own = own.get().words();
        check_words(own.shape().1, words)?;
        return own.write_all(|rows| f(rows.into_iter().map(|row| clear_tail(row, words)).collect()));
    }
    let rows = Matrix::new(obj, Role::Mask, true)?;
    check_words(rows.width, words)?;
    let slices = (0..rows.rows)
        // SAFETY: as in `with_mask_row`; `Matrix` has checked that rows do not overlap.
        .map(|index| Ok(clear_tail(unsafe { &mut *rows.elements::<u32>(index)? }, words)))
        .collect::<PyResult<Vec<_>>>()?;
    Ok(f(slices))
}

/// A row of logits.
pub(crate) enum LogitsRow<'a> {
    /// Single precision.
    F32(&'a mut [f32]),
    /// Half precision, as bit patterns.
    F16(&'a mut [u16]),
    /// bfloat16, as bit patterns.
    BF16(&'a mut [u16]),
}

/// A batch of token bitmasks that is only read.
enum MaskSource<'a, 'py> {
    Own(&'a SharedWords),
    Foreign(Matrix<'py>),
}

impl MaskSource<'_, '_> {
    fn rows(&self) -> usize {
        match self {
            Self::Own(own) => own.shape().0,
            Self::Foreign(rows) => rows.rows,
        }
    }

    fn span(&self) -> (usize, usize) {
        match self {
            Self::Own(own) => {
                let range = own.words.as_ptr_range();
                (range.start.addr(), range.end.addr())
            }
            Self::Foreign(rows) => rows.span(),
        }
    }

    fn row(&self, index: usize) -> PyResult<(*const [u32], Option<ReadGuard<'_>>)> {
        match self {
            Self::Own(own) => {
                let row = own.row(index)?;
                Ok((row.cast_const(), Some(ReadGuard::acquire(&own.locks[index])?)))
            }
            Self::Foreign(rows) => Ok((rows.elements::<u32>(index)?.cast_const(), None)),
        }
    }
}

/// Calls `f` with each row of logits and the row of the bitmask that belongs to it, detached from the interpreter.
///
/// `indices` picks rows, the same ones of both; without it the batches must be equally large.
pub(crate) fn for_each_masked_row(
    logits: &Bound<'_, PyAny>,
    bitmask: &Bound<'_, PyAny>,
    indices: Option<&[usize]>,
    f: impl Fn(LogitsRow<'_>, &[u32]) + Sync,
) -> PyResult<()> {
    let logits_rows = Matrix::new(logits, Role::Logits, true)?;
    let masks = match bitmask.cast_exact::<TokenBitmask>() {
        Ok(own) => MaskSource::Own(own.get().words()),
        Err(_) => MaskSource::Foreign(Matrix::new(bitmask, Role::Mask, false)?),
    };
    if indices.is_none() && logits_rows.rows != masks.rows() {
        return Err(PyValueError::new_err(format!(
            "logits have {} rows, the bitmask has {}; pass indices to mask some rows only",
            logits_rows.rows,
            masks.rows()
        )));
    }
    let ((from, to), (mask_from, mask_to)) = (logits_rows.span(), masks.span());
    if from < mask_to && mask_from < to {
        return Err(PyValueError::new_err("logits and bitmask share memory"));
    }
    let one = |index: usize| -> PyResult<()> {
        let (mask, guard) = masks.row(index)?;
        // SAFETY: both rows are in bounds and aligned, the memory is kept by `logits_rows` and `masks`, they do not
        // overlap, and one row of logits is referred to at a time.
        let (row, mask) = unsafe {
            let row = match logits_rows.dtype {
                Dtype::Float32 => LogitsRow::F32(&mut *logits_rows.elements(index)?),
                Dtype::Float16 => LogitsRow::F16(&mut *logits_rows.elements(index)?),
                Dtype::BFloat16 => LogitsRow::BF16(&mut *logits_rows.elements(index)?),
                Dtype::Int64 | Dtype::Int32 => return Err(wrong_dtype(Role::Logits)),
            };
            (row, &*mask)
        };
        logits.py().detach(|| f(row, mask));
        drop(guard);
        Ok(())
    };
    match indices {
        Some(indices) => indices.iter().try_for_each(|&index| one(index)),
        None => (0..logits_rows.rows).try_for_each(one),
    }
}

/// The token ids of a torch tensor of one row on the CPU, read where they lie.
///
/// This is asked for at every step of a generation, so it asks the tensor for no more than it must.
pub(crate) struct OneRow<'py> {
    start: *const u8,
    length: usize,
    dtype: Dtype,
    _owner: Bound<'py, PyAny>,
}

impl<'py> OneRow<'py> {
    /// None if it is anything else.
    pub(crate) fn new(ids: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let py = ids.py();
        let Ok((1, length)) = ids.getattr(intern!(py, "shape"))?.extract::<(usize, usize)>() else { return Ok(None) };
        // A row of a wider tensor is contiguous as well.
        let on_cpu = ids.getattr_opt(intern!(py, "is_cpu"))?.is_some_and(|on_cpu| on_cpu.is_truthy().unwrap_or(false));
        if !on_cpu || !ids.call_method0(intern!(py, "is_contiguous"))?.is_truthy()? {
            return Ok(None);
        }
        let dtype = torch_dtype(&ids.getattr(intern!(py, "dtype"))?, Role::Ids);
        let Ok(dtype @ (Dtype::Int64 | Dtype::Int32)) = dtype else { return Ok(None) };
        let address: usize = ids.call_method0(intern!(py, "data_ptr"))?.extract()?;
        if address == 0 || !address.is_multiple_of(dtype.size()) {
            return Ok(None);
        }
        Ok(Some(Self { start: ptr::with_exposed_provenance(address), length, dtype, _owner: ids.clone() }))
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn get(&self, column: usize) -> Option<i64> {
        if column >= self.length {
            return None;
        }
        // SAFETY: `new` has checked the type of the elements.
        Some(unsafe {
            match self.dtype {
                Dtype::Int32 => i64::from(self.read::<i32>(column)),
                _ => self.read::<i64>(column),
            }
        })
    }

    /// Reads a column in bounds.
    ///
    /// # Safety
    /// The tensor's elements are of type `T`, and there is such a column.
    unsafe fn read<T: Copy>(&self, column: usize) -> T {
        // SAFETY: the tensor is contiguous, aligned, on the CPU and kept by `_owner`.
        unsafe { self.start.cast::<T>().add(column).read() }
    }
}

/// The token ids of each row from column `start` on; of a row with fewer columns none.
///
/// `ids` has shape `(rows, length)`, int64 or int32: an array or a CPU torch tensor.
pub(crate) fn read_ids(ids: &Bound<'_, PyAny>, start: usize) -> PyResult<Vec<Vec<i64>>> {
    let rows = Matrix::new(ids, Role::Ids, false)?;
    let tail = |index: usize| -> PyResult<Vec<i64>> {
        // SAFETY: the row is in bounds and aligned, and `rows` keeps its memory.
        unsafe {
            Ok(match rows.dtype {
                Dtype::Int64 => (&*rows.elements::<i64>(index)?).get(start..).unwrap_or_default().to_vec(),
                Dtype::Int32 => {
                    let row = (&*rows.elements::<i32>(index)?).get(start..).unwrap_or_default();
                    row.iter().map(|&id| i64::from(id)).collect()
                }
                _ => return Err(wrong_dtype(Role::Ids)),
            })
        }
    };
    (0..rows.rows).map(tail).collect()
}

/// Whether each row of `ids` begins with the same row of `before`, element by element.
pub(crate) fn extends(ids: &Bound<'_, PyAny>, before: &Bound<'_, PyAny>) -> PyResult<bool> {
    let (now, then) = (Matrix::new(ids, Role::Ids, false)?, Matrix::new(before, Role::Ids, false)?);
    if now.rows != then.rows || now.dtype != then.dtype || now.width < then.width {
        return Ok(false);
    }
    let bytes = then.width * then.dtype.size();
    for index in 0..then.rows {
        let (a, b) = (now.row(index)?, then.row(index)?);
        // SAFETY: both rows have at least `bytes` bytes, kept by `now` and `then`; an empty one is not read.
        if bytes > 0 && unsafe { std::slice::from_raw_parts(a, bytes) != std::slice::from_raw_parts(b, bytes) } {
            return Ok(false);
        }
    }
    Ok(true)
}
