"""Every exception that fairlead raises on purpose.

::

    FairleadError
    ├── GrammarError (ValueError)             .line .column .offset
    ├── SchemaError (ValueError)              .pointer .keyword
    │   └── UnsupportedSchemaError
    ├── LimitExceeded
    ├── TokenizerError (ValueError)
    ├── StopSequenceError (ValueError)
    ├── MessageError (ValueError)             .index
    ├── ConfigurationError (ValueError)
    ├── MissingDependencyError (ImportError)  .extra
    └── ModelError
        ├── ModelHTTPError                    .status_code .body .request_id .retry_after
        │   ├── AuthenticationError
        │   └── RateLimitError
        ├── ModelConnectionError
        ├── FallbackError                     .errors
        └── ModelTimeoutError

This module imports nothing of fairlead: the extension module raises these classes by importing them from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "AuthenticationError",
    "ConfigurationError",
    "FairleadError",
    "FallbackError",
    "GrammarError",
    "LimitExceeded",
    "MessageError",
    "MissingDependencyError",
    "ModelConnectionError",
    "ModelError",
    "ModelHTTPError",
    "ModelTimeoutError",
    "RateLimitError",
    "SchemaError",
    "StopSequenceError",
    "TokenizerError",
    "UnsupportedSchemaError",
]


class FairleadError(Exception):
    """Base class of every error that fairlead raises on purpose."""

    # The fields beyond the message, so that an error survives pickling between processes.
    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.args, dict(self.__dict__)))


def _rebuild(cls: type[FairleadError], args: tuple[Any, ...], fields: dict[str, Any]) -> FairleadError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class GrammarError(FairleadError, ValueError):
    """A grammar or a regular expression is malformed, or uses what the engine cannot do.

    Attributes:
        offset: Byte offset in the pattern where the mistake stands, or None.
        line: Line in the grammar's text, counted from 1, or None.
        column: Column in that line, counted from 1, or None.
    """

    def __init__(
        self, message: str = "", *, line: int | None = None, column: int | None = None, offset: int | None = None
    ) -> None:
        super().__init__(message)
        self.line = line
        self.column = column
        self.offset = offset


class SchemaError(FairleadError, ValueError):
    """A JSON Schema is malformed, or no instance can satisfy it.

    Attributes:
        pointer: JSON pointer of the place in the schema (``""`` is its root), or None.
        keyword: The schema keyword that is at fault, or None.
    """

    def __init__(self, message: str = "", *, pointer: str | None = None, keyword: str | None = None) -> None:
        super().__init__(message)
        self.pointer = pointer
        self.keyword = keyword


class UnsupportedSchemaError(SchemaError):
    """A JSON Schema uses a keyword that constrains and that the engine cannot enforce exactly."""


class LimitExceeded(FairleadError):
    """A grammar or a schema costs more than a limit allows."""


class TokenizerError(FairleadError, ValueError):
    """A tokenizer cannot be used: its tokens have no exact bytes, or the vocabulary is malformed."""


class StopSequenceError(FairleadError, ValueError):
    """Stop sequences that cannot be matched, for example an empty one."""


class MessageError(FairleadError, ValueError):
    """A chat message is malformed.

    Attributes:
        index: Position of the message in the history, counted from 0, or None.
    """

    def __init__(self, message: str = "", *, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class ConfigurationError(FairleadError, ValueError):
    """Arguments that contradict each other or name something that doesn't exist."""


class MissingDependencyError(FairleadError, ImportError):
    """An optional package is missing.

    Attributes:
        extra: The extra of fairlead that brings the package: ``pip install 'fairlead[<extra>]'``.
    """

    def __init__(self, message: str = "", *, extra: str | None = None, name: str | None = None) -> None:
        super().__init__(message)
        self.msg = message
        self.name = name
        self.extra = extra


class ModelError(FairleadError):
    """A model or its provider failed."""


class ModelHTTPError(ModelError):
    """A provider answered with an HTTP error.

    Attributes:
        status_code: The HTTP status, or None if unknown.
        body: The body of the answer: parsed JSON, text or None.
        request_id: The provider's id of the request, or None.
        retry_after: Seconds to wait that the provider asked for, or None.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status_code: int | None = None,
        body: Any = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.body = body
        self.request_id = request_id
        self.retry_after = retry_after


class AuthenticationError(ModelHTTPError):
    """A provider refused the credentials, or what they may do (401, 403)."""


class RateLimitError(ModelHTTPError):
    """A provider refused because of its rate limit (429)."""

    def __init__(self, message: str = "", *, status_code: int | None = 429, **fields: Any) -> None:
        super().__init__(message, status_code=status_code, **fields)


class ModelConnectionError(ModelError):
    """There is no connection to a provider, or it broke before the answer was complete."""


class ModelTimeoutError(ModelError):
    """A model or its provider did not answer in time."""


class FallbackError(ModelError):
    """Every model of a FallbackModel failed.

    Attributes:
        errors: What each of them raised, in order.
    """

    def __init__(self, message: str = "", *, errors: Sequence[BaseException] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors)
