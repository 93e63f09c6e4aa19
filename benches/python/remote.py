"""What a remote model's class costs: CPU time per request and per chunk, and many requests at once.

    python benches/python/remote.py

The first table calls OpenAIModel with a client whose replies exist already, so that all that is left is the class: CPU
time of the thread, the best of five rounds. The second
sends 200 requests side by side to a server in another process that takes 50 ms, beside the bare client, and counts what
Python's objects keep of memory between rounds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import time
import tracemalloc
from types import SimpleNamespace
from typing import Any

ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}]
REPLY = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
}
CHUNKS = 1000


def instant_client() -> Any:
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    base = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    reply = ChatCompletion.model_validate(REPLY)
    delta = {"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}
    chunks = [ChatCompletionChunk.model_validate({**base, **delta})] * CHUNKS

    def create(**kwargs: Any) -> Any:
        return iter(chunks) if kwargs.get("stream") else reply

    return SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)), max_retries=0)


def cpu_seconds(work: Any, rounds: int) -> float:
    best = float("inf")
    for _ in range(5):
        begun = time.thread_time()
        for _ in range(rounds):
            work()
        best = min(best, (time.thread_time() - begun) / rounds)
    return best


def costs() -> None:
    import smolagents
    from fairlead import OpenAIModel

    client = instant_client()
    ours, theirs = OpenAIModel("m", client=client), smolagents.OpenAIModel("m", client=client, api_key="-")
    print(f"{'CPU time':34}{'fairlead':>12}{'smolagents':>12}{'ratio':>8}")
    for name, unit, rounds, asked in (
        ("request, us", 1e6, 500, lambda model: model.generate(ASK, stop_sequences=["END"])),
        ("chunk, us", 1e6 / CHUNKS, 5, lambda model: sum(1 for _ in model.generate_stream(ASK))),
    ):
        a, b = (cpu_seconds(lambda model=model, asked=asked: asked(model), rounds) * unit for model in (ours, theirs))
        print(f"{name:34}{a:12.2f}{b:12.2f}{a / b:8.2f}")
    a = cpu_seconds(lambda: sum(1 for _ in ours.generate_stream(ASK, stop_sequences=["END"])), 5) * 1e6 / CHUNKS
    print(f"{'chunk with a stop sequence, us':34}{a:12.2f}{'-':>12}")


def serve(port: Any) -> None:
    body = json.dumps(REPLY).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head_in := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    int(line.split(b":")[1]) for line in head_in.lower().split(b"\r\n") if b"content-length" in line
                )
                await reader.readexactly(length)
                await asyncio.sleep(0.05)
                writer.write(head + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    asyncio.run(run())


def many(count: int = 200) -> None:
    import openai
    from fairlead import OpenAIModel

    port = multiprocessing.get_context("spawn").Value("i", 0)
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(port,), daemon=True)
    process.start()
    while not port.value:
        time.sleep(0.01)
    url = f"http://127.0.0.1:{port.value}/v1"

    async def run() -> tuple[float, float, int]:
        bare = openai.AsyncOpenAI(base_url=url, api_key="-", max_retries=0)
        model = OpenAIModel("m", api_base=url, api_key="-")
        best = [float("inf"), float("inf")]
        for _ in range(6):
            for which, ask in enumerate(
                (lambda: bare.chat.completions.create(model="m", messages=ASK), lambda: model.agenerate(ASK))
            ):
                begun = time.perf_counter()
                await asyncio.gather(*(ask() for _ in range(count)))
                best[which] = min(best[which], time.perf_counter() - begun)
        tracemalloc.start()
        kept = []
        for _ in range(4):
            await asyncio.gather(*(model.agenerate(ASK) for _ in range(count)))
            gc.collect()
            kept.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        return best[0], best[1], kept[-1] - kept[0]

    a, b, grown = asyncio.run(run())
    process.terminate()
    print(f"\n{count} async requests at once: bare client {a * 1e3:.0f} ms, fairlead {b * 1e3:.0f} ms, {b / a:.2f}x")
    print(f"memory after {3 * count} more: {grown / 1024:+.0f} KiB, {grown / 3 / count:+.0f} bytes a request")


if __name__ == "__main__":
    costs()
    many()
