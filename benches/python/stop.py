"""Stop sequences: per token and per step, beside plain Python and transformers' stop_strings, in one run.

    python benches/python/stop.py [--far 100000] [--far-step 10000] [--vocab 128000] [--threads 1]

The first table feeds a matcher tokens of a few characters, near the beginning of a text and far into it. The second
calls stopping criteria as generate() does, one row on the CPU. Figures are the best of rounds taken in turns.
"""

from __future__ import annotations

import argparse
import platform
import random
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import tokenizers
import torch
import transformers
from fairlead import StopSequenceCriteria, StopSequenceMatcher
from rich.console import Console
from rich.table import Table

STOPS = ["Observation:", "Calling tools:", "</code>", "<end_plan>", "\n\nUser:", "<|im_end|>", "```\n", "STOP"]
WORDS = ("the", "rope", "runs", "freely", "through", "fairlead;", "it", "never", "turns.", "<", "`", "\n", "Ob", "Call")
ROUNDS = 9
STEPS = 200


class Tail:
    """The plain way: keep what a sequence may still begin in, and look into that."""

    def __init__(self, stops: list[str]) -> None:
        self.stops = stops
        self.keep = max(map(len, stops)) - 1
        self.tail = ""

    def feed(self, piece: str) -> bool:
        text = self.tail + piece
        for stop in self.stops:
            if stop in text:
                return True
        self.tail = text[-self.keep :]
        return False


class Whole:
    """The simplest way: look through all of the text after each token."""

    def __init__(self, stops: list[str]) -> None:
        self.stops = stops
        self.text = ""

    def feed(self, piece: str) -> bool:
        self.text += piece
        return any(stop in self.text for stop in self.stops)


def per_call(function: Callable[[Any], Any], inputs: list[Any]) -> float:
    started = time.perf_counter()
    for value in inputs:
        function(value)
    return (time.perf_counter() - started) / len(inputs)


def tokens(count: int, seed: int = 7) -> list[str]:
    rng = random.Random(seed)
    return [" " + rng.choice(WORDS) for _ in range(count)]


def matcher_table(far: int) -> Table:
    table = Table(title=f"a token through a matcher, {len(STOPS)} sequences (microseconds)")
    for name in ("at token", "ratio to plain", "fairlead", "bar", "plain Python (tail)", "plain Python (whole text)"):
        table.add_column(name, justify="right")
    text = tokens(far)
    places = (10, far)
    matchers: list[Any] = []
    for at in places:
        matchers += [StopSequenceMatcher(STOPS), Tail(STOPS)]
        for piece in text[:at]:
            matchers[-2].feed(piece)
            matchers[-1].feed(piece)
    # Both places take turns. What looks through a long text empties the processor's caches, so it comes last.
    measured: list[list[float]] = [[] for _ in matchers]
    for _ in range(3 * ROUNDS):
        for i, matcher in enumerate(matchers):
            measured[i].append(per_call(matcher.feed, text[:STEPS]))
    for i, at in enumerate(places):
        assert not matchers[2 * i].matched
        simple = Whole(STOPS)
        simple.text = "".join(text[:at])
        whole = min(per_call(simple.feed, text[:10]) for _ in range(ROUNDS)) * 1e6
        ours, tail = (min(values) * 1e6 for values in measured[2 * i : 2 * i + 2])
        table.add_row(f"{at:,}", f"{tail / ours:.1f}x", f"{ours:.3f}", "0.3", f"{tail:.3f}", f"{whole:.1f}")
    return table


def tokenizer_of(size: int) -> Any:
    """A byte-level BPE tokenizer with as many tokens as large models have; no merges are needed to decode."""
    rng = random.Random(3)
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    letters = "etaoinshrdlu.,:;<>/`_OCUS"
    vocab = {char: i for i, char in enumerate(alphabet)}
    while len(vocab) < size - 1:
        word = "".join(rng.choices(letters, k=rng.randint(2, 9)))
        vocab.setdefault(("Ġ" if rng.random() < 0.5 else "") + word, len(vocab))
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>")


def criteria_table(far: int, size: int) -> Table:
    tokenizer = tokenizer_of(size)
    table = Table(title=f"a step through a stopping criterion, {len(STOPS)} sequences, {len(tokenizer):,} tokens")
    for name in ("new tokens", "ratio", "fairlead (us)", "transformers (us)", "bar"):
        table.add_column(name, justify="right")
    started = time.perf_counter()
    ours = StopSequenceCriteria(STOPS, tokenizer)
    first = time.perf_counter() - started
    started = time.perf_counter()
    StopSequenceCriteria(STOPS, tokenizer)
    again = time.perf_counter() - started
    started = time.perf_counter()
    theirs = transformers.StopStringCriteria(tokenizer, STOPS)
    their_first = time.perf_counter() - started
    started = time.perf_counter()
    transformers.StopStringCriteria(tokenizer, STOPS)
    their_again = time.perf_counter() - started

    rng = random.Random(5)
    plain = [i for token, i in tokenizer.get_vocab().items() if len(token) > 2 and not set(token) & set("<:`SOCU")]
    length = far + STEPS * ROUNDS + 64
    ids = torch.tensor([[rng.choice(plain) for _ in range(length)]])
    prompt = 50
    for at in (10, far):
        ours.reset()
        ours(ids[:, : prompt + 1])
        ours(ids[:, : prompt + at])
        mine, other = [], []
        step = prompt + at
        for _ in range(ROUNDS):
            # generate() makes a new tensor at each step.
            steps = [ids[:, : step + i + 1].clone() for i in range(STEPS)]
            mine.append(per_call(lambda now: ours(now, None), steps))
            other.append(per_call(lambda now: theirs(now, None), steps[:40]))
            step += STEPS
            if step + STEPS > length:
                break
        a, b = min(mine) * 1e6, min(other) * 1e6
        table.add_row(f"{at:,}", f"{b / a:.1f}x", f"{a:.2f}", f"{b:.1f}", "25x")
    table.add_row("set-up", f"{their_first / first:.1f}x", f"{first * 1e6:,.0f}", f"{their_first * 1e6:,.0f}", "")
    table.add_row("set-up again", f"{their_again / again:.1f}x", f"{again * 1e6:,.0f}", f"{their_again * 1e6:,.0f}", "")
    return table


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "from the source tree"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--far", type=int, default=100_000, help="tokens into the text; default 100000")
    parser.add_argument("--far-step", type=int, default=10_000, help="the same for criteria; default 10000")
    parser.add_argument("--vocab", type=int, default=128_000, help="tokens of the tokenizer; default 128000")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch; default: torch's own")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    console = Console()
    console.print(matcher_table(arguments.far))
    console.print(criteria_table(arguments.far_step, arguments.vocab))
    names = ("fairlead", "transformers", "torch", "tokenizers")
    versions = ", ".join(f"{name} {installed(name)}" for name in names)
    console.print(f"{versions}, Python {platform.python_version()}, {platform.machine()}, {arguments.threads} threads")


if __name__ == "__main__":
    main()
