"""Pictures: what is drawn, in which colours, and what is refused."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle

from attn_examples import causal_mask
from attn_examples.figures import (
    INK,
    LIT,
    STEPS,
    arcs,
    data_flow,
    heads_grid,
    heatmap,
    new_figure,
    steps_strip,
)
from tests.conftest import says

mpl.use("agg")
ON_NOTHING: Any = {"figure.facecolor": "none", "axes.facecolor": "none", "svg.fonttype": "none"}


@pytest.fixture(autouse=True)
def as_on_the_site() -> Iterator[None]:
    with mpl.rc_context(ON_NOTHING):
        yield
        assert plt.get_fignums() == []  # a figure left open would show twice in a notebook
        assert all(mpl.rcParams[name] == value for name, value in ON_NOTHING.items())
        assert mpl.rcParams["text.color"] == "black"  # the style is the figure's, not the page's


def svg(figure: Figure) -> str:
    """Draw a figure as the site does, which also shows that it can be drawn."""
    file = io.StringIO()
    figure.savefig(file, format="svg")
    return re.sub("<!--.*?-->", "", file.getvalue(), flags=re.DOTALL)  # they repeat the texts


def labels(ax: Axes, axis: str) -> list[str]:
    return [text.get_text() for text in getattr(ax, f"get_{axis}ticklabels")()]


def numbers(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def cells(ax: Axes) -> Any:
    """Return the colour of each cell of a map, shape (L, S, 4)."""
    (mesh,) = (collection for collection in ax.collections if isinstance(collection, QuadMesh))
    return np.asarray(mesh.get_array())


def tokens(count: int, name: str = "token") -> list[str]:
    return [f"{name}{i}" for i in range(count)]


# One map


@pytest.mark.parametrize("length", [1, 3, 12])
def test_a_small_map_prints_its_numbers(length: int) -> None:
    weights = 0.01 + torch.rand(length, length)  # none rounds to 0
    figure = heatmap(weights, tokens(length), title="a title")
    ax, _ = figure.axes
    assert ax.get_title() == "a title"
    assert labels(ax, "x") == labels(ax, "y") == tokens(length)
    assert numbers(ax) == [f"{w:.2f}".removeprefix("0") for w in weights.flatten().tolist()]
    markup = svg(figure)
    assert all(text in markup for text in ["a title", *tokens(length), *numbers(ax)])


@pytest.mark.parametrize("length", [13, 30])
def test_a_large_map_has_no_numbers(length: int) -> None:
    weights = torch.rand(length, length)
    figure = heatmap(weights, tokens(length))
    ax, bar = figure.axes
    assert numbers(ax) == []
    assert labels(ax, "x") == labels(ax, "y") == tokens(length)
    assert bar.get_ylim() == (0.0, float(weights.max()))
    assert "<image" not in svg(figure)  # a bitmap could not go into a page


def test_numbers_can_be_asked_for_and_refused() -> None:
    weights = torch.rand(3, 14) + 0.01  # none rounds to 0
    assert numbers(heatmap(weights).axes[0]) == []
    assert len(numbers(heatmap(weights, values=True).axes[0])) == 42
    assert len(numbers(heatmap(weights[:, :3]).axes[0])) == 9
    assert numbers(heatmap(weights[:, :3], values=False).axes[0]) == []


def test_a_map_of_its_own_has_a_scale_and_names_its_axes() -> None:
    for length in (3, 30):
        ax, bar = heatmap(torch.full((length, length), 0.5)).axes
        assert bar.get_ylim() == (0.0, 0.5)
        assert (ax.get_ylabel(), ax.get_xlabel()) == ("asks", "answers")
        assert ax.xaxis.get_label_position() == "top"
    ax, _ = heatmap(torch.rand(3, 3), names=("query", "key")).axes
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("query", "key")
    ax, _ = heatmap(torch.rand(3, 3), names=None).axes
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("", "")


def test_labels_of_rows_and_columns() -> None:
    rows, columns = tokens(3, "query"), tokens(5, "key")
    weights = torch.rand(3, 5)
    for given, expected in [
        ((), (["0", "1", "2"], ["0", "1", "2", "3", "4"])),
        ((rows,), (rows, ["0", "1", "2", "3", "4"])),
        ((None, columns), (["0", "1", "2"], columns)),
        ((rows, columns), (rows, columns)),
    ]:
        ax, _ = heatmap(weights, *given).axes
        assert (labels(ax, "y"), labels(ax, "x")) == expected
    assert labels(heatmap(torch.rand(30, 30)).axes[0], "x") == [str(j) for j in range(0, 30, 3)]


def test_cells_have_the_colours_of_viridis_and_zeros_are_blank() -> None:
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.5, 0.0], [1e-9, 0.1, 2.0]])
    for top, vmax in [(2.0, None), (1.0, 1.0), (4.0, 4)]:
        ax, _ = heatmap(weights, vmax=vmax).axes
        drawn = cells(ax)
        expected = mpl.colormaps["viridis"](weights.double().numpy() / top)
        blank = (weights == 0).numpy()
        assert (drawn[blank] == 0).all()
        assert (drawn[~blank] == expected[~blank]).all()
        assert ax.get_xlim() == (-0.5, 2.5)
        assert ax.get_ylim() == (2.5, -0.5)  # the first query is at the top
    assert numbers(ax) == ["1.00", ".25", ".50", ".10", "2.00"]  # 1e-9 has a colour alone


def test_numbers_stand_out_from_their_cells() -> None:
    weights = torch.linspace(0.05, 1.0, 12).view(1, 12)
    ax, _ = heatmap(weights).axes
    for text, color in zip(ax.texts, cells(ax)[0], strict=True):
        assert contrast(mpl.colors.to_rgb(text.get_color()), color) >= 4.5


def contrast(one: Any, other: Any) -> float:
    """Return WCAG's contrast of two colours."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(color: Any) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_a_map_of_zeros_is_blank() -> None:
    ax, _ = heatmap(torch.zeros(3, 3)).axes
    assert (cells(ax) == 0).all()
    assert numbers(ax) == []


@pytest.mark.parametrize(("vmax", "pointed"), [(None, False), (1.0, False), (0.5, True)])
def test_the_bar_says_when_a_weight_is_beyond_it(vmax: float | None, pointed: bool) -> None:
    weights = torch.full((13, 13), 0.75)
    bar = heatmap(weights, vmax=vmax).axes[1]
    assert bar.get_ylim() == (0.0, vmax or 0.75)
    colorbar: Any = bar
    assert colorbar._colorbar.extend == ("max" if pointed else "neither")


def test_a_map_can_go_into_axes_that_are_there() -> None:
    figure, axes = new_figure(6, 3, per_line=2)
    for ax in axes.flat:
        assert heatmap(torch.rand(20, 20), ax=ax) is figure
        assert numbers(ax) == []
    assert figure.axes == list(axes.flat)  # no bar: the room is the caller's


@pytest.mark.parametrize("length", [3, 30])
def test_all_but_numbers_is_ink_on_nothing(length: int) -> None:
    figure = heatmap(torch.rand(length, length), tokens(length), title="a title")
    grounds = [figure.get_facecolor(), *(ax.get_facecolor() for ax in figure.axes)]
    assert all(mpl.colors.to_rgba(ground)[3] == 0 for ground in grounds)
    for ax in figure.axes:
        texts = [ax.title, *ax.get_xticklabels(), *ax.get_yticklabels()]
        assert {text.get_color() for text in texts} == {INK}
    markup = svg(figure)
    assert "white" not in markup
    assert markup.count("#000000") == markup.count('fill: #000000"') <= length**2  # numbers


def test_dollar_signs_are_tokens_not_formulas() -> None:
    strange = ["$", "$x_1$", r"$\nonsense"]
    figure = heatmap(torch.rand(3, 3), strange, title=r"$\nonsense$")
    markup = svg(figure)
    assert all(text in markup for text in [*strange, r"$\nonsense$"])
    assert r"$\more$" in svg(heads_grid(torch.rand(1, 3, 3), strange, titles=[r"$\more$"]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_takes_any_kind_of_floating_point(dtype: torch.dtype) -> None:
    weights = torch.eye(3, dtype=dtype, requires_grad=True)
    assert numbers(heatmap(weights).axes[0]) == ["1.00"] * 3


NOT_A_MAP = [
    ([[1.0]], TypeError, "weights (list) must be a torch.Tensor"),
    (
        torch.eye(3, dtype=torch.int64),
        ValueError,
        "weights (torch.int64) must be a floating-point tensor: "
        "embed token numbers first, or call weights.float()",
    ),
]
BAD_NUMBERS = [(-0.5, "-0.5"), (float("nan"), "nan"), (float("inf"), "inf")]


@pytest.mark.parametrize(
    ("weights", "error", "sentence"),
    [
        *NOT_A_MAP,
        *(
            (
                torch.rand(shape),
                ValueError,
                f"weights has shape {shape} but a map is (L, S): pick one batch entry and one "
                f"head, or use heads_grid",
            )
            for shape in [(3,), (2, 3, 3)]
        ),
        *(
            (
                torch.rand(shape),
                ValueError,
                f"weights has shape {shape}: there is nothing to draw",
            )
            for shape in [(0, 3), (3, 0)]
        ),
        *(
            (
                torch.tensor([[0.0, number]]),
                ValueError,
                f"weights holds {name} but a map shows numbers from 0 up",
            )
            for number, name in BAD_NUMBERS
        ),
    ],
)
def test_refuses_what_is_no_map(weights: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        heatmap(weights)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rows": ["a"]}, "rows has 1 labels but the map has 3 of them"),
        ({"rows": tokens(4)}, "rows has 4 labels but the map has 3 of them"),
        ({"columns": tokens(2)}, "columns has 2 labels but the map has 5 of them"),
        ({"vmax": 0}, "vmax (0) must be positive and finite"),
        ({"vmax": -1.0}, "vmax (-1.0) must be positive and finite"),
        ({"vmax": float("nan")}, "vmax (nan) must be positive and finite"),
        ({"vmax": float("inf")}, "vmax (inf) must be positive and finite"),
        ({"columns": np.array(["a", "b"])}, "columns has 2 labels but the map has 5 of them"),
    ],
)
def test_refuses_labels_and_scales(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=says(sentence)):
        heatmap(torch.rand(3, 5), **settings)


KINDS: list[tuple[Any, list[str]]] = [
    (("a", "b"), ["a", "b"]),
    (np.array(["a", "b"]), ["a", "b"]),
    (np.array([3, 4]), ["3", "4"]),
    (torch.tensor([3, 4]), ["3", "4"]),
    (range(3, 5), ["3", "4"]),
    ([np.str_("a"), 0.5], ["a", "0.5"]),
]


@pytest.mark.parametrize(("given", "expected"), KINDS)
def test_takes_any_sequence_of_labels(given: Any, expected: list[str]) -> None:
    ax, _ = heatmap(torch.eye(2), given).axes
    assert labels(ax, "x") == labels(ax, "y") == expected
    ax, _ = heatmap(torch.rand(3, 2), columns=given).axes
    assert labels(ax, "x") == expected
    grid = heads_grid(torch.rand(2, 2, 2), given, titles=given)
    assert [ax.get_title() for ax in grid.axes[:-1]] == expected
    assert labels(grid.axes[0], "y") == expected


WRONG_KINDS: list[tuple[dict[str, Any], str]] = [
    ({"rows": 3}, "rows (int) must be a sequence of labels"),
    ({"rows": {"a", "b", "c"}}, "rows (set) must be a sequence of labels"),
    ({"rows": torch.tensor(3)}, "rows (Tensor) must be a sequence of labels"),
    ({"rows": ["a", None, "c"]}, "rows holds None but a label must be a text or a number"),
    ({"rows": np.eye(3)}, "rows holds [1.0, 0.0, 0.0] but a label must be a text or a number"),
]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        *WRONG_KINDS,
        ({"vmax": "big"}, "vmax ('big') must be a number"),
        ({"title": 5}, "title (int) must be a str"),
        ({"names": "ab"}, "names ('ab') must be a tuple of two str, or None"),
        ({"names": ("a", 1)}, "names (('a', 1)) must be a tuple of two str, or None"),
        ({"values": np.eye(3)}, "values (ndarray) must be True or False"),
        ({"ax": np.array([None, None])}, "ax (ndarray) must be one matplotlib Axes"),
    ],
)
def test_refuses_what_is_of_another_kind(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TypeError, match=says(sentence)):
        heatmap(torch.rand(3, 5), **settings)


def test_the_scale_may_end_at_a_tensor() -> None:
    weights = torch.rand(13, 13)
    assert heatmap(weights, vmax=weights.max()).axes[1].get_ylim() == (0.0, float(weights.max()))


def test_a_map_can_go_into_part_of_a_figure() -> None:
    figure, _ = new_figure(4, 2)
    figure.clear()
    parts: Any = figure.subfigures(1, 2)
    ax = parts[0].subplots()
    assert heatmap(torch.rand(3, 3), ax=ax) is figure


def test_a_long_map_stays_on_the_page() -> None:
    figure = heatmap(torch.rand(300, 300))
    assert max(figure.get_size_inches()) < 10
    assert len(figure.axes[0].collections) == 1  # cells, and no lines that would hide them
    assert heatmap(torch.rand(40, 40), range(40)).get_figheight() > 0.24 * 40  # labels need room


# Many heads


@pytest.mark.parametrize("length", [3, 30])
@pytest.mark.parametrize(
    ("heads", "per_line", "grid"),
    [
        (1, 4, (1, 1)),
        (1, 1, (1, 1)),
        (3, 4, (1, 3)),
        (6, 4, (2, 4)),
        (4, 2, (2, 2)),
        (2, 1, (2, 1)),
    ],
)
def test_a_grid_has_a_map_for_each_head(
    length: int, heads: int, per_line: int, grid: tuple[int, int]
) -> None:
    weights = torch.rand(heads, length, length)
    figure = heads_grid(weights, tokens(length), per_line=per_line)
    *axes, bar = figure.axes
    assert len(axes) == grid[0] * grid[1]
    assert bar.get_ylim() == (0.0, 1.0)
    shown, unused = axes[:heads], axes[heads:]
    assert [ax.get_title() for ax in shown] == [f"head {h}" for h in range(heads)]
    assert not any(ax.axison for ax in unused)
    for h, ax in enumerate(shown):
        assert numbers(ax) == []
        assert (cells(ax) == mpl.colormaps["viridis"](weights[h].double().numpy())).all()
        # labels at the left and top edge, where they have room
        room = length == 3
        assert labels(ax, "x") == (tokens(length) if room and h < grid[1] else [])
        assert labels(ax, "y") == (tokens(length) if room and h % grid[1] == 0 else [])
    svg(figure)


def test_a_grid_has_the_titles_and_labels_it_is_given() -> None:
    figure = heads_grid(
        torch.rand(2, 3, 5), tokens(3, "query"), tokens(5, "key"), titles=["first", "second"]
    )
    left, right, _ = figure.axes
    assert (left.get_title(), right.get_title()) == ("first", "second")
    assert (labels(left, "y"), labels(left, "x")) == (tokens(3, "query"), tokens(5, "key"))
    assert (labels(right, "y"), labels(right, "x")) == ([], tokens(5, "key"))
    assert {ax.title.get_color() for ax in (left, right)} == {INK}


@pytest.mark.parametrize(
    ("weights", "settings", "error", "sentence"),
    [
        *((weights, {}, error, sentence) for weights, error, sentence in NOT_A_MAP),
        (
            torch.rand(3, 3),
            {},
            ValueError,
            "weights has shape (3, 3) but a grid of heads is (H, L, S): pick one batch entry",
        ),
        *(
            (
                torch.rand(shape),
                {},
                ValueError,
                f"weights has shape {shape}: there is nothing to draw",
            )
            for shape in [(0, 3, 3), (2, 0, 3), (2, 3, 0)]
        ),
        *(
            (
                torch.tensor([[[0.0]], [[number]]]),
                {},
                ValueError,
                f"weights holds {name} but a map shows numbers from 0 up",
            )
            for number, name in BAD_NUMBERS
        ),
        *(
            (
                torch.rand(2, 3, 5),
                {name: ["a"]},
                ValueError,
                f"{name} has 1 labels but the map has {count} of them",
            )
            for name, count in [("titles", 2), ("rows", 3), ("columns", 5)]
        ),
        (torch.rand(2, 3, 3), {"vmax": 0.0}, ValueError, "vmax (0.0) must be positive and finite"),
        (torch.rand(2, 3, 3), {"per_line": 0}, ValueError, "per_line (0) must be at least 1"),
        (
            torch.rand(2, 3, 3),
            {"per_line": 1.5},
            TypeError,
            "per_line (1.5) must be a whole number",
        ),
        *(
            (torch.rand(2, 3, 3), {"size": size}, error, f"size ({size!r}) must be {wanted}")
            for size, error, wanted in [
                (-1, ValueError, "positive and finite"),
                (0.0, ValueError, "positive and finite"),
                (float("nan"), ValueError, "positive and finite"),
                (float("inf"), ValueError, "positive and finite"),
                ("big", TypeError, "a number"),
                (None, TypeError, "a number"),
            ]
        ),
        *(
            (torch.rand(2, 3, 5), settings, TypeError, sentence)
            for settings, sentence in WRONG_KINDS
        ),
        (
            torch.rand(2, 3, 5),
            {"titles": 2},
            TypeError,
            "titles (int) must be a sequence of labels",
        ),
    ],
)
def test_a_grid_refuses(
    weights: Any, settings: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=says(sentence)):
        heads_grid(weights, **settings)


# The strip of four steps, and the figure below all of them


@pytest.mark.parametrize("changed", [(), ("score",), ("mask", "mix"), STEPS])
def test_the_strip_lights_what_changed(changed: tuple[str, ...]) -> None:
    (ax,) = steps_strip(*changed).axes
    boxes = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    names = [text for text in ax.texts if text.get_text()]
    assert [text.get_text() for text in names] == ["1 score", "2 mask", "3 normalize", "4 mix"]
    lit = [name in changed for name in STEPS]
    assert [text.get_fontweight() == "bold" for text in names] == lit
    assert [box.get_linewidth() > 2 for box in boxes] == lit
    assert [mpl.colors.to_rgba(box.get_facecolor())[3] == 1 for box in boxes] == lit
    assert {mpl.colors.to_hex(box.get_edgecolor()) for box in boxes} == {INK}
    assert [text.get_color() for text in names] == ["#000000" if on else INK for on in lit]


def test_the_strip_has_room_for_a_note() -> None:
    figure = steps_strip("mask", note="and the positions")
    assert figure.axes[0].texts[-1].get_text() == "and the positions"
    assert figure.axes[0].texts[-1].get_color() == INK
    assert figure.get_figheight() > steps_strip("mask").get_figheight()
    assert "and the positions" in svg(figure)


@pytest.mark.parametrize("name", ["softmax", "Mask", ""])
def test_the_strip_refuses_other_names(name: str) -> None:
    sentence = f"changed ({name!r}) must name a step: score, mask, normalize, mix"
    with pytest.raises(ValueError, match=says(sentence)):
        steps_strip("mask", name)


def test_a_new_figure_is_in_style_and_closed() -> None:
    figure, ax = new_figure(4, 2)
    assert isinstance(figure, Figure)
    assert isinstance(ax, Axes)
    assert tuple(figure.get_size_inches()) == (4, 2)
    ax.set(xlabel="x", ylabel="y", title="z")
    inked = [ax.xaxis.label, ax.yaxis.label, ax.title, *ax.get_xticklabels()]
    assert {text.get_color() for text in inked} == {INK}
    assert not ax.spines["top"].get_visible()
    assert mpl.colors.to_hex(ax.spines["left"].get_edgecolor()) == INK
    several, axes = new_figure(4, 2, lines=2, per_line=3)
    assert axes.shape == (2, 3)
    assert several.axes == list(axes.flat)


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"width": -1}, ValueError, "width (-1) must be positive and finite"),
        ({"width": "wide"}, TypeError, "width ('wide') must be a number"),
        ({"height": float("nan")}, ValueError, "height (nan) must be positive and finite"),
        ({"lines": 0}, ValueError, "lines (0) must be at least 1"),
        ({"per_line": 1.5}, TypeError, "per_line (1.5) must be a whole number"),
    ],
)
def test_a_new_figure_refuses(
    settings: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=says(sentence)):
        new_figure(**({"width": 4, "height": 2} | settings))


def test_a_note_is_text() -> None:
    with pytest.raises(TypeError, match=says("note (int) must be a str")):
        steps_strip("mask", note=5)  # type: ignore[arg-type]
    assert r"$\nonsense$" in svg(steps_strip(note=r"$\nonsense$"))


# A sentence with arcs


def test_an_arc_is_as_thick_as_its_weight() -> None:
    row = torch.tensor([0.1, 0.0, 0.6, 0.3])
    figure = arcs(row, tokens(4), asks=3)
    (ax,) = figure.axes
    drawn = [patch for patch in ax.patches if isinstance(patch, PathPatch)]
    thick = {
        tuple(np.asarray(patch.get_path().vertices)[[0, -1], 0]): patch.get_linewidth()
        for patch in drawn
    }
    assert numbers(ax) == ["token0", ".10", "token1", "token2", ".60", "token3", ".30"]
    places = {text.get_text(): text.get_position()[0] for text in ax.texts}
    asks = places["token3"]
    width = [thick[asks, places[f"token{i}"]] for i in (0, 2, 3)]
    assert np.allclose(np.diff(width), 7 * np.diff([0.1, 0.6, 0.3]))  # in points, for each 1
    assert set(thick) == {(asks, places[f"token{i}"]) for i in (0, 2, 3)}  # none for .00
    lit = [text for text in ax.texts if text.get_fontweight() == "bold"]
    assert [text.get_text() for text in lit] == ["token2", ".60", "token3", ".30"]
    box = ax.texts[5].get_bbox_patch()
    assert box is not None
    assert mpl.colors.same_color(box.get_facecolor(), LIT)
    svg(figure)


def test_another_arc_can_be_lit() -> None:
    figure = arcs(torch.tensor([0.1, 0.6, 0.3]), ["a", "$b$", "c"], asks=0, answers=2)
    (ax,) = figure.axes
    bold = [text.get_text() for text in ax.texts if text.get_fontweight() == "bold"]
    assert bold == ["a", ".10", "c", ".30"]
    assert "$b$" in svg(figure)


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        (([0.5], ["a"], 0), TypeError, "weights (list) must be a torch.Tensor"),
        (
            (torch.rand(2, 2), ["a", "b"], 0),
            ValueError,
            "weights has shape (2, 2) but arcs are drawn from one row, (L,)",
        ),
        (
            (torch.tensor([]), [], 0),
            ValueError,
            "weights has shape (0,) but arcs are drawn from one row, (L,)",
        ),
        (
            (torch.tensor([1.5, -0.5]), ["a", "b"], 0),
            ValueError,
            "weights holds 1.5 but must lie between 0 and 1",
        ),
        (
            (torch.tensor([float("nan")]), ["a"], 0),
            ValueError,
            "weights holds nan but must lie between 0 and 1",
        ),
        ((torch.eye(2)[0], ["a"], 0), ValueError, "tokens has 1 labels but the map has 2 of them"),
        ((torch.eye(2)[0], ["a", "b"], 2), ValueError, "asks (2) must be less than 2, the tokens"),
        ((torch.eye(2)[0], ["a", "b"], -1), ValueError, "asks (-1) must be at least 0"),
        ((torch.eye(2)[0], ["a", "b"], "a"), TypeError, "asks ('a') must be a whole number"),
    ],
)
def test_arcs_refuse(given: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        arcs(*given)


# The flow of data


def words(figure: Figure) -> list[str]:
    """Return what a drawing says, from top to bottom."""
    (ax,) = figure.axes
    return [t.get_text() for t in ax.texts if t.get_text()]


def test_the_flow_of_plain_attention() -> None:
    assert words(data_flow(source=None)) == [
        "query\nL × E", "key\nS × E", "value\nS × E_v", "1 score", "query · key / √E",
        "scores L × S", "2 mask", "none", "3 normalize", "softmax", "weights L × S", "4 mix",
        "weights · values", "output L × E_v",
    ]  # fmt: skip


def test_the_flow_of_a_module_with_groups_and_a_context() -> None:
    figure = data_flow(
        source="x", memory="context", projected=True, heads="H", kv_heads="G", score="cosine"
    )
    assert words(figure) == [
        "x   L × D", "context   S × D_c", "W_Q", "W_K", "W_V",
        "split into H heads, G of keys and values",
        "query\nH × L × E", "key\nG × S × E", "value\nG × S × E", "1 score", "cosine",
        "scores H × L × S", "2 mask", "none", "3 normalize", "softmax", "weights H × L × S",
        "4 mix", "weights · values", "H × L × E", "join the H heads", "W_O", "output L × D",
    ]  # fmt: skip
    svg(figure)


def test_the_flow_of_widths_of_its_own() -> None:
    said = words(data_flow(heads="H", widths=("(E+E_r)", "E_v")))
    assert said[2:5] == ["query\nH × L × (E+E_r)", "key\nH × L × (E+E_r)", "value\nH × L × E_v"]
    assert said[-3:] == ["H × L × E_v", "join the H heads", "output H × L × E_v"]


@pytest.mark.parametrize("changed", [(), ("mask",), ("source", "mix"), ("projections", "heads")])
def test_a_flow_lights_what_changes(changed: tuple[str, ...]) -> None:
    figure = data_flow(*changed, projected=True, heads="H")
    (ax,) = figure.axes
    boxes = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    parts = ["source", *["projections"] * 3, "heads", *STEPS, "heads", "projections"]
    assert [mpl.colors.same_color(box.get_facecolor(), LIT) for box in boxes] == [
        part in changed for part in parts
    ]
    assert {text.get_color() for text in ax.texts if text.get_text()} <= {INK, "#000000"}


def test_a_flow_shows_an_example_of_the_mask() -> None:
    (ax,) = data_flow("mask", allowed=causal_mask(3, 5)).axes
    squares = [patch for patch in ax.patches if type(patch) is Rectangle]
    filled = [mpl.colors.to_rgba(patch.get_facecolor())[3] == 1 for patch in squares]
    assert torch.equal(torch.tensor(filled).view(3, 5), causal_mask(3, 5))
    corners = torch.tensor([patch.get_xy() for patch in squares]).view(3, 5, 2)
    assert (corners[:, 1:, 0] > corners[:, :-1, 0]).all()  # keys from left to right
    assert (corners[1:, :, 1] < corners[:-1, :, 1]).all()  # queries from top to bottom


@pytest.mark.parametrize(
    ("changed", "settings", "error", "sentence"),
    [
        (
            ("softmax",),
            {},
            ValueError,
            "changed ('softmax') must be one of: source, projections, heads, score, mask, "
            "normalize, mix",
        ),
        ((), {"score": None}, TypeError, "score (NoneType) must be a str"),
        ((), {"heads": 3}, TypeError, "heads (int) must be a str"),
        (
            (),
            {"widths": "E"},
            ValueError,
            "widths ('E') must be two: of queries and keys, and of values",
        ),
        ((), {"allowed": [[True]]}, TypeError, "allowed (list) must be a Tensor"),
        (
            (),
            {"allowed": torch.ones(2, 3, 3, dtype=torch.bool)},
            ValueError,
            "allowed has shape (2, 3, 3) but must be (L, S)",
        ),
    ],
)
def test_a_flow_refuses(
    changed: Any, settings: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=says(sentence)):
        data_flow(*changed, **settings)


def test_numbers_that_stand_on_no_fill_are_in_ink() -> None:
    sentence = arcs(torch.tensor([0.3, 0.7]), ["a", "b"], asks=0).axes[0]
    assert {text.get_color() for text in sentence.texts if text.get_text() == ".70"} == {INK}
    bar = heads_grid(torch.tensor([[[0.3, 0.7]]])).axes[-1]
    assert {label.get_color() for label in bar.get_yticklabels()} == {INK}
