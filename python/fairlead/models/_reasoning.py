"""Reasoning models: what they think stands between two tags before the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from fairlead.errors import ConfigurationError

if TYPE_CHECKING:
    from fairlead._core import CompiledGrammar, GrammarMatcher, Vocabulary
    from fairlead.tokenizer import TokenizerInfo

__all__ = ["GatedGrammar", "GatedMatcher", "ReasoningFilter", "check_reasoning", "reasoning_state"]

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
                kept = next(
                    (n for n in range(min(len(self._close) - 1, len(thought)), 0, -1)
                     if thought.endswith(self._close[:n])),
                    0,
                )  # fmt: skip
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


class GatedGrammar:
    """A compiled grammar that begins to count behind a closing tag; until there everything but an end is allowed.

    Up to two line ends may stand between the tag and a grammar none of whose texts begins with one; they belong to
    neither.

    Args:
        compiled: The grammar of the answer.
        info: The vocabulary.
        close: The closing tag.
        special: Special tokens that are the tag or parts of it, with their texts.

    Attributes:
        strips: Whether line ends are allowed in front of the answer.
    """

    def __init__(
        self, compiled: CompiledGrammar, info: TokenizerInfo, close: str, special: Mapping[int, str] | None = None
    ) -> None:
        self.compiled = compiled
        self.close = close.encode()
        self.special = {token: text.encode() for token, text in (special or {}).items()}
        self.decoded_vocab = info.decoded_vocab
        self.strips = not self.fresh().accept_string("\n")
        self._crossing = _crossing_tokens(info, self.close)
        self._masks: dict[bytes, bytes] = {}
        self._newlines: list[tuple[int, int]] | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """As of the compiled grammar."""
        return self.compiled.vocabulary

    @property
    def vocab_size(self) -> int:
        """As of the compiled grammar."""
        return self.compiled.vocab_size

    @property
    def stop_token_ids(self) -> list[int]:
        """As of the compiled grammar."""
        return self.compiled.stop_token_ids

    def new_matcher(self) -> GatedMatcher:
        """A matcher at the beginning of the reasoning."""
        return GatedMatcher(self)

    def newlines(self, most: int) -> list[int]:
        """Tokens that are line ends, at most so many."""
        if self._newlines is None:
            wanted = (b"\n", b"\n\n")
            self._newlines = [(len(text), token) for token, text in enumerate(self.decoded_vocab) if text in wanted]
        return [token for length, token in self._newlines if length <= most]

    def fresh(self) -> GrammarMatcher:
        """A matcher at the beginning of the answer."""
        from fairlead._core import GrammarMatcher

        return GrammarMatcher(self.compiled)

    def answer_begin(self, text: bytes) -> tuple[bytes, GrammarMatcher | None]:
        """The line ends that a text behind the tag begins with, and a matcher behind the text; None if it is wrong."""
        rest = text.lstrip(b"\n") if self.strips else text
        gap = text[: len(text) - len(rest)]
        matcher = self.fresh()
        if len(gap) > 2 or (rest and not matcher.accept_string(rest)):
            return gap, None
        return gap, matcher

    def mask(self, held: bytes) -> bytes:
        """The bits of the tokens that are allowed in the reasoning, if it ends with ``held``."""
        mask = self._masks.get(held)
        if mask is None:
            width = (self.vocab_size + 31) // 32
            bits = bytearray(b"\xff" * (4 * width))
            forbidden = set(self.stop_token_ids)
            for token in self._crossing:
                text = held + (self.decoded_vocab[token] or b"")
                at = text.find(self.close)
                if at >= 0 and self.answer_begin(text[at + len(self.close) :])[1] is None:
                    forbidden.add(token)
            forbidden.update(range(self.vocab_size, 32 * width))
            for token in forbidden:
                bits[token // 8] &= ~(1 << token % 8)
            mask = self._masks[held] = bytes(bits)
        return mask


# Looking through a vocabulary takes a while: once for each tag.
_CROSSING: WeakKeyDictionary[TokenizerInfo, dict[bytes, list[int]]] = WeakKeyDictionary()


def _crossing_tokens(info: TokenizerInfo, close: bytes) -> list[int]:
    """Tokens that may end a tag in their middle: what follows in them belongs to the answer already."""
    known = _CROSSING.setdefault(info, {})
    if close not in known:
        tails = [close[n:] for n in range(1, len(close))]
        known[close] = [
            token
            for token, text in enumerate(info.decoded_vocab)
            if text
            and close[-1] in text
            and (
                close in text[: len(text) - 1] or any(text.startswith(tail) and len(text) > len(tail) for tail in tails)
            )
        ]
    return known[close]


def _begun(text: bytes, close: bytes) -> bytes:
    """The longest end of a text that is a proper beginning of the tag: all of the text that matters."""
    for length in range(min(len(text), len(close) - 1), 0, -1):
        if close.startswith(text[len(text) - length :]):
            return close[:length]
    return b""


class GatedMatcher:
    """Where one output stands: in the reasoning, between it and the answer, or in the answer. As a GrammarMatcher."""

    def __init__(self, gated: GatedGrammar) -> None:
        self._gated = gated
        # One entry for each token before the answer's grammar took over: what the reasoning ended with then, and
        # whether the tag was closed and which line ends followed.
        self._states: list[tuple[bytes, bytes | None]] = [(b"", None)]
        self._matcher: GrammarMatcher | None = None
        self._accepted = 0

    @property
    def vocab_size(self) -> int:
        """Width of the mask."""
        return self._gated.vocab_size

    @property
    def stop_token_ids(self) -> list[int]:
        """Ids that end the text."""
        return self._gated.stop_token_ids

    def _gap_bytes(self) -> bytes | None:
        return self._states[-1][1]

    def accept_token(self, token_id: int) -> bool:
        """Take a token; False, and nothing changed, if it isn't allowed."""
        gated = self._gated
        if self._matcher is not None:
            if not self._matcher.accept_token(token_id):
                return False
            self._accepted += 1
            return True
        held, gap = self._states[-1]
        if not 0 <= token_id < gated.vocab_size:
            return False
        if token_id in gated.stop_token_ids:
            ended = gated.fresh()
            if gap is None or not ended.accept_token(token_id):
                return False
            self._states.append((b"", gap))
            self._matcher = ended
            return True
        data = gated.decoded_vocab[token_id] or b""
        if gap is None:
            text = held + gated.special.get(token_id, data)
            at = text.find(gated.close)
            if at < 0:
                self._states.append((_begun(text, gated.close), None))
                return True
            rest = text[at + len(gated.close) :]
        else:
            if not data:
                return False
            rest = gap + data
        gap, matcher = gated.answer_begin(rest)
        if matcher is None:
            return False
        self._states.append((b"", gap))
        if rest != gap:
            self._matcher = matcher
        return True

    def fill_next_token_bitmask(self, bitmask: Any, index: int = 0) -> bool:
        """Write the mask of the next token into row ``index``."""
        if self._matcher is not None:
            return bool(self._matcher.fill_next_token_bitmask(bitmask, index))
        held, gap = self._states[-1]
        if gap is None:
            view = memoryview(bitmask).cast("B")
            mask = self._gated.mask(held)
            view[index * len(mask) : (index + 1) * len(mask)] = mask
            return True
        self._gated.fresh().fill_next_token_bitmask(bitmask, index)
        if self._gated.strips and len(gap) < 2:
            words = memoryview(bitmask).cast("B")
            width = 4 * ((self.vocab_size + 31) // 32)
            for token in self._gated.newlines(2 - len(gap)):
                words[index * width + token // 8] |= 1 << token % 8
        return True

    def rollback(self, num_tokens: int = 1) -> None:
        """Take back tokens."""
        if self._matcher is not None:
            if num_tokens <= self._accepted:
                self._matcher.rollback(num_tokens)
                self._accepted -= num_tokens
                return
            num_tokens -= self._accepted
            self._matcher, self._accepted = None, 0
        if num_tokens >= len(self._states):
            raise ValueError(f"cannot roll back {num_tokens} tokens of {len(self._states) - 1}")
        if num_tokens:
            del self._states[-num_tokens:]

    def reset(self) -> None:
        """Go back to the beginning."""
        self._states = [(b"", None)]
        self._matcher, self._accepted = None, 0

    def fork(self) -> GatedMatcher:
        """A matcher at the same place that goes its own way."""
        copied = GatedMatcher(self._gated)
        copied._states = list(self._states)
        copied._matcher = None if self._matcher is None else self._matcher.fork()
        copied._accepted = self._accepted
        return copied

    def find_jump_forward_string(self) -> str:
        """What the grammar forces; nothing in the reasoning."""
        return "" if self._matcher is None else self._matcher.find_jump_forward_string()

    def is_completed(self) -> bool:
        """Whether the answer is whole."""
        if self._matcher is None:
            return self._gap_bytes() is not None and self._gated.fresh().is_completed()
        return self._matcher.is_completed()

    def is_terminated(self) -> bool:
        """Whether a stop token was accepted."""
        return self._matcher is not None and self._matcher.is_terminated()
