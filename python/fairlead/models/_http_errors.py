"""What clients of providers raise, as errors of our own: by status, with body and request id, without secrets."""

from __future__ import annotations

import email.utils
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fairlead.errors import (
    AuthenticationError,
    FairleadError,
    ModelConnectionError,
    ModelError,
    ModelHTTPError,
    ModelTimeoutError,
    RateLimitError,
)

__all__ = ["Redactor", "TypedErrors", "model_error", "retry_after_seconds"]

# Clients have exceptions of their own; these names stand in their classes' ancestry.
_TIMEOUTS = frozenset({"TimeoutError", "Timeout", "APITimeoutError", "TimeoutException", "InferenceTimeoutError"})
_CONNECTIONS = frozenset(
    {
        "ConnectionError",
        "APIConnectionError",
        "TransportError",
        "StreamError",
        "HTTPClientError",
        "EndpointConnectionError",
    }
)
_REQUEST_IDS = ("x-request-id", "x-amzn-requestid", "apim-request-id", "x-amz-request-id")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}")
_HIDDEN = "***"
_SHORTEST_SECRET = 6


class Redactor:
    """Takes secrets out of texts and of what providers answered.

    Args:
        secrets: The values; what is too short to be a secret is left.
    """

    def __init__(self, secrets: Iterable[Any] = ()) -> None:
        values = {value for value in secrets if isinstance(value, str) and len(value) >= _SHORTEST_SECRET}
        self._values = sorted(values, key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text without them."""
        for value in self._values:
            text = text.replace(value, _HIDDEN)
        return _BEARER.sub(rf"\1 {_HIDDEN}", text)

    def value(self, value: Any) -> Any:
        """A copy of JSON values without them."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.value(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(inner) for inner in value]
        return value


def retry_after_seconds(headers: Any, now: Callable[[], float] = time.time) -> float | None:
    """The wait that a provider asks for: ``retry-after-ms``, or ``Retry-After`` in seconds or as an HTTP date."""
    get = getattr(headers, "get", None)
    if get is None:
        return None
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0), ("Retry-After", 1.0)):
        text = get(name)
        if text is None:
            continue
        try:
            seconds = float(text) / unit
        except (TypeError, ValueError):
            try:
                seconds = email.utils.parsedate_to_datetime(str(text)).timestamp() - now()
            except (TypeError, ValueError):
                continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def model_error(error: BaseException, redactor: Redactor, who: str) -> ModelError:
    """The typed error that says what an exception of a client says.

    Args:
        error: What the client raised.
        redactor: Takes the secrets out.
        who: The model, for the message.
    """
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None)
    if not isinstance(status, int):
        status = getattr(response, "status_code", None)
    headers = getattr(response, "headers", None)
    if not retry_after_seconds(headers):
        # litellm's responses are made up; the real headers are beside them.
        headers = getattr(error, "litellm_response_headers", None) or headers
    said = redactor.text(str(error) or type(error).__name__)
    names = {cls.__name__ for cls in type(error).__mro__}
    if hasattr(error, "llm_provider"):
        # litellm makes up a status (408, 500) where there was no answer; what happened stands behind its errors.
        behind = _names_behind(error)
        if behind & _TIMEOUTS and status in (408, 500):
            return ModelTimeoutError(f"{who} didn't answer in time: {said}")
        if "APIConnectionError" in behind and status == 500:
            return ModelConnectionError(f"no connection to {who}, or it broke: {said}")
    if isinstance(status, int) and status >= 400:
        body = redactor.value(_body(error, response))
        fields: dict[str, Any] = {"status_code": status, "body": body, "request_id": _request_id(error, headers)}
        message = f"{who} answered {status}: {said}"
        if status == 429:
            return RateLimitError(message, **fields, retry_after=retry_after_seconds(headers))
        made = (AuthenticationError if status in (401, 403) else ModelHTTPError)(message, **fields)
        # A 503 may say how long too; the policy reads it wherever it stands.
        made.retry_after = retry_after_seconds(headers)
        return made
    if names & _TIMEOUTS:
        return ModelTimeoutError(f"{who} didn't answer in time: {said}")
    if names & _CONNECTIONS or isinstance(error, OSError):
        return ModelConnectionError(f"no connection to {who}, or it broke: {said}")
    return ModelError(f"{who} failed: {type(error).__name__}: {said}")


def _names_behind(error: BaseException) -> set[str]:
    """The names of the classes of an error and of those that led to it."""
    names: set[str] = set()
    waiting: list[Any] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            names |= {cls.__name__ for cls in type(one).__mro__}
            waiting += [one.__cause__, one.__context__, getattr(one, "original_exception", None)]
    return names


def _body(error: Any, response: Any) -> Any:
    body = getattr(error, "body", None)
    if body is None:
        try:
            body = response.text
        except Exception:
            # A stream that nobody has read has no text.
            return None
    if isinstance(body, str):
        try:
            return json.loads(body)
        except ValueError:
            return body
    return body if isinstance(body, dict | list) else None


def _request_id(error: Any, headers: Any) -> str | None:
    own = getattr(error, "request_id", None)
    if isinstance(own, str):
        return own
    get = getattr(headers, "get", None)
    if get is not None:
        for name in _REQUEST_IDS:
            if found := get(name):
                return str(found)
    return None


class TypedErrors:
    """A context in which what a client raises becomes a typed error; our own and mistakes in arguments pass.

    It has no state: one is enough for all requests of a model.

    Args:
        redactor: Takes the secrets out.
        who: The model, for the messages.
    """

    def __init__(self, redactor: Redactor, who: str) -> None:
        self._redactor = redactor
        self._who = who

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if not isinstance(error, Exception) or isinstance(error, FairleadError):
            return
        text = str(error)
        if isinstance(error, TypeError):
            # An argument that the client doesn't know: the caller's mistake, with the client's words.
            raise TypeError(self._redactor.text(text)) from None
        made = model_error(error, self._redactor, self._who)
        # An error that repeats a secret isn't shown behind ours.
        raise made from (error if self._redactor.text(text) == text else None)
