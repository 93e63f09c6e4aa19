"""Tool calls out of a text that is still arriving."""

from __future__ import annotations

import json
import re
from typing import Any

from fairlead.errors import MessageError
from fairlead.messages import ChatMessageToolCall, ChatMessageToolCallFunction
from fairlead.streaming import ChatMessageToolCallStreamDelta
from fairlead.tools._calls import make_call, parse_json_if_needed, wrapped_calls
from fairlead.tools._lenient import LenientReader
from fairlead.tools._python import python_calls

__all__ = ["ToolCallStreamParser"]

# A piece for the reader: it looks at what it was fed once per value.
_PIECE = 4096
# Characters that are read again behind a brace that began no object; past it the search goes on where it failed.
_MAX_REREAD = 1 << 19

# A brace whose next character can begin no key, as in {placeholder}.
_NO_OBJECT = re.compile(r"\{[ \t\r\n]*[^ \t\r\n\"'}0-9+\-.]")
_HIGH_SURROGATE = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}")
_CUT = "the text ends inside it"


class _Candidate:
    """An object that may be a call."""

    def __init__(self, name_key: str, arguments_key: str) -> None:
        self.reader = LenientReader()
        self.name: str | None = None
        self.call: ChatMessageToolCall | None = None  # once a delta of it was emitted
        self._name_key = name_key
        self._arguments_key = arguments_key
        self._start = -1  # of the arguments in the reader's output,
        self._end = -1  # their end once it is known,
        self._taken = 0  # and how much of them was handed on

    def feed(self, text: str) -> str:
        """Read on; returns the text of arguments that can be handed on, "" before the name is known."""
        reader, shown = self.reader, ""
        while True:
            reader.feed(text)
            text = ""
            if reader.in_value or reader.value_end is not None:
                if reader.key == self._name_key:
                    self._read_name()
                elif reader.key == self._arguments_key:
                    self._read_arguments()
            shown += self._show()
            if reader.value_end is None or reader.status != "open":
                return shown

    def _read_name(self) -> None:
        reader = self.reader
        if reader.value_end is not None:
            value = "".join(reader.out[reader.value_start : reader.value_end])
            # What is handed on can't be taken back: a second name then makes the object malformed.
            if self._taken:
                self._twice(self._name_key)
            else:
                self.name = json.loads(value) if value.startswith('"') else None

    def _read_arguments(self) -> None:
        reader = self.reader
        if reader.value_start != self._start:
            if self._taken:
                self._twice(self._arguments_key)
                return
            self._start, self._end = reader.value_start, -1
        if reader.value_end is not None:
            self._end = reader.value_end

    def _twice(self, key: str) -> None:
        self.reader.status, self.reader.reason = "failed", f"it has the key {key!r} twice"

    def _show(self) -> str:
        # What came before a mistake is shown as well: it would have been if the text had come in smaller pieces.
        out = self.reader.out
        if self.name is None or self._start < 0 or len(out) == self._start:
            return ""
        begin, end = self._taken or self._start, self._end if self._end >= 0 else len(out)
        if out[self._start] != '"':
            self._taken = end
            return "".join(out[begin:end])
        # Arguments in a string: its text is what counts. A pair of escapes is one character.
        if self._end < 0 and _HIGH_SURROGATE.fullmatch(out[end - 1]):
            end -= 1
        if end <= begin:
            return ""
        self._taken = end
        inner = out[max(begin, self._start + 1) : end - (end == self._end)]
        text: str = json.loads('"' + "".join(inner) + '"')
        return text


class ToolCallStreamParser:
    """Finds the tool calls in a text while it arrives.

    The arguments of a JSON call are handed on as they come, as soon as its name is known; calls inside ``function``
    or ``tool_calls`` when their object ends, calls in Python's form by :meth:`finish` (they count only if there is no
    other). However the text is cut, ``calls`` is what :func:`get_tool_calls_from_text` finds in the whole. One
    parser reads one text, in one thread.

    Args:
        tool_name_key: The key of the tool's name. Default "name".
        tool_arguments_key: The key of the arguments. Default "arguments".

    Attributes:
        calls: The calls that are complete, in order, with parsed arguments and the ids of their deltas.
        error: After :meth:`finish`: what is wrong if no call was found or if one was begun and breaks off, else None.
    """

    def __init__(self, tool_name_key: str = "name", tool_arguments_key: str = "arguments") -> None:
        self._name_key = tool_name_key
        self._arguments_key = tool_arguments_key
        self.calls: list[ChatMessageToolCall] = []
        self.error: MessageError | None = None
        self._begun = 0
        self._candidate: _Candidate | None = None
        self._held: list[str] = []  # the text of the candidate, from pieces before the current one
        self._text: list[str] = []  # all of it, as long as no call was found
        self._reread = 0
        self._broken: str | None = None
        self._failed: str | None = None
        self._keys: list[str] | None = None

    def feed(self, text: str) -> list[ChatMessageToolCallStreamDelta]:
        """Read a further piece of the text.

        Returns:
            Deltas, often none. The first of a call has its id and name; the joined ``arguments`` of all are its
            arguments as JSON (or the text itself if they are a string).
        """
        if not self._begun:
            self._text.append(text)
        deltas: list[ChatMessageToolCallStreamDelta] = []
        self._advance(text, deltas, last=False)
        return deltas

    def finish(self) -> list[ChatMessageToolCallStreamDelta]:
        """End the text.

        Returns:
            The deltas that are left. ``error`` says what is wrong with the text; nothing is raised.
        """
        deltas: list[ChatMessageToolCallStreamDelta] = []
        self._advance("", deltas, last=True)
        text = "".join(self._text)
        self._text = []
        if not self._begun:
            for name, arguments in python_calls(text, _MAX_REREAD - self._reread):
                self._whole(name, arguments, deltas)
        if self._broken is not None:
            self.error = MessageError(self._broken)
        elif not self.calls:
            self.error = MessageError(self._nothing_found())
        return deltas

    def _nothing_found(self) -> str:
        if self._keys is not None:
            return f"Tool call needs to have a key '{self._name_key}'. Got keys: {self._keys} instead"
        return self._failed or "The model output does not contain any JSON blob."

    def _advance(self, text: str, deltas: list[ChatMessageToolCallStreamDelta], *, last: bool) -> None:
        origin, at = -1, 0  # where the candidate begins; -1: in an earlier piece
        while True:
            if self._candidate is None:
                origin = at = text.find("{", at)
                if at < 0:
                    return
                # Prose may be full of these: the first is read for the error, the others are passed over.
                if self._failed is not None and (found := _NO_OBJECT.match(text, at)):
                    at = self._resume(at, found.end() - at - 1)
                    continue
                self._candidate = _Candidate(self._name_key, self._arguments_key)
            candidate = self._candidate
            reader = candidate.reader
            while at < len(text) and reader.status == "open":
                shown = candidate.feed(text[at : at + _PIECE])
                at += _PIECE
                if shown:
                    self._emit(candidate, shown, deltas)
            if reader.status == "open" and not last:
                self._held.append(text if origin < 0 else text[origin:])
                return
            if origin < 0:
                origin, text = 0, "".join(self._held) + text
            self._held = []
            self._candidate = None
            if reader.status == "complete" and self._completed(candidate, deltas):
                at = origin + reader.length
                continue
            if reader.status == "open":
                reader.reason, reader.length = _CUT, len(text) - origin
            self._failure(candidate, text[origin : origin + min(reader.length, 400)])
            at = self._resume(origin, reader.length)

    def _resume(self, origin: int, length: int) -> int:
        """Where to search on when the brace at ``origin`` began nothing, as ``length`` characters showed."""
        self._reread += length
        return origin + (1 if self._reread < _MAX_REREAD else max(1, length))

    def _completed(self, candidate: _Candidate, deltas: list[ChatMessageToolCallStreamDelta]) -> bool:
        """Take up an object that is whole; False if Python can't read it."""
        try:
            value = json.loads("".join(candidate.reader.out))
        except RecursionError:
            candidate.reader.reason = "it is nested too deeply"
            return False
        except ValueError as error:
            candidate.reader.reason = str(error)
            return False
        name = value.get(self._name_key)
        if isinstance(name, str):
            arguments = value.get(self._arguments_key)
            if candidate.call is None:
                self._whole(name, arguments, deltas)
            else:
                candidate.call.function.arguments = parse_json_if_needed(arguments)
                self.calls.append(candidate.call)
            return True
        wrapped = [] if self._name_key in value else list(wrapped_calls(value, self._name_key, self._arguments_key))
        for name, arguments in wrapped:
            self._whole(name, arguments, deltas)
        if not wrapped and self._keys is None:
            self._keys = list(value)
        return True

    def _failure(self, candidate: _Candidate, text: str) -> None:
        reader = candidate.reader
        if candidate.call is not None:
            self._broken = f"The call of {candidate.name!r} is invalid: {reader.reason}\nJSON blob was: {text}"
        elif self._failed is None:
            name = f" The tool's name is {candidate.name!r}." if candidate.name else ""
            self._failed = f"The JSON blob you used is invalid: {reader.reason}.{name}\nJSON blob was: {text}"

    def _whole(self, name: str, arguments: Any, deltas: list[ChatMessageToolCallStreamDelta]) -> None:
        call = make_call(name, arguments)
        self.calls.append(call)
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        deltas.append(self._first(call, text))

    def _first(self, call: ChatMessageToolCall, text: str) -> ChatMessageToolCallStreamDelta:
        self._begun += 1
        self._text = []
        function = ChatMessageToolCallFunction(text, call.function.name)
        return ChatMessageToolCallStreamDelta(self._begun - 1, call.id, "function", function)

    def _emit(self, candidate: _Candidate, text: str, deltas: list[ChatMessageToolCallStreamDelta]) -> None:
        if candidate.call is None:
            candidate.call = make_call(candidate.name, None)
            deltas.append(self._first(candidate.call, text))
        else:
            function = ChatMessageToolCallFunction(text, "")
            # No call begins while another is open: the last index is this one's.
            deltas.append(ChatMessageToolCallStreamDelta(self._begun - 1, None, None, function))
