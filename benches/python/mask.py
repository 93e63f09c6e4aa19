"""Masks side by side on JSON schemas: what a step and the first mask cost, from a cold start, and what else was asked.

Run with ``python benches/python/mask.py [--data DIR_OR_TAR --tokenizer DIR] [--write]``. Each engine follows the same
instances token by token: fill the mask, look at the token's bit, commit the token. Engines take turns on each schema,
in one process; an engine that only copies a mask tells what the harness costs and is subtracted. Without ``--data`` the
schemas of ``benches/data/schemas.json`` are used, with mistral-common's vocabulary of 131,072 tokens; ``--data`` takes
MaskBench's files (``{"schema": ..., "tests": [{"valid": ..., "data": ...}]}``). ``--write`` puts the chart into
``benches/mask.svg``; the table is printed for benches/README.md. ``--slowest N`` lists fairlead's slowest steps.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import tarfile
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import fairlead
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

HERE = Path(__file__).resolve().parent.parent


class Floor:
    """No engine: a mask is copied and a call is made."""

    def __init__(self, tokenizer: Any, info: Any) -> None:
        del tokenizer
        words = -(-info.vocab_size // 32)
        self.row = np.full(words, -1, dtype=np.int32)
        self.source = memoryview(np.full(words, -1, dtype=np.int32)).cast("B")
        self.target = memoryview(self.row).cast("B")

    def compile(self, schema: str) -> Any:
        return schema

    def start(self, compiled: Any) -> Any:
        return compiled

    def step(self, state: Any, token: int) -> bool:
        self.target[:] = self.source
        return bool(int(self.row[token // 32]) >> token % 32 & 1) and token.bit_count() >= 0


class Fairlead(Floor):
    """fairlead."""

    def __init__(self, tokenizer: Any, info: Any) -> None:
        del tokenizer
        self.compiler = fairlead.GrammarCompiler(info)
        self.mask = fairlead.allocate_token_bitmask(1, info.vocab_size)
        self.row = self.mask.numpy()[0]

    def compile(self, schema: str) -> Any:
        return self.compiler.compile_json_schema(schema)

    def start(self, compiled: Any) -> Any:
        return fairlead.GrammarMatcher(compiled)

    def step(self, state: Any, token: int) -> bool:
        state.fill_next_token_bitmask(self.mask, 0)
        return bool(int(self.row[token // 32]) >> token % 32 & 1) and state.accept_token(token)


class LLGuidance(Floor):
    """llguidance."""

    def __init__(self, tokenizer: Any, info: Any) -> None:
        import llguidance
        import llguidance.hf
        from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

        del info
        self.module, self.fill = llguidance, fill_next_token_bitmask
        self.tokenizer = llguidance.hf.from_tokenizer(tokenizer)
        self.mask = allocate_token_bitmask(1, self.tokenizer.vocab_size)

    def compile(self, schema: str) -> Any:
        grammar = json.dumps({"grammars": [{"json_schema": json.loads(schema)}]})
        matcher = self.module.LLMatcher(self.tokenizer, grammar)
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        return matcher

    def start(self, compiled: Any) -> Any:
        return compiled.deep_copy()

    def step(self, state: Any, token: int) -> bool:
        self.fill(state, self.mask, 0)
        fine = bool(int(self.mask[0, token // 32]) >> token % 32 & 1)
        return fine and bool(state.consume_token(token))


class XGrammar(Floor):
    """XGrammar with the standard's defaults, as the others have them."""

    def __init__(self, tokenizer: Any, info: Any) -> None:
        import xgrammar

        self.module = xgrammar
        vocabulary = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=info.vocab_size)
        self.compiler = xgrammar.GrammarCompiler(vocabulary, max_threads=1)
        self.mask = xgrammar.allocate_token_bitmask(1, vocabulary.vocab_size)

    def compile(self, schema: str) -> Any:
        return self.compiler.compile_json_schema(schema, any_whitespace=True, strict_mode=False)

    def start(self, compiled: Any) -> Any:
        return self.module.GrammarMatcher(compiled)

    def step(self, state: Any, token: int) -> bool:
        state.fill_next_token_bitmask(self.mask)
        return bool(state.accept_token(token))


class GLRMask(Floor):
    """GLRMask; its separators are fixed."""

    def __init__(self, tokenizer: Any, info: Any) -> None:
        import glrmask

        del tokenizer
        self.module = glrmask
        tokens = {i: info.token_bytes(i) for i in range(info.vocab_size)}
        self.vocabulary = glrmask.Vocab.from_id_to_bytes({i: text for i, text in tokens.items() if text})
        self.row = np.zeros(-(-info.vocab_size // 32) + 8, dtype=np.int32)

    def compile(self, schema: str) -> Any:
        return self.module.Grammar.from_json_schema(json.loads(schema)).compile(self.vocabulary)

    def start(self, compiled: Any) -> Any:
        return compiled.start()

    def step(self, state: Any, token: int) -> bool:
        state.fill_mask(self.row)
        return bool(int(self.row[token // 32]) >> token % 32 & 1) and bool(state.commit_token(token))


ENGINES = {"floor": Floor, "fairlead": Fairlead, "llguidance": LLGuidance, "xgrammar": XGrammar, "glrmask": GLRMask}


def load(path: str | None) -> list[tuple[str, Any, list[Any]]]:
    if path is None:
        kept = json.loads((HERE / "data" / "schemas.json").read_text(encoding="utf-8"))
        return [(one["name"], one["schema"], one["values"]) for one in kept]
    if os.path.isdir(path):
        texts = [(name, Path(name).read_text(encoding="utf-8")) for name in sorted(glob.glob(path + "/*.json"))]
    else:
        with tarfile.open(path) as archive:
            members = [member for member in archive if member.name.endswith(".json")]
            texts = [(member.name, archive.extractfile(member).read().decode()) for member in members]  # type: ignore[union-attr]
    files = [(os.path.basename(name), json.loads(text)) for name, text in texts]
    return [(name, one["schema"], [t["data"] for t in one["tests"] if t["valid"]]) for name, one in files]


def load_tokenizer(folder: str | None) -> Any:
    import transformers

    if folder:
        return transformers.AutoTokenizer.from_pretrained(folder)
    import mistral_common
    from transformers.integrations.mistral import convert_tekken_tokenizer

    data = os.path.join(os.path.dirname(mistral_common.__file__), "data")
    return convert_tekken_tokenizer(sorted(glob.glob(data + "/tekken*.json"))[0])


def measure(engine: Any, schema: str, instances: list[list[int]]) -> dict[str, Any]:
    """Microseconds to the first mask and of each step, cold and warm; whether every instance passed."""
    now = time.perf_counter_ns
    begun = now()
    try:
        compiled = engine.compile(schema)
        engine.step(engine.start(compiled), instances[0][0])
    except Exception as error:
        return {"error": str(error)[:80]}
    found: dict[str, Any] = {"first": (now() - begun) / 1e3, "cold": [], "warm": [], "passed": True}
    for times in (found["cold"], found["warm"]):
        for tokens in instances:
            state = engine.start(compiled)
            for token in tokens:
                begun = now()
                fine = engine.step(state, token)
                times.append((now() - begun) / 1e3)
                if not fine:
                    found["passed"] = False
                    break
    return found


def percentile(values: list[float], share: float) -> float:
    return float(np.percentile(values, share)) if values else float("nan")


def show(results: dict[str, list[dict[str, Any]]], console: Console) -> None:
    shared = [k for k, _ in enumerate(results["fairlead"]) if all(r[k].get("passed") for r in results.values())]
    rows = (("cold", 50), ("cold", 99), ("cold", 99.9), ("warm", 50), ("warm", 99), ("first", 50), ("first", 99))
    table = Table(title=f"us, floor subtracted; the {len(shared)} schemas that every engine here passes")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    for kind, share in rows:
        cells = []
        values = {}
        for name, records in results.items():
            pool = [records[k][kind] for k in shared]
            values[name] = percentile([x for one in pool for x in (one if isinstance(one, list) else [one])], share)
        ours = max(values["fairlead"] - values["floor"], 0.05)
        for name, value in values.items():
            above = max(value - values["floor"], 0.05)
            ratio = "" if name in ("floor", "fairlead") else f" ({above / ours:.1f}x)"
            cells.append(f"{value if name == 'floor' else above:,.1f}{ratio}")
        table.add_row(f"{'time to first mask' if kind == 'first' else kind + ' step'} p{share}", *cells)
    passed = [str(sum(bool(one.get("passed")) for one in records)) for records in results.values()]
    table.add_row(f"schemas passed, of {len(results['fairlead'])}", *passed)
    console.print(table)


def chart(results: dict[str, list[dict[str, Any]]], path: Path, title: str) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4))
    for name, records in results.items():
        steps = np.sort([x for one in records for x in one.get("cold", [])])
        # Distance from 100 %, so that the slow steps can be seen.
        axes.plot(100 * (1 - np.arange(len(steps)) / len(steps)), steps, label=name, lw=1 if name == "floor" else 1.8)
    axes.set(xscale="log", yscale="log", xlabel="share of steps that take longer, %", ylabel="us a step, first visits")
    axes.invert_xaxis()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.set_title(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--tokenizer")
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--slowest", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    console = Console(width=130)
    tokenizer = load_tokenizer(args.tokenizer)
    info = fairlead.TokenizerInfo.from_huggingface(tokenizer)
    engines = {}
    for name in args.engines.split(","):
        try:
            engines[name] = ENGINES[name](tokenizer, info)
        except ImportError:
            console.print(f"{name} isn't installed")
    peers = [name for name in engines if name not in ("floor", "fairlead")]
    console.print(", ".join(f"{name} {version(name)}" for name in peers), f"{info.vocab_size} tokens")
    results: dict[str, list[dict[str, Any]]] = defaultdict(list)
    items = [one for one in load(args.data) if one[2]]
    texts: list[list[list[int]]] = []
    for at, (_, schema, values) in enumerate(track(items, console=Console(stderr=True))):
        texts.append(
            [tokenizer.encode(json.dumps(value, ensure_ascii=False), add_special_tokens=False) for value in values]
        )
        order = list(engines.items())
        for name, engine in order if at % 2 == 0 else order[::-1]:
            results[name].append(measure(engine, json.dumps(schema), texts[-1]))
    show(results, console)
    if args.slowest:
        steps = []
        for (name, _, _), record, instances in zip(items, results["fairlead"], texts, strict=True):
            flat = [(row, i) for row, tokens in enumerate(instances) for i in range(len(tokens))]
            steps += [(us, name, instances[r][:i]) for us, (r, i) in zip(record.get("cold", []), flat, strict=False)]
        for us, name, tokens in sorted(steps, key=lambda one: -one[0])[: args.slowest]:
            console.print(f"{us:10.1f} us  {name}  after {tokenizer.decode(tokens)[-60:]!r}", markup=False)
    if args.write:
        chart(dict(results), HERE / "mask.svg", f"{len(items)} JSON schemas, {info.vocab_size:,} tokens, one process")


if __name__ == "__main__":
    main()
