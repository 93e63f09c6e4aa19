//! Tokens that a grammar names or gives by their ids.

use crate::automata::Store;

/// A token, as grammars write it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Token<'a> {
    Name(&'a str),
    Id(u32),
}

/// What an expression spells a token with: a special token by the bytes that stand for it, any other by its text, which
/// several tokens may write together as well.
///
/// # Errors
/// Says why the vocabulary has no such token that a text could hold.
pub(super) fn spelling(store: &Store, token: Token<'_>) -> Result<Box<[u8]>, String> {
    let Some(vocab) = &store.vocab else { return Err("without a vocabulary there are no tokens".to_owned()) };
    let id = match token {
        Token::Id(id) => id,
        Token::Name(name) => match vocab.special(name) {
            Some(id) => id,
            None if vocab.has_token(name.as_bytes()) => return Ok(name.as_bytes().into()),
            None => return Err(format!("the vocabulary has no token {name:?}")),
        },
    };
    if vocab.stop_ids().binary_search(&id).is_ok() {
        return Err(format!("token {id} ends the text and can't stand in it"));
    }
    match vocab.spelling(id) {
        Some(bytes) if vocab.bytes(id).is_none() || std::str::from_utf8(bytes).is_ok() => Ok(bytes.into()),
        Some(_) => Err(format!("token {id} isn't made of whole characters")),
        None => Err(format!("the vocabulary has no token {id} that writes something or is special")),
    }
}
