"""``fairlead demo``: the main job from end to end, with nothing but what the package brings."""

from __future__ import annotations

import json
import time
from importlib.util import find_spec
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fairlead.cli._generate import load_model, quiet
from fairlead.errors import ModelError
from fairlead.messages import ChatMessage

__all__ = ["SCHEMA", "run_demo"]

SYSTEM = "You keep the log of a small harbour. Answer with one JSON object."
PROMPT = "The Anna Karoline came in at dawn with timber and wants a berth. Write the entry."
STOPS = ["Observation:", "<end>"]

# Strings, arrays and numbers are bounded: a model that babbles comes to an end, too.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "vessel": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "pattern": "^[A-Z][a-z]{2,9}( [A-Z][a-z]{2,9})?$"},
                "flag": {"enum": ["NO", "DK", "SE", "FI", "DE"]},
                "length_m": {"type": "integer", "minimum": 12, "maximum": 180},
            },
            "required": ["name", "flag", "length_m"],
            "additionalProperties": False,
        },
        "berth": {"type": "integer", "minimum": 1, "maximum": 24},
        "status": {"enum": ["waiting", "moored", "unloading", "departed"]},
        "cargo": {
            "type": "array",
            "items": {"type": "string", "pattern": "^[a-z]{3,12}$"},
            "minItems": 1,
            "maxItems": 3,
        },
        "remarks": {"type": "string", "maxLength": 40},
    },
    "required": ["vessel", "berth", "status", "cargo"],
    "additionalProperties": False,
}


def run_demo(
    *, model: str | None, schema: Any, prompt: str | None, max_new_tokens: int | None, device: str | None
) -> int:
    """Stream, then show what came of it; 1 if the output isn't complete and valid."""
    console = Console(highlight=False)
    started = time.perf_counter()
    if model is None:
        with console.status("making a tiny model with random weights (the first time only)"), quiet_if_there():
            from fairlead.testing import tiny_model_dir

            folder = str(tiny_model_dir())
        loaded = load_model(folder, "cpu", console)
        # So small a model is slower on several threads than on one.
        _on_one_thread()
        what = "a tiny Llama with random weights: it babbles, the schema holds"
    else:
        loaded = load_model(model, device, console)
        what = model
    schema = SCHEMA if schema is None else schema
    messages = [
        {"role": "system", "content": SYSTEM if prompt is None else "Answer with JSON."},
        {"role": "user", "content": PROMPT if prompt is None else prompt},
    ]
    with console.status("compiling the schema"), quiet():
        stream = loaded.generate_stream(
            messages,
            stop_sequences=STOPS,
            response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
            max_new_tokens=max_new_tokens or 2000,
        )
    _line(console, "model", f"{what}, ready in {time.perf_counter() - started:.1f} s")
    for message in messages:
        _line(console, message["role"], message["content"])
    console.print(Text("answer   ", style="bold"), end="")
    with quiet():
        for delta in stream:
            if delta.content:
                console.print(Text(delta.content, style="cyan"), end="", soft_wrap=True)
    console.print()
    reply = stream.message
    _show(console, reply)
    return _judge(console, reply, schema)


def _on_one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def quiet_if_there() -> Any:
    """``quiet``, once Transformers is known to be installed."""
    from fairlead._optional import require

    require("transformers", extra="transformers", feature="the demo")
    return quiet()


def _line(console: Console, name: str, text: str) -> None:
    console.print(Text.assemble((f"{name:<9}", "bold"), text), soft_wrap=True)


def _show(console: Console, message: ChatMessage) -> None:
    usage, timings = message.token_usage, message.timings
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    if usage is not None:
        table.add_row("tokens", f"{usage.input_tokens} read, {usage.output_tokens} written")
    ended = str(message.finish_reason)
    table.add_row("ended by", f"{ended} ({message.stop_sequence!r})" if message.stop_sequence else ended)
    if timings is not None and timings.generation > 0:
        speed = timings.steps / timings.generation
        table.add_row("time", f"{timings.generation:.2f} s, {speed:.0f} tokens/s; compiled in {timings.compile:.3f} s")
        table.add_row("masks", f"{timings.masks * 1000:.1f} ms, {timings.mask_share:.1%} of the generation")
    console.print(table)


def _judge(console: Console, message: ChatMessage, schema: Any) -> int:
    value = message.parsed
    console.print(Text("parsed", style="bold"))
    console.print(Text(json.dumps(value, indent=2, ensure_ascii=False), style="green"), soft_wrap=True)
    checker = "fairlead's own matcher"
    if find_spec("jsonschema") is not None:
        import jsonschema

        try:
            jsonschema.validate(value, schema)
        except jsonschema.ValidationError as error:
            raise ModelError(f"the object breaks the schema: {error.message}") from error
        checker = "jsonschema"
    console.print(Text(f"valid: the object keeps to the schema (checked by {checker})", style="bold green"))
    return 0
