//! What each keyword means to fairlead.

use super::options::Draft;

/// Whether a keyword is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// It constrains, and is compiled.
    Supported,
    /// An annotation, an identifier, a definition, or not a keyword of the standard at all.
    Ignored,
}

const SUPPORTED: [&str; 39] = [
    "type",
    "enum",
    "const",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minItems",
    "maxItems",
    "items",
    "prefixItems",
    "additionalItems",
    "minProperties",
    "maxProperties",
    "properties",
    "patternProperties",
    "additionalProperties",
    "required",
    "propertyNames",
    "$ref",
    "allOf",
    "not",
    "if",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "unevaluatedProperties",
    "unevaluatedItems",
    "$dynamicRef",
    "$recursiveRef",
];
const COMBINED: [&str; 2] = ["anyOf", "oneOf"];
pub(super) fn kind(keyword: &str, draft: Draft) -> Kind {
    let since = |first: Draft| draft >= first;
    let here = match keyword {
        "const" | "contains" | "propertyNames" => since(Draft::Draft6),
        "if" => since(Draft::Draft7),
        "dependentRequired"
        | "dependentSchemas"
        | "unevaluatedProperties"
        | "unevaluatedItems"
        | "minContains"
        | "maxContains" => since(Draft::Draft201909),
        "$recursiveRef" => matches!(draft, Draft::Draft201909 | Draft::Unnamed),
        "prefixItems" | "$dynamicRef" => since(Draft::Draft202012),
        _ => true,
    };
    if !here {
        Kind::Ignored
    } else if SUPPORTED.contains(&keyword) || COMBINED.contains(&keyword) {
        Kind::Supported
    } else {
        Kind::Ignored
    }
}

/// Keywords that never constrain: the standard's annotations, identifiers and places for definitions.
pub(super) fn is_annotation(keyword: &str) -> bool {
    [
        "$schema",
        "$id",
        "id",
        "$anchor",
        "$dynamicAnchor",
        "$recursiveAnchor",
        "$vocabulary",
        "$comment",
        "$defs",
        "definitions",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
        "then",
        "else",
    ]
    .contains(&keyword)
}

/// Whether a keyword is of the vocabulary of validation, which a metaschema may leave out.
pub(super) fn validates(keyword: &str) -> bool {
    [
        "type",
        "enum",
        "const",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "pattern",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minContains",
        "maxContains",
        "minProperties",
        "maxProperties",
        "required",
        "dependentRequired",
    ]
    .contains(&keyword)
}
