"""Random grammars of texts and special tokens: the language against ``re``, the masks against single tokens."""

from __future__ import annotations

import copy
import re
from functools import lru_cache
from typing import Any

import numpy as np
from fairlead import Grammar, GrammarCompiler, GrammarMatcher, TokenizerInfo, allocate_token_bitmask
from hypothesis import given
from hypothesis import strategies as st

WORDS = [*"abcé.,1 ", "ab", "ba", "a.", ", ", "éa", b"\xc3", b"\xa9", b"\xff"]
NAMES = ["<|x|>", "<|y|>"]
END = len(WORDS) + len(NAMES)
# Special tokens are these characters for the oracle.
SHOWN = {"<|x|>": "\ue000", "<|y|>": "\ue001"}


@lru_cache
def compiler() -> GrammarCompiler:
    ids = [len(WORDS) + i for i in range(len(NAMES))]
    return GrammarCompiler(TokenizerInfo([*WORDS, *NAMES, None], stop_token_ids=END, special_token_ids=ids))


# Each a pair: in Lark or EBNF, and as a pattern of Python's.
both = st.one_of(
    st.sampled_from(NAMES).map(lambda name: (name, SHOWN[name])),
    st.sampled_from(["a", "ab", "é", ", "]).map(lambda text: (f'"{text}"', re.escape(text))),
)
in_lark = st.one_of(
    both,
    st.sampled_from(["[a-c]", "[^a]", ".", "[a-cé]{1,2}"]).map(lambda p: (f"/{p}/", p if p != "." else "[^\n]")),
    st.just((r"/(.|\n)*/", "[^\ue000\ue001]*")),
)
in_ebnf = st.one_of(
    both,
    st.sampled_from(["[a-c]", "[^a]"]).map(lambda p: (p, p)),
    st.tuples(st.sampled_from(NAMES), st.sampled_from("*+")).map(
        lambda x: (f"!{x[0]}{x[1]}", f"[^{SHOWN[x[0]]}]{x[1]}")
    ),
    st.just((f"!<[{len(WORDS)}-{END}]>*", "[^\ue000\ue001]*")),
)


def combined(inner: Any) -> Any:
    many = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        many.map(lambda all: (f"({' '.join(a for a, _ in all)})", f"(?:{''.join(b for _, b in all)})")),
        many.map(lambda all: (f"({' | '.join(a for a, _ in all)})", f"(?:{'|'.join(b for _, b in all)})")),
        st.tuples(inner, st.sampled_from(["*", "+", "?"])).map(
            lambda x: (f"({x[0][0]}){x[1]}", f"(?:{x[0][1]}){x[1]}")
        ),
    )


grammars = st.one_of(
    st.recursive(in_lark, combined, max_leaves=6).map(lambda x: (Grammar.lark(f"start: {x[0]}"), x[1])),
    st.recursive(in_ebnf, combined, max_leaves=6).map(lambda x: (Grammar.ebnf(f"root ::= {x[0]}"), x[1])),
)


def oracle(pattern: str) -> re.Pattern[str]:
    # A class in the grammar has characters of texts only.
    return re.compile(pattern.replace("[^a]", "[^a\ue000\ue001]").replace("[^\n]", "[^\n\ue000\ue001]"))


def written(ids: list[int]) -> str | None:
    pieces = [NAMES[i - len(WORDS)] if i >= len(WORDS) else WORDS[i] for i in ids]
    whole = b"".join(SHOWN.get(p, p).encode() if isinstance(p, str) else p for p in pieces)
    try:
        return whole.decode()
    except UnicodeDecodeError:
        return None


@given(grammars, st.lists(st.integers(0, END - 1), max_size=8))
def test_any_tokens(grammar: tuple[Grammar, str], ids: list[int]) -> None:
    matcher = GrammarMatcher(compiler().compile_grammar(grammar[0]))
    text = written(ids)
    expected = text is not None and oracle(grammar[1]).fullmatch(text) is not None
    assert (all(matcher.accept_token(i) for i in ids) and matcher.is_completed()) == expected


@given(grammars, st.data())
def test_masks(grammar: tuple[Grammar, str], data: st.DataObject) -> None:
    matcher = GrammarMatcher(compiler().compile_grammar(grammar[0]))
    row = allocate_token_bitmask(1, END + 1)
    ids: list[int] = []
    for _ in range(6):
        matcher.fill_next_token_bitmask(row)
        bits = np.unpackbits(np.asarray(row)[0].view(np.uint8), bitorder="little")[: END + 1].astype(bool)
        assert bits.tolist() == [copy.copy(matcher).accept_token(i) for i in range(END + 1)]
        choices = [i for i in range(END) if bits[i]]
        assert choices or bits[END]
        if not choices:
            break
        ids.append(data.draw(st.sampled_from(choices)))
        assert matcher.accept_token(ids[-1])
        if bool(bits[END]) and (before := written(ids[:-1])) is not None:
            assert oracle(grammar[1]).fullmatch(before)
