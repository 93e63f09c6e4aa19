"""Structural tags as objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fairlead.xgrammar._errors import InvalidJSONError, InvalidStructuralTagError

__all__ = ["StructuralTag", "StructuralTagItem"]


def loaded(text: str | bytes) -> Any:
    """What a JSON text says.

    Raises:
        InvalidJSONError: It isn't JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidJSONError(f"this isn't JSON: {error}") from error


def plain(value: Any) -> Any:
    """What a format holds as JSON has it: pydantic objects as mappings, pydantic classes as their schemas."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    to_schema: Callable[[], Any] | None = getattr(value, "model_json_schema", None) if isinstance(value, type) else None
    dump: Callable[..., Any] | None = getattr(value, "model_dump", None)
    if to_schema is not None:
        return to_schema()
    return plain(dump(by_alias=True)) if dump is not None else value


class StructuralTagItem:
    """A tag of the older form.

    Args:
        begin: Its begin.
        schema: A JSON Schema as text, mapping or pydantic class.
        end: Its end.
    """

    def __init__(self, *, begin: str, schema: Any, end: str) -> None:
        self.begin = begin
        self.schema_ = schema
        self.end = end

    def model_dump(self, *, by_alias: bool = False) -> dict[str, Any]:
        """The tag as a mapping."""
        return {"begin": self.begin, "schema" if by_alias else "schema_": self.schema_, "end": self.end}

    def __repr__(self) -> str:
        return f"StructuralTagItem(begin={self.begin!r}, schema={self.schema_!r}, end={self.end!r})"


class StructuralTag:
    """A structural tag: ``{"type": "structural_tag", "format": {...}}``.

    Args:
        format: A mapping, or an object with ``model_dump``, as those of XGrammar's module ``structural_tag``.
        type: Only ``"structural_tag"``.

    Raises:
        InvalidStructuralTagError: Another type, or a format without a type. The rest is checked by compiling.
    """

    def __init__(self, *, format: Any, type: str = "structural_tag") -> None:
        self.type = type
        self.format = plain(format)
        if type != "structural_tag":
            raise InvalidStructuralTagError(f"a structural tag's type is 'structural_tag', not {type!r}")
        if not isinstance(self.format, dict) or not isinstance(self.format.get("type"), str):
            raise InvalidStructuralTagError("a structural tag has a format with a type")

    @staticmethod
    def from_legacy_structural_tag(tags: list[StructuralTagItem], triggers: list[str]) -> StructuralTag:
        """The tag that the older form with triggers stands for."""
        made = []
        for tag in tags:
            schema = loaded(tag.schema_) if isinstance(tag.schema_, str) else plain(tag.schema_)
            content = {"type": "json_schema", "json_schema": schema}
            made.append({"type": "tag", "begin": tag.begin, "content": content, "end": tag.end})
        return StructuralTag(format={"type": "triggered_tags", "triggers": list(triggers), "tags": made})

    @staticmethod
    def from_json(json_str: str | dict[str, Any]) -> StructuralTag:
        """A tag from its JSON, as text or mapping.

        Raises:
            InvalidJSONError: The text isn't JSON.
            InvalidStructuralTagError: It is no structural tag.
        """
        given = loaded(json_str) if isinstance(json_str, str) else json_str
        if not isinstance(given, dict) or set(given) - {"type", "format"} or "format" not in given:
            raise InvalidStructuralTagError("a structural tag has the keys type and format")
        return StructuralTag(**given)

    def model_dump(self, *, by_alias: bool = False) -> dict[str, Any]:
        """The tag as a mapping."""
        del by_alias
        return {"type": self.type, "format": self.format}

    def model_dump_json(self) -> str:
        """The tag as JSON."""
        return json.dumps(self.model_dump())

    def __repr__(self) -> str:
        return f"StructuralTag(format={self.format!r})"
