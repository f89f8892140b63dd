"""Uses that failed once: low precision, sizes and values that torch follows, odd arguments."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from attn_examples import (
    Additive,
    Bilinear,
    LearnedPositions,
    attention,
    causal_mask,
    cosine,
    dot,
    dropped,
    padding_mask,
    scaled_dot,
    scaled_dot_product_attention,
    sinusoidal,
    sliding_window_mask,
    softmax,
    with_bias,
)
from attn_examples import checks as guards
from tests.conftest import randn, same, says

Q, K, V = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 7, 4), torch.randn(2, 3, 7, 6)
LOW = (torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("mask_dtype", [torch.float32, *LOW])
def test_autocast_takes_the_masks_that_torch_takes(
    dtype: torch.dtype, mask_dtype: torch.dtype
) -> None:
    mask = torch.randn(5, 7).to(mask_dtype)
    with torch.autocast("cpu", dtype):
        ours = scaled_dot_product_attention(Q, K, V, mask)
        biased, _ = attention(Q, K, V, score=with_bias(scaled_dot, mask))
    assert ours.dtype == dtype
    assert torch.equal(ours, biased)
    theirs = F.scaled_dot_product_attention(Q, K, V, mask.float())
    torch.testing.assert_close(ours.float(), theirs, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", LOW)
def test_autocast_takes_two_dtypes_but_not_float64(dtype: torch.dtype) -> None:
    with torch.autocast("cpu", dtype):
        output = attention(Q, K, V.to(dtype))[0]
        sentence = "key is torch.float32 but query is torch.float64: use one dtype for all"
        with pytest.raises(ValueError, match=says(sentence)):
            attention(Q.double(), K, V)
    theirs = F.scaled_dot_product_attention(Q, K, V)
    torch.testing.assert_close(output.float(), theirs, rtol=0.05, atol=0.05)


MASK, LENGTHS = torch.randn(5, 7), torch.tensor([2, 3])
VALUES: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
    "float mask": (lambda mask: scaled_dot_product_attention(Q, K, V, mask), MASK),
    "lengths": (lambda lengths: padding_mask(lengths, 7), LENGTHS),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_are_looked_at_only_where_there_are_any(name: str) -> None:
    function, values = VALUES[name]
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    assert torch.equal(compiled(values), function(values))
    stacked = torch.stack([values, values.flip(0)])
    assert torch.equal(torch.vmap(function)(stacked)[1], function(values.flip(0)))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert function(mode.from_tensor(values)).shape == function(values).shape


def test_tensors_without_values() -> None:
    query, key, value, mask = (tensor.to("meta") for tensor in (Q, K, V, MASK))
    assert scaled_dot_product_attention(query, key, value, mask).shape == (2, 3, 5, 6)
    assert padding_mask(LENGTHS.to("meta"), 7).shape == (2, 1, 7)


ZEROS_AND_ONES = [
    torch.ones(1),
    torch.ones(5, 7),
    torch.ones(5, 7).tril(),
    torch.ones(5, 7).tril().half(),
    torch.zeros(2, 1, 5, 7).index_fill(-1, torch.tensor(6), 1.0),
    torch.zeros(100, 70).index_put_((torch.tensor(99), torch.tensor(69)), torch.tensor(1.0)),
    torch.ones(70).expand(100, 70),
]


@pytest.mark.parametrize("mask", ZEROS_AND_ONES)
def test_no_mask_of_zeros_and_ones_slips_through(mask: Tensor) -> None:
    sentence = (
        f"attn_mask ({mask.dtype}) holds only zeros and ones, which would be added to "
        f"the scores: call attn_mask.bool() to say where attention is allowed"
    )
    with pytest.raises(ValueError, match=says(sentence)):
        guards.refuse_zeros_and_ones(mask)
    for other in (-1.0, 0.5, 2.0, float("-inf"), float("nan")):
        last = mask.clone()
        last.view(-1)[-1] = other
        guards.refuse_zeros_and_ones(last)
    guards.refuse_zeros_and_ones(torch.zeros_like(mask))
    guards.refuse_zeros_and_ones(mask[:0])


class Calls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Note what torch runs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("size", [5, 70])
def test_a_mask_is_looked_at_once_and_again_when_it_changes(size: int) -> None:
    mask = torch.randn(size, size)
    looks = []
    for _ in range(3):
        with Calls() as calls:
            guards.refuse_zeros_and_ones(mask)
        looks.append(calls.names)
    assert "aten::min" in looks[0]
    assert looks[1:] == [[], []]
    with pytest.raises(ValueError, match="zeros and ones"):
        guards.refuse_zeros_and_ones(mask.fill_(1.0))
    with pytest.raises(ValueError, match="zeros and ones"):
        guards.refuse_zeros_and_ones(mask)
    guards.refuse_zeros_and_ones(mask.fill_(2.0))
    with Calls() as calls:
        guards.refuse_zeros_and_ones(mask.clone())  # another tensor
    assert "aten::min" in calls.names


def test_a_mask_that_tells_of_no_change_is_looked_at_each_time() -> None:
    with torch.inference_mode():
        mask = torch.full((5, 7), 2.0)
        guards.refuse_zeros_and_ones(mask)
        with pytest.raises(ValueError, match="zeros and ones"):
            guards.refuse_zeros_and_ones(mask.fill_(1.0))


def test_a_mask_that_was_looked_at_can_go() -> None:
    mask = torch.randn(5, 7)
    guards.refuse_zeros_and_ones(mask)
    gone = weakref.ref(mask)
    del mask
    gc.collect()
    assert gone() is None
    with pytest.raises(ValueError, match="floating point"):
        guards.refuse_zeros_and_ones(torch.ones(5, 7).long())


LONE = torch.randn(3, 4)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (
            lambda: dot(Q, K.double()),
            ValueError,
            "key is torch.float64 but query is torch.float32: use one dtype for all",
        ),
        (
            lambda: Additive(4, 4, 8)(Q.double(), K.double()),
            ValueError,
            "query is torch.float64 but the module's weights are torch.float32: "
            "convert one of them, for example query.to(torch.float32)",
        ),
        (
            lambda: Bilinear(4, 4)(Q.double(), K.double()),
            ValueError,
            "key is torch.float64 but the module's weights are torch.float32: "
            "convert one of them, for example key.to(torch.float32)",
        ),
        (
            lambda: Bilinear(4, 4)(Q.to("meta"), K.to("meta")),
            ValueError,
            "key is on meta but the module's weights are on cpu: move one of them",
        ),
        (
            lambda: sinusoidal(3, 4, dtype="float32"),  # type: ignore[arg-type]
            TypeError,
            "dtype ('float32') must be a torch.dtype",
        ),
        (
            lambda: scaled_dot(Q, K, scale="2"),  # type: ignore[arg-type]
            TypeError,
            "scale ('2') must be a number",
        ),
        (
            lambda: cosine(Q, K, beta="2"),  # type: ignore[arg-type]
            TypeError,
            "beta ('2') must be a number",
        ),
        (
            lambda: attention(Q, K, V, score=lambda query, key: None),  # type: ignore[arg-type, return-value]
            TypeError,
            "score returned NoneType but must return a torch.Tensor, "
            "one number for each query and key",
        ),
        (
            lambda: attention(Q, K, V, score=lambda query, key: dot(query, key)[0]),
            ValueError,
            "score returned shape (3, 5, 7) but must return (2, 3, 5, 7), "
            "one number for each query and key",
        ),
        (
            lambda: attention(Q[:1], K, V, score=lambda query, key: dot(query, key)[:1]),
            ValueError,
            "score returned shape (1, 3, 5, 7) but must return (2, 3, 5, 7), "
            "one number for each query and key",
        ),
        (
            lambda: attention(Q, K, V, normalize=lambda scores: softmax(scores)[0]),
            ValueError,
            "normalize returned (3, 5, 7) but must return (2, 3, 5, 7), one weight for each score",
        ),
        (
            lambda: attention(Q, K, V, normalize=lambda scores: None),  # type: ignore[arg-type, return-value]
            ValueError,
            "normalize returned NoneType but must return (2, 3, 5, 7), one weight for each score",
        ),
        (
            lambda: with_bias(lambda query, key: None, MASK)(Q, K),  # type: ignore[arg-type, return-value]
            TypeError,
            "score returned NoneType but must return a torch.Tensor, "
            "one number for each query and key",
        ),
        (
            lambda: with_bias("dot", MASK),  # type: ignore[arg-type]
            TypeError,
            "score ('dot') must be callable: a function or a module",
        ),
        (
            lambda: dropped("softmax", 0.1),  # type: ignore[arg-type]
            TypeError,
            "normalize ('softmax') must be callable: a function or a module",
        ),
        (
            lambda: with_bias(lambda query, key: dot(query, key)[0], MASK.expand(2, 3, 5, 7))(Q, K),
            ValueError,
            "score returned shape (3, 5, 7) but must return (2, 3, 5, 7), "
            "one number for each query and key",
        ),
    ],
)
def test_refuses_in_one_sentence(
    call: Callable[[], Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=says(sentence)):
        call()


def test_a_factor_may_be_learned() -> None:
    factor = torch.tensor(0.3, requires_grad=True)
    query, key = randn(5, 4), randn(7, 4)
    same(scaled_dot(query, key, scale=factor), scaled_dot(query, key, scale=factor.item()))  # type: ignore[arg-type]
    same(cosine(query, key, beta=factor), cosine(query, key, beta=factor.item()))


def test_nothing_is_checked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[tuple[str, int]] = []

    def watched(name: str, check: Any) -> Any:
        def called(*arguments: Any, **settings: Any) -> Any:
            looked.append((name, id(arguments[0])))
            return check(*arguments, **settings)

        return called

    for module in ("core", "scores.dot_product", "normalizers.exponential", "normalizers.wrappers"):
        for name in [n for n in vars(guards) if n.startswith(("check_", "refuse_"))]:
            where = f"attn_examples.{module}.{name}"
            monkeypatch.setattr(where, watched(name, getattr(guards, name)), raising=False)
    for mask in (None, MASK, MASK > 0):
        looked.clear()
        scaled_dot_product_attention(Q, K, V, mask)
        assert "check_widths" in {name for name, _ in looked}
        assert len(looked) == len(set(looked))
        names = [name for name, _ in looked]
        assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "make",
    [
        lambda n: causal_mask(n),
        lambda n: sliding_window_mask(n, None, 2),
        lambda n: padding_mask([1, 2], n),
        lambda n: sinusoidal(n, 4),
        lambda n: LearnedPositions(16, 4)(n),
        lambda n: attention(*[torch.ones(n, 4)] * 3, mask=causal_mask(n))[0],
    ],
)
def test_lengths_may_come_from_data(make: Callable[[Any], Tensor]) -> None:
    """A length that is read from a tensor has no value while torch exports."""

    class Made(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return make(x.shape[0]).sum() * 0 + x.sum()

    length = torch.export.Dim("length", min=2, max=16)
    program = torch.export.export(Made(), (torch.ones(5),), dynamic_shapes={"x": {0: length}})
    assert program.module()(torch.ones(9)) == 9
