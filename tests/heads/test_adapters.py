"""The module behind torch's signature, alone and inside torch's layers."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attn_examples import MultiHeadAttention, alibi, as_torch, biased, causal_mask
from tests.conftest import gradients, randn, same, says

N, L, S, H, E = 2, 5, 7, 4, 12
INF = float("-inf")


def pair(**settings: Any) -> tuple[Any, nn.Module]:
    theirs = nn.MultiheadAttention(E, H, **settings).double()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    batch_first = settings.get("batch_first", False)
    ours = as_torch(MultiHeadAttention.from_torch(theirs), batch_first=batch_first)
    return theirs, ours


def test_signature_and_defaults_are_torchs() -> None:
    theirs: Any = nn.MultiheadAttention.forward
    expected = inspect.signature(theirs).parameters
    ours = inspect.signature(pair()[1].forward).parameters
    assert list(ours) == list(expected)[1:]
    assert all(ours[name].default == expected[name].default for name in ours)


def forbidden() -> Tensor:
    """Forbid some keys, never the first and second: torch gives NaN where none is left."""
    return (torch.rand(N * H, L, S) > 0.6).index_fill(-1, torch.tensor([0, 1]), False)


PADDING = torch.tensor([[False] * 4 + [True] * 3, [False] * 7])
MASKS: dict[str, dict[str, Tensor]] = {
    "none": {},
    "pairs": {"attn_mask": ~causal_mask(L, S)},
    "each head": {"attn_mask": forbidden()},
    "added": {"attn_mask": randn(L, S)},
    "added, each head": {"attn_mask": randn(N * H, L, S).masked_fill(forbidden(), INF)},
    "padding": {"key_padding_mask": PADDING},
    "padding, added": {"key_padding_mask": torch.zeros(N, S).double().masked_fill(PADDING, INF)},
    "both": {"attn_mask": ~causal_mask(L, S), "key_padding_mask": PADDING},
    "both, added": {
        "attn_mask": randn(L, S),
        "key_padding_mask": torch.zeros(N, S).double().masked_fill(PADDING, INF),
    },
}


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("average_attn_weights", [True, False])
@pytest.mark.parametrize("masks", MASKS)
def test_equals_torch(
    masks: str, average_attn_weights: bool, need_weights: bool, batch_first: bool
) -> None:
    theirs, ours = pair(batch_first=batch_first)
    x, context = randn(N, L, E), randn(N, S, E)
    if not batch_first:
        x, context = x.transpose(0, 1), context.transpose(0, 1)
    settings: Any = MASKS[masks] | {
        "need_weights": need_weights,
        "average_attn_weights": average_attn_weights,
    }
    expected = theirs(x, context, context, **settings)
    output, weights = ours(x, context, context, **settings)
    same(output, expected[0])
    if need_weights:
        same(weights, expected[1])
    else:
        assert weights is expected[1] is None


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("average_attn_weights", [True, False])
@pytest.mark.parametrize("dims", [2, 3])
def test_equals_torch_without_a_batch(
    batch_first: bool, average_attn_weights: bool, dims: int
) -> None:
    theirs, ours = pair(batch_first=batch_first)
    x, mask = randn(L, E), ~causal_mask(L)
    settings: Any = {
        "attn_mask": mask if dims == 2 else mask.expand(H, L, L),
        "key_padding_mask": torch.tensor([False] * 4 + [True]),
        "average_attn_weights": average_attn_weights,
    }
    for ours_too, expected in zip(
        ours(x, x, x, **settings), theirs(x, x, x, **settings), strict=True
    ):
        same(ours_too, expected)


@pytest.mark.parametrize("need_weights", [True, False])
def test_is_causal_is_a_hint(need_weights: bool) -> None:
    theirs, ours = pair(batch_first=True)
    x = randn(N, L, E)
    settings: Any = {"attn_mask": ~causal_mask(L), "is_causal": True, "need_weights": need_weights}
    same(ours(x, x, x, **settings)[0], theirs(x, x, x, **settings)[0])
    with pytest.raises(RuntimeError):
        theirs(x, x, x, is_causal=True, need_weights=need_weights)
    sentence = "attn_mask must be given when is_causal is True, as in torch"
    with pytest.raises(ValueError, match=says(sentence)):
        ours(x, x, x, is_causal=True, need_weights=need_weights)


def swapped(layer: Any) -> Any:
    ours = copy.deepcopy(layer)
    for name in ("self_attn", "multihead_attn"):
        if hasattr(ours, name):
            theirs = getattr(ours, name)
            module = MultiHeadAttention.from_torch(theirs)
            setattr(ours, name, as_torch(module, batch_first=theirs.batch_first))
    return ours


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("grad", [True, False])
def test_inside_torchs_layers(
    norm_first: bool, batch_first: bool, training: bool, causal: bool, grad: bool
) -> None:
    settings: Any = {
        "dim_feedforward": 8,
        "dropout": 0.0,
        "norm_first": norm_first,
        "batch_first": batch_first,
    }
    encoder = nn.TransformerEncoderLayer(E, H, **settings).double().train(training)
    decoder = nn.TransformerDecoderLayer(E, H, **settings).double().train(training)
    x, memory = randn(N, L, E), randn(N, S, E)
    if not batch_first:
        x, memory = x.transpose(0, 1), memory.transpose(0, 1)
    x.requires_grad_(grad)
    past = nn.Transformer.generate_square_subsequent_mask(L, dtype=torch.float64)
    padding = torch.tensor([[False] * 4 + [True], [False] * 5])
    added = torch.zeros(N, L).double().masked_fill(padding, INF)
    masks: Any = (past, added) if causal else (None, padding)
    calls: list[tuple[nn.Module, Callable[[Any], Tensor]]] = [
        (encoder, lambda m: m(x, *masks, is_causal=causal)),
        (encoder, lambda m: m(x, masks[0], is_causal=causal)),
        (decoder, lambda m: m(x, memory, masks[0], None, masks[1], PADDING, tgt_is_causal=causal)),
    ]
    for layer, call in calls:
        ours = swapped(layer)
        with torch.set_grad_enabled(grad):
            expected, output = call(layer), call(ours)
        seen = ~padding if batch_first else ~padding.T
        same(output[seen], expected[seen])
        if grad:
            same(gradients(output[seen], x)[0], gradients(expected[seen], x)[0])


@pytest.mark.parametrize("training", [True, False])
def test_inside_torchs_encoder(training: bool) -> None:
    layer = nn.TransformerEncoderLayer(E, H, 8, 0.0, batch_first=True).double()
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).train(training)
    ours = nn.TransformerEncoder(swapped(layer), 2, enable_nested_tensor=False).train(training)
    x, padding = randn(N, L, E), torch.tensor([[False] * 4 + [True], [False] * 5])
    past = nn.Transformer.generate_square_subsequent_mask(L, dtype=torch.float64)
    for masks in ({}, {"mask": past}, {"src_key_padding_mask": padding}):
        with torch.no_grad():
            expected, output = encoder(x, **masks), ours(x, **masks)
        same(output[~padding], expected[~padding])


def test_torchs_own_kernel_is_refused() -> None:
    layer = nn.TransformerEncoderLayer(E, H, 8, 0.0, batch_first=True).double()
    encoder = nn.TransformerEncoder(layer, 2).eval()
    for i, theirs in enumerate(encoder.layers):
        encoder.layers[i] = swapped(theirs)
    padding = torch.tensor([[False] * 4 + [True], [False] * 5])
    sentence = (
        "nn.TransformerEncoder wants to run a kernel of its own, without this module: "
        "make it with enable_nested_tensor=False"
    )
    with torch.no_grad(), pytest.raises(AttributeError, match=says(sentence)):
        encoder(randn(N, L, E), src_key_padding_mask=padding)


def test_any_module_fits_into_torchs_layer() -> None:
    module = MultiHeadAttention(E, H, 2, head_dim=5, positions=biased(alibi)).double()
    layer: Any = nn.TransformerEncoderLayer(E, H, 8, 0.0, batch_first=True).double().eval()
    layer.self_attn = as_torch(module, batch_first=True)
    x = randn(N, L, E)
    with torch.no_grad():
        middle = layer.norm1(x + module(x)[0])
        same(layer(x), layer.norm2(middle + layer.linear2(layer.linear1(middle).relu())))
    assert layer.self_attn.module is module


def test_a_query_with_no_key_allowed() -> None:
    theirs, ours = pair(batch_first=True)
    x, mask = randn(N, L, E), torch.eye(L).bool().logical_not().logical_not()
    mask[2] = True
    output, weights = ours(x, x, x, attn_mask=mask)
    expected, _ = theirs(x, x, x, attn_mask=mask)
    assert expected[:, 2].isnan().all()
    assert torch.equal(weights[:, 2], torch.zeros(N, L, dtype=torch.float64))
    same(output[:, 2], theirs.out_proj.bias.expand(N, E))
    others = [0, 1, 3, 4]
    same(output[:, others], expected[:, others])


def test_refuses_another_module() -> None:
    module: Any = nn.Linear(1, 1)
    with pytest.raises(TypeError, match=says("module (Linear) must be a MultiHeadAttention")):
        as_torch(module)
