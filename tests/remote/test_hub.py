"""The Hub's client: where requests go, who pays, and in which form a schema arrives."""

from __future__ import annotations

from typing import Any

import pytest
from conftest_remote import make
from fairlead import InferenceClientModel
from fairlead.models._profiles import find_profile

constants = pytest.importorskip("huggingface_hub.constants")

ASK = [{"role": "user", "content": "Name a knot."}]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
GOOD = '{"name": "bowline"}'
PROVIDERS = ["cerebras", "fireworks-ai", "together", "novita", "nebius", "sambanova", "hf-inference"]


@pytest.fixture
def hub(server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The Hub, its router and its list of providers, on loopback."""
    import huggingface_hub.hf_api

    monkeypatch.setattr(constants, "INFERENCE_PROXY_TEMPLATE", f"{server.url}/hub/{{provider}}")
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", server.url)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    return server


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_provider_gets_the_schema(hub: Any, provider: str) -> None:
    from huggingface_hub.inference._providers import PROVIDERS as known

    if provider not in known:
        pytest.skip(f"this version of the client doesn't have {provider}")
    assert find_profile(provider, "any").json_schema
    hub.replies[:] = [GOOD]
    model = InferenceClientModel(f"{provider}/ok", provider=provider, token="hf_0123456789", bill_to="the-firm")
    reply = model.generate(ASK, response_format=SCHEMA)
    assert reply.parsed == {"name": "bowline"} and len(hub.requests) == 1
    assert hub.paths[-1].startswith(f"/hub/{provider}/")
    sent = hub.requests[-1]["response_format"]
    # Each has a form of its own, which the client knows.
    carried = sent.get("value") or sent.get("schema") or sent["json_schema"]["schema"]
    assert carried == SCHEMA
    assert hub.headers[-1]["x-hf-bill-to"] == "the-firm"


@pytest.mark.parametrize("provider", [None, "auto"])
def test_the_router_chooses_a_provider(hub: Any, provider: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.inference import _providers

    monkeypatch.setattr(_providers.CONVERSATIONAL_AUTO_ROUTER, "base_url", f"{hub.url}/hub")
    call = {"id": "c", "type": "function", "function": {"name": "answer", "arguments": GOOD}}
    hub.replies[:] = [[call]]
    model = InferenceClientModel("any/ok", provider=provider, token="hf_0123456789", bill_to="the-firm")
    # Nobody knows who will answer: the schema is a tool that must be called, which all of them take.
    assert model.generate(ASK, response_format=SCHEMA).parsed == {"name": "bowline"}
    assert hub.paths[-1] == "/hub/v1/chat/completions" and hub.headers[-1]["x-hf-bill-to"] == "the-firm"
    assert hub.requests[-1]["tools"][0]["function"]["parameters"] == SCHEMA


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_at_an_address_gets_openais_form(server: Any, stream: bool) -> None:
    server.replies[:] = [GOOD]
    model = make("hub", server.url, "ok")
    if stream:
        reply = model.generate_stream(ASK, response_format=SCHEMA).drain()
    else:
        reply = model.generate(ASK, response_format=SCHEMA)
    assert reply.parsed == {"name": "bowline"}
    sent = server.requests[-1]["response_format"]
    assert sent["type"] == "json_schema" and sent["json_schema"]["schema"] == SCHEMA


def test_text_generation_inference_at_an_address(server: Any) -> None:
    server.replies[:] = [GOOD, "abc"]
    model = make("hub", server.url, "ok", profile={"grammar": "tgi"})
    assert model.generate(ASK, response_format=SCHEMA).parsed == {"name": "bowline"}
    assert server.requests[-1]["response_format"] == {"type": "json_object", "value": SCHEMA}
    assert model.generate(ASK, grammar="[a-c]+").parsed == "abc"
    assert server.requests[-1]["response_format"] == {"type": "regex", "value": "[a-c]+"}
