"""Parts that may take so many tokens (`max_tokens`), against a reference that goes through the tokens of a text."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from fairlead import Grammar, GrammarCompiler, GrammarMatcher, TokenizerInfo, allocate_token_bitmask
from hypothesis import event, given
from hypothesis import strategies as st

PIECES = ["a", "b", ">", "<", "!", "é", "ab", "aa", "a>", ">>", ">!", "b>>", "<a", "<é", "ba>!", "é>", "ab>>!"]
TOKENS = [*(piece.encode() for piece in PIECES), b"\xc3", b"\xa9", b"a\xc3", b"\xa9b", b"\xa9>"]
VOCAB = [*(bytes([b]) for b in range(256)), *(token for token in TOKENS if len(token) > 1), None]
IDS = [VOCAB.index(token) for token in TOKENS]


@lru_cache
def compiler() -> GrammarCompiler:
    return GrammarCompiler(TokenizerInfo(VOCAB, stop_token_ids=len(VOCAB) - 1))


def allowed(matcher: GrammarMatcher) -> set[int]:
    rows = allocate_token_bitmask(1, len(VOCAB))
    matcher.fill_next_token_bitmask(rows, 0)
    words = np.asarray(rows)[0]
    return {i for i in IDS if words[i // 32] >> (i % 32) & 1}


def whole(text: bytes) -> bool:
    """Whether a text ends between characters."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def begins(text: bytes) -> bool:
    return any(whole(text + rest) for rest in (b"", b"\xa9"))


@dataclass(frozen=True)
class Tag:
    """`<`, any text of so many tokens without some texts, the ending where it is first complete, `!`.

    What is excluded may be in the ending, and reach into it.
    """

    most: int
    ending: bytes
    excluded: tuple[bytes, ...]
    begun: bool = False
    text: bytes = b""
    # What must follow once the tokens are used up, each a way to complete the ending.
    left: frozenset[bytes] | None = None
    after: bytes | None = None

    def byte(self, byte: bytes) -> Tag | None:
        if not self.begun:
            return replace(self, begun=True).closed_early() if byte == b"<" else None
        if self.after is not None:
            return replace(self, after=self.after + byte) if self.after + byte == b"!" else None
        text, left = self.text + byte, self.left
        if left is not None:
            left = frozenset(rest[1:] for rest in left if rest.startswith(byte))
            if not left:
                return None
        elif not begins(text) or not any(self.ends_with(text, n) for n in range(len(self.ending) + 1)):
            return None
        done = self.ends_with(text, len(self.ending))
        return replace(self, text=text, left=left, after=b"" if done else None)

    def ends_with(self, text: bytes, n: int) -> bool:
        """Whether a text is one without what is excluded, and so much of the ending."""
        content = text[: len(text) - n]
        return text.endswith(self.ending[:n]) and not any(gone in content for gone in self.excluded)

    def closed_early(self) -> Tag:
        return self.counted(0) if self.most == 0 else self

    def token(self, token: bytes) -> Tag | None:
        """The state behind a token."""
        state: Tag | None = self
        for at in range(len(token)):
            state = state.byte(token[at : at + 1]) if state else None
        touched = len(state.text) > len(self.text) if state else False
        if state and touched and state.after is None and state.left is None and whole(state.text):
            return state.counted(state.most - 1)
        return state

    def counted(self, most: int) -> Tag:
        if most > 0:
            return replace(self, most=most)
        ways = {self.ending[n:] for n in range(len(self.ending)) if self.text.endswith(self.ending[:n])}
        ways = {rest for rest in ways if self.completes(self.text + rest)}
        return replace(self, left=frozenset(ways)) if ways else self

    def completes(self, text: bytes) -> bool:
        whole = text.find(self.ending) == len(text) - len(self.ending)
        return whole and self.ends_with(text, len(self.ending))


def walk(grammar: Grammar, state: Tag, rng: random.Random) -> None:
    matcher = GrammarMatcher(compiler().compile_grammar(grammar))
    for _ in range(12):
        following = {i: after for i in IDS if (after := state.token(VOCAB[i])) is not None}
        event(f"used up: {state.left is not None}")
        assert allowed(matcher) == set(following), state
        if not following:
            assert matcher.is_completed() is (state.after == b"!")
            break
        chosen = rng.choice(sorted(following))
        draft = [chosen, *rng.choices(IDS, k=3)]
        good, after = 0, state
        for token in draft:
            reached = after.token(VOCAB[token])
            if reached is None:
                break
            good, after = good + 1, reached
        assert matcher.validate_tokens(draft) == good
        if rng.random() < 0.2:
            assert matcher.accept_token(chosen)
            matcher.rollback(1)
        assert matcher.accept_token(chosen)
        state = following[chosen]


@given(
    st.integers(1, 4),
    st.sampled_from(["<", ">", ">>", "a>", "é"]),
    st.lists(st.sampled_from(["aa", "b>", "é", "!!"]), max_size=2),
    st.integers(0, 2**32),
)
def test_free_text_ends_in_time(most: int, ending: str, excluded: list[str], seed: int) -> None:
    content = {"type": "any_text", "max_tokens": most, "excludes": excluded}
    tag = {"type": "tag", "begin": "<", "content": content, "end": ending}
    format = {"type": "sequence", "elements": [tag, {"type": "const_string", "value": "!"}]}
    grammar = Grammar.structural_tag({"type": "structural_tag", "format": format})
    walk(grammar, Tag(most, ending.encode(), tuple(text.encode() for text in excluded)), random.Random(seed))


@given(st.integers(1, 4), st.sampled_from([">", ">>", "a>", "é"]), st.integers(0, 2**32))
def test_a_rule_with_a_suffix_ends_in_time(most: int, ending: str, seed: int) -> None:
    grammar = Grammar.lark(f'start: "<" x "!"\nx[max_tokens={most}, suffix="{ending}"]: /(.|\\n)*/')
    walk(grammar, Tag(most, ending.encode(), ()), random.Random(seed))


def accepts(grammar: Grammar, *tokens: bytes | str) -> bool:
    matcher = GrammarMatcher(compiler().compile_grammar(grammar))
    return all(matcher.accept_token(VOCAB.index(t if isinstance(t, bytes) else t.encode())) for t in tokens)


def test_which_tokens_are_counted() -> None:
    two = Grammar.lark('start: x ">"\nx[max_tokens=2]: /[a-z]*/')
    assert accepts(two, "ab", "aa", ">") and accepts(two, "a>") and accepts(two, ">")
    assert not accepts(two, "a", "b", "a")
    # What can't end yet goes on, and a rule is counted anew each time.
    pairs = Grammar.lark('start: x+ ">"\nx[max_tokens=1]: /ab/')
    assert accepts(pairs, "a", "b", "ab", "a", "b", ">")
    # The token in which a part begins is one of its own.
    assert accepts(Grammar.lark('start: "<" x\nx[max_tokens=2]: /a*/'), "<a", "a")
    assert not accepts(Grammar.lark('start: "<" x\nx[max_tokens=2]: /a*/'), "<a", "a", "a")
    # A text that isn't a token is none, and begins what the next one goes on with.
    matcher = GrammarMatcher(compiler().compile_grammar(two))
    assert matcher.accept_string("aaaa") and matcher.accept_string("aaaa") and matcher.accept_token(ord("a"))
    assert matcher.accept_token(ord("b")) and not matcher.accept_token(ord("a"))
    matcher.rollback(1)
    assert matcher.fork().accept_token(ord("a")) and matcher.find_jump_forward_string() == ""
    # None at all, and a named terminal.
    assert accepts(Grammar.lark('start: x ">"\nx[max_tokens=0]: A\nA: /a*/'), ">")
    assert not accepts(Grammar.lark('start: x ">"\nx[max_tokens=0]: A\nA: /a*/'), "a")
    some = Grammar.lark('start: x ">"\nx[max_tokens=0]: /a+/')
    matcher = GrammarMatcher(compiler().compile_grammar(some))
    assert allowed(matcher) == {VOCAB.index(t) for t in (b"a", b"aa", b"a>")}
    assert all(matcher.fork().accept_token(token) for token in allowed(matcher))
    assert accepts(some, "aa", ">") and not accepts(some, "a", "a")


def test_any_tokens() -> None:
    info = TokenizerInfo([*VOCAB, "<|call|>"], stop_token_ids=len(VOCAB) - 1, special_token_ids=[len(VOCAB)])
    elements = [{"type": "any_tokens", "max_tokens": 2}, {"type": "const_string", "value": "!!"}]
    tag = {"type": "structural_tag", "format": {"type": "sequence", "elements": elements}}
    matcher = GrammarMatcher(GrammarCompiler(info).compile_grammar(Grammar.structural_tag(tag)))
    assert matcher.accept_token(len(VOCAB)) and matcher.fork().accept_token(len(VOCAB))
    assert matcher.accept_token(VOCAB.index(b"ab")) and not matcher.fork().accept_token(len(VOCAB))
    assert matcher.find_jump_forward_string() == "!!"


def test_other_rules_don_t_wait_for_what_is_counted() -> None:
    # Text that a lazy rule may begin in, both counted.
    lark = 'start: (call)* TEXT\ncall: head "a"\nhead[max_tokens=2, suffix="<"]: TEXT\nTEXT: /(.|\\n)*/'
    assert accepts(Grammar.lark(lark), "b", "<", "a", "b", "b", "b") and not accepts(Grammar.lark(lark), "b", "<", "b")
    assert accepts(Grammar.lark(lark), "b", "b", "b", "b")
