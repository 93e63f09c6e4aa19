"""Which tools may be called, and whether one must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from fairlead.xgrammar._model import plain
from fairlead.xgrammar.openai_tool_call_schema import (
    AllowedToolChoiceParam,
    AllowedToolsParam,
    BuiltinToolChoiceParam,
    BuiltinToolParam,
    FunctionToolParam,
    NamedToolChoiceParam,
    ToolChoiceOptionParam,
    ToolParam,
)

__all__ = ["SimplifiedToolChoice", "normalize_tool_choice"]

SimplifiedToolChoice: TypeAlias = Literal["auto", "required", "forced"]
_Tools: TypeAlias = tuple[list[FunctionToolParam], list[BuiltinToolParam]]


def normalize_tool_choice(
    tools: Sequence[ToolParam | dict[str, Any]] | None = None,
    tool_choice: ToolChoiceOptionParam | dict[str, Any] | None = "auto",
) -> tuple[list[FunctionToolParam], list[BuiltinToolParam], SimplifiedToolChoice]:
    """Tools as objects, those only that may be called, and whether one must be.

    Args:
        tools: Functions as ``{"type": "function", "function": {...}}``, tools that are built in as ``{"type": ...,
            "name": ..., "parameters": {...}}``.
        tool_choice: ``"auto"`` (or None), ``"none"``, ``"required"``, a function by its name, a tool that is built in
            by its type, or ``{"type": "allowed_tools", "allowed_tools": {"mode": ..., "tools": [...]}}``.

    Returns:
        Functions, tools that are built in, and ``"auto"``, ``"required"`` or ``"forced"``: exactly one tool.

    Raises:
        ValueError: A tool or the choice is malformed, names a tool that isn't there, or asks for a call where there is
            no tool.
    """
    if not isinstance(tools, list | tuple | None):
        raise ValueError(f"tools is a list, not {type(tools).__name__}")
    functions: list[FunctionToolParam] = []
    builtin: list[BuiltinToolParam] = []
    for index, tool in enumerate(tools or ()):
        try:
            read = _tool(tool)
        except ValueError as error:
            raise ValueError(f"tools[{index}]: {error}") from error
        if isinstance(read, FunctionToolParam):
            functions.append(read)
        else:
            builtin.append(read)
    choice = _choice(tool_choice)
    if choice == "none":
        return [], [], "auto"
    if choice == "auto":
        return functions, builtin, "auto"
    if isinstance(choice, NamedToolChoiceParam):
        wanted = choice.function.name
        named = [tool for tool in functions if tool.function.name == wanted]
        if len(named) != 1:
            names = [tool.function.name for tool in functions]
            raise ValueError(f"tool_choice names {wanted!r}, which {len(named)} of the functions {names} are called")
        return named, [], "forced"
    if isinstance(choice, BuiltinToolChoiceParam):
        typed = [tool for tool in builtin if tool.type == choice.type]
        if len(typed) != 1:
            types = [tool.type for tool in builtin]
            raise ValueError(f"tool_choice names the type {choice.type!r}, which {len(typed)} of {types} are of")
        return [], typed, "forced"
    simple: SimplifiedToolChoice = "required"
    if isinstance(choice, AllowedToolChoiceParam):
        functions, builtin = _allowed(choice.allowed_tools, functions, builtin)
        simple = choice.allowed_tools.mode
    if simple == "required" and not functions and not builtin:
        raise ValueError("tool_choice requires a call, and there is no tool")
    return functions, builtin, simple


def _tool(tool: Any) -> ToolParam:
    if isinstance(tool, FunctionToolParam | BuiltinToolParam):
        return tool
    given = plain(tool)
    if isinstance(given, Mapping) and "function" in given:
        return FunctionToolParam.model_validate(given)
    if isinstance(given, Mapping) and given.get("type") == "function":
        raise ValueError('a function is {"type": "function", "function": {...}}')
    return BuiltinToolParam.model_validate(given)


def _choice(choice: Any) -> ToolChoiceOptionParam:
    if choice is None:
        return "auto"
    if isinstance(choice, NamedToolChoiceParam | AllowedToolChoiceParam | BuiltinToolChoiceParam):
        return choice
    given = plain(choice)
    if given in ("none", "auto", "required"):
        return given  # type: ignore[no-any-return]
    if not isinstance(given, Mapping):
        raise ValueError(f"tool_choice is 'none', 'auto', 'required' or a mapping, not {choice!r}")
    match given.get("type"):
        case "function":
            return NamedToolChoiceParam.model_validate(given)
        case "allowed_tools":
            return AllowedToolChoiceParam.model_validate(given)
        case _:
            return BuiltinToolChoiceParam.model_validate(given)


def _allowed(allowed: AllowedToolsParam, functions: list[FunctionToolParam], builtin: list[BuiltinToolParam]) -> _Tools:
    names, types = set(), set()
    for index, tool in enumerate(allowed.tools):
        if tool.type != "function":
            types.add(tool.type)
        elif tool.function is None:
            raise ValueError(f"allowed_tools.tools[{index}] has no function")
        else:
            names.add(tool.function.name)
    missing = sorted(names - {tool.function.name for tool in functions}) + sorted(
        types - {tool.type for tool in builtin}
    )
    if missing:
        raise ValueError(f"allowed_tools names tools that aren't there: {sorted(missing)}")
    return [tool for tool in functions if tool.function.name in names], [tool for tool in builtin if tool.type in types]
