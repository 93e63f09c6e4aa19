"""smolagents' agents run three steps on each remote class against the loopback server."""

from __future__ import annotations

from typing import Any

import pytest

smolagents = pytest.importorskip("smolagents")


class Lookup(smolagents.Tool):
    name = "lookup"
    description = "Looks a word up."
    inputs = {"word": {"type": "string", "description": "The word."}}  # noqa: RUF012
    output_type = "string"

    def forward(self, word: str) -> str:
        return f"{word} is a rope"


def call(number: int, name: str, arguments: str) -> list[dict[str, Any]]:
    return [{"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": arguments}}]


@pytest.mark.parametrize("stream", [False, True])
def test_code_agent(model_of, server, stream):
    server.replies[:] = [
        "<code>\nx = 6\n</code>",
        "<code>\ny = x * 7\n</code>",
        "<code>\nfinal_answer(y)\n</code>",
    ]
    agent = smolagents.CodeAgent(tools=[], model=model_of("ok"), stream_outputs=stream, verbosity_level=0)
    result = agent.run("Six times seven?", return_full_result=True)
    assert result.output == 42 and len(server.requests) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calling_agent(model_of, server, stream):
    if model_of.kind in ("litellm", "router"):
        pytest.importorskip("mcp", reason="litellm needs it for tools")
    server.replies[:] = [
        call(1, "lookup", '{"word": "brace"}'),
        call(2, "lookup", '{"word": "sheet"}'),
        call(3, "final_answer", '{"answer": "ropes"}'),
    ]
    agent = smolagents.ToolCallingAgent(
        tools=[Lookup()], model=model_of("ok"), stream_outputs=stream, verbosity_level=0
    )
    assert agent.run("What are they?") == "ropes"
    assert len(server.requests) == 3 and "sheet is a rope" in str(server.requests[-1]["messages"])
