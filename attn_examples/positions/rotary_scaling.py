"""Rotary positions made slower, for texts longer than those of training.

All but `yarn_attention_factor` take frequencies and return slower ones, so that they fit
wherever those of `rotary_frequencies` do.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attn_examples.checks import check_float, check_number, positive, shape_of

__all__ = [
    "llama3_scaling",
    "ntk_aware",
    "position_interpolation",
    "yarn",
    "yarn_attention_factor",
]

MECHANISMS = (
    {
        "name": "position interpolation",
        "call": "position_interpolation",
        "changes": "all frequencies of RoPE, divided by one factor",
        "page": "types/positions/longer-rotary#position-interpolation",
        "papers": ["chen2023"],
        "oracles": {
            "transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS": (
                "test_scaled_frequencies_equal_transformers"
            ),
            "rotary_embedding_torch.RotaryEmbedding": (
                "test_interpolation_equals_rotary_embedding_torch"
            ),
            "x_transformers.x_transformers.RotaryEmbedding": (
                "test_interpolation_equals_x_transformers"
            ),
        },
        "words": ["PI", "linear scaling", "rope_scaling", "longer context"],
        "cost": "the same: other frequencies",
        "thumbnail": (
            "torch.arange(10, 0, -1)[:, None] "
            "<= (rotary_frequencies(16) "
            "/ position_interpolation(rotary_frequencies(16), 8.0)).round()"
        ),
    },
    {
        "name": "NTK-aware scaling",
        "call": "ntk_aware",
        "changes": "frequencies of RoPE, the slower the more: another base",
        "page": "types/positions/longer-rotary#ntk-aware",
        "papers": ["peng2023"],
        "oracles": {
            "transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS": (
                "test_ntk_aware_equals_transformers"
            ),
            "rotary_embedding_torch.RotaryEmbedding": (
                "test_ntk_aware_equals_rotary_embedding_torch"
            ),
            "x_transformers.x_transformers.RotaryEmbedding": (
                "test_ntk_aware_equals_x_transformers"
            ),
        },
        "words": ["NTK", "dynamic NTK", "base rescaling", "bloc97", "longer context"],
        "cost": "the same: other frequencies",
        "thumbnail": (
            "torch.arange(10, 0, -1)[:, None] "
            "<= (rotary_frequencies(16) "
            "/ ntk_aware(rotary_frequencies(16), 8.0)).round()"
        ),
    },
    {
        "name": "YaRN",
        "call": "yarn",
        "changes": "only frequencies of RoPE that turned little in training",
        "page": "types/positions/longer-rotary",
        "papers": ["peng2023"],
        "oracles": {
            "transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS": (
                "test_scaled_frequencies_equal_transformers"
            ),
            "by hand": "test_yarn_equals_the_loop",
        },
        "words": ["NTK-by-parts", "beta_fast", "beta_slow", "longer context"],
        "cost": "the same: other frequencies, and scores multiplied by one number",
        "thumbnail": (
            "torch.arange(10, 0, -1)[:, None] "
            "<= (rotary_frequencies(16) "
            "/ yarn(rotary_frequencies(16), 8.0, 4096)).round()"
        ),
    },
    {
        "name": "attention factor of YaRN",
        "call": "yarn_attention_factor",
        "changes": "the scores, larger the longer the text may be",
        "page": "types/positions/longer-rotary#attention-factor",
        "papers": ["peng2023"],
        "oracles": {
            "transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS": (
                "test_the_attention_factor_equals_transformers"
            ),
            "by hand": "test_the_attention_factor_divides_by_a_temperature",
        },
        "words": ["mscale", "attention temperature", "attention_factor"],
        "cost": "the same: it is in the sines and cosines",
        "thumbnail": (
            "torch.arange(12, 0, -1)[:, None] <= torch.tensor("
            "[5 * yarn_attention_factor(2.0**n) ** 2 for n in range(8)])"
        ),
    },
    {
        "name": "Llama 3 scaling",
        "call": "llama3_scaling",
        "changes": "only frequencies of RoPE that turned little in training",
        "page": "types/positions/longer-rotary#llama3-scaling",
        "papers": ["grattafiori2024"],
        "oracles": {
            "transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS": (
                "test_scaled_frequencies_equal_transformers"
            ),
            "by hand": "test_llama3_scaling_equals_the_ramp_of_yarns_paper",
        },
        "words": ["Llama 3.1", "low_freq_factor", "high_freq_factor", "longer context"],
        "cost": "the same: other frequencies",
        "thumbnail": (
            "torch.arange(10, 0, -1)[:, None] "
            "<= (rotary_frequencies(16) "
            "/ llama3_scaling(rotary_frequencies(16), 8.0, 4096)).round()"
        ),
    },
)


def position_interpolation(frequencies: Tensor, factor: float) -> Tensor:
    """Turn all pairs `factor` times slower, as if positions were squeezed together.

    Parameters
    ----------
    frequencies : Tensor, shape (R,)
        As `rotary_frequencies` makes them.
    factor : float
        How many times longer a text may be than in training; at least 1.

    Returns
    -------
    Tensor, shape (R,)

    Raises
    ------
    ValueError
        If `frequencies` is not floating point or has another shape, or `factor` is less
        than 1.
    TypeError
        If `frequencies` is not a tensor, or `factor` not a number.

    References
    ----------
    Chen et al., "Extending Context Window of Large Language Models via Positional
    Interpolation", 2023, arXiv:2306.15595.

    Examples
    --------
    >>> from attn_examples import position_interpolation, rotary_frequencies
    >>> position_interpolation(rotary_frequencies(4), 4.0)
    tensor([0.2500, 0.0025], dtype=torch.float64)
    """
    _check_scaling(frequencies, factor)
    return frequencies / factor


def ntk_aware(frequencies: Tensor, factor: float) -> Tensor:
    """Turn the last pair `factor` times slower, the first as before.

    It is what a larger base gives: base * factor**(E / (E - 2)).

    Parameters
    ----------
    frequencies : Tensor, shape (R,)
        As `rotary_frequencies` makes them; at least two.
    factor : float
        How many times longer a text may be than in training; at least 1.

    Returns
    -------
    Tensor, shape (R,)

    Raises
    ------
    ValueError
        If `frequencies` is not floating point, has another shape or a single entry, or
        `factor` is less than 1.
    TypeError
        If `frequencies` is not a tensor, or `factor` not a number.

    References
    ----------
    Told on the web by bloc97 in 2023; Peng et al., "YaRN: Efficient Context Window
    Extension of Large Language Models", 2023, arXiv:2309.00071, section 3.1.

    Examples
    --------
    >>> from attn_examples import ntk_aware, rotary_frequencies
    >>> ntk_aware(rotary_frequencies(6, base=1000.0), 4.0)
    tensor([1.0000, 0.0500, 0.0025], dtype=torch.float64)
    """
    _check_scaling(frequencies, factor, least=2)
    pairs = torch.arange(len(frequencies)).to(frequencies)
    return frequencies * factor ** -(pairs / (len(frequencies) - 1))


def yarn(
    frequencies: Tensor,
    factor: float,
    original_len: float,
    *,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
) -> Tensor:
    """Turn slow pairs `factor` times slower, and fast ones as before.

    Which pairs are fast is said in turns: how often a pair turned round in a text of
    training. Give `Rotary` the `yarn_attention_factor` too.

    Parameters
    ----------
    frequencies : Tensor, shape (R,)
        As `rotary_frequencies` makes them; at least two.
    factor : float
        How many times longer a text may be than in training; at least 1.
    original_len : float
        Number of positions in training.
    beta_fast, beta_slow : float, default 32 and 1
        A pair of more than `beta_fast` turns stays as it is, and always the first; another of
        fewer than `beta_slow` is divided by `factor`. From one to the other the share falls
        evenly with the pair's number, as in the authors' code; in the paper with the turns.
    truncate : bool, default True
        Whether that ramp begins and ends at whole numbers of pairs, outwards.

    Returns
    -------
    Tensor, shape (R,)

    Raises
    ------
    ValueError
        If `frequencies` is not floating point, has another shape or a single entry,
        `factor` is less than 1, or another number is not positive.
    TypeError
        If `frequencies` is not a tensor, or what must be a number is none.

    References
    ----------
    Peng et al., "YaRN: Efficient Context Window Extension of Large Language Models", 2023,
    arXiv:2309.00071, sections 3.2 and 3.4; for the ramp, its authors' code.

    Examples
    --------
    Pairs that turned 163, 16 and 1.6 times in 1024 positions: the first is kept, the last
    two lie on the ramp:

    >>> from attn_examples import rotary_frequencies, yarn
    >>> frequencies = rotary_frequencies(6, base=1000.0)
    >>> yarn(frequencies, 4.0, 1024)
    tensor([1.0000, 0.0750, 0.0050], dtype=torch.float64)
    """
    _check_scaling(frequencies, factor, least=2)
    length = positive("original_len", original_len)
    pairs = torch.arange(len(frequencies)).to(frequencies)
    # the same from each pair to the next
    step = (frequencies[0] / frequencies[1]).log()
    turns = frequencies[0] * length / (2 * math.pi)  # of the first pair
    low = (turns / positive("beta_fast", beta_fast)).log() / step
    high = (turns / positive("beta_slow", beta_slow)).log() / step
    if truncate:
        low, high = low.floor(), high.ceil()
    low, high = low.clamp(min=0), high.clamp(max=2 * len(frequencies) - 1)
    slow = ((pairs - low) / (high - low).clamp(min=1e-3)).clamp(0, 1)
    return frequencies * (1 - slow) + frequencies / factor * slow


def yarn_attention_factor(factor: float) -> float:
    """Say by what YaRN multiplies queries and keys, so that weights become sharper.

    Parameters
    ----------
    factor : float
        How many times longer a text may be than in training; at least 1.

    Returns
    -------
    float
        0.1 * ln(factor) + 1. Scores grow by its square.

    Raises
    ------
    ValueError
        If `factor` is less than 1.
    TypeError
        If it is not a number.

    References
    ----------
    Peng et al., "YaRN: Efficient Context Window Extension of Large Language Models", 2023,
    arXiv:2309.00071, section 3.4.

    Examples
    --------
    >>> from attn_examples import Rotary, rotary_frequencies, yarn, yarn_attention_factor
    >>> slower = yarn(rotary_frequencies(64), 16.0, 4096)
    >>> positions = Rotary(slower, attention_factor=yarn_attention_factor(16.0))
    >>> round(positions.attention_factor, 4)
    1.2773
    """
    _check_factor_of_length(factor)
    return 0.1 * math.log(factor) + 1


def llama3_scaling(
    frequencies: Tensor,
    factor: float,
    original_len: float,
    *,
    low_freq_factor: float = 1.0,
    high_freq_factor: float = 4.0,
) -> Tensor:
    """Turn slow pairs `factor` times slower, and fast ones as before.

    Parameters
    ----------
    frequencies : Tensor, shape (R,)
        As `rotary_frequencies` makes them.
    factor : float
        How many times slower; at least 1. Llama 3.1 has 8, and a base of 500000.
    original_len : float
        Number of positions in training; 8192 for Llama 3.
    low_freq_factor, high_freq_factor : float, default 1 and 4
        A pair that turned fewer times than `low_freq_factor` in a text of training is
        divided by `factor`, one that turned more often than `high_freq_factor` stays as it
        is, and from one to the other the share rises evenly with the turns: the ramp of
        YaRN's paper, with 4 for 32.

    Returns
    -------
    Tensor, shape (R,)

    Raises
    ------
    ValueError
        If `frequencies` is not floating point or has another shape, `factor` is less than
        1, another number is not positive, or `high_freq_factor` not the larger one.
    TypeError
        If `frequencies` is not a tensor, or what must be a number is none.

    References
    ----------
    Grattafiori et al., "The Llama 3 Herd of Models", 2024, arXiv:2407.21783, whose code
    has the rescaling; the ramp: Peng et al., 2023, arXiv:2309.00071, section 3.2.

    Examples
    --------
    Pairs that turned 163, 16 and 1.6 times in 1024 positions:

    >>> from attn_examples import llama3_scaling, rotary_frequencies
    >>> frequencies = rotary_frequencies(6, base=1000.0)
    >>> llama3_scaling(frequencies, 4.0, 1024)
    tensor([1.0000, 0.1000, 0.0041], dtype=torch.float64)
    """
    _check_scaling(frequencies, factor)
    length = positive("original_len", original_len)
    low = positive("low_freq_factor", low_freq_factor)
    high = positive("high_freq_factor", high_freq_factor)
    if high <= low:
        raise ValueError(
            f"high_freq_factor ({high}) must be more than low_freq_factor ({low})"
        )
    turns = frequencies * length / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return frequencies * kept + frequencies / factor * (1 - kept)


def _check_scaling(frequencies: Tensor, factor: float, least: int = 1) -> None:
    check_float("frequencies", frequencies)
    if frequencies.dim() != 1 or len(frequencies) < least:
        raise ValueError(
            f"frequencies has shape {shape_of(frequencies)} but must be (R,) with R at "
            f"least {least}"
        )
    _check_factor_of_length(factor)


def _check_factor_of_length(factor: float) -> None:
    check_number("factor", factor)
    if not factor >= 1:
        raise ValueError(f"factor ({factor}) must be at least 1")
