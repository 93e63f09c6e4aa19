"""Models of every provider that LiteLLM knows, and its Router over several deployments."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from fairlead._optional import require
from fairlead.models._chat import ChatModel
from fairlead.models._profiles import Profile, common_profile, find_profile

__all__ = ["LiteLLMModel", "LiteLLMRouterModel"]

# Providers whose servers take contents as text only.
_TEXT_ONLY = ("ollama", "groq", "cerebras")
_OWNERS = [
    ("openai", re.compile(r"(?:gpt|chatgpt|davinci|o\d)")),
    ("anthropic", re.compile("claude")),
]


def _provider(model: str, api_base: str | None) -> str:
    """Who answers, as profiles know it; litellm finds the owner of a name without a provider by the name."""
    provider, slash, _ = model.partition("/")
    if not slash:
        provider = next((owner for owner, names in _OWNERS if names.match(model)), "")
    elsewhere = provider == "openai" and api_base and "api.openai.com" not in api_base
    return "openai-compatible" if elsewhere else provider


class LiteLLMModel(ChatModel):
    """A model behind ``litellm.completion``.

    Args:
        model_id: Provider and model, such as "anthropic/claude-sonnet-4-5".
        api_base: The provider's address.
        api_key: The provider's key; default its environment variable.
        custom_role_conversions: Roles to rename; replaces the default.
        flatten_messages_as_text: Send contents as plain strings; default: for ollama, groq and cerebras.
        **kwargs: As for ApiModel; others are sent with every request.
    """

    _saved: ClassVar[dict[str, Any]] = {"api_base": None, "api_key": None, "flatten_messages_as_text": None}

    def __init__(
        self,
        model_id: str | None = None,
        api_base: str | None = None,
        api_key: str | None = None,
        custom_role_conversions: Mapping[Any, Any] | None = None,
        flatten_messages_as_text: bool | None = None,
        **kwargs: Any,
    ) -> None:
        if not model_id:
            warnings.warn(
                "model_id will be required; without it 'anthropic/claude-3-5-sonnet-20240620' is taken",
                FutureWarning,
                stacklevel=2,
            )
            model_id = "anthropic/claude-3-5-sonnet-20240620"
        self.api_base = api_base
        self.api_key = api_key
        if flatten_messages_as_text is None:
            flatten_messages_as_text = model_id.startswith(_TEXT_ONLY)
        super().__init__(
            model_id=model_id,
            custom_role_conversions=custom_role_conversions,
            flatten_messages_as_text=flatten_messages_as_text,
            **kwargs,
        )

    def _provider_name(self) -> str:
        return _provider(self.model_id or "", self.api_base)

    def _fixed_arguments(self) -> dict[str, Any]:
        # What isn't given isn't sent: a None would replace what litellm finds by itself.
        given = {"model": self.model_id, "api_base": self.api_base, "api_key": self.api_key}
        return {name: value for name, value in given.items() if value is not None}

    def create_client(self) -> Any:
        """The module ``litellm``."""
        require("tenacity", extra="litellm", feature=type(self).__name__)
        return require("litellm", extra="litellm", feature=type(self).__name__)

    def create_async_client(self) -> Any:
        """The same, or the client that was given."""
        return self.client

    def _arguments(self, payload: dict[str, Any], stream: bool) -> dict[str, Any]:
        # litellm's own retrying stays off.
        return {"num_retries": 0, "max_retries": 0, **(self._stream_arguments() if stream else {}), **payload}

    def _send(self, payload: dict[str, Any], *, stream: bool) -> Any:
        return self.client.completion(**self._arguments(payload, stream))

    async def _asend(self, payload: dict[str, Any], *, stream: bool) -> Any:
        return await self._async().acompletion(**self._arguments(payload, stream))


class LiteLLMRouterModel(LiteLLMModel):
    """A group of deployments behind ``litellm.Router``, which chooses, cools down and falls back.

    The Router retries over its deployments (``client_kwargs={"num_retries": ...}``); a request that it gave up is
    repeated here only if ``retry`` is given as True and the Router's ``num_retries`` is 0.

    Args:
        model_id: The name of the group in ``model_list``.
        model_list: The deployments, in the Router's form.
        client_kwargs: Further arguments of the Router: ``routing_strategy``, ``fallbacks``, ``num_retries``.
        custom_role_conversions: Roles to rename; replaces the default.
        flatten_messages_as_text: Send contents as plain strings; default: for ollama, groq and cerebras.
        **kwargs: As for ApiModel; others are sent with every request.
    """

    _saved: ClassVar[dict[str, Any]] = {"model_list": None, "client_kwargs": {}}

    def __init__(
        self,
        model_id: str,
        model_list: Sequence[Mapping[str, Any]],
        client_kwargs: Mapping[str, Any] | None = None,
        custom_role_conversions: Mapping[Any, Any] | None = None,
        flatten_messages_as_text: bool | None = None,
        **kwargs: Any,
    ) -> None:
        self.model_list = [dict(deployment) for deployment in model_list]
        self.client_kwargs: dict[str, Any] = dict(client_kwargs or {})
        if flatten_messages_as_text is None:
            names = [str(deployment.get("model", "")) for deployment in self._deployments(model_id)]
            flatten_messages_as_text = any(name.startswith(_TEXT_ONLY) for name in names)
        super().__init__(
            model_id=model_id,
            custom_role_conversions=custom_role_conversions,
            flatten_messages_as_text=flatten_messages_as_text,
            **kwargs,
        )

    def _deployments(self, group: str) -> list[Mapping[str, Any]]:
        """The parameters of the deployments that may answer for a group, those of its fallbacks included."""
        groups = [group]
        for fallback in self.client_kwargs.get("fallbacks") or ():
            groups += [name for name in fallback.get(group, ()) if isinstance(name, str)]
        return [one.get("litellm_params", {}) for one in self.model_list if one.get("model_name") in groups]

    def _find_profile(self, overrides: Mapping[str, Any] | Profile | None) -> Profile:
        # Any of them may answer: only what all can do counts.
        found = []
        for deployment in self._deployments(self.model_id or ""):
            name = str(deployment.get("model", ""))
            found.append(find_profile(_provider(name, deployment.get("api_base")), name, overrides))
        return common_profile(found) if found else find_profile("", self.model_id or "", overrides)

    def _secrets(self) -> list[Any]:
        keys = [deployment.get("litellm_params", {}).get("api_key") for deployment in self.model_list]
        return [*super()._secrets(), *keys]

    def create_client(self) -> Any:
        """``litellm.router.Router``."""
        require("tenacity", extra="litellm", feature=type(self).__name__)
        router = require("litellm.router", extra="litellm", feature=type(self).__name__)
        return router.Router(**{"num_retries": 0, **self.client_kwargs, "model_list": self.model_list})

    def _policy(self, client: Any) -> Any:
        if self.client_kwargs.get("num_retries"):
            self.retry = False
        return super()._policy(client)

    def _fixed_arguments(self) -> dict[str, Any]:
        return {"model": self.model_id}

    def _arguments(self, payload: dict[str, Any], stream: bool) -> dict[str, Any]:
        return {**(self._stream_arguments() if stream else {}), **payload}
