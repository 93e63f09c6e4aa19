"""Puts fairlead's engine into the place of vLLM's xgrammar backend, for those engines that ask for it.

vLLM has no registry of backends: a closed list of names is compared in two places, at the front end (where requests
are checked) and in the process of the scheduler (where masks are made). Both are wrapped here, and where logits on a
CPU are masked; an engine whose ``additional_config`` doesn't name fairlead is served as before.
"""

from __future__ import annotations

import functools
import json
import logging
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from fairlead.errors import ConfigurationError, FairleadError

__all__ = ["budget_of_request", "ensure_registered", "register", "uses_fairlead"]

_log = logging.getLogger("fairlead.vllm")
_lock = threading.Lock()
_registered = False
# The limit of the request whose constraint is being compiled; unknown where vLLM has no such place.
_limit: ContextVar[int | None] = ContextVar("fairlead_max_tokens", default=None)
_knows_limits = False


def uses_fairlead(vllm_config: Any) -> bool:
    """Whether an engine was configured with ``additional_config={"fairlead": True}``, or with options in its place."""
    asked = _asked(vllm_config)
    return isinstance(asked, Mapping) or bool(asked)


def budget_of_request(vllm_config: Any) -> Callable[[], int | None]:
    """What tells the budget of tokens of the request whose constraint is being compiled; None: no bound.

    Raises:
        ConfigurationError: The engine's options for fairlead are unknown, or this vLLM doesn't tell limits.
    """
    options = _asked(vllm_config)
    options = options if isinstance(options, Mapping) else {}
    budget = options.get("token_budget")
    if set(options) - {"token_budget"} or budget not in (None, "max_tokens"):
        raise ConfigurationError(
            f'additional_config["fairlead"] is true or {{"token_budget": "max_tokens"}}, not {options!r}'
        )
    if budget is None:
        return lambda: None
    if not _knows_limits:
        raise ConfigurationError("this vLLM doesn't tell the limits of requests: leave token_budget out")
    return _limit.get


def _asked(vllm_config: Any) -> Any:
    more = getattr(vllm_config, "additional_config", None)
    return more.get("fairlead") if isinstance(more, dict) else None


def register() -> None:
    """What vLLM calls in each of its processes. It may be called again; it never fails, a log entry says so."""
    try:
        ensure_registered()
    except ConfigurationError as error:
        _log.warning("%s", error)


def ensure_registered() -> None:
    """``register``, for those who can't do without.

    Raises:
        ConfigurationError: This version of vLLM has other interfaces.
    """
    global _registered
    with _lock:
        if _registered:
            return
        try:
            import vllm.v1.structured_output as structured_output
            from vllm.v1.engine.input_processor import InputProcessor

            backend, check = structured_output.XgrammarBackend, InputProcessor._validate_params
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(
                f"fairlead can't be the engine of this vLLM's structured outputs, it works with 0.31 and 0.32: {error}"
            ) from error
        structured_output.XgrammarBackend = _choosing(backend)
        InputProcessor._validate_params = _checking(check)
        _tell_limits(structured_output)
        _mask_on_cpu()
        _registered = True


def _choosing(xgrammar: Any) -> Any:
    @functools.wraps(xgrammar, updated=())
    def make_backend(vllm_config: Any, tokenizer: Any, vocab_size: int) -> Any:
        if not uses_fairlead(vllm_config):
            return xgrammar(vllm_config, tokenizer=tokenizer, vocab_size=vocab_size)
        from fairlead.vllm._backend import FairleadBackend

        return FairleadBackend(vllm_config, tokenizer, vocab_size)

    return make_backend


def _checking(check: Any) -> Any:
    @functools.wraps(check)
    def validate(self: Any, params: Any, *args: Any, **kwargs: Any) -> Any:
        wanted = getattr(params, "structured_outputs", None)
        if wanted is None or not uses_fairlead(self.vllm_config):
            return check(self, params, *args, **kwargs)
        _check_request(self.vllm_config, wanted)
        # vLLM's own checks would choose another backend.
        params.structured_outputs = None
        try:
            result = check(self, params, *args, **kwargs)
        finally:
            params.structured_outputs = wanted
        wanted._backend, wanted._backend_was_auto = "xgrammar", True
        return result

    return validate


def _tell_limits(structured_output: Any) -> None:
    global _knows_limits
    try:
        create = structured_output.StructuredOutputManager._create_grammar
    except AttributeError:
        return

    @functools.wraps(create)
    def create_grammar(self: Any, request: Any) -> Any:
        token = _limit.set(getattr(request, "max_tokens", None))
        try:
            return create(self, request)
        finally:
            _limit.reset(token)

    structured_output.StructuredOutputManager._create_grammar = create_grammar
    _knows_limits = True


def _mask_on_cpu() -> None:
    try:
        from vllm.platforms import current_platform

        if not current_platform.is_cpu():
            return
        from vllm.v1.worker.gpu_model_runner import GPUModelRunner

        GPUModelRunner.sample_tokens = _masking(GPUModelRunner.sample_tokens)
    except (ImportError, AttributeError):
        # vLLM's own way does as well, slower.
        return


def _masking(sample: Any) -> Any:
    @functools.wraps(sample)
    def sample_tokens(self: Any, grammar_output: Any, *args: Any, **kwargs: Any) -> Any:
        state = self.execute_model_state
        logits = getattr(state, "logits", None)
        if grammar_output is not None and logits is not None and logits.is_cpu and uses_fairlead(self.vllm_config):
            from fairlead.vllm._worker import apply_grammar_bitmask

            apply_grammar_bitmask(state.scheduler_output, grammar_output, self.input_batch.req_ids, logits)
            grammar_output = None
        return sample(self, grammar_output, *args, **kwargs)

    return sample_tokens


def _check_request(vllm_config: Any, wanted: Any) -> None:
    from vllm.exceptions import VLLMValidationError

    from fairlead.vllm._compile import check_constraint, read_constraint

    if getattr(vllm_config.model_config, "is_diffusion", False):
        raise VLLMValidationError("structured outputs need a model that writes from left to right")
    for name in ("disable_any_whitespace", "disable_additional_properties", "whitespace_pattern"):
        if getattr(wanted, name, None):
            raise VLLMValidationError(f"fairlead's engine has no {name}: say it in the schema or in a grammar")
    if wanted.json_object is False:
        raise VLLMValidationError("json_object is true or left out")
    try:
        kind, text = _key(wanted)
        check_constraint(read_constraint(kind, text))
    except (FairleadError, ValueError, TypeError, RecursionError) as error:
        raise VLLMValidationError(f"structured output: {error}") from error


def _key(wanted: Any) -> tuple[str, str]:
    # The same names in the same order as in the scheduler.
    for kind in ("json", "json_object", "regex", "choice", "grammar", "structural_tag"):
        value = getattr(wanted, kind, None)
        if value is not None:
            return kind, value if isinstance(value, str) else json.dumps(value)
    raise ConfigurationError("nothing is asked for")
