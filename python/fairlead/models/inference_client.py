"""Models behind Hugging Face's inference providers, endpoints, and servers that speak OpenAI's protocol."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from fairlead._optional import require
from fairlead.errors import ConfigurationError
from fairlead.models._chat import ChatModel

__all__ = ["HfApiModel", "InferenceClientModel"]

# What the client's chat_completion takes; anything else travels in extra_body.
_TAKEN = frozenset(
    {"messages", "model", "stream", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "n"}
    | {"presence_penalty", "response_format", "seed", "stop", "stream_options", "temperature", "tool_choice"}
    | {"tool_prompt", "tools", "top_logprobs", "top_p", "extra_body"}
)


class _Verbatim(dict[str, Any]):
    """A response_format that the client sends as it is.

    It takes whatever stands at an address for Text Generation Inference, and rewrites a schema into that server's first
    form for it, which others understand as "any JSON". A profile with ``grammar="tgi"`` leaves it to that.
    """

    def get(self, key: str, default: Any = None) -> Any:
        """As if the type weren't known."""
        return default if key == "type" else super().get(key, default)


class InferenceClientModel(ChatModel):
    """A model behind ``huggingface_hub.InferenceClient``.

    Args:
        model_id: A model on the Hub, or the address of an endpoint.
        provider: The name of a provider; default "auto", the first that has the model.
        token: Default ``HF_TOKEN``, then what the Hub's command line stored.
        timeout: Seconds; default 120.
        client_kwargs: Further arguments of the client, such as ``headers``.
        custom_role_conversions: Roles to rename; replaces the default.
        api_key: Another name of ``token``.
        bill_to: The organization that pays.
        base_url: The address of a server; ``model_id`` is then the name of the model there.
        **kwargs: As for ApiModel; others are sent with every request.
    """

    _saved: ClassVar[dict[str, Any]] = {
        "provider": None,
        "token": None,
        "timeout": 120,
        "client_kwargs": {},
        "bill_to": None,
        "base_url": None,
    }

    def __init__(
        self,
        model_id: str = "Qwen/Qwen3-Next-80B-A3B-Thinking",
        provider: str | None = None,
        token: str | None = None,
        timeout: float | None = 120,
        client_kwargs: Mapping[str, Any] | None = None,
        custom_role_conversions: Mapping[Any, Any] | None = None,
        api_key: str | None = None,
        bill_to: str | None = None,
        base_url: str | None = None,
        **kwargs: Any,
    ) -> None:
        if token is not None and api_key is not None:
            raise ConfigurationError(
                "Received both `token` and `api_key` arguments. Please provide only one of them: they mean the same."
            )
        self.provider = provider
        self.token = token if token is not None else api_key
        self.timeout = timeout
        self.bill_to = bill_to
        self.base_url = base_url
        self.client_kwargs: dict[str, Any] = dict(client_kwargs or {})
        super().__init__(model_id=model_id, custom_role_conversions=custom_role_conversions, **kwargs)

    def _provider_name(self) -> str:
        return "openai-compatible" if self._at_address() else self.provider or "auto"

    def _secrets(self) -> list[Any]:
        return [*super()._secrets(), os.environ.get("HF_TOKEN")]

    def _client_arguments(self) -> dict[str, Any]:
        given: dict[str, Any] = {
            "provider": self.provider,
            "token": self.token if self.token is not None else os.getenv("HF_TOKEN"),
            "timeout": self.timeout,
            "bill_to": self.bill_to,
            "base_url": self.base_url,
            # The client takes one of the two; with an address the name goes along with each request.
            "model": None if self.base_url else self.model_id,
        }
        return {**self.client_kwargs, **{name: value for name, value in given.items() if value is not None}}

    def create_client(self) -> Any:
        """``huggingface_hub.InferenceClient``."""
        return self._make_client("InferenceClient")

    def create_async_client(self) -> Any:
        """``huggingface_hub.AsyncInferenceClient``."""
        return self._make_client("AsyncInferenceClient")

    def _make_client(self, name: str) -> Any:
        feature = type(self).__name__
        hub = require("huggingface_hub", extra="huggingface", feature=feature)
        require("tenacity", extra="huggingface", feature=feature)
        return getattr(hub, name)(**self._client_arguments())

    def _arguments(self, payload: dict[str, Any], stream: bool) -> dict[str, Any]:
        sent = {**(self._stream_arguments() if stream else {}), **payload}
        other = {name: sent.pop(name) for name in [*sent] if name not in _TAKEN}
        if other:
            sent["extra_body"] = {**other, **(sent.get("extra_body") or {})}
        other_server = self._at_address() and self._profile.grammar != "tgi"
        if other_server and isinstance(wanted := sent.get("response_format"), dict):
            sent["response_format"] = _Verbatim(wanted)
        return sent

    def _at_address(self) -> bool:
        return bool(self.base_url) or str(self.model_id).startswith(("http://", "https://"))

    def _send(self, payload: dict[str, Any], *, stream: bool) -> Any:
        return self.client.chat_completion(**self._arguments(payload, stream))

    async def _asend(self, payload: dict[str, Any], *, stream: bool) -> Any:
        return await self._async().chat_completion(**self._arguments(payload, stream))


HfApiModel = InferenceClientModel
