//! From definitions to rules: templates with their arguments, terminals as expressions, what is ignored behind them.

use std::rc::Rc;

use hashbrown::HashMap;

use super::super::until::{searched, shortest};
use super::super::{Item, Rule, append, lazy};
use super::parser::Parser;
use super::{Attributes, Definition, Term, is_terminal};
use crate::automata::{EPS, ExprId, UNBOUNDED};
use crate::error::Error;

/// Rules as they are used: a template once for each list of arguments.
pub(super) struct Instances<'a> {
    parser: &'a Parser<'a>,
    rules: Vec<Rule>,
    /// By name and arguments as written.
    known: HashMap<String, usize>,
    terminals: HashMap<String, ExprId>,
    /// What may stand behind each terminal.
    ignored: ExprId,
    /// Terminals that are being read, which may not call themselves.
    open: Vec<String>,
    /// What rules are that end where they first can, and what they would be if they didn't.
    lazy: HashMap<ExprId, ExprId>,
    /// The first of the rules of grammars of their own, by where these are kept.
    grammars: HashMap<*const (Vec<Rule>, usize), usize>,
}

impl<'a> Instances<'a> {
    pub(super) fn new(parser: &'a Parser<'a>) -> Self {
        Self {
            parser,
            rules: Vec::new(),
            known: HashMap::new(),
            terminals: HashMap::new(),
            ignored: EPS,
            open: Vec::new(),
            lazy: HashMap::new(),
            grammars: HashMap::new(),
        }
    }

    pub(super) fn all(mut self) -> Result<(Vec<Rule>, usize), Error> {
        let parser = self.parser;
        if !parser.definitions.contains_key("start") {
            return Err(Error::grammar("the grammar has no rule named start"));
        }
        let store = parser.store;
        let mut ignored = Vec::new();
        for term in &parser.ignored {
            ignored.push(self.terminal(term)?);
        }
        if !ignored.is_empty() {
            let most = if parser.options.skips_once { 1 } else { UNBOUNDED };
            self.ignored = store.repeat(store.union(ignored), 0, most);
        }
        let start = self.instance("start", &[], 0, &HashMap::new())?;
        // Whatever is not reached is checked all the same.
        for (name, definition) in &parser.definitions {
            if definition.params.is_empty() {
                let at = definition.at;
                if is_terminal(name) {
                    self.named_terminal(name, at)?;
                } else {
                    self.instance(name, &[], at, &HashMap::new())?;
                }
            }
        }
        let before = if parser.options.initial_skip { self.ignored } else { EPS };
        let body = Item::Sequence(vec![Item::Expr(before), Item::Rule(start)]);
        self.rules.push(Rule { name: String::new(), line: 1, capture: None, body });
        let root = self.rules.len() - 1;
        if !self.lazy.is_empty() {
            self.rules = lazy::commit(store, &self.rules, &self.lazy, parser.terminals, parser.limits)?;
        }
        Ok((self.rules, root))
    }

    /// A rule with its arguments, by its index.
    fn instance(
        &mut self,
        name: &str,
        args: &[Term],
        at: usize,
        bound: &HashMap<String, Item>,
    ) -> Result<usize, Error> {
        let parser = self.parser;
        let Some(definition) = parser.definitions.get(name) else {
            return Err(parser.fail(at, &format!("{name:?} is not defined")));
        };
        if definition.params.len() != args.len() {
            let (takes, given) = (definition.params.len(), args.len());
            return Err(parser.fail(at, &format!("{name:?} takes {takes} arguments and is given {given}")));
        }
        let args = args.iter().map(|arg| self.rule_item(arg, bound)).collect::<Result<Vec<_>, _>>()?;
        let key = format!("{name}{args:?}");
        if let Some(&index) = self.known.get(&key) {
            return Ok(index);
        }
        if self.rules.len() >= parser.limits.max_nodes || self.open.len() >= parser.limits.max_depth * 4 {
            return Err(Error::limit(format!("the rule {name:?} needs too many others")));
        }
        let index = self.rules.len();
        let line = parser.fail(definition.at, "").line_column().map_or(1, |(line, _)| line);
        let (name, capture) = (name.to_owned(), definition.attributes.capture.clone());
        self.rules.push(Rule { name, line, capture, body: Item::Choice(Vec::new()) });
        self.known.insert(key, index);
        let bound = definition.params.iter().cloned().zip(args).collect();
        self.open.push(String::new());
        let Attributes { lazy, suffix, max_tokens, .. } = &definition.attributes;
        let terminal = *lazy || suffix.is_some() || max_tokens.is_some();
        let body = if terminal {
            self.as_terminal(definition, index, &bound)
        } else {
            self.rule_item(&definition.body, &bound)
        };
        self.rules[index].body = body?;
        self.open.pop();
        Ok(index)
    }

    /// The body of a rule that ends where it first can, or takes so many tokens: one terminal, whatever it is written with.
    fn as_terminal(
        &mut self,
        definition: &'a Definition,
        index: usize,
        bound: &HashMap<String, Item>,
    ) -> Result<Item, Error> {
        let Definition { at, attributes, body, .. } = definition;
        let suffix = attributes.suffix.as_ref();
        let text = self.terminal(body)?;
        self.check_regular(text, *at)?;
        let store = self.parser.store;
        let mut parts = vec![attributes.max_tokens.map_or(text, |most| store.timed(text, most))];
        parts.extend(suffix.map(|suffix| self.terminal(suffix)).transpose()?);
        let mut whole = store.sequence(&parts);
        self.check_regular(whole, *at)?;
        if attributes.lazy || suffix.is_some() {
            let greedy = whole;
            whole = searched(store, shortest(store, greedy), self.parser.limits)?;
            // One that is empty ends before anything else begins.
            if !store.nullable(whole) {
                self.lazy.insert(whole, greedy);
            }
        }
        if !self.parser.terminals {
            return Ok(self.followed(Item::Expr(whole)));
        }
        let ignored = std::mem::replace(&mut self.ignored, EPS);
        let mut read = self.rule_item(body, bound)?;
        if let Some(suffix) = suffix {
            // The rule's name is that of what stands before the suffix.
            let Rule { name, line, capture, .. } = &mut self.rules[index];
            let (name, capture, line) = (std::mem::take(name), capture.take(), *line);
            self.rules.push(Rule { name, line, capture, body: read });
            let text = Item::Rule(self.rules.len() - 1);
            let body = self.rule_item(suffix, bound)?;
            self.rules.push(Rule { name: String::new(), line, capture: attributes.stop_capture.clone(), body });
            read = Item::Sequence(vec![text, Item::Rule(self.rules.len() - 1)]);
        }
        self.ignored = ignored;
        Ok(self.followed(Item::Read(whole, Box::new(read))))
    }

    fn check_regular(&self, e: ExprId, at: usize) -> Result<(), Error> {
        if self.parser.store.flags(e).calls() {
            return Err(self
                .parser
                .fail(at, "what is lazy, counted, negated or joined by & is made of texts and patterns only"));
        }
        Ok(())
    }

    /// A piece of a rule: what is ignored may follow each terminal.
    fn rule_item(&mut self, term: &Term, bound: &HashMap<String, Item>) -> Result<Item, Error> {
        Ok(match term {
            Term::Fixed(Item::Text(text)) if text.is_empty() => Item::Text(Vec::new()),
            Term::Fixed(item) => self.followed(item.clone()),
            Term::Name(name, args, _) if args.is_empty() && bound.contains_key(name) => bound[name].clone(),
            Term::Name(name, args, at) if is_terminal(name) => {
                if !args.is_empty() {
                    return Err(self.parser.fail(*at, "a terminal takes no arguments"));
                }
                let e = self.named_terminal(name, *at)?;
                let mut item = Item::Expr(self.parser.store.call_of(e));
                if self.parser.terminals {
                    let capture = self.parser.definitions.get(name).and_then(|d| d.attributes.capture.clone());
                    let rules = &mut self.rules;
                    let index = *self.known.entry(name.clone()).or_insert_with(|| {
                        rules.push(Rule { name: name.clone(), line: 0, capture, body: item });
                        rules.len() - 1
                    });
                    item = Item::Rule(index);
                }
                self.followed(item)
            }
            Term::Name(name, args, at) => Item::Rule(self.instance(name, args, *at, bound)?),
            Term::Sequence(items) => {
                Item::Sequence(items.iter().map(|t| self.rule_item(t, bound)).collect::<Result<_, _>>()?)
            }
            Term::Choice(items) => {
                Item::Choice(items.iter().map(|t| self.rule_item(t, bound)).collect::<Result<_, _>>()?)
            }
            Term::Repeat(inner, min, max) => Item::Repeat(Box::new(self.rule_item(inner, bound)?), *min, *max),
            Term::Both(..) | Term::Not(..) => {
                let e = self.terminal(term)?;
                self.followed(Item::Expr(self.parser.store.call_of(e)))
            }
            Term::Grammar(grammar, _) => {
                let (rules, root) = &**grammar;
                let first = match self.grammars.get(&Rc::as_ptr(grammar)) {
                    Some(&first) => first,
                    None if self.rules.len() + rules.len() > self.parser.limits.max_nodes => {
                        return Err(Error::limit("the grammar has too many rules with those in it"));
                    }
                    None => {
                        append(&mut self.rules, rules.clone());
                        *self.grammars.entry(Rc::as_ptr(grammar)).insert(self.rules.len() - rules.len()).get()
                    }
                };
                // Its end may be that of a terminal.
                self.followed(Item::Rule(first + root))
            }
        })
    }

    fn followed(&self, item: Item) -> Item {
        if self.ignored == EPS { item } else { Item::Sequence(vec![item, Item::Expr(self.ignored)]) }
    }

    /// The expression of a terminal that has a name.
    fn named_terminal(&mut self, name: &str, at: usize) -> Result<ExprId, Error> {
        if let Some(&e) = self.terminals.get(name) {
            return Ok(e);
        }
        let Some(definition) = self.parser.definitions.get(name) else {
            return Err(self.parser.fail(at, &format!("{name:?} is not defined")));
        };
        if self.open.iter().any(|open| open == name) {
            return Err(self.parser.fail(definition.at, &format!("the terminal {name:?} calls itself")));
        }
        if self.open.len() >= self.parser.limits.max_depth * 4 {
            return Err(Error::limit(format!("the terminal {name:?} needs too many others")));
        }
        self.open.push(name.to_owned());
        let e = self.terminal(&definition.body)?;
        self.open.pop();
        self.terminals.insert(name.to_owned(), e);
        Ok(e)
    }

    fn terminal(&mut self, term: &Term) -> Result<ExprId, Error> {
        let store = self.parser.store;
        Ok(match term {
            Term::Fixed(Item::Text(text)) => store.literal(text),
            Term::Fixed(Item::Class(ranges)) => store.char_class(ranges),
            Term::Fixed(Item::Expr(e)) => *e,
            Term::Fixed(_) => EPS,
            Term::Name(name, _, at) => {
                if !is_terminal(name) {
                    return Err(self.parser.fail(*at, "a terminal is made of terminals only"));
                }
                self.named_terminal(name, *at)?
            }
            Term::Sequence(items) => {
                let parts = items.iter().map(|t| self.terminal(t)).collect::<Result<Vec<_>, _>>()?;
                store.sequence(&parts)
            }
            Term::Choice(items) => {
                let parts = items.iter().map(|t| self.terminal(t)).collect::<Result<Vec<_>, _>>()?;
                store.union(parts)
            }
            Term::Repeat(inner, min, max) => store.repeat(self.terminal(inner)?, *min, *max),
            Term::Both(items, at) => {
                let parts = items.iter().map(|t| self.terminal(t)).collect::<Result<Vec<_>, _>>()?;
                parts.iter().try_for_each(|&part| self.check_regular(part, *at))?;
                searched(store, store.inter(parts), self.parser.limits)?
            }
            Term::Not(inner, at) => {
                let inner = self.terminal(inner)?;
                self.check_regular(inner, *at)?;
                searched(store, store.inter([store.any_text(), store.not(inner)]), self.parser.limits)?
            }
            Term::Grammar(_, at) => return Err(self.parser.fail(*at, "a terminal has no grammar in it")),
        })
    }
}
