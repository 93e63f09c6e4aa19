"""Patterns against Python's `re`: which texts they match, and which beginnings can be completed."""

from __future__ import annotations

import json
import random
import re

from fairlead._core import CompiledGrammar, Grammar, GrammarMatcher
from fairlead.errors import GrammarError, SchemaError, UnsupportedSchemaError
from hypothesis import event, given
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


TIMES = ["*", "+", "?", "{2}", "{1,2}", "{0,2}", "{2,}", "*?", "+?", "??"]
CHARACTERS = ["a", "[ab]", "[^a]", ".", "[a-c]"]
# Of these none is refused.
looked_at = st.tuples(
    st.sampled_from(["^", "", "^b", "a"]),
    st.lists(looks, max_size=2).map("".join),
    st.sampled_from(CHARACTERS),
    st.lists(looks, max_size=1).map("".join),
    st.sampled_from(TIMES),
    st.sampled_from(["$", ""]),
).map(lambda p: f"{p[0]}(?:{p[1]}{p[2]}{p[3]}){p[4]}{p[5]}")
repeated = st.tuples(sequences, groups, st.sampled_from(TIMES), st.sampled_from(["", "$", "b$", "[ab]*$"])).map(
    lambda p: f"{p[0]}({p[1]}){p[2]}{p[3]}"
)


@given(st.one_of(looked_at, repeated), st.integers(0, 2**32))
def test_looking_around_in_what_is_repeated(pattern: str, seed: int) -> None:
    try:
        world.compiler().compile(Grammar.json_schema({"pattern": pattern}))
    except SchemaError as error:
        # Other values than strings satisfy it.
        assert isinstance(error, UnsupportedSchemaError), error
        event("refused")
        assert re.search(r"\(\?[=!]", pattern)
        return
    event("compiled")
    agrees_with_python(pattern, seed)


@given(looked_at)
def test_characters_that_are_looked_at_can_be_repeated(pattern: str) -> None:
    begins = "^" in pattern[1:].replace("[^", "[")
    try:
        world.compiler().compile(Grammar.json_schema({"pattern": pattern}))
    except UnsupportedSchemaError:
        # Whether a text begins here differs from one repetition to the next.
        assert begins


@given(searched, st.integers(0, 2**32))
def test_looking_around_in_a_schema_is_that_of_python(pattern: str, seed: int) -> None:
    agrees_with_python(pattern, seed)


def agrees_with_python(pattern: str, seed: int) -> None:
    rng = random.Random(seed)
    # Python's `$` also matches before a final line feed, its `.` all ends of lines but that.
    oracle = re.compile(pattern.replace("$", "\\Z").replace(".", "[^\n\r\u2028\u2029]"))
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
