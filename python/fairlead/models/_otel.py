"""OpenTelemetry spans of requests, by the semantic conventions for generative AI."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from fairlead._optional import require
from fairlead.messages import ChatMessage, clean_messages, text_of
from fairlead.models._hooks import ModelRequest, ModelResponse

__all__ = ["trace_model"]

_SPAN, _TOKEN = "fairlead.span", "fairlead.context"

# Class -> gen_ai.provider.name; the names that the conventions don't have are our own.
_PROVIDERS = {
    "AmazonBedrockModel": "aws.bedrock",
    "AzureOpenAIModel": "azure.ai.openai",
    "FallbackModel": "fairlead.fallback",
    "InferenceClientModel": "huggingface",
    "LiteLLMModel": "litellm",
    "MLXModel": "mlx",
    "OpenAIModel": "openai",
    "TransformersModel": "transformers",
    "VLLMModel": "vllm",
}
# Those that run in this process or only pass requests on.
_INTERNAL = frozenset({"fairlead.fallback", "mlx", "transformers", "vllm", "fairlead"})
_REQUEST = {
    "frequency_penalty": "frequency_penalty",
    "max_completion_tokens": "max_tokens",
    "max_new_tokens": "max_tokens",
    "max_tokens": "max_tokens",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
}
_NUMBERS = (int, float)


def trace_model(model: Any, *, tracer_provider: Any = None, capture_content: bool = False) -> Callable[[], None]:
    """Make a span of every request of a model.

    A span is named ``chat <model_id>`` and has the attributes of the semantic conventions for generative AI: provider,
    model, parameters, finish reason, token usage, the time to the first piece of a stream, and the error. It is the
    current span while ``generate`` and ``agenerate`` run, so that the spans of an HTTP client, or of the models of a
    FallbackModel that are traced themselves, become its children.

    Args:
        model: Any of our models.
        tracer_provider: Default: the global one.
        capture_content: Also record the messages and the reply, as text. Default False: they may be confidential.

    Returns:
        A function that ends the tracing.

    Raises:
        MissingDependencyError: opentelemetry-api isn't installed.
    """
    api = require("opentelemetry.trace", extra="otel", feature="trace_model")
    context = require("opentelemetry.context", extra="otel")
    tracer = api.get_tracer("fairlead", tracer_provider=tracer_provider)

    def begin(request: ModelRequest) -> None:
        provider = _provider(request.model)
        span = tracer.start_span(
            f"chat {request.model.model_id}" if request.model.model_id else "chat",
            kind=api.SpanKind.INTERNAL if provider in _INTERNAL else api.SpanKind.CLIENT,
            attributes=_request_attributes(request, provider),
        )
        if capture_content and span.is_recording():
            span.set_attribute("gen_ai.input.messages", _as_text(request.messages))
        request.state[_SPAN] = span
        # What is set while a stream is consumed would hold in its consumer too.
        if request.operation in ("generate", "agenerate"):
            request.state[_TOKEN] = context.attach(api.set_span_in_context(span))

    def end(response: ModelResponse) -> None:
        state = response.request.state
        if (span := state.pop(_SPAN, None)) is None:
            return
        if (token := state.pop(_TOKEN, None)) is not None:
            context.detach(token)
        span.set_attributes(_response_attributes(response))
        if capture_content and response.message is not None:
            span.set_attribute("gen_ai.output.messages", _as_text([response.message]))
        if response.error is not None:
            span.set_attribute("error.type", type(response.error).__qualname__)
            span.record_exception(response.error)
            span.set_status(api.Status(api.StatusCode.ERROR, str(response.error)))
        span.end()

    model.on_request(begin)
    model.on_response(end)

    def stop() -> None:
        model.remove_hook(begin)
        model.remove_hook(end)

    return stop


def _provider(model: Any) -> str:
    return next((_PROVIDERS[cls.__name__] for cls in type(model).__mro__ if cls.__name__ in _PROVIDERS), "fairlead")


def _request_attributes(request: ModelRequest, provider: str) -> dict[str, Any]:
    attributes: dict[str, Any] = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": provider}
    if request.model.model_id:
        attributes["gen_ai.request.model"] = str(request.model.model_id)
    if "stream" in request.operation:
        attributes["gen_ai.request.stream"] = True
    # The constructor's win over the call's.
    arguments = {**request.arguments, **getattr(request.model, "kwargs", {})}
    for name, theirs in _REQUEST.items():
        if isinstance(value := arguments.get(name), _NUMBERS):
            attributes[f"gen_ai.request.{theirs}"] = value
    if stops := arguments.get("stop_sequences"):
        attributes["gen_ai.request.stop_sequences"] = [stops] if isinstance(stops, str) else [str(one) for one in stops]
    if arguments.get("response_format") is not None:
        attributes["gen_ai.output.type"] = "json"
    return attributes


def _response_attributes(response: ModelResponse) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    if response.first_delta is not None:
        attributes["gen_ai.response.time_to_first_chunk"] = response.first_delta
    message = response.message
    if message is None:
        return attributes
    reason = "cancelled" if response.closed else getattr(message, "finish_reason", None)
    if reason:
        attributes["gen_ai.response.finish_reasons"] = [reason]
    usage = getattr(message, "token_usage", None)
    if usage is not None and not (response.error or response.closed):
        attributes["gen_ai.usage.input_tokens"] = usage.input_tokens
        attributes["gen_ai.usage.output_tokens"] = usage.output_tokens
    raw = getattr(message, "raw", None)
    for name in ("id", "model"):
        value = raw.get(name) if isinstance(raw, Mapping) else getattr(raw, name, None)
        if isinstance(value, str):
            attributes[f"gen_ai.response.{name}"] = value
    return attributes


def _as_text(messages: Any) -> str:
    """Messages in the form of the conventions, without images."""
    told = []
    for message in messages if all(isinstance(one, ChatMessage) for one in messages) else _plain(messages):
        role = message["role"] if isinstance(message, Mapping) else message.role
        content = message["content"] if isinstance(message, Mapping) else message.content
        parts: list[dict[str, Any]] = [{"type": "text", "content": text_of(content)}]
        for call in (None if isinstance(message, Mapping) else message.tool_calls) or ():
            function = call.function
            parts.append({"type": "tool_call", "id": call.id, "name": function.name, "arguments": function.arguments})
        told.append({"role": str(role), "parts": parts})
    return json.dumps(told, ensure_ascii=False, default=str)


def _plain(messages: Any) -> Any:
    return clean_messages(messages, None, images="keep")
