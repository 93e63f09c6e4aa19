"""The Responses API: requests made, responses and events read in the shapes that OpenAI documents."""

from __future__ import annotations

import pytest
from fairlead.errors import ModelError
from fairlead.messages import ChatMessage
from fairlead.models._responses_wire import EventReader, read_response, responses_payload

RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "error": None,
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Think."}]},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hi there!", "annotations": []}],
        },
    ],
    "usage": {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 87,
        "output_tokens_details": {"reasoning_tokens": 64},
        "total_tokens": 123,
    },
}


def test_a_request():
    sent = responses_payload(
        {
            "model": "gpt-5",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "Yes?"}]},
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
            ],
            "stop": ["END"],
            "max_tokens": 5,
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
        }
    )
    assert [part["type"] for message in sent["input"] for part in message["content"]] == [
        "input_text",
        "output_text",
        "input_image",
    ]
    assert sent["max_output_tokens"] == 5 and "stop" not in sent and sent["tools"][0]["name"] == "f"
    assert sent["tool_choice"] == {"type": "function", "name": "f"}
    assert sent["text"]["format"] == {"type": "json_schema", "name": "x", "schema": {}}


def test_tool_calls_and_results_are_items_of_their_own():
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "done"},
    ]
    assert responses_payload({"messages": messages})["input"][1:] == [
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "done"},
    ]


def test_a_response():
    reply = read_response(RESPONSE)
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("Hi there!", "Think.", "stop")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (36, 87)
    assert (reply.cached_tokens, reply.reasoning_tokens) == (4, 64)


def test_what_ends_early():
    cut = {**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert read_response(cut).finish_reason == "length"
    with pytest.raises(ModelError, match="server_error"):
        read_response({**RESPONSE, "error": {"code": "server_error", "message": "no"}})
    with pytest.raises(ModelError):
        EventReader().finish()


def test_events():
    reader = EventReader()
    call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": ""}
    events = [
        {"type": "response.created", "response": RESPONSE},
        {"type": "response.reasoning_summary_text.delta", "delta": "Think."},
        {"type": "response.output_text.delta", "delta": "Hi"},
        {"type": "response.output_item.added", "output_index": 2, "item": call},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"a":'},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "1}"},
        {"type": "response.completed", "response": RESPONSE},
    ]
    from fairlead.streaming import agglomerate_stream_deltas

    message = agglomerate_stream_deltas([delta for event in events if (delta := reader.feed(event))])
    assert isinstance(message, ChatMessage)
    assert (message.content, message.reasoning) == ("Hi", "Think.")
    assert message.tool_calls[0].function.arguments == '{"a":1}' and message.tool_calls[0].id == "call_1"
    assert reader.finish().usage.input_tokens == 36
