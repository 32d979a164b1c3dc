"""Which images and objects an epoch holds, and the class maps that go with them."""

import numpy as np
import pytest
import tensorflow as tf

import kdet.data
from tests.data.steps import steps


def test_rare_classes_are_repeated(coco):
    index = kdet.data.read_index(coco)
    # cat: in one image of three, dog: in two; image 3 is empty
    present = [set(r.labels) | set(r.ignore_labels) for r in index.records]
    share = [sum(label in p for p in present) / 3 for label in (0, 1)]
    repeats = index.repeats(2.0)
    wanted = [int(np.ceil(max([1.0, *(np.sqrt(2.0 / share[label]) for label in p)]))) for p in present]
    assert repeats.tolist() == wanted and max(wanted) > 1
    assert index.repeats(0.1).tolist() == [1, 1, 1]
    pipeline = kdet.data.load({**coco, "oversample": 2.0, "remainder": "drop"}, training=True, batch_size=1)
    assert pipeline.steps_per_epoch == sum(wanted)
    seen = [int(inputs["image_id"][0]) for inputs, _ in pipeline.dataset().take(sum(wanted))]
    assert [seen.count(i) for i in (1, 2, 3)] == wanted


def test_small_objects_are_left_out_with_their_masks(coco):
    everything = kdet.data.load(coco, training=True).index.records
    sides = [np.min(r.boxes[:, 2:] - r.boxes[:, :2], axis=1) for r in everything]
    limit = float(np.median(np.concatenate(sides)))
    pipeline = kdet.data.load({**coco, "min_box": limit}, training=True)
    kept = {r.image_id: r for r in pipeline.index.records}
    for record, side in zip(everything, sides):
        if len(side) and not (side > limit).any():
            assert record.image_id not in kept
        else:
            assert len(kept[record.image_id].labels) == (side > limit).sum()
            assert len(kept[record.image_id].segmentations) == (side > limit).sum()
    assert "min_box" in pipeline.report()


@pytest.fixture
def maps(coco, tmp_path):
    """Class maps whose values tell the row (image 1) or the column."""
    for record in kdet.data.read_index(coco).records:
        axis = np.arange(record.height)[:, None] if record.image_id == 1 else np.arange(record.width)[None]
        pixels = np.broadcast_to(axis, (record.height, record.width)).astype(np.uint8)
        name = record.name.rsplit(".", 1)[0] + ".png"
        tf.io.write_file(str(tmp_path / name), tf.io.encode_png(pixels[..., None]))
    return tmp_path


@pytest.mark.parametrize("flip", [0, 1])
def test_class_maps_follow_the_image(coco, maps, flip):
    size = {"mode": "fixed", "sizes": [[90, 70]]}
    coco.update(transforms=steps(Resize=size, RandomFlip={"probability": flip}), divisor=32)
    coco.update(semantic=str(maps), semantic_stride=8)
    for inputs, targets in kdet.data.load(coco, training=True).dataset().take(6):
        found = targets["semantic"].numpy()[0]
        assert found.shape == (12, 12) and found.dtype == np.int32  # canvas 96 x 96
        # cells start at 0, 8, ...: nine of 70 rows and twelve of 90 columns are in the image
        assert (found[9:] == 255).all() and (found[:9] != 255).all()
        height, width = inputs["original_size"].numpy()[0]
        place = np.arange(0, 90, 8)
        columns = np.floor((89 - place if flip else place) * width / 90)
        rows = np.floor(np.arange(0, 70, 8) * height / 70)
        wanted = rows[:, None] if int(inputs["image_id"][0]) == 1 else columns[None]
        np.testing.assert_array_equal(found[:9], np.broadcast_to(wanted, (9, 12)))


def test_class_maps_that_are_missing_or_wrong_are_named(coco, maps):
    (maps / "c.png").unlink()
    coco.update(semantic=str(maps))
    with pytest.raises(FileNotFoundError, match=r"no class map .*c\.png.*data.semantic"):
        kdet.data.load(coco, training=True)
    coco.update(on_missing="skip")
    pipeline = kdet.data.load(coco, training=True)
    assert [r.image_id for r in pipeline.index.records] == [1, 2] and "class map missing" in pipeline.report()
    tf.io.write_file(str(maps / "a.png"), tf.io.encode_png(np.zeros((5, 5, 1), np.uint8)))
    with pytest.raises(Exception, match=r"class map .*a\.png is 5x5"):
        list(kdet.data.load(coco, training=True).dataset().take(3))
