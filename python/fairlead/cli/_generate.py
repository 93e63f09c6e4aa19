"""``fairlead generate``: a prompt in, an answer out."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from fairlead.errors import ConfigurationError, ModelError

if TYPE_CHECKING:
    from fairlead.models.transformers import TransformersModel

__all__ = ["load_model", "quiet", "run_generate"]


@contextmanager
def quiet() -> Iterator[None]:
    """Without the frameworks' own progress bars and warnings: the command shows its own progress."""
    from transformers import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def load_model(name: str, device: str | None, console: Console) -> TransformersModel:
    """Load a model, with a spinner while it takes."""
    with console.status("importing Transformers") as status:
        from fairlead._optional import require

        require("torch", extra="transformers", feature="running a model")
        require("transformers", extra="transformers", feature="running a model")
        from fairlead.models import TransformersModel

        with quiet():
            status.update(f"loading {escape(name)}")
            return TransformersModel(name, device_map=device)


def run_generate(
    *,
    model: str,
    prompt: str,
    system: str | None,
    schema: Any,
    regex: str | None,
    grammar: Path | None,
    stop: list[str],
    stream: bool,
    options: dict[str, Any],
    device: str | None,
) -> int:
    """Load, generate, print; 1 if the output was cut before it was complete."""
    constraint: dict[str, Any] = {}
    if schema is not None:
        constraint = {"response_format": schema}
    elif regex is not None:
        constraint = {"grammar": regex}
    elif grammar is not None:
        constraint = {"grammar": _read_grammar(grammar)}
    messages = [{"role": "user", "content": prompt}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    loaded = load_model(model, device, Console(stderr=True))
    given = {name: value for name, value in options.items() if value is not None}
    with quiet():
        reply = loaded.generate_stream(messages, stop_sequences=stop or None, **constraint, **given)
        for delta in reply:
            if stream and delta.content:
                sys.stdout.write(delta.content)
                sys.stdout.flush()
    message = reply.message
    sys.stdout.write("\n" if stream else f"{message}\n")
    if constraint and not message._info.complete:
        raise ModelError(f"the output is not complete (finish reason: {message.finish_reason}); see --max-new-tokens")
    return 0


def _read_grammar(path: Path) -> Any:
    from fairlead.grammar import Grammar

    kind = {".lark": "lark", ".ebnf": "ebnf", ".gbnf": "ebnf"}.get(path.suffix)
    if kind is None:
        raise ConfigurationError(f"{path}: a grammar file ends in .lark, .ebnf or .gbnf")
    text = path.read_text(encoding="utf-8")
    make = getattr(Grammar, kind, None)
    if make is None:
        raise ConfigurationError(f"{path}: grammars of this kind aren't there yet; use --schema or --regex")
    return make(text)
