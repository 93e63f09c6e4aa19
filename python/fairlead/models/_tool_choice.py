"""What ``tool_choice`` asks of a local model, and what is needed to enforce it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fairlead.errors import ConfigurationError
from fairlead.tools import ToolSyntax, find_tool_syntax, named_tool_syntax
from fairlead.tools._syntax import SPECIAL_CLOSE, SPECIAL_OPEN

if TYPE_CHECKING:
    from fairlead.grammar import GrammarCompiler
    from fairlead.tokenizer import TokenizerInfo

__all__ = ["chosen_tool", "compiler_with", "tool_syntax_of"]


def tool_syntax_of(template: Any, model_id: str | None) -> ToolSyntax:
    """How a model with this chat template writes tool calls.

    Warns:
        UserWarning: The template is of no known family, so that plain JSON is taken.
    """
    if isinstance(template, Mapping):
        template = template.get("tool_use") or template.get("default")
    found = find_tool_syntax(template)
    if found is None:
        warnings.warn(
            f"the chat template of {model_id} is of no family whose tool calls are known; plain JSON objects with name "
            "and arguments are read. tool_syntax= names another way",
            stacklevel=5,
        )
    return found or named_tool_syntax("json")


def chosen_tool(choice: Any) -> str | None:
    """The one tool that must be called, or None if any may.

    Raises:
        ConfigurationError: Neither "required" nor one tool in OpenAI's form.
    """
    if choice in ("required", "any"):
        return None
    inner = choice.get("function", choice) if isinstance(choice, Mapping) else None
    name = inner.get("name") if isinstance(inner, Mapping) else None
    if not isinstance(name, str):
        raise ConfigurationError(
            'tool_choice is "auto", "none", "required" or {"type": "function", "function": {"name": ...}}, '
            f"not {choice!r}"
        )
    return name


def compiler_with(info: TokenizerInfo, special: Mapping[int, str]) -> GrammarCompiler:
    """A compiler for a vocabulary in which some special tokens have a text that nothing else can spell."""
    from fairlead.grammar import GrammarCompiler
    from fairlead.tokenizer import TokenizerInfo

    marks = (SPECIAL_OPEN.encode(), SPECIAL_CLOSE.encode())
    tokens: list[bytes | str | None] = [
        None if text is not None and any(mark in text for mark in marks) else text for text in info.decoded_vocab
    ]
    for token, text in special.items():
        tokens[token] = f"{SPECIAL_OPEN}{text}{SPECIAL_CLOSE}".encode()
    return GrammarCompiler(TokenizerInfo(tokens, stop_token_ids=info.stop_token_ids))
