import numpy as np

from kdet.evaluation.overlaps import xywh_iou

BOX = np.array([[0.0, 0, 2, 2]])


def test_every_pair_by_hand():
    others = np.array([[1.0, 0, 2, 2], [2, 0, 2, 2], [0, 0, 2, 2]])
    np.testing.assert_allclose(xywh_iou(BOX, others), [[1 / 3, 0, 1]])


def test_the_last_pixel_may_belong_to_a_box():
    np.testing.assert_allclose(xywh_iou(BOX, BOX + [2, 0, 0, 0], extra=1.0), [[3 / (9 + 9 - 3)]])


def test_boxes_without_area_or_numbers_overlap_none():
    assert xywh_iou(np.zeros((1, 4)), np.zeros((1, 4))) == 0
    assert xywh_iou(BOX, np.full((1, 4), np.nan)) == -1
