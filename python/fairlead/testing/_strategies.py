"""Strategies for hypothesis: messages, histories, texts of a constraint, and ways to cut a text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from fairlead._core import GrammarMatcher, allocate_token_bitmask
from fairlead._optional import require
from fairlead.grammar import CompiledGrammar, Grammar, GrammarCompiler
from fairlead.messages import ChatMessage, MessageRole
from fairlead.tokenizer import TokenizerInfo
from fairlead.tools._calls import call_id

st: Any = require("hypothesis.strategies", extra="test", feature="fairlead.testing's strategies")
reject: Any = require("hypothesis", extra="test").reject

__all__ = ["chunkings", "histories", "messages", "texts"]

_NAMES = ("final_answer", "search", "visit_page", "python_interpreter")
_STOP = 256
# First those that close something: the way to the end of a sentence is the shorter for it.
_CLOSING = b"\"}])'>;.0159abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_STRUCTURE = frozenset(b'{}[]()":,\\')
_OPENING = b"[{(,\\"
_ORDER = bytes(dict.fromkeys([*_CLOSING, *(set(range(0x21, 0x7F)) - {*_OPENING}), *_OPENING, 0x20, *range(256)]))
_RANK = {byte: rank for rank, byte in enumerate(_ORDER)}
# How broadly and how far the end of a sentence is looked for.
_SEARCHES = ((6, 400), (32, 60))


def chunkings(text: Any, *, max_size: int | None = None) -> Any:
    """Ways to cut a text into pieces, as streams do; some pieces may be empty.

    Args:
        text: A text or bytes.
        max_size: The most pieces; default: any number.

    Returns:
        A strategy of lists whose items, joined, are the text. It shrinks to the whole in one piece.
    """
    cuts = st.lists(st.integers(0, len(text)), max_size=None if max_size is None else max(0, max_size - 1))
    return cuts.map(lambda found: [text[a:b] for a, b in pairwise([0, *sorted(found), len(text)])])


def messages(
    *,
    roles: Sequence[str] = ("user", "assistant", "system", "tool-call", "tool-response"),
    text: Any = None,
    images: bool = False,
    tool_calls: bool = True,
    parts: bool = True,
    objects: bool = True,
) -> Any:
    """Single messages of any role.

    Args:
        roles: The roles to choose from.
        text: A strategy of the texts; default: any text up to 40 characters.
        images: Whether contents may have small PIL images. Default False; needs Pillow.
        tool_calls: Whether the assistant may call tools, with content or without. Default True.
        parts: Whether contents may be lists of parts; else they are texts. Default True.
        objects: Whether messages may be ChatMessage objects; else they are dictionaries. Default True.

    Returns:
        A strategy of messages that ``get_clean_message_list`` takes.
    """
    text = st.text(max_size=40) if text is None else text
    content = text
    if parts or images:
        part = st.builds(lambda written: {"type": "text", "text": written}, text)
        if images:
            part = part | _images().map(lambda image: {"type": "image", "image": image})
        content = text | st.lists(part, min_size=1, max_size=3)
    return _message(st.sampled_from([str(role) for role in roles]), content, tool_calls, objects)


def _draw_message(draw: Any, role: Any, content: Any, tool_calls: bool, objects: bool) -> Any:
    name = draw(role)
    data: dict[str, Any] = {"role": name, "content": draw(content)}
    if tool_calls and name == "assistant" and draw(st.booleans()):
        data["tool_calls"] = draw(st.lists(_calls(), min_size=1, max_size=2))
        if draw(st.booleans()):
            data["content"] = None
    if not (objects and draw(st.booleans())):
        return data
    return ChatMessage(
        role=MessageRole(name) if name in MessageRole.roles() else name,
        content=data["content"],
        tool_calls=data.get("tool_calls"),
    )


_message: Any = st.composite(_draw_message)


def _calls() -> Any:
    values = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8)
    arguments = st.dictionaries(st.sampled_from(["query", "url", "answer", "limit"]), values, max_size=3)

    def call(name: str, given: dict[str, Any], as_text: bool) -> dict[str, Any]:
        function = {"name": name, "arguments": json.dumps(given) if as_text else given}
        return {"id": call_id(), "type": "function", "function": function}

    return st.builds(call, st.sampled_from(_NAMES), arguments, st.booleans())


def _images() -> Any:
    image: Any = require("PIL.Image", extra="test", feature="images in messages")
    size = st.tuples(st.integers(1, 4), st.integers(1, 4))
    color = st.tuples(*[st.integers(0, 255)] * 3)
    return st.builds(lambda s, c: image.new("RGB", s, c), size, color)


def histories(*, min_turns: int = 1, max_turns: int = 4, system: bool | None = None, **options: Any) -> Any:
    """Histories as agents have them: perhaps a system prompt, then turns of user, assistant and tools.

    Args:
        min_turns: The least number of turns. Default 1.
        max_turns: The most. Default 4.
        system: Whether a system prompt stands first; default: in some.
        **options: As of :func:`messages`, but for ``roles``.

    Returns:
        A strategy of lists of messages. Two messages of one role may follow each other, as smolagents' do.
    """
    if "roles" in options:
        raise TypeError("histories() chooses the roles itself")

    def of(*roles: str) -> Any:
        return messages(roles=roles, **options)

    def flat(first: list[Any], turns: list[list[Any]]) -> list[Any]:
        return first + [message for turn in turns for message in turn]

    turn = st.builds(
        lambda asked, answered, called: [*asked, answered, *called],
        st.lists(of("user"), min_size=1, max_size=2),
        of("assistant"),
        st.just([]) | st.tuples(of("tool-call"), of("tool-response")),
    )
    prompt = messages(roles=("system",), **{**options, "images": False}).map(lambda message: [message])
    first = st.just([]) if system is False else prompt if system else st.just([]) | prompt
    return st.builds(flat, first, st.lists(turn, min_size=min_turns, max_size=max_turns))


def texts(constraint: Any, *, max_length: int = 60) -> Any:
    """Texts that a constraint allows, drawn through the engine: each byte is one that its mask allows.

    Args:
        constraint: A Grammar; a regex as a string; or a JSON Schema: a dictionary, a bool or a pydantic class.
        max_length: About how many bytes are chosen freely before the text is brought to its end. Default 60.

    Returns:
        A strategy of texts. It shrinks towards short ones. Where no end is found within some hundred bytes, the
        example is rejected.

    Raises:
        GrammarError: The regex or grammar is malformed (SchemaError for a schema), when the strategy is made.
    """
    compiled = _compiler().compile_grammar(_grammar(constraint))
    # Compiled grammars have no repr of their own to show; a function keeps them out of hypothesis' reports.
    return _sentence(lambda: compiled, max_length)


def _grammar(constraint: Any) -> Grammar:
    if isinstance(constraint, Grammar):
        return constraint
    return Grammar.regex(constraint) if isinstance(constraint, str) else Grammar.json_schema(constraint)


@lru_cache(maxsize=1)
def _compiler() -> GrammarCompiler:
    return GrammarCompiler(TokenizerInfo([*(bytes([byte]) for byte in range(256)), None], stop_token_ids=[_STOP]))


class _Choices:
    """What may follow in the states of one matcher; equal masks are looked at once."""

    def __init__(self, compiled: CompiledGrammar) -> None:
        self._bitmask = allocate_token_bitmask(1, compiled.vocab_size)
        self._allowed: dict[int, list[int]] = {}
        self._kinds: dict[int, list[int]] = {}

    def allowed(self, matcher: GrammarMatcher) -> list[int]:
        """The bytes that may follow, those that close something first."""
        key = matcher.mask_id()
        if key not in self._allowed:
            matcher.fill_next_token_bitmask(self._bitmask)
            words = memoryview(self._bitmask).cast("B").cast("I")
            found = [32 * i + bit for i in range(8) if (word := words[i]) for bit in range(32) if word >> bit & 1]
            self._allowed[key] = sorted(found, key=_RANK.__getitem__)
        return self._allowed[key]

    def kinds(self, matcher: GrammarMatcher) -> list[int]:
        """One byte of each kind: bytes behind which the same may follow are of one kind."""
        key = matcher.mask_id()
        if key not in self._kinds:
            allowed = self.allowed(matcher)
            # White space leads nowhere, and other scripts lead where ASCII does, where there is a choice.
            allowed = [b for b in allowed if 0x20 < b < 0x7F] or allowed
            kinds: dict[int, int] = {}
            for byte in allowed:
                fork = matcher.fork()
                fork.accept_string(bytes([byte]))
                if fork.is_completed():
                    kinds = {-1: byte}
                    break
                kind = fork.mask_id()
                if not (kind in kinds and chr(kinds[kind]).isalnum()) and (kind not in kinds or chr(byte).isalnum()):
                    kinds[kind] = byte
            # What changes nothing that can be seen comes last: it may be the next of many characters.
            self._kinds[key] = [byte for _, byte in sorted(kinds.items(), key=lambda kind: kind[0] == key)]
        return self._kinds[key]


def _draw_sentence(draw: Any, ready: Callable[[], CompiledGrammar], max_length: int) -> str:
    compiled = ready()
    matcher, choices = GrammarMatcher(compiled), _Choices(compiled)
    text = bytearray()
    free = draw(st.integers(0, max_length))
    while free > 0:
        completed = matcher.is_completed()
        if completed and draw(st.integers(0, 3)) == 0:
            return text.decode()
        allowed = choices.allowed(matcher)
        if not allowed:
            break
        byte = allowed[0]
        if len(allowed) > 1:
            # One byte in three is one of structure: texts would be one long string otherwise.
            narrow = draw(st.integers(0, 5))
            structure = [b for b in allowed if b in _STRUCTURE] if narrow < 2 else []
            plain = [b for b in allowed if b < 0x80] if narrow < 5 else []
            byte = draw(st.sampled_from(structure or plain or allowed))
        # What is forced is free of charge.
        free -= len(allowed) > 1 or completed
        matcher.accept_string(bytes([byte]))
        text.append(byte)
    for width, steps in _SEARCHES:
        ending = _ending(matcher, choices, width, steps)
        if ending is not None:
            return (bytes(text) + ending).decode()
    reject()
    raise AssertionError("unreachable")


_sentence: Any = st.composite(_draw_sentence)


def _ending(matcher: GrammarMatcher, choices: _Choices, width: int, steps: int) -> bytes | None:
    """A short way to the end of the sentence: a search in breadth, of a few states that allow different bytes."""
    if matcher.is_completed():
        return b""
    level = [(matcher, b"")]
    for _ in range(steps):
        following: dict[int, tuple[GrammarMatcher, bytes]] = {}
        for state, written in level:
            for byte in choices.kinds(state):
                fork = state.fork()
                fork.accept_string(bytes([byte]))
                if fork.is_completed():
                    return written + bytes([byte])
                following.setdefault(fork.mask_id(), (fork, written + bytes([byte])))
        level = list(following.values())[:width]
    return None
