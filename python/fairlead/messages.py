"""Chat messages: the types that smolagents' agents exchange with a model, and the cleaning of a history.

Names, fields and results are those of ``smolagents.models``; where that raises or loses data on sensible input
(a string after the same role, several text parts to flatten, no content beside tool calls), the result here is the
sensible one. Nothing that is passed in is ever changed.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from enum import Enum, StrEnum
from typing import Any, Literal

from fairlead import _core
from fairlead.errors import MessageError, ModelError
from fairlead.images import encode_image_base64, image_url
from fairlead.types import FinishReason, ReplyInfo, Timings, TokenUsage

__all__ = [
    "ChatMessage",
    "ChatMessageToolCall",
    "ChatMessageToolCallFunction",
    "MessageRole",
    "get_clean_message_list",
    "get_dict_from_nested_dataclasses",
    "new_tool_call_id",
    "remove_content_after_stop_sequences",
    "tool_role_conversions",
]


class MessageRole(StrEnum):
    """Who speaks. Members compare and hash as their plain strings."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL_CALL = "tool-call"
    TOOL_RESPONSE = "tool-response"

    @classmethod
    def roles(cls) -> list[str]:
        """The roles as plain strings."""
        return [role.value for role in cls]


# What chat templates know: tool calls were said by the assistant, their results come from the user's side.
tool_role_conversions: dict[MessageRole, MessageRole] = {
    MessageRole.TOOL_CALL: MessageRole.ASSISTANT,
    MessageRole.TOOL_RESPONSE: MessageRole.USER,
}


def role_name(role: Any) -> Any:
    """A role as a plain ``str`` (templates print an enum member differently); anything else unchanged."""
    if isinstance(role, Enum):
        role = role.value
    return str(role) if isinstance(role, str) else role


@dataclass
class ChatMessageToolCallFunction:
    """The function part of a tool call; ``arguments`` comes first, as in smolagents."""

    arguments: Any
    name: str
    description: str | None = None


@dataclass
class ChatMessageToolCall:
    """One request to call a tool."""

    function: ChatMessageToolCallFunction
    id: str
    type: str

    def __str__(self) -> str:
        return f"Call: {self.id}: Calling {self.function.name} with arguments: {self.function.arguments}"


_call_numbers = itertools.count(1)


def new_tool_call_id() -> str:
    """A fresh id for a tool call.

    Agents use ids as keys and sort them as strings to put results in order: ids are unique, and in the order of their
    making within a process.
    """
    return f"call_{next(_call_numbers):010d}_{uuid.uuid4().hex[:8]}"


def coerce_tool_call(call: Any) -> ChatMessageToolCall:
    """Make a tool call from ours, a mapping, a pydantic object or any object with ``function``, ``id`` and ``type``.

    Raises:
        MessageError: The object has no function with a name and arguments.
    """
    if isinstance(call, ChatMessageToolCall):
        return call
    if isinstance(call, Mapping):
        data: Mapping[str, Any] = call
    elif callable(getattr(call, "model_dump", None)):
        data = call.model_dump()
    elif callable(getattr(call, "dict", None)):
        data = call.dict()
    elif is_dataclass(call) and not isinstance(call, type):
        data = {f.name: getattr(call, f.name) for f in fields(call)}
    else:
        data = {name: getattr(call, name) for name in ("function", "id", "type") if hasattr(call, name)}
    try:
        function = data["function"]
        if not isinstance(function, Mapping):
            function = {name: getattr(function, name) for name in ("name", "arguments")}
        return ChatMessageToolCall(
            function=ChatMessageToolCallFunction(arguments=function["arguments"], name=function["name"]),
            id=data["id"],
            type=data.get("type") or "function",
        )
    except (KeyError, AttributeError) as error:
        raise MessageError(f"a tool call needs an id and a function with name and arguments, got {call!r}") from error


def get_dict_from_nested_dataclasses(obj: Any, ignore_key: str | None = None) -> Any:
    """A dataclass as nested dictionaries, without its field ``ignore_key``; anything else unchanged."""
    if not is_dataclass(obj) or isinstance(obj, type):
        return obj
    return {f.name: _plain(getattr(obj, f.name)) for f in fields(obj) if f.name != ignore_key}


def _plain(value: Any) -> Any:
    # dataclasses.asdict copies every leaf deeply, which costs seconds on a raw reply: only the containers are new here.
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if type(value) is list:
        return [_plain(item) for item in value]
    if type(value) is tuple:
        return tuple(_plain(item) for item in value)
    if type(value) is dict:
        return {key: _plain(item) for key, item in value.items()}
    return value


def _json_default(value: Any) -> Any:
    if hasattr(value, "save") and hasattr(value, "mode"):
        return encode_image_base64(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if callable(getattr(value, "model_dump", None)):
        return value.model_dump()
    return str(value)


_NO_INFO = ReplyInfo()  # frozen: one serves all messages

# A method named `dict` hides the builtin in the annotations of its class.
_Part = dict[str, Any]


@dataclass
class ChatMessage:
    """A message of a chat.

    Attributes:
        role: Who speaks; not checked here, since providers have roles of their own.
        content: Text, or a list of parts (``{"type": "text", "text": ...}``, ``{"type": "image", "image": ...}``), or
            None.
        tool_calls: Requests to call tools; dictionaries and pydantic objects are converted.
        raw: The backend's own reply. For local models a small dictionary, safe to copy and to keep in a history.
        token_usage: Tokens read and written.

    Beside these fields, which are smolagents', a reply knows ``finish_reason``, ``stop_sequence``, ``reasoning``,
    ``timings`` and ``parsed``; they don't take part in comparison and in ``dict()``.
    """

    role: MessageRole
    content: str | list[_Part] | None = None
    tool_calls: list[ChatMessageToolCall] | None = None
    raw: Any | None = None
    token_usage: TokenUsage | None = None

    def __post_init__(self) -> None:
        self._info = _NO_INFO
        if self.tool_calls is not None:
            self.tool_calls = [coerce_tool_call(call) for call in self.tool_calls]

    def __str__(self) -> str:
        return text_of(self.content)

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the output ended: "stop", "length", "tool_calls", "cancelled", "content_filter", or None if unknown."""
        return self._info.finish_reason

    @property
    def stop_sequence(self) -> str | None:
        """The stop sequence that ended the output, or None."""
        return self._info.stop_sequence

    @property
    def reasoning(self) -> str:
        """What the model thought before its answer, without its tags; "" if that isn't told apart."""
        return self._info.reasoning

    @property
    def refusal(self) -> str | None:
        """What a remote model said instead of an answer that it refused to give, or None."""
        return self._info.refusal

    @property
    def cached_tokens(self) -> int | None:
        """Tokens of the prompt that a provider had cached, or None if it didn't say."""
        return self._info.cached_tokens

    @property
    def reasoning_tokens(self) -> int | None:
        """Generated tokens that were reasoning, or None if the provider didn't say."""
        return self._info.reasoning_tokens

    @property
    def logprobs(self) -> Any:
        """Log probabilities as a provider gave them, or None."""
        return self._info.logprobs

    @property
    def timings(self) -> Timings | None:
        """Where the time went (local models), or None."""
        return self._info.timings

    @property
    def parsed(self) -> Any:
        """The content as what was asked for: a pydantic instance, a JSON value, or the text of a regex or grammar.

        None when no constraint was given.

        Raises:
            ModelError: The output was cut before it was complete (``finish_reason`` says why).
        """
        info = self._info
        if info.shape is None:
            return None
        if not info.complete:
            raise ModelError(
                f"the output is not complete (finish reason: {info.finish_reason}); "
                "raise max_new_tokens, or bound the strings and arrays of the schema"
            )
        return info.shape.parse(info.text)

    def model_dump_json(self) -> str:
        """The message as JSON, without ``raw``; images as base64 PNG."""
        return json.dumps(get_dict_from_nested_dataclasses(self, ignore_key="raw"), default=_json_default)

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], raw: Any | None = None, token_usage: TokenUsage | None = None
    ) -> ChatMessage:
        """Make a message from a dictionary, which stays as it is.

        Raises:
            MessageError: The role is missing or unknown.
        """
        try:
            role = MessageRole(data["role"])
        except KeyError:
            raise MessageError("a message needs a role") from None
        except ValueError:
            raise MessageError(f"unknown role {data['role']!r}; roles are {MessageRole.roles()}") from None
        calls = data.get("tool_calls")
        return cls(role=role, content=data.get("content"), tool_calls=calls, raw=raw, token_usage=token_usage)

    def dict(self) -> _Part:
        """The five fields as nested dictionaries."""
        plain: _Part = get_dict_from_nested_dataclasses(self)
        return plain

    def render_as_markdown(self) -> str:
        """Text for a log: the content, followed by one line of JSON for each tool call."""
        rendered = "" if self.content is None else str(self.content)
        if self.tool_calls:
            rendered += "\n".join(
                json.dumps({"tool": call.function.name, "arguments": call.function.arguments}, default=_json_default)
                for call in self.tool_calls
            )
        return rendered


def attach_info(message: Any, info: ReplyInfo) -> None:
    """Put what is known about a reply beside the fields of a message or delta."""
    message._info = info


def text_of(content: Any) -> str:
    """The text of a message's content: a string as it is, text parts joined by line ends, nothing for None."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "\n".join(
        part if isinstance(part, str) else str(part["text"])
        for part in content
        if isinstance(part, str) or (isinstance(part, Mapping) and isinstance(part.get("text"), str))
    )


def remove_content_after_stop_sequences(content: str | None, stop_sequences: Iterable[str] | None) -> str | None:
    """Cut a text before the earliest occurrence of any stop sequence.

    Args:
        content: The text; None stays None.
        stop_sequences: Literal sequences, applied one after the other; empty ones are ignored.
    """
    if content is None or not stop_sequences:
        return content
    for stop in stop_sequences:
        if stop:
            content = content.partition(stop)[0]
    return content


def describe_tool_calls(calls: Sequence[Any]) -> str:
    """Tool calls as text, for templates that only know text."""
    plain = [get_dict_from_nested_dataclasses(coerce_tool_call(call)) for call in calls]
    for call in plain:
        call["function"].pop("description", None)
    return "Calling tools:\n" + json.dumps(plain, ensure_ascii=False, default=_json_default)


# Roles of provider formats that mean one of ours.
_ROLE_ALIASES = {"tool": "tool-response", "function": "tool-response", "developer": "system"}
_ROLES = frozenset(MessageRole.roles())


def get_clean_message_list(
    message_list: Iterable[ChatMessage | Mapping[str, Any] | Any],
    role_conversions: Mapping[Any, Any] | None = None,
    convert_images_to_image_urls: bool = False,
    flatten_messages_as_text: bool = False,
) -> list[dict[str, Any]]:
    """Make of a history the list of dictionaries that chat templates and providers take.

    Consecutive messages of one role (after conversion) become one; their texts are joined by a line end.

    Args:
        message_list: Our messages, smolagents', dictionaries, or any objects with ``role`` and ``content``.
        role_conversions: Roles to rename; keys may be members of MessageRole or strings.
        convert_images_to_image_urls: Image parts become data URLs in OpenAI's form, instead of base64 text.
        flatten_messages_as_text: Contents become plain strings.

    Returns:
        New dictionaries with ``role`` (a plain str) and ``content`` (a str, a list of parts, or None).

    Raises:
        MessageError: An unknown role, a message without role or content, a part that isn't one, or an image where
            only text can go; ``.index`` says which message.
    """
    return clean_messages(
        message_list,
        role_conversions,
        images="url" if convert_images_to_image_urls else "base64",
        flatten=flatten_messages_as_text,
    )


def clean_messages(
    messages: Iterable[Any],
    role_conversions: Mapping[Any, Any] | None = None,
    *,
    images: Literal["base64", "url", "keep"] = "base64",
    flatten: bool = False,
) -> list[dict[str, Any]]:
    """get_clean_message_list, with a third way for images: "keep" passes them as they are."""
    mode = "text" if flatten else images
    return _core.clean_messages(messages, role_conversions, mode, _read, _clean_part, describe_tool_calls)


# The pass itself is Rust and handles what is common; it asks the following for all that is rare or wrong.


def _read(message: Any, index: int) -> tuple[str, Any, Any]:
    """Role (checked, plain), content and tool calls of one message of any kind."""
    # dict stands first: asking the abstract class takes as long as all the rest.
    if isinstance(message, (dict, Mapping)):
        role, content, calls = message.get("role"), message.get("content"), message.get("tool_calls")
        known = "content" in message or bool(calls)
    else:
        role, content = getattr(message, "role", None), getattr(message, "content", None)
        calls = getattr(message, "tool_calls", None)
        known = hasattr(message, "content")
    if role is None:
        raise MessageError(f"message {index} has no role", index=index)
    role = role_name(role)
    if not isinstance(role, str) or (role not in _ROLES and role not in _ROLE_ALIASES):
        raise MessageError(f"message {index} has the unknown role {role!r}; roles are {sorted(_ROLES)}", index=index)
    if not known:
        raise MessageError(f"message {index} ({role}) has no content", index=index)
    if not (content is None or isinstance(content, str | list | tuple)):
        kind = type(content).__name__
        raise MessageError(f"message {index} ({role}): content is a {kind}, not a string or a list", index=index)
    return role, content, calls


def _clean_part(part: Any, index: int, mode: str) -> dict[str, Any]:
    """A new dictionary for one part of a content; with the mode "text" nothing but text passes."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, (dict, Mapping)):
        raise MessageError(f"message {index}: a part of its content is a {type(part).__name__}", index=index)
    clean = dict(part)
    kind = clean.setdefault("type", "text" if "text" in clean else None)
    if kind is None or (kind == "text" and not isinstance(clean.get("text"), str)):
        raise MessageError(f"message {index}: a part of its content has no type or no text: {part!r}", index=index)
    if mode == "text" and kind != "text":
        raise MessageError(
            f"message {index} contains a part of type {kind!r}, but this model takes only text", index=index
        )
    if kind == "image" and mode != "keep" and "image" in clean:
        try:
            if mode == "base64":
                clean["image"] = encode_image_base64(clean["image"])
            else:
                clean.update(type="image_url", image_url={"url": image_url(clean.pop("image"))})
        except MessageError as error:
            raise MessageError(f"message {index}: {error}", index=index) from error
    return clean
