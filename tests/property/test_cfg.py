"""Random context-free grammars, with empty rules, ambiguity and left recursion of every kind, against sets of texts."""

from __future__ import annotations

import random

import numpy as np
import pytest
from fairlead._core import Grammar, GrammarMatcher
from fairlead.errors import GrammarError

from tests.property.engine_world import allowed_ids, brute_force, compiler, mask

LONGEST = 4
Rules = dict[str, list[list[str]]]


def random_rules(rng: random.Random) -> Rules:
    names = ["root", "b", "c", "d"][: rng.randint(1, 4)]
    symbols = [*names, "'x'", "'y'"]
    pick = lambda: [rng.choice(symbols) for _ in range(rng.choice([0, 1, 1, 2, 2, 3]))]  # noqa: E731
    return {name: [pick() for _ in range(rng.randint(1, 3))] for name in names}


def texts(rules: Rules) -> set[str]:
    """All texts of the root up to a length, by a fixed point: every derivation, however ambiguous."""
    known: dict[str, set[str]] = {name: set() for name in rules}
    while True:
        before = sum(map(len, known.values()))
        for name, options in rules.items():
            for option in options:
                made = {""}
                for symbol in option:
                    parts = known.get(symbol, {symbol.strip("'")})
                    made = {a + b for a in made for b in parts if len(a + b) <= LONGEST + 3}
                known[name] |= made
        if before == sum(map(len, known.values())):
            return known["root"]


@pytest.mark.parametrize("seed", range(120))
def test_texts_of_random_grammars(seed: int) -> None:
    rng = random.Random(seed)
    rules = random_rules(rng)
    written = "\n".join(f"{n} ::= " + " | ".join(" ".join(o) or "''" for o in os) for n, os in rules.items())
    expected = texts(rules)
    if not expected:
        with pytest.raises(GrammarError, match="no text"):
            compiler().compile(Grammar.ebnf(written))
        return
    compiled = compiler().compile(Grammar.ebnf(written))
    plain = compiler("uncached").compile(Grammar.ebnf(written))
    words = [""]
    for word in words:
        matchers = [GrammarMatcher(compiled), GrammarMatcher(plain)]
        fed = [all(m.accept_token(b) for b in word.encode()) for m in matchers]
        assert fed[0] == fed[1], (written, word)
        assert (fed[0] and matchers[0].is_completed()) == (word in expected), (written, word)
        if not fed[0]:
            assert not any(text.startswith(word) for text in expected), (written, word)
            continue
        rows = [mask(matcher) for matcher in matchers]
        assert np.array_equal(*rows), (written, word)
        assert rows[0].any(), (written, word)
        if len(word) < 2:
            assert allowed_ids(rows[0]) == brute_force(compiled, word.encode()), (written, word)
        if len(word) < LONGEST:
            words += [word + "x", word + "y"]
