//! Interned lazy byte automata: residual expressions, their derivatives, and the stacks made of them.

mod bulk;
pub mod byteset;
mod clamp;
mod counted;
mod distinct;
mod elements;
mod expr;
mod frame;
mod interner;
mod label;
mod lengths;
mod loosen;
mod members;
mod number;
mod row;
mod shortest;
mod stack;
mod store;
mod text;

pub(crate) use bulk::{Beyond, Bulk, FreeText};
pub use byteset::ByteSet;
pub(crate) use counted::Kinds;
pub use counted::{Choices, CountedSpec, Tally};
pub use distinct::{DistinctItem, DistinctSpec, DistinctValue};
pub use elements::ElementsSpec;
pub use expr::{ExprId, RuleId, UNBOUNDED};
pub(crate) use expr::{Node, Slice};
pub(crate) use frame::Target;
pub(crate) use label::BegunLabels;
pub use members::{Declared, Fulfilment, Layout, MembersSpec, Undeclared};
pub(crate) use members::{GoesOn, members_owed};
pub use number::{Bound, Decimal, NumberRange};
pub(crate) use stack::{Height, Keys, Link, Stack, Top, Tops};
pub(crate) use store::FINAL;
pub use store::{EMPTY, EPS, Store};
pub(crate) use text::Spelling;
