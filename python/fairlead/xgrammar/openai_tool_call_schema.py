"""Tools and the choice among them in the form of OpenAI's chat completions, and tools that a server has built in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from fairlead.xgrammar._model import Model

__all__ = [
    "AllowedToolChoiceParam",
    "AllowedToolRef",
    "AllowedToolsParam",
    "BuiltinToolChoiceParam",
    "BuiltinToolParam",
    "FunctionDefinition",
    "FunctionToolParam",
    "NamedToolChoiceFunction",
    "NamedToolChoiceParam",
    "ToolChoiceOptionParam",
    "ToolParam",
]


def _check(model: Model, field: str, kinds: type | tuple[type, ...], what: str) -> None:
    value = getattr(model, field)
    if not isinstance(value, kinds):
        raise ValueError(f"{type(model).__name__}.{field} is {what}, not {value!r}")


_OPTIONAL_TEXT = (str, type(None))
_OPTIONAL_MAPPING = (Mapping, type(None))


@dataclass(kw_only=True)
class FunctionDefinition(Model):
    """A function.

    Args:
        name: Its name.
        description: What it does; not part of any grammar.
        parameters: The JSON Schema of its arguments; default: any JSON.
        strict: With False the schema isn't held to.
    """

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def __post_init__(self) -> None:
        _check(self, "name", str, "a text")
        _check(self, "parameters", _OPTIONAL_MAPPING, "a JSON Schema that is an object")
        _check(self, "strict", (bool, type(None)), "true or false")


@dataclass(kw_only=True)
class FunctionToolParam(Model):
    """A tool that is a function: ``{"type": "function", "function": {...}}``."""

    type: Literal["function"] = "function"
    function: FunctionDefinition

    def __post_init__(self) -> None:
        if self.type != "function":
            raise ValueError(f"FunctionToolParam.type is 'function', not {self.type!r}")
        self.function = FunctionDefinition.model_validate(self.function)


@dataclass(kw_only=True)
class BuiltinToolParam(Model):
    """A tool that a server has built in.

    Args:
        type: Its type, as the provider calls it.
        name: Its name, as the model writes it; default: the type.
        parameters: The JSON Schema of its arguments; default: any JSON.
    """

    type: str
    name: str | None = None
    parameters: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        _check(self, "type", str, "a text")
        _check(self, "name", _OPTIONAL_TEXT, "a text")
        _check(self, "parameters", _OPTIONAL_MAPPING, "a JSON Schema that is an object")


@dataclass(kw_only=True)
class NamedToolChoiceFunction(Model):
    """A function by its name."""

    name: str

    def __post_init__(self) -> None:
        _check(self, "name", str, "a text")


@dataclass(kw_only=True)
class NamedToolChoiceParam(Model):
    """The one function to call: ``{"type": "function", "function": {"name": ...}}``."""

    type: Literal["function"] = "function"
    function: NamedToolChoiceFunction

    def __post_init__(self) -> None:
        self.function = NamedToolChoiceFunction.model_validate(self.function)


@dataclass(kw_only=True)
class BuiltinToolChoiceParam(Model):
    """The one tool that is built in to call, by its type."""

    type: str
    name: str | None = None

    def __post_init__(self) -> None:
        _check(self, "type", str, "a text")


@dataclass(kw_only=True)
class AllowedToolRef(Model):
    """A tool that may be called: a function by its name, one that is built in by its type."""

    type: str
    function: NamedToolChoiceFunction | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        _check(self, "type", str, "a text")
        if self.function is not None:
            self.function = NamedToolChoiceFunction.model_validate(self.function)


@dataclass(kw_only=True)
class AllowedToolsParam(Model):
    """The tools that may be called, and whether one must be."""

    mode: Literal["auto", "required"]
    tools: list[AllowedToolRef]

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "required"):
            raise ValueError(f"AllowedToolsParam.mode is 'auto' or 'required', not {self.mode!r}")
        _check(self, "tools", (list, tuple), "a list")
        self.tools = [AllowedToolRef.model_validate(tool) for tool in self.tools]


@dataclass(kw_only=True)
class AllowedToolChoiceParam(Model):
    """A choice of tools: ``{"type": "allowed_tools", "allowed_tools": {...}}``."""

    type: Literal["allowed_tools"] = "allowed_tools"
    allowed_tools: AllowedToolsParam

    def __post_init__(self) -> None:
        self.allowed_tools = AllowedToolsParam.model_validate(self.allowed_tools)


ToolParam: TypeAlias = FunctionToolParam | BuiltinToolParam
ToolChoiceOptionParam: TypeAlias = (
    Literal["none", "auto", "required"] | NamedToolChoiceParam | AllowedToolChoiceParam | BuiltinToolChoiceParam
)
