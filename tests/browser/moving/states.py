"""Where each figure that moves is looked at: in the midst of its walk, and at its edges.

An edge is where the mathematics stops: all keys masked, temperature 0, the end of a walk.
`STATES[figure]` maps the name of a state to what leads there; each takes the figure's
element, on a page of its own or on the site.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator

_SET = """(figure, controls) => {
  const { elements } = figure.querySelector("form");
  for (const [name, value] of Object.entries(controls)) {
    const control = elements[name];
    if (!control) continue;
    control[control.type === "checkbox" ? "checked" : "value"] = value;
    // of radio buttons, whichever
    (control[0]?.form ? control[0] : control).dispatchEvent(new Event("input", { bubbles: true }));
  }
}"""


def put(figure: Locator, **controls: Any) -> None:
    figure.evaluate(_SET, controls)


def press(figure: Locator, buttons: str, *places: int) -> None:
    """Press buttons by their places, counted from the end where negative."""
    found = figure.locator(buttons)
    for place in places:
        found.nth(place).evaluate("(button) => { button.focus(); button.click(); }")


def _heads_midst(figure: Locator) -> None:
    put(figure, by="1", first="1", second="2")
    press(figure, ".heads button", 7)
    press(figure, ".rows >> nth=0 >> button", 2)


def _heads_edge(figure: Locator) -> None:
    put(figure, by="5")
    press(figure, ".heads button", -1)
    press(figure, ".rows >> nth=-1 >> button", -1)


def _paint(figure: Locator) -> None:
    put(figure, documents="&", window="|")
    press(figure, ".board button", 3, 17)


def _paint_nothing(figure: Locator) -> None:
    put(figure, **{"padded queries": "&"})
    press(figure, ".board button", 0)


def _mix(figure: Locator) -> None:
    put(figure, step="3")
    figure.locator(".sheet input[type=number]").nth(1).fill("99")


def _see_nothing(figure: Locator) -> None:
    for box in figure.locator(".sheet tbody input[type=checkbox]").all():
        box.uncheck()


def _turn(figure: Locator) -> None:
    put(figure, turn="answers")
    press(figure, ".tokens >> nth=-1 >> button", 0)


def _mask_all(figure: Locator, buttons: str) -> None:
    rest = figure.locator(f"{buttons}[aria-pressed=false]:not([hidden])")
    rest.evaluate_all("(rest) => rest.forEach((button) => button.click())")


def _masked_tiles(figure: Locator) -> None:
    _mask_all(figure, ".keys button")
    press(figure, ".controls [type=button]", 1, 1)


def _write_two(figure: Locator) -> None:
    put(figure, model="2", size="9")
    press(figure, ".next", 0, 0)


def _write_all(figure: Locator) -> None:
    put(figure, model="0", size="17")
    press(figure, ".next", *[0] * 12)


State = Callable[[Locator], None]
STATES: dict[str, dict[str, State]] = {
    "explorer": {
        "the first is asked": _turn,
        "the last": lambda figure: press(figure, ".tokens >> nth=-1 >> button", -1),
        "may look at nothing": lambda figure: press(figure, ".tokens >> nth=0 >> button", 1),
    },
    "head_explorer": {"another sentence": _heads_midst, "the last head": _heads_edge},
    "stepper": {"the mix of one large score": _mix, "all masked": _see_nothing},
    "softmax_lab": {
        "one more, not scaled": lambda figure: put(
            figure, temperature="0.5", width="2", scaled=False, more=True
        ),
        "temperature 0": lambda figure: put(figure, temperature="0"),
        "all masked": lambda figure: _mask_all(figure, ".masks button"),
    },
    "mask_composer": {"painted": _paint, "rows of nothing": _paint_nothing},
    "positions": {
        "a content, turned": lambda figure: put(
            figure, kind="rotary", tokens="2", query="5", key="30"
        ),
        "base 1, far apart": lambda figure: put(figure, base="0", query="40", key="0"),
    },
    "cache_walk": {"another model": _write_two, "the end, longest": _write_all},
    "head_walk": {
        "the weights": lambda figure: put(figure, step="3", N="3", head="1"),
        "heads that do not divide": lambda figure: put(figure, H="5", step="2"),
    },
    "online_softmax": {
        "the second tile": lambda figure: press(figure, ".controls [type=button]", 1),
        "the end": lambda figure: press(figure, ".controls [type=button]", *[1] * 12),
        "all masked": _masked_tiles,
    },
}
