"""Ops of TensorFlow as ONNX: the same numbers in ONNX Runtime, with sizes known and open."""

import numpy as np
import pytest
import tensorflow as tf

from kdet.export.nodes import Converter, Unsupported
from kdet.export.onnx import Runner

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")

random = np.random.default_rng(0)
MAPS = random.normal(size=(2, 6, 8, 4)).astype(np.float32)
ROWS = random.normal(size=(2, 5, 3)).astype(np.float32)
WHOLE = random.integers(-9, 9, (3, 4)).astype(np.int32)
KERNEL = random.normal(size=(3, 3, 4, 6)).astype(np.float32)
DEPTHWISE = random.normal(size=(3, 3, 4, 2)).astype(np.float32)

NORM = dict(zip(("scale", "offset", "mean", "variance"), random.uniform(0.5, 2.0, (4, 4)).astype(np.float32)))


def convolved(x):
    """Maps that lie as ONNX has them."""
    return tf.nn.conv2d(x, KERNEL[:1, :1, :, :4], 1, "VALID")


def both(function, *arrays, open_sizes=False):
    """Outputs of a function of tensors in TensorFlow and in ONNX Runtime, and the kinds of nodes there."""
    specs = [
        tf.TensorSpec([None] * array.ndim if open_sizes else array.shape, array.dtype, name=f"x{k}")
        for k, array in enumerate(arrays)
    ]

    def named(*tensors):
        found = function(*tensors)
        return {f"y{k}": y for k, y in enumerate(found if isinstance(found, (list, tuple)) else [found])}

    traced = tf.function(named, input_signature=specs, autograph=False).get_concrete_function()
    model = Converter().model(traced, "test", [spec.name for spec in specs], {})
    onnx.checker.check_model(model)
    session = Runner(model).session
    got = session.run(None, {spec.name: array for spec, array in zip(specs, arrays)})
    wanted = [value.numpy() for _, value in sorted(traced(*map(tf.constant, arrays)).items())]
    return wanted, got, [node.op_type for node in model.graph.node]


def assert_same(function, *arrays, open_sizes=False):
    wanted, got, kinds = both(function, *arrays, open_sizes=open_sizes)
    for ours, theirs in zip(wanted, got, strict=True):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5)
    return kinds


ELEMENTWISE = {
    "unary": lambda x: [
        tf.math.rsqrt(tf.abs(x) + 1.0),
        tf.square(x),
        tf.math.log1p(tf.abs(x)),
        tf.round(x * 2),
    ],
    "activations": lambda x: [tf.nn.relu6(x * 4), tf.nn.leaky_relu(x, 0.1), tf.nn.elu(x), tf.nn.softplus(x)],
    "exponential": lambda x: [tf.math.expm1(x), tf.sigmoid(x), tf.tanh(x), tf.math.erf(x), tf.math.sign(x)],
    "numbers": lambda x: [tf.math.is_finite(x / 0.0), tf.math.is_nan(x / x), tf.math.is_inf(x / 0.0)],
    "clipped": lambda x: [tf.clip_by_value(x, -0.5, 0.5), tf.math.squared_difference(x, 1.0)],
    "quotient": lambda x: [x // 0.3, x % 0.3, tf.math.divide_no_nan(x, tf.nn.relu(x))],
    "chosen": lambda x: [tf.where(x > 0, x, -1.0), tf.where(x > 0, x > 1, x < -1), x != 0.0],
    "sum": lambda x: tf.add_n([x, x, 1.0 + x]),
    "cast": lambda x: [
        tf.cast(x * 9, tf.int32),
        tf.cast(x > 0, tf.float32),
        tf.zeros_like(x),
        tf.ones_like(x),
    ],
}


@pytest.mark.parametrize("open_sizes", [False, True])
@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_elements(kind, open_sizes):
    assert_same(ELEMENTWISE[kind], ROWS, open_sizes=open_sizes)


def test_whole_numbers_are_divided_downwards():
    assert_same(
        lambda x: [x // 4, x % 4, tf.math.floordiv(x, -4), tf.math.floormod(x, -4), -x, tf.maximum(x, 2)],
        WHOLE,
    )
    assert_same(
        lambda x: [tf.truncatediv(x, 4), x * x, tf.pow(x, 2), x == 3, tf.math.logical_xor(x > 0, x > 2)],
        WHOLE,
    )


REDUCING = {
    "rows": lambda x: [tf.reduce_sum(x, 1), tf.reduce_max(x, [0, 2], keepdims=True), tf.reduce_prod(x)],
    "truths": lambda x: [tf.reduce_all(x > -9, 1), tf.reduce_any(x > 1, -1, keepdims=True)],
    "places": lambda x: [tf.argmax(x, 1), tf.argmin(x, -1, output_type=tf.int32)],
    "softmax": lambda x: [tf.nn.softmax(x), tf.nn.log_softmax(x)],
    "running": lambda x: [tf.cumsum(x, 1), tf.cumsum(x, -1, exclusive=True), tf.cumsum(x, 1, reverse=True)],
    "best": lambda x: list(tf.math.top_k(x, 2)),
    "sorted": lambda x: [tf.argsort(x, axis=-1, stable=True), tf.sort(x, axis=1)],
    "products": lambda x: [tf.matmul(x, x, transpose_b=True), tf.matmul(x, x, transpose_a=True)],
    "einsum": lambda x: tf.einsum("bij,bkj->bik", x, x),
}


@pytest.mark.parametrize("open_sizes", [False, True])
@pytest.mark.parametrize("kind", REDUCING)
def test_along_axes(kind, open_sizes):
    assert_same(REDUCING[kind], ROWS, open_sizes=open_sizes)


SHAPING = {
    "reshaped": lambda x: [tf.reshape(x, [-1, 3]), tf.reshape(x, tf.stack([tf.shape(x)[0], -1]))],
    "axes": lambda x: [x[:, None], x[..., None, :, None], tf.squeeze(x[:, :1], 1)],
    "order": lambda x: tf.transpose(x, [2, 0, 1]),
    "joined": lambda x: [tf.concat([x, x[:, :2]], 1), tf.stack([x, x], 1), tf.tile(x, [1, 2, 1])],
    "parted": lambda x: [*tf.split(x, 3, -1), *tf.unstack(x, 3, -1), *tf.split(x, [1, 2], 2)],
    "sizes": lambda x: [tf.shape(x), tf.size(x), tf.range(tf.shape(x)[1]) * 2, tf.fill(tf.shape(x)[:2], 7.0)],
    "spread": lambda x: tf.broadcast_to(x[:, :1], tf.shape(x)),
    "padded": lambda x: [tf.pad(x, [[0, 0], [1, 2], [0, 0]], constant_values=5.0), tf.pad(x, [[1, 0]] * 3)],
    "mirrored": lambda x: tf.pad(x, [[0, 0], [1, 1], [0, 0]], "REFLECT"),
    "turned": lambda x: [x[:, ::-1], tf.reverse(x, [0, 2])],
}  # fmt: skip


@pytest.mark.parametrize("open_sizes", [False, True])
@pytest.mark.parametrize("kind", SHAPING)
def test_shapes(kind, open_sizes):
    assert_same(SHAPING[kind], ROWS, open_sizes=open_sizes)


def test_rolled_and_inverted():
    assert_same(lambda x: tf.roll(x, [1, -2], [1, 2]), ROWS)
    assert_same(lambda x: tf.math.invert_permutation(tf.argsort(x[0, :, 0])), ROWS)


PLACES = np.int32([[0, 3, 3], [4, 1, 0]])
INDEXING = {
    "slices": lambda x, i: [x[:, -2:], x[..., 0], x[1, ::2, :], x[:, 4:1:-1], x[-1], x[:, 1:2, None]],
    "slices of computed places": lambda x, i: [x[:, i[0, 1] :], x[:, i[1, 1]]],
    "slice from a computed place": lambda x, i: tf.slice(x, [0, i[1, 1], 0], [2, 2, -1]),
    "gather": lambda x, i: [tf.gather(x, i, axis=1), tf.gather(x, i[0] // 4), tf.gather(x, [2, 0], axis=-1)],
    "gather per image": lambda x, i: tf.gather(x, i, batch_dims=1),
    "gather along the last axis": lambda x, i: tf.gather(tf.transpose(x, [0, 2, 1]), i, axis=2, batch_dims=1),
    "gather of points": lambda x, i: tf.gather_nd(x, tf.stack([i // 4, i], -1)),
    "gather of one image": lambda x, i: tf.gather(x[:1], i[:1], batch_dims=1),
    "scatter": lambda x, i: tf.scatter_nd(i[0][:, None], x[0, :3], [5, 3]),
    "scatter into": lambda x, i: tf.tensor_scatter_nd_update(x[0], [[1], [3]], x[1, :2]),
    "add into": lambda x, i: [tf.tensor_scatter_nd_add(x[0], i[0][:, None], x[1, :3])],
    "segments": lambda x, i: tf.math.unsorted_segment_sum(x[0, :3], i[0] - 1, 4),
    "best of segments": lambda x, i: tf.math.unsorted_segment_max(x[0, :3], i[0], 4),
    "nonzero": lambda x, i: tf.where(x > 0),
    "one hot": lambda x, i: [tf.one_hot(i, 5), tf.one_hot(i, 5, on_value=True, off_value=False, axis=1)],
}  # fmt: skip


# a single image is known by its size alone
@pytest.mark.parametrize(
    ("kind", "open_sizes"),
    [(kind, False) for kind in INDEXING]
    + [(kind, True) for kind in INDEXING if kind != "gather of one image"],
)
def test_places(kind, open_sizes):
    assert_same(INDEXING[kind], ROWS, PLACES, open_sizes=open_sizes)


SPATIAL = {
    "same": lambda x: tf.nn.conv2d(x, KERNEL, 1, "SAME"),
    "strides": lambda x: tf.nn.conv2d(x, KERNEL, 2, "VALID"),
    "padding": lambda x: tf.nn.conv2d(x, KERNEL, 2, [[0, 0], [1, 1], [2, 1], [0, 0]]),
    "dilation": lambda x: tf.nn.conv2d(x, KERNEL, 1, "SAME", dilations=2),
    "groups": lambda x: tf.nn.conv2d(x, KERNEL[:, :, :2], 1, "SAME"),
    "depthwise": lambda x: tf.nn.depthwise_conv2d(x, DEPTHWISE, [1, 1, 1, 1], "SAME"),
    "computed kernel": lambda x: tf.nn.conv2d(x, KERNEL * tf.reduce_max(x), 1, "VALID"),
    "max": lambda x: tf.nn.max_pool2d(x, 3, 2, "VALID"),
    "max of padded": lambda x: tf.nn.max_pool2d(x, 3, 1, "SAME"),
    "mean": lambda x: tf.nn.avg_pool2d(x, 2, 2, "VALID"),
    "bilinear": lambda x: tf.image.resize(x, (9, 5)),
    "corners": lambda x: tf.compat.v1.image.resize_bilinear(x, (9, 5), align_corners=True),
    "nearest": lambda x: tf.image.resize(x, (9, 5), "nearest"),
    "nearest by floor": lambda x: tf.raw_ops.ResizeNearestNeighbor(images=x, size=(12, 16)),
    "norm": lambda x: [tf.raw_ops.FusedBatchNormV3(x=x, is_training=False, epsilon=0.1, **NORM).y],
    "depth to space": lambda x: [tf.nn.depth_to_space(x, 2), tf.nn.space_to_depth(x, 2)],
}


@pytest.mark.parametrize("kind", SPATIAL)
def test_maps(kind):
    assert_same(SPATIAL[kind], MAPS)


def test_strides_over_padding_that_depends_on_the_size():
    for size in (6, 7, 8):
        assert_same(lambda x: tf.nn.conv2d(x, KERNEL, 2, "SAME"), MAPS[:, :size, :size])
        assert_same(lambda x: tf.nn.max_pool2d(x, 3, 2, "SAME"), MAPS[:, :size, :size])


@pytest.mark.parametrize("kind", ["same", "strides", "padding", "max of padded", "bilinear", "nearest"])
def test_maps_of_open_size(kind):
    def known_channels(x):
        return SPATIAL[kind](tf.ensure_shape(x, [None, None, None, 4]))

    assert_same(known_channels, MAPS, open_sizes=True)


def test_dilated_depthwise_convolution():
    assert_same(lambda x: tf.nn.depthwise_conv2d(x, DEPTHWISE, [1] * 4, "VALID", dilations=[2, 2]), MAPS)


@pytest.mark.parametrize(
    ("padding", "strides", "size"), [("SAME", 2, (12, 16)), ("VALID", 2, (13, 17)), ("SAME", 1, (6, 8))]
)
def test_transposed_convolution(padding, strides, size):
    kernel = np.transpose(KERNEL, (0, 1, 3, 2))  # [kh,kw,out,in]
    assert_same(lambda x: tf.nn.conv2d_transpose(x, kernel, [2, *size, 6], strides, padding), MAPS)


STAY = {
    "relu": lambda x: tf.nn.relu(x),
    "bias": lambda x: x + np.float32([1, 2, 3, 4]),
    "sum": lambda x: x + convolved(x),
    "scale": lambda x: x * np.ones([1, 6, 8, 4], np.float32),
    "mean": lambda x: x - tf.reduce_mean(x, [1, 2], keepdims=True),
    "concat": lambda x: tf.concat([x, tf.nn.relu(x)], -1),
    "split": lambda x: tf.split(x, 2, -1),
    "padded": lambda x: tf.pad(x, [[0, 0], [1, 0], [2, 0], [0, 0]]),
    "cut": lambda x: x[:, 1:, ::2],
    "turned": lambda x: x[..., ::-1],
    "softmax": lambda x: tf.nn.softmax(x),
    "rolled": lambda x: tf.roll(x, 1, 2),
    "chosen": lambda x: tf.gather(x, [2, 0], axis=-1),
    "tiled": lambda x: tf.tile(x, [1, 2, 1, 1]),
}


@pytest.mark.parametrize("kind", STAY)
def test_between_convolutions_nothing_is_transposed(kind):
    def between(x):
        found = STAY[kind](convolved(x))
        found = found if isinstance(found, (list, tuple)) else [found]
        return [tf.nn.conv2d(y, np.ones([1, 1, y.shape[-1], 2], np.float32), 1, "VALID") for y in found]

    kinds = assert_same(between, MAPS)
    assert kinds.count("Transpose") <= 2 + (kind == "split")


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.reduce_mean(convolved(x), [1, 2]),
        lambda x: tf.reduce_sum(convolved(x), [1, 3]),
        lambda x: tf.transpose(convolved(x), [0, 3, 1, 2]),
        lambda x: tf.transpose(convolved(x), [0, 2, 1, 3]),
        lambda x: convolved(x)[0, :, 1],
        lambda x: tf.reshape(convolved(x), [2, -1]),
        lambda x: convolved(x) + x[:, :1, :1, 0][..., None],
        lambda x: convolved(x)[:, None],
    ],
)
def test_maps_that_become_something_else(function):
    assert_same(function, MAPS)


def test_what_depends_on_constants_alone_is_computed_once():
    kinds = assert_same(lambda x: x + tf.cast(tf.range(tf.shape(x)[1] * 3), tf.float32)[:3] ** 2, ROWS)
    assert kinds == ["Add", "Identity"]


def test_loops_of_known_length_are_unrolled():
    kinds = assert_same(lambda x: tf.map_fn(lambda row: row * 2.0, x), ROWS)
    assert "Loop" not in kinds and kinds.count("Mul") == 2


def test_loops_of_unknown_length():
    def doubled(x):
        limit = tf.reduce_max(x) * 100.0
        return tf.while_loop(
            lambda k, y, _: tf.reduce_sum(tf.abs(y)) < limit,
            lambda k, y, z: (k + 1, 2.0 * y + z, z),
            (0, x, x),
        )

    assert "Loop" in assert_same(doubled, ROWS)


def test_shapes_that_grow_in_a_loop():
    def grown(x):
        invariants = (tf.TensorShape([]), tf.TensorShape([2, None, 3]))
        limit = tf.cast(tf.reduce_max(x) * 0.0, tf.int32) + 3
        return tf.while_loop(
            lambda k, y: k < limit, lambda k, y: (k + 1, tf.concat([y, y[:, :1]], 1)), (0, x), invariants
        )

    assert "Loop" in assert_same(grown, ROWS)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_branches(sign):
    def either(x):
        return tf.cond(tf.reduce_sum(x) > 0.0, lambda: x * 2.0, lambda: x[:, ::-1])

    assert "If" in assert_same(either, sign * np.abs(ROWS))
    assert "If" not in assert_same(lambda x: tf.cond(tf.shape(x)[0] == 2, lambda: x * 2.0, lambda: x), ROWS)


def test_variables_are_constants():
    variable = tf.Variable([1.0, 2.0, 3.0])
    assert assert_same(lambda x: x * tf.math.rsqrt(variable + 1.0), ROWS) == ["Mul", "Identity"]


def test_large_repetitions_are_made_at_run_time():
    def spread(x):
        return x[0, 0, 0] + tf.zeros([3000, 1000])

    wanted, got, kinds = both(spread, ROWS)
    np.testing.assert_array_equal(wanted[0], got[0])
    assert "ConstantOfShape" in kinds


def test_half_of_the_bytes():
    def dense(x):
        return {"y": tf.matmul(x, np.ones([3, 4000], np.float32) / 3.0)}

    traced = tf.function(dense, input_signature=[tf.TensorSpec(ROWS.shape, name="x")]).get_concrete_function()
    models = [Converter(half).model(traced, "test", ["x"], {}) for half in (False, True)]
    assert models[1].ByteSize() < 0.51 * models[0].ByteSize() + 500
    found = [Runner(model).session.run(None, {"x": ROWS})[0] for model in models]
    np.testing.assert_allclose(*found, rtol=2e-3, atol=2e-3)
    assert (found[0] != found[1]).any()


def test_what_has_no_translation_is_named():
    with pytest.raises(Unsupported, match=r"Igamma \(neck/Igamma\): no translation"):
        with tf.name_scope("outer"):
            both(lambda x: in_scope(lambda: tf.math.igamma(x, x)), ROWS)


def in_scope(function):
    with tf.name_scope("neck"):
        return function()
