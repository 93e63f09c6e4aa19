"""Histories with tool calls in OpenAI's own form, which a provider that has tools reads as such and not as text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from fairlead.messages import coerce_tool_call, describe_tool_calls, text_of

__all__ = ["has_tool_calls", "tool_messages"]


def has_tool_calls(messages: Sequence[Any]) -> bool:
    """Whether a message carries calls; histories of smolagents' agents have them as text."""
    for message in messages:
        if message.get("tool_calls") if isinstance(message, dict) else getattr(message, "tool_calls", None):
            return True
    return False


def tool_messages(
    messages: Sequence[Any], clean: Callable[[Sequence[Any]], list[dict[str, Any]]], *, native: bool
) -> list[dict[str, Any]]:
    """A history as chat completions take it: calls as ``tool_calls``, their results as messages of the role tool.

    Providers refuse calls without results and results without calls. So calls travel as such if the messages behind
    them answer each by its ``tool_call_id``; otherwise both are text, the calls beside the message's own.

    Args:
        messages: The history.
        clean: Makes the provider's messages of those without calls.
        native: The model takes tools; everything becomes text otherwise.
    """
    # For the places in errors: the history as a whole.
    clean(messages)
    sent: list[dict[str, Any]] = []
    plain: list[Any] = []
    at = 0
    while at < len(messages):
        message = messages[at]
        at += 1
        given = _field(message, "tool_calls")
        if not given:
            plain.append(message)
            continue
        calls = [coerce_tool_call(call) for call in given]
        text = text_of(_field(message, "content"))
        end = at
        while end < len(messages) and _field(messages[end], "tool_call_id"):
            end += 1
        results = messages[at:end]
        answered = sorted(str(_field(result, "tool_call_id")) for result in results)
        if not native or answered != sorted(str(call.id) for call in calls):
            content = "\n".join(part for part in (text, describe_tool_calls(calls)) if part)
            plain.append({"role": "assistant", "content": [{"type": "text", "text": content}]})
            continue
        if plain:
            sent += clean(plain)
            plain = []
        sent.append({"role": "assistant", "content": text or None, "tool_calls": [_plain(call) for call in calls]})
        for result in results:
            content = text_of(_field(result, "content"))
            sent.append({"role": "tool", "tool_call_id": _field(result, "tool_call_id"), "content": content})
        at = end
    return sent + clean(plain) if plain else sent


def _field(message: Any, name: str) -> Any:
    return message.get(name) if isinstance(message, dict) else getattr(message, name, None)


def _plain(call: Any) -> dict[str, Any]:
    arguments = call.function.arguments
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": text}}
