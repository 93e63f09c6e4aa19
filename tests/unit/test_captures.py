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


def test_joined_grammars():
    call = Grammar.lark('start: NAME "(" [arg ("," arg)*] ")"\narg: NAME\nNAME: /[a-z]+/')
    sums = Grammar.ebnf('root ::= arg "+" arg\narg ::= [0-9]+')
    lines = (call | sums) + Grammar.choice([";"]) + sums + Grammar.json_schema({"enum": ["!"]})
    assert captures(lines, 'f(x,yz);1+22"!"', ["arg", "NAME", "root"]) == {
        "arg": ["x", "yz", "1", "22"],
        "NAME": ["f", "x", "yz"],
        "root": ["1+22"],
    }
    assert captures(lines, '3+4;1+2"!"', ["arg", "NAME"]) == {"arg": ["3", "4", "1", "2"], "NAME": []}
    with pytest.raises(GrammarError, match='no rule named "other"'):
        captures(call + sums, "f()1+2", ["other"])
    with pytest.raises(GrammarError, match="named rules"):
        captures(Grammar.regex("a") + Grammar.choice(["b"]), "ab", ["root"])


MARKED = """
start: pair ("," pair)*
pair[capture]: key "=" value
key[ capture = "the key" ]: /[a-z]+/
value: WORD | "(" start ")"
WORD[capture="word"]: /[0-9é]+/
"""


def marked(grammar: Grammar, text: str) -> list[tuple[str, bytes]]:
    matcher = GrammarMatcher(compiler().compile_grammar(grammar))
    assert matcher.accept_string(text)
    return matcher.marked_captures()


def test_marked_rules_in_the_order_in_which_they_end():
    assert marked(Grammar.lark(MARKED), "a=(b=1),cd=2é") == [
        ("the key", b"a"),
        ("the key", b"b"),
        ("word", b"1"),
        ("pair", b"b=1"),
        ("pair", b"a=(b=1)"),
        ("the key", b"cd"),
        ("word", "2é".encode()),
        ("pair", "cd=2é".encode()),
    ]
    assert marked(Grammar.regex("[a-z]:") + Grammar.lark('start[capture="all"]: "b"'), "x:b") == [("all", b"b")]
    assert marked(Grammar.lark("start: /a/"), "a") == [] == marked(Grammar.json(), "1")
    of_template = "start: twice{/a/} twice{/b/}\ntwice{x}[capture]: x x"
    assert marked(Grammar.lark(of_template), "aabb") == [("twice", b"aa"), ("twice", b"bb")]
    # What is empty ends where it stands.
    empty = 'start: a b c\na[capture]: /x/ b\nb[capture]: ""\nc[capture]: d "y"\nd[capture]: b'
    assert [name for name, _ in marked(Grammar.lark(empty), "xy")] == ["b", "a", "b", "b", "d", "c"]
    matcher = GrammarMatcher(compiler().compile_grammar(Grammar.lark(MARKED)))
    assert matcher.accept_string("a=")
    with pytest.raises(GrammarError, match="isn't complete"):
        matcher.marked_captures()


def test_marks_in_ebnf():
    source = 'root ::= key "=" value\nkey[capture] ::= [a-z]+ value "]"?\nvalue[capture="the ]"] ::= [0-9]*'
    assert marked(Grammar.ebnf(source), "a1]=2") == [("the ]", b"1"), ("key", b"a1]"), ("the ]", b"2")]
    for attributes, column in {
        "[lazy]": 6,
        "[capture=x]": 14,
        '[capture="x]': 23,
        "[capture, lazy]": 13,
        "[": 6,
    }.items():
        with pytest.raises(GrammarError) as raised:
            compiler().compile_grammar(Grammar.ebnf(f'root{attributes} ::= "a"'))
        assert (raised.value.line, raised.value.column) == (1, column)


@pytest.mark.parametrize(
    ("attributes", "message", "column"),
    [
        ("[lazy=1]", "that are supported are capture, lazy", 7),
        ("[capture, temperature=3]", "that are supported are capture, lazy", 16),
        ("[]", "that are supported are capture, lazy", 7),
        ("[max_tokens]", "that are supported are capture, lazy", 7),
        ("[max_tokens=x]", "a number of tokens", 18),
        ("[max_tokens=99999999999]", "a number of tokens", 18),
        ("[lazy, max_tokens=1]", "goes with a suffix", 26),
        ('[stop="x"]', "suffix keeps it", 7),
        ('[stop_capture="x"]', "suffix's capture", 24),
        ("[lazy, lazy]", "attribute lazy once", 13),
        ("[suffix=x]", "terminals only", 14),
        ("[suffix]", "that are supported are capture, lazy", 7),
        ("[capture=x]", "in double quotes", 15),
        ('[capture=""]', "in double quotes", 15),
        ('[capture="x]', "not closed", 15),
        ("[capture, capture]", "attribute capture once", 16),
        ("[capture capture]", "separated by commas", 15),
    ],
)
def test_attributes_that_are_refused(attributes, message, column):
    # Not only where a definition must begin, but also where one may.
    for start in ("[", "{", "[[{"):
        with pytest.raises(GrammarError) as raised:
            compiler().compile_grammar(Grammar.lark(f"start: /a/\nb{start}"))
        assert raised.value.line == 2

    with pytest.raises(GrammarError, match=message) as raised:
        compiler().compile_grammar(Grammar.lark(f"start{attributes}: /a/"))
    assert (raised.value.line, raised.value.column) == (1, column)


def test_what_a_suffix_and_parts_of_lazy_rules_stand_for():
    ended = """
    start: x* TAIL
    x[capture, suffix=END, stop_capture="end"]: WORD "-" /.*/
    WORD: /[a-z]+/
    END: /[.;]/
    TAIL: /[0-9]*/
    """
    matcher = GrammarMatcher(compiler().compile_grammar(Grammar.lark(ended)))
    assert matcher.accept_string("ab-;c-d.12")
    assert matcher.marked_captures() == [("x", b"ab-"), ("end", b";"), ("x", b"c-d"), ("end", b".")]
    assert matcher.captures(["WORD", "END", "x", "start"]) == {
        "WORD": ["ab", "c"],
        "END": [";", "."],
        "x": ["ab-", "c-d"],
        "start": ["ab-;c-d.12"],
    }
    # A bracket in quotes or in a pattern closes nothing.
    for suffix, text in {'"]"': "]", "/]/": "]", '"\\"]"': '"]', "/[\\/}]/": "/"}.items():
        grammar = Grammar.lark(f'start: x\nx[suffix={suffix}, capture="a]}}"]: /[a-z]*/')
        assert marked(grammar, f"x{text}") == [("a]}", b"x")]


def test_a_long_text_is_a_limit_or_done():
    grammar = Grammar.lark(ARITHMETIC)
    text = "+".join(["1*2"] * 500)
    assert len(captures(grammar, text, ["NUMBER"])["NUMBER"]) == 1000
    small = GrammarCompiler(compiler().tokenizer_info, limits={"max_nodes": 200})
    matcher = GrammarMatcher(small.compile_grammar(grammar))
    assert matcher.accept_string(text)
    with pytest.raises(LimitExceeded, match="captures"):
        matcher.captures(["NUMBER"])
