"""Small goldens of the reference, committed; the full set runs through tools/parity.py."""

import pathlib

import numpy as np
import pytest

from kdet.parity import checks, conditioning, recorder, report, run

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


MEASURED = {"g": {"reason": "rounding", "measured": {"gradients": {"a": 2e-3, "b": 1e-3}}}}


def test_a_row_names_its_worst_part_and_all_that_fail():
    row = checks.worst_row(
        "losses", "loss", {"a": 1e-6, "b": float("nan"), "c": 1e-3}, {"b": "b is no number"}
    )
    assert not row.passed and row.error == float("inf") and row.note == "b is no number"
    assert set(row.failing) == {"b", "c"}
    assert checks.worst_row("losses", "loss", {}).passed


def test_a_deviation_is_known_only_within_reach_of_the_measured_one():
    def known(failing, golden="g", stage="gradients"):
        return conditioning.reason(MEASURED, golden, stage, failing)

    assert known({"a": 5e-3, "b": 2e-3}) == "a 5.0e-03, the reference itself 2.0e-03: rounding"
    assert not known({"a": 7e-3})  # beyond three times
    assert not known({"a": 5e-3, "c": 1.1e-3})  # a part that nobody measured
    assert not known({"a": float("inf")}) and not known({})
    assert not known({"a": 5e-3}, golden="h") and not known({"a": 5e-3}, stage="losses")


def test_report_marks_what_fails_and_what_is_known():
    rows = [
        ["backbone", 1e-6, True, "", {}],
        ["losses", 0.5, False, "loss_cls", {"loss_cls": 0.5}],
        ["gradients", 5e-3, False, "a", {"a": 5e-3}],
    ]
    text = report.markdown({"g": {"name": "m", "rows": rows}}, MEASURED)
    assert "**5.0e-01**" in text and "| 1.0e-06" in text and "m, losses: loss_cls" in text
    assert "_5.0e-03_" in text and "0 of 1 architectures" in text
    assert text.index("What does not pass") < text.index("Known deviations") < text.index("m, gradients: a")
