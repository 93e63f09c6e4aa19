"""Branches of `oneOf`, and what `not` excludes, where several members that may lack tell objects apart."""

from __future__ import annotations

import itertools
import json
import random
import re
from typing import Any

from fairlead._core import Grammar, GrammarMatcher
from fairlead.errors import LimitExceeded, SchemaError
from hypothesis import assume, event, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.property import engine_world as world

VALUES = (1, 2, "a", {}, {"b": 1})
OBJECTS = [
    dict(zip(keys, values, strict=True))
    for n in range(4)
    for keys in itertools.combinations("abcz", n)
    for values in itertools.product(VALUES[: 5 - n], repeat=n)
]
VALUE = st.sampled_from(
    [
        {"const": 1},
        {"enum": [1, 2]},
        {"const": "a"},
        {"type": "integer"},
        {"type": "string"},
        {"type": "object"},
        {"type": "object", "required": ["b"]},
        {"type": "object", "additionalProperties": False},
        True,
    ]
)


@st.composite
def branch(draw: st.DrawFn) -> dict[str, Any]:
    keys = draw(st.lists(st.sampled_from("abc"), unique=True, min_size=1, max_size=3))
    schema: dict[str, Any] = {"type": "object", "properties": {key: draw(VALUE) for key in sorted(keys)}}
    if draw(st.booleans()):
        schema["additionalProperties"] = draw(st.sampled_from([False, False, {"type": "integer"}]))
    if draw(st.booleans()):
        schema["required"] = draw(st.lists(st.sampled_from("abc"), unique=True, max_size=2))
    if draw(st.integers(0, 9)) == 0:
        schema[draw(st.sampled_from(["minProperties", "maxProperties"]))] = draw(st.integers(1, 3))
    if draw(st.integers(0, 9)) == 0:
        schema["propertyNames"] = {"pattern": draw(st.sampled_from(["^[ab]$", "[az]"]))}
    return schema


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    branches = draw(st.lists(branch(), min_size=2, max_size=6))
    if draw(st.booleans()):
        return {"oneOf": branches}
    return {**draw(branch()), "allOf": [{"not": branch} for branch in branches[:4]]}


def in_order(schema: Any, value: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The object in the order of the branch that it is valid for, and whether that is certain."""
    branches = [branch for branch in schema.get("oneOf", [schema]) if Draft202012Validator(branch).is_valid(value)]
    declared = branches[0]["properties"] if branches else {}
    # Of several others, those that some condition names come first.
    others = [key for key in value if key not in declared]
    return {key: value[key] for key in [*declared, *others] if key in value}, len(branches) == 1 and len(others) < 2


@given(schemas(), st.integers(0, 2**32), st.booleans())
def test_an_object_is_accepted_exactly_when_it_is_valid(schema: Any, seed: int, any_order: bool) -> None:
    rng = random.Random(seed)
    validator = Draft202012Validator(schema)
    order = "any" if any_order else "schema"
    try:
        grammar = world.compiler().compile(Grammar.json_schema(schema, property_order=order, integer_fraction=True))
    except LimitExceeded as error:
        event(f"limit: {error}")
        assume(False)
        raise
    except SchemaError as error:
        assert "no JSON value" in str(error), error
        grammar = None
    valid = 0
    for value in rng.sample(OBJECTS, 60):
        expected = validator.is_valid(value)
        valid += expected
        certain = True
        if any_order:
            value = dict(rng.sample(list(value.items()), len(value)))
        else:
            value, certain = in_order(schema, value)
        accepted = grammar is not None and world.accepts(GrammarMatcher(grammar), json.dumps(value).encode())
        assert accepted == expected if certain else accepted <= expected, (value, expected)
    event(f"valid: {min(valid, 3)}")
    text = world.finish(GrammarMatcher(grammar), rng, rng.randrange(20)) if grammar else None
    # A float that is rounded may become an integer.
    if text is not None and not re.search(rb"[0-9][.eE]", text):
        assert validator.is_valid(json.loads(text)), text
