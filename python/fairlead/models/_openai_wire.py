"""OpenAI's chat completions format: responses and chunks read, whichever client's objects they are.

Clients hand out pydantic objects, dataclasses or dictionaries; all are read by name, and what is missing is None.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from fairlead.errors import ModelError
from fairlead.messages import ChatMessageToolCall, ChatMessageToolCallFunction
from fairlead.models._api import Reply
from fairlead.streaming import ChatMessageStreamDelta, ChatMessageToolCallStreamDelta, new_delta
from fairlead.tools._calls import call_id
from fairlead.types import FinishReason, TokenUsage

__all__ = ["ChunkReader", "finish_reason_of", "get", "ordered_id", "read_completion", "read_usage", "strict_schema"]

_FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
# Names under which servers send what a model thinks.
_REASONING = ("reasoning_content", "reasoning")


def get(value: Any, name: str) -> Any:
    """A field of an object or a dictionary, or None."""
    if isinstance(value, dict):
        return value.get(name)
    return getattr(value, name, None)


def finish_reason_of(reason: Any) -> FinishReason | None:
    """One of ours for a provider's; None stays None, an unknown one is "stop"."""
    if reason is None or reason == "":
        return None
    return _FINISH_REASONS.get(str(reason), "stop")


def ordered_id(wanted: Any, previous: str | None) -> str:
    """An id for the next call of a reply: the provider's if it sorts behind the previous one.

    Agents use ids as keys and sort them as strings to put results in order.
    """
    if not isinstance(wanted, str) or not wanted:
        return call_id() if previous is None else f"{previous}_1"
    return wanted if previous is None or wanted > previous else f"{previous}_{wanted}"


def read_usage(usage: Any, reply: Reply) -> None:
    """Enter a usage object into a reply, in place of what was there: streams repeat it with growing counts."""
    read, written = get(usage, "prompt_tokens"), get(usage, "completion_tokens")
    if read is None and written is None:
        # The Responses API's names.
        read, written = get(usage, "input_tokens"), get(usage, "output_tokens")
        if read is None and written is None:
            return
    reply.usage = TokenUsage(int(read or 0), int(written or 0))
    cached = get(get(usage, "prompt_tokens_details") or get(usage, "input_tokens_details"), "cached_tokens")
    thought = get(get(usage, "completion_tokens_details") or get(usage, "output_tokens_details"), "reasoning_tokens")
    reply.cached_tokens = cached if isinstance(cached, int) else reply.cached_tokens
    reply.reasoning_tokens = thought if isinstance(thought, int) else reply.reasoning_tokens


def _reasoning(message: Any) -> str:
    for name in _REASONING:
        text = get(message, name)
        if isinstance(text, str) and text:
            return text
    return ""


def _text(content: Any) -> str:
    """Content as text; some servers send parts."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, Iterable):
        return "".join(str(get(part, "text") or "") for part in content if not isinstance(part, str))
    return str(content)


def read_completion(response: Any) -> Reply:
    """A whole chat completion.

    Raises:
        ModelError: It has no choices.
    """
    choices = get(response, "choices")
    if not choices:
        error = get(response, "error")
        raise ModelError(f"the provider returned no choices{f': {error}' if error else ''}")
    choice = choices[0]
    message = get(choice, "message")
    reply = Reply(raw=response, finish_reason=finish_reason_of(get(choice, "finish_reason")))
    reply.text = _text(get(message, "content"))
    reply.reasoning = _reasoning(message)
    refusal = get(message, "refusal")
    reply.refusal = refusal if isinstance(refusal, str) and refusal else None
    logprobs = get(choice, "logprobs")
    reply.logprobs = _plain(logprobs)
    previous: str | None = None
    for call in get(message, "tool_calls") or ():
        function = get(call, "function") or get(call, "custom")
        arguments = get(function, "arguments")
        if arguments is None:
            arguments = get(function, "input")
        previous = ordered_id(get(call, "id"), previous)
        made = ChatMessageToolCallFunction(
            arguments="{}" if arguments is None or arguments == "" else arguments, name=get(function, "name") or ""
        )
        reply.tool_calls.append(ChatMessageToolCall(made, previous, "function"))
    if (usage := get(response, "usage")) is not None:
        read_usage(usage, reply)
    return reply


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump() if callable(dump) else value


class _Call:
    def __init__(self, number: int, id: str, given: Any) -> None:
        self.number = number
        self.id = id
        self.given = given
        self.arguments = ""


class ChunkReader:
    """Reads the chunks of one streamed chat completion."""

    def __init__(self) -> None:
        self._reply = Reply()
        self._begun = False
        self._refusal: list[str] = []
        self._logprobs: list[Any] = []
        # The call that is being written under each index of the provider.
        self._open: dict[Any, _Call] = {}
        self._calls: list[_Call] = []

    def feed(self, event: Any) -> ChatMessageStreamDelta | None:
        """The delta of a chunk, without usage; None if there is nothing to show.

        Raises:
            ModelError: The chunk is an error that the provider sent in the midst of the stream.
        """
        usage = get(event, "usage")
        if usage is not None:
            read_usage(usage, self._reply)
        choices = get(event, "choices")
        if not choices:
            if choices is None and (error := get(event, "error")):
                raise ModelError(f"the provider broke the stream off: {_plain(error)}")
            return None
        choice = choices[0]
        # With n above 1 the chunks of all choices come mixed: the first choice is the reply.
        if get(choice, "index") not in (0, None):
            return None
        self._begun = True
        if reason := get(choice, "finish_reason"):
            self._reply.finish_reason = finish_reason_of(reason)
        if (logprobs := get(choice, "logprobs")) is not None:
            self._logprobs.extend(get(_plain(logprobs), "content") or ())
        delta = get(choice, "delta")
        if delta is None:
            return None
        content = get(delta, "content")
        if content is not None and not isinstance(content, str):
            content = _text(content)
        if refusal := get(delta, "refusal"):
            self._refusal.append(str(refusal))
        reasoning = _reasoning(delta)
        pieces = get(delta, "tool_calls")
        calls = [self._piece(piece) for piece in pieces] if pieces else None
        if not content and not calls and not reasoning:
            return None
        return new_delta(content=content or None, tool_calls=calls, reasoning=reasoning)

    def _piece(self, piece: Any) -> ChatMessageToolCallStreamDelta:
        index, given = get(piece, "index"), get(piece, "id")
        function = get(piece, "function")
        name, arguments = get(function, "name"), get(function, "arguments")
        if isinstance(arguments, Mapping):
            arguments = json.dumps(arguments, ensure_ascii=False)
        call = self._open.get(index)
        if call is None or self._is_another(call, given, name):
            id = ordered_id(given, self._calls[-1].id if self._calls else None)
            call = self._open[index] = _Call(len(self._calls), id, given)
            self._calls.append(call)
            shown: str | None = id
        else:
            # Names come once; servers that repeat them mean the same call.
            shown, name = None, None
        call.arguments += arguments or ""
        made = ChatMessageToolCallFunction(arguments=arguments or "", name=name or "")
        return ChatMessageToolCallStreamDelta(index=call.number, id=shown, type="function", function=made)

    @staticmethod
    def _is_another(call: _Call, given: Any, name: Any) -> bool:
        """Whether a piece under the same index begins a new call: some servers give every call the index 0."""
        if given and call.given:
            return bool(given != call.given)
        return bool(name) and _is_json(call.arguments)

    def finish(self) -> Reply:
        """Finish reason, usage, refusal and log probabilities.

        Raises:
            ModelError: The stream had no choices at all.
        """
        if not self._begun:
            raise ModelError("the provider's stream ended without any choices")
        self._reply.refusal = "".join(self._refusal) or None
        self._reply.logprobs = {"content": self._logprobs} if self._logprobs else None
        return self._reply


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def strict_schema(schema: Any) -> bool:
    """Whether a schema meets what OpenAI's strict mode asks: closed objects whose properties are all required."""
    if isinstance(schema, list):
        return all(strict_schema(one) for one in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(properties):
            return False
    return all(strict_schema(value) for key, value in schema.items() if key not in ("enum", "const", "default"))
