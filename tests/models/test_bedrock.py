"""AmazonBedrockModel through real boto3 against a loopback server."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from email.utils import formatdate
from typing import Any

import pytest

boto3 = pytest.importorskip("boto3")

from botocore.config import Config  # noqa: E402
from fairlead.errors import (  # noqa: E402
    AuthenticationError,
    ConfigurationError,
    FallbackError,
    MessageError,
    ModelConnectionError,
    ModelError,
    ModelHTTPError,
    ModelTimeoutError,
    RateLimitError,
)
from fairlead.models import (  # noqa: E402
    AmazonBedrockModel,
    AmazonBedrockServerModel,
    FallbackModel,
    load_model,
    save_model,
    trace_model,
)

from tests.converse_server import ConverseServer, Reply, fail, say  # noqa: E402

USER = {"role": "user", "content": "hello"}
HELLO = [USER]
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-pro-v1:0"
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
GOOD = {"name": "Ada", "age": 36}
TOOL = {
    "type": "function",
    "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}},
}
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def server() -> Any:
    server = ConverseServer()
    yield server
    server.close()


@pytest.fixture
def make(server: ConverseServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("fairlead.models._retry.RETRY_WAIT", 0.01)

    def make(model_id: str = NOVA, **kwargs: Any) -> AmazonBedrockModel:
        client_kwargs = {
            "endpoint_url": server.url,
            "region_name": "us-east-1",
            "aws_access_key_id": "key",
            "aws_secret_access_key": "secret",
            **kwargs.pop("client_kwargs", {}),
        }
        return AmazonBedrockModel(model_id, client_kwargs=client_kwargs, **kwargs)

    return make


def call(name: str, arguments: Any, call_id: str) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": call_id, "name": name, "input": arguments}}


# What smolagents' class fails at.


def test_a_reply_without_tool_calls_is_a_message(server, make):
    server.replies = [say("hello")]
    message = make().generate(HELLO)
    assert message.content == "hello" and message.tool_calls is None and message.role == "assistant"
    assert message.token_usage.dict() == {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
    assert message.finish_reason == "stop"
    assert message.raw["output"]["message"]["content"] == [{"text": "hello"}]
    assert message.raw["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_stop_sequences_are_sent_and_trimmed(server, make):
    server.replies = [say("Thought.\nObservation: none", stop_reason="stop_sequence")]
    message = make(inferenceConfig={"stopSequences": ["END"], "maxTokens": 7}).generate(
        HELLO, ["Observation:", "END"], temperature=0.5
    )
    sent = server.requests[0].body["inferenceConfig"]
    assert sent == {"stopSequences": ["END", "Observation:"], "maxTokens": 7, "temperature": 0.5}
    assert message.content == "Thought.\n" and message.stop_sequence == "Observation:"
    assert message.finish_reason == "stop"


def test_system_user_and_assistant_stay_apart(server, make):
    server.replies = [say("ok")]
    history = [
        {"role": "system", "content": "S"},
        USER,
        {"role": "assistant", "content": [{"type": "text", "text": "A"}]},
        {"role": "tool-call", "content": "Calling tools: x"},
        {"role": "tool-response", "content": [{"type": "text", "text": "Observation: y"}]},
    ]
    make().generate(history)
    body = server.requests[0].body
    assert body["system"] == [{"text": "S"}]
    assert body["messages"] == [
        {"role": "user", "content": [{"text": "hello"}]},
        {"role": "assistant", "content": [{"text": "A\nCalling tools: x"}]},
        {"role": "user", "content": [{"text": "Observation: y"}]},
    ]
    make(custom_role_conversions={"system": "user", "tool-response": "user"}).generate(history[:2])
    assert "system" not in server.requests[1].body
    make("amazon.titan-text-premier-v1:0").generate(history[:2])
    assert server.requests[2].body["messages"] == [{"role": "user", "content": [{"text": "S"}, {"text": "hello"}]}]
    make().generate(history[:1])
    assert server.requests[3].body["messages"] == [{"role": "user", "content": [{"text": "S"}]}]


def test_images_are_bytes(server, make):
    server.replies = [say("ok")]
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image", "image": PNG},
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "image", "image": "s3://bucket/a.jpg"}
        if False
        else {"type": "image_url", "image_url": "s3://b/a.jpg"},
    ]
    make().generate([{"role": "user", "content": parts}])
    text, first, second, third = server.requests[0].body["messages"][0]["content"]
    assert text == {"text": "What is it?"}
    assert first == second and first["image"]["format"] == "png"
    assert base64.b64decode(first["image"]["source"]["bytes"]).startswith(b"\x89PNG")
    assert third["image"] == {"format": "jpeg", "source": {"s3Location": {"uri": "s3://b/a.jpg"}}}
    with pytest.raises(MessageError, match="not as URLs"):
        make().generate([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}])
    with pytest.raises(MessageError, match="takes no images"):
        make("amazon.nova-micro-v1:0").generate([{"role": "user", "content": parts}])


def test_tools(server, make):
    server.replies = [
        Reply([{"text": "calling"}, call("look", {"a": 1}, "t2"), call("look", {"a": 2}, "t1")], "tool_use"),
        Reply([call("look", {}, "t1")], "tool_use"),
    ]
    message = make().generate(HELLO, tools_to_call_from=[TOOL])
    assert server.requests[0].body["toolConfig"] == {
        "tools": [{"toolSpec": {"name": "look", "description": "Looks.", "inputSchema": {"json": {
            "type": "object", "properties": {}}}}}],
        "toolChoice": {"any": {}},
    }  # fmt: skip
    assert message.content == "calling" and message.finish_reason == "tool_calls"
    assert [one.function.arguments for one in message.tool_calls] == [{"a": 1}, {"a": 2}]
    ids = [one.id for one in message.tool_calls]
    assert ids == sorted(ids) and len(set(ids)) == 2
    # A reply that is nothing but a call, and the choices there are.
    only = make().generate(
        HELLO, tools_to_call_from=[TOOL], tool_choice={"type": "function", "function": {"name": "look"}}
    )
    assert only.content == "" and only.tool_calls[0].function.name == "look"
    assert server.requests[1].body["toolConfig"]["toolChoice"] == {"tool": {"name": "look"}}
    make().generate(HELLO, tools_to_call_from=[TOOL], tool_choice="none")
    assert "toolConfig" not in server.requests[2].body
    make("meta.llama3-3-70b-instruct-v1:0").generate(HELLO, tools_to_call_from=[TOOL])
    assert server.requests[3].body["toolConfig"]["toolChoice"] == {"auto": {}}
    with pytest.raises(ConfigurationError, match="takes no tools"):
        make("deepseek.r1-v1:0").generate(HELLO, tools_to_call_from=[TOOL])
    with pytest.raises(ConfigurationError, match="tool_choice is"):
        make().generate(HELLO, tools_to_call_from=[TOOL], tool_choice=7)


def test_a_history_with_native_tool_calls(server, make):
    server.replies = [say("ok")]
    history = [
        USER,
        {"role": "assistant", "content": "Let me see.", "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}]},
        {"role": "tool", "tool_call_id": "t1", "content": "seen"},
    ]  # fmt: skip
    make().generate(history, tools_to_call_from=[TOOL])
    assert server.requests[0].body["messages"][1:] == [
        {"role": "assistant", "content": [{"text": "Let me see."}, call("look", {"a": 1}, "t1")]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "seen"}]}}]},
    ]
    # Bedrock refuses such blocks in a request without tools.
    history[1]["content"] = None
    make().generate(history)
    assert [list(turn["content"][0]) for turn in server.requests[1].body["messages"]] == [["text"]] * 3
    assert "look" in server.requests[1].body["messages"][1]["content"][0]["text"]


def test_reasoning_and_cache_are_told_apart(server, make):
    usage = {"inputTokens": 10, "outputTokens": 2, "totalTokens": 19, "cacheReadInputTokens": 4}
    usage["cacheWriteInputTokens"] = 3
    thinking = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}
    server.replies = [Reply([thinking, {"text": "hel"}, {"text": "lo"}], usage=usage)]
    message = make().generate(HELLO)
    assert message.content == "hello" and message.reasoning == "hm"
    assert message.token_usage.input_tokens == 17 and message._info.cached_tokens == 4
    stream = make().generate_stream(HELLO)
    assert stream.drain().content == "hello" and stream.message.reasoning == "hm"


def test_guardrails_cache_points_and_everything_else_that_converse_takes(server, make):
    server.replies = [say("no", stop_reason="guardrail_intervened")]
    model = make(
        cache_points=["system", "tools", "messages"],
        guardrailConfig={"guardrailIdentifier": "g", "guardrailVersion": "1"},
        additionalModelRequestFields={"top_k": 4},
        system="Always.",
        max_tokens=9,
    )
    history = [{"role": "system", "content": "S"}, {"role": "user", "content": ["a", {"type": "cachePoint"}, "b"]}]
    message = model.generate(history, tools_to_call_from=[TOOL])
    body = server.requests[0].body
    point = {"cachePoint": {"type": "default"}}
    assert body["system"] == [{"text": "Always."}, {"text": "S"}, point]
    assert body["toolConfig"]["tools"][-1] == point
    assert body["messages"][0]["content"] == [{"text": "a"}, point, {"text": "b"}, point]
    assert body["guardrailConfig"] == {"guardrailIdentifier": "g", "guardrailVersion": "1"}
    assert body["additionalModelRequestFields"] == {"top_k": 4} and body["inferenceConfig"] == {"maxTokens": 9}
    assert message.finish_reason == "content_filter"
    with pytest.raises(ConfigurationError, match="boto3 refuses the request"):
        model.generate(HELLO, top_k=4)
    with pytest.raises(ConfigurationError, match="cache_points"):
        make(cache_points=["everywhere"])


# Structured output.


@pytest.mark.parametrize("stream", [False, True])
def test_native_structured_output(server, make, stream):
    server.replies = [say(json.dumps(GOOD, indent=1))]
    model = make(CLAUDE)
    message = (
        model.generate_stream(HELLO, response_format=SCHEMA).drain()
        if stream
        else model.generate(HELLO, response_format=SCHEMA)
    )
    sent = server.requests[0].body["outputConfig"]["textFormat"]
    assert sent["type"] == "json_schema" and json.loads(sent["structure"]["jsonSchema"]["schema"]) == SCHEMA
    assert message.parsed == GOOD


@pytest.mark.parametrize("stream", [False, True])
def test_structured_output_by_a_tool(server, make, stream):
    server.replies = [Reply([call("answer", GOOD, "t1")], "tool_use")]
    model = make()
    if stream:
        message = model.generate_stream(HELLO, response_format=SCHEMA).drain()
    else:
        message = model.generate(HELLO, response_format=SCHEMA)
    assert server.requests[0].body["toolConfig"]["toolChoice"] == {"tool": {"name": "answer"}}
    assert json.loads(message.content) == GOOD == message.parsed
    assert not message.tool_calls and message.finish_reason == "stop"
    # An array is wrapped: a tool's input is an object.
    server.replies = [Reply([call("answer", {"value": [1, 2]}, "t1")], "tool_use")]
    if stream:
        listed = model.generate_stream(HELLO, response_format=list[int]).drain()
    else:
        listed = model.generate(HELLO, response_format=list[int])
    assert listed.parsed == [1, 2] and json.loads(listed.content) == [1, 2]
    with pytest.raises(ConfigurationError, match="exclude each other"):
        make(structured_output="tool").generate(HELLO, response_format=SCHEMA, tools_to_call_from=[TOOL])


def test_a_call_of_the_users_tools_is_no_wrong_answer(server, make):
    server.replies = [Reply([call("look", {}, "t1")], "tool_use"), say(json.dumps(GOOD))]
    model = make()
    message = model.generate(HELLO, response_format=SCHEMA, tools_to_call_from=[TOOL], tool_choice="auto")
    assert message.tool_calls[0].function.name == "look" and message.finish_reason == "tool_calls"
    assert len(server.requests) == 1 and "JSON Schema" in server.requests[0].body["system"][-1]["text"]
    assert model.generate(HELLO, response_format=SCHEMA, tools_to_call_from=[TOOL], tool_choice="auto").parsed == GOOD


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_said_beside_the_tool_that_stands_for_a_schema_isnt_the_answer(server, make, stream):
    server.replies = [Reply([{"text": "Here it is:"}, call("answer", GOOD, "t1")], "tool_use")]
    model = make()
    if stream:
        message = model.generate_stream(HELLO, response_format=SCHEMA).drain()
    else:
        message = model.generate(HELLO, response_format=SCHEMA)
    assert message.parsed == GOOD and json.loads(message.content) == GOOD


def test_structured_output_by_words_with_re_asks(server, make):
    server.replies = [say('{"name": "Ada", "age": -1}'), say("Sorry!"), say("```json\n" + json.dumps(GOOD) + "\n```")]
    message = make(structured_output="prompt", max_reasks=2).generate(HELLO, response_format=SCHEMA)
    assert message.parsed == GOOD and message.token_usage.total_tokens == 36
    first, second, third = (request.body for request in server.requests)
    assert '"minimum": 0' in first["system"][-1]["text"] and "outputConfig" not in first
    assert [turn["role"] for turn in third["messages"]] == ["user", "assistant", "user", "assistant", "user"]
    assert "doesn't follow the schema" in second["messages"][-1]["content"][0]["text"]
    assert "isn't valid JSON" in third["messages"][-1]["content"][0]["text"]


def test_the_number_of_re_asks_is_bounded(server, make):
    server.replies = [say("no")]
    message = make(structured_output="prompt", max_reasks=1).generate(HELLO, response_format=SCHEMA)
    assert len(server.requests) == 2 and message.content == "no"
    with pytest.raises(ModelError, match="not complete"):
        message.parsed  # noqa: B018
    stream = make(structured_output="prompt").generate_stream(HELLO, response_format=SCHEMA)
    with pytest.raises(ModelError, match="not complete"):
        stream.drain().parsed  # noqa: B018


@pytest.mark.parametrize("mode", ["native", "prompt"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_sequence_inside_of_an_answer_is_text(server, make, mode, stream):
    whole = json.dumps({"name": "the END", "age": 3})
    server.replies = [say(whole + " END tail")]
    model = make(CLAUDE, structured_output=mode)
    if stream:
        reply = model.generate_stream(HELLO, ["END"], response_format=SCHEMA).drain()
    else:
        reply = model.generate(HELLO, ["END"], response_format=SCHEMA)
    assert reply.parsed == {"name": "the END", "age": 3} and reply.stop_sequence == "END"
    assert "stopSequences" not in server.requests[-1].body.get("inferenceConfig", {})
    cut = model.generate(HELLO, ["END"], response_format=SCHEMA, stop_inside_constraint=True, max_tokens=3)
    assert cut.content == '{"name": "the ' and server.requests[-1].body["inferenceConfig"]["stopSequences"] == ["END"]


def test_a_regex(server, make):
    server.replies = [say("perhaps"), say("yes")]
    assert make(CLAUDE).generate(HELLO, grammar="yes|no").parsed == "yes"
    assert len(server.requests) == 2 and "outputConfig" not in server.requests[0].body


# Streams.


def test_a_stream(server, make):
    server.replies = [say("hello there")]
    deltas = list(make().generate_stream(HELLO))
    assert server.requests[0].stream
    assert "".join(delta.content for delta in deltas) == "hello there" and len(deltas) > 3
    assert [delta.token_usage for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert deltas[-1].content == "" and deltas[-1].token_usage.total_tokens == 12
    assert deltas[-1].finish_reason == "stop"


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_a_stream_never_shows_a_stop_sequence(server, make, chunk):
    server.replies = [say("one <co two</code> three", chunk=chunk)]
    model = make()
    stream = model.generate_stream(HELLO, ["</code>"])
    deltas = list(stream)
    assert "".join(delta.content for delta in deltas) == "one <co two"
    assert deltas[-1].token_usage is not None and stream.message.stop_sequence == "</code>"
    # Where the model takes none, the stream is closed at the first.
    other = make("meta.llama3-3-70b-instruct-v1:0").generate_stream(HELLO, ["</code>"])
    assert other.drain().content == "one <co two" and other.message.finish_reason == "stop"
    assert "inferenceConfig" not in server.requests[1].body


def test_streamed_tool_calls(server, make):
    blocks = [{"text": "both"}, call("look", {"a": 1}, "t2"), call("find", {"b": "x"}, "t1")]
    server.replies = [Reply(blocks, "tool_use")]
    message = make().generate_stream(HELLO, tools_to_call_from=[TOOL]).drain()
    assert message.content == "both" and message.finish_reason == "tool_calls"
    calls = [(one.function.name, json.loads(one.function.arguments)) for one in message.tool_calls]
    assert calls == [("look", {"a": 1}), ("find", {"b": "x"})]
    ids = [one.id for one in message.tool_calls]
    assert ids == sorted(ids) and len(set(ids)) == 2


def test_closing_a_stream_frees_the_connection_though_it_is_stalled(server, make):
    server.replies = [say("hello", cut="stall")]
    stream = make(timeout=30).generate_stream(HELLO)
    next(stream)
    waiting = threading.Thread(target=lambda: list(stream))
    waiting.start()
    time.sleep(0.05)
    stream.close()
    waiting.join(5)
    assert not waiting.is_alive() and server.released.wait(5)
    assert list(stream) == []


# Faults.


def test_throttling_is_waited_out(server, make):
    server.replies = [fail(429, "ThrottlingException", Retry_After="0.2"), say("done")]
    assert make().generate(HELLO).content == "done"
    first, second = server.requests
    assert 0.19 < second.time - first.time < 5


@pytest.mark.parametrize(
    "reply",
    [
        fail(429, "ThrottlingException"),
        fail(429, "ThrottlingException", Retry_After=formatdate(time.time() - 5, usegmt=True)),
        fail(429, "ThrottlingException", x_amz_retry_after="20"),
        fail(500, "InternalServerException"),
        fail(503, "ServiceUnavailableException"),
        fail(408, "ModelTimeoutException"),
    ],
    ids=lambda reply: f"{reply.status} {list(reply.headers)}",
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_second_try(server, make, reply, stream):
    server.replies = [reply, say("done")]
    model = make()
    assert (model.generate_stream(HELLO).drain() if stream else model.generate(HELLO)).content == "done"
    assert len(server.requests) == 2


def test_errors_that_stay(server, make):
    server.replies = [fail(429, "ThrottlingException", retry_after="0.01")]
    with pytest.raises(RateLimitError, match="ThrottlingException: ThrottlingException here") as caught:
        make().generate(HELLO)
    error = caught.value
    assert (error.status_code, error.retry_after, error.request_id) == (429, 0.01, "request-1")
    assert error.body["Code"] == "ThrottlingException" and len(server.requests) == 3
    with pytest.raises(RateLimitError):
        make(retry=False).generate(HELLO)
    assert len(server.requests) == 4
    server.replies = [fail(429, "ThrottlingException", retry_after="300")]
    begun = time.monotonic()
    with pytest.raises(RateLimitError):
        make(max_retry_seconds=10).generate(HELLO)
    assert len(server.requests) == 5 and time.monotonic() - begun < 10


@pytest.mark.parametrize(("status", "name"), [(400, "ValidationException"), (403, "AccessDeniedException")])
def test_mistakes_are_not_tried_again(server, make, status, name):
    server.replies = [fail(status, name)]
    with pytest.raises(ModelHTTPError, match=name) as caught:
        make().generate(HELLO)
    assert isinstance(caught.value, AuthenticationError) == (status == 403)
    assert caught.value.status_code == status and len(server.requests) == 1
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "error", "status"),
    [
        ({"event_error": "modelStreamErrorException"}, ModelHTTPError, 424),
        ({"event_error": "throttlingException"}, RateLimitError, 429),
        ({"event_error": "validationException"}, ModelHTTPError, 400),
        ({"cut": "reset"}, ModelConnectionError, None),
        ({"cut": "end"}, ModelError, None),
        ({"cut": "garbage"}, ModelError, None),
        ({"cut": "stall"}, ModelTimeoutError, None),
    ],
)
def test_a_stream_that_breaks_raises_and_is_not_begun_again(server, make, fault, error, status):
    server.replies = [say("hello there", **fault)]
    stream = make(timeout=0.2).generate_stream(HELLO)
    shown = ""
    with pytest.raises(error) as caught:
        for delta in stream:
            shown += delta.content or ""
    assert shown == "hello there" and getattr(caught.value, "status_code", None) == status
    assert len(server.requests) == 1


def test_no_answer_in_time(server, make):
    server.replies = [say("late", delay=0.5)]
    with pytest.raises(ModelTimeoutError):
        make(timeout=0.1, retry=False).generate(HELLO)


def test_nobody_there(make):
    model = make(client_kwargs={"endpoint_url": "http://127.0.0.1:9"}, retry=False)
    with pytest.raises(ModelConnectionError):
        model.generate(HELLO)
    with pytest.raises(FallbackError):
        FallbackModel([model, model]).generate(HELLO)


def test_what_boto3_refuses(monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(ConfigurationError, match="region"):
        AmazonBedrockModel(NOVA)


# Clients, threads, saving.


def test_a_client_that_retries_does_so_alone(server, make):
    server.replies = [fail(503, "ServiceUnavailableException")]
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 2, "mode": "standard"}),
    )
    model = AmazonBedrockServerModel(NOVA, client)
    assert model.client is client
    with pytest.raises(ModelHTTPError):
        model.generate(HELLO)
    assert len(server.requests) == 2


def test_an_api_key_is_a_bearer_token(server, make):
    server.replies = [say("ok")]
    model = make(api_key="bedrock-key")
    model.generate(HELLO)
    assert server.requests[0].headers["authorization"] == "Bearer bedrock-key"
    make().generate(HELLO)
    assert server.requests[1].headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=key/")
    assert "bedrock-key" not in repr(model)
    with pytest.raises(ConfigurationError, match="plain text"):
        make(api_key="k", client_kwargs={"endpoint_url": "http://example.invalid"})


def test_requests_per_minute_hold_for_all_threads(server, make):
    server.replies = [say("ok")]
    model = make(requests_per_minute=1200)
    model.generate_batch([HELLO] * 4)
    times = sorted(request.time for request in server.requests)
    assert times[-1] - times[0] > 0.13


def test_async_calls_run_side_by_side(server, make):
    async def run() -> None:
        server.replies = [say("hello", delay=0.1)]
        model = make()
        replies = await asyncio.gather(*(model.agenerate(HELLO) for _ in range(40)))
        assert [reply.content for reply in replies] == ["hello"] * 40
        assert server.most_at_once > 10
        server.replies = [say("hello", cut="stall")]
        stream = model.agenerate_stream(HELLO)
        assert (await anext(stream)).content == "hel"
        await stream.aclose()
        assert await asyncio.to_thread(server.released.wait, 5)

    asyncio.run(run())


def test_it_is_saved_without_secrets(server, make):
    model = make(
        api_key="bedrock-key",
        timeout=5,
        custom_role_conversions={"system": "user"},
        profile={"stop": False},
        structured_output="prompt",
        cache_points=["system"],
        guardrailConfig={"guardrailIdentifier": "g", "guardrailVersion": "1"},
    )
    with pytest.warns(UserWarning, match="aws_secret_access_key"):
        saved = json.loads(json.dumps(save_model(model)))
    assert saved["class"] == "AmazonBedrockModel"
    assert "bedrock-key" not in str(saved) and "secret'" not in str(saved)
    again = load_model({**saved, "data": {**saved["data"], "api_key": "k"}})
    assert type(again) is AmazonBedrockModel and again.profile == model.profile and not again.supports_stop_parameter
    with pytest.warns(UserWarning, match="aws_"):
        data = model.to_dict()
    assert again.to_dict() == data and data["client_kwargs"]["endpoint_url"] == server.url


def test_hooks_and_spans(server, make):
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.trace import SpanKind

    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    server.replies = [say("hello")]
    model = make()
    trace_model(model, tracer_provider=provider)
    responses = []
    model.on_response(responses.append)
    model.generate(HELLO)
    asyncio.run(model.agenerate(HELLO))
    model.generate_stream(HELLO).drain()
    assert [response.message.content for response in responses] == ["hello"] * 3
    assert responses[0].message.raw["usage"]["totalTokens"] == 12
    for span in spans.get_finished_spans():
        assert span.kind is SpanKind.CLIENT and span.name == f"chat {NOVA}"
        assert span.attributes["gen_ai.provider.name"] == "aws.bedrock"
        assert span.attributes["gen_ai.usage.output_tokens"] == 2
    assert len(spans.get_finished_spans()) == 3


# smolagents' agents.


@pytest.mark.parametrize("stream", [False, True])
def test_code_agent_three_steps(server, make, stream):
    smolagents = pytest.importorskip("smolagents")
    server.replies = [
        say("Thought: a.\n<code>\nx = 40\nprint(x)\n</code>"),
        say("Thought: b.\n<code>\ny = x + 2\nprint(y)\n</code>\nObservation: made up"),
        say("<code>\nfinal_answer(y)\n</code>"),
    ]
    agent = smolagents.CodeAgent(tools=[], model=make(CLAUDE), stream_outputs=stream, verbosity_level=0)
    result = agent.run("Add.", return_full_result=True)
    assert result.output == 42 and result.token_usage.total_tokens == 36
    roles = [turn["role"] for turn in server.requests[-1].body["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert "made up" not in json.dumps(server.requests[-1].body)


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calling_agent_three_steps(server, make, stream):
    smolagents = pytest.importorskip("smolagents")

    class Lookup(smolagents.Tool):
        name = "lookup"
        description = "Looks a word up."
        inputs = {"word": {"type": "string", "description": "The word."}}  # noqa: RUF012
        output_type = "string"

        def forward(self, word: str) -> str:
            return word.upper()

    server.replies = [
        Reply(
            [{"text": "First."}, call("lookup", {"word": "a"}, "t9"), call("lookup", {"word": "b"}, "t1")], "tool_use"
        ),
        Reply([call("lookup", {"word": "c"}, "t1")], "tool_use"),
        Reply([call("final_answer", {"answer": "C"}, "t1")], "tool_use"),
    ]
    agent = smolagents.ToolCallingAgent(tools=[Lookup()], model=make(CLAUDE), stream_outputs=stream, verbosity_level=0)
    assert agent.run("Look.") == "C"
    names = [tool["toolSpec"]["name"] for tool in server.requests[0].body["toolConfig"]["tools"]]
    assert names == ["lookup", "final_answer"]
    said = server.requests[1].body["messages"][-1]["content"][0]["text"]
    assert said.index("A") < said.index("B")
