"""Products of a few rows: the same numbers by another way, and a model that is as it was afterwards."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
if not torch.backends.mkl.is_available():
    pytest.skip("only MKL has a quicker way", allow_module_level=True)

from fairlead.models import _few_rows  # noqa: E402
from fairlead.models._few_rows import few_rows_at_once  # noqa: E402

USER = [{"role": "user", "content": "Which berth is free?"}]


class Layers(torch.nn.Module):
    def __init__(self, *layers: torch.nn.Module) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(layers)
        self.device = torch.device("cpu")


def taken(model: torch.nn.Module) -> list[bool]:
    with few_rows_at_once(model):
        return ["forward" in vars(layer) for layer in model.layers]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(512, 256), (509, 257), (64, 2048), (4096, 64), (4099, 61), (8192, 64)])
def test_the_same_numbers(shape, bias):
    torch.manual_seed(0)
    outputs, inputs = shape
    model = Layers(torch.nn.Linear(inputs, outputs, bias=bias))
    layer = model.layers[0]
    for count in (0, 1, 2, 3, 4, 8, 9, 32, 33):
        flat = torch.randn(count, inputs)
        across = torch.randn(inputs, count).t()
        for rows in (flat, across, flat[None], flat[:, None], *flat[:1]):
            wanted = layer(rows)
            with few_rows_at_once(model), torch.no_grad():
                assert "forward" in vars(layer)
                found = layer(rows)
            assert found.shape == wanted.shape and found.is_contiguous() and found.dtype == wanted.dtype
            torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("threads", [1, 2])
def test_who_multiplies(threads, monkeypatch):
    """Few rows go the other way, more don't; of an output layer more rows do, most of them on several threads."""
    seen = []
    usual = torch.nn.functional.linear
    monkeypatch.setattr(torch.nn.functional, "linear", lambda rows, *rest: seen.append(len(rows)) or usual(rows, *rest))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for outputs, inputs, most in ((256, 256, 3), (4096, 64, 8 if threads == 1 else 32)):
            model = Layers(torch.nn.Linear(inputs, outputs))
            with few_rows_at_once(model):
                for count in range(1, 40):
                    model.layers[0](torch.randn(count, inputs))
            assert seen == list(range(most + 1, 40))
            seen.clear()
    finally:
        torch.set_num_threads(before)


def test_what_is_left_alone():
    class Mine(torch.nn.Linear):
        pass

    class Quantised(torch.Tensor):
        pass

    hooked, wrapped = torch.nn.Linear(256, 256), torch.nn.Linear(256, 256)
    hooked.forward = lambda rows: rows
    wrapped.weight = torch.nn.Parameter(torch.randn(256, 256).as_subclass(Quantised))
    across = torch.nn.Linear(256, 512)
    across.weight = torch.nn.Parameter(torch.randn(256, 512).t())
    model = Layers(
        torch.nn.Linear(256, 256),
        Mine(256, 256),
        hooked,
        wrapped,
        across,
        torch.nn.Linear(256, 256, dtype=torch.bfloat16),
        torch.nn.Linear(256, 256, device="meta"),
        torch.nn.Linear(16, 16),
    )
    assert taken(model) == [True, False, True, False, False, False, False, False]
    assert [name for name, layer in enumerate(model.layers) if "forward" in vars(layer)] == [2]
    assert hooked(7) == 7
    model.device = torch.device("cuda")
    assert not taken(Layers(torch.nn.Linear(256, 256, device="meta")))[0]
    assert taken(model) == [layer is hooked for layer in model.layers]


def test_a_failing_pass_leaves_the_model_as_it_was():
    model = Layers(torch.nn.Linear(256, 256))
    for shape in ((1, 255), (2, 128), (1, 512)):
        with pytest.raises(RuntimeError), few_rows_at_once(model):
            model.layers[0](torch.randn(shape))
    assert "forward" not in vars(model.layers[0])


def test_a_model_generates_with_it(tiny, monkeypatch):
    """Each pass goes through it, the text is the same, and the model's layers are its own again."""
    layers = [layer for layer in tiny.model.modules() if type(layer) is torch.nn.Linear]
    counts = []
    quick = _few_rows._forward
    monkeypatch.setattr(_few_rows, "_forward", lambda layer, rows: counts.append(rows.shape[-2]) or quick(layer, rows))
    monkeypatch.setattr(_few_rows, "_LEAST_WEIGHTS", 1 << 40)
    tiny.clear_prefix_cache()
    plain = tiny.generate(USER, max_new_tokens=40)
    assert not counts
    monkeypatch.setattr(_few_rows, "_LEAST_WEIGHTS", 1)
    tiny.clear_prefix_cache()
    reply = tiny.generate(USER, max_new_tokens=40)
    assert reply.content == plain.content and reply.token_usage == plain.token_usage
    # The prompt's rows, then a row a token; of the prompt only the last row meets the output layer.
    passes = reply.token_usage.output_tokens
    assert counts.count(1) == (passes - 1) * len(layers) + 1 and len(counts) == passes * len(layers)
    assert not any("forward" in vars(layer) for layer in layers)
