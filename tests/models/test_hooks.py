"""Hooks: each request is told once, by whichever method it comes, with the reply or the error."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from fairlead.errors import ConfigurationError, ModelError
from fairlead.messages import ChatMessage, MessageRole
from fairlead.models import FallbackModel, Model, ModelRequest, ModelResponse
from fairlead.testing import FunctionModel, ScriptedModel

HELLO = [{"role": "user", "content": "hello"}]


class Log:
    def __init__(self, model: Any) -> None:
        self.requests: list[ModelRequest] = []
        self.responses: list[ModelResponse] = []
        model.on_request(self.requests.append)
        model.on_response(self.responses.append)


class Minimal(Model):
    def generate(self, messages, stop_sequences=None):
        return ChatMessage(role=MessageRole.ASSISTANT, content="done")


def test_generate_tells_once_though_it_streams_inside():
    model = ScriptedModel(["a b c"])
    log = Log(model)
    reply = model.generate(HELLO, ["c"], temperature=0.5)
    (request,), (response,) = log.requests, log.responses
    assert request.operation == "generate" and request.model is model and request.messages is HELLO
    assert request.arguments == {"stop_sequences": ["c"], "temperature": 0.5}
    assert response.request is request and response.message is reply and response.error is None
    assert response.seconds > 0 and response.first_delta is None


def test_arguments_by_name_and_calling_the_model():
    model = ScriptedModel(["a", "b"])
    log = Log(model)
    model.generate(messages=HELLO)
    model(HELLO)
    assert [request.messages for request in log.requests] == [HELLO, HELLO]


def test_a_stream_tells_at_its_end():
    model = ScriptedModel(["one two"])
    log = Log(model)
    stream = model.generate_stream(HELLO)
    next(stream)
    assert len(log.requests) == 1 and not log.responses
    assert stream.drain().content == "one two"
    (response,) = log.responses
    assert response.message.content == "one two" and response.message.token_usage.output_tokens == 2
    assert response.message.finish_reason == "stop"
    assert 0 < response.first_delta <= response.seconds and not response.closed
    stream.close()
    assert len(log.responses) == 1


def test_a_stream_that_is_closed_early_tells_what_had_arrived():
    model = ScriptedModel(["one two"])
    log = Log(model)
    with model.generate_stream(HELLO) as stream:
        next(stream)
    (response,) = log.responses
    assert response.closed and response.error is None and response.message.content == "one "


def test_a_stream_that_fails_tells_the_error():
    def broken(messages):
        yield "one "
        raise ModelError("gone")

    model = FunctionModel(broken)
    log = Log(model)
    with pytest.raises(ModelError, match="gone"):
        list(model.generate_stream(HELLO))
    (response,) = log.responses
    assert str(response.error) == "gone" and response.message.content == "one "


def test_the_default_stream_of_a_model_that_only_generates_is_one_request():
    model = Minimal()
    log = Log(model)
    assert model.generate_stream(HELLO).drain().content == "done"
    assert [request.operation for request in log.requests] == ["generate_stream"]


def test_errors_are_told_and_raised():
    model = ScriptedModel([ModelError("no")])
    log = Log(model)
    with pytest.raises(ModelError, match="no"):
        model.generate(HELLO)
    assert log.responses[0].message is None and str(log.responses[0].error) == "no"


def test_async_methods():
    async def run() -> None:
        model = ScriptedModel(["one two", "three four"])
        log = Log(model)
        awaited: list[str] = []

        async def hook(request: ModelRequest) -> None:
            await asyncio.sleep(0)
            awaited.append(request.operation)

        model.on_request(hook)
        await model.agenerate(HELLO)
        assert [delta.content async for delta in model.agenerate_stream(HELLO)][-1] == ""
        assert awaited == [request.operation for request in log.requests] == ["agenerate", "agenerate_stream"]
        assert [response.message.content for response in log.responses] == ["one two", "three four"]
        with pytest.raises(ConfigurationError, match="coroutine function"):
            model.generate(HELLO)

    asyncio.run(run())


def test_an_async_stream_left_early_is_told_as_closed():
    async def run() -> None:
        model = ScriptedModel(["one two three"])
        log = Log(model)
        stream = model.agenerate_stream(HELLO)
        await anext(stream)
        await stream.aclose()
        assert log.responses[0].closed and log.responses[0].message.content == "one "

    asyncio.run(run())


def test_a_batch_tells_each_conversation_once():
    model = FunctionModel(lambda messages: messages[0]["content"].upper())
    log = Log(model)
    replies = model.generate_batch([[{"role": "user", "content": word}] for word in ("a", "b", "c")])
    assert [reply.content for reply in replies] == ["A", "B", "C"]
    assert len(log.requests) == 3
    assert [response.message.content for response in log.responses] == ["A", "B", "C"]


def test_threads_are_told_apart():
    model = FunctionModel(lambda messages: messages[0]["content"])
    log = Log(model)
    threads = [threading.Thread(target=model.generate, args=(HELLO,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.requests) == len(log.responses) == 8


def test_a_model_within_a_model_has_hooks_of_its_own():
    children = [ScriptedModel([ModelError("down")]), ScriptedModel(["up"])]
    model = FallbackModel(children)
    outer, inner = Log(model), [Log(child) for child in children]
    model.generate(HELLO)
    assert len(outer.responses) == 1 and outer.responses[0].error is None
    assert isinstance(inner[0].responses[0].error, ModelError)
    assert inner[1].responses[0].message.content == "up"


def test_what_a_hook_raises_is_the_callers():
    model = ScriptedModel(["a", "b"])

    @model.on_request
    def refuse(request: ModelRequest) -> None:
        raise PermissionError("not today")

    with pytest.raises(PermissionError, match="not today"):
        model.generate(HELLO)
    assert not model.calls
    model.remove_hook(refuse)
    assert model.generate(HELLO).content == "a"
    with pytest.raises(ConfigurationError):
        model.on_request("print")


def test_state_is_shared_between_the_two_hooks_of_a_request():
    model = ScriptedModel(["a"])
    seen = []
    model.on_request(lambda request: request.state.update(mark=1))
    model.on_response(lambda response: seen.append(response.request.state))
    model.generate(HELLO)
    assert seen == [{"mark": 1}]


def test_local_models_have_them(tiny):
    log = Log(tiny)
    try:
        replies = tiny.generate_batch([HELLO, HELLO], max_new_tokens=2)
        asyncio.run(tiny.agenerate(HELLO, max_new_tokens=2))
        tiny.generate_stream(HELLO, max_new_tokens=2).drain()
    finally:
        del tiny._hooks
    assert [request.operation for request in log.requests] == [
        "generate_batch",
        "generate_batch",
        "agenerate",
        "generate_stream",
    ]
    assert [response.message for response in log.responses][:2] == replies
    assert all(response.message.token_usage.output_tokens == 2 for response in log.responses)
