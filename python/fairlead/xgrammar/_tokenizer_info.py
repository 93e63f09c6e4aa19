"""Vocabularies as XGrammar takes them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import Enum
from typing import Any

from fairlead import tokenizer as ours
from fairlead.errors import TokenizerError

__all__ = ["TokenizerInfo", "VocabType"]

# Tokens that end a text where no ids are given, by their names.
_ENDS = (
    "</s>",
    "<eos>",
    "<|eos|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|end|>",
    "<|im_end|>",
    "<end_of_turn>",
    "<｜end▁of▁sentence｜>",
)
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class VocabType(Enum):
    """How the entries of a vocabulary stand for bytes."""

    RAW = 0
    BYTE_FALLBACK = 1
    BYTE_LEVEL = 2


def _byte_level() -> dict[str, int]:
    # GPT-2's table: printable bytes stand for themselves, the others for characters from 256 on.
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in plain}
    table.update({chr(256 + n): byte for n, byte in enumerate(b for b in range(256) if b not in plain)})
    return table


def _decoded(token: bytes | str, kind: VocabType, table: dict[str, int]) -> bytes:
    raw = token if isinstance(token, bytes) else token.encode()
    if kind is VocabType.RAW:
        return raw
    text = raw.decode("utf-8", "surrogateescape") if isinstance(token, bytes) else token
    if kind is VocabType.BYTE_FALLBACK:
        found = _BYTE.fullmatch(text)
        return bytes([int(found[1], 16)]) if found else text.replace("\u2581", " ").encode("utf-8", "surrogateescape")
    return bytes(table[c] for c in text) if all(c in table for c in text) else raw


class TokenizerInfo:
    """A tokenizer's vocabulary; XGrammar's class over ``fairlead.TokenizerInfo``.

    Args:
        encoded_vocab: The tokens by their ids.
        vocab_type: How they are written.
        vocab_size: Width of the model's logits. Default: as many as there are tokens.
        stop_token_ids: Ids that end a text. Default: tokens with one of the usual names.
        add_prefix_space: Whether the tokenizer puts a space in front of a text.

    Raises:
        TokenizerError: An id lies outside of the vocabulary.
    """

    def __init__(
        self,
        encoded_vocab: Sequence[bytes] | Sequence[str],
        vocab_type: VocabType = VocabType.RAW,
        *,
        vocab_size: int | None = None,
        stop_token_ids: list[int] | int | None = None,
        add_prefix_space: bool = False,
    ) -> None:
        table = _byte_level() if vocab_type is VocabType.BYTE_LEVEL else {}
        decoded = [_decoded(token, vocab_type, table) for token in encoded_vocab]
        if stop_token_ids is None:
            names = {name.encode() for name in _ENDS}
            raw = [t if isinstance(t, bytes) else t.encode() for t in encoded_vocab]
            stop_token_ids = [i for i, token in enumerate(raw) if token in names]
        self._take(ours.TokenizerInfo(decoded, vocab_size=vocab_size, stop_token_ids=stop_token_ids), vocab_type)
        self._add_prefix_space = add_prefix_space
        self._decoded = decoded

    def _take(self, info: ours.TokenizerInfo, vocab_type: VocabType) -> None:
        self.info = info
        self._vocab_type = vocab_type
        self._add_prefix_space = info.strips_leading_space
        self._decoded = [b"" if token is None else token for token in info.decoded_vocab]

    @staticmethod
    def from_huggingface(
        tokenizer: Any, *, vocab_size: int | None = None, stop_token_ids: list[int] | int | None = None
    ) -> TokenizerInfo:
        """The vocabulary of a tokenizer of Transformers."""
        info = TokenizerInfo.__new__(TokenizerInfo)
        found = ours.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocab_size, stop_token_ids=stop_token_ids)
        info._take(found, VocabType.RAW)
        return info

    @property
    def vocab_type(self) -> VocabType:
        """How the tokens were written; RAW where fairlead read them from the tokenizer itself."""
        return self._vocab_type

    @property
    def vocab_size(self) -> int:
        """Width of the model's logits."""
        return self.info.vocab_size

    @property
    def add_prefix_space(self) -> bool:
        """Whether the tokenizer puts a space in front of a text."""
        return self._add_prefix_space

    @property
    def prepend_space_in_tokenization(self) -> bool:
        """The older name of ``add_prefix_space``."""
        return self._add_prefix_space

    @property
    def decoded_vocab(self) -> list[bytes]:
        """The bytes of each token; empty for those without text."""
        return list(self._decoded)

    @property
    def stop_token_ids(self) -> list[int]:
        """Ids that end a text."""
        return list(self.info.stop_token_ids)

    @property
    def special_token_ids(self) -> list[int]:
        """Ids that never are part of a text."""
        return [i for i, token in enumerate(self.info.decoded_vocab) if token is None]

    def dump_metadata(self) -> str:
        """All but the vocabulary, as JSON."""
        return json.dumps(
            {
                "vocab_type": self._vocab_type.value,
                "vocab_size": self.vocab_size,
                "add_prefix_space": self._add_prefix_space,
                "stop_token_ids": self.stop_token_ids,
            }
        )

    @staticmethod
    def from_vocab_and_metadata(encoded_vocab: Sequence[bytes | str], metadata: str) -> TokenizerInfo:
        """The inverse of ``dump_metadata``, with the vocabulary as it was given.

        Raises:
            TokenizerError: The metadata isn't what ``dump_metadata`` writes.
        """
        try:
            given = json.loads(metadata)
            kind = VocabType(given["vocab_type"])
            return TokenizerInfo(
                list(encoded_vocab),  # type: ignore[arg-type]
                kind,
                vocab_size=given["vocab_size"],
                stop_token_ids=given["stop_token_ids"],
                add_prefix_space=given["add_prefix_space"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise TokenizerError(f"this is no metadata of a vocabulary: {error!r}") from error

    def serialize_json(self) -> str:
        """The whole, as JSON."""
        vocab = [token.decode("latin-1") for token in self._decoded]
        return json.dumps({"fairlead": 1, "metadata": json.loads(self.dump_metadata()), "vocab": vocab})

    @staticmethod
    def deserialize_json(json_string: str) -> TokenizerInfo:
        """The inverse of ``serialize_json``.

        Raises:
            TokenizerError: The text isn't what ``serialize_json`` writes, or is of another version.
        """
        try:
            given = json.loads(json_string)
            if given["fairlead"] != 1:
                raise TokenizerError(f"serialized by version {given['fairlead']}, this is 1")
            metadata = given["metadata"]
            info = TokenizerInfo(
                [token.encode("latin-1") for token in given["vocab"]],
                vocab_size=metadata["vocab_size"],
                stop_token_ids=metadata["stop_token_ids"],
                add_prefix_space=bool(metadata["add_prefix_space"]),
            )
            info._vocab_type = VocabType(metadata["vocab_type"])
            return info
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, TokenizerError):
                raise
            raise TokenizerError(f"this is no serialized vocabulary: {error!r}") from error
