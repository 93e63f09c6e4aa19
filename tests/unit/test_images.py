"""Images: every form they come in, each content encoded once, and never the wrong one."""

from __future__ import annotations

import base64
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fairlead import MessageError, images
from fairlead.images import configure_images, encode_image_base64, image_url, make_image_url
from fairlead.models import get_clean_message_list
from hypothesis import given, settings
from hypothesis import strategies as st

numpy = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture(autouse=True)
def empty_cache():
    configure_images(cache_bytes=0, max_bytes=64 << 20)
    configure_images(cache_bytes=256 << 20)
    yield
    configure_images(cache_bytes=0, max_bytes=64 << 20)
    configure_images(cache_bytes=256 << 20)


@pytest.fixture
def encodings(monkeypatch):
    """How often an image was encoded."""
    calls: list[int] = []
    encode = images._core.encode_png

    def counted(*args: Any) -> bytes:
        calls.append(1)
        return encode(*args)

    monkeypatch.setattr(
        images, "_core", type("Core", (), {"encode_png": counted, "content_hash": images._core.content_hash})
    )
    return calls


def picture(mode: str = "RGB", size: tuple[int, int] = (7, 5), seed: int = 0) -> Any:
    channels = {"L": (), "RGB": (3,), "RGBA": (4,), "LA": (2,)}[mode]
    pixels = numpy.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), dtype=numpy.uint8)
    return Image.fromarray(pixels, mode=mode) if mode == "LA" else Image.fromarray(pixels)


def file_of(image: Any, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format)
    return buffer.getvalue()


def shown(encoded: str) -> Any:
    image = Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)))
    image.load()
    return image


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (300, 200)])
def test_png_is_lossless(mode, size):
    image = picture(mode, size)
    back = shown(encode_image_base64(image))
    assert (back.format, back.mode, back.size, back.tobytes()) == ("PNG", mode, size, image.tobytes())


@pytest.mark.parametrize("mode", ["1", "P", "I;16", "CMYK", "YCbCr", "HSV", "PA", "La", "RGBa"])
def test_other_modes(mode):
    source = picture({"RGBa": "RGBA", "PA": "RGBA", "La": "LA", "I;16": "L"}.get(mode, "RGB"), (20, 10))
    image = source.convert("P").convert("PA") if mode == "PA" else source.convert(mode)
    back = shown(encode_image_base64(image))
    if mode in ("1", "P", "I;16"):
        assert back.convert("RGB").tobytes() == image.convert("RGB").tobytes()
    else:
        wanted = "RGBA" if mode in ("RGBa", "PA") else "LA" if mode == "La" else "RGB"
        assert (back.mode, back.tobytes()) == (wanted, image.convert(wanted).tobytes())


def test_flat_images_are_small():
    flat = numpy.zeros((512, 512, 3), dtype=numpy.uint8)
    flat[100:200, 50:300] = 200
    image = Image.fromarray(flat)
    encoded = encode_image_base64(image)
    assert shown(encoded).tobytes() == image.tobytes()
    assert len(encoded) < 3 * len(file_of(image))


def test_what_can_t_be_a_png_says_so():
    with pytest.raises(MessageError):
        encode_image_base64(Image.new("F", (2, 2)))


def test_transparency_palette_and_profile_are_kept():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.info["transparency"] = 1
    assert shown(encode_image_base64(image)).convert("RGBA").tobytes() == bytes([10, 20, 30, 255, 40, 50, 60, 0])
    other = image.copy()
    other.putpalette([90, 80, 70, 40, 50, 60])
    assert shown(encode_image_base64(other)).convert("RGB").getpixel((0, 0)) == (90, 80, 70)
    keyed = Image.new("RGB", (1, 1), (1, 2, 3))
    plain = encode_image_base64(keyed)
    keyed.info["transparency"] = (1, 2, 3)
    assert shown(encode_image_base64(keyed)).convert("RGBA").getpixel((0, 0))[3] == 0
    keyed.info = {"icc_profile": b"profile"}
    assert shown(encode_image_base64(keyed)).info["icc_profile"] == b"profile" and plain != encode_image_base64(keyed)


def test_every_form_shows_the_same(tmp_path):
    image = picture()
    png = file_of(image)
    (tmp_path / "i.png").write_bytes(png)
    text = base64.b64encode(png).decode()
    forms = [
        image,
        numpy.asarray(image),
        numpy.asarray(image)[::1, ::1].copy(order="F"),
        png,
        bytearray(png),
        memoryview(png),
        file_of(image, "BMP"),
        file_of(image, "TIFF"),
        tmp_path / "i.png",
        str(tmp_path / "i.png"),
        text,
        "data:image/png;base64," + text,
    ]
    for form in forms:
        encoded = encode_image_base64(form)
        assert shown(encoded).format == "PNG" and shown(encoded).convert("RGB").tobytes() == image.tobytes()
        assert image_url(form) == "data:image/png;base64," + encoded
    assert encode_image_base64(png) == text  # a file stays as it is
    assert encode_image_base64("data:image/png," + "".join(f"%{byte:02x}" for byte in png), format="png") == text


def test_jpeg_stays_jpeg_and_is_made_on_demand():
    image = picture(size=(40, 30))
    jpeg = file_of(image, "JPEG")
    assert base64.b64decode(encode_image_base64(jpeg)) == jpeg
    assert image_url(jpeg).startswith("data:image/jpeg;base64,/9j/")
    assert make_image_url(encode_image_base64(jpeg)) == image_url(jpeg)
    assert shown(encode_image_base64(jpeg, format="png")).format == "PNG"
    assert shown(encode_image_base64(image)).format == "PNG"
    for made in (image, image.convert("RGBA"), image.convert("P"), numpy.asarray(image), file_of(image)):
        assert shown(encode_image_base64(made, format="jpeg")).format == "JPEG"
    assert image_url(encode_image_base64(jpeg)).startswith("data:image/jpeg;")
    assert shown(encode_image_base64(image_url(image), format="jpeg")).format == "JPEG"


def test_urls():
    link = "https://example.com/a.png"
    assert image_url(link) == link
    with pytest.raises(MessageError, match="URL"):
        encode_image_base64(link)
    message = {"role": "user", "content": [{"type": "image", "image": link}]}
    cleaned = get_clean_message_list([message], convert_images_to_image_urls=True)
    assert cleaned[0]["content"] == [{"type": "image_url", "image_url": {"url": link}}]
    data = image_url(picture())
    assert image_url(data) is data


@pytest.mark.parametrize(
    "bad",
    [
        5,
        None,
        object(),
        b"no image",
        file_of(picture())[:40],
        b"",
        "data:image/png;base64,%%%",
        numpy.zeros((2, 2), dtype=numpy.float32),
        numpy.zeros((2, 2, 5), dtype=numpy.uint8),
        numpy.zeros((0, 2), dtype=numpy.uint8),
        numpy.zeros(4, dtype=numpy.uint8),
    ],
    ids=str,
)
def test_not_an_image(bad, tmp_path):
    with pytest.raises(MessageError):
        encode_image_base64(bad, format="png")
    with pytest.raises(MessageError):
        encode_image_base64(tmp_path)


def test_an_array_in_one_channel():
    gray = numpy.arange(6, dtype=numpy.uint8).reshape(2, 3)
    assert encode_image_base64(gray) == encode_image_base64(gray[:, :, None])
    assert shown(encode_image_base64(gray)).mode == "L"


def test_an_agents_image():
    types = pytest.importorskip("smolagents.agent_types")
    image = picture()
    assert shown(encode_image_base64(types.AgentImage(image))).tobytes() == image.tobytes()


def test_an_object_that_only_saves_itself():
    class Drawn:
        def save(self, file: Any, format: str) -> None:
            picture().save(file, format=format)

    assert shown(encode_image_base64(Drawn())).tobytes() == picture().tobytes()


# Once per content


def test_each_content_is_encoded_once(encodings):
    image = picture()
    first = encode_image_base64(image)
    assert encode_image_base64(image) is first and encode_image_base64(picture()) is first
    assert encode_image_base64(numpy.asarray(image)) is first
    assert image_url(image) == "data:image/png;base64," + first and image_url(image) is image_url(picture())
    assert len(encodings) == 1
    assert encode_image_base64(picture(seed=1)) != first and len(encodings) == 2


def test_an_image_changed_in_place_is_encoded_anew():
    image = picture()
    message = {"role": "user", "content": [{"type": "image", "image": image}]}
    before = get_clean_message_list([message])[0]["content"][0]["image"]
    image.putpixel((3, 2), (1, 2, 3))
    after = get_clean_message_list([message])[0]["content"][0]["image"]
    assert before != after and shown(after).getpixel((3, 2)) == (1, 2, 3)
    array = numpy.asarray(image).copy()
    encode_image_base64(array)
    array[0, 0] = 9
    assert shown(encode_image_base64(array)).getpixel((0, 0)) == (9, 9, 9)


def test_a_file_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "i.png"
    for seed in (0, 1):
        picture(seed=seed).save(path)
        assert shown(encode_image_base64(path)).tobytes() == picture(seed=seed).tobytes()


def test_the_same_bytes_in_another_shape():
    pixels = numpy.arange(24, dtype=numpy.uint8)
    shapes = [(2, 4, 3), (4, 2, 3), (3, 2, 4), (6, 4), (3, 4, 2)]
    seen = {encode_image_base64(pixels.reshape(shape)) for shape in shapes}
    assert len(seen) == len(shapes)


def test_the_cache_is_bounded_in_bytes(encodings):
    size = len(encode_image_base64(picture()))
    configure_images(cache_bytes=0)
    configure_images(cache_bytes=3 * size + size // 2)
    for seed in range(3):
        encode_image_base64(picture(seed=seed))
    encode_image_base64(picture(seed=0))  # used again: 1 is now the oldest
    encode_image_base64(picture(seed=3))
    assert images._cache.bytes <= images._cache.limit
    encodings.clear()
    encode_image_base64(picture(seed=0))
    assert not encodings
    encode_image_base64(picture(seed=1))
    assert len(encodings) == 1
    configure_images(cache_bytes=0)
    assert images._cache.bytes == 0
    assert shown(encode_image_base64(picture())).tobytes() == picture().tobytes()


def test_the_size_limit(tmp_path):
    image = picture(size=(100, 100))
    (tmp_path / "i.bmp").write_bytes(file_of(image, "BMP"))
    url = image_url(image)
    encode_image_base64(image)
    configure_images(max_bytes=5000)
    for form in (image, file_of(image), numpy.asarray(image), tmp_path / "i.bmp", url):
        with pytest.raises(MessageError, match=r"MiB; the limit is 0\.0 MiB"):
            encode_image_base64(form)
    with pytest.raises(MessageError) as caught:
        get_clean_message_list([{"role": "user", "content": [{"type": "image", "image": image}]}])
    assert caught.value.index == 0
    configure_images(max_bytes=64 << 20)
    encode_image_base64(image)


# Threads


def test_threads_encode_each_content_once(encodings):
    count = 8
    barrier = threading.Barrier(count)

    def work(_: int) -> list[str]:
        barrier.wait()
        return [encode_image_base64(picture(size=(200, 200), seed=seed)) for seed in range(4)]

    with ThreadPoolExecutor(count) as pool:
        results = list(pool.map(work, range(count)))
    assert len(encodings) == 4
    assert all(result == results[0] for result in results)


def test_an_error_reaches_all_who_wait():
    cache = images._Cache(100)
    entered, leave = threading.Event(), threading.Event()

    def fail() -> str:
        entered.set()
        leave.wait(10)
        raise MessageError("no")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, ("k",), fail)
        entered.wait(10)
        second = pool.submit(cache.get, ("k",), lambda: pytest.fail("made twice"))
        while cache._pending and not second.running():
            pass
        leave.set()
        for future in (first, second):
            with pytest.raises((MessageError, pytest.fail.Exception)):
                future.result(10)
    assert cache.get(("k",), lambda: "yes") == "yes"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_a_thread_encodes():
    images._cache._lock.acquire()
    lock = images._cache._lock
    try:
        child = os.fork()
        if child == 0:
            os._exit(0 if encode_image_base64(b"x" and picture()) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        lock.release()


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["L", "LA", "RGB", "RGBA"]), st.integers(0, 3))
def test_any_pixels(width, height, mode, levels):
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    pixels = numpy.random.default_rng(width * height).integers(0, 1 + 85 * levels, (height, width, channels))
    array = pixels.astype(numpy.uint8)
    back = shown(encode_image_base64(array))
    assert (back.mode, back.tobytes()) == (mode, array.tobytes())
