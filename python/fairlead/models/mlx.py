"""Models that mlx-lm runs in this process: on Apple silicon, and on the CPU of Linux."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar, Self

from fairlead._optional import require
from fairlead.errors import ConfigurationError, ModelError
from fairlead.models._local import LocalModel, LocalRequest, Prompt
from fairlead.models._output import Output
from fairlead.models._prefix import PrefixCache

if TYPE_CHECKING:
    from fairlead._core import GrammarMatcher
    from fairlead.models._gated_grammar import GatedMatcher
    from fairlead.tokenizer import TokenizerInfo

__all__ = ["MLXModel"]

# Names of options -> what mlx-lm's make_sampler and make_logits_processors call them.
_SAMPLER = {"temperature": "temp", "temp": "temp"} | {
    name: name
    for name in (
        "top_p",
        "min_p",
        "min_tokens_to_keep",
        "top_k",
        "xtc_probability",
        "xtc_threshold",
        "xtc_special_tokens",
    )
}
_PENALTIES = frozenset(
    {
        "frequency_context_size",
        "frequency_penalty",
        "logit_bias",
        "presence_context_size",
        "presence_penalty",
        "repetition_context_size",
        "repetition_penalty",
    }
)
_QUANTIZATION = frozenset({"kv_bits", "kv_group_size", "quantized_kv_start"})
_OWN = frozenset({"logits_processors", "max_kv_size", "prefill_step_size", "sampler", "seed"}) | _QUANTIZATION
_KNOWN = frozenset(_SAMPLER) | _PENALTIES | _OWN
_DEFAULT_PREFIX_BYTES = 2 << 30
_PREFILL_STEP = 2048
# MLX may be called from one thread at a time; generations take turns, step by step. A caller's own processor or sampler
# may ask another model.
_TURN = threading.RLock()


class MLXModel(LocalModel):
    """A text model run by mlx-lm; a drop-in for ``smolagents.MLXModel``.

    Several calls may run at once, from any threads: they take turns, token by token.

    Args:
        model_id: A folder, or a name on the Hugging Face Hub.
        trust_remote_code: Run code that comes with the tokenizer. Default False.
        load_kwargs: More arguments for ``mlx_lm.load``.
        apply_chat_template_kwargs: More arguments for the chat template.
        prefix_cache_bytes: How much to keep of what was computed for earlier prompts, so that a prompt which begins
            like one of them is read from where they part. 0 keeps nothing. Default 2 GiB. Batches, and calls with a
            ``max_kv_size`` or ``kv_bits`` of their own, don't use it.
        reasoning: The tags around a model's thoughts, for example ``("<think>", "</think>")``; see LocalModel.
        **kwargs: Used with every call: ``max_tokens`` (or ``max_new_tokens``; default 1024), ``temperature`` (or
            ``temp``; default 0, the likeliest token), ``top_p``, ``top_k``, ``min_p``, ``repetition_penalty`` and the
            other arguments of mlx-lm's samplers; ``sampler``, ``logits_processors``, ``max_kv_size``, ``kv_bits``,
            ``kv_group_size``, ``quantized_kv_start``, ``prefill_step_size`` and ``seed``.

    Attributes:
        model: The MLX model.
        tokenizer: mlx-lm's wrapper of its tokenizer.

    Raises:
        MissingDependencyError: mlx-lm isn't installed.
        ConfigurationError: The model can't be loaded. It is a ValueError.
    """

    _batch_size: ClassVar[int | None] = 32
    _saved: ClassVar[dict[str, Any]] = {
        "trust_remote_code": False,
        "load_kwargs": {},
        "prefix_cache_bytes": None,
    }
    # mlx-lm runs text models only; smolagents' class says so too.
    is_vlm = False

    def __init__(
        self,
        model_id: str,
        trust_remote_code: bool = False,
        load_kwargs: dict[str, Any] | None = None,
        apply_chat_template_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        mlx_lm = require("mlx_lm", extra="mlx", feature="MLXModel")
        self.trust_remote_code = trust_remote_code
        self.load_kwargs = load_kwargs or {}
        options = dict(self.load_kwargs)
        options["tokenizer_config"] = {
            "trust_remote_code": trust_remote_code,
            **(options.get("tokenizer_config") or {}),
        }
        try:
            model, tokenizer = mlx_lm.load(model_id, **options)
        except ImportError:
            raise
        except Exception as error:
            raise ConfigurationError(
                f"Failed to load tokenizer and model for model_id={model_id!r}: {error}"
            ) from error
        self._init(model, tokenizer, model_id=model_id, apply_chat_template_kwargs=apply_chat_template_kwargs, **kwargs)

    @classmethod
    def from_loaded(cls, model: Any, tokenizer: Any, *, model_id: str | None = None, **kwargs: Any) -> Self:
        """Wrap what ``mlx_lm.load`` returned.

        Args:
            model: The MLX model.
            tokenizer: mlx-lm's wrapper, or a Transformers tokenizer.
            model_id: A name for it. Default: that of the model's type.
            **kwargs: As for the constructor.
        """
        require("mlx_lm", extra="mlx", feature="MLXModel")
        from mlx_lm.tokenizer_utils import TokenizerWrapper

        self = cls.__new__(cls)
        self.trust_remote_code = False
        self.load_kwargs = {}
        if not isinstance(tokenizer, TokenizerWrapper):
            tokenizer = TokenizerWrapper(tokenizer)
        self._init(model, tokenizer, model_id=model_id or getattr(model, "model_type", type(model).__name__), **kwargs)
        return self

    def _init(self, model: Any, tokenizer: Any, prefix_cache_bytes: int | None = None, **kwargs: Any) -> None:
        if prefix_cache_bytes is not None and (isinstance(prefix_cache_bytes, bool) or prefix_cache_bytes < 0):
            raise ConfigurationError(f"prefix_cache_bytes is a number of bytes, not {prefix_cache_bytes!r}")
        self.model = model
        self.tokenizer = tokenizer
        self.prefix_cache_bytes = prefix_cache_bytes
        limit = _DEFAULT_PREFIX_BYTES if prefix_cache_bytes is None else prefix_cache_bytes
        self._prefix = _prefix_cache(model, limit) if limit else None
        kwargs.setdefault("flatten_messages_as_text", True)
        super().__init__(**kwargs)

    # What LocalModel asks for.

    def _render(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> Prompt:
        ids = [int(token) for token in self._apply_template(self.tokenizer, messages, tools)]
        if not ids:
            raise ConfigurationError(f"the chat template of {self.model_id} makes an empty prompt of these messages")
        return Prompt(ids, ids)

    def _run(self, request: LocalRequest, output: Output) -> None:
        options = _Options(request.options)
        ids = list(request.prompt.token_ids)
        store = self._prefix if options.plain_cache else None
        cache = None
        if store is not None:
            cache, request.cached_tokens = store.take(ids)
        run = _Generation(self.model, options, cache)
        with _wired(self.model):
            run.read(ids, request.cached_tokens, output)
            kept, fed = run.cache, run.fed
            if store is not None and not store.cuts and run.fed:
                # The next prompt goes on behind this one, not always with these very tokens.
                kept, fed = run.snapshot(), list(run.fed)
            run.write(request, output)
        # Whoever fails keeps nothing: the layers may have stopped at different lengths.
        if store is not None and fed:
            with _turn():
                _settle(kept)
            store.give(fed, len(ids), kept)

    def _run_batch(self, requests: Sequence[LocalRequest], outputs: Sequence[Output]) -> None:
        options = _Options(requests[0].options)
        try:
            from mlx_lm.generate import BatchGenerator
        except ImportError:  # an older mlx-lm
            super()._run_batch(requests, outputs)
            return
        if not options.plain_cache:
            super()._run_batch(requests, outputs)
            return
        masks = [_Mask(request.new_matcher()) if request.compiled is not None else None for request in requests]
        rows = {}
        with _wired(self.model):
            options.seed()
            with _turn():
                # What ends a row is decided by its output.
                generator = BatchGenerator(
                    self.model, sampler=options.sampler, prefill_step_size=options.prefill_step, stop_tokens=None
                )
                uids = generator.insert(
                    [list(request.prompt.token_ids) for request in requests],
                    max_tokens=[request.max_new_tokens for request in requests],
                    logits_processors=[[*options.processors, *([mask] if mask else [])] for mask in masks],
                )
            try:
                rows = dict(zip(uids, outputs, strict=True))
                while rows:
                    with _turn():
                        responses = generator.next_generated()
                        if not responses:
                            break
                        for response in responses:
                            row = rows.get(response.uid)
                            if row is None:
                                continue
                            over = row.push([int(response.token)])
                            if over and response.finish_reason is None:
                                generator.remove([response.uid])
                            if over or response.finish_reason is not None:
                                del rows[response.uid]
            finally:
                with _turn():
                    if rows:
                        generator.remove(list(rows))
                    generator.close()
        for request, mask in zip(requests, masks, strict=True):
            request.mask_seconds = mask.seconds if mask else 0.0

    def _end_tokens(self, options: Mapping[str, Any]) -> Collection[int]:
        del options
        return tuple(sorted(int(token) for token in self.tokenizer.eos_token_ids))

    def _make_tokenizer_info(self) -> TokenizerInfo:
        from fairlead.tokenizer import TokenizerInfo

        return TokenizerInfo.from_mlx(
            self.tokenizer, vocab_size=_config(self.model, "vocab_size"), stop_token_ids=self._end_tokens({}) or None
        )

    def _context_length(self) -> int | None:
        return _config(self.model, "max_position_embeddings")

    def clear_prefix_cache(self) -> None:
        """Forget what was computed for earlier prompts. To be called when the weights have changed."""
        if self._prefix is not None:
            self._prefix.clear()

    def _release(self) -> None:
        self.model = self._prefix = None


# The framework.


def _mlx() -> Any:
    import mlx.core

    return mlx.core


@contextmanager
def _turn() -> Iterator[None]:
    """A turn with MLX, on the stream that mlx-lm generates on."""
    mx = _mlx()
    from mlx_lm.generate import generation_stream

    with _TURN, mx.stream(generation_stream):
        yield


def _wired(model: Any) -> Any:
    """Keeps the weights in a GPU's memory while they are used; nothing on a CPU."""
    from mlx_lm.generate import generation_stream, wired_limit

    return wired_limit(model, [generation_stream])


def _config(model: Any, name: str) -> int | None:
    """A number of the model's configuration, which multi-modal ones keep in a part of it."""
    arguments = getattr(model, "args", None)
    value = getattr(arguments, name, None)
    if value is None and isinstance(text := getattr(arguments, "text_config", None), Mapping):
        value = text.get(name)
    return value if isinstance(value, int) and value > 0 else None


class _Options:
    """The options of a call, as mlx-lm takes them."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        from mlx_lm.sample_utils import make_logits_processors, make_sampler

        given = {name: value for name, value in options.items() if value is not None}
        unknown = sorted(set(given) - _KNOWN)
        if unknown:
            raise ConfigurationError(
                f"MLXModel has no {', '.join(unknown)}; the options of a call are {', '.join(sorted(_KNOWN))}"
            )
        sampling = {_SAMPLER[name]: value for name, value in given.items() if name in _SAMPLER}
        if "sampler" in given and sampling:
            raise ConfigurationError(f"a sampler takes the place of {', '.join(sorted(sampling))}: give one of both")
        penalties = {name: value for name, value in given.items() if name in _PENALTIES}
        self.sampler: Callable[[Any], Any] = given.get("sampler") or make_sampler(**sampling)
        self.processors: list[Any] = [
            *(given.get("logits_processors") or ()),
            *(make_logits_processors(**penalties) if penalties else ()),
        ]
        self.prefill_step = int(given.get("prefill_step_size", _PREFILL_STEP))
        if self.prefill_step < 1:
            raise ConfigurationError(f"prefill_step_size is at least 1, not {self.prefill_step}")
        self.max_kv_size = given.get("max_kv_size")
        self.quantization = {name: given[name] for name in _QUANTIZATION if name in given}
        # Whether the states are those that every other call computes.
        self.plain_cache = self.max_kv_size is None and "kv_bits" not in given
        self._seed = given.get("seed")

    def seed(self) -> None:
        """Begin the random numbers anew, if that was asked for."""
        if self._seed is not None:
            mx = _mlx()
            mx.random.seed(self._seed)


class _Mask:
    """Holds one row to its constraint. As a logits processor of mlx-lm it reads the row's tokens itself."""

    def __init__(self, matcher: GrammarMatcher | GatedMatcher) -> None:
        from fairlead._core import allocate_token_bitmask

        self._matcher = matcher
        self._vocab_size = int(matcher.vocab_size)
        self._ends = frozenset(matcher.stop_token_ids)
        self._bitmask = allocate_token_bitmask(1, self._vocab_size)
        self._begun = self._ended = False
        self.seconds = 0.0

    def accept(self, token: int) -> None:
        """Take a token.

        Raises:
            ModelError: The constraint doesn't allow it: a sampler or another processor went against the mask.
        """
        if not self._ended and not self._matcher.accept_token(token):
            raise ModelError(f"token {token} was sampled against the mask of the constraint")
        self._ended = self._ended or token in self._ends

    def apply(self, logits: Any) -> Any:
        """Mask the logits of the next token, shape ``(1, vocab)``."""
        mx = _mlx()
        from fairlead.bitmask.mlx import apply_token_bitmask

        # The model computes them while the mask is made.
        mx.async_eval(logits)
        started = time.perf_counter()
        if self._matcher.fill_next_token_bitmask(self._bitmask, 0) or logits.shape[-1] > self._vocab_size:
            logits = apply_token_bitmask(logits, self._bitmask)
        self.seconds += time.perf_counter() - started
        return logits

    def __call__(self, tokens: Any, logits: Any) -> Any:
        # The first call shows the prompt. mlx-lm runs one step ahead, also behind the end.
        if self._begun and not self._ended:
            mx = _mlx()
            mx.async_eval(logits)
            self.accept(int(tokens[-1].item()))
        self._begun = True
        return logits if self._ended else self.apply(logits)


class _Generation:
    """One row, token by token: what mlx-lm's ``generate_step`` does, but for what isn't needed.

    Nothing is computed behind the last token of a limit or of a constraint, and it is known exactly which tokens the
    states are of.
    """

    def __init__(self, model: Any, options: _Options, cache: Any) -> None:
        from mlx_lm.models.cache import make_prompt_cache

        self._model = model
        self._options = options
        self.cache = make_prompt_cache(model, options.max_kv_size) if cache is None else cache
        self.fed: list[int] = []
        self._ids: Any = None  # the whole text, for processors that look at it

    def read(self, ids: list[int], cached: int, output: Output) -> None:
        """Read a prompt, all but its last token, in pieces between which others get their turn."""
        mx = _mlx()
        self.fed, last = ids[:cached], len(ids) - 1
        for at in range(cached, last, self._options.prefill_step):
            if output.cancelled.is_set():
                return
            piece = ids[at : min(last, at + self._options.prefill_step)]
            with _turn():
                self._model(mx.array(piece)[None], cache=self.cache)
                self._quantize()
                mx.eval([layer.state for layer in self.cache])
                mx.clear_cache()
            self.fed += piece
        if self._options.processors:
            self._ids = mx.array(ids[:-1])

    def write(self, request: LocalRequest, output: Output) -> None:
        """Write the answer."""
        mx = _mlx()
        if output.cancelled.is_set():
            return
        mask = None if request.compiled is None else _Mask(request.new_matcher())
        token = int(request.prompt.token_ids[-1])
        with _turn():
            self._options.seed()
            following = self._step(mx.array([token]), mask)
            self.fed.append(token)
        try:
            for left in range(request.max_new_tokens - 1, -1, -1):
                with _turn():
                    chosen, following = following, None
                    # Without a constraint the next step needs no more than the token that is being computed.
                    if mask is None and left:
                        following = self._step(chosen, None)
                    token = int(chosen.item())
                    if following is not None:
                        self.fed.append(token)
                if output.push([token]) or not left:
                    break
                if mask is not None:
                    with _turn():
                        mask.accept(token)
                        following = self._step(chosen, mask)
                        self.fed.append(token)
        finally:
            request.mask_seconds = mask.seconds if mask is not None else 0.0

    def _step(self, token: Any, mask: _Mask | None) -> Any:
        """Feed a token, shape ``(1,)``; the next one, of the same shape, is being computed."""
        mx = _mlx()
        logits = self._model(token[None], cache=self.cache)[:, -1, :]
        if self._options.processors:
            self._ids = mx.concatenate([self._ids, token.astype(self._ids.dtype)])
            for processor in self._options.processors:
                logits = processor(self._ids, logits)
        if mask is not None:
            logits = mask.apply(logits)
        self._quantize()
        chosen = self._options.sampler(logits - mx.logsumexp(logits, keepdims=True))
        mx.async_eval(chosen)
        return chosen

    def _quantize(self) -> None:
        if self._options.quantization.get("kv_bits"):
            from mlx_lm.generate import maybe_quantize_kv_cache

            arguments = {"quantized_kv_start": 0, "kv_group_size": 64, **self._options.quantization}
            maybe_quantize_kv_cache(self.cache, **arguments)

    def snapshot(self) -> Any:
        """A copy of the states as they are now."""
        with _turn():
            copied = deepcopy(self.cache)
            _settle(copied)
        return copied


def _settle(cache: Any) -> None:
    """Wait for what is still being computed, so that another thread may go on."""
    _mlx().eval([layer.state for layer in cache])


def _prefix_cache(model: Any, limit: int) -> PrefixCache[Any]:
    """Where states of a model are kept: those of plain attention can be cut anywhere, others only go on."""
    from mlx_lm.models.cache import KVCache, make_prompt_cache, trim_prompt_cache

    def size(cache: Any) -> int:
        return sum(int(layer.nbytes) for layer in cache)

    if not all(type(layer) is KVCache for layer in make_prompt_cache(model)):
        return PrefixCache(limit, size=size)

    def crop(cache: Any, length: int) -> None:
        trim_prompt_cache(cache, cache[0].offset - length)

    def copy(cache: Any, length: int) -> Any:
        mx = _mlx()
        copied = make_prompt_cache(model)
        with _turn():
            for new, old in zip(copied, cache, strict=True):
                new.keys, new.values = (mx.contiguous(one[..., :length, :]) for one in (old.keys, old.values))
                new.offset = length
            _settle(copied)
        return copied

    return PrefixCache(limit, size=size, crop=crop, copy=copy)
