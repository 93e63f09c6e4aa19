"""Takes the tool calls out of an answer while it arrives, whatever the family writes them like."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, AnyStr

from fairlead.messages import ChatMessageToolCall
from fairlead.streaming import ChatMessageToolCallStreamDelta
from fairlead.tools._lenient import LenientReader
from fairlead.tools._parameters import read_parameters
from fairlead.tools._stream import ToolCallStreamParser
from fairlead.tools._syntax import ToolSyntax

__all__ = ["ToolCallFilter", "overlap"]

_XML_BODY = re.compile(r"((?:\s*<parameter=[^>\n]+>.*?</parameter>)*)\s*</function>", re.S)
_FENCE = re.compile(r"\s*(?:```(?:json)?\s*)?(?=[\[{])")

Deltas = list[ChatMessageToolCallStreamDelta]


class ToolCallFilter:
    """Divides an answer into content and tool calls.

    Content is what stands before the first call. From there on everything belongs to the calls; if no call comes of
    it, it is content after all. For one text, in one thread.

    Args:
        syntax: How the model writes calls.
        tools: The tools in OpenAI's form: with "xml" they say which arguments are texts.
    """

    def __init__(self, syntax: ToolSyntax, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        self._syntax = syntax
        functions = [tool.get("function", tool) for tool in tools]
        self._tools = {function["name"]: function for function in functions}
        self._parser = ToolCallStreamParser(*(("name", "arguments") if syntax.header else syntax.keys))
        self._content: list[str] = []
        self._held = ""
        self._region: list[str] | None = None  # the text from the first call on
        self._header = re.compile(syntax.header) if syntax.header else None
        self._buffer = ""
        self._reader: LenientReader | None = None  # of the arguments of the call that is open,
        self._fed = 0  # and how much it was given before the current piece

    @property
    def calls(self) -> list[ChatMessageToolCall]:
        """The calls that are complete."""
        return self._parser.calls

    @property
    def content(self) -> str:
        """The answer without its calls."""
        return "".join(self._content)

    def feed(self, text: str) -> tuple[str, Deltas]:
        """What a further piece adds to the content and to the calls."""
        if self._region is not None:
            return "", self._read(text)
        text = self._held + text
        self._held = ""
        at, opening = self._find(text)
        if at >= 0:
            self._region = []
            shown = self._show(text[:at].rstrip() if opening else text[:at])
            return shown, self._read(text[at:])
        kept = self._unsure(text)
        self._held = text[len(text) - kept :]
        return self._show(text[: len(text) - kept]), []

    def finish(self) -> tuple[str, Deltas]:
        """What is left, now that nothing follows."""
        if self._region is None:
            shown = self._show(self._held)
            self._held = ""
            # A call that no syntax announces, somewhere in the text: the content keeps it.
            if not self._syntax.opening and self._tools:
                parser = ToolCallStreamParser(*self._syntax.keys)
                deltas = parser.feed(self.content) + parser.finish()
                if parser.calls and all(call.function.name in self._tools for call in parser.calls):
                    self._parser = parser
                    return shown, deltas
            return shown, []
        deltas = self._parser.finish() if self._parser.calls or not self._header else []
        if not self._parser.calls:
            return self._show("".join(self._region)), []
        return "", deltas

    def _show(self, text: str) -> str:
        for dropped in self._syntax.dropped:
            text = text.replace(dropped, "")
        if text:
            self._content.append(text)
        return text

    def _find(self, text: str) -> tuple[int, bool]:
        """Where calls begin, and whether a marker says so; -1 if nowhere."""
        found = [at for opening in self._syntax.opening if (at := text.find(opening)) >= 0]
        if found:
            return min(found), True
        if not self._content and not self._syntax.header and self._bare_json(text):
            return 0, False
        return -1, False

    def _bare_json(self, text: str) -> bool:
        # Families without markers, and Llama's, whose marker is optional.
        if self._syntax.opening and "<|python_tag|>" not in self._syntax.opening:
            return False
        return _FENCE.match(text) is not None

    def _unsure(self, text: str) -> int:
        """How many characters at the end may be the beginning of something that isn't content."""
        wholes = (*self._syntax.opening, *self._syntax.dropped)
        kept = max((overlap(text, whole) for whole in wholes), default=0)
        if self._syntax.opening:
            # White space in front of a call belongs to the call.
            kept = len(text) - len(text[: len(text) - kept].rstrip())
        if not self._content and not self._syntax.header and "```json".startswith(text.strip()[:7]):
            kept = len(text)
        return kept

    def _read(self, text: str) -> Deltas:
        assert self._region is not None
        self._region.append(text)
        if self._header is None:
            return self._parser.feed(text)
        self._buffer += text
        deltas: Deltas = []
        while self._buffer:
            if self._reader is not None:
                if not self._arguments(deltas):
                    break
                continue
            found = self._header.search(self._buffer)
            if found is None:
                break
            name = found["name"].strip()
            if self._syntax.arguments == "xml":
                body = _XML_BODY.match(self._buffer, found.end())
                if body is None:
                    break
                properties = (self._tools.get(name, {}).get("parameters") or {}).get("properties") or {}
                call = {"name": name, "arguments": read_parameters(body[1], properties)}
                deltas += self._parser.feed(json.dumps(call, ensure_ascii=False))
                self._buffer = self._buffer[body.end() :]
                continue
            # To the reader of JSON calls this is one.
            deltas += self._parser.feed(f'{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": ')
            self._reader, self._fed = LenientReader(), 0
            self._buffer = self._buffer[found.end() :]
        return deltas

    def _arguments(self, deltas: Deltas) -> bool:
        """Read on in the arguments of a call; False if they don't end in what has come."""
        reader = self._reader
        assert reader is not None
        text = self._buffer
        reader.feed(text)
        while reader.status == "open" and reader.value_end is not None:
            reader.feed("")
        if reader.status == "open":
            self._buffer = ""
            self._fed += len(text)
            deltas += self._parser.feed(text)
            return False
        used = max(0, reader.length - self._fed)
        deltas += self._parser.feed(text[:used])
        if reader.status == "complete":
            deltas += self._parser.feed("}")
        self._buffer = text[used:]
        self._reader = None
        return True


def overlap(text: AnyStr, whole: AnyStr) -> int:
    """Length of the longest end of ``text`` that is a proper beginning of ``whole``."""
    for length in range(min(len(text), len(whole) - 1), 0, -1):
        if whole.startswith(text[len(text) - length :]):
            return length
    return 0
