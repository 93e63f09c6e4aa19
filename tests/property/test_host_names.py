"""Host names with labels in Punycode, and long ones beyond ASCII: masks against brute force, names against ``idna``."""

from __future__ import annotations

import json
import random
from functools import cache

import idna
from fairlead import Grammar, GrammarMatcher
from fairlead._core import CompiledGrammar
from hypothesis import given
from hypothesis import strategies as st

from tests.property import engine_world as world

FORMATS = st.sampled_from(["hostname", "idn-hostname"])
# Letters and marks of every script that labels may have, and what joins them.
SCRIPTS = [
    "abcl-lxyz019",
    "äöüßéñøł-l·l",
    "αβγδεάίώ͵α-0",
    "приветёўі-12",
    "աբգ-գեօ",
    "שלוםא׳ב״-5",
    "مثالبيتاءدو‌ب٣",
    "یک۴۵ه‌م-",
    "हिन्दीकंत्र‍य-०",
    "ไทยทดสอบก็น้า",
    "例えテスト・ー漢字-3",
    "한국어도메인",
    "ქართული",
]
# Of two bytes each, of which nothing but the direction is asked.
ALPHABETS = ["".join(c for c in script if "\u007f" < c < "\u0800" and c not in "·͵׳״٣۴۵") for script in SCRIPTS]
long_labels = st.sampled_from([alphabet for alphabet in ALPHABETS if alphabet]).flatmap(
    lambda alphabet: st.text(alphabet, min_size=12, max_size=59)
)
letters = st.sampled_from(SCRIPTS).flatmap(lambda script: st.text(script, min_size=1, max_size=24))


@cache
def compiled(name: str, kind: str = "cached") -> CompiledGrammar:
    return world.compiler(kind).compile(Grammar.json_schema({"type": "string", "format": name}))


def admits(name: str, text: str) -> bool:
    return world.accepts(GrammarMatcher(compiled(name)), json.dumps(text, ensure_ascii=False))


def is_valid(name: str) -> bool:
    """What ``idna`` says of the labels that it is asked for; ASCII ones are upper case or lower case alike."""
    try:
        for label in name.replace("。", ".").replace("．", ".").replace("｡", ".").split("."):
            if label.startswith("xn--") or not label.isascii():
                idna.alabel(idna.ulabel(label))
    except idna.IDNAError:
        return False
    return True


@given(letters)
def test_a_label_is_admitted_in_punycode_if_it_is_as_it_stands(label: str) -> None:
    short = len(label) <= 11 and not label.isascii()
    if short and admits("idn-hostname", label):
        coded = "xn--" + label.encode("punycode").decode()
        assert len(coded) <= 63
        assert is_valid(label) and is_valid(coded)
        for name in (coded, f"www.{coded}.example"):
            assert admits("hostname", name) and admits("idn-hostname", name), name
        assert not admits("hostname", f"a.b.{coded}.d") and not admits("hostname", coded + "-")
    elif short:
        coded = "xn--" + label.encode("punycode").decode()
        assert not admits("hostname", coded) and not admits("idn-hostname", coded)


@given(long_labels)
def test_a_long_label_is_admitted_up_to_its_length_in_punycode(label: str) -> None:
    fits = len("xn--" + label.encode("punycode").decode()) <= 63
    assert admits("idn-hostname", label) == (fits and is_valid(label))


@given(FORMATS, st.integers(0, 2**32), st.integers(0, 59))
def test_whatever_the_masks_let_through_is_a_host_name(name: str, seed: int, free: int) -> None:
    rng = random.Random(seed)
    matcher = GrammarMatcher(compiled(name))
    start = rng.choice(['"xn--', '"xn--', '"www.xn--', '"п', '"ש'] if name == "idn-hostname" else ['"xn--', '"a.xn--'])
    assert matcher.accept_string(start)
    written = world.finish(matcher, rng, free)
    assert written is not None, "no end within 400 tokens"
    text = json.loads(start.encode() + written)
    assert is_valid(text) and len(text) <= 253, text


@given(FORMATS, letters, st.integers(0, 2**32))
def test_masks_inside_of_labels_equal_brute_force(name: str, label: str, seed: int) -> None:
    rng = random.Random(seed)
    coded = "xn--" + label.encode("punycode").decode()
    text = rng.choice([coded, coded, label])[: rng.randrange(1, 64)].encode()
    matcher = GrammarMatcher(compiled(name))
    assert matcher.accept_string('"')
    written = b'"'
    for byte in text:
        if not matcher.accept_string(bytes([byte])):
            break
        written += bytes([byte])
    ids = world.allowed_ids(world.mask(matcher))
    assert ids == world.brute_force(compiled(name), written), written
    fresh = GrammarMatcher(compiled(name, "uncached"))
    assert fresh.accept_string(written)
    assert world.allowed_ids(world.mask(fresh)) == ids, written
