"""A grammar that begins to count behind a closing tag: what a reasoning model's answer is held to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from fairlead.errors import LimitExceeded
from fairlead.tools._filter import overlap

if TYPE_CHECKING:
    from fairlead._core import CompiledGrammar, GrammarMatcher, Vocabulary
    from fairlead.tokenizer import TokenizerInfo

__all__ = ["GatedGrammar", "GatedMatcher"]


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
        self._tag = _tag_tokens(info, self.close)
        self._masks: dict[bytes, _ReasoningMask] = {}
        self._newlines: list[tuple[int, int]] | None = None
        self._ways: dict[bytes, list[tuple[int, int]]] | None = None
        self._answer: int | None = None

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

    def new_matcher(self, token_budget: int | None = None) -> GatedMatcher:
        """A matcher at the beginning of the reasoning.

        Args:
            token_budget: How many tokens reasoning and answer may have, tag and stop token among them: the reasoning
                is closed in time for the shortest answer that is known. Default None, no bound; nor is there one where
                no such answer is found.

        Raises:
            LimitExceeded: The tag and the shortest answer take more.
        """
        if token_budget is not None:
            least = self.tokens_to_close(b"") + self.answer_tokens
            if least >= _NO_WAY:
                token_budget = None
            elif least > token_budget:
                raise LimitExceeded(
                    f"a budget of {token_budget} tokens is too small: ending the reasoning and completing the answer "
                    f"takes {least}, the stop token among them"
                )
        return GatedMatcher(self, token_budget)

    def newlines(self, most: int) -> list[int]:
        """Tokens that are line ends, at most so many."""
        if self._newlines is None:
            wanted = (b"\n", b"\n\n")
            self._newlines = [(len(text), token) for token, text in enumerate(self.decoded_vocab) if text in wanted]
        return [token for length, token in self._newlines if length <= most]

    def fresh(self, token_budget: int | None = None) -> GrammarMatcher:
        """A matcher at the beginning of the answer; without a bound if its shortest text takes more."""
        from fairlead._core import GrammarMatcher

        try:
            return GrammarMatcher(self.compiled, token_budget=token_budget)
        except LimitExceeded:
            return GrammarMatcher(self.compiled)

    def answer_begin(self, text: bytes, token_budget: int | None = None) -> tuple[bytes, GrammarMatcher | None]:
        """The line ends that a text behind the tag begins with, and a matcher behind the text; None if it is wrong."""
        rest = text.lstrip(b"\n") if self.strips else text
        gap = text[: len(text) - len(rest)]
        matcher = self.fresh(token_budget)
        if len(gap) > 2 or (rest and not matcher.accept_string(rest)):
            return gap, None
        return gap, matcher

    # What a budget needs to know.

    @property
    def answer_tokens(self) -> int:
        """What the shortest answer that is known takes, the stop token among them."""
        if self._answer is None:
            self._answer = _tokens_left(self.fresh())
        return self._answer

    def tokens_to_close(self, held: bytes) -> int:
        """The fewest tokens that write the rest of the tag behind its beginning ``held``."""
        ways = self.ways_to_close(held)
        return 1 + min((rest for _, rest in ways), default=_NO_WAY)

    def ways_to_close(self, held: bytes) -> list[tuple[int, int]]:
        """Tokens that bring the tag nearer behind its beginning ``held``, each with how many must follow it."""
        if self._ways is None:
            self._ways = self._find_ways()
        return self._ways[held]

    def _find_ways(self) -> dict[bytes, list[tuple[int, int]]]:
        close, parts = self.close, [*self._tag.parts, *self.special.items()]
        beginnings = [close[:length] for length in range(len(close))]
        steps = {
            held: [
                (token, None if close in held + text else _begun(held + text, close))
                for token, text in parts
                if token in self.special or close.startswith(held + text)
            ]
            for held in beginnings
        }
        # Shortest ways from every beginning to the end, by relaxation: a special token may lead back to an earlier one.
        least: dict[bytes | None, int] = {None: 0}
        for _ in beginnings:
            for held in reversed(beginnings):
                known = [1 + least[to] for _, to in steps[held] if to in least]
                if known:
                    least[held] = min(known)
        return {held: [(token, least[to]) for token, to in steps[held] if to in least] for held in beginnings}

    def mask(self, held: bytes, left: int | None = None) -> bytes:
        """The bits of the tokens that are allowed in the reasoning.

        Args:
            held: The beginning of the tag that the reasoning ends with.
            left: How many tokens may still be written; None: any number.
        """
        known = self._masks.get(held)
        if known is None:
            known = self._masks[held] = self._make_mask(held)
        if left is None or left > known.most:
            return known.bits
        ways = self.ways_to_close(held)
        if left - 1 < known.closing:
            # From here on only the tag may be written, and what begins the answer with it.
            fine = [token for token, rest in ways if rest + self.answer_tokens < left]
            fine += [token for token, rest in known.crossing if rest < left]
            bits = bytearray(len(known.bits))
            for token in fine:
                bits[token // 8] |= 1 << token % 8
            # What can't be completed in time is better written on than given up.
            return bytes(bits) if fine else known.bits
        bits = bytearray(known.bits)
        for token, rest in known.crossing:
            if rest >= left:
                bits[token // 8] &= ~(1 << token % 8)
        return bytes(bits)

    def _make_mask(self, held: bytes) -> _ReasoningMask:
        width = (self.vocab_size + 31) // 32
        bits = bytearray(b"\xff" * (4 * width))
        forbidden = set(self.stop_token_ids)
        crossing = []
        for token in self._tag.crossing:
            text = held + (self.decoded_vocab[token] or b"")
            at = text.find(self.close)
            if at < 0:
                continue
            matcher = self.answer_begin(text[at + len(self.close) :])[1]
            if matcher is None:
                forbidden.add(token)
            elif (rest := _tokens_left(matcher)) < _NO_WAY:
                crossing.append((token, rest))
        forbidden.update(range(self.vocab_size, 32 * width))
        for token in forbidden:
            bits[token // 8] &= ~(1 << token % 8)
        closing = max(self.tokens_to_close(self.close[:length]) for length in range(len(self.close)))
        closing += self.answer_tokens
        return _ReasoningMask(bytes(bits), crossing, closing)


class _ReasoningMask:
    """What is allowed in the reasoning.

    Attributes:
        bits: Of the tokens.
        crossing: Tokens that end the tag and begin the answer, with what completing it takes then.
        closing: What ending the reasoning and the answer takes wherever the reasoning stands.
        most: With more tokens left than this, nothing has to be left out.
    """

    __slots__ = ("bits", "closing", "crossing", "most")

    def __init__(self, bits: bytes, crossing: list[tuple[int, int]], closing: int) -> None:
        self.bits = bits
        self.crossing = crossing
        self.closing = closing
        self.most = max([closing, *(rest for _, rest in crossing)])


# Tokens that something takes of which no way to its end is known: more than any budget.
_NO_WAY = 1 << 40


def _tokens_left(matcher: GrammarMatcher) -> int:
    """What completing a text takes, the stop token among them."""
    tokens = matcher.completion_tokens()
    return _NO_WAY if tokens is None else len(tokens) + 1


class _TagTokens:
    """The tokens of a vocabulary that matter to a tag.

    Attributes:
        crossing: May end it in their middle: what follows in them belongs to the answer already.
        parts: Are parts of it, with their texts.
    """

    __slots__ = ("crossing", "parts")

    def __init__(self, info: TokenizerInfo, close: bytes) -> None:
        tails = [close[n:] for n in range(1, len(close))]
        self.crossing: list[int] = []
        self.parts: list[tuple[int, bytes]] = []
        for token, text in enumerate(info.decoded_vocab):
            if not text:
                continue
            if text in close:
                self.parts.append((token, text))
            if close[-1] in text and (
                close in text[:-1] or any(text.startswith(tail) and len(text) > len(tail) for tail in tails)
            ):
                self.crossing.append(token)


# Looking through a vocabulary takes a while: once for each tag.
_TAGS: WeakKeyDictionary[TokenizerInfo, dict[bytes, _TagTokens]] = WeakKeyDictionary()


def _tag_tokens(info: TokenizerInfo, close: bytes) -> _TagTokens:
    known = _TAGS.setdefault(info, {})
    if close not in known:
        known[close] = _TagTokens(info, close)
    return known[close]


def _begun(text: bytes, close: bytes) -> bytes:
    """The longest end of a text that is a proper beginning of the tag: all of the text that matters."""
    return close[: overlap(text, close)]


class GatedMatcher:
    """Where one output stands: in the reasoning, between it and the answer, or in the answer. As a GrammarMatcher."""

    def __init__(self, gated: GatedGrammar, token_budget: int | None = None) -> None:
        self._gated = gated
        self._budget = token_budget
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

    def _left(self) -> int | None:
        """How many tokens may still be written, before the answer's grammar has taken over."""
        return None if self._budget is None else max(0, self._budget - len(self._states) + 1)

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
        # What is behind the tag in this token counts as one, as the token does.
        gap, matcher = gated.answer_begin(rest, self._left())
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
            mask = self._gated.mask(held, self._left())
            view[index * len(mask) : (index + 1) * len(mask)] = mask
            return True
        left = self._left()
        self._gated.fresh(left).fill_next_token_bitmask(bitmask, index)
        if self._gated.strips and len(gap) < 2 and (left is None or left > self._gated.answer_tokens):
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
        copied = GatedMatcher(self._gated, self._budget)
        copied._states = list(self._states)
        copied._matcher = None if self._matcher is None else self._matcher.fork()
        copied._accepted = self._accepted
        return copied

    def find_jump_forward_string(self) -> str:
        """What the grammar forces; nothing in the reasoning."""
        return "" if self._matcher is None else self._matcher.find_jump_forward_string()

    def completion_tokens(self) -> list[int] | None:
        """Tokens that complete the answer; None in the reasoning, whose end is nobody's business but the budget's."""
        return None if self._matcher is None else self._matcher.completion_tokens()

    def is_completed(self) -> bool:
        """Whether the answer is whole."""
        if self._matcher is None:
            return self._gap_bytes() is not None and self._gated.fresh().is_completed()
        return self._matcher.is_completed()

    def is_terminated(self) -> bool:
        """Whether a stop token was accepted."""
        return self._matcher is not None and self._matcher.is_terminated()
