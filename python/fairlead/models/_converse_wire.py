"""Amazon Bedrock's Converse format: histories, tools and schemas to a request, replies and event streams back.

The shapes are those of the service model that botocore ships (``bedrock-runtime``, operations ``Converse`` and
``ConverseStream``).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fairlead.errors import ConfigurationError, MessageError, ModelConnectionError, ModelError
from fairlead.images import encode_image_base64
from fairlead.messages import (
    ChatMessageToolCall,
    ChatMessageToolCallFunction,
    clean_messages,
    coerce_tool_call,
    text_of,
)
from fairlead.models._exchange import Reply
from fairlead.models._openai_wire import ordered_id
from fairlead.streaming import ChatMessageStreamDelta, ChatMessageToolCallStreamDelta, new_delta
from fairlead.types import FinishReason, TokenUsage

__all__ = ["CACHE_POINT", "EventReader", "conversation", "read_reply", "text_format", "tool_choice_of", "tool_spec"]

CACHE_POINT: dict[str, Any] = {"cachePoint": {"type": "default"}}

# Blocks that a message may bring in Bedrock's own form, under the key of their type.
_NATIVE_BLOCKS = frozenset(
    {"audio", "cachePoint", "citationsContent", "document", "guardContent", "reasoningContent", "searchResult"}
    | {"toolResult", "toolUse", "video"}
)
_IMAGE_FORMATS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}

_FINISH_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}


# Requests.


def conversation(
    messages: Iterable[Any],
    role_conversions: Mapping[Any, Any],
    *,
    native_tools: bool = False,
    system_role: bool = True,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The system blocks and the messages of a request.

    Args:
        messages: A history as ``Model.generate`` takes it.
        role_conversions: Roles to rename; what is then neither "system" nor "assistant" is the user's.
        native_tools: Tool calls and their results become toolUse and toolResult blocks instead of text; Bedrock
            accepts those only in requests that carry tools.
        system_role: Whether the model has a system prompt; its text stands before the first user message otherwise.

    Returns:
        System blocks, and messages in which user and assistant take turns.

    Raises:
        MessageError: A malformed message, or a part that Bedrock can't take.
    """
    given = list(messages)
    clean = clean_messages(_with_tool_blocks(given, native_tools), role_conversions, images="keep")
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for index, message in enumerate(clean):
        blocks = _blocks(message["content"], index)
        if message["role"] == "system":
            system.extend(blocks)
        elif blocks:
            role = "assistant" if message["role"] in ("assistant", "tool-call") else "user"
            # A system message, or one without content, may have stood between two of one role.
            if turns and turns[-1]["role"] == role:
                turns[-1]["content"].extend(blocks)
            else:
                turns.append({"role": role, "content": blocks})
    if system and (not turns or not system_role):
        # A request needs a message.
        if turns and turns[0]["role"] == "user":
            turns[0]["content"] = system + turns[0]["content"]
        else:
            turns.insert(0, {"role": "user", "content": system})
        system = []
    return system, turns


def _with_tool_blocks(messages: Sequence[Any], native: bool) -> list[Any]:
    """A history in which what ChatMessage and OpenAI's form keep beside the content has become part of it."""
    return [_with_tool_block(message, native) for message in messages]


def _with_tool_block(message: Any, native: bool) -> Any:
    def get(name: str) -> Any:
        return message.get(name) if isinstance(message, Mapping) else getattr(message, name, None)

    calls, call_id = get("tool_calls"), get("tool_call_id")
    if not calls and (call_id is None or not native):
        return message
    content = get("content")
    parts: list[Any] = [content] if isinstance(content, str) else list(content or ())
    if calls and not native:
        if parts:
            return message  # smolagents' histories say it in the text already
        plain = [coerce_tool_call(call) for call in calls]
        said = [{"name": call.function.name, "arguments": call.function.arguments} for call in plain]
        parts = ["Calling tools:\n" + json.dumps(said, ensure_ascii=False, default=str)]
    elif calls:
        parts.extend(_tool_use(coerce_tool_call(call)) for call in calls)
    else:
        result = {"toolUseId": call_id, "content": [{"text": text_of(content) or "(no output)"}]}
        parts = [{"type": "toolResult", "toolResult": result}]
    return {"role": get("role"), "content": parts}


def _tool_use(call: ChatMessageToolCall) -> dict[str, Any]:
    arguments = call.function.arguments
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except ValueError:
            arguments = {"arguments": arguments}
    return {"type": "toolUse", "toolUse": {"toolUseId": call.id, "name": call.function.name, "input": arguments}}


def _blocks(content: Any, index: int) -> list[dict[str, Any]]:
    if content is None:
        return []
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    blocks = []
    for part in parts:
        kind = part.get("type")
        if kind == "text":
            # Bedrock refuses blank text.
            if part["text"].strip():
                blocks.append({"text": part["text"]})
        elif kind in ("image", "image_url"):
            blocks.append({"image": _image(part, index)})
        elif kind in _NATIVE_BLOCKS and kind in part:
            blocks.append({kind: part[kind]})
        elif kind == "cachePoint":
            blocks.append(dict(CACHE_POINT))
        else:
            raise MessageError(f"message {index}: Bedrock takes no part of type {kind!r}", index=index)
    return blocks


def _image(part: Mapping[str, Any], index: int) -> dict[str, Any]:
    image = part.get("image")
    if isinstance(image, Mapping):
        return dict(image)  # Bedrock's own form
    if image is None:
        image = part.get("image_url")
        image = image.get("url") if isinstance(image, Mapping) else image
    if isinstance(image, str) and image.startswith("s3://"):
        suffix = image.rpartition(".")[2].lower()
        kind = {"jpg": "jpeg"}.get(suffix, suffix)
        return {"format": kind, "source": {"s3Location": {"uri": image}}}
    if isinstance(image, str) and image.startswith(("http://", "https://")):
        raise MessageError(
            f"message {index}: Bedrock takes images as bytes or s3:// addresses, not as URLs", index=index
        )
    try:
        data = base64.b64decode(encode_image_base64(image), validate=True)
    except MessageError as error:
        raise MessageError(f"message {index}: {error}", index=index) from error
    except binascii.Error as error:
        raise MessageError(f"message {index}: an image isn't valid base64: {error}", index=index) from error
    kind = next((kind for start, kind in _IMAGE_FORMATS.items() if data.startswith(start)), "png")
    return {"format": kind, "source": {"bytes": data}}


def tool_spec(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool in OpenAI's form as Bedrock's; one that is in Bedrock's form stays as it is.

    Raises:
        ConfigurationError: It is neither.
    """
    if any(key in tool for key in ("toolSpec", "systemTool", "cachePoint")):
        return dict(tool)
    function = tool.get("function")
    if not isinstance(function, Mapping) or not function.get("name"):
        raise ConfigurationError(f"a tool needs a function with a name, got {tool!r}")
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    spec: dict[str, Any] = {"name": function["name"], "inputSchema": {"json": schema}}
    if function.get("description"):
        spec["description"] = function["description"]
    if function.get("strict") is not None:
        spec["strict"] = function["strict"]
    return {"toolSpec": spec}


def tool_choice_of(choice: Any) -> dict[str, Any] | None:
    """OpenAI's ``tool_choice`` as Bedrock's; None for "none", which Bedrock says by leaving out the tools.

    Raises:
        ConfigurationError: Something else.
    """
    if choice == "none":
        return None
    if choice in (None, "auto"):
        return {"auto": {}}
    if choice in ("required", "any"):
        return {"any": {}}
    if isinstance(choice, Mapping):
        if len(choice) == 1 and next(iter(choice)) in ("auto", "any", "tool"):
            return dict(choice)
        function = choice.get("function", choice)
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            return {"tool": {"name": function["name"]}}
    raise ConfigurationError(
        'tool_choice is "auto", "none", "required" or {"type": "function", "function": {"name": ...}}, '
        f"not {choice!r}"
    )


def text_format(schema: Any, name: str = "answer", description: str | None = None) -> dict[str, Any]:
    """The ``outputConfig`` that holds a reply to a JSON Schema."""
    definition = {"schema": json.dumps(schema), "name": name}
    if description:
        definition["description"] = description
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": definition}}}


# Replies.


def read_usage(usage: Mapping[str, Any] | None, reply: Reply) -> None:
    """Enter Bedrock's usage into a reply; ``inputTokens`` there leaves out what the prompt cache had or was given."""
    if usage:
        names = ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
        reply.usage = TokenUsage(sum(usage.get(name) or 0 for name in names), usage.get("outputTokens") or 0)
        reply.cached_tokens = usage.get("cacheReadInputTokens")


def read_reply(response: Mapping[str, Any]) -> Reply:
    """The reply in a response of ``converse``; tool calls have unique ids in lexical order.

    Raises:
        ModelError: The response has no message.
    """
    message = (response.get("output") or {}).get("message")
    if message is None:
        raise ModelError(f"Bedrock's response has no message (stop reason: {response.get('stopReason')})")
    reply = Reply(raw=response, finish_reason=_FINISH_REASONS.get(response.get("stopReason", "")))
    read_usage(response.get("usage"), reply)
    last: str | None = None
    for block in message.get("content") or ():
        if "text" in block:
            reply.text += block["text"]
        elif "citationsContent" in block:
            reply.text += "".join(part.get("text", "") for part in block["citationsContent"].get("content", ()))
        elif "reasoningContent" in block:
            reply.reasoning += block["reasoningContent"].get("reasoningText", {}).get("text", "")
        elif "toolUse" in block:
            use = block["toolUse"]
            last = ordered_id(use.get("toolUseId"), last)
            function = ChatMessageToolCallFunction(arguments=use.get("input", {}), name=use["name"])
            reply.tool_calls.append(ChatMessageToolCall(function=function, id=last, type="function"))
    return reply


class EventReader:
    """Reads the events of one ``converse_stream``."""

    def __init__(self) -> None:
        self.reasoning: list[str] = []
        self._reply = Reply()
        self._ended = False
        self._calls: dict[int, int] = {}  # index of the block -> index of the call
        self._last: str | None = None

    @staticmethod
    def text(event: Mapping[str, Any]) -> str | None:
        """The text of an event that is nothing else; None: ask ``feed``."""
        body = event.get("contentBlockDelta")
        return None if body is None else body["delta"].get("text") or None

    def feed(self, event: Mapping[str, Any]) -> ChatMessageStreamDelta | None:
        """The delta of an event; None if there is nothing to show."""
        if (body := event.get("contentBlockDelta")) is not None:
            delta = body["delta"]
            if text := delta.get("text"):
                return new_delta(content=text)
            if "toolUse" in delta:
                function = ChatMessageToolCallFunction(name="", arguments=delta["toolUse"].get("input") or "")
                return _call_delta(ChatMessageToolCallStreamDelta(index=self._call(body), function=function))
            if thought := delta.get("reasoningContent", {}).get("text"):
                self.reasoning.append(thought)
                return new_delta(reasoning=thought)
        elif (body := event.get("contentBlockStart")) is not None:
            if use := body.get("start", {}).get("toolUse"):
                self._last = ordered_id(use.get("toolUseId"), self._last)
                function = ChatMessageToolCallFunction(name=use["name"], arguments="")
                return _call_delta(ChatMessageToolCallStreamDelta(self._call(body), self._last, "function", function))
        elif "messageStop" in event:
            self._ended = True
            self._reply.finish_reason = _FINISH_REASONS.get(event["messageStop"].get("stopReason", ""))
        elif "metadata" in event:
            read_usage(event["metadata"].get("usage"), self._reply)
        return None

    def _call(self, body: Mapping[str, Any]) -> int:
        return self._calls.setdefault(body.get("contentBlockIndex", 0), len(self._calls))

    def finish(self, *, begun: bool = False) -> Reply:
        """What came at the end.

        Raises:
            ModelConnectionError: It didn't come.
        """
        if not self._ended:
            raise ModelConnectionError("Bedrock's stream ended before the reply was complete")
        return self._reply


def _call_delta(piece: ChatMessageToolCallStreamDelta) -> ChatMessageStreamDelta:
    return new_delta(tool_calls=[piece])
