"""Captures of random grammars against a reference that tries every span."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from fairlead import Grammar, GrammarCompiler, GrammarMatcher, TokenizerInfo
from fairlead.errors import GrammarError
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

RULES = ["root", "a", "b"]
# ("text", t), ("rule", name), ("seq", items), ("or", items), ("rep", item, min, max or None)
Item = tuple[Any, ...]


@lru_cache
def compiler() -> GrammarCompiler:
    return GrammarCompiler(TokenizerInfo([bytes([b]) for b in range(256)] + [None], stop_token_ids=256))


def combined(inner: Any) -> Any:
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda items: ("seq", items)),
        st.lists(inner, min_size=2, max_size=3).map(lambda items: ("or", items)),
        st.tuples(inner, st.sampled_from([(0, 1), (0, None), (1, None), (2, 2), (0, 2), (1, 3)])).map(
            lambda both: ("rep", both[0], *both[1])
        ),
    )


leaves = st.one_of(
    st.sampled_from(["x", "y", "xy", ""]).map(lambda t: ("text", t)), st.sampled_from(RULES).map(lambda n: ("rule", n))
)
grammars = st.fixed_dictionaries({name: st.recursive(leaves, combined, max_leaves=5) for name in RULES})


def written(item: Item) -> str:
    kind = item[0]
    if kind == "text":
        return f'"{item[1]}"'
    if kind == "rule":
        return str(item[1])
    if kind == "rep":
        return f"({written(item[1])}){{{item[2]},{'' if item[3] is None else item[3]}}}"
    return "(" + (" | " if kind == "or" else " ").join(written(one) for one in item[1]) + ")"


class Reference:
    """Which spans each rule has, by trying until nothing is new; then one derivation, by the order that is promised."""

    def __init__(self, rules: dict[str, Item], text: str) -> None:
        self.rules, self.text = rules, text
        self.spans: set[tuple[str, int, int]] = set()
        size = -1
        while size != len(self.spans):
            size = len(self.spans)
            for name, body in rules.items():
                for start in range(len(text) + 1):
                    self.spans |= {(name, start, end) for end in self.ends(body, start)}

    def ends(self, item: Item, start: int) -> set[int]:
        kind = item[0]
        if kind == "text":
            return {start + len(item[1])} if self.text.startswith(item[1], start) else set()
        if kind == "rule":
            return {end for name, begin, end in self.spans if (name, begin) == (item[1], start)}
        if kind == "or":
            return set().union(*(self.ends(one, start) for one in item[1]))
        if kind == "seq":
            places = {start}
            for one in item[1]:
                places = set().union(*(self.ends(one, place) for place in places))
            return places
        reached, places = ({start} if item[2] == 0 else set()), {start}
        for round in range(1, (item[3] if item[3] is not None else item[2] + len(self.text) + 1) + 1):
            places = set().union(*(self.ends(item[1], place) for place in places))
            reached |= places if round >= item[2] else set()
        return reached

    def derive(self, item: Item, start: int, end: int, open: frozenset[Any]) -> list[tuple[str, str]] | None:
        if end not in self.ends(item, start):
            return None
        kind = item[0]
        if kind == "text":
            return []
        if kind == "rule":
            here = (item[1], start, end)
            inside = None if here in open else self.derive(self.rules[item[1]], start, end, open | {here})
            return None if inside is None else [(item[1], self.text[start:end]), *inside]
        if kind == "or":
            return next((d for d in (self.derive(one, start, end, open) for one in item[1]) if d is not None), None)
        if kind == "seq":
            if not item[1]:
                return [] if start == end else None
            first, rest = item[1][0], ("seq", item[1][1:])
            for place in sorted(self.ends(first, start), reverse=True):
                if end not in self.ends(rest, place):
                    continue
                one = self.derive(first, start, place, open)
                others = None if one is None else self.derive(rest, place, end, open)
                if others is not None:
                    return [*one, *others]
            return None
        if start == end:
            return []
        left = ("rep", item[1], max(item[2] - 1, 0), None if item[3] is None else item[3] - 1)
        for place in sorted(self.ends(item[1], start), reverse=True):
            if place <= start or (item[3] == 0) or end not in self.ends(left, place):
                continue
            one = self.derive(item[1], start, place, open)
            others = None if one is None else self.derive(left, place, end, open)
            if others is not None:
                return [*one, *others]
        return None


def source(rules: dict[str, Item]) -> str:
    return "\n".join(f"{name} ::= {written(body)}" for name, body in rules.items())


def check(grammar: Grammar, rules: dict[str, Item], whole: Item, text: str) -> None:
    """Rules of the reference with a prime are those without in another part of the grammar."""
    try:
        matcher = GrammarMatcher(compiler().compile_grammar(grammar))
    except GrammarError as error:
        assert "no text satisfies" in str(error)
        assume(False)
        raise
    reference = Reference(rules, text)
    fits = len(text) in reference.ends(whole, 0)
    assert (matcher.accept_string(text) and matcher.is_completed()) == fits
    assume(fits)
    expected = reference.derive(whole, 0, len(text), frozenset())
    assert expected is not None
    found = matcher.captures(RULES)
    assert found == {name: [part for rule, part in expected if rule.rstrip("'") == name] for name in RULES}


# Few texts that are drawn at random fit.
often = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@often
@given(grammars, st.text("xy", max_size=6))
def test_captures(rules: dict[str, Item], text: str) -> None:
    check(Grammar.ebnf(source(rules)), rules, ("rule", "root"), text)


def primed(item: Item) -> Item:
    kind, inner, *rest = item
    if kind == "text":
        return item
    if kind == "rule":
        return (kind, f"{inner}'")
    if kind == "rep":
        return (kind, primed(inner), *rest)
    return (kind, [primed(one) for one in inner])


@often
@given(grammars, grammars, st.sampled_from(["seq", "or"]), st.booleans(), st.text("xy", max_size=6))
def test_captures_of_joined_grammars(
    first: dict[str, Item], second: dict[str, Item], kind: str, spaced: bool, text: str
) -> None:
    rules = first | {f"{name}'": primed(body) for name, body in second.items()}
    grammar, items = Grammar.ebnf(source(first)), [("rule", "root")]
    if spaced:
        grammar, items = grammar + Grammar.regex("x?"), [("seq", [*items, ("rep", ("text", "x"), 0, 1)])]
    other = Grammar.ebnf(source(second))
    check(grammar + other if kind == "seq" else grammar | other, rules, (kind, [*items, ("rule", "root'")]), text)
