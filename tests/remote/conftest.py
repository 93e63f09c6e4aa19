"""A misbehaving server, and every class that speaks to it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# litellm would fetch a table of prices, the hub's client asks nobody.
pytest.importorskip("tenacity")


def load(name: str) -> Any:
    """A module beside this one."""
    spec = importlib.util.spec_from_file_location(f"remote_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = sys.modules[f"remote_{name}"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sys.modules["conftest_remote"] = sys.modules[__name__]
_module = load("loopback")

SECRET = "sk-secret-0123456789"


@pytest.fixture(scope="session")
def _server() -> Iterator[Any]:
    server = _module.Loopback()
    yield server
    server.close()


@pytest.fixture
def server(_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    monkeypatch.setattr("fairlead.models._retry.RETRY_WAIT", 0.02)
    if importlib.util.find_spec("huggingface_hub"):
        # The tests' HF_HUB_OFFLINE would keep the client from loopback too.
        import huggingface_hub.constants

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    _server.reset()
    yield _server
    _server.released.set()


def make(kind: str, url: str, name: str, **kwargs: Any) -> Any:
    from fairlead import models

    if kind == "openai":
        pytest.importorskip("openai", reason="the extra openai")
        return models.OpenAIModel(name, api_base=f"{url}/v1", api_key=SECRET, **kwargs)
    if kind == "azure":
        pytest.importorskip("openai", reason="the extra openai")
        return models.AzureOpenAIModel(name, azure_endpoint=url, api_key=SECRET, api_version="2024-10-21", **kwargs)
    if kind == "hub":
        pytest.importorskip("huggingface_hub", reason="the extra huggingface")
        return models.InferenceClientModel(name, base_url=f"{url}/v1", token=SECRET, **kwargs)
    pytest.importorskip("litellm", reason="the extra litellm")
    if kind == "litellm":
        return models.LiteLLMModel(f"openai/{name}", api_base=f"{url}/v1", api_key=SECRET, **kwargs)
    deployment = {"model": f"openai/{name}", "api_base": f"{url}/v1", "api_key": SECRET}
    return models.LiteLLMRouterModel("group", [{"model_name": "group", "litellm_params": deployment}], **kwargs)


@pytest.fixture(params=["openai", "azure", "hub", "litellm", "router"])
def model_of(request: pytest.FixtureRequest, server: Any) -> Any:
    """Makes a model of one class for a behaviour of the server."""

    def of(name: str = "ok", **kwargs: Any) -> Any:
        return make(request.param, server.url, name, **kwargs)

    of.kind = request.param  # type: ignore[attr-defined]
    of("ok")
    return of
