//! Schemas of which several, one, or the one or the other have to hold.

use std::rc::Rc;

use serde_json::Value;

use super::composite::Objects;
use super::document::{Place, escaped, keywords};
use super::read::Reader;
use super::shape::{Demands, Shape};
use crate::error::Error;

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
            let branch_shape = self.subschema(place, branch, &tail)?;
            if keyword == "allOf" {
                *shape = self.meet(shape, &branch_shape, &place.pointer)?;
            } else {
                demands.push(self.sub(place, branch, &tail)?);
                shapes.push(branch_shape);
            }
        }
        if keyword == "allOf" {
            return Ok(());
        }
        let overlapping = keyword == "oneOf" && self.overlapping.contains(&at);
        if keyword == "oneOf" && !overlapping {
            for (i, a) in demands.iter().enumerate() {
                for b in &demands[..i] {
                    self.exclusive.push((super::shape::both(a, b), at.clone()));
                }
            }
        }
        let others = if overlapping {
            let each = shapes.iter().enumerate();
            each.map(|(i, s)| self.complement(s, &format!("{at}/{i}"))).collect::<Result<Vec<_>, _>>()?
        } else {
            Vec::new()
        };
        let mut union = Shape::default();
        for (i, branch) in shapes.iter().enumerate() {
            let mut only = (**branch).clone();
            for other in others.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, other)| other) {
                only = self.meet(&only, other, &at)?;
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
        let test = self.subschema(place, value, "/if")?;
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
            let then = self.subschema(place, schema, "/then")?;
            holds = self.meet(&holds, &then, &place.pointer)?;
        }
        if let Some(schema) = no {
            let otherwise = self.subschema(place, schema, "/else")?;
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
                    let schema = self.subschema(place, dependent, &format!("/{keyword}/{}", escaped(&key)))?;
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
