"""Convolutions that rework their filters or their map."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.layers import CarafeUpsample, ContextBlock, GeneralizedAttention, StandardisedConv2D, make_conv


@pytest.fixture
def x():
    return tf.random.stateless_normal([2, 6, 8, 4], [0, 1])


def test_standardised_filters_do_not_feel_scale_and_shift(x):
    conv = StandardisedConv2D(3, 3, padding=1, use_bias=False)
    conv(x)
    conv.kernel.assign(tf.random.stateless_normal(conv.kernel.shape, [0, 2]))
    before, deviation = conv(x), conv.kernel.numpy().reshape(-1, 3).std(0, ddof=1)
    conv.kernel.assign(5.0 * conv.kernel + 2.0)
    # but for the epsilon beside the deviation, which weighs five times less now
    expected = before * (5.0 * (deviation + conv.epsilon) / (5.0 * deviation + conv.epsilon))
    np.testing.assert_allclose(conv(x), expected, atol=1e-4)
    filters = conv.effective_kernel().numpy().reshape(-1, 3)
    np.testing.assert_allclose(filters.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(filters.std(0, ddof=1), 1, atol=1e-3)


def test_switchable_convolution_starts_as_a_plain_one(x):
    conv = make_conv("sac", 3, 3, padding=1, use_bias=False)
    y = conv(x)
    plain = tf.nn.conv2d(x, conv.effective_kernel(), 1, "SAME")
    np.testing.assert_allclose(y, plain, atol=1e-5)


def test_trident_convolution_dilates_every_part_of_the_batch_its_own_way(x):
    conv = make_conv("trident", 3, 3, use_bias=False, dilations=(1, 2), test_branch=1)
    trained, tested = conv(x, training=True), conv(x, training=False)
    np.testing.assert_allclose(trained[1], tested[1], atol=1e-6)
    np.testing.assert_allclose(trained[0], tf.nn.conv2d(x[:1], conv.kernel, 1, "SAME")[0], atol=1e-5)
    assert np.abs(trained[0] - tested[0]).max() > 1e-3


def test_blocks_in_bottlenecks_start_as_the_identity(x):
    for block in (ContextBlock(ratio=0.5), GeneralizedAttention(num_heads=2, terms="1111")):
        np.testing.assert_allclose(block(x), x, atol=1e-6)


def test_attention_to_content_alone_is_the_same_everywhere(x):
    block = GeneralizedAttention(num_heads=2, terms="0010")
    block(x)
    block.gamma.assign([1.0])
    added = (block(x) - x).numpy()
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1, :1], added.shape), atol=1e-5)
    with pytest.raises(ValueError, match="four flags"):
        GeneralizedAttention(terms="11")


def test_carafe_keeps_a_constant_map_inside():
    y = CarafeUpsample(scale=2, kernel_size=3, compressed_filters=4)(tf.ones([1, 6, 6, 4]))
    assert y.shape == (1, 12, 12, 4)
    np.testing.assert_allclose(y[:, 2:-2, 2:-2], 1.0, atol=1e-6)
