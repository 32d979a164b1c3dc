"""Detectors as TFLite files, run under LiteRT beside the model."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet import ops
from kdet.export import ExportError, Program, compared, flatbuffer, litert, network_outputs, quantize, tflite
from kdet.layers import GeneralizedAttention

SIZE = (128, 160)


@pytest.fixture(scope="module")
def exported(generated):
    """A thin RetinaNet: model, traced function, images, float32 file."""
    thin = {"neck.out_channels": 64, "bbox_head.filters": 64, "bbox_head.stacked_convs": 2}
    model = generated("retinanet_r18_fpn_1x", {f"model.{key}": value for key, value in thin.items()})
    images = [compared.noise_images(model, *SIZE, seed=seed) for seed in range(3)]
    traced = Program(model).on_canvas(*SIZE)
    return model, traced, images, tflite.convert(traced, model.name, select_tf_ops=False)[0]


def one_op(function, *others):
    """``ConcreteFunction`` of images (and tensors like ``others``) that does next to nothing."""
    images = tf.TensorSpec([1, 8, 8, 3], tf.uint8, name="images")
    return tf.function(function, input_signature=[images, *others]).get_concrete_function()


@pytest.mark.parametrize("dtype, size", [("fp32", 1.0), ("fp16", 0.52), ("dynamic", 0.3), ("int8", 0.3)])
def test_file_finds_what_the_model_finds(exported, dtype, size):
    model, traced, images, content = exported
    smaller = tflite.with_dtype(content, dtype, images)
    assert len(smaller) < size * len(content) + 1
    bound = compared.Bound(1e-3, 1e-3, 1e-3, 0.0) if dtype == "fp32" else tflite.BOUNDS[dtype]
    found = litert.check(model.name, smaller, traced, images[:1], bound)
    assert found.found > 20


@pytest.mark.parametrize("dtype", tflite.BOUNDS)
def test_networks_are_compared_where_nothing_is_found(exported, dtype):
    model, traced, images, content = exported
    smaller = tflite.with_dtype(content, dtype, images[:1])
    apart = network_outputs.check(
        model.name, content, smaller, traced, tflite.BOUNDS[dtype].network, images[0]
    )
    assert (apart < 1e-5) == (dtype == "fp32")


def without_kernels(content):
    model = flatbuffer.read(content)
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if flatbuffer.op_name(model, operator) == "CONV_2D":
            kernel = model.buffers[graph.tensors[operator.inputs[1]].buffer]
            kernel.data = np.zeros_like(kernel.data)
    return flatbuffer.write(model)


def test_a_file_that_finds_nothing_is_no_proof(exported, tmp_path, monkeypatch):
    model = exported[0]
    convert = tflite.convert
    monkeypatch.setattr(model.bbox_head.postprocess, "score_threshold", 2.0)
    monkeypatch.setattr(tflite, "convert", lambda *args: (without_kernels(convert(*args)[0]), []))
    with pytest.raises(ExportError, match="retina_head.* differs from the model's by .*allowed: 0.10%"):
        model.export(tmp_path / "model.tflite", "tflite", input_size="128x160")
    assert not list(tmp_path.iterdir())


def test_int8_ends_where_decoding_starts(exported):
    _, _, images, content = exported
    graph = flatbuffer.read(tflite.with_dtype(content, "int8", images[:1]))
    main = graph.subgraphs[0]
    integer = {i for i, tensor in enumerate(main.tensors) if tensor.type == flatbuffer.schema.TensorType.INT8}
    used = {"CONV_2D": [], "EXP": [], "TOPK_V2": [], "GATHER": []}
    for operator in main.operators:
        used.setdefault(flatbuffer.op_name(graph, operator), []).append(operator.outputs[0] in integer)
    assert len(used["CONV_2D"]) > 20 and all(used["CONV_2D"])
    assert used["EXP"] and not any(used["EXP"] + used["TOPK_V2"] + used["GATHER"])


def test_export_of_a_detector(exported, tmp_path):
    model, traced, images, content = exported
    path = tmp_path / "sub" / "model.tflite"
    given = [batch[0] for batch in images]
    written = model.export(path, format="tflite", input_size=SIZE, dtype="int8", representative=given)
    assert written == path and path.stat().st_size < 0.3 * len(content)
    got = litert.Runner(path.read_bytes())(images[0])
    wanted = traced(tf.constant(images[0]))
    assert {k: v.shape for k, v in got.items()} == {k: tuple(v.shape) for k, v in wanted.items()}
    found = compared.difference({k: v.numpy() for k, v in wanted.items()}, got, tflite.BOUNDS["int8"])
    assert found.lost < 0.5 * found.found


def test_int8_leaves_a_second_stage_in_float():
    random = np.random.default_rng(0)
    kernel, dense = random.normal(size=(3, 3, 3, 32)), random.normal(size=(32, 16))

    def two_stages(images):
        x = tf.nn.conv2d(tf.cast(images, tf.float32), np.float32(kernel), 1, "SAME")
        rows = tf.reshape(x, [64, 32])
        best = tf.math.top_k(tf.reduce_max(rows, 1), 4).indices
        return {"scores": tf.gather(rows, best) @ np.float32(dense)}

    traced = one_op(two_stages)
    content = tflite.convert(traced, "model")[0]
    graph = flatbuffer.read(content)
    members = quantize.find_network(graph).members
    names = {flatbuffer.op_name(graph, graph.subgraphs[0].operators[i]) for i in members}
    assert "CONV_2D" in names and not names & {"TOPK_V2", "GATHER", "FULLY_CONNECTED", "BATCH_MATMUL"}
    image = random.integers(0, 255, (1, 8, 8, 3)).astype(np.uint8)
    got = litert.Runner(quantize.to_int8(content, [image]))(image)["scores"]
    wanted = traced(tf.constant(image))["scores"].numpy()
    assert 0.0 < np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()


def test_int8_leaves_given_boxes_and_what_they_touch_in_float():
    random = np.random.default_rng(0)
    kernel, dense = random.normal(size=(3, 3, 3, 32)), random.normal(size=(36, 16))

    def second_stage(images, proposals):
        maps = tf.nn.conv2d(tf.cast(images, tf.float32), np.float32(kernel), 1, "SAME")
        seen = tf.repeat(tf.reduce_mean(maps, (1, 2)), 5, axis=0)
        return {"scores": tf.concat([seen, proposals[0]], 1) @ np.float32(dense)}

    boxes = tf.TensorSpec([1, 5, 4], tf.float32, name="proposals")
    content = tflite.convert(one_op(second_stage, boxes), "model")[0]
    graph = flatbuffer.read(content)
    members = quantize.find_network(graph).members
    assert [flatbuffer.op_name(graph, graph.subgraphs[0].operators[i]) for i in members][-1] == "CONV_2D"
    image = random.integers(0, 255, (1, 8, 8, 3)).astype(np.uint8)
    run = litert.Runner(quantize.to_int8(content, [image]))
    first, second = random.uniform(0, 1e4, (2, 1, 5, 4)).astype(np.float32)
    moved = run(image, proposals=first)["scores"] - run(image, proposals=second)["scores"]
    # float32 sums of some 1e4 round by less than 0.1; a step of eight bits over such boxes is 40
    np.testing.assert_allclose(moved, ((first - second) @ dense[32:])[0], rtol=0, atol=0.1)


def deformable_convolution():
    kernel = tf.random.stateless_normal([3, 3, 32, 32], [0, 0])
    return lambda maps: ops.deform_conv2d(maps, kernel, maps[..., :18], padding=1)


def deformable_attention():
    def attend(maps):
        places = tf.reshape(tf.sigmoid(maps), [1, 64, 4, 1, 4, 2])
        weights = tf.nn.softmax(tf.reshape(maps[..., :16], [1, 64, 4, 1, 4]))
        return ops.ms_deform_attn(tf.reshape(maps, [1, 64, 4, 8]), [(8, 8)], places, weights)

    return attend


def attention_by_position():
    layer = GeneralizedAttention(num_heads=4, terms="1111")
    layer(tf.zeros([1, 8, 8, 32]))
    layer.gamma.assign([1.0])
    return layer


@pytest.mark.parametrize("make", [deformable_convolution, deformable_attention, attention_by_position])
def test_int8_around_layers_of_many_dimensions(make):
    random = np.random.default_rng(0)
    kernel, dense = random.normal(size=(3, 3, 3, 32)) / 500, random.normal(size=(32, 16))
    layer = make()

    def network(images):
        maps = tf.nn.conv2d(tf.cast(images, tf.float32), np.float32(kernel), 1, "SAME")
        with ops.use("portable"):
            return {"scores": tf.reshape(layer(maps), [64, 32]) @ np.float32(dense)}

    traced = one_op(network)
    image = random.integers(0, 255, (1, 8, 8, 3)).astype(np.uint8)
    content = quantize.to_int8(tflite.convert(traced, "model")[0], [image])
    got, wanted = litert.Runner(content)(image)["scores"], traced(tf.constant(image))["scores"].numpy()
    assert 0.0 < np.abs(got - wanted).max() < 0.1 * np.abs(wanted).max()


def test_int8_names_the_operator_that_cannot_be_measured():
    random = np.random.default_rng(0)
    kernel, dense = random.normal(size=(3, 3, 3, 32)), random.normal(size=(16, 32))

    def network(images):
        maps = tf.nn.conv2d(tf.cast(images, tf.float32), np.float32(kernel), 1, "SAME")
        with tf.name_scope("neck"):
            half = tf.reshape(maps, [1, 2, 4, 2, 4, 32])[..., ::2]
        return {"scores": tf.reshape(half, [64, 16]) @ np.float32(dense)}

    content = tflite.convert(one_op(network), "model")[0]
    # TensorFlow 2.20 leaves the operator to its own kernel
    kind = r"(STRIDED_SLICE|FlexStridedSlice)"
    message = rf"(?s)int8 fails at {kind} \(neck/strided_slice1?\): .*dtype='dynamic', or 'fp16'"
    with pytest.raises(ExportError, match=message):
        quantize.to_int8(content, [np.zeros((1, 8, 8, 3), np.uint8)])


def test_nothing_to_quantise():
    content = tflite.convert(one_op(lambda images: {"scores": tf.cast(images, tf.float32) * 2.0}), "model")[0]
    with pytest.raises(ExportError, match="no convolution"):
        quantize.to_int8(content, [np.zeros((1, 8, 8, 3), np.uint8)])


def test_boxes_without_area_are_chosen_once():
    boxes = tf.constant([[[5.0, 8, 9, 8], [1, 1, 4, 4], [1, 1, 4, 5], [5, 8, 9, 8]]])
    scores = tf.constant([[0.9, 0.8, 0.7, 0.6]])

    def keep(images):
        indices, count = ops.nms(boxes, scores, iou_threshold=0.5, max_output=8, implementation="portable")
        return {"indices": indices, "count": count + 0 * tf.cast(images[0, 0, 0, :1], tf.int32)}

    traced = one_op(keep)
    image = np.zeros((1, 8, 8, 3), np.uint8)
    got = litert.Runner(tflite.convert(traced, "nms")[0])(image)
    assert got["count"] == 3 and got["indices"][0, :3].tolist() == [0, 1, 3]
    assert traced(tf.constant(image))["indices"].numpy()[0].tolist() == [0, 1, 3, 0, 0, 0, 0, 0]


def test_ops_that_tflite_lacks_are_named_with_their_layer():
    class Product(keras.layers.Layer):
        def call(self, x):
            return tf.math.cumprod(tf.cast(x, tf.float32), 1)

    layer = Product(name="mule")
    traced = one_op(lambda images: {"scores": layer(images)})
    with pytest.raises(ExportError, match=r"no Cumprod \(mule_1/Cumprod\).*select_tf_ops=True"):
        tflite.convert(traced, "model", select_tf_ops=False)
    assert tflite.convert(traced, "model")[1] == ["Cumprod"]


def test_ops_that_no_runtime_has_are_named():
    traced = one_op(lambda images: {"scores": tf.math.igamma(tf.cast(images, tf.float32) + 1.0, 2.0)})
    with pytest.raises(ExportError, match="no Igamma, nor can.*SavedModel"):
        tflite.convert(traced, "model")


def test_nan_is_refused():
    def poisoned(images):
        value = tf.cast(tf.reduce_sum(tf.cast(images, tf.int32)), tf.float32)
        return {
            "boxes": tf.zeros([1, 1, 4]),
            "scores": tf.where(value / value > 0.0, [[0.5]], [[0.0]])  # nan where the image is black
            + tf.where(value >= 0.0, 0.0, float("nan")),  # a constant that is never taken does no harm
            "labels": tf.zeros([1, 1], tf.int32),
            "num_detections": tf.zeros([1], tf.int32),
        }

    traced = one_op(poisoned)
    content = tflite.convert(traced, "model")[0]
    black = np.zeros((1, 8, 8, 3), np.uint8)
    litert.check("model", content, traced, [black + 1], tflite.BOUNDS["fp32"])
    with pytest.raises(ExportError, match="NaN"):
        litert.check("model", content, traced, [black], tflite.BOUNDS["fp32"])


def test_difference_counts_what_has_no_partner():
    def side(boxes, scores, labels):
        return {
            "boxes": np.float32([boxes]),
            "scores": np.float32([scores]),
            "labels": np.int32([labels]),
            "num_detections": np.int32([len(boxes)]),
        }

    a, b = [0, 0, 50, 50], [10, 10, 40, 30]
    ours = side([a, b], [0.9, 0.8], [0, 1])
    theirs = side([b, [0, 0, 50, 50.5]], [0.8, 0.9], [1, 0])
    found = compared.difference(ours, theirs, compared.Bound(1.0, 0.01, 0.1, 0.0))
    assert (found.found, found.lost, found.box) == (2, 0, 0.5)
    found = compared.difference(
        ours, side([a, a, b], [0.9, 0.9, 0.7], [0, 1, 1]), compared.Bound(1.0, 0.01, 0.1, 0.0)
    )
    assert (found.found, found.lost) == (2, 2)


def test_wrong_options(exported, tmp_path):
    model = exported[0]
    for options, message in (
        ({"dtype": "fp8"}, "fp32.*'fp8'"),
        ({"dtype": "bf16"}, "not 'bf16'. Weights of 16 bits are fp16; a SavedModel computes in bf16"),
        ({"dtype": "int8"}, "representative=.*dynamic"),
        ({"input_size": "dynamic"}, "canvas is fixed in the file.*'dynamic'"),
        ({"input_size": "buckets"}, "canvas is fixed in the file.*'buckets'"),
        ({"input_size": "64x"}, "as in 800x1344, not '64x'"),
        ({"batch": None}, "batch is fixed in the file: a number of images, not None"),
        ({"batch": "dynamic"}, "batch is fixed in the file.*'dynamic'"),
        ({"batch": 0}, "from 1 on, not 0"),
    ):
        with pytest.raises(ValueError, match=message):
            tflite.export_tflite(model, tmp_path / "m.tflite", **options)
    with pytest.raises(ValueError, match="no image"):
        tflite.representative_batches([], 64, 64, 1)
    assert not list(tmp_path.iterdir())


def test_images_for_calibration(tmp_path):
    given = [np.full((20, 30, 3), value, np.uint8) for value in (10, 20, 30)]
    batches = tflite.representative_batches(given, 16, 24, batch=2)
    assert [b.shape for b in batches] == [(2, 16, 24, 3)] * 2
    assert [int(b.mean()) for b in batches] == [15, 30]


def test_images_of_a_recipe():
    data = pathlib.Path(__file__).parent.parent / "assets" / "data"
    split = next(data.rglob("ImageSets/Main/*.txt"))
    recipe = {"data": {"val": {"type": "VocReader", "annotations": str(split)}}}
    (first, *_) = tflite.representative_batches(recipe, 32, 48, batch=1)
    assert first.shape == (1, 32, 48, 3) and first.dtype == np.uint8 and first.std() > 0
    recipe["data"]["val"]["annotations"] = "none.txt"
    with pytest.raises(FileNotFoundError, match="none.txt does not.*--set data.val.annotations=.*dynamic"):
        tflite.representative_batches(recipe, 32, 48, batch=1)
    with pytest.raises(ValueError, match="data.train"):
        tflite.representative_batches({"data": {}}, 32, 48, batch=1)
