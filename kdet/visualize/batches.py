"""What the network sees: batches of the data pipeline as images."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdet.data import masks as packed_masks
from kdet.typing import Array
from kdet.visualize.drawing import draw

_FRAME = np.array([255, 160, 0], np.uint8)


def draw_batch(
    inputs: Mapping[str, Any],
    targets: Mapping[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
) -> list[Array]:
    """The images of one batch with their targets drawn in, padding included.

    Ignore regions are dimmed and a line marks where the image ends and padding begins.

    Args:
        inputs, targets: one element of a ``Pipeline`` dataset.
        class_names: names by label.

    Returns:
        list of ``[H, W, 3]`` uint8 RGB, one per row of the batch.
    """
    inputs = {k: np.asarray(v) for k, v in inputs.items()}
    targets = {k: np.asarray(v) for k, v in (targets or {}).items()}
    drawn = []
    for row, image in enumerate(inputs["images"]):
        image = np.clip(np.rint(image), 0, 255).astype(np.uint8)
        for x1, y1, x2, y2 in targets.get("ignore_boxes", np.zeros((row + 1, 0, 4)))[row].round().astype(int):
            image[y1:y2, x1:x2] //= 3
        if targets:
            found: dict[str, Any] = {}
            if "masks" in targets:
                found["masks"] = packed_masks.unpack(targets["masks"][row], image.shape[1])
            image = draw(image, targets["boxes"][row], targets["labels"][row], class_names, **found)
        height, width = inputs["valid_size"][row].astype(int)
        image[height : height + 1, :width] = _FRAME
        image[:height, width : width + 1] = _FRAME
        drawn.append(image)
    return drawn


def grid(images: Sequence[Array], columns: int | None = None, gap: int = 8) -> Array:
    """Images of any sizes in rows on one white sheet, ``[H, W, 3]`` uint8."""
    if not images:
        raise ValueError("grid: there is no image to show.")
    columns = columns or math.ceil(math.sqrt(len(images)))
    height, width = np.max([p.shape[:2] for p in images], axis=0) + gap
    rows = math.ceil(len(images) / columns)
    sheet = np.full((rows * height - gap, min(columns, len(images)) * width - gap, 3), 255, np.uint8)
    for number, image in enumerate(images):
        y, x = number // columns * height, number % columns * width
        sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
    return sheet
