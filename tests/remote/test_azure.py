"""Azure's paths and credentials: keys and Entra tokens, from arguments and from the environment."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest
from fairlead.errors import AuthenticationError, ConfigurationError, ModelHTTPError

pytest.importorskip("openai", reason="the extra openai")

from fairlead.models import AzureOpenAIModel, AzureOpenAIServerModel

ASK = [{"role": "user", "content": "Say hello."}]
VERSION = "2024-10-21"
VARIABLES = ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in (*VARIABLES, "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def everything(model):
    async def later():
        whole = await model.agenerate(ASK)
        pieces = [delta.content or "" async for delta in model.agenerate_stream(ASK)]
        return whole.content, "".join(pieces)

    return {model.generate(ASK).content, model.generate_stream(ASK).drain().content, *asyncio.run(later())}


def test_arguments(server):
    model = AzureOpenAIModel("ok", azure_endpoint=server.url, api_key="k-argument", api_version=VERSION)
    assert everything(model) == {"hello END tail"} and len(server.paths) == 4
    for path, headers in zip(server.paths, server.headers, strict=True):
        assert urlsplit(path).path == "/openai/deployments/ok/chat/completions"
        assert parse_qs(urlsplit(path).query) == {"api-version": [VERSION]}
        assert headers["api-key"] == "k-argument" and "authorization" not in headers


def test_the_environment(server, monkeypatch):
    for name, value in zip(VARIABLES, ("k-environment", None, server.url, VERSION), strict=True):
        if value is not None:
            monkeypatch.setenv(name, value)
    assert everything(AzureOpenAIServerModel("ok")) == {"hello END tail"}
    assert {headers["api-key"] for headers in server.headers} == {"k-environment"}
    assert all(path.endswith(f"api-version={VERSION}") for path in server.paths)
    # An argument wins over the environment.
    AzureOpenAIModel("ok", api_key="k-argument", api_version="2025-01-01").generate(ASK)
    assert server.headers[-1]["api-key"] == "k-argument" and server.paths[-1].endswith("2025-01-01")


@pytest.mark.parametrize("missing", ["AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION"])
def test_what_is_missing_is_named(server, monkeypatch, missing):
    for name, value in zip(VARIABLES, ("k", None, server.url, VERSION), strict=True):
        if value is not None and name != missing:
            monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=missing):
        AzureOpenAIModel("ok")


def test_an_entra_token_is_asked_for_with_each_request(server):
    given = []

    def provider():
        given.append(f"entra-{len(given)}")
        return given[-1]

    options = {"azure_ad_token_provider": provider}
    model = AzureOpenAIModel("ok", azure_endpoint=server.url, api_version=VERSION, client_kwargs=options)
    assert everything(model) == {"hello END tail"}
    sent = [headers["authorization"] for headers in server.headers]
    assert sent == [f"Bearer {token}" for token in given] and len(sent) == 4
    assert not any("api-key" in headers for headers in server.headers)


def test_an_entra_token_of_a_coroutine(server):
    async def provider():
        await asyncio.sleep(0)
        return "entra-later"

    options = {"azure_ad_token_provider": provider}
    model = AzureOpenAIModel("ok", azure_endpoint=server.url, api_version=VERSION, client_kwargs=options)
    assert asyncio.run(model.agenerate(ASK)).content == "hello END tail"
    assert server.headers[-1]["authorization"] == "Bearer entra-later"


def test_an_entra_token_that_stays(server, monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "entra-environment")
    AzureOpenAIModel("ok", azure_endpoint=server.url, api_version=VERSION).generate(ASK)
    assert server.headers[-1]["authorization"] == "Bearer entra-environment"
    options = {"azure_ad_token": "entra-argument"}
    model = AzureOpenAIModel("ok", azure_endpoint=server.url, api_version=VERSION, client_kwargs=options)
    model.generate(ASK)
    assert server.headers[-1]["authorization"] == "Bearer entra-argument"
    with pytest.warns(UserWarning):
        assert "entra-argument" not in str(model.to_dict())


def test_errors_are_typed(server):
    model = AzureOpenAIModel("locked", azure_endpoint=server.url, api_key="k-secret-key", api_version=VERSION)
    with pytest.raises(AuthenticationError) as caught:
        model.generate(ASK)
    assert "k-secret-key" not in str(caught.value)
    # The endpoint is the resource's address, not a path within it.
    wrong = AzureOpenAIModel("ok", azure_endpoint=f"{server.url}/elsewhere", api_key="k", api_version=VERSION)
    with pytest.raises(ModelHTTPError) as missed:
        wrong.generate(ASK)
    assert missed.value.status_code == 404
