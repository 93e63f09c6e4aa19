"""Token bitmasks as torch tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fairlead import bitmask as masks

if TYPE_CHECKING:
    import torch

__all__ = ["allocate_token_bitmask", "apply_token_bitmask_inplace", "get_bitmask_shape", "reset_token_bitmask"]


def get_bitmask_shape(batch_size: int, vocab_size: int) -> tuple[int, int]:
    """Rows, and words of 32 bits in each."""
    return batch_size, -(-vocab_size // 32)


def allocate_token_bitmask(batch_size: int, vocab_size: int) -> torch.Tensor:
    """A bitmask on the CPU, shape ``(batch_size, ceil(vocab_size / 32))``, int32, that allows everything."""
    import torch

    return torch.full(get_bitmask_shape(batch_size, vocab_size), -1, dtype=torch.int32)


def reset_token_bitmask(bitmask: torch.Tensor) -> None:
    """Allow everything again."""
    bitmask.fill_(-1)


def apply_token_bitmask_inplace(
    logits: torch.Tensor,
    bitmask: torch.Tensor,
    *,
    vocab_size: int | None = None,
    indices: list[int] | None = None,
    backend: Literal["auto", "cpu", "cuda", "triton", "torch_compile", "torch_native"] = "auto",
) -> None:
    """Set the logits of tokens that aren't allowed to negative infinity.

    Args:
        logits: Shape ``(batch, vocab)`` or ``(vocab,)``.
        bitmask: int32, on the device of the logits.
        vocab_size: Columns that are masked; those behind stay as they are. Default: all.
        indices: Rows of both that are masked. Default: all.
        backend: Taken for XGrammar's sake: the CPU is served by Rust, every other device by torch.
    """
    if vocab_size is not None:
        logits = logits[..., :vocab_size]
    masks.apply_token_bitmask_inplace(logits, bitmask, indices)
