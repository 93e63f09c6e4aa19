"""Grammars, and the compiler that makes them ready for a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fairlead._core import CompiledGrammar, Compiler, Grammar, unknown_schema_keywords

if TYPE_CHECKING:
    from fairlead.tokenizer import TokenizerInfo

__all__ = ["CompiledGrammar", "Grammar", "GrammarCompiler", "unknown_schema_keywords"]


class GrammarCompiler:
    """Compiles grammars for one tokenizer; what they have in common is computed once. Thread-safe.

    Args:
        tokenizer_info: The tokenizer.
        cache_limit_bytes: Bytes of states and masks to keep, roughly; default 256 MiB. Past it a fresh cache begins.
        limits: Counted limits of one grammar: ``max_source_bytes``, ``max_depth``, ``max_nodes``,
            ``max_repetition``, ``max_states``. Exceeding one raises LimitExceeded.
    """

    def __init__(
        self,
        tokenizer_info: TokenizerInfo,
        *,
        cache_limit_bytes: int | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        self.tokenizer_info = tokenizer_info
        self._compiler = Compiler(
            tokenizer_info.vocabulary,
            cache_limit_bytes=cache_limit_bytes,
            limits=dict(limits) if limits else None,
        )

    def compile_grammar(self, grammar: Grammar) -> CompiledGrammar:
        """Compile a grammar, or find it compiled.

        Raises:
            GrammarError: The grammar is malformed, or no text satisfies it.
            SchemaError: The schema is malformed, or no value satisfies it.
            UnsupportedSchemaError: A keyword constrains and isn't supported.
            LimitExceeded: A limit was exceeded.
        """
        return self._compiler.compile(grammar)

    def compile_json_schema(self, schema: Any, **options: Any) -> CompiledGrammar:
        """Compile a JSON Schema; options as of :meth:`Grammar.json_schema`."""
        return self._compiler.compile(Grammar.json_schema(schema, **options))

    def compile_regex(self, pattern: str) -> CompiledGrammar:
        """Compile a pattern."""
        return self._compiler.compile(Grammar.regex(pattern))

    def compile_structural_tag(self, tag: Any) -> CompiledGrammar:
        """Compile a structural tag; see :meth:`Grammar.structural_tag`."""
        return self._compiler.compile(Grammar.structural_tag(tag))

    def compile_builtin_json_grammar(self) -> CompiledGrammar:
        """Compile the grammar of any JSON value."""
        return self._compiler.compile(Grammar.json())

    @property
    def cache_bytes(self) -> int:
        """Bytes that states and masks hold now, roughly."""
        return self._compiler.cache_bytes
