"""Matrix products of a few rows on a processor, which is where decoding spends its time.

For a few rows of 32-bit floats MKL, which torch calls, reads a layer's weights on one thread and at a third of the
speed of memory or less; two and three rows take two and three times as long as one. Asked for the weights by the rows
instead of the rows by the weights it reads them at full speed, on all threads. The sums are the same, rounded
otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

__all__ = ["few_rows_at_once"]

# From four rows on the usual way is the quicker one for some shapes,
_MOST_ROWS = 3
# but not for an output layer: the most rows of a layer with so many times more outputs than inputs, on one thread and
# on several.
_TALL = 8
_MOST_ROWS_OF_TALL = (8, 32)
# Below so many weights the calls around the product cost more than they save.
_LEAST_WEIGHTS = 1 << 16
# A product of one matrix with one column is taken for that of a matrix with a vector, for which there is no quick way;
# that of so many blocks of it isn't.
_BLOCKS = 16


@contextmanager
def few_rows_at_once(model: Any) -> Iterator[None]:
    """Within it the plain linear layers of a model multiply a few rows in the quicker way.

    Layers of another type, weights elsewhere than on the processor or of another type than float32, and layers whose
    ``forward`` somebody has set stay as they are. Afterwards the model is what it was.
    """
    layers = _layers(model)
    for layer in layers:
        layer.forward = MethodType(_forward, layer)
    try:
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _layers(model: Any) -> list[Any]:
    import torch

    if not torch.backends.mkl.is_available() or model.device.type != "cpu":
        return []

    def plain(layer: Any) -> bool:
        # A subclass, of the layer or of its weights, has its own idea of the product: quantised ones, for example.
        if type(layer) is not torch.nn.Linear or "forward" in vars(layer):
            return False
        weight = layer.weight
        return type(weight) is torch.nn.Parameter and weight.device.type == "cpu" and weight.is_contiguous()

    return [
        layer
        for layer in model.modules()
        if plain(layer) and layer.weight.dtype == torch.float32 and layer.weight.numel() >= _LEAST_WEIGHTS
    ]


def _forward(layer: Any, rows: Any) -> Any:
    import torch

    outputs, inputs = layer.weight.shape
    count = rows.numel() // inputs if rows.shape[-1] == inputs else 0
    tall = outputs >= _TALL * inputs
    if not 0 < count <= (_MOST_ROWS_OF_TALL[torch.get_num_threads() > 1] if tall else _MOST_ROWS):
        return torch.nn.functional.linear(rows, layer.weight, layer.bias)
    flat = rows.reshape(count, inputs)
    blocks = math.gcd(outputs, _BLOCKS)
    if count == 1 and blocks > 1:
        weights = layer.weight.view(blocks, outputs // blocks, inputs)
        product = torch.bmm(weights, flat.t().expand(blocks, inputs, 1)).view(outputs, 1)
    else:
        # The columns have to lie one behind the other; of two equal ones, one is left out again.
        product = torch.mm(layer.weight, flat.expand(max(count, 2), inputs).contiguous().t())[:, :count]
    result = product.t().contiguous().view(*rows.shape[:-1], outputs)
    return result if layer.bias is None else result + layer.bias
