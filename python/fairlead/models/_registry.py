"""Saving a model as a dictionary with the name of its class, and loading it again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TypeVar

from fairlead._optional import require
from fairlead._smolagents import known_class, register_class, saved_module
from fairlead.errors import ConfigurationError

__all__ = ["REGISTERED", "load_model", "register_model", "save_model"]

# Classes that users registered: (name, module as saved) -> class.
REGISTERED: dict[tuple[str, str], Any] = {}

_Class = TypeVar("_Class", bound=type)


def register_model(cls: _Class) -> _Class:
    """Make a class of models loadable by its name; usable as a decorator.

    It enters ``MODEL_REGISTRY``, and smolagents' registry too as soon as that package is loaded, so that agents which
    were saved with such a model load.

    Args:
        cls: A class with ``to_dict`` and ``from_dict``, as ``Model`` has them.

    Raises:
        ConfigurationError: It isn't such a class, or the name is taken by another class.
    """
    if not isinstance(cls, type) or not callable(getattr(cls, "from_dict", None)):
        raise ConfigurationError(f"a model class needs from_dict, {cls!r} has none")
    name = cls.__name__
    present: dict[str, Any] = vars(sys.modules.get("fairlead.models", sys)).get("MODEL_REGISTRY", {})
    if name in present and saved_module(present[name]) != saved_module(cls):
        raise ConfigurationError(f"{name} is taken by {present[name].__module__}.{name}; call yours otherwise")
    REGISTERED[name, saved_module(cls)] = cls
    if "MODEL_REGISTRY" in vars(sys.modules.get("fairlead.models", sys)):
        present[name] = cls
    register_class(cls)
    return cls


def save_model(model: Any) -> dict[str, Any]:
    """A model as ``{"class": ..., "data": ...}``, the form in which smolagents saves an agent's model."""
    data = model.to_dict()
    return {"class": type(model).__name__, "data": {"module": saved_module(type(model)), **data}}


def load_model(saved: Mapping[str, Any]) -> Any:
    """Make the model again that ``save_model`` (or smolagents, within an agent) wrote down.

    Raises:
        ConfigurationError: The class isn't known; ``register_model`` makes it so.
    """
    from fairlead import models

    if not isinstance(saved, Mapping) or not isinstance(name := saved.get("class"), str):
        raise ConfigurationError('a saved model is {"class": ..., "data": ...}')
    data = dict(saved.get("data") or {})
    module = data.get("module", "fairlead")
    cls = REGISTERED.get((name, module)) or known_class(name, module)
    if cls is None and module == "fairlead" and name in models.BACKENDS:
        cls = getattr(models, name)
    if cls is None and module == "smolagents.models":
        # Its own models don't know the entry.
        cls = getattr(require(module), name, None)
        data.pop("module", None)
    if cls is None:
        raise ConfigurationError(f"no model class {name} of {module} is registered; fairlead.register_model(cls) does")
    return cls.from_dict(data)
