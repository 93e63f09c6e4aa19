"""A model that says what it is told to say."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.errors import ModelError
from fairlead.messages import ChatMessage, attach_info, clean_messages, text_of, tool_role_conversions
from fairlead.models._base import Model
from fairlead.models._output import StopFilter
from fairlead.streaming import ChatStream, new_delta, tool_call_deltas
from fairlead.types import FinishReason, ReplyInfo, TokenUsage

__all__ = ["FunctionModel", "ScriptedCall", "ScriptedModel"]


@dataclass(frozen=True)
class ScriptedCall:
    """What a scripted model was asked.

    Attributes:
        messages: The history as it was cleaned: dictionaries with ``role`` and ``content``.
        arguments: All other arguments that were given.
    """

    messages: list[dict[str, Any]]
    arguments: dict[str, Any] = field(default_factory=dict)


class _Told(Model):
    """What models have in common that are told what to say."""

    def __init__(self, chunk_size: int, kwargs: dict[str, Any]) -> None:
        super().__init__(**kwargs)
        self._chunk_size = chunk_size
        self._lock = threading.Lock()
        self.calls: list[ScriptedCall] = []

    def _next(self, call: ScriptedCall, number: int) -> Any:
        """The reply to a call: a text, a ChatMessage, an exception, or an iterable of pieces."""
        raise NotImplementedError

    def generate(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatMessage:
        """The next reply, cut at the first stop sequence."""
        return self.generate_stream(
            messages, stop_sequences, response_format, tools_to_call_from, **{"chunk_size": None, **kwargs}
        ).drain()

    def generate_stream(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatStream:
        """The next reply in pieces of ``chunk_size`` characters, or in the pieces that were given."""
        size = kwargs.pop("chunk_size", self._chunk_size)
        given = {
            "stop_sequences": stop_sequences,
            "response_format": response_format,
            "tools_to_call_from": tools_to_call_from,
            **kwargs,
        }
        history = clean_messages(messages, tool_role_conversions, images="keep")
        call = ScriptedCall(history, {name: value for name, value in given.items() if value is not None})
        with self._lock:
            number = len(self.calls)
            self.calls.append(call)
        reply = self._next(call, number)
        if isinstance(reply, BaseException):
            raise reply
        return ChatStream(_deltas(reply, history, stop_sequences or (), size))


class ScriptedModel(_Told):
    """A model that gives prepared replies, one after the other, and remembers what it was asked.

    Stop sequences cut its replies as they cut a real model's; usage counts words. Safe to use from several threads.

    Args:
        replies: Each a text, a ChatMessage, an exception to raise, or a function from the cleaned history to one of
            these.
        repeat_last: Give the last reply again when all are used up, instead of raising ModelError. Default False.
        chunk_size: Characters of a streamed piece. Default 4.
        **kwargs: As for Model.

    Attributes:
        calls: A ScriptedCall for each request, in order.
    """

    def __init__(
        self,
        replies: Iterable[str | ChatMessage | BaseException | Callable[[list[dict[str, Any]]], Any]],
        *,
        repeat_last: bool = False,
        chunk_size: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(chunk_size, {"model_id": "scripted", **kwargs})
        self._replies = list(replies)
        self._repeat_last = repeat_last

    def _next(self, call: ScriptedCall, number: int) -> Any:
        if number >= len(self._replies) and not (self._repeat_last and self._replies):
            raise ModelError(f"the script has {len(self._replies)} replies, and this is request {number + 1}")
        reply = self._replies[min(number, len(self._replies) - 1)]
        if callable(reply) and not isinstance(reply, ChatMessage | BaseException):
            reply = reply(call.messages)
        return reply if isinstance(reply, ChatMessage | BaseException) else str(reply)


class FunctionModel(_Told):
    """A model whose replies a function makes from the history.

    Stop sequences cut its replies as they cut a real model's; usage counts words unless a reply brings its own. The
    function may be called from several threads at once if the model is.

    Args:
        function: Gets the cleaned history, a list of dictionaries with ``role`` and ``content``, and by name those of
            the request's other arguments that it names (``stop_sequences``, ``tools_to_call_from``,
            ``response_format``, or any; None if the request has no such argument). Returns a text, a ChatMessage, or
            an iterable of pieces: texts or deltas, handed on while they are made. What it raises is raised to the
            caller.
        chunk_size: Characters of a streamed piece of a reply that is whole. Default 4.
        **kwargs: As for Model.

    Attributes:
        calls: A ScriptedCall for each request, in order.
    """

    def __init__(self, function: Callable[..., Any], *, chunk_size: int = 4, **kwargs: Any) -> None:
        super().__init__(chunk_size, {"model_id": "function", **kwargs})
        self._function = function
        parameters = list(inspect.signature(function).parameters.values())
        keywords = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        self._names = [p.name for p in parameters[1:] if p.kind in keywords]
        self._defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}

    def _next(self, call: ScriptedCall, number: int) -> Any:
        named = {name: call.arguments.get(name, self._defaults.get(name)) for name in self._names}
        return self._function(call.messages, **named)


def _deltas(reply: Any, history: list[dict[str, Any]], stops: Sequence[str], size: int | None) -> Iterator[Any]:
    """The deltas of a reply: its content up to the first stop sequence, its tool calls, and the usage last."""
    read = sum(len(text_of(message["content"]).split()) for message in history)
    shown, usage, called = StopFilter(stops), None, False
    pieces = _pieces(reply, size)
    try:
        for content, calls, counted in pieces:
            usage = counted or usage
            text = shown.feed(content) if content and not shown.matched else ""
            if text or calls:
                called = called or bool(calls)
                yield new_delta(content=text or None, tool_calls=calls)
            # A message that is whole keeps its tool calls and its usage.
            if shown.matched and not isinstance(reply, ChatMessage):
                break
        if not shown.matched and (rest := shown.finish()):
            yield new_delta(content=rest)
    finally:
        if (close := getattr(reply, "close", None)) is not None:
            close()
    last = new_delta(content="", token_usage=usage or TokenUsage(read, len(shown.text.split())))
    reason: FinishReason = "tool_calls" if called else "stop"
    attach_info(last, ReplyInfo(finish_reason=reason, stop_sequence=shown.stop_sequence, text=shown.text))
    yield last


def _pieces(reply: Any, size: int | None) -> Iterator[tuple[str, Any, TokenUsage | None]]:
    """Content, pieces of tool calls and usage of each part of a reply."""
    if isinstance(reply, str | ChatMessage):
        text = reply if isinstance(reply, str) else text_of(reply.content)
        for at in range(0, len(text), size or max(1, len(text))):
            yield text[at : at + (size or len(text))], None, None
        if isinstance(reply, ChatMessage):
            for call in tool_call_deltas(reply.tool_calls):
                yield "", [call], None
            yield "", None, reply.token_usage
        return
    if not isinstance(reply, Iterable):
        raise TypeError(f"a reply is a text, a ChatMessage or an iterable of pieces, not {reply!r}")
    for piece in reply:
        if isinstance(piece, str):
            yield piece, None, None
        else:
            yield piece.content or "", piece.tool_calls, piece.token_usage
