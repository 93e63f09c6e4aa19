"""What was computed for one prompt serves the next: the same outputs, fewer tokens read."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fairlead import ConfigurationError, ModelError  # noqa: E402
from fairlead.models import TransformersModel  # noqa: E402
from fairlead.models._prefix import PrefixCache, common_prefix  # noqa: E402

# Before version 5 Transformers forgets pictures and recurrent states between two parts of a prompt.
NEW = int(transformers.__version__.partition(".")[0]) >= 5


def wrapped(model: TransformersModel, **more: Any) -> TransformersModel:
    return TransformersModel.from_loaded(
        model.model, getattr(model, "processor", model.tokenizer), **{"max_new_tokens": 24, **more}
    )


@pytest.fixture
def kept(tiny):
    return wrapped(tiny)


@pytest.fixture(scope="module")
def fresh(tiny):
    return wrapped(tiny, prefix_cache_bytes=0)


class Read:
    """Counts the tokens that a model reads."""

    def __init__(self, model: Any) -> None:
        self.tokens = 0
        self._lock = threading.Lock()
        self._handle = model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module: Any, args: Any, kwargs: Any) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        with self._lock:
            self.tokens += ids.shape[1]

    def __enter__(self) -> Read:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()


def grow(history: list[dict[str, Any]], reply: Any, n: int) -> list[dict[str, Any]]:
    return [
        *history,
        {"role": "assistant", "content": reply.content.strip()},
        {"role": "user", "content": f"Observation {n}: the result of step {n} was {n * n}. Go on."},
    ]


START = [
    {"role": "system", "content": "You are an agent. " + "Answer with a JSON object. " * 30},
    {"role": "user", "content": "What is the name of the harbour master?"},
]


def test_an_agents_steps_read_only_what_is_new(kept, fresh):
    history = START
    for n in range(6):
        with Read(kept.model) as read:
            reply = kept.generate(history)
        again = fresh.generate(history)
        assert reply.content == again.content and reply.token_usage == again.token_usage
        assert reply.timings.cached_tokens + read.tokens == (
            reply.token_usage.input_tokens + reply.token_usage.output_tokens - 1
        )
        if n:
            assert reply.timings.cached_tokens > 0.7 * reply.token_usage.input_tokens
        history = grow(history, reply, n)
    assert len(kept._prefix) == 1


def test_conversations_alternate(kept, fresh):
    talks = [[{"role": "user", "content": f"Talk {name}. " * 20}] for name in ("one", "two", "three")]
    prompts = [0, 0, 0]
    for n in range(3):
        for at, history in enumerate(talks):
            reply = kept.generate(history)
            assert reply.content == fresh.generate(history).content
            if n:
                assert reply.timings.cached_tokens > prompts[at] - 8
            prompts[at] = reply.token_usage.input_tokens
            talks[at] = grow(history, reply, n)


def test_a_branch_leaves_the_other_conversation_its_states(kept, fresh):
    first = kept.generate(START)
    going_on = grow(START, first, 1)
    branch = [START[0], {"role": "user", "content": "Write a plan in three steps."}]
    planned = kept.generate(branch)
    assert planned.content == fresh.generate(branch).content and planned.timings.cached_tokens > 100
    second = kept.generate(going_on)
    assert second.content == fresh.generate(going_on).content
    assert second.timings.cached_tokens > first.token_usage.input_tokens - 16


def test_the_same_prompt_again(kept, fresh):
    replies = [kept.generate(START) for _ in range(3)]
    assert {reply.content for reply in replies} == {fresh.generate(START).content}
    assert replies[1].timings.cached_tokens == replies[1].token_usage.input_tokens - 1


@pytest.mark.parametrize("wanted", [{"response_format": {"type": "object", "maxProperties": 3}}, {"grammar": "[ab]+"}])
def test_with_a_constraint(kept, fresh, wanted):
    kept.generate(START)
    reply = kept.generate(START, **wanted)
    assert reply.timings.cached_tokens and reply.content == fresh.generate(START, **wanted).content


def test_streams_and_what_is_left_early(kept, fresh):
    with kept.generate_stream(START, max_new_tokens=200) as stream:
        next(stream)
    reply = kept.generate_stream(START).drain()
    assert reply.content == fresh.generate(START).content and reply.timings.cached_tokens


def test_a_failing_step_keeps_nothing_wrong(kept, fresh):
    class Failing:
        calls = 0

        def __call__(self, ids: Any, scores: Any) -> Any:
            self.calls += 1
            if self.calls == 3:
                raise RuntimeError("boom")
            return scores

    kept.generate(START)
    with pytest.raises(ModelError):
        kept.generate(START, logits_processor=[Failing()])
    assert kept.generate(START).content == fresh.generate(START).content


def test_what_is_kept_makes_room(kept, fresh):
    class OutOfMemoryError(RuntimeError):
        pass

    class Full:
        failures = 1

        def __call__(self, ids: Any, scores: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise OutOfMemoryError("CUDA out of memory")
            return scores

    other = [{"role": "user", "content": "Something else."}]
    kept.generate(other)
    assert kept.generate(START, logits_processor=[Full()]).content == fresh.generate(START).content
    assert kept.generate(other).timings.cached_tokens < 8
    kept.clear_prefix_cache()
    with pytest.raises(ModelError, match="out of memory"):
        kept.generate(START, logits_processor=[Full()])


def test_in_and_out_of_inference_mode(kept, fresh):
    replies = []
    for inside in (True, False, True, False):
        with torch.inference_mode(inside):
            replies.append(kept.generate(START))
    assert {reply.content for reply in replies} == {fresh.generate(START).content}
    assert all(reply.timings.cached_tokens for reply in replies[1:])


def test_bounded_in_bytes(tiny, fresh):
    one = wrapped(tiny)
    one.generate(START)
    size = one._prefix.bytes
    small = wrapped(tiny, prefix_cache_bytes=2 * size)
    for n in range(5):
        history = [{"role": "user", "content": f"{n} is the number. " * 40}]
        assert small.generate(history).content == fresh.generate(history).content
        assert small._prefix.bytes <= 2 * size
    none = wrapped(tiny, prefix_cache_bytes=1)
    assert none.generate(START).content and len(none._prefix) == 0
    one.clear_prefix_cache()
    assert one._prefix.bytes == 0 and one.generate(START).timings.cached_tokens == 0
    for wrong in (-1, True):
        with pytest.raises(ConfigurationError):
            wrapped(tiny, prefix_cache_bytes=wrong)


def test_many_threads(kept, fresh):
    histories = [[START[0], {"role": "user", "content": f"Question {n % 4}"}] for n in range(12)]
    expected = [fresh.generate(history).content for history in histories]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda history: kept.generate(history).content, histories)) == expected


def test_what_uses_caches_in_its_own_way_goes_without(kept, fresh):
    kept.generate(START)
    for options in ({"num_beams": 2}, {"use_cache": False, "max_new_tokens": 3}):
        reply = kept.generate(START, **options)
        assert reply.timings.cached_tokens == 0 and reply.content == fresh.generate(START, **options).content
    batch = kept.generate_batch([START, START[1:]])
    assert [reply.content for reply in batch] == [fresh.generate(START).content, fresh.generate(START[1:]).content]


@pytest.mark.parametrize("kind", ["sliding", "hybrid"])
def test_states_that_cannot_go_back(tiny, kind):
    sizes = {
        "vocab_size": len(tiny.tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "initializer_range": 0.4,
        "eos_token_id": tiny.tokenizer.eos_token_id,
    }
    if kind == "sliding":
        config = transformers.MistralConfig(**sizes, sliding_window=32)
    else:
        config = transformers.Lfm2Config(
            **{**sizes, "num_hidden_layers": 2}, layer_types=["conv", "full_attention"], conv_L_cache=3
        )
    torch.manual_seed(3)
    loaded = transformers.AutoModelForCausalLM.from_config(config).eval()
    kept = TransformersModel.from_loaded(loaded, tiny.tokenizer, max_new_tokens=12, do_sample=False)
    fresh = TransformersModel.from_loaded(
        loaded, tiny.tokenizer, max_new_tokens=12, do_sample=False, prefix_cache_bytes=0
    )
    history, before = START, 0
    for n in range(3):
        reply = kept.generate(history)
        assert reply.content == fresh.generate(history).content
        # All of the last prompt is known, whatever became of the answer to it.
        assert reply.timings.cached_tokens == (before - 1 if n and (kind == "sliding" or NEW) else 0)
        before = reply.token_usage.input_tokens
        history = grow(history, reply, n)


def test_a_model_that_forgets_goes_without(tiny, monkeypatch):
    from fairlead.models import _kv_cache

    monkeypatch.setattr(_kv_cache, "_is_growing", lambda cache: False)
    assert _kv_cache.prefix_cache_of(tiny.model, 1 << 20) is not None
    original = tiny.model.forward

    def forgets(*args: Any, **kwargs: Any) -> Any:
        name = _kv_cache.cache_argument(tiny.model)
        if kwargs.get(name) is not None:
            kwargs[name] = transformers.DynamicCache()
        return original(*args, **kwargs)

    monkeypatch.setattr(tiny.model, "forward", forgets)
    assert _kv_cache.prefix_cache_of(tiny.model, 1 << 20) is None


def picture(shade: int) -> Any:
    from PIL import Image

    torch.manual_seed(shade)
    return Image.fromarray(torch.randint(0, 256, (28, 28, 3), dtype=torch.uint8).numpy())


def test_images_are_part_of_the_prefix(vlm):
    kept, fresh = wrapped(vlm), wrapped(vlm, prefix_cache_bytes=0)

    def ask(*shades: int) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = [{"type": "text", "text": "You see pictures of a harbour. " * 8}]
        for shade in shades:
            parts += [
                {"type": "image", "image": picture(shade)},
                {"type": "text", "text": f"Number {len(parts)}. " * 9},
            ]
        return [{"role": "user", "content": parts}]

    cached = []
    for shades in ((1,), (2,), (1, 2), (1, 3), (1, 2), ()):
        reply = kept.generate(ask(*shades))
        assert reply.content == fresh.generate(ask(*shades)).content, shades
        cached.append(reply.timings.cached_tokens)
    # Behind another picture nothing is the same; the text before it is.
    assert not NEW or 0 < cached[1] < cached[2] <= cached[3] < cached[4]


# The store by itself


def store(limit: int = 1000, **more: Any) -> PrefixCache[list[int]]:
    def crop(states: list[int], length: int) -> None:
        del states[length:]

    return PrefixCache(limit, size=len, **{"crop": crop, "copy": lambda states, n: states[:n], **more})


@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 600])
def test_common_prefix(n):
    a = list(range(700))
    assert common_prefix(a, [*a[:n], -1, *a[n:]]) == n
    assert common_prefix(a, a[:n]) == n == common_prefix(a[:n], a)


def test_one_token_is_always_left():
    cache = store()
    ids = list(range(50))
    cache.give(ids, 40, list(ids))
    states, length = cache.take(ids[:40])
    assert length == 39 and states == ids[:39] and len(cache) == 0


def test_whoever_takes_has_the_states_alone():
    cache = store()
    ids = list(range(100))
    cache.give(ids, 90, list(ids))
    assert cache.take([*ids, 5])[1] == 100
    assert cache.take([*ids, 5]) == (None, 0)


def test_another_conversation_gets_a_copy():
    cache = store()
    ids = list(range(200))
    cache.give(ids, 190, list(ids))
    states, length = cache.take([*ids[:100], 7, 8])
    assert length == 100 and states == ids[:100] and len(cache) == 1
    assert cache.take([*ids[:20], 7, 8]) == (None, 0)
    cache.give([*ids[:100], 7], 102, [*states, 7])
    assert len(cache) == 2 and cache.take([*ids, 1])[1] == 200


def test_the_oldest_goes_first():
    cache = store(limit=100)
    for n in range(5):
        cache.give([n] * 40, 40, [n] * 40)
    assert len(cache) == 2 and cache.bytes == 80
    assert cache.take([0] * 41)[0] is None and cache.take([4] * 41)[0] == [4] * 40
    cache.give([9] * 101, 101, [9] * 101)
    assert len(cache) == 0


def test_states_that_can_only_grow():
    cache = store(crop=None, copy=None)
    ids = list(range(50))
    cache.give(ids, 40, list(ids))
    assert cache.take([*ids[:45], 7]) == (None, 0)
    assert cache.take([*ids, 7])[1] == 50
