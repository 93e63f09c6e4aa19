"""Threads that share stop sequences, criteria's tokenizers, histories and images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fairlead import StopSequenceMatcher, TokenizerInfo
from fairlead._core import TokenStops
from fairlead.messages import ChatMessage, ChatMessageToolCall, ChatMessageToolCallFunction, MessageRole, clean_messages
from fairlead.streaming import ChatMessageStreamDelta, DeltaAccumulator

from tests.threads.test_engine_threads import at_once

TEXT = "one </co and two </code and no more ✅ than that Observ" * 30
STOPS = ["</code>", "Observation:", "\n\n", "✅✅"]


def test_forks_of_one_matcher() -> None:
    matcher = StopSequenceMatcher(STOPS)
    held = matcher.feed("</co")

    def work(number: int) -> Any:
        mine = matcher.fork()
        seen = [mine.feed(TEXT[at : at + 1 + number]) for at in range(0, len(TEXT), 1 + number)]
        seen.append(mine.feed("ation: behind"))
        return held + "".join(seen), mine.stop_sequence, mine.match_span

    assert set(at_once(work)) == {
        ("</co" + TEXT[: -len("Observ")], "Observation:", (4 + len(TEXT.encode()) - 6, 4 + len(TEXT.encode()) + 6))
    }


def test_one_matcher_that_others_read_reset_and_fork() -> None:
    matcher = StopSequenceMatcher(STOPS)

    def work(number: int) -> bool:
        for n in range(400):
            if number == 0 and n % 50 == 0:
                matcher.reset()
            shown = matcher.feed(TEXT[n : n + 7])
            assert isinstance(shown, str) and isinstance(matcher.held_back, str)
            fork = matcher.fork()
            assert fork.position >= 0 and (fork.stop_sequence is None or fork.matched)
        return True

    assert all(at_once(work))


def test_rows_of_token_ids_over_one_table() -> None:
    vocabulary: list[bytes | None] = [b"a", b"b", b"</co", b"de>", None]
    table = TokenizerInfo(vocabulary, stop_token_ids=[4]).decoded_vocab
    first = TokenStops(StopSequenceMatcher(["</code>"]), table, [4])

    def work(number: int) -> Any:
        row = first.fork()
        for _ in range(300):
            assert not row.push([0, 1, 2, 0])
        return row.push([number % 2, 2, 3, 0]), row.tokens, row.matcher.match_span

    assert set(at_once(work)) == {(True, 1203, (300 * 7 + 1, 300 * 7 + 8))}


def test_one_row_of_token_ids_read_by_all() -> None:
    row = TokenStops(StopSequenceMatcher(["never"]), [b"a", b"ne", b"v"], [])
    at_once(lambda number: [row.push([0, 1, 2]) for _ in range(500)])
    assert row.tokens == 8 * 500 * 3 and not row.matcher.matched
    assert row.matcher.position == 8 * 500 * 4


def test_criteria_with_one_tokenizer() -> None:
    torch = pytest.importorskip("torch")
    from fairlead import StopSequenceCriteria

    info = TokenizerInfo([b"a", b"b", b"</co", b"de>", None], stop_token_ids=[4])

    def work(number: int) -> list[bool]:
        criteria = StopSequenceCriteria(["</code>"], info)
        ids, answers = [0], []
        for token in [0, 1] * number + [2, 3]:
            ids.append(token)
            answers.append(bool(criteria(torch.tensor([ids]))))
        return answers

    assert at_once(work) == [[False] * (2 * number + 1) + [True] for number in range(8)]


def test_one_history_cleaned_by_all() -> None:
    call = ChatMessageToolCall(ChatMessageToolCallFunction({"query": "x"}, "search"), "call_1", "function")
    picture = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    history: list[Any] = []
    for n in range(50):
        history += [
            {
                "role": "user",
                "content": [{"type": "text", "text": f"question {n}"}, {"type": "image", "image": picture}],
            },
            ChatMessage(MessageRole.ASSISTANT, None, [call]),
            ChatMessage(MessageRole.ASSISTANT, f"answer {n}"),
        ]
    expected = clean_messages(history)
    for cleaned in at_once(lambda number: [clean_messages(history) for _ in range(5)]):
        assert all(one == expected for one in cleaned)
    assert history[1].content is None and history[0]["content"][1]["image"] is picture


def test_a_history_that_grows_while_it_is_cleaned() -> None:
    history: list[Any] = [{"role": "user", "content": "first"}]

    def work(number: int) -> bool:
        for n in range(200):
            if number == 0:
                history.append({"role": "assistant" if n % 2 else "user", "content": f"message {n}"})
            else:
                cleaned = clean_messages(history)
                assert cleaned[0]["content"].startswith("first") and len(cleaned) <= len(history) + 1
        return True

    assert all(at_once(work))


def test_accumulators_in_threads() -> None:
    def work(number: int) -> str:
        accumulator = DeltaAccumulator()
        for n in range(300):
            accumulator.add(ChatMessageStreamDelta(content=f"{number}.{n} "))
        return str(accumulator.message.content)

    assert at_once(work) == ["".join(f"{number}.{n} " for n in range(300)) for number in range(8)]
