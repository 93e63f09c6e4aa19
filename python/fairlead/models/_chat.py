"""What the models share that speak OpenAI's chat completions: payloads, structured output, asking again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fairlead.errors import MessageError
from fairlead.messages import clean_messages, tool_role_conversions
from fairlead.models._api import ApiModel, check_stops
from fairlead.models._constraint import Constraint, resolve_constraint
from fairlead.models._exchange import ApiCall, Reply, StreamReader
from fairlead.models._openai_wire import ChunkReader, read_completion, strict_schema
from fairlead.models._structured import ANSWER_TOOL, answer_schema, choose_mode, instruction, reminder
from fairlead.models._tool_history import has_tool_calls, tool_messages

__all__ = ["ChatModel"]


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
        payload, profile = call.payload, self._profile
        call.mode = choose_mode(
            constraint, self.structured_output, profile, self.model_id, has_tools="tools" in payload
        )
        if call.mode == "prompt":
            payload["messages"].append({"role": "user", "content": instruction(constraint)})
        elif call.mode == "tool":
            schema, call.unwrap = answer_schema(constraint.schema)
            function = {"name": ANSWER_TOOL, "description": "Gives the answer.", "parameters": schema}
            payload["tools"] = [{"type": "function", "function": function}]
            payload["tool_choice"] = {"type": "function", "function": {"name": ANSWER_TOOL}}
        elif constraint.schema is None:
            if profile.grammar == "tgi":
                payload["response_format"] = {"type": "regex", "value": constraint.pattern}
            else:
                extra = {**(payload.get("extra_body") or {}), "structured_outputs": {"regex": constraint.pattern}}
                payload["extra_body"] = extra
        else:
            payload["response_format"] = _native_format(constraint, given)

    def _ask_again(self, call: ApiCall, reply: Reply, fault: str) -> ApiCall:
        assert call.constraint is not None
        said = reply.text or "".join(str(one.function.arguments) for one in reply.tool_calls)
        more = [
            {"role": "assistant", "content": said},
            {"role": "user", "content": reminder(call.constraint, fault)},
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


def _native_format(constraint: Constraint, given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping) and given.get("type") == "json_schema" and "json_schema" in given:
        inner = dict(given["json_schema"])
        inner.setdefault("name", ANSWER_TOOL)
        return {**given, "json_schema": inner}
    if isinstance(given, Mapping) and given.get("type") == "json_object":
        return dict(given)
    name = getattr(constraint.shape.model, "__name__", None) or ANSWER_TOOL
    schema: dict[str, Any] = {"name": name, "schema": constraint.schema}
    if strict_schema(constraint.schema):
        schema["strict"] = True
    return {"type": "json_schema", "json_schema": schema}


def _refuse_images(messages: list[dict[str, Any]], model_id: str | None) -> None:
    for index, message in enumerate(messages):
        content = message["content"]
        if isinstance(content, list) and any(part.get("type") in ("image", "image_url") for part in content):
            raise MessageError(f"message {index} has an image, which {model_id} doesn't take", index=index)
