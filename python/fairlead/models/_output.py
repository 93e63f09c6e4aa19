"""The text of a local generation: token ids go in, whole characters come out, stop sequences end it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence

from fairlead._core import StopSequenceMatcher
from fairlead.types import FinishReason

__all__ = ["Output", "StopFilter", "TextDecoder"]

_UNFINISHED = "\ufffd"
# The unfinished beginning of a character has at most three bytes, hence tokens.
_MAX_PENDING = 3


class TextDecoder:
    """Decodes one token after the other, handing out whole characters only.

    Tokens are decoded together with those before them that were shown last, so that spaces which depend on the
    neighbour come out as they do when the whole is decoded.

    Args:
        decode: From token ids to text, special tokens left out.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._context: list[int] = []
        self._context_text = ""
        self._pending: list[int] = []

    def push(self, token: int) -> str:
        """The text that a further token completes; often that of the token, "" inside a character."""
        self._pending.append(token)
        text = self._decode(self._context + self._pending)
        if not text.endswith(_UNFINISHED):
            return self._show(self._pending, text)
        if len(self._pending) <= _MAX_PENDING:
            return ""
        # More than the beginning of a character, so bytes that are no text: all but the last may be shown.
        settled = self._pending[:-_MAX_PENDING]
        return self._show(settled, self._decode(self._context + settled))

    def finish(self) -> str:
        """What is left, with U+FFFD for an unfinished character."""
        return self._show(self._pending, self._decode(self._context + self._pending)) if self._pending else ""

    def _show(self, tokens: list[int], text: str) -> str:
        new = text[len(self._context_text) :]
        if new:
            self._context = tokens
            self._context_text = self._decode(tokens)
            self._pending = self._pending[len(tokens) :]
        elif len(self._pending) > 4 * _MAX_PENDING:
            # A long run of tokens without text (special ones) says nothing about what follows.
            self._pending = self._pending[-1:]
        return new


class StopFilter:
    """Ends a text before the first stop sequence, and holds back what could become one.

    Args:
        stop_sequences: Literal sequences.
        may_stop: Given the text before an occurrence, whether it may end there; None: it always may.
    """

    def __init__(self, stop_sequences: Sequence[str], may_stop: Callable[[str], bool] | None = None) -> None:
        self._stops = list(stop_sequences)
        self._matcher = StopSequenceMatcher(self._stops)
        self._may_stop = may_stop
        self._shown: list[str] = []
        self._held = ""
        self.stop_sequence: str | None = None

    @property
    def matched(self) -> bool:
        """Whether a stop sequence has ended the text."""
        return self.stop_sequence is not None

    def feed(self, text: str) -> str:
        """What can be shown after this piece."""
        if self.matched or not text:
            return ""
        shown = self._matcher.feed(text)
        self._held = (self._held + text)[len(shown) :]
        self._shown.append(shown)
        while self._matcher.matched:
            if self._may_stop is None or self._may_stop("".join(self._shown)):
                self.stop_sequence = self._matcher.stop_sequence
                self._held = ""
                break
            # This occurrence doesn't count. Its first character is text; others may begin inside it.
            first, rest = self._held[0], self._held[1:]
            self._matcher = StopSequenceMatcher(self._stops)
            again = self._matcher.feed(rest)
            self._held = rest[len(again) :]
            self._shown.append(first + again)
            shown += first + again
        return shown

    def finish(self) -> str:
        """What was held back, now that nothing follows."""
        rest, self._held = self._held, ""
        self._shown.append(rest)
        return rest

    @property
    def text(self) -> str:
        """All that was shown."""
        return "".join(self._shown)


class Output:
    """One generation, seen from its text: fed with tokens by a backend, shown to the caller piece by piece.

    A backend calls ``push`` with the new tokens after each step and ends when that returns True; ``finish`` when it
    has ended. The caller's thread may set ``cancelled``.

    Args:
        decode: From token ids to text, special tokens left out.
        stop_filter: Stops and holds back.
        emit: Gets each piece of text that can be shown.
        end_tokens: Ids that end the model's turn.
    """

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        stop_filter: StopFilter,
        emit: Callable[[str], None],
        end_tokens: Collection[int],
    ) -> None:
        self._decoder = TextDecoder(decode)
        self._stop_filter = stop_filter
        self._emit = emit
        self._end_tokens = frozenset(end_tokens)
        self._ended_turn = False
        self.cancelled = threading.Event()
        self.tokens = 0
        self.started = time.perf_counter()
        self.first_token: float | None = None
        self.seconds = 0.0

    def start(self) -> None:
        """Set the clock: the generation begins now."""
        self.started = time.perf_counter()

    def push(self, tokens: Sequence[int]) -> bool:
        """Take new tokens; True when the generation must end now."""
        if self.first_token is None and tokens:
            self.first_token = time.perf_counter() - self.started
        for token in tokens:
            if self._ended_turn or self._stop_filter.matched:
                break
            self.tokens += 1
            if token in self._end_tokens:
                self._ended_turn = True
            else:
                self._show(self._stop_filter.feed(self._decoder.push(token)))
        return self._ended_turn or self._stop_filter.matched or self.cancelled.is_set()

    def finish(self) -> None:
        """Show what is left; the generation has ended."""
        self.seconds = time.perf_counter() - self.started
        self._show(self._stop_filter.feed(self._decoder.finish()))
        if not self._stop_filter.matched:
            self._show(self._stop_filter.finish())

    def _show(self, text: str) -> None:
        if text:
            self._emit(text)

    @property
    def text(self) -> str:
        """All text that was shown."""
        return self._stop_filter.text

    @property
    def stop_sequence(self) -> str | None:
        """The stop sequence that ended the text, or None."""
        return self._stop_filter.stop_sequence

    def finish_reason(self, max_tokens: int) -> FinishReason:
        """Why the generation ended, if it was allowed ``max_tokens``."""
        if self._ended_turn or self._stop_filter.matched:
            return "stop"
        if self.cancelled.is_set():
            return "cancelled"
        return "length" if self.tokens >= max_tokens else "stop"
