"""Living beside smolagents without importing it: its registry of model classes."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

__all__ = ["register_smolagents"]

# Classes that smolagents should be able to load from a saved agent: (name, module as saved) -> class.
_classes: dict[tuple[str, str], Any] = {}


class _ByModule:
    """Stands in smolagents' registry where it and we have a class of the same name.

    A saved agent names its model's class without a module. Ours also save ``"module"``: with it our class is loaded,
    without it smolagents' own. In every other respect this object is smolagents' class.
    """

    def __init__(self, name: str, theirs: Any) -> None:
        self._name = name
        self._theirs = theirs

    def from_dict(self, data: dict[str, Any]) -> Any:
        ours = _classes.get((self._name, str(data.get("module"))))
        return (ours or self._theirs).from_dict(data)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._theirs(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._theirs, name)


def saved_module(cls: Any) -> str:
    """The module under which a model class is saved: the package for ours, its own module for a user's subclass."""
    module = cls.__module__
    return "fairlead" if module.partition(".")[0] == "fairlead" else module


def known_class(name: str, module: str) -> Any:
    """A class that was registered, by its name and its module as saved; None if there is none."""
    return _classes.get((name, module))


def register_class(cls: Any) -> None:
    """Make smolagents able to load saved models of a class, if smolagents is loaded; cheap to call again."""
    key = (cls.__name__, saved_module(cls))
    _classes[key] = cls
    registry = getattr(sys.modules.get("smolagents.models"), "MODEL_REGISTRY", None)
    if registry is None:
        return
    present = registry.get(cls.__name__)
    # The dictionary is changed in place: smolagents.agents holds the same object.
    if present is None:
        registry[cls.__name__] = cls
    elif present is not cls and not isinstance(present, _ByModule):
        registry[cls.__name__] = _ByModule(cls.__name__, present)


def register_smolagents() -> None:
    """Make smolagents able to load agents that were saved with a fairlead model.

    The first instance of a model class does the same for that class. Call this in a process that loads a saved agent
    before it has made any model.

    Raises:
        ImportError: smolagents isn't installed.
    """
    import_module("smolagents.models")
    from fairlead import models

    for name in models.BACKENDS:
        register_class(getattr(models, name))
    for cls in list(_classes.values()):
        register_class(cls)
