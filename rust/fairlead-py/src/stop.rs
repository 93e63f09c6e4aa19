//! `StopSequenceMatcher`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fairlead_core::stop::{StopSequences, StopStream};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::buffers::OneRow;
use crate::errors::OrRaise;

/// Finds where a stream of text must end.
///
/// The match that is completed first wins; of those completed at the same character the longest. Text is handed on at
/// once, except for exactly the longest suffix that is a proper prefix of a sequence and for an unfinished character.
/// Sequences are literal text. Safe to use from several threads; one generation needs one matcher (see ``fork``).
///
/// Args:
///     stop_sequences: Texts (or bytes) that end the text; an empty list never matches, None is an empty list.
///     include_stop: Whether the matched sequence is handed on; default False.
///
/// Raises:
///     StopSequenceError: A sequence is empty.
#[pyclass(frozen, module = "fairlead._core")]
pub(crate) struct StopSequenceMatcher {
    /// The sequences as given: `str` or `bytes`.
    given: Arc<Py<PyList>>,
    include_stop: bool,
    state: Mutex<State>,
}

#[derive(Clone)]
struct State {
    stream: StopStream,
    /// Whether the last piece fed was text.
    text: bool,
}

impl StopSequenceMatcher {
    /// The state, locked. A thread that must wait detaches meanwhile, so that the holder can't wait for it in turn;
    /// nobody calls into Python while holding it.
    fn state<'a>(&'a self, py: Python<'_>) -> MutexGuard<'a, State> {
        self.state.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads bytes of which nobody wants to see what can be shown; whether a sequence has been found.
    fn read(&self, py: Python<'_>, bytes: &[u8]) -> bool {
        let state = &mut *self.state(py);
        state.text = false;
        state.stream.feed(bytes);
        state.stream.matched().is_some()
    }

    /// Feeds `bytes`, which are what `piece` says; a piece that passes whole comes back as the same object.
    fn step<'py>(&self, piece: &Bound<'py, PyAny>, bytes: &[u8], text: bool) -> PyResult<Bound<'py, PyAny>> {
        let out = {
            let state = &mut *self.state(piece.py());
            state.text = text;
            let emitted = state.stream.feed(bytes);
            if emitted.held.is_empty() && emitted.chunk.len() == bytes.len() {
                Output::Same
            } else {
                Output::Bytes(emitted.to_vec())
            }
        };
        match out {
            Output::Same => Ok(piece.clone()),
            Output::Bytes(bytes) => output(piece.py(), text, &bytes),
        }
    }
}

/// Text that UTF-8 can't express (lone surrogates, which providers produce by cutting a pair) passes through as is.
const SURROGATES: &str = "surrogatepass";

fn encode<'py>(text: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyBytes>> {
    let py = text.py();
    Ok(text.call_method1(intern!(py, "encode"), (intern!(py, "utf-8"), SURROGATES))?.cast_into()?)
}

fn text_of<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if bytes.is_empty() {
        return Ok(intern!(py, "").clone().into_any());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok(PyString::new(py, text).into_any());
    }
    let bytes = PyBytes::new(py, bytes);
    let decode = intern!(py, "decode");
    bytes
        .call_method1(decode, (intern!(py, "utf-8"), SURROGATES))
        .or_else(|_| bytes.call_method1(decode, (intern!(py, "utf-8"), "replace")))
}

/// What a step brought out, taken along from under the lock: making Python objects may run any Python code.
enum Output {
    /// The piece that was fed, whole.
    Same,
    /// Anything else.
    Bytes(Vec<u8>),
}

fn output<'py>(py: Python<'py>, text: bool, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if text { text_of(py, bytes) } else { Ok(PyBytes::new(py, bytes).into_any()) }
}

#[pymethods]
impl StopSequenceMatcher {
    #[new]
    #[pyo3(signature = (stop_sequences, *, include_stop = false))]
    fn new(py: Python<'_>, stop_sequences: Option<&Bound<'_, PyAny>>, include_stop: bool) -> PyResult<Self> {
        let given = PyList::empty(py);
        let mut sequences: Vec<Vec<u8>> = Vec::new();
        if let Some(stop_sequences) = stop_sequences {
            if stop_sequences.is_instance_of::<PyString>() || stop_sequences.is_instance_of::<PyBytes>() {
                return Err(PyTypeError::new_err("stop_sequences is a list of sequences, not a single one"));
            }
            for sequence in stop_sequences.try_iter()? {
                let sequence = sequence?;
                if let Ok(text) = sequence.cast::<PyString>() {
                    sequences.push(encode(text)?.as_bytes().to_vec());
                } else if let Ok(bytes) = sequence.cast::<PyBytes>() {
                    sequences.push(bytes.as_bytes().to_vec());
                } else {
                    let name = sequence.get_type().name()?;
                    return Err(PyTypeError::new_err(format!("a stop sequence is a str or bytes, not {name}")));
                }
                given.append(sequence)?;
            }
        }
        let sequences = StopSequences::new(sequences).or_raise(py)?;
        let stream = StopStream::new(sequences).include_stop(include_stop);
        Ok(Self { given: Arc::new(given.unbind()), include_stop, state: Mutex::new(State { stream, text: true }) })
    }

    /// Reads a piece of text and returns what can be shown now, of the type that was fed.
    ///
    /// Text fed after a match is dropped.
    fn feed<'py>(&self, text: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(string) = text.cast::<PyString>() {
            if let Ok(utf8) = string.to_str() {
                return self.step(text, utf8.as_bytes(), true);
            }
            let encoded = encode(string)?;
            return self.step(text, encoded.as_bytes(), true);
        }
        let Ok(bytes) = text.cast::<PyBytes>() else {
            return Err(PyTypeError::new_err(format!("feed takes str or bytes, not {}", text.get_type().name()?)));
        };
        self.step(text, bytes.as_bytes(), false)
    }

    /// Ends the text: returns what was held back, of the type that was fed last. An unfinished character comes out as
    /// U+FFFD in text. What is fed later is read like the beginning of a text.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (text, rest) = {
            let state = &mut *self.state(py);
            (state.text, state.stream.finish().to_vec())
        };
        output(py, text, &rest)
    }

    /// Whether a stop sequence was found.
    #[getter]
    fn matched(&self, py: Python<'_>) -> bool {
        self.state(py).stream.matched().is_some()
    }

    /// The sequence that was found, as it was given; None before.
    #[getter]
    fn stop_sequence<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let found = self.state(py).stream.matched();
        found.map(|found| self.given.bind(py).get_item(found.sequence)).transpose()
    }

    /// The index of the sequence that was found; None before.
    #[getter]
    fn stop_index(&self, py: Python<'_>) -> Option<usize> {
        self.state(py).stream.matched().map(|found| found.sequence)
    }

    /// Where the occurrence begins and ends, in bytes of UTF-8 since the beginning or the last reset; None before.
    #[getter]
    fn match_span(&self, py: Python<'_>) -> Option<(usize, usize)> {
        self.state(py).stream.matched().map(|found| (found.start, found.end))
    }

    /// Where the occurrence begins, in characters since the beginning or the last reset; None before.
    #[getter]
    fn match_start_char(&self, py: Python<'_>) -> Option<usize> {
        self.state(py).stream.matched().map(|found| found.start_char)
    }

    /// What is withheld now, of the type that was fed last.
    #[getter]
    fn held_back<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (text, held) = {
            let state = &*self.state(py);
            (state.text, state.stream.held_back().to_vec())
        };
        output(py, text, &held)
    }

    /// Bytes read so far, those behind a match not counted.
    #[getter]
    fn position(&self, py: Python<'_>) -> usize {
        self.state(py).stream.position()
    }

    /// Characters handed on or withheld so far: those of the text before a match.
    #[getter]
    fn position_char(&self, py: Python<'_>) -> usize {
        self.state(py).stream.position_char()
    }

    /// The stop sequences as given.
    #[getter]
    fn stop_sequences<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let given = self.given.bind(py);
        given.get_slice(0, given.len()).cast_into().map_err(Into::into)
    }

    /// Whether the matched sequence is handed on.
    #[getter]
    fn include_stop(&self) -> bool {
        self.include_stop
    }

    /// Forgets all that was fed.
    fn reset(&self, py: Python<'_>) {
        let state = &mut *self.state(py);
        state.stream.reset();
        state.text = true;
    }

    /// An independent matcher in the same state; the compiled sequences are shared.
    fn fork(&self, py: Python<'_>) -> Self {
        let state = self.state(py).clone();
        Self { given: Arc::clone(&self.given), include_stop: self.include_stop, state: Mutex::new(state) }
    }

    fn __copy__(&self, py: Python<'_>) -> Self {
        self.fork(py)
    }

    fn __deepcopy__(&self, memo: &Bound<'_, PyAny>) -> Self {
        self.fork(memo.py())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let include = if self.include_stop { "True" } else { "False" };
        Ok(format!("StopSequenceMatcher({}, include_stop={include})", self.given.bind(py).repr()?))
    }
}

/// Reads the token ids of one row for a :class:`StopSequenceMatcher`, by the bytes that they write.
///
/// Args:
///     matcher: What reads the bytes.
///     table: The bytes of each id, None for those that write nothing; ids beyond its end write nothing either.
///     stop_token_ids: Ids that end the row by themselves.
#[pyclass(frozen, module = "fairlead._core")]
pub(crate) struct TokenStops {
    matcher: Py<StopSequenceMatcher>,
    table: Arc<Py<PyList>>,
    stop_token_ids: Arc<[i64]>,
    progress: Mutex<Progress>,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    /// Generated tokens up to and with the one that ended the row.
    tokens: usize,
    /// Columns read, prompt included, and the id in the last of them.
    columns: usize,
    last: i64,
    stopped: bool,
    token_id: Option<i64>,
}

impl TokenStops {
    fn progress<'a>(&'a self, py: Python<'_>) -> MutexGuard<'a, Progress> {
        self.progress.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads ids up to the one that ends the row.
    fn read(&self, py: Python<'_>, progress: &mut Progress, ids: impl Iterator<Item = i64>) {
        let table = self.table.bind(py);
        for id in ids {
            if progress.stopped {
                return;
            }
            progress.tokens += 1;
            if self.stop_token_ids.contains(&id) {
                progress.stopped = true;
                progress.token_id = Some(id);
            } else if let Ok(index) = usize::try_from(id)
                && let Ok(written) = table.get_item(index)
                && let Ok(bytes) = written.cast::<PyBytes>()
            {
                progress.stopped = self.matcher.get().read(py, bytes.as_bytes());
            }
        }
    }
}

#[pymethods]
impl TokenStops {
    #[new]
    fn new(matcher: Py<StopSequenceMatcher>, table: Py<PyList>, stop_token_ids: Vec<i64>) -> Self {
        let progress = Mutex::new(Progress::default());
        Self { matcher, table: Arc::new(table), stop_token_ids: stop_token_ids.into(), progress }
    }

    /// Reads new ids; whether the row has stopped. Those behind a stop are dropped.
    fn push(&self, py: Python<'_>, token_ids: Vec<i64>) -> bool {
        let progress = &mut *self.progress(py);
        self.read(py, progress, token_ids.into_iter());
        progress.stopped
    }

    /// Marks that everything in ``input_ids``, shape ``(1, length)``, was read; whether its memory can be.
    fn begin(&self, input_ids: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Some(row) = OneRow::new(input_ids)? else { return Ok(false) };
        let progress = &mut *self.progress(input_ids.py());
        progress.columns = row.len();
        progress.last = row.get(row.len().wrapping_sub(1)).unwrap_or(-1);
        Ok(progress.columns > 0)
    }

    /// Reads what ``input_ids``, shape ``(1, length)``, has behind what was read before.
    ///
    /// Returns:
    ///     Whether the row has stopped. None if this is no continuation (shorter, another id where the last one was,
    ///     several new ids after the end), or no CPU tensor of one row: nothing was read then.
    fn follow(&self, input_ids: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
        let Some(row) = OneRow::new(input_ids)? else { return Ok(None) };
        let py = input_ids.py();
        let progress = &mut *self.progress(py);
        let (columns, length) = (progress.columns, row.len());
        if columns == 0
            || length < columns
            || row.get(columns - 1) != Some(progress.last)
            || (progress.stopped && length > columns + 1)
        {
            return Ok(None);
        }
        if length > columns {
            self.read(py, progress, (columns..length).filter_map(|column| row.get(column)));
            progress.columns = length;
            progress.last = row.get(length - 1).unwrap_or(-1);
        }
        Ok(Some(progress.stopped))
    }

    /// What reads the bytes.
    #[getter]
    fn matcher(&self, py: Python<'_>) -> Py<StopSequenceMatcher> {
        self.matcher.clone_ref(py)
    }

    /// Generated tokens that were read, up to and with the one that ended the row.
    #[getter]
    fn tokens(&self, py: Python<'_>) -> usize {
        self.progress(py).tokens
    }

    /// The id that ended the row by itself, or None.
    #[getter]
    fn token_id(&self, py: Python<'_>) -> Option<i64> {
        self.progress(py).token_id
    }

    /// An independent row in the same state.
    fn fork(&self, py: Python<'_>) -> PyResult<Self> {
        let progress = *self.progress(py);
        Ok(Self {
            matcher: Py::new(py, self.matcher.get().fork(py))?,
            table: Arc::clone(&self.table),
            stop_token_ids: Arc::clone(&self.stop_token_ids),
            progress: Mutex::new(progress),
        })
    }
}
