from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import numpy as np
import pytest

from oamn_plugin.reporting import plots
from oamn_plugin.reporting.tables import Figure

SCORE = {"plain": Figure(40.0, low=35, high=45), "ours": Figure(50.0), "third <&>": Figure(45.0)}
SHARES, HOLES = np.linspace(0.4, 1, 20), np.array([[1.0, np.nan]])
CURVE = (np.arange(5.0), np.arange(5.0))
PLOTS: dict[str, Callable[[], bytes]] = {
    "cmc": lambda: plots.cmc_curves({"plain": SHARES, "ours": SHARES[:10]}, "plain"),
    "training": lambda: plots.training_curves({"loss": {"plain": [CURVE, CURVE], "ours": [CURVE]}, "lr": {}}),
    "bars": lambda: plots.score_bars(SCORE, "Rank-1", "plain"),
    "heat": lambda: plots.heat_maps({"a": HOLES, "b": HOLES * np.nan}, ["r"], ["x", "y"]),
    "signed": lambda: plots.heat_maps({"a": np.array([[1.0, -2.0]])}, ["r"], ["x", "y"], signed=True),
    "zeros": lambda: plots.heat_maps({"a": np.zeros((1, 2))}, ["r"], ["x", "y"]),
    "nothing": lambda: plots.cmc_curves({}),
}  # fmt: skip


@pytest.mark.parametrize("name", PLOTS)
def test_plot_is_a_valid_svg_and_the_same_each_time(name: str) -> None:
    first = PLOTS[name]()
    assert ElementTree.fromstring(first).tag.endswith("svg")
    assert PLOTS[name]() == first


def test_sixteen_methods_are_told_apart() -> None:
    styles = plots.styles([f"m{i}" for i in range(17)], "m3")
    assert list(styles) == [f"m{i}" for i in range(17)]
    assert styles["m3"][0] == plots.BASELINE
    assert len(set(styles.values())) == 17
