"""XGrammar's names, signatures and defaults over fairlead's engine: ``from fairlead import xgrammar as xgr``.

Bitmasks are torch tensors, as there; ``contrib.hf`` has the processor for Transformers. What XGrammar approximates is
exact here, so a schema that it takes and that can't be enforced raises. Errors of grammars, their compiling and their
serialisation are ``RuntimeError``, as there, and fairlead's own besides. Not there: ``default_temperature``,
``get_captures(deduplicate=False)``, the depth of recursion (nothing recurses), and the tags of models
(``get_model_structural_tag``).
"""

from __future__ import annotations

from fairlead.xgrammar._bitmask import (
    allocate_token_bitmask,
    apply_token_bitmask_inplace,
    get_bitmask_shape,
    reset_token_bitmask,
)
from fairlead.xgrammar._compiler import CompiledGrammar, GrammarCompiler
from fairlead.xgrammar._errors import (
    DeserializeFormatError,
    DeserializeVersionError,
    InvalidJSONError,
    InvalidStructuralTagError,
)
from fairlead.xgrammar._grammar import Grammar, get_serialization_version
from fairlead.xgrammar._matcher import BatchGrammarMatcher, GrammarMatcher
from fairlead.xgrammar._structural_tag import StructuralTag, StructuralTagItem
from fairlead.xgrammar._tokenizer_info import TokenizerInfo, VocabType

__all__ = [
    "BatchGrammarMatcher",
    "CompiledGrammar",
    "DeserializeFormatError",
    "DeserializeVersionError",
    "Grammar",
    "GrammarCompiler",
    "GrammarMatcher",
    "InvalidJSONError",
    "InvalidStructuralTagError",
    "StructuralTag",
    "StructuralTagItem",
    "TokenizerInfo",
    "VocabType",
    "allocate_token_bitmask",
    "apply_token_bitmask_inplace",
    "bitmask_dtype",
    "contrib",
    "get_bitmask_shape",
    "get_serialization_version",
    "reset_token_bitmask",
]


def __getattr__(name: str) -> object:
    if name == "bitmask_dtype":
        import torch

        return torch.int32
    if name == "contrib":
        from importlib import import_module

        return import_module("fairlead.xgrammar.contrib")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
