"""Bounds on lengths that are further away than the longest token: masks must not forget what they rule out."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any

from fairlead import CompiledGrammar, Grammar, GrammarCompiler, GrammarMatcher, TokenizerInfo, allocate_token_bitmask
from fairlead.errors import FairleadError
from hypothesis import HealthCheck, assume, event, example, given, settings
from hypothesis import strategies as st

from tests.property.schemas import schemas

# No token has more than two bytes, so that a dozen characters are far.
TOKENS = [bytes([b]) for b in range(256)] + [b"ab", b"bb", b'b"', b"</", b"1b", b"]]"]


@lru_cache
def compiler() -> GrammarCompiler:
    return GrammarCompiler(TokenizerInfo([*TOKENS, None], stop_token_ids=[len(TOKENS)]))


def allowed(matcher: GrammarMatcher) -> set[int]:
    bitmask = allocate_token_bitmask(1, len(TOKENS) + 1)
    matcher.fill_next_token_bitmask(bitmask)
    words = memoryview(bitmask).cast("B").cast("I")
    return {token for token in range(len(TOKENS) + 1) if words[token // 32] >> token % 32 & 1}


counts = st.tuples(st.integers(0, 14), st.integers(0, 14)).map(sorted)
atoms = st.sampled_from(["a", "b", "[ab]", ".", "(?:a|bbb)", "(?:ab|b)", "1", "(?:a{9}|b)"])
pieces = st.one_of(
    atoms,
    st.tuples(atoms, counts).map(lambda p: f"{p[0]}{{{p[1][0]},{p[1][1]}}}"),
    st.tuples(atoms, counts).map(lambda p: f"{p[0]}{{{p[1][1]}}}"),
    st.tuples(atoms, counts).map(lambda p: f"{p[0]}{{{p[1][0]},}}"),
)
patterns = st.lists(st.lists(pieces, min_size=1, max_size=3).map("".join), min_size=1, max_size=3).map(
    lambda ways: f"^(?:{'|'.join(ways)})$"
)


@st.composite
def texts(draw: st.DrawFn) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    schema["allOf"] = [{"pattern": pattern} for pattern in draw(st.lists(patterns, min_size=1, max_size=2))]
    if draw(st.booleans()):
        schema["not"] = {"pattern": draw(patterns)}
    schema["minLength"], schema["maxLength"] = draw(counts)
    if draw(st.booleans()):
        del schema["minLength"]
    return schema


def tagged(schema: Any, how: str) -> Grammar:
    """The text in JSON, as a parameter in tags, or as free text in a tag; or what its patterns describe, joined."""
    if how == "json":
        return Grammar.json_schema(schema)
    if how == "regex":
        first, *more = [part["pattern"] for part in schema.get("allOf", [schema])]
        return sum((Grammar.regex(pattern) for pattern in more), Grammar.regex(first)) | Grammar.regex("b{9}1")
    if how == "free":
        content = {"type": "any_text", "max_chars": schema["maxLength"], "excludes": ["ba1"]}
        format_: Any = {"type": "tag", "begin": "<", "content": content, "end": "ab"}
    else:
        format_ = {"type": "json_schema", "json_schema": {"properties": {"p": schema}, "required": ["p"]}}
        format_["style"] = "qwen_xml"
    return Grammar.structural_tag({"type": "structural_tag", "format": format_})


@given(texts(), st.sampled_from(["json", "json", "style", "free", "regex"]), st.integers(0, 2**32))
@example({"type": "string", "pattern": "^(a|b.{9})$", "maxLength": 8}, "json", 0)
@example({"type": "string", "pattern": "^(?:a|bbb){5,}$", "maxLength": 9}, "json", 0)
@example({"type": "string", "pattern": "^(?:a{2,5}|b{9,})$", "minLength": 7, "maxLength": 12}, "json", 0)
@example({"type": "string", "pattern": "^(?:a{2,5}|b{9,})$", "minLength": 7, "maxLength": 12}, "style", 0)
def test_masks_equal_what_is_accepted(schema: dict[str, Any], how: str, seed: int) -> None:
    try:
        compiled = compiler().compile_grammar(tagged(schema, how))
    except FairleadError as error:
        event(f"not compiled: {type(error).__name__}")
        assume(False)
        raise
    steps = walk(compiled, random.Random(seed))
    event(f"{how}: {min(steps // 5, 3)}")


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(schemas(), st.integers(0, 2**32))
def test_any_schema(schema: Any, seed: int) -> None:
    """Counts of items and members, numbers, keys: what is far away for tokens of two bytes is near for others."""
    try:
        compiled = compiler().compile_grammar(Grammar.json_schema(schema, whitespace="compact"))
    except FairleadError as error:
        event(f"not compiled: {type(error).__name__}")
        assume(False)
        raise
    event(f"steps: {min(walk(compiled, random.Random(seed)) // 5, 5)}")


def walk(compiled: CompiledGrammar, rng: random.Random) -> int:
    """How many steps a text takes whose masks are compared with what is accepted."""
    matcher = GrammarMatcher(compiled)
    steps = 0
    while not matcher.is_terminated() and steps < 60:
        ids = allowed(matcher)
        assert ids, "a state without a way on"
        fine = {token for token in range(len(TOKENS) + 1) if matcher.fork().accept_token(token)}
        assert ids == fine, sorted(ids ^ fine)
        near = [token for token in ids if token < len(TOKENS) and TOKENS[token][:1] in b'ab1"<,:[]{}'] or sorted(ids)
        assert matcher.accept_token(rng.choice(near))
        steps += 1
    return steps
