"""Hooks around requests: what a model is asked and what it says, whatever backend and whichever method is used.

``observe`` wraps the public methods of a class. A request that one of them passes on to another method of the same
model (a batch to ``generate``, ``generate`` to ``generate_stream``) is told once; a model within a model, such as
those of a FallbackModel, has requests and hooks of its own.
"""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

from fairlead.errors import ConfigurationError
from fairlead.messages import ChatMessage
from fairlead.streaming import ChatMessageStreamDelta, ChatStream, DeltaAccumulator

__all__ = ["Hooks", "ModelRequest", "ModelResponse", "observe"]

Operation = Literal["generate", "generate_stream", "agenerate", "agenerate_stream", "generate_batch"]
_PARAMETERS = ("messages", "stop_sequences", "response_format", "tools_to_call_from")


@dataclass
class ModelRequest:
    """One request, as the caller made it.

    Attributes:
        model: The model that is asked.
        operation: The method that was called.
        messages: The history, as given; not to be changed.
        arguments: The other arguments that were given, by name.
        state: For hooks: what one puts here when the request begins, it finds again when it ends.
        started: ``time.perf_counter()`` at the beginning.
    """

    model: Any
    operation: Operation
    messages: Any
    arguments: dict[str, Any]
    state: dict[Any, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)


@dataclass
class ModelResponse:
    """How a request ended.

    Attributes:
        request: The request.
        message: The reply; what had arrived of it if a stream failed or was closed; None if there was none.
        error: What was raised, or None.
        seconds: From the call to its end.
        first_delta: Seconds to the first delta of a stream, or None.
        closed: A stream was closed before its end.
    """

    request: ModelRequest
    message: Any = None
    error: BaseException | None = None
    seconds: float = 0.0
    first_delta: float | None = None
    closed: bool = False


class Hooks:
    """The hooks of one model; shared by its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Replaced, never changed: a request that is running goes through those it began with.
        self.request: tuple[Callable[[ModelRequest], Any], ...] = ()
        self.response: tuple[Callable[[ModelResponse], Any], ...] = ()

    def add(self, kind: Literal["request", "response"], hook: Callable[[Any], Any]) -> None:
        """Call ``hook`` from now on."""
        if not callable(hook):
            raise ConfigurationError(f"a hook is a function, not a {type(hook).__name__}")
        with self._lock:
            setattr(self, kind, (*getattr(self, kind), hook))

    def remove(self, hook: Callable[[Any], Any]) -> None:
        """No longer call ``hook``; harmless if it isn't there."""
        with self._lock:
            self.request = tuple(one for one in self.request if one != hook)
            self.response = tuple(one for one in self.response if one != hook)

    def __bool__(self) -> bool:
        return bool(self.request or self.response)

    def begin(self, request: ModelRequest) -> None:
        """Call the hooks for requests."""
        for hook in self.request:
            _refuse_awaitable(hook, hook(request))

    def end(self, response: ModelResponse) -> None:
        """Call the hooks for responses, the last that was added first."""
        response.seconds = time.perf_counter() - response.request.started
        for hook in reversed(self.response):
            _refuse_awaitable(hook, hook(response))

    async def abegin(self, request: ModelRequest) -> None:
        """``begin`` where hooks may be coroutine functions."""
        for hook in self.request:
            if inspect.isawaitable(result := hook(request)):
                await result

    async def aend(self, response: ModelResponse) -> None:
        """``end`` where hooks may be coroutine functions."""
        response.seconds = time.perf_counter() - response.request.started
        for hook in reversed(self.response):
            if inspect.isawaitable(result := hook(response)):
                await result


def _refuse_awaitable(hook: Any, result: Any) -> None:
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise ConfigurationError(f"the hook {hook!r} is a coroutine function; only async methods can await it")


# The models whose request is being told about in this context.
_told: ContextVar[tuple[int, ...]] = ContextVar("fairlead_told", default=())


@contextmanager
def _telling(model: Any) -> Iterator[None]:
    token = _told.set((*_told.get(), id(model)))
    try:
        yield
    finally:
        _told.reset(token)


def _hooks_of(model: Any) -> Hooks | None:
    """The model's hooks, if it has any and this request isn't told about yet."""
    hooks: Hooks | None = model.__dict__.get("_hooks")
    if not hooks or id(model) in _told.get():
        return None
    return hooks


def _request(model: Any, operation: Operation, args: Sequence[Any], kwargs: Any) -> ModelRequest:
    arguments = {**dict(zip(_PARAMETERS, args, strict=False)), **kwargs}
    messages = arguments.pop("messages", None)
    return ModelRequest(
        model, operation, messages, {name: value for name, value in arguments.items() if value is not None}
    )


def observe(cls: Any) -> None:
    """Make the methods that a class defines itself tell its instances' hooks."""
    for name, wrap in _WRAPPERS.items():
        method = cls.__dict__.get(name)
        if inspect.isfunction(method) and not hasattr(method, "_observed"):
            wrapped = wrap(method)
            wrapped._observed = True
            setattr(cls, name, wrapped)


def _generate(method: Any) -> Any:
    @functools.wraps(method)
    def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
        hooks = _hooks_of(self)
        if hooks is None:
            return method(self, *args, **kwargs)
        response = ModelResponse(_request(self, "generate", args, kwargs))
        hooks.begin(response.request)
        try:
            with _telling(self):
                response.message = method(self, *args, **kwargs)
        except BaseException as error:
            response.error = error
            raise
        finally:
            hooks.end(response)
        return response.message

    return generate


def _agenerate(method: Any) -> Any:
    @functools.wraps(method)
    async def agenerate(self: Any, *args: Any, **kwargs: Any) -> Any:
        hooks = _hooks_of(self)
        if hooks is None:
            return await method(self, *args, **kwargs)
        response = ModelResponse(_request(self, "agenerate", args, kwargs))
        await hooks.abegin(response.request)
        try:
            with _telling(self):
                response.message = await method(self, *args, **kwargs)
        except BaseException as error:
            response.error = error
            raise
        finally:
            await hooks.aend(response)
        return response.message

    return agenerate


def _generate_batch(method: Any) -> Any:
    @functools.wraps(method)
    def generate_batch(self: Any, conversations: Any, *args: Any, **kwargs: Any) -> Any:
        hooks = _hooks_of(self)
        if hooks is None:
            return method(self, conversations, *args, **kwargs)
        histories = list(conversations)
        responses = [
            ModelResponse(_request(self, "generate_batch", (messages, *args), kwargs)) for messages in histories
        ]
        for response in responses:
            hooks.begin(response.request)
        try:
            with _telling(self):
                messages = method(self, histories, *args, **kwargs)
            for response, message in zip(responses, messages, strict=True):
                response.message = message
        except BaseException as error:
            for response in responses:
                response.error = error
            raise
        finally:
            for response in responses:
                hooks.end(response)
        return messages

    return generate_batch


def _generate_stream(method: Any) -> Any:
    @functools.wraps(method)
    def generate_stream(self: Any, *args: Any, **kwargs: Any) -> Any:
        hooks = _hooks_of(self)
        if hooks is None:
            return method(self, *args, **kwargs)
        response = ModelResponse(_request(self, "generate_stream", args, kwargs))
        hooks.begin(response.request)
        try:
            with _telling(self):
                stream = method(self, *args, **kwargs)
        except BaseException as error:
            response.error = error
            hooks.end(response)
            raise
        told = _ToldStream(stream, hooks, response)
        return ChatStream(told, on_close=told.close)

    return generate_stream


class _ToldStream(Iterator[ChatMessageStreamDelta]):
    # A class, not a generator: another thread may close the stream while this one waits here.
    def __init__(self, stream: Any, hooks: Hooks, response: ModelResponse) -> None:
        self._stream = stream
        self._deltas = iter(stream)
        self._hooks = hooks
        self._response = response
        self._accumulator = DeltaAccumulator()
        self._lock = threading.Lock()
        self._ended = False

    def __next__(self) -> ChatMessageStreamDelta:
        response = self._response
        try:
            with _telling(response.request.model):
                delta: ChatMessageStreamDelta = next(self._deltas)
        except StopIteration:
            self._end()
            raise
        except BaseException as error:
            self._end(error)
            raise
        if response.first_delta is None:
            response.first_delta = time.perf_counter() - response.request.started
        self._accumulator.add(delta)
        return delta

    def close(self) -> None:
        try:
            if isinstance(self._stream, Generator):
                self._stream.close()
        finally:
            self._end(closed=True)

    def _end(self, error: BaseException | None = None, *, closed: bool = False) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
        _finish(self._response, self._accumulator, error, closed)
        self._hooks.end(self._response)


def _finish(response: ModelResponse, accumulator: DeltaAccumulator, error: BaseException | None, closed: bool) -> None:
    response.error, response.closed = error, closed
    if response.first_delta is not None:
        message: ChatMessage = accumulator.message
        message.tool_calls = message.tool_calls or None
        response.message = message


def _agenerate_stream(method: Any) -> Any:
    @functools.wraps(method)
    def agenerate_stream(self: Any, *args: Any, **kwargs: Any) -> Any:
        hooks = _hooks_of(self)
        if hooks is None:
            return method(self, *args, **kwargs)
        request = _request(self, "agenerate_stream", args, kwargs)
        return _told_astream(hooks, request, lambda: method(self, *args, **kwargs))

    return agenerate_stream


async def _told_astream(
    hooks: Hooks, request: ModelRequest, start: Callable[[], AsyncIterator[ChatMessageStreamDelta]]
) -> AsyncGenerator[ChatMessageStreamDelta, None]:
    response = ModelResponse(request)
    accumulator = DeltaAccumulator()
    stream: Any = None
    error: BaseException | None = None
    closed = True
    await hooks.abegin(request)
    try:
        with _telling(request.model):
            stream = start()
        while True:
            # Only for this step: what a generator sets stays set in its consumer's context.
            with _telling(request.model):
                delta = await anext(stream, None)
            if delta is None:
                break
            if response.first_delta is None:
                response.first_delta = time.perf_counter() - request.started
            accumulator.add(delta)
            yield delta
        closed = False
    except GeneratorExit:
        raise
    except BaseException as raised:
        error, closed = raised, False
        raise
    finally:
        try:
            if stream is not None and hasattr(stream, "aclose"):
                await stream.aclose()
        finally:
            _finish(response, accumulator, error, closed)
            await hooks.aend(response)


_WRAPPERS: dict[Operation, Callable[[Any], Any]] = {
    "generate": _generate,
    "generate_stream": _generate_stream,
    "agenerate": _agenerate,
    "agenerate_stream": _agenerate_stream,
    "generate_batch": _generate_batch,
}
