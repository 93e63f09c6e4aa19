"""Arguments of calls whose arrays and objects are tags again, against a reader that tries all that a text may mean."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from fairlead import GrammarMatcher
from fairlead.errors import GrammarError, UnsupportedSchemaError
from hypothesis import event, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.property.test_parameters import SPACE, accepts, compiler, parameters, written_by_masks


class Style(NamedTuple):
    member: tuple[str, str]  # around a key
    item: tuple[str, str]  # what opens an item, and what its closing tag has for a key
    heads: dict[str, str]  # before a text, another scalar, members and items
    close: str  # "@" is the key
    mark: str  # no text has it
    spaced: bool  # whitespace around scalars


MINIMAX = "]<]minimax[>["
STYLES = {
    "cohere_xml": Style(
        ('<cofl:value name="', '"'),
        ("<cofl:value", ""),
        {kind: f' type="{kind}">' for kind in ("raw", "json", "dict", "list")},
        "</cofl:value>",
        "</cofl:value>",
        True,
    ),
    "minimax_m3_xml": Style(
        (f"{MINIMAX}<", ">"),
        (f"{MINIMAX}<item>", "item"),
        dict.fromkeys(("raw", "json", "dict", "list"), ""),
        f"{MINIMAX}</@>",
        MINIMAX,
        False,
    ),
}
SCALAR = re.compile(r"null|true|false|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


NODE = closed({"a": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}, "z": {"$ref": "#/$defs/nodes"}}, "a")
ENDLESS = closed({"a": {"$ref": "#/$defs/endless"}}, "a")
DEFS = {"node": NODE, "nodes": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2}, "endless": ENDLESS}
SCHEMAS: list[Any] = [
    {"type": "string"},
    {"type": "integer"},
    {"type": ["string", "null"], "maxLength": 2},
    {"type": "array", "items": {"type": "string"}},
    {"type": "array", "items": {"type": ["integer", "boolean"]}, "minItems": 1, "maxItems": 2},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "items": {"type": "array"}, "minItems": 1},
    {"type": "array", "prefixItems": [{"type": "integer"}, False]},
    {"type": "array", "items": closed({"a": {"type": "string"}})},
    closed({}),
    closed({"a": {"type": "string"}, "b": {"type": "number"}}, "b"),
    closed({"a": closed({"b": {"type": "array", "items": {"type": "integer"}}}, "b"), "c": {"type": "string"}}),
    {"enum": ["a", 3, None, [], {}, {"a": 1, "b": ["x", 1]}, [1, "a"], f"x{MINIMAX}", "x</cofl:value>y"]},
    {
        "anyOf": [
            closed({"a": {"type": "integer"}}, "a"),
            closed({"a": {"type": "string"}, "b": {}}, "a"),
            {"type": "null"},
        ]
    },
    {"oneOf": [{"type": "array", "prefixItems": [{"type": t}], "minItems": 1} for t in ("integer", "string")]},
    {"not": {"type": ["object", "string", "array"]}},
    {"$ref": "#/$defs/node"},
    {"anyOf": [{"$ref": "#/$defs/endless"}, {"type": "integer"}]},
    {"type": "object", "maxProperties": 0},
    {"type": "array", "items": {"type": "array", "items": {"type": ["string", "object"], "maxProperties": 0}}},
]
VALUES: list[Any] = [
    *("", "a", "ab", "a b", "3", "null", "é<b>", f"x{MINIMAX}", "x</cofl:value>y", "</cofl:value", "]<]minimax", "\n"),
    *(3, -2, 2.5, None, True, [], {}, ["a"], [3], [True, 3], [1, 2, 3], ["a", 1], ["a", None, [], [[3]]], [1, "a"]),
    *({"a": ""}, {"a": "x", "b": 2.5}, {"b": 1}, {"a": 1}, {"b": "x", "a": 1}, {"a": {"b": []}, "c": "x"}, {"c": ""}),
    *({"a": {"b": [1, 2]}}, {"a": 1, "b": ["x", 1]}, [{"a": ""}, {}], [[], [{}, ""]], {"a": 1, "q": 2}, [[[]]]),
    *({"a": 1, "next": {"a": 2}}, {"a": 1, "next": {"a": 2, "z": [{"a": 3}]}, "z": []}, {"a": 1, "z": [{"a": 1}] * 3}),
]


def spaces(text: str, at: int) -> Iterator[int]:
    for end in range(at, len(text) + 1):
        if re.fullmatch(SPACE, text[at:end]):
            yield end


def members(style: Style, text: str, at: int) -> Iterator[tuple[dict[str, Any], int]]:
    for here in spaces(text, at):
        yield {}, here
        found = re.compile(re.escape(style.member[0]) + '([^<>&"]+)' + re.escape(style.member[1])).match(text, here)
        if found:
            for value, end in values(style, text, found.end(), found[1]):
                for others, last in members(style, text, end):
                    if found[1] not in others:
                        yield {found[1]: value, **others}, last


def items(style: Style, text: str, at: int) -> Iterator[tuple[list[Any], int]]:
    for here in spaces(text, at):
        yield [], here
        if text.startswith(style.item[0], here):
            for value, end in values(style, text, here + len(style.item[0]), style.item[1]):
                for others, last in items(style, text, end):
                    yield [value, *others], last


def values(style: Style, text: str, at: int, key: str) -> Iterator[tuple[Any, int]]:
    """What may stand at a place, up to behind its closing tag."""
    close = style.close.replace("@", key)

    def bodies() -> Iterator[tuple[Any, int]]:
        for kind, head in style.heads.items():
            if not text.startswith(head, at):
                continue
            start = at + len(head)
            if kind == "raw":
                end = text.find(style.mark, start)
                if end >= 0 and not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", text[start:end]):
                    yield text[start:end], end
            elif kind == "json":
                for here in spaces(text, start) if style.spaced else [start]:
                    found = SCALAR.match(text, here)
                    if found:
                        for end in spaces(text, found.end()) if style.spaced else [found.end()]:
                            yield json.loads(found[0]), end
            else:
                yield from (members if kind == "dict" else items)(style, text, start)

    for value, end in bodies():
        if text.startswith(close, end):
            yield value, end + len(close)


def in_order(value: Any) -> bool:
    """All schemas here name their properties by the alphabet."""
    if isinstance(value, dict):
        return list(value) == sorted(value) and all(map(in_order, value.values()))
    return not isinstance(value, list) or all(map(in_order, value))


def whole(schema: Any, required: bool) -> dict[str, Any]:
    return {**closed({"k": schema}, *["k"][: int(required)]), "$defs": DEFS}


def reference(schema: Any, style: Style, text: str) -> bool:
    valid = Draft202012Validator(schema).is_valid
    return any(end == len(text) and in_order(value) and valid(value) for value, end in members(style, text, 0))


def written(style: Style, value: Any, key: str, space: Any) -> str:
    """A value as a model writes it, from its head on."""
    if isinstance(value, str):
        kind, body = "raw", value
    elif isinstance(value, dict):
        parts = [
            f"{space()}{style.member[0]}{k}{style.member[1]}{written(style, v, k, space)}" for k, v in value.items()
        ]
        kind, body = "dict", "".join(parts) + space()
    elif isinstance(value, list):
        parts = [f"{space()}{style.item[0]}{written(style, v, style.item[1], space)}" for v in value]
        kind, body = "list", "".join(parts) + space()
    else:
        around = space if style.spaced else str
        kind, body = "json", f"{around()}{json.dumps(value)}{around()}"
    return f"{style.heads[kind]}{body}{style.close.replace('@', key)}"


@given(st.data(), st.sampled_from(list(STYLES)), st.sampled_from(SCHEMAS), st.sampled_from(VALUES), st.booleans())
def test_texts(data: st.DataObject, name: str, schema: Any, value: Any, required: bool) -> None:
    style = STYLES[name]
    space = st.sampled_from(["", "", "", " ", "\n", "\n\t", "  "])
    text = written(style, {"k": value}, "", lambda: data.draw(space))
    # Without what closes an object.
    text = text[len(style.heads["dict"]) : len(text) - len(style.close.replace("@", ""))]
    if data.draw(st.integers(0, 9)) == 0:
        at = data.draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + data.draw(st.sampled_from(["", " ", "x", style.mark, "<", *style.heads.values()]))
            + text[at + 1 :]
        )
    expected = reference(whole(schema, required), style, text)
    event("fine" if expected else "wrong")
    assert accepts(parameters(whole(schema, required), name), text) == expected, (schema, text)


def test_values_by_themselves() -> None:
    """Each schema with each value, without anything between the tags."""
    fine = 0
    for name, style in STYLES.items():
        for schema in SCHEMAS:
            grammar = compiler().compile_grammar(parameters(whole(schema, True), name))
            for value in VALUES:
                text = style.member[0] + "k" + style.member[1] + written(style, value, "k", str)
                expected = reference(whole(schema, True), style, text)
                matcher = GrammarMatcher(grammar)
                assert (matcher.accept_string(text) and matcher.is_completed()) == expected, (schema, text)
                fine += expected
    assert fine > 190


@pytest.mark.parametrize("name", STYLES)
def test_masks(name: str) -> None:
    """What masks let through leads on to a text that the reader takes."""
    rng = random.Random(name)
    for schema in SCHEMAS * 3:
        text = written_by_masks(parameters(whole(schema, rng.random() < 0.7), name), rng)
        assert reference(whole(schema, False), STYLES[name], text.decode()), text


def test_a_list_of_anything() -> None:
    for name, style in STYLES.items():
        grammar = parameters({"properties": {"k": {"type": "array"}}}, name)
        text = style.member[0] + "k" + style.member[1] + written(style, ["a", 1, None, [[], {}], {}], "k", str)
        assert accepts(grammar, text)
        # Of objects nothing is written that no schema names.
        inside = style.member[0] + "k" + style.member[1] + written(style, [{"a": 1}], "k", str)
        assert not accepts(grammar, inside)


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"properties": {"k": {"properties": {"a": {}, "b": {}}, "minProperties": 1}}}, "minProperties"),
        ({"properties": {"k": {"items": {"properties": {"<": {}}}}}}, "properties"),
        ({"properties": {"k": {"enum": [{"": 1}]}}}, "properties"),
        ({"properties": {"k": {"uniqueItems": True}}}, "uniqueItems"),
        ({"properties": {"k": {"contains": {"type": "string"}}}}, "contains"),
        ({"properties": {"k": {"type": "array", "not": {"items": {"type": "string"}}}}}, "contains"),
        ({"enum": [{"k": 1}]}, "const"),
    ],
)
@pytest.mark.parametrize("name", STYLES)
def test_what_is_refused(schema: Any, keyword: str, name: str) -> None:
    with pytest.raises(UnsupportedSchemaError) as caught:
        compiler().compile_grammar(parameters(schema, name))
    assert caught.value.keyword == keyword


def test_an_ampersand_would_be_an_entity() -> None:
    schema = {"properties": {"a&b": {"type": "integer"}}}
    assert accepts(parameters(schema, "minimax_m3_xml"), f"{MINIMAX}<a&b>1{MINIMAX}</a&b>")
    with pytest.raises(UnsupportedSchemaError, match="a&b"):
        compiler().compile_grammar(parameters(schema, "cohere_xml"))


@pytest.mark.parametrize("name", STYLES)
def test_no_parameters_are_possible(name: str) -> None:
    for schema in ({"type": "string"}, whole({"$ref": "#/$defs/endless"}, True), whole({"const": "\x01"}, True)):
        with pytest.raises(GrammarError, match="no object satisfies this schema"):
            compiler().compile_grammar(parameters(schema, name))
