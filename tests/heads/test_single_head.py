"""Modules with a single head, against torch, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertSelfAttention

from attn_examples import CausalSelfAttention, CrossAttention, SelfAttention, causal_mask
from tests.conftest import gradients, same, says
from tests.heads.conftest import WRONG_KIND, misfit

N, L, S, E = 2, 5, 7, 12


@pytest.mark.parametrize("head_dim", [None, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_one_head_equals_torch(
    x: Tensor, context: Tensor, head_dim: int | None, bias: bool
) -> None:
    allowed = torch.rand(N, L, S) > 0.3
    for module, source, mask, expected_mask in [
        (SelfAttention(E, head_dim, bias=bias), x, None, None),
        (SelfAttention(E, head_dim, bias=bias), x, allowed[..., :L], allowed[..., :L]),
        (CausalSelfAttention(E, head_dim, bias=bias), x, None, causal_mask(L)),
        (
            CausalSelfAttention(E, head_dim, bias=bias),
            x,
            allowed[..., :L],
            allowed[..., :L].tril(),
        ),
        (CrossAttention(E, 8, head_dim, bias=bias), context[..., :8], None, None),
        (CrossAttention(E, E, head_dim, bias=bias), context, allowed, allowed),
    ]:
        module.double()
        parameters = dict(module.named_parameters())
        assert len(parameters) == (6 if bias else 3)

        def project(name: str, inputs: Tensor, parameters: Any = parameters) -> Tensor:
            projected = torch.einsum("nle,de->nld", inputs, parameters[f"{name}.weight"])
            return projected + parameters[f"{name}.bias"] if bias else projected

        expected = F.scaled_dot_product_attention(
            project("q_proj", x),
            project("k_proj", source),
            project("v_proj", source),
            expected_mask,
        )
        inputs = (x, source) if isinstance(module, CrossAttention) else (x,)
        output, weights = module(*inputs, mask)
        same(output, expected)
        same(weights @ project("v_proj", source), expected)
        assert output.shape == (N, L, head_dim or E)


@pytest.mark.parametrize("masked", [False, True])
def test_one_head_equals_bert(x: Tensor, masked: bool) -> None:
    settings: Any = {"attn_implementation": "eager"}
    make: Any = BertSelfAttention
    theirs = make(BertConfig(hidden_size=E, num_attention_heads=1, **settings)).double().eval()
    ours = SelfAttention(E).double()
    pairs = {"q_proj": "query", "k_proj": "key", "v_proj": "value"}
    for mine, their in pairs.items():
        nn.init.normal_(getattr(theirs, their).bias)
        getattr(ours, mine).load_state_dict(getattr(theirs, their).state_dict())
    mask = (torch.rand(N, L, L) > 0.4) | torch.eye(L, dtype=torch.bool) if masked else None
    added = None
    if mask is not None:
        added = torch.zeros(N, 1, L, L).double().masked_fill(~mask.unsqueeze(1), float("-inf"))
    x.requires_grad_()
    expected, their_weights = theirs(x, added)
    output, weights = ours(x, mask)
    assert weights is not None
    same(output, expected)
    same(weights, their_weights.squeeze(1))
    same(*(gradients(each, x)[0] for each in (output, expected)))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", [SelfAttention, CausalSelfAttention, CrossAttention])
def test_one_head_equals_a_module_of_torch(
    x: Tensor, context: Tensor, kind: Any, masked: bool
) -> None:
    crosses = kind is CrossAttention
    source = context[..., :8] if crosses else x
    ours = (kind(E, 8) if crosses else kind(E)).double()
    width = source.shape[-1]
    theirs: Any = nn.MultiheadAttention(E, 1, kdim=width, vdim=width, batch_first=True).double()
    projections = ours.q_proj, ours.k_proj, ours.v_proj
    with torch.no_grad():
        theirs.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
        if crosses:
            for name, p in zip("qkv", projections, strict=True):
                getattr(theirs, f"{name}_proj_weight").copy_(p.weight)
        else:
            theirs.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        theirs.out_proj.weight.copy_(torch.eye(E))  # ours has no projection of the output
    allowed = torch.ones(N, L, source.shape[1], dtype=torch.bool)
    if masked:
        allowed = (torch.rand(allowed.shape) > 0.4).index_fill(-1, torch.tensor(0), True)
    seen = allowed.tril() if kind is CausalSelfAttention else allowed
    expected, their_weights = theirs(x, source, source, attn_mask=~seen)
    output, weights = ours(*([x, source] if crosses else [x]), allowed if masked else None)
    same(output, expected)
    same(weights, their_weights)


@pytest.mark.parametrize(
    ("kind", "sizes", "sentence"),
    [
        (kind, {"embed_dim": 12} | {name: -1}, f"{name} (-1) must be at least 1")
        for kind, names in [
            (SelfAttention, ("embed_dim", "head_dim")),
            (CausalSelfAttention, ("embed_dim", "head_dim")),
            (CrossAttention, ("embed_dim", "context_dim", "head_dim")),
        ]
        for name in names
    ],
)
def test_refuses_sizes(kind: Any, sizes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=says(sentence)):
        kind(**sizes)


X, C = torch.zeros(N, L, E), torch.zeros(N, S, 8)
CROSS = CrossAttention(E, 8)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(
    ("module", "arguments", "error", "sentence"),
    [
        (CROSS, (X, None), TypeError, "context (NoneType) must be a torch.Tensor"),
        (
            CROSS,
            (X, X),
            ValueError,
            "context has shape (2, 5, 12) but must be (..., length, 8), since context_dim is 8",
        ),
        (
            CROSS,
            (X, C[:1]),
            ValueError,
            "context has shape (1, 7, 8) but x has (2, 5, 12): "
            "all dimensions before the last two must be equal",
        ),
        (
            SelfAttention(E),
            (C,),
            ValueError,
            "x has shape (2, 7, 8) but must be (..., length, 12), since embed_dim is 12",
        ),
        (CausalSelfAttention(E), ("x",), TypeError, "x (str) must be a torch.Tensor"),
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
@pytest.mark.parametrize("kind", [SelfAttention, CausalSelfAttention])
@pytest.mark.parametrize(
    ("mask", "error", "sentence"),
    [
        *WRONG_KIND,
        *(
            misfit(shape, "(5, 5) or (2, 5, 5)")
            for shape in [(), (5,), (5, 7), (3, 5, 5), (1, 1, 5, 5)]
        ),
    ],
)
def test_one_head_refuses_a_mask(
    mask: Any, error: type[Exception], sentence: str, kind: Any, need_weights: bool
) -> None:
    with pytest.raises(error, match=says(sentence)):
        kind(E)(X, mask, need_weights=need_weights)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(
    ("mask", "error", "sentence"),
    [
        *WRONG_KIND[:-1],  # the last is as large as those of self-attention
        *(
            misfit(shape, "(5, 7) or (2, 5, 7)")
            for shape in [(), (7,), (7, 5), (5, 5), (3, 5, 7), (2, 1, 5, 7)]
        ),
    ],
)
def test_cross_attention_refuses_a_mask(
    mask: Any, error: type[Exception], sentence: str, need_weights: bool
) -> None:
    with pytest.raises(error, match=says(sentence)):
        CROSS(X, C, mask, need_weights=need_weights)
