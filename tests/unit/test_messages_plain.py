"""The pass over messages against the plain Python one that the benchmark measures it with: the same results."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fairlead import MessageError
from fairlead.messages import ChatMessage, MessageRole, clean_messages, tool_role_conversions
from hypothesis import given, settings
from hypothesis import strategies as st

BENCH = Path(__file__).parents[2] / "benches" / "python" / "messages.py"
if not BENCH.exists():
    pytest.skip("the benchmarks aren't here", allow_module_level=True)
spec = importlib.util.spec_from_file_location("bench_messages", BENCH)
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)

texts = st.sampled_from(["", "a", "b\n", "é", "\U0001f600"])
CALLS = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]


class Word(str):
    """A string that isn't exactly a str."""


parts = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, texts),
    st.builds(lambda text: {"type": "text", "text": text, "cache": 1}, texts),
    st.builds(lambda text: {"type": Word("text"), "text": Word(text)}, texts),
    st.builds(lambda text: {"text": text}, texts),
    texts,
    st.sampled_from(
        [
            {"type": "image", "image": "iVBORw0KGgo="},
            {"type": "image"},
            {"type": "image_url", "image_url": {"url": "u"}},
            {"type": 5},
        ]
    ),
)
bad_parts = st.sampled_from([7, None, {}, {"type": "text"}, {"type": "text", "text": 1}, {"type": None}])
contents = st.one_of(
    texts,
    texts.map(Word),
    st.none(),
    st.lists(parts, max_size=3),
    st.lists(parts, max_size=2).map(tuple),
    st.lists(st.one_of(parts, parts, bad_parts), max_size=2),
    st.sampled_from([5, {}]),
)
roles = st.sampled_from(
    [*MessageRole, *MessageRole.roles(), "user", "user", "tool", "developer", "function", Word("user"), "nobody", 3]
)
kinds = st.sampled_from(["dict", "message", "object", "without content"])
conversions = st.sampled_from(
    [None, {}, tool_role_conversions, {"tool": "tool", "user": MessageRole.SYSTEM}, {"tool-response": "user"}]
)


def build(role: Any, content: Any, calls: Any, kind: str) -> Any:
    if kind == "dict":
        return {"role": role, "content": content, "tool_calls": calls}
    if kind == "message":
        return ChatMessage(role, content, calls)
    if kind == "object":
        return SimpleNamespace(role=role, content=content)
    return {"role": role, "tool_calls": calls}


def attempt(run: Any) -> Any:
    try:
        return run()
    except MessageError as error:
        return (str(error), error.index)


@settings(max_examples=600)
@given(
    st.lists(st.builds(build, roles, contents, st.sampled_from([None, [], CALLS]), kinds), max_size=6),
    conversions,
    st.sampled_from(["base64", "url", "keep"]),
    st.booleans(),
)
def test_the_same_results(history, renamed, images, flatten):
    before = copy.deepcopy(history)
    expected = attempt(lambda: bench.plain_clean(history, renamed, images=images, flatten=flatten))
    got = attempt(lambda: clean_messages(history, renamed, images=images, flatten=flatten))
    assert got == expected
    assert history == before
    if isinstance(got, list):
        assert all(type(message["role"]) is str for message in got)
