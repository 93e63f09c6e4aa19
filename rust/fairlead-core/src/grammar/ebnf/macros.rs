//! `XGrammar`'s macros: tokens by their ids, patterns, and free text that goes on with a rule behind a tag.

use super::Parser;
use crate::automata::UNBOUNDED;
use crate::error::Error;
use crate::grammar::Item;
use crate::grammar::tokens::{self, Token};
use crate::grammar::until::{until, without};
use crate::regex::{self, Dialect};

pub(super) const NAMES: [&str; 5] = ["TagDispatch", "TokenTagDispatch", "Token", "ExcludeToken", "Regex"];

/// What a macro is given.
struct Arguments<T> {
    /// Tags, each with the rule behind it.
    tags: Vec<(T, Item)>,
    again: bool,
    excluded: Vec<T>,
}

type Text = Box<[u8]>;

impl Parser<'_> {
    /// What a macro stands for, behind whose name a parenthesis is.
    pub(super) fn expand(&mut self, name: &str, start: usize) -> Result<Item, Error> {
        match name {
            "TagDispatch" => {
                let Arguments { tags, again, excluded } = self.arguments(Self::tag_text)?;
                let (texts, rules): (Vec<Text>, Vec<Item>) = tags.into_iter().unzip();
                let up_to = until(self.store, self.store.any_text(), &texts, &excluded);
                let tail = without(self.store, self.store.any_text(), &[texts, excluded].concat());
                let rounds = up_to.into_iter().zip(rules).map(|(e, rule)| Item::Sequence(vec![Item::Expr(e), rule]));
                Ok(free(rounds.collect(), Item::Expr(tail), again))
            }
            "TokenTagDispatch" => {
                let Arguments { tags, again, excluded } = self.arguments(Self::id)?;
                let gone = tags.iter().map(|(id, _)| *id).chain(excluded).map(Token::Id);
                let any = tokens::any_but(self.store, gone, 0).map_err(|message| self.fail(start, &message))?;
                let round = |(id, rule)| {
                    let token = tokens::spelling(self.store, Token::Id(id)).map_err(|m| self.fail(start, &m))?;
                    Ok(Item::Sequence(vec![Item::Expr(any), Item::Text(token.into()), rule]))
                };
                let rounds = tags.into_iter().map(round).collect::<Result<Vec<_>, Error>>()?;
                Ok(free(rounds, Item::Expr(any), again))
            }
            "Token" => {
                let ids = self.list(Self::id)?;
                let texts = ids.into_iter().map(|id| tokens::spelling(self.store, Token::Id(id)));
                let texts = texts.collect::<Result<Vec<_>, _>>().map_err(|message| self.fail(start, &message))?;
                Ok(Item::Choice(texts.into_iter().map(|text| Item::Text(text.into())).collect()))
            }
            "Regex" => {
                self.expect("(")?;
                let pattern = self.tag_text()?;
                let pattern = String::from_utf8_lossy(&pattern);
                self.skip();
                if self.take(",") {
                    self.expect("json_string")?;
                    self.expect("=")?;
                    // With true the pattern is of a string's value, whatever its spelling.
                    self.expect("false")?;
                }
                self.expect(")")?;
                let e = regex::compile(self.store, &pattern, Dialect::Whole, self.limits);
                let (line, column) = self.place(start);
                Ok(Item::Expr(e.map_err(|e| e.at_line(line, column))?))
            }
            _ => {
                let excluded = self.list(Self::id)?.into_iter().map(Token::Id);
                let one = tokens::one_but(self.store, excluded).map_err(|message| self.fail(start, &message))?;
                Ok(Item::Expr(one))
            }
        }
    }

    fn arguments<T>(&mut self, one: fn(&mut Self) -> Result<T, Error>) -> Result<Arguments<T>, Error> {
        let mut found = Arguments { tags: Vec::new(), again: true, excluded: Vec::new() };
        self.expect("(")?;
        while !self.closes() {
            if self.peek() == Some('(') {
                self.at += 1;
                let tag = one(self)?;
                self.expect(",")?;
                self.skip();
                let at = self.at;
                let Some(rule) = self.name() else { return Err(self.fail(at, "the name of a rule is expected here")) };
                found.tags.push((tag, Item::Rule(self.index_of(&rule, at))));
                self.expect(")")?;
            } else {
                let at = self.at;
                let name = self.name().unwrap_or_default();
                self.expect("=")?;
                self.skip();
                match &*name {
                    "loop_after_dispatch" if self.take("true") => found.again = true,
                    "loop_after_dispatch" if self.take("false") => found.again = false,
                    "excludes" => found.excluded = self.list(one)?,
                    _ => return Err(self.fail(at, "loop_after_dispatch is true or false, and excludes a list")),
                }
            }
            self.separated()?;
        }
        Ok(found)
    }

    fn list<T>(&mut self, one: fn(&mut Self) -> Result<T, Error>) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        self.expect("(")?;
        while !self.closes() {
            found.push(one(self)?);
            self.separated()?;
        }
        Ok(found)
    }

    /// Whether the parenthesis that closes a list is here, which is taken.
    fn closes(&mut self) -> bool {
        self.skip();
        self.take(")")
    }

    /// A comma, or the end of a list.
    fn separated(&mut self) -> Result<(), Error> {
        self.skip();
        if self.peek() == Some(')') { Ok(()) } else { self.expect(",") }
    }

    fn expect(&mut self, text: &str) -> Result<(), Error> {
        self.skip();
        if self.take(text) { Ok(()) } else { Err(self.fail(self.at, &format!("{text} is expected here"))) }
    }

    fn tag_text(&mut self) -> Result<Text, Error> {
        self.skip();
        let at = self.at;
        match if matches!(self.peek(), Some('"' | '\'')) { self.quoted()? } else { String::new() } {
            text if text.is_empty() => Err(self.fail(at, "a text that is not empty is expected here")),
            text => Ok(text.into_bytes().into()),
        }
    }

    fn id(&mut self) -> Result<u32, Error> {
        self.skip();
        let len = self.rest().find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest().len());
        let id = self.rest()[..len].parse();
        let id = id.map_err(|_| self.fail(self.at, "the id of a token is expected here"))?;
        self.at += len;
        Ok(id)
    }
}

/// Rounds of text that end in a tag and its rule, as often as one likes or at most once, and text.
fn free(rounds: Vec<Item>, tail: Item, again: bool) -> Item {
    let rounds = Item::Choice(rounds);
    if again {
        Item::Sequence(vec![Item::Repeat(Box::new(rounds), 0, UNBOUNDED), tail])
    } else {
        Item::Choice(vec![rounds, tail])
    }
}
