"""What the backends share that run a model in this process."""

from __future__ import annotations

import queue
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fairlead.errors import ConfigurationError, FairleadError, ModelError, StopSequenceError, TokenizerError
from fairlead.messages import ChatMessage, MessageRole, attach_info
from fairlead.models._base import REMOVE_PARAMETER, Model
from fairlead.models._constraint import Constraint, resolve_constraint
from fairlead.models._output import ByteDecoder, Output, StopFilter, TextDecoder
from fairlead.streaming import ChatMessageStreamDelta, ChatStream, new_delta
from fairlead.types import ReplyInfo, Timings, TokenUsage

if TYPE_CHECKING:
    from fairlead._core import CompiledGrammar
    from fairlead.grammar import GrammarCompiler
    from fairlead.tokenizer import TokenizerInfo

__all__ = ["LocalModel", "LocalRequest"]

_DEFAULT_MAX_NEW_TOKENS = 1024


@dataclass
class LocalRequest:
    """One request, understood: what a backend needs to run it.

    Attributes:
        prompt: What the backend's ``_render`` made of messages and tools.
        prompt_tokens: Tokens of the prompt.
        max_new_tokens: At most so many are generated.
        options: Everything else, for the framework's generation call.
        compiled: The compiled constraint, or None.
        mask_seconds: Backends add the time that masks took.
    """

    prompt: Any
    prompt_tokens: int
    max_new_tokens: int
    options: dict[str, Any]
    stop_sequences: tuple[str, ...] = ()
    stop_inside_constraint: bool = False
    constraint: Constraint | None = None
    compiled: CompiledGrammar | None = None
    prompt_seconds: float = 0.0
    compile_seconds: float = 0.0
    mask_seconds: float = 0.0

    def is_sentence(self, text: str) -> bool:
        """Whether a text is all that the constraint asks for."""
        return self.sentence_check()(text)

    def sentence_check(self) -> Callable[[str], bool]:
        """``is_sentence`` for texts that each continue the one before: what was read isn't read again."""
        if self.compiled is None:
            return lambda text: True
        from fairlead._core import GrammarMatcher

        matcher = GrammarMatcher(self.compiled, max_rollback_tokens=0)
        read = 0
        alive = True

        def check(text: str) -> bool:
            nonlocal read, alive
            alive = alive and bool(matcher.accept_string(text[read:]))
            read = len(text)
            return alive and bool(matcher.is_completed())

        return check


class LocalModel(Model):
    """Base class of the backends that run a model in this process.

    A backend implements ``_render``, ``_run``, ``_decode``, ``_end_tokens`` and ``_make_tokenizer_info``; generating,
    streaming, constraints, stop sequences, usage and cancellation are here.
    """

    _images: ClassVar[Literal["base64", "keep"]] = "keep"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._compiler: GrammarCompiler | None = None
        self._tokenizer_info: TokenizerInfo | TokenizerError | None = None
        self._engine_lock = threading.RLock()

    # What a backend adds.

    @abstractmethod
    def _render(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> tuple[Any, int]:
        """The prompt in the backend's form, and how many tokens it has."""

    @abstractmethod
    def _run(self, request: LocalRequest, output: Output) -> None:
        """Generate: push every token to ``output`` until that returns True, or the model or a limit ends it."""

    @abstractmethod
    def _decode(self, tokens: list[int]) -> str:
        """Text of token ids, special tokens left out; called from any thread."""

    @abstractmethod
    def _end_tokens(self, options: Mapping[str, Any]) -> Collection[int]:
        """Ids that end the model's turn, under a request's options."""

    @abstractmethod
    def _make_tokenizer_info(self) -> TokenizerInfo:
        """The vocabulary, for masks."""

    # What they share.

    @property
    def supports_stop_parameter(self) -> bool:
        """Always True: stop sequences are matched here."""
        return True

    @property
    def tokenizer_info(self) -> TokenizerInfo | None:
        """The bytes of the vocabulary, read when they are first needed; None if its tokens have no exact bytes."""
        info = self._read_tokenizer()
        return None if isinstance(info, TokenizerError) else info

    @property
    def grammar_compiler(self) -> GrammarCompiler:
        """The compiler for this model's vocabulary, made when it is first needed.

        Raises:
            TokenizerError: The tokens have no exact bytes, so that nothing can be enforced.
        """
        with self._engine_lock:
            if self._compiler is None:
                from fairlead.grammar import GrammarCompiler

                info = self._read_tokenizer()
                if isinstance(info, TokenizerError):
                    raise info
                self._compiler = GrammarCompiler(info)
            return self._compiler

    def _read_tokenizer(self) -> TokenizerInfo | TokenizerError:
        with self._engine_lock:
            if self._tokenizer_info is None:
                try:
                    self._tokenizer_info = self._make_tokenizer_info()
                except TokenizerError as error:
                    # Plain text can be generated all the same.
                    self._tokenizer_info = error
            return self._tokenizer_info

    def _prepare_request(self, messages: Sequence[Any], **kwargs: Any) -> LocalRequest:
        begun = time.perf_counter()
        _check_stops(kwargs.get("stop_sequences"))
        max_new_tokens = self._max_new_tokens(kwargs)
        # No tool_choice: it asks a provider for what only a constraint could enforce here.
        completion = self._prepare_completion_kwargs(messages, **{"tool_choice": None, **kwargs})
        stops = completion.pop("stop", None) or ()
        constraint = resolve_constraint(completion.pop("response_format", None), completion.pop("grammar", None))
        stop_inside = bool(completion.pop("stop_inside_constraint", False))
        tools = completion.pop("tools", None)
        for name in ("max_new_tokens", "max_tokens", "tool_choice"):
            completion.pop(name, None)
        prompt, prompt_tokens = self._render(completion.pop("messages"), tools)
        rendered = time.perf_counter()
        compiled = None
        if constraint is not None:
            compiled = self.grammar_compiler.compile_grammar(constraint.make_grammar())
        return LocalRequest(
            prompt=prompt,
            prompt_tokens=prompt_tokens,
            max_new_tokens=max_new_tokens,
            options=completion,
            stop_sequences=_check_stops(stops),
            stop_inside_constraint=stop_inside,
            constraint=constraint,
            compiled=compiled,
            prompt_seconds=rendered - begun,
            compile_seconds=time.perf_counter() - rendered if constraint is not None else 0.0,
        )

    def _max_new_tokens(self, kwargs: Mapping[str, Any]) -> int:
        # Unlike every other argument, a call's limit wins over the constructor's: that one always has a default.
        for source in (kwargs, self.kwargs):
            for name in ("max_new_tokens", "max_tokens"):
                limit = source.get(name)
                if limit is None or limit is REMOVE_PARAMETER:
                    continue
                if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
                    raise ConfigurationError(f"{name} is a number of tokens, at least 1, not {limit!r}")
                return limit
        return _DEFAULT_MAX_NEW_TOKENS

    def _new_output(self, request: LocalRequest, emit: Callable[[str], None]) -> Output:
        inside = request.stop_inside_constraint or request.compiled is None
        stops = StopFilter(request.stop_sequences, None if inside else request.sentence_check())
        info = self.tokenizer_info
        decoder = TextDecoder(self._decode) if info is None else ByteDecoder(info)
        ends = set(self._end_tokens(request.options))
        if info is not None and request.compiled is not None:
            # What a complete output ends with, even if the call says otherwise.
            ends.update(info.stop_token_ids)
        return Output(decoder, stops, emit, ends)

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        """What goes wrong in the framework becomes a typed error; a caller's own exceptions pass."""
        try:
            yield
        except FairleadError:
            raise
        except ValueError as error:
            raise ConfigurationError(f"{type(self).__name__} can't generate: {error}") from error
        except (RuntimeError, TypeError, LookupError, AssertionError, MemoryError) as error:
            raise ModelError(f"{type(self).__name__} failed while generating: {error!r}") from error

    def _generate(self, request: LocalRequest, output: Output) -> None:
        """Run a request to its end."""
        output.start()
        with self._typed_errors():
            self._run(request, output)
            output.finish()

    def _info(self, request: LocalRequest, output: Output) -> ReplyInfo:
        reason = output.finish_reason(request.max_new_tokens)
        text = output.text
        return ReplyInfo(
            finish_reason=reason,
            stop_sequence=output.stop_sequence,
            timings=Timings(
                prompt=request.prompt_seconds,
                compile=request.compile_seconds,
                first_token=output.first_token or 0.0,
                masks=request.mask_seconds,
                generation=output.seconds,
                steps=output.tokens,
            ),
            shape=request.constraint.shape if request.constraint else None,
            complete=request.is_sentence(text),
            text=text,
        )

    def _message(self, request: LocalRequest, output: Output) -> ChatMessage:
        message = ChatMessage(
            role=MessageRole.ASSISTANT,
            content=output.text,
            raw={"out": output.text, "completion_kwargs": _plain_options(request)},
            token_usage=TokenUsage(request.prompt_tokens, output.tokens),
        )
        attach_info(message, self._info(request, output))
        return message

    def generate(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatMessage:
        """Answer a history.

        Args:
            messages: Messages or dictionaries with ``role`` and ``content``.
            stop_sequences: Generation ends with the first that is completed; nothing of it is part of the content.
                With a constraint they only count where the output is complete, unless
                ``stop_inside_constraint=True``.
            response_format: Holds the output to a JSON Schema: OpenAI's dictionary, the schema itself, or a pydantic
                class (then ``message.parsed`` is an instance).
            tools_to_call_from: Tools for the chat template.
            **kwargs: ``grammar`` (a regex, a Grammar), ``max_new_tokens`` or ``max_tokens``, and the framework's own
                options.

        Returns:
            A message with ``finish_reason``, ``timings`` and ``parsed``, the caller's to change.

        Raises:
            MessageError: A malformed message.
            SchemaError, GrammarError: A malformed or unsupported constraint.
            ConfigurationError: Arguments that can't be used.
            ModelError: The framework failed.
        """
        request = self._prepare_request(
            messages,
            stop_sequences=stop_sequences,
            response_format=response_format,
            tools_to_call_from=tools_to_call_from,
            **kwargs,
        )
        output = self._new_output(request, ignore)
        self._generate(request, output)
        return self._message(request, output)

    def generate_stream(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatStream:
        """Answer a history piece by piece, in whole characters; the arguments are those of ``generate``.

        Mistakes in the arguments are raised here; the generation begins with the first delta asked for, in a thread
        of its own. What goes wrong there is raised to the consumer. Closing the stream ends the thread.
        """
        request = self._prepare_request(
            messages,
            stop_sequences=stop_sequences,
            response_format=response_format,
            tools_to_call_from=tools_to_call_from,
            **kwargs,
        )
        run = _StreamRun(self, request)
        return ChatStream(run.deltas(), on_close=run.close)


class _StreamRun:
    """A generation in a thread of its own, and the queue that its text comes through."""

    def __init__(self, model: LocalModel, request: LocalRequest) -> None:
        self._model = model
        self._request = request
        # Text; None at the end; an exception if it failed.
        self._pieces: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()
        self._output = model._new_output(request, self._pieces.put)
        self._thread = threading.Thread(target=self._work, name="fairlead-generation", daemon=True)
        self._started = False
        self._lock = threading.Lock()

    def _work(self) -> None:
        try:
            self._model._generate(self._request, self._output)
        except BaseException as error:
            self._pieces.put(error)
        else:
            self._pieces.put(None)

    def deltas(self) -> Iterator[ChatMessageStreamDelta]:
        return _StreamDeltas(self)

    def start(self) -> bool:
        """Start the thread unless it runs already; False if the stream was closed before."""
        with self._lock:
            if not self._started and not self._output.cancelled.is_set():
                self._started = True
                self._thread.start()
            return self._started

    def next_piece(self) -> str | BaseException | None:
        return self._pieces.get()

    def last_delta(self) -> ChatMessageStreamDelta:
        delta = new_delta(content="", token_usage=TokenUsage(self._request.prompt_tokens, self._output.tokens))
        attach_info(delta, self._model._info(self._request, self._output))
        return delta

    def close(self) -> None:
        with self._lock:
            self._output.cancelled.set()
            started = self._started
        if started and self._thread is not threading.current_thread():
            self._thread.join()


class _StreamDeltas(Iterator[ChatMessageStreamDelta]):
    # A class, not a generator: another thread may close the stream while this one waits here.
    def __init__(self, run: _StreamRun) -> None:
        self._run = run
        self._ended = False

    def __next__(self) -> ChatMessageStreamDelta:
        if self._ended or not self._run.start():
            raise StopIteration
        piece = self._run.next_piece()
        if isinstance(piece, str):
            return new_delta(content=piece)
        self._ended = True
        if piece is None:
            return self._run.last_delta()
        raise piece


def _check_stops(stops: Any) -> tuple[str, ...]:
    if stops is None:
        return ()
    if isinstance(stops, str):
        stops = [stops]
    for stop in stops:
        if not isinstance(stop, str):
            raise StopSequenceError(f"a stop sequence is a string, not a {type(stop).__name__}")
        if not stop:
            raise StopSequenceError("a stop sequence is empty")
    return tuple(stops)


def _plain_options(request: LocalRequest) -> dict[str, Any]:
    # A reply is kept in histories, copied and written to files: no tensors, tokenizers or processors in it.
    options = {name: value for name, value in request.options.items() if isinstance(value, str | int | float | bool)}
    return {**options, "max_new_tokens": request.max_new_tokens, "stop": list(request.stop_sequences)}


def ignore(text: str) -> None:
    """Do nothing with a piece of text: it is read from the output at the end."""
