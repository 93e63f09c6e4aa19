"""Tool calls as each family of models writes them: the grammar, and reading them in pieces of any size."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from fairlead import ConfigurationError, GrammarCompiler, GrammarMatcher, TokenizerInfo
from fairlead.tools import TOOL_SYNTAXES, ToolCallFilter, find_tool_syntax, named_tool_syntax
from fairlead.tools._parameters import _without
from fairlead.tools._syntax import SPECIAL_CLOSE, SPECIAL_OPEN

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "search",
            "description": "Look up.",
            "parameters": {
                "type": "object",
                "properties": {"query": {"type": "string"}, "limit": {"type": "integer", "nullable": True}},
                "required": ["query"],
            },
        },
    },
    {"type": "function", "function": {"name": "now", "description": "The time.", "parameters": {}}},
]
SEARCH = {"query": 'a "<b>" {c} </tool_call>\n é', "limit": 3}
SIMPLE = {"query": "x < y"}

WRITTEN = {
    "hermes": [
        f'<tool_call>\n{{"name": "search", "arguments": {json.dumps(SEARCH)}}}\n</tool_call>\n'
        '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
    ],
    "qwen-coder": [
        "<tool_call>\n<function=search>\n<parameter=query>\nif a < b:\n  c </x\n</parameter>\n"
        "<parameter=limit>\n3\n</parameter>\n</function>\n</tool_call>\n"
        "<tool_call>\n<function=now>\n</function>\n</tool_call>"
    ],
    "llama3": [
        f'{{"name": "search", "parameters": {json.dumps(SEARCH)}}}; {{"name": "now", "parameters": {{}}}}',
        f'<|python_tag|>{{"name": "search", "parameters": {json.dumps(SEARCH)}}}\n{{"name":"now","parameters":{{}}}}',
    ],
    "mistral": [
        f'[TOOL_CALLS][{{"name": "search", "arguments": {json.dumps(SEARCH)}}}, {{"name": "now", "arguments": {{}}}}]'
    ],
    "mistral-v11": [f"[TOOL_CALLS]search[ARGS]{json.dumps(SEARCH)}[TOOL_CALLS]now[ARGS]{{}}"],
    "deepseek-v3": [
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>search\n```json\n"
        f"{json.dumps(SEARCH)}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n"
        "{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ],
    "deepseek": [
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>search<｜tool▁sep｜>{json.dumps(SEARCH)}<｜tool▁call▁end｜>"
        "<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ],
    "harmony": [
        f"<|channel|>commentary to=functions.search <|constrain|>json<|message|>{json.dumps(SEARCH)}"
        "<|call|><|start|>assistant<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}"
    ],
    "json": [f'{{"name": "search", "arguments": {json.dumps(SEARCH)}}}\n{{"name": "now", "arguments": {{}}}}'],
}
EXPECTED = {"qwen-coder": {"query": "if a < b:\n  c </x", "limit": 3}}
CASES = [(name, text) for name, texts in WRITTEN.items() for text in texts]


def read(name: str, pieces: list[str]) -> tuple[str, list[tuple[str, Any]], str, dict[int, list[str]]]:
    calls = ToolCallFilter(named_tool_syntax(name), TOOLS)
    content, streamed = "", {}
    for piece in [*pieces, None]:
        shown, deltas = calls.finish() if piece is None else calls.feed(piece)
        content += shown
        for delta in deltas:
            names, arguments = streamed.setdefault(delta.index, ["", ""])
            function = delta.function
            streamed[delta.index] = [names + (function.name or ""), arguments + (function.arguments or "")]
    found = [(call.function.name, call.function.arguments) for call in calls.calls]
    return content, found, calls.content, streamed


def test_there_is_a_case_for_every_family():
    assert {*WRITTEN} == {*TOOL_SYNTAXES, "json"}


@pytest.mark.parametrize(("name", "text"), CASES, ids=lambda value: value[:12])
def test_calls_are_read_whatever_the_pieces(name, text):
    expected = [("search", EXPECTED.get(name, SEARCH)), ("now", {})]
    draw = random.Random(7)
    cuts = [[text], list(text)]
    for _ in range(20):
        at = sorted(draw.sample(range(1, len(text)), 5))
        cuts.append([text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)])
    for pieces in cuts:
        content, found, whole, streamed = read(name, pieces)
        assert content.strip() == whole.strip() == "" and found == expected
        assert [name for name, _ in streamed.values()] == ["search", "now"]
        assert [json.loads(arguments) for _, arguments in streamed.values()] == [value for _, value in expected]


@pytest.mark.parametrize(
    ("name", "text"), [case for case in CASES if not case[1].startswith("{")], ids=lambda v: v[:12]
)
def test_content_stands_before_the_calls(name, text):
    for pieces in ([f"Let me see.\n{text}"], list(f"Let me see.\n{text}")):
        content, found, whole, _ = read(name, pieces)
        assert content.strip() == whole.strip() == "Let me see." and [name for name, _ in found] == ["search", "now"]


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize(
    "text", ["Just an answer.", "a < b [TOOL", '{"no": "call"}', "<tool_call", "``", "x ```json", ""]
)
def test_what_is_no_call_is_content(name, text):
    for pieces in ([text], list(text)):
        content, found, whole, streamed = read(name, pieces)
        assert (content, whole, found, streamed) == (text, text, [], {})


def test_a_call_in_the_midst_of_prose_stays_content_too():
    text = f'I call {{"name": "search", "arguments": {json.dumps(SIMPLE)}}} now.'
    content, found, _, _ = read("json", list(text))
    assert content == text and found == [("search", SIMPLE)]
    assert read("json", ['Say {"name": "nobody", "arguments": {}}.'])[1] == []


def test_a_call_that_breaks_off_is_content():
    text = WRITTEN["hermes"][0][:40]
    content, found, _, _ = read("hermes", list(text))
    assert content == text and found == []


def test_harmonys_channels_around_an_answer():
    assert read("harmony", list("<|channel|>final<|message|>Hello <there>."))[0] == "Hello <there>."


def test_reading_xml_uses_the_types_of_the_tools():
    text = "<function=search>\n<parameter=query>\n12\n</parameter>\n<parameter=limit>\nNone\n</parameter>\n</function>"
    assert read("qwen-coder", [text])[1] == [("search", {"query": "12", "limit": None})]


def test_reading_xml_leaves_texts_as_they_are():
    tool = {"name": "note", "parameters": {"properties": TEXTS}}
    calls = ToolCallFilter(named_tool_syntax("qwen-coder"), [tool])
    written = {"free": " 12 ", "code": "AB", "listed": "a", "lacking": "null", "either": "None", "more": '"x"'}
    written |= {"one": " b", "any": " b", "maybe": " c "}
    body = "".join(f"<parameter={key}>\n{text}\n</parameter>\n" for key, text in written.items())
    calls.feed(f"<function=note>\n{body}</function>")
    calls.finish()
    expected = {"free": " 12 ", "code": "AB", "listed": "a", "lacking": None, "either": None, "more": '"x"'}
    expected |= {"one": "b", "any": " b", "maybe": " c "}
    assert calls.calls[0].function.arguments == expected


TEXTS: dict[str, Any] = {
    "free": {"type": "string", "description": "Anything."},
    "code": {"type": "string", "pattern": "^[A-Z]{2}$"},
    "listed": {"type": "string", "enum": ["a", "b"]},
    "lacking": {"type": "string", "nullable": True},
    "either": {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]},
    "more": {"type": ["string", "null"]},
    "one": {"type": "string", "nullable": True, "enum": ["a", "b"]},
    "any": {"type": "string", "nullable": True},
    "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None, "title": "Maybe"},
}


# The grammars


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(TokenizerInfo([bytes([n]) for n in range(256)] + [None], stop_token_ids=[256]))


def accepts(compiler: GrammarCompiler, grammar: Any, text: str) -> bool:
    matcher = GrammarMatcher(compiler.compile_grammar(grammar))
    return bool(matcher.accept_string(text)) and matcher.is_completed()


@pytest.mark.parametrize("name", WRITTEN)
def test_the_grammar_takes_what_the_family_writes(compiler, name):
    syntax = named_tool_syntax(name)
    grammar = syntax.grammar(TOOLS)
    text = WRITTEN[name][0]
    assert accepts(compiler, grammar, text)
    assert not accepts(compiler, grammar, text[:-1]) and not accepts(compiler, grammar, "Hello")
    assert not accepts(compiler, syntax.grammar(TOOLS, parallel=False), text)
    assert not accepts(compiler, syntax.grammar(TOOLS, only="now"), text)
    wrong = text.replace("query", "quest")
    assert not accepts(compiler, grammar, wrong)


@pytest.mark.parametrize(
    ("key", "fine", "wrong"),
    [
        ("free", ["", "x", "12", "<b>\n\n"], ["a</parameter>b"]),
        ("code", ["AB"], ["ABC", "ab", ""]),
        ("listed", ["a", "b"], ["c", '"a"']),
        ("lacking", ["", "null", "x y"], ["a</parameter>b"]),
        ("either", ["", "abc", "null"], ["abcde"]),
        ("more", ["x", "null"], ["\x02"]),
        ("one", ["a", " b", "null"], ["c"]),
    ],
)
def test_texts_in_xml_keep_to_what_is_asked_of_them(compiler, key, fine, wrong):
    tool = {"name": "note", "parameters": {"properties": {key: TEXTS[key]}, "required": [key]}}
    grammar = named_tool_syntax("qwen-coder").grammar([tool])
    for text in [*fine, *wrong]:
        call = f"<tool_call>\n<function=note>\n<parameter={key}>\n{text}\n</parameter>\n</function>\n</tool_call>"
        assert accepts(compiler, grammar, call) == (text in fine), text


def test_types_that_only_smolagents_has(compiler):
    inputs = {"picture": {"type": "image"}, "sound": {"type": "audio", "nullable": True}, "what": {"type": "any"}}
    tool = {"name": "show", "parameters": {"type": "object", "properties": inputs, "required": list(inputs)}}
    grammar = named_tool_syntax("json").grammar([tool])
    for arguments in ({"picture": "a.png", "sound": None, "what": [1]}, {"picture": "", "sound": "b", "what": "c"}):
        assert accepts(compiler, grammar, json.dumps({"name": "show", "arguments": arguments}))
    wrong = json.dumps({"name": "show", "arguments": {"picture": 5, "sound": None, "what": 1}})
    assert not accepts(compiler, grammar, wrong)


def test_special_tokens_stand_for_themselves(compiler):
    grammar = named_tool_syntax("mistral").grammar(TOOLS, only="now", special=["[TOOL_CALLS]"])
    marker = f"{SPECIAL_OPEN}[TOOL_CALLS]{SPECIAL_CLOSE}"
    assert accepts(compiler, grammar, f'{marker}[{{"name": "now", "arguments": {{}}}}]')
    assert not accepts(compiler, grammar, '[TOOL_CALLS][{"name": "now", "arguments": {}}]')
    text = named_tool_syntax("qwen-coder").grammar(TOOLS[:1])
    assert not accepts(compiler, text, WRITTEN["qwen-coder"][0].partition("\n<tool_call>\n<function=now")[0] + marker)


@pytest.mark.parametrize("tag", ["</parameter>", "</p>"])
def test_texts_without_a_tag(tag):
    import re

    pattern = re.compile(_without(tag), re.S)
    draw = random.Random(3)
    for _ in range(3000):
        text = "".join(draw.choice(["<", "</", tag[:-1], tag, "a", "p", ">", "/"]) for _ in range(draw.randrange(7)))
        assert (pattern.fullmatch(text) is not None) == (tag not in text), text


def test_mistakes():
    syntax = named_tool_syntax("hermes")
    with pytest.raises(ConfigurationError, match="nobody"):
        syntax.grammar(TOOLS, only="nobody")
    with pytest.raises(ConfigurationError):
        syntax.grammar([])
    with pytest.raises(ConfigurationError, match="hermes"):
        named_tool_syntax("esperanto")


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ('<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>', "hermes"),
        ("<tool_call>\n<function=example>\n<parameter=x>", "qwen-coder"),
        ("{{ '<|python_tag|>' }}", "llama3"),
        ("Environment: ipython", "llama3"),
        ("[TOOL_CALLS]{{ calls }}", "mistral"),
        ("[TOOL_CALLS]{{ name }}[ARGS]", "mistral-v11"),
        ("<｜tool▁calls▁begin｜>function```json", "deepseek-v3"),
        ("<｜tool▁calls▁begin｜>", "deepseek"),
        ("<|start|><|channel|>commentary<|message|>", "harmony"),
    ],
)
def test_templates_show_the_family(template, name):
    found = find_tool_syntax(template)
    assert found is not None and found.name == name


def test_templates_of_no_family():
    assert find_tool_syntax("{{ message['content'] }}") is None and find_tool_syntax(None) is None
