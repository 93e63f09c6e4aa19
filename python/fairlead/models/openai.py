"""OpenAI's models, and every server that speaks their protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from fairlead._optional import require
from fairlead.errors import ConfigurationError
from fairlead.models._chat import ChatModel
from fairlead.models._exchange import ApiCall, Reply, StreamReader
from fairlead.models._responses_wire import EventReader, read_response, responses_payload

__all__ = ["OpenAIModel", "OpenAIServerModel"]

_OPENAI_HOSTS = ("api.openai.com",)


class OpenAIModel(ChatModel):
    """A model behind OpenAI's API or a server that speaks it.

    Args:
        model_id: The model's name there.
        api_base: The server's address; default OpenAI's, or ``OPENAI_BASE_URL``.
        api_key: Default ``OPENAI_API_KEY``.
        organization: The organization that the request counts for.
        project: The project that it counts for.
        client_kwargs: Further arguments of ``openai.OpenAI``: ``timeout``, ``default_headers``, ``max_retries`` (above
            0 the client retries, and nothing is retried here).
        custom_role_conversions: Roles to rename; replaces the default.
        flatten_messages_as_text: Send contents as plain strings. Default False.
        api: "chat" for chat completions, "responses" for the Responses API. Default "chat".
        **kwargs: As for ApiModel; others are sent with every request.
    """

    _provider: ClassVar[str] = "openai"
    _saved: ClassVar[dict[str, Any]] = {
        "api_base": None,
        "api_key": None,
        "organization": None,
        "project": None,
        "client_kwargs": {},
        "api": "chat",
    }

    def __init__(
        self,
        model_id: str,
        api_base: str | None = None,
        api_key: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        client_kwargs: Mapping[str, Any] | None = None,
        custom_role_conversions: Mapping[Any, Any] | None = None,
        flatten_messages_as_text: bool = False,
        *,
        api: str = "chat",
        **kwargs: Any,
    ) -> None:
        if api not in ("chat", "responses"):
            raise ConfigurationError(f'api is "chat" or "responses", not {api!r}')
        self.api_base = api_base
        self.api_key = api_key
        self.organization = organization
        self.project = project
        self.client_kwargs: dict[str, Any] = dict(client_kwargs or {})
        self.api = api
        super().__init__(
            model_id=model_id,
            custom_role_conversions=custom_role_conversions,
            flatten_messages_as_text=flatten_messages_as_text,
            **kwargs,
        )

    def _provider_name(self) -> str:
        base = str(self.api_base or self.client_kwargs.get("base_url") or "")
        return self._provider if not base or any(host in base for host in _OPENAI_HOSTS) else "openai-compatible"

    def _client_arguments(self) -> dict[str, Any]:
        given = {
            "api_key": self.api_key,
            "base_url": self.api_base,
            "organization": self.organization,
            "project": self.project,
        }
        named = {name: value for name, value in given.items() if value is not None}
        return {"max_retries": 0, **self.client_kwargs, **named}

    def create_client(self) -> Any:
        """``openai.OpenAI``, which doesn't retry unless ``client_kwargs`` says so."""
        return self._make_client("OpenAI")

    def create_async_client(self) -> Any:
        """``openai.AsyncOpenAI``."""
        return self._make_client("AsyncOpenAI")

    def _make_client(self, name: str) -> Any:
        openai = require("openai", extra="openai", feature=type(self).__name__)
        require("tenacity", extra="openai", feature=type(self).__name__)
        try:
            return getattr(openai, name)(**self._client_arguments())
        except (openai.OpenAIError, ValueError) as error:
            # Missing credentials and the like.
            raise ConfigurationError(str(error)) from None

    def _prepare_call(self, messages: Any, **kwargs: Any) -> ApiCall:
        call = super()._prepare_call(messages, **kwargs)
        if self.api == "responses":
            call.payload = responses_payload(call.payload)
            # That API has no stop parameter.
        return call

    def _ask_again(self, call: ApiCall, reply: Reply, fault: str) -> ApiCall:
        if self.api != "responses":
            return super()._ask_again(call, reply, fault)
        messages = {**call.payload, "messages": call.payload["input"]}
        following = super()._ask_again(replace(call, payload=messages), reply, fault)
        following.payload["input"] = following.payload.pop("messages")
        return following

    def _send(self, payload: dict[str, Any], *, stream: bool) -> Any:
        if self.api == "responses":
            return self.client.responses.create(**payload, **({"stream": True} if stream else {}))
        extra = self._stream_arguments() if stream else {}
        return self.client.chat.completions.create(**{**extra, **payload})

    async def _asend(self, payload: dict[str, Any], *, stream: bool) -> Any:
        client = self._async()
        if self.api == "responses":
            return await client.responses.create(**payload, **({"stream": True} if stream else {}))
        extra = self._stream_arguments() if stream else {}
        return await client.chat.completions.create(**{**extra, **payload})

    def _read(self, response: Any) -> Reply:
        return read_response(response) if self.api == "responses" else super()._read(response)

    def _new_reader(self) -> StreamReader:
        return EventReader() if self.api == "responses" else super()._new_reader()


OpenAIServerModel = OpenAIModel
