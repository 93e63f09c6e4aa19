"""What the tokens of a sequence write, put together, is what the tokenizer decodes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from fairlead.tokenizer import TokenizerInfo
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import tiny

KINDS: dict[str, Callable[[], Any]] = {
    "byte_level": tiny.byte_level_bpe,
    "byte_level_added": lambda: tiny.byte_level_bpe(added=("<tool_call>", "two words", "né", "日本語 text")),
    "byte_fallback": tiny.byte_fallback_bpe,
    "byte_fallback_gemma": lambda: tiny.byte_fallback_bpe(strip=False),
    "metaspace": tiny.metaspace_unigram,
    "word_suffix": tiny.word_suffix_bpe,
    "regex_replace": tiny.regex_replace_bpe,
}


@cache
def tokenizer(kind: str) -> Any:
    return KINDS[kind]()


def reads_back(tokenizer: Any, ids: list[int]) -> bool:
    """Compare with decode(), where the bytes are text; False if they aren't."""
    info = TokenizerInfo.from_huggingface(tokenizer)
    try:
        text = info.decode(ids).decode()
    except UnicodeDecodeError:
        return False
    decoded = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if info.strips_leading_space:
        # One space, or all of the first token's, depending on the kind.
        text, decoded = text.lstrip(" "), decoded.lstrip(" ")
    if info.strips_trailing_space:
        text, decoded = text.rstrip(" "), decoded.rstrip(" ")
    assert decoded == text
    return True


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_random_ids(kind: str, data: st.DataObject) -> None:
    info = TokenizerInfo.from_huggingface(tokenizer(kind))
    with_text = [i for i, token in enumerate(info.decoded_vocab) if token is not None]
    reads_back(tokenizer(kind), data.draw(st.lists(st.sampled_from(with_text), max_size=12)))


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(max_size=40) | st.sampled_from(tiny.CORPUS))
@settings(max_examples=60, deadline=None)
def test_encoded_text(kind: str, text: str) -> None:
    ids = tokenizer(kind).encode(text, add_special_tokens=False)
    assert reads_back(tokenizer(kind), ids)


@pytest.mark.parametrize("name", ["tekken", "sentencepiece"])
@given(text=st.text(max_size=60) | st.sampled_from(tiny.CORPUS))
@settings(max_examples=60, deadline=None)
def test_real_vocabularies(name: str, text: str) -> None:
    mistral = tiny.mistral_vocabulary(name)
    inner = mistral.instruct_tokenizer.tokenizer
    ids = inner.encode(text, bos=False, eos=False)
    info = TokenizerInfo.from_mistral(mistral)
    written = info.decode(ids).decode()
    if info.strips_leading_space:
        assert written.lstrip(" ") == inner.decode(ids).lstrip(" ")
    else:
        assert written == inner.decode(ids) == text
