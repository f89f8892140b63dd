"""Nothing that a learner writes breaks the checker, or is left behind by it."""

from __future__ import annotations

import ast
import math
import random
import re
import subprocess
import sys
import threading
import time
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attn_examples.exercises import Report, check
from attn_examples.exercises.checking import ALL_EXERCISES
from attn_examples.exercises.running import watch
from attn_examples.exercises.spec import FunctionExercise
from tests.exercises.learners import ATTENTION, IMPORTS, MULTI, SOFTMAX, written

FUNCTIONS = [e.name for e in ALL_EXERCISES if isinstance(e, FunctionExercise)]
OTHERS = [e.name for e in ALL_EXERCISES if not isinstance(e, FunctionExercise)]


def first(name: str, text: str, **options: Any) -> str:
    report = check(name, written(text), **options)
    assert report.state == "not passed"
    assert "Traceback" not in repr(report)
    assert "attn_examples" not in repr(report)  # our lines are hidden
    return report.findings[0].sentence


def test_what_raises_is_shown_with_the_learners_own_line() -> None:
    text = "def softmax(scores, dim):\n    x = scores + 1\n    return torch.nowhere(x)\n"
    sentence = first("softmax", text)
    assert "AttributeError" in sentence
    assert "line 3: `return torch.nowhere(x)`" in sentence
    # deep inside torch, it is still the learner's line that is shown
    text = "def softmax(scores, dim):\n    return F.softmax(scores, dim='x')\n"
    assert "line 2: `return F.softmax(scores, dim='x')`" in first("softmax", text)


def test_what_hangs_is_stopped() -> None:
    began = time.process_time()
    sentence = first("softmax", "def f(s, d):\n    while True:\n        pass\n", seconds=0.3)
    assert re.match(r"Your code did not finish within .* seconds.*: is there a loop", sentence)
    stubborn = (
        "def f(s, d):\n    while True:\n        try:\n            x = 1\n"
        "        except Exception:\n            pass\n"
    )
    assert "did not finish" in first("softmax", stubborn, seconds=0.3)
    assert time.process_time() - began < 5
    waiting = "import time\ndef f(s, d):\n    while True:\n        time.sleep(100)\n"
    assert "did not finish within 0.3 seconds: is there" in first("softmax", waiting, seconds=0.05)


def test_what_counts_is_the_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    computed, now = iter((5.0, 6.9, 7.1, 6.0, 6.0)), iter((100.0, 111.9, 111.9, 112.1))
    monkeypatch.setattr(time, "process_time", lambda: next(computed))
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    passed = watch(2.0)
    assert passed() == ""  # a busy machine: twelve seconds went by, in which it computed for two
    assert passed() == "2 seconds of computing"
    assert (passed(), passed()) == ("", "12 seconds")


def test_a_right_answer_may_wait() -> None:
    waited: list[bool] = []

    def patient(scores: torch.Tensor, dim: int) -> Any:
        if not waited:
            waited.append(True)
            time.sleep(0.6)
        return right(scores, dim)

    right = written(SOFTMAX)
    assert check("softmax", patient, seconds=0.5).passed


def test_what_hangs_in_another_thread_is_left_behind() -> None:
    box: list[Report] = []
    stop = {"stop": False}

    def endless(scores: Any, dim: Any) -> None:
        while not stop["stop"]:
            time.sleep(0.01)

    thread = threading.Thread(target=lambda: box.append(check("softmax", endless, seconds=0.3)))
    thread.start()
    thread.join(10)
    stop["stop"] = True
    assert "still runs" in box[0].findings[0].sentence
    thread = threading.Thread(target=lambda: box.append(check("softmax", written(SOFTMAX))))
    thread.start()
    thread.join(20)
    assert box[1].passed


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return None if scores.sum() else None", "returned None"),
        ("x = scores.softmax(dim)", "returned None"),
        ("return scores.softmax(dim), dim", "returned a tuple of 2"),
        ("return [scores.softmax(dim)]", "returned a list of 1"),
        ("return scores.softmax(dim).tolist()", "a list"),
        ("return scores.softmax(dim).numpy()", "ndarray"),
        ("return 3", "the number 3"),
        ("return 'weights'", "type str"),
        ("return scores.softmax(dim).long()", "torch.int64"),
        ("return scores.softmax(dim) + 0j", "complex"),
        ("return scores.softmax(dim).to('meta')", "device meta"),
        ("return scores.softmax(dim).to_sparse()", "dense"),
        ("return scores.softmax(dim)[0]", "the shape is"),
        ("return scores.new_empty(0)", "the shape is (0,)"),
        ("return scores * float('nan')", "NaN"),
        ("import sys; sys.exit(0)", "ends the program"),
        ("return softmax(scores, dim)", "RecursionError"),
        ("raise Exception", "Exception"),
        ("raise BaseException('odd')", "BaseException"),
        ("raise MemoryError", "MemoryError"),
        ("return lambda: 1", "type function"),
        ("yield scores", "generator"),
    ],
)
def test_each_kind_of_answer_gets_its_sentence(body: str, said: str) -> None:
    sentence = first("softmax", f"def softmax(scores, dim):\n    {body}\n")
    assert said in sentence
    assert sentence.count(".. ") == 0


def test_an_async_function_is_not_left_waiting() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "never awaited" is what it is about
        assert "coroutine" in first(
            "softmax", "async def softmax(scores, dim):\n    return scores\n"
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(scores):\n    return scores\n", "called with 2 values by position"),
        ("def f(a, b, c):\n    return a\n", "missing a required argument"),
        ("def f(*, scores, dim):\n    return scores\n", "by position"),
        ("class Softmax:\n    pass\n", "the class Softmax"),
    ],
)
def test_arguments_that_do_not_fit_are_told_before_the_call(text: str, said: str) -> None:
    assert said in first("softmax", text)


def test_what_a_module_is_called_with_is_told() -> None:
    text = "class Layer(nn.Module):\n    def forward(self, x):\n        return x\n\n\n"
    layer = written(text)()
    sentence = check("self-attention", layer).findings[0].sentence
    assert "takes `(x)`, but it is called with 4 values by position" in sentence
    assert "(x, w_q, w_k, w_v)" in sentence


def test_lists_are_not_told_of_gradients_where_there_are_none() -> None:
    for name, body in (
        ("causal-mask", "return [[True] * b] * a"),
        ("sinusoidal-positions", "return [[0.0] * b] * a"),
    ):
        sentence = first(name, f"def f(a, b):\n    {body}\n")
        assert "a list" in sentence
        assert "gradient" not in sentence


def test_an_error_is_that_of_the_input_shown() -> None:
    text = "def f(scores, dim):\n    return scores.view(scores.numel() + 1)\n"
    finding = check("softmax", written(text)).findings[0]
    shape = re.search(r"scores \((\d+), (\d+), (\d+)\)", finding.shown)
    assert shape
    numbers = math.prod(map(int, shape.groups()))
    assert f"'[{numbers + 1}]' is invalid for input of size {numbers}" in finding.sentence
    # with one key it would be another error
    text = (
        "def f(scores, dim):\n    if scores.shape[-1] < 3: raise KeyError('other')\n"
        "    return scores.view(2, 5, 8)\n"
    )
    finding = check("softmax", written(text)).findings[0]
    assert "shape '[2, 5, 8]' is invalid" in finding.sentence
    shape = re.search(r"scores \(\d+, \d+, (\d+)\)", finding.shown)
    assert shape
    assert int(shape[1]) >= 3


def test_where_output_is_named_output_is_shown() -> None:
    for _ in range(5):
        text = (
            "def f(x, w_q, w_k, w_v):\n    q, k, v = x @ w_q.T, x @ w_k.T, x @ w_v.T\n"
            "    return torch.softmax(q @ k.T / q.shape[-1] ** 0.5, -1) @ v\n"
        )
        finding = check("self-attention", written(text)).findings[0]
        assert "Your output is" in finding.sentence
        assert finding.expected
        assert finding.got


def test_shapes_are_shown_where_numbers_are_too_many() -> None:
    text = "def f(x, num_heads):\n    return x.view(2, 5, 3, 4).transpose(1, 2)\n"
    finding = check("split-heads", written(text)).findings[0]
    assert finding.mistakes == ("hard-coded",)
    assert (finding.expected, finding.got) == ("heads (2, 1, 5, 12)", "heads (2, 3, 5, 4)")


def test_the_first_check_of_a_process_finds_what_the_second_finds() -> None:
    program = (
        "import torch\nfrom attn_examples.exercises import check\n"
        "def f(q, k): return q @ k.T\n"
        "def g(s, d): return torch.nn.functional.softmax(s)\n"
        "for name, f in (('scaled-scores', f), ('softmax', g)):\n"
        "    print([[(x.kind, x.mistakes) for x in check(name, f).findings] for i in range(2)])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    for line in done.stdout.splitlines():
        one, two = ast.literal_eval(line)
        assert one == two
        assert any("T" in names or "softmax-no-dim" in names for _, names in one)
    assert done.stdout.count("\n") == 2
    assert done.stderr == ""


def test_a_mask_that_may_be_left_out_needs_a_default() -> None:
    text = ATTENTION.replace("mask=None", "mask")
    assert "called with 3 values by position" in first("scaled-dot-product", text)


def test_names_of_arguments_are_free_and_lambdas_and_defaults_pass() -> None:
    assert check("causal-mask", lambda a, b: torch.ones(a, b).tril(b - a).bool()).passed
    assert check("causal-mask", lambda a, b, c=0: torch.ones(a, b).tril(b - a).bool()).passed
    assert check("causal-mask", lambda *sizes: torch.ones(*sizes).tril(sizes[1] - sizes[0]).bool()
                 ).passed  # fmt: skip


def test_what_is_printed_and_warned_is_told_and_not_shown(
    capfd: pytest.CaptureFixture[str],
) -> None:
    noisy = SOFTMAX.replace(
        "    e = ", "    print('here', scores.shape)\n    for i in range(999): print(i)\n    e = "
    )
    report = check("softmax", written(noisy))
    assert report.passed
    assert "Your code prints, beginning with: 'here" in report.findings[1].sentence
    assert capfd.readouterr() == ("", "")

    warned = SOFTMAX.replace("    e = ", "    import warnings; warnings.warn('old')\n    e = ")
    assert check("softmax", written(warned)).findings[1].sentence.endswith("a warning: old")
    guessed = "def f(scores, dim):\n    return F.softmax(scores)\n"
    assert any(
        "softmax-no-dim" in finding.mistakes
        for finding in check("softmax", written(guessed)).findings
    )


def test_what_is_global_is_as_before() -> None:
    meddling = ATTENTION.replace(
        "    d = ",
        "    torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False)\n"
        "    torch.set_num_threads(2); torch.manual_seed(3); np.random.seed(3)\n"
        "    import random; random.seed(3)\n    d = ",
    )
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    state = (torch.get_rng_state(), random.getstate(), str(np.random.get_state()))
    threads = torch.get_num_threads()
    report = check("scaled-dot-product", written(meddling))
    told = next(f.sentence for f in report.findings if "global-state" in f.mistakes)
    for name in ("default dtype", "gradients", "number of threads", "random seed"):
        assert name in told
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert str(np.random.get_state()) == state[2]
    assert sys.stdout is not None


def test_it_works_whatever_is_set_outside() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            assert check("multi-head", written(MULTI)).passed
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_reader_can_stop_it() -> None:
    def stopped(scores: Any, dim: Any) -> None:
        raise KeyboardInterrupt

    torch.manual_seed(5)
    state = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        check("softmax", stopped)
    assert torch.equal(torch.get_rng_state(), state)


class Nasty:
    """Raises wherever it can."""

    def _no(self, *arguments: Any) -> Any:
        raise RuntimeError("no")

    __repr__ = __str__ = __eq__ = __bool__ = __len__ = _no
    __iter__ = __getitem__ = __hash__ = __call__ = __index__ = __float__ = _no

    @property
    def shape(self) -> Any:
        raise RuntimeError("no")


class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, *arguments: Any, **named: Any) -> Any:
        raise RuntimeError("no")


dtypes = st.sampled_from(
    [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.int64,
     torch.uint8, torch.bool, torch.complex64]
)  # fmt: skip
shapes = st.lists(st.integers(0, 4), max_size=5)


@st.composite
def tensors(draw: Any) -> torch.Tensor:
    tensor: torch.Tensor = torch.ones(draw(shapes)).to(draw(dtypes))
    kind = draw(st.integers(0, 6))
    if kind == 0:
        return tensor.to("meta")
    if kind == 1:
        return tensor.to_sparse()
    if kind == 2 and tensor.is_floating_point():
        number: float = draw(st.sampled_from([float("nan"), float("inf"), -1.0, 1e300]))
        return tensor * number
    if kind == 3 and tensor.is_floating_point():
        return tensor.requires_grad_()
    if kind == 4:
        return torch.ones(draw(shapes)).as_subclass(Liar)
    if kind == 5:
        return torch.nn.Parameter(torch.ones(draw(shapes)))
    return tensor


odd = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(),
    st.complex_numbers(), tensors(), st.builds(Nasty), st.just(Nasty), st.just(...),
    st.just(print), st.just(np.ones(3)),
    st.just(np.array(None)), st.just(np.array(["a"])), st.just(np.float64(0.5)), st.just(torch),
    st.just(torch.Size([2, 3])), st.just(NotImplemented), st.just(range(3)), st.just(torch.float32),
)  # fmt: skip
anything = st.recursive(
    odd,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers(0, 512)), inner, max_size=3),
    ),
    max_leaves=6,
)


@settings(max_examples=300)
@given(name=st.sampled_from(FUNCTIONS), value=anything)
def test_any_return_value_is_survived(name: str, value: Any) -> None:
    report = check(name, lambda *arguments: value)
    assert not report.passed
    assert repr(report)
    assert report._repr_html_()


@settings(max_examples=200)
@given(name=st.sampled_from(FUNCTIONS), values=st.lists(anything, min_size=2, max_size=4))
def test_return_values_that_change_are_survived(name: str, values: list[Any]) -> None:
    turn = iter(values * 1000)
    assert not check(name, lambda *arguments: next(turn)).passed


@settings(max_examples=300)
@given(name=st.sampled_from([n for n in OTHERS if n != "look-previous-token"]), value=anything)
def test_any_value_is_survived(name: str, value: Any) -> None:
    report = check(name, value)
    assert repr(report)
    assert report._repr_html_()


@settings(max_examples=100)
@given(name=st.sampled_from(FUNCTIONS), value=anything)
def test_any_answer_is_survived(name: str, value: Any) -> None:
    assert not check(name, value).passed


def test_an_enormous_answer_is_not_printed() -> None:
    report = check("softmax", lambda scores, dim: torch.zeros(3000, 3000))
    assert len(repr(report)) < 2000
    report = check("predict-scores-shape", list(range(10**6)))
    assert len(repr(report)) < 2000


def test_unknown_names_raise_with_the_closest() -> None:
    with pytest.raises(ValueError, match=r"name \('softmaxx'\) must be an exercise: did you mean"):
        check("softmaxx", None)
    with pytest.raises(ValueError, match="exercises\\(\\) lists them"):
        check("qqqqqq", None)
    assert IMPORTS
