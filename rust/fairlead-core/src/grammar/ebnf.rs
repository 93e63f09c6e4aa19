//! EBNF in `XGrammar`'s and `llama.cpp`'s spelling.
//!
//! `name ::= alternatives`, with texts in quotes, character classes, `.`, groups, `|`, the suffixes `* + ? {m} {m,}
//! {m,n}`, and `#` comments. A rule goes on until the next `name ::=`. `<name>`, `<[id]>` and `Token(id)` are tokens,
//! `!<name>` is one but those and `!<name>*` anything without one; `TagDispatch` and `TokenTagDispatch` are free text with
//! tags (see [`macros`]), `Regex("...")` is a pattern, and `name[capture]` marks what a rule stands for. A look-ahead at the
//! end of a rule, `(= ...)`, is what it is there: a hint to `XGrammar`'s compiler that constrains nothing.

mod macros;

use indexmap::IndexMap;

use super::{Item, Rule, bracketed, tokens};
use crate::automata::{Store, UNBOUNDED};
use crate::error::Error;
use crate::limits::Limits;

struct Parser<'a> {
    store: &'a Store,
    text: &'a str,
    at: usize,
    depth: usize,
    limits: &'a Limits,
    /// Names in the order in which they are met, with the place of the first use.
    names: IndexMap<String, usize>,
}

/// The rules, and which of them is `root`.
pub(super) fn parse(store: &Store, text: &str, limits: &Limits) -> Result<(Vec<Rule>, usize), Error> {
    let mut parser = Parser { store, text, at: 0, depth: 0, limits, names: IndexMap::new() };
    let mut bodies: IndexMap<usize, (usize, Option<String>, Item)> = IndexMap::new();
    parser.skip();
    while parser.at < text.len() {
        let start = parser.at;
        let Some(name) = parser.name() else { return Err(parser.fail(start, "a rule begins with its name")) };
        let capture = parser.capture(&name)?;
        parser.skip();
        if !parser.take("::=") {
            return Err(parser.fail(parser.at, "::= must follow the name of a rule"));
        }
        let index = parser.index_of(&name, start);
        let body = parser.choice()?;
        if parser.at < text.len() && !parser.begins_rule() {
            return Err(parser.fail(parser.at, "this cannot stand here"));
        }
        if bodies.insert(index, (start, capture, body)).is_some() {
            return Err(parser.fail(start, &format!("the rule {name:?} is defined twice")));
        }
    }
    let root = parser.names.get_index_of("root").filter(|root| bodies.contains_key(root));
    let Some(root) = root else { return Err(Error::grammar("the grammar has no rule named root")) };
    let mut rules = Vec::with_capacity(parser.names.len());
    for (index, (name, &first)) in parser.names.iter().enumerate() {
        let Some((start, capture, body)) = bodies.swap_remove(&index) else {
            return Err(parser.fail(first, &format!("the rule {name:?} is not defined")));
        };
        rules.push(Rule { name: name.clone(), line: parser.place(start).0, capture, body });
    }
    Ok((rules, root))
}

impl Parser<'_> {
    fn place(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..at.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        (line, before[before.rfind('\n').map_or(0, |n| n + 1)..].chars().count() + 1)
    }

    fn fail(&self, at: usize, message: &str) -> Error {
        let (line, column) = self.place(at);
        Error::grammar(message).at_line(line, column)
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, text: &str) -> bool {
        let there = self.rest().starts_with(text);
        if there {
            self.at += text.len();
        }
        there
    }

    /// Skips blanks and comments.
    fn skip(&mut self) {
        loop {
            self.at += self.rest().len() - self.rest().trim_start().len();
            if !self.rest().starts_with('#') {
                return;
            }
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    fn name(&mut self) -> Option<String> {
        let of_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
        let len = self.rest().find(|c: char| !of_name(c)).unwrap_or(self.rest().len());
        let name = self.rest()[..len].to_owned();
        self.at += len;
        (len > 0).then_some(name)
    }

    /// The name that a rule's author wants what it stands for to be captured by.
    fn capture(&mut self, rule: &str) -> Result<Option<String>, Error> {
        if !self.take("[") {
            return Ok(None);
        }
        let at = self.at;
        let found = self.name().filter(|name| name == "capture").map(|_| rule.to_owned());
        let mut found = found.ok_or_else(|| self.fail(at, "of the attributes of rules only capture is supported"))?;
        if self.take("=") {
            let at = self.at;
            match if self.peek() == Some('"') { Some(self.quoted()?) } else { None } {
                Some(name) if !name.is_empty() => found = name,
                _ => return Err(self.fail(at, "the name of a capture stands in double quotes")),
            }
        }
        if !self.take("]") {
            return Err(self.fail(self.at, "of the attributes of rules only capture is supported"));
        }
        Ok(Some(found))
    }

    fn index_of(&mut self, name: &str, at: usize) -> usize {
        self.names.get_index_of(name).unwrap_or_else(|| self.names.insert_full(name.to_owned(), at).0)
    }

    fn begins_rule(&mut self) -> bool {
        let at = self.at;
        let begins = self.name().is_some() && {
            self.at += if self.peek() == Some('[') { bracketed(self.rest()).unwrap_or(0) } else { 0 };
            self.skip();
            self.rest().starts_with("::=")
        };
        self.at = at;
        begins
    }

    fn choice(&mut self) -> Result<Item, Error> {
        if self.depth >= self.limits.max_depth {
            let (line, column) = self.place(self.at);
            let what = format!("groups are nested deeper than {}", self.limits.max_depth);
            return Err(Error::limit(what).at_line(line, column));
        }
        self.depth += 1;
        let mut options = vec![self.sequence()?];
        while self.take("|") {
            options.push(self.sequence()?);
        }
        self.depth -= 1;
        Ok(if options.len() == 1 { options.remove(0) } else { Item::Choice(options) })
    }

    fn sequence(&mut self) -> Result<Item, Error> {
        let mut items = Vec::new();
        loop {
            self.skip();
            match self.peek() {
                None | Some('|' | ')') => break,
                _ if self.begins_rule() => break,
                _ => {}
            }
            let item = self.atom()?;
            items.push(self.suffixed(item)?);
        }
        Ok(if items.len() == 1 { items.remove(0) } else { Item::Sequence(items) })
    }

    fn atom(&mut self) -> Result<Item, Error> {
        let start = self.at;
        match self.peek() {
            Some('"' | '\'') => Ok(Item::Text(self.quoted()?.into_bytes())),
            Some('[') => self.class(),
            Some('.') => {
                self.at += 1;
                Ok(Item::Class(vec![('\0', char::MAX)]))
            }
            Some('(') => {
                self.at += 1;
                let hint = self.take("=");
                let inner = self.choice()?;
                if !self.take(")") {
                    return Err(self.fail(start, "a group is not closed"));
                }
                if !hint {
                    return Ok(inner);
                }
                self.skip();
                if self.depth > 1 || self.at < self.text.len() && !self.begins_rule() {
                    return Err(self.fail(start, "a look-ahead stands at the end of a rule"));
                }
                Ok(Item::Text(Vec::new()))
            }
            Some('<') => {
                let found = tokens::asked(self.store, self.rest());
                let (e, len) = found.map_err(|message| self.fail(start, &message))?;
                self.at += len;
                Ok(Item::Expr(e))
            }
            Some('!') => {
                let rest = &self.rest()[1..];
                let found = tokens::terminal(self.store, rest);
                let (excluded, len) = found.map_err(|message| self.fail(start, &message))?;
                let (any, sign) = match rest[len..].chars().next() {
                    Some('*') => (tokens::any_but(self.store, excluded, 0), 1),
                    Some('+') => (tokens::any_but(self.store, excluded, 1), 1),
                    _ => (tokens::one_but(self.store, excluded), 0),
                };
                let any = any.map_err(|message| self.fail(start, &message))?;
                self.at += 1 + len + sign;
                Ok(Item::Expr(any))
            }
            _ => match self.name() {
                Some(name) if self.peek() == Some('(') && macros::NAMES.contains(&&*name) => self.expand(&name, start),
                Some(name) => Ok(Item::Rule(self.index_of(&name, start))),
                None => Err(self.fail(start, "a text, a class, a group or the name of a rule is expected here")),
            },
        }
    }

    /// A text in quotes of either kind.
    fn quoted(&mut self) -> Result<String, Error> {
        let start = self.at;
        let quote = self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                None | Some('\n') => return Err(self.fail(start, "a text is not closed")),
                c if c == quote => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some(c) => text.push(c),
            }
        }
    }

    fn suffixed(&mut self, mut item: Item) -> Result<Item, Error> {
        loop {
            let start = self.at;
            let (min, max) = match self.peek() {
                Some('*') => (0, UNBOUNDED),
                Some('+') => (1, UNBOUNDED),
                Some('?') => (0, 1),
                Some('{') => {
                    let Some(end) = self.rest().find('}') else {
                        return Err(self.fail(start, "a count is not closed"));
                    };
                    let inside = self.rest()[1..end].to_owned();
                    let (lo, hi) = inside.split_once(',').unwrap_or((&inside, &inside));
                    let count = |text: &str, absent: u32| match text.trim() {
                        "" => Some(absent),
                        digits => digits.parse::<u32>().ok(),
                    };
                    let (Some(min), Some(max)) = (count(lo, 0), count(hi, UNBOUNDED)) else {
                        return Err(self.fail(start, "a count is {m}, {m,} or {m,n}"));
                    };
                    if min > max {
                        return Err(self.fail(start, "a count ends below its beginning"));
                    }
                    if min.max(if max == UNBOUNDED { 0 } else { max }) > self.limits.max_repetition {
                        return Err(Error::limit(format!("a count is larger than {}", self.limits.max_repetition)));
                    }
                    self.at += end;
                    (min, max)
                }
                _ => return Ok(item),
            };
            self.at += 1;
            item = Item::Repeat(Box::new(item), min, max);
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let start = self.at - 1;
        let hex = |parser: &mut Self, digits: usize| {
            let value = parser.rest().get(..digits).and_then(|text| u32::from_str_radix(text, 16).ok());
            parser.at += if value.is_some() { digits } else { 0 };
            value.and_then(char::from_u32).ok_or_else(|| parser.fail(start, "an escape lacks its hexadecimal digits"))
        };
        match self.next() {
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('b') => Ok('\x08'),
            Some('f') => Ok('\x0c'),
            Some('v') => Ok('\x0b'),
            Some('a') => Ok('\x07'),
            Some('e') => Ok('\x1b'),
            Some('0') => Ok('\0'),
            Some('x') => hex(self, 2),
            Some('u') => hex(self, 4),
            Some('U') => hex(self, 8),
            Some(c) if !c.is_alphanumeric() => Ok(c),
            _ => Err(self.fail(start, "this escape is not known")),
        }
    }

    fn class(&mut self) -> Result<Item, Error> {
        let start = self.at;
        self.at += 1;
        let negated = self.take("^");
        let mut ranges: Vec<(char, char)> = Vec::new();
        let one = |parser: &mut Self| match parser.next() {
            None | Some('\n') => Err(parser.fail(start, "a character class is not closed")),
            Some('\\') => parser.escape(),
            Some(c) => Ok(c),
        };
        while !self.take("]") {
            let lo = one(self)?;
            let ranged = self.rest().starts_with('-') && !self.rest().starts_with("-]");
            self.at += usize::from(ranged);
            let hi = if ranged { one(self)? } else { lo };
            if lo > hi {
                return Err(self.fail(start, "a range in a character class ends before it begins"));
            }
            ranges.push((lo, hi));
        }
        if negated {
            let ranges = ranges.iter().map(|&(lo, hi)| regex_syntax::hir::ClassUnicodeRange::new(lo, hi));
            let mut class = regex_syntax::hir::ClassUnicode::new(ranges);
            class.negate();
            return Ok(Item::Class(class.iter().map(|r| (r.start(), r.end())).collect()));
        }
        Ok(Item::Class(ranges))
    }
}
