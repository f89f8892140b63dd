"""The four steps against torch's own function, and what they promise."""

from __future__ import annotations

import warnings
from functools import partial, reduce
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.llama.modeling_llama import eager_attention_forward, repeat_kv

from attn_examples import attention, cosine, dot, scaled_dot_product_attention
from attn_examples.core import share_heads
from tests.conftest import gradients, randn, same, says

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # x-transformers uses parts of torch that are deprecated
    from x_transformers.attend import Attend

INF = float("inf")


def inputs(
    *lead: int, L: int = 5, S: int = 7, E: int = 12, Ev: int = 6, grad: bool = False
) -> list[Tensor]:
    return [randn(*lead, *shape, grad=grad) for shape in ((L, E), (S, E), (S, Ev))]


def with_dead_row(mask: Tensor) -> Tensor:
    """Forbid every key to query 1, and allow query 0 its first key."""
    return mask.index_fill(-2, torch.tensor(1), False).index_fill(-2, torch.tensor(0), True)


MASKS: dict[str, Any] = {
    "none": lambda L, S: {},
    "causal": lambda L, S: {"is_causal": True},
    "bool": lambda L, S: {"attn_mask": with_dead_row(torch.rand(L, S) > 0.5)},
    "bool for each key": lambda L, S: {"attn_mask": torch.rand(2, 1, 1, S) > 0.3},
    "bool for each head": lambda L, S: {"attn_mask": torch.rand(6, L, S) > 0.3},
    "bool in full": lambda L, S: {"attn_mask": torch.rand(2, 6, L, S) > 0.3},
    "float": lambda L, S: {"attn_mask": randn(L, S)},
    "float32": lambda L, S: {"attn_mask": torch.randn(L, S)},
    "float for each head": lambda L, S: {"attn_mask": randn(2, 6, 1, S)},
    "minus infinity": lambda L, S: {
        "attn_mask": randn(L, S).masked_fill(~with_dead_row(torch.rand(L, S) > 0.3), -INF)
    },
}


@pytest.mark.parametrize("gqa", [False, True])
@pytest.mark.parametrize("scale", [None, 0.3, -0.3])
@pytest.mark.parametrize("dropout_p", [0.0, 0.4])
@pytest.mark.parametrize(("L", "S"), [(5, 7), (7, 5), (5, 5)])
@pytest.mark.parametrize("mask", MASKS)
def test_equals_torch(
    mask: str, L: int, S: int, dropout_p: float, scale: float | None, gqa: bool
) -> None:
    query, key, value = inputs(2, 6, L=L, S=S, grad=True)
    if gqa:
        key, value = randn(2, 3, S, 12, grad=True), randn(2, 3, S, 6, grad=True)
    settings = MASKS[mask](L, S) | {"dropout_p": dropout_p, "scale": scale, "enable_gqa": gqa}

    torch.manual_seed(1)
    ours = scaled_dot_product_attention(query, key, value, **settings)
    torch.manual_seed(1)
    theirs = F.scaled_dot_product_attention(query, key, value, **settings)

    same(ours, theirs)
    pairs = (gradients(output, query, key, value) for output in (ours, theirs))
    for our_gradient, their_gradient in zip(*pairs, strict=True):
        same(our_gradient, their_gradient)

    torch.manual_seed(1)
    again, weights = scaled_dot_product_attention(query, key, value, **settings, need_weights=True)
    assert torch.equal(again, ours)
    torch.manual_seed(1)
    one_hot = torch.eye(S, dtype=torch.float64).expand(2, key.shape[1], S, S)
    same(weights, F.scaled_dot_product_attention(query, key, one_hot, **settings))


def allowed_somewhere(*shape: int) -> Tensor:
    """Allow each query its first key: what others do with a query that has none differs."""
    return (torch.rand(shape) > 0.4).index_fill(-1, torch.tensor(0), True)


@pytest.mark.parametrize(("L", "S"), [(5, 7), (7, 5), (1, 5)])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_equals_x_transformers(L: int, S: int, masked: bool) -> None:
    query, key, value = inputs(2, 3, L=L, S=S, grad=True)
    mask = allowed_somewhere(2, 3, L, S) if masked else None
    theirs = Attend(custom_attn_fn=partial(F.softmax, dim=-1))  # their own works in float32
    expected, steps = theirs(query, key, value, mask=mask)
    output, weights = attention(query, key, value, mask=mask)
    same(output, expected)
    same(weights, steps.post_softmax_attn)
    for our_gradient, their_gradient in zip(
        *(gradients(each, query, key, value) for each in (output, expected)), strict=True
    ):
        same(our_gradient, their_gradient)


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_llama(scale: float | None, masked: bool, monkeypatch: Any) -> None:
    softmax = torch.softmax
    # theirs normalizes in float32, whatever it is given
    monkeypatch.setattr(nn.functional, "softmax", lambda x, dim, dtype: softmax(x, dim))
    query = randn(2, 6, 5, 12, grad=True)
    key, value = randn(2, 3, 7, 12, grad=True), randn(2, 3, 7, 6, grad=True)
    mask = allowed_somewhere(5, 7) if masked else None
    added = None if mask is None else torch.zeros(5, 7).double().masked_fill(~mask, -INF)
    module: Any = nn.Identity()
    module.num_key_value_groups = 2
    expected, their_weights = eager_attention_forward(
        module, query, key, value, added, scaling=12**-0.5 if scale is None else scale
    )
    output, weights = scaled_dot_product_attention(
        query, key, value, mask, scale=scale, enable_gqa=True, need_weights=True
    )
    same(output, expected.transpose(1, 2))
    same(weights, their_weights)
    for our_gradient, their_gradient in zip(
        *(gradients(each, query, key, value) for each in (output, expected.transpose(1, 2))),
        strict=True,
    ):
        same(our_gradient, their_gradient)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 2, 3)])
@pytest.mark.parametrize("is_causal", [False, True])
def test_equals_torch_with_any_number_of_dimensions(lead: tuple[int, ...], is_causal: bool) -> None:
    query, key, value = inputs(*lead)
    ours = scaled_dot_product_attention(query, key, value, None, 0.0, is_causal)
    same(ours, F.scaled_dot_product_attention(query, key, value, None, 0.0, is_causal))


@pytest.mark.parametrize(
    "leads", [((1, 3), (2, 3), (2, 3)), ((2, 3), (2, 1), (1, 3)), ((1, 1), (1, 3), (2, 1))]
)
def test_a_leading_dimension_of_1_repeats(leads: tuple[tuple[int, int], ...]) -> None:
    query, key, value = (inputs(*lead)[i] for i, lead in enumerate(leads))
    mask = torch.rand(5, 7) > 0.3
    ours = scaled_dot_product_attention(query, key, value, mask)
    same(ours, F.scaled_dot_product_attention(query, key, value, mask))


@pytest.mark.parametrize(
    "sizes",
    [{"L": 0}, {"S": 0}, {"L": 0, "S": 0}, {"E": 0}, {"Ev": 0}],
    ids=["no query", "no key", "neither", "no width", "no value width"],
)
@pytest.mark.parametrize("is_causal", [False, True])
def test_empty_sequences(sizes: Any, is_causal: bool) -> None:
    query, key, value = inputs(2, 3, **sizes)
    output, weights = scaled_dot_product_attention(
        query, key, value, is_causal=is_causal, need_weights=True
    )
    same(output, F.scaled_dot_product_attention(query, key, value, is_causal=is_causal))
    assert weights.shape == (2, 3, query.shape[-2], key.shape[-2])
    if sizes.get("S") == 0:
        assert torch.equal(output, torch.zeros_like(output))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_keeps_the_dtype_and_does_not_overflow(dtype: torch.dtype) -> None:
    # rows of a Hadamard matrix: q . k is 160000 for the same row, beyond float16, and 0 for others
    rows = 50 * reduce(torch.kron, [torch.tensor([[1.0, 1.0], [1.0, -1.0]])] * 6).to(dtype)
    value = torch.randn(7, 6).to(dtype)
    output, weights = attention(rows[:5], rows[:7], value)
    assert torch.equal(weights, torch.eye(7, dtype=dtype)[:5])
    assert torch.equal(output, value[:5])
    assert torch.equal(output, F.scaled_dot_product_attention(rows[:5], rows[:7], value))


def test_reads_inputs_in_any_layout_and_leaves_them_alone() -> None:
    dense = inputs(2, 3)
    strided = [tensor.mT.contiguous().mT for tensor in dense]
    copies = [tensor.clone() for tensor in strided]
    mask = torch.rand(7, 5).mT > 0.3
    same(attention(*strided, mask=mask)[0], attention(*dense, mask=mask.contiguous())[0])
    assert all(map(torch.equal, strided, copies))


@pytest.mark.parametrize(
    "shape", [(5, 7), (1, 7), (5, 1), (2, 3, 5, 7), (2, 1, 1, 7), (1, 3, 5, 1)]
)
def test_attention_takes_masks_that_line_up(shape: tuple[int, ...]) -> None:
    query, key, value = inputs(2, 3)
    mask = torch.rand(shape) > 0.4
    same(
        attention(query, key, value, mask=mask)[0],
        F.scaled_dot_product_attention(query, key, value, mask),
    )


def test_score_and_normalize_are_what_is_called() -> None:
    query, key, value = inputs(2, 3)
    output, weights = attention(query, key, value, score=dot, normalize=lambda scores: scores**2)
    same(weights, torch.einsum("nhle,nhse->nhls", query, key) ** 2)
    same(output, torch.einsum("nhls,nhse->nhle", weights, value))


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_share_heads_equals_torch(groups: int) -> None:
    query = randn(2, 6, 5, 12)
    key, value = randn(2, groups, 7, 12, grad=True), randn(2, groups, 7, 8, grad=True)
    ours, _ = attention(query, share_heads(query, key), share_heads(query, value))
    expected = F.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    same(ours, expected)
    for our_gradient, their_gradient in zip(
        *(gradients(each, key, value) for each in (ours, expected)), strict=True
    ):
        same(our_gradient, their_gradient)


def test_share_heads_equals_transformers() -> None:
    query, shared = randn(2, 6, 5, 4), randn(2, 3, 7, 4)
    assert torch.equal(share_heads(query, shared), repeat_kv(shared, 2))


# What holds for every input


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw inputs of any small size, and a mask of which rows may be all False."""
    N, H, L, S, E, Ev = (draw(st.integers(1, 4)) for _ in range(6))
    torch.manual_seed(draw(st.integers(0, 2**20)))
    query, key, value = inputs(N, H, L=L, S=S, E=E, Ev=Ev)
    mask = torch.rand(N, H, L, S) < draw(st.sampled_from([0.0, 0.3, 0.7, 1.0]))
    return query * draw(st.sampled_from([0.01, 1.0, 30.0])), key, value, mask


@given(cases())
def test_rows_sum_to_1_or_have_no_key(case: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    query, key, value, mask = case
    output, weights = attention(query, key, value, mask=mask)
    alive = mask.any(-1)
    same(weights.sum(-1), alive.double())
    assert (weights >= 0).all()
    assert (weights[~mask] == 0).all()
    assert (output[~alive] == 0).all()
    low, high = value.amin(-2, keepdim=True), value.amax(-2, keepdim=True)
    between = (output >= low - 1e-12) & (output <= high + 1e-12)
    assert between[alive].all()


@given(cases())
def test_gradients_are_finite(case: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    *tensors, mask = case
    for tensor in tensors:
        tensor.requires_grad_()
    output, _ = attention(*tensors, mask=mask)
    of_query, of_key, of_value = gradients(output, *tensors)
    assert all(gradient.isfinite().all() for gradient in (of_query, of_key, of_value))
    assert (of_query[~mask.any(-1)] == 0).all()
    unseen = ~mask.any(-2)
    assert (of_key[unseen] == 0).all()
    assert (of_value[unseen] == 0).all()


@given(cases(), st.randoms(use_true_random=False))
def test_order_does_not_matter_without_a_mask(
    case: tuple[Tensor, Tensor, Tensor, Tensor], random: Any
) -> None:
    query, key, value, _ = case
    rows = random.sample(range(query.shape[-2]), query.shape[-2])
    columns = random.sample(range(key.shape[-2]), key.shape[-2])
    output, weights = attention(query, key, value)
    moved, moved_weights = attention(
        query[..., rows, :], key[..., columns, :], value[..., columns, :]
    )
    same(moved, output[..., rows, :])
    same(moved_weights, weights[..., rows, :][..., columns])


@given(cases(), st.data())
def test_a_masked_key_has_no_influence_at_all(
    case: tuple[Tensor, Tensor, Tensor, Tensor], data: st.DataObject
) -> None:
    query, key, value, mask = case
    j = data.draw(st.integers(0, key.shape[-2] - 1))
    mask[..., j] = False
    before = attention(query, key, value, mask=mask)
    key[..., j, :] = 1e6
    value[..., j, :] = -1e6
    after = attention(query, key, value, mask=mask)
    assert all(map(torch.equal, before, after))


@given(cases())
def test_batch_and_heads_do_not_see_each_other(case: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    query, key, value, mask = case
    output, weights = attention(query, key, value, mask=mask)
    for n in range(query.shape[0]):
        for h in range(query.shape[1]):
            alone = attention(query[n, h], key[n, h], value[n, h], mask=mask[n, h])
            same(alone[0], output[n, h])
            same(alone[1], weights[n, h])


def test_a_nan_stays_in_its_row_and_its_batch_element() -> None:
    query, key, value = inputs(2, 3)
    query[0, 0, 2] = float("nan")
    value[1, 1, 0] = float("nan")
    lost = attention(query, key, value)[0].isnan().any(-1)
    assert lost.nonzero().tolist() == [[0, 0, 2]] + [[1, 1, i] for i in range(5)]


# What is refused, and in which words


Q, K, V = torch.zeros(2, 3, 5, 4), torch.zeros(2, 3, 7, 4), torch.zeros(2, 3, 7, 6)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            (Q[0, 0, 0], K, V),
            "query has shape (4,) but needs at least two dimensions, (length, width)",
        ),
        (
            (Q, K[0], V),
            "key has 3 dimensions (3, 7, 4) but query has 4 (2, 3, 5, 4): "
            "give them the same number of dimensions",
        ),
        (
            (Q.long(), K, V),
            "query (torch.int64) must be a floating-point tensor: "
            "embed token numbers first, or call query.float()",
        ),
        (
            (Q, K, V.to(torch.complex64)),
            "value (torch.complex64) must be a floating-point tensor: "
            "embed token numbers first, or call value.float()",
        ),
        (
            (Q, K.double(), V),
            "key is torch.float64 but query is torch.float32: use one dtype for all",
        ),
        (
            (Q, K, V.to("meta")),
            "value is on meta but query is on cpu: move them to one device",
        ),
        (
            (Q, K, V[:, :, :6]),
            "value has 6 positions (2, 3, 6, 6) but key has 7 (2, 3, 7, 4): "
            "each key needs exactly one value",
        ),
        (
            (Q, K[:, :2], V),
            "key has leading dimensions (2, 2) but query has (2, 3): "
            "batch and heads must be equal, or 1",
        ),
        (
            (Q, K[:, :1], V[:, :2]),
            "value has leading dimensions (2, 2) but query has (2, 3): "
            "batch and heads must be equal, or 1",
        ),
        (
            (Q[:, :1], K, V[:, :2]),
            "value has leading dimensions (2, 2) but key has (2, 3): "
            "batch and heads must be equal, or 1",
        ),
        (
            (Q, K[..., :3], V),
            "query has width 4 (2, 3, 5, 4) but key has width 3 (2, 3, 7, 3): "
            "they need equal widths",
        ),
    ],
)
@pytest.mark.parametrize("function", [attention, scaled_dot_product_attention])
def test_refuses_what_does_not_fit(
    function: Any, arguments: tuple[Tensor, ...], sentence: str
) -> None:
    with pytest.raises(ValueError, match=says(sentence)):
        function(*arguments)


@pytest.mark.parametrize("function", [attention, scaled_dot_product_attention])
@pytest.mark.parametrize("i", range(3))
@pytest.mark.parametrize("gqa", [False, True])
def test_refuses_what_is_no_tensor(function: Any, i: int, gqa: bool) -> None:
    arguments: list[Any] = [Q, K, V]
    arguments[i] = [[1.0]]
    sentence = f"{('query', 'key', 'value')[i]} (list) must be a torch.Tensor"
    settings = {"enable_gqa": True} if gqa and function is not attention else {}
    with pytest.raises(TypeError, match=says(sentence)):
        function(*arguments, **settings)


@pytest.mark.parametrize(
    ("mask", "error", "sentence"),
    [
        ([[True]], TypeError, "mask (list) must be a torch.Tensor of dtype torch.bool"),
        (
            torch.ones(5, 7),
            ValueError,
            "mask (torch.float32) must be torch.bool, True where attention is allowed: call "
            "mask.bool(), or use with_bias(score, bias) for numbers to add to the scores",
        ),
        (
            torch.ones(5, 7, dtype=torch.int64),
            ValueError,
            "mask (torch.int64) must be torch.bool, True where attention is allowed: call "
            "mask.bool(), or use with_bias(score, bias) for numbers to add to the scores",
        ),
        *(
            (
                torch.ones(shape, dtype=torch.bool),
                ValueError,
                f"mask has shape {shape} but the scores have (2, 3, 5, 7): give it (5, 7), "
                f"or all 4 dimensions with 1 where it repeats",
            )
            # (3, 5, 7) and (2, 5, 7) fit by torch's rules: which is meant is for the caller to say
            for shape in [(), (7,), (7, 5), (5, 5), (3, 5, 7), (2, 5, 7), (3, 2, 5, 7), (1,) * 5]
        ),
        (
            torch.ones(5, 7, dtype=torch.bool, device="meta"),
            ValueError,
            "mask is on meta but the scores are on cpu: move it there",
        ),
    ],
)
def test_refuses_a_mask_that_needs_guessing(
    mask: Any, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=says(sentence)):
        attention(Q, K, V, mask=mask)


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"attn_mask": [[True]]}, TypeError, "attn_mask (list) must be a torch.Tensor"),
        (
            {"attn_mask": torch.ones(5, 7)},
            ValueError,
            "attn_mask (torch.float32) holds only zeros and ones, which would be added to "
            "the scores: call attn_mask.bool() to say where attention is allowed",
        ),
        (
            {"attn_mask": torch.tensor([[0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0]])},
            ValueError,
            "attn_mask (torch.float32) holds only zeros and ones, which would be added to "
            "the scores: call attn_mask.bool() to say where attention is allowed",
        ),
        (
            {"attn_mask": torch.zeros(5, 7, dtype=torch.int64)},
            ValueError,
            "attn_mask (torch.int64) must be torch.bool, True where attention is allowed, "
            "or floating point, added to the scores",
        ),
        *(
            (
                {"attn_mask": torch.zeros(shape, dtype=dtype)},
                ValueError,
                f"attn_mask has shape {shape} but must broadcast to the scores, (2, 3, 5, 7)",
            )
            for dtype in (torch.bool, torch.float32)
            for shape in [(7, 5), (2, 5, 7), (1, 2, 3, 5, 7)]
        ),
        (
            {"attn_mask": torch.zeros(5, 7, device="meta")},
            ValueError,
            "attn_mask is on meta but the scores are on cpu: move it there",
        ),
        (
            {"attn_mask": torch.ones(5, 7, dtype=torch.bool), "is_causal": True},
            ValueError,
            "attn_mask must be None when is_causal is True: "
            "combine them yourself, attn_mask & causal_mask(L, S)",
        ),
        (
            {"dropout_p": -0.1},
            ValueError,
            "dropout_p (-0.1) must be a probability, from 0 to 1",
        ),
        ({"dropout_p": 2}, ValueError, "dropout_p (2) must be a probability, from 0 to 1"),
        (
            {"dropout_p": float("nan")},
            ValueError,
            "dropout_p (nan) must be a probability, from 0 to 1",
        ),
        ({"dropout_p": "0"}, TypeError, "dropout_p ('0') must be a number"),
    ],
)
def test_drop_in_refuses(settings: dict[str, Any], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        scaled_dot_product_attention(Q, K, V, **settings)


def test_drop_in_adds_a_mask_of_zeros() -> None:
    same(*(scaled_dot_product_attention(Q, K, V, mask) for mask in (torch.zeros(5, 7), None)))


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        (
            ((5, 4), (7, 4), (7, 4)),
            "query (5, 4) and key (7, 4) must have a head dimension, "
            "(..., heads, length, width), to share heads",
        ),
        (
            ((6, 5, 4), (4, 7, 4), (4, 7, 4)),
            "query has 6 heads, which must be a multiple of the key's 4 heads",
        ),
        (
            ((3, 5, 4), (6, 7, 4), (6, 7, 4)),
            "query has 3 heads, which must be a multiple of the key's 6 heads",
        ),
        (
            ((6, 5, 4), (0, 7, 4), (0, 7, 4)),
            "query has 6 heads, which must be a multiple of the key's 0 heads",
        ),
        (
            ((6, 5, 4), (3, 7, 4), (4, 7, 4)),
            "query has 6 heads, which must be a multiple of the value's 4 heads",
        ),
    ],
)
def test_refuses_heads_that_cannot_be_shared(
    shapes: tuple[tuple[int, ...], ...], sentence: str
) -> None:
    query, key, value = map(torch.zeros, shapes)
    with pytest.raises(ValueError, match=says(sentence)):
        scaled_dot_product_attention(query, key, value, enable_gqa=True)


@pytest.mark.parametrize(
    ("score", "shape"),
    [
        (lambda query, key: key @ query.mT, (2, 3, 7, 5)),
        (lambda query, key: cosine(query, key)[..., :1, :], (2, 3, 1, 7)),
        (lambda query, key: cosine(query, key).mean(-1), (2, 3, 5)),
    ],
)
def test_refuses_a_score_of_the_wrong_shape(score: Any, shape: tuple[int, ...]) -> None:
    sentence = (
        f"score returned shape {shape} but must return (..., 5, 7), "
        f"one number for each query and key"
    )
    with pytest.raises(ValueError, match=says(sentence)):
        attention(Q, K, V, score=score)


def test_refuses_what_is_no_sequence_though_a_score_takes_it() -> None:
    def score(query: Tensor, key: Tensor) -> Tensor:
        return query.outer(key)

    sentence = "query (4,) and key (4,) must have at least two dimensions, (length, width)"
    with pytest.raises(ValueError, match=says(sentence)):
        attention(*torch.ones(3, 4), score=score)
