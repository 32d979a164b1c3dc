"""Batches of recipes over small drawn data sets, as numbers to compare.

``python -m tests.data.recorded [RECIPE ...]`` writes them to ``tests/golden/batches.json``: only when a batch
is meant to change.
"""

import hashlib
import json
import pathlib
import sys
import tempfile

import numpy as np
from PIL import Image

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "batches.json"
SEED, STEPS, BATCH = 5, 2, 2
SIZES = [(60, 80), (90, 61), (64, 64), (70, 100), (50, 140), (48, 36)]  # (h, w) of the images
RECIPES = [
    "ssd300",
    "yolov3_d53_mstrain-608_273e",
    "mask_rcnn_r50_fpn_mstrain-poly_3x",
    "mask_rcnn_r50_caffe_fpn_mstrain_1x",
    "htc_r50_fpn_1x",
    "mask_rcnn_r50_fpn_albu_1x",
    "mask_rcnn_r50_fpn_instaboost_4x",
    "mask_rcnn_r50_fpn_sample1e-3_mstrain_1x_lvis_v1",
    "mask_rcnn_r50_fpn_1x_cityscapes",
    "ssd300_wider_face",
    "cornernet_hourglass104_mstest_8x6_210e",
    "faster_rcnn_r50_fpn_1x_voc0712",
    "yolof_r50_c5_8x8_1x",
    "detr_r50_8x2_150e",
    "yolact_r50_1x8",
    "retinanet_r50_fpn_crop640_50e",
    "fast_rcnn_r50_fpn_1x",
]


def drawing(number, size):
    """A smooth image ``[h, w, 3]`` and the corners ``[n, 4]`` of its objects."""
    random = np.random.default_rng(number)
    h, w = size
    small = Image.fromarray(random.integers(0, 256, (h // 6, w // 6, 3), np.uint8))
    image = np.array(small.resize((w, h), Image.Resampling.BICUBIC))
    low = random.integers(0, [w // 2, h // 2], (3, 2))
    high = low + random.integers(12, [w // 2, h // 2], (3, 2))
    return image, np.concatenate([low, high], axis=1).tolist()


def write_coco(folder, names):
    """``coco.json`` with polygons and one crowd, class maps, and proposals."""
    content = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": i + 1, "name": name} for i, name in enumerate(names)]
    proposals = {}
    (folder / "maps").mkdir()
    for number, size in enumerate(SIZES):
        image, corners = drawing(number, size)
        Image.fromarray(image).save(folder / f"{number}.png")
        Image.fromarray(np.uint8(image[..., 0] // 2)).save(folder / "maps" / f"{number}.png")
        proposals[str(number)] = np.float32([[*box, 0.5] for box in corners])
        content["images"].append(
            {"id": number, "file_name": f"{number}.png", "height": size[0], "width": size[1]}
        )
        for i, (x1, y1, x2, y2) in enumerate(corners):
            polygon = [x1, y1, x2, y1 + 2, x2 - 1, y2, x1 + 3, y2 - 1]
            entry = {"id": len(content["annotations"]) + 1, "image_id": number, "area": 90}
            entry.update(category_id=1 + (number + i) % len(names), iscrowd=int(i == 2 and number % 2))
            entry.update(bbox=[x1, y1, x2 - x1, y2 - y1], segmentation=[polygon])
            content["annotations"].append(entry)
    (folder / "coco.json").write_text(json.dumps(content))
    np.savez(folder / "proposals.npz", **proposals)


def write_voc(folder, names):
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / part).mkdir(parents=True)
    for number, size in enumerate(SIZES):
        image, corners = drawing(number, size)
        Image.fromarray(image).save(folder / "JPEGImages" / f"{number}.png")
        objects = ""
        for i, box in enumerate(corners):
            sides = "".join(
                f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
            )
            objects += (
                f"<object><name>{names[(number + i) % len(names)]}</name><bndbox>{sides}</bndbox></object>"
            )
        (folder / "Annotations" / f"{number}.xml").write_text(f"<annotation>{objects}</annotation>")
    text = "".join(f"{number}\n" for number in range(len(SIZES)))
    (folder / "ImageSets" / "Main" / "all.txt").write_text(text)
    # every class must occur for `classes` to be read
    every = "".join(
        f"<object><name>{name}</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>40</xmax><ymax>40</ymax>"
        "</bndbox></object>"
        for name in names
    )
    (folder / "Annotations" / "0.xml").write_text(f"<annotation>{every}</annotation>")


def write_city(folder, names):
    for number, size in enumerate(SIZES):
        image, corners = drawing(number, size)
        classes = np.full(size, 7, np.uint16)
        for i, (x1, y1, x2, y2) in enumerate(corners):
            classes[y1:y2, x1:x2] = (24000 + i, 26000 + i, 33)[i]
        stem = f"aachen/aachen_{number:06}_000019"
        for part, ending, pixels in (
            ("gtFine", "_gtFine_instanceIds.png", classes),
            ("leftImg8bit", "_leftImg8bit.png", image),
        ):
            path = folder / part / f"{stem}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def write_faces(folder, names):
    text = ""
    for number, size in enumerate(SIZES):
        image, corners = drawing(number, size)
        Image.fromarray(image).save(folder / f"{number}.png")
        text += f"{number}.png\n{len(corners)}\n"
        for x1, y1, x2, y2 in corners:
            text += f"{x1} {y1} {x2 - x1} {y2 - y1} 0 0 0 0 0 0\n"
    (folder / "faces.txt").write_text(text)


# by the word in a recipe's name: what writes the data set, its annotations and its images
SETS = {
    "voc0712": (write_voc, "ImageSets/Main/all.txt", ""),
    "cityscapes": (write_city, "gtFine", "leftImg8bit"),
    "wider_face": (write_faces, "faces.txt", ""),
    "coco": (write_coco, "coco.json", ""),
}


def section_of(recipe, split, folder):
    """The data section of a recipe over the drawn data set in ``folder``, which is written if it is empty."""
    import kdet.data

    word = next((word for word in SETS if word in recipe.name), "coco")
    write, annotations, images = SETS[word]
    if not any(folder.iterdir()):
        write(folder, recipe["data"]["classes"])
    spec = kdet.data.section(recipe, split)
    spec.update(annotations=str(folder / annotations), images=str(folder / images))
    for key, name in (("semantic", "maps"), ("proposals", "proposals.npz")):
        if spec.get(key):
            spec[key] = str(folder / name)
    spec.pop("difficulty_lists", None)
    if split == "train":  # they were recorded before the sizes of training came in parts
        spec["transforms"] = [
            {**one, "parts": 1} if one["type"] == "Resize" else one for one in spec["transforms"]
        ]
    return spec


def numpy(tensors):
    """Tensors by name as arrays."""
    return {key: value.numpy() for key, value in tensors.items()}


def widened(targets, pipeline):
    """Targets with room for the most objects: they were recorded before batches had their own."""
    found = numpy(targets)
    for key in ("boxes", "labels", "masks"):
        if key in found:
            missing = pipeline.max_boxes - found[key].shape[1]
            width = [(0, 0), (0, missing), *[(0, 0)] * (found[key].ndim - 2)]
            found[key] = np.pad(found[key], width, constant_values=-1 if key == "labels" else 0)
    return found


def numbers_of(value):
    """What is compared of one tensor of a batch: ``[dtype, shape, hash, weighted sum, sum of sizes]``."""
    value = np.ascontiguousarray(value)
    weights = np.random.default_rng(0).random(value.size, np.float32)
    flat = value.reshape(-1).astype(np.float64)
    digest = hashlib.sha256(value.tobytes()).hexdigest()[:16]
    return [str(value.dtype), list(value.shape), digest, float(flat @ weights), float(abs(flat).sum())]


def batches_of(name, folder):
    """``{split: {"shapes", "steps", "batches": [{key: numbers}]}}`` of a recipe."""
    import kdet.data
    from kdet.config import Config

    recipe, found = Config.load(name), {}
    for split in ("train", "val"):
        training = split == "train"
        spec = section_of(recipe, split, folder)
        pipeline = kdet.data.load(spec, training=training, batch_size=BATCH, seed=SEED)
        rows = [
            {key: numbers_of(value) for key, value in {**numpy(inputs), **widened(targets, pipeline)}.items()}
            for inputs, targets in pipeline.dataset().take(STEPS if training else 1)
        ]
        shapes = [list(map(int, shape)) for shape in pipeline.shapes]
        found[split] = {"shapes": shapes, "steps": pipeline.steps_per_epoch, "batches": rows}
    return found


def main():
    found = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    for name in sys.argv[1:] or RECIPES:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = batches_of(name, pathlib.Path(folder))
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in found.items())
    GOLDEN.write_text(f"{{\n{rows}\n}}\n")


if __name__ == "__main__":
    main()
