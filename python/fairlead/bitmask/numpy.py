"""Token bitmasks and numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["as_words", "from_bool", "to_bool"]


def as_words(bitmask: Any) -> Any:
    """The words of a bitmask, int32 of shape ``(batch, words)``, as a view of the same memory."""
    words = np.asarray(bitmask)
    if words.dtype.itemsize != 4 or words.dtype.kind not in "iu":
        raise TypeError(f"a token bitmask has elements of type int32, not {words.dtype}")
    return np.atleast_2d(words)


def to_bool(bitmask: Any, vocab_size: int) -> Any:
    """The bits as a new array of booleans.

    Args:
        bitmask: Shape ``(batch, words)`` or ``(words,)``, int32.
        vocab_size: The number of tokens.

    Returns:
        Shape ``(batch, vocab_size)``, True where the token is allowed.

    Raises:
        TypeError: Elements of another type.
        ValueError: The bitmask has bits for fewer tokens.
    """
    words = np.ascontiguousarray(as_words(bitmask))
    if words.shape[1] * 32 < vocab_size:
        raise ValueError(f"a bitmask of {words.shape[1]} words a row has no bits for {vocab_size} tokens")
    little = words.astype("<i4", copy=False).view(np.uint8)
    return np.unpackbits(little, axis=1, bitorder="little", count=vocab_size).view(np.bool_)


def from_bool(allowed: Any) -> Any:
    """The bitmask of an array of booleans, the reverse of :func:`to_bool`.

    Args:
        allowed: Shape ``(batch, vocab_size)`` or ``(vocab_size,)``, True where the token is allowed.

    Returns:
        A new int32 array of shape ``(batch, ceil(vocab_size / 32))``; bits beyond the vocabulary are 0.
    """
    rows = np.atleast_2d(np.asarray(allowed, dtype=np.bool_))
    words = -(-rows.shape[1] // 32)
    packed = np.zeros((rows.shape[0], words * 4), dtype=np.uint8)
    bits = np.packbits(rows, axis=1, bitorder="little")
    packed[:, : bits.shape[1]] = bits
    return packed.view("<i4").astype(np.int32, copy=False)
