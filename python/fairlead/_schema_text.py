"""JSON Schemas as text, from whatever a caller has."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    if isinstance(schema, type) or hasattr(schema, "__origin__"):
        from fairlead._optional import require

        adapter: Any = require("pydantic").TypeAdapter(schema)
        return json.dumps(adapter.json_schema())
    raise TypeError(f"a JSON Schema is a mapping, a text, a boolean or a type, not {type(schema).__name__}")
