"""vLLM's engine in a thread of its own, which serves any number of requests at once."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fairlead.errors import ConfigurationError, FairleadError, ModelError

__all__ = ["EngineRequest", "EngineThread", "Step", "Steps", "new_engine"]


@dataclass(frozen=True)
class Step:
    """What one step of the engine has brought for a request.

    Attributes:
        tokens: The new tokens.
        finished: Why the engine has ended the request ("stop", "length", "abort", "error"); None while it goes on.
        prompt_tokens: Tokens of the prompt, images included.
        cached_tokens: How many of them were in the prefix cache.
    """

    tokens: list[int]
    finished: str | None
    prompt_tokens: int
    cached_tokens: int


@dataclass(eq=False)
class EngineRequest:
    """A request; ``Steps`` brings what the engine makes of it.

    Attributes:
        prompt: As vLLM takes it.
        params: ``vllm.SamplingParams``.
        options: More arguments for ``LLMEngine.add_request``.
        send: Gets each step, or the exception that ends the request.
        id: Its name in the engine.
    """

    prompt: Any
    params: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    send: Callable[[Step | FairleadError], None] = lambda step: None
    id: str = ""


class Steps:
    """The steps of some requests, as they come.

    Args:
        requests: Not yet begun.
    """

    def __init__(self, requests: Sequence[EngineRequest]) -> None:
        self._queue: queue.SimpleQueue[tuple[EngineRequest, Step | FairleadError]] = queue.SimpleQueue()
        for request in requests:
            request.send = partial(self._put, request)

    def _put(self, request: EngineRequest, step: Step | FairleadError) -> None:
        self._queue.put((request, step))

    def wait(self, seconds: float) -> Iterator[tuple[EngineRequest, Step]]:
        """Wait for a step, but only so long, and go on with those that are there.

        Raises:
            ModelError: The engine has failed or was closed.
            ConfigurationError: vLLM doesn't take a request.
        """
        try:
            request, step = self._queue.get(timeout=seconds)
            while True:
                if isinstance(step, FairleadError):
                    raise step
                yield request, step
                request, step = self._queue.get(block=False)
        except queue.Empty:
            return


class EngineThread:
    """Makes an engine and runs it: one thread makes every call of it.

    While it has requests the thread makes steps; what was asked for in the meantime is done between two of them, so
    that requests join and leave the running batch. Should a step fail, each request fails; the engine goes on if it
    lives in this process, one in processes of its own is gone.

    Args:
        make_engine: Makes the ``LLMEngine``.

    Attributes:
        engine: The engine.

    Raises:
        Exception: Whatever ``make_engine`` raised.
    """

    def __init__(self, make_engine: Callable[[], Any]) -> None:
        self.engine: Any = None
        self._make = make_engine
        # What to do between two steps: begin a request, abort some, or end.
        self._inbox: queue.SimpleQueue[EngineRequest | list[EngineRequest] | None] = queue.SimpleQueue()
        self._requests: dict[str, EngineRequest] = {}
        # Garbage collection may close an engine from anywhere.
        self._lock = threading.RLock()
        self._failure: BaseException | None = None
        self._closed = False
        self._ids = itertools.count()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._work, name="fairlead-vllm", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self.engine is None:
            self._thread.join()
            assert self._failure is not None
            raise self._failure

    # For any thread.

    def add(self, *requests: EngineRequest) -> None:
        """Begin requests.

        Raises:
            ModelError: The engine is closed, or has failed.
        """
        with self._lock:
            if self._failure is not None:
                raise ModelError(f"vLLM's engine has failed: {self._failure!r}") from self._failure
            if self._closed:
                raise ModelError("vLLM's engine is closed")
            for request in requests:
                self._inbox.put(request)

    def abort(self, *requests: EngineRequest) -> None:
        """End requests whose answer nobody waits for any more; harmless for those that have ended."""
        self._inbox.put(list(requests))

    def close(self) -> None:
        """End the engine: running requests fail. Returns when its memory and its processes are given back."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._inbox.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join()

    # For the engine's own thread.

    def _work(self) -> None:
        try:
            self.engine = self._make()
        except BaseException as error:
            self._failure = error
            return
        finally:
            self._ready.set()
        try:
            self._run()
        except BaseException as error:
            with self._lock:
                self._failure = error
                self._closed = True
            self._fail(f"vLLM's engine has failed: {error!r}", error)
        else:
            self._fail("the engine was closed while it generated", None)
        finally:
            _shut_down(self.engine)

    def _run(self) -> None:
        while self._do_tasks():
            if not self._requests:
                continue
            try:
                outputs = self.engine.step()
            except Exception as error:
                self._recover(error)
                continue
            for output in outputs:
                self._hand_out(output)

    def _do_tasks(self) -> bool:
        """Do what was asked for, waiting for it if nothing else is to be done; False at the end."""
        wait = not self._requests
        while True:
            try:
                task = self._inbox.get(block=wait)
            except queue.Empty:
                return True
            wait = False
            if task is None:
                return False
            if isinstance(task, EngineRequest):
                self._begin(task)
            else:
                self._abort(task)

    def _begin(self, request: EngineRequest) -> None:
        request.id = f"fairlead-{next(self._ids)}"
        try:
            self.engine.add_request(request.id, request.prompt, request.params, **request.options)
        except Exception as error:
            # vLLM checks the parameters and the prompt; the engine itself goes on.
            request.send(_refusal(error))
        else:
            self._requests[request.id] = request

    def _abort(self, requests: list[EngineRequest]) -> None:
        running = [request.id for request in requests if self._requests.pop(request.id, None) is not None]
        if running:
            self.engine.abort_request(running)

    def _hand_out(self, output: Any) -> None:
        request = self._requests.get(output.request_id)
        if request is None:
            return
        if output.finished:
            del self._requests[output.request_id]
        made = output.outputs[0]
        finished = str(made.finish_reason or "stop") if output.finished else None
        prompt = len(output.prompt_token_ids or ())
        request.send(Step(list(made.token_ids), finished, prompt, int(output.num_cached_tokens or 0)))

    def _recover(self, error: Exception) -> None:
        """Go on without the requests of a step that has failed; raises the error if that can't be."""
        if not in_process(self.engine):
            raise error
        failed = list(self._requests)
        self._fail(f"a step of vLLM's engine has failed: {error!r}", error)
        try:
            _forget_step(self.engine)
            self.engine.abort_request(failed)
        except Exception:
            raise error from None

    def _fail(self, text: str, cause: BaseException | None) -> None:
        waiting = list(self._requests.values())
        self._requests.clear()
        while self._closed:
            # Those that were still at the door.
            try:
                task = self._inbox.get(block=False)
            except queue.Empty:
                break
            if isinstance(task, EngineRequest):
                waiting.append(task)
        for request in waiting:
            failure = ModelError(text)
            failure.__cause__ = cause
            request.send(failure)


def in_process(engine: Any) -> bool:
    """Whether scheduler and model run in this process, and not in others."""
    return hasattr(engine.engine_core, "engine_core")


def _forget_step(engine: Any) -> None:
    # A step that has failed between the forward pass and sampling leaves the one's result behind.
    driver = getattr(engine.model_executor, "driver_worker", None)
    runner: Any = getattr(getattr(driver, "worker", driver), "model_runner", None)
    if getattr(runner, "execute_model_state", None) is not None:
        runner.execute_model_state = None


def _refusal(error: Exception) -> FairleadError:
    refused: FairleadError
    if isinstance(error, ValueError | TypeError) or type(error).__name__ == "VLLMValidationError":
        refused = ConfigurationError(f"vLLM doesn't take this request: {error}")
    else:
        refused = ModelError(f"vLLM couldn't begin this request: {error!r}")
    refused.__cause__ = error
    return refused


class _OutputsOrDeath:
    """The queue of what an engine in processes of its own makes; should they be gone, it says so.

    vLLM notices that, but whoever waits for a step by then waits for ever: a process that was killed sends nothing.
    """

    def __init__(self, outputs: queue.Queue[Any], resources: Any) -> None:
        self._outputs = outputs
        self._resources = resources

    def get(self) -> Any:
        while True:
            try:
                return self._outputs.get(timeout=_LIVENESS_SECONDS)
            except queue.Empty:
                if self._resources.engine_dead:
                    return RuntimeError("its processes are gone")


# How long a step may take before the engine is looked at.
_LIVENESS_SECONDS = 0.25


def _outlive(client: Any) -> None:
    """Let what waits for the engine's processes end with them."""
    if isinstance(getattr(client, "outputs_queue", None), queue.Queue) and hasattr(client, "resources"):
        client.outputs_queue = _OutputsOrDeath(client.outputs_queue, client.resources)


_LOCAL_LOCK = threading.Lock()
_local_engines = 0


def new_engine(arguments: Mapping[str, Any]) -> Any:
    """Make an ``LLMEngine`` of the arguments of ``EngineArgs``; to be called in the thread that will use it."""
    global _local_engines
    from vllm import EngineArgs, LLMEngine

    engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
    _outlive(engine.engine_core)
    if in_process(engine):
        with _LOCAL_LOCK:
            _local_engines += 1
    return engine


def _shut_down(engine: Any) -> None:
    global _local_engines
    client = engine.engine_core
    if not in_process(engine):
        client.shutdown()
        return
    with _LOCAL_LOCK:
        _local_engines -= 1
        last = not _local_engines
    if last:
        client.shutdown()
        return
    # That would also take down the process groups, which other engines in this process use.
    finalizer = getattr(client, "_finalizer", None)
    if finalizer is not None:
        finalizer.detach()
    core = client.engine_core
    core.structured_output_manager.clear_backend()
    core.model_executor.shutdown()
    core.scheduler.shutdown()
