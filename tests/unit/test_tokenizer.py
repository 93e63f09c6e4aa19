from __future__ import annotations

import gc
import pickle
import threading
import time
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from fairlead.errors import TokenizerError
from fairlead.tokenizer import TokenizerInfo
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from tests import tiny


def test_constructor() -> None:
    info = TokenizerInfo([b"a", "é", None, "", "<x>", b"\xff"], vocab_size=8, stop_token_ids=[2], special_token_ids=[4])
    assert info.vocab_size == 8
    assert info.decoded_vocab == [b"a", "é".encode(), None, None, None, b"\xff", None, None]
    assert info.decoded_vocab is info.decoded_vocab
    assert info.stop_token_ids == [2]
    assert info.special_token_ids == [2, 4]
    assert info.token_bytes(1) == b"\xc3\xa9"
    assert info.decode([0, 2, 1, 4, 7]) == "aé".encode()
    assert not info.strips_leading_space
    assert repr(info) == "TokenizerInfo(vocab_size=8, stop_token_ids=[2])"


def test_vocabulary_is_cut_where_the_model_has_no_logits() -> None:
    info = TokenizerInfo([b"a", b"b", b"c"], vocab_size=2, stop_token_ids=1, special_token_ids=[2])
    assert info.decoded_vocab == [b"a", None]
    assert info.special_token_ids == [1]
    with pytest.raises(TokenizerError, match="stop token id 2 is outside"):
        TokenizerInfo([b"a", b"b", b"c"], vocab_size=2, stop_token_ids=[2])


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        ([], {}, "empty"),
        ([b"a", 3], {}, "token 1 is a int"),
        (["\ud800"], {}, "surrogate"),
        ([b"a"], {"vocab_size": 0}, "positive"),
        ([b"a"], {"vocab_size": "8"}, "positive"),
        ([b"a"], {"stop_token_ids": [1]}, "stop token id 1 is outside"),
        ([b"a"], {"stop_token_ids": [-1]}, "outside"),
        ([b"a"], {"stop_token_ids": [0.0]}, "integer"),
        ([b"a"], {"special_token_ids": [5]}, "special token id 5"),
    ],
)
def test_bad_vocabularies(tokens: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message) as caught:
        TokenizerInfo(tokens, **options)
    assert isinstance(caught.value, ValueError)


def test_ids_out_of_range() -> None:
    info = TokenizerInfo([b"a"], stop_token_ids=[])
    for i in (-1, 1):
        with pytest.raises(IndexError):
            info.token_bytes(i)
        with pytest.raises(IndexError):
            info.decode([i])


def test_vocabulary_is_made_once() -> None:
    info = TokenizerInfo([b"a", b"b", None], stop_token_ids=[2])
    seen: list[Any] = []
    threads = [threading.Thread(target=lambda: seen.append(info.vocabulary)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(vocabulary is info.vocabulary for vocabulary in seen)
    assert info.vocabulary.vocab_size == 3
    assert list(info.vocabulary.stop_token_ids) == [2]
    assert info.vocabulary.token_bytes(1) == b"b"


def test_pickle() -> None:
    info = TokenizerInfo.from_huggingface(tiny.byte_fallback_bpe())
    again = pickle.loads(pickle.dumps(info))
    assert again.decoded_vocab == info.decoded_vocab
    assert (again.stop_token_ids, again.special_token_ids) == (info.stop_token_ids, info.special_token_ids)
    assert again.strips_leading_space is info.strips_leading_space is True


def test_byte_level() -> None:
    tokenizer = tiny.byte_level_bpe(added=(tiny.added_token("<tool>"), tiny.added_token("<think>", special=True)))
    info = TokenizerInfo.from_huggingface(tokenizer)
    single = {token for token in info.decoded_vocab if token is not None and len(token) == 1}
    assert len(single) == 256
    assert info.decode(tokenizer.encode("naïve 東京 😀")) == "naïve 東京 😀".encode()
    assert info.token_bytes(tokenizer.convert_tokens_to_ids("<tool>")) == b"<tool>"
    for name in ("<think>", "</s>", "<unk>", "<pad>"):
        i = tokenizer.convert_tokens_to_ids(name)
        assert info.token_bytes(i) is None
        assert i in info.special_token_ids
    assert info.stop_token_ids == [tokenizer.eos_token_id]


def test_byte_fallback() -> None:
    tokenizer = tiny.byte_fallback_bpe()
    info = TokenizerInfo.from_huggingface(tokenizer)
    assert info.token_bytes(tokenizer.convert_tokens_to_ids("<0xE6>")) == b"\xe6"
    marked = {piece: i for piece, i in tokenizer.get_vocab().items() if "▁" in piece}
    assert marked
    assert all(info.token_bytes(i) == piece.replace("▁", " ").encode() for piece, i in marked.items())
    assert info.decode(tokenizer.encode("the 東京", add_special_tokens=False)) == " the 東京".encode()
    assert info.strips_leading_space
    assert not TokenizerInfo.from_huggingface(tiny.byte_fallback_bpe(strip=False)).strips_leading_space


def test_metaspace_and_word_suffix() -> None:
    unigram = tiny.metaspace_unigram()
    info = TokenizerInfo.from_huggingface(unigram)
    assert info.decode(unigram.encode("the dog")) == b" the dog"
    assert (info.strips_leading_space, info.strips_trailing_space) == (True, False)
    suffix = tiny.word_suffix_bpe()
    info = TokenizerInfo.from_huggingface(suffix)
    assert info.decode(suffix.encode("the dog")) == b"the dog "
    assert (info.strips_leading_space, info.strips_trailing_space) == (False, True)


def _with(change: str) -> Any:
    tokenizer = tiny.byte_fallback_bpe()
    backend = tokenizer.backend_tokenizer
    if change == "no decoder":
        backend.decoder = None
    elif change == "ctc":
        backend.decoder = decoders.CTC()
    elif change == "replace after fuse":
        backend.decoder = decoders.Sequence([decoders.Fuse(), decoders.Replace(Regex(" +"), " ")])
    elif change == "python decoder":

        class Join:
            def decode_chain(self, tokens: list[str]) -> list[str]:
                return tokens

        backend.decoder = decoders.Decoder.custom(Join())
    elif change == "own decode":

        class Shouting(type(tokenizer)):  # type: ignore[misc]
            def decode(self, *args: Any, **kwargs: Any) -> str:
                return str(super().decode(*args, **kwargs)).upper()

        tokenizer.__class__ = Shouting
    return tokenizer


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (tiny.wordpiece, "WordPiece"),
        (lambda: _with("no decoder"), "no decoder"),
        (lambda: _with("ctc"), "CTC"),
        (lambda: _with("replace after fuse"), "Replace works on the whole text"),
        (lambda: _with("python decoder"), "custom code"),
        (lambda: _with("own decode"), "another text"),
        (lambda: tiny.word_suffix_bpe(decoder=decoders.Fuse()), "suffix '</w>'"),
        (lambda: SimpleNamespace(get_vocab=dict, eos_token_id=0), "fast variant"),
    ],
    ids=["wordpiece", "no decoder", "ctc", "late replace", "python decoder", "own decode", "suffix", "slow"],
)
def test_tokens_without_bytes_of_their_own_are_refused(make: Any, why: str) -> None:
    with pytest.raises(TokenizerError, match=why):
        TokenizerInfo.from_huggingface(make())


@pytest.mark.parametrize(
    ("normalizer", "why"),
    [
        (normalizers.Lowercase(), "folds case"),
        (normalizers.BertNormalizer(lowercase=True), "folds case"),
        (normalizers.NFKC(), "NFKC"),
        (normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]), "accents"),
        (normalizers.Replace("a", "b"), "ASCII"),
    ],
    ids=["lowercase", "bert", "nfkc", "accents", "replace"],
)
def test_vocabularies_of_normalised_text_are_refused(normalizer: Any, why: str) -> None:
    tokenizer = tiny.metaspace_unigram(normalizer=normalizer)
    with pytest.raises(TokenizerError, match=why):
        TokenizerInfo.from_huggingface(tokenizer)
    # The bytes of its tokens are exact all the same.
    info = TokenizerInfo.from_huggingface(tokenizer, allow_normalized=True)
    assert info.decode(tokenizer.encode("the dog")).strip() == tokenizer.decode(tokenizer.encode("the dog")).encode()


@pytest.mark.parametrize("normalizer", [normalizers.NFC(), normalizers.NFKC(), normalizers.Lowercase()])
def test_a_normaliser_does_no_harm_where_every_byte_has_a_token(normalizer: Any) -> None:
    info = TokenizerInfo.from_huggingface(tiny.byte_level_bpe(normalizer=normalizer))
    assert b"A" in info.decoded_vocab


def test_markers_and_nfc_are_no_normalised_text() -> None:
    for normalizer in (normalizers.NFC(), normalizers.Replace(" ", "▁"), normalizers.Strip()):
        TokenizerInfo.from_huggingface(tiny.metaspace_unigram(normalizer=normalizer))


def test_stop_ids_of_tokenizer_and_model() -> None:
    tokenizer = tiny.byte_level_bpe()
    eom = tokenizer.convert_tokens_to_ids("<|eom|>")
    text = SimpleNamespace(vocab_size=len(tokenizer) + 9)
    config = SimpleNamespace(get_text_config=lambda decoder: text)
    model = SimpleNamespace(
        config=config, generation_config=SimpleNamespace(eos_token_id=[eom, tokenizer.eos_token_id])
    )
    info = TokenizerInfo.from_huggingface(tokenizer, model=model)
    assert info.stop_token_ids == [eom, tokenizer.eos_token_id]
    assert info.vocab_size == len(tokenizer) + 9
    assert info.decoded_vocab[-9:] == [None] * 9
    model.generation_config.eos_token_id = eom
    assert TokenizerInfo.from_huggingface(tokenizer, model=model).stop_token_ids == [eom, tokenizer.eos_token_id]
    assert TokenizerInfo.from_huggingface(tokenizer, stop_token_ids=eom, model=model).stop_token_ids == [eom]
    # A stop token has no text, whatever its spelling.
    letter = tokenizer.convert_tokens_to_ids("a")
    info = TokenizerInfo.from_huggingface(tokenizer, stop_token_ids=[letter])
    assert info.token_bytes(letter) is None


def test_no_stop_id_is_an_error() -> None:
    tokenizer = tiny.byte_level_bpe()
    with pytest.raises(TokenizerError, match="stop_token_ids"):
        TokenizerInfo.from_huggingface(tokenizer.backend_tokenizer)
    assert TokenizerInfo.from_huggingface(tokenizer.backend_tokenizer, stop_token_ids=[2]).stop_token_ids == [2]
    # Its only stop id lies beyond the logits.
    with pytest.raises(TokenizerError, match="stop_token_ids"):
        TokenizerInfo.from_huggingface(tokenizer, vocab_size=2)


def test_holes_in_the_ids() -> None:
    vocab = {"a": 0, "b": 1, "</s>": 3, "c": 7}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="</s>"))
    backend.decoder = decoders.Fuse()
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    info = TokenizerInfo.from_huggingface(backend, stop_token_ids=[3])
    assert info.decoded_vocab == [b"a", b"b", None, None, None, None, None, b"c"]


def test_a_processor_stands_for_its_tokenizer() -> None:
    tokenizer = tiny.byte_level_bpe()
    processor = SimpleNamespace(tokenizer=tokenizer, image_processor=object())
    assert TokenizerInfo.from_huggingface(processor) is TokenizerInfo.from_huggingface(tokenizer)


def test_cache_lives_as_long_as_the_tokenizer() -> None:
    tokenizer = tiny.byte_level_bpe()
    info = TokenizerInfo.from_huggingface(tokenizer)
    assert TokenizerInfo.from_huggingface(tokenizer) is info
    assert TokenizerInfo.from_huggingface(tokenizer, vocab_size=len(tokenizer) + 1) is not info
    tokenizer.add_tokens(["<new>"])
    grown = TokenizerInfo.from_huggingface(tokenizer)
    assert grown.vocab_size == info.vocab_size + 1
    alive = weakref.ref(tokenizer)
    del tokenizer
    gc.collect()
    assert alive() is None
    assert info.decode([10]) == grown.decode([10])


def test_tiktoken() -> None:
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([i]): i for i in range(256)} | {b"ab": 256, b"\xe6\x9d": 300}
    special = {"<|endoftext|>": 310, "<|im_end|>": 311}
    encoding = tiktoken.Encoding("tiny", pat_str=r"\w+|\W", mergeable_ranks=ranks, special_tokens=special)
    info = TokenizerInfo.from_tiktoken(encoding)
    assert info.vocab_size == 312
    assert info.stop_token_ids == [310]
    assert info.special_token_ids == [310, 311]
    assert info.token_bytes(256) == b"ab"
    assert info.token_bytes(300) == b"\xe6\x9d"
    assert info.token_bytes(299) is None
    bare = tiktoken.Encoding("bare", pat_str=r"\w+|\W", mergeable_ranks=ranks, special_tokens={})
    with pytest.raises(TokenizerError, match="stop_token_ids"):
        TokenizerInfo.from_tiktoken(bare)
    assert TokenizerInfo.from_tiktoken(bare, stop_token_ids=[299]).stop_token_ids == [299]
    with pytest.raises(TokenizerError, match=r"no tiktoken\.Encoding"):
        TokenizerInfo.from_tiktoken(object())


def test_mistral() -> None:
    tekken = tiny.mistral_vocabulary("tekken")
    info = TokenizerInfo.from_mistral(tekken)
    inner = tekken.instruct_tokenizer.tokenizer
    assert info is TokenizerInfo.from_mistral(inner) is TokenizerInfo.from_huggingface(tekken)
    assert info.vocab_size == 131_072
    assert info.stop_token_ids == [inner.eos_id]
    assert len(info.special_token_ids) == 1000
    assert {token for token in info.decoded_vocab if token and len(token) == 1} == {bytes([i]) for i in range(256)}
    pieces = TokenizerInfo.from_mistral(tiny.mistral_vocabulary("sentencepiece"))
    assert pieces.vocab_size == 32_768
    assert pieces.strips_leading_space
    assert pieces.token_bytes(0) is None
    assert b"\xff" in pieces.decoded_vocab
    with pytest.raises(TokenizerError, match="mistral-common"):
        TokenizerInfo.from_mistral(object())


def test_mlx_and_vllm_wrappers() -> None:
    tokenizer = tiny.byte_level_bpe()
    wrapper = SimpleNamespace(_tokenizer=tokenizer, eos_token_ids={4, tokenizer.eos_token_id})
    assert TokenizerInfo.from_mlx(wrapper).stop_token_ids == sorted({4, tokenizer.eos_token_id})
    assert TokenizerInfo.from_vllm(tokenizer) is TokenizerInfo.from_huggingface(tokenizer)
    mistral = SimpleNamespace(mistral=tiny.mistral_vocabulary("sentencepiece"))
    assert TokenizerInfo.from_vllm(mistral).vocab_size == 32_768


def test_the_wrappers_themselves() -> None:
    tokenizer_utils = pytest.importorskip("mlx_lm.tokenizer_utils")
    tokenizer = tiny.byte_level_bpe()
    wrapper = tokenizer_utils.TokenizerWrapper(tokenizer, eos_token_ids=[4])
    assert TokenizerInfo.from_mlx(wrapper).stop_token_ids == sorted({4, tokenizer.eos_token_id})


def test_mistral_in_transformers() -> None:
    mistral = pytest.importorskip("transformers.tokenization_mistral_common")
    data = tiny.mistral_vocabulary("tekken").instruct_tokenizer.tokenizer.file_path
    backend = mistral.MistralCommonBackend(tokenizer_path=str(data))
    info = TokenizerInfo.from_huggingface(backend)
    assert info.vocab_size == 131_072
    assert info.stop_token_ids == [backend.eos_token_id]


def test_a_large_vocabulary_is_read_in_no_time() -> None:
    inner = tiny.mistral_vocabulary("tekken").instruct_tokenizer.tokenizer
    alphabet = {byte: chr(code) for code, byte in _alphabet().items()}
    vocab = {"".join(alphabet[b] for b in inner.id_to_byte_piece(i)): i for i in range(1000, inner.n_words)}
    backend = Tokenizer(models.BPE(vocab, []))
    backend.decoder = decoders.ByteLevel()
    start = time.perf_counter()
    info = TokenizerInfo.from_huggingface(backend, stop_token_ids=[2])
    seconds = time.perf_counter() - start
    assert info.decoded_vocab[1000:] == TokenizerInfo.from_mistral(inner).decoded_vocab[1000:]
    # A quarter of a second on a slow machine; the bound is loose because others may use it at the same time.
    assert seconds < 3


def _alphabet() -> dict[int, int]:
    from fairlead.tokenizer._decoder import _byte_alphabet

    return _byte_alphabet()
