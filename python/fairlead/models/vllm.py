"""Models that vLLM runs in this process, or in processes that it starts."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

from fairlead._optional import require
from fairlead.errors import ConfigurationError, FairleadError, MessageError, ModelError
from fairlead.images import load_image
from fairlead.models._constraint import Constraint
from fairlead.models._gated_grammar import GatedGrammar
from fairlead.models._local import LocalModel, LocalRequest, Prompt
from fairlead.models._output import Output
from fairlead.models._vllm_engine import EngineRequest, EngineThread, Step, Steps, new_engine
from fairlead.models._vllm_native import native_constraint
from fairlead.vllm import ConstraintSpec, ensure_registered

if TYPE_CHECKING:
    from fairlead.tokenizer import TokenizerInfo

__all__ = ["VLLMModel"]

_DEFAULT_MAX_TOKENS = 2048
_MOST_THREADS = 512
# Arguments of LLMEngine.add_request that a call may name.
_REQUEST = frozenset({"lora_request", "priority", "trace_headers"})
# Fields of SamplingParams that are this class's business, and what to use in their place.
_OURS = {
    "stop": "stop_sequences",
    "max_tokens": "max_new_tokens",
    "structured_outputs": "response_format or grammar",
    "n": "generate_batch",
    "logprobs": None,
    "prompt_logprobs": None,
    "logprob_token_ids": None,
    "prompt_logprob_token_ids": None,
    "flat_logprobs": None,
    "detokenize": None,
    "include_stop_str_in_output": None,
    "output_kind": None,
    "output_text_buffer_length": None,
    "skip_clone": None,
    "skip_special_tokens": None,
    "spaces_between_special_tokens": None,
}


class VLLMModel(LocalModel):
    """A text or vision-language model run by vLLM; a drop-in for ``smolagents.VLLMModel``.

    Calls from any number of threads share one engine, whose scheduler batches them. By default vLLM starts processes
    of its own, so scripts need ``if __name__ == "__main__":``; ``VLLM_ENABLE_V1_MULTIPROCESSING=0`` in the environment
    keeps it in this one.

    Args:
        model_id: A folder, or a name on the Hugging Face Hub.
        model_kwargs: More arguments for vLLM's engine (``vllm.EngineArgs``): ``max_model_len``,
            ``tensor_parallel_size``, ``distributed_executor_backend="ray"``, ``gpu_memory_utilization``, ``dtype``,
            ``quantization``, ``limit_mm_per_prompt``, ...
        apply_chat_template_kwargs: More arguments for the chat template.
        constraint_engine: Who enforces ``response_format`` and ``grammar``: "fairlead", exactly, as vLLM's plug-in
            (default); "vllm" for vLLM's own engines. What those wouldn't enforce is then an UnsupportedSchemaError or
            ConfigurationError before anything is generated.
        reasoning: The tags around a model's thoughts, for example ``("<think>", "</think>")``; see LocalModel.
        **kwargs: Used with every call: ``max_tokens`` (or ``max_new_tokens``; default 2048), ``temperature`` (default
            0, the likeliest token), and the other fields of ``vllm.SamplingParams``; ``lora_request`` and
            ``priority``.

    Attributes:
        tokenizer: vLLM's tokenizer.
        engine: vLLM's ``LLMEngine``. Its methods belong to the thread that runs it.

    Raises:
        MissingDependencyError: vLLM isn't installed.
        ConfigurationError: The model can't be loaded. It is a ValueError.
    """

    _batch_size: ClassVar[int | None] = None
    _saved: ClassVar[dict[str, Any]] = {
        "model_kwargs": {},
        "constraint_engine": "fairlead",
        "flatten_messages_as_text": None,
    }

    def __init__(
        self,
        model_id: str,
        model_kwargs: dict[str, Any] | None = None,
        apply_chat_template_kwargs: dict[str, Any] | None = None,
        *,
        constraint_engine: str = "fairlead",
        **kwargs: Any,
    ) -> None:
        if constraint_engine not in ("fairlead", "vllm"):
            raise ConfigurationError(f"constraint_engine is 'fairlead' or 'vllm', not {constraint_engine!r}")
        require("vllm", extra="vllm", feature="VLLMModel")
        self.model_kwargs = model_kwargs or {}
        self.constraint_engine = constraint_engine
        arguments = {"model": model_id, "disable_log_stats": True, **self.model_kwargs}
        if constraint_engine == "fairlead":
            ensure_registered()
            arguments["additional_config"] = {**(arguments.get("additional_config") or {}), "fairlead": True}
            arguments["structured_outputs_config"] = _backend_config(arguments.get("structured_outputs_config"))
        try:
            self._engine_thread = EngineThread(lambda: new_engine(arguments))
        except (ImportError, FairleadError):
            raise
        except Exception as error:
            raise ConfigurationError(f"Failed to load model_id={model_id!r} with vLLM: {error}") from error
        # Also when the model is forgotten, and at exit.
        self._finalizer = weakref.finalize(self, self._engine_thread.close)
        self.engine = self._engine_thread.engine
        self._config = self.engine.model_config
        self.tokenizer = self.engine.get_tokenizer()
        self._processor: Any = None
        self._sampling_fields = _sampling_fields()
        # A thread that waits costs little, a request that waits for a thread misses its place in the batch.
        self._threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="fairlead-vllm-call")
        self.is_vlm = bool(self._config.is_multimodal_model)
        kwargs.setdefault("flatten_messages_as_text", not self.is_vlm)
        super().__init__(model_id=model_id, apply_chat_template_kwargs=apply_chat_template_kwargs, **kwargs)

    # What LocalModel asks for.

    def _render(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> Prompt:
        if not self.is_vlm:
            ids = self._apply_template(self.tokenizer, messages, tools, return_dict=False)
            return _prompt(ids)
        images: list[Any] = []
        plain = [{**message, "content": _image_parts(message["content"], images)} for message in messages]
        text = self._apply_template(self._template_owner(), plain, tools, tokenize=False)
        with self._tokenizer_lock:
            ids = self.tokenizer.encode(text, add_special_tokens=False)
        prompt = _prompt(ids)
        if images:
            prompt.inputs["multi_modal_data"] = {"image": images}
        return prompt

    def _template_owner(self) -> Any:
        """Who has the chat template of a model that takes images: often its processor, not its tokenizer."""
        with self._engine_lock:
            if self._processor is None:
                self._processor = self.tokenizer
                if self.tokenizer.chat_template is None:
                    from transformers import AutoProcessor

                    self._processor = AutoProcessor.from_pretrained(
                        self._config.tokenizer, trust_remote_code=self._config.trust_remote_code
                    )
            return self._processor

    def _run(self, request: LocalRequest, output: Output) -> None:
        self._run_batch([request], [output])

    def _run_batch(self, requests: Sequence[LocalRequest], outputs: Sequence[Output]) -> None:
        rows = [self._engine_request(request) for request in requests]
        steps = Steps(rows)
        running = {row: (request, output) for row, request, output in zip(rows, requests, outputs, strict=True)}
        try:
            self._engine_thread.add(*rows)
            while running:
                for row, step in steps.wait(_PATIENCE):
                    if row not in running:
                        continue
                    request, output = running[row]
                    if step.prompt_tokens != request.prompt_tokens:
                        # Images have become as many tokens as they take.
                        request.prompt.token_ids = range(step.prompt_tokens)
                    request.cached_tokens = step.cached_tokens
                    if output.push(step.tokens):
                        self._engine_thread.abort(row)
                        del running[row]
                    elif step.finished is not None:
                        _check_end(step)
                        del running[row]
                for row in [row for row, (_, output) in running.items() if output.cancelled.is_set()]:
                    self._engine_thread.abort(row)
                    del running[row]
        finally:
            # Whoever fails takes those with it that nobody reads any more.
            self._engine_thread.abort(*running)

    def _engine_request(self, request: LocalRequest) -> EngineRequest:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        given = {name: value for name, value in request.options.items() if value is not None}
        for name in given:
            if name in _OURS or (name not in self._sampling_fields and name not in _REQUEST):
                instead = _OURS.get(name)
                raise ConfigurationError(
                    f"VLLMModel has no option {name}"
                    + (f": use {instead}" if instead else "")
                    + "; a call takes the sampling options of vllm.SamplingParams that concern one plain text"
                )
        options = {name: given.pop(name) for name in _REQUEST if name in given}
        structured = None
        if request.compiled is not None:
            structured = StructuredOutputsParams(grammar=self._spec(request).to_text())
        elif request.constraint is not None:
            structured = StructuredOutputsParams(**native_constraint(request.constraint))
        try:
            params = SamplingParams(
                **{"temperature": 0.0, **given},
                max_tokens=request.max_new_tokens,
                # The text is made here, of the bytes of the tokens.
                detokenize=False,
                skip_special_tokens=False,
                output_kind=RequestOutputKind.DELTA,
                structured_outputs=structured,
            )
        except Exception as error:
            # vLLM's own checks raise an error of its own kind.
            raise ConfigurationError(f"vLLM doesn't take these options: {error}") from error
        return EngineRequest(request.prompt.inputs, params, options)

    def _spec(self, request: LocalRequest) -> ConstraintSpec:
        compiled = request.compiled
        assert compiled is not None
        close, close_special = None, {}
        if isinstance(compiled, GatedGrammar):
            close = compiled.close.decode()
            close_special = {token: text.decode() for token, text in compiled.special.items()}
            compiled = compiled.compiled
        special: Mapping[int, str] = {}
        if request.must_call and request.tool_syntax is not None:
            special = self._special_ids(request.tool_syntax.special)
        stops = tuple(compiled.stop_token_ids)
        return ConstraintSpec(compiled.grammar, special, close, close_special, stops, request.token_budget)

    def _enforces(self, constraint: Constraint, options: dict[str, Any]) -> bool:
        if self.constraint_engine == "fairlead":
            return False
        native_constraint(constraint)
        return True

    def _prepare_request(self, messages: Sequence[Any], **kwargs: Any) -> LocalRequest:
        request = super()._prepare_request(messages, **kwargs)
        if self.constraint_engine == "vllm":
            if request.must_call:
                raise ConfigurationError("a required tool call is enforced by fairlead: constraint_engine='fairlead'")
            if request.constraint is not None and request.reasoning not in (None, "answer"):
                raise ConfigurationError(
                    "a constraint behind a model's reasoning is enforced by fairlead: constraint_engine='fairlead'"
                )
        return request

    def _end_tokens(self, options: Mapping[str, Any]) -> Collection[int]:
        # As vLLM: the generation config may name several, the tokenizer knows one.
        ends = {int(token) for token in options.get("stop_token_ids") or ()}
        if not options.get("ignore_eos"):
            given = self._config.try_get_generation_config().get("eos_token_id")
            for one in (given, self.tokenizer.eos_token_id):
                ends.update([one] if isinstance(one, int) else one or ())
        return ends

    def _make_tokenizer_info(self) -> TokenizerInfo:
        from fairlead.tokenizer import TokenizerInfo

        return TokenizerInfo.from_vllm(
            self.tokenizer,
            vocab_size=self._config.get_vocab_size(),
            stop_token_ids=sorted(self._end_tokens({})) or None,
        )

    def _max_new_tokens(self, kwargs: Mapping[str, Any]) -> int:
        if any(source.get(name) is not None for source in (kwargs, self.kwargs) for name in _LIMITS):
            return super()._max_new_tokens(kwargs)
        return _DEFAULT_MAX_TOKENS

    def _context_length(self) -> int | None:
        return int(self._config.max_model_len)

    def _release(self) -> None:
        self._finalizer()

    # Names that code written for smolagents may use.

    def cleanup(self) -> None:
        """``close``, under smolagents' name."""
        self.close()


# How often to look, in seconds, whether a request was cancelled that gets no tokens.
_PATIENCE = 0.05
_LIMITS = ("max_new_tokens", "max_tokens")


def _prompt(ids: Any) -> Prompt:
    tokens = [int(token) for token in ids]
    if not tokens:
        raise ConfigurationError("the chat template makes an empty prompt of these messages")
    return Prompt({"prompt_token_ids": tokens}, tokens)


def _sampling_fields() -> frozenset[str]:
    from vllm import SamplingParams

    return frozenset(name for name in SamplingParams.__struct_fields__ if not name.startswith("_"))


def _check_end(step: Step) -> None:
    if step.finished in ("error", "abort"):
        raise ModelError(
            "vLLM ended the generation with an error: a token was sampled against the mask of the constraint, or the "
            "engine couldn't go on"
        )


def _backend_config(given: Any) -> Any:
    """The configuration of structured outputs with the one backend that fairlead takes the place of."""
    given = given if given is not None else {}
    data = dict(given) if isinstance(given, Mapping) else dict(vars(given))
    if data.get("backend", "auto") not in ("auto", "xgrammar"):
        raise ConfigurationError(
            f"structured_outputs_config names the backend {data['backend']!r}: that needs constraint_engine='vllm'"
        )
    data["backend"] = "xgrammar"
    return data


def _image_parts(content: Any, images: list[Any]) -> list[dict[str, Any]]:
    """Parts for the template; the images of a message are appended to ``images``, in order."""
    if content is None or isinstance(content, str):
        return [{"type": "text", "text": content or ""}]
    parts = []
    for part in content:
        if part["type"] in ("image", "image_url"):
            images.append(_image(part))
            parts.append({"type": "image"})
        else:
            parts.append(part)
    return parts


def _image(part: Mapping[str, Any]) -> Any:
    target = part.get("image", part.get("image_url"))
    target = target.get("url") if isinstance(target, Mapping) else target
    if isinstance(target, str) and not target.startswith("data:"):
        raise MessageError("VLLMModel takes images, their bytes or data: URLs; fetch the image first")
    return load_image(target)
