//! Arrays and objects ready to be emitted: which demands meet at each item and member, and what has to happen
//! somewhere among them.

use std::borrow::Cow;
use std::ops::BitOr;
use std::rc::Rc;

use super::IndexSet;
use hashbrown::HashSet;

use super::composite::{Arrays, Count, Keys, Literal, Objects};
use super::read::Reader;
use super::shape::{ALWAYS, Demands, both, only, opposite};
use crate::automata::{ExprId, Kinds, MemberWays, Tally, UNBOUNDED, members_owed};
use crate::error::Error;

/// Up to so many possible undeclared keys are enumerated.
pub(crate) const FEW_KEYS: usize = 128;
/// Conditions on how many items match that may meet in one array: each doubles the ways to read an item.
const MANY_COUNTS: usize = 6;
/// Conditions that some member has to fulfil, in one object; and sets of them that the values of one key can fulfil.
const MANY_OBLIGATIONS: usize = 15;
const MANY_AT_A_KEY: usize = 32;
/// Steps that one question about an array with counts may take.
const MANY_STEPS: f64 = 20_000.0;

/// An array ready to be emitted: for each item the demands, for each set of tallies that it may count for.
#[derive(Debug)]
pub(super) struct PlannedArray {
    pub(super) prefix: Vec<Vec<(u16, Demands)>>,
    pub(super) rest: Vec<(u16, Demands)>,
    pub(super) total: Tally,
    pub(super) tallies: Vec<Tally>,
    /// Where it is said that no two items are equal, if a matcher has to compare them.
    pub(super) unique: Option<Rc<str>>,
    /// The tallies by which a value comes once at most, one bit each.
    pub(super) once: u16,
}

impl PlannedArray {
    pub(super) fn new(arrays: &Arrays) -> Result<Self, Error> {
        Self::with_once(arrays, &[])
    }

    /// The same where some demands, each of one value, are satisfied by one item at most.
    pub(super) fn with_once(arrays: &Arrays, once: &[u32]) -> Result<Self, Error> {
        if arrays.counts.len() + once.len() > MANY_COUNTS {
            let what = format!("more than {MANY_COUNTS} conditions on the number of matching items meet in one array");
            return Err(Error::limit(what));
        }
        let bits = ((1u16 << once.len()) - 1) << arrays.counts.len();
        let mut arrays = Cow::Borrowed(arrays);
        if !once.is_empty() {
            let counts = once.iter().map(|&what| Count { what, lo: 0, hi: 1, from: 0 });
            arrays.to_mut().counts.extend(counts);
        }
        let arrays = &*arrays;
        let listed = arrays.counts.iter().map(|c| c.from as usize).fold(arrays.prefix.len(), usize::max);
        let at = |index: usize| choices(arrays, index);
        let tallies: Vec<Tally> = arrays.counts.iter().map(|c| Tally { lo: c.lo, hi: c.hi }).collect();
        let total = Tally { lo: arrays.lo, hi: arrays.hi };
        let (prefix, rest) = ((0..listed).map(at).collect(), at(listed));
        let unique = arrays.unique.clone().filter(|_| arrays.hi > 1);
        let planned = Self { prefix, rest, total, tallies, unique, once: bits };
        if planned.kinds(&|_| true).cost(total, &planned.tallies) > MANY_STEPS && !planned.tallies.is_empty() {
            return Err(Error::limit("the counts of matching items are too large in this combination"));
        }
        Ok(planned)
    }

    pub(super) fn demands(&self) -> impl Iterator<Item = &Demands> {
        self.prefix.iter().chain([&self.rest]).flatten().map(|(_, demands)| demands)
    }

    fn kinds(&self, alive: &impl Fn(&Demands) -> bool) -> Kinds {
        let of = |choices: &Vec<(u16, Demands)>| -> Vec<u16> {
            choices.iter().filter(|(_, demands)| alive(demands)).map(|(kind, _)| *kind).collect()
        };
        Kinds { prefix: self.prefix.iter().map(of).collect(), rest: of(&self.rest) }
    }

    /// Whether there is such an array, where it is known which demands can be satisfied.
    pub(super) fn alive(&self, alive: &impl Fn(&Demands) -> bool) -> bool {
        self.total.lo <= self.total.hi && self.kinds(alive).completable(0, self.total, &self.tallies)
    }
}

/// What the item at an index may be. Where only a least number is asked for, an item that matches need not count; where
/// there is a greatest, what doesn't count must not match.
fn choices(arrays: &Arrays, index: usize) -> Vec<(u16, Demands)> {
    let mut out = vec![(0u16, arrays.item(index).clone())];
    let counts = arrays.counts.iter().enumerate().filter(|(_, c)| c.from as usize <= index);
    for (i, Count { what, hi, .. }) in counts {
        let with = |demands: &Demands, demand: u32| both(demands, &only(demand));
        let hits: Vec<_> = out.iter().map(|(kind, demands)| (kind | 1 << i, with(demands, *what))).collect();
        if *hi != UNBOUNDED {
            for (_, demands) in &mut out {
                *demands = with(demands, opposite(*what));
            }
        }
        out.extend(hits);
    }
    out
}

/// A member whose key is known.
#[derive(Debug)]
pub(super) struct PlannedMember {
    pub(super) key: Rc<str>,
    pub(super) demands: Demands,
    pub(super) required: bool,
    /// Demands that fulfil obligations of the object, one bit each.
    pub(super) fulfils: Vec<(u16, Demands)>,
    /// Obligations that are fulfilled if it isn't there.
    pub(super) absent: u16,
}

/// A kind of undeclared keys.
#[derive(Debug)]
pub(super) struct PlannedKind {
    pub(super) content: ExprId,
    pub(super) demands: Demands,
    pub(super) fulfils: Vec<(u16, Demands)>,
}

/// An object ready to be emitted: its demands by key.
#[derive(Debug)]
pub(super) struct PlannedObject {
    pub(super) declared: Vec<PlannedMember>,
    /// How many of them the schema names; the others are all the undeclared keys that there can be.
    pub(super) named: usize,
    /// How many of them are in the schema's order.
    pub(super) ordered: usize,
    pub(super) undeclared: Vec<PlannedKind>,
    pub(super) lo: u32,
    pub(super) hi: u32,
    /// What some member has to fulfil, one bit each.
    pub(super) owed: u16,
}

/// What members fulfil.
struct Obligations<'o> {
    /// Of each obligation, the literals of which one must hold.
    all: Vec<Vec<Cow<'o, Literal>>>,
}

impl<'o> Obligations<'o> {
    fn of(objects: &'o Objects) -> Result<Self, Error> {
        let some = objects.some.iter().map(|(keys, demand)| vec![Cow::Owned(Literal::Has(keys.clone(), *demand))]);
        let clauses = objects.clauses.iter().map(|clause| clause.iter().map(Cow::Borrowed).collect());
        let all: Vec<_> = some.chain(clauses).collect();
        if all.len() > MANY_OBLIGATIONS {
            let what = format!("more than {MANY_OBLIGATIONS} conditions that some member has to fulfil meet");
            return Err(Error::limit(what));
        }
        Ok(Self { all })
    }

    fn literals(&self) -> impl Iterator<Item = (u16, &Literal)> {
        self.all.iter().enumerate().flat_map(|(i, literals)| literals.iter().map(move |literal| (1 << i, &**literal)))
    }

    /// The keys that they are about.
    fn keys(&self) -> impl Iterator<Item = &Keys> {
        self.literals().filter_map(|(_, literal)| match literal {
            Literal::Has(keys, _) => Some(keys),
            Literal::Lacks(_) => None,
        })
    }

    /// Keys that are named one by one.
    fn named(&self) -> impl Iterator<Item = &Rc<str>> {
        self.literals().filter_map(|(_, literal)| match literal {
            Literal::Has(Keys::Named(key), _) | Literal::Lacks(key) => Some(key),
            Literal::Has(..) => None,
        })
    }

    /// Those that are fulfilled if there is no such member.
    fn without(&self, key: &str) -> u16 {
        let lacks = |(bit, literal): (u16, &Literal)| match literal {
            Literal::Lacks(name) if **name == *key => bit,
            _ => 0,
        };
        self.literals().map(lacks).fold(0, BitOr::bitor)
    }

    /// The ways in which the value of one member fulfils some: sets of obligations, each with what it takes.
    fn fulfilments(
        &self,
        reader: &mut Reader<'_>,
        demands: &Demands,
        concerned: impl Fn(&Keys) -> bool,
    ) -> Result<Vec<(u16, Demands)>, Error> {
        let mut anyway = 0;
        let mut asked = Vec::new();
        for (bit, literal) in self.literals() {
            match literal {
                Literal::Has(keys, ALWAYS) if concerned(keys) => anyway |= bit,
                Literal::Has(keys, demand) if concerned(keys) => asked.push((bit, *demand)),
                _ => {}
            }
        }
        asked.retain(|(bit, _)| anyway & bit == 0);
        // What values fulfil, with what exactly they are: together all values.
        let mut cells = vec![(anyway, demands.clone(), demands.clone())];
        for (bit, demand) in asked {
            let mut more = Vec::with_capacity(cells.len() * 2);
            for (of, takes, exactly) in cells {
                let (yes, no) = (both(&exactly, &only(demand)), both(&exactly, &only(opposite(demand))));
                if of & bit == 0 && !reader.is_empty(&yes)? {
                    more.push((of | bit, both(&takes, &only(demand)), yes));
                }
                if of & bit != 0 || !reader.is_empty(&no)? {
                    more.push((of, takes, if of & bit == 0 { no } else { exactly }));
                }
            }
            cells = more;
            if cells.len() > MANY_AT_A_KEY {
                let what = "too many conditions that some member has to fulfil meet at one key";
                return Err(Error::limit(what));
            }
        }
        let ways = cells.into_iter().filter(|(of, ..)| *of != 0).map(|(of, takes, _)| (of, takes));
        Ok(ways.collect())
    }
}

impl PlannedObject {
    /// `None` if there is no such object.
    pub(super) fn new(reader: &mut Reader<'_>, objects: &Objects) -> Result<Option<Self>, Error> {
        let store = reader.store;
        let obligations = Obligations::of(objects)?;
        let named = objects.members.iter().filter_map(|(keys, _)| match keys {
            Keys::Named(key) => Some(key),
            _ => None,
        });
        let named = objects.order.iter().chain(&objects.required).chain(named).chain(obligations.named());
        let mut keys: IndexSet<Rc<str>> = named.cloned().collect();
        // Keys that an exception names are to be told apart as well.
        let all = objects.members.iter().map(|(keys, _)| keys).chain(obligations.keys());
        for excepted in all {
            if let Keys::Others(names, _) = excepted {
                keys.extend(names.iter().cloned());
            }
        }
        let mut names = Vec::new();
        for demands in &objects.names {
            names.push(reader.key_content(demands)?);
        }
        let admitted = |key: &str| names.iter().all(|content| store.matches(*content, key.as_bytes()));
        let mut owed = ((1u32 << obligations.all.len()) - 1) as u16;
        let mut declared = Vec::new();
        for key in &keys {
            let required = objects.required.contains(key);
            if admitted(key) {
                let demands = objects.demands(store, key);
                let fulfils = obligations.fulfilments(reader, &demands, |keys| keys.has(store, key))?;
                let absent = obligations.without(key);
                declared.push(PlannedMember { key: key.clone(), demands, required, fulfils, absent });
            } else if required {
                return Ok(None);
            } else {
                owed &= !obligations.without(key);
            }
        }
        let named = declared.len();
        let ordered = if reader.options.any_order { 0 } else { named };
        let mut undeclared = Vec::new();
        for kind in undeclared_kinds(reader, objects, &obligations, &keys, &names)? {
            // A few possible keys are as good as declared ones, and it is known when they run out.
            match store.few_words(kind.content, FEW_KEYS) {
                Some(words) => declared.extend(words.into_iter().map(|word| PlannedMember {
                    key: String::from_utf8_lossy(&word).into(),
                    demands: kind.demands.clone(),
                    required: false,
                    fulfils: kind.fulfils.clone(),
                    absent: 0,
                })),
                None => undeclared.push(kind),
            }
        }
        let (lo, hi) = (objects.lo, objects.hi);
        if lo > 0 && !undeclared.is_empty() {
            let needed = lo as usize;
            let mut room = 0usize;
            for kind in &undeclared {
                let words = store.few_words(kind.content, needed);
                room = room.saturating_add(words.map_or(usize::MAX, |words| words.len()));
            }
            if room < needed {
                if room.saturating_add(declared.len()) < needed {
                    return Ok(None);
                }
                let what = "minProperties near the number of keys that the patterns of keys admit is not supported";
                return Err(Error::unsupported("", "minProperties", what));
            }
        }
        Ok(Some(Self { declared, named, ordered, undeclared, lo, hi, owed }))
    }

    pub(super) fn demands(&self) -> impl Iterator<Item = &Demands> {
        let declared = self.declared.iter().map(|m| (&m.demands, &m.fulfils));
        let undeclared = self.undeclared.iter().map(|k| (&k.demands, &k.fulfils));
        declared.chain(undeclared).flat_map(|(d, fulfils)| fulfils.iter().map(|(_, d)| d).chain([d]))
    }

    /// Whether there is such an object, where it is known which demands can be satisfied.
    pub(super) fn alive(&self, alive: &impl Fn(&Demands) -> bool) -> bool {
        let required = self.declared.iter().filter(|m| m.required);
        let possible = self.declared.iter().filter(|m| alive(&m.demands)).count() as u32;
        let free = self.undeclared.iter().any(|kind| alive(&kind.demands));
        required.clone().all(|m| alive(&m.demands))
            && required.count() as u32 <= self.hi
            && (free || possible >= self.lo)
            && self.can_fulfil(alive)
    }

    fn can_fulfil(&self, alive: &impl Fn(&Demands) -> bool) -> bool {
        if self.owed == 0 {
            return true;
        }
        let ways = |fulfils: &[(u16, Demands)]| -> Vec<u16> {
            fulfils.iter().filter(|(_, demands)| alive(demands)).map(|(of, _)| *of).collect()
        };
        let member = |m: &PlannedMember| MemberWays {
            required: m.required,
            present: if alive(&m.demands) { ways(&m.fulfils) } else { Vec::new() },
            absent: m.absent,
        };
        let members: Vec<MemberWays> = self.declared.iter().map(member).collect();
        let again: Vec<Vec<u16>> = self.undeclared.iter().map(|kind| ways(&kind.fulfils)).collect();
        let required = members.iter().filter(|m| m.required).count() as u32;
        let more = members_owed(self.owed, &members, &again, self.hi);
        more.is_some_and(|more| required.saturating_add(more) <= self.hi)
    }
}

/// Undeclared keys, divided by which of the patterns they match.
fn undeclared_kinds(
    reader: &mut Reader<'_>,
    objects: &Objects,
    obligations: &Obligations<'_>,
    keys: &IndexSet<Rc<str>>,
    names: &[ExprId],
) -> Result<Vec<PlannedKind>, Error> {
    let store = reader.store;
    let mut patterns: IndexSet<ExprId> = IndexSet::default();
    let about = objects.members.iter().map(|(keys, _)| keys).chain(obligations.keys());
    for keys in about {
        match keys {
            Keys::Matching(pattern) => drop(patterns.insert(*pattern)),
            Keys::Others(_, excluded) => patterns.extend(excluded.iter().copied()),
            Keys::Named(_) => {}
        }
    }
    if patterns.len() > 12 {
        return Err(Error::limit("more than 12 patterns of keys meet in one object"));
    }
    let except = store.except(keys.iter().map(|k| k.as_bytes().into()));
    let base: Vec<ExprId> = [store.any_text(), except].into_iter().chain(names.iter().copied()).collect();
    let max_states = reader.limits.max_states;
    let mut out = Vec::new();
    for choice in 0u32..1 << patterns.len() {
        let matched: HashSet<ExprId> =
            patterns.iter().enumerate().filter(|(i, _)| choice >> i & 1 == 1).map(|(_, p)| *p).collect();
        let parts = patterns.iter().map(|p| if matched.contains(p) { *p } else { store.not(*p) });
        let content = store.inter(base.iter().copied().chain(parts));
        match store.alive_within(content, max_states) {
            Some(false) => continue,
            Some(true) => {}
            None => return Err(Error::limit("the patterns of keys take too many states to tell apart")),
        }
        let concerned = |about: &Keys| match about {
            Keys::Named(_) => false,
            Keys::Matching(pattern) => matched.contains(pattern),
            Keys::Others(_, excluded) => !excluded.iter().any(|p| matched.contains(p)),
        };
        let mine = objects.members.iter().filter(|(keys, _)| concerned(keys));
        let demands = mine.fold(Rc::new([]) as Demands, |all, (_, more)| both(&all, more));
        let fulfils = obligations.fulfilments(reader, &demands, concerned)?;
        out.push(PlannedKind { content, demands, fulfils });
    }
    Ok(out)
}
