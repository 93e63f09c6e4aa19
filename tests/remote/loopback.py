"""A server on loopback that speaks OpenAI's protocol and misbehaves as it is told to.

The model's name in a request chooses the behaviour: "ok", "limited", "cut" and so on. Azure's paths name the model
themselves, and are only answered with an API version and credentials.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

# The Hub's router, with the provider's own path behind its name.
_HUB = re.compile(r"/hub/(?P<provider>[a-z-]+)/.*chat/completions|/hub/v1/chat/completions")
_AZURE = re.compile(r"/openai/deployments/(?P<name>[^/]+)/chat/completions")
USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 3,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 8},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
# Fails that many times before it answers: (status, headers).
FAILURES: dict[str, list[tuple[int, dict[str, str]]]] = {
    "limited": [(429, {"retry-after": "0.05"})],
    "limited-date": [(429, {"retry-after": "date"})],
    "limited-always": [(429, {"retry-after": "0"})] * 99,
    "limited-long": [(429, {"retry-after": "3600"})] * 99,
    "broken": [(500, {})],
    "down": [(500, {})] * 99,
    "busy": [(503, {}), (408, {})],
    "refuses": [(400, {"x-request-id": "req-7"})] * 99,
    "locked": [(401, {})] * 99,
}
CALLS = [
    {"id": "call_b", "type": "function", "function": {"name": "lookup", "arguments": '{"word": "brace"}'}},
    {"id": "call_a", "type": "function", "function": {"name": "lookup", "arguments": '{"word": "sheet"}'}},
]


class Loopback:
    """The server; ``requests`` are the bodies it got, ``replies`` are texts that it says one after the other."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.replies: list[Any] = []
        # Whole answers, sent as they are: a body, or the events of a stream.
        self.scripts: list[dict[str, Any] | list[dict[str, Any]]] = []
        self.gone = threading.Event()
        self.released = threading.Event()
        self.counts: dict[str, int] = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        # Many clients at once.
        self.server.socket.listen(512)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def reset(self) -> None:
        for seen in (self.requests, self.paths, self.headers, self.times, self.replies, self.scripts, self.counts):
            seen.clear()
        self.gone.clear()
        self.released.clear()

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        loop = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def handle(self) -> None:
                try:
                    super().handle()
                except (ConnectionError, BrokenPipeError):
                    loop.gone.set()

            def do_GET(self) -> None:
                # The Hub's answer to who has a model: here everybody, under a name of their own.
                provider = urlsplit(self.path).path.partition("/api/models/")[2].partition("/")[0]
                mapping = {provider: {"status": "live", "providerId": "theirs/ok", "task": "conversational"}}
                kind = {"pipeline_tag": "text-generation", "tags": ["conversational"]}
                self._json(200, {"id": f"{provider}/ok", "inferenceProviderMapping": mapping, **kind})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                loop.requests.append(body)
                loop.paths.append(self.path)
                loop.headers.append({name.lower(): value for name, value in self.headers.items()})
                loop.times.append(time.monotonic())
                route = urlsplit(self.path)
                deployed = _AZURE.fullmatch(route.path)
                if deployed is not None:
                    body["model"] = deployed["name"]
                elif route.path not in ("/v1/chat/completions", "/v1/responses") and not _HUB.fullmatch(route.path):
                    self._json(404, {"error": {"message": f"no such path: {route.path}"}})
                    return
                if deployed and not self._is_azure(parse_qs(route.query)):
                    self._json(401, {"error": {"message": "Access denied", "code": "401"}})
                    return
                mode = (body.get("model") or "ok").rpartition("/")[2]
                number = loop.counts[mode] = loop.counts.get(mode, 0) + 1
                failures = FAILURES.get(mode, [])
                if number <= len(failures):
                    status, headers = failures[number - 1]
                    self._fail(status, dict(headers))
                elif loop.scripts:
                    self._script(loop.scripts.pop(0))
                elif mode == "stalled":
                    loop.released.wait(5)
                elif body.get("stream"):
                    self._stream(mode, body)
                else:
                    self._json(200, self._completion(mode))

            def _is_azure(self, query: dict[str, list[str]]) -> bool:
                bearer = self.headers.get("authorization", "").startswith("Bearer ")
                return "api-version" in query and (bearer or bool(self.headers.get("api-key")))

            def _fail(self, status: int, headers: dict[str, str]) -> None:
                if headers.get("retry-after") == "date":
                    headers["retry-after"] = formatdate(time.time() + 0.9, usegmt=True)
                key = self.headers.get("authorization", "")
                message = f"refused {status}: 429000 tokens" if status == 400 else f"refused {status} for {key}"
                self._json(status, {"error": {"message": message, "type": "test"}}, headers)

            def _json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                for name, text in (headers or {}).items():
                    self.send_header(name, text)
                self.end_headers()
                self.wfile.write(data)

            def _script(self, script: dict[str, Any] | list[dict[str, Any]]) -> None:
                if isinstance(script, dict):
                    self._json(200, script)
                    return
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                self.close_connection = True
                for event in script:
                    name = f"event: {event['type']}\n" if "type" in event else ""
                    self.wfile.write(f"{name}data: {json.dumps(event)}\n\n".encode())
                if "type" not in script[0]:
                    self.wfile.write(b"data: [DONE]\n\n")

            def _completion(self, mode: str) -> dict[str, Any]:
                text: Any = loop.replies.pop(0) if loop.replies else "hello END tail"
                message: dict[str, Any] = {"role": "assistant", "content": text}
                reason = "stop"
                if isinstance(text, list):
                    message, reason = {"role": "assistant", "content": None, "tool_calls": text}, "tool_calls"
                if mode == "tools":
                    message = {"role": "assistant", "content": None, "tool_calls": CALLS}
                    reason = "tool_calls"
                elif mode == "thinks":
                    message["reasoning_content"] = "I think"
                elif mode == "declines":
                    message = {"role": "assistant", "content": None, "refusal": "I can't help with that."}
                elif mode == "cut-short":
                    reason = "length"
                whole = {
                    "id": "chatcmpl-1",
                    "object": "chat.completion",
                    "created": 1,
                    "model": mode,
                    "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}],
                    "usage": USAGE,
                }
                if mode == "no-usage":
                    del whole["usage"]
                if mode == "no-choices":
                    whole["choices"] = []
                return whole

            def _stream(self, mode: str, body: dict[str, Any]) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                self._chunk({"role": "assistant", "content": ""})
                if mode == "cut":
                    self._chunk({"content": "par"})
                    # A reset, not an orderly end.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    self.close_connection = True
                    return
                if mode == "stalls":
                    self._chunk({"content": "par"})
                    loop.released.wait(5)
                    return
                if mode == "malformed":
                    self._data(b'{"choices": [{"ind')
                elif mode == "endless":
                    for number in range(2000):
                        self._chunk({"content": f"w{number} "})
                        time.sleep(0.005)
                elif mode == "one-index":
                    for call in CALLS:
                        self._chunk({"tool_calls": [{"index": 0, **call}]})
                elif mode == "tools" or (loop.replies and isinstance(loop.replies[0], list)):
                    for index, call in enumerate(CALLS if mode == "tools" else loop.replies.pop(0)):
                        arguments = call["function"]["arguments"]
                        head = {**call, "function": {**call["function"], "arguments": ""}}
                        self._chunk({"tool_calls": [{"index": index, **head}]})
                        for at in range(0, len(arguments), 5):
                            piece = {"index": index, "function": {"arguments": arguments[at : at + 5]}}
                            self._chunk({"tool_calls": [piece]})
                elif mode == "cumulative":
                    for written, word in enumerate(["hel", "lo"], 1):
                        usage = {"prompt_tokens": 11, "completion_tokens": written, "total_tokens": 11 + written}
                        self._chunk({"content": word}, usage=usage)
                else:
                    if mode == "thinks":
                        self._chunk({"reasoning_content": "I "})
                        self._chunk({"reasoning_content": "think"})
                    text = loop.replies.pop(0) if loop.replies else "hello END tail"
                    for at in range(0, len(text), 4):
                        self._chunk({"content": text[at : at + 4]})
                if mode != "no-choices":
                    self._chunk({}, reason="tool_calls" if mode in ("tools", "one-index") else "stop")
                if body.get("stream_options", {}).get("include_usage") and mode not in ("no-usage", "cumulative"):
                    self._event({"choices": [], "usage": USAGE})
                self._data(b"[DONE]")
                self.wfile.write(b"0\r\n\r\n")

            def _chunk(self, delta: dict[str, Any], reason: str | None = None, usage: Any = None) -> None:
                self._event({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "usage": usage})

            def _event(self, event: dict[str, Any]) -> None:
                base = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
                self._data(json.dumps({**base, **event}).encode())

            def _data(self, data: bytes) -> None:
                line = b"data: " + data + b"\n\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.flush()

        return Handler
