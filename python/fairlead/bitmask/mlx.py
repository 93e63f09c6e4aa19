"""Token bitmasks and MLX: the mask is added, which on the CPU and on Metal beats unpacking bits or selecting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from fairlead._core import apply_token_bitmask as _apply

__all__ = ["additive_mask", "apply_token_bitmask"]


def additive_mask(bitmask: Any, batch: int, vocab_size: int, indices: Sequence[int] | None = None) -> mx.array:
    """What to add to logits: 0 where a token is allowed, negative infinity elsewhere.

    Args:
        bitmask: Shape ``(batch, words)`` or ``(words,)``, int32, on the CPU.
        batch: The number of rows.
        vocab_size: The number of columns; those beyond the bitmask are masked.
        indices: The rows to mask; the others get zeros.

    Returns:
        A new float32 array of shape ``(batch, vocab_size)``.
    """
    # The engine masks zeros: no other package is needed to expand the bits, and it takes microseconds.
    zeros: Any = memoryview(bytearray(4 * batch * vocab_size)).cast("f", shape=[batch, vocab_size])
    _apply(zeros, bitmask, indices)
    return mx.array(zeros)


def apply_token_bitmask(logits: mx.array, bitmask: Any, indices: Sequence[int] | None = None) -> mx.array:
    """Logits with negative infinity wherever a token isn't allowed, as a new lazy array of the same dtype.

    Args:
        logits: Shape ``(batch, vocab)`` or ``(vocab,)``.
        bitmask: Shape ``(batch, words)`` or ``(words,)``, int32, on the CPU.
        indices: The rows to mask, of both; default: all of them.

    Raises:
        ValueError: Shapes that don't fit.
        IndexError: An index outside of either batch.
    """
    if logits.ndim not in (1, 2):
        raise ValueError(f"logits must have one or two dimensions, not {logits.ndim}")
    batch = logits.shape[0] if logits.ndim == 2 else 1
    mask = additive_mask(bitmask, batch, logits.shape[-1], indices)
    return logits + mask.reshape(logits.shape).astype(logits.dtype)
