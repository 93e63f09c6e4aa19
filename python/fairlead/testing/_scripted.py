"""A model that says what it is told to say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.errors import ModelError
from fairlead.messages import ChatMessage, MessageRole, attach_info, clean_messages, text_of, tool_role_conversions
from fairlead.models._base import Model
from fairlead.models._output import StopFilter
from fairlead.streaming import ChatStream, new_delta, tool_call_deltas
from fairlead.types import FinishReason, ReplyInfo, TokenUsage

__all__ = ["ScriptedCall", "ScriptedModel"]


@dataclass(frozen=True)
class ScriptedCall:
    """What a scripted model was asked.

    Attributes:
        messages: The history as it was cleaned: dictionaries with ``role`` and ``content``.
        arguments: All other arguments that were given.
    """

    messages: list[dict[str, Any]]
    arguments: dict[str, Any] = field(default_factory=dict)


class ScriptedModel(Model):
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
        super().__init__(**{"model_id": "scripted", **kwargs})
        self._replies = list(replies)
        self._repeat_last = repeat_last
        self._chunk_size = chunk_size
        self._lock = threading.Lock()
        self.calls: list[ScriptedCall] = []

    def _next(self, messages: Sequence[Any], arguments: dict[str, Any]) -> tuple[ChatMessage, TokenUsage]:
        history = clean_messages(messages, tool_role_conversions, images="keep")
        with self._lock:
            number = len(self.calls)
            self.calls.append(ScriptedCall(history, {k: v for k, v in arguments.items() if v is not None}))
        if number >= len(self._replies) and not (self._repeat_last and self._replies):
            raise ModelError(f"the script has {len(self._replies)} replies, and this is request {number + 1}")
        reply = self._replies[min(number, len(self._replies) - 1)]
        if callable(reply) and not isinstance(reply, ChatMessage | BaseException):
            reply = reply(history)
        if isinstance(reply, BaseException):
            raise reply
        if not isinstance(reply, ChatMessage):
            reply = ChatMessage(role=MessageRole.ASSISTANT, content=str(reply))
        read = sum(len(text_of(message["content"]).split()) for message in history)
        return reply, TokenUsage(read, len(text_of(reply.content).split()))

    def generate(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatMessage:
        """The next reply of the script, cut at the first stop sequence."""
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
        """The next reply of the script in pieces of ``chunk_size`` characters."""
        size = kwargs.pop("chunk_size", self._chunk_size)
        given = {
            "stop_sequences": stop_sequences,
            "response_format": response_format,
            "tools_to_call_from": tools_to_call_from,
            **kwargs,
        }
        reply, usage = self._next(messages, given)
        return ChatStream(self._deltas(reply, usage, stop_sequences or (), size))

    def _deltas(self, reply: ChatMessage, usage: TokenUsage, stops: Sequence[str], size: int | None) -> Any:
        text = text_of(reply.content)
        shown = StopFilter(stops)
        for at in range(0, len(text), size or max(1, len(text))):
            if piece := shown.feed(text[at : at + (size or len(text))]):
                yield new_delta(content=piece)
        if not shown.matched and (rest := shown.finish()):
            yield new_delta(content=rest)
        for call in tool_call_deltas(reply.tool_calls):
            yield new_delta(tool_calls=[call])
        last = new_delta(content="", token_usage=reply.token_usage or usage)
        reason: FinishReason = "tool_calls" if reply.tool_calls else "stop"
        attach_info(last, ReplyInfo(finish_reason=reason, stop_sequence=shown.stop_sequence, text=shown.text))
        yield last
