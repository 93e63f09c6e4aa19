"""Agents of smolagents over several steps on a scripted model, their histories with images and tool calls."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import pytest

smolagents = pytest.importorskip("smolagents")
Image = pytest.importorskip("PIL.Image")

from fairlead.messages import ChatMessage, ChatMessageToolCall, ChatMessageToolCallFunction  # noqa: E402
from fairlead.testing import FunctionModel, ScriptedModel  # noqa: E402
from fairlead.tools import get_tool_calls_from_text  # noqa: E402


class Lookup(smolagents.Tool):
    name = "lookup"
    description = "Looks a word up."
    inputs = {"word": {"type": "string", "description": "The word."}}  # noqa: RUF012
    output_type = "string"

    def forward(self, word: str) -> str:
        return f"{word} is a rope"


def picture() -> Any:
    return Image.new("RGB", (8, 6), (10, 120, 200))


def photograph(step: Any, agent: Any) -> None:
    """What browsing agents do after each step: the screen joins the observations."""
    step.observations_images = [Image.new("RGB", (4, 4), (step.step_number, 0, 0))]


def kinds(message: Any) -> list[str]:
    content = message["content"]
    return ["text"] if isinstance(content, str) else [part["type"] for part in content]


def images_of(history: list[Any]) -> list[Any]:
    return [
        part["image"] for m in history if isinstance(m["content"], list) for part in m["content"] if "image" in part
    ]


def text_of(history: list[Any]) -> str:
    return "\n".join(
        part["text"]
        for m in history
        for part in (m["content"] if isinstance(m["content"], list) else [{"text": m["content"] or ""}])
        if "text" in part
    )


@pytest.mark.parametrize("stream", [False, True])
def test_code_agent_with_images_over_several_turns(stream):
    replies = [
        "Thought: look it up.\n<code>\nword = lookup('fairlead')\nprint(word)\n</code>\nObservation: made up",
        "Thought: it fails.\n<code>\nprint(1 / 0)\n</code>",
        "Thought: done.\n<code>\nfinal_answer(word)\n</code>",
        "Thought: again.\n<code>\nfinal_answer('second: ' + word)\n</code>",
    ]
    model = ScriptedModel(replies, chunk_size=3)
    agent = smolagents.CodeAgent(
        tools=[Lookup()], model=model, stream_outputs=stream, verbosity_level=0, step_callbacks=[photograph]
    )
    first = agent.run("What is in the picture?", images=[picture()], return_full_result=True)
    assert first.output == "fairlead is a rope"
    assert agent.run("And again?", reset=False) == "second: fairlead is a rope"

    assert len(model.calls) == 4
    sizes = [len(images_of(call.messages)) for call in model.calls]
    # The task's image, and one more after each step.
    assert sizes == [1, 2, 3, 4]
    assert kinds(model.calls[0].messages[1]) == ["text", "image"]
    assert images_of(model.calls[2].messages)[0].size == (8, 6)
    assert [image.size for image in images_of(model.calls[2].messages)] == [(8, 6), (4, 4), (4, 4)]
    last = text_of(model.calls[3].messages)
    # The stop sequence cut what the model made up; the observations are real, the error was told.
    assert "made up" not in last and "fairlead is a rope" in last and "ZeroDivisionError" in last
    assert last.count("Calling tools:") == 3
    # smolagents' own echo of its calls can be read back.
    echoed = get_tool_calls_from_text(last[last.index("Calling tools:") :])
    assert [call.function.name for call in echoed] == ["python_interpreter"] * 3
    for call in model.calls:
        roles = [message["role"] for message in call.messages]
        assert roles[0] == "system" and set(roles) == {"system", "user", "assistant"} - (
            {"assistant"} if len(roles) == 2 else set()
        )
        assert all(a != b for a, b in itertools.pairwise(roles))
    assert first.token_usage.input_tokens > 0 and first.token_usage.output_tokens > 0
    json.dumps(agent.memory.get_full_steps(), default=str)


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calling_agent_with_images_over_several_turns(stream):
    def native(name: str, number: int, **arguments: Any) -> ChatMessageToolCall:
        return ChatMessageToolCall(ChatMessageToolCallFunction(arguments, name), f"call_{number}", "function")

    replies = [
        'I look: {"name": "lookup", "arguments": {"word": "fairlead"}} and then {more}',
        ChatMessage("assistant", "two at once", [native("lookup", 1, word="cleat"), native("lookup", 2, word="bitt")]),
        # As smolagents prints calls into the history, which models imitate.
        "[{'id': 'x', 'type': 'function', 'function': {'name': 'lookup', 'arguments': {'word': \"it's\"}}}]",
        "lookup(word='chock')",
        "nothing to call",
        ChatMessage("assistant", None, [native("final_answer", 3, answer="done")]),
        '<tool_call>{"name": "final_answer", "arguments": "{\\"answer\\": \\"again\\"}"}</tool_call>',
    ]
    model = ScriptedModel(replies, chunk_size=5)
    agent = smolagents.ToolCallingAgent(
        tools=[Lookup()], model=model, stream_outputs=stream, verbosity_level=0, step_callbacks=[photograph]
    )
    assert agent.run("What is in the picture?", images=[picture()]) == "done"
    assert agent.run("Again?", reset=False) == "again"

    assert len(model.calls) == len(replies)
    sizes = [len(images_of(call.messages)) for call in model.calls]
    assert sizes == [1, 2, 3, 4, 5, 6, 7]
    seen = text_of(model.calls[5].messages)
    for word in ("fairlead", "cleat", "bitt", "it's", "chock"):
        assert f"{word} is a rope" in seen
    assert seen.index("cleat is") < seen.index("bitt is")
    assert "does not contain any JSON blob" in seen
    ids = [call.id for step in agent.memory.steps for call in getattr(step, "tool_calls", None) or []]
    assert len(ids) == len(set(ids)) == 7


def test_agents_on_a_function_of_the_history():
    def answer(messages: list[dict[str, Any]], tools_to_call_from: Any = None) -> Any:
        names = [tool.name for tool in tools_to_call_from]
        assert names == ["lookup", "final_answer"]
        observed = [m for m in messages if "is a rope" in text_of([m])]
        if not observed:
            # In pieces, as a model streams.
            return iter(['{"name": "loo', 'kup", "arguments": {"wo', 'rd": "bollard"}}'])
        return 'final_answer(answer="bollard is a rope")'

    for stream in (False, True):
        model = FunctionModel(answer)
        agent = smolagents.ToolCallingAgent(
            tools=[Lookup()], model=model, stream_outputs=stream, verbosity_level=0, max_steps=3
        )
        assert agent.run("What is a bollard?") == "bollard is a rope"
        assert len(model.calls) == 2


def test_a_history_given_by_hand_stays_as_it_is():
    call = {"id": "1", "type": "function", "function": {"name": "lookup", "arguments": {"word": "x"}}}
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Look:"}, {"type": "image", "image": picture()}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        ChatMessage("tool-call", [{"type": "text", "text": "Calling tools: lookup"}]),
        ChatMessage("tool-response", [{"type": "text", "text": "x is a rope"}]),
        {"role": "user", "content": "So?"},
    ]
    before = copy.deepcopy([m if isinstance(m, dict) else m.dict() for m in history])
    model = ScriptedModel(["A rope."])
    reply = model.generate(history)
    assert [m if isinstance(m, dict) else m.dict() for m in history] == before
    cleaned = model.calls[0].messages
    assert [m["role"] for m in cleaned] == ["system", "user", "assistant", "user"]
    assert "lookup" in text_of(cleaned[2:3]) and text_of(cleaned[3:]).endswith("So?")
    # A reply joins the history as it is.
    assert ScriptedModel(["yes"]).generate([*history, reply, {"role": "user", "content": "Sure?"}]).content == "yes"
