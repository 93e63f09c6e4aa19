"""MLXModel's own: what it keeps between calls, batches, threads, options; on the CPU here, the same code on a GPU."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

mx = pytest.importorskip("mlx.core")
mlx_lm = pytest.importorskip("mlx_lm")

from fairlead import ConfigurationError, MessageError, MissingDependencyError, ModelError  # noqa: E402
from fairlead.models import MLXModel  # noqa: E402

USER = [{"role": "user", "content": "Please answer."}]


@pytest.fixture(scope="module")
def loaded(tiny_dir: str) -> Any:
    return mlx_lm.load(tiny_dir)


def made(loaded: Any, **options: Any) -> MLXModel:
    return MLXModel.from_loaded(*loaded, **{"model_id": "tiny", "max_new_tokens": 24, **options})


@pytest.fixture
def model(loaded: Any) -> MLXModel:
    return made(loaded)


@pytest.fixture(scope="module")
def fresh(loaded: Any) -> MLXModel:
    return made(loaded, prefix_cache_bytes=0)


class Read:
    """Stands for a model and counts what it reads."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.tokens: list[int] = []

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        self.tokens.append(inputs.shape[1])
        return self._model(inputs, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class Said:
    """A logits processor of mlx-lm that makes a model say a text, and then end its turn."""

    def __init__(self, tokenizer: Any, text: str) -> None:
        self.ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        self.begin = tokenizer.encode("<|assistant|>", add_special_tokens=False)[0]

    def __call__(self, tokens: Any, logits: Any) -> Any:
        ids = tokens.tolist()
        spoken = len(ids) - 1 - max(at for at, token in enumerate(ids) if token == self.begin)
        wanted = self.ids[min(spoken, len(self.ids) - 1)]
        return mx.where(mx.arange(logits.shape[-1]) == wanted, 0.0, float("-inf"))[None]


def grow(history: list[dict[str, Any]], reply: Any, n: int) -> list[dict[str, Any]]:
    return [
        *history,
        {"role": "assistant", "content": reply.content},
        {"role": "user", "content": f"Observation {n}: the result of step {n} was {n * n}. Go on."},
    ]


# The same as mlx-lm


def test_the_same_text_as_mlx_lm_alone(loaded, fresh):
    weights, tokenizer = loaded
    prompt = tokenizer.apply_chat_template(USER, add_generation_prompt=True)
    # Its detokenizer drops the space that a text begins with; the tokenizer's own decode() keeps it.
    assert fresh.generate(USER).content.lstrip() == mlx_lm.generate(weights, tokenizer, prompt, max_tokens=24)
    penalties = {"repetition_penalty": 1.6, "repetition_context_size": 10}
    processors = mlx_lm.sample_utils.make_logits_processors(**penalties)
    expected = mlx_lm.generate(weights, tokenizer, prompt, max_tokens=24, logits_processors=processors)
    assert fresh.generate(USER, **penalties).content.lstrip() == expected != fresh.generate(USER).content.lstrip()
    assert fresh.generate_batch([USER, USER], **penalties)[1].content.lstrip() == expected


def test_the_same_text_as_smolagents_model(tiny_dir, model):
    smolagents = pytest.importorskip("smolagents")
    theirs = smolagents.MLXModel(tiny_dir, max_tokens=24)
    messages = [{"role": "user", "content": [{"type": "text", "text": "Which berth is free?"}]}]
    a, b = theirs.generate(messages), model.generate(messages)
    assert (a.content, a.token_usage.input_tokens) == (b.content.lstrip(), b.token_usage.input_tokens)


# What is kept between calls


def test_a_growing_history_is_read_once(loaded, fresh):
    watched = Read(loaded[0])
    model = made((watched, loaded[1]))
    history, cached = USER, []
    for n in range(6):
        watched.tokens.clear()
        reply, expected = model.generate(history), fresh.generate(history)
        assert reply.content == expected.content and reply.token_usage == expected.token_usage
        cached.append(reply.timings.cached_tokens)
        read = sum(watched.tokens[: -reply.token_usage.output_tokens + 1])
        assert read + cached[-1] == reply.token_usage.input_tokens
        history = grow(history, reply, n)
    assert cached[0] == 0 and cached == sorted(set(cached))
    assert cached[-1] > 0.8 * expected.token_usage.input_tokens - 60


def test_nothing_is_computed_behind_the_end(loaded):
    watched = Read(loaded[0])
    model = made((watched, loaded[1]))
    for arguments in ({"max_new_tokens": 5}, {"grammar": "yes|no"}):
        watched.tokens.clear()
        reply = model.generate(USER, **arguments)
        assert len(watched.tokens) <= 1 + reply.token_usage.output_tokens


def test_conversations_that_alternate(model, fresh):
    system = {"role": "system", "content": "You keep the book of the harbour. " * 12}
    histories = [[system, {"role": "user", "content": f"Conversation {n}."}] for n in range(3)]
    for turn in range(3):
        for n, history in enumerate(histories):
            reply = model.generate(history)
            assert reply.content == fresh.generate(history).content
            if turn or n:
                assert reply.timings.cached_tokens > 60
            histories[n] = grow(history, reply, turn)


def test_with_constraints_and_stops(model, fresh):
    history = USER
    for n in range(4):
        for arguments in (
            {"grammar": "[a-f]{4,9}"},
            {"stop_sequences": ["e", " "]},
            {"response_format": {"type": "null"}},
        ):
            reply, expected = (one.generate(history, **arguments) for one in (model, fresh))
            assert (reply.content, reply.finish_reason) == (expected.content, expected.finish_reason)
        history = grow(history, reply, n)


def test_what_is_kept_is_bounded(loaded):
    model = made(loaded, prefix_cache_bytes=100_000)
    for n in range(12):
        model.generate([{"role": "user", "content": f"{n} begins otherwise each time. " * 6}], max_new_tokens=2)
        assert model._prefix.bytes <= 100_000
    model.clear_prefix_cache()
    assert model._prefix.bytes == 0
    with pytest.raises(ConfigurationError):
        made(loaded, prefix_cache_bytes=-1)


def test_states_that_cannot_be_cut_only_go_on(loaded):
    from mlx_lm.models.cache import RotatingKVCache

    class Rotating:
        """The model with a cache of a window, as models with sliding attention have it."""

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self._inner(*args, **kwargs)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def make_cache(self) -> Any:
            return [RotatingKVCache(max_size=64) for _ in self._inner.layers]

    weights = Rotating(loaded[0])
    kept, fresh = (made((weights, loaded[1]), prefix_cache_bytes=limit) for limit in (None, 0))
    history = USER
    for n in range(4):
        reply = kept.generate(history)
        assert reply.content == fresh.generate(history).content
        assert (reply.timings.cached_tokens > 0) == (n > 0)
        history = grow(history, reply, n)
    # An earlier prompt would need states of which the end was cut off.
    assert kept.generate(history[:-2]).content == fresh.generate(history[:-2]).content


def test_own_caches_are_left_alone(model):
    plain = model.generate(USER)
    before = len(model._prefix)
    assert model.generate(USER, max_kv_size=4096).content == plain.content
    with pytest.raises(ConfigurationError, match="group size"):  # heads of 16 numbers can't be grouped by 64
        model.generate(USER, kv_bits=8)
    assert model.generate(USER, prefill_step_size=3).content == plain.content
    assert len(model._prefix) == before


def test_quantized_states(loaded):
    from mlx_lm.models import llama

    arguments = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 64}
    size = {"num_attention_heads": 2, "rms_norm_eps": 1e-5, "vocab_size": loaded[0].args.vocab_size}
    model = made((llama.Model(llama.ModelArgs(**arguments, **size)), loaded[1]), kv_bits=8, kv_group_size=32)
    assert model.generate(USER, grammar="[ab]{20}").finish_reason == "stop"
    assert len(model.generate_batch([USER, USER], grammar="[ab]{9}")) == 2


def test_a_quantised_model_and_an_adapter(loaded, tmp_path):
    from fairlead.testing import tiny_model_dir
    from mlx.utils import tree_flatten
    from mlx_lm.convert import convert
    from mlx_lm.tuner.utils import linear_to_lora_layers

    folder = str(tiny_model_dir())
    convert(folder, mlx_path=str(tmp_path / "small"), quantize=True, q_group_size=32, q_bits=4)
    small = MLXModel(str(tmp_path / "small"), max_tokens=12)
    assert type(small.model.model.layers[0].self_attn.q_proj).__name__ == "QuantizedLinear"
    layers = {"rank": 4, "scale": 20.0, "dropout": 0.0}
    model, _ = mlx_lm.load(folder)
    linear_to_lora_layers(model, 1, layers)
    mx.random.seed(3)
    weights = {
        name: mx.random.normal(value.shape) for name, value in tree_flatten(model.parameters()) if "lora_" in name
    }
    mx.save_safetensors(str(tmp_path / "adapters.safetensors"), weights)
    adapter = {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": layers}
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    adapted = MLXModel(folder, max_tokens=12, load_kwargs={"adapter_path": str(tmp_path)})
    said = [one.generate(USER).content for one in (made(loaded, max_tokens=12), small, adapted)]
    assert len(set(said)) == 3
    for one in (small, adapted):
        assert re.fullmatch("[ab]{4}", one.generate(USER, grammar="[ab]{4}").content)
        assert one.generate_batch([USER] * 2, grammar="c{3}")[1].content == "ccc"
        assert one.generate(USER).timings.cached_tokens > 0


# Batches


def test_rows_of_a_batch_end_by_themselves(model):
    prompts = [[{"role": "user", "content": f"{'word ' * (3 * n)}?"}] for n in range(5)]
    replies = model.generate_batch(prompts, grammar=["a{3}", "b{7}", None, "c", "(d|e){12}"], max_new_tokens=20)
    contents = [reply.content for reply in replies]
    assert contents[0] == "aaa" and contents[1] == "b" * 7 and contents[3] == "c"
    assert re.fullmatch("[de]{12}", contents[4])
    assert contents[2] == model.generate(prompts[2], max_new_tokens=20).content
    assert replies[0].finish_reason == "stop" and replies[0].timings.masks > 0 == replies[2].timings.masks
    assert [r.content for r in model.generate_batch(prompts, batch_size=2)] == [
        model.generate(prompt).content for prompt in prompts
    ]


def test_a_batch_that_fails_leaves_the_model_usable(model):
    def broken(tokens: Any, logits: Any) -> Any:
        raise RuntimeError("no")

    before = model.generate(USER).content
    for call in (lambda **o: model.generate_batch([USER] * 2, **o), lambda **o: model.generate(USER, **o)):
        with pytest.raises(ModelError, match="no"):
            call(logits_processors=[broken])
    assert model.generate(USER).content == before == model.generate_batch([USER])[0].content


# Threads and streams


def test_many_threads(model, fresh):
    prompts = [[{"role": "user", "content": f"Thread {n} asks."}] for n in range(6)]
    expected = [fresh.generate(prompt).content for prompt in prompts]
    with ThreadPoolExecutor(6) as pool:
        assert [r.content for r in pool.map(model.generate, prompts)] == expected
        streamed = pool.map(lambda prompt: model.generate_stream(prompt).drain().content, prompts)
        assert list(streamed) == expected


def test_two_streams_take_turns(model):
    with model.generate_stream(USER, max_new_tokens=400) as slow:
        next(slow)
        # The first is not at its end, and needn't be for the second to be served.
        assert model.generate_stream(USER, max_new_tokens=5).drain().token_usage.output_tokens == 5
        next(slow)
    deadline = time.monotonic() + 2
    while any(t.name.startswith("fairlead") for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert model.generate(USER, max_new_tokens=3).token_usage.output_tokens == 3


def test_sampling_from_several_threads_with_a_seed(model):
    one = model.generate(USER, temperature=1.5, seed=7).content
    assert model.generate(USER, temp=1.5, seed=7).content == one
    with ThreadPoolExecutor(3) as pool:
        replies = [pool.submit(model.generate, USER, temperature=1.5, top_p=0.9, top_k=40) for _ in range(3)]
        assert all(reply.result().content for reply in replies)


# Mistakes


@pytest.mark.parametrize(
    "wrong",
    [
        {"do_sample": True},
        {"draft_model": "tiny"},
        {"temperature": 0.5, "sampler": lambda logits: mx.argmax(logits, -1)},
        {"prefill_step_size": 0},
        {"jump_forward": True},
        {"top_p": "high", "temperature": 1.0},
    ],
)
def test_options_that_cannot_be_used(model, wrong):
    for call in (model.generate, lambda messages, **more: model.generate_batch([messages], **more)):
        with pytest.raises((ConfigurationError, ModelError)):
            call(USER, **wrong)
    with pytest.raises((ConfigurationError, ModelError)):
        model.generate_stream(USER, **wrong).drain()


def test_a_sampler_that_goes_against_the_mask(model):
    # The least likely token is a masked one.
    def worst(logits: Any) -> Any:
        return mx.argmin(logits, -1)

    for call in (model.generate, lambda messages, **more: model.generate_batch([messages], **more)):
        with pytest.raises(ModelError, match="against the mask"):
            call(USER, grammar="a{9}", sampler=worst)
    assert model.generate(USER, grammar="a{9}").content == "a" * 9


def test_images_and_folders(model, tmp_path):
    image = pytest.importorskip("PIL.Image").new("RGB", (4, 4))
    with pytest.raises(MessageError, match="only text"):
        model.generate([{"role": "user", "content": [{"type": "image", "image": image}]}])
    with pytest.raises(ConfigurationError, match="Failed to load"):
        MLXModel(str(tmp_path))


def test_a_missing_package_is_named(tiny_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlx_lm", None)
    with pytest.raises(MissingDependencyError, match=r"fairlead\[mlx\]"):
        MLXModel(tiny_dir)


def test_a_processor_may_ask_a_model(loaded, model):
    asked = []

    def asks(tokens: Any, logits: Any) -> Any:
        if not asked:
            asked.append(model.generate(USER, max_new_tokens=2))
        return logits

    assert made(loaded, logits_processors=[asks]).generate(USER).content == model.generate(USER).content
    assert asked[0].token_usage.output_tokens == 2


# As a model of agents


def test_it_is_saved_and_loaded(tiny_dir):
    model = MLXModel(tiny_dir, max_tokens=9, prefix_cache_bytes=1 << 20, load_kwargs={"lazy": True})
    data = model.to_dict()
    again = MLXModel.from_dict(data)
    assert again.to_dict() == data and again.load_kwargs == {"lazy": True} and again.prefix_cache_bytes == 1 << 20
    assert again.generate(USER).content == model.generate(USER).content
    assert again.generate(USER).token_usage.output_tokens == 9


def test_a_code_agent(loaded):
    smolagents = pytest.importorskip("smolagents")
    text = "Thought: multiply.\n<code>\nfinal_answer(6 * 7)\n</code>"
    model = made(loaded, max_new_tokens=200, logits_processors=[Said(loaded[1], text)])
    agent = smolagents.CodeAgent(tools=[], model=model, max_steps=2, verbosity_level=0)
    assert agent.run("What is six times seven?") == 42
    assert agent.run("And once more?", reset=False) == 42
    agent = smolagents.CodeAgent(tools=[], model=model, max_steps=2, verbosity_level=0, stream_outputs=True)
    assert agent.run("What is six times seven?") == 42
