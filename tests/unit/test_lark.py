"""Grammars in Lark's notation."""

from __future__ import annotations

import pytest
from fairlead._core import Compiler, Grammar, GrammarMatcher, Vocabulary
from fairlead.errors import GrammarError

COMPILER = Compiler(Vocabulary([bytes([b]) for b in range(256)] + [None], stop_token_ids=[256], vocab_size=257))


def accepts(grammar: str, text: str) -> bool:
    matcher = GrammarMatcher(COMPILER.compile(Grammar.lark(grammar)))
    return all(matcher.accept_token(b) for b in text.encode()) and matcher.accept_token(256)


ARITHMETIC = r"""
// left-recursive, with blanks
?start: sum
?sum: product | sum "+" product -> add | sum "-" product -> sub
?product.2: atom | product "*" atom
!atom: NUMBER | "-" atom | "(" sum ")"
%import common.NUMBER
%import common (WS_INLINE, CNAME)
%ignore WS_INLINE
"""


@pytest.mark.parametrize(
    ("grammar", "texts"),
    [
        (ARITHMETIC, {"1+2": True, " 1 + ( 2.5*-3 ) ": True, "1+": False, "1 2": False, "--1-1": True}),
        ('start: ("list" | "listen") "ed"', {"listed": True, "listened": True, "listen": False}),
        ('start: A~2 B~1..2 "c"{2,}\nA: "a".."c"\nB: /x/i', {"abxXcc": True, "abxccc": True, "axcc": False}),
        ('start: "Select"i ["all"] /d./s', {"SELECTalld\n": True, "selectd1": True, "selectd": False}),
        (
            'start: list{item, ","}\nlist{x, sep}: x (sep x)*\nitem: "1" | "[" list{item, ";"} "]"',
            {"1,1": True, "[1;1],1": True, "1;1": False},
        ),
        ('start: "<" %json {"type": "integer"} ">"', {"<12>": True, "<x>": False}),
        ('start: a start | \n  | b\na: "x"?\nb: "y"', {"": True, "xxy": True, "yx": False}),
    ],
)
def test_texts(grammar: str, texts: dict[str, bool]) -> None:
    for text, whole in texts.items():
        assert accepts(grammar, text) is whole, text


@pytest.mark.parametrize(
    ("grammar", "place", "message"),
    [
        ('start: "a" other', (1, 12), "not defined"),
        ('start: "a', (1, 8), "not closed"),
        ('start: "a"\n%declare X', (2, 1), "declare"),
        ("start: X\n%import common.NOPE", (2, 16), "NOPE"),
        ("start: X\nX: X", (2, 1), "calls itself"),
        ("start: /a(?=b)/", (1, 8), "look-around"),
        ("start: <|end|>", (1, 8), "no token"),
        ('other: "a"', None, "start"),
        ('start: "a"\nstart: "b"', (2, 1), "twice"),
        ('start: ("a"', (1, 8), "not closed"),
        ("start: t{start, start}\nt{x}: x", (1, 8), "arguments"),
    ],
)
def test_mistakes_have_a_place(grammar: str, place: tuple[int, int] | None, message: str) -> None:
    with pytest.raises(GrammarError, match=message) as caught:
        COMPILER.compile(Grammar.lark(grammar))
    assert (caught.value.line, caught.value.column) == (place or (None, None))
