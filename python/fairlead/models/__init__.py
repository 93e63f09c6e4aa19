"""Models: one interface over local and remote language models, the same as smolagents'.

Every backend's module is imported when its class is first asked for, and none of them imports its framework before a
model is made.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fairlead.images import encode_image_base64, make_image_url
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
from fairlead.models._api import ApiModel
from fairlead.models._base import CODEAGENT_RESPONSE_FORMAT, REMOVE_PARAMETER, Model
from fairlead.models._hooks import ModelRequest, ModelResponse
from fairlead.models._otel import trace_model
from fairlead.models._registry import REGISTERED, load_model, register_model, save_model
from fairlead.models._retry import (
    RETRY_EXPONENTIAL_BASE,
    RETRY_JITTER,
    RETRY_MAX_ATTEMPTS,
    RETRY_WAIT,
    is_rate_limit_error,
)
from fairlead.streaming import (
    ChatMessageStreamDelta,
    ChatMessageToolCallStreamDelta,
    ChatStream,
    agglomerate_stream_deltas,
)
from fairlead.tools import (
    get_tool_call_from_text,
    get_tool_json_schema,
    parse_json_if_needed,
    supports_stop_parameter,
)
from fairlead.types import TokenUsage

if TYPE_CHECKING:
    from fairlead.models.azure_openai import AzureOpenAIModel, AzureOpenAIServerModel
    from fairlead.models.bedrock import AmazonBedrockModel, AmazonBedrockServerModel
    from fairlead.models.fallback import FallbackModel
    from fairlead.models.inference_client import HfApiModel, InferenceClientModel
    from fairlead.models.litellm import LiteLLMModel, LiteLLMRouterModel
    from fairlead.models.mlx import MLXModel
    from fairlead.models.openai import OpenAIModel, OpenAIServerModel
    from fairlead.models.transformers import TransformersModel
    from fairlead.models.vllm import VLLMModel

    MODEL_REGISTRY: dict[str, type[Model]]

__all__ = [
    "BACKENDS",
    "CODEAGENT_RESPONSE_FORMAT",
    "MODEL_REGISTRY",
    "REMOVE_PARAMETER",
    "RETRY_EXPONENTIAL_BASE",
    "RETRY_JITTER",
    "RETRY_MAX_ATTEMPTS",
    "RETRY_WAIT",
    "AmazonBedrockModel",
    "AmazonBedrockServerModel",
    "ApiModel",
    "AzureOpenAIModel",
    "AzureOpenAIServerModel",
    "ChatMessage",
    "ChatMessageStreamDelta",
    "ChatMessageToolCall",
    "ChatMessageToolCallFunction",
    "ChatMessageToolCallStreamDelta",
    "ChatStream",
    "FallbackModel",
    "HfApiModel",
    "InferenceClientModel",
    "LiteLLMModel",
    "LiteLLMRouterModel",
    "MLXModel",
    "MessageRole",
    "Model",
    "ModelRequest",
    "ModelResponse",
    "OpenAIModel",
    "OpenAIServerModel",
    "TokenUsage",
    "TransformersModel",
    "VLLMModel",
    "agglomerate_stream_deltas",
    "encode_image_base64",
    "get_clean_message_list",
    "get_dict_from_nested_dataclasses",
    "get_tool_call_from_text",
    "get_tool_json_schema",
    "is_rate_limit_error",
    "load_model",
    "make_image_url",
    "parse_json_if_needed",
    "register_model",
    "remove_content_after_stop_sequences",
    "save_model",
    "supports_stop_parameter",
    "tool_role_conversions",
    "trace_model",
]

# Class -> the module that defines it.
BACKENDS: dict[str, str] = {
    "AzureOpenAIModel": "fairlead.models.azure_openai",
    "InferenceClientModel": "fairlead.models.inference_client",
    "LiteLLMModel": "fairlead.models.litellm",
    "LiteLLMRouterModel": "fairlead.models.litellm",
    "OpenAIModel": "fairlead.models.openai",
    "AzureOpenAIServerModel": "fairlead.models.azure_openai",
    "HfApiModel": "fairlead.models.inference_client",
    "OpenAIServerModel": "fairlead.models.openai",
    "MLXModel": "fairlead.models.mlx",
    "AmazonBedrockModel": "fairlead.models.bedrock",
    "AmazonBedrockServerModel": "fairlead.models.bedrock",
    "FallbackModel": "fairlead.models.fallback",
    "TransformersModel": "fairlead.models.transformers",
    "VLLMModel": "fairlead.models.vllm",
}


def __getattr__(name: str) -> Any:
    if name in BACKENDS:
        value: Any = getattr(import_module(BACKENDS[name]), name)
    elif name == "MODEL_REGISTRY":
        value = {backend: getattr(import_module(module), backend) for backend, module in BACKENDS.items()}
        value.update({cls.__name__: cls for cls in REGISTERED.values()})
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
