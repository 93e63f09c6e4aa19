"""Several models behind one: where the first fails, the next is asked."""

from __future__ import annotations

import asyncio
import builtins
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from fairlead import errors
from fairlead.errors import ConfigurationError, FallbackError, ModelError
from fairlead.messages import ChatMessage
from fairlead.models._base import Model
from fairlead.models._registry import load_model, save_model
from fairlead.streaming import ChatMessageStreamDelta, ChatStream

__all__ = ["FallbackModel"]

_DEFAULT_ON: tuple[type[Exception], ...] = (ModelError, ConnectionError, TimeoutError)

_On = tuple[type[Exception], ...] | Callable[[Exception], bool]


class FallbackModel(Model):
    """Asks the first of several models, and the next one when that fails.

    The models may be of any kind, local or remote, another FallbackModel, or any object with ``generate``. Each has
    retried as it was told to before its failure counts. A stream moves on only while nothing of it was handed out: an
    error after the first delta is the caller's.

    Args:
        models: At least one, in the order in which they are asked.
        on: Which errors count: a class of exceptions, several, or a function from an exception to a bool. Default:
            ModelError (with its HTTP, rate limit and timeout errors), ConnectionError and TimeoutError. Mistakes in
            the arguments are raised at once, since every model would meet them.
        **kwargs: As for Model; the keys of tool calls written as text are the first model's unless they are given.

    Attributes:
        models: The models.

    Raises:
        ConfigurationError: No model, or ``on`` is something else.
    """

    def __init__(self, models: Sequence[Any], on: Any = _DEFAULT_ON, **kwargs: Any) -> None:
        # A saved model may come back as it was written down.
        self.models = tuple(load_model(model) if isinstance(model, Mapping) else model for model in models)
        if not self.models:
            raise ConfigurationError("FallbackModel needs at least one model")
        for model in self.models:
            if not callable(getattr(model, "generate", None)):
                raise ConfigurationError(f"FallbackModel takes models, {model!r} has no generate()")
        self._on = _condition(on)
        first = self.models[0]
        defaults = {
            name: getattr(first, name)
            for name in ("model_id", "tool_name_key", "tool_arguments_key")
            if isinstance(getattr(first, name, None), str)
        }
        super().__init__(**{**defaults, **kwargs})

    @property
    def supports_stop_parameter(self) -> bool:
        """Always True: each model deals with stop sequences in its own way."""
        return True

    def _counts(self, error: Exception) -> bool:
        if isinstance(self._on, tuple):
            return isinstance(error, self._on)
        return bool(self._on(error))

    def _failed(self, failures: list[Exception]) -> FallbackError:
        told = "; ".join(
            f"{_name(model)}: {type(error).__name__}: {error}"
            for model, error in zip(self.models, failures, strict=False)
        )
        return FallbackError(f"all {len(failures)} models failed: {told}", errors=failures)

    def generate(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatMessage:
        """The reply of the first model that gives one; the arguments go to each as they are.

        Raises:
            FallbackError: All failed; ``errors`` has what they raised.
        """
        arguments = self._arguments(stop_sequences, response_format, tools_to_call_from, kwargs)
        failures: list[Exception] = []
        for model in self.models:
            try:
                reply: ChatMessage = model.generate(messages, **arguments)
                return reply
            except Exception as error:
                if not self._counts(error):
                    raise
                failures.append(error)
        raise self._failed(failures) from failures[-1]

    def _arguments(self, stops: Any, response_format: Any, tools: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        given = {"stop_sequences": stops, "response_format": response_format, "tools_to_call_from": tools}
        # The constructor's win over the call's, as everywhere.
        return {name: value for name, value in given.items() if value is not None} | {**kwargs, **self.kwargs}

    def generate_stream(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatStream:
        """The stream of the first model that gives a delta. Nothing is asked before the first delta is asked for."""
        arguments = self._arguments(stop_sequences, response_format, tools_to_call_from, kwargs)
        deltas = _Deltas(self, messages, arguments)
        return ChatStream(deltas, on_close=deltas.close)

    async def agenerate(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatMessage:
        """``generate`` for asyncio, by each model's own ``agenerate``."""
        arguments = self._arguments(stop_sequences, response_format, tools_to_call_from, kwargs)
        failures: list[Exception] = []
        for model in self.models:
            try:
                reply: ChatMessage
                if hasattr(model, "agenerate"):
                    reply = await model.agenerate(messages, **arguments)
                else:
                    reply = await asyncio.to_thread(model.generate, messages, **arguments)
                return reply
            except Exception as error:
                if not self._counts(error):
                    raise
                failures.append(error)
        raise self._failed(failures) from failures[-1]

    async def agenerate_stream(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatMessageStreamDelta]:
        """``generate_stream`` for asyncio, by each model's own ``agenerate_stream``."""
        arguments = self._arguments(stop_sequences, response_format, tools_to_call_from, kwargs)
        failures: list[Exception] = []
        for model in self.models:
            begun = False
            try:
                stream = _as_model(model).agenerate_stream(messages, **arguments)
                async with aclosing(stream):
                    async for delta in stream:
                        begun = True
                        yield delta
                return
            except Exception as error:
                if begun or not self._counts(error):
                    raise
                failures.append(error)
        raise self._failed(failures) from failures[-1]

    def to_dict(self) -> dict[str, Any]:
        """The models with their classes, and ``on`` unless that is a function.

        Warns:
            UserWarning: Something can't be saved: a secret of one of the models, or a function.
        """
        data = super().to_dict()
        data["models"] = [save_model(model) for model in self.models]
        if self._on != _DEFAULT_ON:
            classes = self._on if isinstance(self._on, tuple) else ()
            names = [one.__name__ for one in classes if _exception(one.__name__) is one]
            if names and len(names) == len(classes):
                data["on"] = names
            else:
                warnings.warn("on= isn't saved; pass it again when loading", stacklevel=2)
        return data


def _condition(on: Any) -> _On:
    """Classes of exceptions, also by their names as they are saved, or a function."""
    if isinstance(on, Sequence):
        classes = tuple(_exception(one) if isinstance(one, str) else one for one in on)
    elif isinstance(on, type):
        classes = (on,)
    elif callable(on):
        condition: Callable[[Exception], bool] = on
        return condition
    else:
        classes = (on,)
    if not classes or not all(isinstance(one, type) and issubclass(one, Exception) for one in classes):
        raise ConfigurationError(f"on= is an exception class, several, or a function from an exception, not {on!r}")
    return classes


def _exception(name: str) -> Any:
    return getattr(errors, name, None) or getattr(builtins, name, None)


def _name(model: Any) -> str:
    return str(getattr(model, "model_id", None) or type(model).__name__)


class _Whole(Model):
    """Streams and awaits with an object that has nothing but ``generate``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = model

    def generate(self, messages: Sequence[Any], *args: Any, **kwargs: Any) -> ChatMessage:
        message: ChatMessage = self._model.generate(messages, *args, **kwargs)
        return message

    def generate_stream(self, messages: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        if hasattr(self._model, "generate_stream"):
            return self._model.generate_stream(messages, *args, **kwargs)
        return super().generate_stream(messages, *args, **kwargs)


def _as_model(model: Any) -> Any:
    whole = hasattr(model, "generate_stream") and hasattr(model, "agenerate_stream")
    return model if whole else _Whole(model)


class _Deltas(Iterator[ChatMessageStreamDelta]):
    # A class, not a generator: another thread may close the stream while this one waits here.
    def __init__(self, owner: FallbackModel, messages: Sequence[Any], arguments: dict[str, Any]) -> None:
        self._owner = owner
        self._messages = messages
        self._arguments = arguments
        self._left = list(owner.models)
        self._failures: list[Exception] = []
        self._stream: Any = None
        self._begun = self._closed = False

    def __next__(self) -> ChatMessageStreamDelta:
        while not self._closed:
            try:
                if self._stream is None:
                    model = _as_model(self._left.pop(0))
                    self._stream = model.generate_stream(self._messages, **self._arguments)
                delta: ChatMessageStreamDelta = next(self._stream)
            except StopIteration:
                break
            except Exception as error:
                self._close_current()
                if self._begun or not self._owner._counts(error):
                    raise
                self._failures.append(error)
                if not self._left:
                    raise self._owner._failed(self._failures) from error
            else:
                self._begun = True
                return delta
        raise StopIteration

    def _close_current(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None and hasattr(stream, "close"):
            stream.close()

    def close(self) -> None:
        self._closed = True
        self._close_current()
