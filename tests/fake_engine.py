"""A grammar of finitely many texts in plain Python, with the interface of the engine's classes.

It is slow and obviously right: a token is allowed if the text so far and the token are the beginning of one of the
texts. Tests of what stands around the engine compare with it, or use it in the engine's place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from fairlead.bitmask import numpy as bnp
from fairlead.tokenizer import TokenizerInfo


class Vocabulary:
    """What a processor asks of a vocabulary."""

    def __init__(self, info: TokenizerInfo) -> None:
        self.info = info
        self.stop_token_ids = info.stop_token_ids

    def token_bytes(self, token_id: int) -> bytes | None:
        return self.info.token_bytes(token_id)


class CompiledGrammar:
    """All texts of a list."""

    def __init__(self, info: TokenizerInfo, texts: list[str]) -> None:
        self.info = info
        self.texts = [text.encode() for text in texts]
        self.vocabulary = Vocabulary(info)
        self.vocab_size = info.vocab_size
        self._masks: dict[bytes, Any] = {}

    def allowed(self, written: bytes) -> Any:
        """Booleans over the vocabulary: what may follow the text so far."""
        if written not in self._masks:
            self._masks[written] = self._allowed(written)
        return self._masks[written]

    def _allowed(self, written: bytes) -> Any:
        rests = [text[len(written) :] for text in self.texts if text.startswith(written)]
        out = np.zeros(self.vocab_size, dtype=np.bool_)
        for i, token in enumerate(self.info.decoded_vocab):
            out[i] = token is not None and any(rest.startswith(token) for rest in rests)
        out[self.info.stop_token_ids] = b"" in rests
        return out


class GrammarMatcher:
    """The state of one text."""

    made = 0
    forked = 0

    def __init__(self, compiled: CompiledGrammar, token_budget: int | None = None) -> None:
        self.compiled = compiled
        self.history = [b""]
        GrammarMatcher.made += 1

    def fill_next_token_bitmask(self, bitmask: Any, index: int = 0) -> bool:
        allowed = self.compiled.allowed(self.history[-1])
        np.asarray(bitmask)[index] = bnp.from_bool(allowed)[0]
        return not allowed.all()

    def accept_token(self, token_id: int) -> bool:
        if not self.compiled.allowed(self.history[-1])[token_id]:
            return False
        assert token_id not in self.compiled.info.stop_token_ids
        self.history.append(self.history[-1] + (self.compiled.info.token_bytes(token_id) or b""))
        return True

    def rollback(self, count: int) -> None:
        assert 0 < count < len(self.history)
        del self.history[len(self.history) - count :]

    def fork(self) -> GrammarMatcher:
        other = GrammarMatcher.__new__(GrammarMatcher)
        other.compiled, other.history = self.compiled, list(self.history)
        GrammarMatcher.forked += 1
        return other
