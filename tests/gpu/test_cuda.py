"""Masks, processors, stop sequences and models on a CUDA device; skipped where there is none.

The tests of local models run there too: ``FAIRLEAD_TEST_DEVICE=cuda python -m pytest tests/models``.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import fairlead  # noqa: E402
from fairlead.models import TransformersModel  # noqa: E402
from fairlead.testing import tiny_model_dir  # noqa: E402

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

USER = [{"role": "user", "content": "Please answer."}]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "side": {"enum": ["port", "starboard"]}},
    "required": ["name", "side"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model() -> TransformersModel:
    return TransformersModel(str(tiny_model_dir()), device_map="cuda", max_new_tokens=120)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("on_device", [False, True])
def test_masks_are_those_of_the_cpu(dtype: Any, on_device: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    vocab, rows = 1000, 5
    bitmask = fairlead.allocate_token_bitmask(rows, vocab)
    words = torch.frombuffer(bitmask, dtype=torch.int32).view(rows, -1)
    words.copy_(torch.randint(-(2**31), 2**31 - 1, words.shape, generator=generator, dtype=torch.int64).to(torch.int32))
    mask: Any = words.cuda() if on_device else bitmask
    for width in (vocab, vocab + 40, vocab - 8):
        for indices in (None, [1, 3], []):
            logits = torch.randn(rows, width, generator=generator).to(dtype)
            expected, found = logits.clone(), logits.cuda()
            fairlead.apply_token_bitmask_inplace(expected, words, indices)
            fairlead.apply_token_bitmask_inplace(found, mask, indices)
            assert torch.equal(found.cpu(), expected)


def test_every_row_of_a_batch_keeps_to_its_grammar(model: TransformersModel) -> None:
    compiler = fairlead.GrammarCompiler(
        fairlead.TokenizerInfo.from_huggingface(model.tokenizer, vocab_size=model.model.config.vocab_size)
    )
    patterns = ["[0-9]{4}", "(port|starboard)", "x{2,6}y"]
    processor = fairlead.LogitsProcessor([compiler.compile_regex(pattern) for pattern in patterns])
    ids = model.tokenizer(["Which side?"] * 3, return_tensors="pt").to("cuda")
    output = model.model.generate(**ids, logits_processor=[processor], max_new_tokens=20, do_sample=True)
    for row, pattern in zip(output, patterns, strict=True):
        text = model.tokenizer.decode(row[ids["input_ids"].shape[1] :], skip_special_tokens=True)
        assert re.fullmatch(pattern, text), text


def test_stop_sequences_are_found_per_row(model: TransformersModel) -> None:
    criteria = fairlead.StopSequenceCriteria(["END"], model.tokenizer)
    texts = ["all the way to the END", "no stop in this row at all"]
    ids = [model.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    width = max(map(len, ids))
    padded = torch.tensor([[ids[0][0]] * (width - len(row)) + row for row in ids], device="cuda")
    criteria(padded[:, :1], None)
    done = [criteria(padded[:, :upto], None) for upto in range(2, width + 1)][-1]
    assert done.device.type == "cuda" and done.tolist() == [True, False]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_answers_in_every_way(dtype: str) -> None:
    model = TransformersModel(str(tiny_model_dir()), device_map="cuda", dtype=dtype, max_new_tokens=120)
    whole = model.generate(USER, response_format=SCHEMA)
    streamed = model.generate_stream(USER, response_format=SCHEMA).drain()
    assert whole.parsed["side"] in ("port", "starboard") and streamed.parsed
    if dtype == "float32":
        assert streamed.content == whole.content
    batch = model.generate_batch([USER, USER[:1]], response_format=SCHEMA)
    assert all(json.loads(message.content) == message.parsed for message in batch)
    forced = model.generate(USER, response_format=SCHEMA, jump_forward=True)
    assert forced.parsed["side"] in ("port", "starboard")
    stopped = model.generate(USER, grammar="[a-z ]{20,60}", stop_sequences=["e"], stop_inside_constraint=True)
    assert "e" not in stopped.content


def test_a_kept_prefix_changes_nothing(model: TransformersModel) -> None:
    fresh = TransformersModel.from_loaded(model.model, model.tokenizer, max_new_tokens=24, prefix_cache_bytes=0)
    kept = TransformersModel.from_loaded(model.model, model.tokenizer, max_new_tokens=24)
    history = [{"role": "system", "content": "Answer with a JSON object. " * 30}, *USER]
    for step in range(4):
        reply, again = kept.generate(history), fresh.generate(history)
        assert reply.content == again.content
        assert step == 0 or reply.timings.cached_tokens > 0
        history = [
            *history,
            {"role": "assistant", "content": reply.content},
            {"role": "user", "content": f"Go {step}."},
        ]
