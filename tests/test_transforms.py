"""What torch can do with a function, done to every public object: a table, kept exact.

`docs/reference/transforms.json` holds what was found. The test fails where it is found
otherwise, and `python -m tests.test_transforms --write` writes it anew.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import gradgradcheck
from torch.export import Dim, export
from torch.utils import _pytree as pytree

from tests.calls import CALLS, MISSING, Build, Call, Inputs

TABLE = Path(__file__).parent.parent / "docs" / "reference" / "transforms.json"
WRITE = "`python -m tests.test_transforms --write` measures it, in minutes"
WORKS, REFUSES, NONE = "works", "refuses", ""
KERNEL = "torch's kernel refuses"
FIXED = "torch fixes the lengths"  # in what is written down of a loop over them
SHARED = "torch refuses to batch what is written in place"
F32 = Inputs(dtype=torch.float32)


class NoSense(Exception):  # noqa: N818, it is no error
    """Raised where a transform has nothing to act upon."""


def seeded(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call with the same random numbers each time."""
    torch.manual_seed(1)
    return function(*arguments)


def tensors_in(result: Any) -> list[Tensor]:
    """Return the tensors of a result, without the None that stands for weights."""
    return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]


def make(build: Build, inputs: Inputs = F32) -> Call:
    call: Call = seeded(build, inputs)
    return call


def floats(tensors: Any) -> list[Tensor]:
    return [
        t for t in pytree.tree_leaves(tensors) if isinstance(t, Tensor) and t.is_floating_point()
    ]


def alike(actual: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Assert that two results agree, in structure and dtypes too."""
    actual, expected = pytree.tree_leaves(actual), pytree.tree_leaves(expected)
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def differentiable(build: Build, inputs: Inputs) -> tuple[Call, Callable[..., tuple[Tensor, ...]]]:
    """Return a call, and it as a function of its floating-point tensors alone."""
    call = make(build, inputs)
    if not floats(call.tensors) or not floats(seeded(call, *call.tensors)):
        raise NoSense

    def function(*given: Tensor) -> tuple[Tensor, ...]:
        rest = iter(given)
        tensors = [next(rest) if t.is_floating_point() else t for t in call.tensors]
        return tuple(floats(seeded(call, *tensors)))

    return call, function


# Each transform: takes how a call is built, and raises where the result is not the plain one


def autocast(build: Build, dtype: torch.dtype) -> None:
    call = make(build)
    with torch.autocast("cpu", dtype):
        results = seeded(call, *call.tensors)
        if floats(call.tensors):  # two dtypes, as where one layer is left out of autocast
            *first, last = call.tensors
            last = last.to(dtype) if last.is_floating_point() else last
            seeded(call, *first, last)
    plain = seeded(call, *call.tensors)
    for result, expected in zip(floats(results), floats(plain), strict=True):
        torch.testing.assert_close(result.float(), expected, rtol=0.05, atol=0.05)
    if not floats(plain):
        alike(results, plain)


def compiled(build: Build) -> None:
    call = make(build)
    torch.compiler.reset()
    run = torch.compile(call, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        alike(seeded(run, *call.tensors), seeded(call, *call.tensors))


def exported(build: Build) -> None:
    call, other = make(build), make(build, Inputs(dtype=torch.float32, N=4, L=6, S=9))
    names = {2: "N", 5: "L", 7: "S"}
    dims = {size: Dim(name, min=2, max=16) for size, name in names.items()}
    shapes = [{i: dims[n] for i, n in enumerate(t.shape) if n in dims} for t in call.tensors]
    program = export(call, call.tensors, dynamic_shapes={"tensors": tuple(shapes)})
    other.load_state_dict(call.state_dict())
    alike(seeded(program.module(), *other.tensors), seeded(other, *other.tensors))


def traced(build: Build) -> None:
    call = make(build).requires_grad_(False)
    expected = seeded(call, *call.tensors)
    outputs = tensors_in(expected)

    class Outputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.call = call

        def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
            return tuple(tensors_in(self.call(*tensors)))

    trace: Any = torch.jit.trace  # which has no types
    program = trace(Outputs(), call.tensors, check_trace=False)
    alike(seeded(program, *call.tensors), outputs)


def vmapped(build: Build) -> None:
    calls = [make(build), make(build)]
    calls[1].tensors = tuple(
        t + 1 if t.dtype == torch.long else t.flip(0) for t in calls[1].tensors
    )
    stacked = [torch.stack(pair) for pair in zip(*(c.tensors for c in calls), strict=True)]

    def leaves(*tensors: Tensor) -> list[Tensor]:
        return tensors_in(calls[0](*tensors))

    each = [seeded(leaves, *c.tensors) for c in calls]
    together = seeded(torch.vmap(leaves, randomness="same"), *stacked)
    alike(together, [torch.stack(pair) for pair in zip(*each, strict=True)])


def forward_mode(build: Build) -> None:
    call, function = differentiable(build, Inputs())
    primals = tuple(floats(call.tensors))
    tangents = tuple(map(torch.ones_like, primals))
    ours = torch.func.jvp(function, primals, tangents)[1]
    step = 1e-6
    ahead, behind = (function(*(p + s for p in primals)) for s in (step, -step))
    alike(ours, [(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)], 1e-7)


def twice(build: Build) -> None:
    call, function = differentiable(build, Inputs(N=1, H=1, L=2, S=3))
    given = [t.requires_grad_() for t in floats(call.tensors)]
    assert gradgradcheck(function, given, fast_mode=True)


def meta(build: Build) -> None:
    call = make(build)
    expected = seeded(call, *call.tensors)
    away = call.to("meta")
    result = away(*(t.to("meta") for t in call.tensors))
    shapes(result, expected, "meta")


def fake(build: Build) -> None:
    expected = make(build)
    plain = seeded(expected, *expected.tensors)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        result = expected(*map(mode.from_tensor, expected.tensors))
    shapes(result, plain, "cpu")


def shapes(result: Any, expected: Any, device: str) -> None:
    for ours, plain in zip(pytree.tree_leaves(result), pytree.tree_leaves(expected), strict=True):
        if isinstance(plain, Tensor):
            assert (ours.shape, ours.dtype) == (plain.shape, plain.dtype)
            assert ours.device.type == device


def copied(build: Build) -> None:
    call = make(build)
    again = copy.deepcopy(call)
    with torch.no_grad():
        for parameter in call.parameters():
            parameter.zero_()  # the copy has its own
    original = make(build)
    alike(seeded(again, *call.tensors), seeded(original, *call.tensors))


def pickled(build: Build) -> None:
    call = make(build)
    again = pickle.loads(pickle.dumps(call))
    alike(seeded(again, *call.tensors), seeded(call, *call.tensors))


class Marked(Tensor):
    """A tensor of a class of its own, as those that carry names or units."""


def subclass(build: Build) -> None:
    call = make(build)
    marked = [t.as_subclass(Marked) for t in call.tensors]
    result = seeded(call, *marked)
    plain = seeded(call, *call.tensors)
    if floats(plain):
        assert all(isinstance(t, Marked) for t in floats(result))
    alike([t.as_subclass(Tensor) for t in tensors_in(result)], tensors_in(plain))


def parameters_of(call: Call) -> dict[str, Tensor]:
    parameters: dict[str, Tensor] = dict(call.named_parameters())
    if not parameters:
        raise NoSense
    return parameters


def frozen(build: Build) -> None:
    call = make(build)
    parameters_of(call)
    call.requires_grad_(False)
    x = call.tensors[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(floats(seeded(call, x, *call.tensors[1:]))[0].sum(), x)
    assert (gradient != 0).any()
    assert not any(p.requires_grad for p in call.parameters())


def float64(build: Build) -> None:
    call = make(build)
    parameters_of(call)
    call(*(t.double() if t.is_floating_point() else t for t in call.tensors))


def per_sample(build: Build) -> None:
    call = make(build, Inputs())
    parameters = {name: p.detach() for name, p in parameters_of(call).items()}

    def loss(parameters: dict[str, Tensor], *tensors: Tensor) -> Tensor:
        one = [t.unsqueeze(0) for t in tensors]
        result: Tensor = floats(torch.func.functional_call(call, parameters, tuple(one)))[0]
        return result.square().sum()

    dims = (None, *(0 for _ in call.tensors))
    together = torch.func.vmap(torch.func.grad(loss), in_dims=dims)(parameters, *call.tensors)
    for n in range(len(call.tensors[0])):
        one = torch.func.grad(loss)(parameters, *(t[n] for t in call.tensors))
        alike({name: gradient[n] for name, gradient in together.items()}, one, 1e-10)


TRANSFORMS: dict[str, Callable[[Build], None]] = {
    "autocast bf16": lambda build: autocast(build, torch.bfloat16),
    "autocast fp16": lambda build: autocast(build, torch.float16),
    "compile": compiled,
    "export": exported,
    "jit.trace": traced,
    "vmap": vmapped,
    "jvp": forward_mode,
    "double backward": twice,
    "meta": meta,
    "fake": fake,
    "deepcopy": copied,
    "pickle": pickled,
    "subclass": subclass,
    "frozen": frozen,
    "float64 in float32": float64,
    "grad per sample": per_sample,
}
OURS = Path(__file__).parent.parent / "attn_examples"


def outcome(transform: Callable[[Build], None], build: Build) -> str:
    """Return what one cell of the table says; whatever is neither is said in full."""
    quiet = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stderr(quiet):
        warnings.simplefilter("ignore")  # of jit.trace, deprecated, for each size that is read
        try:
            transform(build)
        except NoSense:
            return NONE
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            if OURS in Path(last.filename).parents and str(last.line).startswith("raise "):
                return REFUSES
            if "_scaled_dot_product_flash_attention" in str(error):
                return KERNEL
            if "Constraints violated" in str(error):
                return FIXED
            if "cannot be broadcast to indexing result" in str(error):
                return SHARED
            return f"{type(error).__name__}: {(str(error) or 'no message').splitlines()[0]}"
    return WORKS


def table() -> Iterator[tuple[str, str, str]]:
    for name, build in CALLS.items():
        for title, transform in TRANSFORMS.items():
            yield name, title, outcome(transform, build)


def write() -> None:
    found: dict[str, dict[str, str]] = {}
    for name, title, says in table():
        found.setdefault(name, {})[title] = says
    TABLE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def test_every_public_object_has_a_row() -> None:
    assert not MISSING, "\n".join(MISSING)
    rows = list(json.loads(TABLE.read_text(encoding="utf-8")))
    lacking = ", ".join(name for name in CALLS if name not in rows)
    assert rows == list(CALLS), f"{TABLE.name} lacks {lacking or 'their order'}: {WRITE}"


@pytest.mark.parametrize("name", CALLS)
def test_transforms(name: str) -> None:
    stored = json.loads(TABLE.read_text(encoding="utf-8")).get(name)
    assert stored, f"{TABLE.name} has no row of {name}: {WRITE}"
    found = {title: outcome(transform, CALLS[name]) for title, transform in TRANSFORMS.items()}
    differ = {
        title: f"{stored.get(title)!r} is now {says!r}"
        for title, says in found.items()
        if stored.get(title) != says
    }
    assert differ == {}, f"{name}: {WRITE}, where this is meant"
    assert set(stored) == set(TRANSFORMS)
    assert set(stored.values()) <= {WORKS, REFUSES, KERNEL, FIXED, SHARED, NONE}


if __name__ == "__main__" and "--write" in sys.argv:
    torch.set_num_threads(1)
    write()
