"""Layers against hand-computed values and PyTorch's conventions."""

import numpy as np
import pytest
import tensorflow as tf

from kdet import layers


def test_strided_convolution_pads_both_sides():
    conv = layers.Conv2D(1, 3, stride=2, padding=1, use_bias=False, kernel_initializer="ones")
    x = tf.reshape(tf.range(16, dtype=tf.float32), [1, 4, 4, 1])
    # windows start at -1 and 1: rows/columns {0,1} and {1,2,3}
    expected = [
        [0 + 1 + 4 + 5, 1 + 2 + 3 + 5 + 6 + 7],
        [4 + 5 + 8 + 9 + 12 + 13, 5 + 6 + 7 + 9 + 10 + 11 + 13 + 14 + 15],
    ]
    np.testing.assert_array_equal(conv(x)[0, :, :, 0], expected)


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="3 groups"):
        layers.Conv2D(6, 1, groups=3)(tf.zeros([1, 2, 2, 4]))


def test_transposed_convolution_places_each_pixel_in_its_own_block():
    conv = layers.ConvTranspose2D(1, 2, kernel_initializer="ones")
    out = conv(tf.constant([[[[1.0], [2.0]]]]))
    np.testing.assert_array_equal(out[0, :, :, 0], [[1, 1, 2, 2], [1, 1, 2, 2]])


@pytest.mark.parametrize("use_running_stats", [False, True])
def test_batch_norm_statistics(use_running_stats):
    norm = layers.BatchNorm(use_running_stats=use_running_stats)
    x = tf.constant(np.random.default_rng(0).normal(3.0, 2.0, [2, 3, 3, 4]), tf.float32)
    y = norm(x, training=True)
    flat = x.numpy().reshape(-1, 4)
    if use_running_stats:
        np.testing.assert_allclose(y, x / np.sqrt(1 + 1e-5), rtol=1e-6)
        np.testing.assert_array_equal(norm.moving_mean, np.zeros(4))
        return
    np.testing.assert_allclose(
        y.numpy().reshape(-1, 4), (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(norm.moving_mean, 0.1 * flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, 0.9 + 0.1 * flat.var(0, ddof=1), rtol=1e-5)


def test_frozen_batch_norm_leaves_its_statistics_alone():
    norm = layers.BatchNorm()
    norm(tf.ones([1, 2, 2, 3]))
    norm.trainable = False
    norm(tf.random.stateless_normal([1, 4, 4, 3], [0, 1]), training=True)
    np.testing.assert_array_equal(norm.moving_mean, np.zeros(3))
    np.testing.assert_array_equal(norm.moving_variance, np.ones(3))


def test_unknown_norm_kind_names_the_choices():
    with pytest.raises(ValueError, match="choose one of"):
        layers.make_norm("batch")


def test_upsampling_to_an_odd_size_takes_the_floor():
    x = tf.reshape(tf.range(3, dtype=tf.float32), [1, 3, 1, 1])
    out = layers.upsample_nearest(x, tf.zeros([1, 5, 1, 1]))
    np.testing.assert_array_equal(out[0, :, 0, 0], [0, 0, 1, 1, 2])  # floor(i * 3 / 5)


def test_conv_module_has_no_bias_beside_a_norm():
    module = layers.ConvModule(4, 1, norm="bn")
    module(tf.ones([1, 2, 2, 3]))
    assert module.conv.bias is None
    assert layers.ConvModule(4, 1).conv.use_bias


def test_random_numbers_do_not_depend_on_the_rows_before():
    whole = layers.global_uniform(tf.constant([1, 2]), 3, 5)
    assert whole.shape == (3, 5)
    np.testing.assert_array_equal(whole, layers.global_uniform(tf.constant([1, 2]), 3, 5))
    assert not np.array_equal(whole, layers.global_uniform(tf.constant([1, 3]), 3, 5))


@pytest.mark.parametrize("kind", ["dcn", "dcn_v2"])
def test_deformable_convolution_starts_as_a_plain_one(kind):
    conv = layers.make_conv(kind, 2, 3, padding=1, use_bias=False, kernel_initializer="ones")
    x = tf.random.stateless_normal([1, 5, 6, 3], [0, 1])
    plain = layers.Conv2D(2, 3, padding=1, use_bias=False, kernel_initializer="ones")(x)
    # without training every offset is 0 and every factor a half
    np.testing.assert_allclose(conv(x), plain * (0.5 if kind == "dcn_v2" else 1.0), rtol=1e-5, atol=1e-5)


def test_given_offsets_move_every_sample():
    conv = layers.DeformConv2D(1, 1, use_bias=False, kernel_initializer="ones")
    x = tf.reshape(tf.range(12, dtype=tf.float32), [1, 3, 4, 1])
    down_half_right_one = tf.tile([[[[0.5, 1.0]]]], [1, 3, 4, 1])
    out = conv(x, down_half_right_one)[0, :, :, 0]
    np.testing.assert_allclose(out, [[3, 4, 5, 0], [7, 8, 9, 0], [4.5, 5, 5.5, 0]])


def test_folded_norm_gives_the_same_values_and_gradients():
    rng = np.random.default_rng(1)
    conv, norm = layers.Conv2D(5, 3, padding=1, use_bias=False), layers.BatchNorm(use_running_stats=True)
    x = tf.constant(rng.normal(size=[2, 6, 6, 3]), tf.float32)
    norm(conv(x))
    for variable in norm.weights:
        variable.assign(rng.uniform(0.5, 1.5, 5))
    trained = [v.value for v in (conv.kernel, norm.gamma, norm.beta)]

    def gradients(function):
        with tf.GradientTape() as tape:
            y = function(x)
            loss = tf.reduce_sum(tf.sin(y))
        return [y, *tape.gradient(loss, trained)]

    for folded, plain in zip(
        gradients(lambda x: layers.conv_norm(conv, norm, x)), gradients(lambda x: norm(conv(x)))
    ):
        np.testing.assert_allclose(folded, plain, rtol=2e-4, atol=2e-5)


def test_inference_folds_a_norm_that_trains():
    conv, norm = layers.Conv2D(2, 1, use_bias=False), layers.BatchNorm()
    x = tf.ones([1, 2, 2, 3])
    expected = norm(conv(x))
    with layers.inference():
        assert norm.statistics_are_fixed
        np.testing.assert_allclose(layers.conv_norm(conv, norm, x), expected, rtol=1e-5)
    assert not norm.statistics_are_fixed
