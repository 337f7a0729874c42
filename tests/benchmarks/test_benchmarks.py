"""Every benchmark's logic at its smallest size. No time is looked at."""

from __future__ import annotations

import json
from pathlib import Path

import all as everything  # type: ignore[import-not-found]
import common  # type: ignore[import-not-found]
import data_pipeline  # type: ignore[import-not-found]
import matched  # type: ignore[import-not-found]
import precision  # type: ignore[import-not-found]
import pytest
import startup  # type: ignore[import-not-found]
import torch
import training_step  # type: ignore[import-not-found]
import unified_evaluation  # type: ignore[import-not-found]

from oamn_plugin.modeling.precision import has_bfloat16

SMALL = ["--backbone", "mobilenet_v2", "--size", "64", "32"]


def test_sides_take_turns_in_changing_order() -> None:
    order: list[str] = []
    found = common.alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3, warm=1)
    assert "".join(order) == "abbaabba"
    assert all(len(timing.wall) == len(timing.processor) == 3 for timing in found.values())


def test_the_machine_is_named() -> None:
    assert "torch" in common.machine()
    assert common.peak_memory() > 10


def test_view_types_are_those_of_training() -> None:
    assert training_step.view_types(2, 5).tolist() == [[0, 1, 2, 3, 4], [0, 5, 6, 7, 8]]
    assert training_step.view_types(2, 3).tolist() == [[0, 1, 2], [0, 5, 6]]


def test_training_step_measures_both_sides(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    rows = training_step.main([*SMALL, "--images", "2", "--rounds", "1", "--json", str(path)])
    assert len(rows) == 1
    assert float(rows[0].measured.split()[0]) > 0
    assert [common.Row(**row) for row in json.loads(path.read_text())] == rows


def test_precision_measures_every_side_or_says_why_not() -> None:
    rows = precision.main(
        ["--arch", "mobilenet_v2", "--images", "2", "--height", "32", "--width", "32", "--rounds", "1"]
    )
    if has_bfloat16():
        assert len(rows) == 3
        assert all(float(row.measured) > 0 for row in rows)
    else:
        assert "not measured" in rows[0].measured


@pytest.mark.parametrize("types", [1, 5, 9])
def test_unified_evaluation_encodes_what_it_must_and_no_more(types: int) -> None:
    arguments = [*SMALL, "--queries", "9", "--gallery", "10", "--batch", "4", "--rounds", "1", "--types", str(types)]
    sizes = ["--memory-gallery", "100", "--memory-dim", "64"]
    rows = unified_evaluation.time_rows(unified_evaluation.parse([*arguments, *sizes]))
    assert rows[1].reached, rows[1]
    assert rows[1].measured == str(9 + 10 * types)


def test_memory_is_measured_in_a_process_of_its_own() -> None:
    small = ["--memory-gallery", "100", "--memory-dim", "64"]
    assert common.in_own_process("unified_evaluation.py", [*small, "--memory-types", "3"])["megabytes"] > 10


def test_data_pipeline_reads_the_real_loader(embedded_root: Path) -> None:
    size = ["--embedded-size", "tiny", "--images", "8", "--batches", "1", "--rounds", "1", "--workers", "0"]
    rows = data_pipeline.main(["--root", str(embedded_root), *size])
    assert len(rows) == 4
    assert float(rows[1].measured) > 0
    arguments = data_pipeline.parse(["--root", str(embedded_root), *size])
    ours, plain = next(data_pipeline.our_batches(arguments)), next(data_pipeline.plain_batches(arguments))
    assert ours.shape == (40, 3, 256, 128)
    assert plain.shape == (8, 3, 256, 128)
    assert plain.dtype == torch.uint8


def test_the_cost_of_matching_is_measured_at_any_size() -> None:
    small = ["--images", "2", "--batch", "2", "--size", "64", "32", "--rounds", "1"]
    rows = matched.main([*small, "--queries", "20", "--ranked", "60", "--dim", "8"])
    assert len(rows) == 5
    assert "times in processor time" in rows[-1].measured


def test_help_of_the_training_command_imports_nothing_slow() -> None:
    assert startup.heavy_imports() == []
    assert startup.main(["--rounds", "1"])[1].reached


def test_output_of_the_ranking_benchmark_becomes_rows() -> None:
    text = """exact ranking, 11659 queries x 82161 gallery images, 512-d, 2 cores
            seconds  processor s   GB above descriptors   Rank-1      mAP     mINP
fastreid     110.00       120.00                  11.50   80.000   60.000   10.000
ours          10.00        15.00                   0.40   80.000   60.000   10.000
ratio: 11.0 times faster (to reach: 5); 8.0 times less processor time
largest difference: CMC 0.0e+00, mAP 3.2e-09, mINP 1.1e-16 (1e-6)
"""
    rows = everything.read_ranking(text)
    assert [row.reached for row in rows] == [True, True, True]
    assert rows[0].measured == "11.0 times (8.0 in processor time)"
    assert rows[1].measured == "0.40 GB (fastreid 11.50 GB)"
    assert rows[2].measured == "3.2e-09"
    assert not everything.read_ranking(text.replace("11.0 times", "4.0 times"))[0].reached
    with pytest.raises(ValueError, match="the output has no"):
        everything.read_ranking("nothing")


def test_output_of_the_scale_benchmark_becomes_rows() -> None:
    text = """exact evaluation of 1000 queries, 512-d, 2 cores
   gallery  GB on disk   seconds  ns a distance  GB in memory
     10000        0.02      0.31          31.00          0.12
    100000        0.20      2.10          21.00          0.30
"""
    rows = everything.read_scale(text)
    assert [row.reached for row in rows] == [None, None]
    assert "100,000" in rows[1].what
    assert rows[1].measured == "2.10 s, 21.00 ns a distance, 0.30 GB of memory"


def test_the_table_goes_between_the_markers(tmp_path: Path) -> None:
    path = tmp_path / "doc.md"
    path.write_text(f"before\n{everything.BEGIN}\nold\n{everything.END}\nafter\n")
    text = everything.table([common.Row("a", "<= 1", "0.5", True), common.Row("b", "<= 1", "2", False)])
    everything.write(path, text)
    content = path.read_text()
    assert content.startswith("before\n")
    assert content.endswith(f"{everything.END}\nafter\n")
    assert "| a | <= 1 | 0.5 | reached |" in content
    assert "| b | <= 1 | 2 | not reached |" in content
    assert "old" not in content
    path.write_text("no markers")
    with pytest.raises(ValueError, match="needs the lines"):
        everything.write(path, text)


def test_a_failing_benchmark_is_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    rows = everything.run(everything.Job("startup.py"), ["--no-such-option"])
    assert rows[0].reached is False
    assert "failed with status 2" in rows[0].measured


def test_every_script_is_run_by_the_command() -> None:
    folder = Path(everything.__file__).parent
    beside = {"all.py", "common.py"}
    beside |= {
        "engines.py",
        "search.py",
        "unknown_people.py",
    }  # docs/performance.md and docs/search.md say how these are run
    assert {path.name for path in folder.glob("*.py")} - beside == {job.script for job in everything.JOBS}
