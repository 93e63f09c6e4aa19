"""FallbackModel: the next model where one fails, and never after something was handed out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fairlead.errors import ConfigurationError, FallbackError, MessageError, ModelError, ModelHTTPError, RateLimitError
from fairlead.messages import ChatMessage, MessageRole
from fairlead.models import FallbackModel
from fairlead.testing import FunctionModel, ScriptedModel

HELLO = [{"role": "user", "content": "hello"}]


class Plain:
    """All that an agent needs of a model."""

    model_id = "plain"

    def generate(self, messages: Any, **kwargs: Any) -> ChatMessage:
        return ChatMessage(role=MessageRole.ASSISTANT, content="plain")


def failing(error: Exception | None = None) -> ScriptedModel:
    return ScriptedModel([error or RateLimitError("busy")], repeat_last=True, model_id="failing")


def broken_after(pieces: list[str]) -> FunctionModel:
    def function(messages: Any) -> Any:
        yield from pieces
        raise ModelError("cut")

    return FunctionModel(function)


def test_the_first_that_answers():
    first, second, third = failing(), ScriptedModel(["two"]), ScriptedModel(["three"])
    reply = FallbackModel([first, second, third]).generate(HELLO, ["x"], temperature=0)
    assert reply.content == "two"
    assert first.calls[0].arguments == second.calls[0].arguments == {"stop_sequences": ["x"], "temperature": 0}
    assert not third.calls


def test_all_fail():
    model = FallbackModel([failing(), failing(ConnectionError("refused"))])
    with pytest.raises(FallbackError, match="all 2 models failed: failing: RateLimitError: busy; failing: Conn") as e:
        model.generate(HELLO)
    assert [type(error) for error in e.value.errors] == [RateLimitError, ConnectionError]
    assert e.value.__cause__ is e.value.errors[-1]
    with pytest.raises(FallbackError):
        model.generate_stream(HELLO).drain()
    with pytest.raises(FallbackError):
        asyncio.run(model.agenerate(HELLO))


@pytest.mark.parametrize(
    ("on", "falls"),
    [
        (ModelHTTPError, True),
        ([KeyError, RateLimitError], True),
        (KeyError, False),
        (lambda error: getattr(error, "status_code", None) == 429, True),
        (lambda error: False, False),
    ],
)
def test_on(on, falls):
    model = FallbackModel([failing(), ScriptedModel(["two"])], on=on)
    if falls:
        assert model.generate(HELLO).content == "two"
    else:
        with pytest.raises(RateLimitError):
            model.generate(HELLO)


def test_mistakes_in_the_arguments_are_raised_at_once():
    second = ScriptedModel(["two"])
    with pytest.raises(MessageError):
        FallbackModel([ScriptedModel(["one"]), second]).generate([{"role": "nobody", "content": ""}])
    assert not second.calls
    for arguments in ({"models": []}, {"models": ["gpt"]}, {"models": [second], "on": 429}):
        with pytest.raises(ConfigurationError):
            FallbackModel(**arguments)


def test_a_stream_moves_on_before_the_first_delta():
    model = FallbackModel([failing(), broken_after([]), ScriptedModel(["one two"])])
    deltas = list(model.generate_stream(HELLO))
    assert "".join(delta.content for delta in deltas) == "one two"
    assert [delta.token_usage is not None for delta in deltas] == [False, False, True]


def test_a_stream_stays_after_the_first_delta():
    second = ScriptedModel(["two"])
    stream = FallbackModel([broken_after(["one "]), second]).generate_stream(HELLO)
    assert next(stream).content == "one "
    with pytest.raises(ModelError, match="cut"):
        next(stream)
    assert not second.calls


def test_closing_a_stream_closes_the_one_behind_it():
    closed = []

    def function(messages: Any) -> Any:
        try:
            while True:
                yield "word "
        finally:
            closed.append(True)

    with FallbackModel([failing(), FunctionModel(function)]).generate_stream(HELLO) as stream:
        next(stream)
    assert closed == [True]
    assert list(stream) == []


def test_async_and_batch():
    async def run() -> None:
        model = FallbackModel([failing(), ScriptedModel(["one two"], repeat_last=True)])
        assert (await model.agenerate(HELLO)).content == "one two"
        assert "".join([delta.content async for delta in model.agenerate_stream(HELLO)]) == "one two"
        broken = FallbackModel([broken_after(["one "]), ScriptedModel(["two"])])
        with pytest.raises(ModelError, match="cut"):
            async for delta in broken.agenerate_stream(HELLO):
                assert delta.content == "one "

    asyncio.run(run())
    model = FallbackModel([failing(), ScriptedModel(["again"], repeat_last=True)])
    assert [reply.content for reply in model.generate_batch([HELLO] * 5)] == ["again"] * 5


def test_any_object_that_generates_is_a_model():
    model = FallbackModel([failing(), Plain()])
    assert model.generate(HELLO).content == "plain"
    assert model.generate_stream(HELLO).drain().content == "plain"

    async def run() -> None:
        assert (await model.agenerate(HELLO)).content == "plain"
        assert "".join([delta.content async for delta in model.agenerate_stream(HELLO)]) == "plain"

    asyncio.run(run())


def test_names():
    assert FallbackModel([ScriptedModel([], model_id="a"), Plain()]).model_id == "a"
    assert FallbackModel([Plain()], model_id="mine").model_id == "mine"
    assert FallbackModel([ScriptedModel([], tool_name_key="tool")]).tool_name_key == "tool"


def test_agents_run_on_it():
    smolagents = pytest.importorskip("smolagents")
    good = ScriptedModel(["<code>\nx = 20\nprint(x)\n</code>", "<code>\nfinal_answer(x + 22)\n</code>"])
    model = FallbackModel([failing(), good])
    assert smolagents.CodeAgent(tools=[], model=model, stream_outputs=True, verbosity_level=0).run("Add.") == 42
