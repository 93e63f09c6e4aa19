"""JSON Schemas and structural tags as text, from whatever a caller has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import UnionType
from typing import Any


def schema_text(schema: Any) -> str:
    """A JSON Schema as text, from text, a mapping, a boolean, a pydantic model or any type that pydantic knows.

    Raises:
        TypeError: It is none of these.
    """
    if isinstance(schema, str):
        return schema
    if isinstance(schema, Mapping | bool):
        return json.dumps(schema)
    if hasattr(schema, "model_json_schema"):
        return json.dumps(schema.model_json_schema())
    if isinstance(schema, type | UnionType) or hasattr(schema, "__origin__"):
        from fairlead._optional import require

        adapter: Any = require("pydantic").TypeAdapter(schema)
        return json.dumps(adapter.json_schema())
    raise TypeError(f"a JSON Schema is a mapping, a text, a boolean or a type, not {type(schema).__name__}")


def tag_text(tag: Any) -> str:
    """A structural tag as text, from a mapping or a pydantic object.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(tag, Mapping):
        return json.dumps(tag)
    if hasattr(tag, "model_dump_json") and not isinstance(tag, type):
        return str(tag.model_dump_json(by_alias=True, exclude_none=True))
    raise TypeError(f"a structural tag is a mapping, a text or a pydantic object, not {type(tag).__name__}")
