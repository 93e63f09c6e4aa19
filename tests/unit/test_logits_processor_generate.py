"""LogitsProcessor under every way that Transformers generates, with tiny models of random weights."""

from __future__ import annotations

import itertools
import json
from functools import cache
from typing import Any

import pytest
from fairlead import logits_processor as lp
from fairlead.errors import ConfigurationError
from fairlead.grammar import GrammarCompiler
from fairlead.logits_processor import LogitsProcessor
from fairlead.tokenizer import TokenizerInfo

from tests import fake_engine, tiny

torch = pytest.importorskip("torch")

SCHEMA = {
    "type": "object",
    "properties": {"a": {"enum": ["x", "yy"]}, "b": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
OTHER = {"type": "array", "items": {"enum": [1, "é"]}, "minItems": 2, "maxItems": 2}
NEW_TOKENS = 60


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    """A tiny model is slower with several threads, and much slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def instances(schema: dict[str, Any]) -> list[str]:
    """Every instance of the two schemas, compact."""
    if schema is OTHER:
        values: list[Any] = [list(pair) for pair in itertools.product([1, "é"], repeat=2)]
    else:
        arrays = [list(bools) for n in range(4) for bools in itertools.product([True, False], repeat=n)]
        values = [{"a": a, "b": b} for a in ("x", "yy") for b in arrays]
    return [json.dumps(value, separators=(",", ":"), ensure_ascii=False) for value in values]


@cache
def tokenizer() -> Any:
    return tiny.byte_level_bpe()


@cache
def model(padding: int = 0, seed: int = 0, layers: int = 2) -> Any:
    return tiny.llama(tokenizer(), vocab_size=len(tokenizer()) + padding, seed=seed, layers=layers)


@pytest.fixture(params=["plain", "engine"])
def compile_schema(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function from schema and TokenizerInfo to a compiled grammar: the engine's, and the one in plain Python."""
    if request.param == "plain":
        monkeypatch.setattr(lp, "_new_matcher", fake_engine.GrammarMatcher)
        return lambda schema, info: fake_engine.CompiledGrammar(info, instances(schema))
    return lambda schema, info: GrammarCompiler(info).compile_json_schema(schema, whitespace="compact")


def encode(*prompts: str) -> Any:
    return tokenizer()(list(prompts), return_tensors="pt", padding=True)


def generate(inputs: Any, processor: Any, padding: int = 0, **options: Any) -> list[Any]:
    """The parsed texts of what generate() adds to the prompts."""
    torch.manual_seed(1)
    out = model(padding).generate(**inputs, max_new_tokens=NEW_TOKENS, logits_processor=[processor], **options)
    new = out[:, inputs.input_ids.shape[1] :]
    return [json.loads(text) for text in tokenizer().batch_decode(new, skip_special_tokens=True)]


def valid(value: Any, schema: dict[str, Any] = SCHEMA) -> bool:
    import jsonschema

    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


@pytest.fixture
def info() -> TokenizerInfo:
    return TokenizerInfo.from_huggingface(tokenizer(), model=model())


MODES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "greedy": (("Hi",), {"do_sample": False}),
    "sampling": (("Hi",), {"do_sample": True}),
    "left padding": (("Hello world, this is", "Hi", "{}"), {"do_sample": True}),
    "beams": (("Hi",), {"num_beams": 4, "num_return_sequences": 2, "do_sample": False}),
    "beams of a batch": (("Hello world, this", "Hi"), {"num_beams": 3, "do_sample": False}),
    "sampled beams": (("Hello world, this", "Hi"), {"num_beams": 3, "do_sample": True}),
    "several answers": (("Hi", "Hello"), {"num_return_sequences": 3, "do_sample": True}),
    "prompt lookup": (
        ('{"a":"x","b":[true,true]} {"a":"x","b":[',),
        {"prompt_lookup_num_tokens": 4, "do_sample": False},
    ),
    "more beams than sentences": (("Hi", "Hello"), {"num_beams": 20, "num_return_sequences": 20, "do_sample": False}),
    "top-p": (("Hi",), {"do_sample": True, "top_p": 0.5, "top_k": 3, "temperature": 2.0}),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_answer_is_valid(mode: str, compile_schema: Any, info: TokenizerInfo) -> None:
    prompts, options = MODES[mode]
    answers = generate(encode(*prompts), LogitsProcessor(compile_schema(SCHEMA, info)), **options)
    assert len(answers) == len(prompts) * options.get("num_return_sequences", 1)
    assert all(valid(answer) for answer in answers), answers


@pytest.mark.parametrize("do_sample", [False, True])
@pytest.mark.parametrize("draft_seed", [0, 7], ids=["draft agrees", "draft differs"])
def test_assisted_decoding(draft_seed: int, do_sample: bool, compile_schema: Any, info: TokenizerInfo) -> None:
    draft = model(seed=draft_seed, layers=1 if draft_seed else 2)
    processor = LogitsProcessor(compile_schema(SCHEMA, info))
    for prompt in ("Hi", "Hi there", "Hi there"):
        answers = generate(encode(prompt), processor, assistant_model=draft, do_sample=do_sample)
        assert all(valid(answer) for answer in answers), answers


def test_a_draft_model_with_another_tokenizer(compile_schema: Any, info: TokenizerInfo) -> None:
    other = tiny.byte_fallback_bpe(800)
    draft = tiny.llama(other, vocab_size=900, layers=1)
    processor = LogitsProcessor(compile_schema(SCHEMA, info))
    options = {"assistant_model": draft, "tokenizer": tokenizer(), "assistant_tokenizer": other}
    for prompt in ("Hi", "Hello"):
        assert all(valid(answer) for answer in generate(encode(prompt), processor, do_sample=False, **options))
    # When sampling, Transformers cuts the draft model's vocabulary down: that cannot be masked.
    with pytest.raises(ConfigurationError, match="draft model"):
        generate(encode("Hi"), LogitsProcessor(compile_schema(SCHEMA, info)), do_sample=True, **options)


@pytest.mark.parametrize(
    "make", [tiny.byte_fallback_bpe, tiny.metaspace_unigram, tiny.word_suffix_bpe], ids=lambda make: make.__name__
)
@pytest.mark.parametrize(
    "options", [{"do_sample": True}, {"num_beams": 3, "do_sample": False}], ids=["sample", "beams"]
)
def test_other_kinds_of_tokenizers(make: Any, options: dict[str, Any], compile_schema: Any) -> None:
    """What the tokens write is valid; decode() may differ from it in the spaces around the whole text."""
    other = make()
    small = tiny.llama(other)
    info = TokenizerInfo.from_huggingface(other, model=small)
    inputs = other(["Hello world", "Hi"], return_tensors="pt", padding=True)
    torch.manual_seed(0)
    out = small.generate(
        input_ids=inputs.input_ids,
        attention_mask=inputs.attention_mask,
        max_new_tokens=NEW_TOKENS,
        logits_processor=[LogitsProcessor(compile_schema(SCHEMA, info))],
        **options,
    )[:, inputs.input_ids.shape[1] :]
    for row in out.tolist():
        text = info.decode(row).decode()
        assert valid(json.loads(text))
        assert other.decode(row, skip_special_tokens=True).strip() == text.strip()


def test_a_grammar_for_each_row(compile_schema: Any, info: TokenizerInfo) -> None:
    grammars = [compile_schema(SCHEMA, info), compile_schema(OTHER, info)]
    for options in ({"do_sample": True}, {"num_beams": 3, "num_return_sequences": 2, "do_sample": False}):
        answers = generate(encode("Hello world", "Hi"), LogitsProcessor(grammars), **options)
        share = len(answers) // 2
        assert all(valid(answer) for answer in answers[:share]), answers
        assert all(valid(answer, OTHER) for answer in answers[share:]), answers


def test_padded_vocabulary_and_several_stop_tokens(compile_schema: Any) -> None:
    padding = 70
    big = model(padding)
    eom = tokenizer().convert_tokens_to_ids("<|eom|>")
    stop = [tokenizer().eos_token_id, eom]
    inputs = encode("Hi")
    for width in (None, len(tokenizer()) + padding):
        info = TokenizerInfo.from_huggingface(tokenizer(), vocab_size=width, stop_token_ids=stop)
        out = big.generate(
            **inputs,
            max_new_tokens=NEW_TOKENS,
            do_sample=True,
            eos_token_id=stop,
            output_scores=True,
            return_dict_in_generate=True,
            logits_processor=[LogitsProcessor(compile_schema(SCHEMA, info))],
        )
        new = out.sequences[0, inputs.input_ids.shape[1] :]
        assert valid(json.loads(tokenizer().decode(new, skip_special_tokens=True)))
        assert new[-1].item() in stop
        assert all(torch.isneginf(scores[0, len(tokenizer()) :]).all() for scores in out.scores)
        assert [torch.isfinite(scores[0, stop]).all().item() for scores in out.scores][-1]


def test_one_instance_for_several_generations(compile_schema: Any, info: TokenizerInfo) -> None:
    processor = LogitsProcessor(compile_schema(SCHEMA, info))
    first = encode("Hi")
    for inputs in (first, first, encode("Hello world, this is long"), encode("Hello"), encode("Hi", "Hello")):
        assert all(valid(answer) for answer in generate(inputs, processor, do_sample=True))
    # What was generated becomes the prompt: cut short, whole, and with more behind it.
    cut = model().generate(**first, max_new_tokens=3, logits_processor=[processor], do_sample=False)
    for ids in (cut, cut[:, :-1], torch.cat([cut, cut[:, -1:]], dim=1)):
        out = model().generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, logits_processor=[processor]
        )
        assert valid(json.loads(tokenizer().decode(out[0, ids.shape[1] :], skip_special_tokens=True)))


def test_raw_logits_stay_what_the_model_gave(compile_schema: Any, info: TokenizerInfo) -> None:
    out = model().generate(
        **encode("Hi"),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        logits_processor=[LogitsProcessor(compile_schema(SCHEMA, info))],
    )
    assert all(torch.isfinite(logits).all() for logits in out.logits)


def test_minimum_length_yields_to_the_grammar(compile_schema: Any, info: TokenizerInfo) -> None:
    processor = LogitsProcessor(compile_schema(OTHER, info))
    for sample in (False, True):
        answers = generate(encode("Hi"), processor, do_sample=sample, min_new_tokens=40)
        assert all(valid(answer, OTHER) for answer in answers)
