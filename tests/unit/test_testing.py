"""`fairlead.testing`: models that are told what to say, and the strategies."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from fairlead import Grammar, GrammarError, ModelError, SchemaError
from fairlead.messages import ChatMessage, MessageRole, get_clean_message_list, tool_role_conversions
from fairlead.streaming import ChatMessageStreamDelta, ChatMessageToolCallStreamDelta
from fairlead.testing import FunctionModel, ScriptedModel, chunkings, histories, messages, texts
from fairlead.types import TokenUsage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ASK = [{"role": "user", "content": "one two three"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}


# Models


def test_a_function_of_the_history():
    model = FunctionModel(lambda history: history[-1]["content"].upper())
    reply = model.generate(ASK)
    assert (reply.content, reply.finish_reason) == ("ONE TWO THREE", "stop")
    assert (reply.token_usage.input_tokens, reply.token_usage.output_tokens) == (3, 3)
    assert model.calls[0].messages == ASK and model.model_id == "function"


def test_a_function_gets_what_it_names():
    seen = []

    def answer(history, stop_sequences=None, *, temperature=0.7, response_format="none"):
        seen.append((stop_sequences, temperature, response_format))
        return "x"

    model = FunctionModel(answer)
    model.generate(ASK)
    model.generate(ASK, stop_sequences=["END"], temperature=0.1, response_format={"type": "json_object"})
    assert seen == [(None, 0.7, "none"), (["END"], 0.1, {"type": "json_object"})]


def test_a_stream_is_made_while_it_is_read():
    made = []

    def answer(history):
        for word in ("a ", "b ", "END", " c"):
            made.append(word)
            yield word

    model = FunctionModel(answer)
    stream = model.generate_stream(ASK, stop_sequences=["END"])
    assert made == []
    assert next(stream).content == "a " and made == ["a "]
    rest = list(stream)
    assert [delta.content for delta in rest] == ["b ", ""] and rest[-1].token_usage is not None
    # Nothing behind the stop was asked for.
    assert made == ["a ", "b ", "END"]
    assert stream.message.stop_sequence == "END"


def test_an_unread_stream_is_closed():
    closed = []

    def answer(history):
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(True)

    stream = FunctionModel(answer).generate_stream(ASK)
    next(stream)
    del stream
    assert closed == [True]


def test_deltas_of_a_function():
    def answer(history):
        yield "thinking"
        call = ChatMessageToolCallStreamDelta(0, "call_1", "function", None)
        yield ChatMessageStreamDelta(tool_calls=[call])
        yield ChatMessageStreamDelta(content="", token_usage=TokenUsage(7, 8))

    deltas = list(FunctionModel(answer).generate_stream(ASK))
    assert [delta.token_usage is not None for delta in deltas] == [False, False, True]
    assert deltas[-1].token_usage.total_tokens == 15 and deltas[-1].finish_reason == "tool_calls"


def test_a_message_of_a_function():
    reply = ChatMessage(MessageRole.ASSISTANT, "text END more", [CALL], token_usage=TokenUsage(1, 2))
    for model in (FunctionModel(lambda history: reply), ScriptedModel([reply])):
        got = model.generate(ASK, stop_sequences=["END"])
        assert (got.content, got.token_usage, got.finish_reason) == ("text ", TokenUsage(1, 2), "tool_calls")
        assert [call.function.name for call in got.tool_calls] == ["f"]
    assert reply.content == "text END more"


def test_what_is_no_reply():
    with pytest.raises(TypeError, match="not 5"):
        FunctionModel(lambda history: 5).generate(ASK)


def test_errors_of_a_function_come_through():
    def broken(history):
        raise ModelError("no")

    model = FunctionModel(broken)
    with pytest.raises(ModelError, match="no"):
        model.generate(ASK)
    assert len(model.calls) == 1


@given(st.text(max_size=30), st.integers(1, 9), st.lists(st.text("ab", min_size=1, max_size=2), max_size=2))
def test_streams_and_replies_agree(text, size, stops):
    whole = ScriptedModel([text]).generate(ASK, stop_sequences=stops)
    streamed = ScriptedModel([text], chunk_size=size).generate_stream(ASK, stop_sequences=stops).drain()
    by_function = FunctionModel(lambda history: list(text)).generate(ASK, stop_sequences=stops)
    assert whole.content == streamed.content == by_function.content
    assert whole.token_usage == streamed.token_usage == by_function.token_usage
    assert whole.stop_sequence == streamed.stop_sequence


# Strategies

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 3},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
    },
    "required": ["name", "tags"],
}
CHAIN = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["next"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
SCHEMAS = [
    True,
    SCHEMA,
    CHAIN,
    {"type": "string", "format": "date"},
    {"enum": ["a", "é🙂", 3, None]},
    {"type": "object", "patternProperties": {"^x": {"type": "number"}}, "minProperties": 3},
    {"type": "array", "items": {"type": "integer", "minimum": 10, "maximum": 99}, "minItems": 3, "maxItems": 4},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: str(schema)[:30])
def test_texts_of_a_schema(schema):
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(schema)

    @settings(max_examples=50)
    @given(texts(schema))
    def check(text):
        validator.validate(json.loads(text))

    check()


@pytest.mark.parametrize(
    "pattern", ["(ab)*c", "[a-z]{50}", "[0-9]{4}-[0-9]{2}", "(a|b)*abb", "x*", ".*", "é?🙂+", "a|bc|def", ""]
)
def test_texts_of_a_pattern(pattern):
    @settings(max_examples=50)
    @given(texts(pattern))
    def check(text):
        assert re.fullmatch(pattern, text)

    check()


@settings(max_examples=30)
@given(texts(Grammar.json()), texts(Grammar.choice(["yes", "no"])), texts("a*", max_length=5))
def test_texts_of_a_grammar(value, choice, short):
    json.loads(value)
    assert choice in ("yes", "no")
    assert len(short) <= 5


def test_texts_are_many():
    found = set()

    @settings(max_examples=100)
    @given(texts(SCHEMA))
    def collect(text):
        found.add(text)

    collect()
    assert len(found) > 40 and any("age" in text for text in found) and any(len(text) > 60 for text in found)


def test_texts_of_a_pydantic_class():
    pydantic = pytest.importorskip("pydantic")

    class Point(pydantic.BaseModel):
        x: int
        label: str | None = None

    @settings(max_examples=20)
    @given(texts(Point))
    def check(text):
        Point.model_validate_json(text)

    check()


def test_malformed_constraints_are_refused_at_once():
    with pytest.raises(GrammarError):
        texts("(")
    with pytest.raises(SchemaError):
        texts({"type": "strin"})


@given(st.data(), st.text() | st.binary())
def test_chunkings(data, text):
    pieces = data.draw(chunkings(text))
    assert type(text)().join(pieces) == text and pieces
    few = data.draw(chunkings(text, max_size=2))
    assert type(text)().join(few) == text and len(few) <= 2
    assert data.draw(chunkings(text, max_size=1)) == [text]


@given(messages(), messages(roles=["user"], parts=False, objects=False), messages(tool_calls=False, objects=False))
def test_messages(any_message, plain, without_calls):
    assert get_clean_message_list([any_message])
    assert plain["role"] == "user" and isinstance(plain["content"], str)
    assert "tool_calls" not in without_calls


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=40)
@given(histories(images=True), histories(system=True, min_turns=2, max_turns=2, images=True))
def test_histories(any_history, long):
    pytest.importorskip("PIL")
    for history in (any_history, long):
        cleaned = get_clean_message_list(history, tool_role_conversions)
        assert {message["role"] for message in cleaned} <= {"system", "user", "assistant"}
    roles = [getattr(m, "role", None) or m["role"] for m in long]
    assert roles[0] == "system" and roles.count("system") == 1 and roles.count("assistant") == 2
    with pytest.raises(TypeError, match="roles itself"):
        histories(roles=["user"])


def test_nothing_is_loaded_that_is_not_asked_for():
    code = (
        "import sys, fairlead.testing; from fairlead.testing import FunctionModel; dir(fairlead.testing); "
        "print([m for m in ('hypothesis', 'torch', 'numpy', 'PIL', 'smolagents') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_without_hypothesis_the_extra_is_named():
    code = (
        "import sys; sys.modules['hypothesis'] = None; sys.modules['hypothesis.strategies'] = None\n"
        "import fairlead\n"
        "try:\n    from fairlead.testing import texts\n"
        "except fairlead.MissingDependencyError as error:\n    print(error.extra)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "test"
