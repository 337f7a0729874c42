"""The picture that a report opens with."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from search_runs import make_run

from oamn_plugin.hosts.fastreid.example import HEIGHT, SHOWN, rank_list_picture


def test_a_query_and_its_two_rank_lists(embedded_root: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", embedded_root)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("TEST: {", "TEST: {UNIFICATION: matched, "))
    picture = rank_list_picture(run, "OccludedPedestrians")
    assert picture.caption.startswith("Of 12 queries, the one that gains most: ")
    sheet = Image.open(io.BytesIO(picture.content))
    assert sheet.width > (1 + SHOWN) * HEIGHT // 2
    assert 2 * HEIGHT < sheet.height < 3 * HEIGHT
