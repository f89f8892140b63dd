"""Measure multi-head attention with weights against torch's: CPU time and peak memory.

    python -m tests.programs.bench_weights

One thread, each sample beside one of the other's in the same round, as in `bench`. torch
averages its weights over the heads unless told not to; both are measured.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attn_examples import MultiHeadAttention, causal_mask

WIDTH, HEADS = 256, 8
LENGTHS = (1024, 4096)
PEAK_LENGTH = 2048
OURS, EACH, AVERAGE = "ours", "torch, each head", "torch, average"


def main() -> int:
    """Print the ratios of ours to both of torch's, and the peaks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--peak", choices=(OURS, EACH, AVERAGE), help=argparse.SUPPRESS)
    parser.add_argument("--causal", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(peak(options.peak, options.causal))
        return 0
    random.seed(0)
    for length, causal, backward in product(options.lengths, (False, True), (True, False)):
        measure(length, causal=causal, backward=backward, rounds=options.rounds)
    for causal, name in product((False, True), (OURS, EACH, AVERAGE)):
        command = [sys.executable, "-m", "tests.programs.bench_weights", "--peak", name]
        found = subprocess.check_output([*command, *["--causal"] * causal], text=True)
        print(f"peak at {PEAK_LENGTH}, no_grad, {kind(causal):8} {name:17} {found.strip():>5} MiB")
    return 0


def runners(length: int, causal: bool) -> dict[str, tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    """Return the three, with equal weights."""
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    ours = MultiHeadAttention.from_torch(theirs)
    given: dict[str, Any] = {"attn_mask": ~causal_mask(length) if causal else None}
    return {
        OURS: (ours, lambda x: ours(x, is_causal=causal)[0]),
        EACH: (theirs, lambda x: theirs(x, x, x, average_attn_weights=False, **given)[0]),
        AVERAGE: (theirs, lambda x: theirs(x, x, x, **given)[0]),
    }


def measure(length: int, *, causal: bool, backward: bool, rounds: int) -> None:
    """Print median ratios at one size, with the least and the most."""
    all_runners = runners(length, causal)
    x = torch.randn(1, length, WIDTH, requires_grad=backward)
    gradient = torch.randn(1, length, WIDTH)

    def run(name: str) -> float:
        module, call = all_runners[name]
        module.train(backward)
        start = time.process_time()
        if backward:
            torch.autograd.grad(call(x), [x, *module.parameters()], gradient)
        else:
            with torch.no_grad():
                call(x)
        return time.process_time() - start

    with torch.no_grad():
        outputs = [call(x) for _, call in all_runners.values()]
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0], rtol=0, atol=1e-5)
    for name in all_runners:
        run(name)  # the first call is slower
    order = list(all_runners)
    seconds: dict[str, list[float]] = {name: [] for name in order}
    for _ in range(rounds):
        for name in random.sample(order, len(order)):
            seconds[name].append(run(name))
    for name in (EACH, AVERAGE):
        ratios = [a / b for a, b in zip(seconds[OURS], seconds[name], strict=True)]
        print(
            f"{length:5} {kind(causal):8} {'with backward' if backward else 'no_grad':13} "
            f"{1000 * statistics.median(seconds[OURS]):8.1f} ms   "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) of {name}",
            flush=True,
        )


def peak(name: str, causal: bool) -> int:
    """Return by how many MiB one call raises the most memory this process ever held."""
    runners(64, causal)[name][1](torch.randn(1, 64, WIDTH))  # what the first call loads
    module, call = runners(PEAK_LENGTH, causal)[name]
    module.eval()
    x = torch.randn(1, PEAK_LENGTH, WIDTH)
    before = most_held()
    with torch.no_grad():
        call(x)
    return round((most_held() - before) / 1024)


def most_held() -> int:
    """Return the most KiB this process ever held, as Linux counts them."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def kind(causal: bool) -> str:
    """Say it in a word."""
    return "causal" if causal else "plain"


if __name__ == "__main__":
    sys.exit(main())
