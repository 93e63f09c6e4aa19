"""Stop sequences: the matcher, filters for streams, and a stopping criterion for Transformers.

The rule is the same everywhere: the match that is completed first wins, of those completed at the same character the
longest, and nothing of that occurrence is shown. See :class:`StopSequenceMatcher`.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, AnyStr

from fairlead._core import StopSequenceMatcher, TokenStops, extends_token_ids, read_token_ids
from fairlead.errors import TokenizerError

if TYPE_CHECKING:
    import torch

__all__ = [
    "RowStop",
    "StopSequenceCriteria",
    "StopSequenceMatcher",
    "afilter_stream",
    "filter_deltas",
    "filter_stream",
]

StopSequences = Sequence[str | bytes] | StopSequenceMatcher | None


def _matcher(stop_sequences: StopSequences, include_stop: bool) -> StopSequenceMatcher:
    if isinstance(stop_sequences, StopSequenceMatcher):
        return stop_sequences
    return StopSequenceMatcher(stop_sequences, include_stop=include_stop)


def filter_stream(
    stream: Iterable[AnyStr], stop_sequences: StopSequences, *, include_stop: bool = False
) -> Iterator[AnyStr]:
    """Hand on the pieces of a stream of text up to the first stop sequence.

    Args:
        stream: Pieces of text, or of bytes.
        stop_sequences: The sequences, or a :class:`StopSequenceMatcher` that can be asked afterwards what matched.
        include_stop: Whether the matched sequence is handed on; a given matcher decides for itself.

    Yields:
        Text without the empty pieces. At a match the source is closed (``close()``, if it has one) and the stream ends.

    Raises:
        StopSequenceError: A sequence is empty. It is raised by the call, not at the first piece.
    """
    matcher = _matcher(stop_sequences, include_stop)
    return _filter(iter(stream), matcher)


def _filter(source: Iterator[AnyStr], matcher: StopSequenceMatcher) -> Iterator[AnyStr]:
    try:
        for piece in source:
            if shown := matcher.feed(piece):
                yield shown
            if matcher.matched:
                return
        if rest := matcher.finish():
            yield rest
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


def afilter_stream(
    stream: AsyncIterable[AnyStr], stop_sequences: StopSequences, *, include_stop: bool = False
) -> AsyncIterator[AnyStr]:
    """The same as :func:`filter_stream` for an asynchronous stream, which is closed with ``aclose()``."""
    matcher = _matcher(stop_sequences, include_stop)
    return _afilter(aiter(stream), matcher)


async def _afilter(source: AsyncIterator[AnyStr], matcher: StopSequenceMatcher) -> AsyncIterator[AnyStr]:
    try:
        async for piece in source:
            if shown := matcher.feed(piece):
                yield shown
            if matcher.matched:
                return
        if rest := matcher.finish():
            yield rest
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


def filter_deltas(
    deltas: Iterable[Any], stop_sequences: StopSequences, *, include_stop: bool = False, drain: bool = False
) -> Iterator[Any]:
    """Hand on the deltas of a streamed reply, their ``content`` cut at the first stop sequence.

    Args:
        deltas: Objects with a ``content`` (text or None). They are not changed: one whose content differs is copied.
        stop_sequences: The sequences, or a :class:`StopSequenceMatcher`.
        include_stop: Whether the matched sequence is handed on.
        drain: Read on after a match, and hand on deltas without content; a provider's token usage comes last. Default:
            the source is closed at the match.

    Yields:
        The deltas. Text that was withheld comes before the first delta without content of its own, which is where
        usage stands, or at the end as a copy of the last delta that had content.
    """
    matcher = _matcher(stop_sequences, include_stop)
    return _filter_deltas(iter(deltas), matcher, drain)


def _filter_deltas(source: Iterator[Any], matcher: StopSequenceMatcher, drain: bool) -> Iterator[Any]:
    last: Any = None
    try:
        for delta in source:
            content = getattr(delta, "content", None)
            if not content:
                # Usage is the last delta: what is still withheld belongs before it.
                if getattr(delta, "token_usage", None) is not None and last is not None and not matcher.matched:
                    rest = matcher.finish()
                    if rest:
                        yield _with_content(last, rest)
                yield delta
                continue
            if matcher.matched:
                # The content is behind the stop, whatever else the delta carries is not.
                if getattr(delta, "token_usage", None) is not None or getattr(delta, "tool_calls", None):
                    yield _with_content(delta, "", keep=True)
                continue
            last = delta
            shown = matcher.feed(content)
            if shown == content:
                yield delta
            elif shown or getattr(delta, "token_usage", None) is not None or getattr(delta, "tool_calls", None):
                yield _with_content(delta, shown, keep=True)
            if matcher.matched and not drain:
                return
        rest = "" if matcher.matched else matcher.finish()
        if rest and last is not None:
            yield _with_content(last, rest)
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


def _with_content(delta: Any, content: str, *, keep: bool = False) -> Any:
    """A copy with another content; without ``keep`` it carries nothing else, since the original did already."""
    changed = copy.copy(delta)
    changed.content = content
    if not keep:
        for name in ("tool_calls", "token_usage"):
            if getattr(changed, name, None) is not None:
                setattr(changed, name, None)
    return changed


@dataclass(frozen=True)
class RowStop:
    """Where one row of a batch stopped. Offsets count from the beginning of what was generated.

    Attributes:
        stop_sequence: The sequence as it was given; None if a token id stopped the row.
        stop_index: Its index in the list of sequences, or None.
        token_id: The token that ended the row, if it stopped by its id.
        start: Byte offset where the occurrence begins; everything before it is the row's text.
        end: Byte offset where it ends.
        start_char: ``start`` in characters.
        tokens: Generated tokens up to and with the one that completed the match. Assisted decoding may have generated
            more.
    """

    stop_sequence: str | bytes | None
    stop_index: int | None
    token_id: int | None
    start: int
    end: int
    start_char: int
    tokens: int


class _DecodedStops:
    """TokenStops for a tokenizer whose tokens have no bytes of their own: they are decoded step by step."""

    def __init__(self, matcher: StopSequenceMatcher, text: _DecodedText, stop_token_ids: list[int]) -> None:
        self.matcher = matcher
        self.tokens = 0
        self.token_id: int | None = None
        self._text = text
        self._stop_token_ids = stop_token_ids

    def push(self, token_ids: list[int]) -> bool:
        for token in token_ids:
            if self.token_id is not None or self.matcher.matched:
                break
            self.tokens += 1
            if token in self._stop_token_ids:
                self.token_id = token
            else:
                self.matcher.feed(self._text.push(token))
        return self.token_id is not None or self.matcher.matched

    def fork(self) -> _DecodedStops:
        forked = _DecodedStops(self.matcher.fork(), self._text.fork(), self._stop_token_ids)
        forked.tokens, forked.token_id = self.tokens, self.token_id
        return forked


class _Row:
    """The state of one row."""

    __slots__ = ("reader", "stopped")

    def __init__(self, reader: TokenStops | _DecodedStops) -> None:
        self.reader = reader
        self.stopped = False

    def fork(self) -> _Row:
        row = _Row(self.reader.fork())
        row.stopped = self.stopped
        return row

    @property
    def stop(self) -> RowStop | None:
        """Where the row stopped."""
        if not self.stopped:
            return None
        reader = self.reader
        matcher, token = reader.matcher, reader.token_id
        span = matcher.match_span
        if span is None:
            at = matcher.position
            return RowStop(None, None, token, at, at, matcher.position_char, reader.tokens)
        return RowStop(
            stop_sequence=matcher.stop_sequence,
            stop_index=matcher.stop_index,
            token_id=None,
            start=span[0],
            end=span[1],
            start_char=matcher.match_start_char or 0,
            tokens=reader.tokens,
        )


class StopSequenceCriteria:
    """Ends generation in Transformers where a stop sequence is complete, per row and exactly.

    A sequence is found inside a token as well as across tokens, by the exact bytes of the tokens; special tokens write
    nothing. The prompt's text never takes part in a match. Use it in ``model.generate(...,
    stopping_criteria=[criteria])``; with beams the states follow the beams. ``stops`` tells afterwards where each row
    stopped, so that the caller can cut the text there: Transformers never does.

    An instance serves one generation at a time. A second one is recognised by its ids (shorter, or another beginning)
    or because every row had stopped; call :meth:`reset` where its prompt might continue the first one's output.

    Args:
        stop_sequences: Texts (or bytes) that end a row. One that is the text of a special token, such as
            ``"<|im_end|>"``, also ends the row when that token is generated.
        tokenizer: A Transformers tokenizer or processor, or a :class:`fairlead.TokenizerInfo`. One whose tokens have
            no exact bytes (WordPiece) is decoded step by step instead.
        stop_token_ids: Ids that end a row by themselves; default none.
        prompt_length: Number of ids that belong to the prompt, padding included. Default: all but the last of the
            ids at the first call, which is right except for assisted decoding, where the first call brings several
            new tokens.

    Raises:
        StopSequenceError: A sequence is empty.
    """

    def __init__(
        self,
        stop_sequences: Sequence[str | bytes] | None,
        tokenizer: Any,
        *,
        stop_token_ids: Iterable[int] = (),
        prompt_length: int | None = None,
    ) -> None:
        self._fresh = StopSequenceMatcher(stop_sequences)
        self.stop_sequences = self._fresh.stop_sequences
        self._tokenizer = tokenizer
        self._bytes = _token_table(tokenizer)
        special = _special_ids(tokenizer, self.stop_sequences, self._bytes)
        self._stop_ids = sorted({int(i) for i in stop_token_ids} | special)
        self._given_prompt_length = prompt_length
        self._none_stopped: torch.Tensor | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the generation; the next call begins a new one."""
        self.prompt_length = self._given_prompt_length
        self._rows: list[_Row] = []
        self._ids: torch.Tensor | None = None  # the ids of the last call
        self._last = -1  # its last id, for a single row
        self._follow: Any = None  # reads the next step of a single row on the CPU, in one call

    @property
    def stops(self) -> list[RowStop | None]:
        """Where each row stopped; None for a row that hasn't."""
        return [row.stop for row in self._rows]

    def __call__(self, input_ids: torch.Tensor, scores: Any = None, **kwargs: Any) -> torch.Tensor:
        """Read the new tokens of each row.

        Args:
            input_ids: Shape ``(rows, length)``: prompt, generated tokens and padding of rows that have ended.
            scores: Not used.

        Returns:
            Shape ``(rows,)``, bool: which rows have stopped.
        """
        follow = self._follow
        if follow is not None:
            stopped = follow(input_ids)
            if stopped is not None:
                self._ids = input_ids
                self._rows[0].stopped = stopped
                none = self._none_stopped
                if not stopped and none is not None and none._version == 0:
                    return none
                return self._answer(input_ids)
            # Another generation, or ids somewhere else: the long way finds out.
            self._follow = None
            if self._ids is not None:
                self._last = int(self._ids[0, -1])
        count, length = input_ids.shape
        new = self._new_ids(input_ids, count, length)
        if new is None:
            start = self._begin(count, length)
            new = _columns(input_ids, start)
        for row, ids in zip(self._rows, new, strict=True):
            row.stopped = row.stopped or row.reader.push(ids)
        self._ids = input_ids
        if count == 1:
            if new[0]:
                self._last = new[0][-1]
            reader = self._rows[0].reader
            if isinstance(reader, TokenStops) and reader.begin(input_ids):
                self._follow = reader.follow
        return self._answer(input_ids)

    def _answer(self, like: torch.Tensor) -> torch.Tensor:
        """Which rows have stopped. Nearly always none has, and then the tensor is the same one."""
        import torch

        if any(row.stopped for row in self._rows):
            return torch.tensor([row.stopped for row in self._rows], dtype=torch.bool, device=like.device)
        none = self._none_stopped
        # Whoever wrote into it has it for himself.
        if none is None or none._version or len(none) != len(self._rows) or none.device != like.device:
            # Tensors made in inference mode don't count what is written into them.
            with torch.inference_mode(False):
                none = self._none_stopped = torch.zeros(len(self._rows), dtype=torch.bool, device=like.device)
        return none

    def _new_ids(self, input_ids: torch.Tensor, count: int, length: int) -> list[list[int]] | None:
        """The ids behind those of the last call, with the rows' states in order; None if a new generation begins."""
        before = self._ids
        if before is None:
            return None
        seen = int(before.shape[1])
        if length < seen:
            return None
        # Who goes on after every row has stopped does so by one token (beams do); more is the next prompt.
        if length > seen + 1 and all(row.stopped for row in self._rows):
            return None
        if count == 1 and len(self._rows) == 1:
            # One row can't change places: its last id tells old text from a new prompt.
            ids = _columns(input_ids, seen - 1)[0]
            return [ids] if ids.pop(0) == self._last else None
        if input_ids.device != before.device or count != before.shape[0]:
            return None
        if _readable(input_ids) and _readable(before):
            same = extends_token_ids(input_ids, before)
            new = read_token_ids(input_ids, seen)
        else:
            same, new = _compare(input_ids, before)
        return new if same or self._reorder(input_ids, before) else None

    def _reorder(self, now: torch.Tensor, before: torch.Tensor) -> bool:
        """Beams change places between calls: each row takes the state of the row that had the same ids."""
        columns = now[:, : before.shape[1]]
        same = (columns[:, None, :] == before[None, :, :]).all(-1)
        if not bool(same.any(-1).all()):
            return False
        self._rows = [self._rows[parent].fork() for parent in same.int().argmax(-1).tolist()]
        return True

    def _begin(self, count: int, length: int) -> int:
        self.reset()
        if self.prompt_length is None:
            self.prompt_length = length - 1
        self._rows = [_Row(self._reader()) for _ in range(count)]
        return self.prompt_length

    def _reader(self) -> TokenStops | _DecodedStops:
        matcher = self._fresh.fork()
        if self._bytes is None:
            return _DecodedStops(matcher, _DecodedText(self._tokenizer), self._stop_ids)
        return TokenStops(matcher, self._bytes, self._stop_ids)


def _columns(input_ids: torch.Tensor, start: int) -> list[list[int]]:
    """The ids of each row from column ``start`` on."""
    if _readable(input_ids):
        return read_token_ids(input_ids, start)
    # One copy per step.
    columns: list[list[int]] = input_ids[:, start:].tolist()
    return columns


def _compare(now: torch.Tensor, before: torch.Tensor) -> tuple[bool, list[list[int]]]:
    """Whether all rows go on where they were, and what is new in each: one copy from a GPU."""
    import torch

    seen = before.shape[1]
    same = (now[:, :seen] == before).all(-1, keepdim=True)
    rows = torch.cat([same.to(now.dtype), now[:, seen:]], 1).tolist()
    return all(row[0] for row in rows), [row[1:] for row in rows]


def _readable(input_ids: torch.Tensor) -> bool:
    """Whether the rows can be read where they lie."""
    return bool(input_ids.is_cpu and input_ids.stride(1) == 1)


def _token_table(tokenizer: Any) -> list[bytes | None] | None:
    """What each id writes; None if the tokenizer can't tell."""
    from fairlead.tokenizer import TokenizerInfo

    if isinstance(tokenizer, TokenizerInfo):
        return tokenizer.decoded_vocab
    try:
        return TokenizerInfo.from_huggingface(tokenizer).decoded_vocab
    except TokenizerError:
        pass
    try:
        # A tokenizer without an end-of-text id still has exact bytes.
        return TokenizerInfo.from_huggingface(tokenizer, stop_token_ids=()).decoded_vocab
    except TokenizerError:
        return None


def _special_ids(tokenizer: Any, sequences: Iterable[str | bytes], table: list[bytes | None] | None) -> set[int]:
    """Ids of special tokens whose text is a stop sequence: they write nothing, so the matcher never sees them."""
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    to_id = getattr(tokenizer, "convert_tokens_to_ids", None)
    to_token = getattr(tokenizer, "convert_ids_to_tokens", None)
    found: set[int] = set()
    if to_id is None or to_token is None:
        return found
    for sequence in sequences or ():
        if isinstance(sequence, str):
            token = to_id(sequence)
            # An unknown text gives the id of the unknown token, or None.
            if (
                isinstance(token, int)
                and to_token(token) == sequence
                and (table is None or token >= len(table) or table[token] is None)
            ):
                found.add(token)
    return found


class _DecodedText:
    """The text of ids that come one by one, for a tokenizer whose tokens have no bytes of their own.

    Decodes a short tail each time: from the last place where the text was whole.
    """

    __slots__ = ("_ids", "_read", "_start", "_tokenizer")

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
        self._ids: list[int] = []
        self._start = 0  # decoding begins here,
        self._read = 0  # and the text of the ids before this place was handed on

    def push(self, token: int) -> str:
        self._ids.append(token)
        before = self._decode(self._start, self._read)
        after = self._decode(self._start, len(self._ids))
        if len(after) <= len(before) or after.endswith("\ufffd"):
            return ""
        self._start, self._read = self._read, len(self._ids)
        # The ids before `_start` are never decoded again.
        del self._ids[: self._start]
        self._read -= self._start
        self._start = 0
        return after[len(before) :]

    def _decode(self, start: int, end: int) -> str:
        text: str = self._tokenizer.decode(
            self._ids[start:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def fork(self) -> _DecodedText:
        copied = _DecodedText(self._tokenizer)
        copied._ids, copied._start, copied._read = list(self._ids), self._start, self._read
        return copied
