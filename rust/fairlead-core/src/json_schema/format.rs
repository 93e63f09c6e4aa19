//! `format`: the texts that each known format admits.

use crate::automata::{ExprId, Store};
use crate::error::Error;
use crate::limits::Limits;

/// The content of a known format; `None` for one that is only an annotation.
pub(super) fn content(_store: &Store, name: &str, _limits: &Limits) -> Option<Result<ExprId, Error>> {
    let known = [
        "date",
        "time",
        "date-time",
        "duration",
        "email",
        "idn-email",
        "hostname",
        "idn-hostname",
        "ipv4",
        "ipv6",
        "uri",
        "uri-reference",
        "iri",
        "iri-reference",
        "uri-template",
        "uuid",
        "json-pointer",
        "relative-json-pointer",
        "regex",
    ];
    known
        .contains(&name)
        .then(|| Err(Error::unsupported("", "format", format!("the format {name:?} is not supported yet")).clone()))
}
