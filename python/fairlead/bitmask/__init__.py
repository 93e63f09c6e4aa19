"""Token bitmasks: which tokens may come next, one bit each, and their application to logits of any framework.

A bitmask has shape ``(batch, ceil(vocab_size / 32))`` and dtype int32; bit ``i % 32`` of word ``i // 32`` is token
``i``, 1 means allowed. It may be a ``TokenBitmask`` of :func:`allocate_token_bitmask`, or any int32 buffer of that
shape: a numpy array, a CPU torch tensor.

This module loads no framework; the one that the logits come from is loaded already.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fairlead._core import TokenBitmask, allocate_token_bitmask, apply_token_bitmask

__all__ = [
    "TokenBitmask",
    "allocate_token_bitmask",
    "apply_token_bitmask_inplace",
    "reset_token_bitmask",
    "to_bool",
]


def _framework(array: Any) -> str:
    """The package that an array's type comes from, also for a subclass of its type."""
    for base in type(array).__mro__:
        package = base.__module__.partition(".")[0]
        if package in ("torch", "mlx"):
            return package
    return "buffer"


def apply_token_bitmask_inplace(logits: Any, bitmask: Any, indices: Iterable[int] | None = None) -> None:
    """Set the logits of all tokens that aren't allowed to negative infinity, in place.

    Logits that are wider than the bitmask are masked beyond it: no token of the grammar's vocabulary is there.

    Args:
        logits: Shape ``(batch, vocab)`` or ``(vocab,)``. A writable array with the buffer protocol (numpy; float32,
            float16), a torch tensor (on the CPU float32, float16 and bfloat16 without a copy; any device and floating
            dtype otherwise) or an ``mlx.core.array``, whose object is given the new value.
        bitmask: Shape ``(batch, words)`` or ``(words,)``, int32, on the CPU; for a torch tensor also on its device.
        indices: The rows to mask, of both; default: all of them, and then the batches must be equally large.

    Raises:
        TypeError: Elements of another type.
        ValueError: Shapes that don't fit, or read-only memory.
        IndexError: An index outside of either batch.
    """
    rows = None if indices is None else list(indices)
    framework = _framework(logits)
    if framework == "torch":
        from fairlead.bitmask import torch

        torch.apply_token_bitmask_inplace(logits, bitmask, rows)
    elif framework == "mlx":
        from fairlead.bitmask import mlx

        logits[...] = mlx.apply_token_bitmask(logits, bitmask, rows)
    else:
        apply_token_bitmask(logits, bitmask, rows)


def reset_token_bitmask(bitmask: Any) -> None:
    """Allow every token in all rows, in place: a fresh bitmask allows none.

    Args:
        bitmask: A TokenBitmask, a writable int32 buffer or a torch tensor.
    """
    if isinstance(bitmask, TokenBitmask):
        bitmask.fill_ones()
    elif _framework(bitmask) == "torch":
        bitmask.fill_(-1)
    else:
        words = memoryview(bitmask).cast("B")
        words[:] = b"\xff" * len(words)


def to_bool(bitmask: Any, vocab_size: int) -> Any:
    """The bitmask as a new numpy array of booleans, shape ``(batch, vocab_size)``; True is allowed.

    Needs numpy; meant for tests and for looking at a mask, not for the hot path.
    """
    from fairlead.bitmask import numpy

    return numpy.to_bool(bitmask, vocab_size)
