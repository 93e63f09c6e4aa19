"""From messages and tools to the prompt; models that lack what is usual."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from fairlead import ConfigurationError, MessageError, TokenizerError, TransformersModel  # noqa: E402
from fairlead.models import MessageRole, get_tool_json_schema  # noqa: E402

from tests import tiny as tiny_tokenizers  # noqa: E402

USER = [{"role": "user", "content": "Please answer."}]


class Lookup:
    name = "lookup"
    description = "Looks a word up."
    inputs: dict[str, Any] = {"word": {"type": "string", "description": "The word."}}  # noqa: RUF012
    output_type = "string"


def prompt_of(model: TransformersModel, messages: Any, **kwargs: Any) -> str:
    request = model._prepare_request(messages, **kwargs)
    return model.tokenizer.decode(request.prompt.token_ids)


def test_the_chat_template_makes_the_prompt(tiny):
    history = [
        {"role": MessageRole.SYSTEM, "content": [{"type": "text", "text": "s"}]},
        {"role": "user", "content": "u"},
        {"role": "tool-call", "content": "c"},
        {"role": "tool-response", "content": "r"},
    ]
    assert prompt_of(tiny, history) == (
        "<|begin|><|system|>s<|end|><|user|>u<|end|><|assistant|>c<|end|><|user|>r<|end|><|assistant|>"
    )


def test_tools_go_through_the_template(tiny):
    import json

    prompt = prompt_of(tiny, USER, tools_to_call_from=[Lookup()])
    line = next(line for line in prompt.splitlines() if "lookup" in line)
    assert json.loads(line.partition("Tools:")[2] or line) == get_tool_json_schema(Lookup())
    assert tiny.generate(USER, tools_to_call_from=[Lookup()], max_tokens=2).tool_calls is None


def test_arguments_for_the_template(tiny):
    template = "{{ mood }}<|assistant|>"
    model = TransformersModel.from_loaded(
        tiny.model, tiny.tokenizer, apply_chat_template_kwargs={"chat_template": template, "mood": "calm"}
    )
    assert prompt_of(model, USER) == "calm<|assistant|>"


def test_no_template(tiny, monkeypatch):
    monkeypatch.setattr(tiny.tokenizer, "chat_template", None)
    with pytest.raises(ConfigurationError, match="chat template"):
        tiny.generate(USER)


@pytest.mark.parametrize("template", ["{{ raise_exception('no system role') }}", "{% for %}"])
def test_a_template_that_refuses(tiny, monkeypatch, template):
    monkeypatch.setattr(tiny.tokenizer, "chat_template", template)
    with pytest.raises(MessageError, match="refused"):
        tiny.generate(USER)


def test_no_messages(tiny):
    with pytest.raises(MessageError):
        tiny.generate([])


def test_a_vocabulary_without_exact_bytes_generates_but_cannot_be_held():
    tokenizer = tiny_tokenizers.wordpiece()
    model = TransformersModel.from_loaded(tiny_tokenizers.llama(tokenizer), tokenizer, max_new_tokens=6)
    assert model.tokenizer_info is None
    whole = model.generate(USER)
    assert model.generate_stream(USER).drain().content == whole.content
    with pytest.raises(TokenizerError):
        model.generate(USER, grammar="[a-z]+")


@pytest.mark.parametrize("kind", ["byte_fallback_bpe", "metaspace_unigram"])
def test_other_vocabularies(kind):
    tokenizer = getattr(tiny_tokenizers, kind)()
    model = TransformersModel.from_loaded(tiny_tokenizers.llama(tokenizer), tokenizer, max_new_tokens=30)
    reply = model.generate(USER, response_format={"type": "array", "items": {"enum": ["a", "é"]}, "maxItems": 2})
    assert reply.finish_reason == "length" or all(item in ("a", "é") for item in reply.parsed)
    text = model.generate(USER, max_new_tokens=12).content
    direct = model._render([{"role": "user", "content": "Please answer."}], None).inputs
    out = model.model.generate(**direct, max_new_tokens=12, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    new = out[0, direct["input_ids"].shape[1] :]
    assert text.replace("\ufffd", "") == tokenizer.decode(new, skip_special_tokens=True).replace("\ufffd", "")
