"""The bookkeeping of LogitsProcessor, call by call, against masks that are computed from scratch."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np
import pytest
from fairlead import _core
from fairlead import logits_processor as lp
from fairlead.errors import ConfigurationError, GrammarError
from fairlead.logits_processor import LogitsProcessor
from fairlead.tokenizer import TokenizerInfo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import fake_engine

torch = pytest.importorskip("torch")

# Ids 0-7 are text, 8 is padding, 9 and 10 end a text.
TOKENS: list[str | None] = ["a", "b", "ab", "ba", "aa", "c", "bc", "x", None, None, None]
STOP = [9, 10]
INFO = TokenizerInfo(TOKENS, stop_token_ids=STOP)
TEXTS = ["aabbc", "abab", "abc", "bab", "aaaa", "aa"]
OTHER = ["cccc", "ccab", "c"]


ENGINE = {"compile": fake_engine.CompiledGrammar}


@pytest.fixture(autouse=True, params=["plain", "engine"])
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine in plain Python, whose calls can be counted, and the real one."""
    fake_engine.GrammarMatcher.made = fake_engine.GrammarMatcher.forked = 0
    if request.param == "plain":
        monkeypatch.setattr(lp, "_new_matcher", fake_engine.GrammarMatcher)
    else:
        monkeypatch.setitem(ENGINE, "compile", _compile)


@cache
def _compiler(info: TokenizerInfo) -> Any:
    return _core.Compiler(info.vocabulary)


def _compile(info: TokenizerInfo, texts: list[str]) -> Any:
    return _compiler(info).compile(_core.Grammar.choice(texts))


def grammar(texts: list[str] = TEXTS, info: TokenizerInfo = INFO) -> Any:
    return ENGINE["compile"](info, texts)


def plain(texts: list[str]) -> Any:
    return fake_engine.CompiledGrammar(INFO, texts)


def expected(generated: list[int], texts: list[str] = TEXTS, width: int = len(TOKENS)) -> list[bool]:
    """The allowed ids after some generated tokens, from scratch."""
    compiled = plain(texts)
    matcher = fake_engine.GrammarMatcher(compiled)
    out = np.zeros(width, dtype=np.bool_)
    for token in generated:
        if token in STOP or not matcher.accept_token(token):
            out[STOP] = True
            return list(out)
    out[: len(TOKENS)] = compiled.allowed(matcher.history[-1])
    return list(out)


def call(processor: Any, rows: list[list[int]], width: int = len(TOKENS)) -> list[list[bool]]:
    """One call with random scores; the allowed ids of each row."""
    scores = torch.randn(len(rows), width)
    out = processor(torch.tensor(rows), scores)
    assert out is not scores
    allowed = ~torch.isneginf(out)
    assert torch.equal(out[allowed], scores[allowed])
    return [list(row) for row in allowed.numpy()]


PROMPT = [7, 7, 5]


def test_greedy_takes_one_matcher_and_no_fork() -> None:
    processor = LogitsProcessor(grammar())
    generated: list[int] = []
    for token in (0, 0, 1, 1, 5, 9, 8, 8):
        assert call(processor, [PROMPT + generated]) == [expected(generated)]
        generated.append(token)
    assert call(processor, [PROMPT + generated])[0] == [i in STOP for i in range(len(TOKENS))]
    assert fake_engine.GrammarMatcher.forked == 0
    assert processor.mask_seconds > 0


def test_batch_with_a_grammar_per_row_and_a_free_row() -> None:
    processor = LogitsProcessor([grammar(), None, grammar(OTHER)])
    rows = [[], [], []]
    for tokens in ((0, 7, 5), (2, 7, 5), (1, 9, 0), (5, 8, 1), (8, 8, 9)):
        got = call(processor, [PROMPT + row for row in rows])
        assert got == [expected(rows[0]), [True] * len(TOKENS), expected(rows[2], OTHER)]
        for row, token in zip(rows, tokens, strict=True):
            row.append(token)


def test_grammars_cover_their_share_of_the_rows() -> None:
    processor = LogitsProcessor([grammar(), grammar(OTHER)])
    assert call(processor, [PROMPT] * 6) == [expected([])] * 3 + [expected([], OTHER)] * 3
    with pytest.raises(ConfigurationError, match="5 rows"):
        call(processor, [PROMPT] * 5)


def test_beams_are_followed_through_permutations() -> None:
    processor = LogitsProcessor(grammar())
    call(processor, [PROMPT] * 4)
    steps = [
        [[0], [1], [2], [4]],
        [[2, 2], [0, 1], [0, 0], [2, 5]],
        [[0, 0, 1], [0, 0, 4], [2, 2, 9], [0, 1, 7]],  # the last one is refused
        [[0, 0, 4, 9], [0, 1, 7, 0], [0, 0, 1, 1], [2, 2, 9, 8]],
        [[0, 0, 1, 1, 5], [0, 0, 1, 1, 6], [0, 0, 4, 9, 8], [2, 2, 9, 8, 8]],
    ]
    for rows in steps:
        assert call(processor, [PROMPT + row for row in rows]) == [expected(row) for row in rows]


def test_ids_outside_of_the_vocabulary_close_a_row() -> None:
    processor = LogitsProcessor(grammar())
    call(processor, [PROMPT] * 2)
    assert call(processor, [[*PROMPT, 11], [*PROMPT, 0]], width=12) == [
        [i in STOP for i in range(12)],
        expected([0], width=12),
    ]


def test_beams_with_the_same_last_token_are_told_apart() -> None:
    processor = LogitsProcessor(grammar())
    call(processor, [PROMPT] * 2)
    call(processor, [[*PROMPT, 0], [*PROMPT, 1]])
    call(processor, [[*PROMPT, 0, 0], [*PROMPT, 1, 0]])
    for rows in ([[1, 0, 1], [0, 0, 1]], [[0, 0, 1, 1], [1, 0, 1, 9]]):
        assert call(processor, [PROMPT + row for row in rows]) == [expected(row) for row in rows]


def test_rows_never_take_the_state_of_another_grammar() -> None:
    processor = LogitsProcessor([grammar(["aab", "bb"]), grammar(["aac", "bb"])])
    call(processor, [PROMPT] * 4)
    call(processor, [[*PROMPT, t] for t in (0, 1, 1, 0)])
    got = call(processor, [[*PROMPT, *t] for t in ((1, 1), (0, 0), (0, 0), (1, 1))])
    assert [row.index(True) for row in got] == [9, 1, 5, 9]


def test_drafts_go_forth_and_back() -> None:
    processor = LogitsProcessor(grammar())
    for generated in ([], [0], [0, 0], [], [0], [0, 1], [0, 1, 5], [0, 1, 5, 9], [0, 1], [0, 1, 0], [0], [4], [4, 4]):
        assert call(processor, [PROMPT + generated]) == [expected(generated)]


def test_a_refused_row_recovers_when_the_draft_is_given_up() -> None:
    processor = LogitsProcessor(grammar())
    for generated in ([], [0], [0, 7], [0, 7, 0], [0, 1], [0, 1, 5]):
        assert call(processor, [PROMPT + generated]) == [expected(generated)]


@pytest.mark.parametrize(
    "second",
    [
        [7, 7, 5],
        [7, 7, 6],
        [7, 5],
        [5, 5, 5, 5, 5, 5, 5],
        [7, 7, 5, 7],
        [7, 7, 5, 0, 1, 5, 7, 7, 7],
        [3, 3, 3, 0, 1, 5],
    ],
    ids=["same", "same length", "shorter", "longer", "begins alike", "history grows", "last token alike"],
)
def test_a_second_generation_starts_anew(second: list[int]) -> None:
    processor = LogitsProcessor(grammar())
    for generated in ([], [0], [0, 1], [0, 1, 5]):
        call(processor, [PROMPT + generated])
    for generated in ([], [4], [4, 4], [4, 4, 9]):
        assert call(processor, [second + generated]) == [expected(generated)]


def test_a_second_generation_that_continues_the_first_is_known_by_the_caller() -> None:
    from transformers import LogitsProcessorList

    processor = LogitsProcessor(grammar())
    first = LogitsProcessorList([processor])
    for generated in ([], [0], [0, 1]):
        assert call(first, [PROMPT + generated]) == [expected(generated)]
    # A draft model's own list, while the outer one lives.
    for generated in ([0, 1, 5], [0, 1]):
        assert call(LogitsProcessorList([processor]), [PROMPT + generated]) == [expected(generated)]
    del first
    second = LogitsProcessorList([processor])
    prompt = [*PROMPT, 0, 1, 5]
    for generated in ([], [0], [0, 1]):
        assert call(second, [prompt + generated]) == [expected(generated)]


def test_a_generation_that_was_broken_off_is_not_continued() -> None:
    from transformers import LogitsProcessorList

    processor = LogitsProcessor(grammar())
    # A traceback may keep the list of a generate() that failed.
    kept = LogitsProcessorList([processor])
    for generated in ([], [0], [0, 1]):
        call(kept, [PROMPT + generated])
    again = LogitsProcessorList([processor])
    for generated in ([], [4], [4, 4]):
        assert call(again, [PROMPT + generated]) == [expected(generated)]
    # A longer prompt that begins as the first one does.
    third = LogitsProcessorList([processor])
    for generated in ([], [4], [4, 4]):
        assert call(third, [[*PROMPT, 7, *generated]]) == [expected(generated)]


def test_generations_of_several_lists_may_alternate() -> None:
    from transformers import LogitsProcessorList

    processor = LogitsProcessor(grammar())
    outer, inner = LogitsProcessorList([processor]), LogitsProcessorList([processor])
    for one, other in (([], []), ([0], [4]), ([0, 1], [4, 4]), ([0, 1, 5], [4, 4, 9])):
        assert call(outer, [PROMPT + one]) == [expected(one)]
        assert call(inner, [[5, 5, *other]]) == [expected(other)]


def test_a_list_for_every_step_goes_on() -> None:
    from transformers import LogitsProcessorList

    processor = LogitsProcessor(grammar())
    for generated in ([], [0], [0, 1], [0, 1, 5]):
        assert call(LogitsProcessorList([processor]), [PROMPT + generated]) == [expected(generated)]


def test_reset() -> None:
    processor = LogitsProcessor(grammar())
    call(processor, [PROMPT])
    processor.reset()
    assert call(processor, [[*PROMPT, 0]]) == [expected([])]


def test_another_number_of_rows_starts_anew() -> None:
    processor = LogitsProcessor(grammar())
    call(processor, [PROMPT])
    call(processor, [[*PROMPT, 0]])
    assert call(processor, [[*PROMPT, 0, 1]] * 2) == [expected([])] * 2


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_search_gets_the_masks_of_its_rows(data: st.DataObject) -> None:
    """Rows that fork, die, end and change places at random, and drafts that are given up."""
    width = data.draw(st.sampled_from([1, 2, 4]))
    grammars = [TEXTS, OTHER] if width > 1 and data.draw(st.booleans()) else [TEXTS]
    share = width // len(grammars)
    processor = LogitsProcessor([grammar(texts) for texts in grammars])
    rows: list[list[int]] = [[] for _ in range(width)]
    for _ in range(data.draw(st.integers(1, 8))):
        got = call(processor, [PROMPT + row for row in rows])
        assert got == [expected(row, grammars[r // share]) for r, row in enumerate(rows)]
        if width == 1 and len(rows[0]) > 1 and data.draw(st.booleans()):
            rows = [rows[0][: data.draw(st.integers(0, len(rows[0]) - 1))]]
            # What follows a draft is a token that was allowed.
            allowed = [i for i, ok in enumerate(expected(rows[0])) if ok]
            rows[0].append(data.draw(st.sampled_from(allowed)))
            continue
        nxt = []
        for r in range(width):
            parent = rows[data.draw(st.integers(r // share * share, r // share * share + share - 1))]
            nxt.append([*parent, data.draw(st.integers(0, len(TOKENS) - 1))])
        rows = nxt


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_wider_scores_and_other_layouts(dtype: Any) -> None:
    processor = LogitsProcessor(grammar())
    base = torch.zeros(1, 3, 16, dtype=dtype)
    out = processor(torch.tensor([PROMPT]), base[:, 1])
    assert out.dtype == dtype
    assert (~torch.isneginf(out)).tolist() == [expected([], width=16)]
    assert (base == 0).all()


def test_inplace() -> None:
    processor = LogitsProcessor(grammar(), inplace=True)
    base = torch.zeros(1, 2, len(TOKENS))
    scores = base[:, 1]
    assert processor(torch.tensor([PROMPT]), scores) is scores
    assert (~torch.isneginf(base[0, 1])).tolist() == expected([])
    assert (base[0, 0] == 0).all()


def test_narrower_scores_must_lack_padding_only() -> None:
    padded = TokenizerInfo(TOKENS, vocab_size=40, stop_token_ids=STOP)
    processor = LogitsProcessor(grammar(info=padded))
    assert call(processor, [PROMPT], width=len(TOKENS)) == [expected([])]
    assert call(processor, [[*PROMPT, 0]], width=36) == [expected([0], width=36)]
    with pytest.raises(ConfigurationError, match="10 columns"):
        call(processor, [PROMPT], width=10)


def test_the_grammar_has_the_last_word() -> None:
    processor = LogitsProcessor(grammar(["ab"]))
    scores = torch.full((1, len(TOKENS)), float("-inf"))
    scores[0, 7] = 1.0
    out = processor(torch.tensor([PROMPT]), scores)
    assert (~torch.isneginf(out))[0].nonzero().flatten().tolist() == [0, 2]
    # A grammar that is complete, and an earlier processor that forbids the end.
    scores = torch.zeros(1, len(TOKENS))
    scores[:, STOP] = float("-inf")
    out = processor(torch.tensor([[*PROMPT, 2]]), scores)
    assert (~torch.isneginf(out))[0].nonzero().flatten().tolist() == STOP


def test_no_token_at_all_is_an_error() -> None:
    # The engine says it when the grammar is compiled: no token has the character.
    with pytest.raises(GrammarError, match=r"cannot go on|no text satisfies"):
        processor = LogitsProcessor(grammar(["a!"]))
        call(processor, [PROMPT])
        call(processor, [[*PROMPT, 0]])


def test_mistakes() -> None:
    for nothing in ([], [None]):
        with pytest.raises(ConfigurationError, match="at least one"):
            LogitsProcessor(nothing)
    other = TokenizerInfo(TOKENS, stop_token_ids=[9])
    with pytest.raises(ConfigurationError, match="same vocabulary"):
        LogitsProcessor([grammar(), grammar(info=other)])
    with pytest.raises(ConfigurationError, match="no stop tokens"):
        LogitsProcessor(grammar(info=TokenizerInfo(TOKENS, stop_token_ids=[])))


def test_it_is_one_of_transformers_and_ours() -> None:
    import transformers

    class Mine(LogitsProcessor):
        pass

    for cls in (LogitsProcessor, Mine):
        processor = cls(grammar())
        assert isinstance(processor, transformers.LogitsProcessor)
        assert isinstance(processor, cls)
        assert type(processor) is type(cls(grammar()))
        assert type(processor).__name__ == cls.__name__
    assert processor.supports_continuous_batching is False


def test_importing_it_loads_no_framework() -> None:
    code = (
        "import sys, fairlead.logits_processor, fairlead.bitmask, fairlead.tokenizer;"
        "sys.exit(bool({'torch', 'transformers', 'numpy', 'mlx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
