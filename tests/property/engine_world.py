"""What the tests of the engine share: a small vocabulary, compilers with and without caches, and naive references."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import numpy as np
from fairlead._core import CompiledGrammar, Compiler, Grammar, GrammarMatcher, Vocabulary

# Pieces that cross the joints of JSON, cut characters and escapes apart, and some twice.
_TEXTS = (
    [
        '","',
        '":{"',
        '": "',
        '":',
        '",',
        '{"',
        '"}',
        "}]",
        "],",
        "[[",
        "]]",
        "}}",
        "{}",
        "[]",
        "}",
        "1}",
        '1,"',
        '","b":',
    ],
    ["true", "false", "null", "tr", "ue", "al", "12", "00", "0.", ".5", ".0", "-1", "-0", "e+", "1e", "2026-", "0a"],
    ["  ", "\n", "\n  ", "\n    ", " ,", ": ", ", ", ', "', " \n", "\t", '" "', ' "', " a b"],
    ['\\"', "\\u", "\\u00", "\\n", "\\\\", "61", "\\u0061", "\\ud83d", "\\ude42", "é", "€", "🙂", '"é"'],
    ['a"', "ab", "abc", "aa", "aaaa", "b1", "foo", "bar", "o", "xyz", "0-1", "--", "_", "aab", "bb", "-a"],
    # So many that whole subtries of them are taken in at once.
    ["при", "вет", "мир", "да", "это", "γδ", "ß", "ée", "é1", "ñ_", "ü ", " é"],
    ["日本", "語", "漢字", "東京", "に", "한국", "에서", "。"],
    ["\u2028", "é\u2028", "\u00a0", "a\u00a0b", "\u3000", "語\u3000", "Ⅷ", "ａｂ", "😀é", "é😀"],
    ['a":', '"a"', '"a":', '"b":', '"a":1', 'x"', '"k":[', "ab", '"', '","'],
)
_CUT = [b"\xc3", b'\xa9"', b"\xe2\x82", b"\x82\xac", b"\x9f\x99\x82", b"\xf0\x9f"]
PIECES = [text.encode() for family in _TEXTS for text in family] + _CUT
TOKENS: list[bytes | None] = [bytes([b]) for b in range(256)] + [None] + PIECES + [b"", None, b"<eos>"]
STOPS = [256, len(TOKENS) - 1]
PADDING = 5
SIZE = len(TOKENS) + PADDING
WORDS = -(-SIZE // 32)


@cache
def vocabulary() -> Vocabulary:
    return Vocabulary(TOKENS, stop_token_ids=STOPS, vocab_size=SIZE)


@cache
def compiler(kind: str = "cached") -> Compiler:
    """One of each kind for all tests, so that their caches hold many grammars."""
    options: dict[str, Any] = {"cached": {}, "uncached": {"uncached": True}, "epochs": {"cache_limit_bytes": 1}}[kind]
    return Compiler(vocabulary(), **options)


def mask(matcher: GrammarMatcher) -> np.ndarray:
    """The mask, filled over garbage."""
    row = np.full((1, WORDS), -0x5A5A5A5B, dtype=np.int32)
    matcher.fill_next_token_bitmask(row)
    return row[0]


def allowed_ids(row: np.ndarray) -> list[int]:
    bits = np.unpackbits(row.view(np.uint8), bitorder="little")
    return np.flatnonzero(bits).tolist()


def brute_force(compiled: CompiledGrammar, text: bytes) -> list[int]:
    """The ids allowed after a text: each token written byte by byte, from a matcher that was just made."""
    matcher = GrammarMatcher(compiled)
    for byte in text:
        assert matcher.accept_string(bytes([byte])), (text, byte)
    allowed = []
    for token, spelling in enumerate(TOKENS):
        if token in STOPS:
            if matcher.is_completed():
                allowed.append(token)
        elif spelling:
            written = 0
            for byte in spelling:
                if not matcher.accept_string(bytes([byte])):
                    break
                written += 1
            if written == len(spelling):
                allowed.append(token)
            matcher.rollback(written)
    return allowed


def accepts(matcher: GrammarMatcher, text: str | bytes) -> bool:
    """Whether a whole text is a sentence."""
    matcher.reset()
    return matcher.accept_string(text) and matcher.is_completed()


def finish(matcher: GrammarMatcher, rng: random.Random, free: int, most: int = 400) -> bytes | None:
    """Write tokens until the end: `free` of them at random, then those that close something; None if it takes more."""
    text = b""
    closing = [*STOPS, *(TOKENS.index(t) for t in (b'"', b"}", b"]", b"a", b"b", b"0", b"1", b"e", b":", b","))]
    for step in range(most):
        ids = allowed_ids(mask(matcher))
        assert ids, f"nothing may follow {text!r}"
        if step < free:
            token = rng.choice(ids)
        else:
            here = set(ids)
            # A closing choice made always can go round in a circle.
            token = next((t for t in closing if t in here), None) if rng.random() < 0.8 else None
            token = rng.choice(ids) if token is None else token
        assert matcher.accept_token(token), (text, TOKENS[token])
        if token in STOPS:
            return text
        text += TOKENS[token] or b""
    return None


__all__ = ["Grammar", "GrammarMatcher"]
