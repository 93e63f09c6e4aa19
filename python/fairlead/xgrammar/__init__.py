"""XGrammar's names, signatures and defaults over fairlead's engine: ``from fairlead import xgrammar as xgr``.

Bitmasks are torch tensors, as there; ``contrib.hf`` has the processor for Transformers. What XGrammar approximates is
exact here, so a schema that it takes and that can't be enforced raises. Errors of grammars, their compiling and their
serialisation are ``RuntimeError``, as there, and fairlead's own besides. Not there: ``default_temperature``,
``get_captures(deduplicate=False)`` and the module ``testing``; the depth of recursion is kept and has no effect, since
nothing recurses.
"""

from __future__ import annotations

from fairlead.xgrammar import exception, structural_tag
from fairlead.xgrammar._bitmask import (
    allocate_token_bitmask,
    apply_token_bitmask_inplace,
    get_bitmask_shape,
    reset_token_bitmask,
)
from fairlead.xgrammar._compiler import CompiledGrammar, GrammarCompiler
from fairlead.xgrammar._grammar import Grammar, get_serialization_version
from fairlead.xgrammar._matcher import BatchGrammarMatcher, GrammarMatcher
from fairlead.xgrammar._tokenizer_info import TokenizerInfo, VocabType
from fairlead.xgrammar.builtin_structural_tag import (
    get_builtin_structural_tag,
    get_model_structural_tag,
    normalize_tool_choice,
    register_model_structural_tag,
)
from fairlead.xgrammar.config import get_max_recursion_depth, max_recursion_depth, set_max_recursion_depth
from fairlead.xgrammar.exception import (
    DeserializeFormatError,
    DeserializeVersionError,
    InvalidJSONError,
    InvalidStructuralTagError,
)
from fairlead.xgrammar.structural_tag import StructuralTag, StructuralTagItem

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
    "exception",
    "get_bitmask_shape",
    "get_builtin_structural_tag",
    "get_max_recursion_depth",
    "get_model_structural_tag",
    "get_serialization_version",
    "hf",
    "max_recursion_depth",
    "normalize_tool_choice",
    "register_model_structural_tag",
    "reset_token_bitmask",
    "set_max_recursion_depth",
    "structural_tag",
]


def __getattr__(name: str) -> object:
    if name == "bitmask_dtype":
        import torch

        return torch.int32
    if name in ("contrib", "hf"):
        from importlib import import_module

        return import_module("fairlead.xgrammar.contrib" + (".hf" if name == "hf" else ""))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
