"""TFRecord files: what is written is read back, and Model Garden's keys are there."""

import numpy as np
import pytest
import tensorflow as tf

import kdet.data
from kdet.data import masks


@pytest.fixture
def written(coco, tmp_path):
    index = kdet.data.read_index(coco)
    paths, _ = kdet.data.write_tfrecords(index, tmp_path / "train", shards=2, progress=False)
    return index, paths


def test_reads_back_the_same_pipeline(coco, written, tmp_path):
    records = {
        **coco,
        "type": "TFRecordReader",
        "annotations": str(tmp_path / "train-*.tfrecord"),
        "images": None,
    }
    del records["classes"]  # the manifest knows them
    pipeline = kdet.data.load(records, training=True, batch_size=1)
    assert pipeline.class_names == ["cat", "dog"] and pipeline.index.category_ids == [7, 3]
    expected = kdet.data.load(coco, training=True, batch_size=1)
    for (x, y), (x2, y2) in zip(pipeline.dataset().take(4), expected.dataset().take(4), strict=True):
        for key in x:
            np.testing.assert_array_equal(x[key], x2[key])
        np.testing.assert_allclose(y["boxes"], y2["boxes"], atol=1e-4)
        np.testing.assert_allclose(y["ignore_boxes"], y2["ignore_boxes"], atol=1e-4)
        np.testing.assert_array_equal(y["masks"], y2["masks"])


def test_layout_is_model_gardens(written):
    index, paths = written
    parsed = [tf.train.Example.FromString(r.numpy()) for p in paths for r in tf.data.TFRecordDataset(p)]
    assert len(parsed) == 3
    features = parsed[0].features.feature
    assert features["image/source_id"].bytes_list.value == [b"1"]
    assert features["image/height"].int64_list.value == [60]
    assert features["image/object/class/label"].int64_list.value == [7, 3, 7, 7]
    assert features["image/object/class/text"].bytes_list.value == [b"cat", b"dog", b"cat", b"cat"]
    assert features["image/object/is_crowd"].int64_list.value == [0, 0, 0, 1]
    np.testing.assert_allclose(features["image/object/bbox/xmin"].float_list.value[:2], [10.5 / 83, 20 / 83])
    raster = tf.io.decode_png(features["image/object/mask"].bytes_list.value[1]).numpy()[..., 0]
    np.testing.assert_array_equal(raster, masks.rasterize(index.records[0].segmentations[1], 60, 83))
    assert features["image/object/area"].float_list.value[1] == raster.sum()


def test_parses_as_model_garden_does(written):
    _, paths = written
    kinds = {"bbox/xmin": tf.float32, "area": tf.float32, "class/label": tf.int64, "is_crowd": tf.int64}
    kinds["mask"] = tf.string
    layout = {f"image/object/{key}": tf.io.VarLenFeature(kind) for key, kind in kinds.items()}
    layout["image/height"] = tf.io.FixedLenFeature((), tf.int64, -1)
    layout["image/source_id"] = tf.io.FixedLenFeature((), tf.string)
    counts = []
    for serialized in tf.data.TFRecordDataset(paths):
        parsed = tf.io.parse_single_example(serialized, layout)
        counts.append({len(parsed[f"image/object/{key}"].values) for key in kinds})
    assert counts == [{4}, {1}, {0}]  # the third image has no objects


def test_continues_after_an_interruption(written, tmp_path):
    index, paths = written
    kept = open(paths[0], "rb").read()
    (tmp_path / "train-00001-of-00002.tfrecord").unlink()
    again, found = kdet.data.write_tfrecords(index, tmp_path / "train", shards=2, progress=False)
    assert again == paths and found == 1
    assert open(paths[0], "rb").read() == kept
    assert len(kdet.data.read_tfrecord(str(tmp_path / "train-*.tfrecord"))) == 3


def test_problems_are_explained(written, tmp_path):
    index, paths = written
    with pytest.raises(ValueError, match="other settings"):
        kdet.data.write_tfrecords(index, tmp_path / "train", shards=3, progress=False)
    with pytest.raises(ValueError, match="cannot be written as 4 shards"):
        kdet.data.write_tfrecords(index, tmp_path / "x", shards=4, progress=False)
    with pytest.raises(FileNotFoundError, match="No file matches"):
        kdet.data.read_tfrecord(str(tmp_path / "none-*"))
    broken = tmp_path / "broken.tfrecord"
    broken.write_bytes(open(paths[0], "rb").read()[:-5])
    with pytest.raises(ValueError, match="truncated"):
        kdet.data.read_tfrecord(str(broken))
