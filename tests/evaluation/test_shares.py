"""Shares of an evaluation: every batch once, and results put together in the order of one device."""

import numpy as np
import pytest
import tensorflow as tf

import kdet.data
from kdet.data.inference import SizeRule, batches, planned_batches
from kdet.detectors.replicas import Place
from kdet.evaluation import runner
from kdet.evaluation.columns import Columns
from kdet.evaluation.panoptic import PanopticResult
from kdet.evaluation.results import ResultList
from kdet.evaluation.shares import joined_results, packed
from kdet.evaluation.workers import Workers
from tests.train.run_engine import write_data

SIZES = [(64, 64), (60, 80), (80, 60), (64, 72), (60, 80), (80, 60), (60, 80)]


def results_of(images, masks=False, panoptic=False):
    found = ResultList([7, 9], lambda detections, height, width: detections["masks"])
    for number in images:
        count = number % 3
        one = {
            "boxes": np.full((1, count, 4), [[1.0, 2.0, 4.5, 7.0]]) + number,
            "scores": np.full((1, count), 0.25 + number / 100),
            "labels": np.full((1, count), number % 2),
        }
        if masks:
            one["masks"] = np.ones((1, count, 6, 8), bool)
        if panoptic:
            one.update(panoptic=np.full((1, 6, 8), number), segment_labels=np.arange(number + 1)[None])
        found.add(one, [number], [(6, 8)])
    return found


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("panoptic", [False, True])
def test_parts_become_the_whole_again(masks, panoptic):
    whole = results_of(range(9), masks, panoptic)
    parts = [range(4), (), range(4, 7), range(6, 9)]  # 6 stood in for an image that could not be read
    joined = joined_results([7, 9], [packed(results_of(part, masks, panoptic)) for part in parts])
    assert joined.image_ids == whole.image_ids
    assert list(joined.entries) == list(whole.entries) and len(whole.entries) == 9
    assert list(joined.panoptic) == list(whole.panoptic)
    for number, result in whole.panoptic.items():
        assert joined.panoptic[number] == result and isinstance(result, PanopticResult)


def test_nothing_found_and_what_is_not_finite():
    none = joined_results([7], [packed(ResultList([7])), packed(ResultList([7]))])
    assert len(none.entries) == 0 and none.image_ids == [] and isinstance(none.entries.columns, Columns)
    broken = ResultList([7])
    one = {"boxes": np.full((1, 1, 4), np.nan), "scores": np.ones((1, 1)), "labels": np.zeros((1, 1), int)}
    broken.add(one, [3], [(6, 8)])
    assert joined_results([7], [packed(broken)] * 2).not_finite == 2


def test_an_image_counts_once():
    assert results_of([4, 5, 4]).image_ids == [4, 5]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, SIZES)
    section = {"annotations": str(folder / "data.json"), "images": str(folder)}
    section["transforms"] = [{"type": "Resize", "sizes": [[80, 64]]}]
    return kdet.data.load(section, batch_size=2)


@pytest.mark.parametrize("workers", [2, 5])
def test_shares_are_the_whole_batches_of_one_device(pipeline, workers):
    wanted = [inputs for inputs, _ in pipeline.dataset()]
    found = [inputs for part in range(workers) for inputs in pipeline.share(part, workers)]
    assert len(found) == len(wanted) == pipeline.steps_per_epoch == 4
    for ours, theirs in zip(found, wanted, strict=True):
        for key, value in theirs.items():
            np.testing.assert_array_equal(ours[key], value, err_msg=key)


def test_batches_can_be_told_from_sizes():
    images = [np.zeros((*size, 3), np.uint8) for size in SIZES]
    made = [positions for positions, _ in batches(images, [(80, 64), 0.5], batch_size=2)]
    assert planned_batches(SIZES, [SizeRule((80, 64)), SizeRule(0.5)], 2) == made
    assert sorted(sum(made, [])) == list(range(len(SIZES)))


def test_groups_end_where_the_key_changes():
    assert list(runner.grouped("aabbb", 2)) == [["a", "a"], ["b", "b"], ["b"]]
    assert list(runner.grouped("abbba", 2, str)) == [["a"], ["b", "b"], ["b"], ["a"]]
    assert list(runner.grouped("", 2)) == []


def test_one_device_does_all_itself():
    strategy = tf.distribute.get_strategy()
    assert Place.of(strategy) == Place() and Place().is_chief
    workers = Workers(strategy)
    assert workers.every(lambda: 3) == 3 and workers.of_chief(lambda: {"AP": 0.5}) == {"AP": 0.5}


def test_images_in_a_chosen_order(pipeline):
    assert [record.image_id for record, _ in pipeline.images([3, 0])] == [3, 0]
    assert len(list(pipeline.images())) == len(SIZES)
