"""Draw all formulas in one run of KaTeX, before any page is written.

The gap: sphinxcontrib-katex asks a server for one formula at a time, over a connection
that waits 40 ms each way, and each process that writes pages would start its own server.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import sphinxcontrib.katex as katex
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from extensions.shared import PerPage

logger = logging.getLogger(__name__)

FORMULAS = PerPage("formulas")  # those of each page, with their lines

_DRAW = """\
const katex = require(process.argv[1]);
const [formulas, options] = JSON.parse(require("fs").readFileSync(0, "utf8"));
const drawn = formulas.map(([latex, displayMode]) => {
  try {
    return [katex.renderToString(latex, {...options, displayMode}), ""];
  } catch (error) {
    return ["", String(error.message)];
  }
});
process.stdout.write(JSON.stringify(drawn));
"""

Formula = tuple[str, bool]  # its LaTeX, and whether it stands on a line of its own


def collect(app: Sphinx, doctree: nodes.document) -> None:
    """Note the formulas of a page that was just read, each with its line."""
    env: Any = app.env
    FORMULAS.of(env)[env.docname] = {
        (katex.get_latex(node), isinstance(node, nodes.math_block)): node.line or 0
        for node in doctree.findall(lambda n: isinstance(n, nodes.math | nodes.math_block))
    }


def draw(app: Sphinx, env: Any) -> None:
    """Draw the formulas that are not drawn yet."""
    wanted = {formula for page in FORMULAS.of(env).values() for formula in page}
    env.attn_drawn = {f: html for f, html in env.attn_drawn.items() if f in wanted}
    missing = sorted(wanted - env.attn_drawn.keys())
    if not missing or app.builder.format != "html":
        return
    errors = {}
    drawn = _run_katex(missing)
    for formula, (html, error) in zip(missing, drawn, strict=True):
        env.attn_drawn[formula] = html
        errors[formula] = error
    for docname, page in FORMULAS.of(env).items():
        for formula, line in page.items():
            if errors.get(formula):
                logger.warning("%s", errors[formula], location=(docname, line), type="katex")


def _run_katex(formulas: list[Formula]) -> list[tuple[str, str]]:
    script = str(Path(katex.SRC_DIR) / "katex.min.js")
    done = subprocess.run(
        [katex.NODEJS_BINARY, "-e", _DRAW, script],
        input=json.dumps([formulas, katex.KATEX_DEFAULT_OPTIONS]),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    drawn: list[tuple[str, str]] = json.loads(done.stdout)
    return drawn


def start(app: Sphinx) -> None:
    """Make room, and let the visitors of sphinxcontrib-katex find what is drawn."""
    env: Any = app.env
    env.attn_drawn = getattr(env, "attn_drawn", {})

    def look_up(latex: str, options: dict[str, bool] | None = None) -> str:
        formula = (latex, bool(options and options["displayMode"]))
        return str(env.attn_drawn[formula])

    katex.render_latex = look_up


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("builder-inited", start)
    app.connect("doctree-read", collect)
    FORMULAS.connect(app)
    app.connect("env-updated", draw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
