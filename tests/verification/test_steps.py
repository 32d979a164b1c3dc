"""Ten steps of training of tiny models, stopped and resumed in the middle, against recorded ones."""

import numpy as np
import pytest

from verification import record_steps, steps


def recorded(name):
    with np.load(record_steps.FOLDER / f"{name}.npz") as file:
        return dict(file)


@pytest.mark.parametrize("name", steps.CASES)
def test_ten_steps(name):
    case = steps.CASES[name]
    error, worst = record_steps.difference(steps.resumed(case), recorded(name))
    assert error < record_steps.tolerance(case), worst


def test_every_record_has_its_case():
    assert {path.stem for path in record_steps.FOLDER.glob("*.npz")} == set(steps.CASES)


def test_thresholds_of_dynamic_rcnn_follow_what_was_seen():
    """At the end of every interval of three steps, and not in between."""
    seen = recorded("dynamic")
    iou, beta = 0.5, 1.0
    for step in range(steps.STEPS):
        if step % 3 == 2:
            iou = max(seen["state/roi_head._ious"][step].mean(), 0.2)
            beta = min(np.median(seen["state/roi_head._betas"][step]), 2.0)
        np.testing.assert_allclose(seen["state/roi_head._iou"][step], iou, rtol=1e-6)
        np.testing.assert_allclose(seen["state/roi_head._beta"][step], beta, rtol=1e-6)
    assert len(set(seen["state/roi_head._iou"])) == len(set(seen["state/roi_head._beta"])) == 4


def test_a_step_that_overflows_changes_nothing_but_the_scale():
    seen = recorded("half")
    skipped = np.diff(seen["state/optimizer.iterations"], prepend=0) == 0
    assert skipped.any() and not skipped.all()
    np.testing.assert_array_equal(np.diff(seen["moved"])[skipped[1:]], 0)
    halved = np.diff(np.log2(seen["state/optimizer.dynamic_scale"]), prepend=18)
    np.testing.assert_array_equal(halved, -1.0 * skipped)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        # the rate of the step that comes next: up from a tenth for three steps, a tenth from step 7 on
        ("faster", 0.002 * np.array([0.4, 0.7, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1])),
        # half of a cosine down to a tenth, first at half of the rate
        ("detr", 1e-5 * (0.1 + 0.45 * (1 + np.cos(np.pi * np.arange(1, 11) / 10))) * np.r_[0.5, np.ones(9)]),
        # whole epochs of five steps to the power of two; up from a hundredth for four steps
        ("ohem", 0.002 * np.r_[0.01 ** (np.array([3, 2, 1]) / 4), 1, [0.25] * 5, 0]),
    ],
)
def test_rates_follow_the_schedule(name, rates):
    np.testing.assert_allclose(recorded(name)["learning_rate"], rates, rtol=1e-5, atol=1e-12)
