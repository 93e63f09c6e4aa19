"""Plain data that several parts share: token usage, finish reasons, timings."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["FinishReason", "OutputShape", "ReplyInfo", "Timings", "TokenUsage"]

# "stop": the model ended its turn, a stop sequence matched, or the grammar had nothing left to say.
# "length": a limit on tokens cut the output.   "tool_calls": the reply is a request to call tools.
# "cancelled": the caller closed the stream.    "content_filter": a provider withheld the rest.
FinishReason = Literal["stop", "length", "tool_calls", "cancelled", "content_filter"]


# A method named `dict` hides the builtin in the annotations of its class.
_Counts = dict[str, int]


@dataclass
class TokenUsage:
    """Tokens that one request read and wrote.

    Attributes:
        input_tokens: Tokens of the prompt.
        output_tokens: Tokens that were generated, the end-of-turn token included.
        total_tokens: Their sum, computed when the object is made.
    """

    input_tokens: int
    output_tokens: int
    total_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.total_tokens = self.input_tokens + self.output_tokens

    def dict(self) -> _Counts:
        """The three counts under their own names."""
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
        }


@dataclass(frozen=True)
class Timings:
    """Where the seconds of one local request went.

    Attributes:
        prompt: Rendering and tokenizing the prompt.
        compile: Compiling the constraint (about 0 when it was compiled before).
        first_token: From the start of generation to the first token.
        masks: Computing and applying token masks, and advancing the matcher.
        generation: The whole of the generation, from its start to its end; contains ``first_token`` and ``masks``.
        steps: Generated tokens.
        cached_tokens: Tokens of the prompt whose states were kept from an earlier call.
    """

    prompt: float = 0.0
    compile: float = 0.0
    first_token: float = 0.0
    masks: float = 0.0
    generation: float = 0.0
    steps: int = 0
    cached_tokens: int = 0

    @property
    def mask_share(self) -> float:
        """Share of the generation that masks took, between 0 and 1."""
        return self.masks / self.generation if self.generation > 0 else 0.0


@dataclass(frozen=True)
class OutputShape:
    """What a constrained output is, once it is complete.

    Attributes:
        kind: "json" or "text".
        model: A pydantic class, or any type that pydantic can validate; None for plain JSON values.
    """

    kind: Literal["json", "text"]
    model: Any = None

    def parse(self, text: str) -> Any:
        """The value of a complete output: the text, a JSON value, or an instance of ``model``."""
        if self.kind == "text":
            return text
        if self.model is None:
            return json.loads(text)
        if callable(validate := getattr(self.model, "model_validate_json", None)):
            return validate(text)
        from fairlead._optional import require

        pydantic = require("pydantic", extra="pydantic", feature="a response_format that is a type")
        return pydantic.TypeAdapter(self.model).validate_json(text)


@dataclass(frozen=True)
class ReplyInfo:
    """What is known about a finished reply beyond smolagents' five fields.

    It travels beside the fields of a message or of the last delta, never as one of them: code written for
    smolagents walks the dataclass fields and must find there what it knows. It holds plain data only, so that a reply
    in a history can be copied and pickled.

    Attributes:
        finish_reason: Why the output ended, or None if the backend didn't say.
        stop_sequence: The stop sequence that ended it, or None.
        timings: Where the time went, or None for remote models.
        shape: What the output was held to, or None.
        complete: The output is a whole sentence of what it was held to.
        text: The output as generated; a message's content may be changed afterwards.
        reasoning: What the model thought before its answer, without its tags; "" if that isn't told apart.
        refusal: The provider's text of a refusal, or None.
        cached_tokens: Tokens of the prompt that the provider had cached, or None if it didn't say.
        reasoning_tokens: Generated tokens that were reasoning, or None if the provider didn't say.
        logprobs: Log probabilities as the provider gave them, or None.
    """

    finish_reason: FinishReason | None = None
    stop_sequence: str | None = None
    timings: Timings | None = None
    shape: OutputShape | None = None
    complete: bool = True
    text: str = ""
    reasoning: str = ""
    refusal: str | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    logprobs: Any = None
