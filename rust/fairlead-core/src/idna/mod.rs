//! Internationalised host names: RFC 5890 to 5893, in a part that automata, or a look at one label, can decide.
//!
//! Lowest first: characters by kinds, what may follow what, Punycode, and labels that are written byte by byte.

mod characters;
mod label;
mod punycode;
mod rules;

pub(crate) use characters::Kind;
pub(crate) use label::{Form, Label};
pub(crate) use rules::Side;
#[cfg(test)]
pub(crate) use rules::is_label;
