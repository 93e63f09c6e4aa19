"""Real servers on loopback, and every remote class in front of one."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

# What `remote_model` makes: one of each class, the Router with a deployment that nobody answers.
CLIENTS = ["openai", "azure", "hub", "litellm", "router"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(command: Sequence[str], port: int, log: Path, seconds: float) -> Iterator[str]:
    """The address of a server of OpenAI's protocol, once it answers; the test fails with its log if it doesn't."""
    with log.open("wb") as out:
        running = subprocess.Popen(command, env=os.environ, stdout=out, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + seconds
        while True:
            if running.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the server didn't start: {log.read_text()[-3000:]}")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).read()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextmanager
def azure_front(url: str, model: str) -> Iterator[str]:
    """Azure's paths, for a deployment "tiny", in front of that server."""

    class Front(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            assert urlsplit(self.path).path == "/openai/deployments/tiny/chat/completions" and self.headers["api-key"]
            sent = json.dumps({**body, "model": model}).encode()
            request = urllib.request.Request(f"{url}/chat/completions", sent, {"content-type": "application/json"})
            try:
                answer = urllib.request.urlopen(request, timeout=60)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                self.send_response(answer.status)
                self.send_header("content-type", answer.headers["content-type"])
                self.end_headers()
                while piece := answer.read1(1 << 16):
                    self.wfile.write(piece)

    front = ThreadingHTTPServer(("127.0.0.1", 0), Front)
    front.daemon_threads = True
    threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{front.server_address[1]}"
    finally:
        front.shutdown()
        front.server_close()


def remote_model(client: str, model: str, url: str, azure: str, **given: Any) -> Any:
    """The model of a server, through one of ``CLIENTS``."""
    from fairlead import AzureOpenAIModel, InferenceClientModel, LiteLLMModel, LiteLLMRouterModel, OpenAIModel

    if client in ("litellm", "router") and importlib.util.find_spec("litellm") is None:
        pytest.skip("the extra litellm")
    if client == "openai":
        return OpenAIModel(model, api_base=url, api_key="-", **given)
    if client == "azure":
        return AzureOpenAIModel("tiny", azure_endpoint=azure, api_key="-", api_version="2024-10-21", **given)
    if client == "hub":
        return InferenceClientModel(model, base_url=url, token="-", **given)
    if client == "litellm":
        return LiteLLMModel(f"openai/{model}", api_base=url, api_key="-", **given)
    nobody = {"model": f"openai/{model}", "api_base": "http://127.0.0.1:9/v1", "api_key": "-"}
    deployments = [
        {"model_name": "first", "litellm_params": nobody},
        {"model_name": "second", "litellm_params": {**nobody, "api_base": url}},
    ]
    return LiteLLMRouterModel("first", deployments, {"fallbacks": [{"first": ["second"]}]}, **given)
