"""Grammars: the golden cases that Rust reads too, operators, options and typed errors."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fairlead import allocate_token_bitmask
from fairlead._core import CompiledGrammar, Compiler, Grammar, GrammarMatcher, Vocabulary, unknown_schema_keywords
from fairlead.errors import (
    FairleadError,
    GrammarError,
    LimitExceeded,
    SchemaError,
    TokenizerError,
    UnsupportedSchemaError,
)
from fairlead.grammar import GrammarCompiler
from fairlead.tokenizer import TokenizerInfo

DATA = Path(__file__).parent.parent / "data"


def golden(folder: str, kind: str) -> list[Any]:
    found = []
    for file in sorted((DATA / folder).glob("*.toml")):
        for case in tomllib.loads(file.read_text("utf-8")).get(kind, []):
            found.append(pytest.param(case, id=f"{file.stem}: {case['name']}"))
    assert found, folder
    return found


@cache
def vocabulary() -> Vocabulary:
    return Vocabulary([bytes([b]) for b in range(256)] + [None], stop_token_ids=[256])


@cache
def compiler() -> Compiler:
    return Compiler(vocabulary())


def compile_(grammar: Grammar, **limits: int) -> CompiledGrammar:
    return (Compiler(vocabulary(), limits=limits) if limits else compiler()).compile(grammar)


def grammar_of(case: dict[str, Any]) -> Grammar:
    if "pattern" in case:
        return Grammar.regex(case["pattern"])
    options = dict(case.get("options", {}))
    if "separators" in options:
        options["separators"] = tuple(options["separators"])
    return Grammar.json_schema(case["schema"], **options)


def taken(matcher: GrammarMatcher, text: str) -> int:
    """How many bytes of a text are accepted, one by one."""
    raw = text.encode()
    return next((i for i in range(len(raw)) if not matcher.accept_string(raw[i : i + 1])), len(raw))


@pytest.mark.parametrize("case", golden("regex", "case") + golden("json_schema", "case"))
def test_golden_cases(case: dict[str, Any]) -> None:
    compiled = compile_(grammar_of(case))
    for text in case.get("accept", []):
        matcher = GrammarMatcher(compiled)
        whole = len(text.encode())
        assert (taken(matcher, text), matcher.is_completed()) == (whole, True), text
        matcher.reset()
        assert matcher.accept_string(text) and matcher.is_completed(), text
    for text in case.get("refuse", []):
        matcher = GrammarMatcher(compiled)
        assert taken(matcher, text) < len(text.encode()) or not matcher.is_completed(), text
    for text in case.get("dead", []):
        matcher = GrammarMatcher(compiled)
        assert taken(matcher, text) < len(text.encode()), text
        matcher.reset()
        assert not matcher.accept_string(text), text


@pytest.mark.parametrize("case", golden("regex", "error") + golden("json_schema", "error"))
def test_golden_errors(case: dict[str, Any]) -> None:
    default = "grammar" if "pattern" in case else "schema"
    kinds = {
        "grammar": GrammarError,
        "schema": SchemaError,
        "unsupported": UnsupportedSchemaError,
        "limit": LimitExceeded,
    }
    with pytest.raises(FairleadError) as raised:
        compile_(grammar_of(case), **case.get("limits", {}))
    error = raised.value
    assert type(error) is kinds[case.get("kind", default)], error
    assert isinstance(error, ValueError) == (type(error) is not LimitExceeded)
    for field in ("offset", "pointer", "keyword"):
        if field in case:
            assert getattr(error, field) == case[field], (field, error)


def sentences(grammar: Grammar, *texts: str) -> list[str]:
    matcher = GrammarMatcher(compile_(grammar))
    found = []
    for text in texts:
        matcher.reset()
        if matcher.accept_string(text) and matcher.is_completed():
            found.append(text)
    return found


def test_choice() -> None:
    grammar = Grammar.choice(["yes", "no", "not sure", 'é"', "yes"])
    assert sentences(grammar, "yes", "no", "not", "not sure", 'é"', "", "yesno") == ["yes", "no", "not sure", 'é"']
    for texts in ([], ["a", ""]):
        with pytest.raises(GrammarError):
            compile_(Grammar.choice(texts))


def test_operators() -> None:
    either = Grammar.regex("[0-9]+") | Grammar.choice(["none"])
    assert sentences(either, "12", "none", "12none", "") == ["12", "none"]
    line = Grammar.regex("n: ?") + either + Grammar.regex(";?")
    assert sentences(line, "n: 12;", "n:none", "n: ", "12") == ["n: 12;", "n:none"]
    wrapped = Grammar.choice(["<a>"]) + Grammar.json_schema({"type": "array"}) + Grammar.choice(["</a>"])
    assert sentences(wrapped, "<a>[1]</a>", "<a>[1]", "[1]") == ["<a>[1]</a>"]
    # No maximal munch: what one part takes, the next can have instead.
    assert sentences(Grammar.regex("a*") + Grammar.regex("ab"), "ab", "aaab", "aaa") == ["ab", "aaab"]
    assert sentences(Grammar.regex("a?") + Grammar.regex("b?"), "", "a", "b", "ab", "ba") == ["", "a", "b", "ab"]
    assert sentences(Grammar.json() + Grammar.json(), "1[]", "12", "1") == ["1[]", "12"]
    for other in (3, "text", None):
        with pytest.raises(TypeError):
            _ = Grammar.json() | other  # type: ignore[operator]
        with pytest.raises(TypeError):
            _ = Grammar.json() + other  # type: ignore[operator]


def test_an_operand_that_no_text_satisfies() -> None:
    dead = Grammar.regex("a$b")
    assert sentences(dead | Grammar.regex("c"), "c", "a") == ["c"]
    with pytest.raises(GrammarError):
        compile_(dead + Grammar.regex("c"))


def test_grammars_are_values() -> None:
    same = [Grammar.json_schema({"type": "null"}, whitespace="compact") for _ in range(2)]
    assert same[0] == same[1] and hash(same[0]) == hash(same[1])
    assert same[0] != Grammar.json_schema({"type": "null"}) and Grammar.regex("a") != Grammar.choice(["a"])
    assert "null" in repr(same[0]) and "a+" in repr(Grammar.regex("a+"))
    assert compile_(same[0]).grammar == same[1]


def test_a_schema_is_text_a_mapping_a_boolean_a_model_or_a_type() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Point(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        x: int
        y: int = 0

    assert sentences(Grammar.json_schema('{"type": "integer"}'), "1", '"a"') == ["1"]
    assert sentences(Grammar.json_schema({"type": "integer"}), "1", '"a"') == ["1"]
    assert sentences(Grammar.json_schema(True), "1", '"a"') == ["1", '"a"']
    assert sentences(Grammar.json_schema(Point), '{"x":1}', '{"x": 1, "y": 2}', '{"y":2}') == [
        '{"x":1}',
        '{"x": 1, "y": 2}',
    ]
    assert sentences(Grammar.json_schema(list[int]), "[1]", "1", '["a"]') == ["[1]"]
    for bad in (3, None, [1]):
        with pytest.raises(TypeError):
            Grammar.json_schema(bad)


@pytest.mark.parametrize(
    "options",
    [
        {"whitespace": "none"},
        {"property_order": "alphabetical"},
        {"draft": "3.5"},
        {"separators": (";", ":")},
        {"separators": (",", "x:")},
        {"separators": (",,", ":")},
        {"separators": (", ", ": "), "whitespace": "none"},
        {"separators": (", ", ": "), "max_whitespace": 2},
        {"indent": 2, "max_whitespace": 2},
        {"whitespace": "compact", "max_whitespace": 2},
        {"indent": "--"},
        {"indent": "\n"},
        {"indent": 65},
        {"indent": -1},
    ],
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Grammar.json_schema({}, **options)
    with pytest.raises(TypeError):
        Grammar.json_schema({}, colour="red")  # type: ignore[call-arg]


def test_limits_are_named() -> None:
    with pytest.raises(ValueError, match="max_colour"):
        Compiler(vocabulary(), limits={"max_colour": 3})
    with pytest.raises((TypeError, ValueError, OverflowError)):
        Compiler(vocabulary(), limits={"max_depth": -1})
    deep = "[" * 300 + "]" * 300
    with pytest.raises(LimitExceeded):
        compile_(Grammar.regex("(" * 500 + "a" + ")" * 500))
    # The depth of an instance is not limited.
    assert sentences(Grammar.json(), deep) == [deep]


def test_a_deep_schema_is_an_error_and_no_crash() -> None:
    for depth in (200, 3000):
        for around in ('{"items":', '{"allOf":[', '{"properties":{"a":', '{"anyOf":[{"not":1},'):
            schema = (
                around * depth + "true" + ("]}" if around.endswith(("[", ",")) else "}" * around.count("{")) * depth
            )
            try:
                compile_(Grammar.json_schema(schema))
            except FairleadError:
                pass


def test_vocabulary() -> None:
    made = Vocabulary([b"a", None, b"", b"\xff"], stop_token_ids=[5, 1, 5], vocab_size=7)
    assert (made.vocab_size, made.stop_token_ids) == (7, [1, 5])
    assert [made.token_bytes(i) for i in (0, 1, 2, 3, 6, 99)] == [b"a", None, b"", b"\xff", None, None]
    # A stop token is never text.
    assert Vocabulary([b"a", b"b"], stop_token_ids=[1]).token_bytes(1) is None
    for bad in (
        {"stop_token_ids": [2]},
        {"stop_token_ids": [], "vocab_size": 1},
        {"stop_token_ids": [], "vocab_size": 1 << 25},
    ):
        with pytest.raises(TokenizerError):
            Vocabulary([b"a", b"b"], **bad)
    with pytest.raises(TokenizerError):
        Vocabulary([b"a" * 70_000], stop_token_ids=[])
    for wrong in ([-1], [1 << 40], ["a"]):
        with pytest.raises((TypeError, OverflowError, ValueError)):
            Vocabulary([b"a"], stop_token_ids=wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Vocabulary(["a"], stop_token_ids=[])  # type: ignore[list-item]


def test_a_compiled_grammar_knows_its_vocabulary() -> None:
    compiled = compile_(Grammar.json())
    assert (compiled.vocab_size, compiled.stop_token_ids) == (257, [256])
    assert compiled.vocabulary.token_bytes(65) == b"A"
    assert GrammarMatcher(compiled).vocab_size == 257
    assert GrammarMatcher(compiled).stop_token_ids == [256]


def test_grammar_compiler() -> None:
    info = TokenizerInfo([bytes([b]) for b in range(256)] + [None], stop_token_ids=[256])
    compiler = GrammarCompiler(info, cache_limit_bytes=1 << 20, limits={"max_depth": 5})
    assert compiler.tokenizer_info is info
    assert isinstance(compiler.compile_regex("a+"), CompiledGrammar)
    assert isinstance(compiler.compile_builtin_json_grammar(), CompiledGrammar)
    assert isinstance(compiler.compile_grammar(Grammar.json()), CompiledGrammar)
    compact = compiler.compile_json_schema({"type": "array"}, whitespace="compact")
    assert not GrammarMatcher(compact).accept_string("[ ")
    assert compiler.cache_bytes > 0
    with pytest.raises(LimitExceeded):
        compiler.compile_regex("((((((((a))))))))")


def test_unknown_keywords_are_listed() -> None:
    schema = '{"x-a": 1, "type": "object", "properties": {"x-b": {"title": "t", "colour": 3}}}'
    assert sorted(unknown_schema_keywords(schema)) == [("/properties/x-b/colour", "colour"), ("/x-a", "x-a")]
    with pytest.raises(SchemaError):
        unknown_schema_keywords("{")


def test_warming_up_changes_nothing():
    info = TokenizerInfo([bytes([b]) for b in range(256)] + [None], stop_token_ids=[256])
    cold, warm = GrammarCompiler(info), GrammarCompiler(info)
    before = warm.cache_bytes
    warm.warm_up()
    assert warm.cache_bytes > before
    rows = []
    for compiler in (cold, warm):
        matcher = GrammarMatcher(compiler.compile_json_schema({"type": "string", "format": "uuid"}))
        bitmask = allocate_token_bitmask(1, 257)
        for character in '"123e4567-':
            matcher.fill_next_token_bitmask(bitmask)
            rows.append(bytes(bitmask))
            assert matcher.accept_string(character)
    assert rows[: len(rows) // 2] == rows[len(rows) // 2 :]


def test_every_value_to_warm_up_with_is_accepted():
    from fairlead import grammar

    for schema, instance in grammar._COMMON:
        compiled = GrammarCompiler(
            TokenizerInfo([bytes([b]) for b in range(256)] + [None], stop_token_ids=[256])
        ).compile_json_schema(schema)
        matcher = GrammarMatcher(compiled)
        assert matcher.accept_string(json.dumps(instance, ensure_ascii=False)) and matcher.is_completed(), schema


def test_equal_mask_ids_are_equal_masks():
    compiled = [compile_(Grammar.regex(pattern)) for pattern in ("[ab]{2}", "[ab]{2}", "[ab][ab]", "x[ab]{2}")]
    matchers = [GrammarMatcher(one) for one in compiled]
    assert len({matcher.mask_id() for matcher in matchers[:2]}) == 1
    assert matchers[3].mask_id() != matchers[0].mask_id()
    matchers[3].accept_string("x")
    seen: dict[int, bytes] = {}
    for text in ("", "a", "ab"):
        for one in compiled:
            matcher = GrammarMatcher(one)
            matcher.accept_string(text)
            bitmask = allocate_token_bitmask(1, 257)
            matcher.fill_next_token_bitmask(bitmask)
            assert seen.setdefault(matcher.mask_id(), bytes(bitmask)) == bytes(bitmask)


def test_values_of_a_fixed_indentation_are_nested_so_deep() -> None:
    compiled = compile_(
        Grammar.json_schema(
            {"$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}, "$ref": "#/$defs/t"}, indent=1
        )
    )

    def nested(depth: int) -> str:
        value: list[Any] = []
        for _ in range(depth - 1):
            value = [value]
        return json.dumps(value, indent=1)

    for depth, expected in [(1, True), (32, True), (33, False)]:
        text = nested(depth)
        assert (taken(GrammarMatcher(compiled), text) == len(text)) == expected
    deep: dict[str, Any] = {"type": "integer"}
    for _ in range(33):
        deep = {"type": "array", "items": deep, "minItems": 1}
    compile_(Grammar.json_schema(deep))
    compile_(Grammar.json_schema(deep["items"], indent=1))
    with pytest.raises(SchemaError, match="nested at most 32 deep"):
        compile_(Grammar.json_schema(deep, indent=1))


GRAMMARS = [
    Grammar.json_schema({"type": "array", "items": {"type": "integer"}}, indent=2, property_order="any"),
    Grammar.regex("a+") + (Grammar.choice(["b", "c"]) | Grammar.ebnf('root ::= "d" root?')),
    Grammar.lark('start: "x" <|go|>'),
]


@pytest.mark.parametrize("grammar", GRAMMARS, ids=str)
def test_compiled_grammars_serialize(grammar: Grammar) -> None:
    tokens = [bytes([b]) for b in range(256)] + [b"ab", "<|go|>", None]

    def compiler_of(tokens: list[Any], special: int, stop: int = 258) -> GrammarCompiler:
        return GrammarCompiler(TokenizerInfo(tokens, stop_token_ids=stop, special_token_ids=[special]))

    compiler = compiler_of(tokens, 257)
    text = compiler.serialize(compiler.compile_grammar(grammar))
    again = compiler_of(tokens, 257).deserialize(text)
    assert again.grammar == grammar and compiler.serialize(again) == text
    assert compiler.deserialize(text) is not None
    others = [
        compiler_of([*tokens[:256], b"ba", *tokens[257:]], 257),
        compiler_of([*tokens[:257], "<|come|>", None], 257),
        compiler_of(tokens, 257, stop=0),
        compiler_of([*tokens, None], 257),
    ]
    for other in others:
        with pytest.raises(TokenizerError, match="another tokenizer"):
            other.deserialize(text)
    data = json.loads(text)
    for bad in ("", "[]", "{}", json.dumps({**data, "fairlead": 0}), json.dumps({**data, "grammar": {"regex": 3}})):
        with pytest.raises(GrammarError):
            compiler.deserialize(bad)


def completes(grammar: Grammar, text: str) -> bool:
    matcher = GrammarMatcher(compiler().compile(grammar))
    return bool(matcher.accept_string(text) and matcher.is_completed())


@pytest.mark.parametrize("ahead", ["", '(= "d")', "(=a)", '(= "c" | [x-z])'])
def test_a_look_ahead_of_xgrammar_constrains_nothing(ahead: str) -> None:
    grammar = Grammar.ebnf(f'root ::= a "c"\na ::= "b" | "ab" {ahead}\n')
    assert [completes(grammar, text) for text in ("bc", "abc", "bd", "b")] == [True, True, False, False]


def test_patterns_in_ebnf() -> None:
    grammar = Grammar.ebnf('root ::= a{2} "!"\na ::= Regex("[0-9]+(x|\\\\.)", json_string=false) | Regex("y?")')
    assert [completes(grammar, text) for text in ("12x3.!", "y!", "!", "1!", "12x3.4x!")] == [True] * 3 + [False] * 2


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ('root ::= (= "a") "b"', 1, 10, "at the end of a rule"),
        ('root ::= ("b" (= "a"))', 1, 15, "at the end of a rule"),
        ('root ::= "b" (= a)', 1, 17, '"a" is not defined'),
        ('root ::= "b"\n  Regex("(?=a)")', 2, 3, "look"),
        ('root ::= Regex("a", json_string=true)', 1, 33, "false"),
        ('root ::= Regex("")', 1, 16, "not empty"),
    ],
)
def test_mistakes_in_ebnf_have_their_place(text: str, line: int, column: int, said: str) -> None:
    with pytest.raises(GrammarError, match=said) as caught:
        compiler().compile(Grammar.ebnf(text))
    assert (caught.value.line, caught.value.column) == (line, column)
