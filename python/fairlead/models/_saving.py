"""What of a model's settings can be written to a file: JSON values, and no secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

__all__ = ["REMOVED", "is_secret", "plain_json"]

# Stands for REMOVE_PARAMETER in what is saved.
REMOVED = "<fairlead: remove parameter>"

_SECRET = re.compile(
    r"(^|[_-])(token|api[_-]?keys?|secret([_-]\w+)?|secrets?|passw(or)?d|authorization|credentials?|cookies?"
    r"|private[_-]?key|access[_-]?key([_-]id)?)$",
    re.IGNORECASE,
)
# Names of tokens in a text, not of secrets.
_HARMLESS = re.compile(r"(^|[_-])(eos|bos|pad|unk|sep|cls|mask|stop|image|forced_\w+)_token$", re.IGNORECASE)


def is_secret(name: Any) -> bool:
    """Whether a setting of that name is one that nobody should find in a file."""
    return isinstance(name, str) and bool(_SECRET.search(name)) and not _HARMLESS.search(name)


def plain_json(value: Any, left_out: list[str], where: str = "") -> Any:
    """A copy of a value in JSON's types: enums and paths by their values, types of torch by their names, and how
    Transformers quantises a model.

    Args:
        value: The value.
        left_out: Gets the place of each secret, and of what has no such form, inside mappings; the copy is without.
        where: The name of the value.

    Raises:
        TypeError: Something in the value has no such form.
    """
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int | str):
        # A subclass of str prints differently in the code that smolagents generates.
        return str(value) if isinstance(value, str) else value
    if isinstance(value, float):
        json.dumps(value, allow_nan=False)
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        plain = {}
        for key, inner in value.items():
            key = key.value if isinstance(key, Enum) else key
            if not isinstance(key, str):
                raise TypeError(f"{where} has a key that isn't a string")
            if is_secret(key):
                left_out.append(f"{where}[{key!r}]")
            else:
                try:
                    plain[str(key)] = plain_json(inner, left_out, f"{where}[{key!r}]")
                except (TypeError, ValueError):
                    left_out.append(f"{where}[{key!r}] (a {type(inner).__name__})")
        return plain
    if isinstance(value, list | tuple):
        return [plain_json(inner, left_out, f"{where}[{index}]") for index, inner in enumerate(value)]
    # torch.float32 and its kin: their names are accepted wherever they are.
    if type(value).__module__ == "torch" and type(value).__name__ in ("dtype", "device"):
        return str(value).removeprefix("torch.")
    # Transformers takes such a configuration as a dictionary too.
    if any(base.__name__ == "QuantizationConfigMixin" for base in type(value).__mro__):
        return plain_json(value.to_dict(), left_out, where)
    raise TypeError(f"{where} is a {type(value).__name__}")
