"""Pictures of any size and kind -> the inputs of a detector, by the pixel rule of the pipeline."""

import functools

import numpy as np
import tensorflow as tf

from kdet.data import buckets, pictures, resize
from kdet.data import spec as specs


def preprocess_pictures(given, size=None, *, divisor=None, center_pad=None, shapes=None):
    """One batch of inputs.

    Args:
        given: list of pictures: paths, encoded bytes, or RGB arrays ``[h, w, 3]`` of 0..255.
        size: the ``resize`` section of a data spec, a (long, short) limit, or a factor of the picture's own
            size; default (1333, 800).
        divisor: canvas sides are multiples of it; default 32, or 1 for a fixed size.
        center_pad: for factors: canvas sides are ``side | center_pad``.
        shapes: canvas shapes (h, w) to choose from; default ``bucket_shapes``.

    Returns:
        dict of tensors: ``images [B,H,W,3]`` uint8, ``valid_size``, ``original_size``, ``scale`` (float32
        ``[B,2]``). The canvas is the smallest bucket that holds all pictures; for pictures that share none
        (wide and tall ones) it is a square that does. ``batches`` avoids that.

    Raises:
        FileNotFoundError, CorruptPicture, TypeError: naming the picture.
    """
    rule = _SizeRule(size, divisor, center_pad, shapes)
    rows = [rule.resized(_loaded(picture)) for picture in given]
    if not rows:
        raise ValueError("No picture was given.")
    return _stack(rows, rule.canvas([row["image"].shape[:2] for row in rows]))


def batches(given, sizes=(None,), *, batch_size=1, divisor=None, center_pad=None, shapes=None):
    """Cuts many pictures into batches of one bucket shape each, reading them one by one.

    Args:
        given: iterable of pictures.
        sizes: list of the sizes that every picture is wanted in.
        batch_size: rows of every batch. The last batch of a bucket repeats its last picture, so that a
            model is traced once per bucket.
        other arguments: as in ``preprocess_pictures``, which also says what a size is.

    Yields:
        ``(positions, [inputs of every size])``: which of ``given`` the first ``len(positions)`` rows are.
        Buckets fill up at their own pace, so the positions do not come in order.
    """
    rules = [_SizeRule(size, divisor, center_pad, shapes) for size in sizes]
    waiting = {}
    for position, picture in enumerate(given):
        image = _loaded(picture)
        views = [rule.resized(image) for rule in rules]
        bucket = tuple(rule.canvas([v["image"].shape[:2]]) for rule, v in zip(rules, views, strict=True))
        group = waiting.setdefault(bucket, [])
        group.append((position, views))
        if len(group) == batch_size:
            yield _batch(waiting.pop(bucket), batch_size, bucket)
    for bucket, group in waiting.items():
        yield _batch(group, batch_size, bucket)


def _batch(group, batch_size, canvases):
    rows = [views for _, views in group]
    rows += rows[-1:] * (batch_size - len(rows))
    inputs = [_stack(views, canvas) for views, canvas in zip(zip(*rows), canvases, strict=True)]
    return [position for position, _ in group], inputs


def _loaded(picture):
    image = pictures.load(picture)
    if 0 in image.shape[:2]:
        raise pictures.CorruptPicture(f"A picture of size {image.shape[:2]} holds nothing.")
    return image


class _SizeRule:
    def __init__(self, size, divisor, center_pad, shapes):
        rule = specs.complete_resize(size)
        if len(rule["sizes"]) > 1 or rule["ratio_range"]:
            raise ValueError(f"Prediction takes one size; got {rule['sizes']}.")
        self._limit, self._mode = rule["sizes"][0], rule["mode"]
        self._own = functools.partial(buckets.own_canvas, divisor=divisor or 32, center_pad=center_pad)
        self._shapes = shapes
        if not shapes and self._mode != "factor":
            self._shapes = specs.canvas_shapes(self._limit, self._mode == "fixed", divisor)

    def resized(self, image):
        """The picture in its new size, with its old one."""
        source = image.shape[:2]
        if self._mode == "fixed":
            target = tuple(self._limit[::-1])
        else:
            fit = resize.scaled if self._mode == "factor" else resize.fitted
            target = fit(source, self._limit)
        if target != source:
            image = _resizer()(tf.constant(image), tf.constant(target)).numpy()
        return {"image": image, "original_size": source}

    def canvas(self, sizes):
        """The canvas (h, w) for pictures of these sizes."""
        if self._shapes is None:
            return self._own(np.max(sizes, axis=0))
        bucket = buckets.choose_bucket(sizes, self._shapes)
        return tuple(self._shapes[bucket] if bucket >= 0 else np.max([*self._shapes, *sizes], axis=0))


@functools.cache
def _resizer():
    signature = [tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([2], tf.int32)]
    return tf.function(resize.resize_bilinear, input_signature=signature, autograph=False)


def _stack(rows, canvas):
    sizes = np.array([row["image"].shape[:2] for row in rows])
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
