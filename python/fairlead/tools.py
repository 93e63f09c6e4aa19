"""Tools: their JSON Schema for the model, and the calls that a model writes as text."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from fairlead.errors import MessageError
from fairlead.messages import ChatMessageToolCall, ChatMessageToolCallFunction, new_tool_call_id

__all__ = ["get_tool_call_from_text", "get_tool_json_schema", "parse_json_if_needed", "supports_stop_parameter"]


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


def parse_json_if_needed(arguments: Any) -> Any:
    """Arguments of a tool call: JSON text is parsed, anything else (and text that isn't JSON) stays."""
    if isinstance(arguments, str | bytes | bytearray):
        try:
            return json.loads(arguments)
        except ValueError:
            pass
    return arguments


def get_tool_call_from_text(text: str, tool_name_key: str, tool_arguments_key: str) -> ChatMessageToolCall:
    """Read the tool call that a model wrote as JSON somewhere in its text.

    The first JSON object with the key ``tool_name_key`` counts; prose, code fences and tags around it don't matter,
    and single quotes or a trailing comma are forgiven.

    Args:
        text: What the model wrote.
        tool_name_key: The key of the tool's name.
        tool_arguments_key: The key of the arguments; JSON text there is parsed too.

    Raises:
        MessageError: No such object; the message says what was found instead.
    """
    first: Any = None
    at = text.find("{")
    if at < 0:
        raise MessageError("The model output does not contain any JSON blob.")
    repairs = _MAX_REPAIRS
    while at >= 0:
        found, end = _object_at(text, at, repair=repairs > 0)
        repairs -= found is None
        if isinstance(found, dict):
            if tool_name_key in found:
                arguments = parse_json_if_needed(found.get(tool_arguments_key))
                function = ChatMessageToolCallFunction(name=found[tool_name_key], arguments=arguments)
                return ChatMessageToolCall(id=new_tool_call_id(), type="function", function=function)
            first = found if first is None else first
        at = text.find("{", end)
    if first is not None:
        keys = [str(key) for key in first]
        raise MessageError(f"Tool call needs to have a key '{tool_name_key}'. Got keys: {keys} instead")
    at = text.find("{")
    raise MessageError(f"The JSON blob you used is invalid: {_why_invalid(text, at)}\nJSON blob was: {text[at:][:400]}")


_decoder = json.JSONDecoder(strict=False)
# Looking for the end of a malformed object reads the rest of the text: not for each of ten thousand braces.
_MAX_REPAIRS = 32


def _object_at(text: str, at: int, *, repair: bool) -> tuple[Any, int]:
    """The object that begins at ``at`` (or None), and where to look for the next."""
    try:
        return _decoder.raw_decode(text, at)
    except RecursionError:
        # Trying again at each of its braces would take for ever.
        raise MessageError("The JSON blob you used is invalid: it is nested too deeply.") from None
    except ValueError:
        pass
    end = _closing_brace(text, at) if repair else None
    if end is None:
        return None, at + 1
    try:
        return ast.literal_eval(text[at:end]), end
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        pass
    try:
        return json.loads(re.sub(r",(\s*[}\]])", r"\1", text[at:end]), strict=False), end
    except (ValueError, RecursionError):
        return None, at + 1


def _closing_brace(text: str, at: int) -> int | None:
    """The end of the object that opens at ``at``, strings skipped; None if it doesn't close."""
    depth = 0
    quote = ""
    escaped = False
    for position in range(at, len(text)):
        char = text[position]
        if quote:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == quote:
                quote = ""
        elif char in "\"'":
            quote = char
        elif char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return position + 1
    return None


def _why_invalid(text: str, at: int) -> str:
    try:
        _decoder.raw_decode(text, at)
    except ValueError as error:
        return str(error)
    return "it isn't an object"


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
