"""Random context-free grammars against lark's Earley parser, which looks at every derivation."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from fairlead._core import Grammar, GrammarMatcher
from fairlead.errors import GrammarError
from lark import Lark, UnexpectedInput

from tests.property.engine_world import STOPS, accepts, allowed_ids, compiler, mask

Rules = dict[str, list[list[str]]]

# Those that parsers of other kinds can't do, or are slow on.
HARD: dict[str, Rules] = {
    "left recursion": {"start": [["start", "'x'"], ["'y'"]]},
    "hidden left recursion": {"start": [["b", "start", "'x'"], ["'y'"]], "b": [[], ["'x'"]]},
    "indirect left recursion": {"start": [["b", "'x'"], ["'y'"]], "b": [["c", "'y'"], []], "c": [["start"], ["'x'"]]},
    "nothing but ambiguity": {"start": [["start"] * 3, ["start"] * 2, ["'x'"], []]},
    "a cycle": {"start": [["b"], ["'x'", "start"]], "b": [["c"], ["'y'"]], "c": [["start"], []]},
    "palindromes": {"start": [["'x'", "start", "'x'"], ["'y'", "start", "'y'"], ["'x'"], ["'y'"], []]},
    "brackets": {"start": [["start", "'x'", "start", "'y'"], []]},
    "empty in the middle": {"start": [["b", "c", "b"]], "b": [["'x'"], ["b", "b"], []], "c": [["'y'"], ["b"]]},
    "words without munch": {"start": [["b", "'xy'"], ["b", "b"]], "b": [["'x'"], ["'xy'"], ["'xyx'"]]},
}


def random_rules(rng: random.Random) -> Rules:
    names = ["start", "b", "c", "d", "e"][: rng.randint(1, 5)]
    symbols = [*names, "'x'", "'y'", rng.choice(["'xy'", "'yx'", "'xx'"])]
    sizes = [0, 1, 1, 2, 2, 3, 4]
    return {n: [rng.choices(symbols, k=rng.choice(sizes)) for _ in range(rng.randint(1, 3))] for n in names}


def by_lark(rules: Rules) -> Callable[[str], bool]:
    """Each letter is a terminal, so that the lexer has nothing to say."""
    spell = lambda symbol: " ".join(f'"{c}"' for c in symbol.strip("'")) if symbol[0] == "'" else symbol  # noqa: E731
    lines = [f"{name}: " + " | ".join(" ".join(map(spell, option)) for option in rules[name]) for name in rules]
    parser = Lark("\n".join(lines), parser="earley", lexer="dynamic_complete", ambiguity="forest")

    def parses(text: str) -> bool:
        try:
            parser.parse(text)
        except UnexpectedInput:
            return False
        return True

    return parses


def spellings(rules: Rules) -> Iterator[Grammar]:
    """The same rules in both of our own notations."""
    lines = {name: " | ".join(" ".join(option) or "''" for option in options) for name, options in rules.items()}
    body = "\n".join(f"{name} ::= {line}" for name, line in lines.items())
    yield Grammar.ebnf(f"root ::= start\n{body}")
    lark = "\n".join(f"{name}: " + line.replace("'", '"') for name, line in lines.items())
    yield Grammar.lark(lark.replace('""', ""))


def some_texts(rng: random.Random) -> list[str]:
    every = [""]
    for word in every:
        if len(word) < 5:
            every += [word + "x", word + "y"]
    return every + ["".join(rng.choices("xy", k=rng.randint(6, 14))) for _ in range(20)]


def compare(rules: Rules, rng: random.Random) -> None:
    parses = by_lark(rules)
    texts = some_texts(rng)
    expected = [parses(text) for text in texts]
    for grammar in spellings(rules):
        try:
            compiled = compiler().compile(grammar)
        except GrammarError as error:
            assert "no text" in str(error), rules
            assert not any(expected), rules
            continue
        matcher = GrammarMatcher(compiled)
        assert [accepts(matcher, text) for text in texts] == expected, rules
        text = rng.choice([text for text, fine in zip(texts, expected, strict=True) if fine] or [None])
        if text is None:
            continue
        matcher.reset()
        for byte in text.encode():
            assert byte in allowed_ids(mask(matcher)), (rules, text)
            assert matcher.accept_token(byte)
        assert set(allowed_ids(mask(matcher))) >= set(STOPS), (rules, text)


@pytest.mark.parametrize("name", HARD)
def test_hard_grammars(name: str) -> None:
    compare(HARD[name], random.Random(name))


@pytest.mark.parametrize("seed", range(60))
def test_random_grammars(seed: int) -> None:
    rng = random.Random(seed)
    compare(random_rules(rng), rng)
