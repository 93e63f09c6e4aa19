"""Both of OpenAI's APIs as their reference documents them, served over HTTP and read through the real client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from conftest_remote import load, make
from fairlead.errors import ModelError
from fairlead.streaming import agglomerate_stream_deltas

pytest.importorskip("openai")

said = load("documented")

ASK = [{"role": "user", "content": "What is the weather?"}]


def replies(server: Any, api: str, whole: Any, streamed: list[Any]) -> list[Any]:
    """The same answer by all four ways of asking."""
    model = make("openai", server.url, "gpt-test", api=api)

    async def later() -> list[Any]:
        first = await model.agenerate(ASK, tools_to_call_from=[said.WEATHER])
        deltas = [delta async for delta in model.agenerate_stream(ASK, tools_to_call_from=[said.WEATHER])]
        return [first, agglomerate_stream_deltas(deltas)]

    server.scripts[:] = [whole, streamed, whole, streamed]
    got = [
        model.generate(ASK, tools_to_call_from=[said.WEATHER]),
        model.generate_stream(ASK, tools_to_call_from=[said.WEATHER]).drain(),
        *asyncio.run(later()),
    ]
    assert {path.partition("?")[0] for path in server.paths} == {
        "/v1/responses" if api == "responses" else "/v1/chat/completions"
    }
    return got


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_parallel_tool_calls(server, api):
    if api == "chat":
        got = replies(server, api, said.CHAT_TOOLS, said.CHAT_TOOLS_STREAM)
    else:
        got = replies(server, api, said.RESPONSE_TOOLS, said.events(said.RESPONSE_TOOLS))
    for reply in got:
        assert [call.function.name for call in reply.tool_calls] == ["get_current_weather"] * 2
        assert [json.loads(call.function.arguments) for call in reply.tool_calls] == [
            json.loads(place) for place in said.PLACES
        ]
        # Provided ids that would sort the wrong way round are told apart and put in order.
        ids = [call.id for call in reply.tool_calls]
        assert ids[0] == "call_xyz" and ids == sorted(set(ids))
        assert reply.content == "" and reply.finish_reason == "tool_calls"


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_refusals(server, api):
    if api == "chat":
        got = replies(server, api, said.CHAT_REFUSAL, said.CHAT_REFUSAL_STREAM)
    else:
        got = replies(server, api, said.RESPONSE_REFUSAL, said.events(said.RESPONSE_REFUSAL))
    for reply in got:
        assert reply.refusal == said.REFUSAL and reply.content == "" and not reply.tool_calls


def test_reasoning_is_apart_and_counted(server):
    for reply in replies(server, "responses", said.RESPONSE_TEXT, said.events(said.RESPONSE_TEXT)):
        assert reply.content == said.TEXT and reply.finish_reason == "stop"
        assert all(thought in reply.reasoning for thought in said.THOUGHTS)
        assert (reply.token_usage.input_tokens, reply.token_usage.output_tokens) == (36, 87)
        assert (reply.cached_tokens, reply.reasoning_tokens) == (12, 64)


def test_an_answer_that_was_cut(server):
    for reply in replies(server, "responses", said.RESPONSE_CUT, said.events(said.RESPONSE_CUT)):
        assert reply.content == said.TEXT and reply.finish_reason == "length"


def test_a_response_that_failed(server):
    model = make("openai", server.url, "gpt-test", api="responses")
    server.scripts[:] = [said.RESPONSE_FAILED, said.events(said.RESPONSE_FAILED)]
    for ask in (lambda: model.generate(ASK), lambda: model.generate_stream(ASK).drain()):
        with pytest.raises(ModelError, match="server_error: The model failed"):
            ask()
    assert len(server.requests) == 2


@pytest.mark.parametrize("nested", [False, True])
def test_an_error_in_midstream(server, nested):
    whole = said.events(said.RESPONSE_TEXT)
    error = {"code": "rate_limit_exceeded", "message": "Too much at once.", "param": None}
    broken = [*whole[: len(whole) // 2], {"type": "error", **({"error": error} if nested else error)}]
    server.scripts[:] = [broken]
    with pytest.raises(ModelError, match="Too much at once"):
        make("openai", server.url, "gpt-test", api="responses").generate_stream(ASK).drain()
    assert len(server.requests) == 1


def test_a_stream_without_its_end(server):
    server.scripts[:] = [said.events(said.RESPONSE_TEXT)[:-1]]
    with pytest.raises(ModelError, match="before the response was complete"):
        make("openai", server.url, "gpt-test", api="responses").generate_stream(ASK).drain()


def test_stops_and_schemas_of_the_responses_api(server):
    model = make("openai", server.url, "gpt-test", api="responses")
    server.scripts[:] = [said.RESPONSE_TEXT, said.events(said.RESPONSE_TEXT)]
    for reply in (model.generate(ASK, ["brass"]), model.generate_stream(ASK, ["brass"]).drain()):
        assert reply.content == "In a quiet harbour a " and reply.stop_sequence == "brass"
        assert "stop" not in server.requests[-1]
    part = {"type": "output_text", "text": '{"knot": "END"}', "annotations": [], "logprobs": []}
    server.scripts[:] = [
        said.response([said.message_item({**part, "text": "?"})]),
        said.response([said.message_item(part)]),
    ]
    schema = {
        "type": "object",
        "properties": {"knot": {"type": "string"}},
        "required": ["knot"],
        "additionalProperties": False,
    }
    assert model.generate(ASK, ["END"], response_format=schema).parsed == {"knot": "END"}
    sent = server.requests[-1]
    assert sent["text"]["format"] == {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}
    assert len(sent["input"]) == 3 and sent["input"][1] == {"role": "assistant", "content": "?"}


@pytest.mark.parametrize("stream", [False, True])
def test_agents_on_the_responses_api(server, stream):
    smolagents = pytest.importorskip("smolagents")
    codes = ["x = 6", "y = x * 7", "final_answer(y)"]
    for code in codes:
        part = {"type": "output_text", "text": f"<code>\n{code}\n</code>", "annotations": [], "logprobs": []}
        whole = said.response([said.REASONING_ITEM, said.message_item(part)])
        server.scripts.append(said.events(whole) if stream else whole)
    model = make("openai", server.url, "gpt-test", api="responses")
    agent = smolagents.CodeAgent(tools=[], model=model, stream_outputs=stream, verbosity_level=0)
    assert agent.run("Six times seven?") == 42 and len(server.requests) == 3
