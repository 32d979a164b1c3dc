"""Resized size, factors and canvas of every published model's images, against MMDetection's test pipelines.

``verification/peers/mmdet_preprocessing.py`` recorded them for 200 sizes and every distinct pipeline.
"""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from kdet.config import Config
from kdet.data import buckets
from kdet.data.inference import SizeRule
from kdet.detectors.preprocessor import Preprocessor
from kdet.export.canvas import Canvas

RECORD = pathlib.Path(__file__).parent.parent / "golden" / "files" / "preprocessing.npz"


@pytest.fixture(scope="module")
def recorded():
    with np.load(RECORD) as file:
        found = {
            key: file[key].astype(np.float32 if key == "scale" else int) for key in file if key != "meta"
        }
        return {**found, **json.loads(bytes(file["meta"]).decode())}


def preprocessor_of(recipe):
    spec = dict(Config.load(recipe)["model"]["preprocessor"])
    spec.pop("type", None)
    return Preprocessor(**spec)


@pytest.fixture(scope="module")
def preprocessors(recorded):
    """Those of every pipeline: ``{its number: {settings of sizes: a recipe}}``."""
    found = {}
    for recipe, rule in recorded["models"].items():
        one = preprocessor_of(recipe)
        settings = (one.size, one.keep_ratio, one.pad_divisor, one.center_pad)
        found.setdefault(rule, {}).setdefault(settings, recipe)
    return found


def test_every_pipeline_is_covered(recorded, preprocessors):
    assert sorted(preprocessors) == list(range(len(recorded["rules"])))
    assert len(recorded["models"]) >= 400


def test_predict(recorded, preprocessors):
    for rule, settings in preprocessors.items():
        for (size, keep_ratio, divisor, center_pad), recipe in settings.items():
            one = Preprocessor(size=size, keep_ratio=keep_ratio, pad_divisor=divisor, center_pad=center_pad)
            sizes = SizeRule(one.resize_rule(), divisor, center_pad)
            resized = np.array([sizes.target(tuple(size)) for size in recorded["sizes"].tolist()])
            np.testing.assert_array_equal(resized, recorded["resized"][rule], recipe)
            canvases = [sizes.canvas([size]) for size in resized]
            np.testing.assert_array_equal(canvases, recorded["padded"][rule], recipe)
            scale = (resized / recorded["sizes"]).astype(np.float32)
            np.testing.assert_array_equal(scale, recorded["scale"][rule], recipe)


def test_export_and_evaluation(recorded, preprocessors):
    """The same in graphs."""
    originals = tf.constant(recorded["sizes"], tf.int32)
    for rule, settings in preprocessors.items():
        for (size, keep_ratio, divisor, center_pad), recipe in settings.items():
            one = Preprocessor(size=size, keep_ratio=keep_ratio, pad_divisor=divisor, center_pad=center_pad)
            canvas = Canvas(one)

            def measured(size, canvas=canvas):
                target = canvas.target(size)
                return tf.concat([target, canvas.chosen(target[None])], 0)

            rows = tf.function(lambda sizes, f=measured: tf.map_fn(f, sizes), autograph=False)(originals)
            wanted = np.concatenate([recorded["resized"][rule], recorded["padded"][rule]], 1)
            np.testing.assert_array_equal(rows, wanted, recipe)
            if keep_ratio:
                found = buckets.own_canvas_tensor(tf.constant(recorded["resized"][rule]), divisor, center_pad)
                np.testing.assert_array_equal(found, recorded["padded"][rule], recipe)


@pytest.mark.parametrize(
    ("sizes", "own", "bucket"),
    [
        ([(600, 1067), (800, 1066)], (800, 1088), (800, 1088)),
        ([(450, 800), (520, 600)], (544, 800), (800, 1088)),
        ([(1100, 800)], (1120, 800), (1344, 800)),
    ],
)
def test_a_batch_has_its_common_padding(sizes, own, bucket):
    assert SizeRule((1333, 800)).canvas(sizes) == own
    assert SizeRule((1333, 800), canvas="buckets").canvas(sizes) == bucket
