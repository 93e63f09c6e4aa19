"""Matchers: one text being written under a grammar, and many at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from fairlead import _core
from fairlead.xgrammar._compiler import unwrapped
from fairlead.xgrammar.exception import GrammarError

if TYPE_CHECKING:
    import torch

__all__ = ["BatchGrammarMatcher", "GrammarMatcher"]


class GrammarMatcher:
    """Follows one text; XGrammar's class over ``fairlead.GrammarMatcher``, which is its attribute ``matcher``.

    Args:
        compiled_grammar: What ``GrammarCompiler`` made.
        override_stop_tokens: Only the tokenizer's own: give others to TokenizerInfo.
        terminate_without_stop_token: Terminated as soon as nothing can follow.
        max_rollback_tokens: -1: all of them.
        default_temperature: Only None.

    Raises:
        GrammarError: An argument that isn't supported.
    """

    def __init__(
        self,
        compiled_grammar: Any,
        *,
        override_stop_tokens: list[int] | int | None = None,
        terminate_without_stop_token: bool = False,
        max_rollback_tokens: int = -1,
        default_temperature: float | None = None,
    ) -> None:
        if default_temperature is not None:
            raise GrammarError("temperatures aren't the business of a grammar here")
        self.matcher = _core.GrammarMatcher(
            unwrapped(compiled_grammar),
            max_rollback_tokens=max_rollback_tokens,
            terminate_without_stop_token=terminate_without_stop_token,
        )
        self._max_rollback = max_rollback_tokens
        if override_stop_tokens is not None:
            wanted = {override_stop_tokens} if isinstance(override_stop_tokens, int) else set(override_stop_tokens)
            if wanted != set(self.matcher.stop_token_ids):
                raise GrammarError("other stop tokens have to be given to TokenizerInfo(stop_token_ids=...)")

    def accept_token(self, token_id: int, *, debug_print: bool = False) -> bool:
        """Take a token; False, with nothing changed, if the grammar refuses it."""
        return self.matcher.accept_token(token_id)

    def accept_string(self, input_str: str | bytes, *, debug_print: bool = False) -> bool:
        """Take a text as one step; False, with nothing changed, if the grammar refuses it."""
        return self.matcher.accept_string(input_str)

    def fill_next_token_bitmask(self, bitmask: Any, index: int = 0, *, debug_print: bool = False) -> bool:
        """Write the mask of the next token into a row; whether anything is masked."""
        return self.matcher.fill_next_token_bitmask(bitmask, index)

    def traverse_draft_tree(
        self,
        retrieve_next_token: torch.Tensor,
        retrieve_next_sibling: torch.Tensor,
        draft_tokens: torch.Tensor,
        token_bitmask: torch.Tensor,
        time_threshold: float = -1.0,
        temperatures: torch.Tensor | None = None,
    ) -> bool:
        """Write the mask behind each node of a tree of draft tokens into its row.

        Node 0 is the token that was accepted last. Nodes that the grammar refuses, and all below them, keep their
        rows. The matcher stays where it is.

        Args:
            retrieve_next_token: The first child of each node, -1 for none; shape ``(nodes,)``.
            retrieve_next_sibling: Its next sibling, -1 for none.
            draft_tokens: Its token.
            token_bitmask: Shape ``(nodes, words)``, int32, on the CPU.
            time_threshold: Seconds after which no further node is visited; negative: none.
            temperatures: Only None.

        Returns:
            False if time ran out.

        Raises:
            GrammarError: The tensors aren't of one length, or temperatures are given.
        """
        if temperatures is not None:
            raise GrammarError("temperatures aren't the business of a grammar here")
        child, sibling, tokens = (t.tolist() for t in (retrieve_next_token, retrieve_next_sibling, draft_tokens))
        if not len(child) == len(sibling) == len(tokens) == len(token_bitmask):
            raise GrammarError("a tree has a child, a sibling, a token and a row of the bitmask for each node")
        end = None if time_threshold < 0 else time.monotonic() + time_threshold
        walker = self.matcher.fork()
        walker.fill_next_token_bitmask(token_bitmask, 0)
        # (node, what is taken back before it is visited)
        todo = [(child[0], 0)] if child and child[0] != -1 else []
        depth = 0
        while todo:
            if end is not None and time.monotonic() > end:
                return False
            node, level = todo.pop()
            if depth > level:
                walker.rollback(depth - level)
                depth = level
            if sibling[node] != -1:
                todo.append((sibling[node], level))
            if walker.is_terminated() or not walker.accept_token(tokens[node]):
                continue
            depth += 1
            walker.fill_next_token_bitmask(token_bitmask, node)
            if child[node] != -1:
                todo.append((child[node], depth))
        return True

    def find_jump_forward_string(self) -> str:
        """The text that must come next."""
        return self.matcher.find_jump_forward_string()

    def find_jump_forward_tokens(self) -> list[int]:
        """Tokens of the text that must come next, each the longest that there is; a last one that a longer token begins
        with is left out. A tokenizer may write the same text by others: ``fairlead.GrammarMatcher.forced_tokens``.
        """
        return self.matcher.find_jump_forward_tokens()

    def rollback(self, num_tokens: int = 1) -> None:
        """Take back accepted tokens."""
        self.matcher.rollback(num_tokens)

    def get_captures(self, *, deduplicate: bool = True) -> list[tuple[str, bytes]]:
        """What rules with the attribute ``capture`` stand for, in the order in which they end.

        The whole text is parsed when this is called, and one derivation is read off it: that in which each piece
        takes as much as it can.

        Args:
            deduplicate: Only True; ends that a rule might have had aren't kept.

        Raises:
            GrammarError: The text isn't complete, or ``deduplicate=False``.
            LimitExceeded: The text takes too many steps.
        """
        if not deduplicate:
            raise GrammarError("get_captures(deduplicate=False): ends that a rule might have had aren't kept")
        return self.matcher.marked_captures()

    def is_terminated(self) -> bool:
        """Whether a stop token was accepted."""
        return self.matcher.is_terminated()

    def is_completed(self) -> bool:
        """Whether what was accepted is a whole sentence."""
        return self.matcher.is_completed()

    def reset(self) -> None:
        """Back to the start."""
        self.matcher.reset()

    def fork(self) -> GrammarMatcher:
        """An independent matcher in the same state."""
        copied = GrammarMatcher.__new__(GrammarMatcher)
        copied.matcher = self.matcher.fork()
        copied._max_rollback = self._max_rollback
        return copied

    @property
    def max_rollback_tokens(self) -> int:
        """As it was given."""
        return self._max_rollback

    @property
    def temperature(self) -> float | None:
        """None."""
        return None

    @property
    def stop_token_ids(self) -> list[int]:
        """Ids that end a text."""
        return self.matcher.stop_token_ids


class BatchGrammarMatcher:
    """Works on many matchers at once, on threads, with the interpreter released.

    Args:
        max_threads: The caller's thread included; ``"auto"``, the default, is one for each processor.
    """

    def __init__(self, max_threads: int | Literal["auto"] = "auto") -> None:
        self.max_threads = max_threads

    def batch_fill_next_token_bitmask(
        self,
        matchers: list[GrammarMatcher],
        bitmask: Any,
        indices: list[int] | None = None,
        debug_print: bool = False,
    ) -> None:
        """Write the masks of all matchers into their rows; default: row i for matcher i. Other rows stay as they are.

        Raises:
            GrammarError: Two matchers have one row, or there are more or fewer indices than matchers.
            IndexError: The bitmask has no such row.
            ValueError: A matcher stands in the batch twice.
        """
        rows: list[_core.GrammarMatcher | None] = [matcher.matcher for matcher in matchers]
        if indices is not None:
            if len(indices) != len(rows):
                raise GrammarError("there must be one index for each matcher")
            inner, rows = rows, [None] * len(bitmask)
            for matcher, index in zip(inner, indices, strict=True):
                if not 0 <= index < len(rows):
                    raise IndexError(f"the bitmask has no row {index}")
                if rows[index] is not None:
                    raise GrammarError(f"two matchers have row {index}")
                rows[index] = matcher
        _core.fill_batch(rows, bitmask, max_threads=None if self.max_threads == "auto" else self.max_threads)

    @staticmethod
    def batch_fill_temperature(
        matchers: list[GrammarMatcher], temperatures: torch.Tensor, indices: list[int] | None = None
    ) -> None:
        """Not there.

        Raises:
            GrammarError: Always.
        """
        raise GrammarError("temperatures aren't the business of a grammar here")

    @staticmethod
    def batch_accept_token(matchers: list[GrammarMatcher], tokens: list[int], debug_print: bool = False) -> list[bool]:
        """One token for each matcher."""
        return [matcher.accept_token(token) for matcher, token in zip(matchers, tokens, strict=True)]

    @staticmethod
    def batch_accept_string(
        matchers: list[GrammarMatcher], strings: list[bytes | str], debug_print: bool = False
    ) -> list[bool]:
        """One text for each matcher."""
        return [matcher.accept_string(text) for matcher, text in zip(matchers, strings, strict=True)]

    @staticmethod
    def batch_rollback(matchers: list[GrammarMatcher], num_tokens: list[int] | int = 1) -> None:
        """Take back tokens of each."""
        counts = [num_tokens] * len(matchers) if isinstance(num_tokens, int) else num_tokens
        for matcher, count in zip(matchers, counts, strict=True):
            matcher.rollback(count)
