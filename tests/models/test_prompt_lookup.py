"""Prompt lookup: what is written stays the same, in fewer forward passes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fairlead import ConfigurationError, ModelError  # noqa: E402
from fairlead.models import TransformersModel  # noqa: E402
from fairlead.models._prompt_lookup import PromptLookup  # noqa: E402

from .conftest import Counting, Script  # noqa: E402

LOOKUP = {"prompt_lookup_num_tokens": 10}
CODE = "for berth in berths: print(berth.name); for berth in berths: print(berth.length); print(berth.name)"
USER = [{"role": "user", "content": f"Say this again: {CODE}"}]
SCHEMA = {
    "type": "array",
    "minItems": 6,
    "items": {"type": "object", "properties": {"berth": {"enum": ["north", "south"]}}, "required": ["berth"]},
}
SCHEMA["items"]["additionalProperties"] = False
WANTED = [
    {},
    {"response_format": SCHEMA},
    {"grammar": "(berth [a-z]{1,4}, ){9}berth"},
    {"response_format": SCHEMA, "jump_forward": True},
    {"temperature": 0.8},
    {"temperature": 0.8, "response_format": SCHEMA},
    {"repetition_penalty": 1.3},
    {"stop_sequences": ["th", "e r"]},
]


def both(model: TransformersModel, **options: Any) -> list[Any]:
    replies = []
    for how in ({}, LOOKUP):
        torch.manual_seed(3)
        replies.append(model.generate(USER, max_new_tokens=200, **options, **how))
    return replies


@pytest.mark.parametrize("wanted", WANTED, ids=lambda wanted: "-".join(map(str, wanted)) or "free")
def test_the_same_as_one_token_at_a_time(tiny, wanted):
    plain, guessed = both(tiny, **wanted)
    assert guessed.content == plain.content
    assert guessed.token_usage == plain.token_usage and guessed.finish_reason == plain.finish_reason
    assert guessed.stop_sequence == plain.stop_sequence
    torch.manual_seed(3)
    streamed = tiny.generate_stream(USER, max_new_tokens=200, **wanted, **LOOKUP)
    assert streamed.drain().content == plain.content


def test_what_was_said_before_takes_fewer_passes(tiny):
    script = Script(tiny.tokenizer, CODE)
    with Counting(tiny.model) as slow:
        plain = tiny.generate(USER, max_new_tokens=len(script.ids), logits_processor=[script])
    with Counting(tiny.model) as fast:
        guessed = tiny.generate(USER, max_new_tokens=len(script.ids), logits_processor=[script], **LOOKUP)
    assert guessed.content == plain.content == CODE
    assert slow.passes >= 3 * fast.passes
    # Nothing is looked up in a batch.
    batch = tiny.generate_batch([USER, USER], max_new_tokens=len(script.ids), logits_processor=[script], **LOOKUP)
    assert [reply.content for reply in batch] == [CODE, CODE]


def test_processors_and_streamers_see_each_token_in_its_turn(tiny):
    class Seen:
        def __init__(self) -> None:
            self.prefixes: list[list[int]] = []
            self.put_tokens: list[int] = []
            self.ended = False

        def __call__(self, ids: Any, scores: Any) -> Any:
            self.prefixes.append(ids[0].tolist())
            return scores

        def put(self, value: Any) -> None:
            self.put_tokens += value.flatten().tolist()

        def end(self) -> None:
            self.ended = True

    plain, guessed, script = Seen(), Seen(), Script(tiny.tokenizer, CODE)
    limit, passes = len(script.ids), []
    for seen, how in ((plain, {}), (guessed, LOOKUP)):
        with Counting(tiny.model) as counted:
            tiny.generate(USER, max_new_tokens=limit, logits_processor=[script, seen], streamer=seen, **how)
        passes.append(counted.passes)
    assert passes[0] == limit and passes[1] < limit / 2
    assert guessed.prefixes == plain.prefixes and len(plain.prefixes) == limit
    assert guessed.put_tokens == plain.put_tokens and guessed.ended


def test_every_limit_is_kept(tiny):
    whole = tiny.generate(USER, max_new_tokens=40)
    for limit in (1, 2, 3, 7, 20):
        cut = tiny.generate(USER, max_new_tokens=limit, **LOOKUP)
        assert cut.token_usage.output_tokens == limit and cut.finish_reason == "length"
        assert whole.content.startswith(cut.content)


def test_it_goes_behind_a_kept_prefix(tiny):
    fresh = TransformersModel.from_loaded(tiny.model, tiny.tokenizer, prefix_cache_bytes=0, max_new_tokens=60)
    kept = TransformersModel.from_loaded(tiny.model, tiny.tokenizer, max_new_tokens=60, **LOOKUP)
    history = [*USER]
    for n in range(4):
        reply = kept.generate(history)
        assert reply.content == fresh.generate(history).content
        assert (reply.timings.cached_tokens > 0) == (n > 0)
        history += [{"role": "assistant", "content": reply.content}, {"role": "user", "content": f"And then? {CODE}"}]


def test_the_generation_config_may_ask_for_it(tiny):
    config = tiny.model.generation_config
    expected = [tiny.generate(USER).content, tiny.generate(USER, response_format=SCHEMA, max_new_tokens=200).content]
    config.prompt_lookup_num_tokens = 10
    try:
        # The second time behind what the first has computed.
        for _ in range(2):
            assert tiny.generate(USER).content == expected[0]
            assert tiny.generate(USER, response_format=SCHEMA, max_new_tokens=200).content == expected[1]
        assert [reply.content for reply in tiny.generate_batch([USER] * 2)] == expected[:1] * 2
        with Counting(tiny.model) as slow:
            assert tiny.generate(USER, prompt_lookup_num_tokens=0).content == expected[0]
        assert slow.passes == 40
    finally:
        config.prompt_lookup_num_tokens = None


def test_states_that_cannot_go_back(tiny):
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    config = transformers.MistralConfig(
        vocab_size=len(tiny.tokenizer), sliding_window=32, num_attention_heads=4, num_key_value_heads=2, **sizes
    )
    model = TransformersModel.from_loaded(transformers.MistralForCausalLM(config), tiny.tokenizer, max_new_tokens=20)
    expected = model.generate(USER).content
    # Transformers' own loop, whose cache remembers what it drops.
    reply = model.generate(USER, **LOOKUP)
    assert reply.content == expected and reply.timings.cached_tokens == 0


def test_with_a_picture(vlm):
    from PIL import Image

    parts = [{"type": "image", "image": Image.new("RGB", (28, 28))}, {"type": "text", "text": CODE}]
    history = [{"role": "user", "content": parts}]
    plain = vlm.generate(history, max_new_tokens=40).content
    assert [vlm.generate(history, max_new_tokens=40, **LOOKUP).content for _ in range(2)] == [plain, plain]
    # What stood behind the last mark of an answer is a picture, which no guess may have: models count them.
    shown = [*history, {"role": "assistant", "content": parts}, history[0]]
    fresh = TransformersModel.from_loaded(vlm.model, vlm.processor, prefix_cache_bytes=0, max_new_tokens=9)
    pictures = []
    for how in ({}, LOOKUP):
        read: list[int] = []
        hook = vlm.model.register_forward_pre_hook(
            lambda _, args, given, read=read: read.extend(given["input_ids"].flatten().tolist()), with_kwargs=True
        )
        fresh.generate(shown, **how)
        hook.remove()
        pictures.append(read.count(vlm.model.config.image_token_id))
    assert pictures[0] == pictures[1] > 0


@pytest.mark.parametrize("number", [-1, True, "ten", 2.5])
def test_what_is_no_number_of_tokens_is_refused(tiny, number):
    with pytest.raises(ConfigurationError, match="prompt_lookup_num_tokens"):
        tiny.generate(USER, prompt_lookup_num_tokens=number)


def test_an_error_inside(tiny):
    class Failing:
        def __call__(self, ids: Any, scores: Any) -> Any:
            raise RuntimeError("boom")

    with pytest.raises(ModelError, match="boom"):
        tiny.generate(USER, logits_processor=[Failing()], **LOOKUP)
    assert tiny.generate(USER, **LOOKUP).content == tiny.generate(USER).content


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 3), st.integers(0, 12))
def test_guesses_are_what_stood_behind_the_last_such_run(tokens, longest, limit):
    lookup = PromptLookup(12, longest, never=[3])
    for at in range(0, len(tokens), 3):
        lookup.extend(tokens[at : at + 3])
    assert len(lookup) == len(tokens)
    expected: list[int] = []
    for length in range(longest, 0, -1):
        places = [at for at in range(length, len(tokens)) if tokens[at - length : at] == tokens[len(tokens) - length :]]
        if places and len(tokens) >= length:
            text = list(tokens)
            while len(expected) < min(limit, 4) and (following := text[places[-1] + len(expected)]) != 3:
                expected.append(following)
                text.append(following)
            break
    assert lookup.guess(limit) == expected


def test_guesses_grow_with_their_success():
    lookup = PromptLookup(10)
    lookup.extend([1, 2] * 10)
    sizes = []
    for right in (4, 8, 10, 3, 0, 0, 0, 0):
        guess = lookup.guess(100)
        sizes.append(len(guess))
        lookup.learn(len(guess), min(right, len(guess)))
    assert sizes == [4, 8, 10, 10, 6, 3, 1, 1]
    assert json.dumps(lookup.guess(1)) == "[1]"
