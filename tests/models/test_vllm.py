"""VLLMModel beyond what every local backend promises: one engine for all callers, and what happens when it fails."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")

from fairlead import (
    ConfigurationError,
    FairleadError,
    Grammar,
    LimitExceeded,
    ModelError,
    UnsupportedSchemaError,
    VLLMModel,
)
from fairlead.testing import tiny_model_dir

pytestmark = pytest.mark.vllm

USER = [{"role": "user", "content": "Please answer."}]
OPTIONS: dict[str, Any] = {
    "gpu_memory_utilization": 0.3,
    "kv_cache_memory_bytes": 100_000_000,
    "enforce_eager": True,
    "dtype": "float32",
    "max_model_len": 2048,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "pick",
        "description": "Pick a side.",
        "parameters": {"type": "object", "properties": {"side": {"enum": ["left", "right"]}}, "required": ["side"]},
    },
}


def make(**kwargs: Any) -> VLLMModel:
    folder = str(tiny_model_dir(head_dim=32))
    return VLLMModel(folder, **{"model_kwargs": OPTIONS, "max_tokens": 40, **kwargs})


@pytest.fixture(scope="module")
def model() -> Iterator[VLLMModel]:
    with make() as made:
        yield made


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def idle(model: VLLMModel) -> bool:
    return model.engine.get_num_unfinished_requests() == 0


# one engine for all callers


def test_ten_streams_at_once_say_what_each_says_alone(model):
    prompts = [[{"role": "user", "content": f"Question {n}. " * (n + 1)}] for n in range(10)]
    alone = [model.generate(prompt).content for prompt in prompts]
    together: list[str] = [""] * 10
    most = 0
    begun = threading.Barrier(10)

    def read(n: int) -> None:
        nonlocal most
        begun.wait()
        for delta in model.generate_stream(prompts[n]):
            together[n] += delta.content or ""
            most = max(most, model.engine.get_num_unfinished_requests())

    threads = [threading.Thread(target=read, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Ten rows in one product of matrices are not rounded as one is: most answers are the same, not all must be.
    assert sum(a == b for a, b in zip(alone, together, strict=True)) >= 8 and all(together)
    assert most > 5


def test_constraints_of_several_callers_side_by_side(model):
    async def run() -> tuple[list[Any], int]:
        patterns = ["[0-9]{30}", "[a-f]{20}", "x{30}", "(yes){20}"] * 4
        tasks = [asyncio.create_task(model.agenerate(USER, grammar=pattern, max_tokens=100)) for pattern in patterns]
        most = 0
        while not all(task.done() for task in tasks):
            most = max(most, model.engine.get_num_unfinished_requests())
            await asyncio.sleep(0.002)
        return list(zip(patterns, [task.result() for task in tasks], strict=True)), most

    replies, most = asyncio.run(run())
    for pattern, reply in replies:
        assert re.fullmatch(pattern, reply.content) and reply.finish_reason == "stop"
    assert most > 8


def test_a_closed_stream_ends_the_request(model):
    with model.generate_stream(USER, max_tokens=1900) as stream:
        next(stream)
        assert not idle(model)
    assert eventually(lambda: idle(model))
    stream = model.generate_stream(USER)
    assert idle(model), "nothing begins before the first delta is asked for"
    stream.close()


def test_a_cancelled_task_ends_the_request(model):
    async def run() -> None:
        task = asyncio.create_task(model.agenerate(USER, max_tokens=1900))
        while idle(model):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert eventually(lambda: idle(model))


def test_a_stop_sequence_ends_the_request(model):
    text = model.generate(USER).content
    reply = model.generate(USER, stop_sequences=[text[5:8]], max_tokens=1900)
    assert reply.content == text[: text.find(text[5:8])]
    assert eventually(lambda: idle(model))


def test_the_prefix_cache_is_counted(model):
    long = [{"role": "user", "content": "The same beginning. " * 40}]
    model.generate(long, max_tokens=1)
    again = model.generate(long, max_tokens=1)
    assert 0 < again.timings.cached_tokens < again.token_usage.input_tokens


# options


def test_sampling_options(model):
    same = [model.generate(USER, temperature=1.5, seed=3).content for _ in range(2)]
    assert same[0] == same[1] != model.generate(USER, temperature=1.5, seed=4).content
    digit = model.tokenizer.encode("7", add_special_tokens=False)[0]
    assert model.generate(USER, max_tokens=5, logit_bias={digit: 100.0}).content == "77777"
    reply = model.generate(USER, logit_bias={digit: 100.0}, stop_token_ids=[digit])
    assert reply.finish_reason == "stop" and reply.content == "" and reply.token_usage.output_tokens == 1
    assert model.generate(USER, max_tokens=None).token_usage.output_tokens <= 2048


@pytest.mark.parametrize(
    "wrong",
    [
        {"temprature": 1.0},
        {"temperature": -1.0},
        {"n": 2},
        {"logprobs": 3},
        {"stop_token_ids": [10**9]},
        {"structured_outputs": {}},
        {"jump_forward": True},
    ],
    ids=str,
)
def test_options_that_there_are_not(model, wrong):
    with pytest.raises(ConfigurationError):
        model.generate(USER, **wrong)
    with pytest.raises(ConfigurationError):
        model.generate_stream(USER, **wrong).drain()
    assert model.generate(USER, max_tokens=2).token_usage.output_tokens == 2


def test_arguments_of_the_constructor():
    with pytest.raises(ConfigurationError, match="constraint_engine"):
        make(constraint_engine="other")
    with pytest.raises(ConfigurationError, match="Failed to load"):
        VLLMModel("/nowhere/at/all", model_kwargs=OPTIONS)
    with pytest.raises(ConfigurationError, match="outlines"):
        make(model_kwargs={**OPTIONS, "structured_outputs_config": {"backend": "outlines"}})


def test_it_can_be_saved(model):
    data = json.loads(json.dumps(model.to_dict()))
    assert data["model_kwargs"] == OPTIONS and data["model_id"] == model.model_id


# constraints


def test_grammars_with_options_and_joined_ones(model):
    compact = Grammar.json_schema({"type": "array", "items": {"enum": [1, 2]}, "minItems": 3}, whitespace="compact")
    reply = model.generate(USER, grammar=compact, max_tokens=300)
    assert " " not in reply.content and len(reply.parsed) >= 3
    joined = Grammar.regex("[0-9]{2}") + Grammar.choice(["px", "em"])
    assert re.fullmatch("[0-9]{2}(px|em)", model.generate(USER, grammar=joined).content)
    deep: Any = {"type": "array", "items": {"type": "integer"}, "not": {"uniqueItems": True}}
    with pytest.raises(UnsupportedSchemaError):
        model.generate(USER, response_format=deep)


def test_more_stop_tokens_with_a_constraint(model):
    digit = model.tokenizer.encode("7", add_special_tokens=False)[0]
    reply = model.generate(USER, grammar="[0-9]{8}", stop_token_ids=[digit])
    assert re.fullmatch("[0-9]{8}", reply.content)


@pytest.mark.filterwarnings("ignore:the chat template")
def test_a_required_call(model):
    reply = model.generate(USER, tools_to_call_from=[TOOL], tool_choice="required", max_tokens=300)
    assert reply.tool_calls[0].function.name == "pick"


def test_a_constraint_behind_reasoning(model):
    reply = model.generate(USER, grammar="yes|no", reasoning=("<|", "e"), max_tokens=1000)
    assert reply.content in ("yes", "no") and reply.reasoning


@pytest.mark.parametrize("reasoning", [None, ("<|", "e")])
def test_an_answer_ends_within_its_tokens(model, reasoning):
    wanted = {
        "response_format": {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "array", "items": {"type": "number"}}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
        "reasoning": reasoning,
    }
    with pytest.raises(LimitExceeded, match="a budget of 3 tokens is too small") as refused:
        model.generate(USER, max_tokens=3, **wanted)
    least = int(re.search(r"takes (\d+)", str(refused.value))[1])
    for limit in (least, least + 1, least + 15):
        reply = model.generate(USER, max_tokens=limit, temperature=1.0, seed=limit, **wanted)
        assert reply.finish_reason == "stop" and isinstance(reply.parsed["a"], str)
        assert reply.token_usage.output_tokens <= limit
    cut = model.generate(USER, grammar="a{30,}", max_tokens=5, token_budget=None)
    assert cut.finish_reason == "length" and cut.content == "aaaaa"
    rows = model.generate_batch([USER] * 3, max_tokens=least + 4, temperature=1.0, **wanted)
    assert all(row.parsed and row.token_usage.output_tokens <= least + 4 for row in rows)


# what goes wrong


def test_a_step_that_fails(model, monkeypatch):
    whole = model.generate(USER).content
    runner = model.engine.model_executor.driver_worker.worker.model_runner
    for place in ("execute_model", "sample_tokens"):
        with monkeypatch.context() as patch:

            def fail(*args: Any, **kwargs: Any) -> Any:
                raise RuntimeError("out of luck")

            patch.setattr(runner, place, fail)
            with pytest.raises(ModelError, match="out of luck"):
                model.generate(USER)
            stream = model.generate_stream(USER)
            with pytest.raises(ModelError, match="out of luck"):
                list(stream)
            with pytest.raises(ModelError, match="out of luck"):
                model.generate_batch([USER] * 3)
        assert eventually(lambda: idle(model))
        assert model.generate(USER).content == whole


def test_a_token_against_the_mask(model, monkeypatch):
    from fairlead.vllm import FairleadGrammar

    with monkeypatch.context() as patch:
        patch.setattr(FairleadGrammar, "accept_tokens", lambda *args: False)
        with pytest.raises(ModelError, match="against the mask"):
            model.generate(USER, grammar="[0-9]{4}")
    assert re.fullmatch("[0-9]{4}", model.generate(USER, grammar="[0-9]{4}").content)


def test_an_engine_that_is_closed_while_it_generates():
    model = make()
    stream = model.generate_stream(USER, max_tokens=1900)
    next(stream)
    model.close()
    with pytest.raises(ModelError, match="closed"):
        list(stream)
    with pytest.raises(ModelError, match="closed"):
        model.generate(USER)
    model.cleanup()


def test_one_of_two_engines_is_closed(model):
    with make() as other:
        assert other.generate(USER, max_tokens=3).content == model.generate(USER, max_tokens=3).content
    assert model.generate(USER, max_tokens=3).token_usage.output_tokens == 3
    with make() as third:
        assert re.fullmatch("[0-9]{3}", third.generate(USER, grammar="[0-9]{3}").content)
    assert re.fullmatch("[0-9]{3}", model.generate(USER, grammar="[0-9]{3}").content)


def test_an_engine_that_is_forgotten():
    model = make()
    thread = model._engine_thread._thread
    assert model.generate(USER, max_tokens=2).content is not None
    del model
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()


_DRAFTS = """
import json, sys
from fairlead import VLLMModel

drafts = {{"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 3, "prompt_lookup_min": 1}}
with VLLMModel({folder!r}, model_kwargs={{**{options!r}, "speculative_config": drafts}}) as model:
    ask = [{{"role": "user", "content": "ab ab ab ab ab ab 1212121212"}}]
    replies = model.generate_batch([ask] * 3, grammar={patterns!r}, max_tokens=200)
    print("RESULT " + json.dumps([[reply.content, reply.finish_reason] for reply in replies]))
"""


def test_constraints_with_speculative_decoding():
    patterns = ["(ab ){12}", "[12]{40}", "yes|no"]
    script = _DRAFTS.format(folder=str(tiny_model_dir(head_dim=32)), options=OPTIONS, patterns=patterns)
    # In a process of its own: its n-grams load numba, and where that is loaded vLLM starts no further engine.
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200, check=False)
    found = re.search(r"^RESULT (.*)$", done.stdout, re.M)
    assert found, done.stderr[-2000:]
    for pattern, (content, reason) in zip(patterns, json.loads(found[1]), strict=True):
        assert re.fullmatch(pattern, content) and reason == "stop"


# images


def test_images(tmp_path):
    pytest.importorskip("torchvision", reason="vLLM's vision-language models import it")
    from PIL import Image

    _save_vision_model(tmp_path)
    red, blue = (Image.new("RGB", (28, 28), color) for color in ("red", "blue"))

    def ask(*images: Any) -> list[dict[str, Any]]:
        parts = [{"type": "image", "image": image} for image in images]
        return [{"role": "user", "content": [*parts, {"type": "text", "text": "What is it?"}]}]

    with VLLMModel(
        str(tmp_path), model_kwargs={**OPTIONS, "limit_mm_per_prompt": {"image": 1}}, max_tokens=12
    ) as model:
        seen = [model.generate(ask(image)) for image in (red, blue, red)]
        assert seen[0].content == seen[2].content != seen[1].content
        assert seen[0].token_usage.input_tokens >= 4 + model.generate(ask()).token_usage.input_tokens
        assert re.fullmatch("[0-9]{3}", model.generate(ask(red), grammar="[0-9]{3}").content)
        assert model.generate(USER).content
        for wrong in (ask(red, blue), [{"role": "user", "content": [{"type": "image", "image": b"no image"}]}]):
            with pytest.raises(FairleadError):
                model.generate(wrong)
        with pytest.raises(FairleadError, match="fetch"):
            image = {"type": "image_url", "image_url": {"url": "http://example.com/a.png"}}
            model.generate([{"role": "user", "content": [image]}])
        assert model.generate(ask(blue)).content == seen[1].content


def _save_vision_model(folder: Any) -> None:
    import torch
    import transformers as hf
    from safetensors.torch import load_file, save_file

    tokenizer = hf.AutoTokenizer.from_pretrained(tiny_model_dir())
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128, "hidden_size": 64}
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(image_size=28, patch_size=14, projection_dim=64, **sizes),
        text_config=hf.LlamaConfig(
            vocab_size=len(tokenizer), num_key_value_heads=1, head_dim=32, initializer_range=0.4, **sizes
        ),
        image_token_index=image_id,
        image_token_id=image_id,
        vision_feature_select_strategy="default",
        architectures=["LlavaForConditionalGeneration"],
    )
    torch.manual_seed(0)
    model = hf.LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for weights in model.model.vision_tower.parameters():
            weights.mul_(6)
        for weights in model.model.multi_modal_projector.parameters():
            weights.mul_(20)
    template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{% if m['content'] is string %}{{ m['content'] }}{% else %}"
        "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}"
        "{% endfor %}{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    processor = hf.LlavaProcessor(
        image_processor=hf.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=template,
        num_additional_image_tokens=1,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    # Transformers 5 has shortened these names; vLLM knows those of published weights.
    weights = load_file(folder / "model.safetensors")
    named = {
        re.sub(r"vision_tower\.(?!vision_model)", "vision_tower.vision_model.", name): weights[name] for name in weights
    }
    save_file(named, folder / "model.safetensors", {"format": "pt"})


# constraints by vLLM's own engines


def test_constraints_by_vllm():
    with make(constraint_engine="vllm") as model:
        schema = {
            "type": "object",
            "properties": {"side": {"enum": ["left", "right"]}, "n": {"type": "integer", "minimum": 0, "maximum": 9}},
            "required": ["side", "n"],
            "additionalProperties": False,
        }
        reply = model.generate(USER, response_format=schema, max_tokens=400)
        assert reply.parsed["side"] in ("left", "right") and set(reply.parsed) == {"side", "n"}
        assert re.fullmatch("[0-9]{4}", model.generate(USER, grammar="[0-9]{4}").content)
        assert model.generate(USER, grammar=Grammar.choice(["port", "starboard"])).parsed in ("port", "starboard")
        assert model.generate(USER, grammar=Grammar.ebnf('root ::= "a" | "bc"')).content in ("a", "bc")
        with pytest.raises(ModelError, match="complete"):
            model.generate(USER, response_format=schema, max_tokens=2).parsed  # noqa: B018
        with pytest.raises(UnsupportedSchemaError, match="multipleOf"):
            model.generate(USER, response_format={"type": "integer", "multipleOf": 7})
        with pytest.raises(ConfigurationError, match="fairlead"):
            model.generate(USER, grammar=Grammar.lark('start: "a"'))
        with pytest.raises(ConfigurationError, match="fairlead"):
            model.generate(USER, grammar="a|b", reasoning=("<think>", "</think>"))
        with pytest.warns(UserWarning, match="template"), pytest.raises(ConfigurationError, match="fairlead"):
            model.generate(USER, tools_to_call_from=[TOOL], tool_choice="required")
        assert model.generate(USER, grammar="yes|no").content in ("yes", "no")


# processes of its own, which are gone at exit

_SCRIPT = """
import os, threading
from fairlead import VLLMModel

if __name__ == "__main__":
    model = VLLMModel({folder!r}, model_kwargs={options!r}, max_tokens=30)
    user = [{{"role": "user", "content": "Please answer."}}]
    reply = model.generate(user, grammar="[0-9]{{5}}", max_tokens=9)
    children = [one.name for one in os.scandir("/proc") if one.name.isdigit() and parent(one.name) == os.getpid()]
    print("RESULT", reply.content, len(children), *children, flush=True)
    {end}
"""
_PARENT = """
def parent(pid):
    try:
        return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return 0
"""


_KILL = """
    import signal, time
    from fairlead.errors import ModelError

    def timed(what):
        begun = time.monotonic()
        try:
            what()
        except ModelError as error:
            print("FAILED", f"{time.monotonic() - begun:.1f}", "engine" in str(error), flush=True)

    def stream():
        for number, _ in enumerate(model.generate_stream(user, grammar="[0-9]{400}", max_tokens=450)):
            if number == 3:
                for one in children:
                    os.kill(int(one), signal.SIGKILL)

    timed(stream)
    timed(lambda: model.generate(user))
    timed(lambda: model.generate_batch([user, user]))
"""
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="reads /proc")


def run_script(folder: Path, end: str) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(_PARENT + _SCRIPT.format(folder=str(tiny_model_dir(head_dim=32)), options=OPTIONS, end=end))
    environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    return subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=200, check=False
    )


@pytest.mark.slow
@needs_proc
def test_an_engine_in_processes_of_its_own(tmp_path):
    # No close(): the script ends, and so does all of it.
    done = run_script(tmp_path, end="")
    found = re.search(r"^RESULT (\d{5}) (\d+)(.*)$", done.stdout, re.M)
    assert done.returncode == 0 and found, done.stderr[-2000:]
    assert int(found[2]) >= 1
    assert eventually(lambda: not any(os.path.isdir(f"/proc/{pid}") for pid in found[3].split()))


@pytest.mark.slow
@needs_proc
def test_processes_that_are_gone_fail_their_requests(tmp_path):
    done = run_script(tmp_path, end=_KILL)
    failed = re.findall(r"^FAILED ([\d.]+) (\w+)$", done.stdout, re.M)
    assert done.returncode == 0 and len(failed) == 3, done.stdout[-1000:] + done.stderr[-2000:]
    assert all(float(seconds) < 5 and named == "True" for seconds, named in failed), failed
