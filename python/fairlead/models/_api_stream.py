"""The deltas of a streamed answer: text up to the first stop sequence, and the end with all that is known."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from fairlead.errors import ModelError
from fairlead.messages import attach_info
from fairlead.models._connection import close
from fairlead.models._exchange import ApiCall, Reply
from fairlead.streaming import ChatMessageStreamDelta, delta_class, new_delta
from fairlead.types import TokenUsage

if TYPE_CHECKING:
    from fairlead.models._api import ApiModel

__all__ = ["Deltas", "Parts"]


class Parts:
    """What becomes of a provider's events.

    Args:
        model: Whose answer it is.
        call: The request.

    Attributes:
        ended: Nothing more has to be read.
        text: The text of an event that is nothing else and is shown as it is, or None; then it is for ``feed``.
        texts: The texts that were shown; who shows one of ``text`` adds it.
    """

    def __init__(self, model: ApiModel, call: ApiCall) -> None:
        self.ended = False
        self._model = model
        self._call = call
        self._reader = model._new_reader()
        self._new_delta = delta_class()
        self._stops = model._stop_filter(call)
        self._patience = model._patience if model.supports_stop_parameter else 0
        # The arguments of the tool that stands for the schema are the answer, and what is said beside them isn't.
        self._as_tool = call.mode == "tool" and call.constraint is not None
        self._arguments: list[str] = []
        self._beside: list[str] = []
        plain = self._stops is None and not self._as_tool
        self.text: Callable[[Any], str | None] = self._reader.text if plain else _for_feed
        self.texts: list[str] = []

    def feed(self, event: Any) -> ChatMessageStreamDelta | None:
        """The delta of an event, or None if there is nothing to show."""
        if self._stops is not None and self._stops.matched:
            # For the usage, and for calls that stand behind the text.
            delta = self._reader.feed(event)
            if delta is not None and delta.tool_calls and not self._as_tool:
                delta.content = None
                return delta
            self._patience -= 1
            self.ended = self._patience <= 0
            return None
        text = None if self._as_tool else self._reader.text(event)
        if text is None:
            return self._feed(event)
        shown = self._show(text)
        return self._new_delta(shown) if shown else None

    def _feed(self, event: Any) -> ChatMessageStreamDelta | None:
        delta = self._reader.feed(event)
        if delta is None:
            return None
        if self._as_tool:
            self._take_answer(delta)
        if delta.content:
            delta.content = self._show(delta.content)
        return delta if delta.content or delta.tool_calls or delta.reasoning else None

    def _take_answer(self, delta: ChatMessageStreamDelta) -> None:
        pieces = [piece.function.arguments for piece in delta.tool_calls or () if piece.function]
        text = "".join(str(piece) for piece in pieces if piece)
        self._arguments.append(text)
        self._beside.append(delta.content or "")
        delta.tool_calls = None
        # One that is wrapped is shown when it is whole.
        delta.content = None if self._call.unwrap else text

    def _show(self, text: str) -> str:
        """What can be shown after a piece of the answer."""
        if self._stops is not None:
            text = self._stops.feed(text)
            self.ended = self._stops.matched and self._patience <= 0
        if text:
            self.texts.append(text)
        return text

    def finish(self) -> Iterator[ChatMessageStreamDelta]:
        """What was held back, and the last delta."""
        rest = ""
        if self._as_tool:
            arguments = "".join(self._arguments)
            if not arguments:
                rest = self._show("".join(self._beside))
            elif self._call.unwrap:
                rest = self._show(self._call.unwrap(arguments))
        stopped = self._stops is not None and self._stops.matched
        if self._stops is not None and not stopped and (held := self._stops.finish()):
            self.texts.append(held)
            rest += held
        if rest:
            yield self._new_delta(rest)
        try:
            reply = self._reader.finish(begun=bool(self.texts))
        except ModelError:
            # After a stop sequence nobody waited for the end.
            if not stopped:
                raise
            reply = Reply()
        reply.reasoning = "".join(self._reader.reasoning)
        usage = reply.usage
        last = new_delta(content="", token_usage=usage and TokenUsage(usage.input_tokens, usage.output_tokens))
        attach_info(last, self._model._info(self._call, reply, "".join(self.texts), self._stops))
        yield last


def _for_feed(event: Any) -> None:
    """No event is shown as it is where stop sequences are looked for."""


class Deltas:
    """One stream for a thread: opened, read to its end, closed.

    Args:
        model: Whose answer it is.
        call: The request.
    """

    # Closed from outside, not as a generator: another thread may close the stream while this one waits in it.
    def __init__(self, model: ApiModel, call: ApiCall) -> None:
        self._model = model
        self._call = call
        self._parts = Parts(model, call)
        self._response: Any = None
        self._events: Iterator[Any] = iter(())
        self._closed = False
        self._lock = threading.Lock()

    def _open(self) -> None:
        self._model._apply_rate_limit()
        with self._model._typed_errors:
            response = self._model._send(self._call.payload, stream=True)
            events = iter(response)
            try:
                # What fails before anything has arrived may be asked for again.
                first = list(islice(events, 1))
            except BaseException:
                close(response)
                raise
        with self._lock:
            self._response, self._events = response, chain(first, events)
            closed = self._closed
        if closed:
            close(response)

    def run(self) -> Iterator[ChatMessageStreamDelta]:
        """The deltas; the request goes out with the first."""
        if self._closed:
            return
        parts = self._parts
        read, feed, shown = parts.text, parts.feed, parts.texts.append
        kind = delta_class()
        new = kind.__new__
        try:
            self._model.retryer.call(self._open)
            with self._model._typed_errors:
                for event in self._events:
                    # Nearly all events are text: this path costs what the objects of the client and a delta do.
                    if text := read(event):
                        shown(text)
                        delta = new(kind)
                        # As ``__init__`` does, which takes longer than the rest.
                        delta.content = text
                        delta.tool_calls = delta.token_usage = None
                        yield delta
                    else:
                        other = feed(event)
                        if parts.ended:
                            self._close_response()
                        if other is not None:
                            yield other
                        if parts.ended:
                            break
                    if self._closed:
                        self._close_response()
                        return
            self._close_response()
            yield from parts.finish()
        except BaseException:
            # Closed by another thread while this one was reading: that is an end, not an error.
            if not self._closed:
                self.close()
                raise

    def _close_response(self) -> None:
        if self._response is not None:
            close(self._response)

    def close(self) -> None:
        """End the stream, from any thread."""
        with self._lock:
            self._closed = True
        self._close_response()
