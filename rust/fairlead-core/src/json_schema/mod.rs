//! JSON Schema, compiled and not approximated.
//!
//! A schema is read into shapes (what a value may be, type by type), the shapes that meet at a value position are
//! combined, and what has any value at all is lowered to expressions. The whole schema is walked before the first
//! token: what is unsupported is an error with its JSON pointer, never discovered later.

mod branches;
mod clauses;
mod complement;
mod composite;
mod distinct;
mod document;
mod emit;
mod few;
mod format;
mod instances;
mod keywords;
mod metaschema;
mod nested;
mod options;
mod parameters;
mod parts;
mod plan;
mod read;
mod scalars;
mod scope;
mod shape;

use serde::Deserialize;
use serde_json::{Value, json};

pub use options::{Draft, JsonOptions, MAX_INDENTED, Whitespace};
pub(crate) use parameters::ParameterStyle;
use parameters::TYPES;
pub(crate) use plan::FEW_KEYS;
pub(crate) use shape::{identity, same};

use crate::automata::{ExprId, Store};
use crate::error::Error;
use crate::limits::Limits;

/// Sets and maps that keep their order, by a hash that takes less time than the schemas' own keys need.
type IndexSet<T> = indexmap::IndexSet<T, foldhash::fast::RandomState>;
type IndexMap<K, V> = indexmap::IndexMap<K, V, foldhash::fast::RandomState>;

fn parse(text: &str, what: &str, limits: &Limits) -> Result<Value, Error> {
    if text.len() > limits.max_source_bytes {
        return Err(Error::limit(format!("{what} has more than {} bytes", limits.max_source_bytes)));
    }
    // A schema inside another takes two as a rule.
    let depth = limits.max_depth.saturating_mul(2);
    if nested(text) > depth {
        return Err(Error::limit(format!("{what} is nested deeper than {depth} brackets")));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    // What it has of its own is a fixed limit.
    reader.disable_recursion_limit();
    let read = Value::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    read.map_err(|e| Error::schema("", format!("{what} is not JSON: {e}")).at_line(e.line(), e.column()))
}

/// How many brackets of a JSON text are open at once.
fn nested(text: &str) -> usize {
    let (mut depth, mut most, mut inside, mut escaped) = (0usize, 0, false, false);
    for b in text.bytes() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            b'[' | b'{' if !inside => {
                depth += 1;
                most = most.max(depth);
            }
            b']' | b'}' if !inside => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Lowers a schema to the expression of its instances.
pub(crate) fn lower(store: &Store, text: &str, options: &JsonOptions, limits: &Limits) -> Result<ExprId, Error> {
    lower_as(store, text, options, limits, None)
}

/// Lowers a schema to the expression of its instances, or of the objects among them as parameters of a call.
pub(crate) fn lower_as(
    store: &Store,
    text: &str,
    options: &JsonOptions,
    limits: &Limits,
    style: Option<ParameterStyle>,
) -> Result<ExprId, Error> {
    let flat = match style {
        Some(ParameterStyle::Flat(style)) => Some(style),
        _ => None,
    };
    let types = flat.map(|style| (style, TYPES.map(|name| json!({"type": name}))));
    let root = parse(text, "the schema", limits)?;
    let resources: Vec<(&str, Value)> = options
        .resources
        .iter()
        .map(|(uri, text)| Ok((&**uri, parse(text, &format!("the resource {uri}"), limits)?)))
        .collect::<Result<_, Error>>()?;
    // Branches of `oneOf` mostly exclude each other: that is tried first, since negation makes larger shapes.
    let mut overlapping = branches::Overlapping::new();
    loop {
        let mut documents = document::Documents::default();
        documents.forced = options.draft;
        let place = documents.add("", &root, Draft::Unnamed, "");
        documents.forced = None;
        for (uri, value) in &resources {
            documents.add(uri, value, options.draft.unwrap_or(Draft::Unnamed), &format!("{uri}#"));
        }
        documents.add_metaschemas();
        documents.read_dialects();
        let mut reader = read::Reader::new(store, options, limits, documents, overlapping.clone());
        let place = reader.scopes.enter(&reader.documents, 0, place);
        let demands = reader.demand(place);
        let lowered = match (style, &types) {
            (Some(ParameterStyle::Nested(style)), _) => {
                emit::Emitter::new(&mut reader).lower_nested(&demands, style)?
            }
            (_, None) => emit::Emitter::new(&mut reader).lower(&demands)?,
            (_, Some((style, types))) => {
                let mut of = [0; TYPES.len()];
                for (i, schema) in types.iter().enumerate() {
                    let place = reader.documents.add(&format!("fairlead:{}", TYPES[i]), schema, Draft::Draft202012, "");
                    let place = reader.scopes.enter(&reader.documents, 0, place);
                    of[i] = reader.demand(place)[0];
                }
                emit::Emitter::new(&mut reader).lower_parameters(&demands, of, *style)?
            }
        };
        match lowered {
            Ok(root) => return Ok(root),
            Err(more) => {
                for (branches, types) in more {
                    let known = overlapping.entry(branches).or_default();
                    *known = *known | types;
                }
            }
        }
    }
}

/// Keywords of a schema that don't constrain and are no annotations of the standard either, with their pointers.
///
/// # Errors
/// A schema that is not JSON.
pub fn unknown_keywords(text: &str, limits: &Limits) -> Result<Vec<(String, String)>, Error> {
    let root = parse(text, "the schema", limits)?;
    Ok(document::unknown_keywords(&root))
}
