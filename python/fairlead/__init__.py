"""Constrained decoding with a Rust core, and a drop-in faster model layer for smolagents.

Every public name can be imported from here. Names are loaded on first use, so that ``import fairlead`` costs next to
nothing and loads no framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairlead._core import StopSequenceMatcher, TokenBitmask, allocate_token_bitmask, apply_token_bitmask
    from fairlead.errors import (
        ConfigurationError,
        FairleadError,
        GrammarError,
        LimitExceeded,
        MessageError,
        MissingDependencyError,
        ModelError,
        ModelHTTPError,
        ModelTimeoutError,
        RateLimitError,
        SchemaError,
        StopSequenceError,
        TokenizerError,
        UnsupportedSchemaError,
    )

__all__ = [
    "ConfigurationError",
    "FairleadError",
    "GrammarError",
    "LimitExceeded",
    "MessageError",
    "MissingDependencyError",
    "ModelError",
    "ModelHTTPError",
    "ModelTimeoutError",
    "RateLimitError",
    "SchemaError",
    "StopSequenceError",
    "StopSequenceMatcher",
    "TokenBitmask",
    "TokenizerError",
    "UnsupportedSchemaError",
    "allocate_token_bitmask",
    "apply_token_bitmask",
]

# Where each public name lives. A module listed here is imported when one of its names is first asked for.
_MODULES: dict[str, tuple[str, ...]] = {
    "fairlead._core": ("StopSequenceMatcher", "TokenBitmask", "allocate_token_bitmask", "apply_token_bitmask"),
    "fairlead.errors": (
        "ConfigurationError",
        "FairleadError",
        "GrammarError",
        "LimitExceeded",
        "MessageError",
        "MissingDependencyError",
        "ModelError",
        "ModelHTTPError",
        "ModelTimeoutError",
        "RateLimitError",
        "SchemaError",
        "StopSequenceError",
        "TokenizerError",
        "UnsupportedSchemaError",
    ),
}
_HOME: dict[str, str] = {name: module for module, names in _MODULES.items() for name in names}

__version__: str


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("fairlead")
    elif name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'fairlead' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
