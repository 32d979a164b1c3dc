"""Small goldens of the reference, committed; the full set runs through verification/check_parity.py."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from verification import checks, exact, golden, recorder, report, run

GOLDENS = sorted((pathlib.Path(__file__).parent.parent / "golden").glob("*.npz"))


@pytest.mark.parametrize("path", GOLDENS, ids=lambda p: p.stem)
def test_golden(path):
    name, rows, _ = run.check(path)
    assert name is not None
    failed = [r for r in rows if not r.passed]
    assert len(rows) >= 5 and not failed, failed


def test_there_are_goldens():
    assert len(GOLDENS) >= 2


def test_rows_of_regions_are_matched_by_place():
    ours = np.float32([[[0, 0, 1, 1], [5, 5, 9, 9]], [[2, 2, 4, 4], [7, 7, 8, 8]]])
    rows, worst = recorder.match_rows(np.float32([[1, 7, 7, 8, 8], [0, 0, 0, 1, 1.5]]), ours)
    assert rows.tolist() == [3, 0] and worst == 0.5


def test_regions_in_the_same_place_keep_their_order():
    ours = np.float32([[[0, 0, 1, 1], [5, 5, 9, 9], [0, 0, 1, 1]]])
    rows, _ = recorder.match_rows(np.float32([[0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]), ours)
    assert rows.tolist() == [0, 2]


COMPARISONS = {"g": {"gradients": [1e-8, 2e-3], "masks": [0.0, None], "losses": [2e-6, 1e-6]}}


def test_a_row_names_its_worst_part():
    row = checks.worst_row(
        "losses", "loss", {"a": 1e-6, "b": float("nan"), "c": 1e-3}, {"b": "b is no number"}
    )
    assert not row.passed and row.error == float("inf") and row.note == "b is no number"
    assert checks.worst_row("losses", "loss", {"a": 1e-4}).passed
    assert checks.worst_row("losses", "loss", {}).passed


def test_a_deviation_is_rounding_only_where_float64_agrees():
    def reason(stage, error, name="g"):
        return exact.reason(COMPARISONS, name, stage, error)

    assert (
        reason("gradients", 5e-3)
        == "off by 5.0e-03, in float64 by 1e-08, from which the golden itself is off by 2.0e-03"
    )
    assert reason("masks", 0.02) == "off by 2.0e-02, in float64 by 0e+00"
    assert not reason("losses", 5e-4)  # float64 does not agree either
    assert not reason("gradients", float("inf"))  # no number is no rounding
    assert not reason("det", 0.5) and not reason("gradients", 5e-3, "h")  # not compared


def test_a_golden_is_held_against_another_in_the_measures_of_the_check():
    path = next(path for path in GOLDENS if "retinanet" in path.stem)
    one, other = golden.Golden(path), golden.Golden(path)
    assert set(exact.golden_errors(one, other).values()) == {0.0}
    other.d["s/neck/0"] = other.d["s/neck/0"] + 1e-3 * other.meta["arrays"]["neck/0"]["absmax"]
    other.d["f/train/grad_norms"] = other.d["f/train/grad_norms"] / 1.5
    other.d["f/det/0/labels"] = other.d["f/det/0/labels"] + 1
    other.meta["train"]["losses"]["loss_cls"] *= 2  # a list of levels, which are summed
    errors = exact.golden_errors(one, other)
    assert errors["neck"] == pytest.approx(1e-3, rel=1e-2) and errors["backbone"] == 0
    assert errors["gradients"] == pytest.approx(0.5) and errors["losses"] == pytest.approx(0.5)
    assert 0.3 < errors["det"] < 0.7


def test_report_marks_what_fails_and_what_is_rounding():
    rows = [
        ["backbone", 1e-6, True, ""],
        ["losses", 0.5, False, "loss_cls"],
        ["gradients", 5e-3, False, "a"],
    ]
    results = {name: {"name": name, "rows": rows} for name in "gh"}
    results["h"] = {"name": "h", "rows": [rows[0], ["masks", 0.02, False, ""]]}
    text = report.markdown(results, COMPARISONS | {"h": COMPARISONS["g"]})
    assert "**5.0e-01**" in text and "| 1.0e-06" in text and "g, losses: loss_cls" in text
    assert "_5.0e-03_" in text
    assert "0 of 2 architectures pass every stage, 1 more do but for rounding, 1 miss one." in text
    assert text.index("What does not pass") < text.index("## Rounding") < text.index("g, gradients: off by")


def test_kdet_in_float64_is_the_reference_in_float64():
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "verification.check_parity",
            "--golden-dir",
            GOLDENS[0].parent,
            "--name",
            "*r18*",
        ]
        + ["--float64", GOLDENS[0].parent / "float64"],
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    errors = [float(line.split()[2]) for line in done.stdout.splitlines() if line.startswith("  ok")]
    assert len(errors) >= 5 and max(errors) < 1e-6 and "1 passed, 0 failed" in done.stdout
