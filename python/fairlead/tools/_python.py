"""Calls in Python's form: ``search(query="rope", limit=3)``."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterator
from typing import Any

from fairlead.tools._lenient import LenientReader

__all__ = ["python_calls"]

# A name at a bracket; not a part of a longer word, and not the definition of a function.
_NAME = re.compile(r"(?<![\w.])(?<!\bdef )(?<!\bclass )([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\(")
# Prose says `foo()` of a function too: a call without arguments stands alone, but for a list, tags or a fence.
_AFTER = re.compile(r"[ \t]*(?:\Z|[\r\n<\],`;])")
_PIECE = 4096


def python_calls(text: str, budget: int) -> Iterator[tuple[str, Any]]:
    """Name and arguments of the calls in a text whose arguments are all named and literal.

    Args:
        text: A whole text.
        budget: Characters to read again behind brackets that began no call, at most.
    """
    at = 0
    while (found := _NAME.search(text, at)) is not None:
        at = found.end()
        name, opening = found[1], at - 1
        if keyword.iskeyword(name) or budget < 0:
            continue
        reader = LenientReader(call=True)
        for begin in range(opening, len(text), _PIECE):
            piece = text[begin : begin + _PIECE]
            while reader.feed(piece) == "open" and reader.value_end is not None:
                piece = ""
            if reader.status != "open":
                break
        if reader.status != "complete":
            budget -= reader.length if reader.status == "failed" else len(text) - opening
            continue
        try:
            arguments = json.loads("".join(reader.out))
        except (ValueError, RecursionError):
            continue
        end = opening + reader.length
        if not arguments and not _stands_alone(text, found.start(), end):
            continue
        at = end
        yield name, arguments


def _stands_alone(text: str, begin: int, end: int) -> bool:
    # A window: looking back over a long line at each of its calls would take for ever.
    before = text[max(0, begin - 64) : begin].rstrip(" \t")
    return (not before or before[-1] in "\n>[,`") and _AFTER.match(text, end) is not None
