//! `uniqueItems`: where each item is one of finitely many values or a string the values that were written are part of the
//! state; other arrays are read as any, and a matcher compares their items. There it matters only how many values there are.

use super::IndexSet;
use hashbrown::HashSet;
use serde_json::Value;

use super::composite::Arrays;
use super::emit::{Emitter, spelled};
use super::few::{Counting, Values as Found};
use super::instances::text_content;
use super::plan::PlannedArray;
use super::shape::{Demands, NEVER, Numbers, Shape, same};
use crate::automata::{Decimal, DistinctItem, DistinctSpec, DistinctValue, EMPTY, ExprId, UNBOUNDED};
use crate::error::Error;

/// So many values are told apart one by one.
const MANY_VALUES: usize = 256;
/// Strings that are fewer would run out while somebody still writes them.
pub(super) const FEW_STRINGS: usize = 4096;

/// The values of all positions, by number.
type Values = Vec<Value>;

impl Emitter<'_, '_> {
    /// An array without equal items, if each is one of finitely many values or a string.
    pub(super) fn distinct(&mut self, arrays: &Arrays) -> Result<Option<ExprId>, Error> {
        if !arrays.counts.is_empty() {
            return Ok(None);
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
                match self.reader.few_strings(content, MANY_VALUES)? {
                    Some(found) => few.extend(found.into_iter().map(|word| (word, strings.exact.is_none()))),
                    None if self.reader.few_strings(content, FEW_STRINGS)?.is_some() => return Ok(None),
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
            let Some(mut item) = self.finite(shape, few, &mut values)? else { return Ok(None) };
            if many != EMPTY {
                let others = self.store.except(words.iter().map(|word| word.as_bytes().into()));
                let others = if words.is_empty() { many } else { self.store.inter([many, others]) };
                item.strings = Some(self.store.text(others, 0, UNBOUNDED));
            }
            items.push(item);
        }
        let rest = items.pop().unwrap_or_default();
        let spec = DistinctSpec { prefix: items.into(), rest, layout: self.layout() };
        Ok(Some(self.store.distinct_array(spec, arrays.lo, arrays.hi, values.len() as u32)))
    }

    /// The demands of `null`, `true` and `false` where an item can be nothing else: a position runs out of such values if others
    /// take them, so that they are counted. Other values may be spelled in several ways, of which a demand for one has only one.
    pub(super) fn once(&mut self, arrays: &Arrays) -> Result<Vec<u32>, Error> {
        let mut found = Shape::default();
        let positions = arrays.prefix.iter().chain([&arrays.rest]);
        for demands in positions.filter(|demands| !demands.contains(&NEVER)) {
            let shape = self.reader.shape_of(demands)?;
            if shape.alternatives() == 0 {
                found.null |= shape.null;
                found.yes |= shape.yes;
                found.no |= shape.no;
            }
        }
        let there = [(found.null, Value::Null), (found.yes, true.into()), (found.no, false.into())];
        Ok(there.iter().filter(|(there, _)| *there).map(|(_, value)| self.reader.exactly(value)).collect())
    }

    /// Bounds arrays that are compared by their items to as many as there are values; whether some had to be longer.
    ///
    /// # Errors
    /// A limit, or items that run out where that depends on their positions.
    pub(super) fn bound_unique(&mut self) -> Result<bool, Error> {
        let Self { reader, slots, .. } = self;
        let unique = |slot: &super::emit::Slot| slot.arrays.iter().any(|array| array.unique.is_some());
        if !slots.values().any(unique) {
            return Ok(false);
        }
        let alive: HashSet<Demands> =
            slots.iter().filter(|(_, slot)| slot.alive).map(|(place, _)| place.demands.clone()).collect();
        let mut counting = Counting::new(reader, |demands: &Demands| alive.contains(demands));
        let mut changed = false;
        for array in slots.values_mut().flat_map(|slot| &mut slot.arrays) {
            let Some(pointer) = array.unique.clone() else { continue };
            let bound = item_values(&mut counting, array, &pointer).map_err(|e| e.at_pointer(&pointer))?;
            changed |= array.total.lo <= array.total.hi && array.total.lo > bound;
            array.total.hi = array.total.hi.min(bound);
        }
        Ok(changed)
    }

    /// The values of a position that are not told apart as strings, if they are few.
    fn finite(
        &mut self,
        shape: &Shape,
        words: Vec<(String, bool)>,
        values: &mut Values,
    ) -> Result<Option<DistinctItem>, Error> {
        // With whether its spelling is free, as that of a string is that the schema doesn't give itself.
        let mut mine: Vec<(Value, bool)> = Vec::new();
        let named = [(shape.null, Value::Null), (shape.yes, true.into()), (shape.no, false.into())];
        mine.extend(named.into_iter().filter(|(there, _)| *there).map(|(_, value)| (value, false)));
        for numbers in &shape.numbers {
            let Some(all) = listed(numbers, MANY_VALUES) else { return Ok(None) };
            mine.extend(all.into_iter().map(|value| (value, false)));
        }
        mine.extend(words.into_iter().map(|(word, free)| (word.into(), free)));
        for arrays in &shape.arrays {
            let Some(value) = arrays.exact.clone() else { return Ok(None) };
            if self.reader.admits_array(arrays, &value)? {
                mine.push(((*value).clone(), false));
            }
        }
        for objects in &shape.objects {
            let Some(value) = objects.exact.clone() else { return Ok(None) };
            if self.reader.admits_object(objects, &value)? {
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
                return Ok(None);
            }
            let spellings = match &value {
                Value::String(text) if free => self.store.text(self.store.literal(text.as_bytes()), 0, UNBOUNDED),
                _ => self.exactly(&value, self.depth_inside(self.depth))?,
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
        Ok(Some(DistinctItem { values: item.into(), strings: None }))
    }
}

/// How many different items an array may have at most, all positions being alike; without bound if none runs out.
fn item_values<F: Fn(&Demands) -> bool>(
    counting: &mut Counting<'_, '_, F>,
    array: &PlannedArray,
    pointer: &str,
) -> Result<u32, Error> {
    let mut bound = UNBOUNDED;
    let choices = array.prefix.iter().chain([&array.rest]).flatten();
    for (_, demands) in choices.filter(|(kind, _)| kind & array.once == 0) {
        match counting.values(demands)? {
            Found::Few(all) if array.prefix.is_empty() && array.tallies.is_empty() => bound = all.len() as u32,
            Found::Few(all) if !all.is_empty() => {
                let what = "uniqueItems over few values beside conditions on some of the items is not supported";
                return Err(Error::unsupported(pointer, "uniqueItems", what));
            }
            _ => {}
        }
    }
    Ok(bound)
}

/// All of some numbers; `None` if they are more than so many, before those that are excluded.
pub(super) fn listed(numbers: &Numbers, most: usize) -> Option<Vec<Value>> {
    let value = |n: &Decimal| serde_json::from_str::<Value>(&n.spelling()).ok();
    if let Some(exact) = &numbers.exact {
        return Some(vec![value(exact)?]);
    }
    let range = &numbers.range;
    let (lo, hi) = (&range.lo.as_ref()?.value, &range.hi.as_ref()?.value);
    let one = Decimal::integer(1);
    let all = match &range.multiple_of {
        _ if lo == hi => vec![lo.clone()],
        Some(step) if range.integer => step.lcm(&one).multiples(lo, hi, most)?,
        Some(step) => step.multiples(lo, hi, most)?,
        None if range.integer => one.multiples(lo, hi, most)?,
        None => return None,
    };
    all.iter().filter(|n| numbers.contains(n)).map(value).collect()
}
