"""A local generation that is consumed while it runs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

from fairlead.messages import attach_info
from fairlead.models._output import Output
from fairlead.streaming import ChatMessageStreamDelta, new_delta
from fairlead.types import ReplyInfo, TokenUsage

__all__ = ["StreamRun"]

Emit = Callable[[ChatMessageStreamDelta], None]


class StreamRun:
    """A generation in a thread of its own, and the queue that its deltas come through.

    Args:
        new_output: Makes the output, given where its deltas go.
        work: Runs the generation to its end.
        last: What is known at the end.
    """

    def __init__(
        self,
        new_output: Callable[[Emit], Output],
        work: Callable[[Output], None],
        last: Callable[[Output], tuple[TokenUsage, ReplyInfo]],
    ) -> None:
        # Deltas; None at the end; an exception if it failed.
        self._pieces: queue.SimpleQueue[ChatMessageStreamDelta | BaseException | None] = queue.SimpleQueue()
        self._output = new_output(self._pieces.put)
        self._do = work
        self._last = last
        self._thread = threading.Thread(target=self._work, name="fairlead-generation", daemon=True)
        self._started = False
        self._lock = threading.Lock()

    def _work(self) -> None:
        try:
            self._do(self._output)
        except BaseException as error:
            self._pieces.put(error)
        else:
            self._pieces.put(None)

    def deltas(self) -> Iterator[ChatMessageStreamDelta]:
        """The deltas; the last has content "" and the usage."""
        return _Deltas(self)

    def start(self) -> bool:
        """Start the thread unless it runs already; False if the stream was closed before."""
        with self._lock:
            if not self._started and not self._output.cancelled.is_set():
                self._started = True
                self._thread.start()
            return self._started

    def next_piece(self) -> ChatMessageStreamDelta | BaseException | None:
        """Wait for what comes next."""
        return self._pieces.get()

    def last_delta(self) -> ChatMessageStreamDelta:
        """The delta behind all others."""
        usage, info = self._last(self._output)
        delta = new_delta(content="", token_usage=usage)
        attach_info(delta, info)
        return delta

    def close(self) -> None:
        """End the generation, and wait until its thread has ended."""
        with self._lock:
            self._output.cancelled.set()
            started = self._started
        if started and self._thread is not threading.current_thread():
            self._thread.join()


class _Deltas(Iterator[ChatMessageStreamDelta]):
    # A class, not a generator: another thread may close the stream while this one waits here.
    def __init__(self, run: StreamRun) -> None:
        self._run = run
        self._ended = False

    def __next__(self) -> ChatMessageStreamDelta:
        if self._ended or not self._run.start():
            raise StopIteration
        piece = self._run.next_piece()
        if isinstance(piece, ChatMessageStreamDelta):
            return piece
        self._ended = True
        if piece is None:
            return self._run.last_delta()
        raise piece
