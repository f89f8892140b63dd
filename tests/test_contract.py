"""What every mechanism promises, whatever it computes, tested over all of the registry."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import attn_examples
from attn_examples import attention, causal_mask
from attn_examples.registry import ROOMS, mechanisms
from tests.calls import CALLS, MISSING, Call, Inputs
from tests.conftest import gradients, same

STEP = {mechanism.object: mechanism.step for mechanism in mechanisms()}
SMALL = Inputs(N=2, H=3, L=3, S=4)  # for numbers of derivatives


def at(*steps: str) -> list[str]:
    """Name the ways to call the mechanisms of some steps, of all by default."""
    steps = steps or tuple(ROOMS)
    return [way for way in CALLS if STEP.get(way.split(",")[0]) in steps]


def floats(result: Any) -> list[Tensor]:
    """Return the floating-point tensors of a result, without the None of need_weights=False."""
    leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
    return [leaf for leaf in leaves if leaf.is_floating_point()]


def run(call: Call, *tensors: Tensor) -> Any:
    """Call, with the same random numbers each time."""
    torch.manual_seed(0)
    return call(*(tensors or call.tensors))


@contextmanager
def float64_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def test_every_mechanism_is_called() -> None:
    assert not MISSING, "\n".join(MISSING)
    assert {way.split(",")[0] for way in CALLS} == set(STEP)


# What is given where nothing is said


def documented(thing: Any) -> Iterator[tuple[str, str]]:
    """Read names and defaults in a docstring: "beta : float, default 1", or two in one line."""
    for line in re.findall(r"(?m)^\S.* : .*default .*$", inspect.getdoc(thing) or ""):
        names, values = line.split(" : ")[0].split(", "), line.split("default ")[1].split(" and ")
        yield from zip(names, values * (len(names) // len(values)), strict=True)


@pytest.mark.parametrize("name", attn_examples.__all__)
def test_defaults_are_those_that_the_docstring_says(name: str) -> None:
    thing: Any = getattr(attn_examples, name)
    for function in (thing, getattr(thing, "forward", thing)):
        for parameter, said in documented(function):
            default = inspect.signature(function).parameters[parameter].default
            shown = f"`{default.__name__}`" if callable(default) else str(default)
            shown = f"{default:g}" if isinstance(default, float) else shown
            assert said.strip('"') == shown, parameter


# Shapes


@pytest.mark.parametrize("sizes", [{}, {"L": 0}, {"S": 0}, {"N": 1, "L": 1}], ids=str)
@pytest.mark.parametrize("way", at())
def test_shapes_and_dtype(way: str, sizes: dict[str, Any]) -> None:
    i = Inputs(torch.float32, **sizes)
    call, name = CALLS[way](i), way.split(",")[0]
    result = run(call)
    lead = call.tensors[0].shape[:-2] if call.tensors else ()
    if STEP[name] == "masks":
        assert result.dtype == torch.bool
        pairs = torch.ones(i.N, i.L, i.S, dtype=torch.bool)
        assert (pairs & result).shape == pairs.shape
        return
    if STEP[name] in ("scores", "normalizers"):
        assert result.shape == (*lead, i.L, i.S)
    elif STEP[name] == "positions":
        wanted = [*(tensor.shape[-2:] for tensor in call.tensors), (i.L, i.S), (i.L, i.E)]
        assert floats(result)[0].shape[-2:] in wanted
    else:
        output, weights = result if isinstance(result, tuple) else (result, None)
        assert output.shape[:-1] == (*lead, i.L)
        keys = call.tensors[1].shape[-2] if len(call.tensors) > 1 else i.L
        assert weights is None or weights.shape[-2:] == (i.L, keys)
    assert {tensor.dtype for tensor in floats(result)} == {torch.float32}


# float64 in, float64 all the way


class OnlyFloat64(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuse every operation that gives floating-point numbers of another dtype."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in floats(result):
            assert tensor.dtype == torch.float64, f"{func} gives {tensor.dtype}"
        return result


ONLY_FLOAT64 = OnlyFloat64()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("way", at())
def test_float64_stays_float64(way: str) -> None:
    """No constant inside is of fewer digits, whatever torch's default dtype is."""
    with float64_by_default(), ONLY_FLOAT64:
        exact = CALLS[way](Inputs())
        run(exact)
    call = CALLS[way](Inputs())  # made in float32, and converted
    for converted, buffer in zip(call.buffers(), exact.buffers(), strict=True):
        same(converted, buffer)
    with ONLY_FLOAT64:
        run(call)


# What is refused


# A sentence of an error begins with the name of what was given
NAMES = {"query", "key", "value", "x", "context", "scores", "mask", "attn_mask", "bias"}
NAMES |= {"sink", "step", "dtype"}


def refuses(call: Call, tensors: list[Tensor], *more: type[Exception]) -> str:
    """Return the sentence with which a call refuses tensors."""
    with pytest.raises((TypeError, ValueError, *more)) as refused:
        run(call, *tensors)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert sentence.split()[0] in NAMES, sentence
    return sentence


# They take sizes, or whole numbers
WITHOUT_FLOATS = {
    "causal_mask", "sliding_window_mask", "prefix_mask", "padding_mask", "query_padding_mask",
    "document_mask", "local_mask", "dilated_mask", "chunked_mask", "strided_mask", "fixed_mask",
    "global_mask", "random_mask", "pack_sequences", "LearnedPositions", "sinusoidal",
}  # fmt: skip
PLACES = [
    (way, place)
    for way in at()
    if way.split(",")[0] not in WITHOUT_FLOATS
    for place in range(len(CALLS[way](SMALL).tensors))
]


@pytest.mark.parametrize(("way", "place"), PLACES)
def test_whole_numbers_are_refused(way: str, place: int) -> None:
    call = CALLS[way](SMALL)
    tensors = list(call.tensors)
    tensors[place] = torch.ones(tensors[place].shape, dtype=torch.int64)
    assert "torch.int64" in refuses(call, tensors)


@pytest.mark.parametrize(("way", "place"), PLACES)
def test_another_device_is_refused(way: str, place: int) -> None:
    call = CALLS[way](SMALL)
    if len(call.tensors) == 1 and not list(call.parameters()):
        return  # nothing it could be another than
    if way == "share_heads":
        return  # it reads how many heads there are, wherever they are
    tensors = list(call.tensors)
    tensors[place] = tensors[place].to("meta")
    torchs_own = [RuntimeError] if STEP[way.split(",")[0]] == "heads" else []
    assert "meta" in refuses(call, tensors, *torchs_own)


# What is made is made where the tensors are


class OneDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuse every operation on tensors of two devices, unless it copies or one is a number."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.dim()]
        devices = {tensor.device.type for tensor in given}
        assert len(devices) < 2 or "copy" in str(func), f"{func} meets {devices}"
        return func(*args, **(kwargs or {}))


ONE_DEVICE = OneDevice()  # type: ignore[no-untyped-call]


# to_flex: torch itself makes indices on the CPU, for tensors that are nowhere
@pytest.mark.parametrize("way", [way for way in at() if way != "to_flex"])
def test_all_is_made_where_the_tensors_are(way: str) -> None:
    call = CALLS[way](Inputs()).to("meta")
    with ONE_DEVICE:
        result = run(call, *(tensor.to("meta") for tensor in call.tensors))
    if call.tensors:
        assert {t.device.type for t in tree_leaves(result) if isinstance(t, Tensor)} <= {"meta"}


# Gradients


def weights_of(way: str, call: Call, mask: Tensor) -> Tensor:
    """Return weights made with a score or a normalizer, where a mask allows them."""
    if STEP[way.split(",")[0]] == "normalizers":
        scores = call.tensors[0].masked_fill(~mask, float("-inf"))
        weights: Tensor = run(call, scores)
        return weights
    query, key, *rest = call.tensors
    _, weights = attention(
        query, key, key, score=lambda query, key: run(call, query, key, *rest), mask=mask
    )
    return weights


@pytest.mark.parametrize("way", at("core", "scores", "normalizers", "mixes", "heads", "positions"))
def test_gradients_are_right(way: str) -> None:
    call = CALLS[way](SMALL)
    names = [name for name, _ in call.named_parameters()]
    own = [tensor for tensor in call.tensors if tensor.is_floating_point()]
    assert len(own) == len([t for t in call.tensors if t.dtype != torch.bool])

    def outputs(*inputs: Tensor) -> tuple[Tensor, ...]:
        given = iter(inputs)
        tensors = tuple(next(given) if t.is_floating_point() else t for t in call.tensors)
        torch.manual_seed(0)
        result = functional_call(call, dict(zip(names, given, strict=True)), tensors)
        return tuple(floats(result))

    inputs = [tensor.detach().requires_grad_() for tensor in (*own, *call.parameters())]
    assert torch.autograd.gradcheck(outputs, inputs, fast_mode=True)


@pytest.mark.parametrize("way", at("scores", "normalizers"))
def test_a_query_without_keys_gets_nothing_and_no_nan(way: str) -> None:
    call = CALLS[way](SMALL)
    first = call.tensors[0].requires_grad_()
    lead = first.shape[:-2]
    mask = torch.ones(*lead, SMALL.L, SMALL.S, dtype=torch.bool)
    mask[..., 1, :] = mask[..., 0, 2] = False
    weights = weights_of(way, call, mask)
    assert (weights[~mask] == 0).all()
    (gradient,) = gradients(weights, first)
    assert gradient.isfinite().all()
    assert (gradient[..., 1, :] == 0).all()


@pytest.mark.parametrize("way", [way for way in at("core", "mixes", "heads") if "mask" in way])
def test_a_masked_row_has_finite_gradients(way: str) -> None:
    call = CALLS[way](Inputs())  # its mask forbids query 1 everything
    tensors = [t.requires_grad_() if t.is_floating_point() else t for t in call.tensors]
    for result in floats(run(call, *tensors)):
        assert result.isfinite().all()
        gradients = torch.autograd.grad(
            result.square().sum(), floats(tensors), retain_graph=True, allow_unused=True
        )
        assert all(g.isfinite().all() for g in gradients if g is not None)


# A cache, where there is one


def takes_cache(way: str) -> bool:
    forward = getattr(getattr(attn_examples, way), "forward", None)
    return forward is not None and "cache" in inspect.signature(forward).parameters


@pytest.mark.parametrize("way", [way for way in at("heads") if "," not in way and takes_cache(way)])
def test_a_cache_gives_token_by_token_what_the_whole_gives(way: str) -> None:
    call = CALLS[way](Inputs())
    x, cache = call.tensors[0], vars(attn_examples)["KVCache"]()
    whole, _ = call.thing(x, mask=causal_mask(x.shape[1]))
    steps = [call.thing(x[:, [t]], cache=cache)[0] for t in range(x.shape[1])]
    same(torch.cat(steps, 1), whole)
