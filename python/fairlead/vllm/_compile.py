"""From what vLLM hands over to compiled grammars and matchers."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fairlead.errors import ConfigurationError
from fairlead.models._gated_grammar import GatedGrammar
from fairlead.models._tool_choice import compiler_with
from fairlead.vllm._spec import ConstraintSpec

if TYPE_CHECKING:
    from fairlead._core import GrammarMatcher
    from fairlead.grammar import CompiledGrammar, GrammarCompiler
    from fairlead.models._gated_grammar import GatedMatcher
    from fairlead.tokenizer import TokenizerInfo

__all__ = ["MatcherFactory", "check_constraint", "read_constraint"]

# A compiler for each set of stop tokens that requests have; each holds a vocabulary and its masks.
_MOST_COMPILERS = 8


def read_constraint(kind: str, text: str, *, compact: bool = False) -> ConstraintSpec:
    """Understand a constraint as vLLM writes it.

    Args:
        kind: The name of a ``StructuredOutputOptions``, in small letters.
        text: Its argument: a schema, a pattern, a JSON list of texts, a grammar (ours, EBNF or Lark), a tag.
        compact: JSON without whitespace.

    Raises:
        GrammarError, ConfigurationError: It is malformed.
    """
    from fairlead.grammar import Grammar

    whitespace: Any = "compact" if compact else "bounded"
    if kind == "json":
        return ConstraintSpec(Grammar.json_schema(text, whitespace=whitespace))
    if kind == "json_object":
        return ConstraintSpec(Grammar.json_schema({"type": "object"}, whitespace=whitespace))
    if kind == "regex":
        return ConstraintSpec(Grammar.regex(text))
    if kind == "choice":
        choices = json.loads(text)
        if not isinstance(choices, list) or not choices or not all(isinstance(one, str) for one in choices):
            raise ConfigurationError("choice is a list of texts with at least one")
        return ConstraintSpec(Grammar.choice(choices))
    if kind == "grammar":
        # Lark's rules have a colon where EBNF's have "::=".
        return ConstraintSpec.from_text(text) or ConstraintSpec(
            Grammar.ebnf(text) if "::=" in text else Grammar.lark(text)
        )
    if kind == "structural_tag":
        return ConstraintSpec(Grammar.structural_tag(text))
    raise ConfigurationError(f"fairlead knows no structured output of type {kind!r}")


class MatcherFactory:
    """Makes matchers for a tokenizer. Thread-safe.

    Args:
        tokenizer: vLLM's tokenizer.
        vocab_size: Width of the model's logits.
    """

    def __init__(self, tokenizer: Any, vocab_size: int) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._compilers: OrderedDict[Any, tuple[TokenizerInfo, GrammarCompiler]] = OrderedDict()
        self._lock = threading.Lock()

    def new_matcher(
        self, spec: ConstraintSpec, stop_token_ids: Iterable[int] | None = None, *, max_rollback_tokens: int = -1
    ) -> GrammarMatcher | GatedMatcher:
        """A matcher at the beginning of an output.

        Args:
            spec: The constraint.
            stop_token_ids: Ids that end the output; default: the tokenizer's.
            max_rollback_tokens: How many tokens can be taken back; -1: all.

        Raises:
            GrammarError, SchemaError: The constraint is malformed or unsupported.
            LimitExceeded: The shortest text takes more than its budget of tokens.
            TokenizerError: The tokens have no exact bytes.
        """
        from fairlead._core import GrammarMatcher

        stops = frozenset(spec.stop_token_ids) | frozenset(stop_token_ids or ())
        info, compiler = self._compiler(stops, spec.special)
        compiled: CompiledGrammar = compiler.compile_grammar(spec.grammar)
        if spec.close is not None:
            return GatedGrammar(compiled, info, spec.close, spec.close_special).new_matcher(spec.token_budget)
        return GrammarMatcher(compiled, max_rollback_tokens=max_rollback_tokens, token_budget=spec.token_budget)

    def _compiler(self, stops: frozenset[int], special: Mapping[int, str]) -> tuple[TokenizerInfo, GrammarCompiler]:
        key = (stops, tuple(sorted(special.items())))
        with self._lock:
            known = self._compilers.get(key)
            if known is not None:
                self._compilers.move_to_end(key)
                return known
            from fairlead.grammar import GrammarCompiler
            from fairlead.tokenizer import TokenizerInfo

            info = TokenizerInfo.from_vllm(
                self._tokenizer, vocab_size=self._vocab_size, stop_token_ids=sorted(stops) or None
            )
            compiler = compiler_with(info, special) if special else GrammarCompiler(info)
            self._compilers[key] = known = (compiler.tokenizer_info, compiler)
            while len(self._compilers) > _MOST_COMPILERS:
                self._compilers.popitem(last=False)
            return known


_checking = threading.Lock()
_checker: GrammarCompiler | None = None


def check_constraint(spec: ConstraintSpec) -> None:
    """Find the mistakes of a constraint where the tokenizer isn't at hand.

    Raises:
        GrammarError, SchemaError, LimitExceeded: It is malformed or unsupported.
    """
    global _checker
    with _checking:
        if _checker is None:
            from fairlead.grammar import GrammarCompiler
            from fairlead.tokenizer import TokenizerInfo

            _checker = GrammarCompiler(
                TokenizerInfo([bytes([n]) for n in range(256)] + [None], stop_token_ids=[256]),
                cache_limit_bytes=16 << 20,
                walk_ahead=False,
            )
    if not spec.special:
        _checker.compile_grammar(spec.grammar)
