"""Arrays without equal items whose items are compared as values: masks against the list of all sentences."""

from __future__ import annotations

import itertools
import json
import random
from bisect import bisect_left
from typing import Any

import pytest
from fairlead._core import Grammar, GrammarMatcher
from fairlead.errors import LimitExceeded
from hypothesis import event, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.property import engine_world as world

OBJECT = {"type": "object", "additionalProperties": False}
# Items of few values, each of one spelling in compact JSON, with all of their values.
FEW: list[tuple[Any, list[Any]]] = [
    (
        {**OBJECT, "properties": {"a": {"enum": [1, 12]}, "b": {"type": "boolean"}}, "required": ["b"]},
        [{**a, "b": b} for a in ({}, {"a": 1}, {"a": 12}) for b in (True, False)],
    ),
    (
        {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 2},
        [[], [1], [2], [1, 1], [1, 2], [2, 1], [2, 2]],
    ),
    (
        {"anyOf": [{"type": "array", "maxItems": 0}, {**OBJECT, "properties": {"a": {"const": [1]}}}]},
        [[], {}, {"a": [1]}],
    ),
    (
        {"type": "array", "uniqueItems": True, "items": {"type": ["boolean", "array"], "maxItems": 0}, "maxItems": 2},
        [[], *([v] for v in (True, False, [])), *map(list, itertools.permutations([True, False, []], 2))],
    ),
    (
        {
            "type": "array",
            "uniqueItems": True,
            "items": {"type": ["integer", "array"], "minimum": 1, "maximum": 2, "maxItems": 0},
            "maxItems": 2,
        },
        [[], *([v] for v in (1, 2, [])), *map(list, itertools.permutations([1, 2, []], 2))],
    ),
    ({"enum": [1, 10, [1], {"a": 1}], "not": {"const": 10}}, [1, [1], {"a": 1}]),
    ({**OBJECT, "properties": {"a": {"const": 1}, "b": {"const": 2}}, "maxProperties": 1}, [{}, {"a": 1}, {"b": 2}]),
    (
        {**OBJECT, "properties": {"a": {**OBJECT, "properties": {"b": {"type": "null"}}}}, "required": ["a"]},
        [{"a": {}}, {"a": {"b": None}}],
    ),
]


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def sentences(values: list[Any], least: int, most: int) -> list[bytes]:
    arrays = itertools.chain.from_iterable(itertools.permutations(values, n) for n in range(least, most + 1))
    return sorted(compact(list(array)) for array in arrays)


def begins_one(all_sentences: list[bytes], text: bytes) -> bool:
    at = bisect_left(all_sentences, text)
    return at < len(all_sentences) and all_sentences[at].startswith(text)


@given(st.sampled_from(FEW), st.integers(0, 3), st.integers(1, 4), st.sampled_from(["", "a"]), st.integers(0, 2**32))
def test_masks_are_those_of_the_list_of_all_sentences(
    few: tuple[Any, list[Any]], least: int, most: int, key: str, seed: int
) -> None:
    item, values = few
    most = max(most, least)
    schema: Any = {"type": "array", "items": item, "uniqueItems": True, "minItems": least, "maxItems": most}
    whole = sentences(values, least, min(most, len(values)))
    if key:
        schema = {**OBJECT, "properties": {key: schema}, "required": [key]}
        whole = sorted(b'{"a":' + text + b"}" for text in whole)
    options = Grammar.json_schema(schema, whitespace="compact")
    if not whole:
        try:
            world.compiler().compile(options)
        except ValueError as error:
            assert "no JSON value" in str(error)
            return
        raise AssertionError("a schema without any value was compiled")
    rng = random.Random(seed)
    kind = rng.choice(["cached", "uncached", "epochs"])
    matcher = GrammarMatcher(world.compiler(kind).compile(options))
    text = b""
    while not matcher.is_terminated():
        allowed = world.allowed_ids(world.mask(matcher))
        fine = [t for t, s in enumerate(world.TOKENS) if t not in world.STOPS and s and begins_one(whole, text + s)]
        fine += world.STOPS if text in whole else []
        assert allowed == sorted(fine), text
        refused = rng.randrange(world.SIZE)
        assert matcher.accept_token(refused) == (refused in allowed), (text, refused)
        if refused in allowed:
            text += world.TOKENS[refused] or b"" if refused not in world.STOPS else b""
            continue
        # Items that are there already are tried as often as possible.
        token = rng.choice(allowed)
        assert matcher.accept_token(token)
        text += world.TOKENS[token] or b"" if token not in world.STOPS else b""
    assert text in whole


OPEN: list[Any] = [
    True,
    {"type": "object"},
    {"type": "object", "properties": {"id": {"type": "integer"}, "s": {"type": "string"}}, "required": ["id"]},
    {"type": "array", "items": {"type": ["string", "number"]}},
    {"type": "number"},
    {"type": "integer"},
    {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}, "additionalProperties": False},
    {"type": ["string", "array"], "items": {"type": "string", "maxLength": 1}, "maxItems": 1},
]
SPELLINGS = [
    ("1", "1.0", "10e-1", "1.00"),
    ("-0", "0", "0.0", "0e5"),
    ('"a"', '"\\u0061"'),
    ('{"id":1,"s":"é"}', '{ "s" : "\\u00e9", "id": 1 }', '{"id":1.0,"s":"é"}'),
    ("[]", "[ ]"),
    ('{"a":[1,[1]]}', '{"a": [1, [1] ]}'),
    ("{}",),
    ('["a"]', '["\\u0061"]'),
    ("true",),
    ("null",),
]


def same(a: Any, b: Any) -> bool:
    """JSON's equality; Python takes true for one."""
    return a == b and (type(a) is type(b) or (type(a) in NUMBERS and type(b) in NUMBERS))


NUMBERS = (int, float)


@given(st.sampled_from(OPEN), st.integers(0, 2**32))
def test_equal_values_are_equal_however_they_are_spelled(item: Any, seed: int) -> None:
    rng = random.Random(seed)
    schema = {"type": "array", "items": item, "uniqueItems": True}
    options = Grammar.json_schema(schema, property_order="any", integer_fraction=True)
    compiled = world.compiler().compile(options)
    validator = Draft202012Validator(item)
    written: list[tuple[str, Any]] = []
    for _ in range(6):
        spelling = rng.choice(rng.choice(SPELLINGS))
        # Bounded numbers and integers have no exponent.
        if "e" in spelling and item == {"type": "integer"}:
            continue
        value = json.loads(spelling)
        fine = validator.is_valid(value) and not any(same(value, other) for _, other in written)
        separator = rng.choice([",", ", ", " ,"])
        text = "[" + separator.join([*(s for s, _ in written), spelling]) + "]"
        accepted = world.accepts(GrammarMatcher(compiled), text)
        assert accepted == fine, text
        event(f"accepted: {accepted}")
        if accepted:
            written.append((spelling, value))
            begun = rng.choice([text[:-1], text[:-1] + ",", text[: rng.randrange(1, len(text))]])
            matcher = GrammarMatcher(compiled)
            assert matcher.accept_string(begun)
            assert world.allowed_ids(world.mask(matcher)) == world.brute_force(compiled, begun.encode()), begun


POSITIONS: list[Any] = [
    {"type": "boolean"},
    {"type": "boolean"},
    {"type": ["boolean", "null"]},
    {"type": "null"},
    {"const": True},
    True,
    {"type": "integer"},
    {"type": ["boolean", "string"]},
    {"not": {"type": ["boolean", "number", "string"]}},
]
WORDS = [True, False, None, 1, "a", "true", [], [True], {"a": None}]


@given(
    st.lists(st.sampled_from(POSITIONS), min_size=1, max_size=4),
    st.sampled_from([*POSITIONS, False]),
    st.integers(0, 4),
    st.lists(st.sampled_from(WORDS), max_size=5),
    st.integers(0, 2**32),
)
def test_words_may_run_out_at_some_positions(
    prefix: list[Any], rest: Any, least: int, items: list[Any], seed: int
) -> None:
    schema = {"type": "array", "prefixItems": prefix, "items": rest, "uniqueItems": True, "minItems": least}
    try:
        compiled = world.compiler().compile(Grammar.json_schema(schema, whitespace="compact"))
    except ValueError as error:
        assert "no JSON value" in str(error)
        event("empty")
        assert not Draft202012Validator(schema).is_valid(items)
        return
    rng = random.Random(seed)
    text = compact(items)
    fine = Draft202012Validator(schema).is_valid(items)
    event(f"fine: {fine}")
    assert world.accepts(GrammarMatcher(compiled), text.decode()) == fine
    matcher = GrammarMatcher(compiled)
    begun = text[: rng.randrange(len(text))]
    while not matcher.accept_string(begun.decode()):
        begun = begun[:-1]
    allowed = world.allowed_ids(world.mask(matcher))
    assert allowed and allowed == world.brute_force(compiled, begun), begun


def test_values_that_are_too_large_to_be_listed_are_a_limit() -> None:
    definitions: dict[str, Any] = {"0": {"const": 1}}
    for depth in range(1, 24):
        inner = {"$ref": f"#/$defs/{depth - 1}"}
        definitions[str(depth)] = {**OBJECT, "properties": {"a": inner, "b": inner}, "required": ["a", "b"]}
    schema = {"$defs": definitions, "type": "array", "uniqueItems": True, "items": {"$ref": "#/$defs/23"}}
    with pytest.raises(LimitExceeded, match="run out"):
        world.compiler().compile(Grammar.json_schema(schema))
    definitions["0"] = {"type": "string"}
    world.compiler().compile(Grammar.json_schema(schema))
