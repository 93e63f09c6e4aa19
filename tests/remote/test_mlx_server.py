"""The remote classes against a real server with a real model: mlx-lm's, on loopback."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("mlx_lm.server")
pytest.importorskip("openai")
pytest.importorskip("huggingface_hub")

from fairlead import AzureOpenAIModel, InferenceClientModel, LiteLLMModel, LiteLLMRouterModel, OpenAIModel
from fairlead.testing import tiny_model_dir

pytestmark = pytest.mark.slow

ASK = [{"role": "user", "content": "Say something."}]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlx_lm.server", "--model", str(tiny_model_dir()), "--port", str(port)]
    server = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 90
        while True:
            if server.poll() is not None or time.monotonic() > deadline:
                server.kill()
                assert server.stderr is not None
                pytest.fail(f"the server didn't start: {server.stderr.read()[-2000:]!r}")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).read()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def azure(url: str) -> Iterator[str]:
    """Azure's paths in front of that server."""

    class Front(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            assert urlsplit(self.path).path == "/openai/deployments/tiny/chat/completions" and self.headers["api-key"]
            sent = json.dumps({**body, "model": str(tiny_model_dir())}).encode()
            request = urllib.request.Request(f"{url}/chat/completions", sent, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                self.send_response(answer.status)
                self.send_header("content-type", answer.headers["content-type"])
                self.end_headers()
                while piece := answer.read1(1 << 16):
                    self.wfile.write(piece)

    front = ThreadingHTTPServer(("127.0.0.1", 0), Front)
    front.daemon_threads = True
    threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{front.server_address[1]}"
    front.shutdown()
    front.server_close()


@pytest.fixture(params=["openai", "azure", "hub", "litellm", "router"])
def make(request: pytest.FixtureRequest, url: str, azure: str) -> Any:
    name = str(tiny_model_dir())
    if request.param in ("litellm", "router") and importlib.util.find_spec("litellm") is None:
        pytest.skip("the extra litellm")

    def of(**more: Any) -> Any:
        given: dict[str, Any] = {"temperature": 0.0, "max_tokens": 12, **more}
        if request.param == "openai":
            return OpenAIModel(name, api_base=url, api_key="-", **given)
        if request.param == "azure":
            return AzureOpenAIModel("tiny", azure_endpoint=azure, api_key="-", api_version="2024-10-21", **given)
        if request.param == "hub":
            return InferenceClientModel(name, base_url=url, token="-", **given)
        if request.param == "litellm":
            return LiteLLMModel(f"openai/{name}", api_base=url, api_key="-", **given)
        nobody = {"model": f"openai/{name}", "api_base": "http://127.0.0.1:9/v1", "api_key": "-"}
        deployments = [
            {"model_name": "first", "litellm_params": nobody},
            {"model_name": "second", "litellm_params": {**nobody, "api_base": url}},
        ]
        return LiteLLMRouterModel("first", deployments, {"fallbacks": [{"first": ["second"]}]}, **given)

    return of


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    # The tests' HF_HUB_OFFLINE would keep the client from loopback too.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


def test_whole_streamed_and_async_replies_are_the_same(make: Any) -> None:
    model = make()
    reply = model.generate(ASK)
    assert reply.token_usage.output_tokens == 12 and reply.token_usage.input_tokens > 0
    assert reply.finish_reason == "length" and isinstance(reply.content, str) and reply.content
    with model.generate_stream(ASK) as stream:
        whole = stream.drain()
    assert whole.content == reply.content and whole.finish_reason == "length"
    assert whole.token_usage.output_tokens == 12
    assert asyncio.run(model.agenerate(ASK)).content == reply.content

    async def streamed() -> str:
        return "".join([delta.content or "" async for delta in model.agenerate_stream(ASK)])

    assert asyncio.run(streamed()) == reply.content


def test_stop_sequences_cut_a_real_answer(make: Any) -> None:
    # Not sent: this server takes a sequence out of a token's middle and goes on.
    model = make(profile={"stop": False})
    text = model.generate(ASK).content
    stop = text[len(text) // 2 : len(text) // 2 + 2]
    cut = model.generate(ASK, stop_sequences=[stop])
    assert cut.content == text[: text.index(stop)]
    shown = "".join(delta.content or "" for delta in model.generate_stream(ASK, stop_sequences=[stop]))
    assert shown == cut.content


def test_batches_run_side_by_side(make: Any) -> None:
    replies = make().generate_batch([ASK, [{"role": "user", "content": "Another."}], ASK])
    assert replies[0].content == replies[2].content and len(replies) == 3
