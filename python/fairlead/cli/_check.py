"""``fairlead check``: whether a schema can be enforced."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.text import Text

from fairlead.errors import LimitExceeded, SchemaError, UnsupportedSchemaError

__all__ = ["run_check"]


def run_check(schema: Any, name: str) -> int:
    """Compile a schema for a vocabulary of single bytes and tell what came of it; 1 if it isn't supported."""
    console = Console(soft_wrap=True, highlight=False)
    try:
        ignored = _compile(schema)
    except UnsupportedSchemaError as error:
        _say(console, "not supported", "red", name)
        _where(console, error)
        return 1
    except SchemaError as error:
        _say(console, "not a valid schema", "red", name)
        _where(console, error)
        return 1
    except LimitExceeded as error:
        _say(console, "too costly", "red", name)
        console.print(Text(f"  why      {error}"))
        return 1
    _say(console, "supported", "green", name)
    for pointer, keyword in ignored:
        console.print(Text(f"  ignored  {keyword}  at {pointer}"))
    if ignored:
        console.print(Text("           (not keywords of JSON Schema: they constrain nothing)", style="dim"))
    return 0


def _compile(schema: Any) -> list[tuple[str, str]]:
    """Compile, and return the keywords that are none of JSON Schema's, with their pointers."""
    from fairlead.grammar import Grammar, GrammarCompiler, unknown_schema_keywords
    from fairlead.tokenizer import TokenizerInfo

    grammar = Grammar.json_schema(schema)
    # Every byte is a token: what can be enforced doesn't depend on the vocabulary then.
    info = TokenizerInfo([*(bytes([byte]) for byte in range(256)), None], stop_token_ids=[256])
    GrammarCompiler(info).compile_grammar(grammar)
    return list(unknown_schema_keywords(json.dumps(schema)))


def _say(console: Console, verdict: str, color: str, name: str) -> None:
    console.print(Text.assemble((verdict, f"bold {color}"), f"  {name}"))


def _where(console: Console, error: SchemaError) -> None:
    if error.pointer is not None:
        console.print(Text(f"  where    {error.pointer or '(the root)'}"))
    if error.keyword is not None:
        console.print(Text(f"  keyword  {error.keyword}"))
    console.print(Text(f"  why      {error}"))
