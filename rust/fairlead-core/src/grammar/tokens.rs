//! Tokens that a grammar names or gives by their ids.

use crate::automata::{EPS, ExprId, Store, UNBOUNDED};
use crate::vocab::Vocabulary;

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

/// A text without the name of a stop token behind it: where that would come the whole text ends.
pub(super) fn before_stop<'t>(store: &Store, text: &'t str) -> &'t str {
    let Some(vocab) = &store.vocab else { return text };
    let stops = vocab.special_names().filter(|(_, id)| vocab.stop_ids().binary_search(id).is_ok());
    stops.filter_map(|(name, _)| text.strip_suffix(name)).min_by_key(|rest| rest.len()).unwrap_or(text)
}

/// What is left out by leaving out a token; nothing for one that ends the text, which never stands in one.
///
/// # Errors
/// As of [`spelling`], or it isn't special: what it writes, other tokens write together.
fn left_out(store: &Store, token: Token<'_>) -> Result<Option<Box<[u8]>>, String> {
    let stops = store.vocab.as_ref().is_some_and(|vocab| {
        let id = match token {
            Token::Id(id) => Some(id),
            Token::Name(name) => vocab.special(name),
        };
        id.is_some_and(|id| vocab.stop_ids().binary_search(&id).is_ok())
    });
    if stops {
        return Ok(None);
    }
    let spelled = spelling(store, token)?;
    if !Vocabulary::is_special(&spelled) {
        let text = spelled.escape_ascii();
        return Err(format!("only special tokens can be left out: others than this one write \"{text}\" as well"));
    }
    Ok(Some(spelled))
}

/// Any number of tokens, at least so many, that aren't some: text and special tokens other than those.
///
/// # Errors
/// A token that can't be left out.
pub(super) fn any_but<'a>(
    store: &Store,
    excluded: impl IntoIterator<Item = Token<'a>>,
    min: u32,
) -> Result<ExprId, String> {
    let mut gone = Vec::new();
    for token in excluded {
        gone.extend(left_out(store, token)?);
    }
    let special = store.vocab.iter().flat_map(|vocab| vocab.specials());
    let left = special.filter(|&spelled| !gone.iter().any(|g| **g == *spelled));
    let special = store.switch(left.map(|spelled| (spelled.into(), EPS)).collect());
    Ok(store.repeat(store.union([store.scalar(), special]), min, UNBOUNDED))
}

/// One token that is none of some: text that a token writes, by itself or with what stands around, or a special one. Several
/// tokens may write what one does, so it is text of which one token has a part, see [`Store::timed`].
///
/// # Errors
/// A token that can't be left out.
pub(super) fn one_but<'a>(store: &Store, excluded: impl IntoIterator<Item = Token<'a>>) -> Result<ExprId, String> {
    Ok(store.timed(any_but(store, excluded, 1)?, 1))
}

/// The tokens of a terminal at the beginning of a text, and its length: `<name>` for the one of that name, brackets included,
/// `<[id]>` or `<[id,id-id]>` for any of some.
///
/// # Errors
/// It is written in another way, or has ids that the vocabulary hasn't.
pub(super) fn terminal<'t>(store: &Store, text: &'t str) -> Result<(Vec<Token<'t>>, usize), String> {
    let len = length(text)?;
    let written = &text[..len];
    Ok(match written.strip_prefix("<[").and_then(|inside| inside.strip_suffix("]>")) {
        Some(ids) => (ranges(store, ids)?, len),
        None => (vec![Token::Name(written)], len),
    })
}

fn length(text: &str) -> Result<usize, String> {
    match text.find('>').filter(|&len| !text[..len].contains(char::is_whitespace)) {
        Some(len) => Ok(len + 1),
        None => Err("a token is written <name>, <[id]> or <[id,id-id]>".to_owned()),
    }
}

fn ranges(store: &Store, ids: &str) -> Result<Vec<Token<'static>>, String> {
    let size = store.vocab.as_ref().map_or(0, |vocab| vocab.size());
    let mut all = Vec::new();
    for range in ids.split(',') {
        let (lo, hi) = range.split_once('-').unwrap_or((range, range));
        let (Ok(lo), Ok(hi)) = (lo.parse::<u32>(), hi.parse::<u32>()) else {
            return Err("ids of tokens are numbers or ranges, as in <[1,5-7]>".to_owned());
        };
        if lo > hi {
            return Err("a range of ids ends before it begins".to_owned());
        }
        if hi as usize >= size {
            return Err(format!("the vocabulary has no token {hi}"));
        }
        all.extend((lo..=hi).map(Token::Id));
    }
    Ok(all)
}

/// What a terminal at the beginning of a text asks for, and its length: one of the tokens of [`terminal`], with `<[*]>` any
/// one, with `<[^id,id-id]>` any but some.
///
/// # Errors
/// As of [`terminal`], [`spelling`] and [`one_but`].
pub(super) fn asked(store: &Store, text: &str) -> Result<(ExprId, usize), String> {
    let len = length(text)?;
    let inside = text[..len].strip_prefix("<[").and_then(|inside| inside.strip_suffix("]>"));
    let e = match inside {
        Some("*") => one_but(store, [])?,
        Some(ids) if ids.starts_with('^') => one_but(store, ranges(store, &ids[1..])?)?,
        _ => {
            let spelled = terminal(store, text)?.0.into_iter().map(|token| Ok((spelling(store, token)?, EPS)));
            store.switch(spelled.collect::<Result<_, String>>()?)
        }
    };
    Ok((e, len))
}
