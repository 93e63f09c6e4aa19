"""Optional packages: import them when they are needed, and say which extra brings them."""

from __future__ import annotations

import importlib
from types import ModuleType

from fairlead.errors import MissingDependencyError

__all__ = ["require"]


def require(module: str, *, extra: str | None = None, feature: str | None = None) -> ModuleType:
    """Import an optional module.

    Args:
        module: Dotted name, for example ``"openai"`` or ``"transformers.generation"``.
        extra: The extra of fairlead that brings it; default: the package is named by itself.
        feature: What needs it, for the message; default: the module alone is named.

    Returns:
        The imported module.

    Raises:
        MissingDependencyError: The package isn't installed. An ImportError from inside an installed package passes
            through unchanged, since another installation command wouldn't cure it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        needed = f"{feature} needs the package {top!r}" if feature else f"the package {top!r} is missing"
        what = f"'fairlead[{extra}]'" if extra else top
        raise MissingDependencyError(
            f"{needed}; install it with: pip install {what}", extra=extra, name=error.name
        ) from error
