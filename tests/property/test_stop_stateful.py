"""A matcher under any sequence of operations, against a search on the whole text."""

from __future__ import annotations

import codecs
import itertools

from fairlead import StopSequenceMatcher
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

ALPHABET = "ab€🙂"
SEQUENCES = st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=4)
CHUNK = st.text("aab€🙂", max_size=6)


def search(sequences: list[str], text: bytes) -> tuple[int, int, int] | None:
    """Index, start and end of the match that is completed first, the longest of those."""
    encoded = [s.encode() for s in sequences]
    for end in range(1, len(text) + 1):
        found = [i for i, s in enumerate(encoded) if text[:end].endswith(s)]
        if found:
            best = max(found, key=lambda i: (len(encoded[i]), -i))
            return best, end - len(encoded[best]), end
    return None


def whole_characters(text: bytes) -> int:
    """Bytes of the text without an unfinished character at its end."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(text)
    return len(text) - len(decoder.getstate()[0])


def withheld(sequences: list[str], text: bytes) -> bytes:
    """The longest suffix that is a proper prefix of a sequence, or that is an unfinished character."""
    encoded = [s.encode() for s in sequences]
    start = whole_characters(text)
    for begin in range(len(text)):
        suffix = text[begin:]
        if any(s.startswith(suffix) and len(s) > len(suffix) for s in encoded):
            return text[min(begin, start) :]
    return text[start:]


class Matcher(RuleBasedStateMachine):
    """Feeds text and bytes, cut anywhere; forks, resets and finishes."""

    @initialize(sequences=SEQUENCES, include_stop=st.booleans())
    def begin(self, sequences: list[str], include_stop: bool) -> None:
        self.sequences, self.include_stop = sequences, include_stop
        self.matcher = StopSequenceMatcher(sequences, include_stop=include_stop)
        self.forks: list[tuple[StopSequenceMatcher, bytes, bytes]] = []
        self.clear()

    def clear(self) -> None:
        self.text = b""
        self.shown = b""
        self.finished = False

    @precondition(lambda self: not self.finished)
    @rule(chunk=CHUNK, cuts=st.lists(st.integers(0, 24), max_size=3))
    def feed_bytes(self, chunk: str, cuts: list[int]) -> None:
        data = chunk.encode()
        edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        for begin, end in itertools.pairwise(edges):
            self.shown += self.matcher.feed(data[begin:end])
            self.text += data[begin:end]
            self.check()

    @precondition(lambda self: not self.finished)
    @rule(chunk=CHUNK)
    def feed_text(self, chunk: str) -> None:
        shown = self.matcher.feed(chunk)
        assert isinstance(shown, str)
        self.shown += shown.encode()
        self.text += chunk.encode()

    @precondition(lambda self: not self.finished)
    @rule(chunk=CHUNK)
    def cut_character(self, chunk: str) -> None:
        """Leaves a character unfinished, then finishes it."""
        data = ("€" + chunk).encode()
        for piece in (data[:2], data[2:]):
            self.shown += self.matcher.feed(piece)
            self.text += piece
            self.check()

    @rule()
    def fork(self) -> None:
        self.forks.append((self.matcher.fork(), self.text, self.shown))

    @precondition(lambda self: self.forks and not self.finished)
    @rule()
    def go_back(self) -> None:
        twin, self.text, self.shown = self.forks.pop()
        self.matcher = twin

    @rule()
    def reset(self) -> None:
        self.matcher.reset()
        self.forks.clear()
        self.clear()

    @precondition(lambda self: not self.finished)
    @rule()
    def finish(self) -> None:
        held = self.matcher.held_back
        assert self.matcher.finish() == held
        assert not self.matcher.held_back
        self.finished = True
        self.forks.clear()

    @invariant()
    def check(self) -> None:
        if self.finished:
            return
        found = search(self.sequences, self.text)
        assert self.matcher.stop_index == (None if found is None else found[0])
        assert self.matcher.match_span == (None if found is None else found[1:])
        held = self.matcher.held_back
        if found is None:
            rest = withheld(self.sequences, self.text)
            assert self.shown == self.text[: len(self.text) - len(rest)]
            if isinstance(held, bytes):
                assert held == rest
            else:
                assert held == rest.decode("utf-8", "replace")
            assert self.matcher.position == len(self.text)
        else:
            _, start, end = found
            assert self.shown == self.text[: end if self.include_stop else start]
            assert not held
            assert self.matcher.match_start_char == len(self.text[:start].decode())
        self.shown.decode()  # whole characters only


TestMatcher = Matcher.TestCase


@given(SEQUENCES, st.text("ab€🙂", max_size=30), st.lists(st.integers(0, 120), max_size=8))
def test_chunks_change_nothing(sequences: list[str], text: str, cuts: list[int]) -> None:
    data = text.encode()
    whole, pieces = StopSequenceMatcher(sequences), StopSequenceMatcher(sequences)
    expected = whole.feed(data) + whole.finish()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    shown = b"".join(pieces.feed(data[a:b]) for a, b in itertools.pairwise(edges)) + pieces.finish()
    assert shown == expected
    assert pieces.match_span == whole.match_span and pieces.stop_index == whole.stop_index
