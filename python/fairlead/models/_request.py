"""One request to a local model, understood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fairlead.models._constraint import Constraint
from fairlead.models._gated_grammar import GatedGrammar

if TYPE_CHECKING:
    from fairlead._core import CompiledGrammar, GrammarMatcher
    from fairlead.models._gated_grammar import GatedMatcher
    from fairlead.models._reasoning import State
    from fairlead.tools import ToolSyntax

__all__ = ["LocalRequest", "Prompt"]


@dataclass
class Prompt:
    """A rendered prompt.

    Attributes:
        inputs: What the backend's ``_run`` takes: tensors, ids, text with images.
        token_ids: The prompt's tokens, as far as they are known before the framework has seen it.
    """

    inputs: Any
    token_ids: Sequence[int]


@dataclass
class LocalRequest:
    """One request, understood: what a backend needs to run it.

    Attributes:
        prompt: What the backend's ``_render`` made of messages and tools.
        max_new_tokens: At most so many are generated.
        options: Everything else, for the framework's generation call.
        stop_sequences: Matched by ``Output``; a backend may also hand them to its framework.
        constraint: What was asked for, or None.
        grammar: The compiled constraint of the answer, or None. Not made when the backend enforces constraints itself.
        token_budget: Tokens within which a constrained output is complete, reasoning included.
        compiled: What masks follow: ``grammar``, or that behind a gate which opens when the reasoning ends.
        tags: The tags of the reasoning, or None.
        reasoning: Where the output begins with respect to them.
        shown_tokens: Special tokens whose text the output has to show.
        tools: The tools that may be called, in OpenAI's form.
        tool_syntax: How the model writes calls.
        must_call: The output is held to tool calls.
        jump_forward: "jump" to append what the constraint forces at once; "mask" for the same masks, token by token.
        mask_seconds: Backends add the time that masks took.
        cached_tokens: Backends say how many tokens of the prompt they didn't have to compute.
    """

    prompt: Prompt
    max_new_tokens: int
    options: dict[str, Any]
    stop_sequences: tuple[str, ...] = ()
    stop_inside_constraint: bool = False
    constraint: Constraint | None = None
    grammar: CompiledGrammar | None = None
    compiled: CompiledGrammar | GatedGrammar | None = None
    token_budget: int | None = None
    reasoning: State | None = None
    tags: tuple[str, str] | None = None
    shown_tokens: dict[int, str] = field(default_factory=dict)
    tools: list[dict[str, Any]] | None = None
    tool_syntax: ToolSyntax | None = None
    must_call: bool = False
    jump_forward: Literal["jump", "mask"] | None = None
    prompt_seconds: float = 0.0
    compile_seconds: float = 0.0
    mask_seconds: float = 0.0
    cached_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return len(self.prompt.token_ids)

    def new_matcher(self) -> GrammarMatcher | GatedMatcher:
        """A matcher at the beginning of the output; only with a constraint.

        Raises:
            LimitExceeded: The shortest answer takes more than the token budget.
        """
        from fairlead._core import GrammarMatcher

        if isinstance(self.compiled, GatedGrammar):
            return self.compiled.new_matcher(self.token_budget)
        assert self.compiled is not None
        return GrammarMatcher(self.compiled, token_budget=self.token_budget)

    def is_sentence(self, text: str) -> bool:
        """Whether an answer is all that the constraint asks for."""
        return self.sentence_check()(text)

    def sentence_check(self) -> Callable[[str], bool]:
        """``is_sentence`` for texts that each continue the one before: what was read isn't read again."""
        if self.grammar is None:
            return lambda text: True
        from fairlead._core import GrammarMatcher

        matcher = GrammarMatcher(self.grammar, max_rollback_tokens=0)
        read = 0
        alive = True

        def check(text: str) -> bool:
            nonlocal read, alive
            alive = alive and bool(matcher.accept_string(text[read:]))
            read = len(text)
            return alive and bool(matcher.is_completed())

        return check
