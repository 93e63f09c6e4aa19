"""How families of models write reasoning and calls of tools, as data, and structural tags from it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from fairlead.xgrammar._tool_choice import SimplifiedToolChoice
from fairlead.xgrammar.openai_tool_call_schema import BuiltinToolParam, FunctionDefinition, FunctionToolParam
from fairlead.xgrammar.structural_tag import (
    AnyTextFormat,
    ConstStringFormat,
    Format,
    JSONSchemaFormat,
    OptionalFormat,
    OrFormat,
    RegexFormat,
    SequenceFormat,
    StarFormat,
    StructuralTag,
    TagFormat,
    TagsWithSeparatorFormat,
    TriggeredTagsFormat,
)

__all__ = ["MODEL_FORMATS", "Builder", "harmony", "kimi_k3"]

Reasoning: TypeAlias = Literal["enabled", "disabled", "auto"]
Builder: TypeAlias = Callable[..., StructuralTag]


@dataclass(frozen=True)
class Thinking:
    """How reasoning is written.

    Attributes:
        open: Its begin, where the model may leave it out.
        close: Its end.
        begin: Its begin where it is wanted; nothing where the prompt has it.
        after: Written behind it.
        free: Nothing is excluded from it where it is wanted.
        skipped: Written where there is to be none.
        closed: It may also be left out by its end alone.
    """

    open: str = "<think>"
    close: str = "</think>"
    begin: str = ""
    after: str = ""
    free: bool = False
    skipped: str = ""
    closed: bool = False

    def format(self, reasoning: Reasoning, excludes: list[str]) -> list[Format]:
        """What stands before an answer."""
        if reasoning == "disabled":
            return _text(self.skipped)
        after = _text(self.after)
        if reasoning == "enabled":
            text = AnyTextFormat(excludes=[] if self.free else excludes)
            return [TagFormat(begin=self.begin, content=text, end=self.close), *after]
        whole: Format = _sequence(
            [TagFormat(begin=self.open, content=AnyTextFormat(excludes=excludes), end=self.close), *after]
        )
        if self.closed:
            whole = OrFormat(elements=[whole, ConstStringFormat(value=self.close)])
        return [OptionalFormat(content=whole)]


@dataclass(frozen=True)
class Options:
    """What holds of all calls."""

    any_order: bool = False
    exclude_special_tokens: bool = True
    max_whitespace_cnt: int | None = None
    parallel_tool_calls: bool = True

    def arguments(self, tool: FunctionToolParam | BuiltinToolParam, style: str) -> JSONSchemaFormat:
        """A call's arguments."""
        function = tool.function if isinstance(tool, FunctionToolParam) else tool
        loose = isinstance(function, FunctionDefinition) and function.strict is False
        schema: bool | dict[str, Any] = True if loose or function.parameters is None else function.parameters
        if loose and style != "json":
            # In tags only arguments that are named can be written.
            named = (function.parameters or {}).get("properties") or {}
            schema = {"type": "object", "properties": dict.fromkeys(named, True)}
        return JSONSchemaFormat(
            json_schema=schema,
            style=style,
            any_order=self.any_order,
            max_whitespace_cnt=self.max_whitespace_cnt,
        )


@dataclass(frozen=True)
class ModelFormat:
    """How a family of models writes an answer with calls in it.

    Attributes:
        call: One call, with ``{name}``, ``{arguments}`` and for some a number, ``{index}``.
        trigger: Where it stands in an answer, calls begin.
        thinking: How reasoning is written; None: as text.
        style: The style of arguments.
        section: What stands around all calls.
        separator: What stands between two.
        before: Written before a section where a call is required.
        special: Texts that stand only where the syntax wants them.
        within: More of those, once calls may come.
        apart: The trigger can't stand in an answer without calls.
        text_after: Where a call is required, text may follow.
        refuses: Tools that are built in are an error.
    """

    call: str
    trigger: str
    thinking: Thinking | None = field(default_factory=Thinking)
    style: str = "json"
    section: tuple[str, str] | None = None
    separator: str = ""
    before: str = ""
    special: tuple[str, ...] = ("<think>", "</think>")
    within: tuple[str, ...] = ()
    apart: bool = False
    text_after: bool = False
    refuses: bool = False

    def structural_tag(
        self,
        name: str,
        tools: Sequence[FunctionToolParam],
        builtin_tools: Sequence[BuiltinToolParam],
        tool_choice: SimplifiedToolChoice,
        reasoning: Reasoning,
        options: Options,
    ) -> StructuralTag:
        """The tag of an answer."""
        _no_builtin(name, tools, builtin_tools, tool_choice, refused=self.refuses)
        excludes = list(self.special) if options.exclude_special_tokens else []
        before = self.thinking.format(reasoning, excludes) if self.thinking is not None else []
        calls = [_call(self.call, tool, options, self.style) for tool in tools]
        return StructuralTag(format=_sequence([*before, self._answer(calls, tool_choice, excludes, options)]))

    def _answer(
        self, calls: list[TagFormat], tool_choice: SimplifiedToolChoice, excludes: list[str], options: Options
    ) -> Format:
        once = not options.parallel_tool_calls
        if not calls:
            return AnyTextFormat(excludes=[*excludes, self.trigger] if self.apart else excludes)
        forced = tool_choice == "forced"
        if self.section is None:
            if forced:
                return calls[0]
            tags, required = calls, tool_choice == "required"
        else:
            section = _section(self.section, calls, self.separator, tool_choice, options)
            if forced or (tool_choice == "required" and not self.text_after):
                return _sequence([*_text(self.before), section])
            tags, required = [section], tool_choice == "required"
        kept = [text for text in (*excludes, *(self.within if excludes else ())) if text != self.trigger]
        return TriggeredTagsFormat(
            triggers=[self.trigger], tags=tags, at_least_one=required, stop_after_first=once, excludes=kept
        )


def _no_builtin(
    name: str,
    tools: Sequence[FunctionToolParam],
    builtin_tools: Sequence[BuiltinToolParam],
    tool_choice: SimplifiedToolChoice,
    *,
    refused: bool = False,
) -> None:
    if not builtin_tools:
        return
    types = [tool.type for tool in builtin_tools]
    if refused or (not tools and tool_choice != "auto"):
        raise ValueError(f"models of the format {name!r} have no tools built in: {types}")
    warnings.warn(f"models of the format {name!r} can't call what is built in: {types}", stacklevel=5)


def _call(
    syntax: str, tool: FunctionToolParam, options: Options, style: str, excludes: Sequence[str] = ()
) -> TagFormat:
    # A name may have braces in it, so it is put in last.
    before, _, end = syntax.partition("{arguments}")
    begin, numbered, middle = before.partition("{index}")
    begin, middle = (part.replace("{name}", tool.function.name) for part in (begin, middle))
    content: Format = replace(options.arguments(tool, style), excludes=list(excludes))
    if numbered:
        content = SequenceFormat(elements=[RegexFormat(pattern=r"\d+"), *_text(middle), content])
    return TagFormat(begin=begin, content=content, end=end)


def _section(
    edges: tuple[str, str],
    calls: list[TagFormat],
    separator: str,
    tool_choice: SimplifiedToolChoice,
    options: Options,
) -> TagFormat:
    once = not options.parallel_tool_calls
    several = TagsWithSeparatorFormat(tags=calls, separator=separator, at_least_one=True, stop_after_first=once)
    begin, end = edges
    return TagFormat(begin=begin, content=calls[0] if tool_choice == "forced" else several, end=end)


def _text(text: str) -> list[Format]:
    return [ConstStringFormat(value=text)] if text else []


def _sequence(elements: list[Format]) -> Format:
    return elements[0] if len(elements) == 1 else SequenceFormat(elements=elements)


_SPACED = Thinking(after="\n\n")
_QWEN_CODER = ModelFormat(
    call="<tool_call>\n<function={name}>\n{arguments}\n</function>\n</tool_call>",
    trigger="<tool_call>\n<function=",
    thinking=_SPACED,
    style="qwen_xml",
)
_DEEPSEEK_V4 = ModelFormat(
    call='<｜DSML｜invoke name="{name}">\n{arguments}</｜DSML｜invoke>\n',
    trigger="<｜DSML｜tool_calls>",
    section=("<｜DSML｜tool_calls>\n", "</｜DSML｜tool_calls>"),
    style="deepseek_xml",
    before="\n\n",
)
_DEEPSEEK_SECTION = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
_MINIMAX_M3 = "]<]minimax[>["
_COHERE_THINKING = ("<|START_THINKING|>", "<|END_THINKING|>")

MODEL_FORMATS: dict[str, ModelFormat] = {
    "llama": ModelFormat(call='{"name": "{name}", "parameters": {arguments}}', trigger='{"name": ', thinking=None),
    "kimi": ModelFormat(
        call="<|tool_call_begin|>functions.{name}:{index}<|tool_call_argument_begin|>{arguments}<|tool_call_end|>",
        trigger="<|tool_calls_section_begin|>",
        section=("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
        within=("<|tool_call_begin|>",),
        thinking=Thinking(free=True),
    ),
    "deepseek_r1": ModelFormat(
        call="<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```<｜tool▁call▁end｜>",
        trigger=_DEEPSEEK_SECTION[0],
        section=_DEEPSEEK_SECTION,
        separator="\n",
    ),
    "deepseek_v3_1": ModelFormat(
        call="<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{arguments}<｜tool▁call▁end｜>",
        trigger=_DEEPSEEK_SECTION[0],
        section=_DEEPSEEK_SECTION,
    ),
    "deepseek_v3_2": replace(
        _DEEPSEEK_V4,
        trigger="<｜DSML｜function_calls>",
        section=("<｜DSML｜function_calls>\n", "</｜DSML｜function_calls>"),
    ),
    "deepseek_v4": _DEEPSEEK_V4,
    "deepseek_v4_1": replace(
        _DEEPSEEK_V4,
        call='<｜DSML｜ invoke name="{name}">\n{arguments}</｜DSML｜ invoke>\n',
        trigger="<｜DSML｜ calls>",
        section=("<｜DSML｜ calls>\n", "</｜DSML｜ calls>"),
        style="deepseek_v4_1_xml",
        apart=True,
    ),
    "qwen_3": ModelFormat(
        call='<tool_call>\n{"name": "{name}", "arguments": {arguments}}\n</tool_call>',
        trigger="<tool_call>",
        thinking=_SPACED,
    ),
    "qwen_3_coder": _QWEN_CODER,
    "qwen_3_5": _QWEN_CODER,
    "exaone": ModelFormat(
        call='<tool_call>{"name": "{name}", "arguments": {arguments}}</tool_call>',
        trigger="<tool_call>",
        thinking=replace(_SPACED, free=True),
    ),
    "mimo": ModelFormat(
        call="<tool_call><function={name}>{arguments}</function></tool_call>",
        trigger="<tool_call>",
        thinking=Thinking(begin="<think>"),
        style="qwen_xml",
        special=("<tool_call>", "<think>", "</think>", "</tool_call>", "<function="),
        refuses=True,
    ),
    "glm_4_7": ModelFormat(
        call="<tool_call>{name}{arguments}</tool_call>",
        trigger="<tool_call>",
        style="glm_xml",
        special=(
            *("<think>", "</think>", "<tool_call>", "</tool_call>"),
            *("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
        ),
    ),
    "minimax": ModelFormat(
        call='<invoke name="{name}">\n{arguments}</invoke>\n',
        trigger="<minimax:tool_call>",
        section=("<minimax:tool_call>\n", "</minimax:tool_call>"),
        style="minimax_xml",
        before="\n",
        # The prompt has opened it already.
        thinking=Thinking(after="\n\n", free=True, skipped="\n</think>\n\n\n\n"),
    ),
    "minimax_m3": ModelFormat(
        call=f'{_MINIMAX_M3}<invoke name="{{name}}">{{arguments}}{_MINIMAX_M3}</invoke>\n',
        trigger=f"{_MINIMAX_M3}<tool_call>",
        section=(f"{_MINIMAX_M3}<tool_call>\n", f"{_MINIMAX_M3}</tool_call>"),
        style="minimax_m3_xml",
        thinking=Thinking(open="<mm:think>", close="</mm:think>", closed=True),
        special=(
            *(f"{_MINIMAX_M3}<tool_call>", "<mm:think>", "</mm:think>"),
            *(f"{_MINIMAX_M3}{tag}" for tag in ("</tool_call>", "<invoke", "</invoke>")),
        ),
        text_after=True,
        refuses=True,
    ),
    "cohere": ModelFormat(
        call='<cofl:tool_call id="{index}" name="{name}">{arguments}</cofl:tool_call>',
        trigger="<cofl:tool_calls>",
        section=("<cofl:tool_calls>", "</cofl:tool_calls>"),
        style="cohere_xml",
        thinking=Thinking(open=_COHERE_THINKING[0], close=_COHERE_THINKING[1], free=True),
        special=_COHERE_THINKING,
    ),
}


def harmony(
    tools: Sequence[FunctionToolParam],
    builtin_tools: Sequence[BuiltinToolParam],
    tool_choice: SimplifiedToolChoice,
    reasoning: Reasoning,
    options: Options,
) -> StructuralTag:
    """The tag of an answer in OpenAI's harmony: messages on channels, behind the prompt's ``<|start|>assistant``."""
    between = "<|start|>assistant"
    calls = []
    for tool in tools:
        to = f" to=functions.{tool.function.name}"
        begins = (
            f"<|channel|>commentary{to}<|constrain|>json<|message|>",
            f"{to}<|channel|>commentary <|constrain|>json<|message|>",
            f"{to}<|channel|>commentary json<|message|>",
        )
        calls += [TagFormat(begin=begin, content=options.arguments(tool, "json"), end="<|call|>") for begin in begins]
    for builtin in builtin_tools:
        to = f" to={builtin.name or builtin.type}"
        begins_of_code = (f"<|channel|>commentary{to} code<|message|>", f"{to}<|channel|>commentary code<|message|>")
        content = options.arguments(builtin, "json")
        calls += [TagFormat(begin=begin, content=content, end="<|call|>") for begin in begins_of_code]
    channels = [*(["final"] if tool_choice == "auto" else []), *(["analysis"] if reasoning != "disabled" else [])]
    texts = [
        TagFormat(begin=f"<|channel|>{channel}<|message|>", content=AnyTextFormat(), end=["<|end|>", "<|return|>"])
        for channel in channels
    ]

    def some(tags: list[TagFormat], *, one: bool = False, only: bool = False) -> Format:
        return TagsWithSeparatorFormat(tags=tags, separator=between, at_least_one=one, stop_after_first=only)

    if tool_choice == "auto" and (options.parallel_tool_calls or not calls):
        return StructuralTag(format=some(calls + texts))
    lead = [OptionalFormat(content=_sequence([some(texts, one=True), *_text(between)]))] if texts else []
    first = some(calls, one=True, only=True)
    more = StarFormat(content=_sequence([*_text(between), some(calls + texts, one=True, only=True)]))
    called = _sequence([*lead, first, *([more] if options.parallel_tool_calls else [])])
    return StructuralTag(format=OrFormat(elements=[some(texts), called]) if tool_choice == "auto" else called)


def kimi_k3(
    tools: Sequence[FunctionToolParam],
    builtin_tools: Sequence[BuiltinToolParam],
    tool_choice: SimplifiedToolChoice,
    reasoning: Reasoning,
    options: Options,
) -> StructuralTag:
    """The tag of an answer in Kimi K3's format: a response in any case, and calls behind it."""
    _no_builtin("kimi_k3", tools, builtin_tools, tool_choice)

    def element(name: str) -> tuple[str, str]:
        return f"<|open|>{name}<|sep|>", f"<|close|>{name}<|sep|>"

    excludes = ["<|open|>", "<|close|>"] if options.exclude_special_tokens else []
    opened, closed = element("think")
    answer = Thinking(open=opened, close=closed).format(reasoning, excludes)
    begin, end = element("response")
    text = AnyTextFormat(excludes=excludes)
    answer.append(TagFormat(begin="" if reasoning == "disabled" else begin, content=text, end=end))
    if tools:
        call = '<|open|>call tool="{name}" index="{index}"<|sep|>{arguments}<|close|>call<|sep|>'
        kept = [*excludes, "<|sep|>"] if excludes else []
        calls = [_call(call, tool, options, "kimi_k3_xml", kept) for tool in tools]
        section = _section(element("tools"), calls, "", tool_choice, options)
        answer.append(OptionalFormat(content=section) if tool_choice == "auto" else section)
    answer += _text("<|close|>message<|sep|>")
    return StructuralTag(format=_sequence(answer))
