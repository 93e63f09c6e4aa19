"""Masks against brute force: caches on, off and starting anew; rollback, fork and batches against fresh matchers."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

import numpy as np
import pytest
from fairlead._core import Compiler, Grammar, GrammarMatcher, fill_batch
from fairlead.errors import FairleadError, GrammarError, LimitExceeded, SchemaError
from fairlead.tokenizer import TokenizerInfo
from hypothesis import assume, event, given
from hypothesis import strategies as st

from tests import tiny
from tests.property import engine_world as world
from tests.property.patterns import anchored
from tests.property.schemas import schemas

WHITESPACE = st.one_of(
    st.fixed_dictionaries(
        {"whitespace": st.sampled_from(["bounded", "bounded", "free"]), "max_whitespace": st.sampled_from([0, 2, 64])}
    ),
    st.sampled_from([{"whitespace": "free"}, {"whitespace": "compact"}, {"indent": 1}]),
)
OPTIONS = st.builds(
    lambda whitespace, **others: {**whitespace, **others},
    WHITESPACE,
    property_order=st.sampled_from(["any", "schema"]),
    integer_fraction=st.booleans(),
)


@st.composite
def texts_with_marks(draw: st.DrawFn) -> Grammar:
    """Free texts that end at certain marks, or anywhere, and what goes on there: in rules, and behind triggers."""
    marks = st.sampled_from([",", ":", "}", "]", "-", ".", "1", " ", "b", "é"])
    if draw(st.booleans()):
        trigger, end = draw(marks), draw(marks)
        tag = {"begin": trigger + draw(st.sampled_from(["", "a", ","])), "content": {"type": "any_text"}, "end": end}
        free = {"type": "triggered_tags", "triggers": [trigger], "tags": [tag]}
        free["at_least_one"], free["stop_after_first"] = draw(st.booleans()), draw(st.booleans())
        return Grammar.structural_tag({"type": "structural_tag", "format": free})
    without = "".join(sorted(draw(st.sets(marks, max_size=3)))).replace("]", "\\]").replace("-", "\\-")
    count = draw(st.sampled_from(["*", "+", "{0,4}"]))
    text = draw(st.sampled_from(["", "[a-z] ", '"a"? '])) + f"[^{without}\\n]{count}"
    between = draw(st.sampled_from(['"\\n"', f'"{draw(marks)}"', f'"{draw(marks)}" "{draw(marks)}"?', '"ab"', "[1-9]"]))
    last = draw(st.sampled_from(["", ' "."', ' "\\u2028"?']))
    return Grammar.ebnf(f"root ::= text ({between} text)*{last}\ntext ::= {text}")


GRAMMARS = st.one_of(
    texts_with_marks(),
    anchored.map(Grammar.regex),
    st.tuples(schemas(), OPTIONS).map(lambda pair: Grammar.json_schema(pair[0], **pair[1])),
    st.tuples(schemas(), OPTIONS).map(lambda pair: Grammar.json_schema(pair[0], **pair[1])),
    st.lists(st.sampled_from(["a", "ab", "abc", "b1", '"', "é", "foo", "foobar"]), min_size=1).map(Grammar.choice),
    st.tuples(anchored, st.sampled_from([True, {"type": "integer"}])).map(
        lambda pair: (Grammar.regex(pair[0]) | Grammar.choice(["true", "ab"])) + Grammar.json_schema(pair[1])
    ),
)


def compiled(grammar: Grammar, kind: str = "cached") -> Any:
    try:
        return world.compiler(kind).compile(grammar)
    except (GrammarError, LimitExceeded, SchemaError) as error:
        event(f"not compiled: {type(error).__name__}")
        assume(False)


def structural(rng: random.Random, ids: list[int]) -> int:
    """An allowed token, more often one that gets on with the structure than one of the many letters."""
    if rng.random() < 0.5:
        near = [t for t in ids if (world.TOKENS[t] or b"")[:1] in b'"{}[],:' and world.TOKENS[t]]
        if near:
            return rng.choice(near)
    return rng.choice(ids)


@given(GRAMMARS, st.integers(0, 2**32))
def test_masks_equal_brute_force_whatever_is_cached(grammar: Grammar, seed: int) -> None:
    rng = random.Random(seed)
    by_kind = {kind: compiled(grammar, kind) for kind in ("cached", "uncached", "epochs")}
    matchers = {kind: GrammarMatcher(c) for kind, c in by_kind.items()}
    text, ids_seen = b"", {}
    for _ in range(rng.randrange(1, 30)):
        row = world.mask(matchers["cached"])
        ids = world.allowed_ids(row)
        assert ids, f"nothing may follow {text!r}"
        name = matchers["cached"].mask_id()
        assert ids_seen.setdefault(name, ids) == ids, f"two masks of one id, the second after {text!r}"
        if rng.random() < 0.25:
            assert ids == world.brute_force(by_kind["uncached"], text), text
            for kind in ("uncached", "epochs"):
                fresh = GrammarMatcher(by_kind[kind])
                assert fresh.accept_string(text)
                assert world.allowed_ids(world.mask(fresh)) == ids, (kind, text)
                assert world.allowed_ids(world.mask(matchers[kind])) == ids, (kind, text)
        token = structural(rng, ids)
        assert all(matcher.accept_token(token) for matcher in matchers.values()), (text, token)
        if token in world.STOPS:
            break
        text += world.TOKENS[token] or b""


@given(GRAMMARS, st.integers(0, 2**32), st.sampled_from([-1, 0, 3]))
def test_rollback_and_fork_equal_a_fresh_matcher(grammar: Grammar, seed: int, most: int) -> None:
    rng = random.Random(seed)
    grammar = compiled(grammar)
    matcher = GrammarMatcher(grammar, max_rollback_tokens=most)
    path: list[int] = []
    back = 0  # how many can be taken back
    for _ in range(rng.randrange(1, 25)):
        choice = rng.random()
        if choice < 0.25 and path:
            count = rng.randrange(len(path) + 2)
            if count > len(path) or 0 <= most < count:
                with pytest.raises(ValueError):
                    matcher.rollback(count)
            elif count <= back:
                # Between `back` and that, forgotten steps may still be there.
                matcher.rollback(count)
                path = path[: len(path) - count]
                back -= count
        elif choice < 0.35:
            other = matcher.fork()
            left = world.allowed_ids(world.mask(matcher))
            if rng.random() < 0.5:
                matcher, other = other, matcher
            # The one that is left behind goes another way.
            other.accept_token(rng.choice(left))
        elif choice < 0.38:
            matcher.reset()
            path, back = [], 0
        elif not matcher.is_terminated():
            ids = world.allowed_ids(world.mask(matcher))
            refused = rng.randrange(world.SIZE)
            if refused not in ids:
                assert not matcher.accept_token(refused)
            token = structural(rng, ids)
            assert matcher.accept_token(token)
            path.append(token)
            back = min(back + 1, 10**9 if most < 0 else most)
        fresh = GrammarMatcher(grammar)
        assert all(fresh.accept_token(token) for token in path)
        assert np.array_equal(world.mask(matcher), world.mask(fresh)), path
        assert matcher.mask_id() == fresh.mask_id()
        states = [(m.is_completed(), m.is_terminated(), m.find_jump_forward_string()) for m in (matcher, fresh)]
        assert states[0] == states[1]


@given(st.lists(GRAMMARS, min_size=1, max_size=4), st.integers(0, 2**32), st.sampled_from([None, 1, 3]))
def test_a_batch_equals_single_fills(grammars: list[Grammar], seed: int, threads: int | None) -> None:
    rng = random.Random(seed)
    several = [compiled(grammar) for grammar in grammars]
    matchers: list[GrammarMatcher | None] = []
    # From 32 rows on the second batch goes to several threads.
    for _ in range(rng.choice([rng.randrange(1, 12), 40])):
        matcher = GrammarMatcher(rng.choice(several))
        for _ in range(rng.randrange(8)):
            matcher.accept_token(structural(rng, world.allowed_ids(world.mask(matcher))))
        matchers.append(None if rng.random() < 0.1 else matcher)
    rows = np.full((len(matchers) + 1, world.WORDS), 0x0F0F0F0F, dtype=np.int32)
    for _ in range(2):
        fill_batch(matchers, rows, max_threads=threads)
    for row, matcher in zip(rows, matchers, strict=False):
        if matcher is None:
            assert (row == 0x0F0F0F0F).all()
        else:
            assert np.array_equal(row, world.mask(matcher))
    assert (rows[-1] == 0x0F0F0F0F).all()


@given(GRAMMARS, st.integers(0, 2**32))
def test_what_must_come_is_what_may_come(grammar: Grammar, seed: int) -> None:
    """The forced text follows from the masks of single bytes; explain agrees with accept_token."""
    rng = random.Random(seed)
    matcher = GrammarMatcher(compiled(grammar))
    for _ in range(rng.randrange(12)):
        ids = world.allowed_ids(world.mask(matcher))
        matcher.accept_token(structural(rng, ids))
    probe, forced = matcher.fork(), b""
    while not probe.is_completed() and not probe.is_terminated() and len(forced) < 200:
        single = [t for t in world.allowed_ids(world.mask(probe)) if t < 256]
        if len(single) != 1:
            break
        forced += bytes(single)
        assert probe.accept_token(single[0])
    jump = matcher.find_jump_forward_string().encode()
    assert forced.startswith(jump) or jump.startswith(forced)
    # A string can't begin inside a character, nor end in one.
    inside = forced[:1] != b"" and 0x80 <= forced[0] < 0xC0
    assert len(forced) == 200 or inside or len(forced) - len(jump) < 4, (forced, jump)
    assert not (inside and jump)
    ids = set(world.allowed_ids(world.mask(matcher)))
    for token in rng.sample(range(world.SIZE), 40):
        said = matcher.explain(token)
        if not matcher.is_terminated():
            assert said.startswith("allowed") == (token in ids), said
        assert matcher.fork().accept_token(token) == (token in ids)


# ---- a real vocabulary ---------------------------------------------------------------------------------------------

TREE = {
    "$defs": {"t": {"type": "object", "properties": {"v": {"type": "number"}, "l": {"$ref": "#/$defs/t"}}}},
    "$ref": "#/$defs/t",
}
RECORD = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 3},
        "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,5}$"},
        "price": {"type": "number", "minimum": 0, "multipleOf": 0.25},
    },
    "required": ["name", "age"],
}
REAL: list[tuple[Any, list[str]]] = [
    (RECORD, ["", '{"', '{"name": "', '{"name": "Zoë and', '{"name":"x","age":', '{"name":"x","age":13']),
    (RECORD, ['{"name":"","age":1, "', '{"name":"x\\', '{"name":"x","age":7,"tags":["red", ',]),
    (RECORD, ['{"name":"x","age":7,\n  ']),
    (RECORD, ['{"name":"x","age":7,"code":"AB-1', '{"name":"x","age":7,"price":12.', '{"name":"x","age":7,"o":1,"']),
    (RECORD, ['{"name":"x","age":7,"other": 1, "oth']),
    (TREE, ['{"l":{"l":', '{"v":-1', '{"v":1e', '{"l":{"x":[{}', '{"\\u00']),
    (True, ["", "[", '["', '"é', '{"a":1,"b":2,"', "12", "tr", '[1,\n\t', '{"k": {"k": ']),
    ({"type": "string", "minLength": 3, "maxLength": 5}, ['"', '"ab', '"abcd', '"abcde', '"\\ud83d']),
    ({"type": "string", "pattern": "ab|[0-9]$", "maxLength": 9}, ['"', '"xxab', '"xxxxxxxx']),
    (r"[A-Za-z ]{0,30}\.", ["", "The ", "The quick brown fox jumps over"]),
    (r"(\d{4})-(\d{2})-(\d{2})( .*)?", ["", "20", "2026-", "2026-11-23", "2026-11-23 é"]),
    (r"(foo|bar|é)+|[^a-z]{3,}", ["", "fo", "foobar", "12", "12€"]),
]  # fmt: skip


@cache
def tekken() -> TokenizerInfo:
    return TokenizerInfo.from_mistral(tiny.mistral_vocabulary("tekken"))


@cache
def tekken_compilers() -> dict[str, Compiler]:
    vocabulary = tekken().vocabulary
    return {"cached": Compiler(vocabulary), "uncached": Compiler(vocabulary, uncached=True)}


@pytest.mark.parametrize(
    ("grammar", "texts"), REAL, ids=lambda part: None if isinstance(part, list) else str(part)[:20]
)
def test_masks_over_a_real_vocabulary(grammar: Any, texts: list[str]) -> None:
    info = tekken()
    assert info.vocab_size >= 131_072
    made = Grammar.regex(grammar) if isinstance(grammar, str) else Grammar.json_schema(grammar)
    by_kind = {kind: c.compile(made) for kind, c in tekken_compilers().items()}
    spellings = [(i, b) for i, b in enumerate(info.decoded_vocab) if b]
    stops = set(info.stop_token_ids)
    for text in texts:
        reference = GrammarMatcher(by_kind["uncached"])
        assert reference.accept_string(text), (text, json.dumps(grammar))
        expected = []
        for token, spelling in spellings:
            if token not in stops and reference.accept_string(spelling):
                expected.append(token)
                reference.rollback(1)
        if reference.is_completed():
            expected = sorted([*expected, *stops])
        for kind, grammar_ in by_kind.items():
            matcher = GrammarMatcher(grammar_)
            matcher.accept_string(text)
            row = np.full(-(-info.vocab_size // 32), -1, dtype=np.int32)
            matcher.fill_next_token_bitmask(row)
            assert world.allowed_ids(row) == expected, (kind, text)
            assert expected, text


@given(st.text('ab(){}[]|*+?\\^$.,0-9:=!<>Pd"é', max_size=12))
def test_any_text_is_a_pattern_or_an_error(pattern: str) -> None:
    try:
        matcher = GrammarMatcher(world.compiler().compile(Grammar.regex(pattern)))
    except FairleadError as error:
        assert isinstance(error, GrammarError)
        return
    assert world.allowed_ids(world.mask(matcher))
