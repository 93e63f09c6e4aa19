"""What every local backend promises, exercised on each with a tiny real model."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fairlead import FairleadError, Grammar, ModelError
from fairlead.models._local import LocalModel

USER = [{"role": "user", "content": "Please answer."}]
TOOL = {
    "type": "function",
    "function": {
        "name": "pick",
        "description": "Pick a side.",
        "parameters": {
            "type": "object",
            "properties": {"side": {"enum": ["left", "right"]}, "n": {"type": "integer", "minimum": 0, "maximum": 9}},
            "required": ["side", "n"],
        },
    },
}


def _object(required: bool = True, **properties: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": list(properties)} if required else schema


TEXT = {"type": "string", "maxLength": 5}
DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
FLAG = {"type": "boolean"}
SCHEMAS: dict[str, Any] = {
    "integer": {"type": "integer", "minimum": -20, "maximum": 20},
    "number": {"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.25},
    "multiple": {"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 99},
    "string": TEXT,
    "long enough": {"type": "string", "minLength": 3, "maxLength": 6},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
    "date": {"type": "string", "format": "date"},
    "uuid": {"type": "string", "format": "uuid"},
    "ipv4": {"type": "string", "format": "ipv4"},
    "null": {"type": "null"},
    "boolean": FLAG,
    "enum": {"enum": ["a", 1, None, True, [1, 2], {"b": "c"}]},
    "const": {"const": {"exact": ["this", 1.5]}},
    "several types": {"type": ["integer", "boolean", "null"], "minimum": 0, "maximum": 5},
    "array": {"type": "array", "items": DIGIT, "minItems": 1, "maxItems": 3},
    "tuple": {"type": "array", "prefixItems": [DIGIT, FLAG, TEXT], "items": False, "minItems": 3},
    "nested array": {"type": "array", "items": {"type": "array", "items": FLAG, "maxItems": 2}, "maxItems": 2},
    "object": _object(name=TEXT, age=DIGIT),
    "optional": _object(False, a=DIGIT, b=FLAG, c={"enum": ["x", "y"]}),
    "nested": _object(inner=_object(deep=_object(flag=FLAG))),
    "array of objects": {"type": "array", "items": _object(n=DIGIT), "minItems": 1, "maxItems": 2},
    "anyOf": {"anyOf": [_object(a=DIGIT), _object(b=FLAG)]},
    "oneOf": {"oneOf": [DIGIT, {"type": "string", "maxLength": 3}]},
    "allOf": {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 8}]},
    "ref": {"$defs": {"digit": DIGIT}, **_object(first={"$ref": "#/$defs/digit"}, second={"$ref": "#/$defs/digit"})},
    "recursive": {
        "$defs": {"node": _object(False, leaf=FLAG)},
        **_object(tree={"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}),
    },
    "patternProperties": {
        "type": "object",
        "patternProperties": {"^[ab]$": DIGIT},
        "additionalProperties": False,
        "minProperties": 1,
    },
    "conditional": {
        "type": "object",
        "properties": {"kind": {"enum": ["n", "t"]}, "value": {"anyOf": [DIGIT, FLAG]}},
        "required": ["kind", "value"],
        "additionalProperties": False,
        "if": {"properties": {"kind": {"const": "n"}}},
        "then": {"properties": {"value": DIGIT}},
        "else": {"properties": {"value": FLAG}},
    },
    "not": {"type": "integer", "minimum": 0, "maximum": 3, "not": {"const": 2}},
    "escapes": _object(**{'a "quoted" key': {"const": "tab\t, é and \\"}}),
    "draft 7": {"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "items": [FLAG], "maxItems": 1},
}


def _transformers(tiny_dir: str) -> LocalModel:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from fairlead.models import TransformersModel

    return TransformersModel(tiny_dir, device_map="cpu", max_new_tokens=40)


def _mlx(tiny_dir: str) -> LocalModel:
    pytest.importorskip("mlx_lm")
    from fairlead import models

    if "MLXModel" not in models.BACKENDS:
        pytest.skip("there is no MLXModel yet")
    made: LocalModel = models.MLXModel(tiny_dir, max_new_tokens=40)  # type: ignore[attr-defined]
    return made


def _vllm(tiny_dir: str) -> LocalModel:
    pytest.importorskip("vllm")
    from fairlead.models import VLLMModel
    from fairlead.testing import tiny_model_dir

    # Attention on a CPU takes heads of certain sizes.
    folder = str(tiny_model_dir(head_dim=32))
    options = {"kv_cache_memory_bytes": 200_000_000, "enforce_eager": True, "dtype": "float32", "max_model_len": 8192}
    return VLLMModel(folder, model_kwargs={"gpu_memory_utilization": 0.3, **options}, max_new_tokens=40)


BACKENDS: dict[str, Callable[[str], LocalModel]] = {"transformers": _transformers, "mlx": _mlx, "vllm": _vllm}
PARAMS = [pytest.param(name, marks=pytest.mark.vllm) if name == "vllm" else name for name in BACKENDS]


@pytest.fixture(scope="module", params=PARAMS)
def model(request: pytest.FixtureRequest, tiny_dir: str) -> Iterator[LocalModel]:
    with BACKENDS[request.param](tiny_dir) as made:
        yield made


def valid(value: Any, schema: Any) -> bool:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(value, schema, format_checker=jsonschema.FormatChecker())
    return True


# generate, usage


def test_generate(model):
    reply = model.generate(USER)
    assert isinstance(reply.content, str) and reply.content and str(reply.role) == "assistant"
    assert reply.finish_reason in ("stop", "length")
    assert 0 < reply.token_usage.output_tokens <= 40 and reply.token_usage.input_tokens > 3
    assert reply.timings.generation > 0 and reply.timings.steps == reply.token_usage.output_tokens
    assert model(USER).content == reply.content


def test_limits(model):
    for name in ("max_tokens", "max_new_tokens"):
        reply = model.generate(USER, **{name: 3})
        assert reply.token_usage.output_tokens == 3 and reply.finish_reason == "length"


def test_sampling(model):
    assert len({model.generate(USER, temperature=2.0, top_p=0.95).content for _ in range(3)}) > 1
    assert model.generate(USER, temperature=0).content == model.generate(USER).content


# stream


def test_stream(model):
    whole = model.generate(USER)
    deltas = list(model.generate_stream(USER))
    assert len(deltas) > 3 and "".join(delta.content or "" for delta in deltas) == whole.content
    assert [delta.token_usage for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert deltas[-1].content == "" and deltas[-1].token_usage == whole.token_usage
    assert all("\ufffd" not in delta.content for delta in deltas) or "\ufffd" in whole.content


def test_a_stream_that_is_left(model):
    with model.generate_stream(USER, max_new_tokens=1000) as stream:
        next(stream)
    assert model.generate(USER, max_new_tokens=5).token_usage.output_tokens == 5


# async


def test_async(model):
    expected = model.generate(USER).content

    async def run() -> tuple[Any, str]:
        pieces = [delta.content or "" async for delta in model.agenerate_stream(USER)]
        replies = await asyncio.gather(model.agenerate(USER), model.agenerate(USER))
        return replies, "".join(pieces)

    replies, streamed = asyncio.run(run())
    assert [reply.content for reply in replies] == [expected, expected] and streamed == expected


def test_a_cancelled_task_ends_its_generation(model):
    async def run() -> None:
        task = asyncio.create_task(model.agenerate(USER, max_new_tokens=4000, grammar="a{9000}", token_budget=None))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert model.generate(USER, max_new_tokens=2).token_usage.output_tokens == 2


# batch


def test_batch(model):
    prompts = [
        [{"role": "user", "content": text}] for text in ("One.", "What is two and two?", "A longer question? " * 9)
    ]
    replies = model.generate_batch(prompts)
    assert [reply.content for reply in replies] == [model.generate(prompt).content for prompt in prompts]
    assert [reply.token_usage for reply in replies] == [model.generate(prompt).token_usage for prompt in prompts]
    assert model.generate_batch([]) == []


def test_batch_with_a_constraint_per_row(model):
    replies = model.generate_batch([USER] * 3, grammar=["[0-9]{4}", None, "yes|no"], max_new_tokens=12)
    assert re.fullmatch("[0-9]{4}", replies[0].content) and replies[2].content in ("yes", "no")
    assert replies[1].content == model.generate(USER, max_new_tokens=12).content
    formats = [SCHEMAS["object"], SCHEMAS["array"]]
    for reply, schema in zip(
        model.generate_batch([USER] * 2, response_format=formats, max_new_tokens=300), formats, strict=True
    ):
        assert valid(reply.parsed, schema)
    with pytest.raises(FairleadError):
        model.generate_batch([USER] * 2, grammar=["a"])


# stop sequences


def test_stop_sequences(model):
    whole = model.generate(USER).content
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    expected = whole[: whole.find(stop)]
    reply = model.generate(USER, stop_sequences=[stop, "never seen"])
    assert reply.content == expected and reply.stop_sequence == stop and reply.finish_reason == "stop"
    streamed = model.generate_stream(USER, stop_sequences=[stop]).drain()
    assert streamed.content == expected and streamed.stop_sequence == stop
    assert model.generate_batch([USER, USER], stop_sequences=[stop])[1].content == expected


# response_format and grammar


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas(model, name):
    schema = SCHEMAS[name]
    reply = model.generate(USER, response_format=schema, max_new_tokens=700)
    assert reply.finish_reason == "stop" and valid(reply.parsed, schema)


def test_there_are_thirty():
    assert len(SCHEMAS) >= 30


def test_regex_choice_and_grammar(model):
    assert re.fullmatch("[a-f]{3}-[0-9]{2}", model.generate(USER, grammar="[a-f]{3}-[0-9]{2}").content)
    assert model.generate(USER, grammar=Grammar.choice(["left", "right"])).content in ("left", "right")
    ebnf = Grammar.ebnf('root ::= "(" item ("," item){0,2} ")"\nitem ::= [a-c] | "(" [0-9] ")"')
    assert re.fullmatch(r"\(([a-c]|\([0-9]\))(,([a-c]|\([0-9]\))){0,2}\)", model.generate(USER, grammar=ebnf).content)
    streamed = model.generate_stream(USER, grammar=ebnf).drain()
    assert streamed.content == model.generate(USER, grammar=ebnf).content == streamed.parsed


def test_a_pydantic_class(model):
    pydantic = pytest.importorskip("pydantic")

    class Answer(pydantic.BaseModel):
        ok: bool
        side: str = pydantic.Field(pattern="^(left|right)$")

    assert isinstance(model.generate(USER, response_format=Answer, max_new_tokens=700).parsed, Answer)


# tools


@pytest.mark.filterwarnings("ignore:the chat template")
def test_tools(model):
    free = model.generate(USER, tools_to_call_from=[TOOL])
    assert free.token_usage.input_tokens > model.generate(USER).token_usage.input_tokens
    reply = model.generate(
        USER, tools_to_call_from=[TOOL], tool_choice="required", parallel_tool_calls=False, max_new_tokens=300
    )
    assert reply.finish_reason == "tool_calls" and reply.tool_calls[0].function.name == "pick"
    assert valid(reply.tool_calls[0].function.arguments, TOOL["function"]["parameters"])
    assert json.loads(json.dumps(reply.dict()))["tool_calls"]


# images: only where the model takes them, see test_transformers_defects.py


def test_an_image_for_a_text_model_says_so(model):
    from PIL import Image

    parts = [{"type": "image", "image": Image.new("RGB", (8, 8))}, {"type": "text", "text": "What?"}]
    with pytest.raises(FairleadError):
        model.generate([{"role": "user", "content": parts}])


# reasoning


def test_reasoning_is_free_and_the_answer_isnt(model):
    reply = model.generate(USER, grammar="yes|no", reasoning=("<|", "e"), max_new_tokens=400)
    assert reply.content in ("yes", "no", "") and (reply.content or reply.finish_reason == "length")


# what goes wrong leaves the model usable


def test_mistakes_are_typed_and_leave_the_model_usable(model):
    before = model.generate(USER).content
    for wrong in ({"response_format": False}, {"grammar": "a("}, {"stop_sequences": [""]}, {"max_new_tokens": 0}):
        with pytest.raises(FairleadError):
            model.generate(USER, **wrong)
    with pytest.raises(FairleadError):
        model.generate([{"role": "user", "content": "very long " * 20000}])
    with pytest.raises(FairleadError):
        model.generate([{"role": "nobody", "content": "x"}])
    assert model.generate(USER).content == before


@pytest.mark.parametrize("backend", PARAMS)
def test_a_closed_model(backend, tiny_dir):
    with BACKENDS[backend](tiny_dir) as model:
        assert model.generate(USER, max_new_tokens=1).content is not None
    model.close()
    for call in (model.generate, model.generate_stream, lambda messages: model.generate_batch([messages])):
        with pytest.raises(ModelError, match="closed"):
            call(USER)
