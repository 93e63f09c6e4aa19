"""What the models share that speak OpenAI's chat completions: payloads, structured output, asking again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fairlead.errors import ConfigurationError, MessageError
from fairlead.messages import clean_messages, tool_role_conversions
from fairlead.models._api import ApiModel, check_stops
from fairlead.models._constraint import Constraint, resolve_constraint
from fairlead.models._exchange import ApiCall, Mode, Reply, StreamReader
from fairlead.models._openai_wire import ChunkReader, read_completion, strict_schema
from fairlead.models._tool_history import has_tool_calls, tool_messages

__all__ = ["ChatModel"]

_ANSWER_TOOL = "answer"


class ChatModel(ApiModel):
    """Base class of the models that speak OpenAI's chat completions; a backend adds its clients."""

    def _fixed_arguments(self) -> dict[str, Any]:
        """What every request carries beside the history."""
        return {"model": self.model_id}

    def _prepare_call(self, messages: Sequence[Any], **kwargs: Any) -> ApiCall:
        profile = self._profile
        given_stops = kwargs.get("stop_sequences")
        stops = check_stops(given_stops)
        payload = self._prepare_completion_kwargs(
            messages,
            **{
                "custom_role_conversions": self.custom_role_conversions,
                "convert_images_to_image_urls": True,
                **self._fixed_arguments(),
                **kwargs,
            },
        )
        if has_tool_calls(messages):
            payload["messages"] = self._with_tool_messages(messages, kwargs)
        # A stop given to the constructor, or to the call under the provider's name, is matched here too.
        if (sent := payload.get("stop")) is not given_stops:
            stops = check_stops(sent) or stops
        given_format = payload.pop("response_format", None)
        constraint = resolve_constraint(given_format, payload.pop("grammar", None))
        inside = bool(payload.pop("stop_inside_constraint", False))
        # Providers cut inside of a string of JSON too.
        if not profile.stop or (constraint is not None and not inside):
            payload.pop("stop", None)
        elif stops and "stop" in payload:
            payload["stop"] = list(stops)
        if not profile.system:
            for message in payload["messages"]:
                if message["role"] == "system":
                    message["role"] = "user"
        if not profile.images:
            _refuse_images(payload["messages"], self.model_id)
        if payload.get("tool_choice") == "required" and not profile.tool_choice_required:
            payload["tool_choice"] = "auto"
        if profile.max_tokens != "max_tokens" and "max_tokens" in payload:
            payload.setdefault(profile.max_tokens, payload.pop("max_tokens"))
        call = ApiCall(payload, stops, constraint, stop_inside_constraint=inside)
        if constraint is not None:
            self._constrain(call, constraint, given_format)
        elif given_format is not None:
            payload["response_format"] = given_format
        return call

    def _with_tool_messages(self, messages: Sequence[Any], given: Mapping[str, Any]) -> list[dict[str, Any]]:
        flatten = given.get("flatten_messages_as_text", self.flatten_messages_as_text)
        roles = given.get("custom_role_conversions") or self.custom_role_conversions or tool_role_conversions
        return tool_messages(
            messages,
            lambda some: clean_messages(some, roles, images="url", flatten=flatten),
            native=self._profile.tools and not flatten,
        )

    def _constrain(self, call: ApiCall, constraint: Constraint, given: Any) -> None:
        call.mode = self._mode(constraint, "tools" in call.payload)
        payload = call.payload
        if call.mode == "prompt":
            payload["messages"].append({"role": "user", "content": _instruction(constraint)})
        elif call.mode == "tool":
            function = {
                "name": _ANSWER_TOOL,
                "description": "Gives the answer.",
                "parameters": constraint.schema,
            }
            payload["tools"] = [{"type": "function", "function": function}]
            payload["tool_choice"] = {"type": "function", "function": {"name": _ANSWER_TOOL}}
        elif constraint.schema is None:
            pattern = _pattern(constraint)
            if self._profile.grammar == "tgi":
                payload["response_format"] = {"type": "regex", "value": pattern}
            else:
                extra = {**(payload.get("extra_body") or {}), "structured_outputs": {"regex": pattern}}
                payload["extra_body"] = extra
        else:
            payload["response_format"] = _native_format(constraint, given)

    def _mode(self, constraint: Constraint, has_tools: bool) -> Mode:
        profile, wanted = self._profile, self.structured_output
        if constraint.schema is None:
            native = profile.grammar is not None and constraint.pattern is not None
            if wanted == "native" and not native:
                raise ConfigurationError(
                    f"{self.model_id} has no native regexes or grammars; profile={{'grammar': ...}}"
                )
            return "native" if native and wanted in ("auto", "native") else "prompt"
        if wanted == "tool" and has_tools:
            raise ConfigurationError('structured_output="tool" and tools_to_call_from exclude each other')
        if wanted == "auto":
            if profile.json_schema:
                return "native"
            may_call = profile.tools and profile.tool_choice_required and not has_tools
            return "tool" if may_call and _is_object(constraint.schema) else "prompt"
        return wanted

    def _ask_again(self, call: ApiCall, reply: Reply) -> ApiCall:
        assert call.constraint is not None
        said = reply.text or "".join(str(one.function.arguments) for one in reply.tool_calls)
        more = [
            {"role": "assistant", "content": said},
            {"role": "user", "content": "That is not valid. " + _instruction(call.constraint)},
        ]
        return replace(call, payload={**call.payload, "messages": [*call.payload["messages"], *more]})

    def _stream_arguments(self) -> dict[str, Any]:
        """What makes a request a stream that ends with its usage."""
        options = {"stream_options": {"include_usage": True}} if self._profile.stream_usage else {}
        return {"stream": True, **options}

    def _read(self, response: Any) -> Reply:
        return read_completion(response)

    def _new_reader(self) -> StreamReader:
        return ChunkReader()


def _pattern(constraint: Constraint) -> str:
    assert constraint.pattern is not None
    return constraint.pattern


def _native_format(constraint: Constraint, given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping) and given.get("type") == "json_schema" and "json_schema" in given:
        inner = dict(given["json_schema"])
        inner.setdefault("name", _ANSWER_TOOL)
        return {**given, "json_schema": inner}
    if isinstance(given, Mapping) and given.get("type") == "json_object":
        return dict(given)
    name = getattr(constraint.shape.model, "__name__", None) or _ANSWER_TOOL
    schema: dict[str, Any] = {"name": name, "schema": constraint.schema}
    if strict_schema(constraint.schema):
        schema["strict"] = True
    return {"type": "json_schema", "json_schema": schema}


def _is_object(schema: Any) -> bool:
    return isinstance(schema, dict) and (schema.get("type") == "object" or "properties" in schema)


def _instruction(constraint: Constraint) -> str:
    if constraint.schema is not None:
        schema = json.dumps(constraint.schema, ensure_ascii=False)
        return f"Answer with nothing but JSON, without a code fence, that is valid under this JSON Schema:\n{schema}"
    if constraint.pattern is not None:
        return f"Answer with nothing but a text that matches this regular expression as a whole:\n{constraint.pattern}"
    return "Answer with nothing but a text of the grammar that was agreed on."


def _refuse_images(messages: list[dict[str, Any]], model_id: str | None) -> None:
    for index, message in enumerate(messages):
        content = message["content"]
        if isinstance(content, list) and any(part.get("type") in ("image", "image_url") for part in content):
            raise MessageError(f"message {index} has an image, which {model_id} doesn't take", index=index)
