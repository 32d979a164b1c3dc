"""What holds for every detector, on small ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet import precision, zoo
from kdet.data import preprocess_images


def equal(a, b, tolerance=0.0):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_allclose(a[key], b[key], atol=tolerance, err_msg=key)


def scored(detector):
    """Gives an untrained detector scores that pass the threshold."""
    if hasattr(detector, "bbox_head"):
        detector.bbox_head.retina_cls.bias.assign(tf.zeros_like(detector.bbox_head.retina_cls.bias))
    else:
        detector.roi_head.bbox_head.fc_cls.kernel.assign(detector.roi_head.bbox_head.fc_cls.kernel * 30)


def test_detections_keep_the_contract(detector, images):
    scored(detector)
    found = detector(images)
    count = found["num_detections"].numpy()
    assert (count > 0).all()
    for i, n in enumerate(count):
        assert (found["labels"][i, n:] == -1).numpy().all() and (found["scores"][i, n:] == 0).numpy().all()
        scores = found["scores"][i, :n].numpy()
        assert (np.diff(scores) <= 0).all() and (scores > 0.05).all()
        boxes = found["boxes"][i, :n].numpy()
        assert (boxes >= 0).all() and (boxes <= [160, 128, 160, 128]).all()


def test_batch_of_two_is_two_batches_of_one(detector, images):
    both = detector(images)
    for i in range(2):
        alone = detector(images[i : i + 1])
        np.testing.assert_array_equal(both["num_detections"][i], alone["num_detections"][0])
        equal({k: both[k][i] for k in both}, {k: alone[k][0] for k in alone}, tolerance=2e-3)


def test_boxes_come_in_original_pixels(detector, images):
    plain = detector(images)
    info = {"scale": tf.constant([[2.0, 0.5]] * 2), "original_size": tf.constant([[64.0, 320.0]] * 2)}
    scaled = detector({"images": images, **info})
    best, other = plain["boxes"][:, 0], scaled["boxes"][:, 0]
    np.testing.assert_allclose(other, best * [2, 0.5, 2, 0.5], rtol=1e-4, atol=1e-2)


def test_keras_file_gives_the_same_detections(detector, images, tmp_path):
    detector.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    equal(detector(images), again(images))
    assert [v.trainable for v in again.weights] == [v.trainable for v in detector.weights]


def test_losses_are_finite_also_without_objects(detector, images, targets):
    for wanted in (targets, {**targets, "labels": tf.fill([2, 2], -1), "boxes": tf.zeros([2, 2, 4])}):
        with tf.GradientTape() as tape:
            losses = detector.compute_losses(images, wanted)
            total = tf.add_n(list(losses.values()))
        gradients = tape.gradient(total, detector.trainable_variables)
        assert all(np.isfinite(v) for v in losses.values()), losses
        assert all(
            np.isfinite(g).all()
            for g in map(tf.convert_to_tensor, filter(lambda g: g is not None, gradients))
        )


def test_the_stem_does_not_train(detector):
    stem = [v.path for v in detector.backbone.conv1.trainable_variables]
    assert stem == [] and detector.backbone.layer2[0].conv1.trainable_variables


@pytest.fixture
def traced(detector, monkeypatch):
    """The shapes of the images that ``detect`` was traced for."""
    shapes, detect = [], detector.detect

    def counting(x, info):
        shapes.append(tuple(x.shape))
        return detect(x, info)

    monkeypatch.setattr(detector, "detect", counting)
    monkeypatch.setattr(detector, "_inference", None)
    return shapes


def test_one_trace_for_all_canvases(detector, traced):
    for i in range(20):
        images = np.full((1, 64 + 32 * (i % 4), 64 + 32 * (i // 4), 3), 9 * i, np.uint8)
        detector.predict_on_batch({"images": images})
    assert traced == [(1, None, None, 3)]


def test_one_trace_per_fixed_canvas(detector, images, traced):
    for _ in range(2):
        detector.predict_on_batch({"images": images}, canvas="buckets")
        detector.predict_on_batch({"images": images[:, :64]}, canvas="buckets")
    assert traced == [(2, 128, 160, 3), (2, 64, 160, 3)]


def test_open_and_fixed_traces_agree(detector, images):
    own, fixed = (
        detector.predict_on_batch({"images": images}, canvas=canvas) for canvas in ("own", "buckets")
    )
    for name, value in own.items():
        np.testing.assert_allclose(value, fixed[name], rtol=1e-4, atol=1e-4)


def test_predict_on_buckets(detector, traced):
    detector.preprocessor.size = (128, 96)
    wide = np.full((60, 90, 3), 80, np.uint8)
    found = detector.predict([wide, wide[:40]], canvas="buckets")
    assert found["boxes"].shape[0] == 2 and traced == [(1, 96, 128, 3)]
    with pytest.raises(ValueError, match="canvas must be one of 'own', 'buckets'; got 'static'"):
        detector.predict([wide], canvas="static")


def test_images_of_any_kind(detector, tmp_path):
    image = np.random.default_rng(1).integers(0, 255, (60, 90, 3)).astype(np.uint8)
    data = tf.io.encode_png(image).numpy()
    path = tmp_path / "a.png"
    path.write_bytes(data)
    detector.preprocessor.size = (128, 96)
    found = detector.predict([image, data, str(path)])
    for key in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(found[key][0], found[key][1])
        np.testing.assert_array_equal(found[key][0], found[key][2])
    if "masks" in found:
        assert found["masks"][0].shape == (found["num_detections"][0], 60, 90)
    assert detector.predict(image)["boxes"].shape[0] == 1


def test_bfloat16_agrees_with_float32(images, monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    models = [
        zoo.load("retinanet_r18_fpn_1x", weights=None, num_classes=3, dtype=d)
        for d in ("float32", "mixed_bfloat16")
    ]
    models[1].set_weights(models[0].get_weights())
    full, half = (m.extract_features(m.preprocess(images)[0]) for m in models)
    for a, b in zip(full, half):
        assert b.dtype == tf.bfloat16
        error = np.abs(a - tf.cast(b, tf.float32)).max() / np.abs(a).max()
        assert error < 0.05, error  # eight bits of mantissa through some fifty layers


def test_missing_proposals_are_asked_for(images):
    model = zoo.load("fast_rcnn_r18_fpn_1x", weights=None, num_classes=3)
    with pytest.raises(ValueError, match="no RPN"):
        model(images)
    found = model({"images": images, "proposals": tf.constant([[[10.0, 10, 60, 60]]] * 2)})
    assert found["boxes"].shape == (2, 100, 4)


def test_proposals_come_with_images_of_any_size():
    model = zoo.load(
        "fast_rcnn_r18_fpn_1x", weights=None, num_classes=3, **{"model.preprocessor.size": [160, 128]}
    )
    pixels = np.random.default_rng(0)
    images = [pixels.integers(0, 255, (*size, 3)).astype(np.uint8) for size in ((60, 90), (100, 50))]
    boxes = [np.float32([[10, 10, 60, 50], [0, 0, 90, 60], [5, 20, 30, 40]]), np.float32([[0, 30, 50, 80]])]
    found = model.predict(images, proposals=boxes)
    for row, (image, given) in enumerate(zip(images, boxes)):
        one = preprocess_images([image], (160, 128))
        scale = one["scale"].numpy()[0, ::-1]
        alone = model.predict_on_batch({**one, "proposals": (given * np.tile(scale, 2))[None]})
        assert found["num_detections"][row] == alone["num_detections"][0] > 0
        np.testing.assert_allclose(found["boxes"][row], alone["boxes"][0], atol=1e-3)
        np.testing.assert_allclose(found["scores"][row], alone["scores"][0], atol=1e-6)
    views = model.predict(images, proposals=boxes, augment=True)
    assert (views["num_detections"] > 0).all()
    assert (views["boxes"] <= [[[90, 60, 90, 60]], [[50, 100, 50, 100]]]).all()
    for wrong, message in (
        (None, "no RPN"),
        (boxes[:1], "2 arrays"),
        ([[1, 2, 3, 4]] * 2, "one per image"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(images, proposals=wrong)
    with pytest.raises(ValueError, match="not with network inputs"):
        model.predict({"images": np.stack(images[:1])}, proposals=boxes)


def test_presets_check_their_class():
    from kdet.detectors import SingleStageDetector, TwoStageDetector

    assert isinstance(
        SingleStageDetector.from_preset("retinanet_r18_fpn_1x", weights=None), SingleStageDetector
    )
    with pytest.raises(ValueError, match="not a TwoStageDetector"):
        TwoStageDetector.from_preset("retinanet_r18_fpn_1x", weights=None)


def test_names_of_labels(detector):
    names = detector.class_names
    try:
        detector.class_names = None
        found = [detector.name_of(label) for label in (1, np.int32(0), -1)]
        assert found == ["class 1", "class 0", "padding"]
        detector.class_names = [f"kind{i}" for i in range(detector.num_classes)]
        assert detector.name_of(1) == "kind1"
    finally:
        detector.class_names = names
