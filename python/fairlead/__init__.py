"""Constrained decoding with a Rust core, and a drop-in faster model layer for smolagents.

Every public name can be imported from here. Names are loaded on first use, so that ``import fairlead`` costs next to
nothing and loads no framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairlead._core import GrammarMatcher, TokenBitmask, allocate_token_bitmask, apply_token_bitmask, fill_batch
    from fairlead._smolagents import register_smolagents
    from fairlead.adapters import MLXLogitsProcessor, constrain_continuous_batching
    from fairlead.bitmask import apply_token_bitmask_inplace, reset_token_bitmask
    from fairlead.errors import (
        AuthenticationError,
        ConfigurationError,
        FairleadError,
        FallbackError,
        GrammarError,
        LimitExceeded,
        MessageError,
        MissingDependencyError,
        ModelConnectionError,
        ModelError,
        ModelHTTPError,
        ModelTimeoutError,
        RateLimitError,
        SchemaError,
        StopSequenceError,
        TokenizerError,
        UnsupportedSchemaError,
    )
    from fairlead.grammar import CompiledGrammar, Grammar, GrammarCompiler
    from fairlead.images import encode_image_base64, make_image_url
    from fairlead.logits_processor import LogitsProcessor
    from fairlead.messages import (
        ChatMessage,
        ChatMessageToolCall,
        ChatMessageToolCallFunction,
        MessageRole,
        get_clean_message_list,
        get_dict_from_nested_dataclasses,
        remove_content_after_stop_sequences,
        tool_role_conversions,
    )
    from fairlead.models import (
        CODEAGENT_RESPONSE_FORMAT,
        REMOVE_PARAMETER,
        AmazonBedrockModel,
        AmazonBedrockServerModel,
        ApiModel,
        AzureOpenAIModel,
        AzureOpenAIServerModel,
        FallbackModel,
        HfApiModel,
        InferenceClientModel,
        LiteLLMModel,
        LiteLLMRouterModel,
        MLXModel,
        Model,
        ModelRequest,
        ModelResponse,
        OpenAIModel,
        OpenAIServerModel,
        TransformersModel,
        VLLMModel,
        load_model,
        register_model,
        save_model,
        trace_model,
    )
    from fairlead.stopping import (
        RowStop,
        StopSequenceCriteria,
        StopSequenceMatcher,
        afilter_stream,
        filter_deltas,
        filter_stream,
    )
    from fairlead.streaming import (
        ChatMessageStreamDelta,
        ChatMessageToolCallStreamDelta,
        ChatStream,
        agglomerate_stream_deltas,
    )
    from fairlead.tokenizer import TokenizerInfo
    from fairlead.tools import (
        ToolCallStreamParser,
        get_tool_call_from_text,
        get_tool_calls_from_text,
        get_tool_json_schema,
        parse_json_if_needed,
        supports_stop_parameter,
    )
    from fairlead.types import FinishReason, Timings, TokenUsage

__all__ = [
    "CODEAGENT_RESPONSE_FORMAT",
    "REMOVE_PARAMETER",
    "AmazonBedrockModel",
    "AmazonBedrockServerModel",
    "ApiModel",
    "AuthenticationError",
    "AzureOpenAIModel",
    "AzureOpenAIServerModel",
    "ChatMessage",
    "ChatMessageStreamDelta",
    "ChatMessageToolCall",
    "ChatMessageToolCallFunction",
    "ChatMessageToolCallStreamDelta",
    "ChatStream",
    "CompiledGrammar",
    "ConfigurationError",
    "FairleadError",
    "FallbackError",
    "FallbackModel",
    "FinishReason",
    "Grammar",
    "GrammarCompiler",
    "GrammarError",
    "GrammarMatcher",
    "HfApiModel",
    "InferenceClientModel",
    "LimitExceeded",
    "LiteLLMModel",
    "LiteLLMRouterModel",
    "LogitsProcessor",
    "MLXLogitsProcessor",
    "MLXModel",
    "MessageError",
    "MessageRole",
    "MissingDependencyError",
    "Model",
    "ModelConnectionError",
    "ModelError",
    "ModelHTTPError",
    "ModelRequest",
    "ModelResponse",
    "ModelTimeoutError",
    "OpenAIModel",
    "OpenAIServerModel",
    "RateLimitError",
    "RowStop",
    "SchemaError",
    "StopSequenceCriteria",
    "StopSequenceError",
    "StopSequenceMatcher",
    "Timings",
    "TokenBitmask",
    "TokenUsage",
    "TokenizerError",
    "TokenizerInfo",
    "ToolCallStreamParser",
    "TransformersModel",
    "UnsupportedSchemaError",
    "VLLMModel",
    "afilter_stream",
    "agglomerate_stream_deltas",
    "allocate_token_bitmask",
    "apply_token_bitmask",
    "apply_token_bitmask_inplace",
    "constrain_continuous_batching",
    "encode_image_base64",
    "fill_batch",
    "filter_deltas",
    "filter_stream",
    "get_clean_message_list",
    "get_dict_from_nested_dataclasses",
    "get_tool_call_from_text",
    "get_tool_calls_from_text",
    "get_tool_json_schema",
    "load_model",
    "make_image_url",
    "parse_json_if_needed",
    "register_model",
    "register_smolagents",
    "remove_content_after_stop_sequences",
    "reset_token_bitmask",
    "save_model",
    "supports_stop_parameter",
    "tool_role_conversions",
    "trace_model",
]

# Where each public name lives. A module listed here is imported when one of its names is first asked for.
_MODULES: dict[str, tuple[str, ...]] = {
    "fairlead.adapters": ("MLXLogitsProcessor", "constrain_continuous_batching"),
    "fairlead._core": ("GrammarMatcher", "TokenBitmask", "allocate_token_bitmask", "apply_token_bitmask", "fill_batch"),
    "fairlead._smolagents": ("register_smolagents",),
    "fairlead.bitmask": ("apply_token_bitmask_inplace", "reset_token_bitmask"),
    "fairlead.errors": (
        "AuthenticationError",
        "ConfigurationError",
        "FairleadError",
        "FallbackError",
        "GrammarError",
        "LimitExceeded",
        "MessageError",
        "MissingDependencyError",
        "ModelConnectionError",
        "ModelError",
        "ModelHTTPError",
        "ModelTimeoutError",
        "RateLimitError",
        "SchemaError",
        "StopSequenceError",
        "TokenizerError",
        "UnsupportedSchemaError",
    ),
    "fairlead.grammar": ("CompiledGrammar", "Grammar", "GrammarCompiler"),
    "fairlead.images": ("encode_image_base64", "make_image_url"),
    "fairlead.logits_processor": ("LogitsProcessor",),
    "fairlead.messages": (
        "ChatMessage",
        "ChatMessageToolCall",
        "ChatMessageToolCallFunction",
        "MessageRole",
        "get_clean_message_list",
        "get_dict_from_nested_dataclasses",
        "remove_content_after_stop_sequences",
        "tool_role_conversions",
    ),
    "fairlead.models": (
        "AmazonBedrockModel",
        "AmazonBedrockServerModel",
        "ApiModel",
        "AzureOpenAIModel",
        "AzureOpenAIServerModel",
        "CODEAGENT_RESPONSE_FORMAT",
        "FallbackModel",
        "HfApiModel",
        "InferenceClientModel",
        "LiteLLMModel",
        "LiteLLMRouterModel",
        "MLXModel",
        "Model",
        "ModelRequest",
        "ModelResponse",
        "OpenAIModel",
        "OpenAIServerModel",
        "REMOVE_PARAMETER",
        "TransformersModel",
        "VLLMModel",
        "load_model",
        "register_model",
        "save_model",
        "trace_model",
    ),
    "fairlead.stopping": (
        "RowStop",
        "StopSequenceCriteria",
        "StopSequenceMatcher",
        "afilter_stream",
        "filter_deltas",
        "filter_stream",
    ),
    "fairlead.streaming": (
        "ChatMessageStreamDelta",
        "ChatMessageToolCallStreamDelta",
        "ChatStream",
        "agglomerate_stream_deltas",
    ),
    "fairlead.tokenizer": ("TokenizerInfo",),
    "fairlead.tools": (
        "ToolCallStreamParser",
        "get_tool_call_from_text",
        "get_tool_calls_from_text",
        "get_tool_json_schema",
        "parse_json_if_needed",
        "supports_stop_parameter",
    ),
    "fairlead.types": ("FinishReason", "Timings", "TokenUsage"),
}
_HOME: dict[str, str] = {name: module for module, names in _MODULES.items() for name in names}
# Folders and modules that are used by their own name: `fairlead.models.TransformersModel`.
_SUBMODULES = frozenset(
    {
        "adapters",
        "bitmask",
        "errors",
        "grammar",
        "images",
        "logits_processor",
        "messages",
        "models",
        "stopping",
        "streaming",
        "testing",
        "tokenizer",
        "tools",
        "types",
        "vllm",
        "xgrammar",
    }
)

__version__: str


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value: Any = getattr(import_module(_HOME[name]), name)
    elif name in _SUBMODULES:
        value = import_module(f"fairlead.{name}")
    elif name == "__version__":
        from importlib.metadata import version

        value = version("fairlead")
    elif name.endswith("Model"):
        # A backend; the module says it if there is none of that name yet.
        value = getattr(import_module("fairlead.models"), name)
    else:
        raise AttributeError(f"module 'fairlead' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
