"""Models on Amazon Bedrock, through its Converse API."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from fairlead.errors import ConfigurationError, MessageError, ModelConnectionError
from fairlead.messages import ChatMessage, MessageRole, attach_info, tool_role_conversions
from fairlead.models._base import Model
from fairlead.models._constraint import Constraint, resolve_constraint
from fairlead.models._converse_client import EventStream, create_client, retries_itself, typed_errors
from fairlead.models._converse_wire import (
    CACHE_POINT,
    EventReader,
    Reply,
    conversation,
    read_reply,
    text_format,
    tool_choice_of,
    tool_spec,
)
from fairlead.models._output import StopFilter
from fairlead.models._retry import RateLimiter, RetryPolicy
from fairlead.models._validation import OutputCheck, without_fence
from fairlead.streaming import ChatMessageStreamDelta, ChatStream, new_delta
from fairlead.types import ReplyInfo, TokenUsage

__all__ = ["AmazonBedrockModel", "AmazonBedrockServerModel", "BedrockProfile"]

StructuredOutput = Literal["native", "tool", "prompt"]

_ANSWER = "answer"
# Words after a stop sequence that a provider may still send before it ends.
_PATIENCE = 64


@dataclass(frozen=True)
class BedrockProfile:
    """What a family of models on Bedrock can do.

    Attributes:
        system: Takes a system prompt; its text goes into the first user message otherwise.
        stop: Takes stop sequences; a stream is closed at the first otherwise.
        tools: Takes tools.
        tool_choice: Can be made to call a tool; it may only be offered them otherwise.
        images: Takes images.
        structured: How it is held to a schema: by Bedrock ("native"), by a call that it has to make ("tool"), or by
            words and a check ("prompt").
    """

    system: bool = True
    stop: bool = True
    tools: bool = True
    tool_choice: bool = False
    images: bool = True
    structured: StructuredOutput = "prompt"


_NATIVE = BedrockProfile(tool_choice=True, structured="native")
_CALLS = BedrockProfile(tool_choice=True, structured="tool")
_WORDS = BedrockProfile(tools=False, images=False)
# Open-weight models for text: tools can be offered, not forced.
_OFFERED: dict[str, Any] = {"tool_choice": False, "images": False}

# The first pattern that a model's id (without region and ARN) begins with; unknown ones get BedrockProfile(). From the
# user guide's table of what Converse supports for each model; structured outputs of Claude from its own page, of
# open-weight models from LiteLLM's table.
_PROFILES: tuple[tuple[str, BedrockProfile], ...] = (
    # Before tools and vision.
    (r"anthropic\.claude-(v2|instant)", _WORDS),
    # outputConfig: only these of Claude's, whatever Anthropic's own API has.
    (r"anthropic\.claude-(sonnet|haiku|opus)-4-[56]", _NATIVE),
    # A forced tool choice is an error here, so that a schema can't travel as a tool.
    (r"anthropic\.claude-(opus-5-5|sonnet-5-5|fable-5-1)", replace(_NATIVE, tool_choice=False)),
    (r"anthropic\.", _CALLS),
    (r"amazon\.nova-micro", replace(_CALLS, images=False)),
    (r"amazon\.nova-", _CALLS),
    # No system prompts, no tools.
    (r"amazon\.titan-text", replace(_WORDS, system=False)),
    # Llama's body has no stop sequences; tools came with 3.1.
    (r"meta\.llama3-[0-9]+b|meta\.llama2", replace(_WORDS, stop=False)),
    (r"meta\.", BedrockProfile(stop=False)),
    (r"mistral\.(mistral-7b|mixtral)", replace(_WORDS, system=False)),
    # toolChoice "any" is Mistral Large's beside Claude's and Nova's.
    (r"mistral\.mistral-large-24|mistral\.pixtral", _CALLS),
    (r"mistral\.(mistral-large-3|ministral-3)", replace(_NATIVE, tool_choice=False)),
    (r"qwen\.qwen3-vl", replace(_NATIVE, tool_choice=False)),
    (r"qwen\.qwen3-|deepseek\.v3|moonshot\.kimi-k2|minimax\.minimax-m2", replace(_NATIVE, **_OFFERED)),
    (r"cohere\.command-r", BedrockProfile(images=False)),
    # Jamba-Instruct is older than its tools.
    (r"ai21\.jamba-instruct", _WORDS),
    (r"ai21\.jamba", BedrockProfile(images=False)),
    (r"deepseek\.r1", _WORDS),
)
# "us.", "eu.", "apac.", "global." before an inference profile; ARNs end in "/<id>".
_REGION = re.compile(r"^(?:.*/)?(?:(?:us|eu|apac|jp|au|ca|global|us-gov)\.)?")

_INFERENCE = {
    "max_tokens": "maxTokens",
    "max_new_tokens": "maxTokens",
    "max_completion_tokens": "maxTokens",
    "temperature": "temperature",
    "top_p": "topP",
}
_CACHE_PLACES = frozenset({"system", "tools", "messages"})


def find_profile(model_id: str) -> BedrockProfile:
    """The profile of the family that a model's id names."""
    name = _REGION.sub("", model_id, count=1)
    return next((profile for pattern, profile in _PROFILES if re.match(pattern, name)), BedrockProfile())


@dataclass
class _Request:
    body: dict[str, Any]
    stops: tuple[str, ...]
    constraint: Constraint | None
    check: OutputCheck | None
    mode: StructuredOutput | None
    wrapped: bool  # the answer is the member "value" of the tool's input

    @property
    def may_stop(self) -> Callable[[str], bool] | None:
        """Where stop sequences end an answer: anywhere, or where it is what was asked for."""
        check = self.check
        return None if check is None else lambda text: check(text) is None


class AmazonBedrockModel(Model):
    """A model on Amazon Bedrock; a drop-in for ``smolagents.AmazonBedrockModel``.

    Args:
        model_id: A model id, an inference profile or an ARN, for example ``"us.amazon.nova-pro-v1:0"``.
        client: A boto3 client for ``bedrock-runtime``; one is made otherwise. If it retries by itself, nothing else
            does.
        client_kwargs: For ``boto3.client``: ``region_name``, ``endpoint_url``, ``config``, credentials, ...
        custom_role_conversions: Replaces the default, by which system messages are the system prompt, tool calls the
            assistant's and their results the user's.
        api_key: A Bedrock API key, sent as a bearer token. Default: boto3's own ways to find credentials,
            ``AWS_BEARER_TOKEN_BEDROCK`` among them.
        timeout: Seconds to wait for a connection and for each piece of an answer. Default: boto3's, 60.
        requests_per_minute: At most so many requests begin in a minute, in all threads together. Default: no limit.
        retry: Try again after throttling, server errors and broken connections, unless something was streamed. Default
            True; a dictionary sets ``attempts`` (3), ``seconds`` in all (120) and ``first_wait`` (1).
        profile: What the model can do, where that isn't known rightly: any of the fields of BedrockProfile.
        structured_output: How a ``response_format`` is kept: "native", "tool" or "prompt". Default: the profile's.
            Answers are checked here whichever it is.
        max_reasks: How often a model is asked again for an answer that isn't what was asked for. Default 2; streams
            can't be.
        cache_points: Where prompts are cached: any of "system", "tools" and "messages" (up to the last message).
            A part ``{"type": "cachePoint"}`` of a message does so anywhere.
        **kwargs: Sent with every request: ``inferenceConfig``, ``guardrailConfig``, ``toolConfig``,
            ``additionalModelRequestFields`` and all else that ``converse`` takes, and ``max_tokens``, ``temperature``
            and ``top_p``.

    Raises:
        MissingDependencyError: boto3 isn't installed.
        ConfigurationError: Arguments that can't be used.
    """

    _images: ClassVar[Literal["base64", "keep"]] = "keep"
    _saved: ClassVar[dict[str, Any]] = {
        "client_kwargs": {},
        "custom_role_conversions": {},
        "timeout": None,
        "requests_per_minute": None,
        "retry": True,
        "profile_overrides": {},
        "structured_output": None,
        "max_reasks": 2,
        "cache_points": (),
    }

    def __init__(
        self,
        model_id: str,
        client: Any = None,
        client_kwargs: dict[str, Any] | None = None,
        custom_role_conversions: dict[str, str] | None = None,
        *,
        api_key: str | None = None,
        timeout: float | None = None,
        requests_per_minute: float | None = None,
        retry: bool | Mapping[str, Any] = True,
        profile: Mapping[str, Any] | BedrockProfile | None = None,
        structured_output: StructuredOutput | None = None,
        max_reasks: int = 2,
        cache_points: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        overrides = kwargs.pop("profile_overrides", None) or profile or {}
        super().__init__(model_id=model_id, **kwargs)
        if structured_output not in (None, "native", "tool", "prompt"):
            raise ConfigurationError(f'structured_output is "native", "tool" or "prompt", not {structured_output!r}')
        if unknown := set(cache_points) - _CACHE_PLACES:
            raise ConfigurationError(f"cache_points has {sorted(unknown)}; places are {sorted(_CACHE_PLACES)}")
        if isinstance(max_reasks, bool) or not isinstance(max_reasks, int) or max_reasks < 0:
            raise ConfigurationError(f"max_reasks is a number of times, not {max_reasks!r}")
        self.client_kwargs = client_kwargs or {}
        self.custom_role_conversions = custom_role_conversions or {}
        self.timeout = timeout
        self.requests_per_minute = requests_per_minute
        self.retry = dict(retry) if isinstance(retry, Mapping) else retry
        if isinstance(overrides, BedrockProfile):
            overrides = vars(overrides)
        self.profile_overrides = dict(overrides)
        self.structured_output = structured_output
        self.max_reasks = max_reasks
        self.cache_points = tuple(cache_points)
        try:
            self.profile = replace(find_profile(model_id), **self.profile_overrides)
            settings = {"attempts": 3 if self.retry else 1, **(self.retry if isinstance(self.retry, dict) else {})}
            retrying = _retrying(**settings)
        except TypeError as error:
            raise ConfigurationError(f"profile= or retry= has an unknown setting: {error}") from error
        self._api_key = api_key
        self.client = client or self.create_client()
        self._retry = replace(retrying, max_attempts=1) if retries_itself(self.client) else retrying
        self._rate_limiter = RateLimiter(requests_per_minute)
        self._pool: ThreadPoolExecutor | None = None

    def create_client(self) -> Any:
        """The boto3 client that is used if none is given."""
        return create_client(self.client_kwargs, self._api_key, self.timeout)

    @property
    def supports_stop_parameter(self) -> bool:
        """Whether stop sequences are sent; they end an answer in any case."""
        return self.profile.stop

    # Requests.

    def _prepare_completion_kwargs(self, messages: Sequence[Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What ``converse`` is called with."""
        names = ("stop_sequences", "response_format", "tools_to_call_from", "custom_role_conversions")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        given.pop("convert_images_to_image_urls", None)  # always bytes
        return self._prepare_request(messages, **given).body

    def _prepare_request(
        self,
        messages: Sequence[Any],
        stop_sequences: Sequence[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        custom_role_conversions: Mapping[Any, Any] | None = None,
        **kwargs: Any,
    ) -> _Request:
        # Arguments that are messages' own are read below; this merges the rest by the usual precedence.
        body = super()._prepare_completion_kwargs(
            (),
            None,
            response_format=response_format,
            tools_to_call_from=tools_to_call_from,
            tool_choice=kwargs.pop("tool_choice", "required"),
            **kwargs,
        )
        del body["messages"]
        constraint = resolve_constraint(body.pop("response_format", None), body.pop("grammar", None))
        tools, choice = body.pop("tools", None), body.pop("tool_choice", None)
        stops = _stops(stop_sequences, body.pop("stop", None))
        mode = None if constraint is None else self._mode(constraint)
        check = None if constraint is None else OutputCheck(constraint)
        wrapped = False
        tool_config = dict(body.pop("toolConfig", None) or {})
        if tools and choice != "none":
            tool_config.setdefault("tools", [tool_spec(tool) for tool in tools])
            tool_config.setdefault("toolChoice", self._tool_choice(choice))
        if mode == "tool" and constraint is not None:
            if tool_config:
                raise ConfigurationError(
                    "tools and a response_format that is kept by a tool call exclude each other; "
                    'structured_output="prompt" (or "native") allows both'
                )
            schema, wrapped = _object_schema(constraint.schema)
            answer = {"name": _ANSWER, "description": "Gives the answer.", "inputSchema": {"json": schema}}
            tool_config = {"tools": [{"toolSpec": answer}], "toolChoice": {"tool": {"name": _ANSWER}}}
        elif mode == "native" and constraint is not None:
            body["outputConfig"] = {**text_format(constraint.schema), **(body.get("outputConfig") or {})}
        if tool_config and not self.profile.tools:
            raise ConfigurationError(f"{self.model_id} takes no tools; profile={{'tools': True}} if it does")
        system, turns = conversation(
            messages,
            custom_role_conversions or self.custom_role_conversions or tool_role_conversions,
            native_tools=bool(tool_config),
            system_role=self.profile.system,
        )
        if not turns:
            raise MessageError("Bedrock needs a message with content")
        if not self.profile.images:
            _refuse_images(turns, self.model_id)
        if mode == "prompt" and constraint is not None:
            instruction = {"text": _instruction(constraint)}
            if self.profile.system:
                system.append(instruction)
            else:
                turns[-1]["content"].append(instruction)
        self._add_cache_points(system, tool_config, turns)
        inference = dict(body.pop("inferenceConfig", None) or {})
        for name, theirs in _INFERENCE.items():
            if (value := body.pop(name, None)) is not None:
                inference.setdefault(theirs, value)
        # Inside of a constrained answer a stop sequence is text, and Bedrock would cut there.
        if stops and self.profile.stop and constraint is None:
            inference["stopSequences"] = list(dict.fromkeys([*inference.get("stopSequences", ()), *stops]))
        request: dict[str, Any] = {"modelId": self.model_id, "messages": turns}
        if given := body.pop("system", None):
            # Written out for Bedrock, it stands before the history's.
            system = [{"text": given}, *system] if isinstance(given, str) else [*given, *system]
        for name, value in (("system", system), ("toolConfig", tool_config), ("inferenceConfig", inference)):
            if value:
                request[name] = value
        request.update({name: value for name, value in body.items() if value is not None})
        stops = tuple(dict.fromkeys([*stops, *inference.get("stopSequences", ())]))
        return _Request(request, stops, constraint, check, mode, wrapped)

    def _mode(self, constraint: Constraint) -> StructuredOutput:
        mode = self.structured_output or self.profile.structured
        if constraint.schema is None:
            return "prompt"  # a regex or a grammar: nothing else can be said
        if mode == "native" and not isinstance(constraint.schema, Mapping):
            return "prompt"
        return mode

    def _tool_choice(self, choice: Any) -> dict[str, Any]:
        wanted = tool_choice_of(choice) or {"auto": {}}
        # A model that can't be made to call a tool is offered them; agents say in words what they need.
        return wanted if self.profile.tool_choice else {"auto": {}}

    def _add_cache_points(self, system: list[Any], tool_config: dict[str, Any], turns: list[dict[str, Any]]) -> None:
        if "system" in self.cache_points and system:
            system.append(CACHE_POINT)
        if "tools" in self.cache_points and tool_config.get("tools"):
            tool_config["tools"] = [*tool_config["tools"], CACHE_POINT]
        if "messages" in self.cache_points:
            turns[-1]["content"] = [*turns[-1]["content"], CACHE_POINT]

    def _call(self, operation: str, body: dict[str, Any]) -> Any:
        def call() -> Any:
            self._rate_limiter.throttle()
            with typed_errors():
                return getattr(self.client, operation)(**body)

        return self._retry.call(call)

    # Replies.

    def generate(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatMessage:
        """Answer a history.

        Args:
            messages: Messages or dictionaries with ``role`` and ``content``.
            stop_sequences: The answer ends before the first of them.
            response_format: OpenAI's dictionary, a JSON Schema or a pydantic class; see ``structured_output``.
            tools_to_call_from: Tools that the model may call.
            **kwargs: ``tool_choice`` ("required", the default; "auto", "none", or one tool in OpenAI's form),
                ``grammar``, and what the constructor takes.

        Raises:
            MessageError: A malformed message.
            ConfigurationError: Arguments that Bedrock or boto3 refuse.
            RateLimitError, ModelHTTPError, ModelTimeoutError, ModelError: Bedrock failed, after the last try.
        """
        request = self._prepare_request(messages, stop_sequences, response_format, tools_to_call_from, **kwargs)
        body, usages = request.body, []
        for left in range(self.max_reasks, -1, -1):
            response = self._call("converse", body)
            reply = read_reply(response)
            if reply.token_usage is not None:
                usages.append(reply.token_usage)
            message, wrong = self._message(request, reply)
            if wrong is None or left == 0 or reply.finish_reason not in ("stop", "tool_calls"):
                break
            body = _asked_again(body, response["output"]["message"], wrong)
        message.raw = response
        if usages:
            message.token_usage = TokenUsage(
                sum(usage.input_tokens for usage in usages), sum(usage.output_tokens for usage in usages)
            )
        return message

    def _message(self, request: _Request, reply: Reply) -> tuple[ChatMessage, str | None]:
        """The message that a reply is, and what is wrong with it."""
        text, calls, reason = reply.text, reply.tool_calls, reply.finish_reason
        if request.mode == "tool":
            answers = [call for call in calls if call.function.name == _ANSWER]
            if answers:
                text = _unwrapped(answers[0].function.arguments, request.wrapped)
                calls, reason = [], "stop" if reason == "tool_calls" else reason
        shown = StopFilter(request.stops, request.may_stop)
        # A tool's input isn't text that could be stopped in.
        if request.mode != "tool":
            text = shown.feed(text)
            text += shown.finish()
        text, wrong = self._checked(request, text)
        message = ChatMessage(role=MessageRole.ASSISTANT, content=text, tool_calls=calls or None)
        if shown.matched and not calls:
            reason = "stop"
        attach_info(
            message,
            ReplyInfo(
                finish_reason=reason,
                stop_sequence=shown.stop_sequence,
                shape=request.constraint.shape if request.constraint else None,
                complete=wrong is None,
                text=text,
                reasoning=reply.reasoning,
            ),
        )
        return message, None if calls else wrong

    def _checked(self, request: _Request, text: str) -> tuple[str, str | None]:
        if request.check is None:
            return text, None
        if request.mode == "prompt":
            text = without_fence(text)
        return text, request.check(text)

    def generate_stream(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatStream:
        """Answer a history piece by piece; the arguments are those of ``generate``.

        Nothing is sent before the first delta is asked for. Requests are tried again until Bedrock begins to answer.
        Closing the stream frees the connection. Where the model takes no stop sequences the stream is closed at the
        first, and the last delta has no usage, which Bedrock tells at the end only.
        """
        request = self._prepare_request(messages, stop_sequences, response_format, tools_to_call_from, **kwargs)
        deltas = _Deltas(self, request)
        return ChatStream(deltas, on_close=deltas.close)

    async def agenerate(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatMessage:
        """``generate`` for asyncio, in one of the model's own threads (boto3 knows no async)."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max_workers=64, thread_name_prefix="fairlead-bedrock")
        return await asyncio.get_running_loop().run_in_executor(
            self._pool,
            copy_context().run,
            lambda: self.generate(messages, stop_sequences, response_format, tools_to_call_from, **kwargs),
        )


AmazonBedrockServerModel = AmazonBedrockModel


class _Deltas(Iterator[ChatMessageStreamDelta]):
    # A class around the generator: another thread may close the stream while this one waits.
    def __init__(self, model: AmazonBedrockModel, request: _Request) -> None:
        self._model = model
        self._request = request
        self._events: EventStream | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._deltas = self._read()

    def __next__(self) -> ChatMessageStreamDelta:
        return next(self._deltas)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            events = self._events
        if events is not None:
            events.close()

    def _open(self) -> EventStream | None:
        events = EventStream(self._model._call("converse_stream", self._request.body))
        with self._lock:
            if not self._closed:
                self._events = events
                return events
        events.close()
        return None

    def _read(self) -> Iterator[ChatMessageStreamDelta]:
        if self._closed or (events := self._open()) is None:
            return
        request, reader = self._request, EventReader()
        shown = StopFilter(() if request.mode == "tool" else request.stops, request.may_stop)
        called, after_stop = False, 0
        reasoning: list[str] = []
        try:
            for event in events:
                for delta in reader.read(event):
                    if request.mode == "tool" and delta.tool_calls:
                        # The answer is the tool's input; a wrapped one is shown when it is whole.
                        piece = delta.tool_calls[0].function
                        delta = new_delta(content=str(piece.arguments) if piece else "")
                    if delta.content:
                        if shown.matched:
                            after_stop += 1
                        elif request.wrapped:
                            shown.feed(delta.content)
                        elif text := shown.feed(delta.content):
                            yield new_delta(content=text)
                    elif delta.reasoning:
                        reasoning.append(delta.reasoning)
                        yield delta
                    elif delta.tool_calls:
                        called = True
                        yield delta
                if shown.matched and not called and (not self._model.profile.stop or after_stop > _PATIENCE):
                    break
            if self._closed:
                return
            if not reader.ended and not shown.matched:
                raise ModelConnectionError("Bedrock's stream ended before the reply was complete")
        finally:
            events.close()
        rest = "" if shown.matched else shown.finish()
        text = shown.text
        if request.wrapped:
            rest = text = _unwrapped(text, wrapped=True)
        if rest:
            yield new_delta(content=rest)
        reason = reader.finish_reason
        if (shown.matched and not called) or (request.mode == "tool" and reason == "tool_calls"):
            reason = "stop"
        text, wrong = self._model._checked(request, text)
        last = new_delta(content="", token_usage=reader.token_usage)
        info = ReplyInfo(
            finish_reason=reason,
            stop_sequence=shown.stop_sequence,
            shape=request.constraint.shape if request.constraint else None,
            complete=wrong is None,
            text=text,
            reasoning="".join(reasoning),
        )
        attach_info(last, info)
        yield last


def _retrying(attempts: int = 3, seconds: float = 120.0, first_wait: float = 1.0) -> RetryPolicy:
    return RetryPolicy(max_attempts=attempts, max_seconds=seconds, wait=first_wait, base=2, jitter=True)


def _stops(*sources: Any) -> tuple[str, ...]:
    stops: list[str] = []
    for source in sources:
        given = [source] if isinstance(source, str) else list(source or ())
        if not all(isinstance(stop, str) and stop for stop in given):
            raise ConfigurationError(f"stop sequences are texts that aren't empty, not {given!r}")
        stops += given
    return tuple(dict.fromkeys(stops))


def _object_schema(schema: Any) -> tuple[dict[str, Any], bool]:
    """A schema for a tool's input, which is always an object, and whether the answer is wrapped in one."""
    if isinstance(schema, Mapping) and schema.get("type") == "object":
        return dict(schema), False
    inner = dict(schema) if isinstance(schema, Mapping) else schema
    outer: dict[str, Any] = {"type": "object", "properties": {"value": inner}, "required": ["value"]}
    if isinstance(inner, dict):
        # References are written from the root.
        for name in ("$defs", "definitions"):
            if name in inner:
                outer[name] = inner.pop(name)
    return outer, True


def _unwrapped(arguments: Any, wrapped: bool) -> str:
    if isinstance(arguments, str):
        if not wrapped:
            return arguments
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return str(arguments)
    if wrapped and isinstance(arguments, Mapping) and "value" in arguments:
        arguments = arguments["value"]
    return json.dumps(arguments, ensure_ascii=False)


def _instruction(constraint: Constraint) -> str:
    if constraint.schema is not None:
        schema = json.dumps(constraint.schema, ensure_ascii=False)
        return f"Answer with one JSON value that follows this JSON Schema, and with nothing else:\n{schema}"
    return f"Answer with nothing but a text of this grammar:\n{constraint.make_grammar()!s}"


def _asked_again(body: dict[str, Any], answer: Mapping[str, Any], wrong: str) -> dict[str, Any]:
    """A request with the wrong answer and what is wrong with it."""
    content: list[dict[str, Any]] = []
    for block in answer.get("content") or ():
        if "toolUse" in block:
            # Every call needs its result.
            result = {"toolUseId": block["toolUse"]["toolUseId"], "status": "error", "content": [{"text": wrong}]}
            content.append({"toolResult": result})
    content.append({"text": f"That can't be used: {wrong}. Answer again, as you were asked to, and with nothing else."})
    said = [block for block in answer.get("content") or () if block.get("text", "x").strip()]
    turns = [*body["messages"], {"role": "assistant", "content": said or [{"text": "(nothing)"}]}]
    return {**body, "messages": [*turns, {"role": "user", "content": content}]}


def _refuse_images(turns: Sequence[Mapping[str, Any]], model_id: str | None) -> None:
    if any("image" in block for turn in turns for block in turn["content"]):
        raise MessageError(f"{model_id} takes no images; profile={{'images': True}} if it does")
