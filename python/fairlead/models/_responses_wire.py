"""OpenAI's Responses API: chat payloads to its requests, its responses and events to ours."""

from __future__ import annotations

from typing import Any

from fairlead.errors import ConfigurationError, ModelError
from fairlead.messages import ChatMessageToolCall, ChatMessageToolCallFunction
from fairlead.models._exchange import Reply
from fairlead.models._openai_wire import get, ordered_id, read_usage
from fairlead.streaming import ChatMessageStreamDelta, ChatMessageToolCallStreamDelta, new_delta
from fairlead.types import FinishReason

__all__ = ["EventReader", "read_response", "responses_payload"]


def responses_payload(payload: dict[str, Any]) -> dict[str, Any]:
    """A chat completions payload as one of the Responses API, which has no stop sequences.

    Raises:
        ConfigurationError: A parameter that has no counterpart there.
    """
    sent = dict(payload)
    sent["input"] = [item for message in sent.pop("messages") for item in _items(message)]
    sent.pop("stop", None)
    for name in ("max_tokens", "max_completion_tokens"):
        if name in sent:
            sent["max_output_tokens"] = sent.pop(name)
    if tools := sent.pop("tools", None):
        sent["tools"] = [
            {"type": "function", "strict": False, **tool["function"]} if "function" in tool else tool for tool in tools
        ]
    choice = sent.get("tool_choice")
    if isinstance(choice, dict) and "function" in choice:
        sent["tool_choice"] = {"type": "function", "name": choice["function"]["name"]}
    if (wanted := sent.pop("response_format", None)) is not None:
        inner = wanted.get("json_schema")
        sent["text"] = {**sent.get("text", {}), "format": {"type": "json_schema", **inner} if inner else dict(wanted)}
    for name in ("n", "logit_bias", "frequency_penalty", "presence_penalty"):
        if name in sent:
            raise ConfigurationError(f"the Responses API has no {name}")
    return sent


def _items(message: dict[str, Any]) -> list[dict[str, Any]]:
    if message["role"] == "tool":
        return [{"type": "function_call_output", "call_id": message["tool_call_id"], "output": message["content"]}]
    items = [] if message["content"] is None else [_message(message)]
    for call in message.get("tool_calls") or ():
        items.append({"type": "function_call", "call_id": call["id"], **call["function"]})
    return items


def _message(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if content is None or isinstance(content, str):
        return {"role": message["role"], "content": content or ""}
    kind = "output_text" if message["role"] == "assistant" else "input_text"
    parts = []
    for part in content:
        if part["type"] == "text":
            parts.append({"type": kind, "text": part["text"]})
        elif part["type"] == "image_url":
            parts.append({"type": "input_image", "image_url": part["image_url"]["url"]})
        else:
            parts.append(part)
    return {"role": message["role"], "content": parts}


def _reason(response: Any, has_calls: bool) -> FinishReason | None:
    if get(response, "status") == "incomplete":
        why = get(get(response, "incomplete_details"), "reason")
        return "content_filter" if why == "content_filter" else "length"
    return "tool_calls" if has_calls else "stop"


def read_response(response: Any) -> Reply:
    """A whole response.

    Raises:
        ModelError: It failed, or has no output.
    """
    if (error := get(response, "error")) is not None:
        raise ModelError(f"the provider's response failed: {get(error, 'code')}: {get(error, 'message')}")
    output = get(response, "output")
    if output is None:
        raise ModelError("the provider's response has no output")
    reply = Reply(raw=response)
    texts: list[str] = []
    thoughts: list[str] = []
    previous: str | None = None
    for item in output:
        kind = get(item, "type")
        if kind == "message":
            for part in get(item, "content") or ():
                if get(part, "type") == "refusal":
                    reply.refusal = get(part, "refusal")
                else:
                    texts.append(get(part, "text") or "")
        elif kind == "reasoning":
            for part in get(item, "summary") or get(item, "content") or ():
                thoughts.append(get(part, "text") or "")
        elif kind == "function_call":
            previous = ordered_id(get(item, "call_id"), previous)
            function = ChatMessageToolCallFunction(get(item, "arguments") or "{}", get(item, "name") or "")
            reply.tool_calls.append(ChatMessageToolCall(function, previous, "function"))
    reply.text, reply.reasoning = "".join(texts), "\n".join(thoughts)
    reply.finish_reason = _reason(response, bool(reply.tool_calls))
    if (usage := get(response, "usage")) is not None:
        read_usage(usage, reply)
    return reply


class EventReader:
    """Reads the events of one streamed response."""

    def __init__(self) -> None:
        self.reasoning: list[str] = []
        self._reply: Reply | None = None
        self._numbers: dict[Any, int] = {}
        self._last: str | None = None

    @staticmethod
    def text(event: Any) -> None:
        """All events are for ``feed``."""

    def feed(self, event: Any) -> ChatMessageStreamDelta | None:
        """The delta of an event.

        Raises:
            ModelError: The provider says that the response failed.
        """
        kind = get(event, "type")
        if kind == "response.output_text.delta":
            return new_delta(content=get(event, "delta"))
        if kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
            thought = get(event, "delta") or ""
            self.reasoning.append(thought)
            return new_delta(reasoning=thought)
        if kind == "response.output_item.added" and get(get(event, "item"), "type") == "function_call":
            item = get(event, "item")
            number = self._numbers[get(event, "output_index")] = len(self._numbers)
            self._last = ordered_id(get(item, "call_id"), self._last)
            function = ChatMessageToolCallFunction("", get(item, "name") or "")
            return new_delta(tool_calls=[ChatMessageToolCallStreamDelta(number, self._last, "function", function)])
        if kind == "response.function_call_arguments.delta":
            number = self._numbers[get(event, "output_index")]
            function = ChatMessageToolCallFunction(get(event, "delta") or "", "")
            return new_delta(tool_calls=[ChatMessageToolCallStreamDelta(number, None, "function", function)])
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            self._reply = read_response(get(event, "response"))
        elif kind == "error":
            said = get(event, "error") or event
            raise ModelError(f"the provider broke the stream off: {get(said, 'code')}: {get(said, 'message')}")
        return None

    def finish(self, *, begun: bool = False) -> Reply:
        """What the last event told.

        Raises:
            ModelError: The stream ended without it.
        """
        if self._reply is None:
            raise ModelError("the provider's stream ended before the response was complete")
        return Reply(
            refusal=self._reply.refusal,
            finish_reason=self._reply.finish_reason,
            usage=self._reply.usage,
            cached_tokens=self._reply.cached_tokens,
            reasoning_tokens=self._reply.reasoning_tokens,
        )
