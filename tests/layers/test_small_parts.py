"""Parts of newer networks: padding by size, squeeze-and-excite, directions, dynamic ReLU, dilations."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.layers import (
    BatchNorm,
    Conv2D,
    DynamicReLU,
    InvertedResidual,
    NormedConv2D,
    NormedLinear,
    SameConv2D,
    SpreadConv2D,
    SqueezeExcite,
    conv_norm,
    divisible,
    inference,
)


def drawn(*shape):
    return tf.random.stateless_normal(shape, [3, 4])


@pytest.mark.parametrize("size", [7, 8])
def test_odd_zeros_stand_right_and_below(size):
    conv = SameConv2D(1, 3, stride=2, use_bias=False, padding=1)
    x = tf.ones([1, size, size, 1])
    conv(x)
    conv.kernel.assign(tf.ones([3, 3, 1, 1]))
    y = conv(x)[0, :, :, 0].numpy()
    assert y.shape == (4, 4)
    corners = (4.0, 4.0) if size % 2 else (9.0, 4.0)  # both sides have a zero, or the last alone
    assert (y[0, 0], y[3, 3]) == corners


def test_norms_are_folded_into_convolutions_that_pad_by_size():
    conv, norm, x = SameConv2D(4, 3, stride=2, groups=4, use_bias=False), BatchNorm(), drawn(1, 5, 6, 4)
    wanted = norm(conv(x))
    norm.moving_mean.assign([0.1, 0.2, 0.3, 0.4])
    norm.moving_variance.assign([1.0, 2.0, 3.0, 4.0])
    wanted = norm(conv(x))
    with inference():
        np.testing.assert_allclose(conv_norm(conv, norm, x), wanted, atol=1e-5)


def test_squeeze_and_excite_scales_channels():
    layer, x = SqueezeExcite(6, 2, "silu"), drawn(2, 3, 4, 6)
    factors = (layer(x) / x).numpy()
    np.testing.assert_allclose(factors, factors[:, :1, :1] * np.ones_like(factors), rtol=1e-4)
    assert (factors > 0).all() and (factors < 1).all()


def test_inverted_bottlenecks_have_a_shortcut_where_it_fits():
    same, other = InvertedResidual(4, 4, 8), InvertedResidual(4, 6, 4, stride=2)
    x = drawn(1, 4, 4, 4)
    same(x), other(x)
    assert same.has_shortcut and not other.has_shortcut and other.expand_conv is None
    same.linear_conv.bn.gamma.assign(tf.zeros([4]))
    np.testing.assert_array_equal(same(x), x)


@pytest.mark.parametrize(("channels", "wanted"), [(19.2, 24), (38.4, 40), (3, 8), (12, 16), (11, 16)])
def test_channels_are_divisible(channels, wanted):
    assert divisible(channels) == wanted


def test_normed_layers_compare_directions():
    linear, x = NormedLinear(3), drawn(4, 5)
    y = linear(x)
    w = linear.kernel.numpy()
    cosine = x.numpy() @ w / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(w, axis=0)
    np.testing.assert_allclose(y, 20 * cosine, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(linear(7 * x), y, rtol=1e-4, atol=1e-4)
    conv, pixels = NormedConv2D(3, 1, temperature=2.0), drawn(1, 2, 2, 5)
    conv(pixels)
    conv.kernel.assign(w[None, None])
    np.testing.assert_allclose(conv(pixels)[0, 0], linear(pixels[0, 0]).numpy() / 10, rtol=1e-4, atol=1e-4)


def test_a_vector_of_zeros_has_a_finite_gradient():
    linear, x = NormedLinear(3), tf.zeros([1, 5])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(linear(x))
    assert np.isfinite(tape.gradient(y, x)).all()


def test_dynamic_relu_is_the_larger_of_two_lines():
    layer, x = DynamicReLU(8), drawn(2, 3, 3, 8)
    numbers = layer.conv2(layer.conv1(tf.reduce_mean(x, [1, 2], keepdims=True))).numpy() - 0.5
    a, b, c, d = np.split(numbers, 4, -1)
    np.testing.assert_allclose(layer(x), np.maximum(x * (2 * a + 1) + b, x * 2 * c + d), atol=1e-5)


def test_branches_share_a_kernel_and_are_mixed_by_their_weights():
    plain = Conv2D(3, 3, stride=2, padding=1)
    spread, x = SpreadConv2D(Conv2D(3, 3, stride=2, padding=1), [(1, 1), (2, 2)]), drawn(1, 9, 8, 2)
    plain(x), spread(x)
    plain.kernel.assign(spread.op_layer.kernel)
    spread.branch_weights.assign([-3.0, 1.0])
    spread.op_layer.bias.assign([1.0, 2.0, 3.0])
    narrow = plain(x)
    plain.dilate((2, 2))
    assert plain.padding == (2, 2) and not plain.supports_jit
    wanted = 0.75 * narrow + 0.25 * plain(x) + [1.0, 2.0, 3.0]
    np.testing.assert_allclose(spread(x), wanted, atol=1e-5)
