"""Plots as bytes of SVG: CMC and training curves, bars, heat maps. No screen, no global state."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from .tables import Figure

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
_FONTS = ["Inter", "Helvetica Neue", "Segoe UI", "Roboto", "Arial", "Liberation Sans", "DejaVu Sans", "sans-serif"]

TEXT, QUIET, GRID = "#24292f", "#6a7078", "#e4e2dc"
"""Colours of text, quiet text and grid lines, for white paper and light pages."""
BASELINE = "#8d939b"
METHODS = ("#0f766e", "#c2571a", "#4f56c8", "#a8337a", "#8a6a00", "#1872b0", "#587a1b", "#7a4fc0")
"""Colours of the baseline and of the other methods."""
_LINES = ("-", "--", ":", "-.")
_LOW, _HIGH = "#f4f1ea", "#0f766e"  # of a heat map
_LOSS, _ZERO, _GAIN = "#c2571a", "#fbfaf7", "#0f766e"  # of a heat map of differences


def styles(names: Sequence[str], baseline: str | None = None) -> dict[str, tuple[str, str]]:
    """Colour and line style of every method: the baseline grey, the ninth other method the first colour dashed."""
    others = [name for name in names if name != baseline]
    found = {
        name: (METHODS[place % len(METHODS)], _LINES[place // len(METHODS) % len(_LINES)])
        for place, name in enumerate(others)
    }
    return {name: found.get(name, (BASELINE, "-")) for name in names}


def _svg(canvas: Canvas) -> bytes:
    """The figure as a file's bytes, without a background, text as text, the same bytes for the same figure."""
    out = io.BytesIO()
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "oamn", "font.family": "sans-serif", "font.sans-serif": _FONTS}
    ):
        canvas.savefig(out, format="svg", transparent=True, dpi=200, metadata={"Date": None, "Creator": None})
    return out.getvalue()


def cmc_curves(curves: Mapping[str, NDArray[np.float64]], baseline: str | None = None) -> bytes:
    """Cumulative matching characteristics.

    Args:
        curves: method name to its (max_rank,) shares of queries with a hit among the first k.
        baseline: the method drawn in grey.
    """
    canvas, axes = _canvas(7.2, 3.6)
    for name, (colour, line) in styles(list(curves), baseline).items():
        values = 100 * np.asarray(curves[name])
        axes.plot(np.arange(1, len(values) + 1), values, color=colour, linestyle=line, linewidth=1.8, label=name)
    longest = max((len(curve) for curve in curves.values()), default=1)
    axes.set_xticks([k for k in (1, 5, 10, 15, 20, 30, 40, 50) if k <= longest])
    axes.set_xlabel("rank k")
    axes.set_ylabel("queries with a hit among the first k (%)")
    handles, names = axes.get_legend_handles_labels()
    if handles:
        canvas.legend(handles, names, loc="outside right center", frameon=False, fontsize=8.5, labelcolor=TEXT)
    return _svg(canvas)


def training_curves(
    curves: Mapping[str, Mapping[str, Sequence[Curve]]],
    baseline: str | None = None,
) -> bytes:
    """Training curves, one panel a quantity; every seed a thin line.

    Args:
        curves: quantity to method name to one ``(iterations, values)`` a seed.
        baseline: the method drawn in grey.
    """
    columns = min(3, max(len(curves), 1))
    rows = -(-max(len(curves), 1) // columns)
    canvas, grid = _panels(rows, columns, 2.4 * columns + 0.2, 1.9 * rows + 0.6)
    names = list(dict.fromkeys(name for lines in curves.values() for name in lines))
    style_of = styles(names, baseline)
    for axes, (quantity, lines) in zip(grid, curves.items(), strict=False):
        for name, seeds in lines.items():
            for index, (iterations, values) in enumerate(seeds):
                colour, line = style_of[name]
                label = name if index == 0 else None
                axes.plot(iterations, values, color=colour, linestyle=line, linewidth=1.1, alpha=0.85, label=label)
        axes.set_title(quantity, fontsize=9, color=TEXT, loc="left")
        axes.locator_params(axis="x", nbins=4)
    _hide_rest(grid, len(curves))
    handles = dict(pair[::-1] for axes in grid for pair in zip(*axes.get_legend_handles_labels(), strict=True))
    if handles:
        canvas.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3, frameon=False,
                      fontsize=8, labelcolor=TEXT)  # fmt: skip
    return _svg(canvas)


def score_bars(scores: Mapping[str, Figure], label: str, baseline: str | None = None) -> bytes:
    """Horizontal bars from zero, each with its interval where it has one.

    Args:
        scores: method name to its score; ``low`` and ``high`` become the whisker.
        label: what the bars measure.
        baseline: the method drawn in grey.
    """
    canvas, axes = _canvas(7.2, 0.34 * len(scores) + 0.75)
    places = np.arange(len(scores))[::-1]
    colours = [BASELINE if name == baseline else METHODS[0] for name in scores]
    axes.barh(places, [score.mean for score in scores.values()], height=0.46, color=colours, linewidth=0, alpha=0.8)
    for place, score in zip(places, scores.values(), strict=True):
        end = score.mean
        if score.low is not None and score.high is not None:
            axes.plot([score.low, score.high], [place, place], color=TEXT, linewidth=1, solid_capstyle="butt")
            end = max(end, score.high)
        axes.annotate(f"{score.mean:.1f}", (end, place), xytext=(5, 0), textcoords="offset points", va="center",
                      fontsize=8.5, color=TEXT)  # fmt: skip
    axes.margins(x=0.1)
    axes.set_xlim(left=0)
    axes.set_yticks(places, list(scores), fontsize=8.5)
    axes.grid(False, axis="y")
    axes.set_ylim(-0.6, len(scores) - 0.4)
    axes.set_xlabel(label)
    return _svg(canvas)


def heat_maps(
    maps: Mapping[str, NDArray[np.float64]],
    rows: Sequence[str],
    columns: Sequence[str],
    signed: bool = False,
    label: str = "",
) -> bytes:
    """Heat maps side by side on one colour scale, each cell with its number.

    Args:
        maps: title to (len(rows), len(columns)) numbers; NaN leaves a cell empty.
        rows, columns: their labels.
        signed: the numbers are differences: zero is neutral, gains and losses have a colour each.
        label: what the columns are.
    """
    across = min(3, max(len(maps), 1))
    down = -(-max(len(maps), 1) // across)
    canvas, grid = _panels(down, across, 7.2 if across == 3 else 3.2 * across, (0.28 * len(rows) + 0.85) * down)
    top = max((np.nanmax(np.abs(values)) for values in maps.values() if np.isfinite(values).any()), default=1.0) or 1.0
    colours = [_LOSS, _ZERO, _GAIN] if signed else [_LOW, _HIGH]
    scale = LinearSegmentedColormap.from_list("scores", colours)
    low = -top if signed else min((np.nanmin(v) for v in maps.values() if np.isfinite(v).any()), default=0.0)
    for axes, (title, values) in zip(grid, maps.items(), strict=False):
        axes.imshow(values, cmap=scale, vmin=low, vmax=max(top, low + 1e-9), aspect="auto")
        axes.set_title(title, fontsize=9, color=TEXT, loc="left")
        axes.set_xticks(range(len(columns)), list(columns), fontsize=7.5)
        axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
        axes.set_xlabel(label, fontsize=7.5)
        axes.grid(False)
        for row, column in np.argwhere(np.isfinite(values)):
            value = round(values[row, column])
            colour = _contrast(scale((value - low) / max(top - low, 1e-9)))
            text = f"{value:+d}" if signed and value else f"{value:d}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
        axes.spines[:].set_visible(False)
    _hide_rest(grid, len(maps))
    return _svg(canvas)


def _canvas(width: float, height: float) -> tuple[Canvas, Axes]:
    canvas, axes = _panels(1, 1, width, height)
    return canvas, axes[0]


def _panels(rows: int, columns: int, width: float, height: float) -> tuple[Canvas, list[Axes]]:
    canvas = Canvas(figsize=(width, height), layout="constrained")
    grid: list[Axes] = list(np.ravel(canvas.subplots(rows, columns, squeeze=False)))
    for axes in grid:
        axes.tick_params(colors=QUIET, labelsize=8, length=0)
        axes.grid(True, color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(GRID)
        axes.xaxis.label.set(color=QUIET, fontsize=8.5)
        axes.yaxis.label.set(color=QUIET, fontsize=8.5)
    return canvas, grid


def _hide_rest(grid: Sequence[Axes], used: int) -> None:
    for axes in grid[used:]:
        axes.set_visible(False)


def _contrast(colour: tuple[float, ...]) -> str:
    """Black or white text, whichever reads better on a colour."""
    red, green, blue = colour[:3]
    return "#14181c" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.52 else "#ffffff"
