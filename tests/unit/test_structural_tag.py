"""Structural tags in XGrammar's JSON form."""

from __future__ import annotations

from typing import Any

import pytest
from fairlead._core import Compiler, Grammar, GrammarMatcher, Vocabulary
from fairlead.errors import GrammarError

COMPILER = Compiler(Vocabulary([bytes([b]) for b in range(256)] + [None], stop_token_ids=[256], vocab_size=257))
TAG = {"type": "tag", "begin": "<a>", "content": {"type": "const_string", "value": "x"}, "end": "</a>"}
CALL = {
    "type": "tag",
    "begin": "<n=",
    "content": {"type": "json_schema", "json_schema": {"type": "integer"}},
    "end": ">",
}
TRIGGERED = {"type": "triggered_tags", "triggers": ["<a", "<n"], "tags": [TAG, CALL]}


def accepts(tag: dict[str, Any], text: str) -> bool:
    matcher = GrammarMatcher(COMPILER.compile(Grammar.structural_tag(tag)))
    return all(matcher.accept_token(b) for b in text.encode()) and matcher.accept_token(256)


@pytest.mark.parametrize(
    ("format_", "texts"),
    [
        (
            TRIGGERED,
            {
                "": True,
                "hi é": True,
                "hi<a>x</a>ho<n=12>": True,
                "hi<a": False,
                "hi<b": True,
                "<a>y</a>": False,
                "<": True,
            },
        ),
        (
            {**TRIGGERED, "at_least_one": True},
            {"": False, "hi<a>x</a>": False, "<a>x</a>": True, "<n=1>h<a>x</a>": True},
        ),
        ({**TRIGGERED, "stop_after_first": True}, {"": True, "hi<a>x</a>": True, "hi<a>x</a>ho": False}),
        (
            {**TRIGGERED, "stop_after_first": True, "at_least_one": True},
            {"<a>x</a>": True, "<a>x</a>z": False, "hi<a>x</a>": False},
        ),
        ({**TRIGGERED, "excludes": ["no"]}, {"n": True, "on": True, "not": False, "hi<a>x</a>no": False}),
        (
            {"type": "tag", "begin": "<t>", "content": {"type": "any_text"}, "end": ["</t>", "</>"]},
            {"<t>foo</t>": True, "<t></>": True, "<t>a</t></t>": False, "<t>a": False},
        ),
        ({"type": "any_text", "max_chars": 3}, {"": True, "aé日": True, "aéb日": False}),
        (
            {
                "type": "tag",
                "begin": "<t>",
                "content": {"type": "any_text", "max_chars": 2, "excludes": ["x"]},
                "end": "<",
            },
            {"<t>ab<": True, "<t><": True, "<t>abc<": False, "<t>ax<": False, "<t>a<b": False},
        ),
        (
            {"type": "tags_with_separator", "tags": [TAG, CALL], "separator": ","},
            {"": True, "<a>x</a>,<n=3>": True, "<a>x</a><n=3>": False, "<a>x</a>,": False},
        ),
        (
            {
                "type": "sequence",
                "elements": [{"type": "regex", "pattern": "[0-9]+"}, {"type": "optional", "content": TAG}],
            },
            {"12": True, "12<a>x</a>": True, "<a>x</a>": False},
        ),
        (
            {"type": "or", "elements": [TAG, {"type": "grammar", "grammar": 'root ::= root "b" | "a"'}]},
            {"abb": True, "<a>x</a>": True, "b": False},
        ),
        (
            {"type": "repeat", "min": 1, "max": 2, "content": TAG},
            {"<a>x</a>" * 2: True, "": False, "<a>x</a>" * 3: False},
        ),
        (
            {"type": "dispatch", "rules": [["aa", {"type": "const_string", "value": "1"}]], "excludes": ["z"]},
            {"baa1b": True, "aa": False, "aaa1": False, "z": False, "a": True},
        ),
    ],
)
def test_texts(format_: dict[str, Any], texts: dict[str, bool]) -> None:
    for text, whole in texts.items():
        assert accepts({"type": "structural_tag", "format": format_}, text) is whole, text


def test_the_older_form() -> None:
    tag = {"structures": [{"begin": "<f>", "schema": {"const": 1}, "end": "</f>"}], "triggers": ["<f"]}
    assert accepts(tag, "so <f>1</f> it is") and not accepts(tag, "<f>2</f>")


@pytest.mark.parametrize(
    ("text", "following"),
    [
        ("hi <n", "="),
        ("hi <n=", "-0123456789"),
        ("<n=12", "0123456789>"),
        ("<a", ">"),
        ("<a>", "x"),
        ("<a>x</a>", None),
        ("<b", None),
    ],
)
def test_behind_a_trigger_only_its_tags_go_on(text: str, following: str | None) -> None:
    """What begins like no tag is dead at once, whatever the content of the tags is."""
    tag = {"type": "structural_tag", "format": TRIGGERED}
    matcher = GrammarMatcher(COMPILER.compile(Grammar.structural_tag(tag)))
    assert matcher.accept_string(text)
    letters = [chr(b) for b in range(32, 127)]
    # "None": free text goes on in any way.
    assert [c for c in letters if matcher.fork().accept_string(c)] == [
        c for c in letters if following is None or c in following
    ]


def test_tags_that_nothing_completes_are_not_begun() -> None:
    never = {
        "type": "tag",
        "begin": "<u>",
        "content": {"type": "regex", "pattern": "a+", "excludes": ["a"]},
        "end": "</u>",
    }
    tag = {"type": "structural_tag", "format": {"type": "tags_with_separator", "tags": [never, TAG], "separator": ","}}
    matcher = GrammarMatcher(COMPILER.compile(Grammar.structural_tag(tag)))
    assert matcher.accept_string("<")
    assert matcher.fork().accept_string("a") and not matcher.fork().accept_string("u")


def test_grammars_in_either_notation() -> None:
    for grammar, more in (
        ('root ::= "a" root | "b"', {}),
        ('root ::= "a" root | "b"', {"syntax": "ebnf"}),
        ('start: "a" start | "b"', {"syntax": "lark"}),
    ):
        format_ = {"type": "tag", "begin": "<", "content": {"type": "grammar", "grammar": grammar, **more}, "end": ">"}
        tag = {"type": "structural_tag", "format": format_}
        assert accepts(tag, "<aab>") and not accepts(tag, "<aa>")


@pytest.mark.parametrize(
    ("format_", "pointer"),
    [
        ({"type": "nope"}, "/format/type"),
        ({"type": "const_string"}, "/format"),
        ({"type": "const_string", "value": "a", "more": 1}, "/format/more"),
        (
            {"type": "sequence", "elements": [TAG, {"type": "exclude_token", "max_tokens": 1}]},
            "/format/elements/1/max_tokens",
        ),
        ({**TRIGGERED, "triggers": ["<x"]}, "/format/tags/0/begin"),
        ({**TRIGGERED, "triggers": ["<", "<a"]}, "/format/tags/0/begin"),
        ({"type": "any_text", "max_chars": -3}, "/format/max_chars"),
        ({"type": "any_text", "max_tokens": -1}, "/format/max_tokens"),
        ({"type": "any_tokens", "max_tokens": "3"}, "/format/max_tokens"),
        ({"type": "regex", "pattern": "("}, "/format/pattern"),
        ({"type": "grammar", "grammar": "start: x", "syntax": "lark"}, "/format/grammar"),
        ({"type": "grammar", "grammar": "root ::= x", "syntax": "bnf"}, "/format/syntax"),
        ({"type": "json_schema", "json_schema": {}, "style": "xml"}, "/format/style"),
    ],
)
def test_mistakes_have_a_pointer(format_: dict[str, Any], pointer: str) -> None:
    with pytest.raises(GrammarError) as caught:
        COMPILER.compile(Grammar.structural_tag({"type": "structural_tag", "format": format_}))
    assert f"#{pointer})" in str(caught.value) or f"#{pointer} " in str(caught.value)


def test_what_is_no_tag() -> None:
    with pytest.raises(TypeError, match="structural tag"):
        Grammar.structural_tag(3)
    assert Grammar.json_schema(int | None) == Grammar.json_schema({"anyOf": [{"type": "integer"}, {"type": "null"}]})
