"""Run what a learner wrote: within a time limit, quietly, and without lasting effects."""

from __future__ import annotations

import io
import linecache
import os
import random
import re
import signal
import sys
import sysconfig
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import PurePath
from types import FrameType
from typing import Any, NoReturn

import torch

__all__ = ["Ran", "run_quietly", "undisturbed", "watch"]

_TICK = 0.1  # seconds between two looks at the clock
_PATIENCE = 6.0  # times as long may it take where it waits, or where the machine is busy
_KEPT = 300  # characters of what was printed; the rest is counted only
_ENDS = re.compile("_exit|abort|kill|killpg|raise_signal|exec[lv].*")
_LIBRARIES = tuple(
    sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")
)


@dataclass
class Ran:
    """How a call went.

    Parameters
    ----------
    value
        What it returned.
    trouble : str, default ""
        One sentence on why it did not return; "" if it did.
    kind : str, default ""
        What was raised, without the numbers in its message.
    unfinished : bool, default False
        It raised NotImplementedError: a stub.
    hopeless : bool, default False
        It took too long or ended the program: better not called again.
    printed : str, default ""
        The beginning of what it printed.
    warned : tuple of str
        The warnings it caused.
    changed : tuple of str
        Settings of the whole program that it changed; they have been put back.
    """

    value: Any = None
    trouble: str = ""
    kind: str = ""
    unfinished: bool = False
    hopeless: bool = False
    printed: str = ""
    warned: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


class OutOfTimeError(BaseException):
    """The time limit was reached; not an Exception, so that `except Exception` lets it pass."""


def run_quietly(function: Callable[..., Any], arguments: tuple[Any, ...], seconds: float) -> Ran:
    """Call a learner's function and tell how it went.

    Parameters
    ----------
    function : callable
    arguments : tuple
        Given by position.
    seconds : float
        The time limit, as `watch` counts it. In the main thread a timer interrupts the
        call. Elsewhere, and on systems without that timer, the call runs in a thread of
        its own, which cannot be stopped: it is left behind.

    Returns
    -------
    Ran

    Raises
    ------
    KeyboardInterrupt
        If the reader stops the program: that is for them alone to decide.
    """
    ran, paper = Ran(), _Notepad()
    before = _settings()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with redirect_stdout(paper), redirect_stderr(paper), _kept_alive():
            try:
                ran.value = _limited(lambda: call_learner(function, arguments), seconds)
            except KeyboardInterrupt:
                raise
            except OutOfTimeError as late:
                ran.hopeless = True
                ran.trouble = f"Your code did not finish within {late}"
            except SystemExit as error:
                ran.hopeless = True
                where = _where(error)
                ran.trouble = f"Your code ends the program{where}: return a value instead"
            except BaseException as error:
                ran.unfinished = isinstance(error, NotImplementedError)
                said = _raised(error)
                ran.trouble, ran.kind = said + _where(error), re.sub(r"\d+", "#", said)
            finally:
                after = _settings()
                _put_back(before)
    ran.printed = paper.text
    ran.warned = tuple(dict.fromkeys(str(warning.message) for warning in caught))
    ran.changed = tuple(name for name in before if before[name][0] != after[name][0])
    return ran


def call_learner(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Call it. What lies below this frame in a traceback is the learner's."""
    return function(*arguments)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put random states and settings back at the end, and begin with a seed of our own."""
    settings, generator, python = _settings(), torch.get_rng_state(), random.getstate()
    numpy = sys.modules.get("numpy")  # only if somebody loaded it
    array = numpy.random.get_state() if numpy else None
    cuda: Any = torch.cuda
    devices = cuda.get_rng_state_all() if cuda.is_initialized() else None
    try:
        torch.manual_seed(random.SystemRandom().getrandbits(60))
        torch.set_warn_always(True)  # or the second function that uses .T goes unseen
        torch.set_num_threads(1)  # the tensors are small: more threads take longer
        yield
    finally:
        _put_back(settings)
        torch.set_rng_state(generator)
        random.setstate(python)
        if numpy:
            numpy.random.set_state(array)
        if devices is not None:
            cuda.set_rng_state_all(devices)


def _leave(*arguments: object) -> NoReturn:
    raise SystemExit


@contextmanager
def _kept_alive() -> Iterator[None]:
    """Let what would end Python at once, seen by no `except`, raise SystemExit."""
    modules: tuple[Any, ...] = (os, sys.modules[os.name], signal)
    endings = [(m, n, getattr(m, n)) for m in modules for n in dir(m) if _ENDS.fullmatch(n)]
    for module, name, _ in endings:
        setattr(module, name, _leave)
    try:
        yield
    finally:
        for module, name, ending in endings:
            setattr(module, name, ending)


class _Notepad(io.TextIOBase):
    """Takes what is printed and keeps its beginning."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text[: max(0, _KEPT - len(self.text))]
        return len(text)


def watch(seconds: float) -> Callable[[], str]:
    """Return a function that names the limit that has been passed since now; "" if none has.

    What counts are the seconds of computing, which a busy machine does not make more. What
    only waits has six times as long.
    """
    computed, began = time.process_time(), time.monotonic()

    def passed() -> str:
        if time.process_time() - computed > seconds:
            return f"{seconds:g} seconds of computing"
        waited = time.monotonic() - began > _PATIENCE * seconds
        return f"{_PATIENCE * seconds:g} seconds" if waited else ""

    return passed


def _limited(call: Callable[[], Any], seconds: float) -> Any:
    """Return what the call returns, or raise OutOfTimeError with what remains of the sentence."""
    passed = watch(seconds)
    main = threading.current_thread() is threading.main_thread()
    if not (main and hasattr(signal, "setitimer")):
        return _in_thread(call, passed)

    def look(number: int, frame: FrameType | None) -> None:
        if limit := passed():
            raise OutOfTimeError(f"{limit}: is there a loop that never ends?")

    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, look)
    # again and again, also when it is over: a bare `except` of the learner may swallow the first
    waiting, interval = signal.setitimer(signal.ITIMER_REAL, _TICK, _TICK)
    try:
        return call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if waiting:  # somebody else's timer goes on
            left = max(waiting - (time.monotonic() - began), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left, interval)


def _in_thread(call: Callable[[], Any], passed: Callable[[], str]) -> Any:
    box: dict[str, Any] = {}
    grad = torch.is_grad_enabled()  # every thread has its own

    def work() -> None:
        torch.set_grad_enabled(grad)
        try:
            box["value"] = call()
        except BaseException as error:
            box["error"] = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_TICK)
        if thread.is_alive() and (limit := passed()):
            raise OutOfTimeError(f"{limit}, and it still runs: restart the kernel to stop it")
    if "error" in box:
        raise box["error"]
    return box["value"]


def _settings() -> dict[str, tuple[Any, Callable[[Any], object]]]:
    """Return what holds for the whole program, each with the function that sets it."""
    return {
        "the random seed": (torch.initial_seed(), lambda seed: None),  # see undisturbed
        "the default dtype": (torch.get_default_dtype(), torch.set_default_dtype),
        "the default device": (torch.get_default_device(), torch.set_default_device),
        "whether gradients are recorded": (torch.is_grad_enabled(), torch.set_grad_enabled),
        "the number of threads": (torch.get_num_threads(), torch.set_num_threads),
        "whether warnings of torch repeat": (
            torch.is_warn_always_enabled(),
            torch.set_warn_always,
        ),
        "the limit of recursion": (sys.getrecursionlimit(), sys.setrecursionlimit),
    }


def _put_back(settings: dict[str, tuple[Any, Callable[[Any], object]]]) -> None:
    now = _settings()
    for name, (value, put) in settings.items():
        if now[name][0] != value:
            put(value)


def _raised(error: BaseException) -> str:
    """Say what was raised."""
    try:
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        message = said.strip().split("\n")[0][:200]
    except Exception:
        message = ""
    kind = type(error).__name__
    if isinstance(error, RecursionError):
        message = "it calls itself without end"
    return f"Your code raised {kind}" + (f": {message}" if message else "")


def _where(error: BaseException) -> str:
    """Name the learner's own line, the last one before any library's; "" if there is none."""
    trace, place, below = error.__traceback__, "", False
    for _ in range(5000):
        if trace is None:
            break
        code = trace.tb_frame.f_code
        ours = code is _leave.__code__
        if below and not ours and not code.co_filename.startswith((*_LIBRARIES, "<frozen")):
            place = _place(code.co_filename, trace.tb_lineno)
        below = below or code is call_learner.__code__
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.lineno and not place:
        place = _place(error.filename or "", error.lineno, error.text or "")
    return place


def _place(filename: str, line: int, text: str = "") -> str:
    text = (text or linecache.getline(filename, line)).strip()[:120]
    in_file = filename.endswith(".py") and "ipykernel" not in filename
    file = f"{PurePath(filename).name}, " if in_file else ""
    return f" ({file}line {line}" + (f": `{text}`)" if text else ")")
