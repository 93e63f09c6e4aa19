"""Masks applied by fairlead where a model runs on the CPU: there vLLM's own way costs most of a small model's step."""

from __future__ import annotations

from typing import Any

from fairlead.bitmask.torch import apply_token_bitmask_inplace

__all__ = ["apply_grammar_bitmask"]


def apply_grammar_bitmask(scheduler_output: Any, grammar_output: Any, request_ids: list[str], logits: Any) -> None:
    """Mask the rows of the requests that have a grammar, in place.

    Args:
        scheduler_output: What was scheduled; a request with a draft has a row for each of its tokens and one more.
        grammar_output: The masks, int32 of shape ``(rows with a grammar, words)``, and whose they are.
        request_ids: The requests of the batch, in the order of their rows.
        logits: Shape ``(rows, vocab)``, on the CPU.
    """
    drafts = scheduler_output.scheduled_spec_decode_tokens
    rows = {}
    row = 0
    for request in request_ids:
        rows[request] = row
        row += 1 + len(drafts.get(request, ()))
    masks = grammar_output.grammar_bitmask
    at = 0
    for request in grammar_output.structured_output_request_ids:
        count = 1 + len(drafts.get(request, ()))
        first = rows.get(request)
        if first is not None:
            apply_token_bitmask_inplace(logits[first : first + count], masks[at : at + count])
        at += count
