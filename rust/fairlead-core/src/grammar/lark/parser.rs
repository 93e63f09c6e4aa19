//! From the text to definitions.

use std::rc::Rc;

use hashbrown::HashMap;
use indexmap::IndexMap;
use serde_json::Value;

use super::super::common_terminals::common_terminal;
use super::super::{Item, Rule, Source, bracketed, rules_of, tokens};
use super::instances::Instances;
use super::{Attributes, Definition, Named, Options, Term};
use crate::automata::{Store, UNBOUNDED};
use crate::error::Error;
use crate::json_schema::{self, JsonOptions};
use crate::limits::Limits;
use crate::regex::{self, Dialect};

/// Reads a grammar, and holds what it has defined.
pub(super) struct Parser<'a> {
    pub(super) store: &'a Store,
    pub(super) limits: &'a Limits,
    /// Terminals are rules of their own.
    pub(super) terminals: bool,
    named: Named<'a>,
    text: &'a str,
    pub(super) at: usize,
    depth: usize,
    /// A brace that closes nothing else ends it.
    nested: bool,
    pub(super) definitions: IndexMap<String, Definition>,
    pub(super) ignored: Vec<Term>,
    pub(super) options: Options,
    /// Named grammars that have been read.
    grammars: HashMap<String, Rc<(Vec<Rule>, usize)>>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(store: &'a Store, text: &'a str, named: Named<'a>, limits: &'a Limits, terminals: bool) -> Self {
        Self {
            store,
            limits,
            terminals,
            named,
            text,
            at: 0,
            depth: 0,
            nested: false,
            definitions: IndexMap::new(),
            ignored: Vec::new(),
            options: Options::default(),
            grammars: HashMap::new(),
        }
    }

    /// Reads all definitions.
    pub(super) fn read(mut self) -> Result<Self, Error> {
        self.skip();
        while self.at < self.text.len() && !self.closes() {
            if self.peek() == Some('%') {
                self.directive()?;
            } else {
                self.definition()?;
            }
            self.skip();
        }
        Ok(self)
    }

    /// Whether the brace that ends a nested grammar is here.
    fn closes(&self) -> bool {
        self.nested && self.peek() == Some('}')
    }

    pub(super) fn fail(&self, at: usize, message: &str) -> Error {
        let before = &self.text[..at.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before[before.rfind('\n').map_or(0, |n| n + 1)..].chars().count() + 1;
        Error::grammar(message).at_line(line, column)
    }

    pub(super) fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn take(&mut self, text: &str) -> bool {
        let there = self.rest().starts_with(text);
        self.at += if there { text.len() } else { 0 };
        there
    }

    /// Skips blanks, line feeds and comments.
    pub(super) fn skip(&mut self) {
        loop {
            self.at += self.rest().len() - self.rest().trim_start().len();
            // A backslash joins lines.
            let comment = self.rest().starts_with("//") || self.rest().starts_with('#');
            if comment {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            } else if !(self.take("\\\n") || self.take("\\\r\n")) {
                return;
            }
        }
    }

    pub(super) fn expect(&mut self, text: &str, message: &str) -> Result<(), Error> {
        self.skip();
        if self.take(text) { Ok(()) } else { Err(self.fail(self.at, message)) }
    }

    pub(super) fn name(&mut self) -> Option<String> {
        let of_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        if !self.peek().is_some_and(|c| c.is_alphabetic() || c == '_') {
            return None;
        }
        let len = self.rest().find(|c| !of_name(c)).unwrap_or(self.rest().len());
        let name = self.rest()[..len].to_owned();
        self.at += len;
        Some(name)
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
    }

    /// Whether a definition or a directive begins here.
    fn begins_definition(&mut self) -> bool {
        if self.peek() == Some('%') {
            return !["%json", "%lark", "%regex"].iter().any(|inside| self.rest().starts_with(inside));
        }
        let at = self.at;
        self.at += self.rest().len() - self.rest().trim_start_matches(['?', '!']).len();
        let begins = self.name().is_some() && {
            while matches!(self.peek(), Some('{' | '['))
                && let Some(len) = bracketed(self.rest())
            {
                self.at += len;
            }
            if self.peek() == Some('.') {
                self.at += 1;
                self.at +=
                    self.rest().len() - self.rest().trim_start_matches(|c: char| c == '-' || c.is_ascii_digit()).len();
            }
            self.blanks();
            self.rest().starts_with(':')
        };
        self.at = at;
        begins
    }

    fn definition(&mut self) -> Result<(), Error> {
        let start = self.at;
        while self.take("?") || self.take("!") {}
        let Some(name) = self.name() else {
            return Err(self.fail(start, "a rule, a terminal or a directive is expected here"));
        };
        let mut params = Vec::new();
        if self.take("{") {
            loop {
                self.skip();
                let Some(param) = self.name() else {
                    return Err(self.fail(self.at, "the name of a parameter is missing"));
                };
                params.push(param);
                self.skip();
                if self.take("}") {
                    break;
                }
                self.expect(",", "parameters are separated by commas and end with }")?;
            }
        }
        let attributes = self.attributes(&name)?;
        if self.take(".") {
            let digits = |c: char| c == '-' || c.is_ascii_digit();
            self.at += self.rest().len() - self.rest().trim_start_matches(digits).len();
        }
        self.expect(":", "a colon must follow the name of a rule")?;
        let body = self.choice()?;
        self.skip();
        if self.at < self.text.len() && !self.closes() && !self.begins_definition() {
            return Err(self.fail(self.at, "this cannot stand here"));
        }
        self.define(name, Definition { at: start, params, attributes, body })
    }

    fn define(&mut self, name: String, definition: Definition) -> Result<(), Error> {
        let at = definition.at;
        let message = format!("{name:?} is defined twice");
        match self.definitions.insert(name, definition) {
            None => Ok(()),
            Some(_) => Err(self.fail(at, &message)),
        }
    }

    fn directive(&mut self) -> Result<(), Error> {
        let start = self.at;
        self.at += 1;
        let name = self.name().unwrap_or_default();
        self.blanks();
        match &*name {
            "ignore" => {
                let body = self.choice()?;
                self.ignored.push(body);
                Ok(())
            }
            "import" => self.import(start),
            "llguidance" | "grammar_options" => {
                let at = self.at;
                let options = self.json("an object is expected here")?;
                self.options.take(&options).map_err(|message| self.fail(at, &message))
            }
            _ => Err(self.fail(start, &format!("the directive %{name} is not supported"))),
        }
    }

    fn import(&mut self, start: usize) -> Result<(), Error> {
        let dotted = self.take(".");
        let module = self.name().unwrap_or_default();
        if dotted || module != "common" {
            return Err(self.fail(start, "only terminals of common can be imported"));
        }
        let mut names = Vec::new();
        if self.take(".") {
            names.push((self.at, self.name().unwrap_or_default()));
        } else {
            self.expect("(", "the names of terminals are expected here")?;
            loop {
                self.skip();
                names.push((self.at, self.name().unwrap_or_default()));
                self.skip();
                if self.take(")") {
                    break;
                }
                self.expect(",", "names are separated by commas")?;
            }
        }
        self.blanks();
        let alias = if names.len() == 1 && self.take("->") {
            self.blanks();
            self.name()
        } else {
            None
        };
        for (at, name) in names {
            let Some(pattern) = common_terminal(&name) else {
                return Err(self.fail(at, &format!("common has no terminal {name:?}")));
            };
            let body = Term::Fixed(Item::Expr(regex::compile(self.store, pattern, Dialect::Whole, self.limits)?));
            let defined = alias.clone().unwrap_or(name);
            if !self.definitions.contains_key(&defined) {
                self.define(defined, Definition { at, params: Vec::new(), attributes: Attributes::default(), body })?;
            }
        }
        Ok(())
    }

    fn choice(&mut self) -> Result<Term, Error> {
        if self.depth >= self.limits.max_depth {
            return Err(Error::limit(format!("groups are nested deeper than {}", self.limits.max_depth)));
        }
        self.depth += 1;
        let mut options = vec![self.conjunction()?];
        while self.take("|") {
            options.push(self.conjunction()?);
        }
        self.depth -= 1;
        Ok(if options.len() == 1 { options.remove(0) } else { Term::Choice(options) })
    }

    fn sequence(&mut self) -> Result<Term, Error> {
        let mut items = Vec::new();
        loop {
            self.skip();
            match self.peek() {
                None | Some('|' | '&' | ')' | ']' | ',' | '}') => break,
                Some('-') if self.take("->") => {
                    self.skip();
                    if self.name().is_none() {
                        return Err(self.fail(self.at, "the name of an alias is missing"));
                    }
                    self.skip();
                    break;
                }
                _ if self.begins_definition() => break,
                _ => {}
            }
            let item = self.piece()?;
            items.push(item);
        }
        Ok(if items.len() == 1 { items.remove(0) } else { Term::Sequence(items) })
    }

    /// Sequences that `&` joins, which binds them less than what follows each other.
    fn conjunction(&mut self) -> Result<Term, Error> {
        self.skip();
        let start = self.at;
        let mut all = vec![self.sequence()?];
        while self.take("&") {
            all.push(self.sequence()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Term::Both(all, start) })
    }

    /// Something with its count.
    fn piece(&mut self) -> Result<Term, Error> {
        let start = self.at;
        let mut nots = 0;
        while self.take("~") {
            nots += 1;
            self.skip();
        }
        let mut item = self.atom()?;
        for _ in 0..nots {
            item = Term::Not(Box::new(item), start);
        }
        self.suffixed(item)
    }

    pub(super) fn atom(&mut self) -> Result<Term, Error> {
        let start = self.at;
        match self.peek() {
            Some('"') => {
                let text = self.quoted()?;
                self.blanks();
                if self.take("..") {
                    self.blanks();
                    let end = if self.peek() == Some('"') { self.quoted()? } else { String::new() };
                    let one = |text: &str| text.chars().next().filter(|_| text.chars().count() == 1);
                    let (Some(lo), Some(hi)) = (one(&text), one(&end)) else {
                        return Err(self.fail(start, "a range goes from one character to another"));
                    };
                    if lo > hi {
                        return Err(self.fail(start, "a range ends before it begins"));
                    }
                    return Ok(Term::Fixed(Item::Class(vec![(lo, hi)])));
                }
                let alone =
                    !self.rest()[1.min(self.rest().len())..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
                if self.text[..self.at].ends_with('"') && self.peek() == Some('i') && alone {
                    self.at += 1;
                    let pattern = format!("(?i:{})", regex_syntax::escape(&text));
                    return self.pattern(&pattern, start);
                }
                Ok(Term::Fixed(Item::Text(text.into_bytes())))
            }
            Some('/') => self.regex(),
            Some(open @ ('(' | '[')) => {
                self.at += 1;
                let inner = self.choice()?;
                if !self.take(if open == '(' { ")" } else { "]" }) {
                    return Err(self.fail(start, "a group is not closed"));
                }
                Ok(if open == '(' { inner } else { Term::Repeat(Box::new(inner), 0, 1) })
            }
            Some('%') if self.take("%json") => {
                self.skip();
                let from = self.at;
                self.json("a JSON Schema must follow %json")?;
                let schema = &self.text[from..self.at];
                let e = json_schema::lower(self.store, schema, &JsonOptions::default(), self.limits)?;
                Ok(Term::Fixed(Item::Expr(self.store.call_of(e))))
            }
            Some('%') if self.take("%lark") => self.nested_grammar(start),
            Some('@') => self.named_grammar(start),
            Some('<') => self.token(start),
            Some('%') => Err(self.fail(start, "%regex is not supported")),
            _ => match self.name() {
                Some(name) => {
                    let mut args = Vec::new();
                    // A count has digits or a comma; the arguments of a template don't.
                    let counts = self.rest()[1.min(self.rest().len())..]
                        .trim_start()
                        .starts_with(|c: char| c == ',' || c.is_ascii_digit());
                    if self.peek() == Some('{') && !counts {
                        self.at += 1;
                        loop {
                            args.push(self.choice()?);
                            if self.take("}") {
                                break;
                            }
                            self.expect(",", "arguments are separated by commas and end with }")?;
                        }
                    }
                    Ok(Term::Name(name, args, start))
                }
                None => Err(self.fail(start, "a text, a pattern, a group or a name is expected here")),
            },
        }
    }

    /// A JSON value, read over.
    fn json(&mut self, absent: &str) -> Result<Value, Error> {
        let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter::<Value>();
        let value = values.next();
        let read = values.byte_offset();
        let Some(Ok(value)) = value else { return Err(self.fail(self.at, absent)) };
        self.at += read;
        Ok(value)
    }

    /// The grammar in the braces behind `%lark`, which knows nothing of the one around it.
    fn nested_grammar(&mut self, start: usize) -> Result<Term, Error> {
        self.expect("{", "the braces of a grammar must follow %lark")?;
        if self.depth >= self.limits.max_depth {
            return Err(Error::limit(format!("groups are nested deeper than {}", self.limits.max_depth)));
        }
        let empty = Parser::new(self.store, self.text, self.named, self.limits, self.terminals);
        let inner = Parser { at: self.at, depth: self.depth + 1, nested: true, ..empty }.read()?;
        self.at = inner.at;
        if !self.take("}") {
            return Err(self.fail(start, "the braces behind %lark are not closed"));
        }
        Ok(Term::Grammar(Rc::new(Instances::new(&inner).all()?), start))
    }

    fn named_grammar(&mut self, start: usize) -> Result<Term, Error> {
        self.at += 1;
        let name = self.name().unwrap_or_default();
        if let Some(known) = self.grammars.get(&name) {
            return Ok(Term::Grammar(Rc::clone(known), start));
        }
        let Some((name, source)) = self.named.all.iter().find(|(known, _)| *known == name) else {
            return Err(self.fail(start, &format!("no grammar named @{name} was given")));
        };
        let open = [self.named.open, &[*name]].concat();
        if self.named.open.contains(name) {
            let message = format!("the grammars @{} name each other in a circle", open.join(", @"));
            return Err(self.fail(start, &message));
        }
        let rules = match source {
            // One that was given no others knows the same ones.
            Source::Lark(text, others) if others.is_empty() => {
                let named = Named { all: self.named.all, open: &open };
                super::read(self.store, text, named, self.limits, self.terminals)
            }
            source => rules_of(self.store, source, self.limits, self.terminals),
        };
        let rules = Rc::new(rules.map_err(|e| e.within(&format!("@{name}")))?);
        self.grammars.insert((*name).to_owned(), Rc::clone(&rules));
        Ok(Term::Grammar(rules, start))
    }

    fn token(&mut self, start: usize) -> Result<Term, Error> {
        let found = tokens::asked(self.store, self.rest());
        let (e, len) = found.map_err(|message| self.fail(start, &message))?;
        self.at += len;
        Ok(Term::Fixed(Item::Expr(e)))
    }

    fn suffixed(&mut self, mut item: Term) -> Result<Term, Error> {
        loop {
            let end = self.at;
            self.blanks();
            let start = self.at;
            let (min, max) = match self.peek() {
                Some('*') => (0, UNBOUNDED),
                Some('+') => (1, UNBOUNDED),
                Some('?') => (0, 1),
                Some('~') if !self.rest()[1..].trim_start().starts_with(|c: char| c.is_ascii_digit()) => {
                    return Ok(item);
                }
                Some('~' | '{') => {
                    let braces = self.peek() == Some('{');
                    self.at += 1;
                    self.blanks();
                    let end = if braces {
                        self.rest().find('}')
                    } else {
                        let of_count = |c: char| c.is_ascii_digit() || c == '.';
                        Some(self.rest().find(|c| !of_count(c)).unwrap_or(self.rest().len()))
                    };
                    let inside = self.rest()[..end.unwrap_or(0)].to_owned();
                    let (lo, hi) = inside.split_once(if braces { "," } else { ".." }).unwrap_or((&inside, &inside));
                    let count = |text: &str, absent: Option<u32>| match text.trim() {
                        "" => absent.filter(|_| braces),
                        digits => digits.parse::<u32>().ok(),
                    };
                    let (Some(min), Some(max)) = (count(lo, Some(0)), count(hi, Some(UNBOUNDED))) else {
                        return Err(self.fail(start, "a count is ~n, ~n..m, {n}, {n,} or {n,m}"));
                    };
                    if min > max {
                        return Err(self.fail(start, "a count ends below its beginning"));
                    }
                    if min.max(if max == UNBOUNDED { 0 } else { max }) > self.limits.max_repetition {
                        return Err(Error::limit(format!("a count is larger than {}", self.limits.max_repetition)));
                    }
                    self.at += end.unwrap_or(0) + usize::from(braces);
                    item = Term::Repeat(Box::new(item), min, max);
                    continue;
                }
                _ => {
                    self.at = end;
                    return Ok(item);
                }
            };
            self.at += 1;
            item = Term::Repeat(Box::new(item), min, max);
        }
    }

    pub(super) fn quoted(&mut self) -> Result<String, Error> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let c = self.peek();
            self.at += c.map_or(0, char::len_utf8);
            match c {
                None | Some('\n') => return Err(self.fail(start, "a text is not closed")),
                Some('"') => return Ok(text),
                Some('\\') => {
                    let kind = self.peek().unwrap_or('\n');
                    self.at += kind.len_utf8();
                    let digits = match kind {
                        'x' => 2,
                        'u' => 4,
                        'U' => 8,
                        _ => 0,
                    };
                    text.push(match kind {
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'f' => '\x0c',
                        'v' => '\x0b',
                        _ if digits > 0 => {
                            let hex = self.rest().get(..digits).and_then(|d| u32::from_str_radix(d, 16).ok());
                            self.at += if hex.is_some() { digits } else { 0 };
                            match hex.and_then(char::from_u32) {
                                Some(c) => c,
                                None => return Err(self.fail(start, "an escape lacks its hexadecimal digits")),
                            }
                        }
                        c if c.is_alphanumeric() || c == '\n' => {
                            return Err(self.fail(start, "this escape is not known"));
                        }
                        c => c,
                    });
                }
                Some(c) => text.push(c),
            }
        }
    }

    fn regex(&mut self) -> Result<Term, Error> {
        let start = self.at;
        self.at += 1;
        let mut escaped = false;
        let Some(len) = self.rest().find(|c| {
            let ends = c == '/' && !escaped || c == '\n';
            escaped = c == '\\' && !escaped;
            ends
        }) else {
            return Err(self.fail(start, "a pattern is not closed"));
        };
        let inside = self.rest()[..len].replace("\\/", "/");
        self.at += len;
        if !self.take("/") {
            return Err(self.fail(start, "a pattern is not closed"));
        }
        let mut flags = String::new();
        while let Some(flag @ ('i' | 'm' | 's' | 'l' | 'u' | 'x')) = self.peek() {
            match flag {
                'l' => return Err(self.fail(self.at, "the flag l depends on a locale and is not supported")),
                'u' => {}
                flag if flags.contains(flag) => {}
                flag => flags.push(flag),
            }
            self.at += 1;
        }
        // A comment of the verbose kind may stand at the end.
        let close = if flags.contains('x') { "\n)" } else { ")" };
        let pattern = if flags.is_empty() { inside } else { format!("(?{flags}:{inside}{close}") };
        self.pattern(&pattern, start)
    }

    fn pattern(&self, pattern: &str, start: usize) -> Result<Term, Error> {
        let e = regex::compile(self.store, pattern, Dialect::Whole, self.limits).map_err(|e| {
            let at = self.fail(start, "").line_column().unwrap_or((1, 1));
            e.at_line(at.0, at.1)
        })?;
        Ok(Term::Fixed(Item::Expr(e)))
    }
}
