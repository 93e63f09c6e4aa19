//! Lark's notation, as users of Lark itself, llguidance and `XGrammar` write it.
//!
//! Rules and terminals, texts with `i`, patterns with flags, ranges, groups, `[ ]`, `? * + ~n ~n..m {m,n}`, templates,
//! `%ignore`, `%import common.X`, `%json {...}`, `%lark {...}`, grammars by their names `@name`, special tokens `<|name|>`,
//! `&` and `~` in terminals, and the attributes `[capture]`, `[lazy]`, `[suffix]`,
//! `[stop_capture]` and `[max_tokens]` of rules. Aliases,
//! priorities and the marks `?` and `!` only shape trees and are read over. There is no lexer: where a terminal ends is as open
//! as where a rule does.

mod instances;
mod parser;

use std::rc::Rc;

use serde_json::Value;

use super::{Item, Rule, Source, check_length};
use crate::automata::Store;
use crate::error::Error;
use crate::limits::Limits;
use instances::Instances;
use parser::Parser;

/// What a rule is written with.
#[derive(Clone, Debug)]
enum Term {
    /// Something with texts of its own.
    Fixed(Item),
    /// A rule or a terminal, perhaps of a template, by its place.
    Name(String, Vec<Term>, usize),
    Sequence(Vec<Term>),
    Choice(Vec<Term>),
    Repeat(Box<Term>, u32, u32),
    /// What all of several are, by its place; regular.
    Both(Vec<Term>, usize),
    /// Any text that another isn't, by its place; regular.
    Not(Box<Term>, usize),
    /// A grammar of its own: its rules, and which of them is the whole.
    Grammar(Rc<(Vec<Rule>, usize)>),
}

struct Definition {
    at: usize,
    params: Vec<String>,
    attributes: Attributes,
    body: Term,
}

/// What stands in brackets behind the name of a rule.
#[derive(Default)]
struct Attributes {
    /// The name that what the rule stands for is captured by.
    capture: Option<String>,
    /// It ends where it first can.
    lazy: bool,
    /// What it ends with, which isn't captured; it is lazy then.
    suffix: Option<Term>,
    /// The name that this is captured by.
    stop_capture: Option<String>,
    /// So many tokens it may take, the suffix not counted.
    max_tokens: Option<u32>,
}

/// What a grammar says of itself as a whole.
struct Options {
    /// What is ignored may stand before everything else, too.
    initial_skip: bool,
    /// What is ignored stands between two terminals once at most.
    skips_once: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { initial_skip: true, skips_once: false }
    }
}

impl Options {
    /// Takes what an object says.
    ///
    /// # Errors
    /// It says something else than is known here.
    fn take(&mut self, options: &Value) -> Result<(), String> {
        let options = options.as_object().ok_or("an object is expected here")?;
        for (name, value) in options {
            match (&**name, value) {
                ("allow_initial_skip", Value::Bool(yes)) => self.initial_skip = *yes,
                ("skip_repetition", Value::String(how)) if how == "once" || how == "repeat" => {
                    self.skips_once = how == "once";
                }
                // How a text is cut into tokens is the model's choice here anyway.
                ("no_forcing", Value::Bool(_)) => {}
                _ => return Err(format!("the option {name:?}: {value} is not supported")),
            }
        }
        Ok(())
    }
}

/// Grammars that a text may name, and those of them that are being read.
#[derive(Clone, Copy)]
struct Named<'a> {
    all: &'a [(&'a str, Source<'a>)],
    open: &'a [&'a str],
}

/// The rules, and which of them is the whole; with `terminals` those are rules too.
pub(super) fn parse(
    store: &Store,
    text: &str,
    named: &[(&str, Source<'_>)],
    limits: &Limits,
    terminals: bool,
) -> Result<(Vec<Rule>, usize), Error> {
    read(store, text, Named { all: named, open: &[] }, limits, terminals)
}

fn read(
    store: &Store,
    text: &str,
    named: Named<'_>,
    limits: &Limits,
    terminals: bool,
) -> Result<(Vec<Rule>, usize), Error> {
    check_length(text, limits)?;
    Instances::new(&Parser::new(store, text, named, limits, terminals).read()?).all()
}

fn is_terminal(name: &str) -> bool {
    name.trim_start_matches('_').starts_with(|c: char| c.is_uppercase())
}
