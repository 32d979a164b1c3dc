"""Instance masks: rasterized at the image's own size, moved by index maps, packed to bits.

Every geometric transform of the pipeline is separable, so a whole chain of crops, resizes, flips and
pads is two integer vectors: which source row and which source column each output row and column copies
(-1: outside). Applying them to a mask is one gather, and it is the reference's nearest-neighbor rule.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from pycocotools import mask as coco_mask

from kdet.data import decoding, segmentations
from kdet.errors import DataError, first_line
from kdet.typing import Pair, Rle


def encode(segmentation: Any, height: int, width: int) -> Rle:
    """COCO polygons, RLE (compressed or not), or PNG bytes -> one compressed RLE (``counts`` a string).

    Raises:
        DataError: it cannot be rasterized, or is for an image of another size.
    """
    if isinstance(segmentation, bytes):
        return encode_pixels(_png(segmentation, height, width))
    reason = segmentations.fault(segmentation, height, width)
    if reason:
        raise DataError(f"A segmentation cannot be used: {reason}.")
    if isinstance(segmentation, list):
        polygons = [p for p in segmentation if len(p) >= 6]
        rle = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    elif isinstance(segmentation["counts"], list):
        rle = coco_mask.frPyObjects(segmentation, height, width)
    else:
        rle = dict(segmentation)
    counts = rle["counts"]
    return {"size": [height, width], "counts": counts.decode() if isinstance(counts, bytes) else counts}


def encode_pixels(pixels: np.ndarray) -> Rle:
    """One mask ``[h, w]`` -> its compressed RLE."""
    rle = coco_mask.encode(np.asfortranarray(pixels > 0, np.uint8))
    return {"size": list(pixels.shape), "counts": rle["counts"].decode()}


def encode_part(pixels: np.ndarray, place: Pair, size: Pair) -> Rle:
    """A mask ``[h, w]`` with its upper left pixel at ``place`` (row, column) of an image ``size`` (h, w)."""
    whole = np.zeros(size, np.uint8, order="F")
    whole[place[0] : place[0] + pixels.shape[0], place[1] : place[1] + pixels.shape[1]] = pixels
    return encode_pixels(whole)


def _png(encoded: bytes, height: int, width: int) -> np.ndarray:
    try:
        size = decoding.stored_size(encoded)
        if size != (height, width):
            raise DataError(f"A mask of size {size} belongs to an image of {(height, width)}.")
        with tf.device("CPU"):
            return tf.io.decode_png(encoded, channels=1).numpy()[..., 0]
    except (decoding.CorruptImage, tf.errors.OpError) as error:
        raise DataError(f"An instance mask is no readable PNG: it {first_line(error)}.") from error


def of_counts(counts: Iterable[bytes], height: int, width: int) -> list[Rle]:
    """The ``counts`` of several compressed RLEs (bytes) -> the RLEs."""
    return [{"size": [height, width], "counts": one} for one in counts]


def moved(rle: Rle, rows: np.ndarray, columns: np.ndarray) -> Rle:
    """One compressed RLE after a chain of transforms, by its index maps ``[H]`` and ``[W]`` (-1: outside)."""
    height, width = rle["size"]
    if _identity(rows, height) and _identity(columns, width):
        return rle
    pixels = coco_mask.decode(rle)[np.maximum(rows, 0)][:, np.maximum(columns, 0)]
    pixels[rows < 0], pixels[:, columns < 0] = 0, 0
    encoded = coco_mask.encode(np.asfortranarray(pixels))
    return {"size": [len(rows), len(columns)], "counts": encoded["counts"]}


def _identity(index: np.ndarray, length: int) -> bool:
    return len(index) == length and np.array_equal(index, np.arange(length))


def area(rle: Rle) -> float:
    """Pixels of a compressed RLE."""
    return float(coco_mask.area(rle))


def bounds(rle: Rle) -> list[float]:
    """``[x, y, w, h]`` around the pixels of a compressed RLE."""
    return [float(v) for v in coco_mask.toBbox(rle)]


def rasterize(segmentation: Any, height: int, width: int) -> np.ndarray:
    """One object's mask ``[h, w]`` uint8, 0 or 1."""
    return coco_mask.decode(encode(segmentation, height, width))


def transformed(
    segmentations: Sequence[Any], size: Pair, rows: np.ndarray, columns: np.ndarray, count: int
) -> np.ndarray:
    """Masks of several objects after a chain of transforms, packed.

    Args:
        segmentations: one per object (see ``encode``).
        size: (h, w) of the image they belong to.
        rows: int ``[H]`` source row of every output row, -1 for none.
        columns: int ``[W]`` likewise.
        count: rows of the result; objects beyond it are dropped.

    Returns:
        uint8 ``[count, H, ceil(W/8)]``, most significant bit first (``np.packbits(axis=-1)``).
    """
    packed = np.zeros((count, len(rows), (len(columns) + 7) // 8), np.uint8)
    outside, columns = columns < 0, np.maximum(columns, 0)
    for target, segmentation in zip(packed, segmentations, strict=False):
        rle = encode(segmentation, *size)
        top, height = (int(v) for v in coco_mask.toBbox(rle)[[1, 3]])  # other rows are empty
        wide = coco_mask.decode(rle).T[columns, top : top + height]  # [W, height]; decode gives columns
        wide[outside] = 0
        narrow = np.packbits(wide.T, axis=-1)
        inside = np.flatnonzero((rows >= top) & (rows < top + height))
        target[inside] = narrow[rows[inside] - top]  # rows last: they are bytes by now
    return packed


def unpack(packed: np.ndarray, width: int) -> np.ndarray:
    """``[..., H, ceil(W/8)]`` packed bits -> ``[..., H, width]`` uint8 0/1 (NumPy)."""
    return np.unpackbits(packed, axis=-1, count=width)
