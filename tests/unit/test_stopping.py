"""Stop sequences from Python: golden cases, types, filters, and the criterion for Transformers."""

from __future__ import annotations

import asyncio
import copy
import threading
import tomllib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fairlead import StopSequenceError, StopSequenceMatcher
from fairlead.stopping import StopSequenceCriteria, afilter_stream, filter_deltas, filter_stream

DATA = Path(__file__).parent.parent / "data" / "stop"


def golden(name: str) -> list[Any]:
    cases = tomllib.loads((DATA / name).read_text(encoding="utf-8"))["case"]
    return [pytest.param(case, id=case["name"]) for case in cases]


def run_golden(case: dict[str, Any], decode: Any) -> None:
    matcher = StopSequenceMatcher([decode(s) for s in case["stop"]], include_stop=case.get("include_stop", False))
    empty = decode("")
    for chunk, emitted, held in zip(case["chunks"], case["emitted"], case["held"], strict=True):
        assert matcher.feed(decode(chunk)) == decode(emitted)
        assert matcher.held_back == decode(held)
    assert matcher.stop_index == case.get("matched")
    assert matcher.matched == ("matched" in case)
    if matcher.matched:
        assert matcher.stop_sequence == decode(case["stop"][case["matched"]])
        assert matcher.match_span == tuple(case["span"])
        assert matcher.match_start_char == case["start_char"]
    else:
        assert matcher.match_span is matcher.match_start_char is matcher.stop_sequence is None
    assert matcher.finish() == decode(case.get("finish", ""))
    assert matcher.held_back == empty


@pytest.mark.parametrize("case", golden("text.toml"))
def test_golden_text(case: dict[str, Any]) -> None:
    run_golden(case, str)
    run_golden(case, str.encode)


@pytest.mark.parametrize("case", golden("bytes.toml"))
def test_golden_bytes(case: dict[str, Any]) -> None:
    run_golden(case, bytes.fromhex)


def test_a_piece_that_passes_whole_is_the_same_object() -> None:
    matcher = StopSequenceMatcher(["STOP"])
    text, data = "hello", b"hello"
    assert matcher.feed(text) is text
    assert matcher.feed(data) is data


def test_text_and_bytes_can_be_mixed() -> None:
    matcher = StopSequenceMatcher(["</s>", b"\xff\xff"])
    assert matcher.feed("a<") == "a"
    assert matcher.held_back == "<"
    assert matcher.feed(b"/") == b""
    assert matcher.held_back == b"</"
    assert matcher.feed("s") == ""
    assert matcher.feed(b">!") == b""
    assert matcher.stop_sequence == "</s>"
    matcher.reset()
    assert matcher.feed(b"x\xff") == b"x"
    assert matcher.feed(b"\xff") == b""
    assert matcher.stop_sequence == b"\xff\xff"


def test_an_unfinished_character_at_the_end_is_a_replacement_in_text() -> None:
    matcher = StopSequenceMatcher(["x"])
    assert matcher.feed("\u20ac".encode()[:2]) == b""
    assert matcher.feed("") == ""
    assert matcher.finish() == "\ufffd"


def test_lone_surrogates_pass() -> None:
    # Providers that cut a surrogate pair between two pieces send halves.
    matcher = StopSequenceMatcher(["STOP"])
    assert matcher.feed("a\ud83d") == "a\ud83d"
    assert matcher.feed("\ude00 S") == "\ude00 "
    assert matcher.feed("\ud83dTOP") == "S\ud83dTOP"


def test_bad_input() -> None:
    with pytest.raises(StopSequenceError, match="sequence 1 is empty"):
        StopSequenceMatcher(["a", ""])
    with pytest.raises(ValueError):
        StopSequenceMatcher([b""])
    with pytest.raises(TypeError, match="not a single one"):
        StopSequenceMatcher("STOP")
    with pytest.raises(TypeError, match="str or bytes, not int"):
        StopSequenceMatcher([1])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="str or bytes, not NoneType"):
        StopSequenceMatcher(["a"]).feed(None)  # type: ignore[call-overload]
    assert StopSequenceMatcher(None).feed("x") == "x"


def test_fork_and_reset() -> None:
    matcher = StopSequenceMatcher(["abc"])
    matcher.feed("xab")
    twin, other = matcher.fork(), copy.deepcopy(matcher)
    assert matcher.feed("c") == "" and matcher.matched
    assert twin.feed("d") == "abd" and not twin.matched
    assert other.held_back == "ab"
    matcher.reset()
    assert not matcher.matched and matcher.held_back == "" and matcher.position == 0
    assert matcher.feed("abd") == "abd"
    assert repr(matcher) == "StopSequenceMatcher(['abc'], include_stop=False)"
    assert matcher.stop_sequences == ["abc"] and matcher.include_stop is False


def test_positions() -> None:
    matcher = StopSequenceMatcher(["STOP"])
    matcher.feed("ä€S")
    assert (matcher.position, matcher.position_char) == (6, 3)
    matcher.feed("TOP, dropped")
    assert matcher.match_span == (5, 9) and matcher.match_start_char == 2
    assert matcher.position == 9


def test_one_matcher_per_thread_over_shared_sequences() -> None:
    base = StopSequenceMatcher(["STOP", "</s>"])
    barrier = threading.Barrier(8)
    results: list[str] = []

    def work() -> None:
        matcher = base.fork()
        barrier.wait()
        for _ in range(200):
            matcher.reset()
            shown = "".join([matcher.feed(c) for c in "some text <STOP> and more"])
            results.append(shown)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["some text <"] * 1600


def test_one_matcher_fed_by_many_threads_stays_whole() -> None:
    matcher = StopSequenceMatcher(["never"])

    def work() -> None:
        for _ in range(2000):
            matcher.feed("abc ")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert matcher.position == 4 * 2000 * 4


# --- filters ----------------------------------------------------------------------------------------------------------


class Source:
    """An iterator that knows whether it was closed."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = iter(pieces)
        self.closed = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self.pieces)

    def close(self) -> None:
        self.closed = True


def test_filter_stream() -> None:
    source = Source(["a", "b</", "co", "de", "> tail", "more"])
    assert "".join(filter_stream(source, ["</code>"])) == "ab"
    assert source.closed
    assert list(source) == ["more"]
    assert list(filter_stream(["a<", "/"], ["</code>"])) == ["a", "</"]
    assert list(filter_stream([b"a", b"", b"b"], None)) == [b"a", b"b"]
    assert "".join(filter_stream(["x END y"], ["END"], include_stop=True)) == "x END"


def test_filter_stream_with_a_matcher_tells_what_matched() -> None:
    matcher = StopSequenceMatcher(["</code>"])
    assert "".join(filter_stream(["x</code>"], matcher)) == "x"
    assert matcher.stop_sequence == "</code>"


def test_filter_stream_refuses_at_the_call() -> None:
    with pytest.raises(StopSequenceError):
        filter_stream(["a"], [""])


def test_a_consumer_that_leaves_closes_the_source() -> None:
    source = Source(["a", "b"])
    stream = filter_stream(source, ["z"])
    assert next(stream) == "a"
    stream.close()  # type: ignore[attr-defined]
    assert source.closed


def test_afilter_stream() -> None:
    closed = []

    async def source() -> AsyncIterator[str]:
        try:
            for piece in ["a</", "code> b", "c"]:
                yield piece
        finally:
            closed.append(True)

    async def main() -> list[str]:
        return [piece async for piece in afilter_stream(source(), ["</code>"])]

    assert asyncio.run(main()) == ["a"]
    assert closed == [True]


@dataclass
class Delta:
    content: str | None = None
    tool_calls: list[Any] | None = None
    token_usage: str | None = None


def test_filter_deltas() -> None:
    deltas = [Delta("a<"), Delta("/co"), Delta("b"), Delta("", token_usage="u")]
    before = copy.deepcopy(deltas)
    assert list(filter_deltas(deltas, ["</code>"])) == [Delta("a"), Delta("</cob"), Delta("", token_usage="u")]
    assert deltas == before


def test_filter_deltas_puts_withheld_text_before_the_usage() -> None:
    deltas = [Delta("a<"), Delta("", token_usage="u")]
    assert list(filter_deltas(deltas, ["</code>"])) == [Delta("a"), Delta("<"), Delta("", token_usage="u")]
    assert list(filter_deltas([Delta("a<")], ["</code>"])) == [Delta("a"), Delta("<")]


def test_filter_deltas_stops_or_drains() -> None:
    deltas = [Delta("a"), Delta("STOP b"), Delta("c"), Delta("", token_usage="u")]
    assert list(filter_deltas(deltas, ["STOP"])) == [Delta("a")]
    assert list(filter_deltas(deltas, ["STOP"], drain=True)) == [Delta("a"), Delta("", token_usage="u")]
    deltas = [Delta("xSTOP", token_usage="u")]
    assert list(filter_deltas(deltas, ["STOP"])) == [Delta("x", token_usage="u")]


# --- the criterion for Transformers -----------------------------------------------------------------------------------

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

TOKENS: list[bytes | None] = [
    None,  # 0: end of text, and padding
    *(bytes([c]) for c in b"abcdefg<>/ "),
    b"ab",
    b"</co",
    b"de>",
    b"x</code>y",
    "€".encode()[:2],
    "€".encode()[2:],
]
ID = {token: i for i, token in enumerate(TOKENS) if token is not None}


@pytest.fixture
def info() -> Any:
    from fairlead import tokenizer

    return tokenizer.TokenizerInfo(TOKENS, stop_token_ids=[0])


def ids_of(*pieces: str | bytes) -> list[int]:
    return [ID[piece if isinstance(piece, bytes) else piece.encode()] for piece in pieces]


def generate(criteria: StopSequenceCriteria, prompts: list[list[int]], outputs: list[list[int]]) -> list[list[bool]]:
    """Calls the criterion as a greedy loop does, one token at a time."""
    results = []
    for n in range(1, max(map(len, outputs)) + 1):
        rows = [p + (o[:n] + [0] * n)[:n] for p, o in zip(prompts, outputs, strict=True)]
        result = criteria(torch.tensor(rows), None)
        assert result.dtype == torch.bool and tuple(result.shape) == (len(prompts),)
        results.append(result.tolist())
    return results


def test_across_tokens_and_inside_a_token(info: Any) -> None:
    criteria = StopSequenceCriteria(["</code>"], info)
    assert generate(criteria, [ids_of("a")], [ids_of("b", "</co", "de>")]) == [[False], [False], [True]]
    stop = criteria.stops[0]
    assert stop is not None
    assert (stop.stop_sequence, stop.start, stop.end, stop.start_char, stop.tokens) == ("</code>", 1, 8, 1, 3)
    criteria = StopSequenceCriteria(["</code>"], info)
    assert generate(criteria, [ids_of("a")], [ids_of("a", "x</code>y")]) == [[False], [True]]
    assert criteria.stops[0] is not None and criteria.stops[0].start == 2


def test_the_prompt_takes_no_part(info: Any) -> None:
    criteria = StopSequenceCriteria(["</code>"], info)
    # "</co" ends the prompt; "de>" begins the output: no match. A match in the prompt alone is none either.
    assert generate(criteria, [ids_of("x</code>y", "</co")], [ids_of("de>", "a")]) == [[False], [False]]


def test_rows_stop_by_themselves(info: Any) -> None:
    criteria = StopSequenceCriteria(["ab", "g"], info)
    got = generate(criteria, [[0, ID[b"a"]], ids_of("a", "a")], [ids_of("c", "g", "g"), ids_of("a", "c", "ab")])
    assert got == [[False, False], [True, False], [True, True]]
    assert [stop.stop_index if stop else None for stop in criteria.stops] == [1, 0]
    assert [stop.start if stop else None for stop in criteria.stops] == [1, 2]


def test_a_chunk_of_several_tokens(info: Any) -> None:
    # Assisted decoding hands several tokens at once; those behind the stop are there already.
    criteria = StopSequenceCriteria(["</code>"], info, prompt_length=1)
    prompt = ids_of("a")
    assert criteria(torch.tensor([prompt + ids_of("a", "b")]), None).tolist() == [False]
    assert criteria(torch.tensor([prompt + ids_of("a", "b", "</co", "de>", "a", "a")]), None).tolist() == [True]
    stop = criteria.stops[0]
    assert stop is not None and (stop.tokens, stop.start) == (4, 2)


def test_beams_change_places(info: Any) -> None:
    criteria = StopSequenceCriteria(["</code>"], info)
    p, a, co, de = ids_of("a", "b", "</co", "de>")
    assert criteria(torch.tensor([[p, co], [p, a], [p, de]]), None).tolist() == [False] * 3
    # The rows now go on from the second, the first, and the first row again.
    assert criteria(torch.tensor([[p, a, de], [p, co, de], [p, co, a]]), None).tolist() == [False, True, False]
    # Fewer rows than before.
    assert criteria(torch.tensor([[p, co, a, co], [p, a, de, co]]), None).tolist() == [False, False]
    assert criteria(torch.tensor([[p, co, a, co, de], [p, a, de, co, a]]), None).tolist() == [True, False]


def test_a_second_generation_begins_anew(info: Any) -> None:
    criteria = StopSequenceCriteria(["</code>"], info)
    generate(criteria, [ids_of("a", "b")], [ids_of("a", "</co")])
    # Shorter, or of the same length with another last id, or longer after a stop.
    assert generate(criteria, [ids_of("c")], [ids_of("de>", "b", "c")]) == [[False]] * 3
    assert generate(criteria, [ids_of("d", "d")], [ids_of("</co", "de>")]) == [[False], [True]]
    assert generate(criteria, [ids_of("d", "d", "</co", "de>", "a", "a")], [ids_of("b")]) == [[False]]
    assert criteria.stops == [None]
    criteria.reset()
    assert criteria.stops == [] and criteria.prompt_length is None


def test_what_a_caller_writes_into_an_answer_stays_his(info: Any) -> None:
    for rows in (1, 3):
        criteria = StopSequenceCriteria(["</code>"], info)
        ids = torch.tensor([ids_of("a")] * rows)
        for _ in range(4):
            ids = torch.cat([ids, torch.tensor([ids_of("b")] * rows)], 1)
            with torch.inference_mode():
                done = criteria(ids, None)
                assert done.tolist() == [False] * rows
                done |= True
        assert criteria.stops == [None] * rows


def test_ids_of_any_layout_are_followed(info: Any) -> None:
    text = ids_of("a", "b", "a", "</co", "de>")
    wide = torch.tensor([text, text])
    layouts = {
        "a view of a wider tensor": lambda n: wide[:1, :n],
        "int32": lambda n: wide[:1, :n].int(),
        "not contiguous": lambda n: wide.T.contiguous().T[:1, :n],
        "in turns": lambda n: wide[:1, :n] if n % 2 else wide.T.contiguous().T[:1, :n],
    }
    for layout in layouts.values():
        criteria = StopSequenceCriteria(["</code>"], info)
        assert [criteria(layout(n), None).tolist() for n in range(2, 6)] == [[False], [False], [False], [True]]
        stop = criteria.stops[0]
        assert stop is not None and (stop.start, stop.end, stop.tokens) == (2, 9, 4)
        # The same ids again bring nothing new; fewer begin anew.
        assert criteria(layout(5), None).tolist() == [True]
        assert criteria(layout(2), None).tolist() == [False]


def test_a_batch_of_any_layout(info: Any) -> None:
    # What lies across is read by a copy, as from a GPU.
    both = torch.tensor([ids_of("a", "b", "</co", "de>", "a"), ids_of("a", "a", "b", "a", "b")])
    for layout in (lambda n: both[:, :n], lambda n: both.T.contiguous().T[:, :n]):
        criteria = StopSequenceCriteria(["</code>"], info)
        got = [criteria(layout(n), None).tolist() for n in range(2, 6)]
        assert got == [[False, False], [False, False], [True, False], [True, False]]
        # The rows change places, as beams do.
        swapped = torch.cat([layout(5).flip(0), torch.tensor([ids_of("b"), ids_of("b")])], 1)
        assert criteria(swapped, None).tolist() == [False, True]
        assert criteria.stops[1] is not None and criteria.stops[1].end == 8


def test_token_ids_and_characters(info: Any) -> None:
    criteria = StopSequenceCriteria([], info, stop_token_ids=[ID[b"g"]])
    half, rest = "€".encode()[:2], "€".encode()[2:]
    got = generate(criteria, [ids_of("a")], [ids_of(half, rest, "a", "g")])
    assert got == [[False], [False], [False], [True]]
    stop = criteria.stops[0]
    assert stop is not None and (stop.token_id, stop.stop_sequence, stop.start, stop.start_char) == (
        ID[b"g"],
        None,
        4,
        2,
    )
    criteria = StopSequenceCriteria(["€"], info)
    assert generate(criteria, [ids_of(half)], [ids_of(rest, half, rest)]) == [[False], [False], [True]]


def test_an_empty_sequence_is_refused(info: Any) -> None:
    with pytest.raises(StopSequenceError):
        StopSequenceCriteria([""], info)


def test_a_tokenizer_without_exact_bytes_is_decoded() -> None:
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    words = ["[UNK]", "he", "##llo", "stop", "##ping", "here"]
    inner = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    inner.decoder = decoders.WordPiece()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]")
    criteria = StopSequenceCriteria(["lo stop"], tokenizer)
    assert generate(criteria, [[5]], [[1, 2, 3, 4]]) == [[False], [False], [True], [True]]
    stop = criteria.stops[0]
    assert stop is not None and stop.start == 3


def test_a_special_token_named_as_a_stop_sequence_stops() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE({"a": 0, "b": 1, "Ġ": 2}, []))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    criteria = StopSequenceCriteria(["<|im_end|>", "ab"], tokenizer)
    assert generate(criteria, [[0]], [[1, end]]) == [[False], [True]]
    criteria.reset()
    assert generate(criteria, [[0]], [[1, 0, 1]]) == [[False], [False], [True]]


def test_in_generate() -> None:
    from fairlead.tokenizer import TokenizerInfo
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    info = TokenizerInfo([None, *(bytes([i]) for i in range(1, 128))], stop_token_ids=[0])
    prompt = torch.tensor([[65, 66, 67]])
    free = model.generate(prompt, max_new_tokens=12, do_sample=False)[0, 3:].tolist()
    stop = bytes(free[5:7])
    first = bytes(free).find(stop)
    for extra in ({}, {"num_beams": 3}, {"prompt_lookup_num_tokens": 2}):
        criteria = StopSequenceCriteria([stop], info, prompt_length=3)
        got = model.generate(prompt, max_new_tokens=12, do_sample=False, stopping_criteria=[criteria], **extra)
        if extra.get("num_beams") is None:
            found = criteria.stops[0]
            assert found is not None and found.start == first
            assert bytes(got[0, 3 : 3 + found.tokens].tolist()) == bytes(free)[: first + 2]
