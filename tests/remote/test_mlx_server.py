"""The remote classes against a real server with a real model: mlx-lm's, on loopback."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("mlx_lm.server")
pytest.importorskip("openai")
pytest.importorskip("huggingface_hub")

from fairlead.testing import tiny_model_dir

from tests.servers import CLIENTS, azure_front, free_port, remote_model, serving

pytestmark = pytest.mark.slow

ASK = [{"role": "user", "content": "Say something."}]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "mlx_lm.server", "--model", str(tiny_model_dir()), "--port", str(port)]
    with serving(command, port, tmp_path_factory.mktemp("server") / "log", 90) as url:
        yield url


@pytest.fixture(scope="module")
def azure(url: str) -> Iterator[str]:
    with azure_front(url, str(tiny_model_dir())) as front:
        yield front


@pytest.fixture(params=CLIENTS)
def make(request: pytest.FixtureRequest, url: str, azure: str) -> Any:
    def of(**more: Any) -> Any:
        given = {"temperature": 0.0, "max_tokens": 12, **more}
        return remote_model(request.param, str(tiny_model_dir()), url, azure, **given)

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
