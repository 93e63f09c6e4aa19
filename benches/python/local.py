"""Local models side by side: an agent's growing history, what a constraint costs, and jump-forward.

Run with ``python benches/python/local.py [loop] [constraint] [jump] [--models tiny,mid]``; needs torch, transformers,
smolagents, mistral-common (whose vocabulary of 131,072 tokens is used) and rich. The models have random weights; what
they say in the loop is written beforehand, the same for both sides. Runs take turns; each figure is the best of them.
Times are the thread's CPU time, with one thread of torch, so that whatever else runs on the machine counts little.
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
import torch
import transformers
from fairlead.models import TransformersModel
from rich.console import Console
from rich.table import Table

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
warnings.simplefilter("ignore")

SIZES = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    "mid": {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8},
}
TEMPLATE = (
    "{% for m in messages %}[INST]{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{{ m['content'][0]['text'] }}{% endif %}</s>"
    "{% endfor %}{% if add_generation_prompt %}[/INST]{% endif %}"
)
PROSE = (
    "The harbour master wrote the name of every vessel, its length, its flag and its cargo into the book by the door. "
    "At half past two the pilot asked which berth was free tonight, and the clerk, who minded the tide, named one. "
)
THOUGHT = (
    "Thought: I should look at the table of berths again before I answer.\n"
    "<code>\nresult = berths[{n}]\nprint(result)\n"
)


def make(folder: str, size: str) -> None:
    from transformers.integrations.mistral import convert_tekken_tokenizer

    data = os.path.join(os.path.dirname(mistral_common.__file__), "data")
    tokenizer = convert_tekken_tokenizer(sorted(glob.glob(data + "/tekken*.json"))[0])
    tokenizer.chat_template = TEMPLATE
    tokenizer.pad_token = "<pad>"
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=16384,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=tokenizer.pad_token_id,
        **SIZES[size],
    )
    torch.manual_seed(1)
    model = transformers.LlamaForCausalLM(config)
    model.generation_config.do_sample = False
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class Said:
    """Makes the model say what was written beforehand."""

    def __init__(self, tokenizer: Any) -> None:
        self.end = tokenizer.convert_tokens_to_ids("[/INST]")
        self.ids: list[int] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        spoken = input_ids.shape[1] - 1 - int((input_ids[0] == self.end).nonzero()[-1])
        forced = torch.full_like(scores, float("-inf"))
        forced[:, self.ids[min(spoken, len(self.ids) - 1)]] = 0
        return forced


class Passes:
    """Forward passes: those that read more than one token, guesses among them, and those that don't."""

    def __init__(self, model: Any) -> None:
        self.read = self.passes = 0
        self.reading = 0.0
        self.handles = [
            model.register_forward_pre_hook(self.before, with_kwargs=True),
            model.register_forward_hook(self.after),
        ]

    def before(self, module: Any, args: Any, kwargs: Any) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        self.length = ids.shape[1]
        self.passes += 1
        self.started = time.thread_time()

    def after(self, *_: Any) -> None:
        if self.length > 1:
            self.read += self.length
            self.reading += time.thread_time() - self.started

    def __enter__(self) -> Passes:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()


def history(tokenizer: Any, step: int, new: int, replies: list[str], start: int, end: int) -> list[dict[str, Any]]:
    """System and task of ``start`` tokens; each observation has what is missing to ``end`` after ten steps."""

    def prose(tokens: int) -> str:
        ids = tokenizer.encode(PROSE * (tokens // 20 + 1), add_special_tokens=False)[:tokens]
        return tokenizer.decode(ids)

    def said(role: str, text: str) -> dict[str, Any]:
        return {"role": role, "content": [{"type": "text", "text": text}]}

    messages = [said("system", prose(start - 200)), said("user", prose(190))]
    per_step = max(20, (end - start) // 10 - new - 10)
    for n, reply in enumerate(replies[:step]):
        messages += [said("assistant", reply.strip()), said("user", f"Observation {n}: {prose(per_step)}")]
    return messages


def loop(
    model: Any, tokenizer: Any, said: Said, new: int, args: Any, **options: Any
) -> tuple[int, float, float, list[str]]:
    replies: list[str] = []
    with Passes(model.model) as passes:
        started = time.thread_time()
        for step in range(10):
            text = THOUGHT.format(n=step) * (new // 20 + 1)
            said.ids = tokenizer.encode(text, add_special_tokens=False)[:new]
            messages = history(tokenizer, step, new, replies, args.start, args.end)
            reply = model.generate(messages, logits_processor=[said], max_new_tokens=new, **options)
            replies.append(reply.content)
        total = time.thread_time() - started
    return passes.read, passes.reading, total, replies


def bench_loop(folder: str, size: str, args: Any, console: Console) -> None:
    import smolagents

    theirs = smolagents.TransformersModel(folder, device_map="cpu")
    table = Table(title=f"ten steps to {args.end} tokens, {size} model")
    guesses = {"prompt_lookup_num_tokens": 10}
    for column in ("new tokens a step", "model", "tokens read", "reading s", "total s"):
        table.add_column(column, justify="right")
    for new in (16, 126):
        rows: dict[str, list[Any]] = {}
        texts = {}
        for _ in range(args.rounds):
            # A new wrapper each round: nothing is kept from the last.
            ours, looking = (TransformersModel.from_loaded(theirs.model, theirs.tokenizer) for _ in range(2))
            models = {
                "smolagents": (theirs, {}),
                "fairlead": (ours, {}),
                "smolagents, lookup": (theirs, guesses),
                "fairlead, lookup": (looking, guesses),
            }
            for name, (model, options) in models.items():
                said = Said(theirs.tokenizer)
                read, reading, total, texts[name] = loop(model, theirs.tokenizer, said, new, args, **options)
                best = rows.setdefault(name, [read, reading, total])
                rows[name] = [read, min(best[1], reading), min(best[2], total)]
        assert all(said == texts["smolagents"] for said in texts.values()), "the replies differ"
        for name, (read, reading, total) in rows.items():
            table.add_row(str(new), name, f"{read:,}", f"{reading:.2f}", f"{total:.2f}")
        for more in ("", ", lookup"):
            a, b = rows["smolagents" + more], rows["fairlead" + more]
            less = f"-{100 * (1 - b[0] / a[0]):.1f} %"
            table.add_row(str(new), "ratio" + more, less, f"{b[1] / a[1]:.3f}", f"{b[2] / a[2]:.3f}")
    console.print(table)


SCHEMA = {
    "type": "array",
    "minItems": 100,
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 8, "maxLength": 40},
            "length": {"type": "number", "minimum": 0, "maximum": 400},
            "flag": {"enum": ["NO", "DK", "SE", "FI", "EE"]},
            "cargo": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 4},
            "free": {"type": "boolean"},
        },
        "required": ["name", "length", "flag", "cargo", "free"],
        "additionalProperties": False,
    },
}


def bench_constraint(folder: str, size: str, args: Any, console: Console) -> None:
    model = TransformersModel(folder, device_map="cpu", prefix_cache_bytes=0)
    prompt = [{"role": "user", "content": PROSE}]
    table = Table(title=f"a constraint, {size} model, {args.tokens} tokens")
    for column in ("batch", "free ms/token", "constrained ms/token", "more", "masks ms/token"):
        table.add_column(column, justify="right")
    for batch in (1, 8):

        def step(**wanted: Any) -> tuple[float, float]:
            started = time.thread_time()
            replies = model.generate_batch([prompt] * batch, max_new_tokens=args.tokens, **wanted)  # noqa: B023
            timings = [reply.timings for reply in replies]
            assert all(one.steps == args.tokens for one in timings)
            return (time.thread_time() - started) / args.tokens * 1e3, timings[0].masks / args.tokens * 1e3

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


LONG_KEYS = {
    "type": "object",
    "properties": {
        "name_of_the_harbour_master": {"type": "string", "maxLength": 20},
        "number_of_berths_that_are_free_tonight": {"type": "integer", "minimum": 0, "maximum": 40},
        "is_the_pilot_on_duty_after_midnight": {"type": "boolean"},
        "flag_of_the_largest_vessel_in_the_harbour": {"enum": ["NO", "DK", "SE"]},
        "length_of_the_largest_vessel_in_metres": {"type": "number", "minimum": 0, "maximum": 400},
    },
    "additionalProperties": False,
}
LONG_KEYS["required"] = list(LONG_KEYS["properties"])


def bench_jump(folder: str, size: str, args: Any, console: Console) -> None:
    model = TransformersModel(folder, device_map="cpu", prefix_cache_bytes=0)
    table = Table(title=f"jump-forward, {size} model, a schema with long keys")
    for column in ("", "tokens", "forward passes", "s"):
        table.add_column(column, justify="right")
    rows, texts = [], []
    prompt = [{"role": "user", "content": PROSE}]
    for name, how in (("one token a pass", "mask"), ("jump-forward", True)):
        model.generate(prompt, response_format=LONG_KEYS, jump_forward=how)
        with Passes(model.model) as passes:
            started = time.thread_time()
            reply = model.generate(prompt, response_format=LONG_KEYS, jump_forward=how)
            rows.append((passes.passes, time.thread_time() - started))
        texts.append(reply.content)
        table.add_row(name, str(reply.token_usage.output_tokens), str(passes.passes), f"{rows[-1][1]:.2f}")
    assert texts[0] == texts[1], "the outputs differ"
    (a, slow), (b, fast) = rows
    table.add_row("ratio", "", f"{a / b:.2f}x fewer", f"{fast / slow:.3f}")
    console.print(table)


BENCHES = {"loop": bench_loop, "constraint": bench_constraint, "jump": bench_jump}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", choices=[*BENCHES, []], help="default: all")
    parser.add_argument("--models", default="tiny,mid")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--start", type=int, default=2000)
    parser.add_argument("--end", type=int, default=4000)
    parser.add_argument("--tokens", type=int, default=100)
    args = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=110)
    console.print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, smolagents {version('smolagents')}"
    )
    for size in args.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            make(folder, size)
            for what in args.what or BENCHES:
                BENCHES[what](folder, size, args, console)


if __name__ == "__main__":
    main()
