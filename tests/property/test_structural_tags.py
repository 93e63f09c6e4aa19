"""Structural tags against a reference that goes through a text and tries every way."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from fairlead import Grammar, GrammarCompiler, GrammarMatcher, TokenizerInfo
from fairlead.errors import GrammarError
from hypothesis import assume, event, given
from hypothesis import strategies as st


@lru_cache
def compiler() -> GrammarCompiler:
    return GrammarCompiler(TokenizerInfo([bytes([b]) for b in range(256)] + [None], stop_token_ids=256))


def begins(format: dict[str, Any], text: str) -> tuple[bool, bool]:
    """Whether a text begins one of the format's, and whether it is one."""
    tag = {"type": "structural_tag", "format": format}
    matcher = GrammarMatcher(compiler().compile_grammar(Grammar.structural_tag(tag)))
    begun = matcher.accept_string(text)
    return begun, begun and matcher.is_completed()


def accepts(format: dict[str, Any], text: str) -> bool:
    return begins(format, text)[1]


# A content as a format, as a pattern, and as a pattern of what its texts begin with that none of them is.
CONTENTS = [
    ({"type": "const_string", "value": "x"}, "x", ""),
    ({"type": "const_string", "value": ""}, "", "(?!)"),
    ({"type": "regex", "pattern": "[ab]*"}, "[ab]*", "(?!)"),
    ({"type": "regex", "pattern": "a|<a>"}, "(?:a|<a>)", "(?:<a|<)?"),
    ({"type": "regex", "pattern": "[ab]*", "excludes": ["ab"]}, "b*a*", "(?!)"),
    ({"type": "json_schema", "json_schema": {"enum": [1, 12, "a"]}}, '(?:12?|"a")', '(?:"a?)?'),
]
tags = st.tuples(
    st.sampled_from(["<a>", "<b>", "<a", "b<", "<"]), st.sampled_from(CONTENTS), st.sampled_from([">", "</a>", "x"])
)


class Triggered:
    def __init__(
        self, triggers: list[str], tags: list[Any], excludes: list[str], at_least_one: bool, once: bool
    ) -> None:
        self.triggers, self.excludes, self.at_least_one, self.once = triggers, excludes, at_least_one, once
        self.tags = [(begin, content[1] + re.escape(end), content, end) for begin, content, end in tags]

    def accepts(self, text: str, whole: bool = True) -> bool:
        """Whether a text is one of them or, if not `whole`, begins one."""
        if not self.at_least_one:
            return self.free(text, 0, whole)
        if not whole and any(self.open(text, begin, content, end) for begin, _, content, end in self.tags):
            return True
        starts = [(len(begin), rest) for begin, rest, _, _ in self.tags if text.startswith(begin)]
        ends = {end for at, rest in starts for end in self.ends(text, at, rest)}
        return any(end == len(text) if self.once else self.free(text, end, whole) for end in ends)

    def ends(self, text: str, at: int, pattern: str) -> set[int]:
        return {end for end in range(at, len(text) + 1) if re.fullmatch(pattern, text[at:end])}

    def open(self, text: str, begin: str, content: Any, end: str) -> bool:
        """Whether a text is how a tag begins that isn't complete yet."""
        ends = "|".join(re.escape(end[:n]) for n in range(len(end)))
        started = text.startswith(begin) and re.fullmatch(f"{content[1]}(?:{ends})|{content[2]}", text[len(begin) :])
        return begin.startswith(text) or bool(started)

    def free(self, text: str, start: int, whole: bool) -> bool:
        """Free text from here, broken by tags: a trigger ends it where one is first complete."""
        for end in range(start, len(text) + 1):
            segment = text[start:end]
            if any(excluded in segment for excluded in self.excludes):
                return False
            complete = [trigger for trigger in self.triggers if segment.endswith(trigger)]
            if not complete:
                continue
            for trigger in complete:
                for begin, rest, content, close in self.tags:
                    if begin.startswith(trigger):
                        begin = begin[len(trigger) :]
                        if not whole and self.open(text[end:], begin, content, close):
                            return True
                        for after in self.ends(text, end, re.escape(begin) + rest):
                            if after == len(text) if self.once else self.free(text, after, whole):
                                return True
            return False
        return True


@given(
    st.lists(st.sampled_from(["<", "<a", "b<", "<b", "a"]), min_size=1, max_size=2, unique=True),
    st.lists(tags, min_size=1, max_size=3),
    st.lists(st.sampled_from(["b", "ab", "x<"]), max_size=1),
    st.booleans(),
    st.booleans(),
    st.lists(st.sampled_from([*'abx<>12"', "<a>", "<b>", "</a>", "<a>x>", '"a"']), max_size=8).map("".join),
)
def test_triggered_tags(
    triggers: list[str], tags: list[Any], excludes: list[str], at_least_one: bool, once: bool, text: str
) -> None:
    format = {
        "type": "triggered_tags",
        "triggers": triggers,
        "tags": [{"begin": begin, "content": content[0], "end": end} for begin, content, end in tags],
        "excludes": excludes,
        "at_least_one": at_least_one,
        "stop_after_first": once,
    }
    # Each tag has one trigger, which is how it begins.
    fits = all(sum(begin.startswith(trigger) for trigger in triggers) == 1 for begin, _, _ in tags)
    assume(fits)
    try:
        begun, accepted = begins(format, text)
    except GrammarError as error:
        assert "no text" in str(error)
        begun = accepted = False
    reference = Triggered(triggers, tags, excludes, at_least_one, once)
    expected = reference.accepts(text)
    event(f"accepted: {expected}")
    assert accepted == expected
    # What is let through can also be completed: a tag that has begun is no free text.
    expected = reference.accepts(text, whole=False)
    event(f"begun: {expected}")
    assert begun == expected


@given(
    st.lists(st.sampled_from(["a", "ab", "é", "</", "x"]), max_size=2),
    st.one_of(st.none(), st.integers(0, 4)),
    st.lists(st.sampled_from(["x", "</", "b"]), min_size=1, max_size=2),
    st.text("abéx</", max_size=7),
)
def test_free_text(excludes: list[str], most: int | None, ends: list[str], text: str) -> None:
    free = {"type": "any_text", "excludes": excludes, "max_chars": most}
    fits = not any(excluded in text for excluded in excludes) and (most is None or len(text) <= most)
    assert accepts(free, text) == fits
    # The same up to the first end.
    first = min((at, end) for end in ends if (at := (text + end).find(end) + len(end)))
    whole = text + first[1] if first[0] > len(text) else text
    cut = [end for end in ends if whole.endswith(end)]
    inside = min(whole.find(end) + len(end) for end in ends if end in whole)
    contents = [whole[: len(whole) - len(end)] for end in cut]
    # What is excluded may be in the end, and reach into it.
    good = any(
        (most is None or len(content) <= most) and not any(excluded in content for excluded in excludes)
        for content in contents
    )
    tag = {"type": "tag", "begin": "", "content": free, "end": ends}
    assert accepts(tag, whole) == (bool(cut) and inside == len(whole) and good)


@given(
    st.lists(st.sampled_from(["<a>", "<b", "b<", "<"]), max_size=2, unique=True),
    st.lists(st.sampled_from([">>", "aa", "é"]), max_size=2),
    st.booleans(),
    st.lists(st.sampled_from(["<", "a", "b", ">", "x", "é", "<a>x", "<bx"]), max_size=8).map("".join),
)
def test_a_dispatch_in_ebnf_is_one_in_a_structural_tag(
    tags: list[str], excludes: list[str], loop: bool, text: str
) -> None:
    contents = [("x", '"x"'), ("[ab]*;", '[ab]* ";"')]
    rules = [[tag, {"type": "regex", "pattern": contents[i][0]}] for i, tag in enumerate(tags)]
    pairs = "".join(f'("{tag}", body{i}), ' for i, tag in enumerate(tags))
    left_out = "".join(f'"{text}",' for text in excludes)
    source = f"root ::= TagDispatch(\n  {pairs}\n  loop_after_dispatch={str(loop).lower()}, excludes=({left_out}))\n"
    source += "".join(f"body{i} ::= {body}\n" for i, (_, body) in enumerate(contents))
    matcher = GrammarMatcher(compiler().compile_grammar(Grammar.ebnf(source)))
    begun = matcher.accept_string(text)
    found = begun, begun and matcher.is_completed()
    event(f"{found}")
    assert found == begins({"type": "dispatch", "rules": rules, "loop": loop, "excludes": excludes}, text)
