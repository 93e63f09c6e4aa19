"""Models that Hugging Face's Transformers runs in this process."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from fairlead.errors import ConfigurationError, MessageError
from fairlead.images import load_image
from fairlead.models._checkpoint import load_checkpoint
from fairlead.models._decoding import decoding_loop
from fairlead.models._few_rows import few_rows_at_once
from fairlead.models._jump import CanonicalSpans, JumpProcessor
from fairlead.models._kv_cache import (
    cache_argument,
    default_limit,
    image_key,
    inputs_behind,
    new_cache,
    prefix_cache_of,
    snapshot,
    states_of,
    takes_caches,
)
from fairlead.models._local import LocalModel, LocalRequest, Prompt
from fairlead.models._output import Output
from fairlead.models._prompt_lookup import PromptLookup

if TYPE_CHECKING:
    from fairlead.models._prefix import PrefixCache
    from fairlead.tokenizer import TokenizerInfo

__all__ = ["TransformersModel"]

# Options of a call that bring a cache of their own, or use it in ways that leave no plain prefix behind.
_OWN_CACHE = frozenset(
    {
        "assistant_model",
        "cache",
        "cache_implementation",
        "custom_generate",
        "generation_config",
        "inputs_embeds",
        "past_key_values",
        "penalty_alpha",
    }
)
_LOOKUP = "prompt_lookup_num_tokens"
_PLAIN_INPUTS = frozenset({"input_ids", "attention_mask", "pixel_values"})
_DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-1.7B-Instruct"


class TransformersModel(LocalModel):
    """A text or vision-language model run by Transformers; a drop-in for ``smolagents.TransformersModel``.

    Args:
        model_id: A folder, or a name on the Hugging Face Hub; of an adapter too, which is
            put on the base that it names.
        device_map: Where the weights go: "cpu", "cuda", "auto", ... Default: a GPU if there is one.
        torch_dtype: The weights' type, for example "auto" or "bfloat16". Default: what Transformers chooses.
        trust_remote_code: Run code that comes with the model. Default False.
        model_kwargs: More arguments for ``from_pretrained``: ``quantization_config``, ``attn_implementation``,
            ``revision``, ...
        max_new_tokens: Limit of an answer unless a call sets another. Default 4096.
        max_tokens: The same; wins if both are given.
        apply_chat_template_kwargs: More arguments for the chat template.
        prefix_cache_bytes: How much to keep of what was computed for earlier prompts, so that a prompt which begins
            like one of them is read from where they part. 0 keeps nothing. Default: 2 GiB, on a GPU up to 4 GiB and
            an eighth of its memory. Batches, beams and models without a cache that can be kept don't use it.
        jump_forward: Write what a constraint forces without a forward pass for each token; a call may say otherwise.
            In such spans only the tokenizer's own spelling is allowed. For one prompt at a time; batches and beams go
            without. Default False.
        reasoning: The tags around a model's thoughts, for example ``("<think>", "</think>")``; see LocalModel.
        **kwargs: Sent to ``generate`` of Transformers with every call; ``device`` and ``dtype`` are other names for
            ``device_map`` and ``torch_dtype``. ``prompt_lookup_num_tokens=10`` guesses up to so many tokens from what
            the text repeats and reads them in one pass, behind the kept prefix and with every constraint; what is
            written stays the same. Batches go without.

    Attributes:
        model: The Transformers model.
        tokenizer: Its tokenizer.
        processor: Its processor; vision-language models only.

    Raises:
        MissingDependencyError: torch or transformers isn't installed; or peft, for an adapter.
        ConfigurationError: The model can't be loaded. It is a ValueError.
    """

    _batch_size: ClassVar[int | None] = 16
    _jumps: ClassVar[bool] = True
    _saved: ClassVar[dict[str, Any]] = {
        "device_map": None,
        "torch_dtype": None,
        "trust_remote_code": False,
        "model_kwargs": {},
        "prefix_cache_bytes": None,
        "flatten_messages_as_text": None,
    }

    def __init__(
        self,
        model_id: str | None = None,
        device_map: str | dict[str, Any] | None = None,
        torch_dtype: Any = None,
        trust_remote_code: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        max_new_tokens: int = 4096,
        max_tokens: int | None = None,
        apply_chat_template_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not model_id:
            warnings.warn(
                f"TransformersModel without model_id uses {_DEFAULT_MODEL!r}; name the model, a default may go away",
                FutureWarning,
                stacklevel=2,
            )
            model_id = _DEFAULT_MODEL
        self.device_map = kwargs.pop("device", None) if device_map is None else device_map
        self.torch_dtype = kwargs.pop("dtype", None) if torch_dtype is None else torch_dtype
        self.trust_remote_code = trust_remote_code
        self.model_kwargs = model_kwargs or {}
        model, processor = load_checkpoint(
            model_id,
            device=self.device_map,
            dtype=self.torch_dtype,
            trust_remote_code=trust_remote_code,
            options=self.model_kwargs,
            feature=type(self).__name__,
        )
        self._init(
            model,
            processor,
            model_id=model_id,
            max_new_tokens=max_new_tokens if max_tokens is None else max_tokens,
            apply_chat_template_kwargs=apply_chat_template_kwargs,
            **kwargs,
        )

    @classmethod
    def from_loaded(
        cls, model: Any, tokenizer: Any, *, model_id: str | None = None, max_new_tokens: int = 4096, **kwargs: Any
    ) -> Self:
        """Wrap a model that is loaded already.

        Args:
            model: A Transformers model.
            tokenizer: Its tokenizer, or its processor if it takes images.
            model_id: A name for it. Default: the one it was loaded from.
            max_new_tokens: As for the constructor.
            **kwargs: As for the constructor.
        """
        self = cls.__new__(cls)
        self.device_map = self.torch_dtype = None
        self.trust_remote_code = False
        self.model_kwargs = {}
        model_id = model_id or getattr(model.config, "name_or_path", None) or type(model).__name__
        self._init(model, tokenizer, model_id=model_id, max_new_tokens=max_new_tokens, **kwargs)
        return self

    def _init(
        self,
        model: Any,
        processor: Any,
        prefix_cache_bytes: int | None = None,
        **kwargs: Any,
    ) -> None:
        # A processor holds a tokenizer; a tokenizer stands for itself.
        self._is_vlm = getattr(processor, "tokenizer", None) is not None
        if self._is_vlm:
            self.processor = processor
        self.tokenizer = processor.tokenizer if self._is_vlm else processor
        self.model = model
        if prefix_cache_bytes is not None and (isinstance(prefix_cache_bytes, bool) or prefix_cache_bytes < 0):
            raise ConfigurationError(f"prefix_cache_bytes is a number of bytes, not {prefix_cache_bytes!r}")
        self.prefix_cache_bytes = self._prefix_limit = prefix_cache_bytes
        self._prefix: PrefixCache[Any] | None = None
        self._takes_caches: bool | None = None
        self._continues: tuple[bool, bool] | None = None
        self._spans: CanonicalSpans | None = None
        self._forward_names = frozenset(inspect.signature(model.forward).parameters)
        kwargs.setdefault("flatten_messages_as_text", not self._is_vlm)
        super().__init__(**kwargs)

    # What LocalModel asks for.

    def _render(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> Prompt:
        if self._is_vlm:
            messages = [{**message, "content": _image_parts(message["content"])} for message in messages]
        template = self.processor if self._is_vlm else self.tokenizer
        inputs = self._apply_template(template, messages, tools, return_dict=True, return_tensors="pt")
        tensors = {name: _to(value, self.model) for name, value in inputs.items()}
        if "token_type_ids" not in self._forward_names:
            tensors.pop("token_type_ids", None)
        return Prompt(tensors, inputs["input_ids"][0].tolist())

    def _run(self, request: LocalRequest, output: Output) -> None:
        if self._brings_cache(request):
            self._run_rows([request], [output])
            return
        try:
            self._run_kept(request, output)
        except Exception as error:
            # What is kept for other prompts makes room for this one.
            kept = self._prefix is not None and (len(self._prefix) > 0 or request.cached_tokens > 0)
            if type(error).__name__ != "OutOfMemoryError" or output.tokens or not kept:
                raise
            self.clear_prefix_cache()
            self._run_kept(request, output)

    def _run_kept(self, request: LocalRequest, output: Output) -> None:
        """Run a request behind what an earlier one has computed, and keep what this one computes."""
        found = self._find_states(request)
        jump, lookup = self._jump(request), self._lookup(request)
        inputs = request.prompt.inputs
        cache: Any = None
        if found is not None:
            store, key = found
            cache, request.cached_tokens = store.take(key)
            inputs = inputs_behind(inputs, key, request.cached_tokens)
        cache = self._new_cache() if cache is None else cache
        if found is not None and not store.crops:
            # These states can't go back from behind the answer, which the next prompt may write otherwise.
            store.give(key[:-1], len(key) - 1, snapshot(self.model, inputs, cache))
        # Whoever fails keeps nothing: the layers may have stopped at different lengths.
        ids = self._run_rows([request], [output], inputs, cache, jump, lookup)
        if found is not None and store.crops:
            written = ids[0, len(key) :].tolist()
            store.give((key + written)[: states_of(cache)], len(key), cache)

    def _brings_cache(self, request: LocalRequest) -> bool:
        """Whether a request uses a cache in a way that leaves no plain prefix behind."""
        config = self.model.generation_config
        return (
            not _OWN_CACHE.isdisjoint(request.options)
            or _several(request.options)
            or _several(vars(config))
            or config.cache_implementation is not None
            or not request.options.get("use_cache", config.use_cache)
            or (self._guesses(request) > 0 and not self._reads_several(request, and_back=True))
        )

    def _find_states(self, request: LocalRequest) -> tuple[PrefixCache[Any], list[int]] | None:
        """The store, and the key of a prompt in it; None if its states can't be kept."""
        with self._engine_lock:
            if self._prefix is None and self._prefix_limit != 0:
                limit = default_limit(self.model) if self._prefix_limit is None else self._prefix_limit
                self._prefix = prefix_cache_of(self.model, limit)
                self._prefix_limit = self._prefix_limit if self._prefix else 0
            store = self._prefix
        if store is None or (not store.crops and "pixel_values" in request.prompt.inputs):
            return None
        image_token = getattr(self.model.config, "image_token_id", None)
        key = image_key(request.prompt.inputs, list(request.prompt.token_ids), image_token)
        return None if key is None else (store, key)

    def _new_cache(self) -> Any:
        """An empty cache that grows in place, or None: then Transformers makes its own."""
        with self._engine_lock:
            if self._takes_caches is None:
                self._takes_caches = takes_caches(self.model)
        return new_cache(self.model) if self._takes_caches else None

    def _jump(self, request: LocalRequest) -> JumpProcessor | None:
        """What follows a grammar and jumps over what it forces, if that is asked for and can be done."""
        if not request.jump_forward or request.compiled is None:
            return None
        if not self._reads_several(request):
            raise ConfigurationError(f"{self.model_id} can't jump forward: its states or inputs are of another kind")
        with self._engine_lock:
            if self._spans is None:
                info = self.tokenizer_info
                assert info is not None
                self._spans = CanonicalSpans(self._encode, info.decoded_vocab)
        return JumpProcessor(request.new_matcher(), self._spans, request.prompt_tokens, request.token_budget)

    def _guesses(self, request: LocalRequest) -> int:
        """How many tokens are guessed at once; 0 for none."""
        number = request.options.get(_LOOKUP, getattr(self.model.generation_config, _LOOKUP, None)) or 0
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise ConfigurationError(f"{_LOOKUP} is a number of tokens, not {number!r}")
        return number

    def _lookup(self, request: LocalRequest) -> PromptLookup | None:
        """What guesses tokens, if that is asked for."""
        most = self._guesses(request)
        if not most:
            return None
        name = "max_matching_ngram_size"
        longest = request.options.get(name, getattr(self.model.generation_config, name, None)) or 2
        pictures = (getattr(self.model.config, f"{kind}_token_id", None) for kind in ("image", "video", "audio"))
        return PromptLookup(most, longest, [token for token in pictures if token is not None])

    def _reads_several(self, request: LocalRequest, *, and_back: bool = False) -> bool:
        """Whether several tokens can be read behind others, as in a prompt that goes on, and be forgotten again."""
        with self._engine_lock:
            if self._continues is None:
                store = prefix_cache_of(self.model, 1)
                self._continues = (store is not None, store is not None and store.crops)
        return self._continues[and_back] and set(request.prompt.inputs) <= _PLAIN_INPUTS

    def _encode(self, text: str) -> list[int]:
        with self._tokenizer_lock:
            ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
            return ids

    def clear_prefix_cache(self) -> None:
        """Forget what was computed for earlier prompts. To be called when the weights have changed."""
        with self._engine_lock:
            if self._prefix is not None:
                self._prefix.clear()

    def _run_rows(
        self,
        requests: Sequence[LocalRequest],
        outputs: Sequence[Output],
        prompt: dict[str, Any] | None = None,
        cache: Any = None,
        jump: JumpProcessor | None = None,
        lookup: PromptLookup | None = None,
    ) -> Any:
        """Run requests of equal options as one batch; returns the ids of prompts and answers."""
        options = _sampling(requests[0].options)
        asked = self._guesses(requests[0])
        # Transformers' own guesses, where the states can't go back; a batch goes without any.
        drafts = asked if lookup is None and len(requests) == 1 else 0
        if asked != drafts or _LOOKUP in options:
            options[_LOOKUP] = drafts or None
        pad = self._pad_token(options)
        if pad is not None and self.model.generation_config.pad_token_id is None:
            options.setdefault("pad_token_id", pad)
        options.setdefault("use_cache", True)
        if prompt is None:
            prompts = [request.prompt.inputs for request in requests]
            prompt = prompts[0] if len(prompts) == 1 else _pad_left(prompts, pad)
        if cache is not None:
            options[cache_argument(self.model)] = cache
        # Only the context makes them differ, and the longest prompt has the least room in it.
        limit = min(request.max_new_tokens for request in requests)
        width = prompt["input_ids"].shape[1]
        several = _several(options)
        watch = _Watch(outputs, width, read=not several)
        criteria = [watch, *(options.pop("stopping_criteria", None) or ())]
        processors = list(options.pop("logits_processor", None) or ())
        constraint: Any = jump
        jumping = jump if requests[0].jump_forward == "jump" else None
        if jumping is not None or lookup is not None:
            options["custom_generate"] = decoding_loop(jumping, lookup, options.get("streamer"))
        if jump is not None:
            processors.append(jump)
        elif any(request.compiled is not None for request in requests):
            from fairlead.logits_processor import LogitsProcessor

            # Transformers' own drafts and raw logits are spoiled by masks in place.
            inplace = not drafts and not options.get("output_logits") and _OWN_CACHE.isdisjoint(requests[0].options)
            # What a row was given by its own limit is that of all rows.
            budgets = [
                limit if request.token_budget == request.max_new_tokens else request.token_budget
                for request in requests
            ]
            compiled = [cast(Any, request.compiled) for request in requests]
            constraint = LogitsProcessor(compiled, inplace=inplace, token_budget=budgets)
            processors.append(constraint)
        try:
            with few_rows_at_once(self.model):
                ids = self.model.generate(
                    **prompt,
                    **options,
                    max_new_tokens=limit,
                    stopping_criteria=criteria,
                    logits_processor=processors,
                )
        finally:
            for request in requests:
                request.max_new_tokens = limit
                request.mask_seconds = constraint.mask_seconds if constraint is not None else 0.0
        ids = ids if hasattr(ids, "shape") else ids.sequences
        if several:
            outputs[0].push(ids[0, width:].tolist())
        return ids

    def _run_batch(self, requests: Sequence[LocalRequest], outputs: Sequence[Output]) -> None:
        if _several(requests[0].options) or not _side_by_side([request.prompt.inputs for request in requests]):
            super()._run_batch(requests, outputs)
        else:
            self._run_rows(requests, outputs, cache=None if self._brings_cache(requests[0]) else self._new_cache())

    def _context_length(self) -> int | None:
        # Relative positions have no end: only a table of them, or rotations scaled for so many, do.
        length = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return length if isinstance(length, int) and length > 0 else None

    def _release(self) -> None:
        self.model = self._prefix = None

    def _pad_token(self, options: Mapping[str, Any]) -> int | None:
        for source in (options.get("pad_token_id"), self.model.generation_config.pad_token_id):
            if source is not None:
                return int(source)
        if self.tokenizer.pad_token_id is not None:
            return int(self.tokenizer.pad_token_id)
        return min(self._end_tokens(options), default=None)

    def _end_tokens(self, options: Mapping[str, Any]) -> Collection[int]:
        # The generation config may name several (end of turn, end of text); the tokenizer knows one.
        ends = options.get("eos_token_id", self.model.generation_config.eos_token_id)
        if ends is None:
            ends = self.tokenizer.eos_token_id
        if ends is None:
            return ()
        return (ends,) if isinstance(ends, int) else tuple(int(end) for end in ends)

    def _make_tokenizer_info(self) -> TokenizerInfo:
        from fairlead.tokenizer import TokenizerInfo

        config = self.model.config.get_text_config()
        return TokenizerInfo.from_huggingface(
            self.tokenizer, vocab_size=config.vocab_size, stop_token_ids=list(self._end_tokens({})) or None
        )

    # Names that code written for smolagents may use.

    def make_stopping_criteria(self, stop_sequences: Sequence[str], tokenizer: Any) -> list[Any]:
        """Stopping criteria for a ``generate`` call of one's own."""
        from fairlead.stopping import StopSequenceCriteria

        return [StopSequenceCriteria(list(stop_sequences), tokenizer)]


class _Watch:
    """A stopping criterion that hands new tokens on as they come, and ends each row when told so."""

    def __init__(self, outputs: Sequence[Output], width: int, *, read: bool) -> None:
        self._outputs = outputs
        self._seen = width
        self._read = read

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        import torch

        if self._read:
            # Usually one token a row; a chunk when tokens are guessed ahead.
            new = input_ids[:, self._seen :].tolist()
            self._seen = input_ids.shape[1]
            ends = [output.push(tokens) for output, tokens in zip(self._outputs, new, strict=True)]
        else:
            ends = [self._outputs[0].cancelled.is_set()] * input_ids.shape[0]
        return torch.tensor(ends, dtype=torch.bool, device=input_ids.device)


def _several(options: Mapping[str, Any]) -> bool:
    """Whether a row of the prompt becomes several: they come in no order that could be read as one text."""
    return max(int(options.get(name) or 1) for name in ("num_beams", "num_return_sequences")) > 1


def _side_by_side(prompts: Sequence[dict[str, Any]]) -> bool:
    """Whether prompts can be rows of one batch: tokens, and pictures of one size."""
    names = {name for prompt in prompts for name in prompt}
    if names - _PLAIN_INPUTS:
        return False
    pictures = [prompt["pixel_values"] for prompt in prompts if "pixel_values" in prompt]
    return all(one.dim() == 4 and one.shape[1:] == pictures[0].shape[1:] for one in pictures)


def _pad_left(prompts: Sequence[dict[str, Any]], pad: int | None) -> dict[str, Any]:
    """Prompts of one row each as one batch; the pictures of all rows follow each other."""
    import torch

    width = max(prompt["input_ids"].shape[1] for prompt in prompts)
    ids, masks = [], []
    for prompt in prompts:
        row = prompt["input_ids"]
        mask = prompt.get("attention_mask", torch.ones_like(row))
        missing = width - row.shape[1]
        ids.append(torch.nn.functional.pad(row, (missing, 0), value=pad or 0))
        masks.append(torch.nn.functional.pad(mask, (missing, 0), value=0))
    batch = {"input_ids": torch.cat(ids), "attention_mask": torch.cat(masks)}
    pictures = [prompt["pixel_values"] for prompt in prompts if "pixel_values" in prompt]
    return {**batch, "pixel_values": torch.cat(pictures)} if pictures else batch


def _to(value: Any, model: Any) -> Any:
    if not hasattr(value, "to"):
        return value
    # Pixel values come as float32, whatever the weights are.
    return value.to(model.device, model.dtype) if value.is_floating_point() else value.to(model.device)


def _sampling(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options for ``generate``; a temperature alone means what it means everywhere else."""
    sampling = dict(options)
    temperature = sampling.get("temperature")
    if temperature is None:
        sampling.pop("temperature", None)
    elif temperature == 0:
        del sampling["temperature"]
        sampling.setdefault("do_sample", False)
    else:
        sampling.setdefault("do_sample", True)
    return sampling


def _image_parts(content: Any) -> list[dict[str, Any]]:
    """Parts as processors take them: images as PIL objects or URLs, text in parts of its own."""
    if content is None or isinstance(content, str):
        return [{"type": "text", "text": content or ""}]
    return [_image_part(part) for part in content]


def _image_part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] == "image" and "image" in part:
        return {**part, "image": load_image(part["image"])}
    if part["type"] == "image_url":
        target = part.get("image_url")
        url = target.get("url") if isinstance(target, Mapping) else target
        if not isinstance(url, str):
            raise MessageError(f"an image_url part without a URL: {part!r}")
        return {"type": "image", "image": load_image(url)} if url.startswith("data:") else {"type": "image", "url": url}
    return part
