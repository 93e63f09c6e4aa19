"""The commands and their options."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from fairlead.errors import (
    ConfigurationError,
    FairleadError,
    GrammarError,
    MessageError,
    MissingDependencyError,
    SchemaError,
    StopSequenceError,
)

__all__ = ["app", "run"]

app = typer.Typer(
    name="fairlead",
    help="Answers from language models, held to a schema.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# What the caller asked for is at fault, not the machine or the model: exit status 2.
_CALLERS_MISTAKES = (ConfigurationError, GrammarError, MessageError, SchemaError, StopSequenceError)


def run(arguments: Sequence[str]) -> int:
    """Run the command line with these arguments and return the exit status."""
    try:
        app(list(arguments), prog_name="fairlead")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except MissingDependencyError as error:
        tell(str(error))
        return 1
    except FairleadError as error:
        tell(describe(error))
        return 2 if isinstance(error, _CALLERS_MISTAKES) else 1
    except OSError as error:
        tell(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
        return 1
    return 0


def tell(message: str) -> None:
    """One red line on the error output."""
    line = " ".join(message.split())
    line = line if len(line) <= 600 else f"{line[:600]} ..."
    Console(stderr=True, soft_wrap=True).print(Text(f"fairlead: {line}", style="bold red"))


def describe(error: FairleadError) -> str:
    """The message of an error and where the mistake stands, if it says so."""
    message = str(error)
    pointer = getattr(error, "pointer", None)
    offset = getattr(error, "offset", None)
    line = getattr(error, "line", None)
    if pointer is not None and f"{pointer!r}" not in message and (not pointer or pointer not in message):
        message += f" (at {pointer or 'the root of the schema'})"
    elif line is not None and "line" not in message:
        message += f" (line {line}, column {getattr(error, 'column', None)})"
    elif offset is not None and "offset" not in message:
        message += f" (at offset {offset})"
    return message


def read_json(path: Path) -> Any:
    """The JSON value of a file.

    Raises:
        SchemaError: It isn't JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"{path} isn't JSON: {error}") from error


def _print_version(wanted: bool) -> None:
    if wanted:
        import fairlead

        print(fairlead.__version__)
        raise typer.Exit


Model = Annotated[str | None, typer.Option("--model", "-m", help="A model folder, or a name on the Hugging Face Hub.")]
SchemaFile = Annotated[Path | None, typer.Option("--schema", "-s", help="A JSON Schema file.")]
Limit = Annotated[int | None, typer.Option("--max-new-tokens", min=1, help="At most so many tokens.")]
Stops = Annotated[list[str] | None, typer.Option("--stop", help="A stop sequence; may be given several times.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, auto; default: a GPU if there is one.")]
Temperature = Annotated[float | None, typer.Option("--temperature", min=0.0, help="0: always the likeliest token.")]


@app.command()
def demo(
    model: Model = None,
    schema: SchemaFile = None,
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", help="What to ask for.")] = None,
    max_new_tokens: Limit = None,
    device: Device = None,
) -> None:
    """Stream an answer that is held to a JSON Schema; without --model from a tiny model with random weights."""
    from fairlead.cli._demo import run_demo

    status = run_demo(
        model=model,
        schema=None if schema is None else read_json(schema),
        prompt=prompt,
        max_new_tokens=max_new_tokens,
        device=device,
    )
    raise typer.Exit(status)


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What to ask for; - reads it from the input.")],
    model: Annotated[str, typer.Option("--model", "-m", help="A model folder, or a name on the Hugging Face Hub.")],
    schema: SchemaFile = None,
    regex: Annotated[
        str | None, typer.Option("--regex", "-r", help="A regular expression for the whole answer.")
    ] = None,
    grammar: Annotated[
        Path | None, typer.Option("--grammar", "-g", help="A grammar file (.lark, .ebnf, .gbnf).")
    ] = None,
    stop: Stops = None,
    stream: Annotated[bool, typer.Option("--stream", help="Show the text while it is generated.")] = False,
    system: Annotated[str | None, typer.Option("--system", help="A system message.")] = None,
    max_new_tokens: Limit = None,
    temperature: Temperature = None,
    device: Device = None,
) -> None:
    """Answer a prompt on the output; with --schema, --regex or --grammar in no other form."""
    from fairlead.cli._generate import run_generate

    if sum(given is not None for given in (schema, regex, grammar)) > 1:
        raise typer.BadParameter("give one of --schema, --regex and --grammar")
    status = run_generate(
        model=model,
        prompt=sys.stdin.read() if prompt == "-" else prompt,
        system=system,
        schema=None if schema is None else read_json(schema),
        regex=regex,
        grammar=grammar,
        stop=stop or [],
        stream=stream,
        options={"max_new_tokens": max_new_tokens, "temperature": temperature},
        device=device,
    )
    raise typer.Exit(status)


@app.command()
def check(
    schema: Annotated[Path, typer.Argument(help="A JSON Schema file.")],
) -> None:
    """Say whether a JSON Schema is supported; if not, where it stands and why."""
    from fairlead.cli._check import run_check

    raise typer.Exit(run_check(read_json(schema), str(schema)))


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass
