"""Errors that are both fairlead's and, as XGrammar's are, ``RuntimeError``: servers catch the latter.

errors.GrammarError
 ├─ GrammarError
 ├─ InvalidStructuralTagError
 ├─ DeserializeFormatError
 └─ DeserializeVersionError
errors.SchemaError
 ├─ SchemaError
 └─ InvalidJSONError
errors.UnsupportedSchemaError, errors.LimitExceeded, errors.TokenizerError
 └─ those of the same names
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fairlead import errors
from fairlead.errors import FairleadError, _rebuild

__all__ = ["DeserializeFormatError", "DeserializeVersionError", "InvalidJSONError", "InvalidStructuralTagError"]


class GrammarError(errors.GrammarError, RuntimeError):
    """A grammar or a regular expression is malformed, or uses what the engine cannot do."""


class SchemaError(errors.SchemaError, RuntimeError):
    """A JSON Schema is malformed, or no instance can satisfy it."""


class UnsupportedSchemaError(errors.UnsupportedSchemaError, RuntimeError):
    """A JSON Schema uses a keyword that constrains and that the engine cannot enforce exactly."""


class LimitExceeded(errors.LimitExceeded, RuntimeError):
    """A grammar or a schema costs more than a limit allows."""


class TokenizerError(errors.TokenizerError, RuntimeError):
    """A tokenizer cannot be used, or isn't that which a grammar was compiled for."""


class InvalidJSONError(errors.SchemaError, RuntimeError):
    """A text that should be JSON isn't."""


class InvalidStructuralTagError(errors.GrammarError, RuntimeError):
    """A structural tag is malformed, or uses what isn't supported."""


class DeserializeFormatError(errors.GrammarError, RuntimeError):
    """A text isn't what ``serialize_json`` writes."""


class DeserializeVersionError(errors.GrammarError, RuntimeError):
    """A text was written by another version."""


_OF: dict[type[FairleadError], type[FairleadError]] = {
    errors.GrammarError: GrammarError,
    errors.SchemaError: SchemaError,
    errors.UnsupportedSchemaError: UnsupportedSchemaError,
    errors.LimitExceeded: LimitExceeded,
    errors.TokenizerError: TokenizerError,
}


@contextmanager
def as_runtime_errors(*, structural_tag: bool = False) -> Iterator[None]:
    """Raise fairlead's errors as those of this module, with what they say and where."""
    try:
        yield
    except FairleadError as error:
        kind = _OF.get(type(error))
        if structural_tag and kind is GrammarError:
            kind = InvalidStructuralTagError
        if kind is None:
            raise
        raise _rebuild(kind, error.args, error.__dict__) from error
