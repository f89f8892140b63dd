"""Train tiny models with six kinds of positions, and test them at four times the length.

`nox -s record` runs this and writes `docs/practice/length.json`, which a page of the site
shows. It runs the cells of that page's section "The study", so the code that is read there
is the code that made the record; the page trains one of the models anew.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import torch

from tests.programs.bench import write

PAGE = Path(__file__).parent.parent.parent / "docs" / "practice" / "length.md"
SECTION = re.compile(r"^## The study\n(.*?)^## ", re.DOTALL | re.MULTILINE)
CELL = re.compile(
    r"^```\{code-cell\} python3\n(?:---\n.*?\n---\n)?(.*?)^```$", re.DOTALL | re.MULTILINE
)
SEEDS = range(1, 6)


def main() -> int:
    """Train all models, and write what they can do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PAGE.with_suffix(".json"))
    options = parser.parse_args()
    names = study()
    runs = []
    for kind in (*names["KINDS"], "T5 wide"):
        for seed in SEEDS:
            began = time.process_time()
            run = {"kind": kind, "seed": seed, "early": round(names["early"](kind, seed), 7)}
            found = tested(names, kind, names["train"](kind, seed))
            runs.append({**run, **found})
            seconds = time.process_time() - began
            print(f"{kind:11}{seed} {seconds:5.1f} s, long: {found['long']}", flush=True)
    head = {"torch": torch.__version__, **{name: names[name] for name in SIZES}}
    head["blind"] = rounded(names["blind"]())
    write(options.out, head, runs, "runs")
    print(f"{len(runs)} models recorded in {options.out.name}")
    return 0


SIZES = ("TRAINED", "LONG", "SYMBOLS", "WIDTH", "HEADS", "LAYERS", "QUESTIONS")


def study() -> dict[str, Any]:
    """Run the cells of the page that define the study, and return the names that they bind."""
    section = SECTION.search(PAGE.read_text(encoding="utf-8"))
    if section is None:
        raise ValueError(f"{PAGE.name} has no section that begins with '## The study'")
    names: dict[str, Any] = {"__name__": "study"}
    exec("\n".join(CELL.findall(section[1])), names)
    return names


def tested(names: dict[str, Any], kind: str, model: Any) -> dict[str, Any]:
    """Return all that is recorded of a model."""
    found = names["measure"](model)
    if kind == "RoPE":
        pairs = range(len(names["SPEEDS"]))
        found["pairs"] = [names["gap_for"](model, [pair]) for pair in pairs]
        found["squeezed"] = names["at_the_end"](model, names["PLACES"] / 4)
        found["others"] = [names["gap_for"](model, [p for p in pairs if p != q]) for q in pairs]
    if kind == "T5 wide":
        found["mended"] = names["at_the_end"](names["mend"](model), names["PLACES"])
    return dict(rounded(found))


def rounded(found: Any) -> Any:
    """Round every share to four digits: a record need not hold more."""
    return json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 4))


if __name__ == "__main__":
    sys.exit(main())
