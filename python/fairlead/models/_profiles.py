"""What providers and families of models can do, as data.

A profile begins with the safe default and takes each row that matches, in order; the user's own values come last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from fairlead.errors import ConfigurationError
from fairlead.tools import supports_stop_parameter

__all__ = ["Profile", "find_profile"]


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


# (provider, model, values): both are regular expressions that match the whole name, in lower case.
_ROWS: list[tuple[str, str, dict[str, Any]]] = [
    ("openai|azure", ".*", {"json_schema": True}),
    ("openai|azure", r"gpt-3\.5.*|gpt-4|gpt-4-.*|davinci.*", {"json_schema": False}),
    ("openai|azure", r"o\d.*|gpt-5.*", {"max_tokens": "max_completion_tokens"}),
    ("openai|azure", r"o1-mini.*|o1-preview.*", {"json_schema": False, "tools": False, "system": False}),
    # An OpenAI-compatible server at an address of the user's: vLLM, SGLang, llama.cpp, LM Studio and their kin.
    ("openai-compatible", ".*", {"json_schema": True}),
    ("cerebras|fireworks-ai|together|novita|nebius|sambanova|groq|hf-inference", ".*", {"json_schema": True}),
    ("hf-inference", ".*", {"grammar": "tgi"}),
    ("gemini|vertex_ai|mistral|xai|deepinfra|hosted_vllm", ".*", {"json_schema": True}),
    ("hosted_vllm", ".*", {"grammar": "vllm"}),
    ("anthropic", ".*claude-(opus|sonnet|haiku)-4-[5-9].*", {"json_schema": True}),
    ("ollama|ollama_chat", ".*", {"json_schema": True, "tool_choice_required": False}),
    (".*", r"gemma-2.*", {"system": False}),
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
