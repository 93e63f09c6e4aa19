//! Where a lazy rule may begin, what else may begin there doesn't go on past its end: `(call)* TEXT`, where a call begins with
//! `head[lazy]: TEXT "<call>"`, is text up to the first `<call>`, and then nothing but the call.
//!
//! Without a lexer that would have decided so, it is a property of rules: of alternatives, and of what may be empty or repeated
//! and what follows it in the same rule, each loses the texts that begin with one of the others' lazy ones.

use std::collections::BTreeSet;

use hashbrown::{HashMap, HashSet};

use super::lower::{Known, may_be_empty};
use super::recursion::split;
use super::until::searched;
use super::{Item, Rule};
use crate::automata::{EMPTY, ExprId, Store, UNBOUNDED};
use crate::error::Error;
use crate::limits::Limits;

/// Rules of so many items, so deep in one another, are written in place of their calls.
const SHORT: usize = 64;
const DEPTH: usize = 4;

/// An item weighs as much as so many nodes.
const ITEM: usize = 8;

/// Lazy expressions.
type Lazy = BTreeSet<ExprId>;

struct Rewriting<'a> {
    store: &'a Store,
    /// The rules as they were read.
    rules: &'a [Rule],
    /// Each with what it is before what goes on past its end is taken out.
    lazy: &'a HashMap<ExprId, ExprId>,
    /// What is left of lazy expressions, which stays lazy.
    left: HashSet<ExprId>,
    /// The rules as they become: first those that were read, then what others leave of them.
    written: Vec<Rule>,
    empty: Vec<bool>,
    /// Of a rule that was read: what is left of it where these may begin.
    known: HashMap<(usize, Lazy), usize>,
    /// The inverse, from the first rule that was not read on.
    origins: Vec<(usize, Lazy)>,
    /// Whether calls stay calls, since rules are captured by their names.
    named: bool,
    /// Rules that are being written in place of their calls.
    open: Vec<usize>,
    /// How many items have been made.
    made: usize,
    limits: &'a Limits,
}

/// Rewrites rules of which some are these lazy expressions, each given with what it was made of; where they are `named`, all of
/// them are still called.
///
/// # Errors
/// More rules come of it than a grammar may have.
pub(super) fn commit(
    store: &Store,
    rules: &[Rule],
    lazy: &HashMap<ExprId, ExprId>,
    named: bool,
    limits: &Limits,
) -> Result<Vec<Rule>, Error> {
    let Known { empty, .. } = Known::of(store, rules);
    let (left, known, origins) = (HashSet::new(), HashMap::new(), Vec::new());
    let mut rewriting = Rewriting {
        store,
        rules,
        lazy,
        left,
        written: rules.to_vec(),
        empty,
        known,
        origins,
        named,
        open: Vec::new(),
        made: 0,
        limits,
    };
    for (i, rule) in rules.iter().enumerate() {
        rewriting.written[i].body = rewriting.item(&rule.body)?;
    }
    Ok(rewriting.written)
}

impl Rewriting<'_> {
    /// The lazy expressions that an item may begin with.
    fn begins(&self, item: &Item) -> Lazy {
        let (mut found, mut seen) = (Lazy::new(), HashSet::new());
        self.add_begins(item, &mut found, &mut seen);
        found
    }

    fn add_begins(&self, item: &Item, found: &mut Lazy, seen: &mut HashSet<usize>) {
        match item {
            Item::Text(_) | Item::Class(_) => {}
            Item::Expr(e) | Item::Read(e, _) => found.extend(self.lazy.contains_key(e).then_some(*e)),
            Item::Rule(rule) | Item::Call(rule) => {
                if seen.insert(*rule) {
                    self.add_begins(&self.rules[*rule].body, found, seen);
                }
            }
            Item::Sequence(items) => self.add_begins_of_all(items, found, seen),
            Item::Choice(items) => items.iter().for_each(|item| self.add_begins(item, found, seen)),
            Item::Repeat(inner, _, _) => self.add_begins(inner, found, seen),
        }
    }

    /// The same for items that follow each other.
    fn add_begins_of_all(&self, items: &[Item], found: &mut Lazy, seen: &mut HashSet<usize>) {
        for item in items {
            self.add_begins(item, found, seen);
            if !may_be_empty(self.store, item, &self.empty) {
                break;
            }
        }
    }

    fn item(&mut self, item: &Item) -> Result<Item, Error> {
        Ok(match item {
            Item::Choice(items) => {
                // What is lazy itself ends before it could go on past its own end, so one set is right for all.
                let begins = if items.len() > 1 { self.begins(item) } else { Lazy::new() };
                let mut options = Vec::with_capacity(items.len());
                for item in items {
                    let item = self.item(item)?;
                    options.push(self.left_by(item, &begins)?);
                }
                Item::Choice(options)
            }
            Item::Sequence(items) => Item::Sequence(self.sequence(items)?),
            Item::Repeat(inner, min, max) => Item::Repeat(Box::new(self.item(inner)?), *min, *max),
            item => item.clone(),
        })
    }

    fn sequence(&mut self, items: &[Item]) -> Result<Vec<Item>, Error> {
        let Some((first, rest)) = items.split_first() else { return Ok(Vec::new()) };
        let mut after = self.sequence(rest)?;
        if let Item::Repeat(inner, min, max) = first
            && min < max
            && !rest.is_empty()
        {
            let (of_inner, mut of_rest) = (self.begins(inner), Lazy::new());
            self.add_begins_of_all(rest, &mut of_rest, &mut HashSet::new());
            let inner = self.item(inner)?;
            let inner = self.left_by(inner, &of_rest)?;
            let all = Item::Sequence(after);
            let left = self.left_by(all.clone(), &of_inner)?;
            if *max == 1 {
                return Ok(vec![Item::Choice(vec![Item::Sequence(vec![inner, all]), left])]);
            }
            return Ok(vec![Item::Repeat(Box::new(inner), *min, *max), left]);
        }
        let ends = self.ends(first);
        if !ends.is_empty() && !rest.is_empty() {
            after = vec![self.left_by(Item::Sequence(after), &ends)?];
        }
        let item = self.item(first)?;
        let begins = self.begins(first);
        if begins.is_empty() || rest.is_empty() || !may_be_empty(self.store, first, &self.empty) {
            after.insert(0, item);
            return Ok(after);
        }
        // Where it is empty what follows begins there as well.
        let alone = Item::Sequence(after.clone());
        self.count(&alone)?;
        let left = self.left_by(alone, &begins)?;
        after.insert(0, Item::Choice(split(self.store, &item, &self.empty, &|_| false).others));
        Ok(vec![Item::Choice(vec![Item::Sequence(after), left])])
    }

    /// The lazy expressions that may begin wherever an item has ended, as it ends in a repetition of them.
    fn ends(&self, item: &Item) -> Lazy {
        let (mut item, mut seen) = (item, HashSet::new());
        loop {
            match item {
                Item::Repeat(inner, _, UNBOUNDED) => return self.begins(inner),
                Item::Sequence(items) if !items.is_empty() => item = &items[items.len() - 1],
                Item::Rule(rule) | Item::Call(rule) if seen.insert(*rule) => item = &self.rules[*rule].body,
                _ => return Lazy::new(),
            }
        }
    }

    /// What is left of an item that is written already where something lazy may begin as well.
    fn left_by(&mut self, item: Item, others: &Lazy) -> Result<Item, Error> {
        if others.is_empty() {
            return Ok(item);
        }
        let mut options = Vec::new();
        for option in split(self.store, &item, &self.empty, &|_| false).others {
            options.push(match option {
                Item::Sequence(mut items) if !items.is_empty() => {
                    let first = items.remove(0);
                    items.insert(0, self.first_left_by(first, others)?);
                    Item::Sequence(items)
                }
                option => self.first_left_by(option, others)?,
            });
        }
        if may_be_empty(self.store, &item, &self.empty) {
            options.push(Item::Text(Vec::new()));
        }
        let left = Item::Choice(options);
        self.count(&left)?;
        Ok(left)
    }

    /// The same for what [`split`] has options begin with.
    fn first_left_by(&mut self, first: Item, others: &Lazy) -> Result<Item, Error> {
        Ok(match first {
            Item::Call(rule) | Item::Rule(rule) if self.stands_in_place(rule) => {
                self.open.push(rule);
                let body = self.item(&self.rules[rule].body)?;
                let left = self.left_by(body, others)?;
                self.open.pop();
                // The non-empty ones, as those of a call.
                Item::Choice(split(self.store, &left, &self.empty, &|_| false).others)
            }
            Item::Call(rule) | Item::Rule(rule) => Item::Call(self.rule_left_by(rule, others)?),
            Item::Text(text) => self.expression(self.store.literal(&text), others)?,
            Item::Class(ranges) => self.expression(self.store.char_class(&ranges), others)?,
            Item::Expr(e) => self.expression(e, others)?,
            Item::Read(e, read) => match self.expression(e, others)? {
                Item::Expr(left) => Item::Read(left, read),
                other => other,
            },
            // Options begin with none of these.
            other => other,
        })
    }

    /// Counts the items of what has been made, which can double with each item that may be empty.
    fn count(&mut self, made: &Item) -> Result<(), Error> {
        self.made += size(made);
        if self.made > self.limits.max_nodes / ITEM {
            return Err(Error::limit("lazy rules take the grammar apart into too many"));
        }
        Ok(())
    }

    /// Whether a rule is written in place of its call: heads of many rules are one expression where they stand side by side, and a
    /// stack each where they are called.
    fn stands_in_place(&self, rule: usize) -> bool {
        let short = |read: &Rule| size(&read.body) <= SHORT && !self.begins(&read.body).is_empty();
        !self.named && self.open.len() < DEPTH && !self.open.contains(&rule) && self.rules.get(rule).is_some_and(short)
    }

    fn expression(&mut self, e: ExprId, others: &Lazy) -> Result<Item, Error> {
        let store = self.store;
        // Values of a JSON Schema aren't regular, and don't begin as free text does.
        let Some(whole) = store.regular(e) else { return Ok(Item::Expr(e)) };
        let lazy = self.lazy.contains_key(&whole) || self.left.contains(&whole);
        // Several that end at one place may all be meant.
        let longer = if lazy { store.concat(store.scalar(), store.any_text()) } else { store.any_text() };
        // What begins with one of the lazy texts begins with one of those that these are the shortest of.
        let begun = store.union(others.iter().map(|e| store.untimed(self.lazy[e])));
        let made_of = self.lazy.get(&whole).filter(|_| others.contains(&whole)).copied();
        let left = store.inter([made_of.unwrap_or(whole), store.not(store.concat(begun, longer))]);
        if lazy {
            self.left.insert(left);
        }
        Ok(Item::Expr(match searched(store, left, self.limits)? {
            EMPTY => EMPTY,
            left if whole == e => left,
            // The non-empty ones, as of `e`.
            left if store.nullable(left) => store.non_empty(left),
            left => store.call_of(left),
        }))
    }

    fn rule_left_by(&mut self, rule: usize, others: &Lazy) -> Result<usize, Error> {
        // What is left of what others have left is what all of them leave.
        let (rule, others) = match rule.checked_sub(self.rules.len()) {
            None => (rule, others.clone()),
            Some(made) => {
                let (rule, before) = &self.origins[made];
                (*rule, before | others)
            }
        };
        let key = (rule, others);
        if let Some(&known) = self.known.get(&key) {
            return Ok(known);
        }
        if self.written.len() >= self.limits.max_nodes {
            return Err(Error::limit("lazy rules take the grammar apart into too many"));
        }
        let index = self.written.len();
        self.written.push(Rule { body: Item::Choice(Vec::new()), ..self.rules[rule].clone() });
        self.empty.push(self.empty[rule]);
        self.origins.push(key.clone());
        self.known.insert(key.clone(), index);
        let body = self.item(&self.rules[rule].body)?;
        self.written[index].body = self.left_by(body, &key.1)?;
        Ok(index)
    }
}

/// How many items an item has.
fn size(item: &Item) -> usize {
    match item {
        Item::Sequence(items) | Item::Choice(items) => 1 + items.iter().map(size).sum::<usize>(),
        Item::Repeat(inner, _, _) | Item::Read(_, inner) => 1 + size(inner),
        Item::Text(_) | Item::Class(_) | Item::Rule(_) | Item::Call(_) | Item::Expr(_) => 1,
    }
}
