"""Windows of maps, the bias of positions in them, and what is kept apart; patches; tables of positions."""

import numpy as np
import tensorflow as tf

from kdet.backbones.pvt import PositionTable
from kdet.layers import PatchEmbed, PatchMerging, ShiftedWindowAttention, WindowAttention, sizes_of
from kdet.layers.window_attention import map_of, relative_positions, windows_of


def drawn(*shape):
    return tf.random.stateless_normal(shape, [1, 2])


def test_windows_and_back():
    x = drawn(2, 4, 6, 5)
    windows = windows_of(x, 2)
    assert windows.shape == (12, 4, 5)
    np.testing.assert_array_equal(windows[1], tf.reshape(x[0, :2, 2:4], [4, 5]))  # row by row
    np.testing.assert_array_equal(map_of(windows, 2, 4, 6), x)


def test_relative_positions_count_rows_and_columns():
    rows = relative_positions(3)
    assert rows.shape == (9, 9) and rows.min() == 0 and rows.max() == 24
    assert (np.diag(rows) == 12).all()  # a pixel and itself: the middle of the table
    assert rows[0, 8] == 0 and rows[8, 0] == 24 and rows[0, 1] == 11


def test_rolled_maps_keep_opposite_sides_apart():
    attention = ShiftedWindowAttention(4, 1, window=4, shift=2)
    assert attention.regions(8).numpy().tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    regions = attention.regions(4)
    apart = attention.apart(3 * regions[:, None] + regions).numpy()
    assert apart.shape == (1, 16, 16) and set(np.unique(apart)) == {-100.0, 0.0}
    assert apart[0, 0, 1] == 0.0 and apart[0, 0, 2] == apart[0, 0, 15] == -100.0


def test_attention_sees_its_window_alone():
    attention = ShiftedWindowAttention(8, 2, window=4)
    x = drawn(1, 8, 8, 8)
    before = attention(x)
    moved = attention(tf.tensor_scatter_nd_add(x, [[0, 1, 1, 0]], [5.0]))
    changed = np.abs(moved - before).max(-1)[0] > 1e-6
    assert changed[:4, :4].all() and not changed[4:].any() and not changed[:, 4:].any()


def test_attention_is_the_softmax_of_scaled_products_and_biases():
    attention = WindowAttention(4, 2, window=2)
    x = drawn(3, 4, 4)
    attention(x)
    attention.relative_position_bias_table.assign(drawn(9, 2))
    query, key, value = np.split(attention.qkv(x).numpy().reshape(3, 4, 3, 2, 2), 3, 2)
    wanted = np.zeros((3, 4, 2, 2), np.float32)
    table = attention.relative_position_bias_table.numpy()[relative_positions(2)]  # [T, T, heads]
    for head in range(2):
        q, k, v = (part[:, :, 0, head] for part in (query, key, value))
        logits = q @ k.transpose(0, 2, 1) / np.sqrt(2.0) + table[..., head]
        wanted[:, :, head] = tf.nn.softmax(logits).numpy() @ v
    np.testing.assert_allclose(attention(x), attention.proj(wanted.reshape(3, 4, 4)), atol=1e-5)


def test_maps_of_any_size_in_one_graph():
    attention = ShiftedWindowAttention(8, 2, window=4, shift=2)
    attention(drawn(1, 4, 4, 8))
    graph = tf.function(attention, autograph=False, input_signature=[tf.TensorSpec([None, None, None, 8])])
    for shape in ((1, 5, 9, 8), (2, 4, 4, 8)):
        x = drawn(*shape)
        np.testing.assert_allclose(graph(x), attention(x), atol=1e-5)


def test_patches_are_merged_pixel_by_pixel():
    layer = PatchMerging(3)
    x = drawn(1, 3, 5, 2)
    y = layer(x)
    assert y.shape == (1, 2, 3, 3)
    corner = layer.norm(tf.reshape(x[:, :2, :2], [1, 8]))
    np.testing.assert_allclose(
        y[0, 0, 0], tf.linalg.matvec(layer.reduction.kernel, corner[0], True), atol=1e-5
    )
    edge = tf.concat([x[0, 2, 4], tf.zeros([6])], 0)
    wanted = tf.linalg.matvec(layer.reduction.kernel, layer.norm(edge[None])[0], True)
    np.testing.assert_allclose(y[0, 1, 2], wanted, atol=1e-5)


def test_patches_are_padded_right_and_below_or_as_told():
    assert PatchEmbed(4, 4, 4)(drawn(1, 9, 4, 3)).shape == (1, 3, 1, 4)
    assert PatchEmbed(4, 2, 2, padding=0)(drawn(1, 5, 4, 3)).shape == (1, 2, 2, 4)


def test_tables_of_positions_are_resized():
    layer = PositionTable(2, 2)
    assert (layer(tf.zeros([1, 2, 2, 2])).numpy() != 0).any()
    layer.pos_embed.assign(tf.reshape(tf.constant([0.0, 1.0, 2.0, 3.0]), [1, 4, 1]) * tf.ones([1, 4, 2]))
    np.testing.assert_allclose(layer(tf.zeros([1, 4, 2, 2]))[0, :, 0, 0], [0.0, 0.5, 1.5, 2.0], atol=1e-6)


def test_sizes_are_static_where_they_are_known():
    @tf.function(input_signature=[tf.TensorSpec([None, 3])])
    def known(x):
        batch, width = sizes_of(x)
        assert width == 3 and tf.is_tensor(batch)
        return batch

    assert int(known(tf.zeros([5, 3]))) == 5
