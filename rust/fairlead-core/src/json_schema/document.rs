//! Schema documents: which draft they speak, what their identifiers name, and what a reference points to.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::rc::Rc;

use hashbrown::{HashMap, HashSet};
use serde_json::{Map, Value};

use super::options::Draft;
use crate::error::Error;

/// A schema in a document, with the base that its references resolve against.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    pub(super) schema: &'a Value,
    /// JSON pointer from the root of the user's schema, or a URI with a fragment for other documents.
    pub(super) pointer: Rc<str>,
    pub(super) base: Rc<str>,
    pub(super) draft: Draft,
    /// The dynamic scope that it is looked at in, by its number; see [`Scopes`](super::scope::Scopes).
    pub(super) scope: u32,
}

impl Place<'_> {
    /// What identifies the schema: the same place is the same schema.
    pub(super) fn key(&self) -> usize {
        std::ptr::from_ref(self.schema) as usize
    }
}

/// All documents that references may lead to.
#[derive(Debug, Default)]
pub(super) struct Documents<'a> {
    named: HashMap<String, Place<'a>>,
    /// The schemas that say something of themselves; others have what is around them.
    places: HashMap<usize, Place<'a>>,
    /// Keep a place for all others too.
    all_places: bool,
    /// The dynamic anchors of each resource; the one of `$recursiveAnchor` has no name.
    pub(super) dynamic: HashMap<Rc<str>, Vec<(Rc<str>, Place<'a>)>>,
    /// Whether some schema asks what has not been evaluated.
    pub(super) evaluates: bool,
    refers_to_metaschema: bool,
    /// The draft of the documents being added, whatever they say themselves.
    pub(super) forced: Option<Draft>,
    /// Resources whose metaschema leaves out the vocabulary of validation.
    unvalidated: HashSet<Rc<str>>,
}

/// Keywords whose value is one schema.
const ONE: [&str; 12] = [
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords whose value is a list of schemas.
const MANY: [&str; 5] = ["allOf", "anyOf", "items", "oneOf", "prefixItems"];
/// Keywords whose value maps names to schemas.
const NAMED: [&str; 6] =
    ["$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"];

/// A token of a JSON pointer.
pub(super) fn escaped(token: &str) -> Cow<'_, str> {
    if token.contains(['~', '/']) { token.replace('~', "~0").replace('/', "~1").into() } else { token.into() }
}

/// Resolves a reference against a base, after RFC 3986 section 5.2 for the forms that schemas use.
pub(super) fn resolve(base: &str, reference: &str) -> String {
    let (base, _) = base.split_once('#').unwrap_or((base, ""));
    if reference.is_empty() {
        return base.to_owned();
    }
    if reference.starts_with('#') {
        return format!("{base}{reference}");
    }
    let scheme = |s: &str| {
        s.find(':').is_some_and(|at| {
            s[..at].starts_with(|c: char| c.is_ascii_alphabetic())
                && s[..at].chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        })
    };
    if scheme(reference) || base.is_empty() {
        return reference.to_owned();
    }
    let after_scheme = base.find("://").map_or(0, |at| at + 3);
    let authority_end = base[after_scheme..].find('/').map_or(base.len(), |at| after_scheme + at);
    if let Some(rest) = reference.strip_prefix("//") {
        return format!("{}//{rest}", &base[..base.find(':').map_or(0, |at| at + 1)]);
    }
    let path = |text: &str| {
        let (path, query) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
        let mut out: Vec<&str> = Vec::new();
        let parts: Vec<&str> = path.split('/').collect();
        for (i, part) in parts.iter().enumerate() {
            let last = i + 1 == parts.len();
            match *part {
                "." | ".." => {
                    if *part == ".." && out.len() > 1 {
                        out.pop();
                    }
                    if last {
                        out.push("");
                    }
                }
                _ => out.push(part),
            }
        }
        format!("{}{query}", out.join("/"))
    };
    if reference.starts_with('/') {
        return format!("{}{}", &base[..authority_end], path(reference));
    }
    let base_path = base[authority_end..].split(['?', '#']).next().unwrap_or("");
    let folder = base_path.rfind('/').map_or("", |at| &base_path[..=at]);
    let folder = if folder.is_empty() && after_scheme > 0 { "/" } else { folder };
    format!("{}{}", &base[..authority_end], path(&format!("{folder}{reference}")))
}

impl<'a> Documents<'a> {
    /// Adds a document under a URI, and every resource and anchor inside it.
    pub(super) fn add(&mut self, uri: &str, root: &'a Value, draft: Draft, pointer: &str) -> Place<'a> {
        let said = root.get("$schema").and_then(Value::as_str).and_then(Draft::of_uri);
        let draft = self.forced.or(said).unwrap_or(draft);
        let place = Place { schema: root, pointer: pointer.into(), base: uri.into(), draft, scope: 0 };
        self.named.entry(uri.trim_end_matches('#').to_owned()).or_insert_with(|| place.clone());
        self.index(&place, root, &mut String::new()).unwrap_or(place)
    }

    /// Looks through a schema that stands below another one, at the end of a pointer from there; its place, if it says something
    /// of itself.
    fn index(&mut self, from: &Place<'a>, schema: &'a Value, tail: &mut String) -> Option<Place<'a>> {
        let Value::Object(map) = schema else { return None };
        // Most schemas have no name, and need no place before they are read.
        let named = map.keys().any(|key| key.starts_with('$') || key == "id");
        let mut place = None;
        if named || self.all_places {
            let mut own = Place { schema, pointer: format!("{}{tail}", from.pointer).into(), ..from.clone() };
            if named {
                self.name(&mut own, map);
            }
            self.places.insert(own.key(), own.clone());
            place = Some(own);
        }
        self.evaluates |= map.keys().any(|key| key == "unevaluatedProperties" || key == "unevaluatedItems");
        let mut own_tail = String::new();
        let (from, tail) = place.as_ref().map_or((from, tail), |place| (place, &mut own_tail));
        let length = tail.len();
        for (key, value) in map {
            let (named, several) = (NAMED.contains(&&**key), MANY.contains(&&**key));
            let _ = match value {
                Value::Object(_) | Value::Array(_) if named || several => write!(tail, "/{}", escaped(key)),
                _ => Ok(()),
            };
            let inside = tail.len();
            match value {
                Value::Object(schemas) if named => {
                    for (name, schema) in schemas {
                        let _ = write!(tail, "/{}", escaped(name));
                        self.index(from, schema, tail);
                        tail.truncate(inside);
                    }
                }
                Value::Array(schemas) if several => {
                    for (i, schema) in schemas.iter().enumerate() {
                        let _ = write!(tail, "/{i}");
                        self.index(from, schema, tail);
                        tail.truncate(inside);
                    }
                }
                Value::Object(_) if ONE.contains(&&**key) => {
                    tail.truncate(length);
                    let _ = write!(tail, "/{}", escaped(key));
                    self.index(from, value, tail);
                }
                _ => {}
            }
            tail.truncate(length);
        }
        place
    }

    /// Takes in what a schema says of itself: its draft, its identifier and its anchors.
    fn name(&mut self, place: &mut Place<'a>, map: &'a serde_json::Map<String, Value>) {
        if let Some(draft) = map.get("$schema").and_then(Value::as_str).and_then(Draft::of_uri) {
            place.draft = self.forced.unwrap_or(draft);
        }
        let hidden = place.draft.ref_hides_siblings() && map.contains_key("$ref");
        let text = |key: &str| map.get(key).and_then(Value::as_str).filter(|_| !hidden);
        let id = text("$id").or_else(|| text("id").filter(|_| place.draft.has_legacy_id()));
        if let Some(id) = id {
            let uri = resolve(&place.base, id);
            if let (Some(name), true) = (id.strip_prefix('#'), place.draft.has_legacy_anchors()) {
                let name = format!("{}#{name}", place.base);
                self.named.entry(name).or_insert_with(|| place.clone());
            } else {
                place.base = uri.trim_end_matches('#').into();
                self.named.entry(place.base.to_string()).or_insert_with(|| place.clone());
            }
        }
        for key in ["$anchor", "$dynamicAnchor"] {
            if let Some(anchor) = text(key) {
                let name = format!("{}#{anchor}", place.base);
                self.named.entry(name).or_insert_with(|| place.clone());
            }
        }
        let root = id.is_some() || place.pointer.is_empty() || place.pointer.ends_with('#');
        let recursive = root && map.get("$recursiveAnchor") == Some(&Value::Bool(true));
        let dynamic = text("$dynamicAnchor").filter(|_| place.draft >= Draft::Draft202012);
        for name in dynamic.into_iter().chain(recursive.then_some("")) {
            self.dynamic.entry(place.base.clone()).or_default().push((name.into(), place.clone()));
        }
        let refers =
            |key: &str| map.get(key).and_then(Value::as_str).is_some_and(|uri| uri.contains("json-schema.org/draft"));
        self.refers_to_metaschema |= refers("$ref") || refers("$dynamicRef");
    }

    /// Adds the metaschemas of the standard if a schema refers to one.
    pub(super) fn add_metaschemas(&mut self) {
        if self.refers_to_metaschema {
            for (uri, schema) in super::metaschema::all() {
                self.add(uri, schema, Draft::Unnamed, &format!("{uri}#"));
            }
        }
    }

    /// Finds the resources whose metaschema is known and leaves out the vocabulary of validation: there its keywords
    /// say nothing. To be called when all documents are there.
    pub(super) fn read_dialects(&mut self) {
        for place in self.named.values() {
            let uri = place.schema.get("$schema").and_then(Value::as_str).unwrap_or("");
            if Draft::of_uri(uri).is_some() {
                continue;
            }
            let meta = self.named.get(uri.trim_end_matches('#'));
            let Some(Value::Object(words)) = meta.and_then(|meta| meta.schema.get("$vocabulary")) else { continue };
            if !words.keys().any(|name| name.ends_with("/vocab/validation")) {
                self.unvalidated.insert(place.base.clone());
            }
        }
    }

    /// Whether the keywords of the vocabulary of validation mean something to a schema.
    pub(super) fn validates(&self, place: &Place<'a>) -> bool {
        self.unvalidated.is_empty() || !self.unvalidated.contains(&place.base)
    }

    /// A schema right below another one.
    pub(super) fn child(&self, parent: &Place<'a>, schema: &'a Value, tail: fmt::Arguments<'_>) -> Place<'a> {
        self.places.get(&(std::ptr::from_ref(schema) as usize)).cloned().unwrap_or_else(|| Place {
            schema,
            pointer: format!("{}{tail}", parent.pointer).into(),
            ..parent.clone()
        })
    }

    /// What a `$ref` of a schema points to.
    pub(super) fn target(&self, from: &Place<'a>, reference: &str, keyword: &str) -> Result<Place<'a>, Error> {
        let uri = resolve(&from.base, reference);
        let (document, fragment) = uri.split_once('#').unwrap_or((&uri, ""));
        if let Some(place) = self.named.get(uri.trim_end_matches('#')) {
            return Ok(place.clone());
        }
        let missing = || {
            let what = if reference.starts_with('#') {
                format!("the reference {reference:?} points to nothing")
            } else {
                format!("the reference {reference:?} points to a document that is not known; give it in resources=")
            };
            Error::unsupported(format!("{}/{keyword}", from.pointer), keyword, what)
        };
        let root = self.named.get(document).ok_or_else(missing)?;
        let fragment = percent_decoded(fragment);
        if !fragment.is_empty() && !fragment.starts_with('/') {
            return Err(missing());
        }
        let mut place = root.clone();
        for token in fragment.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            let next = match place.schema {
                Value::Object(map) => map.get(&token),
                Value::Array(items) => token.parse::<usize>().ok().and_then(|i| items.get(i)),
                _ => None,
            };
            let next = next.ok_or_else(missing)?;
            place = self.child(&place, next, format_args!("/{}", escaped(&token)));
        }
        Ok(place)
    }
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(|h| u8::from_str_radix(h, 16).ok());
        out.push(hex.unwrap_or(bytes[at]));
        at += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Keywords that mean nothing to any draft, with the pointers to them.
pub(super) fn unknown_keywords(root: &Value) -> Vec<(String, String)> {
    let mut documents = Documents { all_places: true, ..Documents::default() };
    documents.add("", root, Draft::Unnamed, "");
    let mut out = Vec::new();
    for place in documents.places.values() {
        for key in keywords(place.schema).into_iter().flat_map(Map::keys) {
            let known = super::keywords::kind(key, Draft::Unnamed) != super::keywords::Kind::Ignored;
            if !known && !super::keywords::is_annotation(key) {
                out.push((format!("{}/{}", place.pointer, escaped(key)), key.clone()));
            }
        }
    }
    out.sort();
    out
}

/// The keywords of a schema that is an object.
pub(super) fn keywords(schema: &Value) -> Option<&Map<String, Value>> {
    schema.as_object()
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn references_resolve_as_rfc_3986_says() {
        for (base, reference, expected) in [
            ("http://a/b/c/d;p?q", "g", "http://a/b/c/g"),
            ("http://a/b/c/d;p?q", "../g", "http://a/b/g"),
            ("http://a/b/c/d;p?q", "/g", "http://a/g"),
            ("http://a/b/c/d;p?q", "//g", "http://g"),
            ("http://a/b/c/d;p?q", "#s", "http://a/b/c/d;p?q#s"),
            ("http://a/b/c/d;p?q", "g:h", "g:h"),
            ("http://a", "b.json", "http://a/b.json"),
            ("", "item.json", "item.json"),
            ("dir/root.json", "item.json", "dir/item.json"),
            ("urn:uuid:1#x", "#/y", "urn:uuid:1#/y"),
        ] {
            assert_eq!(resolve(base, reference), expected, "{reference} against {base}");
        }
    }
}
