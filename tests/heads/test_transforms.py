"""The modules under what practitioners put around them: torch's transforms, LoRA, freezing."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from attn_examples import (
    CausalSelfAttention,
    CrossAttention,
    MultiHeadAttention,
    SelfAttention,
    alibi,
    as_torch,
    biased,
    softcapped,
)
from attn_examples.scores import scaled_dot
from tests.conftest import randn, same, says

N, L, S, H, G, E = 2, 5, 7, 6, 2, 12
MODULES: dict[str, Callable[[], nn.Module]] = {
    "self": lambda: SelfAttention(E, 4),
    "causal": lambda: CausalSelfAttention(E, 4),
    "cross": lambda: CrossAttention(E, E, 4),
    "multi-head": lambda: MultiHeadAttention(E, H),
    "grouped": lambda: MultiHeadAttention(E, H, G),
    "softcapped": lambda: MultiHeadAttention(E, H, score=softcapped(scaled_dot, 5.0)),
    "alibi": lambda: MultiHeadAttention(E, H, positions=biased(alibi)),
    "as torch": lambda: as_torch(MultiHeadAttention(E, H), batch_first=True),
}


class Run(nn.Module):
    """A module, called as self-attention."""

    def __init__(self, name: str, need_weights: bool, **settings: Any) -> None:
        super().__init__()
        self.module = MODULES[name]()
        self.times = {"cross": 2, "as torch": 3}.get(name, 1)
        self.settings = {"need_weights": need_weights, **settings}

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.module(*[x] * self.times, **self.settings)[0]
        return output


@pytest.fixture(params=MODULES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[True, False], ids=["with weights", "without"])
def run(name: str, request: pytest.FixtureRequest) -> Run:
    return Run(name, bool(request.param)).double()


def test_compiles_as_one_graph(run: Run) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager", dynamic=True)
    for length in (L, S):
        x = randn(N, length, E)
        same(compiled(x), run(x))


def test_is_exported_with_any_batch_and_length(run: Run) -> None:
    sizes = {"x": {0: torch.export.Dim("N"), 1: torch.export.Dim("L")}}
    exported = torch.export.export(run, (randn(N, L, E),), dynamic_shapes=sizes).module()
    for shape in [(N, L, E), (3, S, E)]:
        x = randn(*shape)
        same(exported(x), run(x))


def test_cross_attention_is_exported_with_two_lengths() -> None:
    class Causal(nn.Module):
        def __init__(self, need_weights: bool) -> None:
            super().__init__()
            self.module = MultiHeadAttention(E, H, G)
            self.need_weights = need_weights

        def forward(self, x: Tensor, context: Tensor) -> Tensor:
            settings: Any = {"is_causal": True, "need_weights": self.need_weights}
            output: Tensor = self.module(x, context, **settings)[0]
            return output

    sizes = {"x": {1: torch.export.Dim("L")}, "context": {1: torch.export.Dim("S")}}
    for need_weights in (True, False):
        module = Causal(need_weights).double()
        tensors = randn(N, L, E), randn(N, S, E)
        exported = torch.export.export(module, tensors, dynamic_shapes=sizes).module()
        for lengths in [(L, S), (S, L), (4, 4)]:
            others = [randn(N, length, E) for length in lengths]
            same(exported(*others), module(*others))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit.trace.*")
def test_is_traced(run: Run) -> None:
    x = randn(N, L, E)
    trace: Any = torch.jit.trace
    same(trace(run, x)(x), run(x))


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's kernel on a CPU
def test_maps_over_a_batch(run: Run) -> None:
    x = randn(3, N, L, E)
    outputs = torch.vmap(run)(x)
    for one, output in zip(x, outputs, strict=True):
        same(output, run(one))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_runs_under_autocast(run: Run, dtype: torch.dtype) -> None:
    run.float()
    x = torch.randn(N, L, E)
    expected = run(x)
    with torch.autocast("cpu", dtype):
        output = run(x)
    assert output.dtype == dtype
    torch.testing.assert_close(output.float(), expected, rtol=0, atol=0.05)


def test_gives_shapes_on_meta(run: Run) -> None:
    x = randn(N, L, E)
    assert run.to("meta")(x.to("meta")).shape == copy.deepcopy(run).to("meta")(x.to("meta")).shape
    assert run(x.to("meta")).shape[:2] == (N, L)


def test_a_deep_copy_is_on_its_own(run: Run) -> None:
    x = randn(N, L, E)
    twin, before = copy.deepcopy(run), run(x)
    with torch.no_grad():
        for parameter in run.parameters():
            parameter.zero_()
    assert torch.equal(twin(x), before)


def test_a_frozen_module_lets_gradients_through(run: Run) -> None:
    x = randn(N, L, E, grad=True)
    run.requires_grad_(False)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in run.parameters())


class Named(Tensor):
    """A subclass that stays what it is through every operation."""


def test_subclasses_of_tensor_stay_what_they_are(run: Run) -> None:
    x = randn(N, L, E)
    output = run(x.as_subclass(Named))
    assert type(output) is Named
    same(output.as_subclass(Tensor), run(x))


# -- Other projections than nn.Linear ----------------------------------------------------


class LoRA(nn.Module):
    def __init__(self, base: nn.Module, rank: int = 3) -> None:
        super().__init__()
        self.base = base
        width: Any = base.weight
        self.down = nn.Parameter(torch.randn(rank, width.shape[1]))
        self.up = nn.Parameter(torch.randn(width.shape[0], rank))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.base(x) + x @ self.down.T @ self.up.T
        return output


class Casts(nn.Module):
    """A layer that takes any dtype."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.base.double()(x.double())
        return output


class Turned(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.flip(0)


def parametrized(layer: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", Turned())
    return layer


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("wrap", [LoRA, nn.Sequential, Casts, parametrized])
@pytest.mark.parametrize("kind", ["self", "causal", "cross", "multi-head", "grouped", "as torch"])
def test_projections_may_be_wrapped(
    kind: str, wrap: Callable[[nn.Module], nn.Module], need_weights: bool
) -> None:
    run = Run(kind, need_weights).double()
    module: Any = run.module.module if kind == "as torch" else run.module
    for name in ("q_proj", "k_proj", "v_proj"):
        setattr(module, name, wrap(getattr(module, name)).double())
    x = randn(N, L, E)
    queries, keys, values = (
        p(x).view(N, L, -1, 2 if hasattr(module, "num_heads") else 4).transpose(1, 2)
        for p in (module.q_proj, module.k_proj, module.v_proj)
    )
    settings: Any = {"is_causal": kind == "causal", "enable_gqa": kind == "grouped"}
    heads = F.scaled_dot_product_attention(queries, keys, values, **settings)
    expected = heads.transpose(1, 2).flatten(2)
    same(run(x), module.out_proj(expected) if hasattr(module, "out_proj") else expected)
    if wrap is Casts:
        assert run(x.float()).dtype == torch.float64
    with pytest.raises(ValueError, match=re.escape("must be (..., length, 12), since embed_dim")):
        run(randn(N, L, 8))


def test_a_hook_may_cast() -> None:
    module = MultiHeadAttention(E, H).double()
    x = torch.randn(N, L, E)
    for p in (module.q_proj, module.k_proj, module.v_proj):
        p.register_forward_pre_hook(lambda _, args: (args[0].double(),))
    same(module(x)[0], module(x.double())[0])


@pytest.mark.filterwarnings(
    "ignore:torch.ao.quantization is deprecated", "ignore:torch.quantize_per_tensor"
)
def test_runs_when_quantized() -> None:
    module = MultiHeadAttention(E, H, G)
    quantize: Any = torch.ao.quantization.quantize_dynamic
    x = torch.randn(N, L, E)
    output, _ = quantize(module, {nn.Linear}, dtype=torch.qint8)(x)
    torch.testing.assert_close(output, module(x)[0], rtol=0, atol=0.05)


# -- What does not fit the module's dtype and device -----------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_refuses_another_dtype(name: str, dtype: torch.dtype) -> None:
    argument = "x" if name in ("self", "causal", "cross") else "query"
    sentence = (
        f"{argument} is {dtype} but the module's weights are torch.float32: "
        f"convert one of them, for example {argument}.to(torch.float32)"
    )
    with pytest.raises(ValueError, match=says(sentence)):
        Run(name, need_weights=True)(torch.randn(N, L, E, dtype=dtype))


def test_refuses_float64_under_autocast() -> None:
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(ValueError, match=r"\Aquery is torch\.float64 but"),
    ):
        MultiHeadAttention(E, H)(randn(N, L, E))


def test_refuses_another_device(name: str) -> None:
    argument = "x" if name in ("self", "causal", "cross") else "query"
    sentence = f"{argument} is on meta but the module's weights are on cpu: move one of them"
    with pytest.raises(ValueError, match=says(sentence)):
        Run(name, need_weights=True)(torch.randn(N, L, E, device="meta"))


def test_key_and_value_of_another_dtype_are_refused() -> None:
    module, x = MultiHeadAttention(E, H), torch.randn(N, L, E)
    for argument, inputs in {"key": (x, x.double()), "value": (x, x, x.double())}.items():
        with pytest.raises(ValueError, match=rf"\A{argument} is torch.float64 but the module's"):
            module(*inputs)


# -- from_torch --------------------------------------------------------------------------------


@pytest.mark.parametrize("no_grad", [False, True])
@pytest.mark.parametrize("kdim", [None, 8])
def test_what_is_frozen_stays_frozen(kdim: int | None, no_grad: bool) -> None:
    names = ["in_proj_bias", "out_proj.weight"]
    names.append("in_proj_weight" if kdim is None else "k_proj_weight")
    theirs = nn.MultiheadAttention(E, H, kdim=kdim)
    for name in names:
        theirs.get_parameter(name).requires_grad_(False)
    with torch.set_grad_enabled(not no_grad):
        ours = MultiHeadAttention.from_torch(theirs)
    learned = {name for name, parameter in ours.named_parameters() if parameter.requires_grad}
    others = set() if kdim is None else {"q_proj.weight", "v_proj.weight"}
    assert learned == {"out_proj.bias"} | others
