"""The depth of recursion: a number that is kept for code that sets it. Nothing here recurses, so nothing reads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["get_max_recursion_depth", "max_recursion_depth", "set_max_recursion_depth"]

_MOST = 1_000_000
_depth = 10_000


def get_max_recursion_depth() -> int:
    """The depth that was set; 10,000 at first."""
    return _depth


def set_max_recursion_depth(max_recursion_depth: int) -> None:
    """Set the depth, for the whole process.

    Raises:
        RuntimeError: It isn't between 1 and 1,000,000.
    """
    global _depth
    if not 1 <= max_recursion_depth <= _MOST:
        raise RuntimeError(f"the depth of recursion is between 1 and {_MOST:,}, not {max_recursion_depth}")
    _depth = max_recursion_depth


@contextmanager
def max_recursion_depth(temp_depth: int) -> Iterator[None]:
    """Set the depth for a while."""
    before = get_max_recursion_depth()
    set_max_recursion_depth(temp_depth)
    try:
        yield
    finally:
        set_max_recursion_depth(before)
