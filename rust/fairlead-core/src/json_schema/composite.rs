//! Arrays and objects: conditions on their parts, and what has been looked at already.

use std::rc::Rc;

use super::IndexSet;
use serde_json::Value;

use super::shape::{ALWAYS, Demands, NEVER, add_new, both, only, opposite, same};
use crate::automata::{ExprId, Store, UNBOUNDED};

/// How many of the items from a position on satisfy a demand.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Count {
    pub(super) what: u32,
    pub(super) from: u32,
    pub(super) lo: u32,
    pub(super) hi: u32,
}

/// Items that keywords have looked at, for `unevaluatedItems`. Kept only where a schema has that keyword.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct EvaluatedItems {
    pub(super) all: bool,
    /// So many from the first on.
    pub(super) first: u32,
    /// Those that satisfy one of these demands.
    pub(super) matching: Vec<u32>,
}

impl EvaluatedItems {
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn join(&mut self, other: &Self) {
        self.all |= other.all;
        self.first = self.first.max(other.first);
        add_new(&mut self.matching, other.matching.clone());
    }
}

/// Arrays.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Arrays {
    pub(super) prefix: Vec<Demands>,
    pub(super) rest: Demands,
    pub(super) lo: u32,
    pub(super) hi: u32,
    pub(super) counts: Vec<Count>,
    /// No two items are equal; where that is said.
    pub(super) unique: Option<Rc<str>>,
    pub(super) evaluated: EvaluatedItems,
    /// Exactly this one; the other fields are conditions on it still to be checked.
    pub(super) exact: Option<Rc<Value>>,
}

impl Default for Arrays {
    fn default() -> Self {
        Self {
            prefix: Vec::new(),
            rest: Rc::new([]),
            lo: 0,
            hi: UNBOUNDED,
            counts: Vec::new(),
            unique: None,
            evaluated: EvaluatedItems::default(),
            exact: None,
        }
    }
}

impl Arrays {
    pub(super) fn item(&self, index: usize) -> &Demands {
        self.prefix.get(index).unwrap_or(&self.rest)
    }

    /// Whether every array of the other alternative is one of this, as far as the conditions themselves tell.
    pub(super) fn includes(&self, other: &Self) -> bool {
        let len = self.prefix.len().max(other.prefix.len());
        self.exact.is_none()
            && (self.unique.is_none() || other.unique.is_some())
            && self.lo <= other.lo
            && self.hi >= other.hi
            && (0..=len).all(|i| within(self.item(i), other.item(i)))
            && self.counts.iter().all(|c| {
                let tighter = |o: &Count| o.what == c.what && o.from == c.from && o.lo >= c.lo && o.hi <= c.hi;
                other.counts.iter().any(tighter)
            })
    }

    /// All items from a position on satisfy a demand too.
    pub(super) fn demand_from(&mut self, from: u32, demand: u32) {
        while self.prefix.len() < from as usize {
            self.prefix.push(self.rest.clone());
        }
        let demand = only(demand);
        for item in self.prefix.iter_mut().skip(from as usize).chain([&mut self.rest]) {
            *item = both(item, &demand);
        }
    }

    /// So many items satisfy a demand; `None` if no array can have them.
    pub(super) fn counting(mut self, count: &Count) -> Option<Self> {
        let Count { what, from, lo, hi } = *count;
        if lo > 0 {
            // Those before it are there as well.
            self.lo = self.lo.max(from.saturating_add(lo));
        }
        match what {
            _ if lo > hi => return None,
            NEVER if lo > 0 => return None,
            NEVER => {}
            ALWAYS if hi == UNBOUNDED => {}
            ALWAYS => self.hi = self.hi.min(from.saturating_add(hi)),
            _ if hi == 0 => self.demand_from(from, opposite(what)),
            _ if lo == 0 && hi == UNBOUNDED => {}
            _ => match self.counts.iter_mut().find(|c| c.what == what && c.from == from) {
                Some(old) => {
                    (old.lo, old.hi) = (old.lo.max(lo), old.hi.min(hi));
                    if old.lo > old.hi {
                        return None;
                    }
                }
                None => self.counts.push(count.clone()),
            },
        }
        (self.lo <= self.hi).then_some(self)
    }

    pub(super) fn meet(&self, other: &Self) -> Option<Self> {
        let exact = match (&self.exact, &other.exact) {
            (Some(a), Some(b)) if !same(a, b) => return None,
            (a, b) => a.clone().or_else(|| b.clone()),
        };
        let len = self.prefix.len().max(other.prefix.len());
        let mut met = Self {
            prefix: (0..len).map(|i| both(self.item(i), other.item(i))).collect(),
            rest: both(&self.rest, &other.rest),
            lo: self.lo.max(other.lo),
            hi: self.hi.min(other.hi),
            counts: self.counts.clone(),
            unique: self.unique.clone().or_else(|| other.unique.clone()),
            evaluated: self.evaluated.clone(),
            exact,
        };
        met.evaluated.join(&other.evaluated);
        // An item that nothing satisfies ends the array before it.
        if let Some(dead) = (0..=len).find(|&i| met.item(i).contains(&NEVER)) {
            met.hi = met.hi.min(dead as u32);
        }
        let met = other.counts.iter().try_fold(met, Self::counting)?;
        (met.lo <= met.hi).then_some(met)
    }
}

/// Whether every demand of the first list is in the second.
fn within(some: &Demands, all: &Demands) -> bool {
    all.contains(&NEVER) || some.iter().all(|demand| all.contains(demand))
}

/// Leaves those out that are included in others, while there are few enough to compare.
pub(super) fn widest<T>(all: Vec<T>, includes: impl Fn(&T, &T) -> bool) -> Vec<T> {
    if all.len() > 512 {
        return all;
    }
    let mut kept: Vec<T> = Vec::with_capacity(all.len());
    for one in all {
        if !kept.iter().any(|other| includes(other, &one)) {
            kept.retain(|other| !includes(&one, other));
            kept.push(one);
        }
    }
    kept
}

/// Which keys a condition on members is about.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Keys {
    /// This key.
    Named(Rc<str>),
    /// Keys that the pattern is found in.
    Matching(ExprId),
    /// All keys but these, and but those that one of the patterns is found in.
    Others(Rc<IndexSet<Rc<str>>>, Rc<[ExprId]>),
}

impl Keys {
    /// Whether a key is among them.
    pub(super) fn has(&self, store: &Store, key: &str) -> bool {
        let found = |pattern: &ExprId| store.matches(*pattern, key.as_bytes());
        match self {
            Self::Named(name) => **name == *key,
            Self::Matching(pattern) => found(pattern),
            Self::Others(names, patterns) => !names.contains(key) && !patterns.iter().any(found),
        }
    }
}

/// Members that keywords have looked at, for `unevaluatedProperties`. Kept only where a schema has that keyword.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct EvaluatedKeys {
    pub(super) all: bool,
    pub(super) keys: Vec<Keys>,
}

impl EvaluatedKeys {
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn join(&mut self, other: &Self) {
        self.all |= other.all;
        add_new(&mut self.keys, other.keys.clone());
    }

    /// The keys that nothing has looked at.
    pub(super) fn others(&self) -> Keys {
        let mut names: IndexSet<Rc<str>> = IndexSet::default();
        let mut patterns = Vec::new();
        for keys in &self.keys {
            match keys {
                Keys::Named(name) => drop(names.insert(name.clone())),
                Keys::Matching(pattern) => patterns.push(*pattern),
                Keys::Others(..) => {}
            }
        }
        Keys::Others(Rc::new(names), patterns.into())
    }
}

/// A condition on objects that one member can fulfil, or the lack of one.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Literal {
    /// There is no such member.
    Lacks(Rc<str>),
    /// Some member with such a key satisfies the demand.
    Has(Keys, u32),
}

impl Literal {
    /// The objects in which it holds.
    pub(super) fn objects(&self) -> Objects {
        match self {
            Self::Lacks(key) => Objects::without(key),
            Self::Has(Keys::Named(key), demand) => Objects {
                required: [key.clone()].into_iter().collect(),
                members: vec![(Keys::Named(key.clone()), only(*demand))],
                ..Objects::default()
            },
            Self::Has(keys, demand) => Objects { some: vec![(keys.clone(), *demand)], ..Objects::default() },
        }
    }

    /// Those in which it doesn't.
    pub(super) fn others(&self) -> Objects {
        match self {
            Self::Lacks(key) => Objects { required: [key.clone()].into_iter().collect(), ..Objects::default() },
            Self::Has(keys, demand) => {
                Objects { members: vec![(keys.clone(), only(opposite(*demand)))], ..Objects::default() }
            }
        }
    }
}

/// Objects.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Objects {
    /// Declared keys in their order.
    pub(super) order: IndexSet<Rc<str>>,
    pub(super) members: Vec<(Keys, Demands)>,
    /// For each of these, some member with such a key satisfies the demand.
    pub(super) some: Vec<(Keys, u32)>,
    /// Of each of these lists, some literal holds.
    pub(super) clauses: Vec<Rc<[Literal]>>,
    pub(super) required: IndexSet<Rc<str>>,
    /// Conditions on all keys.
    pub(super) names: Vec<Demands>,
    pub(super) lo: u32,
    pub(super) hi: u32,
    pub(super) evaluated: EvaluatedKeys,
    /// Exactly this one; the other fields are conditions on it still to be checked.
    pub(super) exact: Option<Rc<Value>>,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            order: IndexSet::default(),
            members: Vec::new(),
            some: Vec::new(),
            clauses: Vec::new(),
            required: IndexSet::default(),
            names: Vec::new(),
            lo: 0,
            hi: UNBOUNDED,
            evaluated: EvaluatedKeys::default(),
            exact: None,
        }
    }
}

impl Objects {
    /// Objects that have a member.
    pub(super) fn with(key: &Rc<str>) -> Self {
        let key = IndexSet::from_iter([key.clone()]);
        Self { order: key.clone(), required: key, ..Self::default() }
    }

    /// Objects that lack a member.
    pub(super) fn without(key: &Rc<str>) -> Self {
        Self { members: vec![(Keys::Named(key.clone()), Rc::new([NEVER]))], ..Self::default() }
    }

    /// Whether every object of the other alternative is one of this, as far as the conditions themselves tell.
    pub(super) fn includes(&self, other: &Self) -> bool {
        let told = |(keys, demands): &(Keys, Demands)| {
            demands.is_empty() || other.members.iter().any(|(k, d)| k == keys && within(demands, d))
        };
        self.exact.is_none()
            && self.lo <= other.lo
            && self.hi >= other.hi
            && self.required.iter().all(|key| other.required.contains(key))
            && self.some.iter().all(|some| other.some.contains(some))
            && self.clauses.iter().all(|clause| other.clauses.contains(clause))
            && self.names.iter().all(|names| other.names.contains(names))
            && self.members.iter().all(told)
    }

    /// What the value of a key has to satisfy.
    pub(super) fn demands(&self, store: &Store, key: &str) -> Demands {
        let mine = self.members.iter().filter(|(keys, _)| keys.has(store, key));
        mine.fold(Rc::new([]) as Demands, |all, (_, demands)| both(&all, demands))
    }

    /// Whether a member that must be there must not be.
    fn contradicts_itself(&self) -> bool {
        self.required.len() > self.hi as usize
            || self.members.iter().any(|(keys, demands)| match keys {
                Keys::Named(key) => demands.contains(&NEVER) && self.required.contains(key),
                _ => false,
            })
    }

    pub(super) fn meet(&self, other: &Self) -> Option<Self> {
        let exact = match (&self.exact, &other.exact) {
            (Some(a), Some(b)) if !same(a, b) => return None,
            (a, b) => a.clone().or_else(|| b.clone()),
        };
        let mut met = self.clone();
        met.order.extend(other.order.iter().cloned());
        met.required.extend(other.required.iter().cloned());
        for (keys, demands) in &other.members {
            match met.members.iter_mut().find(|(mine, _)| mine == keys) {
                Some((_, mine)) => *mine = both(mine, demands),
                None => met.members.push((keys.clone(), demands.clone())),
            }
        }
        for some in &other.some {
            if !met.some.contains(some) {
                met.some.push(some.clone());
            }
        }
        for clause in &other.clauses {
            if !met.clauses.contains(clause) {
                met.clauses.push(clause.clone());
            }
        }
        for names in &other.names {
            if !met.names.contains(names) {
                met.names.push(names.clone());
            }
        }
        met.lo = self.lo.max(other.lo);
        met.hi = self.hi.min(other.hi);
        met.evaluated.join(&other.evaluated);
        met.exact = exact;
        (met.lo <= met.hi && !met.contradicts_itself()).then_some(met)
    }
}
