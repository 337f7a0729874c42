"""Plots as bytes of SVG: CMC and training curves, bars, differences, heat maps. No screen, no global state."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from .page import Picture
from .tables import Figure

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
_FONTS = ["Inter", "Helvetica Neue", "Segoe UI", "Roboto", "Arial", "Liberation Sans", "DejaVu Sans", "sans-serif"]
_DROP = "#c2571a"


@dataclass(frozen=True)
class Theme:
    """Colours of one plot: text, quiet text, grid lines, the baseline, the other methods, poles of a heat map."""

    ink: str
    muted: str
    grid: str
    baseline: str
    methods: tuple[str, ...]
    low: str
    middle: str
    high: str

    def style(self, names: Sequence[str], baseline: str | None = None) -> dict[str, tuple[str, str]]:
        """Colour and line style of every method: the baseline grey, the ninth method the first colour dashed."""
        lines = ("-", "--", ":", "-.")
        styles, used = {}, 0
        for name in names:
            if name == baseline:
                styles[name] = (self.baseline, "-")
                continue
            colour = self.methods[used % len(self.methods)]
            styles[name] = (colour, lines[used // len(self.methods) % len(lines)])
            used += 1
        return styles


LIGHT = Theme(
    ink="#24292f",
    muted="#6a7078",
    grid="#e4e2dc",
    baseline="#8d939b",
    methods=("#0f766e", "#c2571a", "#4f56c8", "#a8337a", "#8a6a00", "#1872b0", "#587a1b", "#7a4fc0"),
    low="#f4f1ea",
    middle="#fbfaf7",
    high="#0f766e",
)
"""For white paper and light pages."""
DARK = Theme(
    ink="#e3e6ea",
    muted="#989fa8",
    grid="#333940",
    baseline="#8d949d",
    methods=("#4cc9b8", "#f0985c", "#a3a9f7", "#e681b9", "#d9b84a", "#6db8ec", "#a6c95f", "#c0a0f0"),
    low="#20252a",
    middle="#1b1f23",
    high="#37a698",
)
"""For dark pages."""


def themed(name: str, alt: str, draw: Callable[..., bytes], caption: str = "") -> Picture:
    """A plot drawn for light and for dark pages; ``draw`` takes the keyword ``theme``."""
    return Picture(name, alt, draw(theme=LIGHT), draw(theme=DARK), caption)


def _svg(canvas: Canvas) -> bytes:
    """The figure as a file's bytes, without a background, text as text, the same bytes for the same figure."""
    out = io.BytesIO()
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "oamn", "font.family": "sans-serif", "font.sans-serif": _FONTS}
    ):
        canvas.savefig(out, format="svg", transparent=True, dpi=200, metadata={"Date": None, "Creator": None})
    return out.getvalue()


def cmc_curves(curves: Mapping[str, NDArray[np.float64]], baseline: str | None = None, theme: Theme = LIGHT) -> bytes:
    """Cumulative matching characteristics.

    Args:
        curves: method name to its (max_rank,) shares of queries with a hit among the first k.
        baseline: the method drawn in grey.
        theme: colours.
    """
    canvas, axes = _canvas(7.2, 3.6, theme)
    for name, (colour, line) in theme.style(list(curves), baseline).items():
        values = 100 * np.asarray(curves[name])
        axes.plot(np.arange(1, len(values) + 1), values, color=colour, linestyle=line, linewidth=1.8, label=name)
    longest = max((len(curve) for curve in curves.values()), default=1)
    axes.set_xticks([k for k in (1, 5, 10, 15, 20, 30, 40, 50) if k <= longest])
    axes.set_xlabel("rank k")
    axes.set_ylabel("queries with a hit among the first k (%)")
    handles, names = axes.get_legend_handles_labels()
    if handles:
        canvas.legend(handles, names, loc="outside right center", frameon=False, fontsize=8.5, labelcolor=theme.ink)
    return _svg(canvas)


def training_curves(
    curves: Mapping[str, Mapping[str, Sequence[Curve]]],
    baseline: str | None = None,
    theme: Theme = LIGHT,
) -> bytes:
    """Training curves, one panel a quantity; every seed a thin line.

    Args:
        curves: quantity to method name to one ``(iterations, values)`` a seed.
        baseline: the method drawn in grey.
        theme: colours.
    """
    columns = min(3, max(len(curves), 1))
    rows = -(-max(len(curves), 1) // columns)
    canvas, grid = _panels(rows, columns, 2.4 * columns + 0.2, 1.9 * rows + 0.6, theme)
    names = list(dict.fromkeys(name for lines in curves.values() for name in lines))
    styles = theme.style(names, baseline)
    for axes, (quantity, lines) in zip(grid, curves.items(), strict=False):
        for name, seeds in lines.items():
            for index, (iterations, values) in enumerate(seeds):
                colour, line = styles[name]
                label = name if index == 0 else None
                axes.plot(iterations, values, color=colour, linestyle=line, linewidth=1.1, alpha=0.85, label=label)
        axes.set_title(quantity, fontsize=9, color=theme.ink, loc="left")
        axes.locator_params(axis="x", nbins=4)
    _hide_rest(grid, len(curves))
    handles = dict(pair[::-1] for axes in grid for pair in zip(*axes.get_legend_handles_labels(), strict=True))
    if handles:
        canvas.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3, frameon=False,
                      fontsize=8, labelcolor=theme.ink)  # fmt: skip
    return _svg(canvas)


def score_bars(scores: Mapping[str, Figure], label: str, baseline: str | None = None, theme: Theme = LIGHT) -> bytes:
    """Horizontal bars from zero, each with its interval where it has one.

    Args:
        scores: method name to its score; ``low`` and ``high`` become the whisker.
        label: what the bars measure.
        baseline: the method drawn in grey.
        theme: colours.
    """
    canvas, axes = _canvas(7.2, 0.34 * len(scores) + 0.75, theme)
    places = np.arange(len(scores))[::-1]
    colours = [theme.baseline if name == baseline else theme.methods[0] for name in scores]
    axes.barh(places, [score.mean for score in scores.values()], height=0.46, color=colours, linewidth=0, alpha=0.8)
    for place, score in zip(places, scores.values(), strict=True):
        end = score.mean
        if score.low is not None and score.high is not None:
            axes.plot([score.low, score.high], [place, place], color=theme.ink, linewidth=1, solid_capstyle="butt")
            end = max(end, score.high)
        axes.annotate(f"{score.mean:.1f}", (end, place), xytext=(5, 0), textcoords="offset points", va="center",
                      fontsize=8.5, color=theme.ink)  # fmt: skip
    axes.margins(x=0.1)
    axes.set_xlim(left=0)
    _name_rows(axes, list(scores), places, label)
    return _svg(canvas)


def differences(gaps: Mapping[str, Figure], sure: Collection[str], label: str, theme: Theme = LIGHT) -> bytes:
    """Differences to the baseline with their intervals, around a line at zero.

    Args:
        gaps: method name to its difference; ``low`` and ``high`` its interval.
        sure: names of those that are significant, drawn in a colour for gains and one for losses; the rest is grey.
        label: what the differences measure.
        theme: colours.
    """
    canvas, axes = _canvas(7.2, 0.34 * len(gaps) + 0.75, theme)
    places = np.arange(len(gaps))[::-1]
    axes.axvline(0, color=theme.muted, linewidth=1)
    for place, (name, gap) in zip(places, gaps.items(), strict=True):
        low, high = (gap.mean if end is None else end for end in (gap.low, gap.high))
        colour = theme.methods[0 if gap.mean > 0 else 1] if name in sure else theme.baseline
        axes.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot([gap.mean], [place], "o", color=colour, markersize=5.5)
        axes.annotate(f"{gap.mean:+.1f}", (high, place), xytext=(7, 0), textcoords="offset points", va="center",
                      fontsize=8.5, color=theme.ink)  # fmt: skip
    axes.margins(x=0.12)
    _name_rows(axes, list(gaps), places, label)
    return _svg(canvas)


def heat_maps(
    maps: Mapping[str, NDArray[np.float64]],
    rows: Sequence[str],
    columns: Sequence[str],
    signed: bool = False,
    label: str = "",
    theme: Theme = LIGHT,
) -> bytes:
    """Heat maps side by side on one colour scale, each cell with its number.

    Args:
        maps: title to (len(rows), len(columns)) numbers; NaN leaves a cell empty.
        rows, columns: their labels.
        signed: the numbers are differences: zero is neutral, gains and losses have a colour each.
        label: what the columns are.
        theme: colours.
    """
    across = min(3, max(len(maps), 1))
    down = -(-max(len(maps), 1) // across)
    canvas, grid = _panels(down, across, 7.2 if across == 3 else 3.2 * across, (0.28 * len(rows) + 0.85) * down, theme)
    top = max((np.nanmax(np.abs(values)) for values in maps.values() if np.isfinite(values).any()), default=1.0) or 1.0
    colours = [_DROP, theme.middle, theme.high] if signed else [theme.low, theme.high]
    scale = LinearSegmentedColormap.from_list("scores", colours)
    low = -top if signed else min((np.nanmin(v) for v in maps.values() if np.isfinite(v).any()), default=0.0)
    for axes, (title, values) in zip(grid, maps.items(), strict=False):
        axes.imshow(values, cmap=scale, vmin=low, vmax=max(top, low + 1e-9), aspect="auto")
        axes.set_title(title, fontsize=9, color=theme.ink, loc="left")
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


def _canvas(width: float, height: float, theme: Theme) -> tuple[Canvas, Axes]:
    canvas, axes = _panels(1, 1, width, height, theme)
    return canvas, axes[0]


def _panels(rows: int, columns: int, width: float, height: float, theme: Theme) -> tuple[Canvas, list[Axes]]:
    canvas = Canvas(figsize=(width, height), layout="constrained")
    grid: list[Axes] = list(np.ravel(canvas.subplots(rows, columns, squeeze=False)))
    for axes in grid:
        axes.tick_params(colors=theme.muted, labelsize=8, length=0)
        axes.grid(True, color=theme.grid, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(theme.grid)
        axes.xaxis.label.set(color=theme.muted, fontsize=8.5)
        axes.yaxis.label.set(color=theme.muted, fontsize=8.5)
    return canvas, grid


def _hide_rest(grid: Sequence[Axes], used: int) -> None:
    for axes in grid[used:]:
        axes.set_visible(False)


def _name_rows(axes: Axes, names: list[str], places: NDArray[Any], label: str) -> None:
    axes.set_yticks(places, names, fontsize=8.5)
    axes.grid(False, axis="y")
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel(label)


def _contrast(colour: tuple[float, ...]) -> str:
    """Black or white text, whichever reads better on a colour."""
    red, green, blue = colour[:3]
    return "#14181c" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.52 else "#ffffff"
