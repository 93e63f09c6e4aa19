"""Messages against smolagents: the same results wherever it has one."""

from __future__ import annotations

import base64
import copy
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

theirs = pytest.importorskip("smolagents.models")
Image = pytest.importorskip("PIL.Image")

import fairlead.models as ours  # noqa: E402
from fairlead import MessageError  # noqa: E402

# One spelling per object: their classes and ours stand for the same message.
ROLES = ["user", "assistant", "system", "tool-call", "tool-response"]
texts = st.text(alphabet="ab \n{}é", max_size=6)


IMAGE = Image.new("RGB", (2, 2), (9, 8, 7))
text_parts = st.builds(lambda text: {"type": "text", "text": text}, texts)
image_parts = st.builds(lambda: {"type": "image", "image": IMAGE})
other_parts = st.builds(lambda url: {"type": "image_url", "image_url": {"url": url}}, texts)
parts = st.lists(st.one_of(text_parts, text_parts, image_parts, other_parts), max_size=3)
contents = st.one_of(st.none(), texts, parts, parts, parts)
calls = st.one_of(
    st.none(),
    st.lists(
        st.builds(
            lambda name, arguments, id: {
                "function": {"name": name, "arguments": arguments},
                "id": id,
                "type": "function",
            },
            texts,
            st.one_of(texts, st.dictionaries(texts, st.integers(), max_size=2)),
            texts,
        ),
        max_size=2,
    ),
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(ROLES), "content": contents, "tool_calls": calls, "kind": st.sampled_from("dme")}
)
conversions = st.sampled_from(
    [
        {},
        dict(theirs.tool_role_conversions),
        {"system": "user"},
        {theirs.MessageRole.TOOL_CALL: "tool", "assistant": theirs.MessageRole.USER},
    ]
)


def build(message: dict[str, Any], module: Any) -> Any:
    role = message["role"]
    if message["kind"] == "e":
        role = module.MessageRole(role)
    if message["kind"] == "d":
        return {"role": role, "content": copy.copy(message["content"]), "tool_calls": message["tool_calls"]}
    return module.ChatMessage(role, copy.deepcopy(message["content"], {id(IMAGE): IMAGE}), message["tool_calls"])


def attempt(run: Any) -> Any:
    try:
        return run()
    except (AssertionError, AttributeError, TypeError, IndexError, KeyError, ValueError) as error:
        return error


def loses_data(history: list[dict[str, Any]], flatten: bool) -> bool:
    """Where smolagents drops parts without a word: the second part when flattening."""
    return flatten and any(isinstance(m["content"], list) and len(m["content"]) > 1 for m in history)


def visible(cleaned: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The images as what they show: two encoders make different files of the same pixels."""

    def seen(part: dict[str, Any]) -> dict[str, Any]:
        text = part.get("image") or (part.get("image_url") or {}).get("url", "")
        if not text.removeprefix("data:image/png;base64,").startswith("iVBOR"):
            return part
        header, _, data = text.rpartition(",")
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        shown = (header, image.mode, image.size, image.tobytes())
        return {**part, "image": shown} if "image" in part else {**part, "image_url": shown}

    return [
        {**message, "content": [seen(part) for part in message["content"]]}
        if isinstance(message["content"], list)
        else message
        for message in cleaned
    ]


@settings(max_examples=300, deadline=None)
@given(st.lists(messages, max_size=5), conversions, st.booleans(), st.booleans())
def test_cleaning_gives_their_result(history, roles, urls, flatten):
    theirs_in = [build(message, theirs) for message in history]
    ours_in = [build(message, ours) for message in history]
    before = copy.deepcopy(ours_in, {id(IMAGE): IMAGE})
    arguments = {"convert_images_to_image_urls": urls, "flatten_messages_as_text": flatten}
    expected = attempt(lambda: theirs.get_clean_message_list(copy.deepcopy(theirs_in), roles, **arguments))
    for given_in in (ours_in, theirs_in):
        got = attempt(lambda given_in=given_in: ours.get_clean_message_list(given_in, roles, **arguments))
        if isinstance(expected, Exception):
            assert not isinstance(got, Exception) or isinstance(got, MessageError)
        elif not loses_data(history, flatten):
            assert visible(got) == visible(expected)
            assert all(type(message["role"]) is str for message in got)
    assert repr(ours_in) == repr(before)


@settings(max_examples=200, deadline=None)
@given(messages)
def test_plain_forms_are_the_same(message):
    message = {**message, "kind": "e"}
    if isinstance(message["content"], list):
        message["content"] = [part for part in message["content"] if part["type"] != "image"]
    one, other = build(message, ours), build(message, theirs)
    assert one.dict() == other.dict()
    assert json.loads(one.model_dump_json()) == json.loads(other.model_dump_json())
    assert ours.get_dict_from_nested_dataclasses(one, "raw") == theirs.get_dict_from_nested_dataclasses(other, "raw")
    assert theirs.get_dict_from_nested_dataclasses(one) == theirs.get_dict_from_nested_dataclasses(other)
    assert ours.ChatMessage.from_dict(one.dict()) == one
    if message["content"] is not None:
        assert one.render_as_markdown() == other.render_as_markdown()


pieces = st.builds(
    lambda index, id, kind, name, arguments: (index, id, kind, name, arguments),
    st.integers(0, 2),
    st.one_of(st.none(), texts),
    st.one_of(st.none(), st.just("function")),
    st.one_of(st.none(), texts),
    st.one_of(st.none(), texts),
)
deltas = st.lists(
    st.tuples(st.one_of(st.none(), texts), st.one_of(st.none(), st.lists(pieces, max_size=2)), st.integers(0, 3)),
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(deltas)
def test_deltas_add_up_to_the_same_message(stream):
    def make(module: Any) -> list[Any]:
        from smolagents.monitoring import TokenUsage

        usage = TokenUsage if module is theirs else ours.TokenUsage
        return [
            module.ChatMessageStreamDelta(
                content=text,
                tool_calls=calls
                and [
                    module.ChatMessageToolCallStreamDelta(
                        index, id, kind, module.ChatMessageToolCallFunction(arguments=arguments, name=name)
                    )
                    for index, id, kind, name, arguments in calls
                ],
                token_usage=usage(tokens, 1) if tokens else None,
            )
            for text, calls, tokens in stream
        ]

    expected = theirs.agglomerate_stream_deltas(make(theirs)).dict()
    assert ours.agglomerate_stream_deltas(make(ours)).dict() == expected
    assert ours.agglomerate_stream_deltas(make(theirs)).dict() == expected
    assert theirs.agglomerate_stream_deltas(make(ours)).dict() == expected


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.none(), texts), st.one_of(st.none(), st.lists(texts.filter(bool), max_size=3)))
def test_cutting_at_stops(content, stops):
    expected = theirs.remove_content_after_stop_sequences(content, stops)
    assert ours.remove_content_after_stop_sequences(content, stops) == expected


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(texts, inner, max_size=2)),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(texts, json_values.map(json.dumps)),
    st.fixed_dictionaries({}, optional={"name": texts, "arguments": json_values, "other": json_values}),
    texts,
    st.booleans(),
)
def test_calls_out_of_text(before, blob, after, stringed):
    if stringed and "arguments" in blob:
        blob = {**blob, "arguments": json.dumps(blob["arguments"])}
    text = f"{before} {json.dumps(blob)} {after}"
    expected = attempt(lambda: theirs.get_tool_call_from_text(text, "name", "arguments"))
    got = attempt(lambda: ours.get_tool_call_from_text(text, "name", "arguments"))
    if isinstance(expected, Exception):
        assert not isinstance(got, Exception) or isinstance(got, MessageError)
    else:
        assert got.function.name == expected.function.name
        assert got.function.arguments == expected.function.arguments


@settings(max_examples=200, deadline=None)
@given(st.one_of(texts, json_values, json_values.map(json.dumps)))
def test_arguments_parsed_if_needed(arguments):
    assert ours.parse_json_if_needed(arguments) == theirs.parse_json_if_needed(arguments)


MODEL_IDS = """
gpt-4o o3 openai/o3 o3-mini openai/o3-mini o3-mini-2025-01-31 o3-pro o4 o4-mini o4-mini-2025-04-16 o30 o3x proxy/o3.1
gpt-5 gpt-5-mini openai/gpt-5.1 gpt-50 grok grok- grok-4 x-ai/grok-3-mini xai.grok-4 my-grok-4 grok-4é 9x.grok-4
"""


@pytest.mark.parametrize("model_id", ["", *MODEL_IDS.split()])
def test_stop_parameter_of_model_names(model_id):
    assert ours.supports_stop_parameter(model_id) == bool(theirs.supports_stop_parameter(model_id))


def test_tool_schemas():
    class Tool:
        name = "t"
        description = "A tool."
        inputs = {  # noqa: RUF012
            "a": {"type": "any", "description": "x"},
            "b": {"type": "integer", "description": "y", "nullable": True},
            "c": {"type": "string", "anyOf": [{"type": "string", "enum": ["u"]}, {"type": "null"}, {"type": "any"}]},
            "d": {"type": "string", "anyOf": [{"type": "number"}, {"type": "null"}], "nullable": False},
        }

    before = copy.deepcopy(Tool.inputs)
    assert ours.get_tool_json_schema(Tool()) == theirs.get_tool_json_schema(Tool())
    assert Tool.inputs == before
