"""Results one after the other: their order, their memory, and images that cannot be read."""

import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from kdet.config import Config
from kdet.data import inference
from kdet.data.decoding import CorruptImage
from kdet.detectors.stream import ahead
from kdet.results import MasksOnDemand

SMALL = {
    "model.neck.out_channels": 16,
    "model.rpn_head.filters": 16,
    "model.rpn_head.test_proposals.max_per_image": 10,
    "model.roi_head.bbox_head.fc_units": 16,
    "model.roi_head.mask_head.filters": 16,
    "model.roi_head.postprocess.score_threshold": 0.0,
    "model.roi_head.postprocess.max_per_image": 5,
    "model.preprocessor.size": [96, 64],
    "model.num_classes": 3,
}


@pytest.fixture(scope="module")
def model():
    return Config.load("mask_rcnn_r18_fpn_1x", SMALL).build("model")


@pytest.fixture(scope="module")
def images():
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((40, 60), (60, 40), (40, 60), (50, 50))]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_results_are_those_of_predict_in_its_order(model, images, batch_size):
    wanted = model.predict(images, batch_size=batch_size)
    results = list(model.predict_iter(iter(images), batch_size=batch_size))
    assert len(results) == 4
    for result, want, image in zip(results, wanted.images(), images, strict=True):
        assert len(result) == len(want) > 0 and result.size == image.shape[:2]
        np.testing.assert_array_equal(result.boxes, want.boxes)
        np.testing.assert_array_equal(result.scores, want.scores)
        np.testing.assert_array_equal(result.masks, want.masks)
        np.testing.assert_array_equal(result.source, image)


def test_masks_are_made_when_they_are_asked_for(model, images):
    masks = next(model.predict_iter(images[:1])).masks
    assert isinstance(masks, MasksOnDemand) and masks.shape == (5, 40, 60)
    whole = np.asarray(masks)
    assert whole.dtype == bool and whole.shape == masks.shape and whole.any()
    np.testing.assert_array_equal(masks[-1], whole[-1])
    np.testing.assert_array_equal(masks[np.arange(5) % 2 == 0], whole[::2])
    np.testing.assert_array_equal(list(masks), whole)
    with pytest.raises(IndexError):
        masks[5]


def test_plots_and_coco_entries_are_those_of_predict(model, images):
    result, want = next(model.predict_iter(images[:1])), model.predict(images[:1])[0]
    np.testing.assert_array_equal(result.plot(0.0), want.plot(0.0))
    assert result.to_coco(7) == want.to_coco(7)


def test_what_cannot_be_read_is_reported_in_its_place(model, images, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    given = [tmp_path / "bad.png", images[0], tmp_path / "none.png", images[1], tmp_path / "bad.png"]
    results = list(model.predict_iter(given, on_corrupt="report"))
    assert [result.error is None for result in results] == [False, True, False, True, False]
    assert "bad.png" in results[0].error and "none.png does not exist" in results[2].error
    assert len(results[0]) == 0 and results[0].boxes.shape == (0, 4) and results[0].source == given[0]
    with pytest.raises(CorruptImage, match="bad.png"):
        list(model.predict_iter(given))
    with pytest.raises(ValueError, match="on_corrupt is 'raise' or 'report', not 'skip'"):
        next(model.predict_iter(given, on_corrupt="skip"))


def test_a_shape_that_comes_once_does_not_hold_up_the_others():
    shapes = [(60, 20), *[(40, 60)] * 9]
    images = (np.zeros([*shape, 3], np.uint8) for shape in shapes)
    found = inference.batches(images, [(96, 64)], batch_size=2, ahead=4)
    first = [positions for positions, _ in found]
    assert sorted(sum(first, [])) == list(range(10))
    assert [0] in first[:3], first  # with what its bucket had, long before the end


def test_reading_ahead_is_bounded_ends_with_the_consumer_and_hands_on_errors():
    read = []

    def items():
        for i in range(100):
            read.append(i)
            yield i

    reader = ahead(items(), 2)
    assert next(reader) == 0
    time.sleep(0.3)
    assert len(read) <= 4
    reader.close()
    assert not any(thread.name == "kdet reads ahead" for thread in threading.enumerate())

    def broken():
        yield 1
        raise tf.errors.DataLossError(None, None, "cut off")

    reader = ahead(broken(), 2)
    assert next(reader) == 1
    with pytest.raises(tf.errors.DataLossError, match="cut off"):
        next(reader)
