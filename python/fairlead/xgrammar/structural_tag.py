"""Structural tags as objects: the formats, and the tag that holds one.

Formats are checked when they are compiled; until then they hold what they were given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from fairlead.xgrammar._model import Model, loaded, plain
from fairlead.xgrammar.exception import InvalidStructuralTagError

__all__ = [
    "AnyTextFormat",
    "AnyTokensFormat",
    "ConstStringFormat",
    "DispatchFormat",
    "ExcludeTokenFormat",
    "Format",
    "GrammarFormat",
    "JSONSchemaFormat",
    "OptionalFormat",
    "OrFormat",
    "PlusFormat",
    "QwenXMLParameterFormat",
    "RegexFormat",
    "RepeatFormat",
    "SequenceFormat",
    "StarFormat",
    "StructuralTag",
    "StructuralTagItem",
    "TagFormat",
    "TagsWithSeparatorFormat",
    "TokenDispatchFormat",
    "TokenFormat",
    "TokenTriggeredTagsFormat",
    "TriggeredTagsFormat",
]


@dataclass(kw_only=True)
class ConstStringFormat(Model):
    """One text."""

    type: Literal["const_string"] = "const_string"
    value: str


@dataclass(kw_only=True)
class JSONSchemaFormat(Model):
    """A value that satisfies a JSON Schema.

    Args:
        json_schema: The schema.
        style: ``"json"``, or how a family of models writes the arguments of calls: ``"qwen_xml"``, ``"minimax_xml"``,
            ``"deepseek_xml"``, ``"deepseek_v4_1_xml"``, ``"glm_xml"``, ``"kimi_k3_xml"``, ``"cohere_xml"``,
            ``"minimax_m3_xml"``.
        any_order: Members in any order, each once, as the schema wants them; JSON only.
        max_whitespace_cnt: The most whitespace characters in a row; default: fairlead's bounded layout.
        excludes: Only names of special tokens, which no value has.
    """

    type: Literal["json_schema"] = "json_schema"
    json_schema: bool | dict[str, Any]
    style: str = "json"
    any_order: bool = False
    max_whitespace_cnt: int | None = None
    excludes: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class QwenXMLParameterFormat(Model):
    """The arguments of a call as Qwen's coders write them."""

    type: Literal["qwen_xml_parameter"] = "qwen_xml_parameter"
    json_schema: bool | dict[str, Any]


@dataclass(kw_only=True)
class AnyTextFormat(Model):
    """Any text without those that are excluded, of so many tokens and characters at most."""

    type: Literal["any_text"] = "any_text"
    excludes: list[str] = field(default_factory=list)
    max_tokens: int | None = None
    max_chars: int | None = None


@dataclass(kw_only=True)
class TokenFormat(Model):
    """One token, by its id or its text."""

    type: Literal["token"] = "token"
    token: int | str


@dataclass(kw_only=True)
class ExcludeTokenFormat(Model):
    """One token that is none of these, which are special ones."""

    type: Literal["exclude_token"] = "exclude_token"
    exclude_tokens: list[int | str] = field(default_factory=list)


@dataclass(kw_only=True)
class AnyTokensFormat(Model):
    """Any number of tokens that are none of these, which are special ones."""

    type: Literal["any_tokens"] = "any_tokens"
    exclude_tokens: list[int | str] = field(default_factory=list)
    max_tokens: int | None = None


@dataclass(kw_only=True)
class GrammarFormat(Model):
    """A grammar.

    Args:
        grammar: Its text.
        syntax: ``"ebnf"``, or ``"lark"`` for Lark's notation.
    """

    type: Literal["grammar"] = "grammar"
    grammar: str
    syntax: Literal["ebnf", "lark"] = "ebnf"


@dataclass(kw_only=True)
class RegexFormat(Model):
    """A regular expression."""

    type: Literal["regex"] = "regex"
    pattern: str


@dataclass(kw_only=True)
class SequenceFormat(Model):
    """One format behind the other."""

    type: Literal["sequence"] = "sequence"
    elements: list[Any]


@dataclass(kw_only=True)
class OrFormat(Model):
    """One of several formats."""

    type: Literal["or"] = "or"
    elements: list[Any]


@dataclass(kw_only=True)
class OptionalFormat(Model):
    """A format or nothing."""

    type: Literal["optional"] = "optional"
    content: Any


@dataclass(kw_only=True)
class PlusFormat(Model):
    """A format, once or more often."""

    type: Literal["plus"] = "plus"
    content: Any


@dataclass(kw_only=True)
class StarFormat(Model):
    """A format, as often as one likes."""

    type: Literal["star"] = "star"
    content: Any


@dataclass(kw_only=True)
class RepeatFormat(Model):
    """A format ``min`` to ``max`` times; -1 is no limit."""

    type: Literal["repeat"] = "repeat"
    min: int
    max: int
    content: Any


@dataclass(kw_only=True)
class TagFormat(Model):
    """A begin, a content and an end; any text as content goes on until an end is first complete."""

    type: Literal["tag"] = "tag"
    begin: str | TokenFormat
    content: Any
    end: str | list[str] | TokenFormat


@dataclass(kw_only=True)
class TriggeredTagsFormat(Model):
    """Any text; where a trigger is complete, one of the tags that begin so."""

    type: Literal["triggered_tags"] = "triggered_tags"
    triggers: list[str]
    tags: list[TagFormat]
    at_least_one: bool = False
    stop_after_first: bool = False
    excludes: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class TokenTriggeredTagsFormat(Model):
    """The same with tokens for triggers."""

    type: Literal["token_triggered_tags"] = "token_triggered_tags"
    trigger_tokens: list[int | str]
    tags: list[TagFormat]
    exclude_tokens: list[int | str] = field(default_factory=list)
    at_least_one: bool = False
    stop_after_first: bool = False


@dataclass(kw_only=True)
class TagsWithSeparatorFormat(Model):
    """Tags with a separator between them and nothing else."""

    type: Literal["tags_with_separator"] = "tags_with_separator"
    tags: list[TagFormat]
    separator: str
    at_least_one: bool = False
    stop_after_first: bool = False


@dataclass(kw_only=True)
class DispatchFormat(Model):
    """Any text; where a rule's text is complete, its format."""

    type: Literal["dispatch"] = "dispatch"
    rules: list[tuple[str, Any]]
    loop: bool = True
    excludes: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class TokenDispatchFormat(Model):
    """The same with tokens instead of texts."""

    type: Literal["token_dispatch"] = "token_dispatch"
    rules: list[tuple[int | str, Any]]
    loop: bool = True
    exclude_tokens: list[int | str] = field(default_factory=list)


Format: TypeAlias = (
    AnyTextFormat
    | AnyTokensFormat
    | ConstStringFormat
    | DispatchFormat
    | ExcludeTokenFormat
    | GrammarFormat
    | JSONSchemaFormat
    | OptionalFormat
    | OrFormat
    | PlusFormat
    | QwenXMLParameterFormat
    | RegexFormat
    | RepeatFormat
    | SequenceFormat
    | StarFormat
    | TagFormat
    | TagsWithSeparatorFormat
    | TokenDispatchFormat
    | TokenFormat
    | TokenTriggeredTagsFormat
    | TriggeredTagsFormat
)


class StructuralTagItem:
    """A tag of the older form.

    Args:
        begin: Its begin.
        schema: A JSON Schema as text, mapping or pydantic class.
        end: Its end.
    """

    def __init__(self, *, begin: str, schema: Any, end: str) -> None:
        self.begin = begin
        self.schema_ = schema
        self.end = end

    def model_dump(self, *, by_alias: bool = False) -> dict[str, Any]:
        """The tag as a mapping."""
        return {"begin": self.begin, "schema" if by_alias else "schema_": self.schema_, "end": self.end}

    def __repr__(self) -> str:
        return f"StructuralTagItem(begin={self.begin!r}, schema={self.schema_!r}, end={self.end!r})"


@dataclass(kw_only=True)
class StructuralTag(Model):
    """A structural tag: ``{"type": "structural_tag", "format": {...}}``.

    Args:
        format: A mapping, or an object with ``model_dump``, as the formats of this module and of XGrammar's.
        type: Only ``"structural_tag"``.

    Raises:
        InvalidStructuralTagError: Another type, or a format without a type. The rest is checked by compiling.
    """

    type: Literal["structural_tag"] = "structural_tag"
    format: Any

    def __post_init__(self) -> None:
        if self.type != "structural_tag":
            raise InvalidStructuralTagError(f"a structural tag's type is 'structural_tag', not {self.type!r}")
        if not isinstance(self.format, Model):
            self.format = plain(self.format)
            if not isinstance(self.format, dict) or not isinstance(self.format.get("type"), str):
                raise InvalidStructuralTagError("a structural tag has a format with a type")

    @staticmethod
    def from_legacy_structural_tag(tags: list[StructuralTagItem], triggers: list[str]) -> StructuralTag:
        """The tag that the older form with triggers stands for."""
        made = []
        for tag in tags:
            schema = loaded(tag.schema_) if isinstance(tag.schema_, str) else plain(tag.schema_)
            made.append(TagFormat(begin=tag.begin, content=JSONSchemaFormat(json_schema=schema), end=tag.end))
        return StructuralTag(format=TriggeredTagsFormat(triggers=list(triggers), tags=made))

    @staticmethod
    def from_json(json_str: str | dict[str, Any]) -> StructuralTag:
        """A tag from its JSON, as text or mapping; its format stays a mapping.

        Raises:
            InvalidJSONError: The text isn't JSON.
            InvalidStructuralTagError: It is no structural tag.
        """
        given = loaded(json_str) if isinstance(json_str, str) else json_str
        if not isinstance(given, dict) or set(given) - {"type", "format"} or "format" not in given:
            raise InvalidStructuralTagError("a structural tag has the keys type and format")
        return StructuralTag(**given)
