"""Grammars in Lark's notation."""

from __future__ import annotations

import json
import pickle

import pytest
from fairlead._core import Compiler, Grammar, GrammarMatcher, Vocabulary
from fairlead.errors import GrammarError, LimitExceeded, SchemaError

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
        # What follows each other binds more than &, and that more than |; ~ binds more than a count.
        (
            'start: X\nX: "a" /./ & /.x/ | ~/y/~2 & /./',
            {"ax": True, "ay": False, "y": False, "b": True},
        ),
        ("start: X ~1..2\nX: /a/ & ~ /b/", {"a": True, "aa": True, "": False}),
        ("start: X\nX: /[a-z ]*/ & ~/(?s:.*)  (?s:.*)/", {"a b": True, "a  b": False, "é": False}),
        # A bracket in a pattern of an attribute; a lazy rule of several terminals has no blanks between them.
        (
            'start: x "."\nx[suffix=/[]]/]: A B\nA: "a"\nB: "b"*\n%ignore " "',
            {"ab]  .": True, "a b].": False, "ab].": True},
        ),
        (
            'start: "[" %lark {\n  start: item ":" %json {"type": "integer"}\n  item: "x" | "(" item ")"\n'
            '  %ignore "_"\n} "]" item\nitem: "y"\n%ignore " "',
            {"[ (x_):12 ] y": True, "[_(_x):1_]y": True, "[(x ):1]y": False, "[(y):1]y": False, "[x:1]x": False},
        ),
        ('start: "a" "b"\n%ignore " "', {" a b ": True, "ab": True}),
        (
            '%llguidance {"no_forcing": true}\n%grammar_options {"allow_initial_skip": false}\nstart: "a"\n%ignore " "',
            {"a  ": True, " a": False},
        ),
        ('%llguidance {"skip_repetition": "once"}\nstart: "a" "b"\n%ignore / {1,2}/', {"a  b": True, "a   b": False}),
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
        ("start: X\nX: /a/ & %json {}", (2, 4), "texts and patterns only"),
        ("start: X\nX: ~ %json {}", (2, 4), "texts and patterns only"),
        ("start: x\nx[lazy]: start", (2, 10), "terminals only"),
        ("start: x\nx[lazy]: %json {}", (2, 1), "texts and patterns only"),
        ("start: %lark {\nstart: other\n}", (2, 8), "not defined"),
        ('start: %lark { start: "a"', (1, 8), "not closed"),
        ('start: %lark start: "a"', (1, 14), "braces"),
        ('start: X\nX: "a" %lark { start: "b" }', (2, 8), "a terminal has no grammar in it"),
        ("start: @other", (1, 8), "no grammar named @other"),
        ('start: "a"\n%grammar_options {"other": 1}', (2, 18), '"other": 1 is not supported'),
        ("start: %regex {}", (1, 8), "regex"),
    ],
)
def test_mistakes_have_a_place(grammar: str, place: tuple[int, int] | None, message: str) -> None:
    with pytest.raises(GrammarError, match=message) as caught:
        COMPILER.compile(Grammar.lark(grammar))
    assert (caught.value.line, caught.value.column) == (place or (None, None))


def test_named_grammars() -> None:
    lark = 'start: "<" @args ">" @status "," @args\n%ignore " "'
    status = 'start: "ok" @more?'
    named = {"args": Grammar.json_schema({"type": "integer"}), "status": status, "more": Grammar.regex("!+")}
    grammar = Grammar.lark(lark, named_grammars=named)
    for made in (
        grammar,
        Grammar.from_dict(json.loads(json.dumps(grammar.to_dict()))),
        pickle.loads(pickle.dumps(grammar)),
    ):
        for text, whole in {"<12>ok,3": True, "< 1 > ok!! , 2 ": True, "<1>ok ,x": False, "<1>o k,1": False}.items():
            matcher = GrammarMatcher(COMPILER.compile(made))
            assert (matcher.accept_string(text) and matcher.is_completed()) is whole, text
    matcher = GrammarMatcher(
        COMPILER.compile(
            Grammar.lark(
                "start: @a @b", named_grammars={"a": "start: X\nX: /x*/", "b": Grammar.ebnf('root ::= y\ny ::= "y"')}
            )
        )
    )
    assert matcher.accept_string("xxy") and matcher.captures(["X", "y", "start"]) == {
        "X": ["xx"],
        "y": ["y"],
        "start": ["xxy", "xx"],
    }
    assert "@args, @status, @more" in repr(grammar)
    assert repr(Grammar.lark("start: /a/", named_grammars={})) == repr(Grammar.lark("start: /a/"))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"a": "start: @b", "b": "start: @a"}, "in @a: in @b: the grammars @a, @b, @a name each other in a circle"),
        ({"a": 'start: "'}, "in @a: a text is not closed .line 1, column 8"),
        ({"a": Grammar.json_schema({"type": "nope"})}, "nope"),
        ({"b": 'start: "b"'}, "no grammar named @a was given"),
    ],
)
def test_named_grammars_that_are_wrong(named: dict[str, str | Grammar], message: str) -> None:
    with pytest.raises((GrammarError, SchemaError), match=message):
        COMPILER.compile(Grammar.lark("start: @a", named_grammars=named))


@pytest.mark.parametrize("dead", ["x: X", "x[max_tokens=2]: X", "x[lazy]: X", 'x[suffix="c"]: X', "x: y\ny: X x"])
def test_what_no_text_completes_is_not_begun(dead: str) -> None:
    dead = f"{dead}\nX: /a/ & /b/"
    with pytest.raises(GrammarError, match="no text satisfies"):
        COMPILER.compile(Grammar.lark(f"start: x\n{dead}"))
    matcher = GrammarMatcher(COMPILER.compile(Grammar.lark(f'start: "(" x ")" | "[" x? "]"\n{dead}')))
    assert not matcher.fork().accept_string("(") and matcher.accept_string("[]")


def test_a_terminal_that_is_too_hard_to_tell_is_a_limit() -> None:
    hard = 'A: /é?b/{0,2}\nB: A{0,2} A{0,2} A\nC: B{0,2}\nstart[suffix="ab"]: ~C{0,2} "ab"{0,2}'
    with pytest.raises(LimitExceeded, match="too many states"):
        COMPILER.compile(Grammar.lark(hard))
