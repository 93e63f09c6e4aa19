"""Budgets: a text that keeps to the masks is complete before its tokens or characters run out."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from fairlead import allocate_token_bitmask
from fairlead._core import CompiledGrammar, Grammar, GrammarMatcher
from fairlead.errors import FairleadError, LimitExceeded
from hypothesis import HealthCheck, assume, event, example, given, settings
from hypothesis import strategies as st

from tests.property import engine_world as world
from tests.property.schemas import schemas

# What is known not to fit its budget for certain is written on rather than given up.
UNBOUNDED_BY_A_BUDGET = (
    "uniqueItems",
    "contains",
    "not",
    "if",
    "oneOf",
    "propertyNames",
    "unevaluatedProperties",
    "patternProperties",
)


def allowed(matcher: GrammarMatcher) -> list[int]:
    bitmask = allocate_token_bitmask(1, world.SIZE)
    matcher.fill_next_token_bitmask(bitmask, 0)
    return np.flatnonzero(np.unpackbits(bitmask.numpy().view(np.uint8), bitorder="little")).tolist()


def mentions(schema: Any, names: tuple[str, ...]) -> bool:
    if isinstance(schema, dict):
        return any(name in schema or mentions(list(schema.values()), names) for name in names)
    return isinstance(schema, list) and any(mentions(part, names) for part in schema)


def least(grammar: CompiledGrammar, **budget: int) -> int:
    """The least budget of a kind that is accepted."""
    (kind,) = budget
    low, high = 0, 4096
    while low < high:
        middle = (low + high) // 2
        try:
            GrammarMatcher(grammar, **{kind: middle})
            high = middle
        except LimitExceeded:
            low = middle + 1
    return low


def walk(grammar: CompiledGrammar, rng: random.Random, **budget: int) -> tuple[bytes, int, bool]:
    """A text of random tokens that lead on rather than end: the text, its tokens and whether it is complete."""
    matcher = GrammarMatcher(grammar, **budget)
    vocabulary = world.vocabulary()
    stops = set(world.STOPS)
    text, tokens = b"", 0
    while tokens < 5000:
        ids = allowed(matcher)
        on = [i for i in ids if i not in stops]
        if not on or (matcher.is_completed() and rng.random() < 0.1):
            break
        token = rng.choice(on)
        assert matcher.accept_token(token)
        text += vocabulary.token_bytes(token) or b""
        tokens += 1
        if tokens >= budget.get("token_budget", 10_000):
            break
    return text, tokens, matcher.is_completed()


def compiled(schema: Any) -> CompiledGrammar:
    try:
        return world.compiler().compile(Grammar.json_schema(schema))
    except FairleadError:
        assume(False)
        raise


# Most schemas that are drawn at random have no value or are out of what is promised.
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(schemas(), st.integers(0, 2**32), st.integers(0, 40))
# As many bytes as another end, but fewer characters.
@example({"type": "object", "properties": {"": {}, "é": {}, "a": {"type": "string"}}, "minProperties": 2}, 0, 0)
def test_texts_are_complete_in_time(schema: Any, seed: int, spare: int) -> None:
    assume(not mentions(schema, UNBOUNDED_BY_A_BUDGET))
    grammar = compiled(schema)
    rng = random.Random(seed)
    tokens = least(grammar, token_budget=0)
    assume(tokens < 400)
    budget = tokens + spare
    text, used, complete = walk(grammar, rng, token_budget=budget)
    event(f"tokens to spare: {min(budget - used - 1, 3)}")
    assert complete and used + 1 <= budget, (text, used, budget)
    characters = least(grammar, character_budget=0) + spare
    text, _, complete = walk(grammar, rng, character_budget=characters)
    assert complete and len(text.decode()) <= characters, (text, characters)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(schemas(), st.integers(0, 2**32))
def test_far_from_the_bound_masks_are_the_plain_ones(schema: Any, seed: int) -> None:
    assume(not mentions(schema, UNBOUNDED_BY_A_BUDGET))
    grammar = compiled(schema)
    rng = random.Random(seed)
    plain, bounded = GrammarMatcher(grammar), GrammarMatcher(grammar, token_budget=1_000_000, character_budget=10**7)
    for _ in range(12):
        ids = allowed(plain)
        assert ids == allowed(bounded)
        if not ids:
            break
        token = rng.choice(ids)
        plain.accept_token(token)
        bounded.accept_token(token)


def test_a_budget_that_is_too_small_is_refused() -> None:
    grammar = world.compiler().compile(
        Grammar.json_schema({"type": "array", "minItems": 10, "items": {"const": "abc"}})
    )
    with pytest.raises(LimitExceeded, match="a budget of 5 tokens is too small: completing the text takes"):
        GrammarMatcher(grammar, token_budget=5)
    with pytest.raises(LimitExceeded, match="a budget of 20 characters is too small"):
        GrammarMatcher(grammar, character_budget=20)


def test_going_back_gives_tokens_back() -> None:
    grammar = world.compiler().compile(Grammar.regex("[0-9]{1,40}x"))
    matcher = GrammarMatcher(grammar, token_budget=6, character_budget=30)
    seen = []
    for _ in range(4):
        seen.append(allowed(matcher))
        assert matcher.accept_string("1")
    assert b"x" in [world.vocabulary().token_bytes(i) for i in allowed(matcher)]
    assert b"1" not in [world.vocabulary().token_bytes(i) for i in allowed(matcher)]
    for expected in reversed(seen):
        matcher.rollback()
        assert allowed(matcher.fork()) == allowed(matcher) == expected
    matcher.accept_string("1")
    matcher.reset()
    assert allowed(matcher) == seen[0]


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(schemas(), st.integers(0, 2**32), st.booleans())
def test_completions_complete(schema: Any, seed: int, bounded: bool) -> None:
    """Wherever a text stands, also after steps back and texts that aren't tokens."""
    assume(not mentions(schema, UNBOUNDED_BY_A_BUDGET))
    grammar = compiled(schema)
    rng = random.Random(seed)
    matcher = GrammarMatcher(grammar, token_budget=10_000 if bounded else None)
    accepted: list[int] = []
    for _ in range(20):
        tokens = matcher.completion_tokens()
        if tokens is not None:
            ahead = matcher.fork()
            assert all(ahead.accept_token(token) for token in tokens) and ahead.is_completed()
            event(f"completed by {min(len(tokens), 3)} tokens")
        back = rng.randrange(3) if len(accepted) > 3 else 0
        matcher.rollback(back)
        del accepted[len(accepted) - back :]
        on = [token for token in allowed(matcher) if token not in world.STOPS]
        if not on:
            break
        token = rng.choice([*on, *(tokens or ())[:1] * 9]) if not back else rng.choice(on)
        accepted.append(token)
        if rng.random() < 0.5:
            assert matcher.accept_token(token)
        else:
            assert matcher.accept_string(world.vocabulary().token_bytes(token) or b"")
