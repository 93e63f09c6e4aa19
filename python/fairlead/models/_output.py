"""The text of a local generation: token ids go in, whole characters come out, stop sequences end it."""

from __future__ import annotations

import codecs
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from fairlead._core import StopSequenceMatcher
from fairlead.streaming import ChatMessageStreamDelta, new_delta
from fairlead.types import FinishReason

if TYPE_CHECKING:
    from fairlead.messages import ChatMessageToolCall
    from fairlead.models._reasoning import ReasoningFilter
    from fairlead.streaming import ChatMessageToolCallStreamDelta
    from fairlead.tokenizer import TokenizerInfo
    from fairlead.tools import ToolCallFilter

__all__ = ["ByteDecoder", "Output", "StopFilter", "TextDecoder"]

_UNFINISHED = "\ufffd"
# A token that ends inside a character: at most three more complete it.
_MAX_PENDING = 4


class ByteDecoder:
    """Decodes one token after the other by its bytes, handing out whole characters only.

    Args:
        info: The bytes of the tokens.
        shown: Special tokens whose text is part of the output all the same: tags, markers of tool calls.
    """

    def __init__(self, info: TokenizerInfo, shown: Mapping[int, str] | None = None) -> None:
        self._bytes = info.decoded_vocab
        self._special = shown or {}
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        # What the tokenizer's own decode() drops at the edges of a text.
        self._drop_leading = info.strips_leading_space
        self._drop_trailing = info.strips_trailing_space
        self._held_space = ""

    def push(self, token: int) -> str:
        """The text that a further token completes; often that of the token, "" inside a character."""
        if token in self._special:
            return self._edges(self._utf8.decode(self._special[token].encode()))
        data = self._bytes[token] if 0 <= token < len(self._bytes) else None
        return self._edges(self._utf8.decode(data)) if data else ""

    def finish(self) -> str:
        """What is left, with U+FFFD for an unfinished character."""
        return self._edges(self._utf8.decode(b"", final=True))

    def _edges(self, text: str) -> str:
        if not text:
            return text
        if self._drop_leading:
            self._drop_leading = False
            text = text.removeprefix(" ")
        if self._drop_trailing:
            text = self._held_space + text
            self._held_space = " " if text.endswith(" ") else ""
            text = text.removesuffix(" ")
        return text


class TextDecoder:
    """Decodes one token after the other where the bytes of tokens aren't known (WordPiece).

    Each token is decoded together with those before it, so that spaces which depend on the neighbour come out as they
    do when the whole is decoded.

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
        if text.endswith(_UNFINISHED) and len(self._pending) < _MAX_PENDING:
            return ""
        return self._show(text)

    def finish(self) -> str:
        """What is left, with U+FFFD for an unfinished character."""
        return self._show(self._decode(self._context + self._pending)) if self._pending else ""

    def _show(self, text: str) -> str:
        new = text[len(self._context_text) :]
        if new:
            self._context, self._pending = self._pending, []
            self._context_text = self._decode(self._context)
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
    has ended. The caller's thread may set ``cancelled``. From tokens to deltas a text passes the decoder, the filter
    of reasoning, that of stop sequences (which only see the answer) and that of tool calls.

    Args:
        decoder: A ByteDecoder or a TextDecoder.
        stop_filter: Stops and holds back.
        emit: Gets each delta that can be shown.
        end_tokens: Ids that end the model's turn.
        reasoning: Divides reasoning from the answer; None: all is answer.
        tool_calls: Finds the tool calls in the answer; None: there are none.
    """

    def __init__(
        self,
        decoder: ByteDecoder | TextDecoder,
        stop_filter: StopFilter,
        emit: Callable[[ChatMessageStreamDelta], None],
        end_tokens: Collection[int],
        *,
        reasoning: ReasoningFilter | None = None,
        tool_calls: ToolCallFilter | None = None,
    ) -> None:
        self._decoder = decoder
        self._stop_filter = stop_filter
        self._emit = emit
        self._end_tokens = frozenset(end_tokens)
        self._reasoning = reasoning
        self._tool_filter = tool_calls
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
                self._read(self._decoder.push(token))
        return self._ended_turn or self._stop_filter.matched or self.cancelled.is_set()

    def finish(self) -> None:
        """Show what is left; the generation has ended."""
        self.seconds = time.perf_counter() - self.started
        self._read(self._decoder.finish())
        if self._reasoning is not None:
            thought, answer = self._reasoning.finish()
            self._think(thought)
            self._show(self._stop_filter.feed(answer))
        if not self._stop_filter.matched:
            self._show(self._stop_filter.finish())
        if self._tool_filter is not None:
            self._show_calls(*self._tool_filter.finish())

    def _read(self, text: str) -> None:
        if not text:
            return
        if self._reasoning is not None:
            thought, text = self._reasoning.feed(text)
            self._think(thought)
        self._show(self._stop_filter.feed(text))

    def _think(self, text: str) -> None:
        if text:
            self._emit(new_delta(reasoning=text))

    def _show(self, text: str) -> None:
        if not text:
            return
        if self._tool_filter is None:
            self._emit(new_delta(content=text))
        else:
            self._show_calls(*self._tool_filter.feed(text))

    def _show_calls(self, content: str, deltas: list[ChatMessageToolCallStreamDelta]) -> None:
        if content:
            self._emit(new_delta(content=content))
        if deltas:
            self._emit(new_delta(tool_calls=deltas))

    @property
    def text(self) -> str:
        """The whole answer so far, tool calls as the model writes them."""
        return self._stop_filter.text

    @property
    def content(self) -> str:
        """The answer without its tool calls."""
        return self.text if self._tool_filter is None else self._tool_filter.content

    @property
    def tool_calls(self) -> list[ChatMessageToolCall]:
        """The tool calls that are complete."""
        return [] if self._tool_filter is None else self._tool_filter.calls

    @property
    def reasoning(self) -> str:
        """What the model thought before its answer."""
        return "" if self._reasoning is None else self._reasoning.reasoning

    @property
    def answering(self) -> bool:
        """Whether the reasoning, if there is any, has ended."""
        return self._reasoning is None or self._reasoning.in_answer

    @property
    def stop_sequence(self) -> str | None:
        """The stop sequence that ended the text, or None."""
        return self._stop_filter.stop_sequence

    @property
    def ended_turn(self) -> bool:
        """Whether the model ended its turn by a token for that."""
        return self._ended_turn

    def finish_reason(self, max_tokens: int) -> FinishReason:
        """Why the generation ended, if it was allowed ``max_tokens``."""
        ended = self._ended_turn or self._stop_filter.matched
        if self.tool_calls and (ended or self.tokens < max_tokens) and not self.cancelled.is_set():
            return "tool_calls"
        if ended:
            return "stop"
        if self.cancelled.is_set():
            return "cancelled"
        return "length" if self.tokens >= max_tokens else "stop"
