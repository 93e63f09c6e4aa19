"""Agents of smolagents over several turns on real local models, their histories with images and tool calls."""

from __future__ import annotations

import json
from typing import Any

import pytest

smolagents = pytest.importorskip("smolagents")
torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

from fairlead.models import TransformersModel  # noqa: E402


class Lookup(smolagents.Tool):
    name = "lookup"
    description = "Looks a word up."
    inputs = {"word": {"type": "string", "description": "The word."}}  # noqa: RUF012
    output_type = "string"

    def forward(self, word: str) -> str:
        return f"{word} is a rope"


class Turns:
    """A logits processor that makes a model say one text after the other: which, tell the assistant's turns so far."""

    def __init__(self, tokenizer: Any, texts: list[str]) -> None:
        self.texts = [[*tokenizer.encode(t, add_special_tokens=False), tokenizer.eos_token_id] for t in texts]
        self.begin = tokenizer.encode("<|assistant|>", add_special_tokens=False)[0]
        self.turns: set[int] = set()

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        at = (input_ids[0] == self.begin).nonzero()[:, 0]
        turn, spoken = len(at) - 1, input_ids.shape[1] - 1 - int(at[-1])
        self.turns.add(turn)
        forced = torch.full_like(scores, float("-inf"))
        forced[:, self.texts[turn][min(spoken, len(self.texts[turn]) - 1)]] = 0
        return forced


def photograph(step: Any, agent: Any) -> None:
    step.observations_images = [Image.new("RGB", (4, 4), (40 * step.step_number, 0, 0))]


def seeing(vlm: TransformersModel, monkeypatch: pytest.MonkeyPatch, texts: list[str]) -> tuple[Any, Turns, list[int]]:
    """A model that says these texts, and how many pictures reached it at each call."""
    # The prompts of agents are long, and this model's rotations have no end.
    monkeypatch.setattr(vlm.model.config.get_text_config(), "max_position_embeddings", 1 << 16)
    turns = Turns(vlm.tokenizer, texts)
    model = TransformersModel.from_loaded(vlm.model, vlm.processor, max_new_tokens=300, logits_processor=[turns])
    pictures: list[int] = []
    render = model._render

    def counted(*args: Any) -> Any:
        prompt = render(*args)
        pixels = prompt.inputs.get("pixel_values")
        pictures.append(0 if pixels is None else len(pixels))
        return prompt

    monkeypatch.setattr(model, "_render", counted)
    return model, turns, pictures


@pytest.mark.parametrize("stream", [False, True])
def test_code_agent_that_sees(vlm, monkeypatch, stream):
    texts = [
        "Thought: look it up.\n<code>\nword = lookup('fairlead')\nprint(word)\n</code>\nObservation: made up",
        "Thought: it fails.\n<code>\nprint(1 / 0)\n</code>",
        "Thought: done.\n<code>\nfinal_answer(word)\n</code>",
        "Thought: again.\n<code>\nfinal_answer('second: ' + word)\n</code>",
    ]
    model, turns, pictures = seeing(vlm, monkeypatch, texts)
    agent = smolagents.CodeAgent(
        tools=[Lookup()], model=model, stream_outputs=stream, verbosity_level=0, step_callbacks=[photograph]
    )
    first = agent.run("What is in the picture?", images=[Image.new("RGB", (8, 6))], return_full_result=True)
    assert first.output == "fairlead is a rope"
    assert agent.run("And again?", reset=False) == "second: fairlead is a rope"
    assert pictures == [1, 2, 3, 4] and turns.turns == {0, 1, 2, 3}
    assert first.token_usage.input_tokens > 1000 and first.token_usage.output_tokens > 30
    # The stop sequence ended each step where its code ends.
    outputs = [step.model_output for step in agent.memory.steps if hasattr(step, "model_output")]
    assert len(outputs) == 4 and all("made up" not in output for output in outputs)
    json.dumps(agent.memory.get_full_steps(), default=str)


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calling_agent_that_sees(vlm, monkeypatch, stream):
    texts = [
        '{"name": "lookup", "arguments": {"word": "fairlead"}}',
        '{"name": "lookup", "arguments": {"word": "cleat"}}\n{"name": "lookup", "arguments": {"word": "bitt"}}',
        "nothing to call",
        '{"name": "final_answer", "arguments": {"answer": "done"}}',
        '{"name": "final_answer", "arguments": {"answer": "again"}}',
    ]
    model, turns, pictures = seeing(vlm, monkeypatch, texts)
    agent = smolagents.ToolCallingAgent(
        tools=[Lookup()], model=model, stream_outputs=stream, verbosity_level=0, step_callbacks=[photograph]
    )
    with pytest.warns(UserWarning, match="plain JSON"):
        assert agent.run("What is in the picture?", images=[Image.new("RGB", (8, 6))]) == "done"
    assert agent.run("Again?", reset=False) == "again"
    assert pictures == [1, 2, 3, 4, 5] and turns.turns == {0, 1, 2, 3, 4}
    observed = " ".join(str(step.observations) for step in agent.memory.steps if hasattr(step, "observations"))
    assert all(f"{word} is a rope" in observed for word in ("fairlead", "cleat", "bitt"))
    ids = [call.id for step in agent.memory.steps for call in getattr(step, "tool_calls", None) or []]
    assert len(ids) == len(set(ids)) == 5
