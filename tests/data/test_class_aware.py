"""Class-aware sampling: classes take turns, by a function of seed and step alone."""

import collections

import numpy as np
import pytest

from kdet.data.class_aware import ClassAwarePlan
from kdet.errors import DataError

# class 0 is in nine images of ten, class 1 in two, class 2 in one
LABELS = [[0]] * 7 + [[0, 1], [0, 0, 1], [2], []]
OBJECTS = [np.array([(i, label) for i, row in enumerate(LABELS) for label in row])[:, k] for k in (0, 1)]
BUCKETS = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0])


def drawn(plan, epochs):
    return np.concatenate([plan.batch(step) for step in range(epochs * plan.steps_per_epoch)])


def test_rare_classes_are_seen_as_often_as_frequent_ones():
    plan = ClassAwarePlan(np.zeros(11, int), 4, *OBJECTS, seed=3)
    assert plan.steps_per_epoch == 3
    counts = collections.Counter(drawn(plan, 100).tolist())
    assert counts[10] == 0  # without an object
    total = sum(counts.values())
    assert counts[9] == pytest.approx(total / 3, rel=0.03)
    plain, both = sum(counts[i] for i in range(7)), counts[7] + counts[8]
    assert plain == pytest.approx(total / 3 * 7 / 9, rel=0.1)
    assert both == pytest.approx(total / 3 * (1 + 2 / 9), rel=0.1)


def test_an_image_comes_again_when_all_of_its_class_have_come():
    plan = ClassAwarePlan(np.zeros(4, int), 4, np.arange(4), np.zeros(4, int), seed=1)
    for step in range(5):
        assert sorted(plan.batch(step)) == [0, 1, 2, 3]


def test_batches_are_of_one_bucket_and_steps_are_as_many_in_every_epoch():
    plan = ClassAwarePlan(BUCKETS, 3, *OBJECTS, seed=5, repeat=2)
    assert plan.steps_per_epoch == 8
    for step in range(40):
        batch = plan.batch(step)
        assert batch.shape == (3,) and len(set(BUCKETS[batch])) == 1


def test_a_step_is_the_same_wherever_the_plan_begins():
    one, two = (ClassAwarePlan(BUCKETS, 2, *OBJECTS, seed=7) for _ in range(2))
    late = two.batch(31)
    early = [one.batch(step) for step in range(32)]
    np.testing.assert_array_equal(early[31], late)
    other = ClassAwarePlan(BUCKETS, 2, *OBJECTS, seed=8)
    assert any((other.batch(step) != early[step]).any() for step in range(32))


def test_images_without_objects_alone_are_refused():
    with pytest.raises(DataError, match="no image has an object"):
        ClassAwarePlan(np.zeros(2, int), 1, np.zeros(0, int), np.zeros(0, int))
