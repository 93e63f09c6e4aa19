"""Asking again: when, after how long, how often; and how many requests a minute may carry."""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from fairlead._optional import require
from fairlead.errors import (
    ConfigurationError,
    ModelConnectionError,
    ModelError,
    ModelHTTPError,
    ModelTimeoutError,
    RateLimitError,
)

__all__ = [
    "RETRY_EXPONENTIAL_BASE",
    "RETRY_JITTER",
    "RETRY_MAX_ATTEMPTS",
    "RETRY_MAX_SECONDS",
    "RETRY_WAIT",
    "RateLimiter",
    "RetryPolicy",
    "is_rate_limit_error",
    "is_retryable",
]

# Defaults of RetryPolicy, read when a model is made.
RETRY_WAIT: float = 1.0
RETRY_MAX_ATTEMPTS: int = 3
RETRY_EXPONENTIAL_BASE: float = 2
RETRY_JITTER: bool = True
RETRY_MAX_SECONDS: float = 120.0

_RETRYABLE = frozenset({408, 409, 425, 429})
_LIMITED = re.compile(r"\b429\b|rate[ _-]?limit|too many requests", re.IGNORECASE)

_Result = TypeVar("_Result")


def is_rate_limit_error(exception: BaseException) -> bool:
    """Whether a provider refused because of its rate limit.

    The status decides where there is one; without it the words of the message do ("429", "rate limit", "too many
    requests"), with 429 as a number of its own.
    """
    if isinstance(exception, RateLimitError):
        return True
    status = getattr(exception, "status_code", None)
    if status is None:
        status = getattr(getattr(exception, "response", None), "status_code", None)
    if isinstance(status, int):
        return status == 429
    return bool(_LIMITED.search(str(exception)))


def is_retryable(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later: by status, without connection or answer in time."""
    if isinstance(error, ModelHTTPError):
        status = error.status_code
        return isinstance(error, RateLimitError) or (status is not None and (status in _RETRYABLE or status >= 500))
    return isinstance(error, ModelConnectionError | ModelTimeoutError)


@dataclass(frozen=True)
class RetryPolicy:
    """How often and after how long a request is repeated.

    Attributes:
        max_attempts: Requests in all, the first included.
        max_seconds: No wait begins that would end later than so many seconds after the first request.
        wait: Seconds before the second request; a Retry-After of the provider takes its place.
        base: Each further wait is so many times longer.
        jitter: Waits are a random part of that, at least half, so that clients don't come back all at once.
    """

    max_attempts: int
    max_seconds: float
    wait: float
    base: float
    jitter: bool

    def __post_init__(self) -> None:
        if self.max_attempts < 1 or self.max_seconds < 0 or self.wait < 0:
            raise ConfigurationError("retrying needs at least one attempt, and limits that aren't negative")

    def _seconds(self, state: Any) -> float:
        error = state.outcome.exception()
        asked = getattr(error, "retry_after", None)
        if asked is not None:
            return float(asked)
        seconds: float = self.wait * self.base ** (state.attempt_number - 1)
        return seconds * random.uniform(0.5, 1.0) if self.jitter else seconds

    def _options(self, begun: float) -> dict[str, Any]:
        tenacity = require("tenacity", extra="openai", feature="retrying")
        left = max(0.0, self.max_seconds - (time.monotonic() - begun))
        return {
            "stop": tenacity.stop_after_attempt(self.max_attempts) | tenacity.stop_before_delay(left),
            "wait": self._seconds,
            "retry": tenacity.retry_if_exception(is_retryable),
            "reraise": True,
        }

    def _may_ask_again(self, error: BaseException) -> bool:
        return self.max_attempts > 1 and is_retryable(error)

    def call(self, request: Callable[[], _Result]) -> _Result:
        """The result of ``request``, repeated as long as what it raises is worth it; then the last error."""
        begun = time.monotonic()
        try:
            return request()
        except ModelError as error:
            if not self._may_ask_again(error):
                raise
            first = [error]
        from tenacity import Retrying

        def again() -> _Result:
            # What the first request raised is the outcome of the first attempt.
            if first:
                raise first.pop()
            return request()

        result: _Result = Retrying(**self._options(begun))(again)
        return result

    async def acall(self, request: Callable[[], Awaitable[_Result]]) -> _Result:
        """``call`` for asyncio."""
        begun = time.monotonic()
        try:
            return await request()
        except ModelError as error:
            if not self._may_ask_again(error):
                raise
            first = [error]
        from tenacity import AsyncRetrying

        async def again() -> _Result:
            if first:
                raise first.pop()
            return await request()

        result: _Result = await AsyncRetrying(**self._options(begun))(again)
        return result


class RateLimiter:
    """Spaces requests evenly; shared by threads and event loops.

    Args:
        requests_per_minute: None: no limit.
    """

    def __init__(self, requests_per_minute: float | None = None) -> None:
        if requests_per_minute is not None and not requests_per_minute > 0:
            raise ConfigurationError(f"requests_per_minute is above 0, not {requests_per_minute!r}")
        self._interval = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def _reserve(self) -> float:
        """Seconds until the request may go out; its place is taken."""
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next)
            self._next = at + self._interval
            return at - now

    def throttle(self) -> None:
        """Wait for a place."""
        if self._interval and (wait := self._reserve()) > 0:
            time.sleep(wait)

    async def athrottle(self) -> None:
        """Wait for a place without blocking the event loop."""
        if self._interval and (wait := self._reserve()) > 0:
            await asyncio.sleep(wait)
