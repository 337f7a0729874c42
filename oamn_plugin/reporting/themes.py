"""Colours of plots and pages, in daylight and at night; methods stay apart for colour-blind eyes too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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
