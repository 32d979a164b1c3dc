"""Readers, transforms and metrics of one's own, from a recipe."""

from typing import Annotated

import numpy as np
import pytest
import tensorflow as tf

import kdet.data
from kdet.config import Config, ConfigError
from kdet.evaluation import Metric, metrics
from kdet.ranges import Number
from kdet.registry import register


@register
class HalfGray(kdet.data.Transform):
    """Grays out a part of the image's rows."""

    def __init__(self, share: Annotated[float, Number(0, 1)] = 0.5) -> None:
        self.share = share

    def __call__(self, sample, seed):
        height = tf.shape(sample["image"])[0]
        gray = tf.range(height) < tf.cast(self.share * tf.cast(height, tf.float32), tf.int32)
        return dict(sample, image=tf.where(gray[:, None, None], tf.constant(9, tf.uint8), sample["image"]))


@register
class FirstOnly(kdet.data.Reader):
    """The first images of a COCO file."""

    def __init__(self, classes=None, count: int = 1) -> None:
        self.classes, self.count = classes, count

    def read(self, annotations, images):
        return kdet.data.read_coco(annotations, images, classes=self.classes).first(self.count)


@register
class FoundPerImage(Metric):
    def __init__(self, least: float = 0.0) -> None:
        self.least = least

    def score(self, scene, results, image_ids):
        return {"found": sum(r["score"] >= self.least for r in results) / len(image_ids)}


RECIPE = """
data:
  classes: [cat, dog]
  train:
    type: FirstOnly
    count: 2
    annotations: {assets}/coco.json
    images: {assets}
    transforms: [{{type: HalfGray, share: 0.25}}, {{type: Resize, sizes: [[60, 40]], mode: fixed}}]
  metrics: [bbox, {{type: FoundPerImage, least: 0.5}}]
"""


def test_a_recipe_names_them(assets, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(assets=assets))
    config = Config.load(path)
    pipeline = kdet.data.load(kdet.data.section(config, "train"), training=True, batch_size=2)
    assert len(pipeline.index) == 2
    inputs, _ = next(iter(pipeline.dataset()))
    assert (inputs["images"].numpy()[:, :8] == 9).all() and (inputs["images"].numpy()[:, 20:] != 9).any()
    found = [metrics.find(one) for one in config["data"]["metrics"]]
    assert [name for name, _ in found] == ["bbox", "FoundPerImage"]
    assert found[1][1].score(None, [{"score": 0.4}, {"score": 0.6}], {1}) == {"found": 1.0}
    wrong = {
        "data.train.transforms.HalfGray.share": (
            2,
            r"share \(HalfGray\): expected a number from 0 to 1, got 2",
        ),
        "data.train.counts": (2, "data.train.counts: unknown key. Did you mean 'count'"),
        "data.metrics": (
            [{"type": "FoundPerImage", "most": 1}],
            "metrics.0.most: unknown keyword of FoundPer",
        ),
        "data.train.masks": (True, "the reader FirstOnly has no masks"),
    }
    for key, (value, words) in wrong.items():
        with pytest.raises(ConfigError, match=words):
            kdet.data.load(kdet.data.section(Config.load(path, {key: value}), "train"))


def test_objects_do_instead_of_mappings(coco):
    coco["transforms"] = [HalfGray(1.0), kdet.data.transforms.Resize([[60, 40]], mode="fixed")]
    inputs, _ = next(iter(kdet.data.load(coco, training=True).dataset()))
    assert np.unique(inputs["images"]).tolist() == [9]
