"""What ``predict`` takes, and what it says to the rest; on the tiny detector of the engine's tests."""

import functools
import http.server
import io
import pathlib
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from PIL import Image

from kdet.config import build
from kdet.detectors.given import images_of
from tests.train.run_engine import MODEL

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = build(yaml.safe_load(MODEL)["model"])
    model.roi_head.postprocess.score_threshold = 0.0
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two PNG files, the second one without suffix in capitals, and a text."""
    folder = tmp_path_factory.mktemp("images")
    for name in ("a.png", "b.PNG"):
        (folder / name).write_bytes(tf.io.encode_png(IMAGE).numpy())
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def address(folder):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("localhost", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_address[1]}"
    server.shutdown()


KINDS = {
    "path": lambda folder: str(folder / "a.png"),
    "pathlib": lambda folder: folder / "a.png",
    "bytes": lambda folder: (folder / "a.png").read_bytes(),
    "bytearray": lambda folder: bytearray((folder / "a.png").read_bytes()),
    "PIL": lambda folder: Image.fromarray(IMAGE),
    "array": lambda folder: IMAGE,
    "tensor": lambda folder: tf.constant(IMAGE),
    "list of paths": lambda folder: [str(folder / "a.png")],
    "list of tensors": lambda folder: [tf.constant(IMAGE)],
    "tuple of PIL": lambda folder: (Image.fromarray(IMAGE),),
    "array of paths": lambda folder: np.array([str(folder / "a.png")]),
    "array of pathlib": lambda folder: np.array([folder / "a.png"]),
    "tensor of paths": lambda folder: tf.constant([str(folder / "a.png")]),
    "array of images": lambda folder: IMAGE[None],
    "generator": lambda folder: (image for image in [IMAGE]),
    "map": lambda folder: map(str, [folder / "a.png"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_the_same_image(folder, kind):
    from kdet.data import decoding

    (found,) = images_of(KINDS[kind](folder))
    np.testing.assert_array_equal(decoding.load(found), IMAGE)


def test_predict_takes_folders_lists_and_generators(model, folder):
    wanted = model.predict(IMAGE)
    assert wanted["num_detections"][0] > 0
    for given in (folder, [folder], [tf.constant(IMAGE), Image.fromarray(IMAGE)], iter([IMAGE, IMAGE])):
        found = model.predict(given, verbose=0)
        for row in range(2):
            np.testing.assert_array_equal(found["boxes"][row], wanted["boxes"][0])
        assert len(found["boxes"]) == 2


def test_gray_and_turned_images(model):
    from kdet.data import decoding

    (gray,) = images_of(IMAGE[..., 0])
    np.testing.assert_array_equal(decoding.load(gray), np.repeat(IMAGE[..., :1], 3, -1))
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(IMAGE).save(file, "PNG", exif=exif)
    turned = np.rot90(IMAGE, -1)
    for given in (file.getvalue(), Image.open(file)):
        (found,) = images_of(given)
        np.testing.assert_array_equal(decoding.load(found), turned)
    assert decoding.size_of(file.getvalue()) == (64, 48)


def test_addresses_are_fetched(address, tmp_path, monkeypatch):
    from kdet.data import decoding

    monkeypatch.setenv("KDET_HOME", str(tmp_path))
    (found,) = images_of(f"{address}/a.png")
    np.testing.assert_array_equal(decoding.load(found), IMAGE)
    with pytest.raises(FileNotFoundError, match="There is no file http.*missing.png"):
        decoding.load(f"{address}/missing.png")


@pytest.mark.parametrize(
    "given, message",
    [
        (3, "predict takes a path, a folder, .*; got int"),
        ([IMAGE, None], "got NoneType"),
        ({"a"}, "got set"),
        (np.zeros((3, 48, 64), np.uint8), r"shape \(3, 48, 64\) \(channels go last\)"),
        (np.zeros((2, 3)).reshape(-1), r"array of shape \(6,\)"),
        (IMAGE / 255, "scaled to 0..1"),
        (np.full((8, 8, 3), np.nan), "NaN or infinite"),
        ([np.full((8, 8, 3), np.inf)], "NaN or infinite"),
    ],
)
def test_the_rest_is_refused_by_name(model, given, message):
    with pytest.raises(TypeError, match=message):
        model.predict(given)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_network_inputs_that_are_not_finite_are_refused(model, bad):
    images = np.repeat(IMAGE[None].astype(np.float32), 2, 0)
    images[1, 3, 4, 0] = bad
    sentence = r"inputs' images hold NaN or infinite numbers \(image 1 of the batch\)"
    for given in (tf.constant(images), {"images": images}):
        with pytest.raises(ValueError, match=sentence):
            model.predict(given, batch_size=2)
    with pytest.raises(ValueError, match=sentence):
        model.predict_on_batch(images)
    with pytest.raises(ValueError, match="inputs' scale hold NaN"):
        model.predict({"images": IMAGE[None], "scale": np.float32([[1, bad]])})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number from 1 on; got 0"),
        ({"batch_size": 1.5}, "batch_size must be a whole number from 1 on; got 1.5"),
        ({"steps": -1}, "steps must be a whole number from 1 on; got -1"),
        ({"canvas": "mine"}, "canvas must be one of 'own', 'buckets'; got 'mine'"),
        ({"augment": 3}, "augment must be true, false or a mapping"),
        ({"proposals": [np.zeros((1, 4))]}, "makes its own proposals"),
    ],
)
def test_arguments_that_cannot_be_used(model, given, message):
    with pytest.raises(ValueError, match=message):
        model.predict(IMAGE, **given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": IMAGE[None] > 9}, "images must be numbers of 0..255; got bool"),
        ({"images": IMAGE[None, ..., :2]}, "images must be .B,H,W,3. RGB"),
        ({"valid_size": np.float32([48, 64])}, r"valid_size must be \[B,2\]; got the shape \(2,\)"),
        ({"scale": np.ones((1, 3))}, r"scale must be \[B,2\]; got the shape \(1, 3\)"),
        ({"image_id": tf.constant(["a"])}, "image_id must be numbers; got string"),
    ],
)
def test_network_inputs_of_another_form_are_refused(model, change, message):
    with pytest.raises(ValueError, match=message):
        model(dict({"images": IMAGE[None]}, **change))


def test_a_folder_without_images(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no image"):
        model.predict(tmp_path)


@pytest.mark.parametrize("nothing", [[], (), np.array([]), iter([]), np.zeros((0, 48, 64, 3), np.uint8)])
def test_no_image_gives_empty_arrays(model, nothing):
    wanted, found = model.predict(IMAGE), model.predict(nothing)
    assert {k: (v.shape[1:], v.dtype) for k, v in found.items()} == {
        k: (v.shape[1:], v.dtype) for k, v in wanted.items()
    }
    assert all(len(v) == 0 for v in found.values())


def test_no_rows_of_fillers(model):
    data = tf.data.Dataset.from_tensors(
        (
            {"images": IMAGE[None].repeat(3, 0), "image_id": tf.constant([7, 9, -1], tf.int64)},
            {"labels": [[0]] * 3},
        )
    )
    found = model.predict(data, verbose=0)
    assert found["image_id"].tolist() == [7, 9] and len(found["boxes"]) == 2
    plain = model.predict(tf.constant(IMAGE[None].repeat(3, 0)), verbose=0)
    assert len(plain["boxes"]) == 3 and "image_id" not in plain


def test_results_know_their_images(model):
    found = model.predict([IMAGE, IMAGE[:40]])
    assert isinstance(found, dict) and found.count == 2
    first = found[0]
    assert len(first) == found["num_detections"][0] and first.plot().shape == IMAGE.shape
    np.testing.assert_array_equal(first.boxes, found["boxes"][0][: len(first)])
    assert model.predict(iter([IMAGE]))[0].source is None and model.predict([]).count == 0


def test_a_threshold_changed_later_counts_and_is_saved(model, tmp_path):
    before = model.predict(IMAGE)
    assert model.predict(tf.constant(IMAGE[None]), verbose=0)["num_detections"][0] > 0
    best = float(before["scores"].max())
    model.roi_head.postprocess.score_threshold = best - 1e-6
    try:
        assert model.predict(IMAGE)["num_detections"].tolist() == [1]
        assert model.predict(tf.constant(IMAGE[None]), verbose=0)["num_detections"].tolist() == [1]
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        assert again.roi_head.postprocess.score_threshold == best - 1e-6
        with pytest.raises(ValueError, match="saved as a .keras file"):
            model.save(tmp_path / "m.h5")
    finally:
        model.roi_head.postprocess.score_threshold = 0.0
    np.testing.assert_array_equal(model.predict(IMAGE)["boxes"], before["boxes"])


def test_paths_are_read_when_their_turn_comes(folder):
    def endless():
        while True:
            yield pathlib.Path(folder / "a.png")

    images = images_of(endless())
    assert [next(images).name for _ in range(2)] == ["a.png"] * 2
