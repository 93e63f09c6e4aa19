"""One exchange with a provider: the request, understood, and the answer, read."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from fairlead.errors import LimitExceeded, UnsupportedSchemaError
from fairlead.messages import ChatMessageToolCall
from fairlead.models._constraint import Constraint
from fairlead.models._validation import OutputCheck
from fairlead.streaming import ChatMessageStreamDelta
from fairlead.types import FinishReason, TokenUsage

__all__ = ["ApiCall", "Mode", "Reply", "StreamReader"]

# How a schema reaches the provider: its own parameter, a tool that must be called, or words in the prompt.
Mode = Literal["native", "tool", "prompt"]


@dataclass
class ApiCall:
    """One request, understood.

    Attributes:
        payload: What is sent, in the provider's form.
        stop_sequences: Matched here, whether or not they are sent.
        stop_inside_constraint: They cut a constrained answer wherever they stand, not only where it is complete.
        constraint: What the answer is checked against, or None.
        mode: How the constraint reaches the provider.
    """

    payload: dict[str, Any]
    stop_sequences: tuple[str, ...] = ()
    constraint: Constraint | None = None
    mode: Mode = "native"
    stop_inside_constraint: bool = False
    unwrap: Callable[[str], str] | None = None

    def fault(self, text: str) -> str | None:
        """What is wrong with a text, by the engine, and by pydantic if a class was asked for; None if it is right.

        Warns:
            UserWarning: The engine can't check the schema, so that it was only checked to be JSON.
        """
        if self.constraint is None:
            return None
        try:
            return OutputCheck(self.constraint)(text)
        except (UnsupportedSchemaError, LimitExceeded) as error:
            warnings.warn(f"the answer was only checked to be JSON: {error}", stacklevel=5)
        try:
            self.constraint.shape.parse(text)
        except ValueError as error:
            return str(error)
        return None

    def is_valid(self, text: str) -> bool:
        """Whether a text is what was asked for."""
        return self.fault(text) is None


@dataclass
class Reply:
    """A provider's answer, read: what a backend hands to the templates."""

    text: str = ""
    reasoning: str = ""
    refusal: str | None = None
    tool_calls: list[ChatMessageToolCall] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    usage: TokenUsage | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    logprobs: Any = None
    raw: Any = None


class StreamReader(Protocol):
    """Reads the events of one stream; ``reasoning`` is what was thought so far, in pieces."""

    reasoning: list[str]

    def text(self, event: Any) -> str | None:
        """The text of an event that has nothing else, or None; then it is for ``feed``."""

    def feed(self, event: Any) -> ChatMessageStreamDelta | None:
        """The delta of an event, content as it came, without usage; None if the event has nothing to show."""

    def finish(self, *, begun: bool = False) -> Reply:
        """All that isn't in the deltas: finish reason, usage and the like; ModelError if nothing came.

        Args:
            begun: ``text`` has read some.
        """
