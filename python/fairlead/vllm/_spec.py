"""A constraint as text, which travels to the process that enforces it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fairlead.errors import ConfigurationError, GrammarError

if TYPE_CHECKING:
    from fairlead.grammar import Grammar

__all__ = ["ConstraintSpec", "grammar_text"]

# No notation for grammars begins like this, so that an engine without fairlead refuses the text.
_PREFIX = "\x02fairlead:"


@dataclass(frozen=True)
class ConstraintSpec:
    """What one output is held to, apart from the tokenizer.

    Attributes:
        grammar: The grammar of the answer.
        special: Special tokens that the grammar speaks of by their texts.
        close: The closing tag behind which the grammar begins to count; None: at once.
        close_special: Special tokens that are the tag or parts of it.
        stop_token_ids: Ids that end the output, beside those of the request.
        token_budget: Tokens within which the output is complete, the stop token among them; None: no bound.
    """

    grammar: Grammar
    special: Mapping[int, str] = field(default_factory=dict)
    close: str | None = None
    close_special: Mapping[int, str] = field(default_factory=dict)
    stop_token_ids: tuple[int, ...] = ()
    token_budget: int | None = None

    def to_text(self) -> str:
        """The constraint for ``StructuredOutputsParams(grammar=...)`` of an engine that uses fairlead."""
        data = {
            "grammar": self.grammar.to_dict(),
            "special": dict(self.special),
            "close": self.close,
            "close_special": dict(self.close_special),
            "stop_token_ids": list(self.stop_token_ids),
            "token_budget": self.token_budget,
        }
        return _PREFIX + json.dumps({name: value for name, value in data.items() if value})

    @classmethod
    def from_text(cls, text: str) -> ConstraintSpec | None:
        """What ``to_text`` has written; None for any other text.

        Raises:
            GrammarError: It was changed on the way.
        """
        if not text.startswith(_PREFIX):
            return None
        from fairlead.grammar import Grammar

        try:
            data: dict[str, Any] = json.loads(text[len(_PREFIX) :])
            budget = data.get("token_budget")
            if budget is not None:
                _check_budget(budget)
            return cls(
                Grammar.from_dict(data["grammar"]),
                _ids(data.get("special", {})),
                data.get("close"),
                _ids(data.get("close_special", {})),
                tuple(int(token) for token in data.get("stop_token_ids", ())),
                budget,
            )
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise GrammarError(f"a constraint that fairlead didn't write: {error!r}") from error


def grammar_text(grammar: Grammar, *, token_budget: int | None = None) -> str:
    """A grammar for ``StructuredOutputsParams(grammar=...)`` of an engine that uses fairlead, or for LogitsProcessor.

    Args:
        grammar: Any grammar, also joined ones and schemas with options.
        token_budget: How many tokens the output may have, the stop token among them, usually ``max_tokens``: masks are
            narrowed in time, so that it is complete before they run out. Default None, no bound. Where even the
            shortest text takes more, a structured output fails; a LogitsProcessor warns.

    Raises:
        ConfigurationError: The budget is no number of tokens.
    """
    if token_budget is not None:
        _check_budget(token_budget)
    return ConstraintSpec(grammar, token_budget=token_budget).to_text()


def _check_budget(budget: Any) -> None:
    if isinstance(budget, bool) or not isinstance(budget, int) or not 1 <= budget < 1 << 63:
        raise ConfigurationError(f"token_budget is a number of tokens, at least 1, not {budget!r}")


def _ids(texts: Mapping[str, str]) -> dict[int, str]:
    return {int(token): str(text) for token, text in texts.items()}
