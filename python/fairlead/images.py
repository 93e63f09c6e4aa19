"""Images in messages: from whatever they are to base64 or a data URL, encoded once per content.

A history is sent anew with each step, and its images with it. What was encoded is kept under a hash of the pixels or
of the file (never of the object's identity): an image that is changed in place is encoded anew, and equal images in
different objects are encoded once.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from fairlead import _core
from fairlead._optional import require
from fairlead.errors import MessageError

__all__ = ["configure_images", "encode_image_base64", "image_url", "make_image_url"]

Format = Literal["png", "jpeg"]
_Form = Literal["base64", "url"]

_MIB = 1 << 20
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# What the first characters of base64 say about the file: formats that providers take.
_BASE64_STARTS = {"/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp"}
_CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
# Modes that PNG doesn't know, and the nearest that it does.
_AS_PNG = {"CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB", "RGBX": "RGB", "RGBa": "RGBA", "La": "LA"}
_AS_PNG["PA"] = "RGBA"
_JPEG_QUALITY = 90


class _Settings:
    max_bytes = 64 * _MIB


def configure_images(*, cache_bytes: int | None = None, max_bytes: int | None = None) -> None:
    """Set the limits of this module; what isn't named stays.

    Args:
        cache_bytes: What all kept results may take together, 256 MiB by default; 0 keeps none. The least recently
            used go first.
        max_bytes: What one image may take as a file, 64 MiB by default.
    """
    if max_bytes is not None:
        _Settings.max_bytes = max_bytes
        kept = _cache.limit  # what is kept may be larger than what is allowed from now on
        _cache.resize(0)
        _cache.resize(kept)
    if cache_bytes is not None:
        _cache.resize(cache_bytes)


def encode_image_base64(image: Any, *, format: Format | None = None) -> str:
    """Encode an image as base64 of a PNG or JPEG file.

    Args:
        image: A PIL image, the bytes or the path of an image file, a numpy array (uint8, (H, W), or (H, W, C) with 1 to
            4 channels), a data URL, or a string that is base64 already.
        format: The format of the file; by default JPEG stays JPEG where the bytes of a file are given, and everything
            else becomes PNG.

    Returns:
        ASCII text without line breaks.

    Raises:
        MessageError: The object isn't an image, is larger than the limit, or is an http URL (which is for the provider
            to fetch).
        MissingDependencyError: Pillow isn't installed, and it can't be done without.
    """
    return _encode(image, "base64", format)


def image_url(image: Any, *, format: Format | None = None) -> str:
    """The URL of an image: an http or data URL as it is, a data URL of anything that ``encode_image_base64`` takes.

    Raises:
        MessageError: The object isn't an image, or is larger than the limit.
        MissingDependencyError: Pillow isn't installed, and it can't be done without.
    """
    if isinstance(image, str) and image.startswith(("http://", "https://")):
        return image
    return _encode(image, "url", format)


def make_image_url(base64_image: str) -> str:
    """A data URL of base64; its type is that of the file, PNG where the text doesn't say."""
    start = base64_image[:8]
    kind = next((kind for known, kind in _BASE64_STARTS.items() if start.startswith(known)), "image/png")
    return f"data:{kind};base64,{base64_image}"


def load_image(image: Any) -> Any:
    """A PIL image from a PIL image, file bytes, a path, a numpy array, a data URL or base64 text.

    Raises:
        MessageError: None of these.
        MissingDependencyError: Pillow isn't installed.
    """
    if callable(getattr(image, "save", None)):
        return image
    pil = require("PIL.Image", extra="transformers", feature="an image that isn't a PIL image yet")
    try:
        if isinstance(image, str) and not _is_file(image):
            image = _decode(image)
        if isinstance(image, bytes | bytearray | memoryview):
            return pil.open(io.BytesIO(image))
        if isinstance(image, str | os.PathLike):
            return pil.open(image)
        if hasattr(image, "__array_interface__"):
            return pil.fromarray(image)
    except (OSError, TypeError, ValueError, pil.DecompressionBombError) as error:
        raise MessageError(f"not a readable image: {error}") from error
    raise MessageError(f"not an image: {type(image).__name__}")


def _encode(image: Any, form: _Form, format: Format | None) -> str:
    if isinstance(image, str) and not _is_file(image):
        if image.startswith(("http://", "https://")):
            raise MessageError("an image URL can't be encoded here; pass it as {'type': 'image_url', ...}")
        is_url = image.startswith("data:")
        header, _, payload = image.partition(",") if is_url else ("", "", image)
        if format is None and (not is_url or header.endswith(";base64")):
            _check_size(len(payload) * 3 // 4)
            if form == "base64":
                return payload
            return image if is_url else make_image_url(image)
        image = _decode(image)
    key, make = _identify(image, format)
    if key is None:
        return _written(make(), form)
    return _cache.get((form, *key), lambda: _other_form(key, form) or _written(make(), form))


def _written(file: bytes, form: _Form) -> str:
    _check_size(len(file))
    text = base64.b64encode(file).decode("ascii")
    return text if form == "base64" else make_image_url(text)


def _other_form(key: tuple[Any, ...], form: _Form) -> str | None:
    if form == "url":
        text = _cache.peek(("base64", *key))
        return None if text is None else make_image_url(text)
    text = _cache.peek(("url", *key))
    return None if text is None else text.partition(",")[2]


def _identify(image: Any, format: Format | None) -> tuple[tuple[Any, ...] | None, Callable[[], bytes]]:
    """What tells the content of an image, and a function that makes the file of just that content."""
    if callable(raw := getattr(image, "to_raw", None)):
        image = raw()  # smolagents' AgentImage is a PIL image by its class only
    if isinstance(image, bytes | bytearray | memoryview):
        return _identify_file(bytes(image), format)
    if isinstance(image, str | os.PathLike):
        try:
            _check_size(os.stat(image).st_size)
            with open(image, "rb") as file:
                return _identify_file(file.read(), format)
        except OSError as error:
            raise MessageError(f"not a readable image: {error}") from error
    if callable(getattr(image, "save", None)):
        return _identify_pil(image, format)
    if hasattr(image, "__array_interface__"):
        return _identify_array(image, format)
    raise MessageError(f"not an image: {type(image).__name__}")


def _identify_file(data: bytes, format: Format | None) -> tuple[tuple[Any, ...], Callable[[], bytes]]:
    def make() -> bytes:
        _check_size(len(data))
        kind = "png" if data.startswith(_PNG) else "jpeg" if data.startswith(_JPEG) else None
        image = load_image(data)
        if kind is not None and format in (None, kind):
            try:
                image.verify()
            except (OSError, SyntaxError, ValueError) as error:
                raise MessageError(f"not a readable image: {error}") from error
            return data
        return _identify_pil(image, format)[1]()

    return ("file", format, _core.content_hash(data)), make


def _identify_array(array: Any, format: Format | None) -> tuple[tuple[Any, ...], Callable[[], bytes]]:
    shape = tuple(array.shape)
    if str(array.dtype) != "uint8" or len(shape) not in (2, 3) or 0 in shape or (len(shape) == 3 and shape[2] > 4):
        raise MessageError(
            f"an image as an array is uint8 of shape (H, W) or (H, W, 1 to 4), not {array.dtype} of shape {shape}"
        )
    channels = shape[2] if len(shape) == 3 else 1
    mode = next(mode for mode, count in _CHANNELS.items() if count == channels)
    pixels = array.tobytes()
    size = (shape[1], shape[0])
    return ("pixels", format or "png", mode, size, _core.content_hash(pixels), None, None), lambda: _file_of_pixels(
        pixels, mode, size, None, format
    )


def _identify_pil(image: Any, format: Format | None) -> tuple[tuple[Any, ...] | None, Callable[[], bytes]]:
    if not callable(getattr(image, "tobytes", None)) or not hasattr(image, "mode"):
        return None, lambda: _saved(image, format)  # an object that only knows how to save itself
    try:
        if image.mode in _AS_PNG:
            image = image.convert(_AS_PNG[image.mode])
        elif image.mode == "P" or "transparency" in image.info:
            # Taken before its pixels are read: what is hashed is what is encoded, whoever draws on it meanwhile.
            image = image.copy()
        pixels = image.tobytes()
    except (OSError, SyntaxError, ValueError) as error:
        raise MessageError(f"not a readable image: {error}") from error
    mode, size = image.mode, image.size
    profile, transparency = image.info.get("icc_profile") or None, image.info.get("transparency")
    palette = bytes(image.palette.palette) if mode == "P" and image.palette is not None else None
    plain = mode in _CHANNELS and transparency is None and 0 not in size
    key = ("pixels", format or "png", mode, size, _core.content_hash(pixels), profile, (palette, repr(transparency)))
    if plain:
        return (*key[:-1], None), lambda: _file_of_pixels(pixels, mode, size, profile, format)
    if mode != "P" and transparency is None:
        pil = require("PIL.Image", extra="transformers", feature="an image")
        return key, lambda: _saved(pil.frombytes(mode, size, pixels), format)
    return key, lambda: _saved(image, format)


def _file_of_pixels(
    pixels: bytes, mode: str, size: tuple[int, int], profile: bytes | None, format: Format | None
) -> bytes:
    if format != "jpeg":
        return _core.encode_png(pixels, *size, _CHANNELS[mode], profile)
    pil = require("PIL.Image", extra="transformers", feature="an image as JPEG")
    return _saved(pil.frombytes(mode, size, pixels), format)


def _saved(image: Any, format: Format | None) -> bytes:
    buffer = io.BytesIO()
    try:
        if format == "jpeg":
            if image.mode not in ("L", "RGB"):
                image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
            image.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
        else:
            image.save(buffer, format="PNG")
    except (OSError, SyntaxError, ValueError) as error:
        raise MessageError(f"an image that can't be written: {error}") from error
    return buffer.getvalue()


def _check_size(size: int) -> None:
    if size > _Settings.max_bytes:
        raise MessageError(
            f"an image of {size / _MIB:.1f} MiB; the limit is {_Settings.max_bytes / _MIB:.1f} MiB: make it smaller, "
            "send it as JPEG, or raise the limit with fairlead.images.configure_images(max_bytes=...)"
        )


def _decode(text: str) -> bytes:
    header, _, payload = text.partition(",") if text.startswith("data:") else ("", "", text)
    if header and not header.endswith(";base64"):
        return unquote_to_bytes(payload)
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MessageError(f"not a readable image: {error}") from error


def _is_file(text: str) -> bool:
    # A base64 image is far longer than any path may be, and asking the file system about it raises on some systems.
    try:
        return len(text) < 4096 and os.path.isfile(text)
    except (OSError, ValueError):
        return False


class _Pending:
    """A result that one thread makes and others wait for."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.value: str | None = None
        self.error: BaseException | None = None


class _Cache:
    """The most recently used texts, up to a number of bytes; each is made once, whoever asks meanwhile waits."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.reset()

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[Any, ...], str] = OrderedDict()
        self._pending: dict[tuple[Any, ...], _Pending] = {}
        self.bytes = 0

    def resize(self, limit: int) -> None:
        with self._lock:
            self.limit = limit
            self._evict()

    def peek(self, key: tuple[Any, ...]) -> str | None:
        with self._lock:
            return self._entries.get(key)

    def get(self, key: tuple[Any, ...], make: Callable[[], str]) -> str:
        with self._lock:
            if (value := self._entries.get(key)) is not None:
                self._entries.move_to_end(key)
                return value
            pending = self._pending.get(key)
            mine = pending is None
            if pending is None:
                pending = self._pending[key] = _Pending()
        if not mine:
            pending.done.wait()
            if pending.value is not None:
                return pending.value
            if isinstance(pending.error, Exception):
                raise pending.error
            return make()  # the other thread was interrupted, which isn't for this one
        try:
            pending.value = make()
        except BaseException as error:
            pending.error = error
            raise
        finally:
            with self._lock:
                self._pending.pop(key, None)
                if pending.value is not None:
                    self._entries[key] = pending.value
                    self.bytes += len(pending.value)
                    self._evict()
            pending.done.set()
        return pending.value

    def _evict(self) -> None:
        while self.bytes > self.limit:
            _, value = self._entries.popitem(last=False)
            self.bytes -= len(value)


_cache = _Cache(256 * _MIB)
if hasattr(os, "register_at_fork"):
    # A thread that was encoding doesn't exist in the child, and its lock would never be released.
    os.register_at_fork(after_in_child=_cache.reset)
