"""OpenAI's models on Azure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from fairlead.models.openai import OpenAIModel

__all__ = ["AzureOpenAIModel", "AzureOpenAIServerModel"]


class AzureOpenAIModel(OpenAIModel):
    """A deployment of Azure OpenAI.

    Args:
        model_id: The deployment's name.
        azure_endpoint: The resource's address; default ``AZURE_OPENAI_ENDPOINT``.
        api_key: Default ``AZURE_OPENAI_API_KEY``.
        api_version: Default ``OPENAI_API_VERSION``.
        client_kwargs: Further arguments of ``openai.AzureOpenAI``, such as ``azure_ad_token`` or
            ``azure_ad_token_provider`` for Entra; the latter may be a coroutine function for the async methods alone.
        custom_role_conversions: Roles to rename; replaces the default.
        **kwargs: As for OpenAIModel.
    """

    _provider: ClassVar[str] = "azure"
    _saved: ClassVar[dict[str, Any]] = {"azure_endpoint": None, "api_version": None}

    def __init__(
        self,
        model_id: str,
        azure_endpoint: str | None = None,
        api_key: str | None = None,
        api_version: str | None = None,
        client_kwargs: Mapping[str, Any] | None = None,
        custom_role_conversions: Mapping[Any, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.azure_endpoint = azure_endpoint
        self.api_version = api_version
        super().__init__(
            model_id=model_id,
            api_key=api_key,
            client_kwargs=client_kwargs,
            custom_role_conversions=custom_role_conversions,
            **kwargs,
        )

    def _provider_name(self) -> str:
        return self._provider

    def _client_arguments(self) -> dict[str, Any]:
        given = {"azure_endpoint": self.azure_endpoint, "api_version": self.api_version}
        return {**super()._client_arguments(), **{name: value for name, value in given.items() if value is not None}}

    def create_client(self) -> Any:
        """``openai.AzureOpenAI``."""
        return self._make_client("AzureOpenAI")

    def create_async_client(self) -> Any:
        """``openai.AsyncAzureOpenAI``."""
        return self._make_client("AsyncAzureOpenAI")


AzureOpenAIServerModel = AzureOpenAIModel
