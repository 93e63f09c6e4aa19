"""Spans with the semantic conventions for generative AI, read back from the SDK's in-memory exporter."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from fairlead.errors import RateLimitError
from fairlead.models import FallbackModel, trace_model
from fairlead.testing import FunctionModel, ScriptedModel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

HELLO = [{"role": "user", "content": "hello"}]


class Spans:
    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def take(self) -> list[Any]:
        spans = list(self._exporter.get_finished_spans())
        self._exporter.clear()
        return spans


@pytest.fixture
def spans() -> Spans:
    return Spans()


def test_a_request(spans):
    model = ScriptedModel(["one two"], model_id="m")
    trace_model(model, tracer_provider=spans.provider)
    model.generate(HELLO, ["x"], temperature=0.5, max_tokens=9, response_format={"type": "object"})
    (span,) = spans.take()
    assert span.name == "chat m" and span.kind is SpanKind.INTERNAL and span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "fairlead",
        "gen_ai.request.model": "m",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.stop_sequences": ("x",),
        "gen_ai.output.type": "json",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 1,
        "gen_ai.usage.output_tokens": 2,
    }


def test_the_names_are_those_of_the_conventions(spans):
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}
    model = ScriptedModel(["one two"])
    trace_model(model, tracer_provider=spans.provider, capture_content=True)
    options = dict.fromkeys(["top_p", "top_k", "seed", "frequency_penalty", "presence_penalty", "max_new_tokens"], 1)
    model.generate_stream(HELLO, ["x"], {"type": "object"}, **options).drain()
    (span,) = spans.take()
    assert set(span.attributes) <= known and len(span.attributes) > 12


def test_content_is_recorded_only_when_asked_for(spans):
    model = ScriptedModel(["one"], repeat_last=True)
    stop = trace_model(model, tracer_provider=spans.provider, capture_content=True)
    model.generate(HELLO)
    (span,) = spans.take()
    told = json.loads(span.attributes["gen_ai.input.messages"])
    assert told == [{"role": "user", "parts": [{"type": "text", "content": "hello"}]}]
    (reply,) = json.loads(span.attributes["gen_ai.output.messages"])
    assert reply == {"role": "assistant", "parts": [{"type": "text", "content": "one"}]}
    stop()
    model.generate(HELLO)
    assert not spans.take()


def test_errors(spans):
    model = ScriptedModel([RateLimitError("busy")])
    trace_model(model, tracer_provider=spans.provider)
    with pytest.raises(RateLimitError):
        model.generate(HELLO)
    (span,) = spans.take()
    assert span.status.status_code is StatusCode.ERROR and span.attributes["error.type"] == "RateLimitError"
    assert span.events[0].name == "exception"
    assert not get_current_span().get_span_context().is_valid


def test_streams_and_async(spans):
    async def run() -> None:
        model = ScriptedModel(["one two"], repeat_last=True)
        trace_model(model, tracer_provider=spans.provider)
        await model.agenerate(HELLO)
        async for _ in model.agenerate_stream(HELLO):
            assert not get_current_span().get_span_context().is_valid
        with model.generate_stream(HELLO) as stream:
            next(stream)
        whole, streamed, closed = spans.take()
        assert whole.attributes["gen_ai.usage.output_tokens"] == 2
        assert "gen_ai.request.stream" not in whole.attributes
        assert streamed.attributes["gen_ai.request.stream"] is True
        assert streamed.attributes["gen_ai.response.time_to_first_chunk"] > 0
        assert closed.attributes["gen_ai.response.finish_reasons"] == ("cancelled",)
        assert "gen_ai.usage.output_tokens" not in closed.attributes

    asyncio.run(run())


def test_spans_within_spans(spans):
    def ask(messages: Any) -> str:
        with spans.provider.get_tracer("http").start_as_current_span("POST"):
            return "done"

    children = [ScriptedModel([RateLimitError("busy")], model_id="a"), FunctionModel(ask, model_id="b")]
    model = FallbackModel(children)
    for one in (model, *children):
        trace_model(one, tracer_provider=spans.provider)
    model.generate(HELLO)
    first, post, second, outer = spans.take()
    assert outer.attributes["gen_ai.provider.name"] == "fairlead.fallback"
    assert first.parent.span_id == second.parent.span_id == outer.context.span_id
    assert post.parent.span_id == second.context.span_id


def test_a_batch(spans):
    model = ScriptedModel(["one"], repeat_last=True)
    trace_model(model, tracer_provider=spans.provider)
    model.generate_batch([HELLO] * 3)
    assert [span.attributes["gen_ai.usage.output_tokens"] for span in spans.take()] == [1] * 3
