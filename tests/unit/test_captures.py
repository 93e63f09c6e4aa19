"""What named rules stand for in a text."""

from __future__ import annotations

from functools import lru_cache

import pytest
from fairlead import Grammar, GrammarCompiler, GrammarMatcher, TokenizerInfo
from fairlead.errors import GrammarError, LimitExceeded

BYTES = [bytes([b]) for b in range(256)]


@lru_cache
def compiler() -> GrammarCompiler:
    return GrammarCompiler(TokenizerInfo([*BYTES, "<|call|>", None], stop_token_ids=257, special_token_ids=[256]))


def captures(grammar: Grammar, text: str, names: list[str]) -> dict[str, list[str]]:
    matcher = GrammarMatcher(compiler().compile_grammar(grammar))
    assert matcher.accept_string(text)
    return matcher.captures(names)


ARITHMETIC = """
start: sum
sum: sum "+" product | product
product: product "*" atom | atom
atom: NUMBER | "(" sum ")"
NUMBER: /[0-9]+/
%ignore " "
"""


def test_an_expression():
    found = captures(Grammar.lark(ARITHMETIC), "1 + 23*(4+5)", ["NUMBER", "product", "sum"])
    assert found["NUMBER"] == ["1", "23", "4", "5"]
    assert found["product"] == ["1 ", "23*(4+5)", "23", "4", "5"]
    assert found["sum"] == ["1 + 23*(4+5)", "1 ", "4+5", "4"]


def test_an_answer_with_json_in_it():
    lark = """
    start: "Thought: " thought "\\n" call
    thought: /[^\\n]*/
    call: name " " arguments
    name: /[a-z]+/
    arguments: %json {"type": "object", "properties": {"q": {"type": "string"}}, "additionalProperties": true}
    """
    text = 'Thought: find é\nlookup {"q": "a } b", "n": [1, {}]}'
    found = captures(Grammar.lark(lark), text, ["thought", "arguments"])
    assert found == {"thought": ["find é"], "arguments": ['{"q": "a } b", "n": [1, {}]}']}


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        # Each piece takes as much as it can, from the left.
        ("root ::= a a\na ::= [x]*", "xxx", ["xxx", ""]),
        ("root ::= a b\na ::= [x]+\nb ::= [x] a", "xxxx", ["xx", "x"]),
        # The first alternative that fits.
        ('root ::= a | b\na ::= "xy"\nb ::= a | [x] [y]', "xy", ["xy"]),
        # Rounds of a repetition, bounded ones and empty ones.
        ('root ::= (a ","?){2,3}\na ::= [x]{1,2}', "xx,xx,x", ["xx", "xx", "x"]),
        ("root ::= a{3}\na ::= [x]?", "x", ["x"]),
        # Left recursion, direct and hidden, and rules that stand for themselves.
        ('root ::= a\na ::= a "+" a | "x"', "x+x+x", ["x+x+x", "x+x", "x", "x", "x"]),
        ('root ::= a\na ::= b a "x" | "x"\nb ::= "y"?', "xxx", ["xxx", "xx", "x"]),
        ('root ::= a\na ::= b | "x"\nb ::= a', "x", ["x"]),
        # The same text read in two ways.
        ('root ::= "a" a | "aa"\na ::= "a"', "aa", ["a"]),
    ],
)
def test_which_derivation(source, text, expected):
    assert captures(Grammar.ebnf(source), text, ["a"])["a"] == expected


def test_special_tokens_are_left_out():
    matcher = GrammarMatcher(compiler().compile_grammar(Grammar.lark('start: <|call|> body\nbody: "a" <|call|> "b"')))
    assert matcher.accept_token(256) and matcher.accept_string("a") and matcher.accept_token(256)
    assert matcher.accept_string("b") and matcher.captures(["body", "start"]) == {"body": ["ab"], "start": ["ab"]}


def test_going_back_and_ending():
    matcher = GrammarMatcher(compiler().compile_grammar(Grammar.ebnf('root ::= a ";"\na ::= [a-z]+')))
    matcher.accept_string("xy")
    with pytest.raises(GrammarError, match="isn't complete"):
        matcher.captures(["a"])
    for step in ("z", ";"):
        assert matcher.accept_string(step)
    assert matcher.accept_token(257) and matcher.captures(["a"]) == {"a": ["xyz"]}
    matcher.rollback(3)
    assert matcher.accept_string(";") and matcher.captures(["a", "root"]) == {"a": ["xy"], "root": ["xy;"]}


def test_what_has_no_captures():
    with pytest.raises(GrammarError, match='no rule named "b"'):
        captures(Grammar.ebnf("root ::= [a]"), "a", ["b"])
    with pytest.raises(GrammarError, match="named rules"):
        captures(Grammar.regex("a"), "a", ["a"])


def test_a_long_text_is_a_limit_or_done():
    grammar = Grammar.lark(ARITHMETIC)
    text = "+".join(["1*2"] * 500)
    assert len(captures(grammar, text, ["NUMBER"])["NUMBER"]) == 1000
    small = GrammarCompiler(compiler().tokenizer_info, limits={"max_nodes": 200})
    matcher = GrammarMatcher(small.compile_grammar(grammar))
    assert matcher.accept_string(text)
    with pytest.raises(LimitExceeded, match="captures"):
        matcher.captures(["NUMBER"])
