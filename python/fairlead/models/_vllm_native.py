"""What vLLM's own engines for structured outputs enforce, and what they would let pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.errors import ConfigurationError, UnsupportedSchemaError
from fairlead.models._constraint import Constraint

__all__ = ["native_constraint"]

_WHY = "vLLM's own engine wouldn't enforce it; constraint_engine='fairlead' does"
# Keywords that its first choice, xgrammar, is known to enforce or that constrain nothing. Others are ignored there or,
# as oneOf, read as something weaker.
_ENFORCED = frozenset(
    {
        "$anchor", "$comment", "$defs", "$id", "$ref", "$schema", "additionalProperties", "anyOf", "const", "default",
        "definitions", "deprecated", "description", "enum", "examples", "items", "maxItems", "maxLength", "maximum",
        "minItems", "minLength", "minimum", "pattern", "prefixItems", "properties", "readOnly", "required", "title",
        "type", "writeOnly",
    }
)  # fmt: skip
_OF_SCHEMAS = ("$defs", "definitions", "properties")
_LISTS = ("anyOf", "prefixItems")
_SINGLE = ("additionalProperties", "items")
# Keywords that count for one type only: without naming it, a schema admits values that these engines leave out or let
# pass.
_TYPES = {
    "additionalProperties": "object", "properties": "object", "required": "object", "items": "array",
    "maxItems": "array", "minItems": "array", "prefixItems": "array", "maxLength": "string", "minLength": "string",
    "pattern": "string", "maximum": "integer", "minimum": "integer",
}  # fmt: skip


def native_constraint(constraint: Constraint) -> dict[str, Any]:
    """A constraint as arguments of ``StructuredOutputsParams``, for an engine that leaves it to vLLM.

    Raises:
        UnsupportedSchemaError: A keyword isn't enforced there.
        ConfigurationError: There is no such constraint in vLLM.
    """
    if constraint.schema is not None:
        _check_schema(constraint.schema, "")
        return {"json": constraint.schema}
    data = constraint.make_grammar().to_dict()
    if "json_schema" in data:
        raise ConfigurationError(f"a Grammar of a JSON Schema has options: give the schema itself, or: {_WHY}")
    for kind, name in (("regex", "regex"), ("choice", "choice"), ("ebnf", "grammar")):
        if kind in data:
            return {name: data[kind]}
    raise ConfigurationError(f"a Grammar of {', '.join(data)} can't be left to vLLM: {_WHY}")


def _check_schema(schema: Any, pointer: str) -> None:
    if isinstance(schema, bool):
        if not schema and not pointer.endswith(("/additionalProperties", "/items")):
            _refuse("false", pointer)
        return
    if not isinstance(schema, Mapping):
        _refuse(type(schema).__name__, pointer)
        return
    for keyword, value in schema.items():
        where = f"{pointer}/{keyword}"
        if keyword not in _ENFORCED:
            _refuse(keyword, where)
        needed = _TYPES.get(keyword)
        if needed is not None and schema.get("type") != needed:
            _refuse(f"{keyword} where the type isn't {needed} alone", where)
        if keyword in _OF_SCHEMAS and isinstance(value, Mapping):
            for name, part in value.items():
                _check_schema(part, f"{where}/{name}")
        elif keyword in _LISTS and isinstance(value, list):
            for n, part in enumerate(value):
                _check_schema(part, f"{where}/{n}")
        elif keyword in _SINGLE:
            _check_schema(value, where)
    beside = {"$ref", "anyOf", "enum", "const"} & set(schema)
    constraining = set(schema) & (set(_TYPES) | {"type", "$ref", "anyOf", "enum", "const"}) - beside
    if len(beside) > 1 or (beside & {"$ref", "anyOf"} and constraining):
        _refuse(f"{sorted(beside)[0]} beside other keywords", pointer)
    if beside & {"enum", "const"} and constraining - {"type"}:
        _refuse(f"{sorted(beside)[0]} beside other keywords", pointer)


def _refuse(what: str, pointer: str) -> None:
    raise UnsupportedSchemaError(f"{what} at {pointer or '/'}: {_WHY}")
