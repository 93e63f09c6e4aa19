"""How families of models write tool calls, as data: what a call looks like, and how a chat template gives it away."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fairlead.errors import ConfigurationError
from fairlead.tools._parameters import parameters_grammar

if TYPE_CHECKING:
    from fairlead.grammar import Grammar

__all__ = ["TOOL_SYNTAXES", "ToolSyntax", "find_tool_syntax", "named_tool_syntax"]

# More calls than this in one answer are never asked for.
_MOST_CALLS = 8
# Around the text of a special token in the vocabulary that a grammar of tool calls is compiled for. No text that the
# grammar leaves free has these characters, so a special token stands only where the syntax wants it.
SPECIAL_OPEN, SPECIAL_CLOSE = "\x02", "\x03"


@dataclass(frozen=True)
class ToolSyntax:
    """How one family of models writes tool calls.

    Attributes:
        name: The family.
        marks: Alternatives, each a number of texts that a chat template of the family has, all of them.
        opening: Where one of these stands in an answer, calls begin. Without any, they begin an answer that begins
            with a brace.
        begin: Written before the first call.
        call: One call, with ``{name}`` and ``{arguments}`` in it.
        between: Written between two calls.
        end: Written behind the last call.
        arguments: "json" for a JSON object, "xml" for ``<parameter=key>`` blocks with plain texts in them.
        header: For calls whose name stands outside of JSON: a pattern with the group ``name`` that ends where the
            arguments begin.
        keys: For calls that are one JSON object: the keys of name and arguments.
        special: Parts of the syntax that are special tokens in tokenizers of the family.
        dropped: Texts around an answer without calls that aren't part of it.
    """

    name: str
    marks: tuple[tuple[str, ...], ...]
    call: str
    opening: tuple[str, ...] = ()
    begin: str = ""
    between: str = "\n"
    end: str = ""
    arguments: Literal["json", "xml"] = "json"
    header: str | None = None
    keys: tuple[str, str] = ("name", "arguments")
    special: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def matches(self, template: str) -> bool:
        """Whether a chat template is of this family."""
        return any(all(mark in template for mark in marks) for marks in self.marks)

    def grammar(
        self,
        tools: Sequence[Mapping[str, Any]],
        *,
        only: str | None = None,
        parallel: bool = True,
        special: Sequence[str] = (),
    ) -> Grammar:
        """The grammar of one or more calls.

        Args:
            tools: The tools in OpenAI's form.
            only: The name of the one tool that may be called; default: any.
            parallel: Allow several calls, at most eight.
            special: Those parts of the syntax that are special tokens.

        Raises:
            ConfigurationError: There is no such tool.
            SchemaError: The parameters of a tool are malformed or unsupported.
        """
        from fairlead.grammar import Grammar

        def text(literal: str) -> Grammar:
            if not literal:
                return Grammar.regex("")
            for part in special:
                literal = literal.replace(part, f"{SPECIAL_OPEN}{part}{SPECIAL_CLOSE}")
            return Grammar.choice([literal])

        functions = [tool.get("function", tool) for tool in tools]
        names = [function["name"] for function in functions]
        if only is not None and only not in names:
            raise ConfigurationError(f"tool_choice names {only!r}; the tools are {names}")
        before, _, rest = self.call.partition("{name}")
        middle, _, after = rest.partition("{arguments}")
        calls: Grammar | None = None
        for function in functions:
            if only is not None and function["name"] != only:
                continue
            name = function["name"] if self.header else json.dumps(function["name"], ensure_ascii=False)
            parameters = _parameters(function)
            inner = parameters_grammar(parameters) if self.arguments == "xml" else Grammar.json_schema(parameters)
            call = text(f"{before}{name}{middle}") + inner + text(after)
            calls = call if calls is None else calls | call
        if calls is None:
            raise ConfigurationError("tool_choice asks for a call, but there are no tools")
        following = text(self.end)
        if parallel:
            for _ in range(_MOST_CALLS - 1):
                following = following | (text(self.between) + calls + following)
        return text(self.begin) + calls + following


def _parameters(function: Mapping[str, Any]) -> dict[str, Any]:
    parameters = dict(function.get("parameters") or {"type": "object", "properties": {}})
    properties = {key: _plain_schema(value) for key, value in (parameters.get("properties") or {}).items()}
    parameters["properties"] = properties
    # A model that invents arguments makes a call that fails.
    parameters.setdefault("additionalProperties", False)
    return parameters


def _plain_schema(schema: Any) -> Any:
    """smolagents' words in JSON Schema's: ``nullable``, and types of values that a model can only name."""
    if not isinstance(schema, Mapping):
        return schema
    plain = {key: value for key, value in schema.items() if key != "nullable"}
    if plain.get("type") in ("image", "audio"):
        plain["type"] = "string"
    elif plain.get("type") == "any":
        del plain["type"]
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") else plain


TOOL_SYNTAXES: dict[str, ToolSyntax] = {
    syntax.name: syntax
    for syntax in (
        # The more particular ones stand first: the first that matches is taken.
        ToolSyntax(
            name="harmony",
            marks=(("<|channel|>", "<|message|>", "commentary"),),
            opening=("<|channel|>commentary to=functions.", "<|start|>assistant to=functions."),
            call="<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{arguments}",
            between="<|call|><|start|>assistant",
            header=r"to=functions\.(?P<name>[\w.\-]+)[^{]*?<\|message\|>\s*(?=\{)",
            special=("<|channel|>", "<|message|>", "<|constrain|>", "<|start|>", "<|end|>"),
            dropped=(
                "<|start|>assistant",
                "<|channel|>final<|message|>",
                "<|channel|>commentary<|message|>",
                "<|end|>",
            ),
        ),
        ToolSyntax(
            name="deepseek-v3",
            marks=(("<｜tool▁calls▁begin｜>", "```json"),),
            opening=("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"),
            begin="<｜tool▁calls▁begin｜>",
            call="<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```<｜tool▁call▁end｜>",
            end="<｜tool▁calls▁end｜>",
            header=r"<｜tool▁sep｜>(?P<name>[^\n{<`]+)\s*(?:```json)?\s*(?=\{)",
            special=(
                "<｜tool▁calls▁begin｜>",
                "<｜tool▁call▁begin｜>",
                "<｜tool▁sep｜>",
                "<｜tool▁call▁end｜>",
                "<｜tool▁calls▁end｜>",
            ),
        ),
        ToolSyntax(
            name="deepseek",
            marks=(("<｜tool▁calls▁begin｜>",),),
            opening=("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"),
            begin="<｜tool▁calls▁begin｜>",
            call="<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{arguments}<｜tool▁call▁end｜>",
            between="",
            end="<｜tool▁calls▁end｜>",
            header=r"<｜tool▁call▁begin｜>(?P<name>[^\n{<]+)<｜tool▁sep｜>\s*(?=\{)",
            special=(
                "<｜tool▁calls▁begin｜>",
                "<｜tool▁call▁begin｜>",
                "<｜tool▁sep｜>",
                "<｜tool▁call▁end｜>",
                "<｜tool▁calls▁end｜>",
            ),
        ),
        ToolSyntax(
            name="mistral-v11",
            marks=(("[TOOL_CALLS]", "[ARGS]"),),
            opening=("[TOOL_CALLS]",),
            call="[TOOL_CALLS]{name}[ARGS]{arguments}",
            between="",
            header=r"\[TOOL_CALLS\]\s*(?P<name>[^\[\]{\s]+)(?:\[CALL_ID\][^\[]*)?\[ARGS\]\s*(?=\{)",
            special=("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),
        ),
        ToolSyntax(
            name="mistral",
            marks=(("[TOOL_CALLS]",),),
            opening=("[TOOL_CALLS]",),
            begin="[TOOL_CALLS][",
            call='{"name": {name}, "arguments": {arguments}}',
            between=", ",
            end="]",
            special=("[TOOL_CALLS]",),
        ),
        ToolSyntax(
            name="qwen-coder",
            marks=(("<tool_call>", "<function="), ("<function=", "<parameter=")),
            opening=("<tool_call>", "<function="),
            call="<tool_call>\n<function={name}>\n{arguments}</function>\n</tool_call>",
            arguments="xml",
            header=r"<function=(?P<name>[^>\n]+)>\s*",
            special=("<tool_call>", "</tool_call>"),
        ),
        ToolSyntax(
            name="hermes",
            marks=(("<tool_call>",),),
            opening=("<tool_call>",),
            call='<tool_call>\n{"name": {name}, "arguments": {arguments}}\n</tool_call>',
            special=("<tool_call>", "</tool_call>"),
        ),
        ToolSyntax(
            name="llama3",
            marks=(("<|python_tag|>",), ("Environment: ipython",), ('"parameters"', "<|eom_id|>")),
            opening=("<|python_tag|>",),
            call='{"name": {name}, "parameters": {arguments}}',
            between="; ",
            keys=("name", "parameters"),
            special=("<|python_tag|>",),
        ),
    )
}
# For templates of no known family.
PLAIN = ToolSyntax(name="json", marks=(), call='{"name": {name}, "arguments": {arguments}}')


def find_tool_syntax(template: str | None) -> ToolSyntax | None:
    """The family that a chat template is of, or None."""
    for syntax in TOOL_SYNTAXES.values():
        if template and syntax.matches(template):
            return syntax
    return None


def named_tool_syntax(name: Any) -> ToolSyntax:
    """A family by its name; "json" is a plain JSON object.

    Raises:
        ConfigurationError: There is none of that name.
    """
    if isinstance(name, ToolSyntax):
        return name
    known = {**TOOL_SYNTAXES, PLAIN.name: PLAIN}
    if name not in known:
        raise ConfigurationError(f"tool_syntax is one of {sorted(known)}, not {name!r}")
    return known[name]
