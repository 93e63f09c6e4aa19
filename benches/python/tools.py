"""Tool calls out of text: get_tool_call_from_text beside smolagents', in one run.

    python benches/python/tools.py [--repeat 7]

Each figure is the best of several rounds, the two taken in turns.
"""

from __future__ import annotations

import argparse
import json
import platform
import timeit
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import smolagents.models as theirs
from fairlead.tools import ToolCallStreamParser, get_tool_call_from_text
from rich.console import Console
from rich.table import Table

CALL = json.dumps({"name": "web_search", "arguments": {"query": "how a fairlead guides a rope", "limit": 5}})
PROSE = "The harbour master's book says, on page 12, that the rope chafes where it turns; I had better look it up.\n"
BRACED = "The template says {name} and the set is {1, 2}; neither is a call.\n"


def prose(size: int, unit: str = PROSE) -> str:
    return (unit * (size // len(unit) + 1))[:size]


TEXTS = {
    "10 kB of prose, then the call": prose(10_000) + CALL,
    "the call alone": CALL,
    "the call in a fence, prose around it": f"{prose(500)}```json\n{CALL}\n```\n{prose(500)}",
    "1 kB of prose, 10 kB of arguments": prose(1000)
    + json.dumps({"name": "write", "arguments": {"text": prose(10_000), "path": "a.txt"}}),
    "10 kB of prose with braces, then the call": prose(10_000, BRACED) + CALL,
    "two calls": f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>",
    "as Python prints it": "Calling: " + repr(json.loads(CALL)),
}
BAR = {"10 kB of prose, then the call": 5.0}


def seconds(function: Any, text: str, repeat: int) -> float:
    number = max(1, int(0.02 / max(1e-7, timeit.timeit(lambda: function(text), number=5) / 5)))
    return min(timeit.repeat(lambda: function(text), number=number, repeat=repeat)) / number


def ours(text: str) -> Any:
    return get_tool_call_from_text(text, "name", "arguments")


def smolagents(text: str) -> Any:
    return theirs.get_tool_call_from_text(text, "name", "arguments")


def streamed(text: str) -> Any:
    parser = ToolCallStreamParser()
    for at in range(0, len(text), 4):
        parser.feed(text[at : at + 4])
    parser.finish()
    return parser.calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7, help="rounds; default 7")
    repeat = parser.parse_args().repeat
    table = Table(title="tool calls out of text (microseconds)")
    for name in ("text", "ratio", "fairlead", "smolagents", "bar", "stream, per piece of 4"):
        table.add_column(name, justify="left" if name == "text" else "right")
    for name, text in TEXTS.items():
        call = ours(text)
        try:
            expected = smolagents(text)
        except ValueError:
            expected = None
        mine, other = float("inf"), float("inf")
        for _ in range(3):
            mine = min(mine, seconds(ours, text, repeat))
            if expected is not None:
                assert (call.function.name, call.function.arguments) == (
                    expected.function.name,
                    expected.function.arguments,
                )
                other = min(other, seconds(smolagents, text, repeat))
        piece = seconds(streamed, text, 3) / (len(text) / 4)
        assert streamed(text)[0].function.arguments == call.function.arguments
        table.add_row(
            name,
            "-" if expected is None else f"{other / mine:.1f}x",
            f"{mine * 1e6:.2f}",
            "fails" if expected is None else f"{other * 1e6:.2f}",
            f"{BAR[name]:.0f}x" if name in BAR else "",
            f"{piece * 1e6:.2f}",
        )
    console = Console()
    console.print(table)
    versions = ", ".join(f"{name} {installed(name)}" for name in ("fairlead", "smolagents"))
    console.print(f"{versions}, Python {platform.python_version()}, {platform.machine()}")


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "from the source tree"


if __name__ == "__main__":
    main()
