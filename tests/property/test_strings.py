"""Strings under several keywords at once: accepted texts against ``jsonschema``."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
from fairlead import Grammar, GrammarMatcher
from fairlead.errors import SchemaError
from hypothesis import given
from hypothesis import strategies as st

from tests.property import engine_world as world

PATTERNS = ["b$", "^b", "b", "^[a-c]*$", "[^b]$", "a.b", "^.{2}$", "é", "[^é]", "\\\\d", "^(ab)*$", "[a-zé]{2,3}"]
string_keywords: Any = st.one_of(
    st.integers(0, 4).map(lambda n: {"minLength": n}),
    st.integers(0, 5).map(lambda n: {"maxLength": n}),
    st.sampled_from(PATTERNS).map(lambda pattern: {"pattern": pattern}),
    st.sampled_from([["a", "bé"], ["abc", "éé", ""]]).map(lambda values: {"enum": values}),
)
parts = st.recursive(
    string_keywords,
    lambda inner: st.one_of(
        inner.map(lambda one: {"not": one}),
        st.lists(inner, min_size=1, max_size=2).map(lambda all: {"anyOf": all}),
        st.lists(inner, min_size=2, max_size=2).map(lambda all: {"oneOf": all}),
    ),
    max_leaves=3,
)
# Several at once, which is where lengths are hidden behind other keywords.
schemas = st.lists(parts, min_size=1, max_size=4).map(lambda all: {"type": "string", "allOf": all})
# More of what is not ASCII than chance would give.
texts = st.lists(st.text('abcéé日😀1"', max_size=6), min_size=8, max_size=16)


@given(schemas, texts, st.booleans())
def test_a_string_is_accepted_if_it_is_valid(schema: Any, texts: list[str], escaped: bool) -> None:
    valid = [jsonschema.Draft202012Validator(schema).is_valid(text) for text in texts]
    try:
        compiled = world.compiler().compile(Grammar.json_schema(schema))
    except SchemaError as error:
        assert "no JSON value satisfies" in str(error) and not any(valid)
        return
    # The values of an enum have one spelling.
    escaped = escaped and "enum" not in str(schema)
    for text, expected in zip(texts, valid, strict=True):
        matcher = GrammarMatcher(compiled)
        accepted = matcher.accept_string(json.dumps(text, ensure_ascii=escaped)) and matcher.is_completed()
        assert accepted == expected, text
