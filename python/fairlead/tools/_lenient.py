"""Reads JSON as models write it, piece by piece, and writes it out as JSON.

Beyond JSON itself this takes what Python prints (single quotes, True, None, tuples, Python's escapes and numbers),
commas before a closing bracket, and control characters in strings.
"""

from __future__ import annotations

import json
import re
from typing import Literal

__all__ = ["LenientReader"]

_SPACE = re.compile(r"[ \t\r\n]*")
_WORD = re.compile(r"[A-Za-z0-9_+\-.]+")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_PLAIN = {quote: re.compile(rf"[^{quote}\\\x00-\x1f\"]+") for quote in "\"'"}
_WORDS = {
    "true": "true",
    "True": "true",
    "false": "false",
    "False": "false",
    "null": "null",
    "None": "null",
    "NaN": "NaN",
    "nan": "NaN",
    "Infinity": "Infinity",
    "inf": "Infinity",
    "-Infinity": "-Infinity",
    "-inf": "-Infinity",
}
# What stands behind a backslash, as JSON.
_ESCAPES = {
    **{c: "\\" + c for c in '"\\bfnrt'},
    "/": "/",
    "'": "'",
    "\n": "",
    "a": "\\u0007",
    "v": "\\u000b",
    "0": "\\u0000",
}
_HEX = {"u": 4, "U": 8, "x": 2}
_HEX_DIGITS = re.compile(r"[0-9a-fA-F]*")
# Longer than any number that Python reads.
_MAX_WORD = 4400
_CLOSING = {"{": "}", "[": "]", "(": ")", "call": ")"}
_CLOSED = {"{": "}", "[": "]", "(": "]", "call": "}"}

Status = Literal["open", "complete", "failed"]


class LenientReader:
    """Reads one object, or the arguments of a call in Python's form, fed in pieces of any size.

    Whatever the pieces, the same is read: a token that may go on in the next piece is left until then.

    Args:
        call: Read ``(name=value, ...)`` instead of an object; it is written out as an object.

    Attributes:
        status: "open" until the object ends ("complete") or can't be one ("failed").
        reason: Why it failed.
        length: Characters read so far: up to the end of the object, or to where it failed.
        out: The object as JSON, in pieces. A piece never cuts an escape.
        depth: How many brackets are open.
        key: The key of the outermost object whose value is being read, or None.
        in_value: Whether a value of the outermost object is being read.
        value_start: Index in ``out`` where the value of ``key`` begins.
        value_end: Index in ``out`` behind the value of ``key`` once that has ended, else None.
    """

    __slots__ = (
        "_expect",
        "_key_start",
        "_quote",
        "_rest",
        "_stack",
        "depth",
        "in_value",
        "key",
        "length",
        "out",
        "reason",
        "status",
        "value_end",
        "value_start",
    )

    def __init__(self, *, call: bool = False) -> None:
        self.status: Status = "open"
        self.reason = ""
        self.length = 0
        self.out: list[str] = []
        self.depth = 0
        self.key: str | None = None
        self.in_value = False
        self.value_start = 0
        self.value_end: int | None = None
        self._stack: list[str] = []
        # "open": the object itself; "value", "value or end", "key or end", "colon", "comma", "string".
        self._expect = "open call" if call else "open"
        self._quote = ""  # of the string that is being read,
        self._key_start = -1  # whose first piece this is if it is a key of the outermost object
        self._rest = ""  # what can't be read without the next piece

    def feed(self, text: str) -> Status:
        """Read on until the next event: the end of a value of the outermost object, of the object, or of the text.

        After an event call ``feed("")`` to read on. What was fed behind the end stays unread; see ``length``.
        """
        text = self._rest + text if self._rest else text
        self.value_end = None
        at, size = 0, len(text)
        while at < size and self.status == "open" and self.value_end is None:
            if self._expect == "string":
                step = self._string(text, at)
            else:
                space = _SPACE.match(text, at)
                at = space.end() if space else at
                if at == size:
                    break
                step = self._token(text, at)
            if step == at and self.status == "open" and self.value_end is None:
                break  # waits for more
            at = step
        self.length += at
        self._rest = text[at:]
        return self.status

    def _fail(self, reason: str, at: int) -> int:
        self.status, self.reason = "failed", reason
        return at

    def _token(self, text: str, at: int) -> int:
        char, expect = text[at], self._expect
        if expect in ("open", "open call"):
            self._expect = "value"
            return self._open("call" if expect == "open call" else "{", at)
        if expect == "colon":
            wanted = "=" if self._stack[-1] == "call" else ":"
            if char != wanted:
                return self._fail(f"expected {wanted!r} after a key, not {char!r}", at)
            self.out.append(": ")
            self._expect = "value"
            if self.depth == 1:
                self.in_value = True
                self.value_start = len(self.out)
            return at + 1
        if expect == "comma":
            if char == ",":
                # Written when something follows: a comma before the end is forgiven.
                self._expect = "key or end" if self._stack[-1] in ("{", "call") else "value or end"
                return at + 1
            return self._close(char, at)
        if expect.endswith("end") and char == _CLOSING[self._stack[-1]]:
            return self._close(char, at)
        if expect == "key or end":
            return self._key(text, at, char)
        return self._value(text, at, char)

    def _close(self, char: str, at: int) -> int:
        kind = self._stack[-1]
        if char != _CLOSING[kind]:
            return self._fail(f"expected ',' or {_CLOSING[kind]!r}, not {char!r}", at)
        self._stack.pop()
        self.out.append(_CLOSED[kind])
        self.depth -= 1
        if self.depth == 0:
            self.status = "complete"
        else:
            self._ended()
        return at + 1

    def _ended(self) -> None:
        self._expect = "comma"
        if self.depth == 1:
            self.in_value = False
            self.value_end = len(self.out)

    def _open(self, char: str, at: int) -> int:
        self._stack.append(char)
        self.depth += 1
        self.out.append("{" if char in ("{", "call") else "[")
        self._expect = "key or end" if char in ("{", "call") else "value or end"
        return at + 1

    def _separate(self) -> None:
        """The comma before a further member."""
        if self.out[-1] not in ("{", "[", ": "):
            self.out.append(", ")

    def _key(self, text: str, at: int, char: str) -> int:
        if self._stack[-1] == "call":
            word = _WORD.match(text, at)
            if word is None or not word[0].isidentifier() or len(word[0]) >= _MAX_WORD:
                return self._fail(f"expected the name of an argument, not {char!r}", at)
            if word.end() == len(text):
                return at
            self._separate()
            self.out.append(f'"{word[0]}"')
            if self.depth == 1:
                self.key = word[0]
            self._expect = "colon"
            return word.end()
        if char in "\"'":
            self._separate()
            if self.depth == 1:
                self._key_start = len(self.out)
            return self._begin_string(char, "colon", at)
        word = _WORD.match(text, at)
        if word is None or not (char.isdigit() or char in "-+."):
            return self._fail(f"expected a key in quotes, not {char!r}", at)
        # Python's dictionaries may have numbers as keys.
        end = word.end()
        if end == len(text) and len(word[0]) < _MAX_WORD:
            return at
        number = _number(word[0])
        if number is None:
            return self._fail(f"expected a key in quotes, not {word[0][:40]!r}", at)
        self._separate()
        self.out.append(f'"{number}"')
        if self.depth == 1:
            self.key = number
        self._expect = "colon"
        return end

    def _value(self, text: str, at: int, char: str) -> int:
        if char in "{[(":
            self._separate_value()
            return self._open(char, at)
        if char in "\"'":
            self._separate_value()
            return self._begin_string(char, "comma", at)
        word = _WORD.match(text, at)
        if word is None:
            return self._fail(f"expected a value, not {char!r}", at)
        # A word at the end of the piece may go on.
        if word.end() == len(text) and len(word[0]) < _MAX_WORD:
            return at
        written = _WORDS.get(word[0]) or _number(word[0])
        if written is None:
            return self._fail(f"expected a value, not {word[0][:40]!r}", at)
        self._separate_value()
        self.out.append(written)
        self._ended()
        return word.end()

    def _separate_value(self) -> None:
        if self._expect == "value or end":
            self._separate()

    def _begin_string(self, quote: str, then: str, at: int) -> int:
        self.out.append('"')
        self._quote = quote
        self._stack.append(then)
        self._expect = "string"
        return at + 1

    def _string(self, text: str, at: int) -> int:
        quote, plain, out = self._quote, _PLAIN[self._quote], self.out
        size = len(text)
        while at < size:
            run = plain.match(text, at)
            if run is not None:
                out.append(run[0])
                at = run.end()
                continue
            char = text[at]
            if char == quote:
                return self._end_string(at)
            if char == '"':
                out.append('\\"')
                at += 1
            elif char != "\\":
                out.append(f"\\u{ord(char):04x}")
                at += 1
            else:
                end = self._escape(text, at)
                if end == at or self.status == "failed":
                    return at
                at = end
        return at

    def _escape(self, text: str, at: int) -> int:
        if at + 1 == len(text):
            return at
        char = text[at + 1]
        if char in _HEX:
            end = at + 2 + _HEX[char]
            digits = _HEX_DIGITS.match(text, at + 2, end)
            found = digits[0] if digits else ""
            if at + 2 + len(found) < end:
                if at + 2 + len(found) == len(text):
                    return at
                return self._fail(f"\\{char} needs {_HEX[char]} hexadecimal digits", at)
            code = int(found, 16)
            if code > 0x10FFFF:
                return self._fail(f"\\U{found} is no character", at)
            self.out.append(f"\\u{code:04x}" if code < 0x10000 else json.dumps(chr(code))[1:-1])
            return end
        # Python keeps the backslash of an escape that it doesn't know; a model that writes \d or \. means that.
        known = _ESCAPES.get(char)
        self.out.append("\\\\" if known is None else known)
        return at + 1 if known is None else at + 2

    def _end_string(self, at: int) -> int:
        self.out.append('"')
        self._expect = self._stack.pop()
        if self._key_start >= 0:
            self.key = json.loads("".join(self.out[self._key_start :]))
            self._key_start = -1
        elif self._expect == "comma":
            self._ended()
        return at + 1


def _number(word: str) -> str | None:
    """A number as JSON, or None: Python's forms too, such as ``.5``, ``1_000`` and ``+3``."""
    if len(word) >= _MAX_WORD:
        return None
    if _NUMBER.fullmatch(word):
        return word
    if not (word[0].isdigit() or word[0] in "+-."):
        return None
    try:
        return str(int(word, 0))
    except ValueError:
        pass
    try:
        return json.dumps(float(word))
    except ValueError:
        return None
