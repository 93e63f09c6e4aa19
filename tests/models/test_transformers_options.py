"""How a TransformersModel is loaded, and what a call may pass on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from fairlead import ConfigurationError, ModelError  # noqa: E402
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


def test_an_adapter(tiny_dir, tmp_path):
    peft = pytest.importorskip("peft")
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_dir)
    adapted = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_dir)
    model = TransformersModel.from_loaded(adapted, tokenizer, max_new_tokens=9)
    assert model.generate(USER, grammar="[ab]{4}").content.strip("ab") == ""


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
