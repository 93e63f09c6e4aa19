"""Load what Transformers runs from a folder or the Hub: whole models, quantised ones, and adapters on a base."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fairlead._optional import require
from fairlead.errors import ConfigurationError

__all__ = ["load_checkpoint"]


def load_checkpoint(
    model_id: str,
    *,
    device: str | dict[str, Any] | None,
    dtype: Any,
    trust_remote_code: bool,
    options: Mapping[str, Any],
    feature: str,
) -> tuple[Any, Any]:
    """A model, and its tokenizer or, if it takes images, its processor.

    Args:
        model_id: A folder, or a name on the Hugging Face Hub; of an adapter too, which is then put on its base.
        device: As Transformers' ``device_map``; None for a GPU if there is one.
        dtype: As Transformers' ``dtype``.
        trust_remote_code: Run code that comes with the model.
        options: More arguments for ``from_pretrained``.
        feature: What needs it, for error messages.

    Raises:
        MissingDependencyError: torch or transformers isn't installed; or peft, for an adapter.
        ConfigurationError: The model can't be loaded.
    """
    torch = require("torch", extra="transformers", feature=feature)
    transformers = require("transformers", extra="transformers", feature=feature)
    _need_folder(model_id)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    source = {"trust_remote_code": trust_remote_code, **_hub_options(options)}
    arguments: dict[str, Any] = {"trust_remote_code": trust_remote_code, **options}
    if dtype is not None:
        arguments[_dtype_argument(transformers)] = dtype
    # Without accelerate a model can still be loaded whole and moved.
    mapped = not isinstance(device, str) or device == "auto" or find_spec("accelerate") is not None
    if mapped:
        arguments["device_map"] = device
    try:
        config, base = _read_config(transformers, model_id, source)
        if base is not None:
            require("peft", extra="adapters", feature=f"the adapter {model_id!r}")
        images = _takes_images(transformers, config)
        auto = transformers.AutoModelForImageTextToText if images else transformers.AutoModelForCausalLM
        model = auto.from_pretrained(model_id, **arguments)
        reader = transformers.AutoProcessor if images else transformers.AutoTokenizer
        try:
            processor = reader.from_pretrained(model_id, **source)
        except (OSError, ValueError):
            # Adapters often come without one.
            if base is None:
                raise
            processor = reader.from_pretrained(base, trust_remote_code=trust_remote_code)
    except ImportError:
        raise
    except Exception as error:
        raise ConfigurationError(f"Failed to load tokenizer and model for model_id={model_id!r}: {error}") from error
    return model if mapped else model.to(device), processor


def _read_config(transformers: Any, model_id: str, source: Mapping[str, Any]) -> tuple[Any, str | None]:
    """The configuration of a model; for an adapter that of its base, and the base's name."""
    try:
        return transformers.AutoConfig.from_pretrained(model_id, **source), None
    except (OSError, ValueError):
        where = {name: value for name, value in source.items() if name != "trust_remote_code"}
        found = transformers.utils.find_adapter_config_file(model_id, **where)
        if found is None:
            raise
        base = json.loads(Path(found).read_text(encoding="utf-8")).get("base_model_name_or_path")
        if not isinstance(base, str):
            raise
        trust = source["trust_remote_code"]
        return transformers.AutoConfig.from_pretrained(base, trust_remote_code=trust), base


def _dtype_argument(transformers: Any) -> str:
    # Renamed in 4.56; the old name warns since.
    major, minor = (int(part) for part in transformers.__version__.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"


def _hub_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those arguments that say where files come from; tokenizer and config need the same."""
    names = ("revision", "token", "cache_dir", "local_files_only", "subfolder")
    return {name: options[name] for name in names if name in options}


def _need_folder(model_id: str) -> None:
    """Tell a mistyped path from a name on the Hub, which has one slash at most."""
    looks_like_path = (
        model_id.startswith((".", "/", "~")) or model_id.count("/") > 1 or (os.sep != "/" and os.sep in model_id)
    )
    if looks_like_path and not os.path.isdir(model_id):
        raise ConfigurationError(f"Failed to load tokenizer and model for model_id={model_id!r}: no such folder")


def _takes_images(transformers: Any, config: Any) -> bool:
    if type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return True
    return "AutoModelForImageTextToText" in (getattr(config, "auto_map", None) or {})
