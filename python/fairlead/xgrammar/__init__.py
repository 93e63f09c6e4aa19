"""XGrammar's names, signatures and defaults over fairlead's engine: ``from fairlead import xgrammar as xgr``.

Bitmasks are torch tensors, as there. What XGrammar approximates is exact here, so a schema that it takes and that
can't be enforced raises. Not there: ``default_temperature``,
``get_captures(deduplicate=False)``.
"""

from __future__ import annotations

from fairlead.xgrammar._bitmask import (
    allocate_token_bitmask,
    apply_token_bitmask_inplace,
    get_bitmask_shape,
    reset_token_bitmask,
)
from fairlead.xgrammar._compiler import CompiledGrammar, GrammarCompiler
from fairlead.xgrammar._grammar import Grammar
from fairlead.xgrammar._matcher import BatchGrammarMatcher, GrammarMatcher
from fairlead.xgrammar._tokenizer_info import TokenizerInfo, VocabType

__all__ = [
    "BatchGrammarMatcher",
    "CompiledGrammar",
    "Grammar",
    "GrammarCompiler",
    "GrammarMatcher",
    "TokenizerInfo",
    "VocabType",
    "allocate_token_bitmask",
    "apply_token_bitmask_inplace",
    "bitmask_dtype",
    "get_bitmask_shape",
    "reset_token_bitmask",
]


def __getattr__(name: str) -> object:
    if name == "bitmask_dtype":
        import torch

        return torch.int32
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
