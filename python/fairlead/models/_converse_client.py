"""Calling Amazon Bedrock through boto3: the client, retries, and botocore's errors as ours."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fairlead._optional import require
from fairlead.errors import (
    ConfigurationError,
    FairleadError,
    MissingDependencyError,
    ModelError,
    ModelHTTPError,
    ModelTimeoutError,
    RateLimitError,
)

__all__ = ["EventStream", "Retry", "create_client", "retries_itself", "typed_errors"]

_T = TypeVar("_T")

# What a further try may cure.
_RETRIED = frozenset({408, 409, 424, 425, 429, 500, 502, 503, 504, 529})
_THROTTLED = frozenset({"ThrottlingException", "TooManyRequestsException", "throttlingException"})
# What the error events of a stream mean; they come without a status of their own.
_EVENT_STATUS = {
    "internalServerException": 500,
    "modelStreamErrorException": 424,
    "modelTimeoutException": 408,
    "serviceUnavailableException": 503,
    "throttlingException": 429,
    "validationException": 400,
}
_POOL = 64


def create_client(client_kwargs: Mapping[str, Any], api_key: str | None, timeout: float | None) -> Any:
    """A ``bedrock-runtime`` client that leaves retrying to us unless ``client_kwargs`` say otherwise.

    Args:
        client_kwargs: For ``boto3.client``.
        api_key: A Bedrock API key, sent as a bearer token. Default: boto3's own ways, ``AWS_BEARER_TOKEN_BEDROCK``
            among them.
        timeout: Seconds to wait for a connection, and for each further piece of an answer.

    Raises:
        MissingDependencyError: boto3 isn't installed.
        ConfigurationError: boto3 refuses the arguments, for want of a region, for example.
    """
    boto3 = require("boto3", extra="bedrock", feature="AmazonBedrockModel")
    config_class = require("botocore.config").Config
    options: dict[str, Any] = {"max_pool_connections": _POOL, "retries": {"total_max_attempts": 1}}
    if timeout is not None:
        options.update(connect_timeout=timeout, read_timeout=timeout)
    if api_key is not None:
        # Not signed: the header is ours.
        options["signature_version"] = require("botocore").UNSIGNED
    config = config_class(**options)
    given = client_kwargs.get("config")
    if isinstance(given, Mapping):
        given = config_class(**given)
    with typed_errors():
        client = boto3.client(
            "bedrock-runtime", **{**client_kwargs, "config": config.merge(given) if given is not None else config}
        )
    if api_key is not None:
        address = urlsplit(client.meta.endpoint_url)
        if address.scheme != "https" and address.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ConfigurationError(f"an API key isn't sent to {address.hostname} in plain text; use https")

        def authorize(params: dict[str, Any], **_: Any) -> None:
            params["headers"]["Authorization"] = f"Bearer {api_key}"

        client.meta.events.register("before-call.bedrock-runtime", authorize)
    return client


def retries_itself(client: Any) -> bool:
    """Whether a client makes further tries of its own."""
    config = getattr(getattr(client, "meta", None), "config", None)
    if config is None:
        return False
    retries = getattr(config, "retries", None) or {}
    total = retries.get("total_max_attempts")
    return bool(total != 1 and retries.get("max_attempts") != 0)


@contextlib.contextmanager
def typed_errors() -> Iterator[None]:
    """What boto3, botocore and urllib3 raise becomes one of our errors."""
    try:
        yield
    except (FairleadError, MissingDependencyError):
        raise
    except Exception as error:
        if (ours := _typed(error)) is None:
            raise
        raise ours from error


def _typed(error: Exception) -> FairleadError | None:
    names = [cls.__name__ for cls in type(error).__mro__]
    module = type(error).__module__.partition(".")[0]
    response = getattr(error, "response", None)
    if module not in ("boto3", "botocore", "urllib3"):
        if isinstance(error, TimeoutError):
            return ModelTimeoutError(f"Bedrock did not answer in time: {error}")
        return ModelError(f"the connection to Bedrock failed: {error!r}") if isinstance(error, OSError) else None
    if isinstance(response, Mapping):
        return _http_error(error, response, event="EventStreamError" in names)
    if any("Timeout" in name for name in names):
        return ModelTimeoutError(f"Bedrock did not answer in time: {error}")
    if module == "urllib3" or {"HTTPClientError", "ConnectionError", "EventStreamError", "ChecksumMismatch"} & {*names}:
        return ModelError(f"the connection to Bedrock failed: {error}")
    if "ParserError" in names or "ResponseParserError" in names or "ResponseStreamingError" in names:
        return ModelError(f"Bedrock's answer can't be read: {error}")
    return ConfigurationError(f"boto3 refuses the request: {error}")


def _http_error(error: Exception, response: Mapping[str, Any], *, event: bool) -> ModelHTTPError:
    details = response.get("Error") or {}
    meta = response.get("ResponseMetadata") or {}
    code = str(details.get("Code") or "")
    status = _EVENT_STATUS.get(code) if event else meta.get("HTTPStatusCode")
    message = f"Bedrock answered {status or 'with an error'}: {code}: {details.get('Message')}"
    fields: dict[str, Any] = {"status_code": status, "body": dict(details), "request_id": meta.get("RequestId")}
    if code in _THROTTLED or status == 429:
        return RateLimitError(message, retry_after=_retry_after(meta.get("HTTPHeaders") or {}), **fields)
    http_error = ModelHTTPError(message, **fields)
    http_error.retry_after = _retry_after(meta.get("HTTPHeaders") or {})
    return http_error


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: Bedrock's own header in milliseconds, the standard one in seconds or as a date."""
    with contextlib.suppress(ValueError, TypeError):
        if (milliseconds := headers.get("x-amz-retry-after")) is not None:
            return max(0.0, float(milliseconds) / 1000)
        if (value := headers.get("retry-after")) is not None:
            if value.strip().replace(".", "", 1).isdigit():
                return float(value)
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return None


class Retry:
    """Tries a call again where that may help.

    Waits as long as the provider asks, else exponentially longer with full jitter, as "Exponential Backoff And Jitter"
    of the AWS Architecture Blog describes it.

    Args:
        attempts: Calls in all, at least 1.
        seconds: No further try begins later than this after the first.
        first_wait: Upper bound of the first wait; doubled each time, up to 20 seconds.
    """

    def __init__(self, attempts: int = 3, seconds: float = 120.0, first_wait: float = 1.0) -> None:
        self.attempts = attempts
        self.seconds = seconds
        self.first_wait = first_wait

    def __call__(self, call: Callable[[], _T]) -> _T:
        """Run a call to its result or its last error."""
        begun = time.monotonic()
        for attempt in range(1, self.attempts + 1):
            try:
                with typed_errors():
                    return call()
            except ModelError as error:
                wait = self._wait(error, attempt)
                if wait is None or attempt == self.attempts or time.monotonic() - begun + wait > self.seconds:
                    raise
            time.sleep(wait)
        raise AssertionError("at least one attempt")

    def _wait(self, error: ModelError, attempt: int) -> float | None:
        if isinstance(error, ModelHTTPError) and error.status_code not in _RETRIED:
            return None
        asked: float | None = getattr(error, "retry_after", None)
        if asked is not None:
            return asked
        return random.uniform(0, min(20.0, self.first_wait * 2 ** (attempt - 1)))


class EventStream:
    """The events of ``converse_stream``, with typed errors; closing it frees the connection at once.

    Args:
        response: What ``converse_stream`` returned.
    """

    def __init__(self, response: Mapping[str, Any]) -> None:
        self._stream = response["stream"]
        self._events = iter(self._stream)
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        try:
            with typed_errors():
                event: dict[str, Any] = next(self._events)
                return event
        except (ModelError, ValueError):
            if self._closed.is_set():
                raise StopIteration from None
            raise

    def close(self) -> None:
        """Drop the connection, even while another thread waits for the next event."""
        if self._closed.is_set():
            return
        self._closed.set()
        raw = getattr(self._stream, "_raw_stream", None)
        # Closing waits for a reader; shutting the socket down first wakes it.
        with contextlib.suppress(Exception):
            raw.shutdown()  # type: ignore[union-attr]
        with contextlib.suppress(Exception):
            self._stream.close()
