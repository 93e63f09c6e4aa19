"""Strings under several keywords at once: accepted texts against ``jsonschema``."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from fairlead import Grammar, GrammarMatcher
from fairlead.errors import UnsupportedSchemaError
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
schemas = st.recursive(
    string_keywords,
    lambda inner: st.one_of(
        inner.map(lambda one: {"not": one}),
        st.lists(inner, min_size=1, max_size=3).map(lambda all: {"allOf": all}),
        st.lists(inner, min_size=1, max_size=2).map(lambda all: {"anyOf": all}),
        st.lists(inner, min_size=2, max_size=2).map(lambda all: {"oneOf": all}),
    ),
    max_leaves=5,
)


@given(schemas, st.text('abcé日😀1"', max_size=6), st.booleans())
def test_a_string_is_accepted_if_it_is_valid(schema: Any, text: str, escaped: bool) -> None:
    schema = {"type": "string", "allOf": [schema]}
    valid = jsonschema.Draft202012Validator(schema).is_valid(text)
    try:
        compiled = world.compiler().compile(Grammar.json_schema(schema))
    except UnsupportedSchemaError:
        pytest.skip("not supported")
    except ValueError:
        # No string at all satisfies it.
        assert not valid
        return
    matcher = GrammarMatcher(compiled)
    # The values of an enum have one spelling.
    written = json.dumps(text, ensure_ascii=escaped and "enum" not in str(schema))
    accepted = matcher.accept_string(written) and matcher.is_completed()
    assert accepted == valid
