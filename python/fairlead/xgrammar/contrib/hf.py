"""Grammars for Transformers' ``generate()``."""

from __future__ import annotations

from fairlead import logits_processor as ours
from fairlead.xgrammar._compiler import CompiledGrammar

__all__ = ["LogitsProcessor"]


class LogitsProcessor(ours.LogitsProcessor):
    """``fairlead.LogitsProcessor`` for this module's grammars. It may be used again, and with beams.

    Args:
        compiled_grammar: The grammar of all rows, or a list with one for each row.
    """

    def __init__(self, compiled_grammar: CompiledGrammar | list[CompiledGrammar]) -> None:
        several = compiled_grammar if isinstance(compiled_grammar, list) else [compiled_grammar]
        super().__init__([grammar.compiled for grammar in several])
