"""The schedule against values worked out by hand."""

import keras
import numpy as np
import pytest

from kdet.train.schedules import (
    ConstantRate,
    CosineDecay,
    CosineThenFlat,
    FlatCosine,
    PolynomialDecay,
    StepDecay,
    scaled_rate,
)


def rates(schedule, steps):
    return np.array([float(schedule(s)) for s in steps])


def test_linear_warmup_then_steps():
    schedule = StepDecay(
        0.02, steps_per_epoch=100, epochs=12, steps=[8, 11], warmup_steps=500, warmup_ratio=0.001
    )
    want = [0.02 * 0.001, 0.02 * (1 - 0.5 * 0.999), 0.02, 0.02, 0.002, 0.002, 0.0002]
    np.testing.assert_allclose(rates(schedule, [0, 250, 500, 799, 800, 1099, 1100]), want, rtol=1e-5)


@pytest.mark.parametrize("warmup, at_half", [("constant", 0.25), ("exp", 0.5), ("linear", 0.625)])
def test_warmups(warmup, at_half):
    schedule = ConstantRate(1.0, 10, 4, warmup=warmup, warmup_steps=8, warmup_ratio=0.25)
    np.testing.assert_allclose(rates(schedule, [0, 4, 8]), [0.25, at_half, 1.0], rtol=1e-6)


def test_warmup_multiplies_what_the_schedule_gives():
    schedule = StepDecay(1.0, 10, 4, steps=[0.5], warmup="constant", warmup_steps=8, warmup_ratio=0.5)
    np.testing.assert_allclose(rates(schedule, [4, 5, 8]), [0.5, 0.05, 0.1], rtol=1e-6)


def test_cosine_and_polynomial():
    cosine = CosineDecay(2.0, 10, 4, min_ratio=0.1)
    np.testing.assert_allclose(rates(cosine, [0, 9, 20, 29, 40]), [2, 2, 1.1, 1.1, 0.2], rtol=1e-6)
    smooth = CosineDecay(2.0, 10, 4, by_epoch=False)
    np.testing.assert_allclose(rates(smooth, [10, 30]), 1 + np.cos(np.pi * np.array([0.25, 0.75])), rtol=1e-6)
    poly = PolynomialDecay(2.0, 10, 4, power=2.0, by_epoch=False)
    np.testing.assert_allclose(rates(poly, [0, 20, 40, 50]), [2, 0.5, 0, 0], atol=1e-7)


def test_yolox_rises_falls_and_stays():
    schedule = CosineThenFlat(2.0, 10, 10, warmup_epochs=2, flat_epochs=3, min_ratio=0.1)
    want = [2 * 0.05**2, 2.0, 0.2 + 1.8 * 0.5 * (1 + np.cos(np.pi / 50)), 1.1, 0.2, 0.2]
    np.testing.assert_allclose(rates(schedule, [0, 19, 20, 44, 69, 99]), want, rtol=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    np.testing.assert_allclose(rates(again, [0, 44]), [2 * 0.05**2, 1.1], rtol=1e-5)


def test_rtmdet_stays_and_falls_in_the_second_half():
    schedule = FlatCosine(2.0, 10, 9, min_ratio=0.1, warmup_steps=4, warmup_ratio=0.2)
    want = [0.4, 0.4 + 1.6 / 4, 2.0, 2.0, 1.1, 0.2, 0.2]
    np.testing.assert_allclose(rates(schedule, [0, 1, 4, 40, 65, 90, 99]), want, rtol=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    np.testing.assert_allclose(rates(again, [40, 65]), [2.0, 1.1], rtol=1e-5)


def test_milestones_in_steps_and_round_trip():
    schedule = StepDecay(1.0, 10, 4, steps=[15], by_epoch=False)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    np.testing.assert_allclose(rates(again, [14, 15]), [1.0, 0.1], rtol=1e-6)


def test_bad_values_are_named():
    with pytest.raises(ValueError, match="warmup_ratio in"):
        StepDecay(1.0, 10, 4, warmup_steps=5, warmup_ratio=0)


def test_linear_scaling_rule():
    assert scaled_rate(0.02, 8) == 0.01 and scaled_rate(0.02, 32) == 0.04
