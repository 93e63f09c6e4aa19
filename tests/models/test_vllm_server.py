"""vLLM's server with fairlead in it, through every remote class, on loopback."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")
pytest.importorskip("openai")

from fairlead import FairleadError
from fairlead.testing import tiny_model_dir

from tests.servers import CLIENTS, azure_front, free_port, remote_model, serving

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

ASK = [{"role": "user", "content": "Please answer."}]
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 99}, "ok": {"type": "boolean"}},
    "required": ["n", "ok"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "pick",
        "description": "Pick a side.",
        # Without it vLLM asks for any arguments at all.
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"side": {"enum": ["left", "right"]}},
            "required": ["side"],
            "additionalProperties": False,
        },
    },
}
FLAGS = "--dtype float32 --enforce-eager --kv-cache-memory-bytes 100000000 --gpu-memory-utilization 0.3"


@pytest.fixture(scope="module")
def folder() -> str:
    return str(tiny_model_dir(head_dim=32))


@pytest.fixture(scope="module")
def server(folder: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    port, log = free_port(), tmp_path_factory.mktemp("server") / "log"
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", folder, *FLAGS.split()),
        *("--host", "127.0.0.1", "--port", str(port), "--max-model-len", "2048"),
        *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
        *("--additional-config", '{"fairlead": {"token_budget": "max_tokens"}}'),
    ]
    with serving(command, port, log, 240) as url:
        yield url, log


@pytest.fixture(scope="module")
def azure(folder: str, server: tuple[str, Path]) -> Iterator[str]:
    with azure_front(server[0], folder) as front:
        yield front


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    # The tests' HF_HUB_OFFLINE would keep the client from loopback too.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


@pytest.fixture(params=CLIENTS)
def model(request: pytest.FixtureRequest, folder: str, server: tuple[str, Path], azure: str) -> Any:
    # What this server can do; for the classes a name says nothing about it.
    able = {"grammar": "vllm", "stop": True, "json_schema": True, "tools": True, "tool_choice_required": True}
    return remote_model(request.param, folder, server[0], azure, temperature=0.0, profile=able)


def test_whole_and_streamed(model):
    reply = model.generate(ASK, max_tokens=20)
    assert reply.content and reply.finish_reason == "length"
    assert reply.token_usage.output_tokens == 20 and reply.token_usage.input_tokens > 3
    deltas = list(model.generate_stream(ASK, max_tokens=20))
    assert "".join(delta.content or "" for delta in deltas) == reply.content
    assert deltas[-1].token_usage == reply.token_usage


def test_stop_sequences(model):
    text = model.generate(ASK, max_tokens=20).content
    stop = text[len(text) // 2 : len(text) // 2 + 2]
    expected = text[: text.index(stop)]
    assert model.generate(ASK, max_tokens=20, stop_sequences=[stop]).content == expected
    assert model.generate_stream(ASK, max_tokens=20, stop_sequences=[stop]).drain().content == expected


def test_a_schema_that_only_fairlead_enforces(model, server):
    reply = model.generate(ASK, response_format=SCHEMA, max_tokens=400)
    assert reply.parsed["n"] % 7 == 0
    assert model.generate_stream(ASK, response_format=SCHEMA, max_tokens=400).drain().parsed == reply.parsed
    assert "Xgrammar" not in server[1].read_text()


def test_a_regex(model):
    assert re.fullmatch("[a-f]{3}-[0-9]{2}", model.generate(ASK, grammar="[a-f]{3}-[0-9]{2}").content)


def test_it_is_complete_within_max_tokens(model):
    long = {"type": "array", "items": {"type": "string"}, "minItems": 2}
    for limit in (9, 12, 30):
        reply = model.generate(ASK, response_format=long, max_tokens=limit)
        assert reply.finish_reason == "stop" and len(reply.parsed) >= 2
        assert reply.token_usage.output_tokens <= limit
    with pytest.raises(FairleadError):
        model.generate(ASK, grammar="[0-9]{40}", max_tokens=3)
    # Other requests of the same server go on.
    assert model.generate(ASK, grammar="[0-9]{3}", max_tokens=30).content.isdigit()


def test_many_at_once(model):
    async def run() -> list[Any]:
        return await asyncio.gather(*(model.agenerate(ASK, grammar=f"{n}x[0-9]{{4}}") for n in range(8)))

    for n, reply in enumerate(asyncio.run(run())):
        assert re.fullmatch(f"{n}x[0-9]{{4}}", reply.content)


def test_a_required_call(model):
    reply = model.generate(ASK, tools_to_call_from=[TOOL], tool_choice="required", max_tokens=400)
    assert reply.tool_calls and reply.tool_calls[0].function.name == "pick"
    assert json.loads(reply.tool_calls[0].function.arguments)["side"] in ("left", "right")


def test_what_it_refuses(model):
    unsupported = {"type": "array", "items": {"type": "integer"}, "not": {"uniqueItems": True}}
    for wrong in ({"response_format": unsupported}, {"grammar": "a("}):
        with pytest.raises(FairleadError):
            model.generate(ASK, **wrong)
    assert model.generate(ASK, grammar="yes").content == "yes"
