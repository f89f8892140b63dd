"""Steps 1 to 3 in one matrix, against torch's softmax and against the steps one by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, func
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from attn_examples import MultiHeadAttention
from attn_examples.heads import four_steps as module
from attn_examples.heads.four_steps import four_steps
from attn_examples.heads.weigh import weigh
from tests.conftest import gradients, randn, same

INF = float("inf")
N, H, L, S, E = 2, 3, 5, 7, 4


def by_torch(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    """Weigh as torch would; NaN in a row with nothing allowed."""
    scores = query @ key.mT / math.sqrt(E)
    return (scores if mask is None else scores.where(mask, -INF)).softmax(-1)


def masks() -> dict[str, Tensor | None]:
    drawn = torch.rand(N, H, L, S) > 0.4
    drawn[..., 2, :] = False  # a row with nothing allowed
    drawn[..., 3, 0] = False  # a row without its first key
    drawn[..., 3, 1] = True
    return {
        "none": None,
        "for all": drawn[0, 0],
        "of each head": drawn[:1],
        "of all": drawn,
        "of queries": drawn.any(-1, keepdim=True),
        "of keys": drawn[0, :1, :1],
    }


@pytest.mark.parametrize("kind", masks())
def test_weights_and_gradients_are_torchs_and_0_in_dead_rows(kind: str) -> None:
    query, key = randn(N, H, L, E, grad=True), randn(N, H, S, E, grad=True)
    mask = masks()[kind]
    ours, theirs = weigh(query, key, mask), by_torch(query, key, mask)
    dead = theirs.isnan()
    same(ours, theirs.masked_fill(dead, 0.0))
    assert (ours[dead] == 0).all()
    if mask is not None:
        assert (ours[~mask.expand_as(ours)] == 0).all()
    # a dead row made harmless before torch sees it: gradients of the others are untouched
    alive = ~dead.all(-1, keepdim=True)
    mended = by_torch(query, key, None if mask is None else mask | ~alive) * alive
    for our_grad, their_grad in zip(
        gradients(ours, query, key), gradients(mended, query, key), strict=True
    ):
        same(our_grad, their_grad)


@pytest.mark.parametrize("kind", masks())
def test_derivatives_of_both_orders(kind: str) -> None:
    query, key = randn(1, H, L, E, grad=True), randn(1, H, S, E, grad=True)
    mask = masks()[kind]
    mask = mask[:1] if mask is not None and mask.dim() == 4 else mask
    assert gradcheck(lambda q, k: weigh(q, k, mask), (query, key), check_batched_grad=True)
    assert gradgradcheck(lambda q, k: weigh(q, k, mask), (query, key), check_batched_grad=True)


def test_scores_of_minus_infinity_weigh_0_and_nan_stays_to_be_seen() -> None:
    query = torch.tensor([[1.0], [-1.0], [float("nan")], [1.0]])
    key = torch.tensor([[-INF], [0.0], [-INF]])
    assert weigh(query[:1], key, None).tolist() == [[0.0, 1.0, 0.0]]
    assert weigh(query[:1], key[::2], None).tolist() == [[0.0, 0.0]]
    assert weigh(query[1:2], key, None).isnan().all()  # plus infinity twice
    allowed = torch.tensor([[True, True, False]])
    assert weigh(query[2:3], key, allowed).isnan().all()
    nan_later = torch.tensor([[-INF], [float("nan")], [-INF]])
    assert weigh(query[3:], nan_later, None).isnan().all()


def test_what_is_given_is_left_alone() -> None:
    given = query, key, mask = randn(N, H, L, E), randn(N, H, S, E), masks()["of all"]
    assert mask is not None
    copies = [x.clone() for x in (query, key, mask)]
    weigh(query, key, mask)
    assert all(torch.equal(x, copy) for x, copy in zip(given, copies, strict=True))  # type: ignore[arg-type]


class Matrices(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collect all memory that holds a floating-point matrix of the scores' size."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[int, Tensor] = {}  # holding them, so that no memory is used again

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **kwargs or {})
        for x in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(x, Tensor) and x.is_floating_point() and x.numel() == N * H * L * S:
                self.found[x.untyped_storage().data_ptr()] = x
        return result


@pytest.mark.parametrize("is_causal", [False, True])
def test_one_matrix_forward_and_two_backward(is_causal: bool) -> None:
    query, key, value = randn(N, H, L, E, grad=True), randn(N, H, S, E), randn(N, H, S, E)
    with Matrices() as forward:
        output, weights = four_steps(query, key, value, is_causal=is_causal)
    assert weights is not None
    assert list(forward.found) == [weights.untyped_storage().data_ptr()]
    with Matrices() as backward:
        output.sum().backward()  # type: ignore[no-untyped-call]
    assert len(backward.found.keys() - forward.found.keys()) == 2  # of weights, of scores


def attended(query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
    """Let the module's steps run with a value that shows all weights."""
    value = torch.eye(S, dtype=key.dtype).expand(*key.shape[:-1], S)
    output, weights = four_steps(query, key, value, mask=mask)
    assert weights is not None
    return output + weights


Q, K = randn(N, H, L, E), randn(N, H, S, E)
MASK = masks()["for all"]
MASKS = torch.rand(4, L, S) > 0.5


def tangent(f: Callable[..., Tensor]) -> Tensor:
    with torch.no_grad(), forward_ad.dual_level():
        seen: Tensor = forward_ad.unpack_dual(f(Q, forward_ad.make_dual(K, K.cos()), MASK)).tangent  # type: ignore[no-untyped-call]
        return seen


def summed(f: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda query: f(query, K[0, :1], MASK).square().sum()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # torch warns of itself
@pytest.mark.parametrize(
    "transform",
    [
        lambda f: func.vmap(lambda q: f(q, K[0], MASK))(Q),
        lambda f: func.vmap(lambda k: f(Q[0], k, MASK))(K),
        lambda f: func.vmap(lambda mask: f(Q, K, mask))(MASKS),
        lambda f: func.grad(summed(f))(Q[0, :1]),
        lambda f: func.hessian(summed(f))(Q[0, :1]),
        lambda f: func.jacfwd(func.jacfwd(summed(f)))(Q[0, :1]),
        tangent,
    ],
    ids=["vmap query", "vmap key", "vmap mask", "grad", "hessian", "forward twice", "dual"],
)
def test_transforms(
    transform: Callable[[Callable[..., Tensor]], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = transform(attended)
    monkeypatch.setattr(module, "step_by_step", lambda *_: True)
    same(ours, transform(attended))


@pytest.fixture
def mha() -> MultiHeadAttention:
    return MultiHeadAttention(12, 3).double()


def test_compiles_whole_and_exports_every_length(mha: MultiHeadAttention) -> None:
    x, longer = randn(2, 5, 12), randn(3, 9, 12)
    compiled: Any = torch.compile(mha, fullgraph=True, backend="aot_eager")
    exported: Any = torch.export.export(
        mha,
        (x,),
        dynamic_shapes={
            "query": (torch.export.Dim.DYNAMIC, torch.export.Dim.DYNAMIC, None),
        },
    ).module()
    for run in (compiled, exported):
        same(run(x)[1], mha(x)[1])
        same(run(longer)[1], mha(longer)[1])
    wanted = list(mha.parameters())
    grads = torch.autograd.grad(compiled(x)[1].square().sum(), wanted, allow_unused=True)
    expected = torch.autograd.grad(mha(x)[1].square().sum(), wanted, allow_unused=True)
    for ours, theirs in zip(grads[:4], expected[:4], strict=True):
        same(ours, theirs)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_holds_the_steps_and_serves_every_length(mha: MultiHeadAttention) -> None:
    x = randn(3, 9, 12)
    traced: Any = torch.jit.trace(mha, (randn(2, 5, 12),))  # type: ignore[no-untyped-call]
    same(traced(x)[1], mha(x)[1])
    assert "_Weigh" not in str(traced.inlined_graph)


def test_autocast_decides_the_dtype_of_each_step(
    mha: MultiHeadAttention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "weigh", lambda *_: pytest.fail("not one by one"))
    with torch.autocast("cpu", torch.bfloat16):
        mha.float()(torch.randn(2, 5, 12))


def test_on_meta_and_without_keys(mha: MultiHeadAttention) -> None:
    empty = mha(randn(2, 5, 12), randn(2, 0, 12))[1]
    assert empty.shape == (2, 3, 5, 0)
    weights = mha.to("meta")(torch.empty(2, 5, 12, dtype=torch.float64, device="meta"))[1]
    assert weights.shape == (2, 3, 5, 5)
    assert weights.is_meta


def test_dropout_drops_weights() -> None:
    mha = MultiHeadAttention(12, 3, dropout=0.5).double()
    x = randn(2, 5, 12)
    dropped = mha(x)[1]
    whole = mha.eval()(x)[1]
    kept = dropped != 0
    assert 0 < kept.sum() < kept.numel()
    same(dropped[kept], 2 * whole[kept])
