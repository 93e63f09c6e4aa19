"""The token bitmask of the extension module, and the memory that it takes from others."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from fairlead import TokenBitmask, allocate_token_bitmask, apply_token_bitmask
from fairlead._core import extends_token_ids, read_token_ids


def test_shape_and_memory() -> None:
    mask = allocate_token_bitmask(3, 100)
    assert isinstance(mask, TokenBitmask)
    assert mask.shape == (3, 4) and len(mask) == 3 and mask.vocab_size == 100
    assert repr(mask) == "TokenBitmask(batch=3, vocab_size=100)"
    array = mask.numpy()
    assert array.dtype == np.int32 and array.shape == (3, 4) and not array.any() and array.flags.writeable
    array[1, 2] = 7
    view = memoryview(mask)
    assert view[1, 2] == 7 and view.format == "i" and not view.readonly and view.c_contiguous
    del mask
    assert array[1, 2] == 7  # the view keeps the memory


def test_fill_ones() -> None:
    mask = TokenBitmask(2, 70)
    mask.fill_ones(1)
    assert mask.numpy().tolist() == [[0, 0, 0], [-1, -1, 63]]
    mask.fill_ones()
    assert mask.numpy()[0].tolist() == [-1, -1, 63]
    with pytest.raises(IndexError):
        mask.fill_ones(2)


def test_bad_sizes() -> None:
    with pytest.raises(ValueError, match="vocab_size"):
        allocate_token_bitmask(1, 0)
    with pytest.raises(ValueError, match="too large"):
        allocate_token_bitmask(2**40, 2**40)
    with pytest.raises(OverflowError):
        allocate_token_bitmask(-1, 10)
    assert allocate_token_bitmask(0, 10).numpy().shape == (0, 1)


def reference(logits: np.ndarray[Any, Any], words: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    bits = np.zeros(logits.shape, bool)
    for row in range(logits.shape[0]):
        for token in range(logits.shape[1]):
            if token // 32 < words.shape[1]:
                bits[row, token] = words[row, token // 32] >> (token % 32) & 1
    return np.where(bits, logits, -np.inf).astype(logits.dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("width", [1, 31, 32, 33, 100, 64])
def test_apply_to_numpy(dtype: Any, width: int) -> None:
    rng = np.random.default_rng(width)
    words = rng.integers(-(2**31), 2**31, size=(2, 2), dtype=np.int32)
    logits = rng.standard_normal((2, width)).astype(dtype)
    expected = reference(logits, words)
    own = TokenBitmask(2, 64)
    own.numpy()[:] = words
    for mask in (own, words, words.view(np.uint32)):
        got = logits.copy()
        apply_token_bitmask(got, mask)
        np.testing.assert_array_equal(got, expected)
    # Strided rows, and a single row in one dimension.
    wide = np.zeros((4, width + 5), dtype)
    wide[::2, :width] = logits
    apply_token_bitmask(wide[::2, :width], own)
    np.testing.assert_array_equal(wide[::2, :width], expected)
    assert not wide[1::2].any() and not wide[:, width:].any()
    one = logits[1].copy()
    apply_token_bitmask(one, words[1])
    np.testing.assert_array_equal(one, expected[1])


def test_apply_to_some_rows() -> None:
    logits = np.zeros((3, 40), np.float32)
    mask = TokenBitmask(3, 40)
    mask.fill_ones(2)
    apply_token_bitmask(logits, mask, [0, 2])
    assert np.isneginf(logits[0]).all() and not logits[1].any() and not logits[2].any()
    with pytest.raises(IndexError, match="row 3 is out of range"):
        apply_token_bitmask(logits, mask, [3])
    with pytest.raises(ValueError, match="logits have 2 rows, the bitmask has 3"):
        apply_token_bitmask(logits[:2], mask)


def test_what_cannot_be_used() -> None:
    mask = TokenBitmask(1, 32)
    logits = np.zeros((1, 32), np.float32)
    read_only = logits.copy()
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="logits is read-only"):
        apply_token_bitmask(read_only, mask)
    with pytest.raises(TypeError, match="float32, float16 or bfloat16"):
        apply_token_bitmask(np.zeros((1, 32)), mask)
    with pytest.raises(TypeError, match="must have elements of type float32"):
        apply_token_bitmask(np.zeros((1, 32), np.int32), mask)
    with pytest.raises(TypeError, match="must have elements of type int32"):
        apply_token_bitmask(logits, np.zeros((1, 1), np.float32))
    with pytest.raises(TypeError):
        apply_token_bitmask(np.zeros((1, 32), ">f4"), mask)
    with pytest.raises(ValueError, match="side by side"):
        apply_token_bitmask(np.zeros((1, 64), np.float32)[:, ::2], mask)
    with pytest.raises(ValueError, match="side by side"):
        apply_token_bitmask(logits[:, ::-1], mask)
    with pytest.raises(ValueError, match="one or two dimensions"):
        apply_token_bitmask(np.zeros((1, 1, 32), np.float32), mask)
    with pytest.raises(ValueError, match="overlap"):
        apply_token_bitmask(np.lib.stride_tricks.as_strided(logits, (2, 16), (4, 4)), TokenBitmask(2, 16))
    with pytest.raises(ValueError, match="share memory"):
        apply_token_bitmask(mask.numpy().view(np.float32), mask)
    with pytest.raises(TypeError, match="not list"):
        apply_token_bitmask([0.0], mask)
    with pytest.raises(TypeError):
        apply_token_bitmask(logits, None)


def test_torch() -> None:
    torch = pytest.importorskip("torch")
    words = torch.tensor([[5, -1], [2, 0]], dtype=torch.int32)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        logits = torch.randn(2, 40).to(dtype)
        bits = torch.from_numpy(np.unpackbits(words.numpy().view(np.uint8), axis=1, bitorder="little")[:, :40])
        expected = logits.masked_fill(bits == 0, float("-inf"))
        got = logits.clone()
        apply_token_bitmask(got, words)
        assert torch.equal(got, expected)
        # Rows of a wider tensor, as prompt lookup hands them out.
        wide = torch.zeros(2, 50, dtype=dtype)
        wide[:, :40] = logits
        apply_token_bitmask(wide[:, :40], words.numpy())
        assert torch.equal(wide[:, :40], expected) and not wide[:, 40:].any()
    shared = TokenBitmask(2, 40)
    shared.numpy()[:] = words.numpy()
    assert torch.equal(torch.frombuffer(shared, dtype=torch.int32).view(2, 2), words)
    with pytest.raises(ValueError, match="side by side"):
        apply_token_bitmask(torch.zeros(40, 2).T, words)
    with pytest.raises(TypeError, match=r"torch\.float64"):
        apply_token_bitmask(torch.zeros(2, 40, dtype=torch.float64), words)
    with pytest.raises(ValueError, match="another device"):
        apply_token_bitmask(torch.zeros(2, 40, device="meta"), words)


def test_token_ids() -> None:
    torch = pytest.importorskip("torch")
    ids = torch.arange(12).view(2, 6)
    assert read_token_ids(ids, 4) == [[4, 5], [10, 11]]
    assert read_token_ids(ids[:, :5], 4) == [[4], [10]]
    assert read_token_ids(ids.int(), 6) == read_token_ids(ids, 7) == [[], []]
    assert read_token_ids(ids.numpy(), 5) == [[5], [11]]
    assert extends_token_ids(ids, ids[:, :3]) and extends_token_ids(ids, ids) and extends_token_ids(ids, ids[:, :0])
    assert not extends_token_ids(ids[:, :3], ids) and not extends_token_ids(ids, ids[:1])
    assert not extends_token_ids(ids, ids[:, :3].flip(0))
    with pytest.raises(TypeError, match="int64 or int32"):
        read_token_ids(torch.zeros(1, 2), 0)


def test_threads_read_one_mask_at_once() -> None:
    mask = TokenBitmask(1, 50_000)
    mask.fill_ones()
    barrier = threading.Barrier(4)
    failures: list[Exception] = []

    def work() -> None:
        logits = np.zeros((1, 50_000), np.float32)
        barrier.wait()
        try:
            for _ in range(200):
                apply_token_bitmask(logits, mask)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
