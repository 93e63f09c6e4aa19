"""LiteLLMRouterModel over two deployments of which one fails: fallbacks, cooldowns, and what it hands over."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from fairlead.errors import ModelHTTPError

pytest.importorskip("litellm", reason="the extra litellm")

from fairlead.models import LiteLLMRouterModel

ASK = [{"role": "user", "content": "Say hello."}]


def deployment(group: str, server: Any, name: str, key: str = "k") -> dict[str, Any]:
    return {
        "model_name": group,
        "litellm_params": {"model": f"openai/{name}", "api_base": f"{server.url}/v1", "api_key": key},
    }


def asked(server: Any) -> Counter[str]:
    return Counter(request["model"] for request in server.requests)


def ask(model: Any, how: str) -> str:
    if how == "generate":
        return model.generate(ASK).content
    if how == "stream":
        return model.generate_stream(ASK).drain().content
    if how == "agenerate":
        return asyncio.run(model.agenerate(ASK)).content

    async def joined() -> str:
        return "".join([delta.content or "" async for delta in model.agenerate_stream(ASK)])

    return asyncio.run(joined())


HOWS = ["generate", "stream", "agenerate", "astream"]


@pytest.mark.parametrize("how", HOWS)
def test_another_group_takes_over(server, how):
    model = LiteLLMRouterModel(
        "first",
        [deployment("first", server, "down"), deployment("second", server, "ok")],
        {"fallbacks": [{"first": ["second"]}]},
    )
    assert ask(model, how) == "hello END tail"
    assert asked(server) == {"down": 1, "ok": 1}


@pytest.mark.parametrize("how", HOWS)
def test_a_deployment_that_fails_is_left_alone_for_a_while(server, how):
    model = LiteLLMRouterModel(
        "group",
        [deployment("group", server, "down"), deployment("group", server, "ok")],
        {"num_retries": 3, "retry_after": 0, "allowed_fails": 0, "cooldown_time": 60},
    )
    for _ in range(8):
        assert ask(model, how) == "hello END tail"
    seen = asked(server)
    assert seen["ok"] == 8 and seen["down"] <= 1


def test_keys_and_addresses_are_the_deployments_own(server):
    model = LiteLLMRouterModel(
        "group",
        [deployment("group", server, "ok", "key-one"), deployment("group", server, "ok", "key-two")],
        {"routing_strategy": "simple-shuffle"},
    )
    for _ in range(12):
        model.generate(ASK)
    assert {headers["authorization"] for headers in server.headers} == {"Bearer key-one", "Bearer key-two"}


def test_when_all_fail_the_error_is_typed(server):
    model = LiteLLMRouterModel("group", [deployment("group", server, "down", "sk-router-secret")], retry=False)
    with pytest.raises(ModelHTTPError) as caught:
        model.generate(ASK)
    assert caught.value.status_code == 500 and "sk-router-secret" not in str(caught.value)
    assert len(server.requests) == 1


def test_what_the_router_retries_is_not_retried_here(server):
    model = LiteLLMRouterModel(
        "group", [deployment("group", server, "down")], {"num_retries": 1, "retry_after": 0, "disable_cooldowns": True}
    )
    with pytest.raises(ModelHTTPError):
        model.generate(ASK)
    assert len(server.requests) == 2


# Without those that the Router has for acompletion only.
STRATEGIES = ["simple-shuffle", "least-busy", "latency-based-routing", "usage-based-routing-v2"]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("how", HOWS)
def test_every_strategy_finds_an_answer(server, strategy, how):
    settings = {"routing_strategy": strategy, "num_retries": 3, "retry_after": 0, "allowed_fails": 0}
    # One of three fails; where each request goes first is the strategy's choice, and what failed rests.
    names = ["ok", "ok", "down"]
    model = LiteLLMRouterModel("group", [deployment("group", server, name) for name in names], settings)
    for _ in range(3):
        assert ask(model, how) == "hello END tail"


def test_weights_count(server):
    heavy, light = deployment("group", server, "ok", "key-one"), deployment("group", server, "ok", "key-two")
    heavy["litellm_params"]["weight"], light["litellm_params"]["weight"] = 1, 0
    model = LiteLLMRouterModel("group", [heavy, light], {"routing_strategy": "simple-shuffle"})
    for _ in range(10):
        model.generate(ASK)
    assert {headers["authorization"] for headers in server.headers} == {"Bearer key-one"}


def test_a_group_can_do_what_all_of_its_deployments_can():
    def able(*models, **settings):
        deployments = [
            {"model_name": "group" if number < 2 else "other", "litellm_params": {"model": name, "api_key": "-"}}
            for number, name in enumerate(models)
        ]
        return LiteLLMRouterModel("group", deployments, settings)._profile

    assert able("openai/gpt-4o", "azure/gpt-4o").json_schema
    assert not able("openai/gpt-4o", "groq/llama-3.1-8b-instant").json_schema
    assert not able("openai/gpt-5", "openai/gpt-4o").stop
    assert able("openai/gpt-4o", "openai/gpt-4o", "groq/llama-3.1-8b-instant").json_schema
    behind = able("openai/gpt-4o", "openai/gpt-4o", "groq/llama-3.1-8b-instant", fallbacks=[{"group": ["other"]}])
    assert not behind.json_schema


def test_contents_are_flat_if_a_deployment_takes_only_text():
    deployments = [{"model_name": "group", "litellm_params": {"model": "ollama/llama3", "api_key": "-"}}]
    assert LiteLLMRouterModel("group", deployments).flatten_messages_as_text
    assert not LiteLLMRouterModel("group", deployments, flatten_messages_as_text=False).flatten_messages_as_text
