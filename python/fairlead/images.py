"""Images in messages: from whatever they are to base64 PNG or a data URL."""

from __future__ import annotations

import base64
import io
import os
from typing import Any

from fairlead._optional import require
from fairlead.errors import MessageError

__all__ = ["encode_image_base64", "make_image_url"]


def encode_image_base64(image: Any) -> str:
    """Encode an image as base64 PNG.

    Args:
        image: A PIL image, the bytes or the path of an image file, a numpy array (uint8, (H, W), (H, W, 3) or
            (H, W, 4)), a data URL, or a string that is base64 already.

    Returns:
        ASCII text without line breaks.

    Raises:
        MessageError: The object isn't an image, or an http URL (which is for the provider to fetch).
    """
    if isinstance(image, str) and not _is_file(image):
        if image.startswith("data:"):
            return image.partition(",")[2]
        if image.startswith(("http://", "https://")):
            raise MessageError("an image URL can't be encoded here; pass it as {'type': 'image_url', ...}")
        return image
    buffer = io.BytesIO()
    load_image(image).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def make_image_url(base64_image: str) -> str:
    """A data URL of a base64 PNG."""
    return f"data:image/png;base64,{base64_image}"


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
            image = base64.b64decode(image.partition(",")[2] if image.startswith("data:") else image, validate=True)
        if isinstance(image, bytes | bytearray | memoryview):
            return pil.open(io.BytesIO(image))
        if isinstance(image, str | os.PathLike):
            return pil.open(image)
        if hasattr(image, "__array_interface__"):
            return pil.fromarray(image)
    except (OSError, TypeError, ValueError) as error:
        raise MessageError(f"not a readable image: {error}") from error
    raise MessageError(f"not an image: {type(image).__name__}")


def _is_file(text: str) -> bool:
    # A base64 image is far longer than any path may be, and asking the file system about it raises on some systems.
    try:
        return len(text) < 4096 and os.path.isfile(text)
    except (OSError, ValueError):
        return False
