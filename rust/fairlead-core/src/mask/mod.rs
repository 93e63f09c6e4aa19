//! Token bitmasks.

pub mod apply;
