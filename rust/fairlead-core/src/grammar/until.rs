//! Free text, and texts that end where they are first complete.

use crate::automata::{ByteSet, EMPTY, ExprId, Store};
use crate::error::Error;
use crate::limits::Limits;

fn any_of(store: &Store, texts: &[Box<[u8]>]) -> ExprId {
    store.union(texts.iter().map(|text| store.literal(text)))
}

/// At least one character.
fn some(store: &Store) -> ExprId {
    store.concat(store.scalar(), store.any_text())
}

/// Text without any of these in it.
pub(super) fn without(store: &Store, text: ExprId, excluded: &[Box<[u8]>]) -> ExprId {
    if excluded.is_empty() {
        return text;
    }
    let found = store.sequence(&[store.all, any_of(store, excluded), store.all]);
    store.inter([text, store.not(found)])
}

/// For each of some endings: free text up to where any of them is first complete, ending included, with nothing of what is
/// excluded in it.
pub(super) fn until(store: &Store, free: ExprId, endings: &[Box<[u8]>], excluded: &[Box<[u8]>]) -> Vec<ExprId> {
    // What follows may be a special token, which is no character.
    let more = store.byte_set(ByteSet::range(0, 255));
    let earlier = store.sequence(&[store.all, any_of(store, endings), more, store.all]);
    let excluded = store.sequence(&[store.all, any_of(store, excluded), store.all]);
    let wrong = store.not(store.union([earlier, excluded]));
    endings.iter().map(|ending| store.inter([store.concat(free, store.literal(ending)), wrong])).collect()
}

/// Of the texts of a regular expression those that don't begin with a shorter one: what is read lazily ends where it first can.
pub(super) fn shortest(store: &Store, e: ExprId) -> ExprId {
    let longer = store.concat(store.untimed(e), some(store));
    store.inter([e, store.not(longer)])
}

/// An expression with intersections or complements in it, or [`EMPTY`] if nothing completes it.
///
/// # Errors
/// The search for a text takes too many states.
pub(super) fn searched(store: &Store, e: ExprId, limits: &Limits) -> Result<ExprId, Error> {
    match store.alive_within(e, limits.max_states) {
        Some(alive) => Ok(if alive { e } else { EMPTY }),
        None => Err(Error::limit("whether anything is left of a terminal takes too many states to tell")),
    }
}
