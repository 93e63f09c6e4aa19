"""Models on Amazon Bedrock, through its Converse API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Literal

from fairlead.errors import ConfigurationError, MessageError
from fairlead.messages import tool_role_conversions
from fairlead.models._api import ApiModel, check_stops
from fairlead.models._base import Model
from fairlead.models._constraint import Constraint, resolve_constraint
from fairlead.models._converse_client import EventStream, create_client, retries_itself, typed_errors
from fairlead.models._converse_wire import (
    CACHE_POINT,
    EventReader,
    conversation,
    read_reply,
    text_format,
    tool_choice_of,
    tool_spec,
)
from fairlead.models._exchange import ApiCall, Reply, StreamReader
from fairlead.models._structured import ANSWER_TOOL, answer_schema, choose_mode, instruction, reminder

__all__ = ["AmazonBedrockModel", "AmazonBedrockServerModel"]

_INFERENCE = {
    "max_tokens": "maxTokens",
    "max_new_tokens": "maxTokens",
    "max_completion_tokens": "maxTokens",
    "temperature": "temperature",
    "top_p": "topP",
}
_CACHE_PLACES = frozenset({"system", "tools", "messages"})
_THREADS = 64


class AmazonBedrockModel(ApiModel):
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
        cache_points: Where prompts are cached: any of "system", "tools" and "messages" (up to the last message).
            A part ``{"type": "cachePoint"}`` of a message does so anywhere.
        **kwargs: As for ApiModel; others are sent with every request: ``inferenceConfig``, ``guardrailConfig``,
            ``toolConfig``, ``additionalModelRequestFields`` and all else that ``converse`` takes, and ``max_tokens``,
            ``temperature`` and ``top_p``.

    Raises:
        MissingDependencyError: boto3 isn't installed.
        ConfigurationError: Arguments that can't be used.
    """

    _provider: ClassVar[str] = "bedrock"
    # Some models say the stop sequence before they end.
    _patience: ClassVar[int] = 64
    _images: ClassVar[Literal["base64", "keep"]] = "keep"
    _saved: ClassVar[dict[str, Any]] = {"client_kwargs": {}, "api_key": None, "timeout": None, "cache_points": ()}

    def __init__(
        self,
        model_id: str,
        client: Any = None,
        client_kwargs: Mapping[str, Any] | None = None,
        custom_role_conversions: Mapping[Any, Any] | None = None,
        *,
        api_key: str | None = None,
        timeout: float | None = None,
        cache_points: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        if unknown := set(cache_points) - _CACHE_PLACES:
            raise ConfigurationError(f"cache_points has {sorted(unknown)}; places are {sorted(_CACHE_PLACES)}")
        self.client_kwargs: dict[str, Any] = dict(client_kwargs or {})
        self.api_key = api_key
        self.timeout = timeout
        self.cache_points = tuple(cache_points)
        super().__init__(model_id=model_id, client=client, custom_role_conversions=custom_role_conversions, **kwargs)

    def create_client(self) -> Any:
        """The boto3 client that is used if none is given."""
        return create_client(self.client_kwargs, self.api_key, self.timeout)

    def _retries_itself(self, client: Any) -> bool:
        return retries_itself(client)

    # Requests.

    def _prepare_completion_kwargs(self, messages: Sequence[Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What ``converse`` is called with."""
        names = ("stop_sequences", "response_format", "tools_to_call_from", "custom_role_conversions")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        given.pop("convert_images_to_image_urls", None)  # always bytes
        return self._prepare_call(messages, **given).payload

    def _prepare_call(
        self,
        messages: Sequence[Any],
        stop_sequences: Sequence[str] | None = None,
        custom_role_conversions: Mapping[Any, Any] | None = None,
        **kwargs: Any,
    ) -> ApiCall:
        # Arguments that are messages' own are read below; this merges the rest by the usual precedence.
        body = super()._prepare_completion_kwargs((), **kwargs)
        del body["messages"]
        constraint = resolve_constraint(body.pop("response_format", None), body.pop("grammar", None))
        inside = bool(body.pop("stop_inside_constraint", False))
        inference = dict(body.pop("inferenceConfig", None) or {})
        for name, theirs in _INFERENCE.items():
            if (value := body.pop(name, None)) is not None:
                inference.setdefault(theirs, value)
        stops = [*check_stops(stop_sequences), *check_stops(body.pop("stop", None))]
        sent = check_stops(inference.get("stopSequences"))
        # Inside of a constrained answer a stop sequence is text, and Bedrock would cut there.
        if stops and self._profile.stop and (constraint is None or inside):
            inference["stopSequences"] = list(dict.fromkeys([*sent, *stops]))
        call = ApiCall(body, tuple(dict.fromkeys([*stops, *sent])), constraint, stop_inside_constraint=inside)
        tool_config = self._tool_config(body)
        if constraint is not None:
            tool_config = self._constrain(call, constraint, tool_config)
        if tool_config and not self._profile.tools:
            raise ConfigurationError(f"{self.model_id} takes no tools; profile={{'tools': True}} if it does")
        system, turns = self._conversation(messages, custom_role_conversions, native_tools=bool(tool_config))
        if constraint is not None and call.mode == "prompt":
            words = {"text": instruction(constraint)}
            (system if self._profile.system else turns[-1]["content"]).append(words)
        self._add_cache_points(system, tool_config, turns)
        if given := body.pop("system", None):
            # Written out for Bedrock, it stands before the history's.
            system = [{"text": given}, *system] if isinstance(given, str) else [*given, *system]
        call.payload = {"modelId": self.model_id, "messages": turns}
        for name, value in (("system", system), ("toolConfig", tool_config), ("inferenceConfig", inference)):
            if value:
                call.payload[name] = value
        call.payload.update({name: value for name, value in body.items() if value is not None})
        return call

    def _tool_config(self, body: dict[str, Any]) -> dict[str, Any]:
        tools, choice = body.pop("tools", None), body.pop("tool_choice", None)
        config = dict(body.pop("toolConfig", None) or {})
        if tools and choice != "none":
            config.setdefault("tools", [tool_spec(tool) for tool in tools])
            wanted = tool_choice_of(choice) or {"auto": {}}
            # A model that can't be made to call a tool is offered them; agents say in words what they need.
            config.setdefault("toolChoice", wanted if self._profile.tool_choice_required else {"auto": {}})
        return config

    def _constrain(self, call: ApiCall, constraint: Constraint, tool_config: dict[str, Any]) -> dict[str, Any]:
        """Choose how the constraint reaches the model; returns the tools, among them the one that stands for it."""
        call.mode = choose_mode(
            constraint, self.structured_output, self._profile, self.model_id, has_tools=bool(tool_config)
        )
        if call.mode == "native":
            body = call.payload
            body["outputConfig"] = {**text_format(constraint.schema), **(body.get("outputConfig") or {})}
        elif call.mode == "tool":
            schema, call.unwrap = answer_schema(constraint.schema)
            answer = {"name": ANSWER_TOOL, "description": "Gives the answer.", "inputSchema": {"json": schema}}
            return {"tools": [{"toolSpec": answer}], "toolChoice": {"tool": {"name": ANSWER_TOOL}}}
        return tool_config

    def _conversation(
        self, messages: Sequence[Any], conversions: Mapping[Any, Any] | None, *, native_tools: bool
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        system, turns = conversation(
            messages,
            conversions or self.custom_role_conversions or tool_role_conversions,
            native_tools=native_tools,
            system_role=self._profile.system,
        )
        if not turns:
            raise MessageError("Bedrock needs a message with content")
        if not self._profile.images and any("image" in block for turn in turns for block in turn["content"]):
            raise MessageError(f"{self.model_id} takes no images; profile={{'images': True}} if it does")
        return system, turns

    def _add_cache_points(self, system: list[Any], tool_config: dict[str, Any], turns: list[dict[str, Any]]) -> None:
        if "system" in self.cache_points and system:
            system.append(CACHE_POINT)
        if "tools" in self.cache_points and tool_config.get("tools"):
            tool_config["tools"] = [*tool_config["tools"], CACHE_POINT]
        if "messages" in self.cache_points:
            turns[-1]["content"] = [*turns[-1]["content"], CACHE_POINT]

    def _ask_again(self, call: ApiCall, reply: Reply, fault: str) -> ApiCall:
        assert call.constraint is not None
        answer = reply.raw["output"]["message"].get("content") or ()
        # Every call needs its result.
        results = [
            {"toolUseId": block["toolUse"]["toolUseId"], "status": "error", "content": [{"text": fault}]}
            for block in answer
            if "toolUse" in block
        ]
        said = [block for block in answer if block.get("text", "x").strip()]
        more = [
            {"role": "assistant", "content": said or [{"text": "(nothing)"}]},
            {
                "role": "user",
                "content": [*({"toolResult": one} for one in results), {"text": reminder(call.constraint, fault)}],
            },
        ]
        return replace(call, payload={**call.payload, "messages": [*call.payload["messages"], *more]})

    # Calls. boto3 knows no async: its calls run in threads of the model's own.

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="fairlead-bedrock")

    def _async(self) -> Any:
        return self.client

    def _send(self, payload: dict[str, Any], *, stream: bool) -> Any:
        with typed_errors():
            return EventStream(self.client.converse_stream(**payload)) if stream else self.client.converse(**payload)

    async def _asend(self, payload: dict[str, Any], *, stream: bool) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, copy_context().run, lambda: self._send(payload, stream=stream))

    agenerate_stream = Model.agenerate_stream

    def _read(self, response: Any) -> Reply:
        return read_reply(response)

    def _new_reader(self) -> StreamReader:
        return EventReader()


AmazonBedrockServerModel = AmazonBedrockModel
