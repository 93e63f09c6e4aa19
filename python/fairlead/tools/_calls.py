"""Tool calls out of a whole text, and what makes an object a call."""

from __future__ import annotations

import itertools
import json
import os
import re
import uuid
from collections.abc import Iterator
from typing import Any

from fairlead.messages import ChatMessageToolCall, ChatMessageToolCallFunction

__all__ = ["get_tool_call_from_text", "get_tool_calls_from_text", "parse_json_if_needed"]

# Objects around a call, in providers' replies and in what smolagents writes into a history.
_WRAPPERS = ("tool_calls", "tool_call", "function_call", "function")
# tool_calls > [one] > function
_MAX_WRAPPERS = 3

raw_decode = json.JSONDecoder(strict=False).raw_decode
# No object in any spelling that is read.
_PLACEHOLDER = re.compile(r"\{ *[A-Za-z_]")
_TEXT = (str, bytes, bytearray)

# Ten digits from the beginning: padding would take longer than all the rest of an id.
_numbers = itertools.count(10**9)
_run = uuid.uuid4().hex[:8]


def _after_fork() -> None:
    global _run
    _run = uuid.uuid4().hex[:8]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def call_id() -> str:
    """A unique id; agents sort ids as strings, so they are in the order of their making.

    The process stands behind the number instead of a random part in each: that takes a tenth of the time.
    """
    return f"call_{next(_numbers)}_{_run}"


def parse_json_if_needed(arguments: Any) -> Any:
    """Arguments of a tool call: JSON text is parsed, anything else (and text that isn't JSON) stays."""
    if isinstance(arguments, _TEXT):
        try:
            return json.loads(arguments)
        except (ValueError, RecursionError):
            pass
    return arguments


def make_call(name: Any, arguments: Any) -> ChatMessageToolCall:
    """A call with a new id; arguments in JSON text are parsed."""
    if isinstance(arguments, _TEXT):
        arguments = parse_json_if_needed(arguments)
    return ChatMessageToolCall(ChatMessageToolCallFunction(arguments, name), call_id(), "function")


def wrapped_calls(value: Any, name_key: str, arguments_key: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Name and arguments of the calls inside an object that isn't one itself: ``{"function": {"name": ...}}``."""
    if isinstance(value, list):
        for item in value:
            yield from wrapped_calls(item, name_key, arguments_key, depth)
    elif isinstance(value, dict):
        if depth and isinstance(value.get(name_key), str):
            yield value[name_key], value.get(arguments_key)
        elif depth < _MAX_WRAPPERS:
            for key in _WRAPPERS:
                if key in value:
                    yield from wrapped_calls(value[key], name_key, arguments_key, depth + 1)


def get_tool_call_from_text(text: str, tool_name_key: str, tool_arguments_key: str) -> ChatMessageToolCall:
    """Read the first tool call that a model wrote in its text.

    The first JSON object with the key ``tool_name_key`` counts, or the first one inside ``function`` or
    ``tool_calls``; prose, code fences and tags around it don't matter, and what Python prints instead of JSON or a
    trailing comma is forgiven. Without such an object the first ``name(argument=value)`` counts.

    Args:
        text: What the model wrote.
        tool_name_key: The key of the tool's name.
        tool_arguments_key: The key of the arguments; JSON text there is parsed too.

    Raises:
        MessageError: No such call; the message says what was found instead.
    """
    at = text.find("{")
    while at >= 0:
        try:
            found, end = raw_decode(text, at)
        except (ValueError, RecursionError):
            if _PLACEHOLDER.match(text, at) is None:
                break
            at = text.find("{", at + 1)
            continue
        if tool_name_key in found:
            arguments = found.get(tool_arguments_key)
            if isinstance(arguments, str):
                arguments = parse_json_if_needed(arguments)
            function = ChatMessageToolCallFunction(arguments, found[tool_name_key])
            return ChatMessageToolCall(function, call_id(), "function")
        for name, arguments in wrapped_calls(found, tool_name_key, tool_arguments_key):
            return make_call(name, arguments)
        at = text.find("{", end)
    return get_tool_calls_from_text(text, tool_name_key, tool_arguments_key)[0]


def get_tool_calls_from_text(
    text: str, tool_name_key: str = "name", tool_arguments_key: str = "arguments"
) -> list[ChatMessageToolCall]:
    """Read all tool calls that a model wrote in its text, in order.

    Args:
        text: What the model wrote.
        tool_name_key: The key of the tool's name; only objects where it is a text are calls.
        tool_arguments_key: The key of the arguments.

    Returns:
        At least one call. A last one that the text breaks off isn't among them.

    Raises:
        MessageError: There is none; the message says what was found instead.
    """
    from fairlead.tools._stream import ToolCallStreamParser

    parser = ToolCallStreamParser(tool_name_key, tool_arguments_key)
    parser.feed(text)
    parser.finish()
    if not parser.calls and parser.error is not None:
        raise parser.error
    return parser.calls
