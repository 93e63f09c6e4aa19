"""Tiny real models, made on the spot."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from fairlead.models import TransformersModel  # noqa: E402
from fairlead.testing import tiny_model_dir  # noqa: E402

# The local models' tests run on an accelerator with FAIRLEAD_TEST_DEVICE=cuda.
DEVICE = os.environ.get("FAIRLEAD_TEST_DEVICE", "cpu")


class Script:
    """A logits processor that makes a model say a text, whatever its weights think, and then something else for ever.

    The position is read off the ids, so that one object serves any number of calls.
    """

    def __init__(self, tokenizer: Any, text: str, then: str = " and so on") -> None:
        self.ids = tokenizer.encode(text, add_special_tokens=False)
        self.then = tokenizer.encode(then, add_special_tokens=False)
        self.end = tokenizer.encode("<|assistant|>", add_special_tokens=False)[0]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        forced = torch.full_like(scores, float("-inf"))
        for row, ids in enumerate(input_ids.tolist()):
            spoken = len(ids) - 1 - max(at for at, token in enumerate(ids) if token == self.end)
            if spoken < len(self.ids):
                token = self.ids[spoken]
            else:
                token = self.then[(spoken - len(self.ids)) % len(self.then)]
            forced[row, token] = 0.0
        return forced


class Counting:
    """Counts the forward passes of a model."""

    def __init__(self, model: Any) -> None:
        self.passes = 0
        self._lock = threading.Lock()
        self._handle = model.register_forward_hook(self._count)

    def _count(self, *_: Any) -> None:
        with self._lock:
            self.passes += 1

    def __enter__(self) -> Counting:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()


@pytest.fixture(scope="session")
def tiny_dir() -> str:
    return str(tiny_model_dir())


@pytest.fixture(scope="session")
def tiny(tiny_dir: str) -> TransformersModel:
    return TransformersModel(tiny_dir, device_map=DEVICE, max_new_tokens=40)


@pytest.fixture(scope="session")
def merged(tiny_dir: str) -> TransformersModel:
    """The tiny model with a token that runs past the end of `</code>`, as large vocabularies have."""
    model = TransformersModel(tiny_dir, device_map=DEVICE, max_new_tokens=40)
    model.tokenizer.add_tokens([">\n"])
    model.model.resize_token_embeddings(len(model.tokenizer), mean_resizing=False)
    return model


_VLM_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% elif c['type'] == 'text' %}{{ c['text'] }}{% endif %}"
    "{% endfor %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="session")
def vlm_dir(tiny_dir: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    import transformers as hf

    tokenizer = hf.AutoTokenizer.from_pretrained(tiny_dir)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    vision = hf.CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        projection_dim=32,
    )
    text = hf.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = hf.LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image_id,
        image_token_id=image_id,
        vision_feature_select_strategy="default",
    )
    torch.manual_seed(0)
    model = hf.LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(6)
    processor = hf.LlavaProcessor(
        image_processor=hf.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=_VLM_TEMPLATE,
        num_additional_image_tokens=1,
    )
    folder = tmp_path_factory.mktemp("vlm")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def vlm(vlm_dir: str) -> TransformersModel:
    return TransformersModel(vlm_dir, device_map=DEVICE, max_new_tokens=12)
