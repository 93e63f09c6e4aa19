"""Lazy rules, suffixes, `&` and `~` of Lark's notation against Python's `re`."""

from __future__ import annotations

import random
import re
from functools import lru_cache

from fairlead import Grammar, GrammarCompiler, GrammarMatcher, TokenizerInfo
from fairlead.errors import GrammarError
from hypothesis import event, given
from hypothesis import strategies as st

from tests.property.patterns import patterns, texts


@lru_cache
def compiler() -> GrammarCompiler:
    return GrammarCompiler(TokenizerInfo([bytes([b]) for b in range(256)] + [None], stop_token_ids=256))


def matcher_at(grammar: str, text: str) -> GrammarMatcher | None:
    """A matcher behind a text that is complete."""
    try:
        matcher = GrammarMatcher(compiler().compile_grammar(Grammar.lark(grammar)))
    except GrammarError as error:
        assert str(error) == "no text satisfies this grammar"
        return None
    return matcher if matcher.accept_string(text) and matcher.is_completed() else None


def whole(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None


def first(pattern: str, text: str) -> bool:
    """Whether a text is one of the pattern's, and begins with no shorter one."""
    return whole(pattern, text) and not any(whole(pattern, text[:at]) for at in range(len(text)))


def mixed(rng: random.Random, pattern: str) -> list[str]:
    """Texts, among them some that begin as the pattern's do."""
    several = texts(rng, 8)
    found = [match.group() for text in several if (match := re.search(pattern, text))]
    return [*several, *found, *(a + b for a in found[:2] for b in several[:2])]


@given(patterns, patterns, st.integers(0, 2**32))
def test_lazy_rules_end_where_they_first_can(body: str, suffix: str, seed: int) -> None:
    rng = random.Random(seed)
    both = f"(?:{body})(?:{suffix})"
    lazy = f"start: x\nx[lazy]: /(?:{body})/ S\nS: /(?:{suffix})/"
    ended = f'start: x\nx[capture, suffix=/(?:{suffix})/, stop_capture="end"]: /(?:{body})/'
    # A rule behind it begins there and nowhere else.
    followed = f"start: x tail\nx[suffix=S]: /(?:{body})/\ntail[capture]: /.*/\nS: /(?:{suffix})/"
    for text in mixed(rng, both):
        expected = first(both, text)
        event(f"first: {expected}")
        assert (matcher_at(lazy, text) is not None) is expected, text
        matcher = matcher_at(ended, text)
        assert (matcher is not None) is expected, text
        if matcher is not None:
            captured = dict(matcher.marked_captures())
            left, right = captured["x"].decode(), captured["end"].decode()
            assert left + right == text and whole(body, left) and whole(suffix, right)
            assert not any(
                whole(body, text[:at]) and whole(suffix, text[at:]) for at in range(len(left) + 1, len(text) + 1)
            )
        end = next((at for at in range(len(text) + 1) if first(both, text[:at])), None)
        rest = "" if end is None else text[end:]
        matcher = matcher_at(followed, text)
        assert (matcher is not None) is (end is not None and "\n" not in rest), text
        if matcher is not None:
            assert matcher.marked_captures() == [("tail", rest.encode())]


@given(patterns, patterns, st.integers(0, 2**32))
def test_and_and_not(left: str, right: str, seed: int) -> None:
    rng = random.Random(seed)
    forms = {
        "A & B": lambda a, b: a and b,
        "A & ~B": lambda a, b: a and not b,
        "~A & ~B": lambda a, b: not a and not b,
        "A & B | ~A": lambda a, b: (a and b) or not a,
        "~(A | B)": lambda a, b: not (a or b),
        "~~A": lambda a, b: a,
    }
    form = rng.choice(list(forms))
    grammar = f"start: X\nX: {form}\nA: /(?:{left})/\nB: /(?:{right})/"
    for text in mixed(rng, left):
        expected = forms[form](whole(left, text), whole(right, text))
        assert (matcher_at(grammar, text) is not None) is expected, (form, text)


HEADS = ["<a", "<b", "x<", "<a>", "b"]
SHAPES = {
    "({tools})* tail": ("free", True),
    "({tools})+ tail": ("once", True),
    "({tools})*": ("free", False),
    "loop": ("free", True),
    "[{tools}] tail": ("optional", True),
    "all tail\nall: ({tools})*": ("free", True),
    "all tail\nall: one*\none: {tools}": ("free", True),
    "maybe tail\nmaybe: one | \none: {tools}": ("optional", True),
    "([{tools}]) tail": ("optional", True),
}


def reads(text: str, heads: list[str], shape: str) -> list[str] | None:
    """The calls of a text that is free up to where a head is first complete, then a call, and so on, if it is."""
    kind, tail = SHAPES[shape]
    calls: list[str] = []
    while True:
        ends = [(at, i) for i, head in enumerate(heads) for at in range(len(text) + 1) if text[:at].endswith(head)]
        if not ends or (kind == "optional" and len(calls) == 1):
            return calls if (tail or not text) and (kind != "once" or calls) else None
        end = min(ends)[0]
        rests = [text[end:].removeprefix(f"{i};") for at, i in ends if at == end and text[end:].startswith(f"{i};")]
        if not rests:
            return None
        calls.append(text[: len(text) - len(rests[0])])
        text = rests[0]


@given(st.lists(st.sampled_from(HEADS), min_size=1, max_size=3), st.sampled_from(list(SHAPES)), st.integers(0, 2**32))
def test_free_text_with_calls(heads: list[str], shape: str, seed: int) -> None:
    """Once a head is complete its call follows: no other text goes on past it."""
    rng = random.Random(seed)
    tools = "|".join(f"tool{i}" for i in range(len(heads)))
    start = shape.format(tools=tools) if shape != "loop" else f"loop\nloop: ({tools}) loop | tail"
    lazy = ['head{0}[lazy]: TEXT "{1}"', 'head{0}[suffix="{1}"]: TEXT', "head{0}[lazy]: /(.|\\n)*{1}/"]
    rules = "".join(
        rng.choice(lazy).format(i, head) + f'\ntool{i}[capture]: head{i} "{i};"\n' for i, head in enumerate(heads)
    )
    grammar = f"start: {start}\ntail: TEXT\nTEXT: /(.|\\n)*/\n{rules}"
    pieces = [*heads, *(head + f"{i};" for i, head in enumerate(heads)), "0;", "x", "<", "a", "\n"]
    for _ in range(8):
        text = "".join(rng.choices(pieces, k=rng.randrange(8)))
        expected = reads(text, heads, shape)
        event(f"{shape}: {expected is not None}")
        matcher = matcher_at(grammar, text)
        assert (matcher is not None) is (expected is not None), (grammar, text)
        if matcher is not None:
            assert [call.decode() for _, call in matcher.marked_captures()] == expected
