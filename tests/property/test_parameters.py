"""Arguments of calls in tags (styles of structural tags) against a reference that goes through a text."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest
from fairlead import Grammar, GrammarCompiler, GrammarMatcher, TokenizerInfo
from fairlead.errors import GrammarError, SchemaError, UnsupportedSchemaError
from hypothesis import event, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.property import engine_world as world

# For each style: what stands around a key and a text, and around a key and another value. "_" is whitespace, "@" the
# name of the value's type.
STYLES = {
    "qwen_xml": ("<parameter=", ">", ">", "</parameter>"),
    "minimax_xml": ('<parameter name="', '">', '">', "</parameter>"),
    "glm_xml": ("<arg_key>", "</arg_key>_<arg_value>", "</arg_key>_<arg_value>", "</arg_value>"),
    "deepseek_xml": ('<｜DSML｜parameter name="', '" string="true">', '" string="false">', "</｜DSML｜parameter>"),
    "deepseek_v4_1_xml": (
        '<｜DSML｜ parameter name="',
        '" string="true">',
        '" string="false">',
        "</｜DSML｜ parameter>",
    ),
    "kimi_k3_xml": (
        '<|open|>argument key="',
        '" type="string"<|sep|>',
        '" type="@"<|sep|>',
        "<|close|>argument<|sep|>",
    ),
}
TYPES = ["number", "boolean", "null", "array", "object"]
SPACE = r"(?: {0,2}|\n[ \t]{0,64})"
SCHEMAS: list[Any] = [
    True,
    {},
    {"type": "string"},
    {"type": "integer"},
    {"type": ["string", "null"]},
    {"enum": ["a b", "c", 3, None, "x</parameter>", "a\x02b"]},
    {"const": "no"},
    {"type": "string", "maxLength": 3},
    {"minLength": 2},
    {"type": "string", "pattern": "^[a-z]+$"},
    {"type": "string", "not": {"pattern": "b"}},
    {"not": {"type": "string"}},
    {"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 2}]},
    {"oneOf": [{"type": "number"}, {"type": "integer"}, {"enum": ["c", "a b"]}]},
    {"allOf": [{"minLength": 1}, {"type": "string"}], "maxLength": 4},
    {"$ref": "#/$defs/pair"},
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False},
    {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "hostname"},
]
PAIR = {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False, "minItems": 2}
VALUES = [3, -2, 2.5, None, True, "a", {"a": "b"}, {"a": 1}, ["x", 1], [], [True, False], [True, 1], {}]
TEXTS = [
    "",
    "a",
    "c",
    "a b",
    "no",
    "abc",
    "abcde",
    "é日",
    "<b>",
    "</param",
    "3",
    "null",
    " a ",
    "\n\nx",
    "2024-02-29",
    "é.de",
    "a\x02b",
    "\t\r",
]
bodies = st.one_of(
    st.sampled_from([*TEXTS, *map(json.dumps, VALUES)]),
    st.tuples(st.sampled_from(["", " ", "\n", "\n \t"]), st.sampled_from([*TEXTS, *map(json.dumps, VALUES)])).map(
        lambda parts: f"{parts[0]}{parts[1]}\n"
    ),
)


@lru_cache
def compiler() -> GrammarCompiler:
    return GrammarCompiler(TokenizerInfo([bytes([b]) for b in range(256)] + [None], stop_token_ids=256))


def accepts(grammar: Grammar, text: str) -> bool:
    matcher = GrammarMatcher(compiler().compile_grammar(grammar))
    return matcher.accept_string(text) and matcher.is_completed()


def parameters(schema: Any, style: str, **more: Any) -> Grammar:
    format_ = {"type": "json_schema", "json_schema": schema, "style": style, **more}
    return Grammar.structural_tag({"type": "structural_tag", "format": format_})


def cores(body: str) -> Iterator[str]:
    """What may be in a body, with whitespace around it."""
    for start in range(len(body) + 1):
        for end in range(start, len(body) + 1):
            if re.fullmatch(SPACE, body[:start]) and re.fullmatch(SPACE, body[end:]):
                yield body[start:end]


def is_json(schema: Any, text: str) -> bool:
    try:
        return accepts(Grammar.json_schema(schema), text)
    except SchemaError:
        return False  # no value satisfies it


def is_text(schema: Any, text: str) -> bool:
    """As the engine, which admits no text that jsonschema refuses; and only with characters that XML has."""
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", text):
        return False
    schema = {"$defs": {"pair": PAIR}, "allOf": [schema]}
    return Draft202012Validator(schema).is_valid(text) and is_json(
        {**schema, "type": "string"}, json.dumps(text, ensure_ascii=False)
    )


def is_other(schema: Any, body: str, kind: str | None = None) -> bool:
    other = {"not": {"type": "string"}} if kind is None else {"type": kind}
    whole = {"$defs": {"pair": PAIR}, "allOf": [schema, other]}
    return any(is_json(whole, core) for core in cores(body))


def openings(style: str) -> dict[str, str | None]:
    """What may stand between a key and its value, and the name of the type that it is of."""
    _, text, other, _ = STYLES[style]
    others: dict[str, str | None] = (
        {other.replace("@", name): name for name in TYPES} if "@" in other else {other: None}
    )
    return {text: "string", **others}


def fits(schema: Any, body: str, style: str, between: str) -> bool:
    """Whether a body is a value behind an opening tag."""
    _, text, other, _ = STYLES[style]
    if text != other:
        return is_text(schema, body) if between == text else is_other(schema, body, openings(style)[between])
    return any(is_text(schema, core) for core in cores(body)) or is_other(schema, body)


def reference(properties: dict[str, Any], required: set[str], style: str, text: str) -> bool:
    before, _, _, close = STYLES[style]
    for key, schema in properties.items():
        for between in openings(style):
            opening = re.escape(f"{before}{key}{between}").replace("_", SPACE)
            found = re.match(f"{SPACE}{opening}(.*?){re.escape(close)}", text, re.S)
            if found:
                if not fits(schema, found[1], style, between):
                    return False
                text = text[found.end() :]
                break
        else:
            if key in required:
                return False
    return re.fullmatch(SPACE, text) is not None


@st.composite
def calls(draw: st.DrawFn) -> tuple[dict[str, Any], set[str], str, str]:
    style = draw(st.sampled_from(list(STYLES)))
    before, _, _, close = STYLES[style]
    schemas = draw(st.lists(st.sampled_from(SCHEMAS), min_size=1, max_size=3))
    properties = {f"k{n}": schema for n, schema in enumerate(schemas)}
    required = set(draw(st.lists(st.sampled_from(list(properties)))))
    written = [key for key in properties if key in required or draw(st.booleans())]
    if draw(st.integers(0, 9)) == 0:
        written = draw(st.permutations(written))
    text = ""
    for key in written:
        between = draw(st.sampled_from(list(openings(style)))).replace("_", draw(st.sampled_from(["", "\n"])))
        space = draw(st.sampled_from(["", "\n", "  ", "\n\t", "\n\n"][: 5 if draw(st.integers(0, 9)) == 0 else 4]))
        body = draw(st.one_of(bodies, bodies, bodies, st.just(f"x{close}y")))
        text += f"{space}{before}{key}{between}{body}{close}"
    return properties, required, style, text + draw(st.sampled_from(["", "\n"]))


@given(calls())
def test_texts(call: tuple[dict[str, Any], set[str], str, str]) -> None:
    properties, required, style, text = call
    schema = {"type": "object", "properties": properties, "required": sorted(required), "$defs": {"pair": PAIR}}
    expected = reference(properties, required, style, text)
    event(f"{len(properties)} parameters, {'fine' if expected else 'wrong'}")
    assert accepts(parameters(schema, style), text) == expected, (schema, style, text)


def written_by_masks(grammar: Grammar, rng: random.Random) -> bytes:
    """A text of tokens that masks let through: each leads on to a whole text, and they are those of brute force."""
    compiled, uncached = world.compiler().compile(grammar), world.compiler("uncached").compile(grammar)
    matcher, plain = GrammarMatcher(compiled, token_budget=400), GrammarMatcher(compiled)
    text = b""
    while True:
        ids = world.allowed_ids(world.mask(matcher))
        assert ids, "a state without a way on"
        if rng.random() < 0.05:
            assert world.allowed_ids(world.mask(plain)) == world.brute_force(uncached, text), text
        on = [token for token in ids if token not in world.STOPS]
        if not on or (matcher.is_completed() and rng.random() < 0.3):
            break
        # Openings and closings are rare among all that a text may have.
        near = [token for token in (matcher.completion_tokens() or [])[:1] if token in on]
        token = rng.choice(near if near and rng.random() < 0.8 else on)
        assert matcher.accept_token(token) and plain.accept_token(token)
        text += world.TOKENS[token] or b""
    assert matcher.is_completed()
    return text


@pytest.mark.parametrize("style", STYLES)
def test_masks(style: str) -> None:
    rng = random.Random(style)
    for _ in range(60):
        properties = {f"k{n}": rng.choice(SCHEMAS) for n in range(rng.randrange(1, 4))}
        required = {key for key in properties if rng.random() < 0.6}
        schema = {"type": "object", "properties": properties, "required": sorted(required), "$defs": {"pair": PAIR}}
        written_by_masks(parameters(schema, style), rng)


def test_objects_that_are_said_otherwise() -> None:
    def fine(schema: Any, text: str) -> bool:
        return accepts(parameters(schema, "qwen_xml"), text)

    a, b = "<parameter=a>x</parameter>", "<parameter=b>1</parameter>"
    both = {"allOf": [{"$ref": "#/$defs/a"}, {"properties": {"b": {"type": "integer"}}, "required": ["b"]}]}
    schema = {**both, "$defs": {"a": {"properties": {"a": {"type": "string"}}}}}
    assert fine(schema, a + b) and fine(schema, b) and not fine(schema, a) and not fine(schema, b + a)
    either = {"anyOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": {}, "b": {}}}
    assert fine(either, a) and fine(either, b) and fine(either, a + b) and not fine(either, "")
    assert fine({"type": ["object", "string"]}, "") and not fine({"type": ["object", "string"]}, "x")
    assert fine({"properties": {"a": False}}, "") and not fine({"properties": {"a": False}}, a)
    # Nothing is written that the schema doesn't name.
    assert not fine({"additionalProperties": True}, a)
    old = {"type": "structural_tag", "format": {"type": "qwen_xml_parameter", "json_schema": schema}}
    assert accepts(Grammar.structural_tag(old), f"\n{a}\n{b}\n")


def test_whitespace_can_be_bounded() -> None:
    schema = {"properties": {"a": {"type": "array", "items": {"type": "integer"}}}}
    for most in (0, 1, 3):
        for count in range(5):
            space = (" \n\t\r" * 2)[:count]
            text = f"<parameter=a>{space}[1,{space}2]</parameter>"
            assert accepts(parameters(schema, "qwen_xml", max_whitespace_cnt=most), text) == (count <= most)
            text = f'{{"a":{space}[]}}'
            assert accepts(parameters(schema, "json", max_whitespace_cnt=most), text) == (count <= most)
            free = Grammar.json_schema(schema, whitespace="free", max_whitespace=most)
            assert accepts(free, text) == (count <= most)


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"properties": {"a": {}, "b": {}}, "minProperties": 1}, "minProperties"),
        ({"properties": {"a": {}, "b": {}}, "maxProperties": 1}, "maxProperties"),
        ({"properties": {"a>": {}}}, "properties"),
        ({"properties": {'"': {}}}, "properties"),
        ({"const": {"a": 1}}, "const"),
        ({"not": {"additionalProperties": {"type": "string"}}, "properties": {"a": {}, "b": {}}}, "not"),
    ],
)
def test_what_is_refused(schema: Any, keyword: str) -> None:
    with pytest.raises(UnsupportedSchemaError) as caught:
        compiler().compile_grammar(parameters(schema, "qwen_xml"))
    assert caught.value.keyword == keyword


@pytest.mark.parametrize("style", ["xml", 3])
def test_styles_that_there_are_not(style: Any) -> None:
    with pytest.raises(GrammarError, match="style"):
        compiler().compile_grammar(parameters({}, style))


def test_no_parameters_are_possible() -> None:
    for schema in ({"type": "string"}, {"properties": {"a": False}, "required": ["a"]}, False):
        with pytest.raises(GrammarError, match="no object satisfies this schema"):
            compiler().compile_grammar(parameters(schema, "qwen_xml"))
    with pytest.raises(GrammarError, match="any order"):
        compiler().compile_grammar(parameters({}, "qwen_xml", any_order=True))
