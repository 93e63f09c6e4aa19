"""Grammars, and the compiler that makes them ready for a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fairlead._core import (
    CompiledGrammar,
    Compiler,
    Grammar,
    GrammarMatcher,
    allocate_token_bitmask,
    unknown_schema_keywords,
)
from fairlead.errors import GrammarError, TokenizerError

if TYPE_CHECKING:
    from fairlead.tokenizer import TokenizerInfo

__all__ = ["CompiledGrammar", "Grammar", "GrammarCompiler", "unknown_schema_keywords"]

# The version of what is serialized.
_SERIALIZED = 1

_FORMATS = {
    "date": "2026-11-26",
    "time": "12:30:59.5Z",
    "date-time": "2026-11-26T12:30:59.125+01:00",
    "duration": "P1DT2H",
    "email": "ole.nordmann@example.org",
    "hostname": "db-1.example.org",
    "ipv4": "192.168.10.254",
    "ipv6": "2001:db8::ff00:42:8329",
    "uri": "https://www.example.org:8080/a/path?query=1#part",
    "uri-reference": "/a/path",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
    "json-pointer": "/a/0",
}
# What most JSON consists of, with values that pass through its states.
_COMMON: list[tuple[Any, Any]] = [
    *(({"type": "string", "format": name}, text) for name, text in _FORMATS.items()),
    ({"type": "string", "pattern": "^[a-zA-Z0-9_-]+$"}, "a-Name_1"),
    ({"type": "string", "minLength": 1, "maxLength": 200}, "some words"),
    ({}, {"a": [1, -2.5e3, 'b\\n"c"', True, False, None, {"d": []}, {}], "e": ""}),
    (
        {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "count": {"type": "integer", "minimum": 0},
                "price": {"type": "number"},
                "kind": {"enum": ["one", "two"]},
                "tags": {"type": "array", "items": {"type": "string"}},
                "rows": {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "integer"}}}},
            },
            "required": ["name"],
        },
        {
            "name": "x",
            "count": 12,
            "price": 9.5,
            "kind": "two",
            "tags": ["a", "b"],
            "rows": [{"id": 1}, {}],
            "other": 0,
        },
    ),
]


class GrammarCompiler:
    """Compiles grammars for one tokenizer; what they have in common is computed once. Thread-safe.

    Args:
        tokenizer_info: The tokenizer.
        cache_limit_bytes: Bytes of states and masks to keep, roughly; default 192 MiB. Past it a fresh cache begins.
        limits: Counted limits of one grammar: ``max_source_bytes``, ``max_depth``, ``max_nodes``,
            ``max_repetition``, ``max_states``. Exceeding one raises LimitExceeded.
        walk_ahead: Whether compiling works out the first masks that a sample text comes through, of large grammars
            most of them, which takes once or twice as long again. Texts then wait less for masks that nobody has asked
            for yet. Masks are the same. Default True.
    """

    def __init__(
        self,
        tokenizer_info: TokenizerInfo,
        *,
        cache_limit_bytes: int | None = None,
        limits: Mapping[str, int] | None = None,
        walk_ahead: bool = True,
    ) -> None:
        self.tokenizer_info = tokenizer_info
        self._compiler = Compiler(
            tokenizer_info.vocabulary,
            cache_limit_bytes=cache_limit_bytes,
            limits=dict(limits) if limits else None,
            walk_ahead=walk_ahead,
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

    def serialize(self, compiled: CompiledGrammar) -> str:
        """What a compiled grammar was made of, with a version and its tokenizer's fingerprint, as JSON: no states."""
        return json.dumps(
            {
                "fairlead": _SERIALIZED,
                "tokenizer": compiled.vocabulary.fingerprint,
                "grammar": compiled.grammar.to_dict(),
            }
        )

    def deserialize(self, text: str) -> CompiledGrammar:
        """Compile what :meth:`serialize` wrote, or find it compiled.

        Raises:
            GrammarError: The text is none that ``serialize`` writes, or is of another version.
            TokenizerError: It was compiled for another tokenizer.
        """
        try:
            given = json.loads(text)
            version, tokenizer, grammar = given["fairlead"], given["tokenizer"], given["grammar"]
        except (ValueError, KeyError, TypeError) as error:
            raise GrammarError(f"this is no serialized grammar: {error!r}") from error
        if version != _SERIALIZED:
            raise GrammarError(f"serialized in version {version}, this is {_SERIALIZED}")
        if tokenizer != self.tokenizer_info.vocabulary.fingerprint:
            raise TokenizerError("this grammar was compiled for another tokenizer")
        try:
            made = Grammar.from_dict(grammar)
        except (ValueError, TypeError) as error:
            raise GrammarError(f"this is no serialized grammar: {error}") from error
        return self._compiler.compile(made)

    def warm_up(self) -> None:
        """Work out the masks that most JSON has in common, so that no first request waits for them.

        It takes some tenths of a second for a vocabulary of 128,000 tokens; results are the same without it. Strings of
        every format, numbers, names and the joints of objects and arrays are written a character at a time.
        """
        bitmask = allocate_token_bitmask(1, self.tokenizer_info.vocab_size)
        for schema, instance in _COMMON:
            matcher = GrammarMatcher(self.compile_json_schema(schema), max_rollback_tokens=0)
            for character in json.dumps(instance, ensure_ascii=False):
                matcher.fill_next_token_bitmask(bitmask)
                if not matcher.accept_string(character):  # a vocabulary that lacks it
                    break

    @property
    def cache_bytes(self) -> int:
        """Bytes that states and masks hold now, roughly."""
        return self._compiler.cache_bytes
