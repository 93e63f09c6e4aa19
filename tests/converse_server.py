"""A loopback server that speaks Bedrock's Converse and ConverseStream, with faults on demand.

Replies are queued in ``ConverseServer.replies``; the last one is repeated. ``requests`` keeps what came.
"""

from __future__ import annotations

import binascii
import json
import socket
import struct
import threading
import time
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def frame(kind: str, name: str, payload: bytes) -> bytes:
    """One message of the event stream encoding: prelude, headers, payload, each with a checksum."""
    headers = b""
    for key, value in ((":message-type", kind), (f":{kind}-type", name), (":content-type", "application/json")):
        headers += bytes([len(key)]) + key.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", binascii.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", binascii.crc32(message))


def event(name: str, body: Any) -> bytes:
    return frame("event", name, json.dumps(body).encode())


def exception(name: str, message: str) -> bytes:
    return frame("exception", name, json.dumps({"message": message}).encode())


@dataclass
class Reply:
    """A reply in Converse's blocks, said whole or as a stream, or a fault.

    ``cut``: "reset" and "end" break the stream after the text, "stall" goes silent, "garbage" sends a broken frame.
    """

    blocks: Sequence[dict[str, Any]] = ()
    stop_reason: str = "end_turn"
    usage: dict[str, int] = field(default_factory=lambda: {"inputTokens": 10, "outputTokens": 2, "totalTokens": 12})
    status: int = 200
    error: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    chunk: int = 3
    delay: float = 0.0
    cut: str = ""
    event_error: str = ""


def say(text: str, **fields: Any) -> Reply:
    return Reply(blocks=[{"text": text}], **fields)


def fail(status: int, error: str, **headers: str) -> Reply:
    return Reply(status=status, error=error, headers={name.replace("_", "-"): text for name, text in headers.items()})


@dataclass
class Request:
    model: str
    stream: bool
    body: dict[str, Any]
    headers: dict[str, str]
    time: float


class ConverseServer:
    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.requests: list[Request] = []
        self.released = threading.Event()  # a client has gone while a stream was stalled
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def do_POST(self) -> None:
                server._answer(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *args: Any) -> None:
                pass  # clients leave when they like

        self._http = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._stopping.set()
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        data = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        _, _, model, operation = urllib.parse.unquote(handler.path).split("/", 3)
        stream = operation == "converse-stream"
        with self._lock:
            self.requests.append(
                Request(
                    model, stream, json.loads(data), {k.lower(): v for k, v in handler.headers.items()}, time.time()
                )
            )
            reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if reply.delay:
                time.sleep(reply.delay)
            if reply.status != 200:
                self._send(handler, reply.status, {"message": f"{reply.error} here"}, reply.error, reply.headers)
            elif stream:
                self._stream(handler, reply)
            else:
                body = {
                    "metrics": {"latencyMs": 5},
                    "output": {"message": {"role": "assistant", "content": list(reply.blocks)}},
                    "stopReason": reply.stop_reason,
                    "usage": reply.usage,
                }
                self._send(handler, 200, body, "", reply.headers)
        finally:
            with self._lock:
                self.at_once -= 1

    def _send(self, handler: Any, status: int, body: Any, error: str, headers: dict[str, str]) -> None:
        data = json.dumps(body).encode()
        handler.send_response(status)
        if error:
            handler.send_header("x-amzn-ErrorType", error)
        handler.send_header("x-amzn-requestid", "request-1")
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _stream(self, handler: Any, reply: Reply) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "application/vnd.amazon.eventstream")
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()

        def write(data: bytes) -> None:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            handler.wfile.flush()

        write(event("messageStart", {"role": "assistant"}))
        for index, block in enumerate(reply.blocks):
            for data in _pieces(index, block, reply.chunk):
                write(data)
        if reply.event_error:
            write(exception(reply.event_error, "it broke"))
        elif reply.cut == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
            handler.close_connection = True
            return
        elif reply.cut == "stall":
            self._wait_for_departure(handler)
            return
        elif reply.cut == "garbage":
            write(b"\x00\x00\x00\x20" * 16)
        elif reply.cut != "end":
            write(event("messageStop", {"stopReason": reply.stop_reason}))
            write(event("metadata", {"usage": reply.usage, "metrics": {"latencyMs": 5}}))
        write(b"")

    def _wait_for_departure(self, handler: Any) -> None:
        handler.close_connection = True
        handler.connection.settimeout(0.05)
        while not self._stopping.is_set():
            try:
                gone = handler.connection.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                gone = True
            if gone:
                self.released.set()
            return


def _pieces(index: int, block: dict[str, Any], size: int) -> Any:
    def delta(body: Any) -> bytes:
        return event("contentBlockDelta", {"contentBlockIndex": index, "delta": body})

    def split(text: str) -> list[str]:
        return [text[at : at + size] for at in range(0, len(text), size)]

    if "toolUse" in block:
        use = block["toolUse"]
        start = {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}
        yield event("contentBlockStart", {"contentBlockIndex": index, "start": start})
        for text in split(json.dumps(use["input"])):
            yield delta({"toolUse": {"input": text}})
    elif "reasoningContent" in block:
        for text in split(block["reasoningContent"]["reasoningText"]["text"]):
            yield delta({"reasoningContent": {"text": text}})
        yield delta({"reasoningContent": {"signature": "s"}})
    else:
        for text in split(block["text"]):
            yield delta({"text": text})
    yield event("contentBlockStop", {"contentBlockIndex": index})
