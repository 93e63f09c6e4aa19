"""The remote classes against a real server with a real model: mlx-lm's, on loopback."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("mlx_lm.server")
pytest.importorskip("openai")
pytest.importorskip("huggingface_hub")

from fairlead import InferenceClientModel, OpenAIModel
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


def models(url: str, **more: Any) -> list[Any]:
    name = str(tiny_model_dir())
    given: dict[str, Any] = {"temperature": 0.0, "max_tokens": 12, **more}
    return [
        OpenAIModel(name, api_base=url, api_key="-", **given),
        InferenceClientModel(name, base_url=url, token="-", **given),
    ]


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    # The tests' HF_HUB_OFFLINE would keep the client from loopback too.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


def test_whole_streamed_and_async_replies_are_the_same(url: str) -> None:
    for model in models(url):
        reply = model.generate(ASK)
        assert reply.token_usage.output_tokens == 12 and reply.token_usage.input_tokens > 0
        assert reply.finish_reason == "length" and isinstance(reply.content, str) and reply.content
        with model.generate_stream(ASK) as stream:
            whole = stream.drain()
        assert whole.content == reply.content and whole.finish_reason == "length"
        assert whole.token_usage.output_tokens == 12
        assert asyncio.run(model.agenerate(ASK)).content == reply.content


def test_stop_sequences_cut_a_real_answer(url: str) -> None:
    # Not sent: this server takes a sequence out of a token's middle and goes on.
    for model in models(url, profile={"stop": False}):
        text = model.generate(ASK).content
        stop = text[len(text) // 2 : len(text) // 2 + 2]
        cut = model.generate(ASK, stop_sequences=[stop])
        assert cut.content == text[: text.index(stop)]
        shown = "".join(delta.content or "" for delta in model.generate_stream(ASK, stop_sequences=[stop]))
        assert shown == cut.content


def test_batches_run_side_by_side(url: str) -> None:
    model = models(url)[0]
    replies = model.generate_batch([ASK, [{"role": "user", "content": "Another."}], ASK])
    assert replies[0].content == replies[2].content and len(replies) == 3
