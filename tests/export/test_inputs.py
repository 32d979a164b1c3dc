"""From encoded images to the network's input, inside a graph as outside of one."""

import pathlib
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf

from kdet.data import decoding, inference, resize
from kdet.detectors.preprocessor import Preprocessor
from kdet.export.canvas import Canvas
from kdet.export.decode import decode, exif_orientation

JPEG = (pathlib.Path(__file__).parent.parent / "assets" / "data" / "a.jpg").read_bytes()


@pytest.fixture(scope="module")
def decode_in_graph():
    return tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)])


def turned(orientation, order):
    """The JPEG with a comment and then an EXIF header."""
    mark = {"<": b"II", ">": b"MM"}[order]
    tiff = struct.pack(order + "2sHIHHHIHHI", mark, 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    header = b"\xff\xfe\0\4hi" + b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff
    return JPEG[:2] + header + JPEG[2:]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpegs_are_turned_by_their_exif_header(decode_in_graph, orientation, order):
    encoded = turned(orientation, order)
    assert decoding.exif_orientation(encoded) == orientation
    np.testing.assert_array_equal(decode_in_graph(encoded), decoding.decode(encoded))


@pytest.mark.parametrize("orientation", [1, 6, 8])
@pytest.mark.parametrize("last", [False, True])
def test_pngs_are_turned_by_their_exif_chunk(decode_in_graph, orientation, last):
    pixels = np.random.default_rng(0).integers(0, 255, (7, 9, 3)).astype(np.uint8)
    plain = tf.io.encode_png(pixels).numpy()
    tiff = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    chunk = struct.pack(">I", len(tiff)) + b"eXIf" + tiff
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    place = plain.index(b"IEND") - 4 if last else 33  # behind the header
    encoded = plain[:place] + chunk + plain[place:]
    assert decoding.exif_orientation(encoded) == orientation
    np.testing.assert_array_equal(decode_in_graph(encoded), decoding.decode(encoded))
    assert decode_in_graph(encoded).shape[0] == (7 if orientation == 1 else 9)


def test_headers_that_say_nothing_are_upright():
    for encoded in [JPEG, turned(9, "<"), turned(6, "<")[:30], b"\xff\xd8\xff\xe1\xff\xffExif", b"\xff\xd8"]:
        assert exif_orientation(encoded) == decoding.exif_orientation(encoded) == 1


def test_other_formats_are_decoded(decode_in_graph):
    pixels = np.random.default_rng(0).integers(0, 255, (7, 9, 3)).astype(np.uint8)
    np.testing.assert_array_equal(decode_in_graph(tf.io.encode_png(pixels)), pixels)
    gray = tf.io.encode_png(pixels[..., :1]).numpy()
    np.testing.assert_array_equal(decode_in_graph(gray), decoding.decode(gray))


SIZES = [(90, 120), (120, 90), (50, 50), (128, 160), (30, 200), (200, 31), (7, 300)]
RULES = [
    dict(size=(160, 128)),
    dict(size=(128, 160), pad_divisor=1),
    dict(size=(100, 90), keep_ratio=False, pad_divisor=1),
]


@pytest.mark.parametrize("canvases", ["own", "buckets"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_canvases_are_those_of_predict(monkeypatch, rule, canvases):
    monkeypatch.setattr(resize, "cv2", None)
    inference._resizer.cache_clear()
    preprocessor = Preprocessor(**rule)
    canvas = Canvas(preprocessor, None if canvases == "own" else canvases, smallest=40)
    spec = tf.TensorSpec([None, None, None, 3], tf.uint8)
    inputs = tf.function(lambda x: canvas.inputs(lambda i: x[i], tf.shape(x)[0]), input_signature=[spec])
    size = list(rule["size"])
    if not preprocessor.keep_ratio:
        size = {"mode": "fixed", "sizes": [size]}
    for height, width in SIZES:
        batch = np.random.default_rng(0).integers(0, 255, (2, height, width, 3)).astype(np.uint8)
        wanted = inference.preprocess_images(
            list(batch), size, divisor=preprocessor.pad_divisor, canvas=canvases, smallest=40
        )
        found = inputs(batch)
        assert found.keys() == wanted.keys()
        for key in wanted:
            np.testing.assert_array_equal(found[key], wanted[key], f"{key} of {height}x{width}")


@pytest.mark.parametrize(("canvases", "expected"), [(None, (160, 160)), ("buckets", (192, 192))])
def test_wide_and_tall_images_share_a_canvas(canvases, expected):
    canvas = Canvas(Preprocessor(size=(192, 120)), canvases)
    found = canvas.inputs(lambda i: tf.zeros([90 + 30 * i, 120 - 30 * i, 3], tf.uint8), tf.constant(2))
    assert found["images"].shape == (2, *expected, 3)
    np.testing.assert_array_equal(found["valid_size"], [[120, 160], [160, 120]])
    np.testing.assert_array_equal(found["original_size"], [[90, 120], [120, 90]])


@pytest.mark.parametrize(
    ("original", "expected"),
    [((90, 120), (120, 160)), ((120, 90), (128, 96)), ((4, 400), (2, 160)), ((400, 4), (128, 1))],
)
def test_one_canvas_holds_every_image(original, expected):
    canvas = Canvas(Preprocessor(size=(160, 128)), shape=(128, 160))
    found = canvas.inputs(lambda i: tf.ones([*original, 3], tf.uint8), tf.constant(1))
    assert found["images"].shape == (1, 128, 160, 3)
    np.testing.assert_array_equal(found["valid_size"], [expected])
    np.testing.assert_allclose(found["scale"], [np.divide(expected, original)], rtol=1e-6)
    assert tf.reduce_sum(tf.cast(found["images"], tf.int32)) == 3 * expected[0] * expected[1]


def test_models_that_stretch_stretch_to_the_shape():
    canvas = Canvas(Preprocessor(size=(100, 90), keep_ratio=False), shape=(64, 48))
    found = canvas.inputs(lambda i: tf.zeros([30, 20, 3], tf.uint8), tf.constant(1))
    np.testing.assert_array_equal(found["valid_size"], [[64, 48]])
