"""Images for prediction: every kind of input, the pipeline's pixels, the canvas of a batch."""

import numpy as np
import pytest

import kdet.data
from kdet.data import decoding


def test_equals_the_pipeline(coco, assets):
    coco["masks"] = False
    expected = {int(i): x for x, _ in kdet.data.load(coco).dataset() for i in x["image_id"]}
    for image_id, name in ((1, "a.jpg"), (2, "b.png")):
        got = kdet.data.preprocess_images([assets / name], (133, 80))
        for key in ("images", "valid_size", "original_size", "scale"):
            np.testing.assert_array_equal(got[key], expected[image_id][key])


def test_paths_bytes_and_arrays_agree(assets):
    path = assets / "a.jpg"
    kinds = [str(path), path.read_bytes(), decoding.load(path)]
    images = kdet.data.preprocess_images(kinds, (133, 80))["images"].numpy()
    np.testing.assert_array_equal(images[0], images[1])
    np.testing.assert_array_equal(images[0], images[2])


def test_gray_and_float_arrays():
    gray = np.arange(60, dtype=np.uint8).reshape(6, 10)
    got = kdet.data.preprocess_images([gray, gray[..., None].astype(np.float32)], (10, 6), divisor=1)
    np.testing.assert_array_equal(got["images"][0], np.repeat(gray[..., None], 3, -1))
    np.testing.assert_array_equal(got["images"][0], got["images"][1])


@pytest.mark.parametrize(("canvas", "side"), [("own", 96), ("buckets", 128)])
def test_wide_and_tall_share_a_square(canvas, side):
    wide, tall = np.zeros((30, 42, 3), np.uint8), np.zeros((42, 30, 3), np.uint8)
    got = kdet.data.preprocess_images([wide, tall], (128, 64), canvas=canvas)
    np.testing.assert_array_equal(got["valid_size"], [[64, 90], [90, 64]])
    assert got["images"].shape == (2, side, side, 3)


def images_of_many_sizes():
    random = np.random.default_rng(0)
    return [np.full((*random.integers(20, 60, 2), 3), i, np.uint8) for i in range(11)]


@pytest.mark.parametrize("canvas", ["own", "buckets"])
def test_batches_account_for_every_image(canvas):
    given, seen, shapes = images_of_many_sizes(), [], set()
    for positions, (inputs,) in kdet.data.batches(given, [(128, 64)], batch_size=3, canvas=canvas):
        assert inputs["images"].shape[0] == 3
        largest = inputs["valid_size"].numpy().max(0)
        if canvas == "own":
            np.testing.assert_array_equal(inputs["images"].shape[1:3], np.ceil(largest / 32) * 32)
        shapes.add(tuple(inputs["images"].shape[1:3]))
        for row, position in enumerate(positions):
            assert inputs["images"][row, 0, 0, 0] == position
            np.testing.assert_array_equal(inputs["original_size"][row], given[position].shape[:2])
        seen += positions
    assert sorted(seen) == list(range(11))
    assert canvas == "own" or shapes <= set(kdet.data.bucket_shapes((128, 64)))


def test_canvases_are_not_smaller_than_the_model():
    strip = np.zeros((10, 400, 3), np.uint8)
    got = kdet.data.preprocess_images([strip], (128, 64), smallest=64)
    assert got["images"].shape == (1, 64, 128, 3)
    np.testing.assert_array_equal(got["valid_size"], [[3, 128]])


def test_squares_have_one_bucket():
    assert kdet.data.bucket_shapes((608, 608)) == [(608, 608)]


def test_another_canvas_is_refused():
    with pytest.raises(ValueError, match="canvas must be one of 'own', 'buckets'; got 'square'"):
        kdet.data.preprocess_images([np.zeros((9, 9, 3), np.uint8)], canvas="square")


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        ("nowhere.jpg", FileNotFoundError, "nowhere.jpg"),
        (b"\xff\xd8 no image", decoding.CorruptImage, "cannot be decoded"),
        (b"plain text", decoding.CorruptImage, "cannot be decoded"),
        (np.zeros((4, 4, 7), np.uint8), TypeError, r"\(4, 4, 7\)"),
        (np.full((4, 4, 3), 0.5), TypeError, "0..255"),
        (np.full((4, 4, 3), -3), TypeError, "outside"),
    ],
)
def test_bad_images_are_explained(image, error, words):
    with pytest.raises(error, match=words):
        kdet.data.preprocess_images([image])


def exif(orientation, order):
    tiff = b"".join(
        [
            {"little": b"II*\0", "big": b"MM\0*"}[order],
            (8).to_bytes(4, order),
            (1).to_bytes(2, order),
            (0x0112).to_bytes(2, order) + (3).to_bytes(2, order) + (1).to_bytes(4, order),
            orientation.to_bytes(2, order) + b"\0\0",
            b"\0" * 4,
        ]
    )
    body = b"Exif\0\0" + tiff
    return b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(assets, orientation, order):
    plain = (assets / "a.jpg").read_bytes()
    turned = plain[:2] + exif(orientation, order) + plain[2:]
    image = decoding.decode(plain)
    expected = {
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: image.transpose(1, 0, 2),
        6: np.rot90(image, -1),
        7: image[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(image, 1),
    }[orientation]
    np.testing.assert_array_equal(decoding.decode(turned), expected)
    assert decoding.size_of(turned) == expected.shape[:2]
    np.testing.assert_array_equal(decoding.decode(turned, orient=False), image)
