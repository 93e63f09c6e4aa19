"""The structural tag of a model's answer: its reasoning, its text, and its calls of tools."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

from fairlead.xgrammar._model_formats import MODEL_FORMATS, Builder, ModelFormat, Options, harmony, kimi_k3
from fairlead.xgrammar._tool_choice import SimplifiedToolChoice, normalize_tool_choice
from fairlead.xgrammar.openai_tool_call_schema import (
    BuiltinToolParam,
    FunctionToolParam,
    ToolChoiceOptionParam,
    ToolParam,
)
from fairlead.xgrammar.structural_tag import StructuralTag

__all__ = [
    "get_builtin_structural_tag",
    "get_model_structural_tag",
    "normalize_tool_choice",
    "register_model_structural_tag",
]


def _with_options(build: Callable[..., StructuralTag]) -> Builder:
    def builder(
        tools: Sequence[FunctionToolParam],
        builtin_tools: Sequence[BuiltinToolParam],
        tool_choice: SimplifiedToolChoice,
        reasoning: Literal["enabled", "disabled", "auto"],
        **options: Any,
    ) -> StructuralTag:
        return build(tools, builtin_tools, tool_choice, reasoning, Options(**options))

    return builder


def _of(name: str, syntax: ModelFormat) -> Builder:
    return _with_options(lambda *given: syntax.structural_tag(name, *given))


_BUILDERS: dict[str, Builder] = {
    **{name: _of(name, syntax) for name, syntax in MODEL_FORMATS.items()},
    "harmony": _with_options(harmony),
    "kimi_k3": _with_options(kimi_k3),
}


def register_model_structural_tag(name: str) -> Callable[[Builder], Builder]:
    """A decorator that makes a function the builder of a format, also of one that is there already.

    The function is called with functions, tools that are built in, ``"auto"``, ``"required"`` or ``"forced"``, the mode
    of reasoning, and the keywords ``any_order``, ``exclude_special_tokens``, ``max_whitespace_cnt`` and
    ``parallel_tool_calls``; it returns a structural tag.

    Args:
        name: The format's name.
    """

    def register(builder: Builder) -> Builder:
        _BUILDERS[name] = builder
        return builder

    return register


def get_model_structural_tag(
    model: str,
    tools: Sequence[ToolParam | dict[str, Any]] | None = None,
    tool_choice: ToolChoiceOptionParam | dict[str, Any] | None = "auto",
    reasoning: bool | Literal["enabled", "disabled", "auto"] = "enabled",
    force_reasoning: bool = False,
    any_order: bool = False,
    exclude_special_tokens: bool = True,
    max_whitespace_cnt: int | None = None,
    parallel_tool_calls: bool = True,
) -> StructuralTag:
    """The structural tag of a model's answer.

    Where it differs from XGrammar's: with ``"required"`` harmony's answers must call a tool, where theirs may end
    without; tools that are built in and that a format can't write are a warning, and an error where one must be called;
    arguments in XML are those only that the schema names, also with ``strict=False``. Refused by compiling are
    ``any_order`` with arguments in XML, and ``kimi_k3`` with tools where its tags aren't special tokens of the
    tokenizer, unless ``exclude_special_tokens=False``.

    Args:
        model: ``"llama"``, ``"kimi"``, ``"kimi_k3"``, ``"deepseek_r1"``, ``"deepseek_v3_1"``, ``"deepseek_v3_2"``,
            ``"deepseek_v4"``, ``"deepseek_v4_1"``, ``"qwen_3"``, ``"qwen_3_coder"``, ``"qwen_3_5"``, ``"harmony"``,
            ``"minimax"``, ``"minimax_m3"``, ``"glm_4_7"``, ``"mimo"``, ``"exaone"``, ``"cohere"``, or what was
            registered.
        tools: Functions and tools that are built in, as of ``normalize_tool_choice``.
        tool_choice: The same.
        reasoning: ``"enabled"`` (or True): the answer begins with reasoning; ``"disabled"`` (False): with none;
            ``"auto"``: the model decides.
        force_reasoning: Has no effect any more, there as here; True is a warning.
        any_order: A call's arguments in any order.
        exclude_special_tokens: Texts that stand for special tokens stand only where the format wants them.
        max_whitespace_cnt: The most whitespace characters in a row in a call's arguments.
        parallel_tool_calls: More than one call.

    Raises:
        ValueError: An unknown format or mode, or as of ``normalize_tool_choice``.
    """
    builder = _BUILDERS.get(model)
    if builder is None:
        raise ValueError(f"unknown format {model!r}; known are {sorted(_BUILDERS)}")
    functions, builtin, simple = normalize_tool_choice(tools, tool_choice)
    mode = {True: "enabled", False: "disabled"}[reasoning] if isinstance(reasoning, bool) else reasoning
    if mode not in ("enabled", "disabled", "auto"):
        raise ValueError(f"reasoning is 'enabled', 'disabled', 'auto' or a bool, not {reasoning!r}")
    if not isinstance(parallel_tool_calls, bool):
        raise ValueError(f"parallel_tool_calls is a bool, not {parallel_tool_calls!r}")
    if force_reasoning:
        warnings.warn("force_reasoning has no effect; reasoning='enabled' wants it", DeprecationWarning, stacklevel=2)
    return builder(
        functions,
        builtin,
        simple,
        mode,
        any_order=any_order,
        exclude_special_tokens=exclude_special_tokens,
        max_whitespace_cnt=max_whitespace_cnt,
        parallel_tool_calls=parallel_tool_calls,
    )


get_builtin_structural_tag = get_model_structural_tag
