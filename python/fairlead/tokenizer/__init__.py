"""What the engine needs to know of a tokenizer: the exact bytes of every token, and the ids that end a text."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fairlead.errors import TokenizerError
from fairlead.tokenizer import _sources

if TYPE_CHECKING:
    from fairlead._core import Vocabulary

__all__ = ["TokenizerInfo"]


class TokenizerInfo:
    """The bytes of every token of a vocabulary.

    A token's bytes are those that it adds *inside* a text, since a constrained answer is a continuation. Some
    tokenizers treat the edges of a whole text otherwise: sentencepiece drops one space in front
    (``strips_leading_space``), a BPE with word suffixes the last space (``strips_trailing_space``); ``decode`` here
    does neither. ``clean_up_tokenization_spaces`` of Transformers changes decoded text afterwards (``" ."`` becomes
    ``"."``): it isn't part of any token and breaks strings that a grammar allows, so decode with it switched off.

    Ids without text are never allowed inside a text: special tokens, stop tokens, tokens that write nothing, holes in
    the ids, and padding up to ``vocab_size``. Tokens that were added without being special do have their text.

    Objects are immutable, may be shared between threads and can be pickled.

    Args:
        encoded_vocab: What each id writes: bytes, text (taken as UTF-8), or None for an id without text.
        vocab_size: Width of the model's logits; default ``len(encoded_vocab)``. If larger, the ids between are
            padding. If smaller, the ids above are cut off, since the model cannot produce them.
        stop_token_ids: Ids that end the text. They have no bytes.
        special_token_ids: Further ids without text, whatever ``encoded_vocab`` says of them. Grammars may ask for them
            by id, and by the name that ``encoded_vocab`` gives them.

    Raises:
        TokenizerError: An id lies outside the vocabulary, or an entry is neither bytes, text nor None.
    """

    __slots__ = (
        "__weakref__",
        "_decoded",
        "_lock",
        "_names",
        "_special",
        "_stop",
        "_strips",
        "_vocabulary",
    )

    def __init__(
        self,
        encoded_vocab: Sequence[bytes | str | None],
        *,
        vocab_size: int | None = None,
        stop_token_ids: int | Iterable[int] | None = None,
        special_token_ids: Iterable[int] | None = None,
    ) -> None:
        tokens = _as_bytes(encoded_vocab)
        known = len(tokens)
        size = known if vocab_size is None else _size(vocab_size)
        if size < known:
            del tokens[size:]
        else:
            tokens.extend([None] * (size - known))
        stop = _ids(stop_token_ids, size, "stop token")
        special = {i for i in _ids(special_token_ids, max(size, known), "special token") if i < size}
        special.update(stop)
        names = {i: (tokens[i] or b"").decode(errors="replace") for i in special}
        for i in special:
            tokens[i] = None
        self._names = names
        self._decoded = tokens
        self._stop = tuple(stop)
        self._special = tuple(sorted(special))
        self._strips = (False, False)
        self._vocabulary: Vocabulary | None = None
        self._lock = threading.Lock()

    @classmethod
    def _build(cls, source: _sources.Source, vocab_size: int | None, stop_token_ids: Any) -> TokenizerInfo:
        stop = stop_token_ids
        if stop is None:
            # The tokenizer's own ids may lie beyond a cut vocabulary; given ones are an error there.
            size = len(source.tokens) if vocab_size is None else _size(vocab_size)
            stop = [i for i in source.stop_token_ids if i < size]
            if not stop:
                raise TokenizerError(
                    "the tokenizer names no token that ends a text; pass stop_token_ids= (the model's "
                    "generation_config.eos_token_id has them)"
                )
        info = cls(
            source.tokens, vocab_size=vocab_size, stop_token_ids=stop, special_token_ids=source.special_token_ids
        )
        info._strips = (source.strips_leading_space, source.strips_trailing_space)
        return info

    @classmethod
    def from_huggingface(
        cls,
        tokenizer: Any,
        vocab_size: int | None = None,
        stop_token_ids: int | Iterable[int] | None = None,
        *,
        model: Any = None,
        allow_normalized: bool = False,
    ) -> TokenizerInfo:
        """Read a Transformers tokenizer: byte-level BPE, sentencepiece with byte fallback, Metaspace, ``</w>`` BPE.

        The result is kept as long as the tokenizer lives, so that models and processors of one tokenizer share it.

        Args:
            tokenizer: A fast Transformers tokenizer, a processor that has one, a ``tokenizers.Tokenizer``, or a
                Mistral tokenizer as in :meth:`from_mistral`.
            vocab_size: Width of the model's logits; default: the model's if one is given, else the highest id + 1.
            stop_token_ids: Ids that end the text; default: the tokenizer's and the model's together.
            model: A Transformers model, for its vocabulary size and the stop ids of its generation_config.
            allow_normalized: Take a vocabulary that holds normalised text only. Its tokens' bytes are exact, but what
                the normaliser changes (capital letters, accents) may have no tokens.

        Raises:
            TokenizerError: The tokens have no bytes of their own (WordPiece, no decoder), the vocabulary holds only
                normalised text, the tokenizer is a slow one, or nothing says which ids end a text.
        """
        if model is not None:
            vocab_size = _sources.model_vocab_size(model) if vocab_size is None else vocab_size
            if stop_token_ids is None:
                stop_token_ids = _sources.model_stop_token_ids(model, tokenizer) or None
        if _sources.is_mistral(tokenizer):
            return cls.from_mistral(tokenizer, vocab_size=vocab_size, stop_token_ids=stop_token_ids)
        tokenizer = _sources.unwrap_processor(tokenizer)
        key = ("huggingface", allow_normalized, *_sources.huggingface_fingerprint(tokenizer))
        return cls._cached(
            tokenizer,
            key,
            lambda: _sources.from_huggingface(tokenizer, allow_normalized=allow_normalized),
            vocab_size,
            stop_token_ids,
        )

    @classmethod
    def from_tiktoken(
        cls, encoding: Any, vocab_size: int | None = None, stop_token_ids: int | Iterable[int] | None = None
    ) -> TokenizerInfo:
        """Read a ``tiktoken.Encoding``. The default stop id is ``<|endoftext|>``.

        Raises:
            TokenizerError: The encoding has no ``<|endoftext|>`` and no stop ids are given.
        """
        return cls._cached(
            encoding, ("tiktoken",), lambda: _sources.from_tiktoken(encoding), vocab_size, stop_token_ids
        )

    @classmethod
    def from_mistral(
        cls, tokenizer: Any, vocab_size: int | None = None, stop_token_ids: int | Iterable[int] | None = None
    ) -> TokenizerInfo:
        """Read a mistral-common tokenizer, tekken or sentencepiece.

        Args:
            tokenizer: A ``MistralTokenizer``, its inner tokenizer, or the wrappers of Transformers
                (``MistralCommonBackend``) and vLLM.
            vocab_size: Width of the model's logits; default: all of the tokenizer's ids.
            stop_token_ids: Ids that end the text; default: the tokenizer's ``eos_id``.

        Raises:
            TokenizerError: It is no tokenizer of mistral-common.
        """
        inner = _sources.unwrap_mistral(tokenizer)
        return cls._cached(inner, ("mistral",), lambda: _sources.from_mistral(inner), vocab_size, stop_token_ids)

    @classmethod
    def from_mlx(
        cls, wrapper: Any, vocab_size: int | None = None, stop_token_ids: int | Iterable[int] | None = None
    ) -> TokenizerInfo:
        """Read mlx-lm's ``TokenizerWrapper``: the Transformers tokenizer inside, with all of the wrapper's stop ids."""
        inner = getattr(wrapper, "_tokenizer", wrapper)
        if stop_token_ids is None:
            stop_token_ids = sorted(getattr(wrapper, "eos_token_ids", None) or ()) or None
        return cls.from_huggingface(inner, vocab_size=vocab_size, stop_token_ids=stop_token_ids)

    @classmethod
    def from_vllm(
        cls, tokenizer: Any, vocab_size: int | None = None, stop_token_ids: int | Iterable[int] | None = None
    ) -> TokenizerInfo:
        """Read the tokenizer of a vLLM engine (``llm.get_tokenizer()``): a Transformers or a Mistral one."""
        return cls.from_huggingface(tokenizer, vocab_size=vocab_size, stop_token_ids=stop_token_ids)

    @classmethod
    def _cached(
        cls,
        owner: Any,
        key: tuple[Any, ...],
        read: Callable[[], _sources.Source],
        vocab_size: int | None,
        stop_token_ids: int | Iterable[int] | None,
    ) -> TokenizerInfo:
        if stop_token_ids is not None and not isinstance(stop_token_ids, int):
            stop_token_ids = tuple(stop_token_ids)
        return _CACHE.get(
            owner, (cls, *key, vocab_size, stop_token_ids), lambda: cls._build(read(), vocab_size, stop_token_ids)
        )

    @property
    def vocab_size(self) -> int:
        """Width of the model's logits: the number of ids, padding included."""
        return len(self._decoded)

    @property
    def stop_token_ids(self) -> list[int]:
        """Ids that end a text, in the order in which they were given."""
        return list(self._stop)

    @property
    def special_token_ids(self) -> list[int]:
        """Ids that are declared to have no text, stop ids included, ascending."""
        return list(self._special)

    @property
    def special_tokens(self) -> dict[str, int]:
        """Names of special tokens, as grammars may ask for them (``<|name|>`` in Lark), and their ids."""
        return {name: i for i, name in self._names.items() if name}

    @property
    def decoded_vocab(self) -> list[bytes | None]:
        """What each id writes, None where it writes nothing. The list is kept and shared: don't change it."""
        return self._decoded

    @property
    def strips_leading_space(self) -> bool:
        """Whether the tokenizer's own decode() drops a space in front of the whole text."""
        return self._strips[0]

    @property
    def strips_trailing_space(self) -> bool:
        """Whether the tokenizer's own decode() drops a space at the end of the whole text."""
        return self._strips[1]

    @property
    def vocabulary(self) -> Vocabulary:
        """The engine's form of the vocabulary, made at the first use and then always the same object."""
        if self._vocabulary is None:
            with self._lock:
                if self._vocabulary is None:
                    from fairlead._core import Vocabulary

                    self._vocabulary = Vocabulary(
                        self._decoded,
                        stop_token_ids=list(self._stop),
                        vocab_size=len(self._decoded),
                        special_tokens=sorted(self._names.items()),
                    )
        return self._vocabulary

    def token_bytes(self, token_id: int) -> bytes | None:
        """What one id writes, None if it writes nothing.

        Raises:
            IndexError: The id lies outside ``range(vocab_size)``.
        """
        if not 0 <= token_id < len(self._decoded):
            raise IndexError(f"token id {token_id} is outside of range({len(self._decoded)})")
        return self._decoded[token_id]

    def decode(self, ids: Iterable[int]) -> bytes:
        """The bytes that a sequence of ids writes inside a text; ids without text write nothing.

        Raises:
            IndexError: An id lies outside ``range(vocab_size)``.
        """
        token_bytes = self.token_bytes
        return b"".join([token_bytes(int(i)) or b"" for i in ids])

    def __repr__(self) -> str:
        return f"TokenizerInfo(vocab_size={self.vocab_size}, stop_token_ids={self.stop_token_ids})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self._decoded, self._stop, self._special, self._strips, self._names))


def _rebuild(
    cls: type[TokenizerInfo],
    tokens: list[bytes | None],
    stop: tuple[int, ...],
    special: tuple[int, ...],
    strips: tuple[bool, bool],
    names: dict[int, str],
) -> TokenizerInfo:
    info = cls(tokens, stop_token_ids=stop, special_token_ids=special)
    info._strips = strips
    info._names = names
    return info


def _as_bytes(encoded_vocab: Sequence[bytes | str | None]) -> list[bytes | None]:
    tokens: list[Any] = list(encoded_vocab)
    if not set(map(type, tokens)) <= {bytes, type(None)}:
        tokens = [_token_as_bytes(i, token) for i, token in enumerate(tokens)]
    if not tokens:
        raise TokenizerError("the vocabulary is empty")
    return [token or None for token in tokens]


def _token_as_bytes(i: int, token: Any) -> bytes | None:
    if token is None:
        return None
    if isinstance(token, str):
        try:
            return token.encode()
        except UnicodeEncodeError as error:
            raise TokenizerError(f"token {i} is no Unicode text: it holds a lone surrogate") from error
    if isinstance(token, (bytes, bytearray, memoryview)):
        return bytes(token)
    raise TokenizerError(f"token {i} is a {type(token).__name__}: expected bytes, str or None")


def _size(vocab_size: int) -> int:
    if isinstance(vocab_size, bool) or not isinstance(vocab_size, int) or vocab_size <= 0:
        raise TokenizerError(f"vocab_size must be a positive integer, not {vocab_size!r}")
    return vocab_size


def _ids(ids: int | Iterable[int] | None, size: int, what: str) -> list[int]:
    """The ids without repetitions, in their order."""
    if ids is None:
        return []
    unique = dict.fromkeys([ids] if isinstance(ids, int) else ids)
    for i in unique:
        if isinstance(i, bool) or not isinstance(i, int):
            raise TokenizerError(f"a {what} id must be an integer, not {i!r}")
        if not 0 <= i < size:
            raise TokenizerError(f"{what} id {i} is outside of the vocabulary of {size} ids")
    return list(unique)


class _Cache:
    """Values by the identity of an object, dropped with it; some tokenizers can't be hashed."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[Any], dict[Any, TokenizerInfo]]] = {}
        # Re-entrant, since a finaliser may run while the lock is held.
        self._lock = threading.RLock()

    def get(self, owner: Any, key: tuple[Any, ...], make: Callable[[], TokenizerInfo]) -> TokenizerInfo:
        name = id(owner)
        with self._lock:
            entry = self._entries.get(name)
            if entry is None or entry[0]() is not owner:
                try:
                    entry = (weakref.ref(owner, lambda ref: self._drop(name, ref)), {})
                except TypeError:
                    return make()
                self._entries[name] = entry
            infos = entry[1]
            if key not in infos:
                infos[key] = make()
            return infos[key]

    def _drop(self, name: int, ref: weakref.ref[Any]) -> None:
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None and entry[0] is ref:
                del self._entries[name]


_CACHE = _Cache()
