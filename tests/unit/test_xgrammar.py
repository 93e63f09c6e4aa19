"""fairlead.xgrammar: the names and defaults of XGrammar, and what both say of the same texts."""

from __future__ import annotations

import inspect
import json
import pickle
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from fairlead import xgrammar as xgr  # noqa: E402
from fairlead.errors import GrammarError, LimitExceeded, SchemaError, TokenizerError  # noqa: E402

try:
    import xgrammar as theirs
except ImportError:
    theirs = None

VOCAB: list[bytes] = [bytes([byte]) for byte in range(256)] + [b"</s>", b'{"', b'":', b"true", b"12", b'"}']
STOP = 256

SCHEMAS: list[tuple[Any, list[str]]] = [
    ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]},
     ['{"a":1}', '{"a": 1, "b": [2]}', '{"b":1}', '{"a":1,"c":2}', "{}"]),
    ({"type": "object"}, ['{"x":1}', "{}", "[]"]),
    ({"type": "array", "prefixItems": [{"type": "integer"}]}, ["[1]", "[1,2]", '["a"]']),
    ({"type": "array", "items": {"enum": ["a", "b"]}}, ['["a","b"]', "[]", '["c"]']),
    ({"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}}]}, ['{"a":1}', '{"a":1,"b":2}']),
    ({"type": "string", "pattern": "^[a-c]+$"}, ['"abc"', '"d"', '""']),
    ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}}}},
     ['{"n":{"n":{}}}', '{"n":1}', '{"m":1}']),
]  # fmt: skip


def info() -> xgr.TokenizerInfo:
    return xgr.TokenizerInfo(VOCAB, stop_token_ids=[STOP])


def accepts(matcher: Any, text: str) -> bool:
    return bool(matcher.accept_string(text) and matcher.is_completed())


@pytest.mark.parametrize(("schema", "texts"), SCHEMAS, ids=[json.dumps(s)[:40] for s, _ in SCHEMAS])
@pytest.mark.parametrize("strict", [True, False])
def test_schemas_mean_what_they_mean_there(schema: Any, texts: list[str], strict: bool) -> None:
    compiled = xgr.GrammarCompiler(info()).compile_json_schema(json.dumps(schema), strict_mode=strict)
    found = [accepts(xgr.GrammarMatcher(compiled), text) for text in texts]
    import jsonschema

    valid = [not list(jsonschema.Draft202012Validator(schema).iter_errors(json.loads(text))) for text in texts]
    assert all(v or not f for f, v in zip(found, valid, strict=True))
    if not strict:
        assert found == valid
    if theirs is not None:
        known = theirs.TokenizerInfo(VOCAB, stop_token_ids=[STOP])
        other = theirs.GrammarCompiler(known).compile_json_schema(json.dumps(schema), strict_mode=strict)
        assert found == [accepts(theirs.GrammarMatcher(other), text) for text in texts]


def test_strict_mode_closes_what_is_declared() -> None:
    schema, texts = SCHEMAS[0]
    compiled = xgr.GrammarCompiler(info()).compile_json_schema(schema)
    assert [accepts(xgr.GrammarMatcher(compiled), text) for text in texts] == [True, True, False, False, False]


def test_separators_are_fixed_without_any_whitespace() -> None:
    compiler = xgr.GrammarCompiler(info())
    spaced = compiler.compile_json_schema({"type": "array"}, any_whitespace=False)
    tight = compiler.compile_json_schema({"type": "array"}, any_whitespace=False, separators=(",", ":"))
    for text, expected in [("[1, 2]", (True, False)), ("[1,2]", (False, True))]:
        assert (accepts(xgr.GrammarMatcher(spaced), text), accepts(xgr.GrammarMatcher(tight), text)) == expected
    lines = compiler.compile_json_schema({"type": "array"}, any_whitespace=False, indent=2)
    for text, expected in [("[\n  1,\n  2\n]", True), ("[1, 2]", False), ("[\n  1, \n  2\n]", False)]:
        assert accepts(xgr.GrammarMatcher(lines), text) == expected


def test_whitespace_of_a_greatest_length() -> None:
    both = [(xgr, info())] + ([] if theirs is None else [(theirs, theirs.TokenizerInfo(VOCAB, stop_token_ids=[STOP]))])
    for module, known in both:
        for most in (1, 4):
            compiled = module.GrammarCompiler(known).compile_json_schema('{"type": "array"}', max_whitespace_cnt=most)
            for space in ("", " ", "\n", "\n ", "  ", " \t\r\n", "\n    "):
                found = accepts(module.GrammarMatcher(compiled), f"[{space}1]")
                assert found == (len(space) <= most), (module, most, space)


# What is said of parameters in tags, by both.
PARAMETERS = {
    "type": "object",
    "properties": {
        "s": {"type": "string"},
        "n": {"type": "integer"},
        "e": {"enum": ["a", "b"]},
        "l": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["s"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("style", "key", "text", "json_", "close"),
    [
        ("qwen_xml", "<parameter=", ">", ">", "</parameter>"),
        ("minimax_xml", '<parameter name="', '">', '">', "</parameter>"),
        ("glm_xml", "<arg_key>", "</arg_key>\n<arg_value>", "</arg_key><arg_value>", "</arg_value>"),
        ("deepseek_xml", '<｜DSML｜parameter name="', '" string="true">', '" string="false">', "</｜DSML｜parameter>"),
    ],
)
def test_parameters_in_tags(style: str, key: str, text: str, json_: str, close: str) -> None:
    s, n = f"{key}s{text}x <b>\ny{close}", f"{key}n{json_}12{close}"
    texts = {
        s: True,
        f"\n{s}\n{n}\n": True,
        f"{s}{key}e{text}a{close}{key}l{json_}[1, 2]{close}": True,
        n: False,
        f"{n}{s}": False,
        f"{s}{key}n{json_}x{close}": False,
        f"{s}{key}e{text}c{close}": False,
        f"{s}{key}q{text}c{close}": False,
        f"{s}{s}": False,
    }
    tag = {"type": "json_schema", "json_schema": PARAMETERS, "style": style}
    tag = {"type": "structural_tag", "format": tag}
    both = [(xgr, info())] + ([] if theirs is None else [(theirs, theirs.TokenizerInfo(VOCAB, stop_token_ids=[STOP]))])
    for module, known in both:
        compiled = module.GrammarCompiler(known).compile_structural_tag(json.dumps(tag))
        assert {one: accepts(module.GrammarMatcher(compiled), one) for one in texts} == texts, module


def test_the_loop_of_a_server() -> None:
    compiler = xgr.GrammarCompiler(info())
    matcher = xgr.GrammarMatcher(compiler.compile_grammar('root ::= "{" ws "}"\nws ::= " "*'))
    bitmask = xgr.allocate_token_bitmask(1, info().vocab_size)
    assert bitmask.shape == (1, 9) and bitmask.dtype == xgr.bitmask_dtype and bool((bitmask == -1).all())
    logits = torch.zeros(1, info().vocab_size)
    assert matcher.fill_next_token_bitmask(bitmask)
    xgr.apply_token_bitmask_inplace(logits, bitmask)
    assert logits[0].isfinite().nonzero().flatten().tolist() == [ord("{")]
    assert matcher.accept_token(ord("{")) and not matcher.accept_token(ord("x"))
    assert matcher.accept_token(ord("}")) and matcher.is_completed()
    assert matcher.accept_token(STOP) and matcher.is_terminated()
    matcher.rollback(2)
    assert not matcher.is_completed()
    xgr.reset_token_bitmask(bitmask)
    assert bool((bitmask == -1).all())


def test_a_draft_tree_fills_the_rows_of_what_is_accepted() -> None:
    compiled = xgr.GrammarCompiler(info()).compile_grammar('root ::= "a" ("b" | "c") "d"')
    matcher = xgr.GrammarMatcher(compiled)
    # 0 -> 1 "a" -> (2 "b" -> 4 "d", 3 "x" -> 5 "d"); 3's sibling 6 "c"
    child = torch.tensor([1, 2, 4, 5, -1, -1, -1])
    sibling = torch.tensor([-1, -1, 3, 6, -1, -1, -1])
    tokens = torch.tensor([0, *b"abxddc"])
    rows = xgr.allocate_token_bitmask(7, info().vocab_size)
    assert matcher.traverse_draft_tree(child, sibling, tokens, rows)

    def allowed(row: int) -> list[int]:
        return [i for i in range(256) if int(rows[row, i // 32]) >> (i % 32) & 1]

    assert [allowed(row) for row in (0, 1, 2, 6)] == [[ord("a")], [ord("b"), ord("c")], [ord("d")], [ord("d")]]
    assert allowed(4) == []  # only the end may follow
    assert bool((rows[3] == -1).all()) and bool((rows[5] == -1).all())
    assert matcher.accept_string("abd") and matcher.is_completed()


def test_named_grammars_of_lark() -> None:
    named = {"n": xgr.Grammar.from_json_schema({"type": "integer"}), "end": 'start: "." | ";"'}
    made = xgr.Grammar.from_lark('start: "<" @n ">" @end', named_grammars=named)
    for grammar in (made, xgr.Grammar.deserialize_json(made.serialize_json())):
        for text, whole in {"<12>.": True, "<1>;": True, "<x>.": False, "<1>": False}.items():
            matcher = xgr.GrammarMatcher(xgr.GrammarCompiler(info()).compile_grammar(grammar))
            assert (matcher.accept_string(text) and matcher.is_completed()) is whole
    compiled = xgr.GrammarCompiler(info()).compile_lark("start: @n", named_grammars=named)
    assert accepts(xgr.GrammarMatcher(compiled), "12")


def test_batches() -> None:
    compiled = xgr.GrammarCompiler(info()).compile_regex("ab*")
    batch = xgr.BatchGrammarMatcher()
    matchers = [xgr.GrammarMatcher(compiled) for _ in range(3)]
    assert batch.batch_accept_token(matchers, [ord("a"), ord("b"), ord("a")]) == [True, False, True]
    rows = xgr.allocate_token_bitmask(4, info().vocab_size)
    batch.batch_fill_next_token_bitmask(matchers, rows)
    one = xgr.allocate_token_bitmask(4, info().vocab_size)
    batch.batch_fill_next_token_bitmask(matchers, one, indices=[3, 2, 1])
    assert bool((rows[0] == one[3]).all()) and bool((rows[1] == one[2]).all()) and bool((one[0] == -1).all())
    for wrong in ([0, 1, 4], [0, -1, 1]):
        with pytest.raises(IndexError, match=r"no row (4|-1)"):
            batch.batch_fill_next_token_bitmask(matchers, one, indices=wrong)
    for wrong in ([0, 1, 1], [0, 1]):
        with pytest.raises(GrammarError, match=r"two matchers have row 1|one index for each"):
            batch.batch_fill_next_token_bitmask(matchers, one, indices=wrong)
    batch.batch_rollback([matchers[0]], 1)
    assert matchers[0].accept_token(ord("a"))


def test_grammars_survive_saving_and_other_tokenizers_are_refused() -> None:
    made = xgr.Grammar.union(
        xgr.Grammar.from_json_schema({"type": "integer"}, any_order=True),
        xgr.Grammar.concat(xgr.Grammar.from_regex("x+"), xgr.Grammar.from_ebnf('root ::= "y"')),
    )
    again = xgr.Grammar.deserialize_json(made.serialize_json())
    assert again.grammar == made.grammar
    compiled = xgr.GrammarCompiler(info()).compile_grammar(made)
    text = compiled.serialize_json()
    assert accepts(xgr.GrammarMatcher(xgr.CompiledGrammar.deserialize_json(text, info())), "xxy")
    other = xgr.TokenizerInfo([*VOCAB, b"more"], stop_token_ids=[STOP])
    with pytest.raises(TokenizerError):
        xgr.CompiledGrammar.deserialize_json(text, other)
    with pytest.raises(GrammarError):
        xgr.Grammar.deserialize_json('{"fairlead": 99, "grammar": ["json"]}')
    known = xgr.TokenizerInfo.deserialize_json(info().serialize_json())
    assert known.decoded_vocab == info().decoded_vocab and known.stop_token_ids == [STOP]


@pytest.mark.parametrize("kind", list(xgr.VocabType))
def test_vocabularies_are_decoded(kind: xgr.VocabType) -> None:
    written = {"RAW": [" a", "\n"], "BYTE_FALLBACK": ["\u2581a", "<0x0A>"], "BYTE_LEVEL": ["\u0120a", "\u010a"]}[
        kind.name
    ]
    made = xgr.TokenizerInfo([*written, "</s>"], kind)
    assert made.decoded_vocab[:2] == [b" a", b"\n"] and made.stop_token_ids == [2]
    assert xgr.TokenizerInfo.from_vocab_and_metadata([*written, "</s>"], made.dump_metadata()).decoded_vocab[0] == b" a"


@pytest.mark.skipif(theirs is None, reason="xgrammar isn't installed")
def test_names_and_defaults_are_those_of_xgrammar() -> None:
    def shape(function: Any) -> list[tuple[str, Any, Any]]:
        parameters = inspect.signature(function).parameters.values()
        kinds = (theirs.VocabType, xgr.VocabType)
        return [(p.name, p.kind, str(p.default) if isinstance(p.default, kinds) else p.default) for p in parameters]

    for name in ("allocate_token_bitmask", "apply_token_bitmask_inplace", "get_bitmask_shape", "reset_token_bitmask"):
        assert shape(getattr(xgr, name)) == shape(getattr(theirs, name)), name
    classes = (
        "TokenizerInfo",
        "GrammarCompiler",
        "CompiledGrammar",
        "Grammar",
        "GrammarMatcher",
        "BatchGrammarMatcher",
    )
    for cls in classes:
        ours, known = getattr(xgr, cls), getattr(theirs, cls)
        for name, value in vars(known).items():
            if name.startswith("_") and (name != "__init__" or cls in ("Grammar", "CompiledGrammar")):
                continue
            mine = inspect.getattr_static(ours, name)
            assert isinstance(mine, property) == isinstance(value, property), f"{cls}.{name}"
            if not isinstance(value, property):
                assert shape(getattr(ours, name)) == shape(getattr(known, name)), f"{cls}.{name}"


def test_captures_of_marked_rules() -> None:
    lark = 'start: pair ("," pair)*\npair[capture]: key "=" value\nkey[capture="k"]: /[a-z]/\nvalue: /[0-9]/\n'
    text = "a=1,b=2"
    matcher = xgr.GrammarMatcher(xgr.GrammarCompiler(info()).compile_grammar(xgr.Grammar.from_lark(lark)))
    assert matcher.accept_string(text)
    found = matcher.get_captures()
    assert found == [("k", b"a"), ("pair", b"a=1"), ("k", b"b"), ("pair", b"b=2")]
    with pytest.raises(GrammarError, match="deduplicate"):
        matcher.get_captures(deduplicate=False)
    if theirs is not None:
        tokenizer = theirs.TokenizerInfo(VOCAB, stop_token_ids=[STOP])
        grammar = theirs.Grammar.from_lark(lark)
        same = theirs.GrammarMatcher(theirs.GrammarCompiler(tokenizer).compile_grammar(grammar))
        assert same.accept_string(text) and same.get_captures() == found


def test_errors_are_runtime_errors_and_fairlead_s_own() -> None:
    compiler = xgr.GrammarCompiler(info())
    tag = {"type": "structural_tag", "format": {"type": "nope"}}
    nothing = {"type": "integer", "minimum": 2, "maximum": 1}
    for work, ours, theirs in [
        (lambda: compiler.compile_regex("("), GrammarError, RuntimeError),
        (lambda: compiler.compile_grammar("root ::= other"), GrammarError, RuntimeError),
        (lambda: compiler.compile_json_schema("{bad"), SchemaError, xgr.InvalidJSONError),
        (lambda: compiler.compile_json_schema(nothing), SchemaError, RuntimeError),
        (lambda: compiler.compile_json_schema({"$ref": "http://x/y"}), SchemaError, RuntimeError),
        (lambda: compiler.compile_json_schema({"minLength": "1"}), SchemaError, RuntimeError),
        (lambda: compiler.compile_structural_tag("{bad"), SchemaError, xgr.InvalidJSONError),
        (lambda: compiler.compile_structural_tag(tag), GrammarError, xgr.InvalidStructuralTagError),
        (lambda: xgr.StructuralTag(format={}), GrammarError, xgr.InvalidStructuralTagError),
        (lambda: xgr.StructuralTag.from_json('{"type": 1}'), GrammarError, xgr.InvalidStructuralTagError),
        (lambda: xgr.StructuralTag.from_json("{"), SchemaError, xgr.InvalidJSONError),
        (lambda: xgr.Grammar.deserialize_json("{bad"), SchemaError, xgr.InvalidJSONError),
        (lambda: xgr.Grammar.deserialize_json("{}"), GrammarError, xgr.DeserializeVersionError),
        (lambda: xgr.Grammar.deserialize_json('{"fairlead": 1}'), GrammarError, xgr.DeserializeFormatError),
        (lambda: compiler.compile_grammar("root ::= " + "(" * 5000), LimitExceeded, RuntimeError),
    ]:
        with pytest.raises(theirs) as raised:
            work()
        assert isinstance(raised.value, ours) and isinstance(raised.value, RuntimeError)
        again = pickle.loads(pickle.dumps(raised.value))
        assert type(again) is type(raised.value) and str(again) == str(raised.value)
    with pytest.raises(RuntimeError) as raised:
        compiler.compile_grammar('root ::= "a"\n  b')
    assert (raised.value.line, raised.value.column) == (2, 3)


def test_structural_tags_as_objects() -> None:
    item = xgr.StructuralTagItem(begin="<f>", schema={"type": "integer"}, end="</f>")
    old = xgr.StructuralTag.from_legacy_structural_tag([item], ["<f"])
    text = xgr.StructuralTagItem(begin="<f>", schema='{"type": "integer"}', end="</f>")
    compiler = xgr.GrammarCompiler(info())
    for compiled in (
        compiler.compile_structural_tag(old),
        compiler.compile_structural_tag(old.model_dump_json()),
        compiler.compile_structural_tag([item], ["<f"]),
        compiler.compile_structural_tag([text.model_dump(by_alias=True)], triggers=["<f"]),
        compiler.compile_structural_tag(xgr.StructuralTag.from_json(old.model_dump())),
    ):
        for written, whole in {"so <f>12</f>": True, "so <f>x</f>": False, "<g": True, "<f": False}.items():
            matcher = xgr.GrammarMatcher(compiled)
            assert (matcher.accept_string(written) and matcher.is_completed()) is whole
    assert xgr.get_serialization_version() in xgr.Grammar.from_regex("a").serialize_json()


def test_theirs_as_objects_here() -> None:
    formats = pytest.importorskip("xgrammar.structural_tag")
    content = formats.JSONSchemaFormat(json_schema={"type": "integer"})
    tag = formats.TagFormat(begin="<", content=content, end=">")
    assert theirs is not None
    for made in (theirs.StructuralTag(format=tag), xgr.StructuralTag(format=tag)):
        matcher = xgr.GrammarMatcher(xgr.GrammarCompiler(info()).compile_structural_tag(made))
        assert matcher.accept_string("<12>") and matcher.is_completed()


def test_a_processor_for_transformers() -> None:
    compiled = [xgr.GrammarCompiler(info()).compile_regex(pattern) for pattern in ("ab", "[cd]+")]
    processor = xgr.contrib.hf.LogitsProcessor(compiled)
    ids = torch.tensor([[1], [1]])
    scores = processor(ids, torch.zeros(2, info().vocab_size))
    assert [row.isfinite().nonzero().flatten().tolist() for row in scores] == [[ord("a")], [ord("c"), ord("d")]]
    ids = torch.tensor([[1, ord("a")], [1, ord("d")]])
    scores = xgr.contrib.hf.LogitsProcessor(compiled[1])(ids[1:, :1], torch.zeros(1, info().vocab_size))
    assert scores.isfinite().sum() == 2
    scores = processor(ids, torch.zeros(2, info().vocab_size))
    assert [row.isfinite().nonzero().flatten().tolist() for row in scores] == [[ord("b")], [ord("c"), ord("d"), STOP]]
