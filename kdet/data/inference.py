"""Pictures of any size and kind -> the inputs of a detector, by the pixel rule of the pipeline."""

import functools

import numpy as np
import tensorflow as tf

from kdet.data import buckets, pictures, resize
from kdet.data import spec as specs


def preprocess_pictures(given, size=None, *, divisor=None, shapes=None):
    """One batch of inputs.

    Args:
        given: list of pictures: paths, encoded bytes, or RGB arrays ``[h, w, 3]`` of 0..255.
        size: the ``resize`` section of a data spec, or a (long, short) limit; default (1333, 800).
        divisor: canvas sides are multiples of it; default 32, or 1 for a fixed size.
        shapes: canvas shapes (h, w) to choose from; default ``bucket_shapes``.

    Returns:
        dict of tensors: ``images [B,H,W,3]`` uint8, ``valid_size``, ``original_size``, ``scale`` (float32
        ``[B,2]``). The canvas is the smallest bucket that holds all pictures; for pictures that share none
        (wide and tall ones) it is a square that does. ``batches`` avoids that.

    Raises:
        FileNotFoundError, CorruptPicture, TypeError: naming the picture.
    """
    rule = _SizeRule(size, divisor, shapes)
    return _stack([rule.resized(picture) for picture in given], rule.shapes)


def batches(given, size=None, *, batch_size=1, divisor=None, shapes=None):
    """Cuts many pictures into batches of one bucket shape each, reading them one by one.

    Args:
        given: iterable of pictures; the other arguments are those of ``preprocess_pictures``.
        batch_size: rows of every batch. The last batch of a bucket repeats its last picture, so that a
            model is traced once per bucket.

    Yields:
        ``(positions, inputs)``: which of ``given`` the first ``len(positions)`` rows are. Buckets fill up
        at their own pace, so the positions do not come in order.
    """
    rule = _SizeRule(size, divisor, shapes)
    waiting = {}
    for position, picture in enumerate(given):
        row = rule.resized(picture)
        bucket = buckets.choose_bucket(row["image"].shape[:2], rule.shapes)
        group = waiting.setdefault(bucket, [])
        group.append((position, row))
        if len(group) == batch_size:
            yield _batch(waiting.pop(bucket), batch_size, rule.shapes)
    for group in waiting.values():
        yield _batch(group, batch_size, rule.shapes)


def _batch(group, batch_size, shapes):
    rows = [row for _, row in group]
    rows += rows[-1:] * (batch_size - len(rows))
    return [position for position, _ in group], _stack(rows, shapes)


class _SizeRule:
    def __init__(self, size, divisor, shapes):
        rule = specs.complete_resize(size)
        if len(rule["sizes"]) > 1 or rule["ratio_range"]:
            raise ValueError(f"Prediction takes one size; got {rule['sizes']}.")
        self.limit, self.fixed = rule["sizes"][0], rule["mode"] == "fixed"
        self.shapes = shapes or specs.canvas_shapes(self.limit, self.fixed, divisor)

    def resized(self, picture):
        image = pictures.load(picture)
        source = image.shape[:2]
        if 0 in source:
            raise pictures.CorruptPicture(f"A picture of size {source} holds nothing.")
        target = tuple(self.limit[::-1]) if self.fixed else resize.fitted(source, self.limit)
        if target != source:
            image = _resizer()(tf.constant(image), tf.constant(target)).numpy()
        return {"image": image, "original_size": source}


@functools.cache
def _resizer():
    signature = [tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([2], tf.int32)]
    return tf.function(resize.resize_bilinear, input_signature=signature)


def _stack(rows, shapes):
    if not rows:
        raise ValueError("No picture was given.")
    sizes = np.array([row["image"].shape[:2] for row in rows])
    bucket = buckets.choose_bucket(sizes, shapes)
    canvas = shapes[bucket] if bucket >= 0 else np.max([*shapes, *sizes], axis=0)
    images = np.zeros((len(rows), *canvas, 3), np.uint8)
    for image, row in zip(images, rows, strict=True):
        h, w = row["image"].shape[:2]
        image[:h, :w] = row["image"]
    originals = np.array([row["original_size"] for row in rows])
    return {
        "images": tf.constant(images),
        "valid_size": tf.constant(sizes, tf.float32),
        "original_size": tf.constant(originals, tf.float32),
        "scale": tf.constant(sizes / originals, tf.float32),
    }
