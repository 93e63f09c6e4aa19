"""Threads that share a compiler, a compiled grammar and a matcher."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import numpy as np
import pytest
from fairlead._core import CompiledGrammar, Compiler, Grammar, GrammarMatcher, fill_batch

from tests.property import engine_world as world

THREADS = 8
TREE = {
    "$defs": {
        "t": {
            "type": "object",
            "properties": {
                "v": {"type": "number", "minimum": 0, "multipleOf": 0.5},
                "s": {"type": "string", "pattern": "^[a-z]{2,5}$"},
                "l": {"type": "array", "items": {"$ref": "#/$defs/t"}},
            },
        }
    },
    "$ref": "#/$defs/t",
}


def at_once(work: Callable[[int], Any]) -> list[Any]:
    """Runs `work` in 8 threads that begin together; raises what any of them raised."""
    barrier, results, errors = Barrier(THREADS), [None] * THREADS, []

    def run(number: int) -> None:
        try:
            barrier.wait(30)
            results[number] = work(number)
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]
    return results


def walk(compiled: CompiledGrammar, seed: int) -> list[bytes]:
    """All masks of a walk that depends on nothing but its number."""
    rng, matcher, rows = random.Random(seed), GrammarMatcher(compiled), []
    for _ in range(40):
        row = world.mask(matcher)
        rows.append(row.tobytes())
        token = rng.choice(world.allowed_ids(row))
        assert matcher.accept_token(token)
        if matcher.is_terminated():
            break
    return rows


@pytest.mark.parametrize("limit", [None, 300_000, 1])
def test_one_grammar_in_many_threads_gives_the_masks_of_one(limit: int | None) -> None:
    alone = world.compiler("uncached").compile(Grammar.json_schema(TREE))
    expected = [walk(alone, seed) for seed in range(16)]
    shared = Compiler(world.vocabulary(), cache_limit_bytes=limit).compile(Grammar.json_schema(TREE))
    for rows in at_once(lambda number: [walk(shared, (seed + 2 * number) % 16) for seed in range(16)]):
        assert sorted(rows) == sorted(expected)


def grammar(n: int) -> Grammar:
    if n % 2:
        return Grammar.regex(f"(a|b){{{n},}}[0-9]*x")
    return Grammar.json_schema({"type": "object", "properties": {f"k{n}": {"maxLength": n}, "a": {"minimum": n}}})


def test_many_threads_compile_at_once() -> None:
    shared = Compiler(world.vocabulary())

    expected = {n: walk(world.compiler("uncached").compile(grammar(n)), n) for n in range(1, 20)}

    def work(number: int) -> None:
        for i in range(19):
            n = (i + 3 * number) % 19 + 1
            assert walk(shared.compile(grammar(n)), n) == expected[n]

    at_once(work)


def test_one_matcher_in_many_threads_stays_whole() -> None:
    matcher = GrammarMatcher(world.compiler().compile(Grammar.regex("a*")))

    def work(number: int) -> int:
        done = 0
        for i in range(200):
            if (i + number) % 3 == 0:
                world.mask(matcher)
                matcher.fork().mask_id()
            elif matcher.accept_token(ord("a")):
                done += 1
        return done

    total = sum(at_once(work))
    matcher.rollback(total)
    with pytest.raises(ValueError):
        matcher.rollback(1)


def test_batches_while_others_compile_and_fill() -> None:
    compiled = world.compiler().compile(Grammar.json_schema(TREE))
    expected = world.mask(GrammarMatcher(compiled))

    def work(number: int) -> None:
        for i in range(10):
            if number % 2:
                rows = np.zeros((20, world.WORDS), dtype=np.int32)
                fill_batch([GrammarMatcher(compiled) for _ in range(20)], rows, max_threads=3)
                assert all(np.array_equal(row, expected) for row in rows)
            else:
                world.compiler().compile(Grammar.regex(f"x{{{i}}}y{{{number}}}"))
                walk(compiled, i)

    at_once(work)


def test_batches_close_behind_each_other_and_far_apart() -> None:
    """Helpers are awake for some, asleep for others and about to fall asleep for a few; each row is written once."""
    compiled = world.compiler().compile(Grammar.json_schema(TREE))

    def work(number: int) -> None:
        rng = random.Random(number)
        matchers = [GrammarMatcher(compiled) for _ in range(48)]
        for matcher in matchers:
            for byte in b'{"v": 1.5}'[: rng.randrange(10)]:
                assert matcher.accept_token(byte)
        expected = np.array([world.mask(matcher) for matcher in matchers])
        for _ in range(200):
            rows = np.full((48, world.WORDS), 0x0F0F0F0F, dtype=np.int32)
            fill_batch(matchers, rows, max_threads=rng.choice([1, 2, 4]))
            assert np.array_equal(rows, expected)
            time.sleep(rng.choice([0, 0, 0, 0.0001, 0.0002, 0.001]))

    work(0)
    at_once(work)


def threads_of_this_process() -> set[str]:
    return set(os.listdir("/proc/self/task"))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_the_threads_of_a_batch_go_with_the_thread_that_filled_it() -> None:
    compiled = world.compiler().compile(Grammar.json_schema(TREE))

    def fill() -> set[str]:
        before = threads_of_this_process()
        rows = np.zeros((48, world.WORDS), dtype=np.int32)
        for _ in range(3):
            fill_batch([GrammarMatcher(compiled) for _ in range(48)], rows, max_threads=3)
        return threads_of_this_process() - before

    with ThreadPoolExecutor(1) as pool:
        mine = pool.submit(fill).result(60)
    assert len(mine) == 2
    until = time.monotonic() + 30
    while threads_of_this_process() & mine and time.monotonic() < until:
        time.sleep(0.01)
    assert not threads_of_this_process() & mine


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_batches_go_on_after_a_fork() -> None:
    compiled = world.compiler().compile(Grammar.json_schema(TREE))
    expected = world.mask(GrammarMatcher(compiled))

    def fill() -> bool:
        rows = np.zeros((48, world.WORDS), dtype=np.int32)
        matchers = [GrammarMatcher(compiled) for _ in range(48)]
        # Helpers are called where batches follow each other closely.
        for _ in range(50):
            fill_batch(matchers, rows, max_threads=3)
        return all(np.array_equal(row, expected) for row in rows)

    assert fill()
    child = os.fork()
    if child == 0:
        # Nothing of the test runner may run here; a batch that waits for ever is ended.
        signal.alarm(60)
        os._exit(0 if fill() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert fill()
