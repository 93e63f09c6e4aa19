"""What the models behind an API share: retries, limits, typed errors, and the templates of every way to ask."""

from __future__ import annotations

import asyncio
import json
import weakref
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, ClassVar, Literal

from fairlead.errors import ConfigurationError, StopSequenceError
from fairlead.messages import ChatMessage, MessageRole, attach_info
from fairlead.models import _retry
from fairlead.models._api_stream import Deltas, Parts
from fairlead.models._base import Model
from fairlead.models._connection import aclose
from fairlead.models._exchange import ApiCall, Reply, StreamReader
from fairlead.models._http_errors import Redactor, TypedErrors
from fairlead.models._output import StopFilter
from fairlead.models._profiles import Profile, find_profile
from fairlead.models._retry import RateLimiter, RetryPolicy
from fairlead.models._saving import is_secret
from fairlead.models._validation import without_fence
from fairlead.streaming import ChatMessageStreamDelta, ChatStream
from fairlead.types import ReplyInfo, TokenUsage

__all__ = ["ApiModel", "check_stops"]


class ApiModel(Model):
    """Base class of the models behind an API.

    A backend implements ``create_client``, ``create_async_client``, ``_prepare_call``, ``_send``, ``_asend``,
    ``_read`` and ``_new_reader``; retries, rate limit, errors, stop sequences, validation, streams, async and batches
    are here.

    Args:
        model_id: The model's name at the provider.
        custom_role_conversions: Roles to rename; replaces the default.
        client: A client to use instead of one made here. If it retries by itself (``max_retries`` above 0), nothing
            is retried here.
        requests_per_minute: Spaces requests evenly, over all threads and event loops that use this object.
        retry: Whether to repeat requests that failed with 408, 409, 425, 429, 5xx, without connection or answer.
        async_client: As ``client``, for the async methods.
        profile: What is known better of the model's abilities than the table: a Profile or some of its values.
        structured_output: How a schema reaches the provider: "native", "tool" (a tool that must be called), "prompt";
            "auto" takes the first that the profile has.
        max_reasks: How often an answer that isn't valid is asked for again (not in streams); default 1.
        max_attempts: Requests in all for one answer; default ``RETRY_MAX_ATTEMPTS``.
        max_retry_seconds: No wait ends later than so long after the first request; default ``RETRY_MAX_SECONDS``.
        max_concurrency: So many requests of a batch at a time; default 8.
        **kwargs: As for Model.
    """

    # The name under which profiles know the provider.
    _provider: ClassVar[str] = ""
    # So many events are read behind a stop sequence, for the usage that comes last; 0: the stream is closed there.
    _patience: ClassVar[int] = 0
    _saved: ClassVar[dict[str, Any]] = {
        "custom_role_conversions": {},
        "requests_per_minute": None,
        "retry": True,
        "profile": None,
        "structured_output": "auto",
        "max_reasks": 1,
        "max_attempts": None,
        "max_retry_seconds": None,
        "max_concurrency": 8,
    }

    def __init__(
        self,
        model_id: str,
        custom_role_conversions: Mapping[Any, Any] | None = None,
        client: Any | None = None,
        requests_per_minute: float | None = None,
        retry: bool = True,
        *,
        async_client: Any | None = None,
        profile: Mapping[str, Any] | Profile | None = None,
        structured_output: Literal["auto", "native", "tool", "prompt"] = "auto",
        max_reasks: int = 1,
        max_attempts: int | None = None,
        max_retry_seconds: float | None = None,
        max_concurrency: int = 8,
        **kwargs: Any,
    ) -> None:
        if structured_output not in ("auto", "native", "tool", "prompt"):
            raise ConfigurationError(
                f'structured_output is "auto", "native", "tool" or "prompt", not {structured_output!r}'
            )
        if max_reasks < 0 or max_concurrency < 1:
            raise ConfigurationError("max_reasks is at least 0, and max_concurrency at least 1")
        super().__init__(model_id=model_id, **kwargs)
        self.custom_role_conversions: dict[Any, Any] = dict(custom_role_conversions or {})
        self.requests_per_minute = requests_per_minute
        self.retry = retry
        self.profile = profile
        self.structured_output = structured_output
        self.max_reasks = max_reasks
        self.max_attempts = max_attempts
        self.max_retry_seconds = max_retry_seconds
        self.max_concurrency = max_concurrency
        self.rate_limiter = RateLimiter(requests_per_minute)
        self._profile = self._find_profile(profile)
        self._typed_errors = TypedErrors(Redactor(self._secrets()), f"{type(self).__name__} {model_id}")
        self._async_client = async_client
        # An async client's connections belong to the event loop in which they were opened.
        self._loop_clients: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self.client = client if client is not None else self.create_client()
        self.retryer = self._policy(self.client)

    # What a backend adds.

    def create_client(self) -> Any:
        """The client for the synchronous methods."""
        raise NotImplementedError("Subclasses must implement this method to create a client")

    def create_async_client(self) -> Any:
        """The client for the async methods, made once in each event loop."""
        raise NotImplementedError("Subclasses must implement this method to create an async client")

    @abstractmethod
    def _prepare_call(self, messages: Sequence[Any], **kwargs: Any) -> ApiCall:
        """Understand the arguments of ``generate``."""

    @abstractmethod
    def _send(self, payload: dict[str, Any], *, stream: bool) -> Any:
        """Ask the provider: a response, or an iterator of events with ``close()``."""

    async def _asend(self, payload: dict[str, Any], *, stream: bool) -> Any:
        """``_send`` for asyncio: a response, or an async iterator of events."""
        raise NotImplementedError

    @abstractmethod
    def _read(self, response: Any) -> Reply:
        """Read a response. ModelError if it isn't one."""

    @abstractmethod
    def _new_reader(self) -> StreamReader:
        """A reader for one stream."""

    @abstractmethod
    def _ask_again(self, call: ApiCall, reply: Reply, fault: str) -> ApiCall:
        """The request after an answer that isn't valid, given what is wrong with it."""

    def _provider_name(self) -> str:
        return self._provider

    def _find_profile(self, overrides: Mapping[str, Any] | Profile | None) -> Profile:
        return find_profile(self._provider_name(), self.model_id or "", overrides)

    def _secrets(self) -> list[Any]:
        """Values that may stand in no message of an error."""
        found: list[Any] = []
        for source in (vars(self), self.kwargs, getattr(self, "client_kwargs", None) or {}):
            found.extend(value for name, value in source.items() if is_secret(name))
        return found

    # What they share.

    @property
    def supports_stop_parameter(self) -> bool:
        """Whether stop sequences are sent; they are matched here in any case."""
        return self._profile.stop

    def _apply_rate_limit(self) -> None:
        self.rate_limiter.throttle()

    def _retries_itself(self, client: Any) -> bool:
        """Whether a client makes further tries of its own."""
        by_client = getattr(client, "max_retries", 0)
        return isinstance(by_client, int) and by_client > 0

    def _policy(self, client: Any) -> RetryPolicy:
        once = not self.retry or self._retries_itself(client)
        attempts = self.max_attempts if self.max_attempts is not None else _retry.RETRY_MAX_ATTEMPTS
        seconds = self.max_retry_seconds if self.max_retry_seconds is not None else _retry.RETRY_MAX_SECONDS
        return RetryPolicy(
            max_attempts=1 if once else attempts,
            max_seconds=seconds,
            wait=_retry.RETRY_WAIT,
            base=_retry.RETRY_EXPONENTIAL_BASE,
            jitter=_retry.RETRY_JITTER,
        )

    def _async(self) -> Any:
        if self._async_client is not None:
            return self._async_client
        loop = asyncio.get_running_loop()
        client = self._loop_clients.get(loop)
        if client is None:
            client = self._loop_clients[loop] = self.create_async_client()
        return client

    def _request(self, call: ApiCall) -> Reply:
        def once() -> Reply:
            self._apply_rate_limit()
            with self._typed_errors:
                return self._read(self._send(call.payload, stream=False))

        return self.retryer.call(once)

    async def _arequest(self, call: ApiCall) -> Reply:
        async def once() -> Reply:
            await self.rate_limiter.athrottle()
            with self._typed_errors:
                return self._read(await self._asend(call.payload, stream=False))

        return await self._policy(self._async()).acall(once)

    def _message(self, call: ApiCall, reply: Reply) -> ChatMessage:
        text = _structured_text(call, reply)
        stops = None
        if any(stop in text for stop in call.stop_sequences) and (stops := self._stop_filter(call)):
            stops.feed(text)
            stops.finish()
            text = stops.text
        message = ChatMessage(
            role=MessageRole.ASSISTANT,
            content=text,
            tool_calls=None if call.mode == "tool" and call.constraint else reply.tool_calls or None,
            raw=reply.raw,
            token_usage=reply.usage,
        )
        attach_info(message, self._info(call, reply, text, stops))
        return message

    def _info(self, call: ApiCall, reply: Reply, text: str, stops: StopFilter | None) -> ReplyInfo:
        stopped = stops.stop_sequence if stops is not None else None
        constraint = call.constraint
        reason = reply.finish_reason
        by_tool = call.mode == "tool" and constraint is not None
        if stopped is not None or reason == "tool_calls":
            # The user's tools are called whatever stands beside the calls; the tool that stands for a schema isn't one.
            reason = "tool_calls" if reason == "tool_calls" and not by_tool else "stop"
        return ReplyInfo(
            finish_reason=reason,
            stop_sequence=stopped,
            shape=constraint.shape if constraint else None,
            complete=constraint is None or (reply.refusal is None and call.is_valid(text)),
            text=text,
            reasoning=reply.reasoning,
            refusal=reply.refusal,
            cached_tokens=reply.cached_tokens,
            reasoning_tokens=reply.reasoning_tokens,
            logprobs=reply.logprobs,
        )

    def _stop_filter(self, call: ApiCall) -> StopFilter | None:
        if not call.stop_sequences:
            return None
        inside = call.constraint is None or call.stop_inside_constraint
        return StopFilter(call.stop_sequences, None if inside else call.is_valid)

    def _next_call(self, call: ApiCall, message: ChatMessage, reply: Reply, asked: int) -> ApiCall | None:
        """The request to send after an answer, if that isn't valid and may be asked for again."""
        hopeless = reply.refusal is not None or reply.finish_reason in ("length", "content_filter")
        # A call of the user's tools instead of an answer is what tools are for.
        if message._info.complete or hopeless or message.tool_calls or asked >= self.max_reasks:
            return None
        return self._ask_again(call, reply, call.fault(message._info.text) or "it isn't complete")

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
            stop_sequences: Sent if the model takes them; the content ends before the first that is completed.
            response_format: OpenAI's dictionary, a JSON Schema or a pydantic class (then ``message.parsed`` is an
                instance). The answer is checked here too.
            tools_to_call_from: Tools that the model may ask for.
            **kwargs: ``grammar``, ``tool_choice``, and whatever the provider takes. ``stop_inside_constraint=True``
                lets stop sequences cut a constrained answer anywhere; by default they are text inside of it, end it
                only where it is complete, and aren't sent with it, since providers would cut.

        Returns:
            A message that is the caller's to change; ``raw`` is the client's response, ``token_usage`` that of all
            requests if an answer was asked for again.

        Raises:
            MessageError: A malformed message.
            ModelHTTPError, ModelConnectionError, ModelTimeoutError: After the last attempt.
            ModelError: The answer is malformed.
        """
        call = self._prepare_call(
            messages,
            stop_sequences=stop_sequences,
            response_format=response_format,
            tools_to_call_from=tools_to_call_from,
            **kwargs,
        )
        asked = 0
        spent: TokenUsage | None = None
        while True:
            reply = self._request(call)
            message = self._message(call, reply)
            message.token_usage = spent = _total(spent, message.token_usage)
            following = self._next_call(call, message, reply, asked)
            if following is None:
                return message
            call, asked = following, asked + 1

    async def agenerate(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatMessage:
        """``generate`` by the provider's async client; cancelling the task closes the connection."""
        call = self._prepare_call(
            messages,
            stop_sequences=stop_sequences,
            response_format=response_format,
            tools_to_call_from=tools_to_call_from,
            **kwargs,
        )
        asked = 0
        spent: TokenUsage | None = None
        while True:
            reply = await self._arequest(call)
            message = self._message(call, reply)
            message.token_usage = spent = _total(spent, message.token_usage)
            following = self._next_call(call, message, reply, asked)
            if following is None:
                return message
            call, asked = following, asked + 1

    def generate_stream(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatStream:
        """Answer a history piece by piece; the arguments are those of ``generate``.

        Mistakes in the arguments are raised here; the request goes out with the first delta asked for, and is
        repeated only while nothing has arrived. A stop sequence that the provider didn't act on, and closing the
        stream, close the connection; the usage, which comes last, is then unknown.
        """
        call = self._prepare_call(
            messages,
            stop_sequences=stop_sequences,
            response_format=response_format,
            tools_to_call_from=tools_to_call_from,
            **kwargs,
        )
        deltas = Deltas(self, call)
        return ChatStream(deltas.run(), on_close=deltas.close)

    async def agenerate_stream(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatMessageStreamDelta]:
        """``generate_stream`` for asyncio. Leaving the loop, or cancelling the task, closes the connection."""
        call = self._prepare_call(
            messages,
            stop_sequences=stop_sequences,
            response_format=response_format,
            tools_to_call_from=tools_to_call_from,
            **kwargs,
        )
        parts = Parts(self, call)
        response: Any = None

        async def begin() -> tuple[Any, Any, Any]:
            await self.rate_limiter.athrottle()
            with self._typed_errors:
                opened = await self._asend(call.payload, stream=True)
                events = aiter(opened)
                try:
                    return opened, events, await anext(events, None)
                except BaseException:
                    await aclose(opened)
                    raise

        try:
            response, events, event = await self._policy(self._async()).acall(begin)
            while event is not None:
                with self._typed_errors:
                    delta = parts.feed(event)
                if delta is not None:
                    yield delta
                if parts.ended:
                    break
                with self._typed_errors:
                    event = await anext(events, None)
            for delta in parts.finish():
                yield delta
        finally:
            if response is not None:
                await aclose(response)

    def generate_batch(
        self,
        conversations: Sequence[Sequence[Any]],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> list[ChatMessage]:
        """Answer several histories under the same arguments, ``max_concurrency`` of them at a time.

        Returns:
            One message for each history, in order. The first error is raised after the others have ended.
        """
        arguments: dict[str, Any] = {
            "stop_sequences": stop_sequences,
            "response_format": response_format,
            "tools_to_call_from": tools_to_call_from,
            **kwargs,
        }
        with ThreadPoolExecutor(min(self.max_concurrency, len(conversations) or 1), "fairlead-batch") as pool:
            # A context can be entered by one thread only: each conversation has a copy.
            running = [
                pool.submit(copy_context().run, lambda one: self.generate(one, **arguments), messages)
                for messages in conversations
            ]
            return [one.result() for one in running]


def check_stops(stops: Any) -> tuple[str, ...]:
    """Stop sequences as a tuple.

    Raises:
        StopSequenceError: One isn't a string, or is empty.
    """
    if stops is None:
        return ()
    if isinstance(stops, str):
        stops = [stops]
    for stop in stops:
        if not isinstance(stop, str):
            raise StopSequenceError(f"a stop sequence is a string, not a {type(stop).__name__}")
        if not stop:
            raise StopSequenceError("a stop sequence is empty")
    return tuple(stops)


def _total(before: TokenUsage | None, usage: TokenUsage | None) -> TokenUsage | None:
    if before is None or usage is None:
        return usage or before
    return TokenUsage(before.input_tokens + usage.input_tokens, before.output_tokens + usage.output_tokens)


def _structured_text(call: ApiCall, reply: Reply) -> str:
    if call.constraint is None or call.mode == "native":
        return reply.text
    if call.mode == "prompt":
        return without_fence(reply.text)
    if not reply.tool_calls:
        return reply.text
    given = reply.tool_calls[0].function.arguments
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return call.unwrap(text) if call.unwrap else text
