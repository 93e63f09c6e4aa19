//! Core errors as the exceptions of `fairlead.errors`.
//!
//! The exceptions are Python classes (native subclassing with fields is not in the stable ABI of 3.11), imported once.

use fairlead_core::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

/// `Result<T, fairlead_core::Error>` as a `PyResult`.
pub(crate) trait OrRaise<T> {
    /// The value, or the matching exception of `fairlead.errors` with its fields.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for Result<T, Error> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| to_py_err(py, &error))
    }
}

/// The exception that says what `error` says.
#[cold]
pub(crate) fn to_py_err(py: Python<'_>, error: &Error) -> PyErr {
    build(py, error).unwrap_or_else(|failure| failure)
}

fn build(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let fields = PyDict::new(py);
    match error.kind() {
        ErrorKind::Grammar => {
            fields.set_item("offset", error.offset())?;
            if let Some((line, column)) = error.line_column() {
                fields.set_item("line", line)?;
                fields.set_item("column", column)?;
            }
        }
        ErrorKind::Schema | ErrorKind::UnsupportedSchema => {
            fields.set_item("pointer", error.pointer())?;
            fields.set_item("keyword", error.keyword())?;
        }
        _ => {}
    }
    let class = class_of(py, error.kind())?;
    Ok(PyErr::from_value(class.call((error.to_string(),), Some(&fields))?))
}

fn class_of(py: Python<'_>, kind: ErrorKind) -> PyResult<&Bound<'_, PyType>> {
    static GRAMMAR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static SCHEMA: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static UNSUPPORTED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static LIMIT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static TOKENIZER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static STOP: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static ANY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let (cell, name) = match kind {
        ErrorKind::Grammar => (&GRAMMAR, "GrammarError"),
        ErrorKind::Schema => (&SCHEMA, "SchemaError"),
        ErrorKind::UnsupportedSchema => (&UNSUPPORTED, "UnsupportedSchemaError"),
        ErrorKind::Limit => (&LIMIT, "LimitExceeded"),
        ErrorKind::Vocabulary => (&TOKENIZER, "TokenizerError"),
        ErrorKind::StopSequence => (&STOP, "StopSequenceError"),
        _ => (&ANY, "FairleadError"),
    };
    cell.import(py, "fairlead.errors", name)
}
