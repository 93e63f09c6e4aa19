//! The one public error type: what went wrong and where.

use std::fmt;

/// What kind of mistake or limit an [`Error`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A grammar or a regular expression is malformed, or uses what regular expressions here cannot do.
    Grammar,
    /// A JSON Schema is malformed or admits no instance at all.
    Schema,
    /// A JSON Schema uses a constraining keyword that is not supported.
    UnsupportedSchema,
    /// A limit of [`Limits`](crate::Limits) was exceeded.
    Limit,
    /// The vocabulary cannot be used.
    Vocabulary,
    /// Stop sequences that cannot be matched, for example an empty one.
    StopSequence,
}

/// An error with the place it points to, when there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    offset: Option<usize>,
    line_column: Option<(usize, usize)>,
    pointer: Option<String>,
    keyword: Option<String>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(pointer) = &self.pointer {
            write!(f, " (at #{pointer})")?;
        }
        if let Some((line, column)) = self.line_column {
            write!(f, " (line {line}, column {column})")?;
        } else if let Some(offset) = self.offset {
            write!(f, " (at offset {offset})")?;
        }
        Ok(())
    }
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), offset: None, line_column: None, pointer: None, keyword: None }
    }

    /// A malformed grammar or pattern.
    pub fn grammar(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Grammar, message)
    }

    /// A malformed schema, at a JSON pointer.
    pub fn schema(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), ..Self::new(ErrorKind::Schema, message) }
    }

    /// A keyword that constrains and is not supported, at a JSON pointer.
    pub fn unsupported(pointer: impl Into<String>, keyword: &str, message: impl Into<String>) -> Self {
        Self {
            pointer: Some(pointer.into()),
            keyword: Some(keyword.to_owned()),
            ..Self::new(ErrorKind::UnsupportedSchema, message)
        }
    }

    /// A limit that was exceeded.
    pub fn limit(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Limit, message)
    }

    /// The same error, pointing at a byte offset of the pattern.
    #[must_use]
    pub fn at_offset(mut self, offset: usize) -> Self {
        self.offset = Some(offset);
        self
    }

    /// The same error, pointing at a line and a column, both counted from 1.
    #[must_use]
    pub fn at_line(mut self, line: usize, column: usize) -> Self {
        self.line_column = Some((line, column));
        self
    }

    /// The same error, pointing at a JSON pointer unless it has one already.
    #[must_use]
    pub fn at_pointer(mut self, pointer: &str) -> Self {
        self.pointer.get_or_insert_with(|| pointer.to_owned());
        self
    }

    /// The same error, naming a schema keyword unless it has one already.
    #[must_use]
    pub fn with_keyword(mut self, keyword: &str) -> Self {
        self.keyword.get_or_insert_with(|| keyword.to_owned());
        self
    }

    /// The same error, saying first in which part it is, where places are those of that part.
    pub(crate) fn within(mut self, part: &str) -> Self {
        self.message = format!("in {part}: {}", self.message);
        self
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Byte offset in the pattern, if known.
    pub fn offset(&self) -> Option<usize> {
        self.offset
    }

    /// Line and column in the grammar, from 1, if known.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        self.line_column
    }

    /// JSON pointer into the schema, if known; the root is `""`.
    pub fn pointer(&self) -> Option<&str> {
        self.pointer.as_deref()
    }

    /// Schema keyword, if known.
    pub fn keyword(&self) -> Option<&str> {
        self.keyword.as_deref()
    }
}
