"""Reasoning models: what they think stands between two tags before the answer."""

from __future__ import annotations

from typing import Any, Literal

from fairlead.errors import ConfigurationError
from fairlead.tools._filter import overlap

__all__ = ["ReasoningFilter", "check_reasoning", "reasoning_state"]

State = Literal["start", "inside", "answer"]
Tags = tuple[str, str]


def check_reasoning(tags: Any) -> Tags | None:
    """The opening and the closing tag, or None.

    Raises:
        ConfigurationError: Not a pair of texts.
    """
    if tags is None:
        return None
    if isinstance(tags, list | tuple) and len(tags) == 2 and all(isinstance(tag, str) and tag for tag in tags):
        return (tags[0], tags[1])
    raise ConfigurationError(f'reasoning is a pair of tags such as ("<think>", "</think>"), not {tags!r}')


def reasoning_state(prompt: str, tags: Tags) -> State:
    """Where an output begins whose prompt ends with this text: templates may write one tag, or both, themselves."""
    opened, closed = prompt.rfind(tags[0]), prompt.rfind(tags[1])
    if opened > closed and not prompt[opened + len(tags[0]) :].strip():
        return "inside"
    if closed >= 0 and not prompt[closed + len(tags[1]) :].strip():
        return "answer"
    return "start"


class ReasoningFilter:
    """Divides a text that arrives in pieces into reasoning and answer.

    Args:
        tags: The opening and the closing tag.
        state: Where the text begins. "start": there is reasoning if the text begins with the opening tag.
        strip: Leave out line ends between the closing tag and the answer.
    """

    def __init__(self, tags: Tags, state: State = "start", *, strip: bool = True) -> None:
        self._open, self._close = tags
        self._state: State | Literal["gap"] = state
        self._strip = strip
        self._held = ""
        self._at_begin = state != "answer"
        self._shown: list[str] = []

    @property
    def reasoning(self) -> str:
        """All reasoning so far."""
        return "".join(self._shown).strip()

    @property
    def in_answer(self) -> bool:
        """Whether the reasoning has ended."""
        return self._state in ("gap", "answer")

    def feed(self, text: str) -> tuple[str, str]:
        """What a further piece adds to the reasoning and to the answer."""
        if self._state == "answer":
            return "", text
        text = self._held + text
        self._held = ""
        if self._at_begin and self._state != "gap":
            bare = text.lstrip()
            if len(bare) < len(self._open) and self._open.startswith(bare):
                self._held = text
                return "", ""
            self._at_begin = False
            if bare.startswith(self._open):
                self._state = "inside"
                text = bare[len(self._open) :]
            elif self._state == "start":
                self._state = "answer"
                return "", text
        if self._state == "inside":
            thought, found, text = text.partition(self._close)
            if not found:
                kept = overlap(thought, self._close)
                self._held = thought[len(thought) - kept :]
                thought = thought[: len(thought) - kept]
                self._shown.append(thought)
                return thought, ""
            self._shown.append(thought)
            self._state = "gap"
            return thought, self._gap(text)
        return "", self._gap(text)

    def _gap(self, text: str) -> str:
        if self._strip:
            text = text.lstrip("\r\n")
        if text:
            self._state = "answer"
        return text

    def finish(self) -> tuple[str, str]:
        """What was held back, now that nothing follows."""
        rest, self._held = self._held, ""
        if self._state == "start":
            return "", rest
        self._shown.append(rest)
        return rest, ""
