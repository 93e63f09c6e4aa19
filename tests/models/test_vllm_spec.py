"""What travels to vLLM's processes, without vLLM."""

from __future__ import annotations

import json
import pickle

import pytest
from fairlead import ConfigurationError, FairleadError, Grammar, GrammarError, UnsupportedSchemaError
from fairlead.models._constraint import resolve_constraint
from fairlead.models._vllm_native import native_constraint
from fairlead.vllm import ConstraintSpec, grammar_text
from fairlead.vllm._compile import check_constraint, read_constraint

GRAMMARS = [
    Grammar.regex("[0-9]{4}"),
    Grammar.choice(["left", "right"]),
    Grammar.ebnf('root ::= "a" | "b"'),
    Grammar.lark('start: "a" | "b"'),
    Grammar.structural_tag({"type": "structural_tag", "format": {"type": "const_string", "value": "x"}}),
    Grammar.json(),
    Grammar.json_schema({"type": "integer"}, whitespace="compact", integer_fraction=True, format_assertion=False),
    Grammar.json_schema({"$ref": "urn:x"}, separators=(", ", ": "), draft="7", resources={"urn:x": {"type": "null"}}),
    Grammar.json_schema({"type": "array"}, indent=3, separators=(" ,", ":")),
    Grammar.json_schema({"type": "object"}, whitespace="free", property_order="any"),
    Grammar.json_schema({"type": "object"}, max_whitespace=3, draft="2019-09"),
    Grammar.json_schema({"type": "object"}, whitespace="free", max_whitespace=5),
    Grammar.regex("a") + (Grammar.choice(["b", "c"]) | Grammar.json_schema({"const": 1})),
]


@pytest.mark.parametrize("grammar", GRAMMARS, ids=repr)
def test_a_grammar_survives_the_journey(grammar):
    data = json.loads(json.dumps(grammar.to_dict()))
    assert Grammar.from_dict(data) == grammar == pickle.loads(pickle.dumps(grammar))
    spec = ConstraintSpec(grammar, {5: "<tool>"}, "</think>", {7: "</think>"}, (1, 2), 30)
    assert ConstraintSpec.from_text(spec.to_text()) == spec
    assert read_constraint("grammar", grammar_text(grammar)) == ConstraintSpec(grammar)
    bounded = read_constraint("grammar", grammar_text(grammar, token_budget=9))
    assert bounded == ConstraintSpec(grammar, token_budget=9)
    for wrong in (0, -1, True, "5", 1 << 70):
        with pytest.raises(ConfigurationError, match="token_budget"):
            grammar_text(grammar, token_budget=wrong)
    # Whoever asks a server may have written the text.
    changed = grammar_text(grammar, token_budget=9).replace('"token_budget": 9', '"token_budget": -9')
    with pytest.raises(GrammarError, match="token_budget"):
        ConstraintSpec.from_text(changed)


@pytest.mark.parametrize(
    "data", [{}, {"regex": "a", "ebnf": "b"}, {"regex": 1}, {"regex": "a", "draft": "7"}, {"either": [1]}, {"what": 1}]
)
def test_other_dictionaries_are_refused(data):
    with pytest.raises((TypeError, ValueError)):
        Grammar.from_dict(data)
    with pytest.raises(GrammarError):
        ConstraintSpec.from_text(grammar_text(Grammar.json())[: len("\x02fairlead:")] + json.dumps({"grammar": data}))


def test_constraints_as_vllm_writes_them():
    assert read_constraint("json", '{"type": "null"}').grammar == Grammar.json_schema({"type": "null"})
    assert read_constraint("json_object", "").grammar.kind == "json"
    assert read_constraint("choice", '["a"]').grammar == Grammar.choice(["a"])
    assert read_constraint("grammar", 'start: "a"').grammar == Grammar.lark('start: "a"')
    assert read_constraint("grammar", 'root ::= "a"').grammar == Grammar.ebnf('root ::= "a"')
    for kind, text in (("choice", "[]"), ("choice", "{"), ("what", "")):
        with pytest.raises((FairleadError, ValueError)):
            read_constraint(kind, text)
    for kind, text in (("json", "{"), ("regex", "("), ("grammar", "start: ("), ("structural_tag", "{}")):
        with pytest.raises(FairleadError):
            check_constraint(read_constraint(kind, text))


def test_what_vllm_enforces_itself():
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 0}, "b": {"enum": ["x", "y"]}, "c": {"$ref": "#/$defs/c"}},
        "required": ["a"],
        "additionalProperties": False,
        "$defs": {"c": {"type": "array", "items": {"type": "string", "maxLength": 3}}},
    }
    assert native_constraint(resolve_constraint(schema)) == {"json": schema}
    assert native_constraint(resolve_constraint(None, "a|b")) == {"regex": "a|b"}
    assert native_constraint(resolve_constraint(None, Grammar.choice(["a"]))) == {"choice": ["a"]}


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"oneOf": [{"type": "null"}]}, "/oneOf"),
        ({"type": "array", "items": {"type": "integer", "multipleOf": 2}}, "/items/multipleOf"),
        ({"minimum": 3}, "/minimum"),
        ({"type": "array", "uniqueItems": True}, "/uniqueItems"),
        ({"$ref": "#/$defs/a", "type": "string", "$defs": {"a": {}}}, "/"),
    ],
)
def test_what_it_would_let_pass_is_refused(schema, pointer):
    with pytest.raises(UnsupportedSchemaError, match=pointer):
        native_constraint(resolve_constraint(schema))


def test_grammars_that_it_has_no_notation_for():
    for grammar in (Grammar.regex("a") + Grammar.regex("b"), Grammar.json_schema({}, whitespace="compact")):
        with pytest.raises(ConfigurationError, match="fairlead"):
            native_constraint(resolve_constraint(None, grammar))
