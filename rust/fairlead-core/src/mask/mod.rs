//! Token bitmasks: worked out, remembered, and applied to logits.

pub mod apply;
mod entry;
mod space;
mod text;
mod walk;

pub(crate) use entry::{KeyEvent, decoded, opening_quote};
pub(crate) use space::{Parts, Shared, Space};
