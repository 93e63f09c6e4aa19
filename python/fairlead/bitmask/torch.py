"""Token bitmasks and torch: on the CPU the engine masks in place, elsewhere torch unpacks the bits on the device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

from fairlead._core import TokenBitmask, apply_token_bitmask

__all__ = ["apply_token_bitmask_inplace", "as_tensor", "to_bool"]

# What the engine masks in place, without a copy.
_NATIVE = frozenset({torch.float32, torch.float16, torch.bfloat16})


def as_tensor(bitmask: Any) -> torch.Tensor:
    """A bitmask as an int32 tensor of shape ``(batch, words)`` on the same memory."""
    if isinstance(bitmask, torch.Tensor):
        tensor = bitmask
    elif isinstance(bitmask, TokenBitmask):
        tensor = torch.frombuffer(bitmask, dtype=torch.int32).view(bitmask.shape)
    else:
        tensor = torch.as_tensor(bitmask)
    if tensor.dtype != torch.int32:
        raise TypeError(f"a token bitmask has elements of type int32, not {tensor.dtype}")
    return tensor if tensor.dim() == 2 else tensor.view(1, -1)


def to_bool(bitmask: Any, vocab_size: int, device: torch.device | None = None) -> torch.Tensor:
    """The bits as booleans, unpacked on a device.

    Args:
        bitmask: Shape ``(batch, words)`` or ``(words,)``, int32.
        vocab_size: The number of columns wanted; those beyond the bitmask are False.
        device: Where to; default: where the bitmask is.

    Returns:
        Shape ``(batch, vocab_size)``, True where the token is allowed.
    """
    return _unpack(bitmask, vocab_size, device).ne(0)


def _unpack(bitmask: Any, vocab_size: int, device: torch.device | None) -> torch.Tensor:
    """The bits as integers, 0 where a token isn't allowed: few kernels, since a step waits for each."""
    words = as_tensor(bitmask)
    if device is not None:
        words = words.to(device, non_blocking=True)
    bits = (words.unsqueeze(-1) & _single_bits(words.device)).flatten(1)
    missing = vocab_size - bits.shape[1]
    return torch.nn.functional.pad(bits, (0, missing)) if missing > 0 else bits[:, :vocab_size]


@cache
def _single_bits(device: torch.device) -> torch.Tensor:
    bits = [1 << i for i in range(31)] + [-(1 << 31)]
    return torch.tensor(bits, dtype=torch.int32, device=device)


def apply_token_bitmask_inplace(logits: torch.Tensor, bitmask: Any, indices: Sequence[int] | None = None) -> None:
    """Set the logits of all tokens that aren't allowed to negative infinity, in place.

    Args:
        logits: Shape ``(batch, vocab)`` or ``(vocab,)``, a floating dtype, any device, rows may be strided.
        bitmask: Shape ``(batch, words)`` or ``(words,)``, int32, on the CPU or on the logits' device.
        indices: The rows to mask, of both; default: all of them.

    Raises:
        TypeError: Elements of another type.
        ValueError: Shapes that don't fit.
        IndexError: An index outside of either batch.
    """
    on_cpu = logits.is_cpu and not (isinstance(bitmask, torch.Tensor) and not bitmask.is_cpu)
    if on_cpu and logits.dtype in _NATIVE and logits.stride(-1) == 1:
        apply_token_bitmask(logits, bitmask, indices)
        return
    if not logits.is_floating_point():
        raise TypeError(f"logits must have a floating dtype, not {logits.dtype}")
    if logits.dim() not in (1, 2):
        raise ValueError(f"logits must have one or two dimensions, not {logits.dim()}")
    rows = logits.detach()
    rows = rows if rows.dim() == 2 else rows.unsqueeze(0)
    words = as_tensor(bitmask)
    if indices is None:
        if rows.shape[0] != words.shape[0]:
            raise ValueError(
                f"logits have {rows.shape[0]} rows, the bitmask has {words.shape[0]}; pass indices to mask some of them"
            )
        rows.masked_fill_(_unpack(words, rows.shape[1], rows.device).eq(0), float("-inf"))
        return
    for index in indices:
        if not 0 <= index < min(rows.shape[0], words.shape[0]):
            raise IndexError(
                f"row {index} is out of range for {rows.shape[0]} rows and {words.shape[0]} of the bitmask"
            )
    if indices:
        chosen = torch.as_tensor(indices, device=words.device)
        blocked = torch.zeros(rows.shape, dtype=torch.bool, device=rows.device)
        blocked[chosen.to(rows.device)] = _unpack(words[chosen], rows.shape[1], rows.device).eq(0)
        rows.masked_fill_(blocked, float("-inf"))
