"""Random patterns in the syntax that Python's `re` and fairlead share, and random texts that come close to them."""

from __future__ import annotations

import random

from hypothesis import strategies as st

ALPHABET = "ab01-_ xAé🙂"
CLASSES = [
    "[ab]", "[^ab]", "[a-c]", "[0-9]", "[^0-9]", "[a-z0-9_]", "[\\d_]", "[^\\W]", "[é🙂]", "[a\\-]", "[^a-z]", ".",
    "\\d", "\\w", "\\s", "\\D", "\\W", "\\S", "[\\]a]", "[A-Zx]",
]  # fmt: skip
LITERALS = ["a", "b", "0", "1", "-", "x", "ab", "é", "🙂", "\\.", "\\-", "A", "_", " ", "\\x61", "\\u00e9"]
QUANTIFIERS = [
    "*",
    "+",
    "?",
    "{0}",
    "{1}",
    "{2}",
    "{1,}",
    "{2,}",
    "{0,1}",
    "{0,2}",
    "{1,3}",
    "{2,4}",
    "{3}",
    "{3,4}",
    "*?",
    "+?",
    "{1,3}?",
]


def _group(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    opening = st.sampled_from(["(", "(?:", "(?:", "(?i:"])
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.tuples(opening, st.lists(inner, min_size=1, max_size=3).map("|".join)).map(lambda p: f"{p[0]}{p[1]})"),
        st.tuples(inner, st.sampled_from(QUANTIFIERS)).map(lambda p: f"(?:{p[0]}){p[1]}"),
        st.tuples(st.sampled_from(CLASSES), st.sampled_from(QUANTIFIERS)).map("".join),
    )


patterns = st.recursive(
    st.one_of(st.sampled_from(LITERALS), st.sampled_from(CLASSES), st.just("")), _group, max_leaves=8
)
anchored = st.one_of(
    patterns,
    st.recursive(
        st.one_of(st.sampled_from([*LITERALS, *CLASSES]), st.sampled_from(["^", "$", ""])), _group, max_leaves=7
    ),
)


def texts(rng: random.Random, count: int) -> list[str]:
    return ["".join(rng.choices(ALPHABET, k=rng.randrange(7))) for _ in range(count)]


def changed(rng: random.Random, text: str) -> str:
    """A text that differs in one place."""
    at = rng.randrange(len(text) + 1)
    return rng.choice(
        [
            text[:at] + rng.choice(ALPHABET) + text[at:],
            text[:at] + text[at + 1 :],
            text[:at] + rng.choice(ALPHABET) + text[at + 1 :],
        ]
    )
