"""Random JSON Schemas over the supported keywords, and random instances that come close to them."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import strategies as st

KEYS = ["a", "b", "ab", "foo", 'q"', "é", ""]
TEXTS = ["", "a", "ab", "abc", "foo", "bar", "aab", "b1", "12", "x y", 'q"\\', "é€", "🙂", "zz\tz", "a/b"]
PATTERNS = [
    "^a",
    "b$",
    "^[a-c]+$",
    "^a.*b",
    "[0-9]{2,3}",
    "^(foo|bar)?$",
    "x|1",
    "^.{0,2}$",
    "^a{2,}b?$",
    "[a-z][^a-z]",
    "^$",
]
KEY_PATTERNS = ["^a", "b$", "^(x|foo)", "^.$", "[0-9]", "^[ab]{1,2}$"]
NUMBERS = [0, 1, -1, 2, 3, 7, 10, 12, 100, -5, 0.5, 1.5, -2.25, 0.25, 10.75]
SCALARS: list[Any] = [None, True, False, 0, 1, -3, 12, 0.5, -1.25, "", "a", "ab", "foo", 'q"', "é", "x\ny"]
VALUES: list[Any] = [
    *SCALARS,
    [],
    [1],
    ["a", None],
    [[1, 2], {"a": 1}],
    {},
    {"a": 1},
    {"b": "x", "a": [True]},
    {"é": {}},
]


@st.composite
def numeric(draw: st.DrawFn) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": draw(st.sampled_from(["integer", "number", ["integer", "null"]]))}
    for keyword in ("minimum", "exclusiveMinimum"):
        if draw(st.integers(0, 2)) == 0:
            schema[keyword] = draw(st.sampled_from([-5, 0, 1, -0.5, 1.5, 2, 9]))
    for keyword in ("maximum", "exclusiveMaximum"):
        if draw(st.integers(0, 2)) == 0:
            schema[keyword] = draw(st.sampled_from([10, 12, 7.5, 100, 3, 2, 0]))
    if draw(st.integers(0, 2)) == 0:
        schema["multipleOf"] = draw(st.sampled_from([1, 2, 3, 5, 0.5, 0.25, 1.5]))
    return schema


@st.composite
def textual(draw: st.DrawFn) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if draw(st.booleans()):
        schema["minLength"] = draw(st.integers(0, 4))
    if draw(st.booleans()):
        schema["maxLength"] = draw(st.integers(0, 5))
    if draw(st.booleans()):
        schema["pattern"] = draw(st.sampled_from(PATTERNS))
    return schema


@st.composite
def array(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "array"}
    if draw(st.booleans()):
        schema["items"] = draw(inner)
    if draw(st.integers(0, 2)) == 0:
        schema["prefixItems"] = draw(st.lists(inner, min_size=1, max_size=3))
    if draw(st.booleans()):
        schema["minItems"] = draw(st.integers(0, 3))
    if draw(st.booleans()):
        schema["maxItems"] = draw(st.integers(0, 4))
    return schema


@st.composite
def mapping(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    parts: list[tuple[str, Any]] = [("type", "object")]
    if draw(st.integers(0, 3)):
        parts.append(("properties", draw(st.dictionaries(st.sampled_from(KEYS), inner, max_size=4))))
    if draw(st.booleans()):
        parts.append(("required", draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=2))))
    if draw(st.integers(0, 3)) == 0:
        parts.append(("patternProperties", draw(st.dictionaries(st.sampled_from(KEY_PATTERNS), inner, max_size=2))))
    if draw(st.booleans()):
        parts.append(("additionalProperties", draw(st.one_of(st.just(False), inner))))
    if draw(st.integers(0, 4)) == 0:
        names = st.sampled_from([{"pattern": p} for p in KEY_PATTERNS] + [{"maxLength": 1}, {"enum": ["a", "x", "é"]}])
        parts.append(("propertyNames", draw(names)))
    if draw(st.integers(0, 3)) == 0:
        parts.append(("minProperties", draw(st.integers(0, 3))))
    if draw(st.integers(0, 3)) == 0:
        parts.append(("maxProperties", draw(st.integers(0, 4))))
    return dict(draw(st.permutations(parts)))


@st.composite
def combined(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    keyword = draw(st.sampled_from(["allOf", "anyOf", "anyOf", "siblings"]))
    if keyword == "siblings":
        # A combination beside keywords of its own.
        schema = dict(draw(mapping(inner)))
        schema["anyOf"] = draw(st.lists(mapping(inner), min_size=1, max_size=2))
        return schema
    return {keyword: draw(st.lists(inner, min_size=1, max_size=3))}


@st.composite
def exclusive(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    """oneOf with branches of different types."""
    options = [numeric(), textual(), array(inner), mapping(inner), st.just({"type": "boolean"})]
    chosen = draw(st.lists(st.sampled_from(range(len(options))), unique=True, min_size=1, max_size=3))
    # The numeric branch may admit null, the others never do.
    return {"oneOf": [draw(options[i]) for i in chosen]}


@st.composite
def counted(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    """An array of which some items are counted."""
    schema = dict(draw(array(inner)))
    schema["contains"] = draw(inner)
    if draw(st.booleans()):
        schema["minContains"] = draw(st.integers(0, 3))
    if draw(st.booleans()):
        schema["maxContains"] = draw(st.integers(0, 3))
    return schema


@st.composite
def distinct(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    """An array without equal items: of finitely many values or of strings, or of any."""
    few = st.sampled_from(
        [
            {"enum": [1, 2, "a"]},
            {"enum": [None, True, 1.0, [1], {"a": 1}]},
            {"type": "boolean"},
            {"type": "integer", "minimum": -1, "maximum": 2},
            {"type": "string", "pattern": "^[ab]$"},
            {"type": "string"},
            {"type": ["string", "null"]},
            {"type": "string", "minLength": 1, "maxLength": 2},
            {"type": "string", "pattern": "^a"},
            {"const": "a"},
            {"anyOf": [{"enum": ["a", "b"]}, {"type": "string", "maxLength": 1}]},
            {"type": "object", "properties": {"a": {"enum": [1, 12]}}, "additionalProperties": False},
            {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
            {"type": "number"},
            False,
        ]
    )
    some = draw(st.sampled_from([few, few, inner]))
    part = draw(st.sampled_from([array, array, counted]))
    schema = dict(draw(part(some)))
    schema.setdefault("items", draw(some))
    schema["uniqueItems"] = True
    return schema


@st.composite
def negated(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    """`not`, `if` and overlapping `oneOf`, alone or beside keywords of their own."""
    schema: dict[str, Any] = {}
    if draw(st.booleans()):
        schema = dict(draw(st.one_of(mapping(inner), array(inner))))
    keyword = draw(st.sampled_from(["not", "if", "oneOf", "dependentSchemas"]))
    if keyword == "oneOf":
        schema["oneOf"] = draw(st.lists(inner, min_size=2, max_size=3))
    elif keyword == "dependentSchemas":
        schema["dependentSchemas"] = draw(st.dictionaries(st.sampled_from(KEYS), inner, min_size=1, max_size=2))
    else:
        schema[keyword] = draw(inner)
        if keyword == "if":
            for branch in draw(st.sampled_from([["then"], ["else"], ["then", "else"]])):
                schema[branch] = draw(inner)
    return schema


@st.composite
def unevaluated(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict[str, Any]:
    """What is left over by keywords in several places."""
    parts, keyword = draw(
        st.sampled_from(
            [(mapping, "unevaluatedProperties"), (array, "unevaluatedItems"), (counted, "unevaluatedItems")]
        )
    )
    part = parts(inner)
    schema: dict[str, Any] = {}
    place = draw(st.sampled_from(["here", "allOf", "anyOf", "anyOf", "oneOf", "if", "not"]))
    if place == "here":
        schema = dict(draw(part))
    elif place == "if":
        schema = {"if": draw(part), "then": draw(part), **({"else": draw(part)} if draw(st.booleans()) else {})}
    elif place == "not":
        schema = {"not": draw(part)}
    else:
        schema = {place: draw(st.lists(part, min_size=1, max_size=2))}
    schema[keyword] = draw(st.one_of(st.just(False), st.just(False), inner))
    return schema


def _level(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    plain = [mapping(inner), array(inner), mapping(inner), combined(inner), exclusive(inner)]
    return st.one_of(*plain, counted(inner), negated(inner), unevaluated(inner), distinct(inner))


LEAVES: st.SearchStrategy[Any] = st.one_of(
    numeric(),
    textual(),
    st.sampled_from([True, {}, False, {"type": "boolean"}, {"type": "null"}, {"type": ["string", "integer"]}]),
    st.lists(st.sampled_from(VALUES), min_size=1, max_size=4).map(lambda values: {"enum": values}),
    st.sampled_from(VALUES).map(lambda value: {"const": value}),
    st.sampled_from([{"$ref": "#/$defs/n"}, {"$ref": "#/$defs/m"}]),
)


@st.composite
def schemas(draw: st.DrawFn) -> Any:
    """A schema; its definitions may refer to each other and to themselves, with a value in between."""
    inner = st.recursive(LEAVES, _level, max_leaves=5)
    body = draw(inner)
    if '"$ref"' not in json.dumps(body):
        return body
    guarded = st.one_of(mapping(LEAVES), array(LEAVES), textual(), st.just({"type": "integer"}))
    definitions = {"n": draw(guarded), "m": draw(guarded)}
    return {"$defs": definitions, **body}


def _resolve(root: Any, schema: Any) -> Any:
    while isinstance(schema, dict) and "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


class Writer:
    """Writes instances that follow a schema more often than not."""

    def __init__(self, root: Any, seed: int) -> None:
        self.root = root
        self.rng = random.Random(seed)

    def anything(self, depth: int) -> Any:
        rng = self.rng
        if depth <= 0 or rng.random() < 0.6:
            return rng.choice([*VALUES, *NUMBERS, *TEXTS])
        if rng.random() < 0.5:
            return [self.anything(depth - 1) for _ in range(rng.randrange(3))]
        return {self.key(): self.anything(depth - 1) for _ in range(rng.randrange(3))}

    def key(self) -> str:
        return self.rng.choice([*KEYS, "x", "x1", "aa", "b", "foo2", "1", "zz"])

    def value(self, schema: Any, depth: int = 4) -> Any:
        rng = self.rng
        schema = _resolve(self.root, schema)
        if rng.random() < 0.04 or depth <= 0 or not isinstance(schema, dict) or not schema:
            return self.anything(min(depth, 2))
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return rng.choice(schema["enum"])
        for keyword in ("not", "if", "then", "else"):
            if keyword in schema and rng.random() < 0.4:
                # Close to the border: what a condition is about, with or without what stands beside it.
                made = self.value(schema[keyword], depth)
                own = self.value({k: v for k, v in schema.items() if k != keyword}, depth - 1)
                return {**made, **own} if isinstance(made, dict) and isinstance(own, dict) else made
        for keyword in ("oneOf", "anyOf", "allOf"):
            if keyword in schema:
                made = self.value(rng.choice(schema[keyword]), depth)
                if "type" in schema and isinstance(made, dict):
                    own = self.value({k: v for k, v in schema.items() if k != keyword}, depth)
                    made = {**made, **own} if isinstance(own, dict) and rng.random() < 0.5 else made
                return made
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = rng.choice(kind)
        if kind == "object":
            return self.object(schema, depth)
        if kind == "array":
            count = rng.randrange(
                schema.get("minItems", 0), max(schema.get("maxItems", 3), schema.get("minItems", 0)) + 1
            )
            prefix = schema.get("prefixItems", [])
            rest = schema.get("items", schema.get("unevaluatedItems", True))
            made = [self.value(prefix[i] if i < len(prefix) else rest, depth - 1) for i in range(count)]
            for i in range(count):
                if "contains" in schema and rng.random() < 0.5:
                    made[i] = self.value(schema["contains"], depth - 1)
            return made
        if kind == "string":
            return rng.choice(TEXTS) if rng.random() < 0.7 else "".join(rng.choices("ab1xé🙂 ", k=rng.randrange(6)))
        if kind in ("integer", "number"):
            step = schema.get("multipleOf", 1 if kind == "integer" else 0.25)
            number = rng.choice([step * rng.randrange(-8, 60), rng.choice(NUMBERS)])
            if rng.random() < 0.3:
                number = rng.choice([schema.get(k, number) for k in ("minimum", "maximum", "exclusiveMinimum")])
            return float(number) if rng.random() < 0.2 else number
        if kind == "boolean":
            return rng.random() < 0.5
        return None if kind == "null" else self.anything(depth - 1)

    def object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        rng = self.rng
        made: dict[str, Any] = {}
        for key, inner in schema.get("properties", {}).items():
            if key in schema.get("required", ()) or rng.random() < 0.5:
                made[key] = self.value(inner, depth - 1)
        for key in schema.get("required", ()):
            if key not in made and rng.random() < 0.95:
                made[key] = self.value(schema.get("additionalProperties", True), depth - 1)
        while rng.random() < 0.4 or (len(made) < schema.get("minProperties", 0) and rng.random() < 0.95):
            key = self.key()
            if key not in made:
                inner = schema.get("additionalProperties", True)
                for pattern, other in schema.get("patternProperties", {}).items():
                    if pattern.strip("^$()")[:1] == key[:1]:
                        inner = other
                made[key] = self.value(inner, depth - 1)
        if rng.random() < 0.3:
            items = list(made.items())
            rng.shuffle(items)
            made = dict(items)
        return made


def layouts(value: Any) -> list[str]:
    """The same value as json.dumps writes it in four ways."""
    dump = {"ensure_ascii": False}
    return [
        json.dumps(value, **dump),
        json.dumps(value, separators=(",", ":"), **dump),
        json.dumps(value, indent=2, **dump),
        json.dumps(value, indent=4, **dump),
    ]
