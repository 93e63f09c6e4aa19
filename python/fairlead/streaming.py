"""Streamed replies: deltas, putting them together, and the stream that local models return."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from types import TracebackType
from typing import Any

from fairlead.errors import MessageError
from fairlead.messages import (
    ChatMessage,
    ChatMessageToolCall,
    ChatMessageToolCallFunction,
    MessageRole,
    attach_info,
)
from fairlead.types import FinishReason, ReplyInfo, TokenUsage

__all__ = [
    "ChatMessageStreamDelta",
    "ChatMessageToolCallStreamDelta",
    "ChatStream",
    "DeltaAccumulator",
    "agglomerate_stream_deltas",
]


@dataclass
class ChatMessageToolCallStreamDelta:
    """A piece of a tool call: name and arguments arrive in any number of pieces under the same index."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: ChatMessageToolCallFunction | None = None


@dataclass
class ChatMessageStreamDelta:
    """A piece of a reply.

    Exactly one delta of a stream carries ``token_usage``: the last, whose content is "".
    """

    content: str | None = None
    tool_calls: list[ChatMessageToolCallStreamDelta] | None = None
    token_usage: TokenUsage | None = None

    @property
    def reasoning(self) -> str:
        """A further piece of what the model thinks before its answer; such a delta has no content."""
        piece: str = getattr(self, "_reasoning", "")
        return piece

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the output ended; only known to the last delta."""
        info: ReplyInfo = getattr(self, "_info", _NO_INFO)
        return info.finish_reason


_NO_INFO = ReplyInfo()


@lru_cache(maxsize=4)
def _shared_class(theirs: type) -> type[ChatMessageStreamDelta]:
    # Both bases are plain dataclasses with the same fields: an instance is one of both.
    return type("ChatMessageStreamDelta", (ChatMessageStreamDelta, theirs), {"__module__": __name__})


def new_delta(
    content: str | None = None,
    tool_calls: list[ChatMessageToolCallStreamDelta] | None = None,
    token_usage: TokenUsage | None = None,
    *,
    reasoning: str = "",
) -> ChatMessageStreamDelta:
    """A delta that is also one of smolagents', if that package is loaded: its Gradio UI asks by isinstance."""
    delta = delta_class()(content, tool_calls, token_usage)
    if reasoning:
        # Beside the fields, as everything that smolagents' classes don't have.
        delta._reasoning = reasoning  # type: ignore[attr-defined]
    return delta


def delta_class() -> type[ChatMessageStreamDelta]:
    """The class of ``new_delta``, for streams of many deltas."""
    theirs = getattr(sys.modules.get("smolagents.models"), "ChatMessageStreamDelta", None)
    return ChatMessageStreamDelta if theirs is None else _shared_class(theirs)


def tool_call_deltas(calls: Iterable[ChatMessageToolCall] | None) -> list[ChatMessageToolCallStreamDelta]:
    """Whole tool calls as pieces of a stream, where arguments are text that is joined."""
    pieces = []
    for index, call in enumerate(calls or ()):
        arguments = call.function.arguments
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        function = ChatMessageToolCallFunction(name=call.function.name, arguments=text)
        pieces.append(ChatMessageToolCallStreamDelta(index=index, id=call.id, type=call.type, function=function))
    return pieces


def agglomerate_stream_deltas(stream_deltas: Iterable[Any], role: MessageRole = MessageRole.ASSISTANT) -> ChatMessage:
    """Put the deltas of one reply together.

    Args:
        stream_deltas: Our deltas or smolagents', in order.
        role: The role of the message.

    Returns:
        A message with the joined content, the summed usage (0 and 0 if no delta had one) and the tool calls in the
        order of their appearance ([] if there were none).

    Raises:
        MessageError: A piece of a tool call has no index.
    """
    accumulator = DeltaAccumulator(role)
    for delta in stream_deltas:
        accumulator.add(delta)
    return accumulator.message


class DeltaAccumulator:
    """The reply so far, while its deltas arrive one by one.

    What was put together before is not put together again: a delta costs the same however many came before it, and
    ``message`` no more than one copy of the text.

    Args:
        role: The role of the message.
    """

    def __init__(self, role: MessageRole = MessageRole.ASSISTANT) -> None:
        self._role = role
        self._texts: list[str] = []
        self._calls: dict[int, _PartialCall] = {}
        self._read = self._written = 0
        self._reasoning: list[str] = []
        self._info: ReplyInfo | None = None

    def add(self, delta: Any) -> None:
        """Take the next delta, ours or smolagents'.

        Raises:
            MessageError: A piece of a tool call has no index.
        """
        if delta.token_usage:
            self._read += delta.token_usage.input_tokens
            self._written += delta.token_usage.output_tokens
        if delta.content:
            self._texts.append(delta.content)
        for piece in delta.tool_calls or ():
            if piece.index is None:
                raise MessageError(f"a piece of a tool call has no index: {piece}")
            call = self._calls.get(piece.index)
            if call is None:
                call = self._calls[piece.index] = _PartialCall()
            call.add(piece)
        if reasoning := getattr(delta, "_reasoning", ""):
            self._reasoning.append(reasoning)
        self._info = getattr(delta, "_info", self._info)

    @property
    def content(self) -> str:
        """The text so far."""
        return _joined(self._texts)

    @property
    def message(self) -> ChatMessage:
        """A new message of all that has arrived, as ``agglomerate_stream_deltas`` makes it."""
        message = ChatMessage(
            role=self._role,
            content=self.content,
            tool_calls=[call.finish() for call in self._calls.values()],
            token_usage=TokenUsage(self._read, self._written),
        )
        info = self._info
        if self._reasoning and not (info and info.reasoning):
            info = replace(info or _NO_INFO, reasoning=_joined(self._reasoning))
        if info is not None:
            attach_info(message, info)
        return message


def _joined(texts: list[str]) -> str:
    # The list stays in two pieces at most between two calls, so that asking after each delta joins two texts.
    if len(texts) > 1:
        texts[:] = ["".join(texts)]
    return texts[0] if texts else ""


class _PartialCall:
    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []

    def add(self, piece: Any) -> None:
        self.id = piece.id or self.id
        if piece.function:
            self.name = piece.function.name or self.name
            if piece.function.arguments:
                self.arguments.append(piece.function.arguments)

    def finish(self) -> ChatMessageToolCall:
        function = ChatMessageToolCallFunction(name=self.name, arguments=_joined(self.arguments))
        return ChatMessageToolCall(function=function, id=self.id, type="function")


class ChatStream(Generator[ChatMessageStreamDelta, None, None]):
    """A reply while it is generated: iterate over its deltas; ``message`` is the whole when it has ended.

    Leaving the iteration early needs no care: ``close()``, the end of a ``with`` block or the garbage collector stop
    the generation behind it.

    Args:
        deltas: The deltas; nothing runs before the first is asked for.
        on_close: Called once when the stream ends in any way; stops what is still running.
    """

    def __init__(self, deltas: Iterator[ChatMessageStreamDelta], on_close: Callable[[], None] | None = None) -> None:
        self._deltas = deltas
        self._on_close = on_close
        self._accumulator = DeltaAccumulator()
        # Put together when somebody asks: a delta is handed out whatever it contains.
        self._new: deque[ChatMessageStreamDelta] = deque()
        self._ended = False

    def __iter__(self) -> Generator[ChatMessageStreamDelta, None, None]:
        """The deltas that are still to come; leaving the loop leaves the stream as it is."""
        remember = self._new.append
        try:
            for delta in self._deltas if not self._ended else ():
                remember(delta)
                yield delta
                if self._ended:
                    return
        except GeneratorExit:
            raise
        except BaseException:
            self.close()
            raise
        self.close()

    def __next__(self) -> ChatMessageStreamDelta:
        if self._ended:
            raise StopIteration
        try:
            delta = next(self._deltas)
        except BaseException:
            self.close()
            raise
        self._new.append(delta)
        return delta

    def send(self, value: None) -> ChatMessageStreamDelta:
        """The same as ``next()``."""
        return next(self)

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> ChatMessageStreamDelta:
        """End the stream and raise the exception here."""
        self.close()
        if isinstance(typ, BaseException):
            raise typ
        raise typ(val) if val is not None else typ

    def close(self) -> None:
        """Stop the generation and wait until it has stopped; harmless when it has ended already."""
        if not self._ended:
            self._ended = True
            if self._on_close is not None:
                self._on_close()

    def __enter__(self) -> ChatStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def drain(self) -> ChatMessage:
        """Wait for the end, and return the whole message."""
        for _ in self:
            pass
        return self.message

    @property
    def message(self) -> ChatMessage:
        """What has arrived so far, put together; with ``finish_reason`` and ``parsed`` once the stream has ended."""
        while self._new:
            self._accumulator.add(self._new[0])
            self._new.popleft()
        return self._accumulator.message
