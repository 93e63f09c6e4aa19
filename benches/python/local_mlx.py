"""MLXModel beside smolagents' MLXModel: an agent's growing history, what a constraint costs, batches.

Run with ``python benches/python/local_mlx.py [--rounds 2] [--size mid]``; needs mlx-lm, smolagents, mistral-common
(whose vocabulary of 131,072 tokens is used), transformers and rich. Random weights (float32); both say what the
weights say, greedily. Runs take turns; each figure is the best of them. MLX computes in threads of its own: the CPU
time is that of the process; what else runs on the machine lengthens the clock's.
"""

from __future__ import annotations

import argparse
import glob
import os
import platform
import tempfile
import time
import warnings
from importlib.metadata import version
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import mistral_common
import mlx.core as mx
import mlx_lm
import smolagents
import transformers
from fairlead.models import MLXModel
from mlx_lm.models import llama
from mlx_lm.tokenizer_utils import TokenizerWrapper
from rich.console import Console
from rich.table import Table

transformers.logging.set_verbosity_error()
warnings.simplefilter("ignore")

SIZES = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
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
SCHEMA = {
    "type": "array",
    "minItems": 100,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 8, "maxLength": 40},
            "length": {"type": "number", "minimum": 0, "maximum": 400},
            "flag": {"enum": ["NO", "DK", "SE", "FI", "EE"]},
            "free": {"type": "boolean"},
        },
        "required": ["name", "length", "flag", "free"],
        "additionalProperties": False,
    },
}


def make(size: str) -> tuple[Any, Any]:
    from transformers.integrations.mistral import convert_tekken_tokenizer

    data = os.path.join(os.path.dirname(mistral_common.__file__), "data")
    tokenizer = convert_tekken_tokenizer(sorted(glob.glob(data + "/tekken*.json"))[0])
    tokenizer.chat_template = TEMPLATE
    mx.random.seed(1)
    arguments = llama.ModelArgs(
        model_type="llama", vocab_size=len(tokenizer), rms_norm_eps=1e-5, max_position_embeddings=16384, **SIZES[size]
    )
    model = llama.Model(arguments)
    mx.eval(model.parameters())
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return model, TokenizerWrapper(transformers.AutoTokenizer.from_pretrained(folder), eos_token_ids=[2])


class Read:
    """Stands for a model and counts the tokens of prompts that it reads."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.prompts = 0

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if inputs.shape[1] > 1:
            self.prompts += inputs.shape[1]
        return self._model(inputs, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def prose(tokenizer: Any, tokens: int) -> str:
    ids = tokenizer.encode(PROSE * (tokens // 20 + 1), add_special_tokens=False)[:tokens]
    text: str = tokenizer.decode(ids)
    return text


def loop(model: Any, tokenizer: Any, new: int, args: Any) -> tuple[float, float, list[str]]:
    """Ten steps; the history grows by the reply and an observation each."""
    limit = {"max_tokens": new}
    per_step = max(20, (args.end - args.start) // 10 - new - 10)

    def said(role: str, text: str) -> dict[str, Any]:
        return {"role": role, "content": [{"type": "text", "text": text}]}

    messages = [said("system", prose(tokenizer, args.start - 200)), said("user", prose(tokenizer, 190))]
    replies: list[str] = []
    started, cpu = time.perf_counter(), time.process_time()
    for step in range(10):
        # The detokenizer of mlx-lm drops a space at the beginning.
        replies.append(model.generate(messages, **limit).content.strip())
        messages += [
            said("assistant", replies[-1]),
            said("user", f"Observation {step}: {prose(tokenizer, per_step)}"),
        ]
    return time.process_time() - cpu, time.perf_counter() - started, replies


def theirs_of(model: Any, tokenizer: Any) -> Any:
    wrapper = smolagents.MLXModel.__new__(smolagents.MLXModel)
    smolagents.models.Model.__init__(wrapper, flatten_messages_as_text=True, model_id="bench")
    wrapper.model, wrapper.tokenizer, wrapper.is_vlm = model, tokenizer, False
    wrapper.stream_generate, wrapper.apply_chat_template_kwargs = (
        mlx_lm.stream_generate,
        {"add_generation_prompt": True},
    )
    return wrapper


def bench_loop(model: Any, tokenizer: Any, size: str, args: Any, console: Console) -> None:
    table = Table(title=f"ten steps from {args.start} to {args.end} tokens, {size} model")
    for column in ("new tokens a step", "model", "tokens read", "CPU s", "clock s"):
        table.add_column(column, justify="right")
    for new in args.new:
        rows: dict[str, tuple[int, float, float]] = {}
        texts = {}
        for _ in range(args.rounds):
            for name in ("smolagents", "fairlead"):
                watched = Read(model)
                wrapped = (
                    theirs_of(watched, tokenizer) if name == "smolagents" else MLXModel.from_loaded(watched, tokenizer)
                )
                cpu, total, texts[name] = loop(wrapped, tokenizer, new, args)
                best = rows.get(name, (0, cpu, total))
                rows[name] = (watched.prompts, min(cpu, best[1]), min(total, best[2]))
        assert texts["smolagents"] == texts["fairlead"], "the replies differ"
        for name, (read, cpu, total) in rows.items():
            table.add_row(str(new), name, f"{read:,}", f"{cpu:.2f}", f"{total:.2f}")
        a, b = rows["smolagents"], rows["fairlead"]
        table.add_row(
            str(new), "ratio", f"-{100 * (1 - b[0] / a[0]):.1f} %", f"{b[1] / a[1]:.3f}", f"{b[2] / a[2]:.3f}"
        )
    console.print(table)


def bench_constraint(model: Any, tokenizer: Any, size: str, args: Any, console: Console) -> None:
    ours = MLXModel.from_loaded(model, tokenizer, prefix_cache_bytes=0)
    prompt = [{"role": "user", "content": PROSE}]
    table = Table(title=f"a constraint, {size} model, {args.tokens} tokens")
    for column in ("batch", "free ms/token", "constrained ms/token", "more", "masks ms/token"):
        table.add_column(column, justify="right")
    for batch in (1, 8):

        def step(**wanted: Any) -> tuple[float, float]:
            started = time.perf_counter()
            if batch == 1:  # noqa: B023
                replies = [ours.generate(prompt, max_new_tokens=args.tokens, **wanted)]
            else:
                replies = ours.generate_batch([prompt] * batch, max_new_tokens=args.tokens, **wanted)  # noqa: B023
            spent = time.perf_counter() - started
            assert all(reply.timings.steps == args.tokens for reply in replies)
            return spent / args.tokens * 1e3, replies[0].timings.masks / args.tokens * 1e3

        step(response_format=SCHEMA, token_budget=10_000)
        free, held, masks = [], [], []
        for _ in range(max(3, args.rounds)):
            free.append(step()[0])
            one = step(response_format=SCHEMA, token_budget=10_000)
            held.append(one[0])
            masks.append(one[1])
        more = 100 * (min(held) / min(free) - 1)
        table.add_row(str(batch), f"{min(free):.2f}", f"{min(held):.2f}", f"{more:+.1f} %", f"{min(masks):.3f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["loop", "constraint"], choices=["loop", "constraint"])
    parser.add_argument("--size", default="mid", choices=SIZES)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--start", type=int, default=2000)
    parser.add_argument("--end", type=int, default=4000)
    parser.add_argument("--new", type=int, nargs="+", default=[16, 126], help="new tokens a step")
    parser.add_argument("--tokens", type=int, default=100)
    args = parser.parse_args()
    console = Console(width=110)
    console.print(
        f"{platform.machine()}, {os.cpu_count()} cores, {mx.default_device()}, Python {platform.python_version()}, "
        f"mlx {version('mlx')}, mlx-lm {version('mlx-lm')}, smolagents {version('smolagents')}"
    )
    model, tokenizer = make(args.size)
    for what in args.what:
        globals()[f"bench_{what}"](model, tokenizer, args.size, args, console)


if __name__ == "__main__":
    main()
