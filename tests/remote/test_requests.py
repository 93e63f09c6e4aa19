"""Every remote class: answers, streams, stops, tools, usage, faults, against a real server on loopback."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import traceback
from typing import Any

import pytest
from fairlead.errors import (
    AuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelHTTPError,
    ModelTimeoutError,
    RateLimitError,
)
from fairlead.messages import MessageRole

ASK = [{"role": "user", "content": "Say hello."}]
TOOL = {
    "type": "function",
    "function": {"name": "lookup", "parameters": {"type": "object", "properties": {"word": {"type": "string"}}}},
}


def test_an_answer(model_of, server):
    reply = model_of("ok").generate(ASK)
    assert (reply.content, reply.role, reply.finish_reason) == ("hello END tail", MessageRole.ASSISTANT, "stop")
    assert (reply.token_usage.input_tokens, reply.token_usage.output_tokens) == (11, 3)
    assert server.requests[-1]["messages"][-1]["content"] in ("Say hello.", [{"type": "text", "text": "Say hello."}])
    assert reply.raw is not None
    assert (reply.cached_tokens, reply.reasoning_tokens) == (8, 2)


def test_a_stream_has_its_usage_once_and_last(model_of):
    deltas = list(model_of("ok").generate_stream(ASK))
    assert "".join(delta.content or "" for delta in deltas) == "hello END tail"
    assert [delta.token_usage is not None for delta in deltas] == [False] * (len(deltas) - 1) + [True]
    assert deltas[-1].content == "" and deltas[-1].token_usage.input_tokens == 11


def test_stop_sequences_are_sent_and_cut_here(model_of, server):
    model = model_of("ok")
    reply = model.generate(ASK, stop_sequences=["END"])
    assert (reply.content, reply.stop_sequence) == ("hello ", "END")
    assert server.requests[-1]["stop"] == ["END"]
    with model.generate_stream(ASK, stop_sequences=["END"]) as stream:
        assert stream.drain().content == "hello "
    assert stream.message.finish_reason == "stop"


def test_a_stop_closes_the_stream(model_of, server):
    started = time.monotonic()
    assert model_of("endless").generate_stream(ASK, stop_sequences=["w3"]).drain().content == "w0 w1 w2 "
    assert time.monotonic() - started < 5


def test_closing_a_stream_closes_the_connection(model_of, server):
    stream = model_of("endless").generate_stream(ASK)
    next(stream)
    stream.close()
    assert next(stream, None) is None
    assert server.gone.wait(5)


def test_another_thread_closes_a_stream_that_waits(model_of, server):
    stream = model_of("stalls").generate_stream(ASK)
    assert next(stream).content == "par"
    rest = []
    waiting = threading.Thread(target=lambda: rest.extend(stream))
    waiting.start()
    time.sleep(0.05)
    stream.close()
    waiting.join(3)
    assert not waiting.is_alive() and rest == []


def test_leaving_an_async_stream_closes_the_connection(model_of, server):
    async def run() -> None:
        stream = model_of("endless").agenerate_stream(ASK)
        await anext(stream)
        await stream.aclose()
        assert await asyncio.to_thread(server.gone.wait, 5)

    asyncio.run(run())


def test_async(model_of, server):
    async def run() -> tuple[Any, str]:
        model = model_of("ok")
        reply = await model.agenerate(ASK, stop_sequences=["END"])
        pieces = [delta.content or "" async for delta in model.agenerate_stream(ASK)]
        return reply, "".join(pieces)

    reply, streamed = asyncio.run(run())
    assert (reply.content, streamed) == ("hello ", "hello END tail")
    # Another event loop, the same model.
    model = model_of("ok")
    assert [asyncio.run(model.agenerate(ASK)).content for _ in range(2)] == ["hello END tail"] * 2


def test_a_batch_keeps_its_order(model_of, server):
    replies = model_of("ok", max_concurrency=3).generate_batch([ASK] * 7)
    assert [reply.content for reply in replies] == ["hello END tail"] * 7 and len(server.requests) == 7


def test_tools(model_of, server):
    if model_of.kind in ("litellm", "router"):
        pytest.importorskip("mcp", reason="litellm needs it for tools")
    reply = model_of("tools").generate(ASK, tools_to_call_from=[TOOL])
    assert [call.function.arguments for call in reply.tool_calls] == ['{"word": "brace"}', '{"word": "sheet"}']
    ids = [call.id for call in reply.tool_calls]
    assert reply.content == "" and reply.finish_reason == "tool_calls"
    assert ids == sorted(set(ids)) and server.requests[-1]["tool_choice"] == "required"


@pytest.mark.parametrize("mode", ["tools", "one-index"])
def test_streamed_tools_are_kept_apart(model_of, mode):
    message = model_of(mode).generate_stream(ASK).drain()
    assert [json.loads(call.function.arguments)["word"] for call in message.tool_calls] == ["brace", "sheet"]
    ids = [call.id for call in message.tool_calls]
    assert ids == sorted(set(ids)) and {call.function.name for call in message.tool_calls} == {"lookup"}


def test_reasoning_is_kept_apart(model_of):
    reply = model_of("thinks").generate(ASK)
    assert (reply.content, reply.reasoning) == ("hello END tail", "I think")
    message = model_of("thinks").generate_stream(ASK).drain()
    assert (message.content, message.reasoning) == ("hello END tail", "I think")


def test_usage_that_grows_is_not_summed(server):
    from conftest_remote import make

    usage = make("openai", server.url, "cumulative").generate_stream(ASK).drain().token_usage
    assert (usage.input_tokens, usage.output_tokens) == (11, 2)


@pytest.mark.parametrize("mode", ["limited", "limited-date", "broken", "busy"])
def test_what_may_pass_is_asked_again(model_of, server, mode):
    assert model_of(mode).generate(ASK).content == "hello END tail"
    assert len(server.requests) == {"busy": 3}.get(mode, 2)
    if mode == "limited":
        assert 0.04 < server.times[1] - server.times[0] < 3


def test_streams_and_async_ask_again_too(model_of, server):
    assert model_of("limited").generate_stream(ASK).drain().content == "hello END tail"
    assert asyncio.run(model_of("broken").agenerate(ASK)).content == "hello END tail"
    assert len(server.requests) == 4


def test_a_limit_that_stays(model_of, server):
    with pytest.raises(RateLimitError) as caught:
        model_of("limited-always").generate(ASK)
    assert caught.value.status_code == 429 and caught.value.retry_after == 0
    assert len(server.requests) == 3, "never the client's retries times ours"


def test_a_wait_beyond_the_limit_is_not_begun(model_of, server):
    with pytest.raises(RateLimitError) as caught:
        model_of("limited-long").generate(ASK)
    assert caught.value.retry_after == 3600 and len(server.requests) == 1


def test_what_will_not_pass_is_not_asked_again(model_of, server):
    with pytest.raises(ModelHTTPError) as caught:
        model_of("refuses").generate(ASK)
    assert caught.value.status_code == 400 and not isinstance(caught.value, RateLimitError)
    assert len(server.requests) == 1 and "429000" in str(caught.value)
    if model_of.kind in ("openai", "azure", "hub"):
        assert caught.value.request_id == "req-7"


def test_secrets_stay_secret(model_of, server):
    model = model_of("locked")
    with pytest.raises(AuthenticationError) as caught:
        model.generate(ASK)
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value.body) + repr(model)
    assert "sk-secret-0123456789" not in told
    with pytest.warns(UserWarning):
        assert "sk-secret" not in json.dumps(model.to_dict())


def test_a_reset_in_midstream(model_of, server):
    stream = model_of("cut").generate_stream(ASK)
    with pytest.raises(ModelError):
        stream.drain()
    assert len(server.requests) == 1, "nothing is asked again once a stream has begun"


def test_a_malformed_chunk(model_of, server):
    with pytest.raises(ModelError):
        model_of("malformed").generate_stream(ASK).drain()
    assert len(server.requests) == 1


def test_no_choices(model_of):
    with pytest.raises(ModelError):
        model_of("no-choices", retry=False).generate(ASK)


def test_no_usage(model_of):
    if model_of.kind in ("litellm", "router"):
        pytest.skip("litellm counts by itself")
    assert model_of("no-usage").generate(ASK).token_usage is None
    assert model_of("no-usage").generate_stream(ASK).drain().content == "hello END tail"


@pytest.mark.parametrize("mode", ["stalled", "stalls"])
def test_no_answer_in_time(model_of, server, mode):
    short = {"client_kwargs": {"timeout": 0.2}} if model_of.kind in ("openai", "azure") else {"timeout": 0.2}
    begun = time.monotonic()
    with pytest.raises(ModelTimeoutError):
        model_of(mode, retry=False, **short).generate_stream(ASK).drain()
    assert time.monotonic() - begun < 4 and len(server.requests) == 1


def test_another_model_takes_over(model_of, server):
    from fairlead.models import FallbackModel

    model = FallbackModel([model_of("down", retry=False), model_of("ok")])
    assert model.generate(ASK).content == "hello END tail"
    assert model.generate_stream(ASK).drain().content == "hello END tail"
    assert asyncio.run(model.agenerate(ASK)).content == "hello END tail"
    # What has begun to arrive isn't begun again elsewhere.
    with pytest.raises(ModelError):
        FallbackModel([model_of("cut"), model_of("ok")]).generate_stream(ASK).drain()
    assert [request["model"].rpartition("/")[2] for request in server.requests] == ["down", "ok"] * 3 + ["cut"]


def test_nobody_is_there():
    pytest.importorskip("openai")
    from fairlead.models import OpenAIModel

    with pytest.raises(ModelConnectionError):
        OpenAIModel("m", api_base="http://127.0.0.1:9/v1", api_key="x", retry=False).generate(ASK)


def test_requests_per_minute_is_shared_by_threads(server):
    pytest.importorskip("openai")
    from conftest_remote import make

    model = make("openai", server.url, "ok", requests_per_minute=1200)
    # The first request of a process waits for imports, and so would those that come together with it.
    model.generate(ASK)
    begun = time.monotonic()
    threads = [threading.Thread(target=model.generate, args=(ASK,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(server.times) - begun > 0.19


CALL = {"id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": '{"word": "brace"}'}}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "a rope"}


def test_tool_calls_of_a_history_stay_calls(model_of, server):
    if model_of.kind in ("litellm", "router"):
        pytest.importorskip("mcp", reason="litellm needs it for tools")
    model = model_of("ok")
    server.replies[:] = [[CALL], "It is a rope."]
    reply = model.generate(ASK, tools_to_call_from=[TOOL])
    # The reply itself, as it came, and OpenAI's form of a result.
    assert model.generate([*ASK, reply, RESULT], tools_to_call_from=[TOOL]).content == "It is a rope."
    _, said, answer = server.requests[-1]["messages"]
    assert said["role"] == "assistant" and not said.get("content")
    assert [(one["id"], one["function"]) for one in said["tool_calls"]] == [("call_1", CALL["function"])]
    assert (answer["role"], answer["tool_call_id"], answer["content"]) == ("tool", "call_1", "a rope")


@pytest.mark.parametrize("history", ["no result", "no tools", "flattened"])
def test_tool_calls_become_text_where_they_must(model_of, server, history):
    said = {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]}
    messages = [*ASK, said] if history == "no result" else [*ASK, said, RESULT]
    more = {"no tools": {"profile": {"tools": False}}, "flattened": {"flatten_messages_as_text": True}}.get(history, {})
    model_of("ok", **more).generate(messages)
    sent = server.requests[-1]["messages"]
    assert not any("tool_calls" in message or message["role"] == "tool" for message in sent)
    assert "Let me see." in str(sent) and "brace" in str(sent)
    assert history == "no result" or "a rope" in str(sent)
