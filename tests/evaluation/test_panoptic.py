"""Panoptic quality against figures of ``panopticapi``, and the run from a data set to its figures."""

import json

import numpy as np
import pytest
import tensorflow as tf

import kdet.data
from kdet.evaluation import evaluate
from kdet.evaluation.panoptic import PanopticQuality, PanopticResult, panoptic_metrics
from tests.evaluation import panoptic_scenes as recorded

FIGURES = json.loads(recorded.RECORDED.read_text())


def index_of(folder, seed=0):
    truth, _ = recorded.write(folder, seed)
    return kdet.data.read_index(section(folder, truth))


def section(folder, truth):
    return {
        "type": "CocoPanopticReader",
        "annotations": str(truth),
        "images": str(folder / "images"),
        "segments": str(folder / "truth"),
    }


@pytest.mark.parametrize("seed", sorted(FIGURES))
def test_figures_are_those_of_panopticapi(seed, tmp_path):
    index = index_of(tmp_path, int(seed))
    results = {
        i: PanopticResult.of(found, names)
        for i, (_, _, _, found, names) in enumerate(recorded.scenes(int(seed)))
    }
    ours = panoptic_metrics(index, results, set(results))
    assert ours == pytest.approx(FIGURES[seed], abs=1e-12)
    assert 0.1 < ours["PQ"] < 0.9


def test_the_recorded_figures_are_those_of_the_package_here():
    pytest.importorskip("panopticapi", reason="its figures are recorded; the package is no dependency")
    assert recorded.record(seeds=(0,))["0"] == pytest.approx(FIGURES["0"])


def test_one_image_by_hand():
    truth = np.zeros((10, 10), int)
    truth[:, :4], truth[:5, 4:], truth[9, 9] = 7, 8, 9  # a thing, another one, a crowd; the rest is void
    found = np.zeros((10, 10), int)
    found[:, :5] = 1  # 40 of the first, 5 of the second, 5 of void: IoU 40 / (40 + 5)
    found[5:, 5:] = 2  # on void and the crowd alone: does not count as invented
    quality = PanopticQuality(2)
    quality.add(truth, {7: 0, 8: 0, 9: 1}, frozenset([9]), found, [0, 1])
    assert quality.matched.tolist() == [1, 0] and quality.missed.tolist() == [1, 0]
    assert quality.invented.tolist() == [0, 0] and quality.iou[0] == pytest.approx(40 / 45)
    figures = quality.figures(num_stuff=1)
    assert figures["PQ"] == figures["PQ_things"] == pytest.approx(40 / 45 / 1.5)
    assert figures["SQ"] == pytest.approx(40 / 45) and figures["RQ"] == pytest.approx(1 / 1.5)
    assert "PQ_stuff" not in figures  # no stuff occurs


def test_a_result_takes_little_room_and_comes_back():
    found = np.kron(np.arange(12).reshape(3, 4), np.ones((40, 40), int))
    result = PanopticResult.of(found, np.arange(12))
    assert len(result.packed) < found.size // 10 and result.labels == tuple(range(12))
    np.testing.assert_array_equal(result.map(), found)


class Perfect:
    """Finds all segments of an index."""

    num_classes, smallest, class_names = None, 1, None
    distribute_strategy = tf.distribute.get_strategy()

    def __init__(self, index, panoptic=True):
        self.index, self.panoptic = index, panoptic

    def predict_on_batch(self, inputs, canvas):
        record = next(r for r in self.index.records if r.image_id == int(inputs["image_id"][0]))
        found = {"boxes": record.boxes[None], "scores": np.ones((1, len(record.boxes)))}
        found["labels"] = record.labels[None]
        if self.panoptic:
            numbers = record.segments.numbers(record.height, record.width)
            known = list(record.segments.labels)
            codes = np.zeros(numbers.shape, int)
            for row, number in enumerate(known, 1):
                codes[numbers == number] = row
            found["panoptic"] = np.pad(codes, [(0, 9), (0, 5)])[None]  # as beside a larger image
            found["segment_labels"] = np.array([record.segments.labels[n] for n in known])[None]
        return found

    image_masks = None


def test_evaluate(tmp_path):
    truth, _ = recorded.write(tmp_path, 0)
    pipeline = kdet.data.load(section(tmp_path, truth), training=False)
    figures = evaluate(Perfect(pipeline.index), pipeline, ["panoptic"])
    assert figures["panoptic/PQ"] == figures["panoptic/SQ_things"] == figures["panoptic/RQ_stuff"] == 1.0
    with pytest.raises(ValueError, match="needs panoptic segments, and the model finds none"):
        evaluate(Perfect(pipeline.index, panoptic=False), pipeline, ["panoptic"])


def test_other_data_cannot_be_scored_so(tmp_path):
    recorded.write(tmp_path, 0)
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    content["images"].append({"id": 0, "file_name": "0.png", "height": 48, "width": 64})
    (tmp_path / "plain.json").write_text(json.dumps(content))
    spec = {"annotations": str(tmp_path / "plain.json"), "images": str(tmp_path / "images")}
    pipeline = kdet.data.load(spec, training=False)
    with pytest.raises(ValueError, match="data.val.type: CocoPanopticReader"):
        evaluate(Perfect(pipeline.index), pipeline, ["panoptic"])
