"""Patterns against Python's `re`: which texts they match, and which beginnings can be completed."""

from __future__ import annotations

import json
import random
import re

from fairlead._core import CompiledGrammar, Grammar, GrammarMatcher
from fairlead.errors import GrammarError, SchemaError
from hypothesis import given
from hypothesis import strategies as st

from tests.property import engine_world as world
from tests.property.patterns import anchored, changed, texts


def compiled(pattern: str) -> CompiledGrammar | None:
    """None if no text matches."""
    try:
        return world.compiler().compile(Grammar.regex(pattern))
    except GrammarError as error:
        assert "no text" in str(error), error
        return None


def matches(pattern: str, text: str) -> bool:
    # `$` also matches before a final line feed in Python; the texts have none.
    return re.fullmatch(pattern, text) is not None


@given(anchored, st.integers(0, 2**32))
def test_texts_match_as_in_python(pattern: str, seed: int) -> None:
    rng = random.Random(seed)
    grammar = compiled(pattern)
    tried = texts(rng, 20)
    if grammar is not None:
        for _ in range(4):
            written = world.finish(GrammarMatcher(grammar), rng, rng.randrange(12))
            if written is not None:
                text = written.decode()
                assert matches(pattern, text) or "\n" in text or not _plain(text), text
                tried += [text, changed(rng, text), text[: len(text) // 2]]
    matcher = GrammarMatcher(grammar) if grammar else None
    for text in tried:
        if _plain(text):
            assert (matcher is not None and world.accepts(matcher, text)) == matches(pattern, text), text


def _plain(text: str) -> bool:
    """Without what the two dialects' classes see in another way: rare spaces, digits and letters, case folding."""
    return all(c in "ab01-_ xAé🙂.XB" or " " < c <= "~" for c in text)


@given(anchored, st.integers(0, 2**32))
def test_a_beginning_is_alive_exactly_when_it_can_be_completed(pattern: str, seed: int) -> None:
    rng = random.Random(seed)
    grammar = compiled(pattern)
    if grammar is None:
        assert not any(matches(pattern, text) for text in texts(rng, 20))
        return
    matcher = GrammarMatcher(grammar)
    for text in texts(rng, 12):
        matcher.reset()
        raw = text.encode()
        taken = 0
        while taken < len(raw) and matcher.accept_string(raw[taken : taken + 1]):
            taken += 1
        # What was taken can be completed ...
        rest = world.finish(matcher, rng, 0)
        if rest is not None:
            whole = (raw[:taken] + rest).decode()
            assert not _plain(whole) or matches(pattern, whole), whole
        # ... and what was refused could not.
        if taken < len(raw):
            begun = raw[: taken + 1].decode(errors="ignore")
            if len(begun.encode()) == taken + 1:
                for more in texts(rng, 20):
                    assert not matches(pattern, begun + more), begun + more


PIECES = ["a", "b", "-", "[ab]", "[^a]", ".", "a*", "[ab]+", "b?", "(a|-b)", "(?:ab|b)*", "-{1,2}", "^", "$"]
looks = st.tuples(st.sampled_from(["(?=", "(?!"]), st.lists(st.sampled_from(PIECES), min_size=1, max_size=3)).map(
    lambda look: look[0] + "".join(look[1]) + ")"
)
pieces = st.one_of(st.sampled_from(PIECES), st.sampled_from(PIECES), looks)
sequences = st.lists(pieces, min_size=1, max_size=4).map("".join)
groups = st.lists(sequences, min_size=1, max_size=2).map("|".join)
searched = st.one_of(
    groups,
    st.tuples(sequences, groups, sequences).map(lambda p: f"{p[0]}({p[1]}){p[2]}"),
    st.tuples(st.sampled_from(["^", ""]), sequences, st.sampled_from(["(?<!-)$", "(?<=ab)$", "(?<!^a)$", "$"])).map(
        "".join
    ),
)


@given(searched, st.integers(0, 2**32))
def test_looking_around_in_a_schema_is_that_of_python(pattern: str, seed: int) -> None:
    rng = random.Random(seed)
    # Python's `$` also matches before a final line feed.
    oracle = re.compile(pattern.replace("$", "\\Z"))
    try:
        grammar = world.compiler().compile(Grammar.json_schema({"type": "string", "pattern": pattern}))
    except SchemaError as error:
        assert "no JSON value" in str(error), error
        grammar = None
    for _ in range(30):
        text = "".join(rng.choices("ab-c", k=rng.randrange(6)))
        accepted = grammar is not None and world.accepts(GrammarMatcher(grammar), f'"{text}"')
        assert accepted == (oracle.search(text) is not None), text
    if grammar is not None:
        written = world.finish(GrammarMatcher(grammar), rng, rng.randrange(8))
        if written is not None:
            assert oracle.search(json.loads(written)) is not None, written
