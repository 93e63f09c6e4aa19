//! All values of a shape, if they are few: so many different items an array can have.

use hashbrown::{HashMap, HashSet};
use serde_json::{Map, Value};

use super::composite::{Arrays, Objects};
use super::distinct::{FEW_STRINGS, listed};
use super::instances::text_content;
use super::plan::{PlannedArray, PlannedObject};
use super::read::Reader;
use super::shape::{Demands, Shape, identity};
use crate::automata::EMPTY;
use crate::error::Error;

/// So many values are few.
const FEW_VALUES: usize = FEW_STRINGS;

/// Values that are listed have no more values within them than that, all together.
const MOST_NODES: usize = 1 << 16;

/// The values of some demands.
#[derive(Clone, Debug)]
pub(super) enum Values {
    /// Exactly these, each once.
    Few(Vec<Value>),
    /// More than [`FEW_VALUES`].
    Many,
}

/// Lists the values of demands that are planned.
pub(super) struct Counting<'r, 'a, F: Fn(&Demands) -> bool> {
    reader: &'r mut Reader<'a>,
    /// Whether demands can be satisfied.
    alive: F,
    /// What is being listed: values that hold such values are without end.
    open: Vec<Demands>,
    known: HashMap<Demands, Values>,
}

/// How many values there are in one, itself included.
fn nodes(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nodes).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(nodes).sum::<usize>(),
        _ => 1,
    }
}

/// Many values, if that is certain.
fn many<T>(certain: bool) -> Result<Option<T>, Error> {
    let what = "whether the items of an array run out, which have to be different, takes too many steps to tell";
    if certain { Ok(None) } else { Err(Error::limit(what)) }
}

impl<'r, 'a, F: Fn(&Demands) -> bool> Counting<'r, 'a, F> {
    pub(super) fn new(reader: &'r mut Reader<'a>, alive: F) -> Self {
        Self { reader, alive, open: Vec::new(), known: HashMap::new() }
    }

    /// The values that satisfy some demands.
    ///
    /// # Errors
    /// A limit: conditions that may leave few of very many values are among those.
    pub(super) fn values(&mut self, demands: &Demands) -> Result<Values, Error> {
        if !(self.alive)(demands) {
            return Ok(Values::Few(Vec::new()));
        }
        if let Some(known) = self.known.get(demands) {
            return Ok(known.clone());
        }
        if self.open.contains(demands) {
            return Ok(Values::Many);
        }
        self.open.push(demands.clone());
        let found = self.reader.shape_of(demands).and_then(|shape| self.of_shape(&shape));
        self.open.pop();
        let values = found?.map_or(Values::Many, Values::Few);
        self.known.insert(demands.clone(), values.clone());
        Ok(values)
    }

    fn of_shape(&mut self, shape: &Shape) -> Result<Option<Vec<Value>>, Error> {
        let mut all: Vec<Value> = Vec::new();
        let named = [(shape.null, Value::Null), (shape.yes, true.into()), (shape.no, false.into())];
        all.extend(named.into_iter().filter(|(there, _)| *there).map(|(_, value)| value));
        for numbers in &shape.numbers {
            match listed(numbers, FEW_VALUES) {
                Some(some) => all.extend(some),
                None if self.reader.number(numbers)? == EMPTY => {}
                // What is excluded are multiples, and so are others always left.
                None => {
                    let bounded = numbers.range.lo.is_some() && numbers.range.hi.is_some();
                    return many(numbers.excluded.is_empty() || !bounded);
                }
            }
        }
        for strings in &shape.strings {
            let content = text_content(self.reader.store, std::slice::from_ref(strings));
            let Some(some) = self.reader.few_strings(content, FEW_VALUES)? else { return Ok(None) };
            all.extend(some.into_iter().map(Value::from));
        }
        for arrays in &shape.arrays {
            let Some(some) = self.of_arrays(arrays)? else { return Ok(None) };
            for value in some {
                if self.reader.admits_array(arrays, &value)? {
                    all.push(value);
                }
            }
        }
        for objects in &shape.objects {
            let Some(some) = self.of_objects(objects)? else { return Ok(None) };
            for value in some {
                if self.reader.admits_object(objects, &value)? {
                    all.push(value);
                }
            }
        }
        let mut known = HashSet::new();
        all.retain(|value| known.insert(identity(value)));
        Ok((all.len() <= FEW_VALUES).then_some(all))
    }

    /// Arrays, those that are not admitted after all among them.
    fn of_arrays(&mut self, arrays: &Arrays) -> Result<Option<Vec<Value>>, Error> {
        if let Some(value) = &arrays.exact {
            return Ok(Some(vec![(**value).clone()]));
        }
        if !PlannedArray::new(arrays)?.alive(&self.alive) {
            return Ok(Some(Vec::new()));
        }
        let plain = arrays.counts.is_empty() && arrays.unique.is_none();
        let (mut all, mut begun) = (Vec::new(), vec![Vec::new()]);
        for index in 0..=arrays.hi {
            if index >= arrays.lo {
                all.extend(begun.iter().cloned().map(Value::Array));
            }
            if index == arrays.hi {
                break;
            }
            let Values::Few(items) = self.values(arrays.item(index as usize))? else {
                return many(arrays.counts.is_empty());
            };
            if begun.len() * items.len() + all.len() > FEW_VALUES {
                return many(plain);
            }
            let size = |all: &[Value]| all.iter().map(nodes).sum::<usize>();
            let longer = begun.iter().map(|one: &Vec<Value>| size(one)).sum::<usize>() * items.len();
            if longer + begun.len() * size(&items) > MOST_NODES {
                return many(false);
            }
            let longer = |one: &Vec<Value>, item: &Value| [one.clone(), vec![item.clone()]].concat();
            begun = begun.iter().flat_map(|one| items.iter().map(move |item| longer(one, item))).collect();
            if begun.is_empty() {
                break;
            }
        }
        Ok(Some(all))
    }

    /// Objects, those that are not admitted after all among them.
    fn of_objects(&mut self, objects: &Objects) -> Result<Option<Vec<Value>>, Error> {
        if let Some(value) = &objects.exact {
            return Ok(Some(vec![(**value).clone()]));
        }
        let mut all = Vec::new();
        for objects in self.reader.expanded(objects)? {
            let Some(more) = self.of_members(&objects)? else { return Ok(None) };
            all.extend(more);
        }
        Ok(Some(all))
    }

    fn of_members(&mut self, objects: &Objects) -> Result<Option<Vec<Value>>, Error> {
        let planned = PlannedObject::new(self.reader, objects)?.filter(|planned| planned.alive(&self.alive));
        let Some(planned) = planned else { return Ok(Some(Vec::new())) };
        let room = planned.hi > planned.declared.iter().filter(|member| member.required).count() as u32;
        let plain = planned.owed == 0;
        if room && planned.undeclared.iter().any(|kind| (self.alive)(&kind.demands)) {
            return many(plain);
        }
        let every_choice = plain && planned.lo == 0 && planned.hi as usize >= planned.declared.len();
        let mut begun: Vec<Map<String, Value>> = vec![Map::new()];
        // What is easily told comes first.
        let mut members = Vec::new();
        for member in planned.declared.iter().filter(|member| member.required || room) {
            members.push((self.reader.shape_of(&member.demands)?.composites(), member));
        }
        members.sort_by_key(|(composites, _)| *composites);
        for (_, member) in members {
            let Values::Few(values) = self.values(&member.demands)? else { return many(plain) };
            if begun.len() * (values.len() + 1) > 4 * FEW_VALUES {
                return many(every_choice);
            }
            let longer = begun.iter().map(|one| one.values().map(nodes).sum::<usize>()).sum::<usize>() * values.len();
            if longer + begun.len() * values.iter().map(nodes).sum::<usize>() > MOST_NODES {
                return many(false);
            }
            let with = |(one, value): (&Map<String, Value>, &Value)| {
                let mut longer = one.clone();
                longer.insert(member.key.to_string(), value.clone());
                longer
            };
            let pairs = begun.iter().flat_map(|one| values.iter().map(move |value| (one, value)));
            let more: Vec<_> = pairs.map(with).collect();
            if member.required {
                begun = more;
            } else {
                begun.extend(more);
            }
        }
        Ok(Some(begun.into_iter().map(Value::Object).collect()))
    }
}
