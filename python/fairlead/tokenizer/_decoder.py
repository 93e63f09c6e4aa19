"""The exact bytes of every token, read from the decoder of a ``tokenizers`` tokenizer.

What a token writes is what the decoder makes of it, so the decoder's steps are applied to the vocabulary, all tokens at
once. A step is usable when it treats each token apart from its neighbours; where it doesn't, one of two things holds:

- It differs only at the edge of the whole text, and the bytes are those *inside* a text, which is where a continuation
  stands: ``Metaspace`` and a ``Strip`` after ``Fuse`` drop the space in front of the text, ``BPEDecoder`` the one at
  its end.
- It differs in the middle (``WordPiece``, ``CTC``, a replacement after ``Fuse``): a token has no bytes of its own, and
  a TokenizerError says so.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from fairlead.errors import TokenizerError

__all__ = ["DecodedTokens", "component", "decode_tokens", "refuse_normalizer"]

# A piece is text until a step turns it into bytes.
Piece = str | bytes


class DecodedTokens(NamedTuple):
    """The bytes of a list of tokens, and what decode() does at the edges of a whole text."""

    tokens: list[bytes]
    strips_leading_space: bool
    strips_trailing_space: bool


def _byte_alphabet() -> dict[int, int]:
    """GPT-2's printable stand-ins: code point of the character -> the byte that it stands for."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {byte: byte for byte in printable}
    others = (byte for byte in range(256) if byte not in table)
    return {**table, **{256 + n: byte for n, byte in enumerate(others)}}


class _Inverse(dict[int, int]):
    """For str.translate: a character outside the alphabet becomes one that no byte stands for."""

    def __missing__(self, key: int) -> int:
        return _OUTSIDE


_OUTSIDE = 0xFFFF
_INVERSE = _Inverse(_byte_alphabet())
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>\Z")


def component(backend: Any, name: str) -> dict[str, Any] | None:
    """The JSON of one component (``"decoder"``, ``"normalizer"``) of a ``tokenizers.Tokenizer``, None if it has none.

    The component is asked alone, since the JSON of a whole tokenizer holds all the merges: 6 MB and nearly a second.

    Raises:
        TokenizerError: It is written in Python and has no JSON.
    """
    part = getattr(backend, name)
    if part is None:
        return None
    try:
        state = part.__getstate__()
        description = json.loads(state)
    except Exception:
        try:
            description = json.loads(backend.to_str())[name]
        except Exception as error:
            raise TokenizerError(
                f"the tokenizer's {name} is custom code that cannot be read, so the bytes of its tokens are unknown"
            ) from error
    return description if isinstance(description, dict) else None


def _flatten(step: dict[str, Any], members: str) -> list[dict[str, Any]]:
    if step.get("type") == "Sequence":
        return [inner for part in step[members] for inner in _flatten(part, members)]
    return [step]


def decode_tokens(tokens: Sequence[str], decoder: dict[str, Any] | None, *, word_suffix: str | None) -> DecodedTokens:
    """The bytes that each token writes inside a text.

    Args:
        tokens: The tokens as the vocabulary spells them.
        decoder: The decoder's JSON.
        word_suffix: ``end_of_word_suffix`` of a BPE model, which a decoder step has to consume.

    Returns:
        One bytes object per token, in the same order. A token may be empty.

    Raises:
        TokenizerError: The tokens have no bytes of their own under this decoder.
    """
    if decoder is None:
        raise TokenizerError(
            "the tokenizer has no decoder: its tokens are joined with spaces, so that what a token writes depends on "
            "its neighbours"
        )
    pieces: list[Piece] = list(tokens)
    leading = trailing = False
    joined_by: str | None = None
    for step in _flatten(decoder, "decoders"):
        kind = step["type"]
        if kind == "Fuse":
            joined_by = joined_by or kind
        elif joined_by is not None:
            # From here on the step sees the whole text.
            if kind != "Strip":
                raise TokenizerError(
                    f"the decoder step {kind} works on the whole text (it follows {joined_by}), so tokens have no bytes"
                    " of their own"
                )
            leading, trailing = leading or bool(step["start"]), trailing or bool(step["stop"])
        elif kind == "ByteLevel":
            pieces, joined_by = [*_from_byte_alphabet(pieces)], kind
        elif kind == "Metaspace":
            pieces = _replace_text(pieces, step["replacement"], " ")
            leading = leading or step.get("prepend_scheme", "always") != "never"
        elif kind == "BPEDecoder":
            suffix = step["suffix"]
            pieces = _replace_text(pieces, suffix, " ")
            trailing = True
            word_suffix = None if suffix == word_suffix else word_suffix
        elif kind in _STEPS:
            pieces = _STEPS[kind](pieces, step)
        else:
            raise TokenizerError(_CONTEXT.get(kind, f"the decoder step {kind} is unknown"))
    if word_suffix:
        raise TokenizerError(
            f"tokens carry the suffix {word_suffix!r} at the end of a word, but no step of the decoder takes it away"
        )
    tokens_as_bytes = [piece if isinstance(piece, bytes) else _utf8(piece) for piece in pieces]
    return DecodedTokens(tokens_as_bytes, leading, trailing)


_CONTEXT = {
    "WordPiece": (
        "WordPiece tokens have no bytes of their own: decoding puts spaces between words and takes them away again "
        "around punctuation, depending on the neighbours"
    ),
    "CTC": "CTC decoding merges repeated tokens, so a token has no bytes of its own",
}


def _each(pieces: list[Piece], change: Callable[[str], str]) -> list[Piece]:
    return [change(piece) if isinstance(piece, str) else piece for piece in pieces]


def _replace_text(pieces: list[Piece], old: str, new: str) -> list[Piece]:
    return [piece.replace(old, new) if isinstance(piece, str) else piece for piece in pieces]


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(f"the token {text!r} is no Unicode text: it holds a lone surrogate") from error


def _replace(pieces: list[Piece], step: dict[str, Any]) -> list[Piece]:
    pattern, content = step["pattern"], step["content"]
    if "String" in pattern:
        return _replace_text(pieces, pattern["String"], content)
    # The pattern's dialect isn't Python's: the library itself replaces.
    from tokenizers import Regex, decoders

    decode = decoders.Replace(Regex(pattern["Regex"]), content).decode
    return _each(pieces, lambda piece: str(decode([piece])))


def _byte_fallback(pieces: list[Piece], step: dict[str, Any]) -> list[Piece]:
    del step
    return [
        bytes((int(match[1], 16),))
        if isinstance(piece, str) and piece.startswith("<0x") and (match := _BYTE_PIECE.match(piece))
        else piece
        for piece in pieces
    ]


def _strip(pieces: list[Piece], step: dict[str, Any]) -> list[Piece]:
    content, start, stop = step["content"], step["start"], step["stop"]

    def strip(piece: str) -> str:
        first, last = 0, len(piece)
        while first < min(start, last) and piece[first] == content:
            first += 1
        while last > first and len(piece) - last < stop and piece[last - 1] == content:
            last -= 1
        return piece[first:last]

    return _each(pieces, strip)


_STEPS: dict[str, Callable[[list[Piece], dict[str, Any]], list[Piece]]] = {
    "Replace": _replace,
    "ByteFallback": _byte_fallback,
    "Strip": _strip,
}


def _from_byte_alphabet(pieces: list[Piece]) -> list[bytes]:
    """Invert the byte-level alphabet; a token with a character outside it is UTF-8 text as it stands.

    One translation for the whole vocabulary: characters and bytes correspond one to one, so the lengths of the tokens
    cut the result. Token by token in Python it would take ten times as long.
    """
    texts = [piece if type(piece) is str else "" for piece in pieces]
    ends = list(accumulate(map(len, texts), initial=0))
    translated = "".join(texts).translate(_INVERSE)
    data = translated.encode("latin-1", errors="replace")
    out = [data[start:end] for start, end in pairwise(ends)]
    mark = chr(_OUTSIDE)
    at = translated.find(mark)
    while at >= 0:
        index = bisect_right(ends, at) - 1
        out[index] = _utf8(texts[index])
        at = translated.find(mark, ends[index + 1])
    if "" in texts:
        # What an earlier step already turned into bytes stays as it is.
        out = [piece if isinstance(piece, bytes) else token for piece, token in zip(pieces, out, strict=True)]
    return out


# Bytes that occur in UTF-8 text: control characters aside, every one is needed to write any text.
_TEXT_BYTES = frozenset([*range(0x20, 0x7F), *range(0x80, 0xC0), *range(0xC2, 0xF5)])

# Characters that a normaliser may change, and what it is called when it does.
_PROBES: tuple[tuple[str, str], ...] = (
    ("AZQ", "folds case"),
    ("azq09{}[]\":,.-+_\\/<>#@!?&*()='`~^|;%$", "changes plain ASCII"),
    ("éÜñçÅř", "strips accents or decomposes characters"),
    ("Жαक한が", "changes letters"),
    ("ﬁⅧＡ²①", "replaces compatibility characters (NFKC)"),
)


def refuse_normalizer(backend: Any, tokens: Sequence[bytes | None]) -> None:
    """Refuse a vocabulary that can only write normalised text.

    A normaliser works on what is read and never on what is written, so it does no harm to a vocabulary that can write
    every byte (byte-level BPE with NFC, as Qwen's). A vocabulary without them was cut from normalised text: of a key
    such as ``"Name"`` under a lower-casing tokenizer no token sequence exists.

    Args:
        backend: The ``tokenizers.Tokenizer``.
        tokens: The bytes of each token.

    Raises:
        TokenizerError: The normaliser changes text, and the vocabulary lacks bytes.
    """
    normalizer = backend.normalizer
    if normalizer is None:
        return
    single = {token[0] for token in tokens if token is not None and len(token) == 1}
    if single >= _TEXT_BYTES:
        return
    for characters, what in _PROBES:
        for character in characters:
            # Markers and spaces that are put around the text aren't changes of the text.
            after = normalizer.normalize_str(character).strip(" ▁")
            if after != character:
                raise TokenizerError(
                    f"the tokenizer's vocabulary holds normalised text only: its normaliser {what} "
                    f"({character!r} becomes {after!r}), and there is no token for each byte, so most texts cannot be "
                    "written as they stand; allow_normalized=True takes the vocabulary as it is"
                )
