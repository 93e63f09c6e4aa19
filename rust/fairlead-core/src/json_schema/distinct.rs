//! `uniqueItems`, where each item is one of finitely many values or a string.

use super::IndexSet;
use serde_json::Value;

use super::composite::Arrays;
use super::emit::{Emitter, spelled};
use super::instances::text_content;
use super::shape::{NEVER, Numbers, Shape, same};
use crate::automata::{Decimal, DistinctItem, DistinctSpec, DistinctValue, EMPTY, ExprId, UNBOUNDED};
use crate::error::Error;

/// So many values are told apart one by one.
const MANY_VALUES: usize = 256;
/// Strings that are fewer would run out while somebody still writes them.
const FEW_STRINGS: usize = 4096;

/// The values of all positions, by number.
type Values = Vec<Value>;

impl Emitter<'_, '_> {
    /// An array without equal items.
    pub(super) fn distinct(&mut self, arrays: &Arrays, pointer: &str) -> Result<ExprId, Error> {
        let unsupported = |what: &str| Error::unsupported(pointer, "uniqueItems", what);
        if !arrays.counts.is_empty() {
            return Err(unsupported("uniqueItems beside conditions on some of the items is not supported"));
        }
        let mut shapes = Vec::new();
        for demands in arrays.prefix.iter().chain([&arrays.rest]) {
            // An item that nothing satisfies ends the array before it.
            let dead = demands.contains(&NEVER) || shapes.len() >= arrays.hi as usize;
            shapes.push(if dead { std::rc::Rc::default() } else { self.reader.shape_of(demands)? });
        }
        // A string that is one of a few somewhere is told apart by its number, wherever it stands.
        let mut words: IndexSet<String> = IndexSet::default();
        let mut all = Vec::new();
        for shape in &shapes {
            let (mut few, mut many) = (Vec::new(), Vec::new());
            for strings in &shape.strings {
                let content = text_content(self.store, std::slice::from_ref(strings));
                match self.words(content, MANY_VALUES)? {
                    Some(found) => few.extend(found.into_iter().map(|word| (word, strings.exact.is_none()))),
                    None if self.words(content, FEW_STRINGS)?.is_some() => {
                        return Err(unsupported("uniqueItems over this many strings, and no more, is not supported"));
                    }
                    None => many.push(content),
                }
            }
            words.extend(few.iter().map(|(word, _)| word.clone()));
            all.push((few, self.store.union(many)));
        }
        let mut values = Values::new();
        let mut items = Vec::new();
        for (shape, (mut few, many)) in shapes.iter().zip(all) {
            let also = words.iter().filter(|word| self.store.matches(many, word.as_bytes()));
            few.extend(also.map(|word| (word.clone(), true)));
            let mut item = self.finite(shape, few, &mut values).map_err(|what| unsupported(&what))?;
            if many != EMPTY {
                let others = self.store.except(words.iter().map(|word| word.as_bytes().into()));
                let others = if words.is_empty() { many } else { self.store.inter([many, others]) };
                item.strings = Some(self.store.text(others, 0, UNBOUNDED));
            }
            items.push(item);
        }
        let rest = items.pop().unwrap_or_default();
        let spec = DistinctSpec { prefix: items.into(), rest, layout: self.layout() };
        Ok(self.store.distinct_array(spec, arrays.lo, arrays.hi, values.len() as u32))
    }

    /// The texts of some strings, if there are no more than so many.
    fn words(&self, content: ExprId, most: usize) -> Result<Option<Vec<String>>, Error> {
        if self.store.takes_any_prefix(content) {
            return Ok(None);
        }
        if self.store.alive_within(content, self.reader.limits.max_states).is_none() {
            return Err(Error::limit("whether the strings of this array admit anything takes too many states to tell"));
        }
        let words = self.store.few_words(content, most);
        Ok(words.map(|all| all.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned()).collect()))
    }

    /// The values of a position that are not told apart as strings.
    fn finite(
        &mut self,
        shape: &Shape,
        words: Vec<(String, bool)>,
        values: &mut Values,
    ) -> Result<DistinctItem, String> {
        // With whether its spelling is free, as that of a string is that the schema doesn't give itself.
        let mut mine: Vec<(Value, bool)> = Vec::new();
        let named = [(shape.null, Value::Null), (shape.yes, true.into()), (shape.no, false.into())];
        mine.extend(named.into_iter().filter(|(there, _)| *there).map(|(_, value)| (value, false)));
        for numbers in &shape.numbers {
            let all = whole_numbers(numbers).ok_or("uniqueItems over so many numbers is not supported yet")?;
            mine.extend(all.into_iter().map(|value| (value, false)));
        }
        mine.extend(words.into_iter().map(|(word, free)| (word.into(), free)));
        for arrays in &shape.arrays {
            let Some(value) = arrays.exact.clone() else {
                return Err("uniqueItems over arrays is not supported yet".to_owned());
            };
            if self.reader.admits_array(arrays, &value).map_err(|e| e.to_string())? {
                mine.push(((*value).clone(), false));
            }
        }
        for objects in &shape.objects {
            let Some(value) = objects.exact.clone() else {
                return Err("uniqueItems over objects is not supported yet".to_owned());
            };
            if self.reader.admits_object(objects, &value).map_err(|e| e.to_string())? {
                mine.push(((*value).clone(), false));
            }
        }
        let mut item: Vec<DistinctValue> = Vec::new();
        mine.sort_by_key(|(_, free)| !free);
        for (value, free) in mine {
            let known = values.iter().position(|v| same(v, &value));
            let number = known.unwrap_or(values.len()) as u32;
            if known.is_none() {
                values.push(value.clone());
            }
            if values.len() > MANY_VALUES {
                return Err(format!("uniqueItems over more than {MANY_VALUES} values is not supported yet"));
            }
            let spellings = match &value {
                Value::String(text) if free => self.store.text(self.store.literal(text.as_bytes()), 0, UNBOUNDED),
                _ => self.exactly(&value, self.depth_inside(self.depth)).map_err(|e| e.to_string())?,
            };
            let text = match &value {
                Value::String(text) if !free => Some(spelled(text)),
                Value::Null | Value::Bool(_) => Some(value.to_string().into_bytes().into()),
                _ => None,
            };
            if item.iter().all(|v| v.number != number) {
                item.push(DistinctValue { number, text, spellings });
            }
        }
        Ok(DistinctItem { values: item.into(), strings: None })
    }
}

/// All of some numbers, if they are few.
fn whole_numbers(numbers: &Numbers) -> Option<Vec<Value>> {
    let value = |n: &Decimal| serde_json::from_str::<Value>(&n.spelling()).ok();
    if let Some(exact) = &numbers.exact {
        return Some(vec![value(exact)?]);
    }
    let end = |bound: &Option<crate::automata::Bound>| -> Option<i64> {
        let spelling = bound.as_ref()?.value.spelling();
        let whole = spelling.split('.').next().unwrap_or_default();
        whole.parse().ok().filter(|n: &i64| n.abs() < 1 << 50)
    };
    if !numbers.range.integer {
        return None;
    }
    let (lo, hi) = (end(&numbers.range.lo)? - 1, end(&numbers.range.hi)? + 1);
    if usize::try_from(hi - lo).unwrap_or_default() > 4 * MANY_VALUES {
        return None;
    }
    let all = (lo..=hi).map(Decimal::integer).filter(|n| numbers.contains(n));
    all.map(|n| value(&n)).collect()
}
