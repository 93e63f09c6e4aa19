//! `StopSequenceMatcher`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fairlead_core::stop::{StopSequences, StopStream};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyList, PyString};

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
