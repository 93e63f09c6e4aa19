"""Messages side by side: fairlead, the best pass in plain Python with the same results, and smolagents.

Run with ``python benches/python/messages.py``; needs smolagents, numpy, Pillow and rich. Each figure is the best of
several runs, in one process, the peers in turn.
"""

from __future__ import annotations

import argparse
import base64
import gc
import io
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from typing import Any

from fairlead.images import configure_images
from fairlead.messages import (
    _ROLE_ALIASES,
    _ROLES,
    ChatMessage,
    MessageRole,
    _clean_part,
    _read,
    clean_messages,
    describe_tool_calls,
    role_name,
    tool_role_conversions,
)
from fairlead.streaming import ChatMessageStreamDelta, DeltaAccumulator

# --- the pass in plain Python -----------------------------------------------------------------------------------------


def plain_clean(
    messages: Iterable[Any],
    role_conversions: Mapping[Any, Any] | None = None,
    *,
    images: str = "base64",
    flatten: bool = False,
) -> list[dict[str, Any]]:
    """The same results as ``clean_messages``, as quick as Python can: one pass, the common cases first and inline.

    The tests hold the two against each other.
    """
    mode = "text" if flatten else images
    conversions = {role_name(old): role_name(new) for old, new in (role_conversions or {}).items()}
    roles: dict[Any, Any] = {}
    objects: dict[type, bool] = {}
    cleaned: list[dict[str, Any]] = []
    add = cleaned.append
    last: Any = roles  # no role
    # Texts to join into the content or the last part of the last message; joined when it is complete.
    pieces: list[str] = []
    first_calls: Any = None

    def settle() -> None:
        before = cleaned[-1]["content"]
        if type(before) is list:
            before[-1]["text"] = "\n".join(pieces)
        else:
            cleaned[-1]["content"] = "\n".join(pieces)
        pieces.clear()

    for index, message in enumerate(messages):
        kind = type(message)
        read = None
        try:
            if kind is dict:
                role, content = message["role"], message["content"]
            elif objects.get(kind):
                role, content = message.role, message.content
            elif isinstance(message, (dict, Mapping)):
                role, content, calls = read = _read(message, index)
            else:
                role, content = message.role, message.content
                objects[kind] = True
            role = roles[role]
        except (KeyError, TypeError, AttributeError):
            role, content, calls = read = _read(message, index)
            if role in conversions:
                plain = conversions[role]
            elif role in _ROLE_ALIASES:
                plain = conversions.get(_ROLE_ALIASES[role], _ROLE_ALIASES[role])
            else:
                plain = role
            roles[role] = role = plain
        kind = type(content)
        if kind is list:
            if flatten:
                texts = []
                for part in content:
                    if type(part) is not dict or part.get("type") != "text" or type(part.get("text")) is not str:
                        part = _clean_part(part, index, mode)
                    texts.append(part["text"])
                content = "\n".join(texts) if texts else None
            else:
                parts = []
                for part in content:
                    if type(part) is dict and part.get("type") == "text" and type(part.get("text")) is str:
                        parts.append(part.copy())
                    else:
                        parts.append(_clean_part(part, index, mode))
                content = parts
        elif kind is not str and content is not None:
            content = _read(message, index)[1]
            if not isinstance(content, str):
                parts = [_clean_part(part, index, mode) for part in content]
                content = parts if not flatten else "\n".join(part["text"] for part in parts) if parts else None
        calls = None
        if content is None:
            calls = (
                read[2]
                if read
                else message.get("tool_calls")
                if type(message) is dict
                else getattr(message, "tool_calls", None)
            )
            if calls and (flatten or role == last):
                content = describe_tool_calls(calls)
        if role != last:
            if pieces:
                settle()
            add({"role": role, "content": content})
            last, first_calls = role, calls
            continue
        if content is None or content == []:
            continue
        before = cleaned[-1]["content"]
        if before is None and not pieces:
            if content and first_calls:
                cleaned[-1]["content"] = before = describe_tool_calls(first_calls)
            else:
                cleaned[-1]["content"] = content
                continue
        if type(before) is not list:
            if not pieces:
                pieces.append(before)
            if isinstance(content, str):
                pieces.append(content)
                continue
            before = cleaned[-1]["content"] = [{"type": "text", "text": "\n".join(pieces)}]
            pieces.clear()
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if part["type"] == "text" and before and before[-1]["type"] == "text":
                if not pieces:
                    pieces.append(before[-1]["text"])
                pieces.append(part["text"])
            else:
                if pieces:
                    settle()
                before.append(part)
    if pieces:
        settle()
    if flatten:
        for clean in cleaned:
            clean["content"] = clean["content"] or ""
    return cleaned


assert _ROLES  # the roles are checked by _read


# --- histories --------------------------------------------------------------------------------------------------------


def history(count: int, module: Any = None, *, raw: bool = False, parts: bool = True, calls: bool = False) -> list[Any]:
    """Messages of two roles in turn, 250 characters each; dictionaries, or objects of a module's ChatMessage."""
    made = []
    for i in range(count):
        text = f"Message {i}: " + "some words that an agent and a tool said " * 6
        content = [{"type": "text", "text": text}] if parts else text
        role = "user" if i % 2 == 0 else "assistant"
        if module is None:
            made.append({"role": role, "content": content})
        else:
            message = module.ChatMessage(module.MessageRole(role), content, raw=log_probabilities() if raw else None)
            if calls and role == "assistant":
                function = module.ChatMessageToolCallFunction(name="search", arguments={"query": f"number {i}"})
                message.tool_calls = [module.ChatMessageToolCall(function, f"call_{i}", "function")]
                message.token_usage = module.TokenUsage(1000 + i, 50)
            made.append(message)
    return made


def log_probabilities() -> dict[str, Any]:
    """What a provider's reply of 300 tokens holds when it was asked for log-probabilities."""
    return {
        "choices": [
            {"logprobs": {"content": [{"token": "tok", "logprob": -0.5, "bytes": [116, 111, 107]} for _ in range(300)]}}
        ]
    }


def photo(seed: int, size: int = 1024) -> Any:
    """An image as a camera makes them: smooth gradients and sensor noise."""
    import numpy
    from PIL import Image

    generator = numpy.random.default_rng(seed)
    y, x = numpy.mgrid[0:size, 0:size] / size
    waves = [128 + 80 * numpy.sin(6 * x + 3 * y + k + seed) + 40 * numpy.cos(17 * x * y + k) for k in range(3)]
    pixels = numpy.stack(waves, -1) + generator.normal(0, 8, (size, size, 3))
    return Image.fromarray(numpy.clip(pixels, 0, 255).astype(numpy.uint8))


# --- measuring --------------------------------------------------------------------------------------------------------


def best(*runs: Callable[[], Any], seconds: float = 1.0, turn: float = 0.02) -> list[float]:
    """The shortest time of each run, in seconds.

    The runs take turns of at least `turn` seconds, at least two each, until `seconds` are spent: what slows the machine
    for a while slows all, and what one leaves behind (garbage, cold caches) isn't counted against the next.
    """
    shortest = [float("inf")] * len(runs)
    started, rounds = time.perf_counter(), 0
    while rounds < 2 or time.perf_counter() - started < seconds:
        rounds += 1
        for place, run in enumerate(runs):
            gc.collect()
            before = end = time.perf_counter()
            while end - before < turn:
                begin = time.perf_counter()
                run()
                end = time.perf_counter()
                shortest[place] = min(shortest[place], end - begin)
    return shortest


def result_floor() -> Callable[[], Any]:
    """What a result of 200 messages of text parts consists of, copied in C: nothing that makes it can be quicker."""
    cleaned = clean_messages(history(200))
    parts = [message["content"][0] for message in cleaned]
    contents = [message["content"] for message in cleaned]
    return lambda: (list(map(dict.copy, cleaned)), list(map(list.copy, contents)), list(map(dict.copy, parts)))


def main() -> None:
    import fairlead.models as ours
    import smolagents.models as peer
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each figure")
    seconds = parser.parse_args().seconds

    table = Table(title="Messages: time of one call, best of several")
    table.add_column("", no_wrap=True)
    for name in ("fairlead", "plain Python", "smolagents", "vs plain", "vs smolagents"):
        table.add_column(name, justify="right", no_wrap=True)

    def row(name: str, mine: float, plain: float | None, other: float | None) -> None:
        def ms(value: float | None) -> str:
            return "" if value is None else f"{value * 1e3:,.3f} ms" if value < 0.1 else f"{value * 1e3:,.0f} ms"

        def ratio(value: float | None) -> str:
            return "" if value is None else f"{value / mine:,.1f}x"

        table.add_row(name, ms(mine), ms(plain), ms(other), ratio(plain), ratio(other))

    roles, their_roles = tool_role_conversions, peer.tool_role_conversions
    for name, made, theirs, flatten in (
        ("200 messages of text parts, dictionaries", history(200), history(200), False),
        ("200 messages of text parts, objects", history(200, ours), history(200, peer), False),
        ("200 messages of strings, dictionaries", history(200, parts=False), history(200, parts=False), False),
        ("200 messages of strings, objects", history(200, ours, parts=False), history(200, peer, parts=False), False),
        ("200 messages flattened, objects", history(200, ours), history(200, peer), True),
        (
            "200 messages, half with tool calls and usage",
            history(200, ours, calls=True),
            history(200, peer, calls=True),
            False,
        ),
        ("2,000 messages, objects", history(2000, ours), history(2000, peer), False),
        ("200 messages with raw, objects", history(200, ours, raw=True), history(200, peer, raw=True), False),
    ):
        assert clean_messages(made, roles, flatten=flatten) == plain_clean(made, roles, flatten=flatten)
        assert clean_messages(made, roles, flatten=flatten) == peer.get_clean_message_list(
            theirs, their_roles, flatten_messages_as_text=flatten
        )
        runs = (
            lambda made=made, flatten=flatten: clean_messages(made, roles, flatten=flatten),
            lambda made=made, flatten=flatten: plain_clean(made, roles, flatten=flatten),
            lambda theirs=theirs, flatten=flatten: peer.get_clean_message_list(
                theirs, their_roles, flatten_messages_as_text=flatten
            ),
        )
        row(name, *best(*runs, seconds=3 * seconds))

    floor = best(result_floor(), seconds=seconds)[0]
    row("the containers of such a result alone", floor, None, None)

    table.add_section()
    pictures = [photo(seed) for seed in range(5)]
    sizes = image_rows(row, pictures, peer, seconds)

    table.add_section()
    deltas = [ChatMessageStreamDelta(content="token ") for _ in range(4000)]

    def accumulate(ask: bool) -> str:
        accumulator = DeltaAccumulator()
        for delta in deltas:
            accumulator.add(delta)
            if ask:
                _ = accumulator.message
        return str(accumulator.message.content)

    def agglomerate() -> str:
        seen = []
        for delta in deltas:
            seen.append(delta)
            message = peer.agglomerate_stream_deltas(seen)
        return str(message.content)

    assert accumulate(True) == agglomerate()
    once, each, other = best(lambda: accumulate(False), lambda: accumulate(True), agglomerate, seconds=2 * seconds)
    row("4,000 deltas, the message at the end", once, None, other)
    row("4,000 deltas, a message after each", each, None, other)

    Console(width=132).print(table)
    print(sizes)
    packages = ", ".join(f"{name} {version(name)}" for name in ("smolagents", "pillow", "numpy"))
    print(f"{packages}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")


def image_rows(row: Callable[..., None], pictures: list[Any], peer: Any, seconds: float) -> str:
    """Measure five images the first time and after; returns the sizes of the files as a line."""
    parts = [{"type": "text", "text": "What do these show?"}, *({"type": "image", "image": p} for p in pictures)]
    made = [ChatMessage(MessageRole.USER, parts)]
    theirs = [peer.ChatMessage(peer.MessageRole.USER, parts)]

    def first() -> Any:
        configure_images(cache_bytes=0)
        configure_images(cache_bytes=1 << 28)
        return clean_messages(made)

    runs = (first, lambda: clean_messages(made), lambda: peer.get_clean_message_list(theirs))
    once, again, other = best(*runs, seconds=4 * seconds)
    row("5 photos of 1024 x 1024, the first time", once, None, other)
    row("5 photos of 1024 x 1024, afterwards", again, None, other)

    def kilobytes(cleaned: list[dict[str, Any]]) -> float:
        total = 0
        for picture, part in zip(pictures, cleaned[0]["content"][1:], strict=True):
            from PIL import Image

            file = base64.b64decode(part["image"])
            assert Image.open(io.BytesIO(file)).tobytes() == picture.tobytes()
            total += len(file)
        return total / 1e3

    mine, their = kilobytes(clean_messages(made)), kilobytes(peer.get_clean_message_list(theirs))
    return f"PNG files of the five photos: fairlead {mine:,.0f} kB, smolagents {their:,.0f} kB ({mine / their:.2f}x)"


if __name__ == "__main__":
    main()
