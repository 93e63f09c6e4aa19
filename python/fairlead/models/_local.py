"""What the backends share that run a model in this process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from fairlead.errors import (
    ConfigurationError,
    FairleadError,
    MessageError,
    ModelError,
    StopSequenceError,
    TokenizerError,
)
from fairlead.messages import ChatMessage, MessageRole, attach_info
from fairlead.models._base import REMOVE_PARAMETER, Model
from fairlead.models._constraint import Constraint, resolve_constraint
from fairlead.models._gated_grammar import GatedGrammar
from fairlead.models._output import ByteDecoder, Output, StopFilter, TextDecoder
from fairlead.models._reasoning import ReasoningFilter, check_reasoning, reasoning_state
from fairlead.models._request import LocalRequest, Prompt
from fairlead.models._stream import StreamRun
from fairlead.models._tool_choice import chosen_tool, compiler_with, tool_syntax_of
from fairlead.streaming import ChatMessageStreamDelta, ChatStream
from fairlead.tools import ToolCallFilter, ToolSyntax, named_tool_syntax
from fairlead.types import ReplyInfo, Timings, TokenUsage

if TYPE_CHECKING:
    from fairlead._core import CompiledGrammar
    from fairlead.grammar import Grammar, GrammarCompiler
    from fairlead.tokenizer import TokenizerInfo

__all__ = ["LocalModel", "LocalRequest", "Prompt"]

_DEFAULT_MAX_NEW_TOKENS = 1024
# Enough of a prompt's end to see a tag that the template wrote.
_TAIL_TOKENS = 32


class LocalModel(Model):
    """Base class of the backends that run a model in this process.

    A backend sets ``tokenizer`` and implements ``_render``, ``_run``, ``_end_tokens`` and ``_make_tokenizer_info``;
    generating, streaming, async, batches, constraints, reasoning, tool calls, stop sequences, usage and cancellation
    are here. Where its framework batches, it overrides ``_run_batch``; what it holds beside Python objects it frees
    in ``_release``.

    Args:
        apply_chat_template_kwargs: More arguments for the chat template: ``enable_thinking``, ``chat_template``, ...
        reasoning: The tags around a model's thoughts, for example ``("<think>", "</think>")``. The reasoning is then
            kept apart (``message.reasoning``), and a constraint begins behind the closing tag. Default None.
        tool_syntax: How the model writes tool calls: one of ``fairlead.tools.TOOL_SYNTAXES`` or "json". Default: what
            its chat template shows.
        **kwargs: As for Model.
    """

    _images: ClassVar[Literal["base64", "keep"]] = "keep"
    _saved: ClassVar[dict[str, Any]] = {
        "apply_chat_template_kwargs": {},
        "reasoning": None,
        "tool_syntax": None,
    }
    # How many prompts generate_batch hands to _run_batch at once; None: all.
    _batch_size: ClassVar[int | None] = 1
    # Where agenerate runs; None: asyncio's own threads, of which there are few.
    _threads: Executor | None = None
    # Whether the backend can append what a constraint forces.
    _jumps: ClassVar[bool] = False

    tokenizer: Any

    def __init__(
        self,
        *args: Any,
        apply_chat_template_kwargs: dict[str, Any] | None = None,
        reasoning: Sequence[str] | None = None,
        tool_syntax: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.apply_chat_template_kwargs = apply_chat_template_kwargs or {}
        self.reasoning = check_reasoning(reasoning)
        self.tool_syntax = tool_syntax
        self._tool_syntax = None if tool_syntax is None else named_tool_syntax(tool_syntax)
        self._compiler: GrammarCompiler | None = None
        self._call_compiler: GrammarCompiler | None = None
        self._tokenizer_info: TokenizerInfo | TokenizerError | None = None
        self._engine_lock = threading.RLock()
        # Fast tokenizers raise "Already borrowed" when two threads change their settings at once.
        self._tokenizer_lock = threading.RLock()
        self._closed = False

    # What a backend adds.

    @abstractmethod
    def _render(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> Prompt:
        """The prompt in the backend's form."""

    @abstractmethod
    def _run(self, request: LocalRequest, output: Output) -> None:
        """Generate: push every token to ``output`` until that returns True, or the model or a limit ends it."""

    def _run_batch(self, requests: Sequence[LocalRequest], outputs: Sequence[Output]) -> None:
        """Run requests of equal options side by side; one after the other unless a backend can do better."""
        for request, output in zip(requests, outputs, strict=True):
            output.start()
            self._run(request, output)

    @abstractmethod
    def _end_tokens(self, options: Mapping[str, Any]) -> Collection[int]:
        """Ids that end the model's turn, under a request's options."""

    @abstractmethod
    def _make_tokenizer_info(self) -> TokenizerInfo:
        """The vocabulary, for masks."""

    def _context_length(self) -> int | None:
        """How many tokens prompt and output may have together; None if that isn't known."""
        return None

    def _release(self) -> None:
        """Free what the backend holds: called once."""

    def _enforces(self, constraint: Constraint, options: dict[str, Any]) -> bool:
        """Whether the framework itself is going to enforce a constraint, so that none has to be compiled."""
        del constraint, options
        return False

    # What they share: tokenizer, template, masks.

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

    def _decode(self, tokens: list[int], *, special: bool = False) -> str:
        """Text of token ids, special tokens left out unless asked for; called from any thread."""
        with self._tokenizer_lock:
            text: str = self.tokenizer.decode(tokens, skip_special_tokens=not special)
            return text

    def _apply_template(
        self,
        owner: Any,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        **options: Any,
    ) -> Any:
        """Apply the chat template of a tokenizer or processor, with the arguments of the constructor.

        Raises:
            ConfigurationError: There is no template.
            MessageError: The template refused the messages.
        """
        given = (self.tokenizer.chat_template, getattr(owner, "chat_template", None))
        if all(one is None for one in (*given, self.apply_chat_template_kwargs.get("chat_template"))):
            raise ConfigurationError(
                f"{self.model_id} has no chat template; give one: apply_chat_template_kwargs={{'chat_template': ...}}"
            )
        arguments = {"add_generation_prompt": True, "tokenize": True, **options, **self.apply_chat_template_kwargs}
        with self._tokenizer_lock:
            try:
                return owner.apply_chat_template(messages, tools=tools, **arguments)
            except (ValueError, TypeError, LookupError) as error:
                raise MessageError(f"the chat template of {self.model_id} refused the messages: {error}") from error
            except Exception as error:
                # Templates raise errors of their own kind, of a package that may be missing here.
                if type(error).__module__.partition(".")[0] != "jinja2":
                    raise
                raise MessageError(f"the chat template of {self.model_id} refused the messages: {error}") from error

    def _special_ids(self, texts: Sequence[str]) -> dict[int, str]:
        """Those of some texts that are one special token each, which has no bytes in the vocabulary."""
        info = self.tokenizer_info
        found: dict[int, str] = {}
        for text in texts:
            token = self.tokenizer.convert_tokens_to_ids(text)
            known = isinstance(token, int) and self.tokenizer.convert_ids_to_tokens(token) == text
            if known and (info is None or token >= info.vocab_size or info.decoded_vocab[token] is None):
                found[token] = text
        return found

    def _special_parts(self, texts: Sequence[str]) -> list[str]:
        """The added tokens that stand in some texts."""
        added: dict[str, int] = getattr(self.tokenizer, "get_added_vocab", dict)()
        return [part for part in added if part and any(part in text for text in texts)]

    # One request.

    def _prepare_request(self, messages: Sequence[Any], **kwargs: Any) -> LocalRequest:
        self._check_open()
        begun = time.perf_counter()
        _check_stops(kwargs.get("stop_sequences"))
        max_new_tokens = self._max_new_tokens(kwargs)
        # Agents that send tools may also want an answer without a call: only who asks for one is held to one.
        completion = self._prepare_completion_kwargs(messages, **{"tool_choice": None, **kwargs})
        choice, parallel = completion.pop("tool_choice", None), completion.pop("parallel_tool_calls", True)
        stops = _check_stops(completion.pop("stop", None))
        constraint = resolve_constraint(completion.pop("response_format", None), completion.pop("grammar", None))
        stop_inside = bool(completion.pop("stop_inside_constraint", False))
        budget = completion.pop("token_budget", "auto")
        if budget not in (None, "auto") and (isinstance(budget, bool) or not isinstance(budget, int) or budget < 1):
            raise ConfigurationError(f"token_budget is a number of tokens, 'auto' or None, not {budget!r}")
        jump = completion.pop("jump_forward", None) or None
        if jump not in (None, True, "mask") or (jump and not self._jumps):
            raise ConfigurationError(f"{type(self).__name__} has no jump_forward={jump!r}")
        tags = check_reasoning(completion.pop("reasoning", self.reasoning))
        tools = None if choice == "none" else completion.pop("tools", None)
        for name in ("max_new_tokens", "max_tokens", "tools"):
            completion.pop(name, None)
        prompt = self._render(completion.pop("messages"), tools)
        context = self._context_length()
        if context is not None:
            if len(prompt.token_ids) >= context:
                raise ConfigurationError(
                    f"the prompt has {len(prompt.token_ids)} tokens; {self.model_id} takes {context}, output included"
                )
            max_new_tokens = min(max_new_tokens, context - len(prompt.token_ids))
        request = LocalRequest(
            prompt=prompt,
            max_new_tokens=max_new_tokens,
            options=completion,
            stop_sequences=stops,
            stop_inside_constraint=stop_inside,
            constraint=constraint,
            tags=tags,
            jump_forward="jump" if jump is True else jump,
        )
        if tags is not None:
            tail = self._decode(list(prompt.token_ids[-_TAIL_TOKENS:]), special=True)
            request.reasoning = reasoning_state(tail, tags)
            request.shown_tokens = self._special_ids(self._special_parts(tags))
        if tools:
            request.tools = tools
            request.tool_syntax = self._find_tool_syntax()
            request.shown_tokens.update(self._special_ids(request.tool_syntax.special))
        rendered = time.perf_counter()
        request.prompt_seconds = rendered - begun
        if tools and choice not in (None, "auto"):
            if constraint is not None:
                raise ConfigurationError("a required tool call leaves no room for response_format or grammar")
            request.must_call = True
            compiler, grammar = self._call_grammar(request, choice, parallel)
            request.compiled = self._gated(request, compiler, compiler.compile_grammar(grammar))
            request.compile_seconds = time.perf_counter() - rendered
        if constraint is not None and not self._enforces(constraint, completion):
            request.grammar = self.grammar_compiler.compile_grammar(constraint.make_grammar())
            request.compiled = self._gated(request, self.grammar_compiler, request.grammar)
            request.compile_seconds = time.perf_counter() - rendered
        if request.compiled is not None:
            request.token_budget = max_new_tokens if budget == "auto" else budget
            # An answer that can't be completed is refused before it is begun.
            request.new_matcher()
        return request

    def _find_tool_syntax(self) -> ToolSyntax:
        """How this model writes tool calls: as it was told, or as its chat template does."""
        if self._tool_syntax is None:
            template = self.apply_chat_template_kwargs.get("chat_template") or self.tokenizer.chat_template
            self._tool_syntax = tool_syntax_of(template, self.model_id)
        return self._tool_syntax

    def _call_grammar(self, request: LocalRequest, choice: Any, parallel: bool) -> tuple[GrammarCompiler, Grammar]:
        """The grammar of the tool calls that ``tool_choice`` asks for, and the compiler for it."""
        syntax = request.tool_syntax
        assert syntax is not None and request.tools is not None
        special = self._special_ids(syntax.special)
        grammar = syntax.grammar(
            request.tools, only=chosen_tool(choice), parallel=parallel, special=list(special.values())
        )
        compiler = self.grammar_compiler
        if special:
            with self._engine_lock:
                if self._call_compiler is None:
                    self._call_compiler = compiler_with(compiler.tokenizer_info, special)
                compiler = self._call_compiler
        return compiler, grammar

    def _gated(
        self, request: LocalRequest, compiler: GrammarCompiler, grammar: CompiledGrammar
    ) -> CompiledGrammar | GatedGrammar:
        tags = request.tags
        if tags is None or request.reasoning == "answer":
            return grammar
        # The model has to think first: without a closing tag nothing would be enforced.
        request.reasoning = "inside"
        return GatedGrammar(grammar, compiler.tokenizer_info, tags[1], self._special_ids(self._special_parts(tags[1:])))

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

    def _new_output(self, request: LocalRequest, emit: Callable[[ChatMessageStreamDelta], None]) -> Output:
        inside = request.stop_inside_constraint or request.grammar is None
        # A call that must be made is over when its grammar says so.
        sequences = () if request.must_call and not request.stop_inside_constraint else request.stop_sequences
        stops = StopFilter(sequences, None if inside else request.sentence_check())
        info = self.tokenizer_info
        decoder = TextDecoder(self._decode) if info is None else ByteDecoder(info, request.shown_tokens)
        ends = set(self._end_tokens(request.options))
        if info is not None and request.compiled is not None:
            # What a complete output ends with, even if the call says otherwise.
            ends.update(info.stop_token_ids)
        reasoning = None
        if request.reasoning is not None and request.tags is not None:
            strip = not isinstance(request.compiled, GatedGrammar) or request.compiled.strips
            reasoning = ReasoningFilter(request.tags, request.reasoning, strip=strip)
        calls = None if request.tool_syntax is None else ToolCallFilter(request.tool_syntax, request.tools or ())
        return Output(decoder, stops, emit, ends, reasoning=reasoning, tool_calls=calls)

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        """What goes wrong in the framework becomes a typed error; a caller's own exceptions pass."""
        try:
            yield
        except FairleadError:
            raise
        except ValueError as error:
            raise ConfigurationError(f"{type(self).__name__} can't generate: {error}") from error
        except (RuntimeError, TypeError, LookupError, AttributeError, AssertionError, MemoryError) as error:
            raise ModelError(f"{type(self).__name__} failed while generating: {error!r}") from error

    def _generate(self, request: LocalRequest, output: Output) -> None:
        """Run a request to its end."""
        output.start()
        with self._typed_errors():
            self._run(request, output)
            output.finish()

    def _info(self, request: LocalRequest, output: Output) -> ReplyInfo:
        text = output.text
        return ReplyInfo(
            finish_reason=output.finish_reason(request.max_new_tokens),
            stop_sequence=output.stop_sequence,
            timings=Timings(
                prompt=request.prompt_seconds,
                compile=request.compile_seconds,
                first_token=output.first_token or 0.0,
                masks=request.mask_seconds,
                generation=output.seconds,
                steps=output.tokens,
                cached_tokens=request.cached_tokens,
            ),
            shape=request.constraint.shape if request.constraint else None,
            complete=self._is_complete(request, output, text),
            text=text,
            reasoning=output.reasoning,
        )

    def _is_complete(self, request: LocalRequest, output: Output, text: str) -> bool:
        if request.must_call:
            return output.ended_turn
        if not output.answering:
            return request.constraint is None
        if request.constraint is not None and request.grammar is None:
            # The framework enforced it: an output that it ended is whole.
            return output.finish_reason(request.max_new_tokens) == "stop" and output.stop_sequence is None
        return request.is_sentence(text)

    def _message(self, request: LocalRequest, output: Output) -> ChatMessage:
        content = output.content
        message = ChatMessage(
            role=MessageRole.ASSISTANT,
            content=content,
            tool_calls=output.tool_calls or None,
            raw={"out": output.text, "completion_kwargs": _plain_options(request)},
            token_usage=TokenUsage(request.prompt_tokens, output.tokens),
        )
        attach_info(message, self._info(request, output))
        return message

    # What a caller uses.

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
                ``stop_inside_constraint=True``. Reasoning is never ended by one.
            response_format: Holds the output to a JSON Schema: OpenAI's dictionary, the schema itself, or a pydantic
                class (then ``message.parsed`` is an instance).
            tools_to_call_from: Tools for the chat template. Calls of them are taken out of the answer
                (``message.tool_calls``), as the model's family writes them.
            **kwargs: ``grammar`` (a regex, a Grammar), ``max_new_tokens`` or ``max_tokens``, ``reasoning``,
                ``tool_choice`` ("auto", the default; "none"; "required" or one tool in OpenAI's form, which hold the
                output to calls with valid arguments), ``parallel_tool_calls`` (default True), ``token_budget`` (tokens
                within which a constrained answer is complete: masks are narrowed in time; default "auto",
                ``max_new_tokens``; None lets it be cut; reasoning counts), and the framework's own options.

        Returns:
            A message with ``finish_reason``, ``timings`` and ``parsed``, the caller's to change.

        Raises:
            MessageError: A malformed message.
            SchemaError, GrammarError: A malformed or unsupported constraint.
            ConfigurationError: Arguments that can't be used.
            LimitExceeded: The shortest answer takes more than the token budget.
            ModelError: The framework failed, or the model is closed.
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
        run = StreamRun(
            lambda emit: self._new_output(request, emit),
            lambda output: self._generate(request, output),
            lambda output: (TokenUsage(request.prompt_tokens, output.tokens), self._info(request, output)),
        )
        return ChatStream(run.deltas(), on_close=run.close)

    async def agenerate(
        self,
        messages: Sequence[Any],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> ChatMessage:
        """``generate`` for asyncio, in a thread. Cancelling the task ends the generation before it returns."""
        output: Output | None = None

        def work() -> ChatMessage:
            nonlocal output
            request = self._prepare_request(
                messages,
                stop_sequences=stop_sequences,
                response_format=response_format,
                tools_to_call_from=tools_to_call_from,
                **kwargs,
            )
            output = self._new_output(request, ignore)
            if cancelled.is_set():
                output.cancelled.set()
            self._generate(request, output)
            return self._message(request, output)

        cancelled = threading.Event()
        loop = asyncio.get_running_loop()
        running = asyncio.ensure_future(loop.run_in_executor(self._threads, copy_context().run, work))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            cancelled.set()
            if output is not None:
                output.cancelled.set()
            with contextlib.suppress(Exception):
                await running
            raise

    def generate_batch(
        self,
        conversations: Sequence[Sequence[Any]],
        stop_sequences: list[str] | None = None,
        response_format: Any = None,
        tools_to_call_from: Sequence[Any] | None = None,
        *,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> list[ChatMessage]:
        """Answer several histories under the same arguments, side by side where the framework can.

        Args:
            conversations: The histories.
            stop_sequences: As for ``generate``.
            response_format: As for ``generate``; or a list with one for each history (None: free).
            tools_to_call_from: As for ``generate``.
            batch_size: So many at a time. Default: what suits the backend.
            **kwargs: As for ``generate``; ``grammar`` may be a list with one for each history.

        Returns:
            One message for each history, in order. Timings are those of the whole batch.
        """
        if batch_size is not None and (isinstance(batch_size, bool) or batch_size < 1):
            raise ConfigurationError(f"batch_size is at least 1, not {batch_size}")
        formats = _for_each("response_format", response_format, len(conversations))
        grammars = _for_each("grammar", kwargs.pop("grammar", None), len(conversations))
        requests = [
            self._prepare_request(
                messages,
                stop_sequences=stop_sequences,
                response_format=formats[n],
                tools_to_call_from=tools_to_call_from,
                **({} if grammars[n] is None else {"grammar": grammars[n]}),
                **kwargs,
            )
            for n, messages in enumerate(conversations)
        ]
        size = batch_size or self._batch_size or max(1, len(requests))
        replies: list[ChatMessage] = []
        for at in range(0, len(requests), size):
            batch = requests[at : at + size]
            outputs = [self._new_output(request, ignore) for request in batch]
            for output in outputs:
                output.start()
            with self._typed_errors():
                self._run_batch(batch, outputs)
                for request, output in zip(batch, outputs, strict=True):
                    output.finish()
                    replies.append(self._message(request, output))
        return replies

    # The end.

    def _check_open(self) -> None:
        if self._closed:
            raise ModelError(f"{self.model_id} is closed")

    def close(self) -> None:
        """Free the model; calls then raise ModelError. Harmless when it is closed already."""
        with self._engine_lock:
            if self._closed:
                return
            self._closed = True
            self._compiler = self._call_compiler = None
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _for_each(name: str, value: Any, count: int) -> list[Any]:
    if not isinstance(value, list):
        return [value] * count
    if len(value) != count:
        raise ConfigurationError(f"{name} has {len(value)} entries for {count} conversations")
    return value


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


def ignore(delta: ChatMessageStreamDelta) -> None:
    """Do nothing with a delta: the whole is read from the output at the end."""
