"""Attention, position encodings and dropout by hand."""

import numpy as np
import tensorflow as tf

from kdet.layers import DropoutMasks, FeatureLevels, MultiheadAttention, SinePositionEncoding
from kdet.layers.attention import DeformableAttention
from kdet.layers.dropout import dropout


def test_attention_does_not_see_padding():
    layer, x = MultiheadAttention(units=8, num_heads=2), tf.random.stateless_normal([1, 4, 8], [0, 1])
    valid = tf.constant([[True, True, True, False]])
    seen = layer(x, key_valid=valid)[:, :3]
    np.testing.assert_allclose(seen, layer(x[:, :3]), atol=1e-6)


def test_deformable_attention_of_one_value_is_that_value():
    layer = DeformableAttention(units=8, num_heads=2, num_levels=1, num_points=2)
    levels = FeatureLevels([(4, 4)], tf.ones([1, 16], tf.bool))
    query, value = tf.zeros([1, 3, 8]), tf.ones([1, 16, 8])
    # tiny boxes: all samples stay at the center of the map
    y = layer(query, value=value, references=tf.fill([1, 3, 1, 4], 0.5) * [1, 1, 0, 0], levels=levels)
    np.testing.assert_allclose(y, layer.output_proj(layer.value_proj(value))[:, :3], atol=1e-5)


def test_positions_are_counted_within_the_image():
    encode = SinePositionEncoding(units=4)
    valid = tf.constant([[[True, True, False], [True, True, False]]])
    both = encode(valid)[:, :, :2]
    np.testing.assert_allclose(both, encode(valid[:, :, :2]), atol=1e-6)
    np.testing.assert_allclose(both[0, 1, 1, 0], np.sin(2 * np.pi), atol=1e-4)  # the last row


def test_dropout_repeats_with_the_seed_and_keeps_the_mean():
    x = tf.ones([1000])
    first, again, other = (dropout(x, 0.5, DropoutMasks(tf.constant([0, k]))) for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other) and abs(float(tf.reduce_mean(first)) - 1.0) < 0.15
    assert dropout(x, 0.5, None) is x
