"""Checking a whole text against what was asked for, where the provider alone knows the tokens."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fairlead.models._constraint import Constraint

if TYPE_CHECKING:
    from fairlead._core import CompiledGrammar
    from fairlead.grammar import GrammarCompiler

__all__ = ["OutputCheck", "without_fence"]

_FENCE = re.compile(r"\A\s*```[\w-]*\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


@lru_cache(maxsize=1)
def _compiler() -> GrammarCompiler:
    from fairlead.grammar import GrammarCompiler
    from fairlead.tokenizer import TokenizerInfo

    # Bytes are all the tokens that a finished text needs.
    info = TokenizerInfo([bytes([byte]) for byte in range(256)] + ["<end>"], stop_token_ids=[256])
    return GrammarCompiler(info, walk_ahead=False)


class OutputCheck:
    """Decides whether a text is what a constraint asks for.

    JSON may be written in any way: order of members, whitespace and escapes are free.

    Args:
        constraint: What was asked for.

    Raises:
        SchemaError, GrammarError: It is malformed, or can't be enforced exactly.
    """

    def __init__(self, constraint: Constraint) -> None:
        from fairlead.grammar import Grammar

        self._json = constraint.shape.kind == "json"
        if constraint.schema is not None:
            grammar = Grammar.json_schema(constraint.schema, property_order="any", integer_fraction=True)
        else:
            grammar = constraint.make_grammar()
        self._shape = constraint.shape
        self._compiled: CompiledGrammar = _compiler().compile_grammar(grammar)

    def __call__(self, text: str) -> str | None:
        """None if the text is right, else what is wrong with it."""
        if self._json:
            try:
                value = json.loads(text, object_pairs_hook=_unique)
            except ValueError as error:
                return f"it isn't valid JSON: {error}"
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        from fairlead._core import GrammarMatcher

        matcher = GrammarMatcher(self._compiled, max_rollback_tokens=0)
        if not matcher.accept_string(text) or not matcher.is_completed():
            return "it doesn't follow the schema" if self._json else "it doesn't follow the grammar"
        if self._shape.model is not None:
            try:
                self._shape.parse(text)
            except ValueError as error:  # pydantic's are of this kind
                return str(error)
        return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key comes twice")
    return members


def without_fence(text: str) -> str:
    """A text without the Markdown fence that models like to put around JSON."""
    match = _FENCE.match(text)
    return match[1] if match else text.strip()
