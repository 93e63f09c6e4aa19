"""fairlead.xgrammar's structural tags of models: which answers they admit, and what XGrammar says of the same."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from fairlead import xgrammar as xgr  # noqa: E402
from fairlead.xgrammar import openai_tool_call_schema as schema  # noqa: E402
from fairlead.xgrammar import structural_tag as formats  # noqa: E402

try:
    import xgrammar as theirs
except ImportError:
    theirs = None

VOCAB: list[bytes] = [bytes([byte]) for byte in range(256)] + [b"</s>"]


def function(name: str, **more: Any) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": {"x": {"type": "integer"}, "s": {"type": "string"}},
        "required": ["x"],
    }
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


TOOLS = [function("add"), function("sum_up")]
SEARCH = {"type": "search", "name": "browser.search", "parameters": {"type": "object", "properties": {"q": {}}}}
ADD = {"type": "function", "function": {"name": "add"}}


def completes(library: Any, tag: Any, text: str) -> bool:
    info = library.TokenizerInfo(VOCAB, stop_token_ids=[256])
    matcher = library.GrammarMatcher(library.GrammarCompiler(info).compile_structural_tag(tag))
    return bool(matcher.accept_string(text) and matcher.is_completed())


def admits(model: str, text: str, **options: Any) -> bool:
    """Whether the tag of an answer admits this one; XGrammar's, where there is one, has to say the same."""
    found = completes(xgr, xgr.get_model_structural_tag(model, **options), text)
    if theirs is not None:
        assert completes(theirs, theirs.get_model_structural_tag(model, **options), text) == found
    return found


# A format; a call of `add` with x 1; what stands before and behind all calls, between two, before them where they are
# required; how reasoning begins where the prompt doesn't, and how it ends.
CALLS = [
    ("llama", '{"name": "add", "parameters": {"x": 1}}', "", "", "", "", None),
    ("kimi", '<|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>{"x": 1}<|tool_call_end|>',
     "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "", "", ("", "</think>")),
    ("deepseek_r1", '<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{"x": 1}\n```<｜tool▁call▁end｜>',
     "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "\n", "", ("", "</think>")),
    ("deepseek_v3_1", '<｜tool▁call▁begin｜>add<｜tool▁sep｜>{"x": 1}<｜tool▁call▁end｜>',
     "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "", "", ("", "</think>")),
    ("deepseek_v3_2", '<｜DSML｜invoke name="add">\n<｜DSML｜parameter name="x" string="false">1</｜DSML｜parameter>'
     "</｜DSML｜invoke>\n",
     "<｜DSML｜function_calls>\n", "</｜DSML｜function_calls>", "", "\n\n", ("", "</think>")),
    ("deepseek_v4", '<｜DSML｜invoke name="add">\n<｜DSML｜parameter name="x" string="false">1</｜DSML｜parameter>'
     "</｜DSML｜invoke>\n",
     "<｜DSML｜tool_calls>\n", "</｜DSML｜tool_calls>", "", "\n\n", ("", "</think>")),
    ("deepseek_v4_1", '<｜DSML｜ invoke name="add">\n<｜DSML｜ parameter name="x" string="false">1</｜DSML｜ parameter>'
     "</｜DSML｜ invoke>\n",
     "<｜DSML｜ calls>\n", "</｜DSML｜ calls>", "", "\n\n", ("", "</think>")),
    ("qwen_3", '<tool_call>\n{"name": "add", "arguments": {"x": 1}}\n</tool_call>', "", "", "", "",
     ("", "</think>\n\n")),
    ("qwen_3_coder", "<tool_call>\n<function=add>\n<parameter=x>1</parameter>\n</function>\n</tool_call>",
     "", "", "", "", ("", "</think>\n\n")),
    ("qwen_3_5", "<tool_call>\n<function=add>\n<parameter=x>1</parameter>\n</function>\n</tool_call>", "", "", "", "",
     ("", "</think>\n\n")),
    ("exaone", '<tool_call>{"name": "add", "arguments": {"x": 1}}</tool_call>', "", "", "", "", ("", "</think>\n\n")),
    ("mimo", "<tool_call><function=add><parameter=x>1</parameter></function></tool_call>", "", "", "", "",
     ("<think>", "</think>")),
    ("glm_4_7", "<tool_call>add<arg_key>x</arg_key><arg_value>1</arg_value></tool_call>", "", "", "", "",
     ("", "</think>")),
    ("minimax", '<invoke name="add">\n<parameter name="x">1</parameter></invoke>\n',
     "<minimax:tool_call>\n", "</minimax:tool_call>", "", "\n", ("", "</think>\n\n")),
]  # fmt: skip


@pytest.mark.parametrize(("model", "call", "begin", "end", "between", "before", "thinking"), CALLS)
def test_answers_of_a_model(
    model: str, call: str, begin: str, end: str, between: str, before: str, thinking: tuple[str, str] | None
) -> None:
    other = call.replace("add", "sum_up")
    assert other != call
    reasoned = "" if thinking is None else f"{thinking[0]}hm{thinking[1]}"
    calls = f"{reasoned}Well. {begin}{call}{end}"
    assert admits(model, calls, tools=TOOLS)
    assert admits(model, f"{reasoned}No.", tools=TOOLS)
    assert not admits(model, calls.replace("add", "sub"), tools=TOOLS)
    assert not admits(model, calls.replace("1", '"a"' if "json" in model else "a"), tools=TOOLS)

    two = f"{reasoned}{before}{begin}{call}{between}{other}{end}"
    assert admits(model, two, tools=TOOLS, tool_choice="required")
    assert not admits(model, two, tools=TOOLS, tool_choice="required", parallel_tool_calls=False)
    assert not admits(model, f"{reasoned}No.", tools=TOOLS, tool_choice="required")
    one = f"{reasoned}{before}{begin}{call}{end}"
    assert admits(model, one, tools=TOOLS, tool_choice="required", parallel_tool_calls=False)
    assert admits(model, one, tools=TOOLS, tool_choice=ADD)
    assert not admits(model, one.replace("add", "sum_up"), tools=TOOLS, tool_choice=ADD)

    if thinking is not None:
        assert not admits(model, calls[len(reasoned) :], tools=TOOLS)
        assert admits(model, f"<think>hm{thinking[1]}Well. {begin}{call}{end}", tools=TOOLS, reasoning="auto")
        assert admits(model, f"Well. {begin}{call}{end}", tools=TOOLS, reasoning="auto")
        assert not admits(model, "Well. </think>", tools=TOOLS, reasoning="disabled")
    skipped = "\n</think>\n\n\n\n" if model == "minimax" else ""
    assert admits(model, f"{skipped}Well.", tools=TOOLS, tool_choice="none", reasoning="disabled")


def test_harmony() -> None:
    thought = "<|channel|>analysis<|message|>hm<|end|>"
    call = '<|channel|>commentary to=functions.add<|constrain|>json<|message|>{"x": 1}<|call|>'
    final = "<|channel|>final<|message|>No.<|return|>"
    start = "<|start|>assistant"
    everything = {"tools": [*TOOLS, SEARCH]}
    assert admits("harmony", f"{thought}{start}{call}", **everything)
    assert admits("harmony", f"{thought}{start}{final}", **everything)
    assert admits("harmony", " to=browser.search<|channel|>commentary code<|message|>{}<|call|>", **everything)
    assert admits("harmony", f"{call}{start}{call}", **everything)
    assert not admits("harmony", f"{call}{start}{call}", **everything, parallel_tool_calls=False)
    assert admits("harmony", f"{thought}{start}{call}", **everything, parallel_tool_calls=False)
    assert admits("harmony", f"{thought}{start}{final}", **everything, parallel_tool_calls=False)
    assert not admits("harmony", f"{thought}{start}{final}", **everything, reasoning="disabled")
    required = {**everything, "tool_choice": "required"}
    for options in (required, {**required, "parallel_tool_calls": False}):
        assert admits("harmony", f"{thought}{start}{call}", **options)
        assert admits("harmony", call, **options)
        assert not admits("harmony", final, **options)
        # XGrammar's may end without a call.
        assert not completes(xgr, xgr.get_model_structural_tag("harmony", **options), thought)
    assert admits("harmony", f"{call}{start}{thought}{start}{call}", **required)


def test_special_tokens_of_a_tokenizer_are_written_as_such() -> None:
    pytest.importorskip("transformers")
    from tests import tiny

    names = ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>"]
    tokenizer = tiny.byte_level_bpe(added=tuple(tiny.added_token(name, special=True) for name in names))
    start, end, message, channel, constrain, back, call = tokenizer.convert_tokens_to_ids(names)
    info = xgr.TokenizerInfo.from_huggingface(tokenizer, stop_token_ids=[back, call])
    compiled = xgr.GrammarCompiler(info).compile_structural_tag(xgr.get_model_structural_tag("harmony", tools=TOOLS))

    def ids(text: str) -> list[int]:
        return [int(i) for i in tokenizer.encode(text, add_special_tokens=False)]

    def accepts(tokens: list[int]) -> bool:
        matcher = xgr.GrammarMatcher(compiled)
        return all(matcher.accept_token(token) for token in tokens)

    thought = [channel, *ids("analysis"), message, *ids("hm"), end, start, *ids("assistant")]
    called = [channel, *ids("commentary to=functions.add"), constrain, *ids("json"), message, *ids('{"x": 1}')]
    assert accepts([*thought, *called, call])
    assert accepts([*thought, channel, *ids("final"), message, *ids("No."), back])
    assert not accepts([*thought, *called[:-1], call])
    assert not accepts([*thought, *ids("<|channel|>".replace("|", "| "))])


def test_kimi_k3() -> None:
    pytest.importorskip("transformers")
    from tests import tiny

    names = ["<|open|>", "<|close|>", "<|sep|>"]
    tokenizer = tiny.byte_level_bpe(added=tuple(tiny.added_token(name, special=True) for name in names))
    info = xgr.TokenizerInfo.from_huggingface(tokenizer)
    tag = xgr.get_model_structural_tag("kimi_k3", tools=TOOLS, reasoning="disabled")
    compiled = xgr.GrammarCompiler(info).compile_structural_tag(tag)

    def admits(text: str) -> bool:
        matcher = xgr.GrammarMatcher(compiled)
        ids = tokenizer.encode(text, add_special_tokens=False)
        return all(matcher.accept_token(int(i)) for i in ids) and matcher.accept_token(info.stop_token_ids[0])

    def call(arguments: str) -> str:
        called = f'<|open|>call tool="add" index="0"<|sep|>{arguments}<|close|>call<|sep|>'
        tools = f"<|open|>tools<|sep|>{called}<|close|>tools<|sep|>" if arguments else ""
        return f"Well.<|close|>response<|sep|>{tools}<|close|>message<|sep|>"

    x = '<|open|>argument key="x" type="number"<|sep|>1<|close|>argument<|sep|>'
    s = '<|open|>argument key="s" type="string"<|sep|>hm "<|close|>argument<|sep|>'
    assert admits(call(x)) and admits(call(x + s)) and admits(call(""))
    assert (
        not admits(call(s)) and not admits(call(x.replace("1", "a"))) and not admits(call(x.replace("number", "null")))
    )
    with pytest.raises(xgr.InvalidStructuralTagError, match="excludes"):
        # Where they are texts, values may have them in them.
        completes(xgr, xgr.get_model_structural_tag("kimi_k3", tools=TOOLS), "")
    loose = xgr.get_model_structural_tag("kimi_k3", tools=TOOLS, exclude_special_tokens=False, reasoning="disabled")
    assert completes(xgr, loose, call(x + s)) and not completes(xgr, loose, call(s))


NESTED = {
    "type": "object",
    "properties": {
        "who": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        "ids": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["who"],
}


def test_arguments_of_cohere_are_tags_in_tags() -> None:
    tools = [{"type": "function", "function": {"name": "find", "parameters": NESTED}}]
    name = '<cofl:value name="name" type="raw">Ann & Bo</cofl:value>'
    ids = '\n<cofl:value name="ids" type="list"><cofl:value type="json">1</cofl:value></cofl:value>'

    def call(name: str, ids: str = "") -> str:
        who = f'<cofl:value name="who" type="dict">\n{name}\n</cofl:value>'
        return f'<cofl:tool_calls><cofl:tool_call id="0" name="find">{who}{ids}</cofl:tool_call></cofl:tool_calls>'

    def fine(text: str, **options: Any) -> bool:
        return admits("cohere", text, tools=tools, **options)

    assert fine(f"hm<|END_THINKING|>Well. {call(name, ids)}") and fine("hm<|END_THINKING|>No.")
    for options in ({"tool_choice": "required"}, {"tool_choice": {"type": "function", "function": {"name": "find"}}}):
        assert fine(call(name), reasoning="disabled", **options)
        assert fine(call(name, ids), reasoning="disabled", **options)
        assert not fine("No.", reasoning="disabled", **options)
    for wrong in (call(""), call(name.replace("raw", "json")), call(name, ids.replace("1", "a")), call(ids)):
        assert not fine(f"hm<|END_THINKING|>{wrong}")


def test_arguments_of_minimax_m3_are_tags_in_tags() -> None:
    tools = [{"type": "function", "function": {"name": "find", "parameters": NESTED}}]
    mark = "]<]minimax[>["
    name = f"{mark}<name>Ann <3{mark}</name>"
    ids = f"{mark}<ids>{mark}<item>1{mark}</item>{mark}<item>2{mark}</item>{mark}</ids>"

    def call(name: str, ids: str = "") -> str:
        who = f"{mark}<who>{name}{mark}</who>"
        return f'{mark}<tool_call>\n{mark}<invoke name="find">{who}{ids}{mark}</invoke>\n{mark}</tool_call>'

    def fine(text: str, **options: Any) -> bool:
        return admits("minimax_m3", text, tools=tools, **options)

    assert fine(f"hm</mm:think>Well. {call(name, ids)}") and fine("hm</mm:think>No.")
    assert fine(f"<mm:think>hm</mm:think>{call(name)}", reasoning="auto") and fine(call(name), reasoning="auto")
    for options in ({"tool_choice": "required"}, {"tool_choice": {"type": "function", "function": {"name": "find"}}}):
        assert fine(call(name), reasoning="disabled", **options)
        assert not fine("No.", reasoning="disabled", **options)
    for wrong in (call(""), call(name.replace("/name", "/who")), call(name, ids.replace("1", "a")), call(ids)):
        assert not fine(f"hm</mm:think>{wrong}")


def test_options_reach_the_arguments() -> None:
    swapped = '{"name": "add", "parameters": {"s": "", "x": 1}}'
    assert not admits("llama", swapped, tools=TOOLS, tool_choice=ADD)
    assert admits("llama", swapped, tools=TOOLS, tool_choice=ADD, any_order=True)
    spaced = '{"name": "add", "parameters": {"x":    1}}'
    assert admits("llama", spaced, tools=TOOLS, tool_choice=ADD, max_whitespace_cnt=4)
    assert not admits("llama", spaced, tools=TOOLS, tool_choice=ADD, max_whitespace_cnt=3)
    loose = [function("add", strict=False)]
    assert admits("llama", '{"name": "add", "parameters": [2]}', tools=loose, tool_choice="required")
    # In tags any of the arguments that are named, with any value.
    wild = "<tool_call>\n<function=add>\n<parameter=x>a</parameter>\n</function>\n</tool_call>"
    assert completes(xgr, xgr.get_model_structural_tag("qwen_3_coder", loose, "required", "disabled"), wild)
    assert not admits("qwen_3", "a <think>", tools=TOOLS, reasoning="disabled")
    assert admits("qwen_3", "a <think>", tools=TOOLS, reasoning="disabled", exclude_special_tokens=False)


def test_tools_that_are_built_in() -> None:
    with pytest.warns(UserWarning, match="'llama' can't call what is built in: \\['search'\\]"):
        tag = xgr.get_model_structural_tag("llama", tools=[*TOOLS, SEARCH])
    assert tag == xgr.get_model_structural_tag("llama", tools=TOOLS)
    for choice in ("required", {"type": "search"}):
        with pytest.raises(ValueError, match="no tools built in"):
            xgr.get_model_structural_tag("llama", tools=[SEARCH], tool_choice=choice)
    with pytest.raises(ValueError, match="no tools built in"):
        xgr.get_model_structural_tag("mimo", tools=[SEARCH])


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="unknown format 'gpt'"):
        xgr.get_model_structural_tag("gpt")
    with pytest.raises(ValueError, match="reasoning"):
        xgr.get_model_structural_tag("llama", reasoning="yes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="parallel_tool_calls"):
        xgr.get_model_structural_tag("llama", parallel_tool_calls=1)  # type: ignore[arg-type]
    with pytest.warns(DeprecationWarning, match="force_reasoning"):
        xgr.get_model_structural_tag("llama", force_reasoning=True)


def test_registered_formats() -> None:
    @xgr.register_model_structural_tag("mine")
    def build(tools: Any, builtin_tools: Any, tool_choice: Any, reasoning: Any, **options: Any) -> xgr.StructuralTag:
        given = f"{tools[0].function.name} {builtin_tools[0].name} {tool_choice} {reasoning} {sorted(options)}"
        return xgr.StructuralTag(format=formats.ConstStringFormat(value=given))

    tag = xgr.get_model_structural_tag("mine", [*TOOLS, SEARCH], reasoning=False)
    options = ["any_order", "exclude_special_tokens", "max_whitespace_cnt", "parallel_tool_calls"]
    assert tag.format.value == f"add browser.search auto disabled {options}"


def test_normalized_choices() -> None:
    tools: list[Any] = [*TOOLS, SEARCH]
    functions, builtin, choice = xgr.normalize_tool_choice(tools)
    assert [type(tool) for tool in functions] == [schema.FunctionToolParam] * 2
    assert [tool.function.name for tool in functions] == ["add", "sum_up"]
    assert builtin == [schema.BuiltinToolParam(**SEARCH)] and choice == "auto"
    assert xgr.normalize_tool_choice(tools, None) == (functions, builtin, "auto")
    assert xgr.normalize_tool_choice(tools, "none") == ([], [], "auto")
    assert xgr.normalize_tool_choice(tools, "required") == (functions, builtin, "required")
    assert xgr.normalize_tool_choice(tools, ADD) == (functions[:1], [], "forced")
    assert xgr.normalize_tool_choice(tools, {"type": "search"}) == ([], builtin, "forced")
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [ADD, {"type": "search"}]}}
    assert xgr.normalize_tool_choice(tools, allowed) == (functions[:1], builtin, "required")
    # Objects are taken as they are, also those of another library.
    again = xgr.normalize_tool_choice([*functions, *builtin], schema.NamedToolChoiceParam.model_validate(ADD))
    assert again == (functions[:1], [], "forced")
    if theirs is not None:
        assert xgr.normalize_tool_choice(theirs.normalize_tool_choice(tools)[0]) == (functions, [], "auto")


@pytest.mark.parametrize(
    ("tools", "choice", "message"),
    [
        ("add", "auto", "tools is a list"),
        ([3], "auto", r"tools\[0\]: BuiltinToolParam is made of a mapping"),
        ([{"type": "function", "function": {}}], "auto", r"tools\[0\]: FunctionDefinition"),
        ([{"type": "function", "name": "add"}], "auto", r"tools\[0\]: a function is"),
        ([function("add", parameters=[1])], "auto", r"tools\[0\]: FunctionDefinition.parameters"),
        ([{"type": "search", "name": 3}], "auto", r"tools\[0\]: BuiltinToolParam.name"),
        ([], "required", "there is no tool"),
        (TOOLS, "any", "tool_choice is"),
        (TOOLS, 3, "tool_choice is"),
        (TOOLS, {"type": "function", "function": {"name": "sub"}}, "'sub', which 0 of"),
        ([TOOLS[0], TOOLS[0]], ADD, "'add', which 2 of"),
        ([SEARCH, SEARCH], {"type": "search"}, "'search', which 2 of"),
        (TOOLS, {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": []}}, "mode"),
        (TOOLS, {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}, "there is no tool"),
        (TOOLS, {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function"}]}},
         r"allowed_tools.tools\[0\] has no function"),
        (TOOLS, {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "search"}]}},
         r"aren't there: \['search'\]"),
    ],
)  # fmt: skip
def test_bad_choices(tools: Any, choice: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        xgr.normalize_tool_choice(tools, choice)


def test_formats_dump_as_mappings() -> None:
    tag = formats.TagFormat(begin="<a>", content=formats.JSONSchemaFormat(json_schema={"type": "null"}), end="</a>")
    whole = xgr.StructuralTag(format=formats.OptionalFormat(content=tag))
    dumped = whole.model_dump(mode="json", exclude_none=True)
    inner = dumped["format"]["content"]["content"]
    assert inner == {
        "type": "json_schema",
        "json_schema": {"type": "null"},
        "style": "json",
        "any_order": False,
        "excludes": [],
    }
    assert xgr.StructuralTag.model_validate(dumped).model_dump() == dumped
    assert xgr.StructuralTag.model_validate_json(whole.model_dump_json(exclude_none=True)).model_dump() == dumped
    for tag_of in (whole, xgr.StructuralTag.from_json(dumped)):
        assert [completes(xgr, tag_of, text) for text in ("", "<a>null</a>", "<a>1</a>")] == [True, True, False]


def test_formats_are_those_of_xgrammar() -> None:
    if theirs is None:
        pytest.skip("XGrammar isn't installed")
    for module, ours in ((theirs.structural_tag, formats), (theirs.openai_tool_call_schema, schema)):
        for name in ours.__all__:
            known = getattr(getattr(module, name), "model_fields", None)
            if known is not None and name != "StructuralTagItem":
                assert set(known) == set(getattr(ours, name).__dataclass_fields__), name


def test_depth_of_recursion_is_kept() -> None:
    before = xgr.get_max_recursion_depth()
    with xgr.max_recursion_depth(7):
        assert xgr.get_max_recursion_depth() == 7
    assert xgr.get_max_recursion_depth() == before == 10_000
    for depth in (0, 1_000_001):
        with pytest.raises(RuntimeError, match="between 1 and 1,000,000"):
            xgr.set_max_recursion_depth(depth)


def test_every_name_of_xgrammar_is_there() -> None:
    if theirs is None:
        pytest.skip("XGrammar isn't installed")
    assert set(theirs.__all__) - {"testing"} <= set(xgr.__all__)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(hasattr(xgr, name) for name in xgr.__all__)
