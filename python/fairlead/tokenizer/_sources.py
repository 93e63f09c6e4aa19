"""Readers of the tokenizers of other packages. None of those packages is imported here unless its object is at hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from fairlead.errors import TokenizerError
from fairlead.tokenizer._decoder import component, decode_tokens, refuse_normalizer

__all__ = [
    "Source",
    "from_huggingface",
    "from_mistral",
    "from_tiktoken",
    "huggingface_fingerprint",
    "is_mistral",
    "model_stop_token_ids",
    "model_vocab_size",
    "unwrap_mistral",
    "unwrap_processor",
]


class Source(NamedTuple):
    """What a reader found."""

    tokens: list[bytes | None]
    stop_token_ids: list[int]
    special_token_ids: list[int]
    strips_leading_space: bool = False
    strips_trailing_space: bool = False


def _as_ids(value: Any) -> list[int]:
    """An id, several, or none, as Transformers keeps them (also as a tensor)."""
    if value is None:
        return []
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [int(value)] if isinstance(value, int) else [int(i) for i in value if i is not None]


# -- Transformers and tokenizers ---------------------------------------------------------------------------------------


def unwrap_processor(tokenizer: Any) -> Any:
    """The tokenizer of a multimodal processor; anything else as it is."""
    inner = getattr(tokenizer, "tokenizer", None)
    return inner if inner is not None and _backend(tokenizer) is None and _backend(inner) is not None else tokenizer


def _backend(tokenizer: Any) -> Any:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return backend
    return tokenizer if hasattr(tokenizer, "get_added_tokens_decoder") and hasattr(tokenizer, "decoder") else None


def huggingface_fingerprint(tokenizer: Any) -> tuple[Any, ...]:
    """What changes when tokens are added to a tokenizer or its special tokens are set."""
    backend = _backend(tokenizer)
    if backend is None:
        return ()
    stop = _as_ids(getattr(tokenizer, "eos_token_id", None))
    special = _as_ids(getattr(tokenizer, "all_special_ids", None))
    return (backend.get_vocab_size(with_added_tokens=True), tuple(stop), tuple(special))


def model_vocab_size(model: Any) -> int | None:
    """The width of a Transformers model's logits, None if its config doesn't say."""
    config: Any = getattr(model, "config", None)
    if hasattr(config, "get_text_config"):
        config = config.get_text_config(decoder=True)
    size = getattr(config, "vocab_size", None)
    return int(size) if size is not None else None


def model_stop_token_ids(model: Any, tokenizer: Any) -> list[int]:
    """The stop ids of a model's generation_config and those of the tokenizer, without repetitions."""
    tokenizer = unwrap_processor(tokenizer)
    ids = _as_ids(getattr(getattr(model, "generation_config", None), "eos_token_id", None))
    size = model_vocab_size(model)
    own = [i for i in _as_ids(getattr(tokenizer, "eos_token_id", None)) if size is None or i < size]
    return list(dict.fromkeys(ids + own))


def from_huggingface(tokenizer: Any, *, allow_normalized: bool) -> Source:
    """Read the bytes of a tokenizer that is backed by the ``tokenizers`` package."""
    backend = _backend(tokenizer)
    if backend is None:
        raise TokenizerError(
            f"{type(tokenizer).__name__} has no backend of the tokenizers package, so the bytes of its tokens cannot "
            "be read; load the fast variant, or give the bytes to TokenizerInfo() yourself"
        )
    model = backend.model
    if type(model).__name__ == "WordPiece":
        decode_tokens((), {"type": "WordPiece"}, word_suffix=None)
    tokens = _spellings(backend)
    texts = [token for token in tokens if token is not None]
    decoded = decode_tokens(
        texts, component(backend, "decoder"), word_suffix=getattr(model, "end_of_word_suffix", None)
    )
    out: list[bytes | None] = [*decoded.tokens]
    if len(texts) < len(tokens):
        each = iter(decoded.tokens)
        out = [None if token is None else next(each) for token in tokens]
    if not allow_normalized:
        refuse_normalizer(backend, out)
    if backend is not tokenizer:
        _check_decode(tokenizer, out)
    special = {i for i, token in backend.get_added_tokens_decoder().items() if token.special}
    special.update(_as_ids(getattr(tokenizer, "all_special_ids", None)))
    stop = _as_ids(getattr(tokenizer, "eos_token_id", None))
    special_ids = sorted(i for i in special if i < len(out))
    return Source(out, stop, special_ids, decoded.strips_leading_space, decoded.strips_trailing_space)


def _check_decode(tokenizer: Any, tokens: list[bytes | None]) -> None:
    """Compare some tokens with the tokenizer's own decode(), which a subclass may have changed.

    Raises:
        TokenizerError: decode() gives another text than the tokens' bytes.
    """
    ids: list[int] = []
    for i in range(0, len(tokens), max(1, len(tokens) // 64)):
        token = tokens[i]
        # A character cut in two would show as a replacement character.
        if token is not None and token.isascii():
            ids.append(i)
    added = getattr(tokenizer, "added_tokens_decoder", {})
    ids = [i for i in ids if i not in added]
    # Metaspace takes every marker out of the first token of a text.
    ids.sort(key=lambda i: b" " in (tokens[i] or b""))
    text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    expected = b"".join([tokens[i] or b"" for i in ids]).decode()
    # The edges of a whole text may lose their spaces.
    if text.strip(" ") != expected.strip(" "):
        raise TokenizerError(
            f"decode() of {type(tokenizer).__name__} gives another text than its decoder says, so the bytes of its "
            "tokens are unknown"
        )


def _spellings(backend: Any) -> list[str | None]:
    """The vocabulary's spelling of each id, None where the ids have a hole."""
    size = backend.get_vocab_size(with_added_tokens=True)
    tokens = list(map(backend.id_to_token, range(size)))
    if None in tokens:
        # As many ids as spellings, and one of them missing: others lie higher up.
        highest = max(backend.get_vocab(with_added_tokens=True).values(), default=-1)
        tokens.extend(map(backend.id_to_token, range(size, highest + 1)))
    return tokens


# -- tiktoken ----------------------------------------------------------------------------------------------------------


def from_tiktoken(encoding: Any) -> Source:
    """Read the bytes of a ``tiktoken.Encoding``; its ids may have holes."""
    try:
        single, names = encoding.decode_single_token_bytes, encoding.special_tokens_set
        size = encoding.max_token_value + 1
    except AttributeError as error:
        raise TokenizerError(f"{type(encoding).__name__} is no tiktoken.Encoding") from error
    tokens: list[bytes | None] = []
    for i in range(size):
        try:
            tokens.append(single(i))
        except KeyError:
            tokens.append(None)
    special = sorted(encoding.encode_single_token(name) for name in names)
    try:
        stop = [encoding.eot_token]
    except KeyError:
        stop = []
    return Source(tokens, stop, special)


# -- mistral-common and sentencepiece ----------------------------------------------------------------------------------


def _inner_mistral(tokenizer: Any) -> Any:
    # The wrappers of Transformers and vLLM hold a MistralTokenizer, that one an InstructTokenizer, and that one the
    # vocabulary, each under one of these names.
    for _ in range(4):
        if hasattr(tokenizer, "id_to_byte_piece") or _sentencepiece(tokenizer) is not None:
            return tokenizer
        for name in ("instruct_tokenizer", "mistral", "tokenizer"):
            inner = getattr(tokenizer, name, None)
            if inner is not None and not isinstance(inner, (str, bytes)):
                tokenizer = inner
                break
        else:
            return None
    return None


def _sentencepiece(tokenizer: Any) -> Any:
    """The sentencepiece processor of mistral-common's tokenizer, or the object itself if it is one."""
    for candidate in (tokenizer, getattr(tokenizer, "_model", None)):
        if hasattr(candidate, "IsByte") and hasattr(candidate, "IdToPiece"):
            return candidate
    return None


def is_mistral(tokenizer: Any) -> bool:
    """Whether the object holds a vocabulary of mistral-common rather than one of the tokenizers package."""
    return _backend(unwrap_processor(tokenizer)) is None and _inner_mistral(tokenizer) is not None


def unwrap_mistral(tokenizer: Any) -> Any:
    """The object that holds the vocabulary."""
    inner = _inner_mistral(tokenizer)
    if inner is None:
        raise TokenizerError(f"{type(tokenizer).__name__} is no tokenizer of mistral-common")
    return inner


def from_mistral(tokenizer: Any) -> Source:
    """Read the bytes of mistral-common's Tekkenizer or SentencePieceTokenizer."""
    model = _sentencepiece(tokenizer)
    if model is not None:
        return _from_sentencepiece(model)
    size, special = tokenizer.n_words, sorted(tokenizer.special_ids)
    without_text = frozenset(special)
    # The names of special tokens: they write nothing.
    tokens = [
        tokenizer.id_to_piece(i).encode() if i in without_text else tokenizer.id_to_byte_piece(i) for i in range(size)
    ]
    return Source(tokens, _as_ids(tokenizer.eos_id), special)


def _from_sentencepiece(model: Any) -> Source:
    tokens: list[bytes | None] = []
    special: list[int] = []
    for i in range(model.GetPieceSize()):
        if model.IsControl(i) or model.IsUnknown(i) or model.IsUnused(i):
            tokens.append(model.IdToPiece(i).encode())
            special.append(i)
        elif model.IsByte(i):
            tokens.append(bytes((int(model.IdToPiece(i)[3:5], 16),)))
        else:
            tokens.append(model.IdToPiece(i).replace("▁", " ").encode())
    stop: Iterable[int] = [model.eos_id()]
    # decode() drops the space in front that encode() puts there.
    return Source(tokens, [i for i in stop if i >= 0], special, strips_leading_space=True)
