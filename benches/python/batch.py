"""A batch of masks on several threads, side by side: 64 rows of many schemas, filled one by one and all at once.

Run with ``python benches/python/batch.py [--data DIR_OR_TAR --tokenizer DIR] [--rows 64] [--threads 1 2 4]``; what is
read and which engines there are, says ``mask.py``. A row stands somewhere inside of an instance. "known" masks have
been worked out before, the best of many fills; "first visits" are filled once, by an engine that has compiled the
schemas and walked to the rows. Means over eight sets of rows; "one by one" is a loop in Python over the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import fairlead
import mask
import numpy as np
from rich.console import Console
from rich.table import Table

# Each set of rows stands at other places of the instances.
SETS = 8


def touched(rows: Any) -> Any:
    """The rows, written once: a page of new memory costs as much as a mask when it is first written."""
    np.asarray(rows)[:] = -1
    return rows


class Fairlead(mask.Fairlead):
    def batch(self, states: list[Any], threads: int) -> Callable[[], None]:
        rows = touched(fairlead.allocate_token_bitmask(len(states), self.mask.vocab_size))
        return lambda: fairlead.fill_batch(states, rows, max_threads=threads)

    def each(self, states: list[Any]) -> Callable[[], None]:
        rows = touched(fairlead.allocate_token_bitmask(len(states), self.mask.vocab_size))

        def fill() -> None:
            for i, state in enumerate(states):
                state.fill_next_token_bitmask(rows, i)

        return fill


class LLGuidance(mask.LLGuidance):
    def batch(self, states: list[Any], threads: int) -> Callable[[], None]:
        from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par

        rows = touched(allocate_token_bitmask(len(states), self.tokenizer.vocab_size))
        executor = self.module.LLExecutor(num_threads=threads)
        jobs = [(state, i) for i, state in enumerate(states)]
        return lambda: fill_next_token_bitmask_par(executor, jobs, rows)

    def each(self, states: list[Any]) -> Callable[[], None]:
        from llguidance.numpy import allocate_token_bitmask

        rows = touched(allocate_token_bitmask(len(states), self.tokenizer.vocab_size))

        def fill() -> None:
            for i, state in enumerate(states):
                self.fill(state, rows, i)

        return fill


class XGrammar(mask.XGrammar):
    def batch(self, states: list[Any], threads: int) -> Callable[[], None]:
        rows = touched(self.module.allocate_token_bitmask(len(states), 32 * self.mask.shape[1]))
        matcher = self.module.BatchGrammarMatcher(max_threads=threads)
        return lambda: matcher.batch_fill_next_token_bitmask(states, rows)

    def each(self, states: list[Any]) -> Callable[[], None]:
        rows = touched(self.module.allocate_token_bitmask(len(states), 32 * self.mask.shape[1]))

        def fill() -> None:
            for i, state in enumerate(states):
                state.fill_next_token_bitmask(rows, i)

        return fill


ENGINES: dict[str, Any] = {"fairlead": Fairlead, "llguidance": LLGuidance, "xgrammar": XGrammar}


def seconds(fill: Callable[[], None]) -> float:
    begun = time.perf_counter()
    fill()
    return time.perf_counter() - begun


def states_of(engine: Any, compiled: list[Any], instances: list[list[int]], rows: int, at: int) -> list[Any]:
    """So many states, each inside of an instance, at other places for each ``at``."""
    states = []
    for row in range(rows):
        which = (row + 5 * at) % len(instances)
        state = engine.start(compiled[which])
        tokens = instances[which]
        for token in tokens[: 1 + (7 * row + 11 * at) % max(1, len(tokens) - 1)]:
            accept = getattr(state, "accept_token", None) or state.consume_token
            accept(token)
        states.append(state)
    return states


def passed(engine: Any, schema: str, tokens: list[int]) -> Any:
    """The compiled schema, if its engine takes the instance."""
    try:
        compiled = engine.compile(schema)
        state = engine.start(compiled)
        return compiled if all(engine.step(state, token) for token in tokens) else None
    except Exception:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--tokenizer")
    parser.add_argument("--schemas", type=int, default=100, help="at most so many of the data")
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4])
    args = parser.parse_args()
    console = Console(width=120)
    tokenizer = mask.load_tokenizer(args.tokenizer)
    info = fairlead.TokenizerInfo.from_huggingface(tokenizer)
    names = args.engines.split(",")
    items = [(json.dumps(schema), values[0]) for _, schema, values in mask.load(args.data) if values][: args.schemas]
    texts = [tokenizer.encode(json.dumps(v, ensure_ascii=False), add_special_tokens=False) for _, v in items]
    makers = {name: ENGINES[name](tokenizer, info) for name in names}
    kept = [i for i, (schema, _) in enumerate(items) if all(passed(e, schema, texts[i]) for e in makers.values())]
    schemas, instances = [items[i][0] for i in kept], [texts[i] for i in kept]
    console.print(
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, "
        + ", ".join(f"{name} {fairlead.__version__ if name == 'fairlead' else version(name)}" for name in names)
        + f"; {args.rows} rows of {len(kept)} schemas, {info.vocab_size} tokens"
    )
    table = Table(title="us for a batch; in brackets how many times as fast as its first column")
    for column in ("", "masks", "one by one", *(f"{n} thread{'s'[: n > 1]}" for n in args.threads)):
        table.add_column(column, justify="right")
    for name in names:
        for kind in ("known", "first visits"):
            found: list[float] = []
            for threads in (0, *args.threads):
                engine = ENGINES[name](tokenizer, info) if kind == "first visits" else makers[name]
                compiled = [engine.compile(schema) for schema in schemas]
                spent = []
                for at in range(SETS):
                    states = states_of(engine, compiled, instances, args.rows, at)
                    fill = engine.batch(states, threads) if threads else engine.each(states)
                    if kind == "known":
                        fill()
                        spent.append(min(seconds(fill) for _ in range(30)))
                    else:
                        spent.append(seconds(fill))
                found.append(float(np.mean(spent)) * 1e6)
            cells = [f"{us:,.0f} ({found[0] / us:.2f})" for us in found]
            table.add_row(name, kind, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
