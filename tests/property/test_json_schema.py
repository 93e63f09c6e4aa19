"""Schemas against `jsonschema`: what is accepted is valid, what is valid is accepted, what is generated is valid."""

from __future__ import annotations

import json
import random
import re
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

from fairlead._core import CompiledGrammar, Grammar, GrammarMatcher
from fairlead.errors import LimitExceeded, SchemaError, UnsupportedSchemaError
from hypothesis import assume, event, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.property import engine_world as world
from tests.property.schemas import Writer, layouts, schemas


def compiled(schema: Any, **options: Any) -> CompiledGrammar | None:
    """None if no value satisfies the schema."""
    try:
        return world.compiler().compile(Grammar.json_schema(schema, **options))
    except UnsupportedSchemaError as error:
        # Equal items that have to be somewhere, and more of them beside other conditions.
        assert error.keyword == "uniqueItems", error
        event("refused: uniqueItems")
        assume(False)
    except LimitExceeded as error:
        event(f"limit: {error}")
        assume(False)
    except SchemaError as error:
        assert "no JSON value" in str(error), error
    return None


@given(schemas(), st.integers(0, 2**32))
def test_instances_are_accepted_exactly_when_valid(schema: Any, seed: int) -> None:
    validator = Draft202012Validator(schema)
    grammar = compiled(schema, property_order="any", integer_fraction=True)
    matcher = GrammarMatcher(grammar) if grammar else None
    writer = Writer(schema, seed)
    valid = 0
    for _ in range(12):
        value = writer.value(schema)
        expected = validator.is_valid(value)
        valid += expected
        for text in layouts(value):
            assert (matcher is not None and world.accepts(matcher, text)) == expected, text
    event("schema without any value" if grammar is None else f"valid: {valid and 1}")


@given(schemas(), st.integers(0, 2**32), st.sampled_from([0, 1, 4, "\t"]))
def test_a_fixed_indentation_is_that_of_json_dumps(schema: Any, seed: int, indent: int | str) -> None:
    validator = Draft202012Validator(schema)
    grammar = compiled(schema, property_order="any", integer_fraction=True, indent=indent)
    matcher = GrammarMatcher(grammar) if grammar else None
    writer = Writer(schema, seed)
    for _ in range(12):
        value = writer.value(schema)
        fixed = json.dumps(value, ensure_ascii=False, indent=indent)
        assert (matcher is not None and world.accepts(matcher, fixed)) == validator.is_valid(value), fixed
        for other in (None, 0, 2, "\t "):
            text = json.dumps(value, ensure_ascii=False, indent=other)
            assert text == fixed or matcher is None or not world.accepts(matcher, text), text


# Keywords whose schemas meet others at the same value: where the keys of two orders meet is not for these tests.
COMBINED = (
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "contains",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
)


def _in_order(root: Any, schema: Any, value: Any) -> Any:
    """The value with its keys in the schema's order; for schemas without combinations."""
    while isinstance(schema, dict) and "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    if not isinstance(schema, dict) or "enum" in schema or "const" in schema:
        return value
    if isinstance(value, list):
        prefix = schema.get("prefixItems", [])
        rest = schema.get("items", True)
        return [_in_order(root, prefix[i] if i < len(prefix) else rest, item) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    patterns = schema.get("patternProperties", {})
    made = {}
    for key in [*schema.get("properties", {}), *schema.get("required", []), *value]:
        if key in value and key not in made:
            about = [schema["properties"][key]] if key in schema.get("properties", {}) else []
            about += [inner for pattern, inner in patterns.items() if re.search(pattern, key)]
            about = about or [schema.get("additionalProperties", True)]
            # Where several meet, the order of their keys is not for this test.
            assume(len(about) == 1 or not isinstance(value[key], dict | list))
            made[key] = _in_order(root, about[0], value[key])
    return made


@given(schemas(), st.integers(0, 2**32))
def test_the_order_of_the_schema_is_accepted(schema: Any, seed: int) -> None:
    combined = any(f'"{keyword}":' in json.dumps(schema) for keyword in COMBINED)
    validator = Draft202012Validator(schema)
    grammar = compiled(schema, integer_fraction=True)
    matcher = GrammarMatcher(grammar) if grammar else None
    writer = Writer(schema, seed)
    for _ in range(8):
        value = writer.value(schema)
        valid = validator.is_valid(value)
        accepted = matcher is not None and world.accepts(matcher, layouts(value)[0])
        assert valid or not accepted, value
        if valid and not combined:
            text = layouts(_in_order(schema, schema, value))[2]
            assert matcher is not None and world.accepts(matcher, text), text


@given(schemas(), st.integers(0, 2**32))
def test_finished_texts_are_valid(schema: Any, seed: int) -> None:
    rng = random.Random(seed)
    grammar = compiled(schema, property_order=rng.choice(["any", "schema"]), integer_fraction=rng.random() < 0.5)
    assume(grammar is not None)
    assert grammar is not None
    validator = Draft202012Validator(schema)
    for _ in range(3):
        text = world.finish(GrammarMatcher(grammar), rng, rng.randrange(40))
        event(f"finished: {text is not None}")
        if text is None:
            continue

        rounded: list[str] = []
        value = json.loads(text.decode(), object_pairs_hook=_unique, parse_float=partial(_float, rounded))
        # Numbers that a float doesn't hold are beyond the oracle.
        if "Infinity" in json.dumps(value) or _huge(value) or rounded:
            continue
        json.dumps(value, ensure_ascii=False).encode()
        assert validator.is_valid(value), text
        assert world.accepts(GrammarMatcher(grammar), text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    assert len(made) == len(pairs), f"a key stands twice: {pairs}"
    return made


def _float(rounded: list[str], number: str) -> float:
    """The float, and a note if it is not what stands there."""
    try:
        same = Decimal(repr(float(number))) == Decimal(number)
    except InvalidOperation:  # an exponent of very many digits
        same = False
    if not same:
        rounded.append(number)
    return float(number)


def _huge(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_huge(v) for v in value.values())
    if isinstance(value, list):
        return any(_huge(v) for v in value)
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) > 2**40
