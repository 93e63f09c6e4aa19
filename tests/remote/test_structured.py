"""Schemas and regexes at remote models: how they travel, and that answers are checked here."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest
from conftest_remote import make
from fairlead.errors import ConfigurationError, ModelError
from fairlead.models._profiles import find_profile

pydantic = pytest.importorskip("pydantic")
pytest.importorskip("openai")


class Knot(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    name: str
    turns: int


ASK = [{"role": "user", "content": "Name a knot."}]
GOOD = '{"turns": 2, "name": "bowline"}'


def model(server: Any, **kwargs: Any) -> Any:
    return make("openai", server.url, "ok", **kwargs)


def test_native(server):
    server.replies[:] = [GOOD]
    reply = model(server).generate(ASK, response_format=Knot)
    assert reply.parsed == Knot(name="bowline", turns=2)
    sent = server.requests[-1]["response_format"]
    assert sent["type"] == "json_schema" and sent["json_schema"]["strict"] is True


def test_an_answer_that_isnt_valid_is_asked_for_once_more(server):
    server.replies[:] = ['{"name": "bowline"}', GOOD]
    reply = model(server).generate(ASK, response_format=Knot)
    # Both requests are paid for.
    assert reply.parsed.turns == 2 and reply.token_usage.total_tokens == 28
    assert "not valid" in server.requests[-1]["messages"][-1]["content"]
    server.replies[:] = ["no"] * 5
    reply = asyncio.run(model(server).agenerate(ASK, response_format=Knot))
    with pytest.raises(ModelError):
        _ = reply.parsed
    assert len(server.requests) == 4


def test_an_openai_dictionary_goes_as_it_is(server):
    server.replies[:] = [GOOD]
    schema = Knot.model_json_schema()
    wanted = {"type": "json_schema", "json_schema": {"name": "knot", "schema": schema, "strict": False}}
    assert model(server).generate(ASK, response_format=wanted).parsed == {"name": "bowline", "turns": 2}
    assert server.requests[-1]["response_format"] == wanted


@pytest.mark.parametrize("stream", [False, True])
def test_by_a_tool(server, stream):
    call = {"id": "c", "type": "function", "function": {"name": "answer", "arguments": GOOD}}
    server.replies[:] = [[call]]
    asked = model(server, structured_output="tool")
    if stream:
        reply = asked.generate_stream(ASK, response_format=Knot).drain()
    else:
        reply = asked.generate(ASK, response_format=Knot)
    assert reply.parsed.turns == 2 and not reply.tool_calls and reply.finish_reason == "stop"
    assert server.requests[-1]["tool_choice"]["function"]["name"] == "answer"


@pytest.mark.parametrize("stream", [False, True])
def test_an_array_by_a_tool_is_wrapped_in_an_object(server, stream):
    call = {"id": "c", "type": "function", "function": {"name": "answer", "arguments": '{"value": [1, 2]}'}}
    server.replies[:] = [[call]]
    asked = model(server, structured_output="tool")
    if stream:
        reply = asked.generate_stream(ASK, response_format=list[int]).drain()
    else:
        reply = asked.generate(ASK, response_format=list[int])
    assert reply.parsed == [1, 2] and reply.content == "[1, 2]"
    assert server.requests[-1]["tools"][0]["function"]["parameters"]["required"] == ["value"]


def test_a_call_of_the_users_tools_is_no_wrong_answer(server):
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    server.replies[:] = [[call]]
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    reply = model(server).generate(ASK, response_format=Knot, tools_to_call_from=[tool], tool_choice="auto")
    assert reply.tool_calls[0].function.name == "look" and len(server.requests) == 1


def test_by_words(server):
    server.replies[:] = [f"```json\n{GOOD}\n```"]
    reply = model(server, structured_output="prompt").generate(ASK, response_format=Knot)
    assert reply.parsed.name == "bowline"
    assert "JSON Schema" in str(server.requests[-1]["messages"][-1]["content"])
    assert "response_format" not in server.requests[-1]


def test_regexes(server):
    server.replies[:] = ["42"]
    assert model(server, profile={"grammar": "vllm"}).generate(ASK, grammar="[0-9]+").parsed == "42"
    assert server.requests[-1]["structured_outputs"] == {"regex": "[0-9]+"}
    server.replies[:] = ["none", "7"]
    assert model(server).generate(ASK, grammar="[0-9]+").parsed == "7"
    with pytest.raises(ConfigurationError):
        model(server, structured_output="native").generate(ASK, grammar="[0-9]+")


def test_refusals_and_cuts_are_not_asked_again(server):
    reply = make("openai", server.url, "declines").generate(ASK, response_format=Knot)
    assert reply.refusal == "I can't help with that." and reply.content == ""
    server.replies[:] = ['{"name": "bow']
    assert make("openai", server.url, "cut-short").generate(ASK, response_format=Knot).finish_reason == "length"
    assert len(server.requests) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_sequence_inside_of_an_answer_is_text(server, stream):
    whole = '{"name": "the END knot", "turns": 2}'

    def ask(**more):
        server.replies[:] = [whole + "END tail"]
        if stream:
            return model(server).generate_stream(ASK, ["END"], response_format=Knot, **more).drain()
        return model(server, max_reasks=0).generate(ASK, ["END"], response_format=Knot, **more)

    reply = ask()
    assert reply.content == whole and reply.parsed.name == "the END knot" and reply.stop_sequence == "END"
    assert "stop" not in server.requests[-1]
    cut = ask(stop_inside_constraint=True)
    assert cut.content == '{"name": "the ' and server.requests[-1]["stop"] == ["END"]


def test_models_that_take_no_stop(server):
    reply = make("openai", server.url, "ok", profile={"stop": False}).generate(ASK, stop_sequences=["END"])
    assert reply.content == "hello " and "stop" not in server.requests[-1]
    reply = make("openai", server.url, "gpt-5-mini").generate_stream(ASK, stop_sequences=["END"]).drain()
    assert reply.content == "hello " and "stop" not in server.requests[-1]


@pytest.mark.parametrize(
    ("provider", "name", "field", "value"),
    [
        ("openai", "gpt-4o-mini", "stop", True),
        ("openai", "openai/o3", "stop", False),
        ("openai", "o3-mini", "stop", True),
        ("openai", "gpt-5", "max_tokens", "max_completion_tokens"),
        ("openai", "gpt-3.5-turbo", "json_schema", False),
        ("openai", "gpt-4o-2024-05-13", "json_schema", False),
        ("openai", "gpt-4o-2024-08-06", "json_schema", True),
        ("openai", "gpt-4", "images", False),
        ("openai", "gpt-4-turbo", "images", True),
        ("openai", "o1-mini", "stop", False),
        ("azure", "gpt-35-turbo", "json_schema", False),
        ("groq", "openai/gpt-oss-120b", "json_schema", True),
        ("groq", "llama-3.1-8b-instant", "json_schema", False),
        ("anthropic", "claude-opus-4-1-20250805", "json_schema", True),
        ("anthropic", "claude-sonnet-4-20250514", "json_schema", False),
        ("anthropic", "claude-sonnet-5", "tool_choice_required", True),
        ("anthropic", "claude-sonnet-5-5", "tool_choice_required", False),
        ("vertex_ai", "claude-sonnet-4-6", "json_schema", False),
        ("gemini", "gemini-2.5-pro", "json_schema", True),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "json_schema", True),
        ("bedrock", "anthropic.claude-3-5-sonnet-20240620-v1:0", "json_schema", False),
        ("bedrock", "anthropic.claude-3-5-sonnet-20240620-v1:0", "tool_choice_required", True),
        ("bedrock", "anthropic.claude-v2:1", "tools", False),
        ("bedrock", "global.anthropic.claude-opus-5-5", "tool_choice_required", False),
        ("bedrock", "arn:aws:bedrock:us-east-1:1:inference-profile/eu.amazon.nova-pro-v1:0", "images", True),
        ("bedrock", "amazon.nova-micro-v1:0", "images", False),
        ("bedrock", "amazon.titan-text-premier-v1:0", "system", False),
        ("bedrock", "us.meta.llama3-3-70b-instruct-v1:0", "tools", True),
        ("bedrock", "us.meta.llama3-3-70b-instruct-v1:0", "stop", False),
        ("bedrock", "meta.llama3-70b-instruct-v1:0", "tools", False),
        ("bedrock", "mistral.mixtral-8x7b-instruct-v0:1", "system", False),
        ("bedrock", "qwen.qwen3-vl-235b-a22b", "images", True),
        ("bedrock", "qwen.qwen3-32b-v1:0", "images", False),
        ("bedrock", "us.deepseek.r1-v1:0", "tools", False),
        ("bedrock", "unheard.of-v1:0", "tool_choice_required", False),
        ("nobody", "unheard-of", "json_schema", False),
        ("nobody", "gemma-2-9b", "system", False),
    ],
)
def test_profiles(provider, name, field, value):
    assert getattr(find_profile(provider, name), field) == value


def test_a_profile_with_an_unknown_field():
    with pytest.raises(ConfigurationError, match="colour"):
        find_profile("openai", "gpt-4o", {"colour": True})


def test_saved_and_made_again(server):
    first = model(server, organization="org", profile={"stop": False}, max_reasks=0, temperature=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = first.to_dict()
    again = type(first).from_dict({**data, "api_key": "-"})
    assert again.api_base == first.api_base and again.organization == "org" and again.kwargs == {"temperature": 0.5}
    assert again.profile == {"stop": False} and again.max_reasks == 0
