"""Compiling grammars for a tokenizer."""

from __future__ import annotations

import json
import threading
from typing import Any

from fairlead import grammar as ours
from fairlead.xgrammar._grammar import Grammar
from fairlead.xgrammar._tokenizer_info import TokenizerInfo
from fairlead.xgrammar.exception import GrammarError, TokenizerError, as_runtime_errors

__all__ = ["CompiledGrammar", "GrammarCompiler"]


class CompiledGrammar:
    """A grammar that was compiled for a tokenizer; ``compiled`` is fairlead's."""

    def __init__(self, grammar: Grammar, tokenizer_info: TokenizerInfo, compiled: ours.CompiledGrammar) -> None:
        self._grammar = grammar
        self._tokenizer_info = tokenizer_info
        self.compiled = compiled

    @property
    def grammar(self) -> Grammar:
        """The grammar."""
        return self._grammar

    @property
    def tokenizer_info(self) -> TokenizerInfo:
        """The tokenizer."""
        return self._tokenizer_info

    @property
    def memory_size_bytes(self) -> int:
        """0: states and masks belong to the compiler, see ``GrammarCompiler.get_cache_size_bytes``."""
        return 0

    def serialize_json(self) -> str:
        """The grammar's source and the tokenizer's fingerprint; states are made anew."""
        source = json.loads(self._grammar.serialize_json())
        return json.dumps({**source, "tokenizer": self._tokenizer_info.info.vocabulary.fingerprint})

    @staticmethod
    def deserialize_json(json_str: str, tokenizer_info: TokenizerInfo) -> CompiledGrammar:
        """The inverse of ``serialize_json``.

        Raises:
            InvalidJSONError, DeserializeVersionError, DeserializeFormatError: As by ``Grammar.deserialize_json``.
            TokenizerError: It was compiled for another tokenizer.
        """
        grammar = Grammar.deserialize_json(json_str)
        if json.loads(json_str).get("tokenizer") != tokenizer_info.info.vocabulary.fingerprint:
            raise TokenizerError("this grammar was compiled for another tokenizer")
        return GrammarCompiler(tokenizer_info).compile_grammar(grammar)


class GrammarCompiler:
    """Compiles grammars for one tokenizer; XGrammar's class over ``fairlead.GrammarCompiler``.

    Args:
        tokenizer_info: The tokenizer.
        max_threads: Taken for XGrammar's sake: grammars are compiled lazily, in the caller's thread.
        cache_enabled: Remember compiled grammars.
        cache_limit_bytes: For states and masks; -1: fairlead's default.
        enable_dynamic_compilation: Taken for XGrammar's sake: masks are always made when they are first needed.
    """

    def __init__(
        self,
        tokenizer_info: TokenizerInfo,
        *,
        max_threads: int = 8,
        cache_enabled: bool = True,
        cache_limit_bytes: int = -1,
        enable_dynamic_compilation: bool = False,
    ) -> None:
        self._info = tokenizer_info
        self._limit = cache_limit_bytes
        self._cached = cache_enabled
        self._lock = threading.Lock()
        self._compiler = self._new()

    def _new(self) -> ours.GrammarCompiler:
        limit = None if self._limit < 0 else self._limit
        return ours.GrammarCompiler(self._info.info, cache_limit_bytes=limit)

    def compile_grammar(self, grammar: str | Grammar, *, root_rule_name: str = "root") -> CompiledGrammar:
        """Compile a grammar, or EBNF."""
        if isinstance(grammar, str):
            grammar = Grammar.from_ebnf(grammar, root_rule_name=root_rule_name)
        with self._lock:
            compiler = self._compiler if self._cached else self._new()
        with as_runtime_errors(structural_tag=grammar.is_structural_tag):
            return CompiledGrammar(grammar, self._info, compiler.compile_grammar(grammar.grammar))

    def compile_json_schema(
        self,
        schema: Any,
        *,
        any_whitespace: bool = True,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        strict_mode: bool = True,
        max_whitespace_cnt: int | None = None,
        any_order: bool = False,
    ) -> CompiledGrammar:
        """Compile a JSON Schema; the arguments are those of ``Grammar.from_json_schema``."""
        return self.compile_grammar(
            Grammar.from_json_schema(
                schema,
                any_whitespace=any_whitespace,
                indent=indent,
                separators=separators,
                strict_mode=strict_mode,
                max_whitespace_cnt=max_whitespace_cnt,
                any_order=any_order,
            )
        )

    def compile_builtin_json_grammar(self) -> CompiledGrammar:
        """Compile the grammar of any JSON."""
        return self.compile_grammar(Grammar.builtin_json_grammar())

    def compile_regex(self, regex: str) -> CompiledGrammar:
        """Compile a regular expression."""
        return self.compile_grammar(Grammar.from_regex(regex))

    def compile_lark(
        self, lark_string: str, *, named_grammars: dict[str, Grammar | str] | None = None
    ) -> CompiledGrammar:
        """Compile a grammar in Lark's notation."""
        return self.compile_grammar(Grammar.from_lark(lark_string, named_grammars=named_grammars))

    def compile_structural_tag(self, *args: Any, **kwargs: Any) -> CompiledGrammar:
        """Compile a structural tag."""
        return self.compile_grammar(Grammar.from_structural_tag(*args, **kwargs))

    def clear_cache(self) -> None:
        """Forget states and masks; matchers that are alive keep theirs."""
        with self._lock:
            self._compiler = self._new()

    def get_cache_size_bytes(self) -> int:
        """Bytes that states and masks hold now, roughly."""
        return self._compiler.cache_bytes

    @property
    def cache_limit_bytes(self) -> int:
        """The limit that was given."""
        return self._limit


def unwrapped(compiled: Any) -> ours.CompiledGrammar:
    """fairlead's compiled grammar."""
    if isinstance(compiled, CompiledGrammar):
        return compiled.compiled
    if isinstance(compiled, ours.CompiledGrammar):
        return compiled
    raise GrammarError(f"a compiled grammar is needed, not a {type(compiled).__name__}")
