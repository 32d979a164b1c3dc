"""Every recorded architecture, small: stages, detections, masks, losses and gradients of the reference."""

import pytest

from verification import small_golden

PATHS = sorted(small_golden.FOLDER.glob("*.npz"))


@pytest.fixture(scope="module")
def compared():
    """Where ops were called whose second form has been compared: once for each place, not for each model."""
    return set()


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_small_golden(path, compared):
    rows = small_golden.check(path, compared)
    assert len(rows) >= 5 and {"det", "losses", "gradients"} <= {row.stage for row in rows}
    assert not [f"{row.stage} is off by {row.error:.1e}: {row.note}" for row in rows if not row.passed]


def test_the_files_are_those_of_the_table_and_small():
    assert {path.stem for path in PATHS} <= set(small_golden.recorded())
    assert sum(path.stat().st_size for path in PATHS) < 8e6
