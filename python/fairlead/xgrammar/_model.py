"""What XGrammar's callers use of pydantic's models, without pydantic."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Self

from fairlead.xgrammar.exception import InvalidJSONError

__all__ = ["Model", "loaded", "plain"]


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
    """A value as JSON has it: models as mappings, pydantic classes as their schemas."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    to_schema: Callable[[], Any] | None = getattr(value, "model_json_schema", None) if isinstance(value, type) else None
    dump: Callable[..., Any] | None = getattr(value, "model_dump", None)
    if to_schema is not None:
        return to_schema()
    return plain(dump(by_alias=True)) if dump is not None else value


class Model:
    """A dataclass that is read and written as a pydantic model is."""

    def model_dump(self, *, mode: str = "python", by_alias: bool = False, exclude_none: bool = False) -> dict[str, Any]:
        """The object as a mapping.

        Args:
            mode: ``"python"`` and ``"json"`` give the same.
            by_alias: The same.
            exclude_none: Leave out what is None.
        """
        del mode, by_alias

        def dumped(value: Any) -> Any:
            if isinstance(value, Model):
                return value.model_dump(exclude_none=exclude_none)
            return [dumped(inner) for inner in value] if isinstance(value, list | tuple) else plain(value)

        # Subclasses are dataclasses; that can't be said of a base class.
        all_fields = {field.name: dumped(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]
        return {name: value for name, value in all_fields.items() if not (exclude_none and value is None)}

    def model_dump_json(self, *, indent: int | None = None, by_alias: bool = False, exclude_none: bool = False) -> str:
        """The object as JSON, with the arguments of ``model_dump``."""
        return json.dumps(self.model_dump(by_alias=by_alias, exclude_none=exclude_none), indent=indent)

    @classmethod
    def model_validate(cls, obj: Any) -> Self:
        """An object of this class, from a mapping or an object that dumps as one.

        Fields that aren't known are left out, as there.

        Raises:
            ValueError: It can't be one.
        """
        if isinstance(obj, cls):
            return obj
        given = plain(obj)
        if not isinstance(given, Mapping):
            raise ValueError(f"{cls.__name__} is made of a mapping, not of {type(obj).__name__}")
        names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        try:
            return cls(**{name: given[name] for name in names if name in given})
        except TypeError as error:
            raise ValueError(f"{cls.__name__}: {error}") from error

    @classmethod
    def model_validate_json(cls, json_data: str | bytes) -> Self:
        """The same from a JSON text."""
        return cls.model_validate(loaded(json_data))
