"""Messages where smolagents raises or loses data: the sensible result, or a typed error that says which message."""

from __future__ import annotations

import copy
import json
import pickle
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
from fairlead import MessageError, ModelError
from fairlead.messages import attach_info
from fairlead.models import (
    ChatMessage,
    ChatMessageStreamDelta,
    ChatMessageToolCall,
    ChatMessageToolCallFunction,
    ChatMessageToolCallStreamDelta,
    MessageRole,
    TokenUsage,
    agglomerate_stream_deltas,
    get_clean_message_list,
    get_tool_call_from_text,
    remove_content_after_stop_sequences,
)
from fairlead.streaming import ChatStream, DeltaAccumulator
from fairlead.types import OutputShape, ReplyInfo


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": {"q": "x"}}}


@pytest.mark.parametrize(
    ("contents", "merged"),
    [
        (["a", "b"], "a\nb"),
        (["a", [text("b")]], [text("a\nb")]),
        ([[text("a")], "b"], [text("a\nb")]),
        ([[{"type": "image_url", "image_url": "u"}], "b"], [{"type": "image_url", "image_url": "u"}, text("b")]),
        (["a", None, "b"], "a\nb"),
        ([None, "b"], "b"),
        ([None, [text("b")]], [text("b")]),
        ([[], [text("b")]], [text("b")]),
        ([["a", "b"]], [text("a"), text("b")]),
    ],
)
def test_merging(contents, merged):
    assert get_clean_message_list([user(content) for content in contents]) == [{"role": "user", "content": merged}]


@pytest.mark.parametrize(
    ("contents", "flat"),
    [
        (["a"], "a"),
        ([[text("a"), text("b")]], "a\nb"),
        ([["a", text("b")], "c"], "a\nb\nc"),
        ([None], ""),
        ([[]], ""),
        ([[], "a", None, "b"], "a\nb"),
    ],
)
def test_flattening(contents, flat):
    history = [user(content) for content in contents]
    assert get_clean_message_list(history, flatten_messages_as_text=True) == [{"role": "user", "content": flat}]


def test_tool_calls_without_content_are_not_lost():
    message = {"role": "assistant", "tool_calls": [CALL]}
    assert get_clean_message_list([message]) == [{"role": "assistant", "content": None}]
    flat = get_clean_message_list([message], flatten_messages_as_text=True)[0]["content"]
    assert flat.startswith("Calling tools:\n") and json.loads(flat.partition("\n")[2]) == [CALL]
    merged = get_clean_message_list([{"role": "assistant", "content": "I look."}, message])[0]["content"]
    assert merged == "I look.\n" + flat
    first = get_clean_message_list([message, {"role": "assistant", "content": "Then."}])[0]["content"]
    assert first == flat + "\nThen."


def test_providers_names_of_roles():
    history = [{"role": "developer", "content": "s"}, {"role": "tool", "content": "t"}]
    assert [m["role"] for m in get_clean_message_list(history)] == ["system", "tool-response"]
    assert [m["role"] for m in get_clean_message_list(history, {"tool-response": "user"})] == ["system", "user"]
    assert [m["role"] for m in get_clean_message_list(history, {"tool": "tool"})] == ["system", "tool"]


@pytest.mark.parametrize(
    "bad",
    [
        {"role": "robot", "content": "x"},
        {"role": None, "content": "x"},
        {"role": ["user"], "content": "x"},
        {"content": "x"},
        {"role": "user"},
        {"role": "user", "content": 5},
        {"role": "user", "content": {"type": "text", "text": "x"}},
        {"role": "user", "content": [7]},
        {"role": "user", "content": [{"text_": "x"}]},
        {"role": "user", "content": [{"type": "text"}]},
        {"role": "user", "content": [{"type": "text", "text": None}]},
        {"role": "user", "content": [{"type": "image", "image": object()}]},
        {"role": "user", "content": [{"type": "image", "image": b"no image"}]},
        SimpleNamespace(role="user"),
        SimpleNamespace(content="x"),
        "just text",
        None,
    ],
)
def test_malformed_messages_name_their_index(bad):
    with pytest.raises(MessageError) as caught:
        get_clean_message_list([user("fine"), {"role": "assistant", "content": "fine"}, bad])
    assert caught.value.index == 2 and "2" in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_only_text_can_be_flattened():
    with pytest.raises(MessageError) as caught:
        get_clean_message_list([user([text("a"), {"type": "image_url", "image_url": "u"}])], {}, False, True)
    assert caught.value.index == 0


def test_any_object_with_role_and_content():
    message = SimpleNamespace(role=MessageRole.USER, content=(text("a"),))
    assert get_clean_message_list([message]) == [user([text("a")])]


def test_nothing_given_is_changed_or_shared():
    pytest.importorskip("PIL")
    from PIL import Image

    part = {"type": "image", "image": Image.new("RGB", (1, 1))}
    history = [user([text("a"), part]), ChatMessage("user", [text("b")]), user("c")]
    before = [dict(part), copy.deepcopy(history[1])]
    cleaned = get_clean_message_list(history, {}, True)
    for piece in cleaned[0]["content"]:
        piece.clear()
    assert part == before[0] and history[1] == before[1] and history[0]["content"][0] == text("a")


def test_a_large_raw_costs_nothing():
    class Raw:
        def __deepcopy__(self, memo: Any) -> Any:
            raise AssertionError("copied")

    message = ChatMessage("user", "x", raw=Raw())
    get_clean_message_list([message])
    message.dict()
    message.model_dump_json()


def test_cleaning_is_linear():
    def seconds(n: int) -> float:
        history = [user("word " * 10)] * n
        started = time.perf_counter()
        get_clean_message_list([*history, {"role": "assistant", "content": "x"}])
        return time.perf_counter() - started

    assert seconds(4000) < 0.5


def test_a_message_given_as_any_kind_of_mapping_or_iterable():
    from collections import OrderedDict, UserDict

    for made in (OrderedDict(user("a")), UserDict(user("a"))):
        assert get_clean_message_list(iter([made, user("b")])) == [user("a\nb")]
    assert get_clean_message_list(()) == []


def test_roles_are_told_apart_by_their_text():
    # Strings out of parsed JSON are distinct objects.
    history = json.loads(json.dumps([user(str(i)) for i in range(40)]))
    assert get_clean_message_list(history) == [user("\n".join(map(str, range(40))))]
    assert get_clean_message_list([*history, ChatMessage(MessageRole.USER, "x")], {"user": "system"}) == [
        {"role": "system", "content": "\n".join([*map(str, range(40)), "x"])}
    ]


def test_an_exception_of_a_message_passes():
    class Strange:
        role = "user"

        @property
        def content(self) -> str:
            raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        get_clean_message_list([Strange()])
    with pytest.raises(TypeError):
        get_clean_message_list(5)


# ChatMessage


def test_str_is_the_text():
    assert str(ChatMessage("user", "hello")) == "hello"
    assert str(ChatMessage("user", [text("a"), {"type": "image", "image": None}, text("b")])) == "a\nb"
    assert str(ChatMessage("user")) == ""
    assert ChatMessage("user").render_as_markdown() == ""


def test_from_dict_leaves_its_input():
    data = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    before = copy.deepcopy(data)
    message = ChatMessage.from_dict(data)
    assert data == before
    assert message.tool_calls == [
        ChatMessageToolCall(ChatMessageToolCallFunction({"q": "x"}, "find"), "c1", "function")
    ]
    assert message.role is MessageRole.ASSISTANT
    for bad in ({"content": "x"}, {"role": "robot"}):
        with pytest.raises(MessageError):
            ChatMessage.from_dict(bad)


def test_tool_calls_of_any_shape():
    pydantic_like = SimpleNamespace(model_dump=lambda: CALL)
    plain = SimpleNamespace(id="c1", type="function", function=SimpleNamespace(name="find", arguments={"q": "x"}))
    calls = ChatMessage("assistant", None, [CALL, pydantic_like, plain]).tool_calls
    assert calls[0] == calls[1] == calls[2]
    assert str(calls[0]) == "Call: c1: Calling find with arguments: {'q': 'x'}"
    for bad in (object(), {"id": "x"}, {"id": "x", "function": {}}):
        with pytest.raises(MessageError):
            ChatMessage("assistant", None, [bad])


def test_what_a_reply_knows_survives_copies_and_stays_out_of_dict():
    message = ChatMessage("assistant", '{"a": 1}')
    assert (message.finish_reason, message.parsed, message.timings, message.stop_sequence) == (None, None, None, None)
    attach_info(message, ReplyInfo("stop", "END", shape=OutputShape("json"), text='{"a": 1}'))
    message.content += "</code>"
    for same in (message, copy.copy(message), copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
        assert same.finish_reason == "stop" and same.stop_sequence == "END" and same.parsed == {"a": 1}
    assert set(message.dict()) == {"role", "content", "tool_calls", "raw", "token_usage"}
    assert message == ChatMessage("assistant", '{"a": 1}</code>')
    attach_info(message, ReplyInfo("length", shape=OutputShape("json"), complete=False, text='{"a'))
    with pytest.raises(ModelError, match="length"):
        _ = message.parsed


def test_json_with_an_image():
    pytest.importorskip("PIL")
    from PIL import Image

    message = ChatMessage("user", [{"type": "image", "image": Image.new("RGB", (1, 1))}])
    assert json.loads(message.model_dump_json())["content"][0]["image"].startswith("iVBOR")


def test_usage():
    usage = TokenUsage(2, 3)
    assert usage.total_tokens == 5 and usage.dict() == {"input_tokens": 2, "output_tokens": 3, "total_tokens": 5}


# Deltas


def test_a_piece_without_an_index():
    with pytest.raises(MessageError):
        agglomerate_stream_deltas([ChatMessageStreamDelta(tool_calls=[ChatMessageToolCallStreamDelta(id="x")])])


def test_deltas_one_by_one_are_the_same_as_all_at_once():
    pieces = [
        ChatMessageToolCallStreamDelta(0, "x", "function", ChatMessageToolCallFunction("{", "f")),
        ChatMessageToolCallStreamDelta(0, None, None, ChatMessageToolCallFunction("}", "")),
    ]
    deltas = [
        ChatMessageStreamDelta("a"),
        ChatMessageStreamDelta("b", [pieces[0]]),
        ChatMessageStreamDelta(None, [pieces[1]]),
        ChatMessageStreamDelta("", token_usage=TokenUsage(2, 3)),
    ]
    accumulator = DeltaAccumulator()
    for count, delta in enumerate(deltas, 1):
        accumulator.add(delta)
        assert accumulator.message == agglomerate_stream_deltas(deltas[:count])
    assert accumulator.content == "ab"
    assert accumulator.message.tool_calls[0].function.arguments == "{}"


def test_messages_of_a_stream_are_apart():
    stream = ChatStream(iter([ChatMessageStreamDelta("a"), ChatMessageStreamDelta("b")]))
    next(stream)
    first = stream.message
    first.content += "x"
    assert stream.drain().content == "ab" and first.content == "ax"


def test_accumulating_is_linear():
    accumulator = DeltaAccumulator()
    started = time.perf_counter()
    for _ in range(20_000):
        accumulator.add(ChatMessageStreamDelta("token "))
    assert len(accumulator.message.content) == 120_000
    assert time.perf_counter() - started < 2


# Cutting


def test_empty_stops_are_ignored():
    assert remove_content_after_stop_sequences("abc", ["", "c"]) == "ab"


# Tool calls out of text


@pytest.mark.parametrize(
    "written",
    [
        '{"name": "f", "arguments": {"a": 1}}',
        'I call {placeholder}: {"name": "f", "arguments": {"a": 1}}',
        '{"name": "f", "arguments": {"a": 1}} and then {something}',
        '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call><tool_call>{"name": "g"}</tool_call>',
        '```json\n{"name": "f", "arguments": "{\\"a\\": 1}"}\n```',
        "{'name': 'f', 'arguments': {'a': 1}}",
        '{"name": "f", "arguments": {"a": 1,},}',
        '{"thought": "{}"} {"name": "f", "arguments": {"a": 1}}',
    ],
)
def test_calls_in_text(written):
    call = get_tool_call_from_text(written, "name", "arguments")
    assert (call.function.name, call.function.arguments, call.type) == ("f", {"a": 1}, "function")


@pytest.mark.parametrize(
    ("written", "said"),
    [("none", "does not contain"), ('{"tool": "f"}', "tool"), ('{"name": "f', "invalid"), ("}{", "invalid")],
)
def test_no_call_in_text(written, said):
    with pytest.raises(MessageError, match=said):
        get_tool_call_from_text(written, "name", "arguments")


def test_hostile_text_takes_no_time():
    for written in ("{" * 20_000, '{"a":' * 20_000, "{'" * 20_000, "{[" * 20_000, '{"a":[' + "[" * 100_000):
        started = time.perf_counter()
        with pytest.raises(MessageError):
            get_tool_call_from_text(written, "name", "arguments")
        assert time.perf_counter() - started < 5


def test_ids_are_unique_and_ordered():
    ids = [get_tool_call_from_text('{"name": "f"}', "name", "arguments").id for _ in range(20)]
    assert len(set(ids)) == 20 and ids == sorted(ids)


def test_nothing_heavy_is_imported():
    import subprocess

    code = "import fairlead.models, sys; print([m for m in ('torch', 'numpy', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
