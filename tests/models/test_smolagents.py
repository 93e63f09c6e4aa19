"""smolagents' agents with our models: what they rely on."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest

smolagents = pytest.importorskip("smolagents")
pytest.importorskip("torch")

import fairlead.models as ours  # noqa: E402
import smolagents.models as theirs  # noqa: E402
from fairlead._smolagents import register_smolagents  # noqa: E402
from fairlead.models import Model, TransformersModel  # noqa: E402
from fairlead.testing import ScriptedModel  # noqa: E402

from .conftest import Counting, Script  # noqa: E402

ANSWER = "Thought: easy.\n<code>\nfinal_answer(6 * 7)\n</code>"


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    before = dict(theirs.MODEL_REGISTRY)
    yield theirs.MODEL_REGISTRY
    theirs.MODEL_REGISTRY.clear()
    theirs.MODEL_REGISTRY.update(before)


def scripted_transformers(merged: TransformersModel, text: str) -> TransformersModel:
    script = Script(merged.tokenizer, text, then="\nObservation: nothing")
    return TransformersModel.from_loaded(merged.model, merged.tokenizer, max_new_tokens=400, logits_processor=[script])


@pytest.mark.parametrize("stream", [False, True])
def test_code_agent_runs_a_step_and_stops_at_its_closing_tag(merged, stream):
    model = scripted_transformers(merged, ANSWER + "\n")
    agent = smolagents.CodeAgent(tools=[], model=model, stream_outputs=stream, verbosity_level=0)
    with Counting(merged.model) as count:
        result = agent.run("What is six times seven?", return_full_result=True)
    assert result.output == 42
    needed = len(merged.tokenizer.encode(ANSWER + "\n", add_special_tokens=False))
    assert count.passes == needed
    assert result.token_usage.output_tokens == needed
    assert agent.memory.steps[-2 if result.steps is None else -1] is not None
    json.dumps(agent.memory.get_full_steps(), default=str)


@pytest.mark.parametrize("stream", [False, True])
def test_code_agent_over_several_steps(stream):
    model = ScriptedModel(
        ["Thought: first.\n<code>\nx = 20\nprint(x)\n</code> Observation: no", "<code>\nfinal_answer(x + 22)\n</code>"]
    )
    agent = smolagents.CodeAgent(tools=[], model=model, stream_outputs=stream, verbosity_level=0)
    assert agent.run("Add.") == 42
    assert [call.arguments["stop_sequences"] for call in model.calls] == [
        ["Observation:", "Calling tools:", "</code>"]
    ] * 2
    last = model.calls[1].messages
    assert [message["role"] for message in last] == ["system", "user", "assistant", "user"]
    assert "Calling tools" in last[2]["content"][-1]["text"]


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calling_agent(stream):
    class Lookup(smolagents.Tool):
        name = "lookup"
        description = "Looks a word up."
        inputs = {"word": {"type": "string", "description": "The word."}}  # noqa: RUF012
        output_type = "string"

        def forward(self, word: str) -> str:
            return f"{word} is a rope"

    model = ScriptedModel(
        [
            'I look it up: {"name": "lookup", "arguments": {"word": "fairlead"}} and then {see}',
            '{"name": "final_answer", "arguments": {"answer": "done"}}',
        ]
    )
    agent = smolagents.ToolCallingAgent(tools=[Lookup()], model=model, stream_outputs=stream, verbosity_level=0)
    assert agent.run("What is it?") == "done"
    assert "fairlead is a rope" in str(model.calls[1].messages)
    names = [tool.name for tool in model.calls[0].arguments["tools_to_call_from"]]
    assert names == ["lookup", "final_answer"]


def test_text_that_is_no_call_is_told_to_the_model():
    model = ScriptedModel(["no call here", '{"name": "final_answer", "arguments": "ok"}'])
    agent = smolagents.ToolCallingAgent(tools=[], model=model, verbosity_level=0)
    assert agent.run("Go.") == "ok"
    assert "does not contain any JSON blob" in str(model.calls[1].messages)


def test_parallel_calls_keep_their_ids():
    calls = [
        ours.ChatMessageToolCall(
            ours.ChatMessageToolCallFunction({"answer": n}, "final_answer"), f"call_{n}", "function"
        )
        for n in range(2)
    ]
    merged = ours.agglomerate_stream_deltas(
        list(
            ScriptedModel([ours.ChatMessage("assistant", None, calls)]).generate_stream(
                [{"role": "user", "content": ""}]
            )
        )
    )
    assert [call.id for call in merged.tool_calls] == ["call_0", "call_1"]


def test_deltas_are_smolagents_own(tiny):
    for delta in tiny.generate_stream([{"role": "user", "content": "hi"}], max_tokens=3):
        assert isinstance(delta, theirs.ChatMessageStreamDelta) and isinstance(delta, ours.ChatMessageStreamDelta)


def test_deltas_without_smolagents():
    code = """
        import sys
        from fairlead.testing import ScriptedModel
        deltas = list(ScriptedModel(["hello"]).generate_stream([{"role": "user", "content": "hi"}]))
        assert "smolagents" not in sys.modules and "torch" not in sys.modules
        assert type(deltas[0]).__mro__[1] is object
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_saved_agents_load_their_own_class(tiny_dir, registry):
    agent = smolagents.CodeAgent(tools=[], model=TransformersModel(tiny_dir, device_map="cpu", max_new_tokens=7))
    saved = json.loads(json.dumps(agent.to_dict()))
    assert saved["model"]["class"] == "TransformersModel" and saved["model"]["data"]["module"] == "fairlead"
    loaded = smolagents.CodeAgent.from_dict(saved)
    assert type(loaded.model) is TransformersModel
    assert loaded.model.kwargs["max_new_tokens"] == 7 and loaded.model.device_map == "cpu"
    data = {"model_id": tiny_dir, "device_map": "cpu"}
    assert type(registry["TransformersModel"].from_dict(data)) is theirs.TransformersModel
    assert saved["model"]["data"]["module"] == "fairlead"


def test_registering_without_an_instance(registry):
    register_smolagents()
    assert registry["TransformersModel"].__name__ == "TransformersModel"
    assert registry["TransformersModel"] is not theirs.TransformersModel


def test_a_users_class_is_registered_under_its_name(registry):
    class Mine(Model):
        def generate(self, messages, stop_sequences=None):
            return ours.ChatMessage("assistant", "x")

    made = Mine(model_id="m", temperature=0.5)
    assert registry["Mine"] is Mine
    again = registry["Mine"].from_dict(made.to_dict())
    assert (again.model_id, again.kwargs) == ("m", {"temperature": 0.5})


def test_a_class_with_generate_alone_streams():
    class Mine(Model):
        def generate(self, messages, stop_sequences=None):
            return ours.ChatMessage("assistant", ANSWER, token_usage=ours.TokenUsage(3, 4))

    agent = smolagents.CodeAgent(tools=[], model=Mine(), stream_outputs=True, verbosity_level=0)
    result = agent.run("Go.", return_full_result=True)
    assert result.output == 42 and result.token_usage.total_tokens == 7


def test_planning(tiny):
    model = ScriptedModel(["Facts.<end_plan> zebra", "<code>\nfinal_answer(1)\n</code>"])
    agent = smolagents.CodeAgent(
        tools=[], model=model, planning_interval=1, stream_outputs=True, verbosity_level=0, max_steps=2
    )
    assert agent.run("Go.") == 1
    assert "Facts." in str(agent.memory.steps) and "zebra" not in str(model.calls[1].messages)


def test_every_name_of_theirs_is_there_or_said_to_be_missing():
    for name in theirs.__all__:
        if not hasattr(ours, name):
            with pytest.raises(AttributeError, match="yet"):
                getattr(ours, name)
    for name in ("CODEAGENT_RESPONSE_FORMAT", "get_tool_call_from_text", "supports_stop_parameter", "MODEL_REGISTRY"):
        assert hasattr(ours, name)
    assert ours.CODEAGENT_RESPONSE_FORMAT == theirs.CODEAGENT_RESPONSE_FORMAT
