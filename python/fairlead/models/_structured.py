"""How a schema or a grammar reaches a provider that can't be given masks: its own parameter, a tool, or words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from fairlead.errors import ConfigurationError
from fairlead.models._constraint import Constraint
from fairlead.models._exchange import Mode
from fairlead.models._profiles import Profile

__all__ = ["ANSWER_TOOL", "answer_schema", "choose_mode", "instruction", "reminder"]

# The name of the tool that stands for a schema, and of schemas without a name.
ANSWER_TOOL = "answer"


def choose_mode(
    constraint: Constraint, wanted: str, profile: Profile, model_id: str | None, *, has_tools: bool
) -> Mode:
    """The way that a model's profile allows, or the one that the user wants.

    Raises:
        ConfigurationError: What the user wants can't be.
    """
    if constraint.schema is None:
        native = profile.grammar is not None and constraint.pattern is not None
        if wanted == "native" and not native:
            raise ConfigurationError(f"{model_id} has no native regexes or grammars; profile={{'grammar': ...}}")
        return "native" if native and wanted in ("auto", "native") else "prompt"
    if wanted == "tool" and has_tools:
        raise ConfigurationError('structured_output="tool" and tools_to_call_from exclude each other')
    if wanted == "auto":
        if profile.json_schema and isinstance(constraint.schema, Mapping):
            return "native"
        return "tool" if profile.tools and profile.tool_choice_required and not has_tools else "prompt"
    if wanted == "native":
        return "native" if isinstance(constraint.schema, Mapping) else "prompt"
    return "tool" if wanted == "tool" else "prompt"


def answer_schema(schema: Any) -> tuple[dict[str, Any], Callable[[str], str] | None]:
    """A schema for a tool's arguments, which are always an object.

    Returns:
        The schema, and what makes the answer of the arguments if they wrap it.
    """
    if isinstance(schema, Mapping) and (schema.get("type") == "object" or "properties" in schema):
        return dict(schema), None
    inner = dict(schema) if isinstance(schema, Mapping) else schema
    outer: dict[str, Any] = {"type": "object", "properties": {"value": inner}, "required": ["value"]}
    if isinstance(inner, dict):
        # References are written from the root.
        for name in ("$defs", "definitions"):
            if name in inner:
                outer[name] = inner.pop(name)
    return outer, _unwrapped


def _unwrapped(arguments: str) -> str:
    try:
        value = json.loads(arguments)
    except ValueError:
        return arguments
    if isinstance(value, Mapping) and "value" in value:
        return json.dumps(value["value"], ensure_ascii=False)
    return arguments


def instruction(constraint: Constraint) -> str:
    """What is asked for, in words."""
    if constraint.schema is not None:
        schema = json.dumps(constraint.schema, ensure_ascii=False)
        return f"Answer with nothing but JSON, without a code fence, that is valid under this JSON Schema:\n{schema}"
    if constraint.pattern is not None:
        return f"Answer with nothing but a text that matches this regular expression as a whole:\n{constraint.pattern}"
    return f"Answer with nothing but a text of this grammar:\n{constraint.make_grammar()}"


def reminder(constraint: Constraint, fault: str) -> str:
    """The words with which an answer is asked for again."""
    return f"That is not valid: {fault}. {instruction(constraint)}"
