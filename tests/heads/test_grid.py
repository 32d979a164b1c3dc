"""The grid of points of Grid R-CNN."""

import pytest

from kdet.heads.roi.grid import GridHead


@pytest.mark.parametrize(
    "point, beside",
    [(0, [1, 3]), (1, [0, 2, 4]), (2, [1, 5]), (4, [1, 3, 5, 7]), (7, [4, 6, 8]), (8, [5, 7])],
)
def test_points_beside_a_point_of_the_grid(point, beside):
    assert GridHead(grid_size=3, num_convs=1, point_filters=4).neighbors(point) == beside
