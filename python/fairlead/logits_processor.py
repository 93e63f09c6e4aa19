"""Hold a Transformers ``generate()`` to a grammar."""

from __future__ import annotations

import math
import sys
import time
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fairlead.errors import ConfigurationError, GrammarError

if TYPE_CHECKING:
    from fairlead._core import CompiledGrammar, GrammarMatcher, TokenBitmask

__all__ = ["LogitsProcessor"]

# So many ids are copied from a device as a whole at each step.
_COPIED = 1 << 17


def _new_matcher(compiled: CompiledGrammar, token_budget: int | None = None) -> GrammarMatcher:
    from fairlead._core import GrammarMatcher

    # A grammar that begins later in the text brings matchers of its own.
    make = getattr(compiled, "new_matcher", None)
    return GrammarMatcher(compiled, token_budget=token_budget) if make is None else make(token_budget)


class _Row:
    """Where one row of the batch stands in its grammar.

    The matcher has accepted the first ``accepted`` generated tokens. A row is closed by the token after those, if that
    is a stop token or one that the grammar refuses (a finished row gets padding, a beam that lost may get anything);
    what follows it no longer matters. Stop tokens aren't given to the matcher: going back is then always a rollback of
    as many tokens as were accepted.
    """

    __slots__ = ("accepted", "closed", "matcher")

    def __init__(self, matcher: GrammarMatcher, accepted: int = 0, closed: bool = False) -> None:
        self.matcher = matcher
        self.accepted = accepted
        self.closed = closed

    def back_to(self, depth: int) -> None:
        """Forget all but the first ``depth`` generated tokens."""
        if depth > self.accepted:
            return
        if depth < self.accepted:
            self.matcher.rollback(self.accepted - depth)
        self.accepted, self.closed = depth, False

    def append(self, token: int, stop_token_ids: frozenset[int], vocab_size: int) -> bool:
        """Take one more token; False if the grammar refuses it here."""
        if self.closed or token in stop_token_ids:
            self.closed = True
            return True
        # A row that lost or a draft may hold an id of the model's padding, which the engine doesn't know.
        if 0 <= token < vocab_size and self.matcher.accept_token(token):
            self.accepted += 1
            return True
        self.closed = True
        return False

    def fork(self) -> _Row:
        return _Row(self.matcher.fork(), self.accepted, self.closed)


class _Generation:
    """The rows of one ``generate()``, and the ids for which they stand.

    Attributes:
        owner: The list of processors that calls, weakly; None for calls without one.
        calls: How often the owner has called.
    """

    __slots__ = (
        "budgets",
        "calls",
        "grammars",
        "ids",
        "owner",
        "prompt_length",
        "rows",
        "stop_token_ids",
        "vocab_size",
    )

    def __init__(
        self,
        grammars: list[CompiledGrammar | None],
        budgets: list[int | None],
        stop_token_ids: frozenset[int],
        vocab_size: int,
    ) -> None:
        self.grammars = grammars
        self.budgets = budgets
        self.stop_token_ids = stop_token_ids
        self.vocab_size = vocab_size
        self.owner: weakref.ref[Any] | None = None
        self.calls = 0
        self.rows: list[_Row | None] = []
        self.ids: Any = None
        self.prompt_length = 0

    def start(self, ids: Any) -> None:
        """Begin anew: all of the ids are prompt."""
        rows, length = ids.shape
        if rows % len(self.grammars):
            raise ConfigurationError(f"{rows} rows cannot be shared out evenly among {len(self.grammars)} grammars")
        share = rows // len(self.grammars)
        self.rows = [
            None if grammar is None else _Row(_new_matcher(grammar, budget))
            for grammar, budget in zip(self.grammars, self.budgets, strict=True)
            for _ in range(share)
        ]
        self.prompt_length = length
        self.ids = ids.clone()

    def follow(self, ids: Any) -> bool:
        """Bring the rows to where the ids are; False if the ids don't belong to this generation.

        Within one generation every call extends by one token what was there before: the call before as a whole (the
        usual step), a part of it (a draft is verified or given up), or its rows in another order (beams).
        """
        from fairlead._core import extends_token_ids

        before = self.ids
        if ids.shape[0] != len(self.rows) or ids.dtype != before.dtype:
            return False
        before = before.to(ids.device)
        known = ids.shape[1] - 1
        if known < self.prompt_length or known > before.shape[1]:
            return False
        goes_back = known < before.shape[1]
        if not goes_back and ids.is_cpu:
            same = extends_token_ids(ids, before)
        else:
            same = ids[:, :known].equal(before[:, :known])
        if not same and (goes_back or not self._permute(ids, before)):
            return False
        depth = known - self.prompt_length
        refused = False
        for row, token in zip(self.rows, ids[:, -1].tolist(), strict=True):
            if row is None:
                continue
            if goes_back:
                row.back_to(depth)
            refused |= not row.append(token, self.stop_token_ids, self.vocab_size)
        self.ids = ids.clone()
        # A draft consists of tokens that were allowed: this is a longer prompt with the same beginning.
        return not (goes_back and refused)

    def _permute(self, ids: Any, before: Any) -> bool:
        """Order the rows as their generated tokens say, forking where several go on from one; False if one is new."""
        prompt, known = self.prompt_length, before.shape[1]
        if not ids[:, :prompt].equal(before[:, :prompt]):
            return False
        share = len(self.rows) // len(self.grammars)
        old = before[:, prompt:].cpu().contiguous().numpy()
        new = ids[:, prompt:known].cpu().contiguous().numpy()
        # Rows of different grammars never stand for each other, even with equal tokens.
        place = {(r // share, old[r].tobytes()): r for r in range(len(old))}
        parents = [place.get((r // share, new[r].tobytes())) for r in range(len(new))]
        rows: list[_Row | None] = []
        taken: set[int] = set()
        for parent in parents:
            if parent is None:
                return False
            row = self.rows[parent]
            # The forks are made before any row moves on.
            rows.append(row if row is None or parent not in taken else row.fork())
            taken.add(parent)
        self.rows = rows
        return True


class LogitsProcessor:
    """Hold ``model.generate(..., logits_processor=[LogitsProcessor(compiled)])`` to a grammar.

    Works for greedy search, sampling, left-padded batches, ``num_return_sequences``, beam search, prompt lookup and
    assisted decoding: what a row has generated decides its mask, never the order of the calls. All but the newest token
    of each row is compared with the call before, in one vectorised comparison; then a step costs one accepted token and
    one mask per row, whatever the length. The instance is also a ``transformers.LogitsProcessor``, if Transformers is
    installed.

    A finished row may only repeat a stop token, likewise a row whose tokens the grammar refuses, as the losing beams of
    a search may be. No row is ever masked completely: where an earlier processor has already excluded all that the
    grammar allows (``min_new_tokens`` and a grammar that is complete), the grammar has the last word.

    A second ``generate()`` starts anew. It is told from the next step of the first by its ids and by the list of
    processors that Transformers makes for each call of ``generate()``. In a loop of your own there is no such list:
    call :meth:`reset` between two generations whose prompts may continue each other, or use one instance for each. Not
    for several threads at once.

    Args:
        compiled: The grammar of all rows, or a list with one grammar for each row of the batch, None for a row that is
            free. With beams or ``num_return_sequences`` each covers its share of the rows.
        inplace: Change the scores that are handed in rather than a copy. It saves a copy and spoils
            ``output_logits=True``; with prompt lookup it makes for shorter drafts.
        token_budget: How many tokens each row may have, the stop token among them, usually ``max_new_tokens``: masks
            are narrowed in time, so that the text is complete before they run out. One for all rows or a list as of
            grammars. Default None, no bound. Where even the shortest text takes more, the first step raises
            LimitExceeded.

    Raises:
        ConfigurationError: No grammar, grammars of different vocabularies, a vocabulary without stop tokens, or another
            number of budgets than of grammars.
    """

    # For Transformers: its continuous batching packs rows in a way that a processor with state cannot follow.
    supports_continuous_batching = False

    def __new__(cls, *args: Any, **kwargs: Any) -> LogitsProcessor:
        del args, kwargs
        return object.__new__(_with_transformers(cls))

    def __init__(
        self,
        compiled: CompiledGrammar | Sequence[CompiledGrammar | None],
        *,
        inplace: bool = False,
        token_budget: int | Sequence[int | None] | None = None,
    ) -> None:
        self._grammars: list[CompiledGrammar | None] = list(compiled) if isinstance(compiled, Sequence) else [compiled]
        several = isinstance(token_budget, Sequence)
        self._budgets: list[int | None] = (
            list(token_budget) if isinstance(token_budget, Sequence) else [token_budget] * len(self._grammars)
        )
        if several and len(self._budgets) != len(self._grammars):
            raise ConfigurationError(f"{len(self._budgets)} token budgets for {len(self._grammars)} grammars")
        given = [grammar for grammar in self._grammars if grammar is not None]
        if not given:
            raise ConfigurationError("LogitsProcessor needs at least one compiled grammar")
        vocabulary = given[0].vocabulary
        self._vocab_size = int(given[0].vocab_size)
        self._stop = frozenset(vocabulary.stop_token_ids)
        for grammar in given[1:]:
            if grammar.vocab_size != self._vocab_size or frozenset(grammar.vocabulary.stop_token_ids) != self._stop:
                raise ConfigurationError("the grammars of one batch must be compiled for the same vocabulary")
        if not self._stop:
            raise ConfigurationError("the vocabulary has no stop tokens, so that no row could ever end")
        self._vocabulary = vocabulary
        self._inplace = inplace
        self._needed_width: int | None = None
        self.mask_seconds = 0.0
        """Time spent in calls so far, in seconds."""
        self.reset()

    def reset(self) -> None:
        """Forget the generation so far: the next call starts a new one, whatever its ids."""
        self._generations: list[_Generation] = []
        self._bitmask: TokenBitmask | None = None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Mask the scores of the next token.

        Args:
            input_ids: int64 tensor, shape ``(rows, prompt + generated)``, the prompt with its padding included.
            scores: Floating tensor, shape ``(rows, vocabulary of the model)``; columns beyond the grammar's vocabulary
                are masked.

        Returns:
            A new tensor like ``scores``, or ``scores`` itself with ``inplace=True``.

        Raises:
            ConfigurationError: The rows cannot be shared out among the grammars, or the scores are those of another
                model.
            GrammarError: The vocabulary has no token that continues a row, which isn't complete either.
        """
        start = time.perf_counter()
        self._check_width(scores.shape[-1])
        caller = sys._getframe(1).f_locals.get("self")
        if not input_ids.is_cpu and input_ids.numel() <= _COPIED:
            # One copy, where comparing on the device would wait for it several times.
            input_ids = input_ids.cpu()
        generation = self._generation_of(caller, input_ids)
        out = scores if self._inplace else scores.clone()
        first = isinstance(caller, list) and bool(caller) and caller[0] is self
        self._mask(out, generation.rows, raw=first)
        self.mask_seconds += time.perf_counter() - start
        return out

    def _generation_of(self, caller: Any, ids: Any) -> _Generation:
        """The generation that a call belongs to, with its rows brought to where the ids are.

        Transformers makes a list of processors for every generate() and drops it at the end, so the list tells
        generations apart, also where the ids don't: a prompt may be what the last generation wrote. The generate() of
        a draft model has a list of its own, but its ids continue those of the outer one, whose list is alive. A list
        that was used once and is gone proves nothing: a loop may make one for every step.
        """
        by_list = type(caller).__name__ == "LogitsProcessorList"
        owners = [None if old.owner is None else old.owner() for old in self._generations]
        for generation, owner in zip(self._generations, owners, strict=True):
            if by_list and owner is caller:
                generation.calls += 1
                if not generation.follow(ids):
                    generation.start(ids)
                return generation
        # The newest comes first.
        for generation, owner in zip(self._generations, owners, strict=True):
            if owner is None and (generation is not self._generations[0] or (by_list and generation.calls > 1)):
                continue
            if generation.follow(ids):
                if owner is None and by_list:
                    generation.owner, generation.calls = weakref.ref(caller), 1
                return generation
        generation = _Generation(self._grammars, self._budgets, self._stop, self._vocab_size)
        generation.start(ids)
        if by_list:
            generation.owner, generation.calls = weakref.ref(caller), 1
        living = [old for old, owner in zip(self._generations, owners, strict=True) if owner is not None]
        self._generations = [generation, *living]
        return generation

    # -- masks ---------------------------------------------------------------------------------------------------------

    def _check_width(self, width: int) -> None:
        if width >= self._vocab_size:
            return
        if self._needed_width is None:
            highest = self._vocab_size - 1
            while highest >= 0 and highest not in self._stop and self._vocabulary.token_bytes(highest) is None:
                highest -= 1
            self._needed_width = highest + 1
        # A draft model may be padded to another width; what it lacks must be padding.
        if width < self._needed_width:
            raise ConfigurationError(
                f"scores of {width} columns for a vocabulary of {self._needed_width} tokens: they are those of a model "
                "(a draft model?) with another tokenizer, or vocab_size= is missing from the TokenizerInfo"
            )

    def _mask(self, out: Any, rows: list[_Row | None], *, raw: bool) -> None:
        """Mask the rows; ``raw``: the scores are the model's, no other processor has changed them."""
        from fairlead.bitmask import allocate_token_bitmask
        from fairlead.bitmask.torch import apply_token_bitmask_inplace

        if self._bitmask is None or len(self._bitmask) != len(rows):
            self._bitmask = allocate_token_bitmask(len(rows), self._vocab_size)
        wider = out.shape[-1] > self._vocab_size
        masked: list[int] = []
        for r, row in enumerate(rows):
            if row is None:
                continue
            if row.closed:
                self._allow_stop_tokens(r)
                masked.append(r)
            elif row.matcher.fill_next_token_bitmask(self._bitmask, r) or wider:
                masked.append(r)
        if masked:
            apply_token_bitmask_inplace(out, self._bitmask, None if len(masked) == len(rows) else masked)
            if raw:
                # Only the grammar can have left nothing; asking a device for its scores would wait for the model.
                self._refuse_empty(masked)
            else:
                self._revive(out, masked)

    def _refuse_empty(self, masked: list[int]) -> None:
        assert self._bitmask is not None
        words = memoryview(self._bitmask).cast("B")
        width = 4 * self._bitmask.shape[1]
        for r in masked:
            if not bytes(words[r * width : (r + 1) * width]).strip(b"\0"):
                raise _stuck(r)

    def _allow_stop_tokens(self, index: int) -> None:
        assert self._bitmask is not None
        words = memoryview(self._bitmask).cast("B").cast("I")
        width = self._bitmask.shape[1]
        words[index * width : (index + 1) * width] = memoryview(bytes(4 * width)).cast("I")
        for i in self._stop:
            words[index * width + i // 32] |= 1 << i % 32

    def _revive(self, out: Any, masked: list[int]) -> None:
        """Give a row back what the grammar allows if an earlier processor has excluded all of that."""
        highest = out.amax(dim=-1).tolist()
        if -math.inf not in highest:
            return
        from fairlead.bitmask.torch import as_tensor, to_bool

        words = as_tensor(self._bitmask)
        for r in masked:
            if highest[r] == -math.inf:
                allowed = to_bool(words[r], out.shape[-1], out.device)[0]
                if not allowed.any():
                    raise _stuck(r)
                out[r].masked_fill_(allowed, 0.0)


def _stuck(row: int) -> GrammarError:
    return GrammarError(
        f"row {row} cannot go on: the vocabulary has no token that the grammar allows here, and the text isn't complete"
    )


_SUBCLASSES: dict[type[LogitsProcessor], type[LogitsProcessor]] = {}


def _with_transformers(cls: type[LogitsProcessor]) -> type[LogitsProcessor]:
    """The class as a subclass of Transformers' own, made when an instance is: importing fairlead loads no framework."""
    made = _SUBCLASSES.get(cls)
    if made is None:
        try:
            from transformers import LogitsProcessor as Base
        except ImportError:
            return cls
        if issubclass(cls, Base):
            made = cls
        else:
            names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
            made = type(cls.__name__, (cls, Base), names)
        _SUBCLASSES[cls] = made
    return made
