from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fairlead import bitmask as bm
from fairlead.bitmask import numpy as bnp

torch = pytest.importorskip("torch")
SIZES = [1, 31, 32, 33, 1000, 1024]


def random_rows(batch: int, vocab: int, seed: int = 0) -> tuple[Any, Any]:
    """Booleans and their bitmask in our own memory."""
    allowed = np.random.default_rng(seed).random((batch, vocab)) < 0.3
    own = bm.allocate_token_bitmask(batch, vocab)
    np.asarray(own)[:] = bnp.from_bool(allowed)
    return allowed, own


@pytest.mark.parametrize("vocab", SIZES)
def test_bits_there_and_back(vocab: int) -> None:
    allowed, own = random_rows(3, vocab)
    assert own.shape == (3, -(-vocab // 32))
    assert np.array_equal(bm.to_bool(own, vocab), allowed)
    assert np.array_equal(bm.to_bool(np.asarray(own)[1], vocab), allowed[1:2])
    from fairlead.bitmask import torch as bt

    assert np.array_equal(bt.to_bool(own, vocab).numpy(), allowed)
    assert not bt.to_bool(own, 2048)[:, 1024:].any()
    assert bt.as_tensor(own).data_ptr() == np.asarray(own).ctypes.data
    with pytest.raises(ValueError, match="no bits for"):
        bm.to_bool(own, 1025 + vocab)
    with pytest.raises(TypeError, match="int32"):
        bm.to_bool(np.zeros((1, 4)), 8)
    with pytest.raises(TypeError, match="int32"):
        bt.to_bool(torch.zeros(1, 4), 8)


def test_reset() -> None:
    own = bm.allocate_token_bitmask(2, 40)
    assert not bm.to_bool(own, 40).any()
    bm.reset_token_bitmask(own)
    assert bm.to_bool(own, 40).all()
    words = np.zeros((2, 2), dtype=np.int32)
    bm.reset_token_bitmask(words)
    assert (words == -1).all()
    tensor = torch.zeros(2, 2, dtype=torch.int32)
    bm.reset_token_bitmask(tensor)
    assert (tensor == -1).all()


@pytest.mark.parametrize("vocab", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_numpy(vocab: int, dtype: Any) -> None:
    allowed, own = random_rows(3, vocab)
    logits = np.random.default_rng(1).standard_normal((3, vocab)).astype(dtype)
    expected = np.where(allowed, logits, dtype(-np.inf))
    bm.apply_token_bitmask_inplace(logits, own)
    assert np.array_equal(logits, expected)


@pytest.mark.parametrize("vocab", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("mask", ["own", "numpy", "torch"])
def test_torch(vocab: int, dtype: Any, mask: str) -> None:
    allowed, own = random_rows(3, vocab)
    given: Any = {"own": own, "numpy": np.asarray(own), "torch": torch.from_numpy(np.array(own))}[mask]
    logits = torch.randn(3, vocab).to(dtype)
    expected = logits.masked_fill(~torch.from_numpy(allowed), float("-inf"))
    bm.apply_token_bitmask_inplace(logits, given)
    assert torch.equal(logits, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_rows_and_layouts(dtype: Any) -> None:
    allowed, own = random_rows(4, 100)
    keep = torch.from_numpy(allowed)
    base = torch.randn(4, 3, 100, dtype=dtype)
    for start in range(3):
        logits = base.clone()
        bm.apply_token_bitmask_inplace(logits[:, start], own)
        expected = base.clone()
        expected[:, start].masked_fill_(~keep, float("-inf"))
        assert torch.equal(logits, expected)
    # Columns that don't lie side by side, and a single row.
    columns = torch.randn(100, 4, dtype=dtype).T
    expected = columns.masked_fill(~keep, float("-inf"))
    bm.apply_token_bitmask_inplace(columns, own)
    assert torch.equal(columns, expected)
    row = torch.randn(100, dtype=dtype)
    expected = row.masked_fill(~keep[0], float("-inf"))
    bm.apply_token_bitmask_inplace(row, np.asarray(own)[0])
    assert torch.equal(row, expected)
    # Some rows only.
    logits = torch.randn(5, 100, dtype=dtype)
    expected = logits.clone()
    expected[[1, 3]] = expected[[1, 3]].masked_fill(~keep[[1, 3]], float("-inf"))
    bm.apply_token_bitmask_inplace(logits, own, indices=(i for i in (1, 3)))
    assert torch.equal(logits, expected)
    bm.apply_token_bitmask_inplace(logits, own, indices=[])
    assert torch.equal(logits, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_wider_and_narrower_than_the_bitmask(dtype: Any) -> None:
    allowed, own = random_rows(2, 64)
    wide = torch.zeros(2, 70, dtype=dtype)
    bm.apply_token_bitmask_inplace(wide, own)
    assert torch.isinf(wide[:, 64:]).all()
    assert np.array_equal(torch.isinf(wide[:, :64]).numpy(), ~allowed)
    narrow = torch.zeros(2, 50, dtype=dtype)
    bm.apply_token_bitmask_inplace(narrow, own)
    assert np.array_equal(torch.isinf(narrow).numpy(), ~allowed[:, :50])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mistakes(dtype: Any) -> None:
    _, own = random_rows(2, 64)
    with pytest.raises(ValueError, match="2"):
        bm.apply_token_bitmask_inplace(torch.zeros(3, 64, dtype=dtype), own)
    with pytest.raises(IndexError):
        bm.apply_token_bitmask_inplace(torch.zeros(3, 64, dtype=dtype), own, indices=[2])
    with pytest.raises(ValueError, match="dimensions"):
        bm.apply_token_bitmask_inplace(torch.zeros(1, 2, 64, dtype=dtype), own)
    with pytest.raises(TypeError):
        bm.apply_token_bitmask_inplace(torch.zeros(2, 64, dtype=torch.int64), own)
    with pytest.raises(TypeError):
        bm.apply_token_bitmask_inplace([[0.0]], own)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_gpu(dtype: Any) -> None:
    allowed, own = random_rows(3, 1000)
    logits = torch.randn(3, 1003, device="cuda").to(dtype)
    keep = torch.nn.functional.pad(torch.from_numpy(allowed), (0, 3)).cuda()
    expected = logits.masked_fill(~keep, float("-inf"))
    bm.apply_token_bitmask_inplace(logits, own)
    assert torch.equal(logits, expected)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_mlx(dtype: str) -> None:
    mx = pytest.importorskip("mlx.core")
    allowed, own = random_rows(3, 100)
    logits = mx.random.normal((3, 104)).astype(getattr(mx, dtype))
    keep = mx.array(np.pad(allowed, ((0, 0), (0, 4))))
    expected = mx.where(keep, logits, mx.array(float("-inf"), dtype=logits.dtype))
    from fairlead.bitmask import mlx as bmx

    assert mx.array_equal(bmx.apply_token_bitmask(logits, own), expected).item()
    bm.apply_token_bitmask_inplace(logits, own)
    assert logits.dtype == getattr(mx, dtype)
    assert mx.array_equal(logits, expected).item()
    row = mx.zeros((100,))
    bm.apply_token_bitmask_inplace(row, np.asarray(own)[0])
    assert np.array_equal(np.isinf(np.array(row)), ~allowed[0])
    some = mx.zeros((4, 100))
    bm.apply_token_bitmask_inplace(some, own, indices=[1])
    assert np.array_equal(np.isinf(np.array(some)).any(axis=1), [False, True, False, False])
    with pytest.raises(ValueError, match="dimensions"):
        bm.apply_token_bitmask_inplace(mx.zeros((1, 1, 100)), own)
