"""Single requests of a vLLM engine held to a grammar, whatever serves its structured outputs."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, cast

from vllm.tokenizers import cached_tokenizer_from_config
from vllm.v1.sample.logits_processor import LogitsProcessor as VLLMLogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from fairlead._core import allocate_token_bitmask
from fairlead.bitmask.torch import apply_token_bitmask_inplace
from fairlead.errors import FairleadError, LimitExceeded
from fairlead.logits_processor import _Row
from fairlead.vllm._compile import MatcherFactory, check_constraint
from fairlead.vllm._spec import ConstraintSpec

__all__ = ["LogitsProcessor"]

_NAME = "fairlead"
_log = logging.getLogger("fairlead.vllm")


class LogitsProcessor(VLLMLogitsProcessor):
    """Holds a request to the grammar in its ``SamplingParams(extra_args={"fairlead": grammar_text(grammar)})``.

    Requests without one are free. An engine takes it by ``logits_processors=["fairlead.vllm:LogitsProcessor"]`` or
    ``--logits-processors fairlead.vllm:LogitsProcessor``. It is of the kind that the V1 model runner takes: on a CPU,
    and on a GPU with ``VLLM_USE_V2_MODEL_RUNNER=0``. The state of a row follows from its tokens, so that a preempted
    request goes on where it was. A token budget within which no text can be complete is left out of account, with a
    warning in the log.

    Args:
        vllm_config: The engine's configuration.
        device: Of the logits.
        is_pin_memory: Not used.
    """

    @classmethod
    def validate_params(cls, params: Any) -> None:
        """Refuse what can't be enforced, before the request begins.

        Raises:
            ValueError: The argument is no grammar of ``grammar_text``, or one that is malformed or unsupported.
        """
        try:
            spec = _spec(params)
            if spec is not None:
                check_constraint(spec)
        except FairleadError as error:
            raise ValueError(f"extra_args[{_NAME!r}]: {error}") from error

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        del device, is_pin_memory
        model = vllm_config.model_config
        self._vocab_size = int(model.get_vocab_size())
        self._factory = MatcherFactory(cached_tokenizer_from_config(model_config=model), self._vocab_size)
        self._rows: dict[int, _Request] = {}
        self._bitmask: Any = None

    def is_argmax_invariant(self) -> bool:
        """False: a mask changes the likeliest token."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """Follow the rows of the batch."""
        process_dict_updates(self._rows, batch_update, self._new_request)

    def _new_request(self, params: Any, prompt_ids: Any, output_ids: list[int]) -> _Request | None:
        del prompt_ids
        spec = _spec(params)
        if spec is None:
            return None
        stops = frozenset(params.all_stop_token_ids) | frozenset(spec.stop_token_ids)
        try:
            matcher = self._factory.new_matcher(spec, stops)
        except LimitExceeded as error:
            # Here a request can't be refused any more: an error would end the engine.
            _log.warning("%s; the output isn't kept to it", error)
            matcher = self._factory.new_matcher(replace(spec, token_budget=None), stops)
        return _Request(_Row(cast(Any, matcher)), output_ids, stops, self._vocab_size)

    def apply(self, logits: Any) -> Any:
        """Mask the logits, shape ``(rows, vocab)``, in place."""
        if not self._rows:
            return logits
        if self._bitmask is None or len(self._bitmask) < len(logits):
            self._bitmask = allocate_token_bitmask(len(logits), self._vocab_size)
        masked = [index for index, row in self._rows.items() if row.fill(self._bitmask, index)]
        if masked:
            apply_token_bitmask_inplace(logits, self._bitmask, masked)
        return logits


class _Request:
    def __init__(self, row: _Row, output_ids: list[int], stops: frozenset[int], vocab_size: int) -> None:
        self._row = row
        # vLLM's own list, which grows.
        self._output_ids = output_ids
        self._read = 0
        self._stops = stops
        self._vocab_size = vocab_size

    def fill(self, bitmask: Any, index: int) -> bool:
        """Follow the new tokens; whether a mask was written."""
        for token in self._output_ids[self._read :]:
            if token < 0:  # not known yet
                break
            self._read += 1
            self._row.append(token, self._stops, self._vocab_size)
        # A row that has ended, or was led astray by another processor, has no mask of its own.
        return not self._row.closed and bool(self._row.matcher.fill_next_token_bitmask(bitmask, index))


def _spec(params: Any) -> ConstraintSpec | None:
    text = (getattr(params, "extra_args", None) or {}).get(_NAME)
    if text is None:
        return None
    spec = ConstraintSpec.from_text(text) if isinstance(text, str) else None
    if spec is None:
        raise ValueError(f"extra_args[{_NAME!r}] is what fairlead.vllm.grammar_text has made of a grammar")
    return spec
