"""Tools: their JSON Schema for the model, and the calls that a model writes as text.

A call is a JSON object with the tool's name and arguments, anywhere in the text: in prose, fences or tags, and as
Python writes dictionaries. Where no such object stands, ``name(argument=value)`` counts. A whole text is read by
:func:`get_tool_call_from_text` (the first call) and :func:`get_tool_calls_from_text` (all), a text that is still
arriving by :class:`ToolCallStreamParser`.

Families of models write their calls each in a way of their own (:class:`ToolSyntax`); :class:`ToolCallFilter` takes
the calls of one family out of an answer.
"""

from __future__ import annotations

from fairlead.tools._calls import get_tool_call_from_text, get_tool_calls_from_text, parse_json_if_needed
from fairlead.tools._filter import ToolCallFilter
from fairlead.tools._schema import get_tool_json_schema, supports_stop_parameter
from fairlead.tools._stream import ToolCallStreamParser
from fairlead.tools._syntax import TOOL_SYNTAXES, ToolSyntax, find_tool_syntax, named_tool_syntax

__all__ = [
    "TOOL_SYNTAXES",
    "ToolCallFilter",
    "ToolCallStreamParser",
    "ToolSyntax",
    "find_tool_syntax",
    "get_tool_call_from_text",
    "get_tool_calls_from_text",
    "get_tool_json_schema",
    "named_tool_syntax",
    "parse_json_if_needed",
    "supports_stop_parameter",
]
