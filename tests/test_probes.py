"""The probes: they find each mistake that the page makes, and nothing where all is right."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attn_examples import MultiHeadAttention
from attn_examples.probes import PROBES, find_mistakes
from tests.conftest import says

PAGE = Path(__file__).parents[1] / "docs" / "concepts" / "pitfalls" / "index.md"
CELL = re.compile(
    r"^```\{code-cell\} python3\n(?:---\n.*?\n---\n)?(.*?)^```$", re.DOTALL | re.MULTILINE
)
N, L, H, D = 2, 5, 3, 12
LEAKS = {"oracle", "future", "padding"}
EXPECTED = {
    "nothing": set(),
    "scale": {"oracle"},
    "no scale": {"oracle"},
    "num_heads ignored": {"oracle"},
    "shared projection": {"oracle"},
    "no projection": {"oracle"},
    "heads averaged": {"oracle"},
    ".T": set(PROBES),  # it raises
    "view, split": {*LEAKS, "same token", "shuffle"},
    "view, join": {*LEAKS, "shuffle"},
    "softmax dimension": {"oracle", "same token", "future", "empty row"},
    "dropout": {*LEAKS, "same token", "shuffle", "batch", "twice"},
    "batch swapped": {*LEAKS, "same token", "past", "batch", "empty row"},
    "mask inverted": {*LEAKS, "same token", "past", "empty row"},
    "mask after softmax": {*LEAKS, "same token"},
    "0/1 mask added": {*LEAKS, "empty row"},
    "no mask": {*LEAKS, "empty row"},
    "mask on wrong axis": {"padding", "empty row"},
    "plain softmax": {"empty row"},
    "-1e9": {"empty row"},
}


def right(dtype: torch.dtype) -> tuple[MultiHeadAttention, Tensor, nn.MultiheadAttention]:
    torch.manual_seed(0)
    oracle = nn.MultiheadAttention(D, H, batch_first=True).to(dtype).requires_grad_(False)
    return MultiHeadAttention.from_torch(oracle), 2 * torch.randn(N, L, D).to(dtype), oracle


def breaker(module: nn.Module) -> dict[str, Any]:
    """Run the page's cell that makes mistakes on demand, with a module of ours."""
    (code,) = (cell for cell in CELL.findall(PAGE.read_text("utf-8")) if "def broken(" in cell)
    names = {"module": module, "torch": torch, "H": H, "D": D, "E": D // H}
    exec(code, names)
    return names


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_what_is_right_passes(dtype: torch.dtype, seed: int) -> None:
    module, _, oracle = right(dtype)
    generator = torch.Generator().manual_seed(seed)
    for shape in ((2, 5, D), (3, 4, D), (2, 64, D), (5, 4, D)):
        x = 10.0 ** (seed - 4) * torch.randn(shape, generator=generator, dtype=dtype)
        assert find_mistakes(module, x, oracle) == []
        assert find_mistakes(module, x) == []
        assert find_mistakes(lambda x, mask: module(x, mask=mask, need_weights=False), x) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("wrong", EXPECTED)
def test_each_mistake_of_the_page_is_found(wrong: str, dtype: torch.dtype) -> None:
    module, x, oracle = right(dtype)
    broken: Callable[[str], Callable[..., Tensor]] = breaker(module)["broken"]
    found = set(find_mistakes(broken(wrong), x, oracle))
    if wrong == "dropout":
        found -= {"past"}  # by chance
    assert found == EXPECTED[wrong]


def test_all_mistakes_of_the_page_are_here() -> None:
    assert breaker(right(torch.float32)[0])["mistakes"] == [n for n in EXPECTED if n != "nothing"]


def test_a_tolerance_too_small_finds_rounding_and_one_too_large_nothing_small() -> None:
    module, x, oracle = right(torch.float32)
    assert find_mistakes(module, x, oracle, tolerance=1e-9)
    off = lambda x, mask: module(x, mask=mask)[0] * 1.001  # noqa: E731
    assert find_mistakes(off, x, oracle) == ["oracle"]
    assert find_mistakes(off, x, oracle, tolerance=0.01) == []


def test_what_has_no_gradient_is_probed_too() -> None:
    module, x, oracle = right(torch.float32)

    @torch.no_grad()
    def attend(x: Tensor, mask: Tensor | None) -> Tensor:
        output: Tensor = module(x, mask=mask)[0]
        return output

    assert find_mistakes(attend, x.requires_grad_(), oracle) == []


def test_a_gradient_that_is_nan_is_found_where_outputs_are_finite() -> None:
    module, x, oracle = right(torch.float32)
    found = find_mistakes(lambda x, mask: module(x, mask=mask)[0] + (x - x).sqrt(), x, oracle)
    assert found == ["empty row"]


@pytest.mark.parametrize("shape", [(5, 12), (1, 5, 12), (2, 3, 12), (4, 4, 12), (2, 3, 5, 12)])
def test_inputs_that_hide_mistakes_are_refused(shape: tuple[int, ...]) -> None:
    module, _, _ = right(torch.float32)
    sentence = (
        f"x has shape {shape} but must be (N, L, D) with N at least 2, L at least 4 and N and L "
        "different: equal sizes hide a wrong axis"
    )
    with pytest.raises(ValueError, match=says(sentence)):
        find_mistakes(module, torch.randn(shape))


def test_refuses_what_cannot_be_probed() -> None:
    module, x, oracle = right(torch.float32)
    with pytest.raises(
        TypeError, match=says("attend (3) must be callable: a function or a module")
    ):
        find_mistakes(3, x)  # type: ignore[arg-type]
    sentence = (
        "attend returned list but must return a torch.Tensor, or a tuple that begins with one"
    )
    with pytest.raises(TypeError, match=says(sentence)):
        find_mistakes(lambda x, mask: [x], x)
    sentence = (
        "attend returned shape (2, 12) but must return (2, 5, width), a vector for each token"
    )
    with pytest.raises(ValueError, match=says(sentence)):
        find_mistakes(lambda x, mask: x.mean(1), x)
    with pytest.raises(ValueError, match=says("tolerance (0) must be positive")):
        find_mistakes(module, x, tolerance=0)
    with pytest.raises(
        TypeError, match=says("oracle (MultiHeadAttention) must be an nn.MultiheadAttention")
    ):
        find_mistakes(module, x, module)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=says("oracle must be made with batch_first=True")):
        find_mistakes(module, x, nn.MultiheadAttention(D, H))
    dropping = nn.MultiheadAttention(D, H, batch_first=True, dropout=0.5)
    sentence = "oracle drops weights (dropout 0.5): call oracle.eval()"
    with pytest.raises(ValueError, match=says(sentence)):
        find_mistakes(module, x, dropping)
    assert find_mistakes(module, x, dropping.eval()) == ["oracle"]  # of other parameters
    assert find_mistakes(module, x, oracle) == []
