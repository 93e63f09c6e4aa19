"""Tiny tokenizers and models with random weights, made on the spot: nothing is downloaded and all of it takes seconds.

Each tokenizer is a real one of its kind: a Transformers fast tokenizer over a vocabulary trained on a few sentences.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CORPUS = [
    '{"name": "Ada Lovelace", "age": 36, "tags": ["math", "poetry"], "active": true, "note": null}',
    '{"a":"x","b":[true,false],"c":{"d":-1.5e3,"e":"caf\\u00e9"}}',
    "The quick brown fox jumps over the lazy dog, and the dog doesn't mind at all; why should it?",
    "Grüße aus Köln, naïve façade, 東京都, привет мир, 😀👍🏽 and some more text\n\tfor the merges.",
    "x = [i for i in range(10) if i % 2 == 0]  # a comment </code>\nprint('hello world')",
] * 4
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<|eom|>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] "
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


def wrap(tokenizer: Tokenizer, **options: Any) -> Any:
    """A Transformers tokenizer around a ``tokenizers.Tokenizer`` that has the tokens of SPECIAL."""
    from transformers import PreTrainedTokenizerFast

    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", **options}
    out = PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **names)
    out.chat_template = CHAT_TEMPLATE
    return out


def byte_level_bpe(vocab_size: int = 600, *, normalizer: Any = None, added: tuple[Any, ...] = ()) -> Any:
    """GPT-2's kind: every byte has a token, spelled in the byte-level alphabet."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    for token in added:
        tokenizer.add_tokens([token])
    return wrap(tokenizer)


def byte_fallback_bpe(vocab_size: int = 400, *, strip: bool = True) -> Any:
    """Llama's and Gemma's kind: sentencepiece markers for spaces, ``<0xXX>`` tokens for what has no piece."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
    # Some characters have no piece, so that the fallback is used.
    pieces = [piece for piece in pieces if piece not in "東京都😀"]
    spelled = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    vocab = {piece: i for i, piece in enumerate(spelled)}
    merges = [tuple(merge) for merge in model["merges"] if "".join(merge) in vocab and all(m in vocab for m in merge)]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strip else steps)
    tokenizer.add_special_tokens(SPECIAL)
    return wrap(tokenizer)


def metaspace_unigram(vocab_size: int = 300, *, normalizer: Any = None) -> Any:
    """T5's kind: a Unigram model whose pieces carry the marker of a space; characters without a piece are lost."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return wrap(tokenizer)


def word_suffix_bpe(vocab_size: int = 400, *, decoder: Any = None) -> Any:
    """The first GPT's kind: ``</w>`` at the end of a word."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoder or decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return wrap(tokenizer)


def wordpiece(vocab_size: int = 400) -> Any:
    """BERT's kind: ``##`` inside words, spaces by the rules of the decoder."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return wrap(tokenizer)


def regex_replace_bpe() -> Any:
    """A decoder that replaces by a regular expression, token by token."""
    tokenizer = byte_fallback_bpe(strip=False).backend_tokenizer
    steps = [decoders.Replace(Regex("▁+"), " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps)
    return wrap(tokenizer)


def added_token(text: str, *, special: bool = False) -> Any:
    """A token that is added to a vocabulary after training."""
    return AddedToken(text, special=special, normalized=False)


@cache
def mistral_vocabulary(name: str) -> Any:
    """A real vocabulary that ships with mistral-common: ``"tekken"`` (131,072 ids) or ``"sentencepiece"`` (32,768)."""
    import mistral_common
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    data = Path(mistral_common.__file__).parent / "data"
    pattern = {"tekken": "tekken_2409*.json", "sentencepiece": "*.model.v3"}[name]
    return MistralTokenizer.from_file(str(next(data.glob(pattern))))


def llama(tokenizer: Any, *, vocab_size: int | None = None, layers: int = 2, seed: int = 0, **config: Any) -> Any:
    """A LlamaForCausalLM with random weights, float32, on the CPU.

    Args:
        tokenizer: Gives the vocabulary's size and the special ids.
        vocab_size: Width of the logits, if larger than the vocabulary (padding).
        layers: Number of layers, each 32 wide.
        seed: Of the weights.
        config: More of LlamaConfig.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    settings = {"max_position_embeddings": 4096, **ids, **config}
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size or len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=2,
            **settings,
        )
    )
    with torch.no_grad():
        # The initial weights are so small that every token would be as likely as any other.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    return model.eval()
