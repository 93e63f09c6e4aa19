"""OpenAI's chat completions format: responses and chunks read, whichever client's objects they are.

Clients hand out pydantic objects, dataclasses or dictionaries; all are read by name, and what is missing is None.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any

from fairlead.errors import ModelError
from fairlead.messages import ChatMessageToolCall, ChatMessageToolCallFunction
from fairlead.models._exchange import Reply
from fairlead.streaming import ChatMessageStreamDelta, ChatMessageToolCallStreamDelta, delta_class, new_delta
from fairlead.tools._calls import call_id
from fairlead.types import FinishReason, TokenUsage

__all__ = [
    "ChunkReader",
    "fields",
    "finish_reason_of",
    "get",
    "ordered_id",
    "read_completion",
    "read_usage",
    "strict_schema",
]

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


class _Attributes:
    """An object's attributes, asked for one by one."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def get(self, name: str) -> Any:
        return getattr(self._value, name, None)


def _members(value: Any) -> Any:
    return value.__dict__


def _pydantic_members(value: Any) -> Any:
    extra = value.__pydantic_extra__
    return {**value.__dict__, **extra} if extra else value.__dict__


class _Readers(dict[type, Callable[[Any], Any]]):
    """How the fields of each type of object are read, found out once.

    Asking pydantic's objects for an attribute that they don't have takes microseconds, and the Hub's are dictionaries
    of some of their fields only: both are read where they keep them all.
    """

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        read: Callable[[Any], Any]
        if hasattr(kind, "__pydantic_fields__"):
            read = _pydantic_members
        elif is_dataclass(kind):
            read = _members
        elif issubclass(kind, Mapping):
            read = _itself
        else:
            read = _Attributes
        self[kind] = read
        return read


def _itself(value: Any) -> Any:
    return value


_readers = _Readers({type(None): lambda value: _NOTHING, dict: _itself})
_NOTHING: dict[str, Any] = {}


def fields(value: Any) -> Any:
    """The fields of a dictionary or an object, by ``get``; None has none."""
    return _readers[type(value)](value)


def get(value: Any, name: str) -> Any:
    """A field of an object or a dictionary, or None."""
    return _readers[type(value)](value).get(name)


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
    given = fields(usage)
    read, written = given.get("prompt_tokens"), given.get("completion_tokens")
    if read is None and written is None:
        # The Responses API's names.
        read, written = given.get("input_tokens"), given.get("output_tokens")
        if read is None and written is None:
            return
    reply.usage = TokenUsage(int(read or 0), int(written or 0))
    details = given.get("prompt_tokens_details") or given.get("input_tokens_details")
    if details is not None and isinstance(cached := get(details, "cached_tokens"), int):
        reply.cached_tokens = cached
    details = given.get("completion_tokens_details") or given.get("output_tokens_details")
    if details is not None and isinstance(thought := get(details, "reasoning_tokens"), int):
        reply.reasoning_tokens = thought


def _reasoning(message: Any) -> str:
    # Under one of these names servers send what a model thinks.
    text = message.get("reasoning_content") or message.get("reasoning")
    return text if isinstance(text, str) else ""


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
    whole = fields(response)
    choices = whole.get("choices")
    if not choices:
        error = whole.get("error")
        raise ModelError(f"the provider returned no choices{f': {error}' if error else ''}")
    choice = fields(choices[0])
    message = fields(choice.get("message"))
    reply = Reply(raw=response, finish_reason=finish_reason_of(choice.get("finish_reason")))
    reply.text = _text(message.get("content"))
    reply.reasoning = _reasoning(message)
    refusal = message.get("refusal")
    reply.refusal = refusal if isinstance(refusal, str) and refusal else None
    if (logprobs := choice.get("logprobs")) is not None:
        reply.logprobs = _plain(logprobs)
    if calls := message.get("tool_calls"):
        reply.tool_calls = _tool_calls(calls)
    if (usage := whole.get("usage")) is not None:
        read_usage(usage, reply)
    return reply


def _tool_calls(calls: Iterable[Any]) -> list[ChatMessageToolCall]:
    read: list[ChatMessageToolCall] = []
    previous: str | None = None
    for one in calls:
        call = fields(one)
        function = fields(call.get("function") or call.get("custom"))
        arguments = function.get("arguments")
        if arguments is None:
            arguments = function.get("input")
        previous = ordered_id(call.get("id"), previous)
        made = ChatMessageToolCallFunction(
            arguments="{}" if arguments is None or arguments == "" else arguments, name=function.get("name") or ""
        )
        read.append(ChatMessageToolCall(made, previous, "function"))
    return read


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
        self.reasoning: list[str] = []
        self._reply = Reply()
        self._new_delta = delta_class()
        self._begun = False
        self._refusal: list[str] = []
        self._logprobs: list[Any] = []
        # The call that is being written under each index of the provider.
        self._open: dict[Any, _Call] = {}
        self._calls: list[_Call] = []

    @staticmethod
    def text(event: Any) -> str | None:
        """The text of a typed client's chunk that has nothing else, as nearly all; None: ask ``feed``."""
        # Attributes of pydantic's objects are slow, so each object is asked for all of them at once.
        try:
            chunk = event.__dict__
            (choice,) = chunk["choices"]
            choice = choice.__dict__
            delta = choice["delta"]
            given = delta.__dict__
            if (
                chunk["usage"] is None
                and choice["finish_reason"] is None
                and choice["index"] == 0
                and choice["logprobs"] is None
                and given["tool_calls"] is None
                and given["refusal"] is None
                and not delta.__pydantic_extra__
            ):
                return given["content"] or None
        except (AttributeError, KeyError, TypeError, ValueError):
            pass
        return None

    def feed(self, event: Any) -> ChatMessageStreamDelta | None:
        """The delta of a chunk, without usage; None if there is nothing to show.

        Raises:
            ModelError: The chunk is an error that the provider sent in the midst of the stream.
        """
        read = _readers
        chunk = read[type(event)](event)
        if (usage := chunk.get("usage")) is not None:
            read_usage(usage, self._reply)
        choices = chunk.get("choices")
        if not choices:
            if choices is None and (error := chunk.get("error")):
                raise ModelError(f"the provider broke the stream off: {_plain(error)}")
            return None
        choice = choices[0]
        choice = read[type(choice)](choice)
        # With n above 1 the chunks of all choices come mixed: the first choice is the reply.
        if choice.get("index"):
            return None
        self._begun = True
        if reason := choice.get("finish_reason"):
            self._reply.finish_reason = finish_reason_of(reason)
        if (logprobs := choice.get("logprobs")) is not None:
            self._logprobs.extend(get(_plain(logprobs), "content") or ())
        delta = choice.get("delta")
        delta = read[type(delta)](delta)
        content = delta.get("content")
        if content is not None and not isinstance(content, str):
            content = _text(content)
        if refusal := delta.get("refusal"):
            self._refusal.append(str(refusal))
        pieces = delta.get("tool_calls")
        calls = [self._piece(piece) for piece in pieces] if pieces else None
        if thought := _reasoning(delta):
            self.reasoning.append(thought)
            return new_delta(content or None, calls, reasoning=thought)
        return self._new_delta(content or None, calls) if content or calls else None

    def _piece(self, piece: Any) -> ChatMessageToolCallStreamDelta:
        part = fields(piece)
        index, given = part.get("index"), part.get("id")
        function = fields(part.get("function"))
        name, arguments = function.get("name"), function.get("arguments")
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

    def finish(self, *, begun: bool = False) -> Reply:
        """Finish reason, usage, refusal and log probabilities.

        Args:
            begun: ``text`` has read some.

        Raises:
            ModelError: The stream had no choices at all.
        """
        if not (begun or self._begun):
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
