"""TransformersModel held to schemas, regexes and grammars."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from fairlead import (  # noqa: E402
    ConfigurationError,
    GrammarError,
    LimitExceeded,
    ModelError,
    SchemaError,
    StopSequenceError,
    UnsupportedSchemaError,
)
from fairlead.grammar import Grammar  # noqa: E402
from fairlead.models import CODEAGENT_RESPONSE_FORMAT, TransformersModel  # noqa: E402

from .conftest import Script  # noqa: E402

USER = [{"role": "user", "content": "Please answer."}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["a", "b"]},
        "size": {"type": "integer", "minimum": 1, "maximum": 99},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 4}, "minItems": 1, "maxItems": 2},
        "note": {"type": "string", "maxLength": 5},
    },
    "required": ["kind", "size", "tags"],
    "additionalProperties": False,
}


def valid(value: Any, schema: dict[str, Any] = SCHEMA) -> bool:
    pytest.importorskip("jsonschema").validate(value, schema)
    return True


@pytest.mark.parametrize(
    "wanted",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}},
        {"response_format": {"type": "json_schema", "schema": SCHEMA}},
        {"response_format": {"type": "json_object", "schema": SCHEMA}},
        {"response_format": SCHEMA},
        {"response_format": {"type": "json", "value": SCHEMA}},
        {"response_format": Grammar.json_schema(SCHEMA, whitespace="compact")},
        {"grammar": SCHEMA},
        {"grammar": {"type": "json", "value": SCHEMA}},
        {"grammar": Grammar.json_schema(SCHEMA)},
    ],
    ids=lambda wanted: next(iter(wanted)),
)
def test_every_way_to_ask_for_a_schema(tiny, wanted):
    reply = tiny.generate(USER, max_new_tokens=900, **wanted)
    assert reply.finish_reason == "stop"
    assert valid(json.loads(reply.content)) and reply.parsed == json.loads(reply.content)


def test_sampled_outputs_differ_and_all_are_valid(tiny):
    outputs = {
        tiny.generate(USER, response_format=SCHEMA, max_new_tokens=900, temperature=2.0).content for _ in range(4)
    }
    assert len(outputs) > 1 and all(valid(json.loads(output)) for output in outputs)


def test_a_stream_is_the_same_as_the_whole(tiny):
    whole = tiny.generate(USER, response_format=SCHEMA, max_new_tokens=900)
    stream = tiny.generate_stream(USER, response_format=SCHEMA, max_new_tokens=900)
    deltas = list(stream)
    assert "".join(delta.content for delta in deltas) == whole.content
    assert stream.message.parsed == whole.parsed and stream.message.finish_reason == "stop"
    assert 0 < stream.message.timings.masks <= stream.message.timings.generation
    assert stream.message.timings.steps == whole.token_usage.output_tokens == deltas[-1].token_usage.output_tokens


def test_a_pydantic_class_gives_an_instance(tiny):
    pydantic = pytest.importorskip("pydantic")

    class Inner(pydantic.BaseModel):
        flag: Literal["NO", "DK"]

    class Answer(pydantic.BaseModel):
        name: str = pydantic.Field(max_length=6)
        inner: Inner
        ok: bool

    parsed = tiny.generate(USER, response_format=Answer, max_new_tokens=900).parsed
    assert isinstance(parsed, Answer) and isinstance(parsed.inner, Inner)
    listed = tiny.generate(USER, response_format=list[Literal["x", "y"]] | None, max_new_tokens=900, temperature=1.0)
    assert listed.parsed is None or isinstance(listed.parsed, list) or listed.finish_reason == "length"


@pytest.mark.parametrize("wanted", ["[0-9]{3}-[a-z]{2,4}", {"type": "regex", "value": "[0-9]{3}-[a-z]{2,4}"}])
def test_a_regex(tiny, wanted):
    reply = tiny.generate(USER, grammar=wanted)
    assert re.fullmatch("[0-9]{3}-[a-z]{2,4}", reply.content) and reply.parsed == reply.content


def test_the_old_third_argument_is_a_grammar(tiny):
    assert re.fullmatch("(yes|no)", tiny.generate(USER, None, {"type": "regex", "value": "(yes|no)"}).content)


def test_a_choice(tiny):
    assert tiny.generate(USER, grammar=Grammar.choice(["left", "right"])).content in ("left", "right")


def test_a_grammar_of_the_constructor(tiny):
    model = TransformersModel.from_loaded(tiny.model, tiny.tokenizer, grammar="[ab]{3}")
    assert re.fullmatch("[ab]{3}", model.generate(USER).content)


def test_text_is_no_constraint(tiny):
    reply = tiny.generate(USER, response_format={"type": "text"})
    assert reply.content == tiny.generate(USER).content and reply.parsed is None


def test_a_vision_language_model(vlm):
    from PIL import Image

    parts = [{"type": "image", "image": Image.new("RGB", (28, 28))}, {"type": "text", "text": "What?"}]
    reply = vlm.generate([{"role": "user", "content": parts}], response_format=SCHEMA, max_new_tokens=900)
    assert valid(reply.parsed)


def test_two_constrained_streams_at_once(tiny):
    streams = [tiny.generate_stream(USER, grammar=f"{letter}{{30}}") for letter in "ab"]
    texts = ["", ""]
    for deltas in zip(*streams, strict=False):
        texts = [text + delta.content for text, delta in zip(texts, deltas, strict=True)]
    assert texts[0].strip("a") == "" and texts[1].strip("b") == "" and min(map(len, texts)) > 5


# Ends


def test_a_cut_output_is_not_parsed(tiny):
    reply = tiny.generate(USER, response_format=SCHEMA, max_new_tokens=3, token_budget=None)
    assert reply.finish_reason == "length"
    with pytest.raises(ModelError, match="length"):
        _ = reply.parsed


def test_an_answer_ends_within_its_tokens(tiny):
    wordy = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    for limit in (12, 13, 20, 40):
        reply = tiny.generate(USER, response_format=wordy, max_new_tokens=limit)
        assert reply.finish_reason == "stop" and isinstance(reply.parsed["a"], str)
        assert reply.token_usage.output_tokens <= limit
    batch = tiny.generate_batch([USER, USER], response_format=wordy, max_new_tokens=14)
    assert all(reply.parsed for reply in batch)
    with pytest.raises(LimitExceeded, match="a budget of 3 tokens is too small"):
        tiny.generate(USER, response_format=wordy, max_new_tokens=3)
    with pytest.raises(ConfigurationError, match="token_budget"):
        tiny.generate(USER, response_format=wordy, token_budget=0)


def test_stops_count_only_where_the_output_is_complete(tiny):
    written = '{"kind": "a", "size": 5, "tags": ["b"]}'
    forced = {"logits_processor": [Script(tiny.tokenizer, written)], "response_format": SCHEMA}
    reply = tiny.generate(USER, stop_sequences=['"size"', "}", ","], max_new_tokens=100, **forced)
    assert reply.content == written
    inside = tiny.generate(USER, stop_sequences=['"size"'], stop_inside_constraint=True, **forced)
    assert inside.content == '{"kind": "a", ' and inside.stop_sequence == '"size"'
    with pytest.raises(ModelError):
        _ = inside.parsed


def test_a_stop_behind_a_complete_output(tiny):
    forced = {"logits_processor": [Script(tiny.tokenizer, "abcENDabc")], "grammar": "[a-z]{3}[a-zA-Z]*"}
    reply = tiny.generate(USER, stop_sequences=["END"], **forced)
    assert (reply.content, reply.stop_sequence, reply.parsed) == ("abc", "END", "abc")
    early = tiny.generate(USER, stop_sequences=["b", "END"], **forced)
    assert early.content == "abc"
    streamed = [d.content for d in tiny.generate_stream(USER, stop_sequences=["b", "END"], **forced)]
    assert "".join(streamed) == "abc"


# Mistakes


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"response_format": {"type": 5}}, SchemaError),
        ({"response_format": {"type": "json_schema"}}, ConfigurationError),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, ConfigurationError),
        ({"response_format": "text"}, ConfigurationError),
        ({"response_format": 5}, ConfigurationError),
        ({"response_format": {"type": "string", "contentMediaType": "x", "$ref": "#/nowhere"}}, SchemaError),
        ({"response_format": {"type": "string", "pattern": "a(?=b)*"}}, UnsupportedSchemaError),
        ({"response_format": False}, ConfigurationError),
        ({"grammar": "a("}, GrammarError),
        ({"grammar": {"type": "regex", "value": 5}}, ConfigurationError),
        ({"grammar": 5}, ConfigurationError),
        ({"grammar": {"type": "text"}}, ConfigurationError),
        ({"grammar": "a", "response_format": SCHEMA}, ConfigurationError),
        ({"stop_sequences": [""]}, StopSequenceError),
        ({"stop_sequences": [5]}, StopSequenceError),
    ],
    ids=str,
)
def test_mistakes_are_raised_by_the_call(tiny, wanted, error):
    with pytest.raises(error):
        tiny.generate(USER, **wanted)
    with pytest.raises(error):
        tiny.generate_stream(USER, **wanted)
    assert isinstance(tiny.generate(USER, max_tokens=1).content, str)


# smolagents


def test_code_agent_with_structured_outputs(tiny):
    smolagents = pytest.importorskip("smolagents")
    answer = json.dumps({"thought": "easy", "code": "final_answer(6 * 7)"})
    model = TransformersModel.from_loaded(
        tiny.model, tiny.tokenizer, max_new_tokens=400, logits_processor=[Script(tiny.tokenizer, answer)]
    )
    agent = smolagents.CodeAgent(tools=[], model=model, use_structured_outputs_internally=True, verbosity_level=0)
    assert agent.run("Go.") == 42
    assert model.generate(USER, response_format=CODEAGENT_RESPONSE_FORMAT).parsed["thought"] == "easy"
