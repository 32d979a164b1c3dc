"""The example images of a training run."""

import numpy as np

from kdet.train.callbacks import show_images

INPUTS = {
    "images": np.full((2, 48, 64, 3), 100, np.uint8),
    "valid_size": np.float32([[40, 60], [48, 64]]),
    "scale": np.float32([[2, 2], [1, 1]]),  # originals of 20x30 and 48x64
}


def changed(image):
    return (image != 100).any(-1)


def test_boxes_are_drawn_where_they_lie_in_the_input():
    detections = {
        "boxes": np.float32([[[10, 5, 25, 15]], [[0, 0, 0, 0]]]),
        "scores": np.float32([[0.9], [0.0]]),
        "labels": np.int32([[0], [-1]]),
    }
    first, second = show_images(INPUTS, detections, ["cat"])
    assert first.shape == (40, 60, 3) and second.shape == (48, 64, 3)
    drawn = changed(first)  # at (20, 10, 50, 30) in the input; the class's name may stick out to the right
    assert drawn[28:32, 20:50].all(1).any() and not drawn[34:].any()
    assert drawn[10:30, 18:22].all(0).any() and not drawn[:, :16].any()
    assert not changed(second).any()


def test_segments_of_panoptic_models_are_drawn():
    panoptic = np.zeros((2, 48, 64), np.int32)
    panoptic[0, 10:20, :15] = 2  # of an original of 20x30
    detections = {
        "panoptic": panoptic,
        "segment_labels": np.int32([[-1, 1], [-1, -1]]),
        "segment_scores": np.float32([[0, 0.9], [0, 0]]),
        "segment_areas": np.int32([[0, 150], [0, 0]]),
    }
    first, second = show_images(INPUTS, detections, ["cat", "sky"])
    assert first.shape == (40, 60, 3)
    drawn = changed(first)
    # an edge is drawn at both sides of the border, and a name over it
    assert drawn[20:, :30].all() and drawn.mean() < 0.7 and not drawn[:5].any()
    assert not changed(second).any()
