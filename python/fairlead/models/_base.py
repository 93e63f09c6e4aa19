"""The base class of all models."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, ClassVar, Final, Literal, Self, TypeVar

from fairlead._smolagents import register_class, saved_module
from fairlead.errors import MessageError
from fairlead.messages import ChatMessage, MessageRole, attach_info, clean_messages, text_of, tool_role_conversions
from fairlead.models._hooks import Hooks, observe
from fairlead.models._saving import REMOVED, is_secret, plain_json
from fairlead.streaming import ChatMessageStreamDelta, ChatStream, new_delta, tool_call_deltas
from fairlead.tools import get_tool_call_from_text, get_tool_json_schema, parse_json_if_needed, supports_stop_parameter
from fairlead.types import TokenUsage

__all__ = ["CODEAGENT_RESPONSE_FORMAT", "REMOVE_PARAMETER", "Model"]


class _ParameterRemove:
    def __repr__(self) -> str:
        return "REMOVE_PARAMETER"

    # The sentinel is compared by identity, so a copy has to be the same object.
    def __copy__(self) -> _ParameterRemove:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _ParameterRemove:
        return self

    def __reduce__(self) -> str:
        return "REMOVE_PARAMETER"


# A keyword argument of a model's constructor with this value is never sent, whatever a call asks for.
REMOVE_PARAMETER: Final = _ParameterRemove()

# What smolagents' CodeAgent asks for with use_structured_outputs_internally=True: the same dictionary.
CODEAGENT_RESPONSE_FORMAT: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {
        "schema": {
            "additionalProperties": False,
            "properties": {
                "thought": {
                    "description": "A free form text description of the thought process.",
                    "title": "Thought",
                    "type": "string",
                },
                "code": {
                    "description": "Valid Python code snippet implementing the thought.",
                    "title": "Code",
                    "type": "string",
                },
            },
            "required": ["thought", "code"],
            "title": "ThoughtAndCodeAnswer",
            "type": "object",
        },
        "name": "ThoughtAndCodeAnswer",
        "strict": True,
    },
}

_Hook = TypeVar("_Hook", bound=Callable[[Any], Any])


class Model:
    """Base class of all models; a drop-in for ``smolagents.Model``.

    A subclass implements ``generate(messages, stop_sequences=None, ...)``; streaming, async and batches then work
    through the defaults here, which a backend replaces where it can do better.

    Args:
        flatten_messages_as_text: Send contents as plain strings. Default False.
        tool_name_key: The key of the tool's name in tool calls written as text. Default "name".
        tool_arguments_key: The key of the arguments there. Default "arguments".
        model_id: The model's name. Default None.
        **kwargs: Sent with every request; they win over arguments of a call. REMOVE_PARAMETER keeps one from being
            sent.
    """

    # How image parts reach the backend: "base64" as smolagents does, "keep" as they are.
    _images: ClassVar[Literal["base64", "keep"]] = "base64"
    # Attributes that to_dict saves beside the keyword arguments, when they differ from these defaults.
    _saved: ClassVar[dict[str, Any]] = {
        "flatten_messages_as_text": False,
        "tool_name_key": "name",
        "tool_arguments_key": "arguments",
    }

    def __init__(
        self,
        flatten_messages_as_text: bool = False,
        tool_name_key: str = "name",
        tool_arguments_key: str = "arguments",
        model_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        # to_dict writes it; the code that smolagents generates for a saved agent passes it back.
        kwargs.pop("module", None)
        self.flatten_messages_as_text = flatten_messages_as_text
        self.tool_name_key = tool_name_key
        self.tool_arguments_key = tool_arguments_key
        for name, value in kwargs.items():
            if isinstance(value, str) and value == REMOVED:
                kwargs[name] = REMOVE_PARAMETER
        self.kwargs: dict[str, Any] = kwargs
        self.model_id: str | None = model_id
        register_class(type(self))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        observe(cls)

    def on_request(self, hook: _Hook) -> _Hook:
        """Call a function whenever this model is asked; usable as a decorator.

        Args:
            hook: Gets a ModelRequest, in the thread or the event loop of the caller, before anything is sent. Async
                methods also await coroutine functions. What it raises is raised to the caller, and nothing is sent.

        Returns:
            The hook; ``remove_hook`` takes it.
        """
        self._own_hooks().add("request", hook)
        return hook

    def on_response(self, hook: _Hook) -> _Hook:
        """Call a function whenever a request has ended, well or not; usable as a decorator.

        Args:
            hook: Gets a ModelResponse with the message or the error: for streams at their end, also when they are
                closed early. Hooks that were added last are called first. What it raises is raised to the caller.

        Returns:
            The hook; ``remove_hook`` takes it.
        """
        self._own_hooks().add("response", hook)
        return hook

    def remove_hook(self, hook: Callable[[Any], Any]) -> None:
        """No longer call a hook; harmless if it isn't there."""
        self._own_hooks().remove(hook)

    def _own_hooks(self) -> Hooks:
        # A user's class may not call our constructor.
        hooks: Hooks = self.__dict__.setdefault("_hooks", Hooks())
        return hooks

    @property
    def supports_stop_parameter(self) -> bool:
        """Whether the backend takes stop sequences."""
        return supports_stop_parameter(self.model_id or "")

    def _prepare_completion_kwargs(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        custom_role_conversions: Mapping[Any, Any] | None = None,
        convert_images_to_image_urls: bool = False,
        tool_choice: str | dict[str, Any] | None = "required",
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Collect what a request sends: the constructor's kwargs win over the call's, which win over the parameters.

        Args:
            messages: The history.
            stop_sequences: Sent as "stop" if the model takes that.
            response_format: Sent as it is.
            tools_to_call_from: Sent as "tools" in OpenAI's form, with ``tool_choice`` unless that is None.
            custom_role_conversions: Replaces the default, which is ``tool_role_conversions``.
            convert_images_to_image_urls: Send images as data URLs.
            tool_choice: Only sent with tools.
            **kwargs: Anything else; ``flatten_messages_as_text`` overrides the model's.

        Raises:
            MessageError: A malformed message.
        """
        flatten = kwargs.pop("flatten_messages_as_text", self.flatten_messages_as_text)
        completion: dict[str, Any] = {
            "messages": clean_messages(
                messages,
                custom_role_conversions or tool_role_conversions,
                images="url" if convert_images_to_image_urls else self._images,
                flatten=flatten,
            )
        }
        if stop_sequences is not None and self.supports_stop_parameter:
            completion["stop"] = stop_sequences
        if response_format is not None:
            completion["response_format"] = response_format
        if tools_to_call_from:
            completion["tools"] = [
                tool if isinstance(tool, Mapping) else get_tool_json_schema(tool) for tool in tools_to_call_from
            ]
            if tool_choice is not None:
                completion["tool_choice"] = tool_choice
        completion.update(kwargs)
        for name, value in self.kwargs.items():
            if value is REMOVE_PARAMETER:
                completion.pop(name, None)
            else:
                completion[name] = value
        return completion

    def generate(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatMessage:
        """Answer a history.

        Args:
            messages: Messages or dictionaries with ``role`` and ``content``.
            stop_sequences: Generation ends before the first of them that appears; it isn't part of the content.
            response_format: What the answer has to be: OpenAI's dictionary, a JSON Schema or a pydantic class.
            tools_to_call_from: Tools that the model may ask for.
            **kwargs: For the backend.

        Returns:
            A message that is the caller's to change.
        """
        raise NotImplementedError(f"{type(self).__name__} doesn't implement generate()")

    def __call__(self, *args: Any, **kwargs: Any) -> ChatMessage:
        return self.generate(*args, **kwargs)

    def generate_stream(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatStream:
        """Answer a history piece by piece; the arguments are those of ``generate``.

        Returns:
            A generator of deltas. The last has content "" and the token usage. Backends that can't stream yield the
            whole content as one piece.
        """
        arguments = _given(stop_sequences, response_format, tools_to_call_from)
        return ChatStream(self._stream_whole(messages, arguments | kwargs))

    def _stream_whole(self, messages: Sequence[Any], arguments: Mapping[str, Any]) -> Iterator[ChatMessageStreamDelta]:
        message = self.generate(messages, **arguments)
        yield new_delta(content=text_of(message.content), tool_calls=tool_call_deltas(message.tool_calls) or None)
        usage = message.token_usage
        last = new_delta(content="", token_usage=usage and TokenUsage(usage.input_tokens, usage.output_tokens))
        if isinstance(message, ChatMessage):
            attach_info(last, message._info)
        yield last

    async def agenerate(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatMessage:
        """``generate`` for asyncio: runs in a thread unless the backend has something better."""
        arguments = _given(stop_sequences, response_format, tools_to_call_from)
        return await asyncio.to_thread(lambda: self.generate(messages, **arguments, **kwargs))

    async def agenerate_stream(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatMessageStreamDelta]:
        """``generate_stream`` for asyncio. Leaving the loop, or cancelling the task, stops the generation."""
        arguments = _given(stop_sequences, response_format, tools_to_call_from)
        # One thread per stream: the shared pool would be starved by streams that wait for their next piece.
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fairlead-stream")
        loop = asyncio.get_running_loop()
        # What the caller set (the span of a trace, whose hooks are told) holds in the thread too.
        context = copy_context()
        stream: ChatStream | None = None
        try:
            stream = await loop.run_in_executor(
                pool, context.run, lambda: self.generate_stream(messages, **arguments, **kwargs)
            )
            while (delta := await loop.run_in_executor(pool, context.run, _next_or_none, stream)) is not None:
                yield delta
        finally:
            pool.shutdown(wait=False)
            if stream is not None:
                # Closing waits for the step that is running: not in the event loop.
                await asyncio.shield(loop.run_in_executor(None, stream.close))

    def generate_batch(
        self,
        conversations: Sequence[Sequence[Any]],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> list[ChatMessage]:
        """Answer several histories under the same arguments.

        Returns:
            One message for each history, in order. The first error is raised after the others have ended.
        """
        arguments = _given(stop_sequences, response_format, tools_to_call_from) | kwargs
        with ThreadPoolExecutor(max_workers=min(8, len(conversations) or 1)) as pool:
            # A context can be entered by one thread only: each conversation has a copy.
            running = [
                pool.submit(copy_context().run, lambda messages: self.generate(messages, **arguments), messages)
                for messages in conversations
            ]
            return [one.result() for one in running]

    def parse_tool_calls(self, message: ChatMessage) -> ChatMessage:
        """Read the tool call out of a message's text if the backend gave none, and the arguments out of JSON text.

        Args:
            message: Changed in place, and returned; the role becomes the assistant's.

        Raises:
            MessageError: The message has no tool call. Agents tell the model and go on.
        """
        message.role = MessageRole.ASSISTANT
        if not message.tool_calls:
            if message.content is None:
                raise MessageError("Message contains no content and no tool calls")
            text = text_of(message.content)
            message.tool_calls = [get_tool_call_from_text(text, self.tool_name_key, self.tool_arguments_key)]
        for call in message.tool_calls:
            call.function.arguments = parse_json_if_needed(call.function.arguments)
        return message

    def to_dict(self) -> dict[str, Any]:
        """What ``from_dict`` needs to make the model again, as JSON values and without secrets.

        Warns:
            UserWarning: Something can't be saved: a secret, or a value that isn't JSON.
        """
        data: dict[str, Any] = {}
        entries: list[tuple[str, Any]] = [*self.kwargs.items(), ("model_id", self.model_id)]
        for name, default in self._saved_attributes().items():
            value = getattr(self, name, default)
            if value != default:
                entries.append((name, value))
        for name, value in entries:
            if is_secret(name):
                if value is not None:
                    warnings.warn(f"the {name} of a model isn't saved; pass it again when loading", stacklevel=2)
                continue
            secrets: list[str] = []
            try:
                data[name] = REMOVED if value is REMOVE_PARAMETER else plain_json(value, secrets, name)
            except (TypeError, ValueError, RecursionError):
                warnings.warn(
                    f"{name} (a {type(value).__name__}) isn't a JSON value and isn't saved with the model", stacklevel=2
                )
            for secret in secrets:
                warnings.warn(f"the {secret} of a model isn't saved; pass it again when loading", stacklevel=2)
        data["module"] = saved_module(type(self))
        return data

    @classmethod
    def _saved_attributes(cls) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            merged.update(vars(base).get("_saved", {}))
        return merged

    @classmethod
    def from_dict(cls, model_dictionary: Mapping[str, Any]) -> Self:
        """Make a model of what ``to_dict`` returned; the dictionary stays as it is."""
        return cls(**{name: value for name, value in model_dictionary.items() if name != "module"})


def _given(stop_sequences: Any, response_format: Any, tools_to_call_from: Any) -> dict[str, Any]:
    # A user's class may implement generate(messages, stop_sequences) only: what wasn't given isn't passed.
    given = {
        "stop_sequences": stop_sequences,
        "response_format": response_format,
        "tools_to_call_from": tools_to_call_from,
    }
    return {name: value for name, value in given.items() if value is not None}


def _next_or_none(stream: ChatStream) -> ChatMessageStreamDelta | None:
    # StopIteration can't pass through a future.
    return next(stream, None)


observe(Model)
