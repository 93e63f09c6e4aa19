"""What goes wrong with smolagents' TransformersModel must not go wrong here; one section for each defect."""

from __future__ import annotations

import copy
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from fairlead import ConfigurationError, ModelError  # noqa: E402
from fairlead.models import TransformersModel, agglomerate_stream_deltas  # noqa: E402

from .conftest import Counting, Script  # noqa: E402

USER = [{"role": "user", "content": "Please answer."}]


def say(model: TransformersModel, text: str, **more: Any) -> dict[str, Any]:
    return {"logits_processor": [Script(model.tokenizer, text)], **more}


# 1. Stop strings that end inside a token never stopped the generation.


@pytest.mark.parametrize(
    ("text", "stop", "shown"),
    [
        ("x = 1\n</code>\nObservation: nothing", "</code>", "x = 1\n"),
        ("one\nObservation: two", "\nObs", "one"),
        ("yes ✅ no", "✅", "yes "),
        ("yes ✅ no", "✅ n", "yes "),
    ],
)
def test_a_stop_inside_a_token_ends_the_generation_at_once(merged, text, stop, shown):
    ids = merged.tokenizer.encode(text, add_special_tokens=False)
    needed = next(n for n in range(1, len(ids) + 1) if stop in merged.tokenizer.decode(ids[:n]))
    with Counting(merged.model) as count:
        reply = merged.generate(USER, stop_sequences=[stop, "never"], **say(merged, text))
    assert reply.content == shown
    assert reply.stop_sequence == stop and reply.finish_reason == "stop"
    assert count.passes == needed == reply.token_usage.output_tokens


def test_the_closing_tag_is_a_merged_token_here(merged):
    tokens = [merged.tokenizer.decode([i]) for i in merged.tokenizer.encode("</code>\n", add_special_tokens=False)]
    assert tokens[-1] == ">\n"


# 2. The stream leaked the stop sequence and all that came after.


@pytest.mark.parametrize("stop", ["</code>", "\nObs", "✅", "a", "ob\nOb"])
def test_a_stream_shows_nothing_of_a_stop_sequence(merged, stop):
    text = "one two ✅ three\n</code>\nObservation: a b c ob\nObs"
    pieces = list(merged.generate_stream(USER, stop_sequences=[stop], max_new_tokens=80, **say(merged, text)))
    assert "".join(piece.content for piece in pieces) == text[: text.index(stop)]
    assert pieces[-1].finish_reason == "stop"


def test_a_stream_holds_back_no_more_than_it_must(merged):
    text = "</co and </code>"
    pieces = [p.content for p in merged.generate_stream(USER, stop_sequences=["</code>"], **say(merged, text))]
    assert "".join(pieces) == "</co and "
    assert len(pieces) > 2


def test_a_stream_yields_whole_characters(tiny):
    text = "日本語 ✅ naïve — 🎈"
    pieces = [p.content for p in tiny.generate_stream(USER, stop_sequences=["🎈"], **say(tiny, text, max_tokens=60))]
    assert "".join(pieces) == "日本語 ✅ naïve — "
    assert "\ufffd" not in "".join(pieces)


# 3. Streams shared one streamer: mixed texts, and threads that ran on after the consumer had left.


def test_two_streams_at_once_keep_apart(tiny):
    prompts = [[{"role": "user", "content": f"Question number {n}"}] for n in range(4)]
    alone = [tiny.generate(prompt).content for prompt in prompts]
    assert len(set(alone)) > 1
    streams = [tiny.generate_stream(prompt) for prompt in prompts]
    texts = [""] * len(streams)
    live = set(range(len(streams)))
    while live:
        for n in sorted(live):
            delta = next(streams[n], None)
            if delta is None:
                live.discard(n)
            else:
                texts[n] += delta.content
    assert texts == alone


def test_generate_from_several_threads(tiny):
    prompts = [[{"role": "user", "content": f"Question number {n}"}] for n in range(8)]
    alone = [tiny.generate(prompt).content for prompt in prompts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda prompt: tiny.generate(prompt).content, prompts)) == alone


def generation_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "fairlead-generation"]


@pytest.mark.parametrize("way", ["close", "with", "forget", "break"])
def test_leaving_a_stream_stops_its_thread(tiny, way):
    alone = tiny.generate(USER).content
    with Counting(tiny.model) as count:
        stream = tiny.generate_stream(USER, max_new_tokens=4000, **say(tiny, "on"))
        if way == "with":
            with stream:
                next(stream)
        elif way == "break":
            for _ in stream:
                break
            del stream
        else:
            next(stream)
            if way == "close":
                stream.close()
                assert next(stream, None) is None
            del stream
        assert not generation_threads()
        passes = count.passes
        time.sleep(0.05)
        assert count.passes == passes < 400
    # Nothing of it reaches the next stream.
    assert tiny.generate_stream(USER).drain().content == alone


def test_a_stream_that_is_never_read_starts_nothing(tiny):
    stream = tiny.generate_stream(USER)
    assert not generation_threads()
    stream.close()
    assert list(stream) == []


def test_closing_from_another_thread_ends_the_wait(tiny):
    stream = tiny.generate_stream(USER, max_new_tokens=4000, **say(tiny, "on"))
    next(stream)
    timer = threading.Timer(0.1, stream.close)
    timer.start()
    started = time.monotonic()
    for _ in stream:
        pass
    assert time.monotonic() - started < 10
    timer.join()


# 4. An exception in the generation thread left the consumer waiting for ever.


class Failing:
    def __init__(self, error: Exception, after: int) -> None:
        self.error, self.after = error, after

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self.after -= 1
        if self.after < 0:
            raise self.error
        return scores


def test_errors_of_the_thread_reach_the_consumer(tiny):
    stream = tiny.generate_stream(USER, logits_processor=[Failing(RuntimeError("no memory"), 3)])
    with pytest.raises(ModelError, match="no memory"):
        list(stream)
    assert list(stream) == [] and not generation_threads()
    assert tiny.generate(USER).content == tiny.generate_stream(USER).drain().content


def test_an_unknown_argument_is_a_typed_error_in_both_ways(tiny):
    with pytest.raises(ConfigurationError, match="no_such_option"):
        tiny.generate(USER, no_such_option=1)
    with pytest.raises(ValueError, match="no_such_option"):
        list(tiny.generate_stream(USER, no_such_option=1))


def test_mistakes_of_the_caller_pass_as_they_are(tiny):
    class Mine(Exception):
        pass

    with pytest.raises(Mine):
        list(tiny.generate_stream(USER, logits_processor=[Failing(Mine(), 2)]))


# 5. Images and the attention mask were dropped.


def image(red: bool) -> Any:
    from PIL import Image

    if red:
        return Image.new("RGB", (28, 28), (255, 0, 0))
    torch.manual_seed(1)
    return Image.fromarray(torch.randint(0, 256, (28, 28, 3), dtype=torch.uint8).numpy())


def ask_about(picture: Any) -> list[dict[str, Any]]:
    parts = [{"type": "image", "image": picture}, {"type": "text", "text": "What is this?"}]
    return [{"role": "user", "content": parts}]


def spy(model: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    original = model.model.generate

    def generate(**kwargs: Any) -> Any:
        seen.append(kwargs)
        return original(**kwargs)

    monkeypatch.setattr(model.model, "generate", generate)
    return seen


def test_pixel_values_reach_the_model(vlm, monkeypatch):
    seen = spy(vlm, monkeypatch)
    replies = [vlm.generate(ask_about(image(red))).content for red in (True, False, True)]
    assert all("attention_mask" in call for call in seen)
    # The third prompt is the first one again.
    assert ["pixel_values" in call for call in seen[:2]] == [True, True]
    assert replies[0] == replies[2] != replies[1]
    inputs = vlm.processor.apply_chat_template(
        ask_about(image(True)), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    inputs.pop("token_type_ids", None)
    direct = vlm.model.generate(**inputs, max_new_tokens=12, do_sample=False)
    new = direct[0, inputs["input_ids"].shape[1] :]
    assert replies[0] == vlm.tokenizer.decode(new, skip_special_tokens=True)


def test_images_in_every_form(vlm):
    import base64
    import io

    buffer = io.BytesIO()
    image(False).save(buffer, format="PNG")
    plain = base64.b64encode(buffer.getvalue()).decode()
    expected = vlm.generate(ask_about(image(False))).content
    for form in (buffer.getvalue(), plain, f"data:image/png;base64,{plain}"):
        assert vlm.generate(ask_about(form)).content == expected
    url = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{plain}"}}]
    text = {"type": "text", "text": "What is this?"}
    assert vlm.generate([{"role": "user", "content": [*url, text]}]).content == expected


def test_a_vision_model_takes_text_alone(vlm):
    assert vlm.generate(USER).content == vlm.generate_stream(USER).drain().content


def test_a_history_with_images_is_left_as_it_is(vlm):
    history = ask_about(image(True))
    before = copy.copy(history[0]["content"][0])
    vlm.generate(history)
    assert history[0]["content"][0] == before


def test_an_image_for_a_text_model_is_a_typed_error(tiny):
    from fairlead import MessageError

    with pytest.raises(MessageError) as caught:
        tiny.generate([*USER, *ask_about(image(True))])
    assert caught.value.index == 1


def test_the_attention_mask_is_kept(tiny, monkeypatch):
    seen = spy(tiny, monkeypatch)
    tiny.generate(USER)
    assert seen[0]["attention_mask"].shape == seen[0]["input_ids"].shape


# 6. No call-time limits, no device=, usage of streams counted chunks. (Structured output: test_structured.py)


@pytest.mark.parametrize("name", ["max_tokens", "max_new_tokens"])
def test_limits_of_a_call_win(tiny, name):
    reply = tiny.generate(USER, **{name: 3})
    assert reply.token_usage.output_tokens == 3 and reply.finish_reason == "length"


@pytest.mark.parametrize("limit", [0, -1, "7", True])
def test_limits_that_make_no_sense(tiny, limit):
    with pytest.raises(ConfigurationError):
        tiny.generate(USER, max_new_tokens=limit)


def test_temperature_alone_samples(tiny):
    assert len({tiny.generate(USER, temperature=5.0).content for _ in range(3)}) > 1
    assert tiny.generate(USER, temperature=0).content == tiny.generate(USER).content


def test_device_and_dtype_under_their_other_names(tiny_dir):
    model = TransformersModel(tiny_dir, device="cpu", dtype="bfloat16", max_tokens=5)
    assert model.model.dtype is torch.bfloat16
    assert model.generate(USER).token_usage.output_tokens == 5


def test_usage_of_a_stream_counts_tokens_once_at_the_end(tiny):
    text = "日本語 ✅ 🎈🎈"
    tokens = len(tiny.tokenizer.encode(text, add_special_tokens=False))
    deltas = list(tiny.generate_stream(USER, max_new_tokens=tokens, **say(tiny, text)))
    assert [delta.token_usage is not None for delta in deltas] == [False] * (len(deltas) - 1) + [True]
    assert deltas[-1].content == "" and deltas[-1].token_usage.output_tokens == tokens
    assert deltas[-1].token_usage.input_tokens == tiny.generate(USER).token_usage.input_tokens
    assert agglomerate_stream_deltas(deltas).content == text


def test_an_unknown_model_is_a_typed_error(tmp_path):
    with pytest.raises(ConfigurationError, match="Failed to load"):
        TransformersModel(str(tmp_path / "nowhere"), device_map="cpu")
    (tmp_path / "config.json").write_text("{not json")
    with pytest.raises(ConfigurationError):
        TransformersModel(str(tmp_path), device_map="cpu")


# 7. A reply dragged tokenizers along, so that copying it took seconds.


def test_a_reply_can_be_kept_and_sent_back(tiny):
    reply = tiny.generate(USER, stop_sequences=["</code>"])
    started = time.perf_counter()
    for _ in range(20):
        copy.deepcopy(reply)
        assert json.loads(reply.model_dump_json())["content"] == reply.content
        json.dumps(reply.dict())
    assert time.perf_counter() - started < 0.2
    reply.content += "</code>"
    again = tiny.generate([*USER, reply, *USER])
    assert again.token_usage.input_tokens > reply.token_usage.input_tokens


# Roles are plain strings in templates.


def test_roles_print_as_words(tiny):
    from fairlead.models import ChatMessage, MessageRole

    template = "{% for m in messages %}[{{ m['role'] ~ '|' }}{{ '%s' % m['role'] }}]{% endfor %}<|assistant|>"
    history = [ChatMessage(MessageRole.USER, "a"), ChatMessage(MessageRole.TOOL_CALL, "b")]
    cleaned = tiny._prepare_completion_kwargs(history)["messages"]
    assert [type(message["role"]) for message in cleaned] == [str, str]
    text = tiny.tokenizer.apply_chat_template(cleaned, chat_template=template, tokenize=False)
    assert text.startswith("[user|user][assistant|assistant]")
