"""The modules against torch's, x-transformers' and transformers', and what they promise."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig, LlamaConfig, SmolLM3Config
from transformers.models.bert.modeling_bert import BertSelfAttention
from transformers.models.llama.modeling_llama import LlamaAttention
from transformers.models.smollm3.modeling_smollm3 import SmolLM3Attention

from attn_examples import (
    CausalSelfAttention,
    CrossAttention,
    MultiHeadAttention,
    SelfAttention,
    causal_mask,
    padding_mask,
    sliding_window_mask,
)
from tests.conftest import gradients, randn, same, says
from tests.heads.conftest import WRONG_KIND, misfit

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # x-transformers uses parts of torch that are deprecated
    from x_transformers.x_transformers import Attention as XAttention

N, L, S, H, E = 2, 5, 7, 3, 12


def weights_of(result: tuple[Tensor, Tensor | None]) -> Tensor:
    assert result[1] is not None
    return result[1]


# Against implementations that are not ours


def per_head() -> Tensor:
    return torch.rand(N, H, L, S).index_fill(-1, torch.tensor(0), 1.0) > 0.4


# Our mask, and what says the same to torch's module: True there means forbidden
PAIRS: dict[str, Callable[[], tuple[Tensor | None, dict[str, Tensor]]]] = {
    "none": lambda: (None, {}),
    "pairs": lambda: ((mask := causal_mask(L, S)), {"attn_mask": ~mask}),
    "padding": lambda: ((mask := padding_mask([3, 7], S)), {"key_padding_mask": ~mask[:, 0]}),
    "each head": lambda: ((mask := per_head()), {"attn_mask": ~mask.flatten(0, 1)}),
}


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kdim", "vdim"), [(None, None), (8, 6), (8, None)])
@pytest.mark.parametrize("mask", PAIRS)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_from_torch_equals_torch(
    batch_first: bool, bias: bool, kdim: int | None, vdim: int | None, mask: str, dropout: float
) -> None:
    theirs = nn.MultiheadAttention(
        E, H, dropout, bias=bias, kdim=kdim, vdim=vdim, batch_first=batch_first
    ).double()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)  # torch's own biases are 0, which would hide a lost one
    ours = MultiHeadAttention.from_torch(theirs)
    query, key, value = randn(N, L, E), randn(N, S, kdim or E), randn(N, S, vdim or E)
    allowed, forbidden = PAIRS[mask]()

    torch.manual_seed(1)
    output, weights = ours(query, key, value, mask=allowed)
    torch.manual_seed(1)
    turned = (
        (query, key, value) if batch_first else (t.transpose(0, 1) for t in (query, key, value))
    )
    their_output, their_weights = theirs(*turned, **forbidden, average_attn_weights=False)
    same(output, their_output if batch_first else their_output.transpose(0, 1))
    same(weights, their_weights)


def test_from_torch_copies() -> None:
    theirs = nn.MultiheadAttention(E, H, dropout=0.3, dtype=torch.float64).eval()
    ours = MultiHeadAttention.from_torch(theirs)
    before = ours.q_proj.weight.clone()
    with torch.no_grad():
        theirs.in_proj_weight.zero_()
    assert torch.equal(ours.q_proj.weight, before)
    assert not ours.training
    assert ours.dropout == 0.3
    assert all(p.requires_grad and p.dtype == torch.float64 for p in ours.parameters())


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim"), [(3, 3, None), (3, 1, None), (6, 2, None), (4, 2, 5)]
)
def test_equals_x_transformers(
    x: Tensor, causal: bool, heads: int, kv_heads: int, head_dim: int | None
) -> None:
    width = head_dim or E // heads
    theirs = XAttention(
        E,
        heads=heads,
        kv_heads=kv_heads,
        dim_head=width,
        causal=causal,
        custom_attn_fn=partial(F.softmax, dim=-1),  # their own works in float32, always
    ).double()
    ours = MultiHeadAttention(E, heads, kv_heads, head_dim=head_dim, bias=False).double()
    # their head h reads key head h % kv_heads, ours h // (heads / kv_heads): reorder the heads
    order = torch.arange(heads).view(-1, kv_heads).T.flatten()
    with torch.no_grad():
        ours.q_proj.weight.copy_(theirs.to_q.weight.view(heads, width, E)[order].flatten(0, 1))
        ours.k_proj.weight.copy_(theirs.to_k.weight)
        ours.v_proj.weight.copy_(theirs.to_v.weight)
        ours.out_proj.weight.copy_(theirs.to_out.weight.view(E, heads, width)[:, order].flatten(1))
    mask = padding_mask([3, 5], L)
    expected, steps = theirs(x, mask=mask[:, 0], return_intermediates=True)
    output, weights = ours(x, mask=mask, is_causal=causal)
    same(output[mask[:, 0]], expected[mask[:, 0]])  # theirs is 0 where the query is padding
    same(weights_of((output, weights)), steps.post_softmax_attn[:, order])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim"), [(3, 1, None), (6, 2, None), (6, 3, 5), (4, 2, 5)]
)
def test_shared_keys_equal_torch(
    x: Tensor, context: Tensor, causal: bool, heads: int, kv_heads: int, head_dim: int | None
) -> None:
    """Forward and gradients, with more keys than queries, against the kernel's own sharing."""
    ours = MultiHeadAttention(E, heads, kv_heads, head_dim=head_dim).double()
    mask = torch.rand(L, S).index_fill(-1, torch.tensor(0), 1.0) > 0.3
    allowed = mask & causal_mask(L, S) if causal else mask
    inputs = x.requires_grad_(), context.requires_grad_()
    query, key, value = (
        projected.view(N, -1, count, projected.shape[-1] // count).transpose(1, 2)
        for projected, count in [
            (ours.q_proj(x), heads),
            (ours.k_proj(context), kv_heads),
            (ours.v_proj(context), kv_heads),
        ]
    )
    theirs = F.scaled_dot_product_attention(query, key, value, allowed, enable_gqa=True)
    expected = ours.out_proj(theirs.transpose(1, 2).flatten(2))
    wanted = gradients(expected, *inputs, *ours.parameters())
    output, weights = ours(x, context, mask=mask, is_causal=causal)
    same(output, expected)
    for gradient, theirs_is in zip(
        gradients(output, *inputs, *ours.parameters()), wanted, strict=True
    ):
        same(gradient, theirs_is)
    # which key head each query head reads: the weights are those of its own and no other
    for h in range(heads):
        scores = query[:, h] @ key[:, h * kv_heads // heads].transpose(-2, -1)
        scores = scores.masked_fill(~allowed, float("-inf")) / query.shape[-1] ** 0.5
        same(weights_of((output, weights))[:, h], scores.softmax(-1))


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("kv_heads", [6, 3, 2, 1])
def test_shared_keys_equal_llama(x: Tensor, kv_heads: int, need_weights: bool) -> None:
    make: Any = LlamaAttention
    settings: Any = {"attn_implementation": "sdpa"}  # the eager one normalizes in float32
    sizes: Any = {"hidden_size": E, "num_attention_heads": 6, "head_dim": 4}
    config = LlamaConfig(**sizes, num_key_value_heads=kv_heads, **settings)
    theirs = make(config, layer_idx=0).double().eval()
    ours = MultiHeadAttention(E, 6, kv_heads, head_dim=4, bias=False).double()
    state = {name.replace("o_proj", "out_proj"): p for name, p in theirs.state_dict().items()}
    ours.load_state_dict(state)
    still = torch.ones(N, L, 4).double(), torch.zeros(N, L, 4).double()  # turned by no angle
    past = torch.zeros(L, L).double().masked_fill(~causal_mask(L), float("-inf"))
    x.requires_grad_()
    expected, _ = theirs(x, still, past.expand(N, 1, -1, -1))
    output, _ = ours(x, is_causal=True, need_weights=need_weights)
    same(output, expected)
    wanted = gradients(expected, x, *(theirs.get_parameter(f"{n}_proj.weight") for n in "qkvo"))
    projections = (ours.q_proj, ours.k_proj, ours.v_proj, ours.out_proj)
    found = gradients(output, x, *(projection.weight for projection in projections))
    for gradient, theirs_is in zip(found, wanted, strict=True):
        same(gradient, theirs_is)


@given(st.sampled_from([(6, 6), (6, 3), (6, 2), (6, 1), (4, 2), (5, 1)]), st.integers(1, 4))
def test_mean_pooling_makes_fewer_key_heads(sizes: tuple[int, int], width: int) -> None:
    """A checkpoint whose groups agree loses nothing, and any loses nothing where G is H."""
    heads, kv_heads = sizes
    torch.manual_seed(0)
    fewer = MultiHeadAttention(E, heads, kv_heads, head_dim=width).double()
    full, back = (
        MultiHeadAttention(E, heads, groups, head_dim=width).double()
        for groups in (heads, kv_heads)
    )
    state, x = fewer.state_dict(), randn(N, L, E)
    names = [
        f"{projection}.{part}" for projection in ("k_proj", "v_proj") for part in ("weight", "bias")
    ]
    for name in names:  # each key head written down once for each query head
        by_head = state[name].unflatten(0, (kv_heads, width))
        state[name] = by_head.repeat_interleave(heads // kv_heads, 0).flatten(0, 1)
    full.load_state_dict(state)
    same(full(x)[0], fewer(x)[0])
    for name in names:
        pooled = state[name].unflatten(0, (kv_heads, heads // kv_heads, width)).mean(1)
        state[name] = pooled.flatten(0, 1)
    back.load_state_dict(state)
    same(back(x)[0], fewer(x)[0])


def test_equals_transformers(x: Tensor) -> None:
    settings: Any = {"attn_implementation": "eager"}
    config = BertConfig(hidden_size=E, num_attention_heads=H, **settings)
    make: Any = BertSelfAttention
    theirs = make(config).double().eval()
    ours = MultiHeadAttention(E, H).double().eval()
    with torch.no_grad():
        for our_proj, their_proj in [
            (ours.q_proj, theirs.query),
            (ours.k_proj, theirs.key),
            (ours.v_proj, theirs.value),
        ]:
            our_proj.load_state_dict(their_proj.state_dict())
        ours.out_proj.weight.copy_(torch.eye(E))  # theirs comes in a module of its own
        ours.out_proj.bias.zero_()
    allowed = padding_mask([3, 5], L)
    added = torch.zeros(N, 1, 1, L, dtype=torch.float64).masked_fill(~allowed.unsqueeze(1), -1e300)
    output, weights = ours(x, mask=allowed)
    expected, expected_weights = theirs(x, added)
    same(output, expected)
    same(weights_of((output, weights)), expected_weights)


# What they promise

MASKS: dict[str, Callable[[], Tensor | None]] = {
    "none": lambda: None,
    "one": lambda: torch.tensor([[True]]),
    "for each pair": lambda: torch.rand(L, S) > 0.5,
    "for each key": lambda: torch.rand(1, S) > 0.5,
    "padding": lambda: padding_mask([0, 4], S),
    "for each batch": lambda: torch.rand(N, L, S) > 0.5,
    "for each head": lambda: torch.rand(1, 6, L, S) > 0.5,
    "in full": lambda: torch.rand(N, 6, L, S) > 0.5,
    "window": lambda: sliding_window_mask(L, S, 2),
    "nothing": lambda: torch.zeros(L, S, dtype=torch.bool),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("num_kv_heads", [6, 2, 1])
@pytest.mark.parametrize("key_len", [S, L, 0, 2])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_without_weights_the_numbers_are_the_same(
    mask: str, is_causal: bool, num_kv_heads: int, key_len: int, dropout: float
) -> None:
    module = MultiHeadAttention(E, 6, num_kv_heads, dropout=dropout).double()
    x, context = randn(N, L, E, grad=True), randn(N, key_len, E, grad=True)
    allowed = MASKS[mask]()
    if allowed is not None and allowed.shape[-1] == S:
        allowed = allowed[..., :key_len]
    results = []
    for need_weights in (True, False):
        torch.manual_seed(1)
        settings = {"mask": allowed, "is_causal": is_causal, "need_weights": need_weights}
        output, weights = module(x, context, **settings)
        assert (weights is not None) == need_weights
        results.append((output, *gradients(output, x, context, *module.parameters())))
    for visible, fused in zip(*results, strict=True):
        assert visible.isfinite().all()
        assert fused.isfinite().all()
        same(fused, visible)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("lead", [(), (N,), (1, N), (1, 1, N)])
@pytest.mark.parametrize("num_kv_heads", [6, 2])
def test_any_number_of_batch_dimensions(
    lead: tuple[int, ...], num_kv_heads: int, need_weights: bool
) -> None:
    x, context, mask = randn(*lead, L, E), randn(*lead, S, E), torch.rand(*lead, L, S) > 0.3
    modules: list[Any] = [MultiHeadAttention(E, 6, num_kv_heads), CrossAttention(E)]
    for module in modules:
        module.double()
        output, weights = module(x, context, mask=mask, need_weights=need_weights)
        flat = (tensor.reshape(-1, *tensor.shape[-2:]) for tensor in (x, context, mask))
        for i, (query, key, allowed) in enumerate(zip(*flat, strict=True)):
            expected, maps = module(query, key, mask=allowed)
            same(output.reshape(-1, L, E)[i], expected)
            if need_weights:
                same(weights.reshape(-1, *maps.shape)[i], maps)


def test_masks_for_all_heads_and_for_each(x: Tensor, context: Tensor) -> None:
    module = MultiHeadAttention(E, H).double()
    per_batch, per_head = torch.rand(N, L, S) > 0.4, torch.rand(N, H, L, S) > 0.4
    for h in range(H):
        for mask, seen in [(per_batch, per_batch), (per_head, per_head[:, h])]:
            weights = weights_of(module(x, context, mask=mask))[:, h]
            assert torch.equal(weights != 0, seen)
    alone = weights_of(module(x[0], context[0], mask=per_head[0]))  # (H, L, S) without a batch
    assert torch.equal(alone != 0, per_head[0])


@pytest.mark.parametrize("need_weights", [True, False])
def test_the_cache_of_a_causal_model(x: Tensor, need_weights: bool) -> None:
    """The last queries with all keys give the last rows of the whole."""
    module = MultiHeadAttention(E, H).double()
    whole, _ = module(x, is_causal=True, need_weights=need_weights)
    for new in range(1, L + 1):
        last, _ = module(x[:, -new:], x, is_causal=True, need_weights=need_weights)
        same(last, whole[:, -new:])


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(
    "make", [lambda: CausalSelfAttention(E), lambda: MultiHeadAttention(E, H)], ids=["one", "many"]
)
def test_causal_outputs_do_not_see_the_future(
    x: Tensor, need_weights: bool, make: Callable[[], nn.Module]
) -> None:
    module = make().double()
    causal = {} if isinstance(module, CausalSelfAttention) else {"is_causal": True}
    before, _ = module(x, need_weights=need_weights, **causal)
    x[:, 3:] = 1e6
    after, _ = module(x, need_weights=need_weights, **causal)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3:], after[:, 3:])


@pytest.mark.parametrize("need_weights", [True, False])
def test_padding_has_no_influence_at_all(x: Tensor, context: Tensor, need_weights: bool) -> None:
    module = MultiHeadAttention(E, H).double()
    settings = {"mask": padding_mask([3, 7], S), "need_weights": need_weights}
    before, _ = module(x, context, **settings)
    context[0, 3:] = 1e6
    after, _ = module(x, context, **settings)
    assert torch.equal(before, after)


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_dead_row_gets_the_output_bias(x: Tensor, need_weights: bool) -> None:
    module = MultiHeadAttention(E, H).double()
    mask = (torch.rand(L, L) > 0.3).index_fill(0, torch.tensor(2), False)
    output, weights = module(x, mask=mask, need_weights=need_weights)
    assert torch.equal(output[:, 2], module.out_proj.bias.expand(N, E))
    if weights is not None:
        assert torch.equal(weights[:, :, 2], torch.zeros(N, H, L, dtype=torch.float64))
    single, _ = SelfAttention(E).double()(x, mask, need_weights=need_weights)
    assert torch.equal(single[:, 2], torch.zeros(N, E, dtype=torch.float64))


@given(st.permutations(range(L)), st.permutations(range(S)), st.booleans())
def test_order_does_not_matter_without_a_mask(
    rows: list[int], columns: list[int], need_weights: bool
) -> None:
    torch.manual_seed(0)
    module, x, context = MultiHeadAttention(E, H).double(), randn(N, L, E), randn(N, S, E)
    output, weights = module(x, context, need_weights=need_weights)
    moved, moved_weights = module(x[:, rows], context[:, columns], need_weights=need_weights)
    same(moved, output[:, rows])
    if need_weights:
        same(moved_weights, weights[:, :, rows][..., columns])


@pytest.mark.parametrize("need_weights", [True, False])
def test_batch_elements_do_not_see_each_other(x: Tensor, need_weights: bool) -> None:
    module = MultiHeadAttention(E, H).double()
    before, _ = module(x, need_weights=need_weights)
    x[1] = float("nan")
    after, _ = module(x, need_weights=need_weights)
    assert torch.equal(before[0], after[0])
    assert after[1].isnan().all()


@pytest.mark.parametrize("need_weights", [True, False])
def test_dropout_is_for_training_only(x: Tensor, need_weights: bool) -> None:
    module = MultiHeadAttention(E, H, dropout=0.5).double()
    first, second = (module(x, need_weights=need_weights)[0] for _ in range(2))
    assert not torch.equal(first, second)
    module.eval()
    first, second = (module(x, need_weights=need_weights)[0] for _ in range(2))
    assert torch.equal(first, second)
    plain = MultiHeadAttention(E, H).double()
    plain.load_state_dict(module.state_dict())
    assert torch.equal(plain(x, need_weights=need_weights)[0], first)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("num_kv_heads", [6, 2])
@pytest.mark.parametrize("is_causal", [False, True])
def test_empty_sequences(need_weights: bool, num_kv_heads: int, is_causal: bool) -> None:
    module = MultiHeadAttention(E, 6, num_kv_heads).double()
    settings = {"is_causal": is_causal, "need_weights": need_weights}
    assert module(randn(N, 0, E), randn(N, S, E), **settings)[0].shape == (N, 0, E)
    assert module(randn(N, 0, E), **settings)[0].shape == (N, 0, E)
    assert module(randn(0, L, E), randn(0, S, E), **settings)[0].shape == (0, L, E)
    output, weights = module(randn(N, L, E), randn(N, 0, E), **settings)
    assert torch.equal(output, module.out_proj.bias.expand(N, L, E))
    assert weights is None or weights.shape == (N, 6, L, 0)


def test_key_and_value_default_to_what_comes_before(x: Tensor, context: Tensor) -> None:
    module = MultiHeadAttention(E, H).double()
    same(module(x)[0], module(x, x, x)[0])
    same(module(x, context)[0], module(x, context, context)[0])
    same(module(x, value=2 * x)[0], module(x, x, 2 * x)[0])


def test_sizes_of_the_parameters() -> None:
    module = MultiHeadAttention(E, 6, 2, kdim=8, vdim=10)
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    assert shapes == {
        "q_proj.weight": (12, 12),
        "q_proj.bias": (12,),
        "k_proj.weight": (4, 8),
        "k_proj.bias": (4,),
        "v_proj.weight": (4, 10),
        "v_proj.bias": (4,),
        "out_proj.weight": (12, 12),
        "out_proj.bias": (12,),
    }
    assert (module.num_heads, module.num_kv_heads, module.head_dim) == (6, 2, 2)


@pytest.mark.parametrize("need_weights", [True, False])
def test_runs_under_autocast(need_weights: bool) -> None:
    module, x = MultiHeadAttention(E, H), torch.randn(N, L, E)
    expected, _ = module(x, is_causal=True)
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = module(x, is_causal=True, need_weights=need_weights)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), expected, rtol=0, atol=0.02)  # 8 bits of a bfloat16


# What is refused, and in which words


@pytest.mark.parametrize(
    ("kind", "sizes", "sentence"),
    [
        (
            MultiHeadAttention,
            {"embed_dim": 10, "num_heads": 3},
            "embed_dim (10) must be divisible by num_heads (3)",
        ),
        (
            MultiHeadAttention,
            {"embed_dim": 12, "num_heads": 6, "num_kv_heads": 4},
            "num_heads (6) must be divisible by num_kv_heads (4)",
        ),
        (
            MultiHeadAttention,
            {"embed_dim": 12, "num_heads": 3, "num_kv_heads": 6},
            "num_heads (3) must be divisible by num_kv_heads (6)",
        ),
        (
            MultiHeadAttention,
            {"embed_dim": 12, "num_heads": 3, "dropout": 1.5},
            "dropout (1.5) must be a probability, from 0 to 1",
        ),
        *(
            (
                MultiHeadAttention,
                {"embed_dim": 12, "num_heads": 3} | {name: 0},
                f"{name} (0) must be at least 1",
            )
            for name in ("embed_dim", "num_heads", "num_kv_heads", "kdim", "vdim", "head_dim")
        ),
    ],
)
def test_refuses_sizes(kind: Any, sizes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=says(sentence)):
        kind(**sizes)


@pytest.mark.parametrize("size", [12.0, "12", True])
def test_refuses_sizes_that_are_no_whole_numbers(size: Any) -> None:
    for kind in (SelfAttention, CausalSelfAttention, CrossAttention):
        with pytest.raises(TypeError, match=says(f"embed_dim ({size!r}) must be a whole number")):
            kind(size)
    with pytest.raises(TypeError, match=says(f"num_heads ({size!r}) must be a whole number")):
        MultiHeadAttention(E, size)


def test_refuses_a_dropout_that_is_no_number() -> None:
    dropout: Any = None
    with pytest.raises(TypeError, match=says("dropout (None) must be a number")):
        MultiHeadAttention(E, H, dropout=dropout)


@pytest.mark.parametrize(
    ("module", "error", "sentence"),
    [
        (nn.Linear(1, 1), TypeError, "module (Linear) must be an nn.MultiheadAttention"),
        *(
            (
                nn.MultiheadAttention(12, 3, **added),
                ValueError,
                "module was made with add_bias_kv or add_zero_attn, which add keys that are "
                "not in the input: from_torch takes modules without them",
            )
            for added in ({"add_bias_kv": True}, {"add_zero_attn": True})
        ),
    ],
)
def test_from_torch_refuses(module: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        MultiHeadAttention.from_torch(module)


X, C = torch.zeros(N, L, E), torch.zeros(N, S, 8)
MULTI = MultiHeadAttention(E, H, kdim=8, vdim=8)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(
    ("module", "arguments", "error", "sentence"),
    [
        (MULTI, ([1.0], C), TypeError, "query (list) must be a torch.Tensor"),
        (MULTI, (X, C, 0), TypeError, "value (int) must be a torch.Tensor"),
        (
            MULTI,
            (X.long(), C),
            ValueError,
            "query (torch.int64) must be a floating-point tensor: "
            "embed token numbers first, or call query.float()",
        ),
        (
            MULTI,
            (X,),
            ValueError,
            "key has shape (2, 5, 12) but must be (..., length, 8), since kdim is 8",
        ),
        (
            MULTI,
            (X, C, X),
            ValueError,
            "value has shape (2, 5, 12) but must be (..., length, 8), since vdim is 8",
        ),
        (
            MULTI,
            (C, C),
            ValueError,
            "query has shape (2, 7, 8) but must be (..., length, 12), since embed_dim is 12",
        ),
        (
            MULTI,
            (X[0, 0], C),
            ValueError,
            "query has shape (12,) but must be (..., length, 12), since embed_dim is 12",
        ),
        (
            MULTI,
            (X, C[:1]),
            ValueError,
            "key has shape (1, 7, 8) but query has (2, 5, 12): "
            "all dimensions before the last two must be equal",
        ),
        (
            MULTI,
            (X, C, C[0]),
            ValueError,
            "value has shape (7, 8) but query has (2, 5, 12): "
            "all dimensions before the last two must be equal",
        ),
        (
            MULTI,
            (X, C, C[:, :1]),  # torch's fused kernel would read beyond the end of it
            ValueError,
            "value has 1 positions (2, 1, 8) but key has 7 (2, 7, 8): "
            "each key needs exactly one value",
        ),
    ],
)
def test_refuses_inputs(
    module: nn.Module,
    arguments: tuple[Any, ...],
    error: type[Exception],
    sentence: str,
    need_weights: bool,
) -> None:
    with pytest.raises(error, match=says(sentence)):
        module(*arguments, need_weights=need_weights)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(
    ("mask", "error", "sentence"),
    [
        *WRONG_KIND,
        *(
            misfit(shape, "(5, 5), (2, 5, 5) or (2, 3, 5, 5)")
            # three dimensions are (N, L, S): never taken for (H, L, S)
            for shape in [(), (5,), (5, 7), (3, 5, 5), (2, 7, 5), (4, 3, 5, 5), (1,) * 5]
        ),
    ],
)
def test_many_heads_refuse_a_mask(
    mask: Any, error: type[Exception], sentence: str, is_causal: bool, need_weights: bool
) -> None:
    with pytest.raises(error, match=says(sentence)):
        MultiHeadAttention(E, H)(X, mask=mask, is_causal=is_causal, need_weights=need_weights)


@pytest.mark.parametrize("kind", ["self", "causal", "cross", "multi-head"])
def test_without_weights_the_table_of_scores_is_never_kept(kind: str) -> None:
    """The fused kernel keeps inputs and outputs for the backward pass, not L * S scores."""
    L, x = 96, torch.randn(96, 8, requires_grad=True)
    modules = {
        "self": SelfAttention(8),
        "causal": CausalSelfAttention(8),
        "cross": CrossAttention(8),
        "multi-head": MultiHeadAttention(8, 2),
    }
    inputs = (x, x) if kind == "cross" else (x,)

    def largest_kept(need_weights: bool) -> int:
        kept = [0]

        def keep(tensor: Tensor) -> Tensor:
            kept.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            modules[kind](*inputs, need_weights=need_weights)
        return max(kept)

    assert largest_kept(need_weights=True) >= L * L
    assert largest_kept(need_weights=False) < L * L


# No positions: what shows without them, and what does not


def test_without_positions_equals_smollm3() -> None:
    """Its every fourth layer has none, where the others have rotary ones."""
    settings: Any = {"attn_implementation": "sdpa"}  # the eager one normalizes in float32
    config = SmolLM3Config(
        hidden_size=E,
        num_attention_heads=6,
        num_key_value_heads=2,
        num_hidden_layers=1,
        no_rope_layers=[0],
        **settings,
    )
    theirs: Any = SmolLM3Attention(config, layer_idx=0).double().eval()
    ours = MultiHeadAttention(E, 6, 2, positions=None, bias=False).double()
    state = theirs.state_dict()
    ours.load_state_dict({name.replace("o_proj", "out_proj"): p for name, p in state.items()})
    x = randn(N, L, E, grad=True)
    expected, _ = theirs(x, None, None)
    output, _ = ours(x, is_causal=True)
    same(output, expected)
    same(gradients(output, x)[0], gradients(expected, x)[0])


def test_without_positions_equals_torch() -> None:
    """Shuffled tokens give shuffled outputs, ours and torch's; not under a causal mask."""
    theirs = nn.MultiheadAttention(E, H, batch_first=True).double()
    ours = MultiHeadAttention.from_torch(theirs)
    assert ours.positions is None
    x, order = randn(N, L, E), torch.tensor([3, 0, 4, 1, 2])
    shuffled = x[:, order]
    same(ours(shuffled)[0], theirs(x, x, x)[0][:, order])
    past = ~causal_mask(L)
    expected, _ = theirs(shuffled, shuffled, shuffled, attn_mask=past)
    same(ours(shuffled, is_causal=True)[0], expected)
    assert not torch.allclose(expected, theirs(x, x, x, attn_mask=past)[0][:, order], atol=1e-3)


@given(st.permutations(range(L)))
def test_without_positions_the_outputs_go_where_the_tokens_go(order: list[int]) -> None:
    module, x = MultiHeadAttention(E, H).double(), randn(N, L, E)
    same(module(x[:, order])[0], module(x)[0][:, order])


@given(st.permutations(range(L - 1)))
def test_a_causal_mask_alone_shows_what_is_before_but_not_in_which_order(order: list[int]) -> None:
    """One layer sees the set of what came before: it may be shuffled."""
    module, x = MultiHeadAttention(E, H).double(), randn(N, L, E)
    shuffled = torch.cat((x[:, order], x[:, -1:]), 1)
    same(module(shuffled, is_causal=True)[0][:, -1], module(x, is_causal=True)[0][:, -1])


@given(st.integers(1, 12))
def test_a_causal_mask_counts_from_a_first_token(length: int) -> None:
    """After Kazemnejad et al., theorem 1: equal scores, and a value of the first token alone."""
    module = MultiHeadAttention(2, 1, bias=False).double()
    with torch.no_grad():
        module.q_proj.weight.zero_()
        for projection in (module.v_proj, module.out_proj):
            projection.weight.copy_(torch.eye(2))
        x = torch.zeros(1, length, 2).double()
        x[:, 0, 0] = 1.0
        output, _ = module(x, is_causal=True)
    same(output[0, :, 0], 1.0 / torch.arange(1, length + 1).double())
