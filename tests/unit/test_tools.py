"""Tool calls out of text: whole, and while it arrives."""

from __future__ import annotations

import itertools
import json
import threading
import time
from typing import Any

import pytest
from fairlead.errors import MessageError
from fairlead.streaming import ChatMessageStreamDelta, agglomerate_stream_deltas
from fairlead.testing import chunkings
from fairlead.tools import (
    ToolCallStreamParser,
    get_tool_call_from_text,
    get_tool_calls_from_text,
    parse_json_if_needed,
)
from hypothesis import example, given
from hypothesis import strategies as st

CALL = '{"name": "f", "arguments": {"a": 1}}'
F = ("f", {"a": 1})
G = ("g", {"b": [True, None]})


def pairs(calls: Any) -> list[tuple[str, Any]]:
    return [(call.function.name, call.function.arguments) for call in calls]


TEXTS: list[tuple[str, list[tuple[str, Any]]]] = [
    (CALL, [F]),
    (f"I call {{placeholder}}: {CALL} and then {{see}} }}", [F]),
    (f"```json\n{CALL}\n```", [F]),
    (f"<tool_call>\n{CALL}\n</tool_call>\n<tool_call>\n" + '{"name": "g", "arguments": {"b": [true, null]}}', [F, G]),
    (f"[{CALL}, {CALL}]", [F, F]),
    ('{"name": "f", "arguments": "{\\"a\\": 1}"}', [F]),
    ('{"name": "f", "arguments": "plain \\ud83d\\ude42 \\u20ac"}', [("f", "plain 🙂 €")]),
    ('{"name": "f", "arguments": ""}', [("f", "")]),
    ('{"name": "f", "arguments": 42}', [("f", 42)]),
    ('{"name": "f", "arguments": []}', [("f", [])]),
    ('{"name": "f"}', [("f", None)]),
    ('{"arguments": {"a": 1}, "name": "f"}', [F]),
    ('{"id": 3, "name": "f", "type": {}, "arguments": {"a": 1}, "more": "}"}', [F]),
    ('{"name": "f", "arguments": {"a": "{ \\" } {", "b": {"c": {"d": "}}"}}}}', [
        ("f", {"a": '{ " } {', "b": {"c": {"d": "}}"}}})
    ]),
    ('{"name": "f", "arguments": {"a": "two\nlines"}}', [("f", {"a": "two\nlines"})]),
    ('{"name": "f", "arguments": {"a": "\\d+ \\\' \\x41"}}', [("f", {"a": "\\d+ ' A"})]),
    ("{'name': 'f', 'arguments': {'a': 1}}", [F]),
    ("{'name': 'f', 'arguments': {'a': 'it\\'s \"so\"', 'b': (True, None, -1.5, .5, 1_0)}}", [
        ("f", {"a": 'it\'s "so"', "b": [True, None, -1.5, 0.5, 10]})
    ]),
    ("{'name': 'f', 'arguments': {1: 'one', 'u': '\\U0001f642'}}", [("f", {"1": "one", "u": "🙂"})]),
    ('{"name": "f", "arguments": {"a": 1,},}', [F]),
    ('{"thought": "{}"} ' + CALL, [F]),
    (
        "Calling tools:\n[{'id': 'call_1', 'type': 'function', 'function': {'name': 'f', 'arguments': {'a': 1}}}, "
        "{'id': 'call_2', 'type': 'function', 'function': {'name': 'g', 'arguments': {'b': [True, None]}}}]",
        [F, G],
    ),
    ('{"tool_calls": [{"function": {"name": "f", "arguments": "{\\"a\\": 1}"}}]}', [F]),
    ('{"thought": "hm", "tool_call": {"name": "f", "arguments": {"a": 1}}}', [F]),
    ("f(a=1)", [F]),
    ("I think that f(x) does it:\n```python\nresult = f(a=1)\n```", [F]),
    ("[f(a=1), g(b=[True, None])]", [F, G]),
    ("<tool_call>f()</tool_call>", [("f", {})]),
    ("functions.f(a='x)', b={'c': (1, 2)})", [("functions.f", {"a": "x)", "b": {"c": [1, 2]}})]),
    ('{oops ' + CALL, [F]),
    (CALL + '{"name": "g", "arguments": {"b": ', [F]),
    ('{"name": "g", "arguments": {"b": oops}} ' + CALL, [F]),
    ('{"name": "g", "arguments": {}, "name": "h"} ' + CALL, [F]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "calls"), TEXTS)
def test_calls(text, calls):
    found = get_tool_calls_from_text(text)
    assert pairs(found) == calls
    if "oops" not in text and '"h"' not in text:
        assert pairs([get_tool_call_from_text(text, "name", "arguments")]) == calls[:1]
    ids = [call.id for call in found]
    assert ids == sorted(set(ids)) and all(call.type == "function" for call in found)


def test_other_keys():
    text = '{"name": "no", "action": "f", "action_input": {"a": 1}}'
    assert pairs([get_tool_call_from_text(text, "action", "action_input")]) == [F]
    assert pairs(get_tool_calls_from_text(text, "action", "action_input")) == [F]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not contain any JSON blob"),
        ("call foo() and bar (x) and def f(a=1): pass", "does not contain any JSON blob"),
        ('{"tool": "f", "x": 1}', r"key 'name'\. Got keys: \['tool', 'x'\]"),
        ('{"name": "f", "type": "function"', "the text ends inside it. The tool's name is 'f'"),
        ('{"name": "f", "arguments": {"a": "b', "call of 'f' is invalid: the text ends inside it"),
        ('{"name": "f", "arguments": {"a": b}}', "call of 'f' is invalid: expected a value, not 'b'"),
        ('{"name": "f", "arguments": {"a" 1}}', "expected ':' after a key, not '1'"),
        ("{name: f}", "expected a key in quotes, not 'n'"),
        ('{"a": 1 "b": 2}', "expected ',' or '}', not '\"'"),
        ('{"a": "\\u12g"}', "needs 4 hexadecimal digits"),
        ('{"name": 5}', "key 'name'"),
    ],
)
def test_what_was_found_is_said(text, said):
    with pytest.raises(MessageError, match=said):
        get_tool_calls_from_text(text)
    with pytest.raises(ValueError):
        get_tool_call_from_text(text if "5" not in text else "", "name", "arguments")


def read(text: str, pieces: list[str]) -> tuple[ToolCallStreamParser, list[Any]]:
    parser = ToolCallStreamParser()
    deltas = [delta for piece in pieces for delta in parser.feed(piece)]
    assert "".join(pieces) == text
    return parser, deltas + parser.finish()


def check(text: str, pieces: list[str]) -> None:
    whole, _ = read(text, [text])
    parser, deltas = read(text, pieces)
    assert pairs(parser.calls) == pairs(whole.calls)
    assert str(parser.error) == str(whole.error)
    try:
        found = get_tool_calls_from_text(text)
    except MessageError as error:
        assert not parser.calls and str(error) == str(parser.error)
    else:
        assert pairs(found) == pairs(parser.calls)
    # What an agent makes of the deltas. A call that breaks off is among them, as it is in a provider's stream.
    indices = [delta.index for delta in deltas]
    assert indices == sorted(indices) and set(indices) == set(range(len(set(indices))))
    joined = agglomerate_stream_deltas(ChatMessageStreamDelta(tool_calls=[delta]) for delta in deltas).tool_calls
    by_id = {call.id: call for call in joined}
    assert list(by_id) == sorted(by_id) and len(by_id) == len(joined)
    for call in parser.calls:
        assert by_id[call.id].function.name == call.function.name
        assert parse_json_if_needed(by_id[call.id].function.arguments) == call.function.arguments
    if parser.error is None:
        assert len(joined) == len(parser.calls)


@pytest.mark.parametrize("text", [text for text, _ in TEXTS])
def test_a_stream_of_characters(text):
    check(text, list(text))
    for size in (2, 3, 7):
        check(text, [text[at : at + size] for at in range(0, len(text), size)])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def as_json(name, arguments, stringed):
    return json.dumps({"name": name, "arguments": json.dumps(arguments) if stringed else arguments})


written = st.one_of(
    st.builds(lambda v, a: json.dumps(v, ensure_ascii=a), values, st.booleans()),
    values.map(repr),
    st.builds(as_json, st.text(), values, st.booleans()),
    st.builds(lambda n, a: repr({"arguments": a, "name": n}), st.text(), values),
    st.builds(lambda a: f"f(a={a!r})", values),
)
PIECES = r"""
{ } [ ] " ' \ \u ud83d \ude00 , : ( ) = name arguments f(a= "name":"f" "arguments": 1 - tru e é 🙂 ``` <tool_call>
"""
SPLINTERS = st.sampled_from([*PIECES.split(), CALL, " ", "\n"])
soup = st.lists(SPLINTERS | written | st.text(max_size=3), max_size=12).map("".join)


@given(st.data(), soup)
def test_any_text_in_any_chunks(data, text):
    check(text, data.draw(chunkings(text)))


@given(st.text(), values, st.booleans(), st.text(alphabet="ab {}'\"\n", max_size=12), st.integers(0, 3))
@example("f", "🙂\ud83d", True, "", 0)
@example("f", ["🙂\ud83d"], False, "", 3)
def test_what_was_written_is_read(name, arguments, last, prose, form):
    call = {"arguments": arguments, "name": name} if last else {"name": name, "arguments": arguments}
    text = [json.dumps, repr, lambda v: json.dumps(v, indent=2), lambda v: json.dumps(v, ensure_ascii=False)][form](
        call
    )
    expected = [(name, parse_json_if_needed(arguments))]
    # Python's numbers as keys and its repr of floats come out the same.
    assert pairs(get_tool_calls_from_text(text)) == expected
    assert pairs([get_tool_call_from_text(text, "name", "arguments")]) == expected
    text = "Prose. " + prose.replace("{", "").replace("'", "").replace('"', "") + text + prose
    assert pairs(get_tool_calls_from_text(text))[:1] == expected


@given(soup, values, st.text(max_size=3))
def test_as_smolagents_where_it_succeeds(before, arguments, name):
    theirs = pytest.importorskip("smolagents.models")
    for text in (before, json.dumps({"name": name, "arguments": arguments}), before + json.dumps({"name": name})):
        try:
            expected = theirs.get_tool_call_from_text(text, "name", "arguments")
        except Exception:
            continue
        got = get_tool_call_from_text(text, "name", "arguments")
        assert pairs([got]) == pairs([expected]), text


def test_arguments_are_handed_on_as_they_come():
    parser = ToolCallStreamParser()
    assert parser.feed('I look: {"name": "f", ') == []
    first = parser.feed('"arguments": {"query": "a rope')
    assert [(d.index, d.function.name, d.function.arguments) for d in first] == [(0, "f", '{"query": "a rope')]
    assert first[0].id
    more = parser.feed(" and ")
    assert [(d.index, d.id, d.function.arguments) for d in more] == [(0, None, " and ")]
    assert [d.function.arguments for d in parser.feed("more")] == ["more"]
    assert parser.calls == []
    assert [d.function.arguments for d in parser.feed('"}}')] == ['"}']
    assert pairs(parser.calls) == [("f", {"query": "a rope and more"})] and parser.calls[0].id == first[0].id
    assert parser.finish() == [] and parser.error is None


def test_a_call_that_breaks_off_is_said_beside_the_whole_ones():
    parser = ToolCallStreamParser()
    parser.feed(CALL + ' {"name": "g", "arguments": {"b"')
    parser.finish()
    assert pairs(parser.calls) == [F]
    assert "call of 'g' is invalid: the text ends inside it" in str(parser.error)


HOSTILE = ["{", '{"a":', "{'", "{[", '{"a":[', "f(a=", "f(a='", "f(a=[", "f()", "{}", '{"a":1}', '{"name":"f",']


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_takes_no_time(unit):
    text = unit * 20_000
    for pieces in ([text], [text[at : at + 5] for at in range(0, len(text), 5)]):
        started = time.process_time()
        parser = ToolCallStreamParser()
        for piece in pieces:
            parser.feed(piece)
        parser.finish()
        assert time.process_time() - started < 5


def test_long_arguments_take_linear_time():
    def seconds(size: int) -> float:
        text = json.dumps({"name": "f", "arguments": {"code": "print('x')\n" * size}})
        parser = ToolCallStreamParser()
        started = time.process_time()
        for at in range(0, len(text), 4):
            parser.feed(text[at : at + 4])
        parser.finish()
        assert len(parser.calls) == 1
        return time.process_time() - started

    assert min(seconds(8000) for _ in range(2)) < 12 * min(seconds(1000) for _ in range(2)) + 0.05


def test_ids_of_many_threads_are_unique():
    found: list[list[str]] = []

    def work() -> None:
        found.append([get_tool_call_from_text(CALL, "name", "arguments").id for _ in range(500)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(itertools.chain(*found))) == 4000
    assert all(ids == sorted(ids) for ids in found)
