"""The grid of points of Grid R-CNN."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.assigners import MaxIoUAssigner
from kdet.coders import DeltaXYWHCoder
from kdet.heads.roi import BBoxHead, SingleRoIExtractor
from kdet.heads.roi.grid import GridHead, GridRoIHead
from kdet.losses import CrossEntropyLoss, SmoothL1Loss
from kdet.samplers import RandomSampler


@pytest.mark.parametrize(
    "point, beside",
    [(0, [1, 3]), (1, [0, 2, 4]), (2, [1, 5]), (4, [1, 3, 5, 7]), (7, [4, 6, 8]), (8, [5, 7])],
)
def test_points_beside_a_point_of_the_grid(point, beside):
    assert GridHead(grid_size=3, num_convs=1, point_filters=4).neighbors(point) == beside


def test_points_of_a_region_that_is_the_object_lie_in_the_cells_of_mmdetection():
    # they are on borders of cells: the last bit of float32 decides (the cells are those of MMDetection)
    box = tf.constant([[45.5, 48.0, 59.2, 61.9], [20.2, 22.4, 54.0, 39.2], [13.1, 59.6, 62.9, 92.7]])
    head = GridHead(grid_size=3, num_convs=1, point_filters=4, radius=0)
    places = tf.where(head.targets(box, box) == 1.0).numpy()
    cells = np.zeros([3, 9, 2], int)
    for region, y, x, point in places:
        cells[region, point] = [x, y] + head.half_starts()[point]
    assert [list(cells[i, :, 1][:3]) for i in range(3)] == [[13, 27, 41], [14, 27, 42], [14, 27, 42]]
    assert [list(cells[i, ::3, 0]) for i in range(3)] == [[13, 27, 41], [14, 27, 42], [14, 28, 42]]


def test_regions_of_the_grid_branch_keep_the_border_of_the_image(monkeypatch):
    # 112 / 0.82 * 0.82 is 112.00001 in float32, and a region up to there gets one more row of samples
    def extractor():
        return SingleRoIExtractor(strides=[8], output_size=4)

    head = GridRoIHead(
        bbox_roi_extractor=extractor(),
        bbox_head=BBoxHead(3, DeltaXYWHCoder(), CrossEntropyLoss(), SmoothL1Loss(), fc_units=4),
        assigner=MaxIoUAssigner(pos_iou=0.5, neg_iou=0.5),
        sampler=RandomSampler(num=8, pos_fraction=0.5),
        grid_roi_extractor=extractor(),
        grid_head=GridHead(grid_size=3, region_size=4, num_convs=1, point_filters=4),
    )
    box, cropped = tf.constant([[[[0.0, 0.0, 40.0, 112.0]]]]), []
    monkeypatch.setattr(
        GridRoIHead, "predict_boxes", lambda *_: (tf.constant([[[0.9, 0.1, 0.1]]]), box, None)
    )
    crop = GridRoIHead.crop
    monkeypatch.setattr(
        GridRoIHead, "crop", lambda self, *given: cropped.append(given[-1]) or crop(self, *given)
    )
    info = {
        "valid_size": tf.constant([[112.0, 104.0]]),
        "scale": tf.constant([[0.82, 0.8]]),
        "flipped": tf.constant([False]),
        "seed": tf.constant([0, 0]),
    }
    features = (tf.zeros([1, 14, 13, 4]),)
    found = head.predict(features, box[:, :, 0], info)["boxes"][0, 0]
    np.testing.assert_array_equal(cropped[0][0, 0], [0.0, 0.0, 40.0, 112.0])
    heatmaps = head.grid_head(crop(head, head.grid_roi_extractor, features, box[:, 0]))["fused"]
    refined = head.grid_head.decode(heatmaps, box[0, 0])[0]
    np.testing.assert_allclose(found, refined / [0.8, 0.82, 0.8, 0.82], rtol=1e-5)
