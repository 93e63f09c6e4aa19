"""fairlead inside vLLM: as the engine of its structured outputs, or as a logits processor.

vLLM loads ``register`` in all of its processes (entry point group ``vllm.general_plugins``). It changes nothing by
itself: an engine uses fairlead when its configuration says so, ::

    python -m vllm.entrypoints.openai.api_server --model ... --additional-config '{"fairlead": true}'
    vllm.LLM(..., additional_config={"fairlead": True})

Then whatever asks for structured output there (``response_format``, ``structured_outputs``, required tool calls) is
enforced by fairlead, whose masks are exact; what it doesn't support is refused with status 400.
``{"fairlead": {"token_budget": "max_tokens"}}`` also narrows masks as tokens run out, so that no such output is cut by
its request's ``max_tokens``; where even the shortest takes more, the request fails. What vLLM's own reasoning parser
sets apart isn't counted.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fairlead.vllm._plugin import ensure_registered, register
from fairlead.vllm._spec import ConstraintSpec, grammar_text

if TYPE_CHECKING:
    from fairlead.vllm._backend import FairleadBackend, FairleadGrammar
    from fairlead.vllm._logits_processor import LogitsProcessor

__all__ = [
    "ConstraintSpec",
    "FairleadBackend",
    "FairleadGrammar",
    "LogitsProcessor",
    "ensure_registered",
    "grammar_text",
    "register",
]

# Those that derive from vLLM's classes.
_LAZY = {
    "FairleadBackend": "fairlead.vllm._backend",
    "FairleadGrammar": "fairlead.vllm._backend",
    "LogitsProcessor": "fairlead.vllm._logits_processor",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return value
