"""Calling Amazon Bedrock through boto3: the client, and botocore's errors as ours."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from fairlead._optional import require
from fairlead.errors import (
    AuthenticationError,
    ConfigurationError,
    FairleadError,
    MissingDependencyError,
    ModelConnectionError,
    ModelError,
    ModelHTTPError,
    ModelTimeoutError,
    RateLimitError,
)
from fairlead.models._http_errors import retry_after_seconds

__all__ = ["EventStream", "create_client", "retries_itself", "typed_errors"]

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
        return (
            ModelConnectionError(f"the connection to Bedrock failed: {error!r}") if isinstance(error, OSError) else None
        )
    if isinstance(response, Mapping):
        return _http_error(error, response, event="EventStreamError" in names)
    if any("Timeout" in name for name in names):
        return ModelTimeoutError(f"Bedrock did not answer in time: {error}")
    if module == "urllib3" or {"HTTPClientError", "ConnectionError", "EventStreamError", "ChecksumMismatch"} & {*names}:
        return ModelConnectionError(f"the connection to Bedrock failed: {error}")
    if "ParserError" in names or "ResponseParserError" in names or "ResponseStreamingError" in names:
        return ModelError(f"Bedrock's answer can't be read: {error}")
    return ConfigurationError(f"boto3 refuses the request: {error}")


def _http_error(error: Exception, response: Mapping[str, Any], *, event: bool) -> ModelHTTPError:
    details = response.get("Error") or {}
    meta = response.get("ResponseMetadata") or {}
    code = str(details.get("Code") or "")
    status = _EVENT_STATUS.get(code) if event else meta.get("HTTPStatusCode")
    message = f"Bedrock answered {status or 'with an error'}: {code}: {details.get('Message')}"
    kind = ModelHTTPError
    if code in _THROTTLED or status == 429:
        kind = RateLimitError
    elif status in (401, 403):
        kind = AuthenticationError
    return kind(
        message,
        status_code=status,
        body=dict(details),
        request_id=meta.get("RequestId"),
        retry_after=_retry_after(meta.get("HTTPHeaders") or {}),
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: Bedrock's own header in milliseconds, or the standard one."""
    with contextlib.suppress(ValueError, LookupError):
        return max(0.0, float(headers["x-amz-retry-after"]) / 1000)
    return retry_after_seconds(headers)


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
