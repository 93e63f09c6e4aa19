//! Keywords about the members of objects and the items of arrays.

use std::rc::Rc;

use super::IndexSet;
use serde_json::Value;

use super::composite::{Arrays, Count, Keys, Objects};
use super::document::{Place, escaped, keywords};
use super::keywords::{self, Kind};
use super::options::Draft;
use super::read::Reader;
use super::shape::{Demands, Shape, add_new};
use crate::automata::UNBOUNDED;
use crate::error::Error;

impl<'a> Reader<'a> {
    pub(super) fn read_members(
        &mut self,
        place: &Place<'a>,
        keyword: &str,
        value: &'a Value,
        shape: &mut Shape,
    ) -> Result<(), Error> {
        let at = format!("{}/{keyword}", place.pointer);
        let evaluates = self.documents.evaluates;
        let mut more = Objects::default();
        match keyword {
            "required" => {
                if place.draft <= Draft::Draft4 && value.is_boolean() {
                    return Ok(());
                }
                let names = value.as_array().ok_or_else(|| Error::schema(&*at, "required must be a list of keys"))?;
                for name in names {
                    let name = name.as_str().ok_or_else(|| Error::schema(&*at, "a required key must be a string"))?;
                    more.required.insert(name.into());
                }
            }
            "properties" | "patternProperties" => {
                let map =
                    value.as_object().ok_or_else(|| Error::schema(&*at, format!("{keyword} must be an object")))?;
                for (name, schema) in map {
                    let demands = self.sub(place, schema, format_args!("/{keyword}/{}", escaped(name)))?;
                    let keys = if keyword == "properties" {
                        more.order.insert(name.as_str().into());
                        Keys::Named(name.as_str().into())
                    } else {
                        Keys::Matching(self.pattern(name, &format!("{at}/{}", escaped(name)), keyword)?)
                    };
                    if evaluates {
                        more.evaluated.keys.push(keys.clone());
                    }
                    more.members.push((keys, demands));
                }
            }
            "additionalProperties" => {
                let demands = self.sub(place, value, format_args!("/additionalProperties"))?;
                // The other keys are those of its siblings.
                more.evaluated.all = evaluates;
                if demands.is_empty() && !evaluates {
                    return Ok(());
                }
                let map = keywords(place.schema);
                let named = |key: &str| map.and_then(|m| m.get(key)).and_then(Value::as_object);
                let names: IndexSet<Rc<str>> =
                    named("properties").into_iter().flat_map(|m| m.keys().map(|k| k.as_str().into())).collect();
                let mut patterns = Vec::new();
                for name in named("patternProperties").into_iter().flat_map(|m| m.keys()) {
                    patterns.push(self.pattern(name, &at, "patternProperties")?);
                }
                more.members.push((Keys::Others(Rc::new(names), patterns.into()), demands));
            }
            _ => {
                let demands = self.sub(place, value, format_args!("/propertyNames"))?;
                if demands.is_empty() {
                    return Ok(());
                }
                more.names.push(demands);
            }
        }
        let only = Shape { objects: vec![more], ..Shape::default() };
        shape.objects = self.meet(shape, &only, &place.pointer)?.objects;
        Ok(())
    }

    pub(super) fn read_items(
        &mut self,
        place: &Place<'a>,
        keyword: &str,
        value: &'a Value,
        shape: &mut Shape,
    ) -> Result<(), Error> {
        let at = format!("{}/{keyword}", place.pointer);
        let map = keywords(place.schema);
        let evaluates = self.documents.evaluates;
        let mut more = Arrays::default();
        let tuple = |key: &str| map.and_then(|m| m.get(key)).and_then(Value::as_array);
        match (keyword, value) {
            ("prefixItems" | "items", Value::Array(schemas)) => {
                for (i, schema) in schemas.iter().enumerate() {
                    more.prefix.push(self.sub(place, schema, format_args!("/{keyword}/{i}"))?);
                }
                more.evaluated.first = if evaluates { schemas.len() as u32 } else { 0 };
            }
            ("prefixItems", _) => return Err(Error::schema(&*at, "prefixItems must be a list of schemas")),
            ("items", _) => {
                // The items after those that `prefixItems` describes.
                let known = keywords::kind("prefixItems", place.draft) == Kind::Supported;
                let skipped = tuple("prefixItems").filter(|_| known).map_or(0, Vec::len);
                more.prefix = vec![Rc::new([]) as Demands; skipped];
                more.rest = self.sub(place, value, format_args!("/items"))?;
                more.evaluated.all = evaluates;
            }
            _ => {
                // `additionalItems` says something only beside a list of items.
                let Some(items) = tuple("items") else { return Ok(()) };
                more.prefix = vec![Rc::new([]) as Demands; items.len()];
                more.rest = self.sub(place, value, format_args!("/additionalItems"))?;
                more.evaluated.all = evaluates;
            }
        }
        let only = Shape { arrays: vec![more], ..Shape::default() };
        shape.arrays = self.meet(shape, &only, &place.pointer)?.arrays;
        Ok(())
    }

    /// `contains` with `minContains` and `maxContains`.
    pub(super) fn read_contains(
        &mut self,
        place: &Place<'a>,
        value: &'a Value,
        shape: &mut Shape,
    ) -> Result<(), Error> {
        let demands = self.sub(place, value, format_args!("/contains"))?;
        let what = self.all_of(&demands);
        let known = keywords::kind("minContains", place.draft) == Kind::Supported;
        let limit = |keyword: &str, otherwise: u32| {
            let value = keywords(place.schema).and_then(|m| m.get(keyword)).filter(|_| known);
            value.map_or(Ok(otherwise), |n| self.count(n, &format!("{}/{keyword}", place.pointer)))
        };
        let count = Count { what, from: 0, lo: limit("minContains", 1)?, hi: limit("maxContains", UNBOUNDED)? };
        let arrays = std::mem::take(&mut shape.arrays);
        shape.arrays = arrays.into_iter().filter_map(|a| a.counting(&count)).collect();
        if self.documents.evaluates && place.draft >= Draft::Draft202012 {
            for a in &mut shape.arrays {
                add_new(&mut a.evaluated.matching, vec![what]);
            }
        }
        Ok(())
    }

    /// `unevaluatedProperties` and `unevaluatedItems`, after all their siblings: each alternative knows what has been
    /// looked at.
    pub(super) fn read_unevaluated(
        &mut self,
        place: &Place<'a>,
        keyword: &str,
        value: &'a Value,
        shape: &mut Shape,
    ) -> Result<(), Error> {
        let demands = self.sub(place, value, format_args!("/{keyword}"))?;
        if keyword == "unevaluatedProperties" {
            for objects in shape.objects.iter_mut().filter(|o| !o.evaluated.all) {
                if !demands.is_empty() {
                    objects.members.push((objects.evaluated.others(), demands.clone()));
                }
                objects.evaluated.all = true;
            }
            return Ok(());
        }
        let what = self.all_of(&demands);
        for arrays in shape.arrays.iter_mut().filter(|a| !a.evaluated.all) {
            let mut either = arrays.evaluated.matching.clone();
            either.push(what);
            let demand = self.either(either);
            arrays.demand_from(arrays.evaluated.first, demand);
            arrays.evaluated.all = true;
        }
        Ok(())
    }
}
