"""Prompt lookup: what comes next is guessed from what stands already in the text.

An agent's model repeats code, names and observations of its own history. Guesses are read together with the last
token, in one forward pass; of them those stay that the model would have chosen itself (prompt lookup decoding, Saxena
2023, https://github.com/apoorvumang/prompt-lookup-decoding).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import takewhile

__all__ = ["PromptLookup"]

_FIRST_GUESS = 4


class PromptLookup:
    """The tokens of one text, and where in it each short run of them stood last.

    How much is guessed follows how well it went: twice as much after a guess that was right to its end, about half of
    it after a wrong one, so that a text without repetitions costs little more than without guesses.

    Args:
        most: How many tokens a guess may have.
        longest_match: How many tokens at the end of the text are looked up, if there is such a place; else fewer.
        never: Tokens that no guess has, such as those that stand for a picture.
    """

    def __init__(self, most: int, longest_match: int = 2, never: Collection[int] = ()) -> None:
        self._most = most
        self._never = frozenset(never)
        self._size = min(most, _FIRST_GUESS)
        self._tokens: list[int] = []
        # For each length of a run, from long to short: where what follows it stood last.
        self._behind: list[tuple[int, dict[tuple[int, ...], int]]] = [
            (length, {}) for length in range(longest_match, 0, -1)
        ]

    def __len__(self) -> int:
        return len(self._tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """Append tokens to the text."""
        text = self._tokens
        for token in tokens:
            at = len(text)
            for length, behind in self._behind:
                if at >= length:
                    behind[tuple(text[at - length :])] = at
            text.append(token)

    def guess(self, limit: int) -> list[int]:
        """What may come next, at most ``limit`` tokens; a text that repeats itself is continued in its rhythm."""
        text = self._tokens
        for length, behind in self._behind:
            at = behind.get(tuple(text[-length:])) if len(text) >= length else None
            if at is not None:
                period = len(text) - at
                guess = (text[at + n % period] for n in range(min(limit, self._size)))
                return list(takewhile(lambda token: token not in self._never, guess))
        return []

    def learn(self, guessed: int, right: int) -> None:
        """Say how many tokens of a guess were right."""
        if right < guessed:
            self._size = max(1, (self._size + right) // 2)
        elif guessed:
            self._size = min(self._most, 2 * self._size)
