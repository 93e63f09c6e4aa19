"""Special tokens in grammars: asked for by name or id, and never part of a text otherwise."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from fairlead import Grammar, GrammarCompiler, GrammarMatcher, TokenizerInfo, allocate_token_bitmask
from fairlead.errors import GrammarError

# Every byte is a token, so is 0xFF; then some words, an added token that has text, special ones, and the end.
WORDS = ["ab", "abc", '{"', '"}', "<|call|>x", "<think>"]
SPECIAL = ["<|call|>", "<|end|>", "<|other|>", "<|stop|>"]
VOCAB: list[bytes | str] = [*(bytes([b]) for b in range(256)), *WORDS, *SPECIAL]
CALL, END, OTHER, STOP = range(len(VOCAB) - 4, len(VOCAB))


def ids(text: str) -> list[int]:
    return list(text.encode())


@pytest.fixture(scope="module", params=["all bytes", "letters"])
def info(request: pytest.FixtureRequest) -> TokenizerInfo:
    vocab: list[bytes | str | None] = list(VOCAB)
    if request.param == "letters":
        # A vocabulary that can't write every character.
        vocab[:256] = [bytes([b]) if 32 <= b < 127 else None for b in range(256)]
    return TokenizerInfo(vocab, stop_token_ids=STOP, special_token_ids=[CALL, END, OTHER])


@pytest.fixture(scope="module")
def compiler(info: TokenizerInfo) -> GrammarCompiler:
    return GrammarCompiler(info)


def allowed(matcher: GrammarMatcher, size: int) -> set[int]:
    """The ids of a mask, checked against what each token does by itself."""
    row = allocate_token_bitmask(1, size)
    matcher.fill_next_token_bitmask(row)
    bits = np.unpackbits(np.asarray(row)[0].view(np.uint8), bitorder="little")[:size]
    found = {int(i) for i in np.flatnonzero(bits)}
    for i in range(size):
        accepted = copy.copy(matcher).accept_token(i)
        assert accepted == (i in found), i
        assert matcher.explain(i).startswith("allowed") == accepted, matcher.explain(i)
    return found


def matcher_of(compiler: GrammarCompiler, lark: str) -> GrammarMatcher:
    return GrammarMatcher(compiler.compile_grammar(Grammar.lark(lark)))


def test_names_and_ids(info, compiler):
    assert info.special_tokens == {"<|call|>": CALL, "<|end|>": END, "<|other|>": OTHER, "<|stop|>": STOP}
    assert pickle.loads(pickle.dumps(info)).special_tokens == info.special_tokens
    matcher = matcher_of(compiler, f"start: <|call|> /[a-c]+/ (<|end|> | <[{OTHER}]>)")
    size = info.vocab_size
    assert allowed(matcher, size) == {CALL}
    assert matcher.accept_token(CALL)
    letters = {*ids("abc"), VOCAB.index("ab"), VOCAB.index("abc")}
    assert allowed(matcher, size) == letters
    assert matcher.accept_token(VOCAB.index("ab"))
    assert allowed(matcher, size) == {*letters, END, OTHER}
    assert matcher.accept_token(OTHER) and matcher.is_completed()
    assert allowed(matcher, size) == {STOP}
    matcher.rollback(2)
    assert allowed(matcher, size) == letters


def test_their_names_are_no_text(info, compiler):
    matcher = matcher_of(compiler, 'start: <|call|> "x" | "y"')
    assert not matcher.accept_string("<|call|>x") and not matcher.accept_string(b"\xff\x00\x01\x06")
    assert allowed(matcher, info.vocab_size) == {CALL, *ids("y")}
    # The other way round: the name as a text isn't the token.
    matcher = matcher_of(compiler, 'start: "<|call|>x"')
    assert not matcher.accept_token(CALL) and matcher.accept_token(VOCAB.index("<|call|>x"))


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar.json(),
        Grammar.regex(".*"),
        Grammar.regex("[^x]*(?s:.)*"),
        Grammar.structural_tag({"type": "structural_tag", "format": {"type": "any_text", "excludes": ["stop"]}}),
        Grammar.lark("start: /(.|\\n)*/"),
    ],
    ids=str,
)
def test_no_text_has_one(info, compiler, grammar):
    matcher = GrammarMatcher(compiler.compile_grammar(grammar))
    for text in ("", '"', "a"):
        assert not allowed(matcher, info.vocab_size) & {CALL, END, OTHER}
        matcher.accept_string(text)


def test_ranges_and_repetition(info, compiler):
    matcher = matcher_of(compiler, f"start: (<[{CALL}-{END},{ids('z')[0]}]> | /[ab]/)~3")
    for step in (END, ids("a")[0]):
        assert allowed(matcher, info.vocab_size) >= {CALL, END, *ids("abz")}
        assert matcher.accept_token(step)
    assert VOCAB.index("ab") not in allowed(matcher, info.vocab_size)
    assert matcher.accept_token(CALL) and matcher.is_completed()


def test_an_added_token_with_text_is_that_text(info, compiler):
    matcher = matcher_of(compiler, 'start: <think> "a"')
    assert allowed(matcher, info.vocab_size) == {ids("<")[0], VOCAB.index("<think>")}


def test_nothing_is_forced_through_one(compiler):
    matcher = matcher_of(compiler, 'start: "ab" <|call|> "c"')
    assert matcher.find_jump_forward_string() == "ab"
    assert matcher.accept_string("ab") and matcher.find_jump_forward_string() == ""
    assert matcher.validate_tokens([CALL, *ids("c"), STOP]) == 3


def test_tokens_by_their_ids_in_ebnf(info, compiler):
    grammar = Grammar.ebnf(
        f"root ::= Token({CALL}, {OTHER},) body TokenTagDispatch(({CALL}, body), excludes=({END},))\nbody ::= [ab] [ab]"
    )
    matcher = GrammarMatcher(compiler.compile_grammar(grammar))
    assert allowed(matcher, info.vocab_size) == {CALL, OTHER}
    assert matcher.accept_token(OTHER) and matcher.accept_string("ab") and matcher.is_completed()
    free = allowed(matcher, info.vocab_size)
    assert free >= {CALL, OTHER, STOP, *ids("ab")} and END not in free
    assert matcher.accept_string("text") and matcher.accept_token(OTHER) and matcher.accept_token(CALL)
    assert not allowed(matcher, info.vocab_size) & {CALL, OTHER, END, STOP} and not matcher.is_completed()
    assert matcher.accept_string("ba") and matcher.accept_token(CALL) and matcher.accept_string("aa")
    assert matcher.captures(["body"]) == {"body": ["ab", "ba", "aa"]}
    once = GrammarMatcher(
        compiler.compile_grammar(
            Grammar.ebnf(f"root ::= TokenTagDispatch(({CALL}, body), loop_after_dispatch=false)\nbody ::= [ab]")
        )
    )
    assert once.accept_token(CALL) and once.accept_string("a") and allowed(once, info.vocab_size) == {STOP}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("ExcludeToken(97)", "only special tokens"),
        ("Token(a)", "the id of a token is expected"),
        ("Token(4000000000)", "no token 4000000000"),
        ("TokenTagDispatch((97, root))", "only special tokens"),
        ("TagDispatch(root)", "= is expected"),
        ('TagDispatch(("", root))', "not empty"),
        ('TagDispatch(("a" root))', ", is expected"),
        ('TagDispatch(("a", root) excludes=())', ", is expected"),
        ('TagDispatch(("a", root), loop=true)', "loop_after_dispatch is true or false"),
        ('TagDispatch(("a", nobody))', '"nobody" is not defined'),
        ('TagDispatch(("a", root)', "expected here"),
    ],
)
def test_macros_of_ebnf_that_are_wrong(compiler, written, said):
    with pytest.raises(GrammarError, match=said) as caught:
        compiler.compile_grammar(Grammar.ebnf(f'root ::= "a"\n  | {written}'))
    assert caught.value.line == 2


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("<|nobody|>", "no token"),
        ("<|stop|>", "ends the text"),
        (f"<[{STOP}]>", "ends the text"),
        ("<[9999]>", "no token 9999"),
        ("<[a]>", "numbers or ranges"),
        ("<[5-2]>", "ends before"),
        ("<[0-4000000000]>", "no token 4000000000"),
        ("<not closed", "a token is written"),
    ],
)
def test_what_cannot_be_asked_for(compiler, written, said):
    with pytest.raises(GrammarError, match=said) as caught:
        matcher_of(compiler, f'start: "a"\n   | {written}')
    assert (caught.value.line, caught.value.column) == (2, 6)


def tag(**format: object) -> Grammar:
    return Grammar.structural_tag({"type": "structural_tag", "format": format})


TOOL = {
    "type": "tag",
    "begin": {"type": "token", "token": "<|call|>"},
    "content": {"type": "json_schema", "json_schema": {"enum": [1, "a"]}},
    "end": {"type": "token", "token": END},
}


def test_a_tag_between_tokens(info, compiler):
    matcher = GrammarMatcher(compiler.compile_grammar(tag(**TOOL)))
    assert allowed(matcher, info.vocab_size) == {CALL}
    assert matcher.accept_token(CALL) and matcher.accept_string('"a"')
    assert allowed(matcher, info.vocab_size) == {END}


def test_a_token_begins_a_tag_in_free_text(info, compiler):
    format = {"type": "token_triggered_tags", "trigger_tokens": ["<|call|>"], "tags": [TOOL]}
    matcher = GrammarMatcher(compiler.compile_grammar(tag(**format)))
    assert matcher.accept_string("say <|call|> and ") and allowed(matcher, info.vocab_size) >= {CALL, STOP}
    assert matcher.accept_token(CALL)
    assert allowed(matcher, info.vocab_size) == set(ids('1"'))
    assert matcher.accept_string("1") and matcher.accept_token(END) and matcher.accept_string("more")
    assert {CALL, END, OTHER} & allowed(matcher, info.vocab_size) == {CALL}
    once = {**format, "at_least_one": True, "stop_after_first": True}
    matcher = GrammarMatcher(compiler.compile_grammar(tag(**once)))
    assert allowed(matcher, info.vocab_size) == {CALL}
    assert matcher.accept_token(CALL) and matcher.accept_string("1") and matcher.accept_token(END)
    assert allowed(matcher, info.vocab_size) == {STOP}


def test_free_text_up_to_a_token(info, compiler):
    thinking = {"type": "tag", "begin": "<think>", "content": {"type": "any_text"}, "end": TOOL["begin"]}
    matcher = GrammarMatcher(compiler.compile_grammar(tag(**thinking)))
    assert matcher.accept_token(VOCAB.index("<think>")) and matcher.accept_string("hm <|call|>")
    assert {CALL, END, STOP} & allowed(matcher, info.vocab_size) == {CALL}
    assert matcher.accept_token(CALL) and matcher.is_completed()


def test_a_dispatch_by_tokens(info, compiler):
    rules = [["<|call|>", {"type": "const_string", "value": "c"}], [OTHER, {"type": "const_string", "value": "o"}]]
    matcher = GrammarMatcher(compiler.compile_grammar(tag(type="token_dispatch", rules=rules, loop=False)))
    assert matcher.accept_string("ab") and matcher.accept_token(OTHER)
    assert allowed(matcher, info.vocab_size) == set(ids("o"))


def test_any_tokens_but_some(info, compiler):
    content = {"type": "any_tokens", "exclude_tokens": ["<|end|>", STOP]}
    matcher = GrammarMatcher(compiler.compile_grammar(tag(**{**TOOL, "content": content})))
    assert matcher.accept_token(CALL)
    for step in (OTHER, VOCAB.index("ab"), CALL):
        assert allowed(matcher, info.vocab_size) >= {CALL, END, OTHER, VOCAB.index("ab")}
        assert matcher.accept_token(step)
    assert matcher.accept_token(END) and allowed(matcher, info.vocab_size) == {STOP}
    matcher = GrammarMatcher(compiler.compile_grammar(tag(type="any_tokens")))
    assert allowed(matcher, info.vocab_size) >= {CALL, END, OTHER, STOP, VOCAB.index("ab")}


def test_any_text_or_a_token(info, compiler):
    matcher = matcher_of(compiler, 'start: /(.|\\n)*/ | <|call|> "a"')
    assert allowed(matcher, info.vocab_size) >= {CALL, STOP, *ids("ab")} and matcher.accept_token(CALL)
    assert allowed(matcher, info.vocab_size) == {ids("a")[0]}


def test_in_ebnf(info, compiler):
    grammar = Grammar.ebnf('root ::= <|call|> thought <|end|> "a"\nthought ::= !<|end|>*')
    matcher = GrammarMatcher(compiler.compile_grammar(grammar))
    assert allowed(matcher, info.vocab_size) == {CALL}
    assert matcher.accept_token(CALL) and matcher.accept_string("why? ") and matcher.accept_token(OTHER)
    assert matcher.accept_token(END) and allowed(matcher, info.vocab_size) == {ids("a")[0]}
    assert matcher.accept_string("a") and matcher.is_completed()
    assert matcher.captures(["thought"]) == {"thought": ["why? "]}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("<|nobody|>", "no token"),
        ("<|stop|>", "ends the text"),
        ("!<think>*", "only special tokens"),
        ("!<think>", "only special tokens"),
        ("ExcludeToken(97)", "only special tokens"),
        ("<[^4000000000]>", "no token 4000000000"),
        ("!a", "a token is written"),
        ("!<[1-4000000000]>*", "no token 4000000000"),
    ],
)
def test_what_ebnf_cannot_ask_for(compiler, written, said):
    with pytest.raises(GrammarError, match=said) as caught:
        compiler.compile_grammar(Grammar.ebnf(f'root ::= "a"\n  | {written}'))
    assert (caught.value.line, caught.value.column) == (2, 5)


@pytest.mark.parametrize(
    ("format", "pointer"),
    [
        ({"type": "token", "token": "<|nobody|>"}, "/format/token"),
        ({"type": "token", "token": 1.5}, "/format/token"),
        ({"type": "exclude_token", "exclude_tokens": ["a"]}, "/format/exclude_tokens"),
        ({"type": "exclude_token", "max_tokens": 1}, "/format/max_tokens"),
        ({"type": "any_tokens", "exclude_tokens": ["a"]}, "/format/exclude_tokens"),
        ({"type": "any_tokens", "exclude_tokens": [[1]]}, "/format/exclude_tokens/0"),
        ({"type": "token_triggered_tags", "trigger_tokens": [], "tags": [TOOL]}, "/format/trigger_tokens"),
        ({**TOOL, "end": {"type": "tag", "token": "<|end|>"}}, "/format/end/type"),
    ],
)
def test_mistakes_in_tags_have_their_place(compiler, format, pointer):
    with pytest.raises(GrammarError, match=pointer):
        compiler.compile_grammar(tag(**format))


def exclude(*tokens: object) -> dict[str, object]:
    return {"type": "exclude_token", "exclude_tokens": list(tokens)}


def text(value: str) -> dict[str, object]:
    return {"type": "const_string", "value": value}


@pytest.mark.parametrize(
    "grammar",
    [
        tag(type="sequence", elements=[text("{"), exclude("<|call|>", END, "<|stop|>"), text("}")]),
        Grammar.ebnf(f'root ::= "{{" ExcludeToken({CALL}, {END}) "}}"'),
        Grammar.ebnf('root ::= "{" !<[262,263]> "}"'),
        Grammar.lark(f'start: "{{" <[^{CALL}-{END}]> "}}"'),
    ],
    ids=["tag", "ebnf", "gbnf", "lark"],
)
def test_one_token_whichever_it_is(info, compiler, grammar):
    size = info.vocab_size
    compiled = compiler.compile_grammar(grammar)
    opened = GrammarMatcher(compiled)
    assert allowed(opened, size) == {ids("{")[0], VOCAB.index('{"')}
    assert opened.accept_token(ids("{")[0])
    some = allowed(opened, size)
    assert {OTHER, *ids("ab{"), *(VOCAB.index(word) for word in ("ab", "abc", '"}'))} <= some
    assert not some & {CALL, END, STOP}
    for token in some:
        matcher = opened.fork()
        assert matcher.accept_token(token)
        wrote = VOCAB[token] if token < 256 + len(WORDS) else ""
        text = wrote if isinstance(wrote, bytes) else wrote.encode()
        if matcher.is_completed():
            # The token wrote what follows, too.
            assert text.endswith(b"}") and len(text) > 1 and allowed(matcher, size) >= {STOP}
        elif text[:1] < b"\x80":
            assert allowed(matcher, size) == set(ids("}"))
        else:
            # A character of several tokens counts with the last.
            assert ids("}")[0] not in allowed(matcher, size)
    # The part that stands before may be of the same token.
    matcher = GrammarMatcher(compiled)
    assert matcher.accept_token(VOCAB.index('{"')) and allowed(matcher, size) == set(ids("}"))


def test_any_token_and_several_of_them(info, compiler):
    size = info.vocab_size
    matcher = matcher_of(compiler, 'start: <[*]> "x"')
    assert allowed(matcher, size) >= {CALL, END, OTHER, *ids("ax")} and not matcher.is_completed()
    assert matcher.accept_token(CALL) and allowed(matcher, size) == set(ids("x"))
    matcher = matcher_of(compiler, f"start: <[^{END}]>~2")
    assert END not in allowed(matcher, size)
    # One token may write what both of them have, and no more than two come.
    assert matcher.accept_token(VOCAB.index("abc")) and matcher.is_completed()
    assert matcher.accept_token(OTHER) and allowed(matcher, size) == {STOP}
    matcher = matcher_of(compiler, f"start: <[^{END}]>~2")
    assert matcher.accept_token(ids("a")[0]) and not matcher.is_completed()
    assert matcher.accept_token(ids("b")[0]) and allowed(matcher, size) == {STOP}


def test_names_in_tags_are_the_tokens(info, compiler):
    size = info.vocab_size
    tool = {"type": "tag", "begin": "<|call|>f:", "content": {"type": "regex", "pattern": "[0-9]"}, "end": "<|end|>"}
    other = {**tool, "begin": "<|other|>"}
    matcher = GrammarMatcher(
        compiler.compile_grammar(tag(type="tags_with_separator", tags=[tool], separator="<|other|>;"))
    )
    assert allowed(matcher, size) == {CALL, STOP}
    for step in ([CALL, *ids("f:1"), END, OTHER, *ids(";"), CALL, *ids("f:2"), END],):
        assert matcher.validate_tokens(step) == len(step)
    for token in (CALL, *ids("f:1")):
        assert matcher.accept_token(token)
    assert allowed(matcher, size) == {END}
    assert matcher.accept_token(END) and allowed(matcher, size) == {OTHER, STOP}
    # What a text has to be elsewhere is one in no other spelling.
    assert not GrammarMatcher(compiler.compile_grammar(tag(**tool))).accept_string("<")

    # Free text goes on as text; a trigger that ends inside of a name waits for the token.
    for triggers in (["<|call|>", "<|other|>"], ["<|call", "<|oth"], ["<"]):
        triggered = tag(type="triggered_tags", triggers=triggers, tags=[tool, other], excludes=["<|end|>", "no"])
        matcher = GrammarMatcher(compiler.compile_grammar(triggered))
        free = allowed(matcher, size)
        assert {CALL, OTHER, STOP, *ids("ab")} <= free and END not in free
        assert matcher.accept_string("n") and ids("o")[0] not in allowed(matcher, size)
        assert matcher.accept_token(CALL) and allowed(matcher, size) == set(ids("f"))
        assert matcher.accept_string("f:1") and matcher.accept_token(END)
        assert matcher.accept_token(OTHER) and allowed(matcher, size) == set(ids("0123456789"))
    with pytest.raises(GrammarError, match="/format/tags/0/begin"):
        compiler.compile_grammar(tag(type="triggered_tags", triggers=["<|other|>", "|call"], tags=[tool]))

    rules = [["<|call|>", {"type": "const_string", "value": "a<|end|>"}]]
    matcher = GrammarMatcher(compiler.compile_grammar(tag(type="dispatch", rules=rules)))
    assert matcher.accept_string("x") and matcher.accept_token(CALL) and matcher.accept_token(ids("a")[0])
    assert allowed(matcher, size) == {END}
    old = {
        "structures": [{"begin": "<|call|>", "schema": {"type": "null"}, "end": "<|end|>"}],
        "triggers": ["<|call|>"],
    }
    matcher = GrammarMatcher(compiler.compile_grammar(Grammar.structural_tag(old)))
    assert matcher.accept_token(CALL) and matcher.accept_string("null") and allowed(matcher, size) == {END}


def test_the_name_of_a_stop_token_ends_a_tag(info, compiler):
    size = info.vocab_size
    text = {"type": "any_text", "excludes": ["x"]}
    both = tag(type="tag", begin="", content=text, end=["<|end|>", "<|stop|>", "</a>"])
    matcher = GrammarMatcher(compiler.compile_grammar(both))
    assert matcher.accept_string("abc") and not matcher.accept_string("x")
    assert {END, STOP} <= allowed(matcher, size) and CALL not in allowed(matcher, size)
    ended = matcher.fork()
    assert ended.accept_token(END) and allowed(ended, size) == {STOP}
    assert matcher.accept_string("</a>") and allowed(matcher, size) == {STOP}
    number = tag(type="tag", begin="n", content={"type": "regex", "pattern": "[0-9]+"}, end=".<|stop|>")
    matcher = GrammarMatcher(compiler.compile_grammar(number))
    assert matcher.accept_string("n12.") and allowed(matcher, size) == {STOP}
    # Anywhere else it can't stand, so that there it is a text.
    matcher = GrammarMatcher(compiler.compile_grammar(tag(type="const_string", value="<|stop|>a")))
    assert matcher.accept_string("<|stop|>a") and matcher.is_completed()


def test_special_tokens_of_a_tokenizer():
    pytest.importorskip("transformers")
    from tests import tiny

    call = tiny.added_token("<|call|>", special=True)
    info = TokenizerInfo.from_huggingface(tiny.byte_level_bpe(added=(call,)))
    matcher = matcher_of(GrammarCompiler(info), 'start: <|call|> "a"')
    assert info.token_bytes(info.special_tokens["<|call|>"]) is None
    assert allowed(matcher, info.vocab_size) == {info.special_tokens["<|call|>"]}
