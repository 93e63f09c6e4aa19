"""Jump-forward: what a grammar forces is written without asking the model for each token.

A forced text has many spellings in tokens. Inside it only one is allowed, the canonical one: the tokenizer's own for
the text, but for its last token, which might be longer if it knew what follows. So masks say what comes next, whether
the tokens are then appended in one go or one at a time, and both write the same. Only where the canonical spelling
would take more tokens than a budget has left, others are allowed too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fairlead.errors import GrammarError

if TYPE_CHECKING:
    from fairlead._core import GrammarMatcher
    from fairlead.models._gated_grammar import GatedMatcher

__all__ = ["CanonicalSpans", "JumpProcessor"]

# Fewer characters than this make no token whose end is certain.
_LEAST = 2


class CanonicalSpans:
    """The canonical tokens of forced texts, for one tokenizer.

    Args:
        encode: From text to token ids, without special tokens.
        vocabulary: What each id writes.
    """

    def __init__(self, encode: Callable[[str], list[int]], vocabulary: Sequence[bytes | None]) -> None:
        self._encode = encode
        self._vocabulary = vocabulary
        self._known: dict[str, list[int]] = {}

    def tokens(self, text: str) -> list[int]:
        """Tokens that write the beginning of a forced text; the last one, whose end isn't certain, is left out."""
        span = self._known.get(text)
        if span is None:
            span = self._known[text] = self._spell(text)
        return span

    def _spell(self, text: str) -> list[int]:
        span, left = [], text.encode()
        for token in self._encode(text)[:-1]:
            written = self._vocabulary[token] if 0 <= token < len(self._vocabulary) else None
            # A tokenizer may write a space in front, or normalise.
            if not written or not left.startswith(written):
                break
            span.append(token)
            left = left[len(written) :]
        return span


class JumpProcessor:
    """A logits processor for one row that follows its grammar and, in a forced text, allows the canonical token only.

    Args:
        matcher: At the beginning of the output.
        spans: The tokenizer's canonical tokens.
        prompt_length: Tokens of the prompt.
        token_budget: How many tokens the output may have; the matcher's own.
    """

    def __init__(
        self,
        matcher: GrammarMatcher | GatedMatcher,
        spans: CanonicalSpans,
        prompt_length: int,
        token_budget: int | None = None,
    ) -> None:
        from fairlead._core import allocate_token_bitmask

        self._matcher = matcher
        self._spans = spans
        self._read = prompt_length
        self._left = token_budget
        self._stop = frozenset(matcher.stop_token_ids)
        self._bitmask = allocate_token_bitmask(1, matcher.vocab_size)
        self._span: list[int] = []
        self._ended = False
        self.mask_seconds = 0.0
        """Time spent in calls so far, in seconds."""
        self._plan()

    def forced(self, input_ids: Any) -> list[int]:
        """The tokens that must follow these ids."""
        started = time.perf_counter()
        self._advance(input_ids)
        self.mask_seconds += time.perf_counter() - started
        return list(self._span)

    def _advance(self, input_ids: Any) -> None:
        new = input_ids[0, self._read :].tolist()
        self._read = int(input_ids.shape[1])
        for token in new:
            if self._ended or token in self._stop:
                self._ended = True
                self._span = []
                return
            if not self._matcher.accept_token(token):
                raise GrammarError(f"token {token} was sampled against the mask")
            if self._left is not None:
                self._left -= 1
            if self._span:
                # A span is followed to its end: what would be planned from its middle could be spelled otherwise.
                assert self._span[0] == token
                del self._span[0]
            if not self._span:
                self._plan()

    def _plan(self) -> None:
        text = self._matcher.find_jump_forward_string()
        if len(text) < _LEAST:
            return
        planned = self._spans.tokens(text)
        if planned:
            ahead = self._matcher.fork()
            accepted = 0
            while accepted < len(planned) and ahead.accept_token(planned[accepted]):
                accepted += 1
            if self._fits(ahead, accepted):
                self._span = planned[:accepted]

    def _fits(self, ahead: GrammarMatcher | GatedMatcher, written: int) -> bool:
        """Whether the output can still be completed in time; where the canonical spelling is too long, any will do."""
        if self._left is None:
            return True
        rest = ahead.completion_tokens()
        return rest is None or written + len(rest) + 1 <= self._left

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Mask the scores of the next token, in place; ``(1, prompt + generated)`` and ``(1, vocabulary)``."""
        started = time.perf_counter()
        try:
            return self._masked(input_ids, scores)
        finally:
            self.mask_seconds += time.perf_counter() - started

    def _masked(self, input_ids: Any, scores: Any) -> Any:
        import torch

        from fairlead.bitmask.torch import apply_token_bitmask_inplace, as_tensor, to_bool

        self._advance(input_ids)
        if self._span:
            masked = torch.full_like(scores, float("-inf"))
            masked[:, self._span[0]] = 0.0
            return masked
        if self._ended:
            return scores
        needed = self._matcher.fill_next_token_bitmask(self._bitmask)
        if not needed and scores.shape[-1] <= self._matcher.vocab_size:
            return scores
        apply_token_bitmask_inplace(scores, self._bitmask, None)
        if scores.amax() == float("-inf"):
            # An earlier processor excluded all that the grammar allows; the grammar has the last word.
            allowed = to_bool(as_tensor(self._bitmask)[0], scores.shape[-1], scores.device)
            if not allowed.any():
                raise GrammarError(
                    "the vocabulary has no token that the grammar allows here, and the text isn't complete"
                )
            scores.masked_fill_(allowed, 0.0)
        return scores
