//! Token bitmasks: worked out, remembered, and applied to logits.

pub mod apply;
mod assembly;
mod classes;
mod entry;
mod events;
mod exits;
mod frame_walk;
mod longer;
mod space;
mod text;
mod walk;

pub(crate) use entry::{clear_bits, set_bits};
pub(crate) use events::{decoded, opening_quote};
pub(crate) use exits::{AT_ROOT, ExitsId, NO_EXITS};
pub(crate) use space::{Part, Parts, Shared, Space};
pub(crate) use walk::covers;
