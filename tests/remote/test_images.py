"""Images at every remote class: what travels are the picture's own bytes, or its address."""

from __future__ import annotations

import base64
import io

import pytest
from fairlead.errors import MessageError

Image = pytest.importorskip("PIL.Image")

URL = "https://example.org/knot.png"


def history(part):
    return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]


def sent_url(server):
    text, image = server.requests[-1]["messages"][-1]["content"]
    assert text == {"type": "text", "text": "What is it?"} and image["type"] == "image_url"
    return image["image_url"]["url"]


def pixels(url):
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True))).convert("RGB").tobytes()


@pytest.mark.parametrize("stream", [False, True])
def test_a_picture_arrives_as_it_is(model_of, server, stream):
    picture = Image.effect_mandelbrot((24, 16), (-2, -1, 1, 1), 20).convert("RGB")
    messages = history({"type": "image", "image": picture})
    if stream:
        model_of("ok").generate_stream(messages).drain()
    else:
        model_of("ok").generate(messages)
    assert pixels(sent_url(server)) == picture.tobytes()


def test_an_address_is_passed_on(model_of, server):
    model_of("ok").generate(history({"type": "image_url", "image_url": {"url": URL}}))
    assert sent_url(server) == URL


def test_models_without_eyes_say_so(model_of, server):
    with pytest.raises(MessageError, match="message 0 has an image"):
        model_of("ok", profile={"images": False}).generate(history({"type": "image_url", "image_url": {"url": URL}}))
    assert not server.requests


def test_the_responses_api_has_its_own_parts(server):
    pytest.importorskip("openai")
    from fairlead.models._responses_wire import responses_payload

    sent = responses_payload({"messages": history({"type": "image_url", "image_url": {"url": URL}})})
    assert sent["input"][0]["content"][1] == {"type": "input_image", "image_url": URL}
