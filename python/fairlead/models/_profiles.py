"""What providers and families of models can do, as data.

A profile begins with the safe default and takes each row that matches, in order; the user's own values come last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from fairlead.errors import ConfigurationError
from fairlead.tools import supports_stop_parameter

__all__ = ["Profile", "common_profile", "find_profile"]


@dataclass(frozen=True)
class Profile:
    """What a model at a provider can do.

    Attributes:
        stop: It takes stop sequences; else they are only matched here, and the stream is closed at the match.
        json_schema: It holds its answers to a JSON Schema.
        grammar: Where a regex goes: "vllm" (``structured_outputs``), "tgi" (``response_format`` of type regex), or
            None.
        tools: It takes tools.
        tool_choice_required: It takes ``tool_choice="required"``; else "auto" is sent.
        system: It takes the role system; else that text becomes the user's.
        images: It takes images; else a history with one is refused here.
        stream_usage: It takes ``stream_options={"include_usage": True}``.
        max_tokens: The name of the limit on generated tokens; "max_tokens" or "max_completion_tokens".
    """

    stop: bool = True
    json_schema: bool = False
    grammar: str | None = None
    tools: bool = True
    tool_choice_required: bool = True
    system: bool = True
    images: bool = True
    stream_usage: bool = True
    max_tokens: str = "max_tokens"


_BEDROCK = "bedrock"
# Models from before tools and vision.
_WORDS: dict[str, Any] = {"tools": False, "tool_choice_required": False, "images": False}


def _at(model: str) -> str:
    """Bedrock's names, which may begin with the region of an inference profile."""
    return rf"(?:(?:us|eu|apac|jp|au|ca|global|us-gov)\.)?(?:{model})"


# (provider, model, values): both are regular expressions that match the whole name, in lower case. What isn't known to
# work is left at the default: a stop sequence that isn't sent is still matched here, and a schema reaches a model that
# can't be held to it as a tool or in words.
_ROWS: list[tuple[str, str, dict[str, Any]]] = [
    # OpenAI: structured outputs came with gpt-4o-2024-08-06 and gpt-4o-mini; audio models have none.
    ("openai|azure", ".*", {"json_schema": True}),
    ("openai|azure", r"gpt-3\.?5.*|gpt-4|gpt-4-.*|gpt-4o-2024-05-13|davinci.*", {"json_schema": False}),
    ("openai|azure", r"gpt-audio.*|gpt-4o.*-audio.*", {"json_schema": False}),
    # Models from before vision, and the small reasoning models without it.
    ("openai|azure", r"gpt-3\.?5.*|gpt-4|gpt-4-(?:0314|0613|32k.*)|o1-(?:mini|preview).*|o3-mini.*", {"images": False}),
    # Reasoning models refuse max_tokens, and from o3 on stop ("unsupported parameter").
    ("openai|azure", r"o\d.*|gpt-[5-9].*", {"max_tokens": "max_completion_tokens"}),
    ("openai|azure", r"gpt-[6-9].*", {"stop": False}),
    # The first two had neither tools nor a system role nor stop sequences.
    ("openai|azure", r"o1-(?:mini|preview).*", {"json_schema": False, "tools": False, "system": False, "stop": False}),
    # An OpenAI-compatible server at an address of the user's: vLLM, SGLang, llama.cpp, LM Studio and their kin.
    ("openai-compatible", ".*", {"json_schema": True}),
    # The Hub's providers whose documentation has response_format with a schema for their chat models.
    ("cerebras|fireworks-ai|together|novita|nebius|sambanova|hf-inference", ".*", {"json_schema": True}),
    # Text Generation Inference takes {"type": "regex"} beside schemas.
    ("hf-inference", ".*", {"grammar": "tgi"}),
    # Groq holds some models to schemas and answers 400 for the others.
    ("groq", "gpt-oss-.*|kimi-k2.*|llama-4-.*|qwen3.*", {"json_schema": True}),
    ("gemini|vertex_ai", "gemini-.*", {"json_schema": True}),
    # Mistral's release note of January 2025: all models, of which another page leaves one out. Grok's began in December
    # 2024.
    ("mistral|xai", ".*", {"json_schema": True}),
    ("mistral", "codestral-mamba.*", {"json_schema": False}),
    ("xai", "grok-2|grok-2-vision", {"json_schema": False}),
    ("hosted_vllm", ".*", {"json_schema": True, "grammar": "vllm"}),
    # Claude: output_config.format from Opus 4.1 and Sonnet 4.5 on. On Vertex an organization's policy has it off.
    (
        "anthropic",
        "claude-(?:opus-4-1|(?:opus|sonnet|haiku)-4-[5-9]|(?:opus|sonnet|haiku|fable|mythos)-[5-9]).*",
        {"json_schema": True},
    ),
    # These answer a forced tool choice with an error.
    (".*", r".*claude-(?:opus-5-5|sonnet-5-5|fable-5-1).*", {"tool_choice_required": False}),
    # Ollama has a format parameter for schemas, and no tool_choice.
    ("ollama|ollama_chat", ".*", {"json_schema": True, "tool_choice_required": False}),
    # Bedrock's Converse, from the user guide's table of what it supports for each model; structured outputs of Claude
    # from its own page, of open-weight models from LiteLLM's table. Most can be offered tools, and not be made to call.
    (_BEDROCK, ".*", {"tool_choice_required": False}),
    (_BEDROCK, _at(r"anthropic\..*"), {"tool_choice_required": True}),
    (_BEDROCK, _at(r"anthropic\.claude-(?:v2|instant).*"), _WORDS),
    # outputConfig: only these of Claude's, whatever Anthropic's own API has.
    (_BEDROCK, _at(r"anthropic\.claude-(?:sonnet|haiku|opus)-4-[56].*"), {"json_schema": True}),
    # A forced tool choice is an error here too.
    (
        _BEDROCK,
        _at(r"anthropic\.claude-(?:opus-5-5|sonnet-5-5|fable-5-1).*"),
        {"json_schema": True, "tool_choice_required": False},
    ),
    (_BEDROCK, _at(r"amazon\.nova-.*"), {"tool_choice_required": True}),
    (_BEDROCK, _at(r"amazon\.nova-micro.*"), {"images": False}),
    (_BEDROCK, _at(r"amazon\.titan-text.*"), {**_WORDS, "system": False}),
    # Llama's body has no stop sequences; tools came with 3.1.
    (_BEDROCK, _at(r"meta\..*"), {"stop": False}),
    (_BEDROCK, _at(r"meta\.llama(?:3-\d+b|2).*"), _WORDS),
    (_BEDROCK, _at(r"mistral\.(?:mistral-7b|mixtral).*"), {**_WORDS, "system": False}),
    (_BEDROCK, _at(r"mistral\.(?:mistral-large-24|pixtral).*"), {"tool_choice_required": True}),
    (_BEDROCK, _at(r"mistral\.(?:mistral-large-3|ministral-3).*"), {"json_schema": True}),
    (
        _BEDROCK,
        _at(r"(?:qwen\.qwen3-|deepseek\.v3|moonshot\.kimi-k2|minimax\.minimax-m2).*"),
        {"json_schema": True, "images": False},
    ),
    (_BEDROCK, _at(r"qwen\.qwen3-vl.*"), {"images": True}),
    (_BEDROCK, _at(r"(?:cohere\.command-r|ai21\.jamba).*"), {"images": False}),
    # Older than its tools.
    (_BEDROCK, _at(r"ai21\.jamba-instruct.*|deepseek\.r1.*"), _WORDS),
    # Its chat template raises for a system role.
    (".*", r"gemma-2-.*", {"system": False}),
]
_TABLE = [(re.compile(provider), re.compile(model), values) for provider, model, values in _ROWS]
_FIELDS = frozenset(field.name for field in fields(Profile))


def find_profile(provider: str, model_id: str, overrides: Mapping[str, Any] | Profile | None = None) -> Profile:
    """What is known of a model.

    Args:
        provider: For example "openai", "azure", "openai-compatible", "cerebras"; unknown names get the default.
        model_id: The model's name; a path before it ("openai/o3") doesn't count.
        overrides: Values that the user knows better, or a whole Profile.

    Raises:
        ConfigurationError: An unknown field.
    """
    if isinstance(overrides, Profile):
        return overrides
    name = model_id.lower().rpartition("/")[2]
    values: dict[str, Any] = {"stop": supports_stop_parameter(model_id)}
    for provider_pattern, model_pattern, row in _TABLE:
        if provider_pattern.fullmatch(provider.lower()) and model_pattern.fullmatch(name):
            values.update(row)
    values.update(overrides or {})
    if unknown := values.keys() - _FIELDS:
        raise ConfigurationError(f"a profile has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(_FIELDS))}")
    return replace(Profile(), **values)


def common_profile(profiles: Sequence[Profile]) -> Profile:
    """What all of several models (at least one) can do; of names that differ, the default."""
    values: dict[str, Any] = {}
    for field in fields(Profile):
        found = {getattr(profile, field.name) for profile in profiles}
        if isinstance(field.default, bool):
            values[field.name] = all(found)
        else:
            values[field.name] = found.pop() if len(found) == 1 else field.default
    return Profile(**values)
