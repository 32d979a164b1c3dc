"""Formats of labelling tools: the same objects come out of all of them, and what is wrong is named."""

import numpy as np
import pytest
import tensorflow as tf

import kdet.data
from kdet.data import decoding, label_studio, masks
from kdet.data.recognize import one_data_set
from kdet.errors import DataError, MissingFile
from tests.data import made

MAKERS = {
    "YoloReader": (made.yolo, kdet.data.read_yolo),
    "LabelMeReader": (made.labelme, kdet.data.read_labelme),
    "CvatReader": (made.cvat, kdet.data.read_cvat),
    "LabelStudioReader": (made.label_studio, kdet.data.read_label_studio),
    "OpenImagesReader": (made.open_images, kdet.data.read_open_images),
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_objects_come_out_of_every_format(tmp_path, name):
    path = MAKERS[name][0](tmp_path)
    spec = next(iter(kdet.data.data_sets(path).values()))
    assert spec["type"] == name
    index = kdet.data.read_index({**spec, "masks": name != "OpenImagesReader"})
    assert index.class_names == ["cat", "dog"] and len(index) == (1 if name == "OpenImagesReader" else 2)
    first = index.records[0]
    assert (first.height, first.width) == (40, 60)
    rows = [made.CAT, [30, 10, 50, 30]]
    if name == "YoloReader":  # a box alone is no mask
        assert index.skips.counts == {"object without a usable segmentation": 1}
        rows = rows[1:]
        np.testing.assert_allclose(kdet.data.read_index(spec).records[0].boxes[0], made.CAT, atol=1e-4)
    np.testing.assert_allclose(first.boxes, rows, atol=1e-3)
    if index.has_masks:
        drawn = masks.rasterize(index.segmentations(first)[-1], 40, 60)
        np.testing.assert_array_equal(drawn, masks.rasterize([made.DOG], 40, 60))
    only = kdet.data.read_index({**spec, "classes": ["dog"]})
    assert only.records[0].labels.tolist() == [0]
    with pytest.raises(DataError, match="no class 'dug'.*dog"):
        kdet.data.read_index({**spec, "classes": ["dug"]})


BAD = {
    "yolo-class": (made.yolo, {"lines": ["2 .5 .5 .1 .1"]}, "line 1: its class is '2', not .* 0 to 1"),
    "yolo-word": (made.yolo, {"lines": ["0 .5 .5 .1 x"]}, "line 1: it holds 'x'"),
    "yolo-nan": (made.yolo, {"lines": ["", "0 .5 nan .1 .1"]}, "line 2: it holds 'nan'"),
    "yolo-pixels": (made.yolo, {"lines": ["0 20 15 20 20"]}, "shares of the image's width and height"),
    "yolo-count": (made.yolo, {"lines": ["0 .5 .5 .1 .1 .9"]}, "it has 6 values"),
    "yolo-unscored": (made.yolo, {"lines": ["-1 .5 .5 .1 .1"]}, "its class is '-1'"),
    "labelme-kind": (made.labelme, {"shapes": [{"label": "c", "points": [[1, 2]], "shape_type": "star"}]},
                     "shape 1: a shape of 1 points with the shape_type 'star'"),
    "labelme-nan": (made.labelme, {"shapes": [{"label": "cat", "points": [[1, 2], [float("inf"), 3]],
                                               "shape_type": "rectangle"}]}, "an x is inf, not a number"),
    "labelme-far": (made.labelme, {"shapes": [{"label": "cat", "points": [[1, 2], [1e9, 3], [4, 4]]}]},
                    "far outside"),
    "labelme-label": (made.labelme, {"shapes": [{"label": None, "points": [[1, 2], [9, 9]],
                                                 "shape_type": "rectangle"}]}, "its class is None"),
    "labelme-size": (made.labelme, {"imageHeight": -4}, "the image is -4x60"),
    "labelme-mask": (made.labelme, {"shapes": [{"label": "cat", "points": [[1, 2], [3, 4]], "mask": "!",
                                                "shape_type": "mask"}]}, "no base64 of a PNG"),
    "labelme-masks-place": (made.labelme, {"shapes": [{"label": "cat", "points": [[50, 2], [70, 4]],
                            "mask": made.labelme_mask(np.ones((3, 21))), "shape_type": "mask"}]},
                            "reaches out of the image"),
    "cvat-number": (made.cvat, {"shapes": '<box label="cat" xtl="a" ytl="1" xbr="2" ybr="3"/>'},
                    r"image a.png, shape 1 \(<box>\): xtl is 'a', not a number"),
    "cvat-rle": (made.cvat, {"shapes": '<mask label="c" rle="3,3" left="1" top="1" width="4" height="2"/>'},
                 "covers 6 pixels, its box has 8"),
    "cvat-place": (made.cvat, {"shapes": '<mask rle="9,9" left="58" top="1" width="9" height="2"/>'},
                   "reaches out of the image"),
    "cvat-kind": (made.cvat, {"shapes": '<circle label="cat"/>'}, "is not known"),
    "cvat-size": (made.cvat, {"size": (0, 60)}, "the image is 0x60"),
    "cvat-path": (made.cvat, {"name": "../../etc/passwd"}, "leads out of the folder"),
    "studio-class": (made.label_studio, {"results": [{"type": "rectangle", "value": {"x": 1, "y": 2,
                     "width": 3, "height": 4}}]}, "task 7, result 1: it has no class"),
    "studio-percent": (made.label_studio, {"results": [{"type": "rectanglelabels", "value": {"x": "a",
                       "y": 2, "width": 3, "height": 4, "rectanglelabels": ["c"]}}]}, "its x is 'a', not"),
    "studio-size": (made.label_studio, {"results": [{"type": "rectanglelabels", "original_width": 61,
                    "original_height": "b", "value": {}}]}, "the image is 'b'x61"),
    "studio-brush": (made.label_studio, {"results": [{"type": "brushlabels", "value": {"format": "rle",
                     "rle": [0, 0, 0, 8], "brushlabels": ["cat"]}}]}, "its rle has 8 values, the image 9600"),
    "oi-share": (made.open_images, {"rows": ["a,x,/m/01yrx,1,0.1,1.5,0,1,0,0,0"]}, "line 2: its XMax is"),
    "oi-class": (made.open_images, {"rows": ["a,x,/m/unknown,1,0.1,0.5,0,1,0,0,0"]}, "/m/unknown' is not"),
    "oi-group": (made.open_images, {"rows": ["a,x,/m/01yrx,1,0.1,0.5,0,1,0,0,yes"]}, "IsGroupOf is 'yes'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_wrong_values_are_named_or_skipped(tmp_path, case):
    maker, changes, message = BAD[case]
    path = maker(tmp_path, **changes)
    spec = {**next(iter(kdet.data.data_sets(path).values())), "on_missing": "skip"}
    with pytest.raises(DataError, match=message) as raised:
        kdet.data.read_index(spec)
    assert "on_corrupt: skip" in str(raised.value)
    index = kdet.data.read_index({**spec, "on_corrupt": "skip"})
    assert sum(index.skips.counts.values()) == 1 and sum(len(r.labels) for r in index.records) == 0


YAML = [
    ({"names": ["cat", "cat"]}, "'names' has 'cat' twice"),
    ({"names": {0: "cat", 2: "dog"}}, "must number the classes 0, 1, 2"),
    ({"names": [True]}, "holds True.*put it in quotes"),
    ({"nc": 3}, "'nc' is 3, but 'names' lists 2"),
    ({"train": 5}, "'train' must name folders"),
    ({"train": [None]}, "'train' must name folders"),
    ({"train": "nowhere"}, "'train' names nowhere, which is no folder"),
    ({"train": "../../../dev/zero"}, "no folder"),
    ({"path": 3}, "'path' must be a folder"),
]


@pytest.mark.parametrize(("change", "message"), YAML)
def test_a_wrong_data_file_of_yolo_is_explained(tmp_path, change, message):
    path = made.yolo(tmp_path, **change)
    with pytest.raises(DataError, match=message):
        kdet.data.read_yolo(path)


def test_yolo_takes_what_people_have(tmp_path):
    made.yolo(
        tmp_path / "one", lines=["1 .5 .5 .2 .2", "1 .5 .5 .2 .2"], train="../images/train", names=None, nc=2
    )
    index = kdet.data.read_yolo(tmp_path / "one")  # the ../ too much of Roboflow, names by number
    assert index.class_names == ["class_0", "class_1"] and index.records[0].labels.tolist() == [1]
    assert index.skips.counts == {"line that stands twice": 1}
    assert [r.name for r in index.records] == ["images/train/a.png", "images/train/b.png"]
    path = made.yolo(tmp_path / "two", train="list.txt", val=["images/val"])
    made.write(tmp_path / "two" / "list.txt", "./images/train/b.png\nimages/train/a.png\n/etc/hosts.png\n")
    with pytest.raises(DataError, match="list.txt, line 3: the image '/etc/hosts.png' lies outside"):
        kdet.data.read_yolo(path)
    index = kdet.data.read_yolo(path, on_corrupt="skip")
    assert [r.name for r in index.records] == ["images/train/b.png", "images/train/a.png"]
    path = made.yolo(tmp_path / "pose", lines=["0 .5 .5 .2 .2 .1 .1 2 .2 .2 1"], kpt_shape=[2, 3])
    assert len(kdet.data.read_yolo(path).records[0].boxes) == 1
    with pytest.raises(DataError, match="names no images under 'test'"):
        kdet.data.read_yolo(path, split="test")


def test_a_yolo_data_set_without_any_labels_is_no_data_set(tmp_path):
    path = made.yolo(tmp_path)
    (tmp_path / "labels" / "train" / "a.txt").unlink()
    with pytest.raises(DataError, match="None of the 2 images .*labels/train/a.txt"):
        kdet.data.read_yolo(path)


def test_labelme_knows_circles_masks_and_groups(tmp_path):
    triangles = [[[1, 1], [9, 1], [5, 9]], [[21, 1], [29, 1], [25, 9]]]
    shapes = [
        {"label": "disc", "points": [[30, 20], [30, 30]], "shape_type": "circle"},
        {"label": "blob", "points": [[4, 6], [13, 10]], "shape_type": "mask",
         "mask": made.labelme_mask(np.tri(5, 10))},
        *({"label": "pair", "points": p, "shape_type": "polygon", "group_id": 3} for p in triangles),
        {"label": "dot", "points": [[1, 1]], "shape_type": "point"},
    ]  # fmt: skip
    index = kdet.data.read_labelme(
        made.labelme(tmp_path, shapes, imagePath="..\\elsewhere\\a.png"), masks=True
    )
    assert index.class_names == ["blob", "disc", "pair"]
    assert index.skips.counts == {"shape without area (point)": 1}
    record = index.records[0]
    np.testing.assert_allclose(record.boxes, [[20, 10, 40, 30], [4, 6, 9, 11], [1, 1, 29, 9]])
    drawn = [masks.rasterize(s, 40, 60) for s in index.segmentations(record)]
    assert abs(drawn[0].sum() - np.pi * 100) < 5
    np.testing.assert_array_equal(drawn[1][6:11, 4:14], np.tri(5, 10))


def test_cvat_knows_masks_and_turned_boxes(tmp_path):
    shapes = """<mask label="dog" rle="1, 2, 3, 2" left="5" top="7" width="4" height="2"/>
    <box label="cat" xtl="20" ytl="10" xbr="40" ybr="20" rotation="90"/>
    <ellipse label="cat" cx="30" cy="20" rx="10" ry="5"/>
    <polyline label="cat" points="1,1;2,2"/>"""
    index = kdet.data.read_cvat(made.cvat(tmp_path, shapes), tmp_path / "images", masks=True)
    record = index.records[0]
    np.testing.assert_allclose(record.boxes, [[6, 7, 9, 9], [25, 5, 35, 25], [20, 15, 40, 25]], atol=1e-4)
    drawn = masks.rasterize(index.segmentations(record)[0], 40, 60)
    np.testing.assert_array_equal(drawn[7:9, 5:9], [[0, 1, 1, 0], [0, 0, 1, 1]])
    assert drawn.sum() == 4 and index.skips.counts == {"shape without area (<polyline>)": 1}


def test_tracks_of_cvat_are_refused(tmp_path):
    path = made.write(tmp_path / "a.xml", '<annotations><track id="0"/></annotations>')
    with pytest.raises(DataError, match="CVAT for images 1.1"):
        kdet.data.read_cvat(path, tmp_path)


def pack(values, word=8):
    """A brush as Label Studio packs it: runs of equal values, lengths of 3, 4, 8 and 16 bits."""
    lengths, bits = (
        (3, 4, 8, 16),
        f"{len(values):032b}{word - 1:05b}" + "".join(f"{n - 1:04b}" for n in (3, 4, 8, 16)),
    )
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1), len(values)]
    for start, end in zip(edges, edges[1:]):
        which = next(i for i, n in enumerate(lengths) if end - start <= 2**n)
        repeated = end - start > 1
        bits += f"{int(repeated)}{which:02b}{end - start - 1:0{lengths[which]}b}{values[start]:0{word}b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def test_label_studio_knows_brushes_ellipses_and_classes_apart(tmp_path):
    mask = np.zeros((40, 60), np.uint8)
    mask[3:9, 4:20] = np.tri(6, 16, 9)
    rgba = np.repeat(mask[..., None] * 255, 4, -1).ravel()
    np.testing.assert_array_equal(label_studio.unpack_brush(pack(rgba), rgba.size), rgba)
    results = [
        {
            "id": "1",
            "type": "brushlabels",
            "value": {"format": "rle", "rle": pack(rgba), "brushlabels": ["cat"]},
        },
        {
            "id": "2",
            "type": "rectangle",
            "value": {"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 90},
        },
        {"id": "2", "type": "labels", "value": {"labels": ["dog"]}},
        {"id": "3", "type": "choices", "value": {"choices": ["sunny"]}},
    ]
    path = made.label_studio(
        tmp_path,
        image="/data/local-files/?d=set/a.png",
        annotations=[{"result": []}, {"result": results, "ground_truth": True}, {"was_cancelled": True}],
    )
    index = kdet.data.read_label_studio(path, tmp_path / "images", masks=True)
    record = index.records[0]
    np.testing.assert_allclose(record.boxes, [[4, 3, 19, 9], [26, 20, 30, 26]], atol=1e-4)
    np.testing.assert_array_equal(masks.rasterize(index.segmentations(record)[0], 40, 60), mask)
    assert index.skips.counts == {
        "further annotation of the same image": 1, "result without area (choices)": 1,
    }  # fmt: skip


def test_groups_of_open_images_are_crowds(tmp_path):
    rows = ["a,x,/m/01yrx,1,0.1,0.5,0,1,0,0,1", "a,x,/m/0bt9lr,1,0.1,0.5,0,1,0,0,-1"]
    path = made.open_images(tmp_path, rows)
    index = kdet.data.read_open_images(path, tmp_path / "images")
    assert (index.records[0].ignore_labels.tolist(), index.records[0].labels.tolist()) == ([0], [1])
    assert index.class_names == ["cat", "dog"]
    index = kdet.data.read_open_images(path, tmp_path / "images", classes=["taxi", "cat"])
    assert index.class_names == ["taxi", "cat"] and index.records[0].ignore_labels.tolist() == [1]


def test_sizes_come_from_headers_alone(tmp_path):
    big = np.random.default_rng(0).integers(0, 255, (200, 150, 3), np.uint8)

    for name, encoded in {
        "a.png": tf.io.encode_png(big),
        "a.jpg": tf.io.encode_jpeg(big, quality=100),
    }.items():
        encoded = encoded.numpy()
        (tmp_path / name).write_bytes(encoded)
        assert decoding.size_of_file(tmp_path / name) == (200, 150)
    exif = b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0"
    chunk = len(exif).to_bytes(4, "big") + b"eXIf" + exif + bytes(4)
    turned = tf.io.encode_png(big).numpy()
    (tmp_path / "b.png").write_bytes(turned[:-12] + chunk + turned[-12:])  # behind the pixels
    assert decoding.size_of_file(tmp_path / "b.png") == (150, 200)
    (tmp_path / "c.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:50])
    with pytest.raises(DataError, match="no JPEG header|cut off"):
        decoding.size_of_file(tmp_path / "c.jpg")


def test_formats_are_recognized(tmp_path, assets):
    assert kdet.data.data_sets(assets / "coco.json") == {
        "all": {"type": "CocoReader", "annotations": str(assets / "coco.json"), "images": str(assets)}
    }
    assert one_data_set(assets / "voc", "train")["type"] == "VocReader"
    made.yolo(tmp_path / "y")
    assert list(kdet.data.data_sets(tmp_path / "y")) == ["train", "val"]
    assert one_data_set(tmp_path / "y", "val")["split"] == "val"
    with pytest.raises(DataError, match="it holds several; there is train, val"):
        one_data_set(tmp_path / "y")
    for split in ("train", "valid"):
        made.images(tmp_path / "r" / split)
        content = {"images": [{"id": 0, "file_name": "a.png", "height": 40, "width": 60}],
                   "categories": [{"id": 0, "name": "cat"}], "annotations": []}  # fmt: skip
        made.write(tmp_path / "r" / split / "_annotations.coco.json", content)
    sets = kdet.data.data_sets(tmp_path / "r")
    assert list(sets) == ["train", "val"] and sets["val"]["images"] == str(tmp_path / "r" / "valid")
    with pytest.raises(MissingFile, match="nowhere does not exist"):
        kdet.data.data_sets(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no data set of a format that kdet recognizes"):
        kdet.data.data_sets(tmp_path)
    with pytest.raises(DataError, match="no format 'yollo'.*'yolo'"):
        kdet.data.data_sets(tmp_path, "yollo")
