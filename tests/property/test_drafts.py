"""Drafts of tokens, forced text and copies against a matcher that takes the tokens one after the other."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
from fairlead._core import Grammar, GrammarMatcher
from hypothesis import given
from hypothesis import strategies as st

from tests.property import engine_world as world

SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["foo", "foobar"]}, "xyz": {"type": "array", "items": {"type": "integer"}}},
    "required": ["name"],
    "additionalProperties": {"type": "boolean"},
}
GRAMMARS = [
    Grammar.json_schema(SCHEMA),
    Grammar.json_schema(SCHEMA, property_order="any", whitespace="compact"),
    Grammar.json_schema(
        {"type": "object", "patternProperties": {"^[ab]$": True}, "additionalProperties": False, "minProperties": 2}
    ),
    Grammar.regex("(ab|abc)*(foo|foobar)?"),
    Grammar.choice(["ab", "abc", "foobar"]),
    Grammar.json(),
]


def begun(grammar: Grammar, rng: random.Random, most: int = 12) -> GrammarMatcher:
    """A matcher after some tokens, perhaps terminated."""
    matcher = GrammarMatcher(world.compiler().compile(grammar), terminate_without_stop_token=rng.random() < 0.3)
    for _ in range(rng.randrange(most)):
        matcher.accept_token(rng.choice(world.allowed_ids(world.mask(matcher))))
    return matcher


def next_of_draft(matcher: GrammarMatcher, rng: random.Random) -> int:
    """Mostly a token that is allowed."""
    ids = world.allowed_ids(world.mask(matcher))
    return rng.choice(ids) if ids and rng.random() < 0.9 else rng.randrange(world.SIZE)


@given(st.sampled_from(GRAMMARS), st.integers(0, 2**32))
def test_a_draft_is_valid_as_far_as_its_tokens_are_accepted(grammar: Grammar, seed: int) -> None:
    rng = random.Random(seed)
    matcher = begun(grammar, rng)
    before = world.mask(matcher).tolist()
    fork, draft = matcher.fork(), []
    rows, alive = [world.mask(matcher).tolist()], True
    taken = 0
    for _ in range(rng.randrange(8)):
        draft.append(next_of_draft(fork, rng))
        alive = alive and fork.accept_token(draft[-1])
        taken += alive
        rows.append(world.mask(fork).tolist() if alive else [0] * world.WORDS)
    assert matcher.validate_tokens(draft) == taken
    bitmask = np.full((len(draft) + 1, world.WORDS), 0x55555555, dtype=np.int32)
    assert matcher.fill_draft_bitmask(draft, bitmask) == taken
    assert bitmask.tolist() == rows
    assert world.mask(matcher).tolist() == before


@given(st.sampled_from(GRAMMARS), st.integers(0, 2**32))
def test_a_tree_of_drafts_has_the_masks_of_its_paths(grammar: Grammar, seed: int) -> None:
    rng = random.Random(seed)
    matcher = begun(grammar, rng)
    before = world.mask(matcher).tolist()
    size = rng.randrange(1, 12)
    forks: list[GrammarMatcher | None] = [matcher.fork()]
    tokens, parents = [0], [-1]
    for node in range(1, size):
        parents.append(rng.randrange(node))
        above = forks[parents[node]]
        tokens.append(rng.randrange(world.SIZE) if above is None else next_of_draft(above, rng))
        fork = above.fork() if above is not None else None
        forks.append(fork if fork is not None and fork.accept_token(tokens[node]) else None)
    children, siblings = [-1] * size, [-1] * size
    for node in reversed(range(1, size)):
        siblings[node], children[parents[node]] = children[parents[node]], node
    bitmask = np.full((size + 1, world.WORDS), 0x55555555, dtype=np.int32)
    matcher.traverse_draft_tree(children, siblings, tokens, bitmask)
    for node, fork in enumerate(forks):
        expected = [0] * world.WORDS if fork is None else world.mask(fork).tolist()
        assert bitmask[node].tolist() == expected, (node, tokens, parents)
    assert (bitmask[size] == 0x55555555).all()
    assert world.mask(matcher).tolist() == before


@given(st.sampled_from(GRAMMARS), st.integers(0, 2**32))
def test_forced_text_is_what_no_byte_can_differ_from(grammar: Grammar, seed: int) -> None:
    matcher = begun(grammar, random.Random(seed))
    forced = matcher.find_jump_forward_string()
    fork = matcher.fork()
    for byte in forced.encode():
        assert not fork.is_completed()
        ids = [t for t in world.allowed_ids(world.mask(fork)) if t not in world.STOPS]
        assert {(world.TOKENS[t] or b"")[0] for t in ids} == {byte}
        assert fork.accept_string(bytes([byte]))
    if not fork.is_completed() and not fork.is_terminated():
        firsts = {(world.TOKENS[t] or b"")[0] for t in world.allowed_ids(world.mask(fork))}
        # Text stops before a choice, or inside a character.
        assert len(firsts) > 1 or min(firsts) >= 0x80


@given(st.sampled_from(GRAMMARS), st.integers(0, 2**32))
def test_forced_tokens_are_the_longest(grammar: Grammar, seed: int) -> None:
    matcher = begun(grammar, random.Random(seed))
    ordinary = {
        text: token for token, text in reversed(list(enumerate(world.TOKENS))) if text and token not in world.STOPS
    }
    forced = b""
    fork = matcher.fork()
    while not fork.is_completed() and not fork.is_terminated():
        firsts = {(world.TOKENS[t] or b"")[:1] for t in world.allowed_ids(world.mask(fork))}
        if len(firsts) != 1 or not fork.accept_string(byte := firsts.pop()):
            break
        forced += byte
    expected = []
    while forced:
        longest = max((text for text in ordinary if forced.startswith(text)), key=len)
        forced = forced[len(longest) :]
        if forced or not any(text != longest and text.startswith(longest) for text in ordinary):
            expected.append(ordinary[longest])
    assert matcher.find_jump_forward_tokens() == expected
    assert all(matcher.accept_token(token) for token in expected)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_are_independent(copied: object) -> None:
    matcher = GrammarMatcher(world.compiler().compile(Grammar.regex("ab*c")))
    assert matcher.accept_string("ab")
    twin = copied(matcher)  # type: ignore[operator]
    assert twin.accept_string("c") and twin.is_completed() and not matcher.is_completed()
    twin.rollback(2)
    assert matcher.accept_string("bbc")


def test_drafts_that_cannot_be_read_are_errors() -> None:
    matcher = GrammarMatcher(world.compiler().compile(Grammar.json()))
    rows = np.zeros((2, world.WORDS), dtype=np.int32)
    for wrong in ([-1], [world.SIZE], [2**40]):
        with pytest.raises(IndexError):
            matcher.validate_tokens(wrong)
    with pytest.raises(IndexError, match="2 rows"):
        matcher.fill_draft_bitmask([1, 2], rows)
    for children, siblings in [
        ([1, 0], [-1, -1]),
        ([1, 1], [-1, -1]),
        ([5, -1], [-1, -1]),
        ([-2, -1], [-1, -1]),
        ([-1, -1], [1, -1]),
        ([-1], [-1, -1]),
    ]:
        with pytest.raises(ValueError):
            matcher.traverse_draft_tree(children, siblings, [0, 1], rows)
    matcher.traverse_draft_tree([], [], [], rows)
    assert not rows.any()
