"""Class maps of whole images (COCO-Stuff): one PNG per image, a class per pixel, 255 for none."""

import os
from typing import Any

import numpy as np
import tensorflow as tf

from kdet.data import decoding, files
from kdet.data.folders import ImageFolder
from kdet.data.records import Records
from kdet.errors import DataError, MissingFile
from kdet.typing import PathLike

IGNORED = 255


def attach(records: Records, folder: PathLike, on_missing: str, skips: Any, where: PathLike) -> Records:
    """The records with the path of their map, which has the image's name with the ending ``png``.

    Args:
        records: the images.
        folder: of the maps.
        on_missing: "error", or "skip" to leave out images without a map, counted in ``skips``.
        where: what lists the images, for messages.

    Raises:
        FileNotFoundError: naming the map.
    """
    maps, found = ImageFolder(folder, "data.semantic"), {}
    for position, image in enumerate(records.names):
        name = os.path.splitext(image)[0] + ".png"
        place = maps.find(name)
        if place is None:
            path = os.path.join(maps.root, name)
            if on_missing == "error":
                raise MissingFile(
                    f"{where}: there is no class map {path}. Check data.semantic, or set data.on_missing: "
                    "skip to leave such images out."
                )
            skips.add("class map missing", path)
        else:
            found[position] = place
    return records.take(list(found)).with_columns(semantic=list(found.values()))


def moved(record: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The classes ``[H,W]`` int32 of a record's map at source rows ``[H]`` and columns ``[W]`` (-1: outside).

    Raises:
        ValueError: the map is no PNG or has another size than the image.
    """
    if record.segments is not None:
        classes = record.segments.classes(record.height, record.width)
    else:
        classes = _read(record.semantic)
    if classes.shape != (record.height, record.width):
        raise DataError(
            f"The class map {record.semantic} is {classes.shape[0]}x{classes.shape[1]} (h x w) but its "
            f"image {record.height}x{record.width}."
        )
    found = classes[np.maximum(rows, 0)][:, np.maximum(columns, 0)].astype(np.int32)
    found[rows < 0] = IGNORED
    found[:, columns < 0] = IGNORED
    return found


def _read(path: str) -> np.ndarray:
    """The values ``[h, w]`` of a PNG with one channel."""
    encoded = files.read_bytes(path, "class map")
    try:
        if decoding.kind_of(encoded) != "png":
            raise decoding.CorruptImage("is another kind of image")
        decoding.stored_size(encoded)
        with tf.device("CPU"):
            classes = tf.io.decode_png(encoded).numpy()
    except decoding.CorruptImage as error:
        raise DataError(f"The class map {path} is no readable PNG: it {error}.") from error
    except tf.errors.OpError as error:
        raise DataError(f"The class map {path} is no readable PNG.") from error
    if classes.shape[2] != 1:
        raise DataError(f"The class map {path} has {classes.shape[2]} channels; it must have one.")
    return classes[..., 0]
