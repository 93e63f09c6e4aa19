"""Jump-forward: the same tokens in fewer forward passes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from fairlead import ConfigurationError, GrammarMatcher, LimitExceeded, ModelError  # noqa: E402
from fairlead.models import TransformersModel  # noqa: E402
from fairlead.models._jump import CanonicalSpans, JumpProcessor  # noqa: E402

from .conftest import Counting  # noqa: E402

USER = [{"role": "user", "content": "Please answer."}]
LONG = {
    "type": "object",
    "properties": {
        "the_name_of_the_harbour_master": {"enum": ["Anna", "Ole"]},
        "whether_the_berth_is_free_tonight": {"type": "boolean"},
        "length_of_the_vessel_in_metres": {"type": "integer", "minimum": 1, "maximum": 400},
        "the_cargo_that_it_carries": {"type": "array", "items": {"enum": ["rope", "salt"]}, "maxItems": 2},
        "Zwölf Boxkämpfer": {"const": "jagen Viktor quer über den großen Sylter Deich"},
    },
    "additionalProperties": False,
}
LONG["required"] = list(LONG["properties"])


@pytest.mark.parametrize(
    "wanted",
    [{"response_format": LONG}, {"grammar": "(the quick brown fox|the quick red fox) jumps over [a-z]{3}"}],
    ids=["schema", "regex"],
)
def test_the_same_as_one_token_at_a_time(tiny, wanted):
    with Counting(tiny.model) as slow:
        expected = tiny.generate(USER, jump_forward="mask", max_new_tokens=900, **wanted)
    with Counting(tiny.model) as fast:
        reply = tiny.generate(USER, jump_forward=True, max_new_tokens=900, **wanted)
    assert reply.content == expected.content and reply.token_usage == expected.token_usage
    assert reply.finish_reason == "stop" and slow.passes >= 1.5 * fast.passes
    streamed = tiny.generate_stream(USER, jump_forward=True, max_new_tokens=900, **wanted)
    assert streamed.drain().parsed
    sampled = [tiny.generate(USER, jump_forward=True, max_new_tokens=900, temperature=1.5, **wanted) for _ in range(4)]
    assert all(one.parsed for one in sampled) and len({one.content for one in sampled}) > 1


def test_the_key_comes_in_one_piece(tiny):
    deltas = list(tiny.generate_stream(USER, response_format=LONG, jump_forward=True, max_new_tokens=900))
    assert json.loads("".join(delta.content for delta in deltas))


def test_every_limit_is_kept(tiny):
    whole = tiny.generate(USER, response_format=LONG, jump_forward=True, max_new_tokens=900)
    for limit in (1, 2, 3, 7, 20):
        cut = tiny.generate(USER, response_format=LONG, jump_forward=True, max_new_tokens=limit, token_budget=None)
        assert cut.token_usage.output_tokens == limit and cut.finish_reason == "length"
        assert whole.content.startswith(cut.content)


def test_it_is_complete_within_its_tokens(tiny):
    with pytest.raises(LimitExceeded, match="too small") as refused:
        tiny.generate(USER, response_format=LONG, jump_forward=True, max_new_tokens=20)
    least = int(re.search(r"takes (\d+)", str(refused.value))[1])
    for limit in (least, least + 3, least + 10):
        replies = [
            tiny.generate(USER, response_format=LONG, jump_forward=how, max_new_tokens=limit) for how in (True, "mask")
        ]
        assert replies[0].content == replies[1].content and replies[0].parsed
        assert replies[0].token_usage == replies[1].token_usage and replies[0].token_usage.output_tokens <= limit


def test_a_spelling_that_takes_too_many_tokens_is_not_forced(tiny):
    compiled = tiny.grammar_compiler.compile_regex("the_name_of_the_harbour_master(a|b)")
    letters = CanonicalSpans(lambda text: [tiny._encode(one)[0] for one in text], tiny.tokenizer_info.decoded_vocab)
    prompt = torch.zeros((1, 5), dtype=torch.long)

    def forced(budget: int | None) -> list[int]:
        return JumpProcessor(GrammarMatcher(compiled, token_budget=budget), letters, 5, budget).forced(prompt)

    canonical = len("the_name_of_the_harbour_master") - 1
    # Behind them come the last letter, a or b, and the stop token.
    assert len(forced(None)) == len(forced(canonical + 3)) == canonical
    assert forced(canonical + 2) == forced(canonical - 5) == []


def test_with_the_prefix_cache_and_reasoning(tiny):
    fresh = TransformersModel.from_loaded(tiny.model, tiny.tokenizer, prefix_cache_bytes=0, jump_forward=True)
    kept = TransformersModel.from_loaded(tiny.model, tiny.tokenizer, jump_forward=True)
    history = [*USER]
    for n in range(3):
        reply = kept.generate(history, response_format=LONG)
        assert reply.content == fresh.generate(history, response_format=LONG).content and reply.parsed
        assert (reply.timings.cached_tokens > 0) == (n > 0)
        history += [{"role": "assistant", "content": reply.content}, {"role": "user", "content": "And now?"}]
    free = kept.generate(history)
    assert free.content == fresh.generate(history).content


def test_stops_inside_a_forced_span(tiny):
    reply = tiny.generate(
        USER,
        stop_sequences=["berth"],
        stop_inside_constraint=True,
        response_format=LONG,
        jump_forward=True,
        max_new_tokens=900,
    )
    assert reply.stop_sequence == "berth" and reply.content.endswith('"whether_the_')


def test_with_a_picture(vlm):
    from PIL import Image

    parts = [{"type": "image", "image": Image.new("RGB", (28, 28))}, {"type": "text", "text": "What?"}]
    history = [{"role": "user", "content": parts}]
    replies = [
        vlm.generate(history, response_format=LONG, max_new_tokens=900, jump_forward=how).content
        for how in (True, "mask", True)
    ]
    assert len(set(replies)) == 1 and json.loads(replies[0])


def test_batches_go_without(tiny):
    replies = tiny.generate_batch([USER, USER], response_format=LONG, jump_forward=True, max_new_tokens=900)
    assert all(reply.parsed for reply in replies)


def test_an_error_inside(tiny):
    class Failing:
        def __call__(self, ids: Any, scores: Any) -> Any:
            raise RuntimeError("boom")

    with pytest.raises(ModelError, match="boom"):
        tiny.generate(USER, response_format=LONG, jump_forward=True, max_new_tokens=900, logits_processor=[Failing()])
    with pytest.raises(ConfigurationError):
        tiny.generate(USER, jump_forward="sometimes")


def test_the_last_token_of_a_span_is_left_to_the_model(tiny):
    spans = CanonicalSpans(tiny._encode, tiny.tokenizer_info.decoded_vocab)
    text = '{"the_name": "'
    tokens = spans.tokens(text)
    assert tokens == tiny._encode(text)[:-1] and spans.tokens(text) is tokens
    odd = CanonicalSpans(lambda text: [*tiny._encode(" " + text)], tiny.tokenizer_info.decoded_vocab)
    assert odd.tokens("name of") == []
