"""The short way for chunks that are only text: taken by those, and by no other."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("openai")

from fairlead.models._openai_wire import ChunkReader
from openai.types import chat

USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
CALL = {"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def chunk(delta: dict[str, Any], choice: dict[str, Any] | None = None, **whole: Any) -> dict[str, Any]:
    one = {"index": 0, "delta": delta, "finish_reason": None, **(choice or {})}
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [one], **whole}


PLAIN = {"alone": chunk({"content": "word "}), "with its role": chunk({"content": "word ", "role": "assistant"})}
OTHERS = {
    "no content": chunk({"role": "assistant"}),
    "empty content": chunk({"content": ""}),
    "a call": chunk({"content": "word ", "tool_calls": [CALL]}),
    "a refusal": chunk({"content": "word ", "refusal": "no"}),
    "reasoning": chunk({"content": "word ", "reasoning_content": "hm"}),
    "reasoning under its other name": chunk({"content": "word ", "reasoning": "hm"}),
    "the end": chunk({"content": "word "}, {"finish_reason": "stop"}),
    "log probabilities": chunk({"content": "word "}, {"logprobs": {"content": [], "refusal": None}}),
    "another choice": chunk({"content": "word "}, {"index": 1}),
    "usage": chunk({"content": "word "}, usage=USAGE),
    "no choices": {**chunk({}), "choices": []},
    "two choices": {**chunk({}), "choices": [chunk({"content": "a"})["choices"][0], chunk({})["choices"][0]]},
}


@pytest.mark.parametrize("name", PLAIN)
def test_text_alone_is_read_at_once_and_as_by_feed(name: str) -> None:
    event = chat.ChatCompletionChunk.model_validate(PLAIN[name])
    assert ChunkReader.text(event) == "word "
    for form in (event, PLAIN[name]):
        delta = ChunkReader().feed(form)
        assert delta is not None and delta.content == "word " and delta.tool_calls is None


@pytest.mark.parametrize("name", OTHERS)
def test_whatever_has_more_is_left_to_feed(name: str) -> None:
    assert ChunkReader.text(chat.ChatCompletionChunk.model_validate(OTHERS[name])) is None


@pytest.mark.parametrize("event", [None, {}, chunk({"content": "word "}), "text", 3])
def test_what_no_typed_client_sent_is_left_to_feed(event: Any) -> None:
    assert ChunkReader.text(event) is None
