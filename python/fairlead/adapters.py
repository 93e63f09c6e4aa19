"""Hold other loops to a grammar: mlx-lm's generation, and Transformers' continuous batching."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fairlead._optional import require
from fairlead.errors import ConfigurationError, GrammarError, LimitExceeded
from fairlead.logits_processor import _new_matcher, _Row

if TYPE_CHECKING:
    from fairlead._core import CompiledGrammar

__all__ = ["MLXLogitsProcessor", "constrain_continuous_batching"]

_log = logging.getLogger("fairlead.adapters")


def _allow_only(bitmask: Any, index: int, tokens: Sequence[int]) -> None:
    words = memoryview(bitmask).cast("B").cast("I")
    width = bitmask.shape[1]
    words[index * width : (index + 1) * width] = memoryview(bytes(4 * width)).cast("I")
    for token in tokens:
        words[index * width + token // 32] |= 1 << token % 32


class MLXLogitsProcessor:
    """Hold ``mlx_lm.stream_generate(..., logits_processors=[MLXLogitsProcessor(compiled)])`` to a grammar.

    One instance serves one generation (and its row, in ``BatchGenerator.insert``): mlx-lm shows it the end of the
    prompt and what was generated, and the first call says how long the former is. Steps that go back, as with a draft
    model, and the step that mlx-lm runs ahead are followed.

    Args:
        compiled: The grammar.
        token_budget: How many tokens the text may have, the stop token among them, usually ``max_tokens``: masks are
            narrowed in time, so that it is complete before they run out. Default None, no bound.

    Raises:
        ConfigurationError: The vocabulary has no stop tokens.
        LimitExceeded: The shortest text takes more than the budget.
    """

    def __init__(self, compiled: CompiledGrammar, *, token_budget: int | None = None) -> None:
        from fairlead._core import allocate_token_bitmask

        self._stop = frozenset(compiled.stop_token_ids)
        if not self._stop:
            raise ConfigurationError("the vocabulary has no stop tokens, so that no text could ever end")
        self._vocab_size = int(compiled.vocab_size)
        self._row = _Row(_new_matcher(compiled, token_budget))
        self._bitmask = allocate_token_bitmask(1, self._vocab_size)
        self._base: int | None = None
        self._tokens: list[int] = []

    def __call__(self, tokens: Any, logits: Any) -> Any:
        """Mask the logits of the next token.

        Args:
            tokens: The end of the prompt and the generated tokens: an ``mx.array`` of shape ``(n,)``, or a list.
            logits: ``mx.array`` of shape ``(1, vocab)``.

        Returns:
            A new lazy array.

        Raises:
            GrammarError: A token was sampled against the mask, or none is allowed.
        """
        from fairlead.bitmask.mlx import apply_token_bitmask

        length = len(tokens)
        if self._base is None:
            self._base = length
        self._follow(tokens, length - self._base)
        if self._row.closed:
            _allow_only(self._bitmask, 0, sorted(self._stop))
        elif not self._row.matcher.fill_next_token_bitmask(self._bitmask, 0) and logits.shape[-1] <= self._vocab_size:
            return logits
        return apply_token_bitmask(logits, self._bitmask)

    def _follow(self, tokens: Any, generated: int) -> None:
        held = len(self._tokens)
        if generated < 0:
            raise ConfigurationError("one MLXLogitsProcessor serves one generation; make a new one for the next")
        if generated == held + 1 and (not held or _as_int(tokens[-2]) == self._tokens[-1]):
            new = [_as_int(tokens[-1])]
        else:
            now = [_as_int(token) for token in tokens[self._base :]] if generated else []
            same = 0
            while same < min(held, generated) and now[same] == self._tokens[same]:
                same += 1
            self._row.back_to(same)
            del self._tokens[same:]
            new = now[same:]
        for token in new:
            if not self._row.append(token, self._stop, self._vocab_size):
                raise GrammarError(f"token {token} was sampled against the mask")
            self._tokens.append(token)


def _as_int(token: Any) -> int:
    return token if isinstance(token, int) else int(token.item())


def constrain_continuous_batching(manager: Any) -> None:
    """Let requests of Transformers' continuous batching have a grammar each.

    Afterwards ``manager.add_request(ids, grammar=compiled)`` is held to a compiled grammar, and a request without one
    is free. The stop tokens of the vocabulary must be among those that the manager ends a request at. With
    ``token_budget=`` besides, usually the request's ``max_new_tokens``, masks are narrowed in time, so that the text is
    complete before they run out; a budget within which none can be is left out of account, with a warning in the log.

    Args:
        manager: What ``model.init_continuous_batching(...)`` returns, before it is started. Its configuration needs
            ``use_async_batching=False`` (masks follow the newest token) and no CUDA graphs.

    Raises:
        ConfigurationError: The manager runs already, batches asynchronously or records graphs.
        MissingDependencyError: Transformers isn't installed, or has no continuous batching of this kind.
    """
    require("transformers", extra="transformers", feature="constrain_continuous_batching")
    config = manager.continuous_batching_config
    if getattr(config, "use_async_batching", False):
        raise ConfigurationError("masks follow the newest token: continuous batching needs use_async_batching=False")
    graphs = getattr(config, "use_cuda_graph", None)
    if any(graphs if isinstance(graphs, tuple | list) else [graphs]):
        raise ConfigurationError("masks are made at each step: continuous batching needs use_cuda_graph=False")
    if getattr(manager, "_generation_thread", None) is not None:
        raise ConfigurationError("the manager runs already; constrain it before start()")
    processors = manager.logit_processor
    processors.logits_processor.append(_row_masks()())
    processors.tensors_required += 1
    processors._retrieve_processors_kwargs()
    processors.do_processing = True


def _row_masks() -> Any:
    import torch
    from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessor

    from fairlead._core import CompiledGrammar, allocate_token_bitmask
    from fairlead.bitmask.torch import apply_token_bitmask_inplace

    class RowMasks(ContinuousBatchingLogitsProcessor):
        """The masks of the requests that get a token in this step."""

        supported_kwargs = {"grammar": CompiledGrammar, "token_budget": int}  # noqa: RUF012
        ignored_kwargs = ()

        def __init__(self) -> None:
            self._rows: dict[str, tuple[_Row, list[int]]] = {}
            self._bitmask: Any = None

        def fill_defaults(self, int32_tensor: Any) -> None:
            int32_tensor.fill_(0)

        def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> Any:
            """Fill a row of bits for each request; what travels to the device is only which rows are masked."""
            masked = []
            states = [request.state for request in requests_with_new_token]
            grammars = [state.logit_processor_kwargs.get("grammar") for state in states]
            size = max((grammar.vocab_size for grammar in grammars if grammar is not None), default=0)
            if size:
                self._bitmask = allocate_token_bitmask(len(states), size)
            rows: dict[str, tuple[_Row, list[int]]] = {}
            for index, (state, grammar) in enumerate(zip(states, grammars, strict=True)):
                masked.append(int(grammar is not None and self._fill(index, state, grammar, rows)))
            # Requests that have ended are forgotten; one that was put off is read again from its tokens.
            self._rows = rows
            return torch.tensor(masked, dtype=torch.int32)

        def _fill(self, index: int, state: Any, grammar: Any, rows: dict[str, tuple[_Row, list[int]]]) -> bool:
            row, read = self._rows.get(state.request_id) or (self._new_row(state, grammar), [])
            stop = frozenset(grammar.stop_token_ids)
            generated = list(state.generated_tokens)
            if generated[: len(read)] != read:
                row, read = self._new_row(state, grammar), []
            for token in generated[len(read) :]:
                row.append(token, stop, grammar.vocab_size)
            rows[state.request_id] = (row, generated)
            if row.closed:
                _allow_only(self._bitmask, index, sorted(stop))
                return True
            return bool(row.matcher.fill_next_token_bitmask(self._bitmask, index))

        def _new_row(self, state: Any, grammar: Any) -> _Row:
            try:
                return _Row(_new_matcher(grammar, state.logit_processor_kwargs.get("token_budget")))
            except LimitExceeded as error:
                # Here an error would end the requests of everybody.
                _log.warning("%s; request %s isn't kept to it", error, state.request_id)
                return _Row(_new_matcher(grammar))

        def __call__(self, scores: Any, tensor_arg: Any) -> Any:
            masked = [row for row, flag in enumerate(tensor_arg[: scores.shape[0]].tolist()) if flag]
            if masked:
                apply_token_bitmask_inplace(scores, self._bitmask, masked)
            return scores

    return RowMasks
