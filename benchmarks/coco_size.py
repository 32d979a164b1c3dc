"""Makes a COCO annotation file of any size with made-up polygons, and images that are never opened.

    python -m benchmarks.coco_size OUT --images 118287

Numbers are as in COCO's training set: 6.9 polygons an image of 44 corners on average, two decimals, in an
order that has nothing to do with that of the images. All images are links to a few files of a few bytes.
"""

import argparse
import json
import pathlib

import numpy as np

PER_IMAGE = 814_162 / 118_287
CLASSES = 80
LINKS = 50_000  # that many names a file can have
HEADER = {"info": {"description": "made up"}, "licenses": []}


def write(folder: pathlib.Path, images: int, per_image: float = PER_IMAGE, seed: int = 0) -> pathlib.Path:
    """Writes ``annotations.json`` and ``images/`` and gives the path of the former.

    Args:
        folder: where to.
        images: how many.
        per_image: objects of an image on average.
        seed: of everything random.
    """
    random = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    names = [f"{number:012d}.jpg" for number in range(images)]
    for number, name in enumerate(names):
        one, path = folder / f"image_{number // LINKS}.jpg", folder / "images" / name
        if not one.exists():
            one.write_bytes(b"never opened")
        if not path.exists():
            path.hardlink_to(one)
    path = folder / "annotations.json"
    objects = round(images * per_image)
    with path.open("w") as file:
        file.write(json.dumps(HEADER)[:-1] + ', "images": [')
        for number, name in enumerate(names):
            entry = {"id": number, "file_name": name, "height": 480, "width": 640, "license": 1}
            file.write((", " if number else "") + json.dumps(entry))
        file.write('], "annotations": [')
        for number, owner in enumerate(random.integers(0, images, objects)):
            file.write((", " if number else "") + _annotation(random, number, int(owner)))
        categories = [{"id": i + 1, "name": f"class {i}", "supercategory": "all"} for i in range(CLASSES)]
        file.write('], "categories": ' + json.dumps(categories) + "}")
    return path


def _annotation(random: np.random.Generator, number: int, image: int) -> str:
    corners = 4 + int(random.geometric(1 / 40))
    center, radius = random.uniform([80, 80], [560, 400]), random.uniform(5, 80)
    angles = np.sort(random.uniform(0, 2 * np.pi, corners))
    reach = radius * random.uniform(0.6, 1, corners)
    points = center + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]
    points = points.round(2)
    low, high = points.min(0), points.max(0)
    width, height = (high - low).round(2).tolist()
    entry = {
        "segmentation": [points.reshape(-1).tolist()],
        "area": round(width * height * 0.7, 4),
        "iscrowd": 0,
        "image_id": image,
        "bbox": [*low.tolist(), width, height],
        "category_id": 1 + int(random.integers(0, CLASSES)),
        "id": number + 1,
    }
    return json.dumps(entry)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--images", type=int, default=118_287)
    parser.add_argument("--per-image", type=float, default=PER_IMAGE)
    options = parser.parse_args()
    path = write(options.folder, options.images, options.per_image)
    print(f"{path}: {path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
