"""XGrammar's strict mode: where members or items are declared, there are no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["strict"]

_IN_PLACE_LISTS = ("allOf", "anyOf", "oneOf")
_IN_PLACE = ("if", "then", "else")
_NAMED = ("$defs", "definitions")


def strict(schema: Any) -> Any:
    """The schema under strict mode; the argument stays as it is."""
    return _value(schema, schema)


def _value(schema: Any, root: Any) -> Any:
    """A schema that stands for a whole value: only here it is known what all parts of it declare."""
    if not isinstance(schema, Mapping):
        return schema
    made = _inner(schema, root)
    if not _told(schema, root, "additionalProperties", "unevaluatedProperties") and _declares(
        schema, root, ("properties", "patternProperties"), set()
    ):
        direct = "properties" in schema or "patternProperties" in schema
        closed = "additionalProperties" if direct and not _has_parts(schema) else "unevaluatedProperties"
        made = {**made, closed: False}
    listed = isinstance(schema.get("items"), list)
    if not _told(schema, root, "unevaluatedItems", "additionalItems") and (listed or "items" not in schema):
        if listed:
            made = {**made, "additionalItems": False}
        elif "prefixItems" in schema:
            made = {**made, "items": False}
    return made


def _has_parts(schema: Mapping[str, Any]) -> bool:
    return any(name in schema for name in (*_IN_PLACE_LISTS, *_IN_PLACE, "$ref", "dependentSchemas"))


def _told(schema: Mapping[str, Any], root: Any, *names: str) -> bool:
    return any(name in part for part in _parts(schema, root, set()) for name in names)


def _declares(schema: Mapping[str, Any], root: Any, names: tuple[str, ...], seen: set[int]) -> bool:
    return any(name in part for part in _parts(schema, root, seen) for name in names)


def _parts(schema: Any, root: Any, seen: set[int]) -> list[Mapping[str, Any]]:
    """The schemas that are about the same value."""
    if not isinstance(schema, Mapping) or id(schema) in seen:
        return []
    seen.add(id(schema))
    found = [schema]
    below = [part for name in _IN_PLACE_LISTS for part in schema.get(name) or ()]
    below += [schema[name] for name in _IN_PLACE if name in schema]
    below += list((schema.get("dependentSchemas") or {}).values())
    if isinstance(reference := schema.get("$ref"), str):
        below.append(_target(reference, root))
    for part in below:
        found += _parts(part, root, seen)
    return found


def _target(reference: str, root: Any) -> Any:
    if not reference.startswith("#"):
        return None
    at = root
    for key in reference[1:].split("/")[1:]:
        key = key.replace("~1", "/").replace("~0", "~")
        at = at.get(key) if isinstance(at, Mapping) else None
    return at


def _inner(schema: Any, root: Any) -> Any:
    """The same schema with what stands for other values made strict."""
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    for name, value in schema.items():
        if name in ("properties", "patternProperties") and isinstance(value, Mapping):
            made[name] = {key: _value(one, root) for key, one in value.items()}
        elif name in ("additionalProperties", "unevaluatedProperties", "unevaluatedItems", "contains"):
            made[name] = _value(value, root)
        elif name in ("items", "prefixItems"):
            made[name] = [_value(one, root) for one in value] if isinstance(value, list) else _value(value, root)
        elif name in _IN_PLACE_LISTS and isinstance(value, list):
            made[name] = [_inner(one, root) for one in value]
        elif name in _IN_PLACE:
            made[name] = _inner(value, root)
        elif name in (*_NAMED, "dependentSchemas") and isinstance(value, Mapping):
            made[name] = {key: _inner(one, root) for key, one in value.items()}
        else:
            made[name] = value
    return made
