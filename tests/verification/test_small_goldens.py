"""Every recorded architecture, small: stages, detections, masks, losses and gradients of the reference."""

import pytest

from verification import small_golden

RECIPES = sorted(small_golden.recorded())


@pytest.mark.parametrize("recipe", RECIPES)
def test_small_golden(recipe):
    rows = small_golden.check(small_golden.FOLDER / f"{recipe}.npz")
    assert len(rows) >= 6
    assert not [f"{row.stage} is off by {row.error:.1e}: {row.note}" for row in rows if not row.passed]


def test_every_small_golden_has_its_row_in_the_table():
    files = {path.stem: path.stat().st_size for path in small_golden.FOLDER.glob("*.npz")}
    assert sorted(files) == RECIPES
    assert sum(files.values()) < 8e6
