"""How a TransformersModel is loaded, and what a call may pass on."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fairlead import ConfigurationError, MissingDependencyError, ModelError  # noqa: E402
from fairlead.models import TransformersModel  # noqa: E402

from .conftest import Counting, Script  # noqa: E402

USER = [{"role": "user", "content": "Please answer."}]


def test_several_end_tokens(tiny):
    ends = [tiny.tokenizer.encode(word, add_special_tokens=False)[0] for word in ("Anna", " Oslo")]
    config = tiny.model.generation_config
    before = config.eos_token_id
    config.eos_token_id = [before, *ends]
    try:
        model = TransformersModel.from_loaded(tiny.model, tiny.tokenizer, max_new_tokens=30)
        for end in ends:
            said = "one two" + tiny.tokenizer.decode([end]) + " three"
            reply = model.generate(USER, logits_processor=[Script(tiny.tokenizer, said)])
            assert reply.content == "one two" and reply.finish_reason == "stop"
        assert set(model.tokenizer_info.stop_token_ids) == {before, *ends}
        assert model.generate(USER, grammar="(yes|no)").content in ("yes", "no")
    finally:
        config.eos_token_id = before


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({"torch_dtype": "bfloat16"}, "bfloat16"),
        ({"torch_dtype": torch.float16}, "float16"),
        ({"dtype": torch.bfloat16}, "bfloat16"),
        ({"model_kwargs": {"attn_implementation": "eager"}}, "float32"),
        ({"device_map": {"": "cpu"}}, "float32"),
        ({"device_map": "auto"}, "float32"),
    ],
    ids=str,
)
def test_loading(tiny_dir, options, dtype):
    model = TransformersModel(tiny_dir, **{"device_map": "cpu", **options}, max_new_tokens=8)
    assert model.model.dtype == getattr(torch, dtype)
    assert model.generate(USER, grammar="[ab]{4}").content.strip("ab") == ""
    history = [*USER, {"role": "assistant", "content": "x"}, *USER]
    assert model.generate(history).timings.cached_tokens > 0
    saved = TransformersModel.from_dict(model.to_dict())
    assert saved.model.dtype == model.model.dtype


def test_remote_code_is_refused_unless_allowed(tiny_dir, tmp_path):
    folder = tmp_path / "custom"
    folder.mkdir()
    config = json.loads((Path(tiny_dir) / "config.json").read_text())
    config["model_type"] = "custom"
    config["auto_map"] = {"AutoConfig": "custom.Config", "AutoModelForCausalLM": "custom.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "custom.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ConfigurationError):
        TransformersModel(str(folder), device_map="cpu")


def test_an_adapter(tiny, tiny_dir, tmp_path, monkeypatch):
    peft = pytest.importorskip("peft")
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_dir)
    torch.manual_seed(0)
    adapted = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    wrapped = TransformersModel.from_loaded(adapted, tiny.tokenizer, max_new_tokens=12)
    adapted.save_pretrained(tmp_path)
    # Its own tokenizer, if there is one, comes before that of its base.
    model = TransformersModel(str(tmp_path), device_map="cpu", max_new_tokens=12)
    assert model.tokenizer.eos_token == tiny.tokenizer.eos_token
    tiny.tokenizer.save_pretrained(tmp_path)
    own = TransformersModel(str(tmp_path), device_map="cpu", max_new_tokens=12)
    assert own.tokenizer.name_or_path == str(tmp_path)
    said = {one.generate(USER).content for one in (model, own, wrapped)}
    assert len(said) == 1 and said != {tiny.generate(USER, max_new_tokens=12).content}
    for one in (model, wrapped):
        assert re.fullmatch("[ab]{4}", one.generate(USER, grammar="[ab]{4}").content)
        rows = one.generate_batch([USER] * 2, grammar="[ab]{4}")
        assert all(re.fullmatch("[ab]{4}", row.content) for row in rows)
        assert one.generate(USER).timings.cached_tokens > 0
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingDependencyError, match=r"fairlead\[adapters\]"):
        TransformersModel(str(tmp_path), device_map="cpu")


def test_an_adapter_without_its_base(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": None}))
    with pytest.raises(ConfigurationError, match="Failed to load"):
        TransformersModel(str(tmp_path), device_map="cpu")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "gone")}))
    with pytest.raises(ConfigurationError, match="Failed to load"):
        TransformersModel(str(tmp_path), device_map="cpu")


def test_a_quantised_model(tiny_dir):
    pytest.importorskip("optimum.quanto")
    model = TransformersModel(
        tiny_dir,
        device_map="cpu",
        max_new_tokens=12,
        model_kwargs={"quantization_config": transformers.QuantoConfig(weights="int8")},
    )
    # How it is quantised is saved with it.
    again = TransformersModel.from_dict(json.loads(json.dumps(model.to_dict())))
    for one in (model, again):
        assert type(one.model.model.layers[0].self_attn.q_proj).__name__ == "QLinear"
        assert re.fullmatch("[ab]{4}", one.generate(USER, grammar="[ab]{4}", jump_forward=True).content)
        assert one.generate(USER).timings.cached_tokens > 0
    assert model.generate(USER).content == again.generate(USER).content == model.generate_batch([USER] * 2)[1].content


def test_options_of_generate_pass(tiny):
    reply = tiny.generate(USER, repetition_penalty=1.5, top_k=5, do_sample=True, min_new_tokens=6)
    assert reply.token_usage.output_tokens >= 6
    processor = Script(tiny.tokenizer, "said")
    assert tiny.generate(USER, logits_processor=[processor]).content.startswith("said")


def test_a_token_without_an_embedding(tiny_dir):
    model = TransformersModel(tiny_dir, device_map="cpu", max_new_tokens=4)
    model.tokenizer.add_tokens(["Unheard"])
    with pytest.raises(ModelError):
        model.generate([{"role": "user", "content": "Unheard of."}])
    with pytest.raises(ModelError):
        list(model.generate_stream([{"role": "user", "content": "Unheard of."}]))
    assert model.generate(USER).content


def test_pictures_side_by_side(vlm):
    from PIL import Image

    def ask(text: str, *shades: int) -> list[dict[str, Any]]:
        pictures = [{"type": "image", "image": Image.new("RGB", (28, 28), (shade, 9, 200))} for shade in shades]
        return [{"role": "user", "content": [*pictures, {"type": "text", "text": text}]}]

    prompts = [ask("What is this?", 10), ask("And these? " * 5, 200, 90), ask("No picture.")]
    alone = [vlm.generate(prompt).content for prompt in prompts]
    with Counting(vlm.model) as count:
        together = vlm.generate_batch(prompts)
    assert [reply.content for reply in together] == alone and count.passes <= 12
    held = vlm.generate_batch(prompts, grammar=["[ab]{3}", None, "[0-9]{3}"])
    assert held[0].content.strip("ab") == "" and held[1].content == alone[1] and held[2].content.isdigit()


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"output_logits": True, "return_dict_in_generate": True}])
def test_masks_are_put_in_place_unless_somebody_looks_at_the_raw_scores(tiny, monkeypatch, options):
    from fairlead import logits_processor

    made = []
    usual = logits_processor.LogitsProcessor

    def noted(*args, **kwargs):
        made.append(kwargs["inplace"])
        return usual(*args, **kwargs)

    monkeypatch.setattr(logits_processor, "LogitsProcessor", noted)
    message = [{"role": "user", "content": "Go on."}]
    tiny.generate(message, grammar="[a-z]{3}", **options)
    tiny.generate_batch([message] * 2, grammar="[a-z]{3}", **options)
    assert set(made) == {"output_logits" not in options} and len(made) >= 2
