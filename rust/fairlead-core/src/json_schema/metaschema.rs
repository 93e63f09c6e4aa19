//! The metaschemas of the drafts, for references to them.

use std::sync::OnceLock;

use serde_json::Value;

const TEXTS: [&str; 5] = [
    include_str!("metaschemas/draft4.json"),
    include_str!("metaschemas/draft6.json"),
    include_str!("metaschemas/draft7.json"),
    include_str!("metaschemas/draft2019-09.json"),
    include_str!("metaschemas/draft2020-12.json"),
];

/// All of them, vocabularies included, each with its identifier.
pub(super) fn all() -> &'static [(String, Value)] {
    static ALL: OnceLock<Vec<(String, Value)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let files = TEXTS.iter().filter_map(|text| serde_json::from_str::<Vec<Value>>(text).ok());
        let identified = |schema: Value| {
            let uri = schema.get("$id").or_else(|| schema.get("id")).and_then(Value::as_str)?;
            Some((uri.trim_end_matches('#').to_owned(), schema))
        };
        files.flatten().filter_map(identified).collect()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_metaschema_is_there() {
        let names: Vec<&str> = super::all().iter().map(|(uri, _)| &**uri).collect();
        assert_eq!(names.len(), 3 + 7 + 9);
        for name in ["http://json-schema.org/draft-07/schema", "https://json-schema.org/draft/2020-12/meta/core"] {
            assert!(names.contains(&name), "{names:?}");
        }
    }
}
