"""Arguments of a call as ``<parameter=key>`` blocks with plain texts in them, as Qwen-Coder writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairlead.grammar import Grammar

__all__ = ["parameters_grammar", "read_parameters"]

_PARAMETER = re.compile(r"<parameter=([^>\n]+)>(.*?)</parameter>\s*", re.S)


def parameters_grammar(parameters: Mapping[str, Any]) -> Grammar:
    """The grammar of the parameters of one call.

    Args:
        parameters: The schema of its arguments; what its properties say is held to, and which of them are required.

    Raises:
        SchemaError: A property is malformed or unsupported.
    """
    from fairlead.grammar import Grammar

    required = set(parameters.get("required") or ())
    definitions = {key: parameters[key] for key in ("$defs", "definitions") if key in parameters}
    everything = Grammar.regex("")
    for key, schema in parameters["properties"].items():
        if _text_or_null(schema) is not None and not _is_free_text(schema):
            # What else is asked of a text, or that it may be lacking: the engine knows how that is written.
            inner = {"properties": {key: schema}, "required": [key], **definitions}
            one = Grammar.structural_tag(
                {"type": "structural_tag", "format": {"type": "json_schema", "style": "qwen_xml", "json_schema": inner}}
            )
        else:
            if _is_text(schema):
                known = schema.get("enum", [schema["const"]] if "const" in schema else None)
                # Everything but the closing tag: each `<` may begin it.
                value = Grammar.regex(_without("</parameter>")) if known is None else Grammar.choice(known)
            else:
                value = Grammar.json_schema({**definitions, **schema} if isinstance(schema, Mapping) else schema)
            one = Grammar.choice([f"<parameter={key}>\n"]) + value + Grammar.choice(["\n</parameter>\n"])
        everything = everything + (one if key in required else one | Grammar.regex(""))
    return everything


def read_parameters(text: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are written in a text.

    Args:
        text: The blocks of one call.
        properties: The schemas of the arguments, which say what is a text.
    """
    arguments: dict[str, Any] = {}
    for found in _PARAMETER.finditer(text):
        key, value = found[1].strip(), found[2].removeprefix("\n").removesuffix("\n")
        schema = properties.get(key)
        nullable = _text_or_null(schema)
        if nullable and value.strip() in ("null", "None"):
            arguments[key] = None
            continue
        if nullable is not None:
            # Around a text with conditions there may be whitespace, as around other values.
            arguments[key] = value if _is_as_it_stands(schema) else value.strip()
            continue
        try:
            arguments[key] = json.loads(value)
        except ValueError:
            arguments[key] = {"True": True, "False": False, "None": None}.get(value.strip(), value)
    return arguments


def _is_text(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "string"


# Keywords that ask nothing of a text, and those that list it.
_SILENT = frozenset({"type", "title", "description", "default", "examples", "deprecated", "nullable"})
_LISTS = frozenset({"enum", "const"})


def _is_free_text(schema: Any) -> bool:
    """Whether a parameter is a text of which nothing else is asked but to be one of those that are listed."""
    return _is_text(schema) and (_SILENT - {"nullable"} | _LISTS).issuperset(schema)


def _is_as_it_stands(schema: Any) -> bool:
    """Whether a parameter that is a text or null is written without whitespace around it that isn't part of it."""
    either = schema.get("anyOf")
    if isinstance(either, list):
        texts = [other for other in either if other != {"type": "null"}]
        return (_SILENT | {"anyOf"}).issuperset(schema) and all(map(_is_as_it_stands, texts))
    return _SILENT.issuperset(schema) or _is_free_text(schema)


def _text_or_null(schema: Any) -> bool | None:
    """Whether a parameter that is a text may be null instead; None if it isn't a text."""
    if not isinstance(schema, Mapping):
        return None
    kinds = schema.get("type")
    if kinds == "string":
        return bool(schema.get("nullable"))
    if isinstance(kinds, list) and "string" in kinds and set(kinds) <= {"string", "null"}:
        return "null" in kinds
    either = schema.get("anyOf")
    if isinstance(either, list) and len(either) == 2 and {"type": "null"} in either:
        other = either[1 - either.index({"type": "null"})]
        return None if _text_or_null(other) is None else True
    return None


def _without(tag: str) -> str:
    """A pattern of the texts that don't contain a tag whose first character comes only once in it."""
    first, rest = re.escape(tag[0]), tag[1:]
    tries = "|".join(re.escape(rest[:n]) for n in range(1, len(rest)))
    again = f"{first}(?:{tries})?"
    fails = "|".join(f"{re.escape(rest[:n])}[^{re.escape(tag[0] + rest[n])}]" for n in range(len(rest)))
    # Control characters are left out: special tokens are written with them.
    return f"(?:[^{first}\x00-\x08]|(?:{again})*{first}(?:{fails}))*(?:{again})*"
