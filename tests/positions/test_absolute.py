"""Positions against transformers, a slow loop, and the properties the paper states."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers.models.xlm import modeling_xlm

from attn_examples import LearnedPositions, sinusoidal
from tests.conftest import gradients, same, says

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # x-transformers uses parts of torch that are deprecated
    from x_transformers.x_transformers import AbsolutePositionalEmbedding


@pytest.mark.parametrize(("length", "embed_dim"), [(5, 12), (1, 2), (300, 64)])
def test_sinusoidal_equals_transformers_and_the_loop(length: int, embed_dim: int) -> None:
    make: Any = modeling_xlm.create_sinusoidal_embeddings
    theirs = make(length, embed_dim, torch.empty(length, embed_dim))
    ours = sinusoidal(length, embed_dim)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-7)  # float32

    by_hand = torch.empty(length, embed_dim, dtype=torch.float64)
    for t in range(length):
        for i in range(embed_dim // 2):
            angle = t / 10000 ** (2 * i / embed_dim)
            by_hand[t, 2 * i], by_hand[t, 2 * i + 1] = math.sin(angle), math.cos(angle)
    same(sinusoidal(length, embed_dim, dtype=torch.float64), by_hand)


def test_sinusoidal_far_positions_are_exact() -> None:
    # in float32 the angles themselves would be off by thousandths
    by_hand = [math.sin(100_000 / 10000 ** (i / 12)) for i in range(0, 12, 2)]
    ours = sinusoidal(100_001, 12)[-1, ::2]
    torch.testing.assert_close(ours, torch.tensor(by_hand), rtol=0, atol=1e-7)


def test_sinusoidal_may_start_anywhere() -> None:
    table = sinusoidal(9, 12, dtype=torch.float64)
    same(sinusoidal(4, 12, start=5, dtype=torch.float64), table[5:])
    behind = sinusoidal(9, 12, start=-8, dtype=torch.float64).flip(0)  # 0, -1, -2, ...
    same(behind[:, 0::2], -table[:, 0::2])
    same(behind[:, 1::2], table[:, 1::2])


def test_sinusoidal_shifts_by_turning() -> None:
    table = sinusoidal(50, 12, dtype=torch.float64)
    products = table @ table.T
    for offset in range(50):
        diagonal = products.diagonal(offset)
        same(diagonal, diagonal[:1].expand_as(diagonal))  # depends on the distance alone
    same(products.diagonal(), torch.full((50,), 6.0, dtype=torch.float64))
    assert len({tuple(row) for row in table.tolist()}) == 50  # no two positions are alike


def test_sinusoidal_base_sets_the_slowest_wave() -> None:
    same(
        sinusoidal(5, 4, base=100.0, dtype=torch.float64)[:, 2],
        (torch.arange(5, dtype=torch.float64) / 10).sin(),
    )


@pytest.fixture
def float64_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("float64_by_default")
def test_sinusoidal_has_the_default_dtype() -> None:
    assert sinusoidal(5, 4).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_sinusoidal_dtype_device_and_no_length(dtype: torch.dtype) -> None:
    assert sinusoidal(5, 4, dtype=dtype).dtype == dtype
    assert torch.equal(sinusoidal(5, 4, dtype=dtype), sinusoidal(5, 4).to(dtype))
    assert sinusoidal(5, 4, device="meta").device.type == "meta"
    assert sinusoidal(0, 4).shape == (0, 4)


def test_learned_positions_equal_torch() -> None:
    positions = LearnedPositions(max_len=8, embed_dim=4)
    for length in (0, 1, 5, 8):
        theirs = F.embedding(torch.arange(length), positions.weight)
        assert torch.equal(positions(length), theirs)
    (gradient,) = gradients(positions(5), positions.weight)
    assert (gradient[:5] != 0).all()
    assert (gradient[5:] == 0).all()
    assert [name for name, _ in positions.named_parameters()] == ["weight"]


def test_learned_positions_equal_x_transformers() -> None:
    theirs = AbsolutePositionalEmbedding(4, 8).double()
    ours = LearnedPositions(max_len=8, embed_dim=4).double()
    with torch.no_grad():
        ours.weight.copy_(theirs.emb.weight * theirs.scale)
    for length in (0, 1, 5, 8):
        same(ours(length), theirs(torch.zeros(2, length)))


def test_learned_positions_start_small() -> None:
    weight = LearnedPositions(max_len=1000, embed_dim=50).weight
    assert abs(float(weight.detach().std()) - 0.02) < 0.001
    assert abs(float(weight.detach().mean())) < 0.001


@pytest.mark.parametrize(
    ("call", "arguments", "error", "sentence"),
    [
        (sinusoidal, {"length": -1}, ValueError, "length (-1) must be at least 0"),
        (sinusoidal, {"length": 5.0}, TypeError, "length (5.0) must be a whole number"),
        (sinusoidal, {"embed_dim": 0}, ValueError, "embed_dim (0) must be at least 1"),
        (
            sinusoidal,
            {"embed_dim": 5},
            ValueError,
            "embed_dim (5) must be even: sines and cosines come in pairs",
        ),
        (sinusoidal, {"base": 0}, ValueError, "base (0) must be positive"),
        (sinusoidal, {"base": -2.0}, ValueError, "base (-2.0) must be positive"),
        (sinusoidal, {"base": float("nan")}, ValueError, "base (nan) must be positive"),
        (sinusoidal, {"base": "10"}, TypeError, "base ('10') must be a number"),
        (
            sinusoidal,
            {"dtype": torch.int64},
            ValueError,
            "dtype (torch.int64) must be floating point",
        ),
        (LearnedPositions, {"max_len": 0}, ValueError, "max_len (0) must be at least 1"),
        (LearnedPositions, {"embed_dim": 0}, ValueError, "embed_dim (0) must be at least 1"),
        (LearnedPositions, {"max_len": "8"}, TypeError, "max_len ('8') must be a whole number"),
    ],
)
def test_refuses(
    call: Any, arguments: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    defaults = {"length": 5} if call is sinusoidal else {"max_len": 8}
    with pytest.raises(error, match=says(sentence)):
        call(**{"embed_dim": 4} | defaults | arguments)


@pytest.mark.parametrize(
    ("length", "error", "sentence"),
    [
        (
            9,
            ValueError,
            "length (9) must be at most max_len (8): no vector was learned beyond it",
        ),
        (-1, ValueError, "length (-1) must be at least 0"),
        (2.0, TypeError, "length (2.0) must be a whole number"),
    ],
)
def test_learned_positions_refuse(length: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        LearnedPositions(max_len=8, embed_dim=4)(length)
