"""First visits as a server has them: another process works between two schemas, and the least of several runs counts.

    python benches/python/cold.py FILE.jsonl [--runs N] [--lazy] [--tree NAME=FOLDER ...]

FILE is what benches/rust/replay/prepare.py writes. Each run is a process of its own, which compiles each schema and
walks its instances once, token by token: mask, check that the token is allowed, commit. Between two schemas it waits
for another process that goes through 48 MB and writes JSON. Machines shared with others slow single runs by a third;
what is shown is taken from the least time of each first mask and each step over all runs. With --tree, folders that
hold a `fairlead` package each (built from other sources) take turns instead of the installed one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

OTHER_BYTES = 48 << 20


@contextmanager
def other_process() -> Iterator[Callable[[], None]]:
    """A process that works each time it is called for."""
    code = f"""
import json, sys
import numpy
memory = numpy.ones({OTHER_BYTES // 8})
for _ in sys.stdin:
    memory.sum()
    json.dumps([{{"a": i}} for i in range(20000)])
    print(flush=True)
"""
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    # Leaving the block closes its input, which ends it.
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def work() -> None:
            print(file=stdin, flush=True)
            stdout.readline()

        yield work


def walk(file: Path, lazy: bool, out: Path) -> None:
    """One run: the times of first masks, steps and whole schemas, in microseconds."""
    import fairlead

    lines = iter(file.read_text(encoding="utf-8").splitlines())
    head = json.loads(next(lines))
    tokens = [None if token is None else bytes.fromhex(token) for token in head["tokens"]]
    info = fairlead.TokenizerInfo(tokens, stop_token_ids=head["stop"])
    compiler = fairlead.GrammarCompiler(info, walk_ahead=not lazy)
    mask = fairlead.allocate_token_bitmask(1, info.vocab_size)
    row = mask.numpy()[0]
    now = time.perf_counter_ns
    times: dict[str, list[float]] = {"first mask": [], "step": [], "schema in all": []}
    with other_process() as work:
        for line in lines:
            job: dict[str, Any] = json.loads(line)
            work()
            start = now()
            try:
                compiled = compiler.compile_json_schema(job["schema"])
            except fairlead.FairleadError:
                continue
            fairlead.GrammarMatcher(compiled).fill_next_token_bitmask(mask, 0)
            total = (now() - start) / 1e3
            times["first mask"].append(total)
            for test in job["tests"]:
                matcher = fairlead.GrammarMatcher(compiled)
                for token in test["tokens"]:
                    start = now()
                    matcher.fill_next_token_bitmask(mask, 0)
                    allowed = int(row[token // 32]) >> token % 32 & 1 and matcher.accept_token(token)
                    took = (now() - start) / 1e3
                    times["step"].append(took)
                    total += took
                    if not allowed:
                        break
            times["schema in all"].append(total)
    np.savez(out, **{name: np.array(values) for name, values in times.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--lazy", action="store_true", help="compiling doesn't walk ahead")
    parser.add_argument("--tree", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.out:
        walk(args.file, args.lazy, args.out)
        return
    trees = dict(tree.split("=", 1) for tree in args.tree) or {"installed": ""}
    runs: dict[str, list[Any]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "times.npz")
        command = [sys.executable, __file__, str(args.file), "--out", str(out), *["--lazy"] * args.lazy]
        for name in track([*trees] * args.runs, "runs", console=Console(stderr=True), transient=True):
            path = {"PYTHONPATH": trees[name]} if trees[name] else {}
            subprocess.run(command, check=True, env=os.environ | path)
            runs[name].append(dict(np.load(out)))
    table = Table(title=f"us, least of {args.runs} runs" + (", lazy" if args.lazy else ""))
    for column in ("", "", "avg", "p50", "p90", "p99", "p99.9"):
        table.add_column(column, justify="right" if column else "left")
    for name, found in runs.items():
        for kind in found[0]:
            least = np.min([times[kind] for times in found], axis=0)
            quantiles = np.quantile(least, [0.5, 0.9, 0.99, 0.999])
            table.add_row(name, kind, f"{least.mean():,.2f}", *(f"{value:,.1f}" for value in quantiles))
            name = ""
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
