"""What all models share: arguments and their precedence, saving and loading, async, batches."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import threading
import warnings
from typing import Any

import pytest
from fairlead import ChatMessage, MessageError, Model, ModelError, TokenUsage
from fairlead.models import REMOVE_PARAMETER
from fairlead.testing import ScriptedModel

USER = [{"role": "user", "content": "hi"}]


class Tool:
    name = "t"
    description = "A tool."
    inputs: dict[str, Any] = {}  # noqa: RUF012
    output_type = "string"


# Arguments


def prepared(model: Model, **kwargs: Any) -> dict[str, Any]:
    return model._prepare_completion_kwargs(USER, **kwargs)


def test_precedence_of_arguments():
    model = Model(model_id="m", temperature=0.1, stop=["own"])
    completion = prepared(model, stop_sequences=["a"], temperature=0.9, top_p=0.5, response_format={"type": "text"})
    assert completion["temperature"] == 0.1 and completion["stop"] == ["own"] and completion["top_p"] == 0.5
    assert completion["response_format"] == {"type": "text"}


def test_remove_parameter():
    model = Model(model_id="m", stop=REMOVE_PARAMETER, temperature=REMOVE_PARAMETER)
    assert set(prepared(model, stop_sequences=["a"], temperature=1.0)) == {"messages"}
    assert copy.deepcopy(REMOVE_PARAMETER) is REMOVE_PARAMETER is pickle.loads(pickle.dumps(REMOVE_PARAMETER))
    assert repr(REMOVE_PARAMETER) == "REMOVE_PARAMETER"


def test_tools_and_their_choice():
    model = Model(model_id="m")
    assert prepared(model, tools_to_call_from=[Tool()])["tool_choice"] == "required"
    assert "tool_choice" not in prepared(model, tools_to_call_from=[Tool()], tool_choice=None)
    assert "tools" not in prepared(model, tools_to_call_from=[])


def test_stop_only_where_the_model_takes_it():
    assert "stop" not in prepared(Model(model_id="openai/o3"), stop_sequences=["a"])
    assert "stop" in prepared(Model(model_id="openai/o3-mini"), stop_sequences=["a"])


def test_custom_roles_replace_the_usual_ones():
    history = [{"role": "tool-call", "content": "x"}, {"role": "system", "content": "y"}]
    completion = Model()._prepare_completion_kwargs(history, custom_role_conversions={"system": "user"})
    assert [message["role"] for message in completion["messages"]] == ["tool-call", "user"]
    assert Model()._prepare_completion_kwargs(history)["messages"][0]["role"] == "assistant"


# Tool calls


def test_parse_tool_calls():
    model = Model(tool_name_key="tool", tool_arguments_key="args")
    message = model.parse_tool_calls(ChatMessage("user", 'I call {"tool": "f", "args": "{\\"a\\": 1}"}'))
    assert message.role == "assistant" and message.tool_calls[0].function.arguments == {"a": 1}
    given = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 2}'}}
    assert model.parse_tool_calls(ChatMessage("assistant", None, [given])).tool_calls[0].function.arguments == {"a": 2}
    for content in (None, "", "nothing"):
        with pytest.raises(MessageError):
            model.parse_tool_calls(ChatMessage("assistant", content))


# Saving and loading


def test_a_model_survives_saving():
    model = Model(True, "tool", "args", "m", temperature=0.3, api_base="http://h")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = json.loads(json.dumps(model.to_dict()))
    again = Model.from_dict(data)
    assert data["module"] == "fairlead"
    assert vars(again) == vars(model)
    assert vars(Model(**data)) == vars(model)


def test_secrets_and_objects_are_not_saved():
    model = Model(model_id="m", api_key="secret", logits_processor=[object()])
    with pytest.warns(UserWarning) as caught:
        data = model.to_dict()
    assert data == {"model_id": "m", "module": "fairlead"} and len(caught) == 2
    assert "secret" not in "".join(str(warning.message) for warning in caught)


def test_transformers_model_survives_saving():
    pytest.importorskip("torch")
    from fairlead import TransformersModel
    from fairlead.testing import tiny_model_dir

    model = TransformersModel(
        str(tiny_model_dir()),
        device_map="cpu",
        torch_dtype="float32",
        model_kwargs={"low_cpu_mem_usage": True},
        max_new_tokens=9,
        apply_chat_template_kwargs={"enable_thinking": False},
        temperature=0.5,
        tool_name_key="tool",
    )
    again = TransformersModel.from_dict(json.loads(json.dumps(model.to_dict())))
    names = ("device_map", "torch_dtype", "model_kwargs", "apply_chat_template_kwargs", "kwargs", "tool_name_key")
    for name in (*names, "flatten_messages_as_text", "model_id", "trust_remote_code"):
        assert getattr(again, name) == getattr(model, name)


# The defaults for a class that implements generate alone


class Plain(Model):
    def generate(self, messages, stop_sequences=None):
        return ChatMessage("assistant", f"{messages[-1]['content']}!", token_usage=TokenUsage(1, 2))


def test_streaming_by_default():
    deltas = list(Plain().generate_stream(USER))
    assert [delta.content for delta in deltas] == ["hi!", ""]
    assert deltas[-1].token_usage == TokenUsage(1, 2) and deltas[0].token_usage is None


def test_calling_is_generating():
    assert Plain()(USER).content == "hi!"
    with pytest.raises(NotImplementedError):
        Model()(USER)


def test_async_by_default():
    async def main() -> tuple[str, list[str]]:
        reply = await Plain().agenerate(USER, ["stop"])
        return reply.content, [delta.content async for delta in Plain().agenerate_stream(USER)]

    assert asyncio.run(main()) == ("hi!", ["hi!", ""])


def test_batches_by_default():
    conversations = [[{"role": "user", "content": str(n)}] for n in range(20)]
    assert [m.content for m in Plain().generate_batch(conversations)] == [f"{n}!" for n in range(20)]
    assert Plain().generate_batch([]) == []


# Async with a real model


def test_async_streams_at_once(tiny):
    prompts = [[{"role": "user", "content": f"Number {n}"}] for n in range(3)]
    alone = [tiny.generate(prompt, max_tokens=15).content for prompt in prompts]

    async def read(prompt: Any) -> str:
        return "".join([delta.content async for delta in tiny.agenerate_stream(prompt, max_tokens=15)])

    async def main() -> list[str]:
        return await asyncio.gather(*(read(prompt) for prompt in prompts))

    assert asyncio.run(main()) == alone


@pytest.mark.parametrize("way", ["break", "cancel"])
def test_leaving_an_async_stream_stops_its_thread(tiny, way):
    async def read() -> None:
        stream = tiny.agenerate_stream(USER, max_tokens=4000, eos_token_id=-1)
        async for _ in stream:
            if way == "break":
                break
        await stream.aclose()

    async def main() -> None:
        task = asyncio.create_task(read())
        if way == "cancel":
            await asyncio.sleep(0.3)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert not [thread for thread in threading.enumerate() if thread.name == "fairlead-generation"]


def test_batches_with_a_real_model(tiny):
    prompts = [[{"role": "user", "content": "word " * n}] for n in range(1, 6)]
    alone = [tiny.generate(prompt, ["e"], max_tokens=12) for prompt in prompts]
    replies = tiny.generate_batch(prompts, ["e"], max_tokens=12, batch_size=3)
    assert [reply.content for reply in replies] == [reply.content for reply in alone]
    assert [reply.finish_reason for reply in replies] == [reply.finish_reason for reply in alone]
    assert [reply.token_usage for reply in replies] == [reply.token_usage for reply in alone]
    assert tiny.generate_batch([]) == []


def test_constrained_batches(tiny, vlm):
    prompts = [[{"role": "user", "content": "word " * n}] for n in range(1, 4)]
    schema = {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 1, "maxItems": 4}
    for model in (tiny, vlm):
        for reply in model.generate_batch(prompts, response_format=schema, max_tokens=900, temperature=1.0):
            assert reply.finish_reason == "stop" and 1 <= len(reply.parsed) <= 4


def test_an_end_token_of_the_call(tiny):
    whole = tiny.generate(USER, max_tokens=8)
    ids = tiny.tokenizer.encode(whole.content, add_special_tokens=False)
    reply = tiny.generate(USER, max_tokens=8, eos_token_id=ids[3])
    assert reply.finish_reason == "stop" and reply.token_usage.output_tokens <= 4


def test_beams_are_read_at_the_end(tiny):
    assert tiny.generate(USER, max_tokens=8, num_beams=3).token_usage.output_tokens == 8
    reply = tiny.generate(USER, max_tokens=300, num_beams=2, response_format={"enum": ["x", "y"]})
    assert reply.parsed in ("x", "y")


# ScriptedModel


def test_script():
    model = ScriptedModel(["one END two", ValueError("no"), lambda history: history[-1]["content"].upper()])
    assert model.generate(USER, ["END"]).content == "one "
    with pytest.raises(ValueError, match="no"):
        model.generate(USER)
    assert "".join(d.content for d in model.generate_stream(USER)) == "HI"
    with pytest.raises(ModelError, match="3 replies"):
        model.generate(USER)
    assert [call.messages[-1]["content"] for call in model.calls] == ["hi"] * 4
    assert ScriptedModel(["x"], repeat_last=True).generate_batch([USER] * 3)[2].content == "x"


def test_script_streams_in_pieces_and_holds_back():
    model = ScriptedModel(["abcdefgh END ij"], chunk_size=3)
    assert [d.content for d in model.generate_stream(USER, ["END"])] == ["abc", "def", "gh ", ""]
    assert model.kwargs == {} and model.model_id == "scripted"
