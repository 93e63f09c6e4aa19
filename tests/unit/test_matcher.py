"""The matcher from Python: ends of sentences, buffers that masks are written into, bad input, and typed errors."""

from __future__ import annotations

from array import array
from functools import cache
from typing import Any

import numpy as np
import pytest
from fairlead._core import (
    CompiledGrammar,
    Compiler,
    Grammar,
    GrammarMatcher,
    Vocabulary,
    allocate_token_bitmask,
    fill_batch,
)

TEXT = [bytes([b]) for b in range(256)]
TOKENS: list[bytes | None] = [*TEXT, None, b"ab", b"", b"<end>", b"ab"]
STOPS = [256, 259]
SIZE = 300
WORDS = 10
PAIR, EMPTY, TWIN = 257, 258, 260


@cache
def compiler() -> Compiler:
    return Compiler(Vocabulary(TOKENS, stop_token_ids=STOPS, vocab_size=SIZE))


def compiled(pattern: str) -> CompiledGrammar:
    return compiler().compile(Grammar.regex(pattern))


def matcher(pattern: str, **options: Any) -> GrammarMatcher:
    return GrammarMatcher(compiled(pattern), **options)


def allowed(matcher: GrammarMatcher) -> set[int]:
    row = np.full(WORDS, 0x55555555, dtype=np.int32)
    matcher.fill_next_token_bitmask(row)
    return set(np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little")).tolist())


def test_masks_name_the_tokens_that_may_follow() -> None:
    one = matcher("abc?")
    assert allowed(one) == {ord("a"), PAIR, TWIN}
    assert one.accept_token(TWIN)
    assert allowed(one) == {ord("c"), *STOPS} and one.is_completed()
    assert one.accept_token(ord("c"))
    assert allowed(one) == set(STOPS)


@pytest.mark.parametrize("stop", STOPS)
def test_stop_tokens_end_exactly_complete_texts(stop: int) -> None:
    one = matcher("ab?")
    assert not one.accept_token(stop) and not one.is_terminated()
    assert one.accept_token(ord("a")) and one.is_completed() and not one.is_terminated()
    assert one.accept_token(stop) and one.is_terminated()
    assert allowed(one) == set(STOPS)
    assert one.accept_token(STOPS[0]) and one.accept_token(STOPS[1])
    assert not one.accept_token(ord("b")) and not one.accept_string("b") and one.is_terminated()
    one.rollback(1)
    assert not one.is_terminated() and one.accept_token(ord("b"))
    one.reset()
    assert not one.is_terminated() and not one.is_completed() and allowed(one) == {ord("a"), PAIR, TWIN}


def test_special_empty_and_padding_tokens_are_never_allowed() -> None:
    one = matcher("(?s).*")
    ids = allowed(one)
    assert EMPTY not in ids and not any(i in ids for i in range(261, SIZE))
    for token in (EMPTY, 261, SIZE - 1):
        assert not one.accept_token(token)
        assert "refused" in one.explain(token)


def test_ids_outside_of_the_vocabulary_are_an_error() -> None:
    one = matcher("a+")
    for token in (-1, SIZE, 2**31, 2**40, -(2**40)):
        with pytest.raises(IndexError):
            one.accept_token(token)
        with pytest.raises(IndexError):
            one.explain(token)
    for wrong in ("a", None, 1.5):
        with pytest.raises(TypeError):
            one.accept_token(wrong)  # type: ignore[arg-type]
    assert one.accept_token(ord("a"))


def test_strings_and_bytes_are_accepted_as_one_step() -> None:
    one = matcher("é{2}ab")
    assert one.accept_string("é") and one.accept_string("é".encode()[:1]) and one.accept_string("é".encode()[1:])
    assert not one.accept_string("ax") and not one.accept_string("aba")
    assert one.accept_string("ab") and one.is_completed()
    one.rollback(2)
    assert one.accept_string(b"\xa9ab")
    assert one.accept_string("") and not one.accept_string("x")
    for wrong in (3, None, bytearray(b"a"), ["a"]):
        with pytest.raises(TypeError):
            one.accept_string(wrong)  # type: ignore[arg-type]
    with pytest.raises(UnicodeEncodeError):
        one.accept_string("\ud800")


def test_rollback() -> None:
    one = matcher("a*")
    for _ in range(10):
        assert one.accept_token(ord("a"))
    one.rollback(0)
    one.rollback()
    one.rollback(9)
    with pytest.raises(ValueError, match="cannot take back 1"):
        one.rollback(1)
    for wrong in (-1, 2**70):
        with pytest.raises(OverflowError):
            one.rollback(wrong)
    few = matcher("a*", max_rollback_tokens=2)
    for _ in range(10):
        few.accept_token(ord("a"))
    with pytest.raises(ValueError):
        few.rollback(3)
    few.rollback(2)
    none = matcher("a*", max_rollback_tokens=0)
    none.accept_token(ord("a"))
    with pytest.raises(ValueError):
        none.rollback(1)
    with pytest.raises(ValueError):
        matcher("a", max_rollback_tokens=-2)


def test_fork_goes_its_own_way() -> None:
    one = matcher("(ab|ac)+")
    assert one.accept_token(ord("a"))
    two = one.fork()
    assert one.mask_id() == two.mask_id()
    assert two.accept_token(ord("b")) and not one.is_completed() and two.is_completed()
    assert one.accept_token(ord("c"))
    two.rollback(2)
    assert allowed(two) == {ord("a"), PAIR, TWIN}


def test_a_text_that_needs_no_stop_token() -> None:
    one = matcher("ab|abc", terminate_without_stop_token=True)
    assert one.accept_token(PAIR) and one.is_completed() and not one.is_terminated()
    assert one.accept_token(ord("c")) and one.is_terminated()
    one.rollback(1)
    assert not one.is_terminated() and one.accept_token(STOPS[0]) and one.is_terminated()


def test_forced_text() -> None:
    one = matcher("(foo: |bar)é{2}x?")
    assert one.find_jump_forward_string() == ""
    one.accept_token(ord("f"))
    assert one.find_jump_forward_string() == "oo: éé"
    assert one.accept_string(one.find_jump_forward_string()) and one.find_jump_forward_string() == ""
    # A character that isn't finished by what is forced is left out.
    assert matcher("a[éè]").find_jump_forward_string() == "a"
    assert len(matcher("a{2000000000}").find_jump_forward_string()) < 10_000_000


def test_forced_tokens_without_a_tokenizer() -> None:
    words = [b"f", b"o", b"fo", b"oo", b": ", b":", b"x", b" ", b": y", b"<s>"]
    small = Compiler(Vocabulary([*words, b"<e>"], stop_token_ids=[len(words)]))

    def forced(pattern: str) -> list[bytes]:
        one = GrammarMatcher(small.compile(Grammar.regex(pattern)))
        return [words[token] for token in one.find_jump_forward_tokens()]

    # The longest each; ": " isn't certain, since ": y" might be what a tokenizer writes.
    assert forced("foo: (x|f)") == [b"fo", b"o"]
    assert forced("foo: x(x|f)") == [b"fo", b"o", b": ", b"x"]
    assert forced("foo?") == [b"fo"] and forced("x|f") == [] and forced("ox?") == []


def test_forced_tokens_are_those_of_the_tokenizer_but_for_the_last() -> None:
    def pairs(text: str) -> list[int]:
        """Spells "ab" as one token wherever it stands."""
        out: list[int] = []
        for byte in text.encode():
            out[-1:] = [PAIR] if byte == ord("b") and out[-1:] == [ord("a")] else [*out[-1:], byte]
        return out

    one = matcher("c|xabab(c|ab)")
    assert one.forced_tokens(pairs) == []
    assert one.accept_token(ord("x")) and one.find_jump_forward_string() == "abab"
    assert one.forced_tokens(pairs) == [PAIR]
    assert one.accept_token(PAIR) and one.accept_token(ord("a"))
    # A spelling that writes something else, or that the grammar refuses, is relied on up to there.
    assert one.forced_tokens(lambda text: [ord("x"), ord("b")]) == []
    one.rollback(1)
    assert one.forced_tokens(lambda text: [ord("a"), ord("b"), ord("c")]) == [ord("a"), ord("b")]
    with pytest.raises(IndexError, match="outside"):
        one.forced_tokens(lambda text: [10**9, 1])
    with pytest.raises(RuntimeError, match="no tokenizer"):
        one.forced_tokens(no_tokenizer)


def no_tokenizer(text: str) -> list[int]:
    raise RuntimeError("no tokenizer")


def test_explain_says_why() -> None:
    one = matcher("[0-9]{2}")
    assert one.explain(ord("1")).startswith("allowed")
    assert "0-9" in one.explain(ord("x")) and one.explain(ord("x")).startswith("refused")
    assert one.explain(STOPS[0]).startswith("refused")
    assert one.accept_string("12") and one.explain(STOPS[0]).startswith("allowed")


@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize("kind", ["own", "numpy", "memoryview", "torch"])
def test_every_word_of_one_row_is_written(kind: str, index: int) -> None:
    one = matcher("a|ab")
    expected = np.zeros(WORDS, dtype=np.int32)
    for token in (ord("a"), PAIR, TWIN):
        expected[token // 32] |= np.int32(1 << token % 32) if token % 32 < 31 else np.int32(-(2**31))
    rows = np.full((3, WORDS), -1, dtype=np.int32)
    if kind == "own":
        own = allocate_token_bitmask(3, SIZE)
        assert one.fill_next_token_bitmask(own, index) is True
        rows = np.where(np.arange(3)[:, None] == index, np.asarray(own.numpy()), rows)
    elif kind == "numpy":
        assert one.fill_next_token_bitmask(rows, index) is True
    elif kind == "memoryview":
        one.fill_next_token_bitmask(memoryview(rows), index)
    else:
        torch = pytest.importorskip("torch")
        one.fill_next_token_bitmask(torch.from_numpy(rows), index)
    assert np.array_equal(rows[index], expected)
    assert all((row == -1).all() for i, row in enumerate(rows) if i != index)


def test_a_row_may_stand_alone() -> None:
    row = np.full(WORDS, -1, dtype=np.int32)
    matcher("a").fill_next_token_bitmask(row)
    assert np.count_nonzero(row) == 1
    plain = array("i", [-1] * WORDS)
    matcher("a").fill_next_token_bitmask(plain)
    assert list(plain) == row.tolist()


BAD: list[tuple[Any, int]] = [
    (np.zeros((2, WORDS), dtype=np.int32), 2),
    (np.zeros((2, WORDS), dtype=np.int32), -1),
    (np.zeros((2, WORDS - 1), dtype=np.int32), 0),
    (np.zeros((2, WORDS), dtype=np.int64), 0),
    (np.zeros((2, WORDS), dtype=np.float32), 0),
    (np.zeros((2, WORDS), dtype=np.int16), 0),
    (np.zeros((1, 2, WORDS), dtype=np.int32), 0),
    (np.zeros((2, 0), dtype=np.int32), 0),
    (np.zeros((0, WORDS), dtype=np.int32), 0),
    (np.zeros((WORDS, 2), dtype=np.int32).T, 0),
    (np.zeros((2, WORDS), dtype=np.dtype(">i4")), 0),
    (np.broadcast_to(np.zeros(WORDS, dtype=np.int32), (2, WORDS)), 0),
    (bytes(4 * WORDS), 0),
    (None, 0),
    ([0] * WORDS, 0),
    ("mask", 0),
]


@pytest.mark.parametrize(("bitmask", "index"), BAD, ids=range(len(BAD)))
def test_wrong_buffers_are_refused(bitmask: Any, index: int) -> None:
    one = matcher("a")
    with pytest.raises((TypeError, ValueError, IndexError, BufferError, OverflowError)):
        one.fill_next_token_bitmask(bitmask, index)
    assert allowed(one) == {ord("a")}


def test_wrong_tensors_are_refused() -> None:
    torch = pytest.importorskip("torch")
    one = matcher("a")
    for bad in (
        torch.zeros(2, WORDS, dtype=torch.int64),
        torch.zeros(2, WORDS),
        torch.zeros(2, WORDS - 1, dtype=torch.int32),
        torch.zeros(WORDS, 2, dtype=torch.int32).T,
        torch.zeros(2, WORDS, dtype=torch.int32, device="meta"),
    ):
        with pytest.raises((TypeError, ValueError, BufferError, RuntimeError)):
            one.fill_next_token_bitmask(bad, 0)


def test_a_read_only_buffer_is_refused() -> None:
    row = np.zeros(WORDS, dtype=np.int32)
    row.flags.writeable = False
    with pytest.raises((ValueError, BufferError, TypeError)):
        matcher("a").fill_next_token_bitmask(row)


def test_batches() -> None:
    matchers = [matcher(pattern) for _ in range(5) for pattern in ("a", "b+", "(?s).*", "ab")]
    rows = np.full((21, WORDS), 7, dtype=np.int32)
    fill_batch([*matchers[:3], None, *matchers[4:]], rows)
    for i, (row, one) in enumerate(zip(rows, matchers, strict=False)):
        single = np.zeros(WORDS, dtype=np.int32)
        one.fill_next_token_bitmask(single)
        assert np.array_equal(row, np.full(WORDS, 7) if i == 3 else single)
    assert (rows[-1] == 7).all()
    for nothing in ([], [None], [None, None]):
        rows[:] = 7
        fill_batch(nothing, rows)
        assert (rows == 7).all()
    with pytest.raises(ValueError, match="twice"):
        fill_batch([matchers[0], matchers[0]], rows)
    with pytest.raises(IndexError):
        fill_batch(matchers, rows[:3])
    other = GrammarMatcher(Compiler(Vocabulary(TEXT, stop_token_ids=[0])).compile(Grammar.regex("a")))
    with pytest.raises(ValueError, match="vocabulary"):
        fill_batch([matchers[0], other], rows)
    for wrong in ([3], ["a"], 3):
        with pytest.raises(TypeError):
            fill_batch(wrong, rows)  # type: ignore[arg-type]


def test_a_matcher_needs_a_compiled_grammar() -> None:
    for wrong in (None, "a", Grammar.json()):
        with pytest.raises(TypeError):
            GrammarMatcher(wrong)  # type: ignore[arg-type]


def test_a_long_text_costs_no_more_at_its_end() -> None:
    one = GrammarMatcher(compiler().compile(Grammar.json()), max_rollback_tokens=4)
    assert one.accept_string("[" * 2000)
    assert one.accept_string('{"a":' * 2000 + "1" + "}" * 2000 + "]" * 1999)
    assert not one.is_completed() and one.accept_token(ord("]")) and one.is_completed()


def test_keys_never_repeat() -> None:
    one = GrammarMatcher(compiler().compile(Grammar.json_schema({"type": "object"})))
    assert one.accept_string('{"ab":1,"b":2,"')
    # `a"` and `ab` are still possible; the quote after `ab` is not.
    assert {ord("a"), PAIR} <= allowed(one)
    first = one.mask_id()
    assert one.accept_token(PAIR)
    assert ord('"') not in allowed(one) and ord("c") in allowed(one)
    one.rollback(1)
    assert one.mask_id() == first and one.accept_string('ac"')


def test_keys_that_run_out_are_not_begun() -> None:
    tokens: list[bytes | None] = [*TEXT, None, b'{"', b'":', b'"00', b',"0', b'1,"00', b'1},"', b'"01', b"00", b"001"]
    numbered = {"type": "object", "patternProperties": {"^[0-9]{3}$": {"const": 1}}, "additionalProperties": False}
    schema = {"type": "object", "properties": {"o": numbered, "p": numbered}, "additionalProperties": False}
    vocabulary = Vocabulary(tokens, stop_token_ids=[256], vocab_size=len(tokens))
    compiled = Compiler(vocabulary).compile(Grammar.json_schema(schema, whitespace="compact"))
    one, other = GrammarMatcher(compiled), GrammarMatcher(compiled)

    def exactly(matcher: GrammarMatcher) -> set[int]:
        fine = {token for token in range(len(tokens)) if matcher.fork().accept_token(token)}
        assert allowed(matcher) == fine
        return fine

    # Ten keys begin with `00`; once they are written, no other does.
    written = '{"o":{' + ",".join(f'"00{i}":1' for i in range(10)) + ',"0'
    for byte in written.encode():
        assert byte in exactly(one) and one.accept_token(byte)
    assert ord("0") not in exactly(one) and {ord("1"), ord("9")} <= exactly(one)
    # Behind that object they are of no account any more.
    assert one.accept_string('10":1}') and other.accept_string('{"o":{}')
    assert one.mask_id() == other.mask_id()
    assert one.accept_string(',"p":{"') and {ord("0"), tokens.index(b"001")} <= exactly(one)
