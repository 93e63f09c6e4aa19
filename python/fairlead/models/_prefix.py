"""The states that a model computed for a prompt, kept for the next prompt that begins alike.

An agent sends its whole history at every step. What the model computed for the tokens that two prompts have in common
is the same in both, so only the rest has to be computed. Nothing here knows a framework: states are opaque, and the
backend says how to copy, shorten and weigh them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["PrefixCache", "common_prefix"]

S = TypeVar("S")

# A template closes a prompt with a few tokens that the next one may spell otherwise.
_CLOSING_TOKENS = 16
# Copying states costs more than computing so few.
_LEAST_COPIED = 32


@dataclass
class _Entry(Generic[S]):
    ids: list[int]
    prompt_length: int
    states: S
    size: int


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences have in common at their beginning."""
    most = min(len(one), len(other))
    at, step = 0, 256
    while at < most and one[at : at + step] == other[at : at + step]:
        at += step
    if at >= most:
        return most
    while at < most and one[at] == other[at]:
        at += 1
    return at


class PrefixCache(Generic[S]):
    """States of the latest prompts and their answers, found by the longest common beginning. Thread-safe.

    Several conversations may alternate: one that goes on takes its states with it, and gives them back longer; one
    that only begins like another gets a copy of the common part. Who takes states has them alone until he gives them
    back. What was used longest ago goes first when there is too much.

    Args:
        limit_bytes: Bytes of states to keep.
        size: How many bytes states have.
        crop: Shorten states in place to so many tokens; None if that can't be done, and only states that a prompt
            continues as a whole are of use.
        copy: New states of the first so many tokens; None if that can't be done.
    """

    def __init__(
        self,
        limit_bytes: int,
        *,
        size: Callable[[S], int],
        crop: Callable[[S, int], None] | None = None,
        copy: Callable[[S, int], S] | None = None,
    ) -> None:
        self.limit_bytes = limit_bytes
        self._size = size
        self._crop = crop
        self._copy = copy
        self._entries: list[_Entry[S]] = []  # the latest is last
        self._lock = threading.Lock()

    def take(self, ids: Sequence[int]) -> tuple[S | None, int]:
        """States for the beginning of a prompt, and of how many tokens; at least one token is always left over."""
        wanted = list(ids[:-1])
        with self._lock:
            best, length = None, 0
            for entry in self._entries:
                common = common_prefix(wanted, entry.ids)
                if common > length and (self._crop is not None or common == len(entry.ids)):
                    best, length = entry, common
            if best is None:
                return None, 0
            goes_on = length == len(best.ids) or length >= best.prompt_length - _CLOSING_TOKENS
            if not goes_on:
                if self._copy is None or length < _LEAST_COPIED:
                    return None, 0
                # Under the lock: nobody may take the original meanwhile.
                self._entries.remove(best)
                self._entries.append(best)
                return self._copy(best.states, length), length
            self._entries.remove(best)
        if length < len(best.ids):
            assert self._crop is not None
            self._crop(best.states, length)
        return best.states, length

    def give(self, ids: Sequence[int], prompt_length: int, states: S) -> None:
        """Keep states.

        Args:
            ids: The tokens that they are of.
            prompt_length: How many of them were prompt.
            states: The states; the caller doesn't touch them any more.
        """
        entry = _Entry(list(ids), prompt_length, states, self._size(states))
        with self._lock:
            # What is the beginning of this one is found in it.
            if self._copy is not None:
                self._entries = [
                    old for old in self._entries if common_prefix(old.ids, entry.ids) < len(old.ids)
                ]  # fmt: skip
            self._entries.append(entry)
            while self._entries and sum(old.size for old in self._entries) > self.limit_bytes:
                self._entries.pop(0)

    @property
    def crops(self) -> bool:
        """Whether states can be shortened."""
        return self._crop is not None

    @property
    def cuts(self) -> bool:
        """Whether states can be shortened to the beginning that is wanted."""
        return self._crop is not None

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """Bytes of the states that are kept."""
        with self._lock:
            return sum(entry.size for entry in self._entries)
