"""For testing agents, prompts and grammars without a model's weights or a network.

**Agents.** A :class:`ScriptedModel` gives prepared replies and remembers what it was asked; stop sequences, streams,
tool calls and usage work as with a real model, in smolagents' agents too:

```python
from fairlead.testing import ScriptedModel

model = ScriptedModel(["<code>\\nprint(6 * 7)\\n</code>", "The answer is 42."])
reply = model.generate([{"role": "user", "content": "What is 6 * 7?"}], stop_sequences=["</code>"])
assert reply.content == "<code>\\nprint(6 * 7)\\n" and reply.stop_sequence == "</code>"
assert model.calls[0].messages[-1] == {"role": "user", "content": "What is 6 * 7?"}
assert model.calls[0].arguments == {"stop_sequences": ["</code>"]}
```

An exception among the replies is raised, so that the handling of errors can be tested:

```python
from fairlead import RateLimitError
from fairlead.testing import ScriptedModel

model = ScriptedModel([RateLimitError("slow down", retry_after=1.0), "better now"])
try:
    model.generate([{"role": "user", "content": "hi"}])
except RateLimitError as error:
    assert error.retry_after == 1.0
assert model.generate([{"role": "user", "content": "hi"}]).content == "better now"
```

**Replies that depend on the history** come from a function. It gets the cleaned history, and by name what else of
the request it asks for; it returns a text, a ChatMessage, or pieces of a stream:

```python
from fairlead.testing import FunctionModel

def answer(messages, tools_to_call_from=None):
    if not tools_to_call_from:
        return f"You said: {messages[-1]['content']}"
    return iter(['{"name": "search", ', '"arguments": {"query": "rope"}}'])

model = FunctionModel(answer)
assert model.generate([{"role": "user", "content": "hello"}]).content == "You said: hello"
search = {"type": "function", "function": {"name": "search", "description": "", "parameters": {}}}
message = model.generate([{"role": "user", "content": "find it"}], tools_to_call_from=[search])
assert model.parse_tool_calls(message).tool_calls[0].function.arguments == {"query": "rope"}
```

**Messages and histories** for property tests (these strategies need hypothesis: ``pip install 'fairlead[test]'``):

```python
from fairlead import get_clean_message_list
from fairlead.testing import histories
from hypothesis import given

@given(histories(tool_calls=False))
def test_roles_alternate(history):
    cleaned = get_clean_message_list(history)
    assert all(a["role"] != b["role"] for a, b in zip(cleaned, cleaned[1:]))

test_roles_alternate()
```

**Texts that a constraint allows**, drawn through the engine: of a regex, a JSON Schema, a pydantic class or a Grammar.
What parses a model's output can be tested with all that the constraint lets through:

```python
import json
from fairlead.testing import texts
from hypothesis import given

schema = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
}

@given(texts(schema), texts("[0-9]{4}-[0-9]{2}"))
def test_what_may_come(person, month):
    assert json.loads(person)["age"] >= 0
    assert len(month) == 7

test_what_may_come()
```

**Streams are cut anywhere**; what reads one should give the same however it is cut:

```python
from fairlead import StopSequenceMatcher
from fairlead.testing import chunkings
from hypothesis import given

@given(chunkings("Thought: done. Observation: none"))
def test_stop(pieces):
    matcher = StopSequenceMatcher(["Observation:"])
    assert "".join(matcher.feed(piece) for piece in pieces) == "Thought: done. "

test_stop()
```

**A real model**, tiny, with random weights, made on the spot (needs ``fairlead[transformers]``):
``TransformersModel(str(tiny_model_dir()))``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairlead.testing._scripted import FunctionModel, ScriptedCall, ScriptedModel
    from fairlead.testing._strategies import chunkings, histories, messages, texts
    from fairlead.testing._tiny import tiny_model_dir

__all__ = [
    "FunctionModel",
    "ScriptedCall",
    "ScriptedModel",
    "chunkings",
    "histories",
    "messages",
    "texts",
    "tiny_model_dir",
]

_MODULES = {
    "_scripted": ("FunctionModel", "ScriptedCall", "ScriptedModel"),
    # Needs hypothesis, so it is loaded when a strategy is asked for.
    "_strategies": ("chunkings", "histories", "messages", "texts"),
    "_tiny": ("tiny_model_dir",),
}
_HOME = {name: f"fairlead.testing.{module}" for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
