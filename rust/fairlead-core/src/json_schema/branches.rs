//! Schemas of which several, one, or the one or the other have to hold.

use std::ops::{BitOr, Not};
use std::rc::Rc;

use hashbrown::HashMap;
use serde_json::Value;

use super::composite::Objects;
use super::document::{Place, escaped, keywords};
use super::read::Reader;
use super::shape::{Demands, Shape, both};
use crate::error::Error;

/// Two branches of a `oneOf`: its pointer, and their indices.
pub(super) type Branches = (String, usize, usize);

/// Branches that have values in common, with the types of these.
pub(super) type Overlapping = HashMap<Branches, Types>;

/// Types of values, as far as it matters where branches overlap: those of objects and arrays are large when they are negated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Types {
    pub(super) scalars: bool,
    pub(super) arrays: bool,
    pub(super) objects: bool,
}

impl Types {
    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Those that others lack.
    pub(super) fn without(self, others: Self) -> Self {
        !(!self | others)
    }

    /// The values of a shape that are of these types.
    fn of(self, shape: &Shape) -> Shape {
        let mut part = shape.clone();
        if !self.scalars {
            part = Shape { arrays: part.arrays, objects: part.objects, ..Shape::default() };
        }
        if !self.arrays {
            part.arrays.clear();
        }
        if !self.objects {
            part.objects.clear();
        }
        part
    }
}

impl BitOr for Types {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self {
            scalars: self.scalars | other.scalars,
            arrays: self.arrays | other.arrays,
            objects: self.objects | other.objects,
        }
    }
}

impl Not for Types {
    type Output = Self;

    fn not(self) -> Self {
        Self { scalars: !self.scalars, arrays: !self.arrays, objects: !self.objects }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn read_combination(
        &mut self,
        place: &Place<'a>,
        keyword: &str,
        value: &'a Value,
        shape: &mut Shape,
    ) -> Result<(), Error> {
        let at = format!("{}/{keyword}", place.pointer);
        let branches = value
            .as_array()
            .filter(|list| !list.is_empty())
            .ok_or_else(|| Error::schema(&*at, format!("{keyword} must be a list of schemas")))?;
        let mut shapes: Vec<Rc<Shape>> = Vec::new();
        let mut demands: Vec<Demands> = Vec::new();
        for (i, branch) in branches.iter().enumerate() {
            let tail = format!("/{keyword}/{i}");
            let branch_shape = self.subschema(place, branch, format_args!("{tail}"))?;
            if keyword == "allOf" {
                *shape = self.meet(shape, &branch_shape, &place.pointer)?;
            } else {
                demands.push(self.sub(place, branch, format_args!("{tail}"))?);
                shapes.push(branch_shape);
            }
        }
        if keyword == "allOf" {
            return Ok(());
        }
        // For each branch of `oneOf` those that it overlaps with, and where.
        let mut beside: Vec<Vec<(usize, Types)>> = vec![Vec::new(); shapes.len()];
        if keyword == "oneOf" {
            for (i, a) in demands.iter().enumerate() {
                for (j, b) in demands[..i].iter().enumerate() {
                    let pair = (at.clone(), i, j);
                    let known = self.overlapping.get(&pair).copied().unwrap_or_default();
                    if !known.is_none() {
                        beside[i].push((j, known));
                        beside[j].push((i, known));
                    }
                    self.exclusive.push((both(a, b), pair));
                }
            }
        }
        let mut others: HashMap<(usize, Types), Shape> = HashMap::new();
        for &(i, types) in beside.iter().flatten() {
            if !others.contains_key(&(i, types)) {
                let other = self.complement(&types.of(&shapes[i]), &format!("{at}/{i}"))?;
                others.insert((i, types), other);
            }
        }
        let mut union = Shape::default();
        for (branch, beside) in shapes.iter().zip(&beside) {
            let mut only = (**branch).clone();
            for other in beside {
                only = self.meet(&only, &others[other], &at)?;
            }
            if keyword == "anyOf" && self.documents.evaluates {
                self.join_seen(&union.clone(), &only, &mut union, &at)?;
            }
            union.join(only);
        }
        *shape = self.meet(shape, &union, &place.pointer)?;
        Ok(())
    }

    /// Several branches of `anyOf` may hold, and then what either has looked at counts. That the others fail need not
    /// be said: to have looked at less never lets more through.
    fn join_seen(&mut self, a: &Shape, b: &Shape, union: &mut Shape, pointer: &str) -> Result<(), Error> {
        let seen = |shape: &Shape| Shape {
            arrays: shape.arrays.iter().filter(|a| !a.evaluated.is_nothing()).cloned().collect(),
            objects: shape.objects.iter().filter(|o| !o.evaluated.is_nothing()).cloned().collect(),
            ..Shape::default()
        };
        union.join(self.meet(&seen(a), &seen(b), pointer)?);
        Ok(())
    }

    /// `if` with its `then` and `else`: one of them holds with `if`, the other without it.
    pub(super) fn read_condition(
        &mut self,
        place: &Place<'a>,
        value: &'a Value,
        shape: &mut Shape,
    ) -> Result<(), Error> {
        let map = keywords(place.schema);
        let (Some(yes), no) = (map.map(|m| m.get("then")), map.and_then(|m| m.get("else"))) else { return Ok(()) };
        if yes.is_none() && no.is_none() && !self.documents.evaluates {
            return Ok(());
        }
        let test = self.subschema(place, value, format_args!("/if"))?;
        if yes.is_none() && no.is_none() {
            // It constrains nothing, but what it has looked at counts.
            let mut either = Shape::any(self.store);
            either.join((*test).clone());
            *shape = self.meet(shape, &either, &place.pointer)?;
            return Ok(());
        }
        let mut holds = (*test).clone();
        let mut fails = self.complement(&test, &format!("{}/if", place.pointer))?;
        if let Some(schema) = yes {
            let then = self.subschema(place, schema, format_args!("/then"))?;
            holds = self.meet(&holds, &then, &place.pointer)?;
        }
        if let Some(schema) = no {
            let otherwise = self.subschema(place, schema, format_args!("/else"))?;
            fails = self.meet(&fails, &otherwise, &place.pointer)?;
        }
        holds.join(fails);
        *shape = self.meet(shape, &holds, &place.pointer)?;
        Ok(())
    }

    /// A member that asks for others, or for a schema of the whole object.
    pub(super) fn read_dependents(
        &mut self,
        place: &Place<'a>,
        keyword: &str,
        value: &'a Value,
        shape: &mut Shape,
    ) -> Result<(), Error> {
        let at = format!("{}/{keyword}", place.pointer);
        let map = value.as_object().ok_or_else(|| Error::schema(&*at, format!("{keyword} must be an object")))?;
        for (key, dependent) in map {
            let key: Rc<str> = key.as_str().into();
            let mut present = Shape { objects: vec![Objects::with(&key)], ..Shape::default() };
            match dependent {
                Value::Array(names) if keyword != "dependentSchemas" => {
                    for name in names {
                        let name = name.as_str().ok_or_else(|| Error::schema(&*at, "a key must be a string"))?;
                        present.objects[0].required.insert(name.into());
                    }
                }
                Value::Object(_) | Value::Bool(_) if keyword != "dependentRequired" => {
                    let schema = self.subschema(place, dependent, format_args!("/{keyword}/{}", escaped(&key)))?;
                    present = self.meet(&present, &schema, &at)?;
                }
                _ => return Err(Error::schema(&*at, format!("{keyword} does not take {dependent}"))),
            }
            // Only objects are concerned.
            let mut either = Shape { objects: vec![Objects::without(&key)], ..Shape::any(self.store) };
            either.join(Shape { objects: present.objects, ..Shape::default() });
            *shape = self.meet(shape, &either, &at)?;
        }
        Ok(())
    }
}
