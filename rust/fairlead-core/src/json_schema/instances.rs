//! Whether a value satisfies a schema: `const` and `enum` beside other keywords.

use serde_json::{Map, Value};

use super::composite::{Arrays, Literal, Objects};
use super::read::Reader;
use super::shape::{Demands, Strings, only, same};
use crate::automata::{Decimal, ExprId, Store, UNBOUNDED};
use crate::error::Error;

impl Reader<'_> {
    /// Whether a value satisfies some demands.
    pub(super) fn admits(&mut self, demands: &Demands, value: &Value) -> Result<bool, Error> {
        let shape = self.shape_of(demands)?;
        Ok(match value {
            Value::Null => shape.null,
            Value::Bool(b) => {
                if *b {
                    shape.yes
                } else {
                    shape.no
                }
            }
            Value::Number(n) => {
                Decimal::parse(&n.to_string()).is_some_and(|n| shape.numbers.iter().any(|r| r.contains(&n)))
            }
            Value::String(s) => shape.strings.iter().any(|r| r.contains(self.store, s)),
            Value::Array(_) => self.any_of(&shape.arrays, |me, a| me.admits_array(a, value))?,
            Value::Object(_) => self.any_of(&shape.objects, |me, o| me.admits_object(o, value))?,
        })
    }

    fn any_of<T>(
        &mut self,
        list: &[T],
        mut test: impl FnMut(&mut Self, &T) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        for item in list {
            if test(self, item)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn admits_array(&mut self, arrays: &Arrays, value: &Value) -> Result<bool, Error> {
        let Value::Array(items) = value else { return Ok(false) };
        if !(arrays.lo..=arrays.hi).contains(&(items.len() as u32))
            || arrays.exact.as_ref().is_some_and(|e| !same(e, value))
        {
            return Ok(false);
        }
        for (i, item) in items.iter().enumerate() {
            if !self.admits(arrays.item(i), item)? {
                return Ok(false);
            }
        }
        if arrays.unique.is_some() && items.iter().enumerate().any(|(i, a)| items[..i].iter().any(|b| same(a, b))) {
            return Ok(false);
        }
        for count in &arrays.counts {
            let mut matching = 0;
            for item in items.iter().skip(count.from as usize) {
                matching += u32::from(self.admits(&only(count.what), item)?);
            }
            if !(count.lo..=count.hi).contains(&matching) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn admits_object(&mut self, objects: &Objects, value: &Value) -> Result<bool, Error> {
        let Value::Object(map) = value else { return Ok(false) };
        if !(objects.lo..=objects.hi).contains(&(map.len() as u32))
            || objects.exact.as_ref().is_some_and(|e| !same(e, value))
            || !objects.required.iter().all(|key| map.contains_key(&**key))
        {
            return Ok(false);
        }
        for (key, item) in map {
            for names in &objects.names {
                if !self.admits(names, &Value::String(key.clone()))? {
                    return Ok(false);
                }
            }
            if !self.admits(&objects.demands(self.store, key), item)? {
                return Ok(false);
            }
        }
        let some = objects.some.iter().map(|(keys, demand)| Literal::Has(keys.clone(), *demand));
        for literal in some {
            if !self.holds(&literal, map)? {
                return Ok(false);
            }
        }
        for clause in &objects.clauses {
            if !self.any_of(clause, |me, literal| me.holds(literal, map))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn holds(&mut self, literal: &Literal, map: &Map<String, Value>) -> Result<bool, Error> {
        match literal {
            Literal::Lacks(key) => Ok(!map.contains_key(&**key)),
            Literal::Has(keys, demand) => {
                let mine = map.iter().filter(|(key, _)| keys.has(self.store, key));
                let mine: Vec<&Value> = mine.map(|(_, item)| item).collect();
                self.any_of(&mine, |me, item| me.admits(&only(*demand), item))
            }
        }
    }

    /// The texts of some strings, if there are no more than so many.
    pub(super) fn few_strings(&self, content: ExprId, most: usize) -> Result<Option<Vec<String>>, Error> {
        if self.store.takes_any_prefix(content) {
            return Ok(None);
        }
        if self.store.alive_within(content, self.limits.max_states).is_none() {
            return Err(Error::limit("whether the strings of this array admit anything takes too many states to tell"));
        }
        let words = self.store.few_words(content, most);
        Ok(words.map(|all| all.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned()).collect()))
    }

    /// The texts of the keys that `propertyNames` leaves.
    pub(super) fn key_content(&mut self, names: &Demands) -> Result<ExprId, Error> {
        let store = self.store;
        let texts = self.shape_of(names)?.strings.clone();
        Ok(text_content(store, &texts))
    }

    /// What these are certainly within.
    pub(super) fn key_within(&mut self, names: &Demands) -> Result<ExprId, Error> {
        let texts: Vec<Strings> =
            self.shape_of(names)?.strings.iter().map(|t| Strings { content: t.within, ..t.clone() }).collect();
        Ok(text_content(self.store, &texts))
    }
}

/// The texts of any of some strings.
pub(super) fn text_content(store: &Store, texts: &[Strings]) -> ExprId {
    store.union(texts.iter().map(|t| match &t.exact {
        Some(text) => store.literal(text.as_bytes()),
        None if t.lo == 0 && t.hi == UNBOUNDED => t.content,
        None => {
            let any_char = store.char_class(&[('\0', char::MAX)]);
            store.inter([t.content, store.repeat(any_char, t.lo, t.hi)])
        }
    }))
}
