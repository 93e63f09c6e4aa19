"""Text out of tokens: whole characters, spaces as in the whole, stops that may and may not count."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Any

import pytest
from fairlead.models._output import ByteDecoder, Output, StopFilter, TextDecoder
from fairlead.tokenizer import TokenizerInfo
from hypothesis import given, settings
from hypothesis import strategies as st

tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("transformers")

from tests import tiny  # noqa: E402

KINDS = ["byte_level_bpe", "byte_fallback_bpe", "metaspace_unigram", "word_suffix_bpe"]
TEXT = st.text(alphabet=st.sampled_from('ab {}":,é東😀👍🏽\n\tквx1'), max_size=60)
_made: dict[str, Any] = {}


def tokenizer(kind: str) -> Any:
    if kind not in _made:
        _made[kind] = getattr(tiny, kind)()
    return _made[kind]


def decode_with(kind: str) -> Any:
    return lambda ids: tokenizer(kind).decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXT)
def test_pieces_add_up_to_the_whole(kind, text):
    ids = tokenizer(kind).encode(text, add_special_tokens=False)
    decoder = ByteDecoder(TokenizerInfo.from_huggingface(tokenizer(kind)))
    pieces = [decoder.push(token) for token in ids]
    assert "\ufffd" not in "".join(pieces)
    assert "".join(pieces) + decoder.finish() == decode_with(kind)(ids)


@given(text=st.text(alphabet=st.sampled_from("ab The quick,.!x1"), max_size=40))
def test_pieces_of_wordpiece_add_up_to_the_whole(text):
    ids = tokenizer("wordpiece").encode(text, add_special_tokens=False)
    decoder = TextDecoder(decode_with("wordpiece"))
    assert "".join(decoder.push(token) for token in ids) + decoder.finish() == decode_with("wordpiece")(ids)


@given(data=st.data())
def test_any_bytes_come_out_in_full(data):
    # A model with random weights writes bytes that are no text.
    size = len(tokenizer("byte_level_bpe"))
    ids = data.draw(st.lists(st.integers(0, size - 1), max_size=40))
    decoder = ByteDecoder(TokenizerInfo.from_huggingface(tokenizer("byte_level_bpe")))
    text = "".join(decoder.push(token) for token in ids) + decoder.finish()
    assert text == decode_with("byte_level_bpe")(ids)


def chars(text: str, cuts: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    return [text[a:b] for a, b in pairwise(edges)]


def first_that_counts(text: str, stops: list[str], allowed: Any) -> int | None:
    """Where the text ends: the match completed first (then the longest) whose beginning may be an end."""
    best: tuple[int, int] | None = None
    for stop in stops:
        at = text.find(stop)
        while at >= 0:
            if allowed(text[:at]):
                found = (at + len(stop), at)
                best = found if best is None else min(best, found)
            at = text.find(stop, at + 1)
    return None if best is None else best[1]


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet="ab", max_size=20),
    st.lists(st.text(alphabet="ab", min_size=1, max_size=3), max_size=3),
    st.lists(st.integers(0, 20), max_size=6),
)
def test_stops_equal_a_naive_search(text, stops, cuts):
    shown = StopFilter(stops)
    out = "".join(shown.feed(piece) for piece in chars(text, cuts))
    if not shown.matched:
        out += shown.finish()
    end = first_that_counts(text, stops, lambda before: True)
    assert out == shown.text == (text if end is None else text[:end])
    assert shown.matched == (end is not None)


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet="ab", max_size=20),
    # One length: which of several overlapping ones counts is then clear.
    st.lists(st.text(alphabet="ab", min_size=2, max_size=2), max_size=3),
    st.lists(st.integers(0, 20), max_size=6),
    st.integers(1, 4),
)
def test_stops_that_may_not_count_are_text(text, stops, cuts, modulus):
    def allowed(before: str) -> bool:
        return len(before) % modulus == modulus - 1

    shown = StopFilter(stops, allowed)
    out = "".join(shown.feed(piece) for piece in chars(text, cuts))
    if not shown.matched:
        out += shown.finish()
    end = first_that_counts(text, stops, allowed)
    assert out == shown.text == (text if end is None else text[:end])


def test_output_ends():
    info = TokenizerInfo([bytes([byte]) for byte in b"abcdefgh"])

    def run(ids: list[int], stops: list[str], limit: int = 99) -> tuple[str, Any, int]:
        pieces: list[str] = []
        output = Output(ByteDecoder(info), StopFilter(stops), lambda delta: pieces.append(delta.content), [7])
        for token in ids:
            if output.push([token]):
                break
        output.finish()
        assert "".join(pieces) == output.text
        return output.text, output.finish_reason(limit), output.tokens

    assert run([0, 1, 2], [], 3) == ("abc", "length", 3)
    assert run([0, 1, 2], []) == ("abc", "stop", 3)
    assert run([0, 7, 2], []) == ("a", "stop", 2)
    assert run([0, 1, 2], ["b"]) == ("a", "stop", 2)
    assert run([0, 1], ["bc"], 2) == ("ab", "length", 2)
    chunk = Output(ByteDecoder(info), StopFilter(["b"]), lambda delta: None, [7])
    assert chunk.push([0, 1, 2, 3]) and chunk.tokens == 2 and chunk.text == "a"


def test_cancelled():
    output = Output(TextDecoder(lambda ids: ""), StopFilter([]), lambda delta: None, [])
    threading.Thread(target=output.cancelled.set).start()
    output.cancelled.wait(1)
    assert output.push([1]) and output.finish_reason(9) == "cancelled"
