"""Probes: short tests that find common mistakes in code that attends, by its outputs.

The gap: most of these mistakes raise no error and return the right shape, and a comparison
with another implementation says that something is wrong, not what, and sees only what its
input asks for. Most probes change one thing, and know which outputs may move.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attn_examples.checks import (
    check_callable,
    check_float,
    check_number,
    shape_of,
)
from attn_examples.masks import causal_mask, padding_mask

__all__ = ["PROBES", "find_mistakes"]


@dataclass(frozen=True)
class _Probed:
    """What is put to the probes: called like it, with what the probes have in common."""

    attend: Callable[..., Any]
    x: Tensor
    oracle: nn.MultiheadAttention | None
    tolerance: float

    def __call__(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend, with a mask that broadcasts to (N, L, L)."""
        result = self.attend(x, mask=mask)
        output = result[0] if isinstance(result, tuple) else result
        if not isinstance(output, Tensor):
            raise TypeError(
                f"attend returned {type(output).__name__} but must return a "
                "torch.Tensor, or a tuple that begins with one"
            )
        if output.dim() != 3 or output.shape[:2] != x.shape[:2]:
            raise ValueError(
                f"attend returned shape {shape_of(output)} but must return "
                f"({x.shape[0]}, {x.shape[1]}, width), a vector for each token"
            )
        return output

    def equal(self, first: Tensor, second: Tensor) -> bool:
        """Tell whether two outputs are equal but for rounding."""
        return bool(((first - second).abs() <= self._rounding(second)).all())

    def moved(
        self, sequences: int | slice, tokens: int | slice, mask: Tensor | None
    ) -> Tensor:
        """Change x at one place. Which outputs move? (N, L)."""
        changed = self.x.clone()
        changed[sequences, tokens] *= -0.5
        before = self(self.x, mask)
        change = (self(changed, mask) - before).abs().amax(-1)
        return change > self._rounding(before)

    def _rounding(self, output: Tensor) -> Tensor:
        return self.tolerance * output.nan_to_num().abs().max()

    @property
    def causal(self) -> Tensor:
        """The causal mask, (1, L, L)."""
        return causal_mask(self.x.shape[1], device=self.x.device)[None]

    def padded(self, by: int) -> Tensor:
        """Hide the end of the last sequence: (N, 1, L)."""
        N, L, _ = self.x.shape
        return padding_mask([L] * (N - 1) + [L - by], L).to(self.x.device)


def _oracle(at: _Probed) -> bool:
    """Under a causal mask, is the output that of torch's module?"""
    if at.oracle is None:
        return True
    theirs, _ = at.oracle(at.x, at.x, at.x, attn_mask=~at.causal[0])
    return at.equal(at(at.x, at.causal), theirs)


def _same_token(at: _Probed) -> bool:
    """If all tokens are alike, is the output the same with and without a mask?"""
    same = at.x[:, :1].expand_as(at.x)
    return at.equal(at(same, at.causal), at(same))


def _shuffle(at: _Probed) -> bool:
    """Do shuffled tokens give shuffled outputs?"""
    positions = torch.arange(at.x.shape[1], device=at.x.device)
    order = torch.cat((positions[1::2], positions[::2]))
    return at.equal(at(at.x[:, order]), at(at.x)[:, order])


def _future(at: _Probed) -> bool:
    """Under a causal mask, does the last token move no output before it?"""
    return not at.moved(slice(None), -1, at.causal)[:, :-1].any()


def _past(at: _Probed) -> bool:
    """Under a causal mask, does the first token move every output?"""
    return bool(at.moved(slice(None), 0, at.causal).all())


def _padding(at: _Probed) -> bool:
    """If padding changes, do the other outputs of its sequence stay?"""
    return not at.moved(-1, slice(-2, None), at.padded(2))[-1, :-2].any()


def _batch(at: _Probed) -> bool:
    """If one sequence changes, do the others stay?"""
    return not at.moved(-1, slice(None), None)[:-1].any()


def _twice(at: _Probed) -> bool:
    """Do two calls agree?"""
    return at.equal(at(at.x), at(at.x))


def _empty_row(at: _Probed) -> bool:
    """Where nothing is allowed: is all finite, and does what is hidden not count?"""
    nothing = at.padded(at.x.shape[1])
    with torch.enable_grad():
        leaf = at.x.clone().requires_grad_()
        output = at(leaf, nothing)
        finite = output.isfinite().all()
        if output.requires_grad:  # of a loss that leaves the empty sequence out
            (gradient,) = torch.autograd.grad(output[:-1].sum(), leaf)
            finite &= gradient.isfinite().all()
    return bool(finite) and not at.moved(-1, slice(None), nothing)[-1].any()


#: The probes by name. Each is true where it finds no mistake.
PROBES: dict[str, Callable[[_Probed], bool]] = {
    "oracle": _oracle,
    "same token": _same_token,
    "shuffle": _shuffle,
    "future": _future,
    "past": _past,
    "padding": _padding,
    "batch": _batch,
    "twice": _twice,
    "empty row": _empty_row,
}


def find_mistakes(
    attend: Callable[..., Any],
    x: Tensor,
    oracle: nn.MultiheadAttention | None = None,
    *,
    tolerance: float | None = None,
) -> list[str]:
    """Put self-attention without positions to the probes; name those that find a mistake.

    Parameters
    ----------
    attend : callable
        A module in evaluation, or a function. Called as `attend(x, mask=mask)`, where the
        mask is None, or True where attention is allowed and broadcasts to (N, L, L); it
        returns the output (N, L, width), alone or first in a tuple.
    x : Tensor, shape (N, L, D)
        Tokens that differ, with numbers near 1: two sequences or more, of four tokens or
        more. With large numbers a right weight can be 0 but for rounding; "past" finds it.
    oracle : nn.MultiheadAttention, optional
        Torch's module with the parameters of `attend`; without it "oracle" finds nothing.
    tolerance : float, optional
        How far outputs may differ, as a share of the largest; by default eps**(2/3) of
        the dtype of `x`: 2e-5 in float32, 4e-11 in float64.

    Returns
    -------
    list of str
        Names out of `PROBES`, in that order. A probe that torch interrupts with a
        RuntimeError, such as one about shapes, has found a mistake, too.

    Raises
    ------
    ValueError
        If `x` is not of that shape, N and L are equal, `tolerance` is not positive, what
        `attend` returns has no vector for each token, or the oracle is not batch first or
        drops weights.
    TypeError
        If `attend` cannot be called or returns no tensor, or `oracle` is another module.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import MultiHeadAttention
    >>> from attn_examples.probes import find_mistakes
    >>> x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    >>> module = MultiHeadAttention(embed_dim=12, num_heads=3)
    >>> find_mistakes(module, x)
    []
    >>> find_mistakes(lambda x, mask: module(x), x)  # it forgets the mask
    ['future', 'padding', 'empty row']
    """
    check_callable("attend", attend)
    check_float("x", x)
    if x.dim() != 3 or x.shape[0] < 2 or x.shape[1] < 4 or x.shape[0] == x.shape[1]:
        raise ValueError(
            f"x has shape {shape_of(x)} but must be (N, L, D) with N at least 2, L at "
            "least 4 and N and L different: equal sizes hide a wrong axis"
        )
    if tolerance is None:
        tolerance = torch.finfo(x.dtype).eps ** (2 / 3)
    check_number("tolerance", tolerance)
    if not tolerance > 0:
        raise ValueError(f"tolerance ({tolerance}) must be positive")
    _check_oracle(oracle)
    probed = _Probed(attend, x.detach(), oracle, tolerance)
    return [name for name, probe in PROBES.items() if not _passes(probe, probed)]


def _passes(probe: Callable[[_Probed], bool], probed: _Probed) -> bool:
    try:
        return probe(probed)
    except RuntimeError:  # shapes that do not fit
        return False


def _check_oracle(oracle: nn.MultiheadAttention | None) -> None:
    if oracle is None:
        return
    if not isinstance(oracle, nn.MultiheadAttention):
        raise TypeError(
            f"oracle ({type(oracle).__name__}) must be an nn.MultiheadAttention"
        )
    if not oracle.batch_first:
        raise ValueError("oracle must be made with batch_first=True")
    if oracle.training and oracle.dropout > 0:
        raise ValueError(
            f"oracle drops weights (dropout {oracle.dropout}): call oracle.eval()"
        )
