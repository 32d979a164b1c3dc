"""The places of DINOv3's patches: scaled by a factor of the step's seed while a model trains."""

import numpy as np
import tensorflow as tf

from kdet.backbones.dinov3 import DINOv3ViT, patch_waves
from kdet.layers import dropping_paths


def vit(most_zoom):
    return DINOv3ViT(
        8,
        2,
        16,
        1,
        [1],
        registers=0,
        key_bias=False,
        gated=False,
        scale=1.0,
        all_normed=True,
        most_zoom=most_zoom,
    )


def drawn(layer, step):
    with dropping_paths(tf.constant([0, step])):
        return float(layer.zoom())


def test_factors_are_even_in_logarithms_and_follow_the_seed():
    layer = vit(2.0)
    factors = np.log2([drawn(layer, step) for step in range(200)])
    assert (abs(factors) <= 1.0).all() and abs(factors.mean()) < 0.15 and 0.5 < factors.std() < 0.65
    assert drawn(layer, 3) == drawn(layer, 3) != drawn(layer, 4)


def test_nothing_is_scaled_outside_of_a_training_step_or_without_a_range():
    assert vit(2.0).zoom() == 1.0
    assert drawn(vit(1.0), 3) == 1.0


def test_a_factor_turns_patches_further():
    cosine, sine = patch_waves(2, 3, 8, 100.0)
    twice = patch_waves(2, 3, 8, 100.0, 2.0)
    np.testing.assert_allclose(twice[0], cosine**2 - sine**2, atol=1e-5)
    np.testing.assert_allclose(twice[1], 2.0 * sine * cosine, atol=1e-5)


def test_the_maps_of_a_training_step_differ():
    layer, images = vit(2.0), tf.random.stateless_uniform([1, 64, 64, 3], [1, 2])
    (plain,) = layer(images)
    with dropping_paths(tf.constant([0, 3])):
        (zoomed,) = layer(images)
    assert float(tf.reduce_max(abs(plain - zoomed))) > 1e-4
