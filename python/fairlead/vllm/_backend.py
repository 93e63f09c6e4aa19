"""fairlead's engine behind vLLM's interface for structured outputs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from vllm.v1.structured_output.backend_types import (
    StructuredOutputBackend,
    StructuredOutputGrammar,
    StructuredOutputOptions,
)

from fairlead.vllm._compile import MatcherFactory, read_constraint
from fairlead.vllm._plugin import budget_of_request

if TYPE_CHECKING:
    from fairlead._core import GrammarMatcher
    from fairlead.models._gated_grammar import GatedMatcher

__all__ = ["FairleadBackend", "FairleadGrammar"]


class FairleadGrammar(StructuredOutputGrammar):
    """Where one request stands in its grammar.

    Args:
        matcher: At the beginning.
    """

    def __init__(self, matcher: GrammarMatcher | GatedMatcher) -> None:
        self._matcher = matcher

    def accept_tokens(self, request_id: str, tokens: list[int]) -> bool:
        """Take tokens that were sampled; what follows an end is ignored. False if one isn't allowed."""
        del request_id
        for token in tokens:
            if self._matcher.is_terminated():
                break
            if not (0 <= token < self._matcher.vocab_size and self._matcher.accept_token(token)):
                return False
        return True

    def validate_tokens(self, tokens: list[int]) -> list[int]:
        """The longest beginning of a draft that is allowed; nothing is taken."""
        matcher = self._matcher.fork()
        allowed = 0
        for token in tokens:
            if matcher.is_terminated() or not (0 <= token < matcher.vocab_size and matcher.accept_token(token)):
                break
            allowed += 1
        return tokens[:allowed]

    def rollback(self, num_tokens: int) -> None:
        """Take tokens back."""
        self._matcher.rollback(num_tokens)

    def fill_bitmask(self, bitmask: torch.Tensor, batch_index: int) -> None:
        """Write the mask of the next token: int32 of shape ``(rows, ceil(vocab / 32))``, on the CPU."""
        self._matcher.fill_next_token_bitmask(bitmask.numpy(), batch_index)

    def is_terminated(self) -> bool:
        """Whether a stop token was taken."""
        return self._matcher.is_terminated()

    def reset(self) -> None:
        """Go back to the beginning."""
        self._matcher.reset()


class FairleadBackend(StructuredOutputBackend):
    """Compiles the constraints of an engine's requests.

    Args:
        vllm_config: The engine's configuration.
        tokenizer: Its tokenizer.
        vocab_size: Width of the model's logits.

    Raises:
        ConfigurationError: Its options for fairlead are unknown.
    """

    def __init__(self, vllm_config: Any, tokenizer: Any, vocab_size: int) -> None:
        super().__init__(vllm_config, tokenizer, vocab_size)
        self._budget = budget_of_request(vllm_config)
        self._factory = MatcherFactory(tokenizer, vocab_size)
        self._compact = bool(vllm_config.structured_outputs_config.disable_any_whitespace)
        speculative = vllm_config.speculative_config
        self._most_drafts = 0 if speculative is None else int(speculative.num_speculative_tokens)

    def compile_grammar(
        self, request_type: StructuredOutputOptions, grammar_spec: str, stop_token_ids: set[int] | None = None
    ) -> FairleadGrammar:
        """Compile what a request asks for; mistakes fail this request alone."""
        spec = read_constraint(request_type.name.lower(), grammar_spec, compact=self._compact)
        if spec.token_budget is None:
            spec = replace(spec, token_budget=self._budget())
        return FairleadGrammar(self._factory.new_matcher(spec, stop_token_ids, max_rollback_tokens=self._most_drafts))

    def allocate_token_bitmask(self, max_num_seqs: int) -> torch.Tensor:
        """Masks that allow everything, int32 of shape ``(max_num_seqs, ceil(vocab / 32))``."""
        return torch.full((max_num_seqs, (self.vocab_size + 31) // 32), -1, dtype=torch.int32)

    def destroy(self) -> None:
        """Nothing is held beside Python objects."""
