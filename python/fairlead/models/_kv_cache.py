"""Key-value caches of Transformers that outlive a call, and what a prompt shares with an earlier one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Any

from fairlead._core import content_hash
from fairlead.models._prefix import PrefixCache

__all__ = [
    "cache_argument",
    "crop",
    "default_limit",
    "image_key",
    "inputs_behind",
    "keeps_positions",
    "new_cache",
    "prefix_cache_of",
    "snapshot",
    "states_of",
    "takes_caches",
]

# Buffers grow by this share and at least by so many tokens, so that a step rarely copies what is there.
_GROWTH = 8
_LEAST_GROWTH = 256


@lru_cache(maxsize=1)
def _growing_layer() -> Any:
    import torch
    from transformers.cache_utils import DynamicLayer

    class GrowingLayer(DynamicLayer):
        """A layer that writes new states behind the old ones, where Transformers' copies all of them at each step.

        ``keys`` and ``values`` are views of the filled part of two buffers; whatever replaces them by other tensors
        (another order of rows) is taken up at the next update.
        """

        is_initialized: bool

        def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
            if not self.is_initialized:
                self.dtype, self.device = key_states.dtype, key_states.device
                self.keys = self._room = key_states[..., :0, :]
                self.values = self._value_room = value_states[..., :0, :]
                self.is_initialized = True
            held, new = self.keys.shape[-2], key_states.shape[-2]
            self._room = self._fit(self._room, self.keys, key_states, held + new)
            self._value_room = self._fit(self._value_room, self.values, value_states, held + new)
            self._room[..., held : held + new, :] = key_states
            self._value_room[..., held : held + new, :] = value_states
            self.keys = self._room[..., : held + new, :]
            self.values = self._value_room[..., : held + new, :]
            return self.keys, self.values

        @staticmethod
        def _fit(room: Any, filled: Any, new: Any, length: int) -> Any:
            if (
                room.shape[-2] >= length
                and room.data_ptr() == filled.data_ptr()
                and room.shape[0] == filled.shape[0]
                and room.numel()
            ):
                return room
            capacity = length + max(_LEAST_GROWTH, length // _GROWTH)
            # The next call may come outside of the inference mode that this one is in.
            with torch.inference_mode(False):
                larger = torch.empty((*new.shape[:-2], capacity, new.shape[-1]), dtype=new.dtype, device=new.device)
            larger[..., : filled.shape[-2], :] = filled
            return larger

        def copied(self, length: int) -> Any:
            """A layer of its own with the first ``length`` tokens."""
            layer = type(self)()
            if self.is_initialized:
                layer.update(self.keys[..., :length, :], self.values[..., :length, :])
            return layer

        def nbytes(self) -> int:
            """Bytes of both buffers."""
            if not self.is_initialized:
                return 0
            return sum(int(room.numel() * room.element_size()) for room in (self._room, self._value_room))

    return GrowingLayer


def new_cache(model: Any) -> Any:
    """An empty cache for a model: with layers that grow in place, if all of them are of plain attention."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    cache = DynamicCache(config=model.config)
    if cache.layers and all(type(layer) is DynamicLayer for layer in cache.layers):
        growing = _growing_layer()
        cache.layers = [growing() for _ in cache.layers]
    return cache


def _is_growing(cache: Any) -> bool:
    return bool(cache.layers) and all(type(layer) is _growing_layer() for layer in cache.layers)


def states_of(cache: Any) -> int:
    """How many tokens a cache holds states of."""
    return int(cache.get_seq_length())


def _nbytes(cache: Any) -> int:
    total = 0
    for layer in cache.layers:
        if hasattr(layer, "nbytes"):
            total += layer.nbytes()
            continue
        for value in vars(layer).values():
            values = value.values() if isinstance(value, dict) else [value]
            total += sum(int(one.numel() * one.element_size()) for one in values if hasattr(one, "element_size"))
    return total


def crop(cache: Any, length: int) -> None:
    """Forget what a cache of plain attention holds behind so many tokens."""
    surplus = states_of(cache) - length
    if surplus:
        # A negative number means in every version that so many are removed.
        cache.crop(-surplus)


def _copy(cache: Any, length: int) -> Any:
    from transformers import DynamicCache

    copied = DynamicCache()
    copied.layers = [layer.copied(length) for layer in cache.layers]
    copied.layer_class_to_replicate = None
    return copied


def takes_caches(model: Any) -> bool:
    """Whether a model takes a cache that was made for it, rather than one of a class of its own."""
    supported = getattr(model, "_supports_default_dynamic_cache", lambda: True)()
    if not supported or getattr(model.config, "is_encoder_decoder", False):
        return False
    try:
        new_cache(model)
    except Exception:
        return False
    return True


def prefix_cache_of(model: Any, limit_bytes: int) -> PrefixCache[Any] | None:
    """A prefix cache for a model; None if its states can't be carried from one call to another.

    Layers of plain attention are cropped to what two prompts have in common. Those with a window or a recurrent state
    can't go back: a copy of their states is kept as they were at the end of the prompt (see ``snapshot``), for prompts
    that continue it.
    """
    if limit_bytes <= 0 or not takes_caches(model) or keeps_positions(model):
        return None
    plain = _is_growing(new_cache(model))
    if not plain and not _continues(model):
        return None
    return PrefixCache(limit_bytes, size=_nbytes, crop=crop if plain else None, copy=_copy if plain else None)


def _continues(model: Any) -> bool:
    """Whether a text read in two parts ends where it does as a whole: some models forget recurrent states."""
    import torch

    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None) or 0
    length = 48 + (window if window <= 512 else 0)
    ids = torch.arange(length, device=model.device)[None] * 7 % min(int(config.vocab_size), 997)
    try:
        whole, parts = _both_ways(model, ids)
    except Exception:
        # Inputs or a cache that aren't understood here.
        return False
    tolerance = 1e-3 if model.dtype == torch.float32 else 5e-2
    return bool((whole - parts).abs().max() <= tolerance * whole.std().clamp(min=1e-6))


def _both_ways(model: Any, ids: Any) -> tuple[Any, Any]:
    import torch

    split = ids.shape[1] - 19
    with torch.no_grad():
        whole = model(input_ids=ids, use_cache=False).logits[0, -1].float()
        cache = new_cache(model)
        states: Any = {cache_argument(model): cache}
        model(input_ids=ids[:, :split], **states, use_cache=True)
        parts = model(input_ids=ids[:, split:], **states, use_cache=True).logits[0, -1].float()
    return whole, parts


def snapshot(model: Any, inputs: dict[str, Any], cache: Any) -> Any:
    """Read a prompt but for its last token, and copy the states; ``cache`` holds them afterwards."""
    import torch

    held, ids = states_of(cache), inputs["input_ids"]
    if ids.shape[1] - 1 > held:
        with torch.no_grad():
            states: Any = {cache_argument(model): cache}
            model(input_ids=ids[:, held:-1], **states, use_cache=True, logits_to_keep=1)
    return deepcopy(cache)


def cache_argument(model: Any) -> str:
    """What a model's forward pass calls its cache: ``cache`` since Transformers 5.24, ``past_key_values`` before."""
    # What wraps a model for an adapter passes arguments on to it.
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "cache" if "cache" in inspect.signature(type(model).forward).parameters else "past_key_values"


def keeps_positions(model: Any) -> bool:
    """Whether positions depend on a number that the model remembers from its last call, as with pictures in Qwen-VL."""
    return any(hasattr(module, "rope_deltas") for module in model.modules())


def default_limit(model: Any) -> int:
    """Bytes to keep when nobody says how many: 2 GiB, and not more than an eighth of a GPU's memory."""
    import torch

    device = getattr(model, "device", None)
    limit = 2 << 30
    if device is not None and device.type == "cuda":
        limit = min(2 * limit, int(torch.cuda.get_device_properties(device).total_memory) // 8)
    return limit


def image_key(inputs: Mapping[str, Any], ids: list[int], image_token: int | None) -> list[int] | None:
    """The prompt's tokens, with what its images show in place of their placeholders; None if that can't be told.

    Understood are prompts without images, and those with one picture of fixed size for each run of placeholders.
    """
    extra = set(inputs) - {"input_ids", "attention_mask"}
    if not extra:
        return ids
    if extra != {"pixel_values"} or image_token is None:
        return None
    pixels = inputs["pixel_values"]
    runs = _runs(ids, image_token)
    # Before version 5 Transformers drops pictures behind a prefix.
    if pixels.dim() != 4 or len(runs) != pixels.shape[0] or ids[-1] == image_token or not _takes_late_pictures():
        return None
    key = list(ids)
    for (begin, end), picture in zip(runs, pixels, strict=True):
        data = picture.detach().float().cpu().contiguous().numpy().tobytes()
        # No token has a negative id.
        key[begin:end] = [-1 - int.from_bytes(content_hash(data)[:7], "little")] * (end - begin)
    return key


def _takes_late_pictures() -> bool:
    import transformers

    return int(transformers.__version__.partition(".")[0]) >= 5


def _runs(ids: Sequence[int], token: int) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for at, one in enumerate(ids):
        if one == token:
            if runs and runs[-1][1] == at:
                runs[-1] = (runs[-1][0], at + 1)
            else:
                runs.append((at, at + 1))
    return runs


def inputs_behind(inputs: dict[str, Any], key: Sequence[int], length: int) -> dict[str, Any]:
    """The inputs of a prompt whose first ``length`` tokens have states: pictures of these aren't looked at again."""
    if length == 0 or "pixel_values" not in inputs:
        return inputs
    # A picture is a run of negative numbers, and between two of them there is a token.
    seen = sum(one < 0 and (at == 0 or key[at - 1] >= 0) for at, one in enumerate(key[:length]))
    rest = {name: value for name, value in inputs.items() if name != "pixel_values"}
    pixels = inputs["pixel_values"][seen:]
    return {**rest, "pixel_values": pixels} if len(pixels) else rest
