"""What a model thinks before it answers: kept apart, free of the constraint, counted as usage."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from fairlead import (  # noqa: E402
    ConfigurationError,
    GrammarCompiler,
    LimitExceeded,
    ModelError,
    TokenizerInfo,
    allocate_token_bitmask,
)
from fairlead.models import TransformersModel  # noqa: E402
from fairlead.models._gated_grammar import GatedGrammar  # noqa: E402
from fairlead.models._reasoning import ReasoningFilter, reasoning_state  # noqa: E402

from .conftest import Script  # noqa: E402

USER = [{"role": "user", "content": "Please answer."}]
TAGS = ("<think>", "</think>")
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99, "minimum": 0}}, "required": ["n"],
          "additionalProperties": False}  # fmt: skip


@pytest.fixture(scope="module", params=["text", "added", "special"])
def thinking(request: pytest.FixtureRequest, tiny_dir: str) -> TransformersModel:
    """The tags as ordinary text, as added tokens with text, as special tokens without."""
    model = TransformersModel(tiny_dir, device_map="cpu", max_new_tokens=120, reasoning=TAGS)
    if request.param == "added":
        model.tokenizer.add_tokens(list(TAGS))
    elif request.param == "special":
        model.tokenizer.add_special_tokens({"additional_special_tokens": list(TAGS)})
    model.tokenizer.add_tokens([">\n", ">{", ">\n\n"] if request.param == "text" else ["\n\n"])
    model.model.resize_token_embeddings(len(model.tokenizer), mean_resizing=False)
    return model


def say(model: TransformersModel, text: str, **more: Any) -> dict[str, Any]:
    script = Script(model.tokenizer, text, then="<|end|>")
    return {"logits_processor": [script], **more}


@pytest.mark.parametrize("text", ["<think>\nHm, 6 * 7.\n</think>\n\nIt is 42.", "<think>Hm, 6 * 7.</think>It is 42."])
def test_kept_apart(thinking, text):
    tokens = len(thinking.tokenizer.encode(text, add_special_tokens=False)) + 1
    reply = thinking.generate(USER, stop_sequences=["6 *"], **say(thinking, text))
    assert (reply.reasoning, reply.content, reply.finish_reason) == ("Hm, 6 * 7.", "It is 42.", "stop")
    assert reply.token_usage.output_tokens == tokens
    deltas = list(thinking.generate_stream(USER, **say(thinking, text)))
    assert "".join(delta.reasoning for delta in deltas).strip() == "Hm, 6 * 7."
    assert "".join(delta.content or "" for delta in deltas) == "It is 42."
    assert all(not (delta.reasoning and delta.content) for delta in deltas)
    stream = thinking.generate_stream(USER, **say(thinking, text))
    assert stream.drain().reasoning == "Hm, 6 * 7." and stream.message.content == "It is 42."


def test_no_reasoning(thinking):
    reply = thinking.generate(USER, **say(thinking, "It is 42, <think> said nobody."))
    assert reply.reasoning == "" and reply.content == "It is 42, <think> said nobody."


def test_stops_act_in_the_answer_only(thinking):
    reply = thinking.generate(USER, stop_sequences=["42"], **say(thinking, "<think>42</think>It is 42."))
    assert (reply.reasoning, reply.content, reply.stop_sequence) == ("42", "It is ", "42")


@pytest.mark.parametrize("gap", ["", "\n", "\n\n"])
def test_a_constraint_begins_behind_the_tag(thinking, gap):
    text = f"<think>Well, {{ what.</think>{gap}" + '{"n": 42}'
    reply = thinking.generate(USER, response_format=SCHEMA, **say(thinking, text))
    assert reply.parsed == {"n": 42} and reply.content == '{"n": 42}' and reply.reasoning == "Well, { what."
    stream = thinking.generate_stream(USER, response_format=SCHEMA, **say(thinking, text))
    assert stream.drain().parsed == {"n": 42}


def test_what_the_model_would_say_instead_is_corrected(thinking):
    reply = thinking.generate(USER, response_format=SCHEMA, **say(thinking, "<think>x</think>\nSure! 42"))
    assert reply.reasoning == "x" and 0 <= reply.parsed["n"] <= 99
    yes = thinking.generate(USER, grammar="yes|no", **say(thinking, "<think>x</think>maybe"))
    assert yes.content in ("yes", "no")


def test_without_a_closing_tag_nothing_is_parsed(thinking):
    script = say(thinking, "<think>" + "on " * 60)
    reply = thinking.generate(USER, response_format=SCHEMA, max_new_tokens=6, token_budget=None, **script)
    assert reply.finish_reason == "length" and reply.content == "" and reply.reasoning
    with pytest.raises(ModelError):
        _ = reply.parsed


@pytest.mark.parametrize("jump", [None, True])
def test_reasoning_is_closed_within_the_tokens(thinking, jump):
    wanted = {"response_format": SCHEMA, "jump_forward": jump, **say(thinking, "<think>" + "on " * 60)}
    with pytest.raises(LimitExceeded, match="a budget of 2 tokens is too small: ending the reasoning") as refused:
        thinking.generate(USER, max_new_tokens=2, **wanted)
    least = int(re.search(r"takes (\d+)", str(refused.value))[1])
    for limit in (least, least + 1, least + 2, least + 20):
        reply = thinking.generate(USER, max_new_tokens=limit, **wanted)
        assert reply.finish_reason == "stop" and 0 <= reply.parsed["n"] <= 99
        assert reply.token_usage.output_tokens <= limit
        # Thoughts have what the tag and the answer leave.
        assert (reply.reasoning.count("on") > 3) == (limit == least + 20)
    with pytest.raises(LimitExceeded):
        thinking.generate(USER, max_new_tokens=least - 1, **wanted)


def test_a_template_that_opens_or_closes_the_tag(thinking):
    for ending, text in (("<think>\n", "x</think>"), ("<think>\n\n</think>\n\n", "")):
        template = thinking.tokenizer.chat_template + ending
        model = TransformersModel.from_loaded(
            thinking.model, thinking.tokenizer, reasoning=TAGS, max_new_tokens=60,
            apply_chat_template_kwargs={"chat_template": template},
        )  # fmt: skip
        start = len(model._prepare_request(USER).prompt.token_ids)
        script = _From(model.tokenizer, text + '{"n": 7}', start)
        reply = model.generate(USER, response_format=SCHEMA, logits_processor=[script])
        assert reply.parsed == {"n": 7} and reply.reasoning == text.removesuffix("</think>")


class _From(Script):
    def __init__(self, tokenizer: Any, text: str, start: int) -> None:
        super().__init__(tokenizer, text, then="<|end|>")
        self.start = start

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        forced = torch.full_like(scores, float("-inf"))
        spoken = input_ids.shape[1] - self.start
        forced[:, self.ids[spoken] if spoken < len(self.ids) else self.then[0]] = 0.0
        return forced


def test_tags_of_several_special_tokens(tiny_dir):
    """As gpt-oss writes its channels."""
    tags = ("<|channel|>analysis<|message|>", "<|start|>assistant<|channel|>final<|message|>")
    model = TransformersModel(tiny_dir, device_map="cpu", max_new_tokens=60, reasoning=tags)
    parts = ["<|channel|>", "<|message|>", "<|start|>", "<|finish|>"]
    model.tokenizer.add_special_tokens({"additional_special_tokens": parts})
    model.model.resize_token_embeddings(len(model.tokenizer), mean_resizing=False)
    said = f"{tags[0]}Hm, no.<|finish|>{tags[1]}"
    reply = model.generate(USER, **say(model, said + "Yes."))
    assert (reply.reasoning, reply.content) == ("Hm, no.", "Yes.")
    held = model.generate(USER, grammar="yes|no", **say(model, said + "maybe"))
    assert held.reasoning == "Hm, no." and held.parsed in ("yes", "no")


@pytest.mark.parametrize("wrong", ["<think>", ("a",), ("", "b"), (1, 2), 5])
def test_mistakes(tiny, wrong):
    with pytest.raises(ConfigurationError):
        TransformersModel.from_loaded(tiny.model, tiny.tokenizer, reasoning=wrong)


def test_saved_with_the_model(thinking):
    assert tuple(thinking.to_dict()["reasoning"]) == TAGS


# The parts


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("<think>a</think>b", "a", "b"),
        ("\n<think>a</thin</think>\n\nb\n", "a</thin", "b\n"),
        ("<thing>a</think>b", "", "<thing>a</think>b"),
        ("  ", "", "  "),
        ("<thi", "", "<thi"),
        ("<think>a", "a", ""),
        ("<think>a</think", "a</think", ""),
    ],
)
def test_the_filter_in_pieces_of_any_size(text, reasoning, answer):
    for size in range(1, len(text) + 1):
        parts = ReasoningFilter(TAGS)
        found = [parts.feed(text[at : at + size]) for at in range(0, len(text), size)] + [parts.finish()]
        assert "".join(one for _, one in found) == answer
        assert "".join(one for one, _ in found) == reasoning == parts.reasoning


def test_where_a_prompt_leaves_off():
    assert reasoning_state("<|assistant|>", TAGS) == "start"
    assert reasoning_state("<|assistant|><think>\n", TAGS) == "inside"
    assert reasoning_state("<think>\n\n</think>\n\n", TAGS) == "answer"
    assert reasoning_state("<think>x</think>old<|user|>new<|assistant|>", TAGS) == "start"


def test_masks_agree_with_what_is_accepted():
    texts = [bytes([n]) for n in range(128)] + [b">\n", b">{", b">x", b"</think>", b"</think>\n\n", b"a</think>{"]
    info = TokenizerInfo([*texts, b">\n\n\n", None, None], stop_token_ids=[len(texts) + 1])
    special = len(texts) + 2
    compiled = GrammarCompiler(info).compile_regex(r'\{"a": (1|2)\}')
    gated = GatedGrammar(compiled, info, "</think>", {special: "</think>"})
    draw = random.Random(5)
    for _ in range(40):
        matcher = gated.new_matcher()
        path: list[int] = []
        for _ in range(60):
            allowed = bits(matcher, info.vocab_size)
            for token in allowed:
                assert matcher.fork().accept_token(token), (path, token)
            if matcher.is_completed() or not allowed:
                break
            wanted = b"</think>"
            likely = [t for t in allowed if t == special or (texts[t] in wanted if t < len(texts) else False)]
            token = draw.choice(likely if likely and draw.random() < 0.7 else allowed)
            assert matcher.accept_token(token)
            path.append(token)
            # Going back and the same way again ends at the same place.
            back = draw.randrange(0, min(4, len(path)) + 1)
            matcher.rollback(back)
            for again in path[len(path) - back :]:
                assert matcher.accept_token(again)
        if matcher.is_completed():
            written = b"".join(info.decoded_vocab[token] or b"</think>" for token in path).decode()
            assert re.search(r'</think>\n{0,2}\{"a": (1|2)\}$', written), written
            assert json.loads(written.rpartition("</think>")[2])


@pytest.mark.parametrize("answer", [r'\{"a": (1|2)\}', r"(\{b{6}|x)y{2,}", "(>?x|y)*"])
@pytest.mark.parametrize("close", ["</think>", "<><>x", "aab"])
def test_a_budget_closes_the_reasoning_whatever_is_written(close, answer):
    """Also where tokens end the tag and begin the answer, or where a tag stands in its own way."""
    pieces = {close[-1:] + more for more in ("{", "x", "{a", "\n", "xy", ">x")} | {
        close + more for more in ("", "y", "\n\n")
    }
    pieces |= {close[:3], close[-3:], close[1:3], "x" + close[:2], "on" + close, close[-2:] + close[:2]}
    texts = [bytes([n]) for n in range(128)] + sorted(piece.encode() for piece in pieces if len(piece) > 1)
    info = TokenizerInfo([*texts, None, None, None], stop_token_ids=[len(texts)])
    special = {len(texts) + 1: close[: len(close) // 2], len(texts) + 2: close[len(close) // 2 :]}
    compiled = GrammarCompiler(info).compile_regex(answer)
    draw = random.Random(7)
    for specials in ({}, special):
        gated = GatedGrammar(compiled, info, close, specials)
        least = gated.tokens_to_close(b"") + gated.answer_tokens
        with pytest.raises(LimitExceeded, match=f"completing the answer takes {least}"):
            gated.new_matcher(least - 1)
        for spare in [*range(16)] * 4:
            matcher = gated.new_matcher(least + spare)
            used = 0
            while not matcher.is_terminated():
                assert used < least + spare
                allowed = bits(matcher.fork(), info.vocab_size)
                stop = len(texts)
                # To end late is what is hard.
                on = [token for token in allowed if token != stop] or allowed
                part = [t for t in on if t in specials or (t < stop and texts[t].decode() in close)]
                crossing = [t for t in on if t < stop and texts[t][:-1].endswith(close[-1:].encode())]
                near = draw.choice([part, crossing])
                token = draw.choice(near if near and draw.random() < 0.5 else on)
                assert matcher.accept_token(token), (used, token)
                used += 1
                if draw.random() < 0.2:
                    matcher.rollback(1)
                    assert bits(matcher, info.vocab_size) == allowed and matcher.accept_token(token)


def test_a_token_that_begins_a_long_answer_needs_room():
    texts = [bytes([n]) for n in range(128)] + [b">{"]
    info = TokenizerInfo([*texts, None], stop_token_ids=[len(texts)])
    gated = GatedGrammar(GrammarCompiler(info).compile_regex(r"\{b{20}|xyy"), info, "<>")
    crossing, tag, other = texts.index(b">{"), texts.index(b">"), texts.index(b"o")

    def allowed(budget: int) -> list[bool]:
        matcher = gated.new_matcher(budget)
        assert matcher.accept_token(texts.index(b"<"))
        fine = bits(matcher, info.vocab_size)
        return [token in fine for token in (crossing, tag, other)]

    # Beside "<": ">{" takes 20 more and the stop token; ">" three; "o" as many and a tag anew.
    assert [allowed(budget) for budget in (6, 7, 8, 22, 23)] == [
        [False, True, False],
        [False, True, False],
        [False, True, True],
        [False, True, True],
        [True, True, True],
    ]


def bits(matcher: Any, size: int) -> list[int]:
    bitmask = allocate_token_bitmask(1, size)
    matcher.fill_next_token_bitmask(bitmask)
    words = memoryview(bitmask).cast("B").cast("I")
    return [token for token in range(size) if words[token // 32] >> token % 32 & 1]
