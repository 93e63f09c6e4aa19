"""For testing agents and grammars: scripted models, and tiny real ones that need no download."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairlead.testing._scripted import ScriptedModel
    from fairlead.testing._tiny import tiny_model_dir

__all__ = ["ScriptedModel", "tiny_model_dir"]

_HOME = {"ScriptedModel": "fairlead.testing._scripted", "tiny_model_dir": "fairlead.testing._tiny"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value
