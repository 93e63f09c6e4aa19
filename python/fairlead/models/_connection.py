"""Ending a stream of a client early, and the connection with it, while another thread may be reading from it."""

from __future__ import annotations

import inspect
import socket
from contextlib import suppress
from typing import Any

__all__ = ["aclose", "close"]

# Where clients keep what they read from: openai's and litellm's streams as attributes; litellm's Router, the Hub's
# client and httpx as variables of generators, which another thread can't close while they run.
_ATTRIBUTES = ("response", "completion_stream")
_VARIABLES = ("model_response", "lines", "self")


def close(stream: Any) -> None:
    """End a stream; harmless if it has ended already.

    What hangs in the connection is woken by shutting its socket down: closing it wouldn't.
    """
    response = _response(stream)
    # A response that was read to its end has given its connection back; others may be using it by now.
    if response is not None and not response.is_closed and str(response.http_version).startswith("HTTP/1"):
        network = response.extensions.get("network_stream")
        found = None if network is None else network.get_extra_info("socket")
        if found is not None:
            with suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)
    for one in (stream, response):
        if (end := getattr(one, "close", None)) is not None:
            # ValueError: a generator that another thread is running; it ends with its connection.
            with suppress(RuntimeError, ValueError):
                end()


async def aclose(stream: Any) -> None:
    """``close`` for asyncio, where nobody else reads."""
    # openai's streams have an async close(), generators aclose().
    end = getattr(stream, "aclose", None) or getattr(stream, "close", None)
    if end is not None:
        result = end()
        if hasattr(result, "__await__"):
            await result


def _response(stream: Any) -> Any:
    """The HTTP response behind a stream, or None."""
    for _ in range(8):
        if hasattr(stream, "extensions") and hasattr(stream, "is_closed"):
            return stream
        if inspect.isgenerator(stream):
            variables = inspect.getgeneratorlocals(stream)
            inner = (variables.get(name) for name in _VARIABLES)
        else:
            inner = (getattr(stream, name, None) for name in _ATTRIBUTES)
        stream = next((one for one in inner if one is not None), None)
        if stream is None:
            break
    return None
