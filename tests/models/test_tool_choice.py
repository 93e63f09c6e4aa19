"""Tool calls of local models: held to the tools' schemas, and read out of the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from fairlead import ConfigurationError  # noqa: E402
from fairlead.models import TransformersModel  # noqa: E402
from fairlead.tools import TOOL_SYNTAXES  # noqa: E402

from .conftest import Script  # noqa: E402

USER = [{"role": "user", "content": "What is the weather?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "maxLength": 6},
                    "days": {"type": "integer", "minimum": 1, "maximum": 9},
                },
                "required": ["city", "days"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "pick",
            "description": "Pick.",
            "parameters": {
                "type": "object",
                "properties": {"side": {"enum": ["left", "right"], "type": "string"}},
                "required": ["side"],
            },
        },
    },
]


@pytest.fixture(scope="module")
def marked(tiny_dir: str) -> TransformersModel:
    """The tiny model with the special tokens of all families."""
    model = TransformersModel(tiny_dir, device_map="cpu", max_new_tokens=300)
    special = sorted({text for syntax in TOOL_SYNTAXES.values() for text in syntax.special})
    model.tokenizer.add_special_tokens({"additional_special_tokens": special})
    model.model.resize_token_embeddings(len(model.tokenizer), mean_resizing=False)
    return model


def family(model: TransformersModel, name: str, **more: Any) -> TransformersModel:
    return TransformersModel.from_loaded(
        model.model, model.tokenizer, tool_syntax=name, **{"max_new_tokens": 300, **more}
    )


def check(call: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
    arguments = call.function.arguments
    jsonschema.validate(json.loads(arguments) if isinstance(arguments, str) else arguments, schemas[call.function.name])


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("name", [*TOOL_SYNTAXES, "json"])
def test_a_required_call_is_valid(tiny, marked, name, special):
    if name == "qwen-coder":
        tools = TOOLS[1:]  # its texts are free, and random weights never end them
    else:
        tools = TOOLS
    model = family(marked if special else tiny, name)
    reply = model.generate(
        USER, tools_to_call_from=tools, tool_choice="required", parallel_tool_calls=False, stop_sequences=['"', "{"]
    )
    assert reply.finish_reason == "tool_calls" and len(reply.tool_calls) == 1 and reply.content == ""
    check(reply.tool_calls[0])
    stream = model.generate_stream(USER, tools_to_call_from=tools, tool_choice="required", parallel_tool_calls=False)
    streamed = stream.drain()
    assert [(call.function.name, json.loads(call.function.arguments)) for call in streamed.tool_calls] == [
        (call.function.name, call.function.arguments) for call in reply.tool_calls
    ]
    assert streamed.finish_reason == "tool_calls" and streamed.content == ""


def test_one_tool(marked):
    choice = {"type": "function", "function": {"name": "pick"}}
    for name in ("hermes", "mistral"):
        reply = family(marked, name).generate(USER, tools_to_call_from=TOOLS, tool_choice=choice, temperature=1.0)
        assert {call.function.name for call in reply.tool_calls} == {"pick"}
        for call in reply.tool_calls:
            check(call)


def test_without_being_asked_the_model_is_free(marked):
    text = 'I look.\n<tool_call>\n{"name": "pick", "arguments": {"side": "left"}}\n</tool_call>'
    model = family(marked, "hermes", logits_processor=[Script(marked.tokenizer, text, then="<|end|>")])
    reply = model.generate(USER, tools_to_call_from=TOOLS)
    assert reply.content == "I look." and reply.tool_calls[0].function.arguments == {"side": "left"}
    # Without tools the markers, special tokens here, aren't text.
    assert model.generate(USER).content == text.replace("<tool_call>", "").replace("</tool_call>", "")
    none = model.generate(USER, tools_to_call_from=TOOLS, tool_choice="none")
    assert none.tool_calls is None


def test_with_reasoning(marked):
    text = "<think>The left one.</think>"
    model = family(
        marked, "hermes", reasoning=("<think>", "</think>"), logits_processor=[Script(marked.tokenizer, text)]
    )
    reply = model.generate(USER, tools_to_call_from=TOOLS[1:], tool_choice="required", parallel_tool_calls=False)
    assert reply.reasoning == "The left one." and reply.tool_calls[0].function.name == "pick"


def test_a_cut_call_is_content(marked):
    model = family(marked, "hermes")
    wanted = {"tools_to_call_from": TOOLS, "tool_choice": "required", "max_new_tokens": 4}
    reply = model.generate(USER, **wanted, token_budget=None)
    assert reply.tool_calls is None and reply.finish_reason == "length" and reply.content.startswith("<tool_call>")


def test_mistakes(tiny):
    with pytest.raises(ConfigurationError, match="esperanto"):
        family(tiny, "esperanto")
    model = family(tiny, "json")
    for choice in ("sometimes", {"type": "function", "function": {"name": "nobody"}}, {}):
        with pytest.raises(ConfigurationError):
            model.generate(USER, tools_to_call_from=TOOLS, tool_choice=choice)
    with pytest.raises(ConfigurationError):
        model.generate(USER, tools_to_call_from=TOOLS, tool_choice="required", grammar="a")


def test_an_unknown_template_is_said_once(tiny):
    model = TransformersModel.from_loaded(tiny.model, tiny.tokenizer, max_new_tokens=3)
    with pytest.warns(UserWarning, match="tool_syntax"):
        model.generate(USER, tools_to_call_from=TOOLS)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.generate(USER, tools_to_call_from=TOOLS)
