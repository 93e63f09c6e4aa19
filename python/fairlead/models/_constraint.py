"""From what a caller asks for (``response_format``, ``grammar``) to a grammar and the shape of the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fairlead._optional import require
from fairlead.errors import ConfigurationError
from fairlead.types import OutputShape

if TYPE_CHECKING:
    from fairlead.grammar import Grammar

__all__ = ["Constraint", "resolve_constraint"]


@dataclass(frozen=True)
class Constraint:
    """What an output is held to.

    Attributes:
        make_grammar: Makes the grammar; raises GrammarError or SchemaError.
        shape: What a complete output is.
        schema: The JSON Schema behind it, or None for a regex or a grammar.
        pattern: The regex behind it, or None.
    """

    make_grammar: Callable[[], Grammar]
    shape: OutputShape
    schema: Any = None
    pattern: str | None = None


def resolve_constraint(response_format: Any = None, grammar: Any = None) -> Constraint | None:
    """Understand ``response_format`` and ``grammar``.

    Args:
        response_format: OpenAI's dictionary (``{"type": "json_schema", "json_schema": {"schema": ...}}``,
            ``{"type": "json_object"}``, ``{"type": "text"}``), a JSON Schema, a pydantic class or another type that
            pydantic understands, or the old form ``{"type": "regex" | "json", "value": ...}``.
        grammar: A regex as a string, a Grammar, a JSON Schema, a pydantic class, or the old form.

    Returns:
        The constraint, or None if neither asks for one.

    Raises:
        ConfigurationError: Both are given, or one is something else.
    """
    if response_format is not None and grammar is not None:
        raise ConfigurationError("give response_format or grammar, not both")
    if grammar is not None:
        return _from_grammar(grammar)
    if response_format is not None:
        return _from_response_format(response_format)
    return None


def _from_grammar(grammar: Any) -> Constraint:
    if isinstance(grammar, str):
        return _regex(grammar)
    if isinstance(grammar, Mapping) or _is_type(grammar):
        constraint = _from_response_format(grammar)
        if constraint is None:
            raise ConfigurationError("grammar={'type': 'text'} constrains nothing")
        return constraint
    return _ready(grammar, "grammar")


def _from_response_format(wanted: Any) -> Constraint | None:
    if _is_type(wanted):
        return _pydantic(wanted)
    if not isinstance(wanted, Mapping):
        if isinstance(wanted, str):
            raise ConfigurationError("response_format is a string; a regex goes into grammar=")
        return _ready(wanted, "response_format")
    kind = wanted.get("type")
    if kind == "text":
        return None
    if kind == "json_schema":
        return _schema(_schema_of(wanted))
    if kind == "json_object":
        return _schema(wanted.get("schema", {"type": "object"}))
    if kind in ("regex", "json") and "value" in wanted:
        return _regex(wanted["value"]) if kind == "regex" else _schema(wanted["value"])
    if kind == "regex" and "pattern" in wanted:
        return _regex(wanted["pattern"])
    return _schema(wanted)


def _schema_of(wanted: Mapping[str, Any]) -> Any:
    inner = wanted.get("json_schema", wanted)
    if isinstance(inner, Mapping) and "schema" in inner:
        return inner["schema"]
    raise ConfigurationError('response_format of type "json_schema" needs {"json_schema": {"schema": ...}}')


def _is_type(value: Any) -> bool:
    # Classes, and what typing makes of them: list[int], Literal["a", "b"], int | None.
    return isinstance(value, type) or hasattr(value, "__origin__") or type(value).__module__ in ("typing", "types")


def _pydantic(model: Any) -> Constraint:
    pydantic = require("pydantic", extra="pydantic", feature="a response_format that is a type")
    to_schema = getattr(model, "model_json_schema", None)
    try:
        schema = to_schema() if callable(to_schema) else pydantic.TypeAdapter(model).json_schema()
    except pydantic.errors.PydanticUserError as error:
        raise ConfigurationError(f"no JSON Schema can be made of {model!r}: {error}") from error
    return Constraint(lambda: _grammar().json_schema(schema), OutputShape("json", model), schema)


def _schema(schema: Any) -> Constraint:
    if isinstance(schema, str | bytes) or not isinstance(schema, Mapping | bool):
        raise ConfigurationError(f"a JSON Schema is a dictionary, not a {type(schema).__name__}")
    plain = dict(schema) if isinstance(schema, Mapping) else schema
    return Constraint(lambda: _grammar().json_schema(plain), OutputShape("json"), plain)


def _regex(pattern: Any) -> Constraint:
    if not isinstance(pattern, str):
        raise ConfigurationError(f"a regex is a string, not a {type(pattern).__name__}")
    return Constraint(lambda: _grammar().regex(pattern), OutputShape("text"), pattern=pattern)


def _ready(grammar: Any, argument: str) -> Constraint:
    if not isinstance(grammar, _grammar()):
        raise ConfigurationError(f"{argument} can't be a {type(grammar).__name__}")
    return Constraint(lambda: grammar, OutputShape(grammar.kind))


def _grammar() -> Any:
    from fairlead.grammar import Grammar

    return Grammar
