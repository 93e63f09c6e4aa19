"""What a provider is told about a tool, and whether a model takes stop sequences."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["get_tool_json_schema", "supports_stop_parameter"]


def get_tool_json_schema(tool: Any) -> dict[str, Any]:
    """Describe a tool in OpenAI's form.

    Args:
        tool: Anything with ``name``, ``description`` and ``inputs`` (a smolagents tool or managed agent); inputs map
            each argument to ``{"type": ..., "description": ..., "nullable": ...}``.

    Returns:
        ``{"type": "function", "function": {"name", "description", "parameters": {...}}}``; the tool is unchanged.
    """
    properties: dict[str, Any] = {}
    required: list[str] = []
    for key, declared in tool.inputs.items():
        value = dict(declared)
        if value["type"] == "any":
            value["type"] = "string"
        if not value.get("nullable"):
            required.append(key)
        if "anyOf" in value:
            _merge_alternatives(value)
        properties[key] = value
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": {"type": "object", "properties": properties, "required": required},
        },
    }


def _merge_alternatives(value: dict[str, Any]) -> None:
    """Turn anyOf into a list of types: providers take that more widely."""
    types: list[str] = []
    for alternative in value.pop("anyOf"):
        if alternative["type"] == "null":
            value["nullable"] = True
            continue
        types.append("string" if alternative["type"] == "any" else alternative["type"])
        if "enum" in alternative:
            value["enum"] = alternative["enum"]
    if types:
        value["type"] = types if len(types) > 1 else types[0]


# Reasoning models that refuse the `stop` parameter: o3 and o4 (not o3-mini), gpt-5, grok, and their variants.
_NO_STOP = re.compile(
    r"(?:o3(?:[-.].*)?|o4(?:[-.].*)?|gpt-5.*|(?:[A-Za-z][A-Za-z0-9_-]*\.)?grok-[A-Za-z0-9][\w.-]*)", re.A
)


def supports_stop_parameter(model_id: str) -> bool:
    """Whether the provider of a model takes the ``stop`` parameter.

    Args:
        model_id: For example "openai/o3" or "gpt-4o-mini".
    """
    name = model_id.rpartition("/")[2]
    return name == "o3-mini" or not _NO_STOP.fullmatch(name)
