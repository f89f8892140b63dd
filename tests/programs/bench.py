"""Measure multi-head attention, ours and that of two other libraries, side by side.

`nox -s bench` runs this and writes `docs/practice/speed.json`, which a page of the site
shows. Wall-clock time is noise on a machine that does other things too. So this takes the
CPU time of one thread, lets all take turns in an order drawn anew each round, and
compares within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from x_transformers import Attention

from attn_examples import MultiHeadAttention, causal_mask

ROOT = Path(__file__).parent.parent.parent
BATCH, WIDTH, HEADS = 1, 512, 8
LENGTHS = (128, 256, 512, 1024, 2048)
OURS = "attn_examples, need_weights=False"
AGAIN = f"{OURS}, again"  # against itself: how far two equal things seem to differ
FLOOR = "the four projections alone"  # what no implementation can leave out


class Runner(NamedTuple):
    """One implementation: what holds its weights, and how to call it."""

    module: nn.Module
    call: Callable[[Tensor], Tensor]


def main() -> int:
    """Measure, write the file, and return 1 if another is faster than ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two lengths, few rounds")
    parser.add_argument(
        "--out",
        type=Path,
        help="the file to write (default: docs/practice/speed.json; build/speed.json if quick)",
    )
    options = parser.parse_args()
    lengths, rounds = (LENGTHS[:2], 7) if options.quick else (LENGTHS, 21)
    out = options.out or ROOT / ("build" if options.quick else "docs/practice") / "speed.json"
    torch.set_num_threads(1)
    random.seed(0)
    rows = []
    for length, causal, backward in product(lengths, (False, True), (False, True)):
        found = measure(length, causal=causal, backward=backward, rounds=rounds)
        show(found)
        rows += found
    write(out, conditions(rounds), rows)
    print(f"Written to {out}")
    beaten_by = faster(rows)
    for row in beaten_by:
        print(f"Faster than ours by more than the spread: {row}")
    return 1 if beaten_by else 0


def runners(length: int, causal: bool) -> dict[str, Runner]:
    """Return all that is measured, with equal weights, so that the outputs are equal too."""
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    ours = MultiHeadAttention.from_torch(theirs)
    projections = (ours.q_proj, ours.k_proj, ours.v_proj, ours.out_proj)
    forbidden = ~causal_mask(length) if causal else None  # theirs is True where NOT allowed

    def of_ours(need_weights: bool) -> Runner:
        return Runner(ours, lambda x: ours(x, is_causal=causal, need_weights=need_weights)[0])

    def of_torch(need_weights: bool) -> Runner:
        given: dict[str, Any] = {"attn_mask": forbidden, "is_causal": causal}
        return Runner(theirs, lambda x: theirs(x, x, x, need_weights=need_weights, **given)[0])

    def of_x_transformers(flash: bool) -> Runner:
        module = Attention(WIDTH, heads=HEADS, dim_head=WIDTH // HEADS, causal=causal, flash=flash)
        with torch.no_grad():  # it has no biases; those of torch start as 0
            for name, projection in zip("qkv", projections, strict=False):
                getattr(module, f"to_{name}").weight.copy_(projection.weight)
            module.to_out.weight.copy_(ours.out_proj.weight)
        return Runner(module, module)

    return {
        OURS: of_ours(False),
        AGAIN: of_ours(False),
        "attn_examples, need_weights=True": of_ours(True),
        "torch.nn, need_weights=False": of_torch(False),
        "torch.nn, need_weights=True": of_torch(True),
        "x_transformers, flash=True": of_x_transformers(True),
        "x_transformers": of_x_transformers(False),
        FLOOR: Runner(
            ours, lambda x: ours.out_proj(ours.q_proj(x) + ours.k_proj(x) + ours.v_proj(x))
        ),
    }


def measure(length: int, *, causal: bool, backward: bool, rounds: int) -> list[dict[str, Any]]:
    """Time every implementation at one size: seconds a call, and the ratio to ours."""
    all_runners = runners(length, causal)
    x = torch.randn(BATCH, length, WIDTH, requires_grad=backward)
    gradient = torch.randn(BATCH, length, WIDTH)

    def run(name: str, calls: int) -> float:
        module, call = all_runners[name]
        module.train(backward)
        wanted = [x, *module.parameters()]
        start = time.process_time()
        for _ in range(calls):
            if backward:
                torch.autograd.grad(call(x), wanted, gradient)
            else:
                with torch.inference_mode():
                    call(x)
        return (time.process_time() - start) / calls

    with torch.no_grad():
        expected = all_runners[OURS].call(x)
        for name in all_runners.keys() - {FLOOR}:
            torch.testing.assert_close(all_runners[name].call(x), expected, rtol=0, atol=1e-5)
    seconds: dict[str, list[float]] = {name: [] for name in all_runners}
    calls = {}
    for name in all_runners:
        run(name, 2)  # the first call is slower: memory is not yet there
        calls[name] = max(1, round(0.03 / run(name, 1)))  # samples long enough for the clock
    for _ in range(rounds):
        for name in random.sample(list(all_runners), len(all_runners)):
            seconds[name].append(run(name, calls[name]))
    return [
        {
            "length": length,
            "causal": causal,
            "backward": backward,
            "implementation": name,
            "seconds": spread(seconds[name]),
            "ratio": spread([a / b for a, b in zip(seconds[name], seconds[OURS], strict=True)]),
        }
        for name in all_runners
    ]


def spread(numbers: Sequence[float]) -> dict[str, float]:
    """Return the least of the numbers and their quartiles, to four digits."""
    q1, median, q3 = statistics.quantiles(numbers, n=4, method="inclusive")
    found = {"min": min(numbers), "q1": q1, "median": median, "q3": q3}
    return {name: float(f"{number:.4g}") for name, number in found.items()}


def faster(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows whose ratio to ours is below what ours typically has to itself."""
    least = statistics.median(row["ratio"]["q1"] for row in rows if row["implementation"] == AGAIN)
    others = [row for row in rows if row["implementation"] not in (OURS, AGAIN, FLOOR)]
    return [row for row in others if row["ratio"]["median"] < least]


def conditions(rounds: int) -> dict[str, Any]:
    """Return what the numbers depend on."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "versions": {
            "Python": platform.python_version(),
            **{name: version(name) for name in ("attn-examples", "torch", "x-transformers")},
        },
        "batch": BATCH,
        "width": WIDTH,
        "num_heads": HEADS,
        "dtype": "float32",
        "rounds": rounds,
        "ours": OURS,
        "again": AGAIN,
        "floor": FLOOR,
    }


def cpu_name() -> str:
    """Return the name of the processor, as well as the system knows it."""
    file = Path("/proc/cpuinfo")
    if file.exists():
        for line in file.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print what was found at one size."""
    first = rows[0]
    print(
        f"\nlength {first['length']}, {'causal' if first['causal'] else 'no mask'}, "
        f"forward{' and backward' if first['backward'] else ''}"
    )
    for row in rows:
        low, middle, high = (row["ratio"][name] for name in ("q1", "median", "q3"))
        print(
            f"  {row['implementation']:41} {1000 * row['seconds']['median']:9.2f} ms"
            f"   {middle:5.2f} of ours ({low:.2f} to {high:.2f})",
            flush=True,
        )


def write(
    file: Path, head: dict[str, Any], rows: Sequence[dict[str, Any]], name: str = "rows"
) -> None:
    """Write all of the file or nothing, one row on a line."""
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    text = f'{json.dumps(head, indent=1)[:-2]},\n "{name}": [\n  {lines}\n ]\n}}\n'
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, file)


if __name__ == "__main__":
    sys.exit(main())
