"""Small goldens of the reference, committed; the full set runs through tools/parity.py."""

import pathlib

import numpy as np
import pytest

from kdet.parity import recorder, report, run

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


def test_report_marks_what_fails():
    results = {"g": {"name": "m", "rows": [["backbone", 1e-6, True, ""], ["losses", 0.5, False, "loss_cls"]]}}
    text = report.markdown(results)
    assert "**5.0e-01**" in text and "1.0e-06" in text and "m, losses: loss_cls" in text
    assert "0 of 1 architectures" in text
