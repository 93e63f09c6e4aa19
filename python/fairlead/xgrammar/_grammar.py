"""Grammars with XGrammar's constructors; each remembers what it was made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fairlead import grammar as ours
from fairlead.xgrammar._model import loaded, plain
from fairlead.xgrammar._strict import strict
from fairlead.xgrammar.exception import (
    DeserializeFormatError,
    DeserializeVersionError,
    GrammarError,
    InvalidStructuralTagError,
    as_runtime_errors,
)
from fairlead.xgrammar.structural_tag import StructuralTag, StructuralTagItem

__all__ = ["Grammar", "get_serialization_version"]

_VERSION = 1


def get_serialization_version() -> str:
    """The version of what ``serialize_json`` writes."""
    return str(_VERSION)


def _schema(schema: Any) -> Any:
    if isinstance(schema, str | bytes):
        return loaded(schema)
    to_schema = getattr(schema, "model_json_schema", None)
    return to_schema() if callable(to_schema) else schema


class Grammar:
    """A grammar; XGrammar's class over ``fairlead.Grammar``, which is its attribute ``grammar``."""

    def __init__(self, kind: str, arguments: list[Any], grammar: ours.Grammar) -> None:
        self._kind = kind
        self._arguments = arguments
        self.grammar = grammar

    @property
    def is_structural_tag(self) -> bool:
        """Whether it was made of a structural tag."""
        return self._kind == "structural_tag"

    @staticmethod
    def from_ebnf(ebnf_string: str, *, root_rule_name: str = "root") -> Grammar:
        """A grammar in EBNF (XGrammar's or GBNF's)."""
        if root_rule_name != "root":
            # The start is a rule of that name here.
            ebnf_string = f"root ::= {root_rule_name}\n{ebnf_string}"
        return Grammar("ebnf", [ebnf_string], ours.Grammar.ebnf(ebnf_string))

    @staticmethod
    def from_json_schema(
        schema: Any,
        *,
        any_whitespace: bool = True,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        strict_mode: bool = True,
        max_whitespace_cnt: int | None = None,
        print_converted_ebnf: bool = False,
        any_order: bool = False,
    ) -> Grammar:
        """A JSON Schema.

        Args:
            schema: JSON text, a dictionary or a pydantic class.
            any_whitespace: Whitespace as ``fairlead.Grammar.json_schema`` allows it by default. If False, the
                separators are fixed.
            indent: With ``any_whitespace=False``, so many spaces for each level, each item on a line of its own.
            separators: Between items and after keys, with ``any_whitespace=False``. Default ``(", ", ": ")``, with
                ``indent`` ``(",", ": ")``.
            strict_mode: Where members or items are declared, no others.
            max_whitespace_cnt: Characters of whitespace in one place, at most.
            print_converted_ebnf: Only False: schemas aren't converted to EBNF.
            any_order: Members in any order.

        Raises:
            GrammarError: An argument that isn't supported.
            InvalidJSONError: The schema's text isn't JSON.
            SchemaError: A malformed schema.
        """
        if print_converted_ebnf:
            raise GrammarError("schemas aren't converted to EBNF, so there is none to print")
        options: dict[str, Any] = {"property_order": "any" if any_order else "schema"}
        if not any_whitespace:
            options |= {
                "whitespace": "compact",
                "separators": list(separators or (", " if indent is None else ",", ": ")),
            }
            if indent is not None:
                options["indent"] = indent
        elif max_whitespace_cnt is not None:
            options |= {"whitespace": "free", "max_whitespace": max_whitespace_cnt}
        plain = _schema(schema)
        return _from_schema(strict(plain) if strict_mode else plain, options)

    @staticmethod
    def from_regex(regex_string: str, *, print_converted_ebnf: bool = False) -> Grammar:
        """A regular expression, matched as a whole."""
        if print_converted_ebnf:
            raise GrammarError("regexes aren't converted to EBNF, so there is none to print")
        return Grammar("regex", [regex_string], ours.Grammar.regex(regex_string))

    @staticmethod
    def from_lark(
        lark_string: str, *, tokenizer_info: Any = None, named_grammars: dict[str, Grammar | str] | None = None
    ) -> Grammar:
        """A grammar in Lark's notation; ``named_grammars`` are what it calls ``@name``."""
        named = named_grammars or {}
        inner = {name: part.grammar if isinstance(part, Grammar) else part for name, part in named.items()}
        whole = ours.Grammar.lark(lark_string, named_grammars=inner)
        return Grammar("lark", [lark_string, named] if named else [lark_string], whole)

    @staticmethod
    def from_structural_tag(*args: Any, **kwargs: Any) -> Grammar:
        """Free text with constrained tags: ``{"type": "structural_tag", ...}``, or the older tags and triggers."""
        tag = _structural_tag(*args, **kwargs)
        return Grammar("structural_tag", [tag], ours.Grammar.structural_tag(tag))

    @staticmethod
    def builtin_json_grammar() -> Grammar:
        """Any JSON."""
        return Grammar("json", [], ours.Grammar.json())

    @staticmethod
    def concat(*grammars: Grammar) -> Grammar:
        """One after the other."""
        return _joined("concat", grammars, lambda a, b: a + b)

    @staticmethod
    def union(*grammars: Grammar) -> Grammar:
        """Any of them."""
        return _joined("union", grammars, lambda a, b: a | b)

    def serialize_json(self) -> str:
        """What it was made of, as JSON."""
        return json.dumps({"fairlead": _VERSION, "grammar": self._plain()})

    def _plain(self) -> list[Any]:
        return [self._kind, *map(_plain, self._arguments)]

    @staticmethod
    def deserialize_json(json_string: str) -> Grammar:
        """The inverse of ``serialize_json``.

        Raises:
            InvalidJSONError: The text isn't JSON.
            DeserializeVersionError: It is of another version, or of another library.
            DeserializeFormatError: It isn't what that writes.
        """
        given = loaded(json_string)
        version = given.get("fairlead") if isinstance(given, dict) else None
        if version != _VERSION:
            raise DeserializeVersionError(f"serialized by version {version}, this is {_VERSION}")
        try:
            return _made(given["grammar"])
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DeserializeFormatError(f"this is no serialized grammar: {error!r}") from error

    def __repr__(self) -> str:
        return f"Grammar({self.grammar!r})"


def _plain(argument: Any) -> Any:
    if isinstance(argument, dict):
        return {name: _plain(value) for name, value in argument.items()}
    return argument._plain() if isinstance(argument, Grammar) else argument


def _from_plain_lark(text: str, named: dict[str, Any] | None = None) -> Grammar:
    parts = {name: part if isinstance(part, str) else _made(part) for name, part in (named or {}).items()}
    return Grammar.from_lark(text, named_grammars=parts)


def _from_schema(schema: Any, options: dict[str, Any]) -> Grammar:
    given = dict(options)
    if "separators" in given:
        given["separators"] = tuple(given["separators"])
    with as_runtime_errors():
        return Grammar("json_schema", [schema, options], ours.Grammar.json_schema(schema, **given))


def _structural_tag(*args: Any, **kwargs: Any) -> Any:
    given = [*args, *kwargs.values()]
    if len(given) == 1:
        return plain(loaded(given[0]) if isinstance(given[0], str | bytes) else given[0])
    if len(given) == 2:
        tags, triggers = given
        items = [StructuralTagItem(**tag) if isinstance(tag, dict) else tag for tag in tags]
        return StructuralTag.from_legacy_structural_tag(items, triggers).model_dump()
    raise InvalidStructuralTagError("a structural tag is one object, or tags and triggers")


def _joined(kind: str, grammars: tuple[Grammar, ...], join: Callable[[Any, Any], Any]) -> Grammar:
    if not grammars:
        raise GrammarError(f"{kind}() needs a grammar")
    whole = grammars[0].grammar
    for grammar in grammars[1:]:
        whole = join(whole, grammar.grammar)
    return Grammar(kind, list(grammars), whole)


def _made(plain: list[Any]) -> Grammar:
    kind, arguments = plain[0], plain[1:]
    simple: dict[str, Callable[..., Grammar]] = {
        "ebnf": Grammar.from_ebnf,
        "regex": Grammar.from_regex,
        "lark": _from_plain_lark,
        "structural_tag": Grammar.from_structural_tag,
        "json": Grammar.builtin_json_grammar,
        "json_schema": _from_schema,
    }
    if kind in simple:
        return simple[kind](*arguments)
    if kind in ("concat", "union"):
        return getattr(Grammar, kind)(*map(_made, arguments))  # type: ignore[no-any-return]
    raise GrammarError(f"this is no serialized grammar: {kind!r}")
