"""A small data set without a download: drawn circles, squares and triangles, with masks.

What ``make demo`` and the notebooks train on; also something to try a recipe or a reader with.
"""

import json
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf
from pycocotools import mask as coco_mask

from kdet.typing import Array, PathLike
from kdet.writing import check_target

SHAPES = ("circle", "square", "triangle")
LEAST_PIXELS = 60


def draw_shapes(folder: PathLike, side: int = 96, seed: int = 0, **splits: int) -> pathlib.Path:
    """Draws images of shapes and writes them as a data set of COCO's format.

    Args:
        folder: gets ``<split>.json`` and ``images/<split>/0000.png`` ...; must not exist, or be empty.
        side: height and width of the images, pixels.
        seed: of the first split; each has its own, so none holds an image of another.
        **splits: how many images each split has; by default ``train=240, val=24``.

    Returns:
        The folder, which ``kdet train --data`` and :func:`kdet.data.data_sets` take.

    Raises:
        OSError: ``folder`` holds something, or cannot be written.
        ValueError: a split without images, or images too small for a shape.

    Example:
        >>> folder = draw_shapes("shapes", train=100, val=20)
        >>> sorted(path.name for path in folder.iterdir())
        ['images', 'train.json', 'val.json']
    """
    folder = pathlib.Path(folder)
    splits = splits or {"train": 240, "val": 24}
    if side < 48:
        raise ValueError(f"side is {side}: shapes take 48 pixels at least.")
    if few := [name for name, count in splits.items() if count < 1]:
        raise ValueError(f"The split '{few[0]}' has {splits[few[0]]} images: give 1 at least.")
    check_target(folder, folder=True, what="data set")
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: choose another folder for the drawn images.")
    for number, (split, count) in enumerate(splits.items()):
        _write_split(folder, split, count, side, np.random.default_rng(seed + number))
    return folder


def scene(random: np.random.Generator, side: int = 96) -> tuple[Array, list[tuple[int, Array]]]:
    """Draws one image with one to four shapes.

    Shapes stand out from the ground, and cover little of one another: what a person would name at once.

    Args:
        random: where everything is drawn from.
        side: height and width, pixels.

    Returns:
        The image ``[side, side, 3]`` uint8, and ``[(label, visible mask [side, side] bool), ...]``, labels in
        the order of :data:`SHAPES`.
    """
    ground = random.uniform(40, 200, 3)
    image = random.normal(ground, 12, (side, side, 3))
    y, x = np.mgrid[:side, :side] + 0.5
    shapes: list[tuple[int, Array]] = []
    for _ in range(random.integers(1, 5)):
        label, radius = int(random.integers(3)), random.uniform(8, 22)
        cx, cy = random.uniform(radius, side - radius, 2)
        u, v = (x - cx) / radius, (y - cy) / radius  # the shape fills -1..1
        inside = (
            u**2 + v**2 <= 1,
            (abs(u) <= 0.85) & (abs(v) <= 0.85),
            (v <= 0.8) & (v >= 2 * abs(u) - 1),
        )[label]
        if any((inside & mask).sum() > 0.3 * min(inside.sum(), mask.sum()) for _, mask in shapes):
            continue
        color = (ground + random.uniform(70, 185, 3)) % 255
        image[inside] = random.normal(color, 8, (inside.sum(), 3))
        shapes = [(other, mask & ~inside) for other, mask in shapes] + [(label, inside)]
    image = np.clip(image, 0, 255).astype(np.uint8)
    return image, [(label, mask) for label, mask in shapes if mask.sum() >= LEAST_PIXELS]


def _write_split(
    folder: pathlib.Path, split: str, count: int, side: int, random: np.random.Generator
) -> None:
    images = folder / "images" / split
    images.mkdir(parents=True)
    content: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(SHAPES)],
    }
    for i in range(count):
        image, shapes = scene(random, side)
        name = f"{i:04d}.png"
        (images / name).write_bytes(tf.io.encode_png(image).numpy())
        content["images"].append({"id": i, "file_name": name, "height": side, "width": side})
        for label, mask in shapes:
            rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": i,
                    "category_id": label + 1,
                    "bbox": coco_mask.toBbox(rle).tolist(),
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
                }
            )
    (folder / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")
