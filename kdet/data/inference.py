"""Images of any size and kind -> the inputs of a detector, by the pixel and canvas rule of the pipeline."""

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kdet.data import buckets, decoding, resize
from kdet.data import spec as specs
from kdet.data.transforms import Resize
from kdet.inputs import check_canvas
from kdet.typing import Pair


def preprocess_images(
    given: Iterable[Any],
    size: Any = None,
    *,
    divisor: int | None = None,
    center_pad: int | None = None,
    shapes: Sequence[Pair] | None = None,
    canvas: str = "own",
    smallest: int = 1,
) -> dict[str, tf.Tensor]:
    """One batch of inputs.

    Args:
        given: list of images: paths, encoded bytes, or RGB arrays ``[h, w, 3]`` of 0..255.
        size: the keywords of a ``Resize``, a (long, short) limit, or a factor of the image's own
            size; default (1333, 800).
        divisor: canvas sides are multiples of it; default 32, or 1 for a fixed size.
        center_pad: for factors: canvas sides are ``side | center_pad``.
        shapes: canvas shapes (h, w) to choose from, instead of what ``canvas`` says.
        canvas: "own": the largest height and width of the resized images, rounded up, as MMDetection pads
            a batch. "buckets": the smallest of ``bucket_shapes`` that holds all images, or for images
            that share none (wide and tall ones) a square that does: few static shapes, for accelerators
            and XLA. What the detector sees behind an image differs, and with it what it finds, a little.
            Images in (a factor of) their own size, or of a fixed size, have no buckets.
        smallest: no side of a canvas is shorter. The one deviation from MMDetection: a model cannot be run on
            less than it was built on (``Detector.smallest``); it concerns images that are 20 times as long
            as wide, or small sizes.

    Returns:
        dict of tensors: ``images [B,H,W,3]`` uint8, ``valid_size``, ``original_size``, ``scale`` (float32
        ``[B,2]``).

    Raises:
        FileNotFoundError, CorruptImage, TypeError: naming the image.
        ValueError: no image, or another ``canvas``.
    """
    rule = SizeRule(size, divisor, center_pad, shapes, canvas, smallest)
    rows = [rule.resized(_loaded(one, position)) for position, one in enumerate(given)]
    if not rows:
        raise ValueError("No image was given.")
    return _stack(rows, rule)


def batches(
    given: Iterable[Any],
    sizes: Sequence[Any] = (None,),
    *,
    batch_size: int = 1,
    divisor: int | None = None,
    center_pad: int | None = None,
    shapes: Sequence[Pair] | None = None,
    canvas: str = "own",
    smallest: int = 1,
    ahead: int | None = None,
) -> Iterator[tuple[list[int], list[dict[str, tf.Tensor]]]]:
    """Cuts many images into batches of like shape, reading them one by one.

    Args:
        given: iterable of images.
        sizes: list of the sizes that every image is wanted in.
        batch_size: rows of every batch. Images that share a bucket go together, so that little of a canvas
            is padding. The last batch of a bucket repeats its last image: a model is traced for one
            number of rows.
        ahead: an image that found no others for its bucket among so many that came after it goes with those
            that it has; None lets it wait to the end.
        other arguments: as in ``preprocess_images``, which also says what a size is.

    Yields:
        ``(positions, [inputs of every size])``: which of ``given`` the first ``len(positions)`` rows are.
        Buckets fill up at their own pace, so the positions do not come in order.
    """
    rules = [SizeRule(size, divisor, center_pad, shapes, canvas, smallest) for size in sizes]
    waiting: dict[Any, Any] = {}
    for position, one in enumerate(given):
        image = _loaded(one, position)
        views = [rule.resized(image) for rule in rules]
        bucket = _bucket(rules, [v["image"].shape[:2] for v in views])
        group = waiting.setdefault(bucket, [])
        group.append((position, views))
        if len(group) == batch_size:
            yield _batch(waiting.pop(bucket), batch_size, rules)
        if ahead is not None and waiting:
            oldest = next(iter(waiting))  # groups stand in the order of their first images
            if position - waiting[oldest][0][0] >= ahead:
                yield _batch(waiting.pop(oldest), batch_size, rules)
    for group in waiting.values():
        yield _batch(group, batch_size, rules)


def planned_batches(
    image_sizes: Iterable[Pair], rules: "Sequence[SizeRule]", batch_size: int
) -> list[list[int]]:
    """The positions of the images that :func:`batches` puts together, batch by batch.

    Args:
        image_sizes: (h, w) of every image.
        rules: of the sizes that every image is wanted in.
        batch_size: rows of every batch.
    """
    waiting: dict[Any, list[int]] = {}
    found = []
    for position, size in enumerate(image_sizes):
        bucket = _bucket(rules, [rule.target(size) for rule in rules])
        group = waiting.setdefault(bucket, [])
        group.append(position)
        if len(group) == batch_size:
            found.append(waiting.pop(bucket))
    return [*found, *waiting.values()]


def _bucket(rules: "Sequence[SizeRule]", sizes: Sequence[Pair]) -> Any:
    """What images must share to go together: the bucket of every view, whose sizes these are."""
    return tuple(rule.bucket([size]) for rule, size in zip(rules, sizes, strict=True))


def _batch(
    group: list[Any], batch_size: int, rules: "Sequence[SizeRule]"
) -> tuple[list[int], list[dict[str, tf.Tensor]]]:
    rows = [views for _, views in group]
    rows += rows[-1:] * (batch_size - len(rows))
    inputs = [_stack(views, rule) for views, rule in zip(zip(*rows), rules, strict=True)]
    return [position for position, _ in group], inputs


def _loaded(given: Any, position: int) -> np.ndarray:
    """The pixels of one image; what has no name itself is named by its position."""
    try:
        image = decoding.load(given)
        if 0 in image.shape[:2]:
            raise decoding.CorruptImage(f"An image of size {image.shape[:2]} holds nothing.")
        return image
    except (decoding.CorruptImage, TypeError) as error:
        if isinstance(given, (str, os.PathLike)):
            raise
        raise type(error)(f"Image {position}, counted from 0: {error}") from error


class SizeRule:
    """Sizes of resized images and of their canvases.

    Args:
        size: the keywords of a ``Resize``, a (long, short) limit, or a factor of the image's own size;
            default (1333, 800).
        divisor: canvas sides are multiples of it; default 32, or 1 for a fixed size.
        center_pad: for factors: canvas sides are ``side | center_pad``.
        shapes: canvas shapes (h, w) to choose from, instead of what ``canvas`` says.
        canvas: "own" (that of the images) or "buckets" (one of ``bucket_shapes``).
        smallest: no side of a canvas is shorter.
    """

    def __init__(
        self,
        size: Any = None,
        divisor: int | None = None,
        center_pad: int | None = None,
        shapes: Sequence[Pair] | None = None,
        canvas: str = "own",
        smallest: int = 1,
    ) -> None:
        check_canvas(canvas)
        rule = Resize.of(size)
        if rule.is_random:
            raise ValueError(f"Prediction takes one size; got {rule.sizes}.")
        self._limit, self._mode = rule.sizes[0], rule.mode  # a pair, or a factor
        self._antialias = rule.antialias
        fixed = self._mode == "fixed"
        divisor = divisor or (1 if fixed else 32)
        self._own = functools.partial(buckets.own_canvas, divisor=divisor, center_pad=center_pad)
        self._smallest = smallest
        self._fixed_canvases = bool(shapes) or canvas == "buckets"
        self._buckets = shapes
        if not shapes and self._mode != "factor":
            self._buckets = specs.canvas_shapes(self._limit, fixed, divisor)

    def resized(self, image: np.ndarray) -> dict[str, Any]:
        """The image in its new size, with its old one."""
        source = image.shape[:2]
        target = self.target(source)
        if target != source:
            image = _resizer(self._antialias)(tf.constant(image), tf.constant(target)).numpy()
        return {"image": image, "original_size": source}

    def target(self, size: Pair) -> Pair:
        """The size (h, w) that an image of ``size`` is resized to."""
        if self._mode == "fixed":
            return tuple(self._limit[::-1])
        fit = resize.scaled if self._mode == "factor" else resize.fitted
        return fit(size, self._limit)

    def bucket(self, sizes: Sequence[Pair] | np.ndarray) -> Pair:
        """The bucket (h, w) of images of these sizes: what goes together, and the canvas if it is fixed."""
        if self._buckets is None:
            return self._own(np.max(sizes, axis=0))
        chosen = buckets.choose_bucket(sizes, self._buckets)
        return tuple(self._buckets[chosen] if chosen >= 0 else np.max([*self._buckets, *sizes], axis=0))

    def canvas(self, sizes: Sequence[Pair] | np.ndarray) -> Pair:
        """The canvas (h, w) for a batch of images of these sizes."""
        own = self.bucket(sizes) if self._fixed_canvases else self._own(np.max(sizes, axis=0))
        height, width = (max(int(side), self._smallest) for side in own)
        return height, width


@functools.cache
def _resizer(antialias: bool) -> Any:
    signature = [tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([2], tf.int32)]
    resizer = functools.partial(resize.resize_bilinear, antialias=antialias)
    return tf.function(resizer, input_signature=signature, autograph=False)


def _stack(rows: Sequence[dict[str, Any]], rule: SizeRule) -> dict[str, tf.Tensor]:
    sizes = np.array([row["image"].shape[:2] for row in rows])
    images = np.zeros((len(rows), *rule.canvas(sizes), 3), np.uint8)
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
