"""fairlead inside vLLM: its own offline engine, with the plug-in and the logits processor; the README's examples."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

vllm = pytest.importorskip("vllm")

from fairlead import ConfigurationError, Grammar  # noqa: E402
from fairlead.testing import tiny_model_dir  # noqa: E402
from fairlead.vllm import FairleadBackend, FairleadGrammar, grammar_text, register  # noqa: E402
from fairlead.vllm._plugin import budget_of_request, uses_fairlead  # noqa: E402
from vllm import LLM, SamplingParams  # noqa: E402
from vllm.sampling_params import StructuredOutputsParams  # noqa: E402

pytestmark = pytest.mark.vllm

README = Path(__file__).resolve().parents[2] / "README.md"
OPTIONS: dict[str, Any] = {
    "gpu_memory_utilization": 0.3,
    "kv_cache_memory_bytes": 100_000_000,
    "enforce_eager": True,
    "dtype": "float32",
    "max_model_len": 2048,
}
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 99}, "ok": {"type": "boolean"}},
    "required": ["n", "ok"],
    "additionalProperties": False,
}


def close(llm: LLM) -> None:
    llm.llm_engine.engine_core.shutdown()


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    # vLLM itself calls what the entry point names; here too where the package isn't installed but on the path.
    register()
    made = LLM(
        str(tiny_model_dir(head_dim=32)),
        additional_config={"fairlead": True},
        logits_processors=["fairlead.vllm:LogitsProcessor"],
        **OPTIONS,
    )
    yield made
    close(made)


def ask(llm: LLM, max_tokens: int = 400, **wanted: Any) -> str:
    params = SamplingParams(
        temperature=0.0, max_tokens=max_tokens, structured_outputs=StructuredOutputsParams(**wanted)
    )
    return str(llm.generate("Please answer.", params, use_tqdm=False)[0].outputs[0].text)


def test_the_entry_point():
    found = [one for one in entry_points(group="vllm.general_plugins") if one.name == "fairlead"]
    if not found:
        pytest.skip("the package isn't installed")
    assert found[0].load() is register


def test_what_the_engine_is_asked_for_is_enforced_by_fairlead(llm):
    reply = json.loads(ask(llm, json=SCHEMA))
    assert reply["n"] % 7 == 0 and isinstance(reply["ok"], bool)
    assert isinstance(json.loads(ask(llm, json=json.dumps({"const": ["a", 1]}))), list)
    assert re.fullmatch("[a-f]{3}-[0-9]{2}", ask(llm, regex="[a-f]{3}-[0-9]{2}"))
    assert ask(llm, choice=["port", "starboard"]) in ("port", "starboard")
    assert ask(llm, grammar='root ::= "(" [0-9] ")"')[0] == "("
    assert ask(llm, grammar='start: "x" /[0-9]/')[0] == "x"
    assert re.fullmatch("a[0-9]", ask(llm, grammar=grammar_text(Grammar.regex("a") + Grammar.regex("[0-9]"))))
    tag = {"type": "structural_tag", "format": {"type": "const_string", "value": "as it is"}}
    assert ask(llm, structural_tag=json.dumps(tag)) == "as it is"
    manager = llm.llm_engine.engine_core.engine_core.structured_output_manager
    assert isinstance(manager.backend, FairleadBackend)


def test_budgets(llm, caplog):
    bounded = grammar_text(Grammar.regex("x[a-z0-9]*y"), token_budget=6)
    assert re.fullmatch("x[a-z0-9]*y", ask(llm, grammar=bounded, max_tokens=6))
    params = SamplingParams(temperature=0.0, max_tokens=6, extra_args={"fairlead": bounded})
    assert re.fullmatch("x[a-z0-9]*y", llm.generate("x", params, use_tqdm=False)[0].outputs[0].text)
    narrow = grammar_text(Grammar.regex("[0-9]{20}"), token_budget=2)
    params = SamplingParams(temperature=0.0, max_tokens=30, extra_args={"fairlead": narrow})
    with caplog.at_level("WARNING", "fairlead.vllm"):
        assert re.fullmatch("[0-9]{20}", llm.generate("x", params, use_tqdm=False)[0].outputs[0].text)
    assert "a budget of 2 tokens is too small" in caplog.text


@pytest.mark.parametrize(
    "options", [{"token_budget": 5}, {"budget": "max_tokens"}, {"token_budget": "max_tokens", "x": 1}]
)
def test_unknown_options_are_refused(options):
    config = SimpleNamespace(additional_config={"fairlead": options})
    assert uses_fairlead(config)
    with pytest.raises(ConfigurationError, match="token_budget"):
        budget_of_request(config)


def test_no_options_are_options_too():
    config = SimpleNamespace(additional_config={"fairlead": {}})
    assert uses_fairlead(config) and budget_of_request(config)() is None


def test_several_requests_and_several_answers(llm):
    params = [
        SamplingParams(
            temperature=1.0, n=3, max_tokens=30, structured_outputs=StructuredOutputsParams(regex="[0-9]{6}")
        ),
        SamplingParams(temperature=1.0, n=1, max_tokens=9),
        SamplingParams(
            temperature=0.0, max_tokens=30, structured_outputs=StructuredOutputsParams(choice=["yes", "no"])
        ),
    ]
    many, free, one = llm.generate(["One.", "Two.", "Three."], params, use_tqdm=False)
    assert len(many.outputs) == 3 and all(re.fullmatch("[0-9]{6}", row.text) for row in many.outputs)
    assert free.outputs[0].text and one.outputs[0].text in ("yes", "no")


@pytest.mark.parametrize(
    "wrong",
    [
        {"json": "{"},
        {"json": {"type": "array", "not": {"uniqueItems": True}}},
        {"regex": "a("},
        {"grammar": "start: ("},
        {"choice": []},
        {"json": {"type": "integer"}, "whitespace_pattern": " "},
        {"regex": "a", "disable_additional_properties": True},
        {"structural_tag": "{}"},
        {"json_object": False},
    ],
    ids=str,
)
def test_mistakes_are_found_before_the_request_begins(llm, wrong):
    with pytest.raises((vllm.exceptions.VLLMValidationError, ValueError)):
        ask(llm, **wrong)
    assert ask(llm, choice=["yes"]) == "yes"


def new_grammar(llm: LLM, kind: str, text: str, **config: Any) -> FairleadGrammar:
    from vllm.v1.structured_output.backend_types import StructuredOutputOptions

    engine = llm.llm_engine
    backend = FairleadBackend(engine.vllm_config, engine.get_tokenizer(), engine.model_config.get_vocab_size())
    backend._most_drafts = 4
    return backend.compile_grammar(StructuredOutputOptions[kind], text, {1})


def test_the_interface_of_a_grammar(llm):
    import torch

    grammar = new_grammar(llm, "REGEX", "[0-9]{3}")
    tokenizer = llm.get_tokenizer()
    digits = [tokenizer.encode(text, add_special_tokens=False)[0] for text in "123"]
    letter = tokenizer.encode("x", add_special_tokens=False)[0]
    end = 1

    def allowed() -> set[int]:
        mask = torch.zeros((2, (llm.llm_engine.model_config.get_vocab_size() + 31) // 32), dtype=torch.int32)
        grammar.fill_bitmask(mask, 1)
        assert not mask[0].any()
        return {n for n in range(mask.shape[1] * 32) if mask[1, n // 32].item() >> n % 32 & 1}

    start = allowed()
    assert set(digits) <= start and letter not in start and end not in start
    assert grammar.validate_tokens([*digits, letter]) == digits and allowed() == start
    assert grammar.validate_tokens([10**9]) == [] and not grammar.accept_tokens("r", [10**9])
    assert grammar.accept_tokens("r", digits[:2]) and not grammar.accept_tokens("r", [letter])
    grammar.rollback(2)
    assert allowed() == start
    assert grammar.accept_tokens("r", digits) and allowed() == {end} and not grammar.is_terminated()
    assert grammar.accept_tokens("r", [end, letter]) and grammar.is_terminated()
    assert grammar.validate_tokens([letter]) == []
    grammar.rollback(1)
    assert not grammar.is_terminated() and allowed() == {end}
    grammar.reset()
    assert allowed() == start


def test_the_logits_processor(llm):
    grammars = {"[0-9]{6}": "\\d{6}", "(yes|no)": "yes|no", "": None, "a{12}": "a{12}"}
    params = [
        SamplingParams(
            temperature=1.0, max_tokens=30, extra_args={"fairlead": grammar_text(Grammar.regex(text))} if text else None
        )
        for text in grammars
    ] * 3
    prompts = [f"Prompt {n}. " * (n + 1) for n in range(len(params))]
    for output, pattern in zip(llm.generate(prompts, params, use_tqdm=False), [*grammars.values()] * 3, strict=True):
        assert pattern is None or re.fullmatch(pattern, output.outputs[0].text), output
    for wrong in ("no grammar", 5, grammar_text(Grammar.regex("(")), "\x02fairlead:{}"):
        with pytest.raises((vllm.exceptions.VLLMValidationError, ValueError)):
            llm.generate("x", SamplingParams(max_tokens=2, extra_args={"fairlead": wrong}), use_tqdm=False)


# Closing an engine in this process takes vLLM's process groups with it: nothing that needs `llm` comes after this.


def test_other_engines_keep_their_own_backend():
    other = LLM(str(tiny_model_dir(head_dim=32)), **OPTIONS)
    try:
        assert ask(other, choice=["port", "starboard"]) in ("port", "starboard")
        manager = other.llm_engine.engine_core.engine_core.structured_output_manager
        assert type(manager.backend).__name__ == "XgrammarBackend"
        with pytest.raises((vllm.exceptions.VLLMValidationError, ValueError)):
            ask(other, grammar=grammar_text(Grammar.regex("a")))
    finally:
        close(other)


def examples() -> list[str]:
    return re.findall(r"^```python vllm\n(.*?)^```$", README.read_text(encoding="utf-8"), re.S | re.M)


@pytest.mark.parametrize("number", range(len(examples())))
def test_the_readme(number, tmp_path, monkeypatch):
    code = examples()[number]
    assert len(code.splitlines()) <= 8
    monkeypatch.chdir(tmp_path)
    register()
    # Without limits an engine takes most of the machine's memory.
    monkeypatch.setattr(vllm, "LLM", functools.partial(LLM, **OPTIONS))
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(code, f"README.md, vLLM's example {number}", "exec", dont_inherit=True), scope)
    if isinstance(scope.get("llm"), LLM):
        close(scope["llm"])


def test_the_readme_has_examples():
    assert len(examples()) >= 2
