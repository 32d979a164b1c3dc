"""Every transform and every reader: boxes, labels, masks, class maps and regions follow the pixels.

The image is made of rectangles of one color each, so what transforms should deliver can be read from
the image that it delivers: the mask of an object is where its color is, its box goes around that, its ignore
region and its proposal likewise, and a cell of the class map has the class of the color.
"""

import json

import numpy as np
import pytest
import tensorflow as tf
from pycocotools import mask as coco_mask

import kdet.data
from kdet.data import masks
from tests.data.steps import steps

HEIGHT, WIDTH = 40, 56
# x1, y1, x2, y2 of rectangles that do not touch; two at the border, the last is a crowd
OBJECTS = np.array([[0, 4, 9, 16], [14, 3, 30, 12], [34, 22, 56, 40], [4, 24, 20, 35]])
CROWD = np.array([38, 4, 50, 14])
LABELS = np.array([0, 2, 1, 2])
NAMES, IDS = ["bus", "cat", "dog"], [3, 1, 7]
COLORS = np.array([[200, 10, 20], [30, 210, 40], [50, 60, 220], [230, 240, 70], [80, 250, 255]])  # crowd last
GROUND = np.array([90, 90, 90])


def drawing():
    image = np.tile(np.uint8(GROUND), (HEIGHT, WIDTH, 1))
    for (x1, y1, x2, y2), color in zip([*OBJECTS, CROWD], COLORS, strict=True):
        image[y1:y2, x1:x2] = color
    return image


def segmentation(i, x1, y1, x2, y2):
    """A polygon, an RLE of numbers, a compressed one: all three forms of COCO."""
    if i % 3 == 0:
        return [[int(v) for v in (x1, y1, x2, y1, x2, y2, x1, y2)]]
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[y1:y2, x1:x2] = 1
    if i % 3 == 1:
        runs = np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=0, append=0))
        edges = [0, *runs.tolist(), mask.size]
        return {"size": [HEIGHT, WIDTH], "counts": np.diff(edges).tolist()}
    rle = coco_mask.encode(mask)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def write_coco(folder):
    annotations = []
    for i, (x1, y1, x2, y2) in enumerate([*OBJECTS, CROWD]):
        box = [int(v) for v in (x1, y1, x2 - x1, y2 - y1)]
        label = LABELS[i] if i < 4 else 0
        entry = {"id": i + 1, "image_id": 9, "category_id": IDS[label], "bbox": box, "area": box[2] * box[3]}
        annotations.append({**entry, "iscrowd": int(i == 4), "segmentation": segmentation(i, x1, y1, x2, y2)})
    content = {
        "images": [{"id": 9, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in zip(IDS, NAMES, strict=True)],
    }
    (folder / "coco.json").write_text(json.dumps(content))


def write_voc(folder):
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    (folder / "JPEGImages" / "a.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "ImageSets" / "Main" / "all.txt").write_text("a\n")
    objects = ""
    for i, corners in enumerate([*OBJECTS, CROWD]):
        sides = zip(("xmin", "ymin", "xmax", "ymax"), corners + 1, strict=True)  # it counts from one
        box = "".join(f"<{k}>{v}</{k}>" for k, v in sides)
        name = NAMES[LABELS[i] if i < 4 else 0]
        objects += f"<object><name>{name}</name><difficult>{int(i == 4)}</difficult>"
        objects += f"<bndbox>{box}</bndbox></object>"
    (folder / "Annotations" / "a.xml").write_text(f"<annotation>{objects}</annotation>")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The image, its annotations in every format, its class map and its proposals."""
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "a.png").write_bytes(tf.io.encode_png(drawing()).numpy())
    write_coco(folder)
    write_voc(folder)
    index = kdet.data.read_coco(folder / "coco.json", folder, masks=True)
    kdet.data.write_tfrecords(index, str(folder / "records"), progress=False)
    classes = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    for i, (x1, y1, x2, y2) in enumerate([*OBJECTS, CROWD]):
        classes[y1:y2, x1:x2] = i
    (folder / "maps").mkdir()
    (folder / "maps" / "a.png").write_bytes(tf.io.encode_png(classes).numpy())
    np.savez(folder / "proposals.npz", **{"9": np.float32(OBJECTS)})
    return folder


READERS = {"coco": "CocoReader", "voc": "VocReader", "tfrecord": "TFRecordReader"}
SAME = {"mode": "fixed", "sizes": [[WIDTH, HEIGHT]]}


def section(folder, form, **changes):
    files = {
        "coco": {"annotations": str(folder / "coco.json"), "images": str(folder)},
        "tfrecord": {"annotations": str(folder / "records-*.tfrecord")},
        "voc": {"annotations": str(folder / "ImageSets/Main/all.txt")},
    }
    spec = {"type": READERS[form], "classes": NAMES, "masks": form != "voc", **files[form]}
    if form == "coco":
        maps = {"semantic": str(folder / "maps"), "semantic_stride": 1}
        spec |= {**maps, "proposals": str(folder / "proposals.npz"), "max_proposals": 4}
    return {**spec, "transforms": steps(Resize=SAME), "divisor": 8, **changes}


def around(pixels):
    """The box around the True pixels."""
    y, x = np.nonzero(pixels)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) else [0, 0, 0, 0]


def read(spec, count=1, seed=0):
    """The first elements of a pipeline without their batch axis, as NumPy."""
    data = kdet.data.load(spec, training=True, seed=seed).dataset().take(count)
    return [tuple({k: v[0].numpy() for k, v in part.items()} for part in element) for element in data]


def check(inputs, targets, fill=(0, 0, 0)):
    """That everything is where the pixels are; the objects that are left, as numbers of ``OBJECTS``."""
    image = inputs["images"]
    where = (image[None] == COLORS[:, None, None]).all(-1)  # [5, H, W]
    height, width = inputs["valid_size"].astype(int)
    others = (image == GROUND).all(-1) | (image == fill).all(-1)
    assert (where.any(0) | others)[:height, :width].all()
    assert not image[height:].any() and not image[:, width:].any()
    ends = np.tile(inputs["valid_size"][::-1], 2)
    real = targets["labels"] >= 0
    found = []
    for i, (box, label) in enumerate(zip(targets["boxes"][real], targets["labels"][real], strict=True)):
        x, y = (int(v) for v in (box[:2] + box[2:]) / 2)
        object_ = int(np.flatnonzero(where[:, y, x])[0])
        assert label == LABELS[object_]
        np.testing.assert_array_equal(box, around(where[object_]))
        if "masks" in targets:
            np.testing.assert_array_equal(masks.unpack(targets["masks"][i], image.shape[1]), where[object_])
        found.append(object_)
    assert found == sorted(found)  # in their order
    assert not targets["boxes"][~real].any()
    if "masks" in targets:
        assert not targets["masks"][~real].any()
    (ignored,) = targets["ignore_boxes"]
    if where[4].any() and (ignored[2:] > ignored[:2]).all():
        np.testing.assert_array_equal(ignored, around(where[4]))
    if "semantic" in targets:
        classes = np.where(where.any(0), where.argmax(0), 255)
        np.testing.assert_array_equal(targets["semantic"], classes)
    if "proposals" in inputs:
        for object_, box in enumerate(inputs["proposals"]):
            assert (box >= 0).all() and (box <= ends).all()
            if where[object_].any():
                np.testing.assert_array_equal(box, around(where[object_]))
            else:
                assert (box[2:] <= box[:2]).any()
    return found


@pytest.mark.parametrize("form", ["coco", "tfrecord", "voc"])
def test_readers_deliver_the_drawing(folder, form):
    ((inputs, targets),) = read(section(folder, form))
    np.testing.assert_array_equal(inputs["images"], drawing())
    assert inputs["image_id"] == (0 if form == "voc" else 9)
    assert check(inputs, targets) == [0, 1, 2, 3]
    np.testing.assert_array_equal(targets["ignore_boxes"], [CROWD])


def test_a_mirrored_image(folder):
    ((inputs, targets),) = read(
        section(folder, "coco", transforms=steps(Resize=SAME, RandomFlip={"probability": 1}))
    )
    np.testing.assert_array_equal(inputs["images"], drawing()[:, ::-1])
    check(inputs, targets)
    # 56 - x: what lay at the left border lies at the right one
    np.testing.assert_array_equal(targets["boxes"][:2], [[47, 4, 56, 16], [26, 3, 42, 12]])


def test_a_image_twice_as_large(folder):
    spec = section(
        folder, "coco", transforms=steps(Resize={"mode": "fixed", "sizes": [[2 * WIDTH, 2 * HEIGHT]]})
    )
    ((inputs, targets),) = read(spec)
    np.testing.assert_array_equal(inputs["scale"], [2, 2])
    np.testing.assert_array_equal(inputs["original_size"], [HEIGHT, WIDTH])
    np.testing.assert_array_equal(targets["boxes"], 2 * OBJECTS)
    np.testing.assert_array_equal(inputs["proposals"], 2 * OBJECTS)
    np.testing.assert_array_equal(targets["ignore_boxes"], [2 * CROWD])
    double = drawing().repeat(2, 0).repeat(2, 1)
    # edges are interpolated
    shifts = [np.roll(double, (y, x), (0, 1)) for y in (-1, 1) for x in (-1, 1)]
    inner = np.all([(double == shifted).all(-1) for shifted in shifts], 0)
    np.testing.assert_array_equal(inputs["images"][inner], double[inner])
    for box, mask in zip(2 * OBJECTS, masks.unpack(targets["masks"], 2 * WIDTH), strict=True):
        assert around(mask) == box.tolist() and mask.sum() == np.prod(box[2:] - box[:2])
    assert (targets["semantic"] == 255).sum() == (double == GROUND).all(-1).sum()


FACTOR = {"mode": "factor", "sizes": [1.0]}


# by name: the section, and what the first draws gave when this was recorded: height x width of the image and
# the objects left in it. What the image shows is not recorded but checked.
def chain(**transforms):
    return {"transforms": steps(Resize=SAME, **transforms)}


def own_size(**transforms):
    return {"transforms": steps(**transforms, Resize=FACTOR)}


RANDOM = {
    "window": (
        chain(RandomCrop={"size": [24, 20]}),
        "20x24:23 20x24:12 20x24:013 20x24:3 20x24:03",
    ),
    "window_range": (
        chain(RandomCrop={"kind": "absolute_range", "size": [16, 38]}),
        "17x17:2 33x36:123 27x36:0123 36x18:013 24x24:013",
    ),
    "window_share": (
        chain(RandomCrop={"kind": "relative", "size": [0.5, 0.75]}),
        "30x28:123 30x28:12 30x28:013 30x28:013 30x28:013",
    ),
    "window_share_range": (
        chain(RandomCrop={"kind": "relative_range", "size": [0.3, 0.3]}),
        "13x20:2 33x52:0123 26x51:0123 37x21:013 22x31:03",
    ),
    "shift": (
        chain(Shift={"probability": 0.7, "max_pixels": 20}),
        "40x56:0123 40x56:012 40x56:01 40x56:23 40x56:0123",
    ),
    "expand": (
        {**own_size(Expand={"mean": [1, 2, 3], "ratio": [1, 2]}), "buckets": [[80, 112]]},
        "40x56:0123 67x93:0123 57x79:0123 46x64:0123 40x56:0123",
    ),
    "overlap": (
        own_size(OverlapCrop={"min_ious": [0.01, 0.02], "min_size": 0.5}),
        "37x52:0123 28x43:013 30x33:13 27x50:013 31x53:023",
    ),
    "center": (
        {
            **own_size(
                CenterCrop={"size": [40, 32], "ratios": [0.75, 1.25], "border": 16, "mean": [1, 2, 3]}
            ),
            "buckets": [[40, 56]],
        },
        "40x50:013 40x50:0123 40x50:12 40x50:0123 24x30:2",
    ),
    "first": (
        {
            **own_size(CropFirst={"probability": 0.6, "sizes": [[56, 40]], "crop": [20, 36]}),
            "buckets": [[40, 56]],
        },
        "40x56:0123 24x22:013 32x20:013 29x34:123 40x56:0123",
    ),
    "mirror": (
        chain(RandomCrop={"size": [40, 36]}, RandomFlip={}),
        "36x40:123 36x40:123 36x40:0123 36x40:0123 36x40:0123",
    ),
}


@pytest.mark.parametrize("name", RANDOM)
def test_everything_follows_the_pixels(folder, name):
    changes, recorded = RANDOM[name]
    fill = (1, 2, 3) if name in ("expand", "center") else (0, 0, 0)
    seen = []
    for inputs, targets in read(section(folder, "coco", **changes), 12, seed=3):
        height, width = inputs["valid_size"].astype(int)
        seen.append(f"{height}x{width}:" + "".join(map(str, check(inputs, targets, fill))))
    assert " ".join(seen).startswith(recorded)


@pytest.mark.parametrize("name", ["Expand", "CenterCrop", "CropFirst"])
def test_new_sizes_need_a_canvas(folder, name):
    options = {"CenterCrop": {"size": [8, 8]}, "CropFirst": {"sizes": [[56, 40]]}, "Expand": {}}
    with pytest.raises(ValueError, match=f"transform {name} .* data.buckets"):
        kdet.data.load(section(folder, "coco", **own_size(**{name: options[name]})), training=True)
