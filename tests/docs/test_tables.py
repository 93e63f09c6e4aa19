"""What the README's tables say is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import fairlead
import pytest
from fairlead import models

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CORE = ROOT / "rust" / "fairlead-core" / "src" / "json_schema"

# The least that each keyword says.
SCHEMAS = {
    "type": {"type": "null"},
    "enum": {"enum": [1]},
    "const": {"const": 1},
    "$ref": {"$defs": {"a": {"type": "null"}}, "$ref": "#/$defs/a"},
    "allOf": {"allOf": [{"type": "null"}]},
    "anyOf": {"anyOf": [{"type": "null"}]},
    "oneOf": {"oneOf": [{"type": "null"}, {"type": "string"}]},
    "pattern": {"pattern": "^a$"},
    "format": {"format": "date"},
    "items": {"items": {"type": "null"}},
    "prefixItems": {"prefixItems": [{"type": "null"}]},
    "additionalItems": {"items": [{"type": "null"}], "additionalItems": False},
    "properties": {"properties": {"a": {"type": "null"}}},
    "required": {"required": ["a"]},
    "additionalProperties": {"additionalProperties": {"type": "null"}},
    "patternProperties": {"patternProperties": {"^a": {"type": "null"}}},
    "propertyNames": {"propertyNames": {"maxLength": 3}},
    "not": {"not": {"type": "null"}},
    "if": {"if": {"type": "null"}, "then": False},
    "$dynamicRef": {"items": {"$dynamicRef": "#"}},
    "$recursiveRef": {
        "$schema": "https://json-schema.org/draft/2019-09/schema",
        "items": {"$recursiveRef": "#"},
    },
    "contains": {"contains": {"type": "null"}},
    "uniqueItems": {"uniqueItems": True},
    "minContains": {"contains": {"type": "null"}, "minContains": 2},
    "maxContains": {"contains": {"type": "null"}, "maxContains": 2},
    "unevaluatedItems": {"unevaluatedItems": False},
    "unevaluatedProperties": {"unevaluatedProperties": False},
    "dependentRequired": {"dependentRequired": {"a": ["b"]}},
    "dependentSchemas": {"dependentSchemas": {"a": {"required": ["b"]}}},
    "dependencies": {"dependencies": {"a": ["b"]}},
}


def keywords(column: int) -> list[str]:
    """The keywords of one column of the README's table of JSON Schema."""
    section = README.split("### JSON Schema", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("|")]
    return [word for row in rows[2:] for word in re.findall(r"`([^`]+)`", row[column])]


def compile_schema(schema: object) -> None:
    info = fairlead.TokenizerInfo([*(bytes([byte]) for byte in range(256)), None], stop_token_ids=[256])
    fairlead.GrammarCompiler(info).compile_json_schema(schema)


@pytest.mark.parametrize("keyword", keywords(2))
def test_what_is_compiled_compiles(keyword):
    compile_schema(SCHEMAS.get(keyword, {keyword: 1}))


def test_the_table_names_every_keyword():
    source = (CORE / "keywords.rs").read_text(encoding="utf-8")
    lists = re.findall(r"^const (?:SUPPORTED|COMBINED)\b.*?\];", source, re.S | re.M)
    known = {word for words in lists for word in re.findall(r'"([^"]+)"', words)}
    assert len(lists) == 2
    assert set(keywords(2)) == known


def test_the_formats_are_those_that_are_known():
    source = (CORE / "format" / "mod.rs").read_text(encoding="utf-8")
    said = README.split("`format` constrains", 1)[1].split("for ", 1)[1].split("; other formats", 1)[0]
    assert set(re.findall(r"`([^`]+)`", said)) == set(re.findall(r'"([a-z0-9-]+)" => Make::', source))


def test_backends_are_there_or_say_that_they_are_not():
    section = README.split("## What is there", 1)[1].split("### ", 1)[0]
    for line in section.splitlines():
        if not line.startswith("| `"):
            continue
        _, names, state, _ = re.split(r"(?<!\\)\|", line)
        for name in re.findall(r"`(\w+Model)`", names):
            if name in ("FunctionModel", "ScriptedModel"):
                continue
            if state.strip() == "not yet":
                with pytest.raises(AttributeError, match=f"no {name} yet"):
                    getattr(fairlead, name)
            else:
                assert getattr(fairlead, name) is getattr(models, name)
    assert set(models.BACKENDS) <= set(re.findall(r"`(\w+)`", section))
