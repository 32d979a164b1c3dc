"""Small data sets in the formats of labelling tools, all of the same two images with the same objects.

``a.png`` is 40x60 (h x w) and has a cat, box [10, 5, 30, 25], and a dog, polygon [30, 10, 50, 10, 40, 30];
``b.png`` is 20x30 and has none.
"""

import base64
import json

import numpy as np
import tensorflow as tf

SIZES = {"a.png": (40, 60), "b.png": (20, 30)}
CAT = [10.0, 5.0, 30.0, 25.0]
DOG = [30.0, 10.0, 50.0, 10.0, 40.0, 30.0]


def png(height, width, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    return tf.io.encode_png(pixels).numpy()


def images(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, size) in enumerate(SIZES.items()):
        (folder / name).write_bytes(png(*size, seed))
    return folder


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def yolo(root, lines=None, **yaml):
    """A YOLO folder with a split "train" of both images and a "val" of the first."""
    images(root / "images" / "train")
    (root / "images" / "val").mkdir(parents=True)
    (root / "images" / "val" / "a.png").write_bytes(png(*SIZES["a.png"]))
    cat = "0 0.333333333 0.375 0.333333333 0.5"
    dog = "1 " + " ".join(str(v / (40 if i % 2 else 60)) for i, v in enumerate(DOG))
    text = "\n".join([cat, dog] if lines is None else lines)
    for split in ("train", "val"):
        write(root / "labels" / split / "a.txt", text)
    content = {
        "path": ".",
        "train": "images/train",
        "val": "images/val",
        "names": {0: "cat", 1: "dog"},
        **yaml,
    }
    return write(
        root / "data.yaml", "\n".join(f"{key}: {json_yaml(value)}" for key, value in content.items())
    )


def json_yaml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {json.dumps(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)


def labelme_shapes():
    return [
        {"label": "cat", "points": [CAT[:2], CAT[2:]], "shape_type": "rectangle", "group_id": None},
        {"label": "dog", "points": [DOG[:2], DOG[2:4], DOG[4:]], "shape_type": "polygon", "group_id": None},
    ]


def labelme(root, shapes=None, **content):
    images(root)
    shapes = labelme_shapes() if shapes is None else shapes
    base = {"version": "5.4.1", "flags": {}, "imagePath": "a.png", "imageData": None}
    write(root / "a.json", {**base, "shapes": shapes, "imageHeight": 40, "imageWidth": 60, **content})
    empty = {**base, "imagePath": "b.png", "shapes": [], "imageHeight": 20, "imageWidth": 30}
    write(root / "b.json", empty)
    return str(root)


def labelme_mask(pixels):
    encoded = tf.io.encode_png(np.uint8(pixels)[..., None] * 255).numpy()
    return base64.b64encode(encoded).decode()


CVAT_SHAPES = """
  <box label="cat" source="manual" occluded="0" xtl="10.0" ytl="5.0" xbr="30.0" ybr="25.0" z_order="0"/>
  <polygon label="dog" source="manual" occluded="0" points="30.0,10.0;50.0,10.0;40.0,30.0" z_order="0"/>"""


def cvat(root, shapes=CVAT_SHAPES, size=(40, 60), name="a.png"):
    images(root / "images")
    height, width = size
    return write(
        root / "annotations.xml",
        f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
 <meta><task><name>t</name><labels>
  <label><name>cat</name><attributes></attributes></label><label><name>dog</name></label>
 </labels></task></meta>
 <image id="0" name="{name}" width="{width}" height="{height}">{shapes}</image>
 <image id="1" name="b.png" width="30" height="20"></image>
</annotations>""",
    )


def label_studio_results():
    size = {"original_width": 60, "original_height": 40, "image_rotation": 0}
    box = {"x": 10 / 0.6, "y": 12.5, "width": 20 / 0.6, "height": 50.0, "rotation": 0}
    corners = [[x / 0.6, y / 0.4] for x, y in zip(DOG[::2], DOG[1::2])]
    return [
        {**size, "id": "r1", "type": "rectanglelabels", "value": {**box, "rectanglelabels": ["cat"]}},
        {**size, "id": "r2", "type": "polygonlabels", "value": {"points": corners, "polygonlabels": ["dog"]}},
    ]


def label_studio(root, results=None, image="/data/upload/3/0a1b2c3d-a.png", **task):
    images(root / "images")
    results = label_studio_results() if results is None else results
    first = {"id": 7, "data": {"image": image}, "annotations": [{"id": 1, "result": results}], **task}
    second = {"id": 8, "data": {"image": "s3://bucket/b.png"}, "annotations": [{"id": 2, "result": []}]}
    return write(root / "export.json", [first, second])


def open_images(root, rows=None):
    images(root / "images")
    for name in SIZES:
        path = root / "images" / name
        path.rename(path.with_suffix(".jpg"))
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf"
    rows = [
        "a,xclick,/m/01yrx,1,0.1666667,0.5,0.125,0.625,0,0,0",
        "a,xclick,/m/0bt9lr,1,0.5,0.8333333,0.25,0.75,0,0,0",
    ] if rows is None else rows  # fmt: skip
    write(root / "class-descriptions-boxable.csv", "/m/01yrx,cat\n/m/0bt9lr,dog\n/m/0pg52,taxi\n")
    return write(root / "train-annotations-bbox.csv", "\n".join([header, *rows]) + "\n")
