"""Answers in the shapes that OpenAI's reference documents, for what no local server says: reasoning, refusals,
parallel tool calls, and the events of both APIs. Ids, texts and numbers are made up."""

from __future__ import annotations

from typing import Any

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Tells the weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius"]}},
            "required": ["location"],
        },
    },
}
PLACES = ['{"location":"Kiel","unit":"celsius"}', '{"location":"Bergen"}']
REFUSAL = "I'm sorry, I can't assist with that request."
THOUGHTS = ["**Weighing it**\n\nTwo places.", "**Calling**\n\nOne call each."]


def completion(message: dict[str, Any], reason: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": 1741569952,
        "model": "gpt-4.1-2025-04-14",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "refusal": None, "annotations": [], **message},
                "logprobs": None,
                "finish_reason": reason,
            }
        ],
        "usage": {
            "prompt_tokens": 82,
            "completion_tokens": 17,
            "total_tokens": 99,
            "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 5,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }


CHAT_TOOLS = completion(
    {
        "tool_calls": [
            {"id": id, "type": "function", "function": {"name": "get_current_weather", "arguments": place}}
            for id, place in zip(["call_xyz", "call_abc"], PLACES, strict=True)
        ]
    },
    "tool_calls",
)
CHAT_REFUSAL = completion({"refusal": REFUSAL}, "stop")


def chunks(deltas: list[dict[str, Any]], reason: str, whole: dict[str, Any]) -> list[dict[str, Any]]:
    head = {
        "id": "chatcmpl-123",
        "object": "chat.completion.chunk",
        "created": 1694268190,
        "model": "gpt-4o-mini",
        "system_fingerprint": "fp_44709d6fcb",
    }
    said = [*[(delta, None) for delta in deltas], ({}, reason)]
    events: list[dict[str, Any]] = [
        {
            **head,
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": why}],
            "usage": None,
            "obfuscation": "aK3",
        }
        for delta, why in said
    ]
    return [*events, {**head, "choices": [], "usage": whole["usage"]}]


def _tool_deltas() -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None}]
    for index, (id, place) in enumerate(zip(["call_xyz", "call_abc"], PLACES, strict=True)):
        function = {"name": "get_current_weather", "arguments": ""}
        deltas.append({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]})
        for at in range(0, len(place), 7):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": place[at : at + 7]}}]})
    return deltas


CHAT_TOOLS_STREAM = chunks(_tool_deltas(), "tool_calls", CHAT_TOOLS)
CHAT_REFUSAL_STREAM = chunks(
    [{"role": "assistant", "content": "", "refusal": None}]
    + [{"refusal": REFUSAL[at : at + 9]} for at in range(0, len(REFUSAL), 9)],
    "stop",
    CHAT_REFUSAL,
)


def response(output: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_67ccd2bed1ec8190b14f964abc054267",
        "object": "response",
        "created_at": 1741476542,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": "gpt-5-2025-08-07",
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 36,
            "input_tokens_details": {"cached_tokens": 12},
            "output_tokens": 87,
            "output_tokens_details": {"reasoning_tokens": 64},
            "total_tokens": 123,
        },
        "user": None,
        "metadata": {},
        **more,
    }


def message_item(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [part]}


TEXT = "In a quiet harbour a brass cleat waited for its rope."
REASONING_ITEM = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": text} for text in THOUGHTS],
}
CALL_ITEMS = [
    {
        "type": "function_call",
        "id": f"fc_{call_id}",
        "call_id": call_id,
        "name": "get_current_weather",
        "arguments": place,
        "status": "completed",
    }
    for call_id, place in zip(["call_xyz", "call_abc"], PLACES, strict=True)
]
TEXT_ITEM = message_item({"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []})
REFUSAL_ITEM = message_item({"type": "refusal", "refusal": REFUSAL})

RESPONSE_TEXT = response([REASONING_ITEM, TEXT_ITEM])
RESPONSE_TOOLS = response([REASONING_ITEM, *CALL_ITEMS])
RESPONSE_REFUSAL = response([REFUSAL_ITEM])
RESPONSE_CUT = response([TEXT_ITEM], status="incomplete", incomplete_details={"reason": "max_output_tokens"})
RESPONSE_FAILED = response([], status="failed", error={"code": "server_error", "message": "The model failed."})


def events(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """The documented sequence of events for a response."""
    begun = {**whole, "status": "in_progress", "output": [], "usage": None, "error": None}
    out: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(whole["output"]):
        place = {"output_index": index, "item_id": item["id"]}
        empty = {"content": [], "summary": [], "arguments": ""}
        started = {**item, "status": "in_progress", **{name: empty[name] for name in empty if name in item}}
        out.append({"type": "response.output_item.added", "output_index": index, "item": started})
        if item["type"] == "reasoning":
            for number, part in enumerate(item["summary"]):
                at = {**place, "summary_index": number}
                blank = {"type": "summary_text", "text": ""}
                out.append({"type": "response.reasoning_summary_part.added", **at, "part": blank})
                out += _pieces("response.reasoning_summary_text", at, "text", part["text"])
                out.append({"type": "response.reasoning_summary_part.done", **at, "part": part})
        elif item["type"] == "function_call":
            out += _pieces("response.function_call_arguments", place, "arguments", item["arguments"])
        else:
            for number, part in enumerate(item["content"]):
                at = {**place, "content_index": number}
                name, kind = ("text", "output_text") if part["type"] == "output_text" else ("refusal", "refusal")
                out.append({"type": "response.content_part.added", **at, "part": {**part, name: ""}})
                out += _pieces(f"response.{kind}", at, name, part[name])
                out.append({"type": "response.content_part.done", **at, "part": part})
        out.append({"type": "response.output_item.done", "output_index": index, "item": item})
    out.append({"type": f"response.{whole['status']}", "response": whole})
    return [{**event, "sequence_number": number} for number, event in enumerate(out)]


def _pieces(kind: str, at: dict[str, Any], name: str, text: str) -> list[dict[str, Any]]:
    deltas = [{"type": f"{kind}.delta", **at, "delta": text[i : i + 8]} for i in range(0, len(text), 8)]
    return [*deltas, {"type": f"{kind}.done", **at, name: text}]
