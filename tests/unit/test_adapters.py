"""Adapters for loops that aren't ours."""

from __future__ import annotations

import json
import re
from typing import Any

import fairlead
import pytest
from fairlead import ConfigurationError, GrammarCompiler, GrammarError, LimitExceeded, TokenizerInfo
from fairlead.adapters import MLXLogitsProcessor, constrain_continuous_batching

SCHEMA = {
    "type": "object",
    "properties": {"a": {"enum": ["x", "yy"]}, "b": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3}},
    "required": ["a", "b"],
    "additionalProperties": False,
}

# mlx-lm


@pytest.fixture(scope="module")
def mlx_model() -> tuple[Any, Any, GrammarCompiler]:
    mlx_lm = pytest.importorskip("mlx_lm")
    pytest.importorskip("torch")
    from fairlead.testing import tiny_model_dir

    model, tokenizer = mlx_lm.load(str(tiny_model_dir()))
    return model, tokenizer, GrammarCompiler(TokenizerInfo.from_mlx(tokenizer))


def test_mlx_generation(mlx_model):
    import mlx_lm

    model, tokenizer, compiler = mlx_model
    compiled = compiler.compile_json_schema(SCHEMA, whitespace="compact")
    text = mlx_lm.generate(model, tokenizer, "Hello", max_tokens=200, logits_processors=[MLXLogitsProcessor(compiled)])
    assert json.loads(text)["a"] in ("x", "yy")


def test_mlx_within_a_budget(mlx_model):
    import mlx_lm

    model, tokenizer, compiler = mlx_model
    compiled = compiler.compile_json_schema({"type": "array", "items": {"type": "string"}, "minItems": 1})
    bounded = [MLXLogitsProcessor(compiled, token_budget=8)]
    assert json.loads(mlx_lm.generate(model, tokenizer, "Hello", max_tokens=8, logits_processors=bounded))
    with pytest.raises(LimitExceeded):
        MLXLogitsProcessor(compiled, token_budget=2)


def test_mlx_with_a_draft_model(mlx_model):
    import mlx_lm

    model, tokenizer, compiler = mlx_model
    compiled = compiler.compile_regex("[a-c]{4}-[0-9]{6}")
    responses = mlx_lm.stream_generate(
        model, tokenizer, "Hello", max_tokens=50, draft_model=model, num_draft_tokens=2,
        logits_processors=[MLXLogitsProcessor(compiled)],
    )  # fmt: skip
    assert re.fullmatch("[a-c]{4}-[0-9]{6}", "".join(response.text for response in responses))


def test_mlx_rows_of_a_batch(mlx_model):
    from mlx_lm.generate import BatchGenerator

    model, tokenizer, compiler = mlx_model
    compiled = [compiler.compile_regex(pattern) for pattern in ("[ab]{3}", "[0-9]{5}")]
    batch = BatchGenerator(model, stop_tokens=[[token] for token in tokenizer.eos_token_ids])
    prompt = tokenizer.encode("Hello")
    processors = [[MLXLogitsProcessor(compiled[0])], [MLXLogitsProcessor(compiled[1])]]
    uids = batch.insert([prompt, prompt + prompt], max_tokens=[20, 20], logits_processors=processors)
    tokens: dict[int, list[int]] = {uid: [] for uid in uids}
    for _ in range(60):
        found = batch.next()
        responses = found[1] if isinstance(found, tuple) else found
        for response in responses:
            tokens[response.uid].append(response.token)
        if all(ids and ids[-1] in tokenizer.eos_token_ids for ids in tokens.values()):
            break
    texts = [tokenizer.decode([t for t in tokens[uid] if t not in tokenizer.eos_token_ids]) for uid in uids]
    assert re.fullmatch("[ab]{3}", texts[0]) and re.fullmatch("[0-9]{5}", texts[1])


def test_mlx_steps_that_go_back():
    mx = pytest.importorskip("mlx.core")
    info = TokenizerInfo(["a", "b", "c", None], stop_token_ids=[3])
    processor = MLXLogitsProcessor(GrammarCompiler(info).compile_regex("ab*c"))

    def allowed(*tokens: int) -> list[int]:
        logits = processor(mx.array([9, 9, *tokens]), mx.zeros((1, 5)))
        return [token for token, value in enumerate(logits[0].tolist()) if value == 0]

    assert allowed() == [0] and allowed(0) == [1, 2] and allowed(0, 1) == [1, 2]
    assert allowed(0, 1, 2) == [3] and allowed(0, 1, 2, 3) == [3]
    assert allowed(0, 2) == [3] and allowed(0, 1, 1) == [1, 2] and allowed() == [0]
    with pytest.raises(GrammarError):
        allowed(1)
    with pytest.raises(ConfigurationError):
        processor(mx.array([9]), mx.zeros((1, 5)))
    with pytest.raises(ConfigurationError):
        MLXLogitsProcessor(GrammarCompiler(TokenizerInfo(["a"], stop_token_ids=[])).compile_regex("a"))


# Transformers' continuous batching


@pytest.fixture
def manager() -> Any:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, "ContinuousBatchingConfig"):
        pytest.skip("this Transformers has no continuous batching")
    from fairlead.testing import tiny_model_dir

    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_model_dir())
    config = transformers.ContinuousBatchingConfig(
        num_blocks=16, max_batch_tokens=64, use_async_batching=False, use_cuda_graph=False
    )
    made = model.init_continuous_batching(continuous_batching_config=config)
    yield made
    if made._generation_thread is not None:
        made.stop(block=True, timeout=10)


def test_continuous_batching(manager, caplog):
    import transformers
    from fairlead.testing import tiny_model_dir

    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model_dir())
    compiler = GrammarCompiler(TokenizerInfo.from_huggingface(tokenizer, model=manager.model))
    constrain_continuous_batching(manager)
    manager.start()
    wanted = {"[ab]{3}": None, "[0-9]{5}": None, "(yes|no)": None, "": None, "a[0-9]{2,}b": 8, "[0-9]{6}": 2}
    ids = tokenizer("Hello").input_ids
    for pattern, budget in wanted.items():
        more = {"grammar": compiler.compile_regex(pattern)} if pattern else {}
        if budget is not None:
            more["token_budget"] = budget
        wanted[pattern] = manager.add_request(ids, max_new_tokens=budget if budget == 8 else 12, **more)
    found: dict[str, Any] = {}
    while len(found) < len(wanted):
        result = manager.get_result(timeout=30)
        if result is not None and result.is_finished():
            found[result.request_id] = tokenizer.decode(result.generated_tokens, skip_special_tokens=True)
    for pattern, request in wanted.items():
        assert not pattern or re.fullmatch(pattern, found[request])
    assert "a budget of 2 tokens is too small" in caplog.text
    with pytest.raises(ConfigurationError, match="runs already"):
        constrain_continuous_batching(manager)


def test_continuous_batching_that_runs_ahead(manager):
    manager.continuous_batching_config.use_async_batching = True
    with pytest.raises(ConfigurationError, match="use_async_batching"):
        constrain_continuous_batching(manager)
    manager.continuous_batching_config.use_async_batching = False
    manager.continuous_batching_config.use_cuda_graph = (True, False)
    with pytest.raises(ConfigurationError, match="use_cuda_graph"):
        constrain_continuous_batching(manager)


def test_names():
    assert fairlead.MLXLogitsProcessor is MLXLogitsProcessor
