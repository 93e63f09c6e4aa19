"""A tiny Transformers model with random weights, made on the spot."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fairlead._optional import require

__all__ = ["tiny_model_dir"]

# Part of the name of the cached folder: raise it when what is made here changes.
_VERSION = 1

_END = "<|end|>"
_SPECIAL = ["<|begin|>", _END, "<|system|>", "<|user|>", "<|assistant|>", "<|pad|>"]

_TEMPLATE = """\
{{- bos_token -}}
{%- if tools -%}
<|system|>Tools:
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|end|>
{%- endif -%}
{%- for message in messages -%}
{{- '<|' ~ message['role'] ~ '|>' -}}
{%- if message['content'] is string -%}{{- message['content'] -}}
{%- else -%}{%- for part in message['content'] or [] -%}{{- part['text'] -}}{%- endfor -%}
{%- endif -%}
<|end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}
"""

# What the tokenizer learns from. The words of JSON, Python and of agents' prompts become tokens of their own.
_TEXT = """
A fairlead guides a rope: it keeps the line in its lane, so that it runs freely and never chafes where it turns.
The harbour master wrote the name of every vessel, its length, its flag and its cargo into the book by the door.
"Which berth is free tonight?" asked the pilot. "Number seven," said the clerk, "but mind the tide at half past two."
Answer with a JSON object: {"name": "Anna", "age": 42, "tags": ["red", "green"], "address": {"city": "Oslo"}}
[{"id": 1, "price": 9.99, "ok": true}, {"id": 2, "price": 120.5, "ok": false, "note": null}]
{"type": "object", "properties": {"title": {"type": "string"}, "items": {"type": "array"}}, "required": ["title"]}
def final_answer(value): return value
for index, item in enumerate(items): print(index, item["name"])
import json; data = json.loads(text); total = sum(row["price"] for row in data if row["ok"])
Thought: I should look at the table first, and then call the tool. <code>
answer = 6 * 7
final_answer(answer)
</code>
Observation: the weather is fine. Calling tools: [{"id": "call_1", "type": "function", "function": {"name": "search"}}]
The quick brown fox jumps over the lazy dog while five boxing wizards jump quickly past the jolly vexed king.
Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. Voix ambiguë d'un cœur qui préfère les jattes de kiwis.
В чащах юга жил бы цитрус? Да, но фальшивый экземпляр! 今日はとても良い天気ですね。 海は広いな大きいな。
numbers 0 1 2 3 4 5 6 7 8 9 10 11 12 20 42 99 100 128 256 365 1000 1024 2025 3.14 2.718 -1 +1 1e6
monday tuesday wednesday thursday friday saturday sunday january february march april may june july august
"""


def tiny_model_dir(path: str | os.PathLike[str] | None = None, *, head_dim: int = 16) -> Path:
    """A folder with a tiny Llama model: random weights, a byte-level BPE tokenizer, a chat template.

    Nothing is downloaded. It is made in a few seconds the first time and kept in the user's cache folder
    (``$XDG_CACHE_HOME`` or ``~/.cache``, else a temporary one).

    Args:
        path: Where to make it; the folder must not exist, or have been made by this function. Default: the cache.
        head_dim: Width of an attention head. Default 16; vLLM on a CPU needs 32.

    Returns:
        The folder, for ``TransformersModel(str(folder))``.

    Raises:
        MissingDependencyError: torch, transformers or tokenizers isn't installed.
        FileExistsError: ``path`` exists and holds something else.
    """
    target = _cache_dir(head_dim) if path is None else Path(path)
    if _is_made(target):
        return target
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} exists and isn't a tiny model")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Made beside the target and moved there whole: two processes may do this at once.
    scratch = Path(tempfile.mkdtemp(prefix=".tiny-", dir=target.parent))
    try:
        _make(scratch, head_dim)
        scratch.chmod(0o755)
        try:
            if target.exists():
                target.rmdir()
            scratch.rename(target)
        except OSError:
            if not _is_made(target):
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _cache_dir(head_dim: int) -> Path:
    # Another major version of Transformers may not read what this one writes.
    try:
        major = version("transformers").partition(".")[0]
    except PackageNotFoundError:
        major = ""
    digest = hashlib.sha256(f"{_VERSION}/{major}/{_TEMPLATE}{_TEXT}".encode()).hexdigest()[:12]
    name = f"tiny-{digest}" if head_dim == 16 else f"tiny-{digest}-{head_dim}"
    bases = [os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"), tempfile.gettempdir()]
    for base in bases:
        folder = Path(base) / "fairlead"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder / name
    return Path(tempfile.mkdtemp(prefix="fairlead-")) / name


def _is_made(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("config.json", "model.safetensors", "tokenizer.json"))


def _make(folder: Path, head_dim: int) -> None:
    feature = "a tiny model"
    torch = require("torch", extra="transformers", feature=feature)
    transformers = require("transformers", extra="transformers", feature=feature)
    tokenizer = _tokenizer(transformers)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=head_dim,
        max_position_embeddings=8192,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        # Larger than usual: weights close to zero would repeat one token for ever.
        initializer_range=0.4,
        tie_word_embeddings=False,
    )
    # The caller's random state stays as it is.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        model = transformers.LlamaForCausalLM(config)
    model.generation_config.do_sample = False
    shown = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    try:
        model.save_pretrained(folder)
    finally:
        if shown:
            transformers.logging.enable_progress_bar()
    tokenizer.save_pretrained(folder)


def _tokenizer(transformers: Any) -> Any:
    tokenizers = require("tokenizers", extra="transformers", feature="a tiny model")
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=_SPECIAL,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_TEXT.splitlines(keepends=True), trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<|begin|>", eos_token=_END, pad_token="<|pad|>", model_max_length=8192
    )
    tokenizer.chat_template = _TEMPLATE
    return tokenizer
