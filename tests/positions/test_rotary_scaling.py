"""Rotary positions made slower, against transformers, others, and loops from the papers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rotary_embedding_torch import RotaryEmbedding
from torch import Tensor
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from attn_examples import (
    Rotary,
    llama3_scaling,
    ntk_aware,
    position_interpolation,
    rotary_frequencies,
    rotated,
    yarn,
    yarn_attention_factor,
)
from tests.conftest import randn, same, says

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # x-transformers uses parts of torch that are deprecated
    from x_transformers import x_transformers

N, H, L, E = 2, 3, 5, 64
WIDTHS = [6, 64, 128]
FACTORS = [1.0, 4.0, 32.0]
# Ours, and the settings of transformers that say the same
SCALED: dict[str, tuple[Callable[[Tensor, float], Tensor], dict[str, Any]]] = {
    "linear": (position_interpolation, {}),
    "yarn": (
        lambda frequencies, factor: yarn(frequencies, factor, 4096),
        {"original_max_position_embeddings": 4096},
    ),
    "yarn, gpt-oss": (
        lambda frequencies, factor: yarn(frequencies, factor, 4096, truncate=False),
        {"original_max_position_embeddings": 4096, "truncate": False},
    ),
    "yarn, other ends": (
        lambda frequencies, factor: yarn(frequencies, factor, 300, beta_fast=20.0, beta_slow=2.0),
        {"original_max_position_embeddings": 300, "beta_fast": 20.0, "beta_slow": 2.0},
    ),
    "yarn, all slow": (  # no pair turns round once: the ramp begins and ends below the first
        lambda frequencies, factor: yarn(frequencies, factor, 6),
        {"original_max_position_embeddings": 6},
    ),
    "llama3": (
        lambda frequencies, factor: llama3_scaling(frequencies, factor, 8192),
        {
            "original_max_position_embeddings": 8192,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
        },
    ),
    "llama3, other ends": (
        lambda frequencies, factor: llama3_scaling(
            frequencies, factor, 500, low_freq_factor=2.0, high_freq_factor=9.0
        ),
        {
            "original_max_position_embeddings": 500,
            "low_freq_factor": 2.0,
            "high_freq_factor": 9.0,
        },
    ),
}


def config(kind: str, width: int, **settings: Any) -> Any:
    settings |= {"rope_theta": 10000.0, "rope_type": kind}
    return LlamaConfig(head_dim=width, max_position_embeddings=131072, rope_parameters=settings)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("way", SCALED)
def test_scaled_frequencies_equal_transformers(
    way: str, width: int, factor: float, in_float64: None
) -> None:
    ours, settings = SCALED[way]
    kind = way.partition(",")[0]
    expected, _ = ROPE_INIT_FUNCTIONS[kind](config(kind, width, factor=factor, **settings))
    same(ours(rotary_frequencies(width), factor), expected)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("width", WIDTHS)
def test_ntk_aware_equals_transformers(width: int, factor: float, in_float64: None) -> None:
    """Theirs is dynamic: the factor grows with the length."""
    settings = config("dynamic", width, factor=factor)
    expected, _ = ROPE_INIT_FUNCTIONS["dynamic"](settings, seq_len=3 * 131072)
    same(ntk_aware(rotary_frequencies(width), 3 * factor - (factor - 1)), expected)


@pytest.mark.parametrize("factor", FACTORS)
def test_interpolation_equals_rotary_embedding_torch(factor: float, in_float64: None) -> None:
    theirs = RotaryEmbedding(E, interpolate_factor=factor, cache_if_possible=False).double()
    x = randn(N, H, L, E)
    expected = theirs.rotate_queries_or_keys(x)
    frequencies = position_interpolation(rotary_frequencies(E), factor)
    same(rotated(x, frequencies, interleaved=True), expected)


@pytest.mark.parametrize("factor", FACTORS)
def test_ntk_aware_equals_rotary_embedding_torch(factor: float, in_float64: None) -> None:
    theirs = RotaryEmbedding(E, theta_rescale_factor=factor, cache_if_possible=False).double()
    same(ntk_aware(rotary_frequencies(E), factor), theirs.freqs.detach())


@pytest.mark.parametrize("factor", FACTORS)
def test_interpolation_equals_x_transformers(factor: float, in_float64: None) -> None:
    theirs: Any = x_transformers.RotaryEmbedding(E, interpolation_factor=factor)
    x = randn(N, H, L, E)
    expected = x_transformers.apply_rotary_pos_emb(x, theirs(torch.arange(L))[0])
    frequencies = position_interpolation(rotary_frequencies(E), factor)
    same(rotated(x, frequencies, interleaved=True), expected)


@pytest.mark.parametrize("factor", FACTORS)
def test_ntk_aware_equals_x_transformers(factor: float, in_float64: None) -> None:
    theirs: Any = x_transformers.RotaryEmbedding(E, base_rescale_factor=factor)
    same(ntk_aware(rotary_frequencies(E), factor), theirs.inv_freq)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("length", "fast", "slow"), [(4096, 32, 1), (700, 20, 2), (10**6, 64, 3)])
def test_yarn_equals_the_loop(width: int, length: int, fast: int, slow: int) -> None:
    """The ramp goes straight from the pair of `fast` turns to that of `slow`."""
    frequencies, factor = rotary_frequencies(width), 8.0
    # pair r turns length * 10000**(-2 r / width) / (2 pi) times: where is that `fast`, `slow`?
    first, last = (
        width / 2 * math.log(length / (2 * math.pi * turns), 10000) for turns in (fast, slow)
    )
    first, last = max(math.floor(first), 0), math.ceil(last)
    expected = []
    for r in range(width // 2):
        omega = 10000 ** (-2 * r / width)
        slowed = min(max((r - first) / (last - first), 0.0), 1.0)
        expected.append((1 - slowed) * omega + slowed * omega / factor)
    ours = yarn(frequencies, factor, length, beta_fast=fast, beta_slow=slow)
    same(ours, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("low", "high"), [(1.0, 4.0), (1.0, 32.0)])
def test_llama3_scaling_equals_the_ramp_of_yarns_paper(width: int, low: float, high: float) -> None:
    """Section 3.2: the ratio of length and wavelength, a ramp gamma, and a weighted mean."""
    length, factor = 8192, 8.0
    expected = []
    for d in range(width // 2):
        theta = 500000 ** (-2 * d / width)
        wavelength = 2 * math.pi / theta
        ratio = length / wavelength
        if ratio < low:
            gamma = 0.0
        elif ratio > high:
            gamma = 1.0
        else:
            gamma = (ratio - low) / (high - low)
        expected.append((1 - gamma) * theta / factor + gamma * theta)
    ours = llama3_scaling(
        rotary_frequencies(width, base=5e5),
        factor,
        length,
        low_freq_factor=low,
        high_freq_factor=high,
    )
    same(ours, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("factor", FACTORS)
def test_the_attention_factor_equals_transformers(factor: float, in_float64: None) -> None:
    """Also what is turned with it, by their layer's own code."""
    settings = config("yarn", E, factor=factor, original_max_position_embeddings=4096)
    _, expected = ROPE_INIT_FUNCTIONS["yarn"](settings)
    assert yarn_attention_factor(factor) == pytest.approx(expected, abs=1e-15)
    query, key, places = randn(N, H, L, E), randn(N, H, L, E), torch.arange(L).expand(N, -1)
    theirs = apply_rotary_pos_emb(query, key, *LlamaRotaryEmbedding(settings)(query, places))
    layer = Rotary(
        yarn(rotary_frequencies(E), factor, 4096), attention_factor=yarn_attention_factor(factor)
    )
    for ours, expected_one in zip(layer(query, key, 0)[:2], theirs, strict=True):
        same(ours, expected_one)


def test_the_attention_factor_divides_by_a_temperature() -> None:
    """Section 3.4: softmax(q k / (t sqrt E)) with sqrt(1 / t) = 0.1 ln(s) + 1."""
    query, key, factor = randn(L, E), randn(L, E), 16.0
    slower = yarn(rotary_frequencies(E), factor, 4096)
    t = (1 / (0.1 * math.log(factor) + 1)) ** 2
    expected = rotated(query, slower) @ rotated(key, slower).T / (t * math.sqrt(E))
    positions = Rotary(slower, attention_factor=yarn_attention_factor(factor))
    turned_query, turned_key, _ = positions(query, key, 0)
    same(turned_query @ turned_key.T / math.sqrt(E), expected)


NAMED: dict[str, Callable[[Tensor, float], Tensor]] = {
    "position_interpolation": position_interpolation,
    "ntk_aware": ntk_aware,
    "yarn": lambda frequencies, factor: yarn(frequencies, factor, 4096),
    "llama3_scaling": lambda frequencies, factor: llama3_scaling(frequencies, factor, 4096),
}


@pytest.mark.parametrize("name", NAMED)
@given(factor=st.floats(1.0, 64.0), pairs=st.integers(2, 64))
def test_frequencies_lie_between_the_old_ones_and_those_interpolated(
    name: str, factor: float, pairs: int
) -> None:
    old = rotary_frequencies(2 * pairs)
    new = NAMED[name](old, factor)
    assert (new <= old * (1 + 1e-12)).all()
    assert (new >= old / factor * (1 - 1e-12)).all()
    assert (new.diff() < 0).all()  # still the slower the further
    if name == "ntk_aware":
        same(new[[0, -1]], torch.stack((old[0], old[-1] / factor)))
        # the formula of the paper, with another base
        base = 10000 * factor ** (pairs / (pairs - 1))
        same(new, rotary_frequencies(2 * pairs, base=base))


@pytest.mark.parametrize("name", NAMED)
def test_a_factor_of_one_changes_nothing(name: str) -> None:
    same(NAMED[name](rotary_frequencies(E), 1.0), rotary_frequencies(E))
    assert yarn_attention_factor(1) == 1.0


def test_the_dtype_is_kept() -> None:
    for scaled in NAMED.values():
        assert scaled(rotary_frequencies(E).float(), 4.0).dtype == torch.float32


ONE = torch.ones(1)
TWO = torch.tensor([1.0, 0.1])


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        *(
            (lambda s=s: s(TWO, 0.5), ValueError, "factor (0.5) must be at least 1")
            for s in (*NAMED.values(), lambda _, factor: yarn_attention_factor(factor))
        ),
        *(
            (lambda s=s: s(TWO, "4"), TypeError, "factor ('4') must be a number")
            for s in (*NAMED.values(), lambda _, factor: yarn_attention_factor(factor))
        ),
        *(
            (
                lambda s=s: s(torch.ones(2, 2), 4.0),
                ValueError,
                f"frequencies has shape (2, 2) but must be (R,) with R at least {least}",
            )
            for s, least in zip(NAMED.values(), (1, 2, 2, 1), strict=True)
        ),
        *(
            (
                lambda s=s: s(ONE, 4.0),
                ValueError,
                "frequencies has shape (1,) but must be (R,) with R at least 2",
            )
            for s in (NAMED["ntk_aware"], NAMED["yarn"])
        ),
        (
            lambda: position_interpolation(torch.ones(2).long(), 4.0),
            ValueError,
            "frequencies (torch.int64) must be a floating-point tensor: embed token numbers "
            "first, or call frequencies.float()",
        ),
        (
            lambda: yarn(TWO, 4.0, 0),
            ValueError,
            "original_len (0) must be positive and finite",
        ),
        (
            lambda: yarn(TWO, 4.0, 8, beta_fast=-1.0),
            ValueError,
            "beta_fast (-1.0) must be positive and finite",
        ),
        (
            lambda: yarn(TWO, 4.0, 8, beta_slow=0.0),
            ValueError,
            "beta_slow (0.0) must be positive and finite",
        ),
        (
            lambda: llama3_scaling(TWO, 4.0, -8),
            ValueError,
            "original_len (-8) must be positive and finite",
        ),
        (
            lambda: llama3_scaling(TWO, 4.0, 8, low_freq_factor=0.0),
            ValueError,
            "low_freq_factor (0.0) must be positive and finite",
        ),
        (
            lambda: llama3_scaling(TWO, 4.0, 8, high_freq_factor=1.0),
            ValueError,
            "high_freq_factor (1.0) must be more than low_freq_factor (1.0)",
        ),
    ],
)
def test_refuses(call: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        call()


def test_one_frequency_can_be_slowed_where_no_ramp_is_needed() -> None:
    same(position_interpolation(ONE.double(), 4.0), ONE.double() / 4)
    same(llama3_scaling(ONE.double(), 4.0, 1), ONE.double() / 4)
