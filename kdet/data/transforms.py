"""Geometry and color of one image with its boxes: small functions on a ``sample`` dict.

A sample holds ``image [h,w,3]``, ``boxes [n,4]``, ``labels [n]``, ``objects [n]`` (the position of each
object in its record, by which the masks are found later), ``ignore_boxes [m,4]``, ``proposals [p,4]``,
``scale [2]`` (y, x) and the index maps ``rows [h]``, ``columns [w]`` into the image on disk (-1:
outside; see ``kdet.data.masks``). Where masks are not those of the record any more (``InstaBoost``) it holds
them as ``shapes``: the ``counts`` of an RLE, in the record's frame, for each of its objects.

Random transforms take a stateless seed: the same seed gives the same sample, whatever ran before.
"""

import tensorflow as tf

from kdet.data import resize

BOX_KEYS = ("boxes", "ignore_boxes", "proposals")


class Resize:
    """Resizes the image; boxes are scaled and clipped to it.

    Args:
        sizes: list of (long, short) limits with ``keep_ratio``, of (w, h) with ``fixed``, of factors of the
            image's own size with ``factor``.
        mode: "keep_ratio", "fixed" or "factor".
        multiscale: with several sizes, "value" picks one of them and "range" draws the long and the
            short side from the ranges they span (both ends included).
        ratio_range: (low, high): a random factor on the (single) size.
    """

    def __init__(self, sizes, mode="keep_ratio", multiscale="value", ratio_range=None):
        self.sizes = sizes if mode == "factor" else [tuple(int(v) for v in size) for size in sizes]
        self.mode, self.multiscale, self.ratio_range = mode, multiscale, ratio_range

    def largest(self):
        """The largest (long, short) or (w, h) that can come out."""
        first = max(s[0] for s in self.sizes), max(s[1] for s in self.sizes)
        if self.mode == "keep_ratio":
            first = max(max(s) for s in self.sizes), max(min(s) for s in self.sizes)
        factor = self.ratio_range[1] if self.ratio_range else 1
        return tuple(int(v * factor) for v in first)

    def __call__(self, sample, seed):
        limit = self._draw(seed)
        source = tf.shape(sample["image"])[:2]
        if self.mode == "factor":
            limit = tf.cast(tf.cast(source, tf.float64) * tf.cast(limit, tf.float64), tf.int32)
        size = limit[::-1] if self.mode == "fixed" else resize.keep_ratio_size(source, limit)
        factor = tf.cast(size, tf.float64) / tf.cast(source, tf.float64)
        factor = tf.cast(factor, tf.float32)
        sample = dict(sample)
        sample["image"] = resize.resize_bilinear(sample["image"], size)
        sample["rows"] = tf.gather(sample["rows"], resize.nearest_index(source[0], size[0]))
        sample["columns"] = tf.gather(sample["columns"], resize.nearest_index(source[1], size[1]))
        sample["scale"] = sample["scale"] * factor
        for key in BOX_KEYS:
            sample[key] = clip(sample[key] * tf.tile(factor[::-1], [2]), size)
        return sample

    def _draw(self, seed):
        sizes = tf.constant(self.sizes, tf.float64 if self.mode == "factor" else tf.int32)
        if self.ratio_range:
            low, high = self.ratio_range
            ratio = tf.random.stateless_uniform([], seed, low, high, tf.float64)
            return tf.cast(tf.cast(sizes[0], tf.float64) * ratio, tf.int32)
        if len(self.sizes) == 1:
            return sizes[0]
        if self.multiscale == "value":
            return sizes[tf.random.stateless_uniform([], seed, 0, len(self.sizes), tf.int32)]
        longs, shorts = [max(s) for s in self.sizes], [min(s) for s in self.sizes]
        low, high = tf.constant([min(longs), min(shorts)]), tf.constant([max(longs), max(shorts)])
        unit = tf.random.stateless_uniform([2], seed, dtype=tf.float64)
        return low + tf.cast(unit * tf.cast(high - low + 1, tf.float64), tf.int32)


class Flip:
    """Mirrors the image left to right with the given probability."""

    def __init__(self, probability=0.5):
        self.probability = probability

    def __call__(self, sample, seed):
        chosen = tf.random.stateless_uniform([], seed) < self.probability
        return tf.cond(chosen, lambda: self._flipped(sample), lambda: dict(sample))

    @staticmethod
    def _flipped(sample):
        width = tf.cast(tf.shape(sample["image"])[1], tf.float32)
        sample = dict(sample)
        sample["image"] = tf.reverse(sample["image"], [1])
        sample["columns"] = tf.reverse(sample["columns"], [0])
        for key in BOX_KEYS:
            x1, y1, x2, y2 = tf.unstack(sample[key], axis=-1)
            sample[key] = tf.stack([width - x2, y1, width - x1, y2], axis=-1)
        return sample


def crop(sample, corner, size):
    """Cuts the window at ``corner`` (y, x) of ``size`` (h, w), both int32 ``[2]``, out of a sample."""
    y, x = corner[0], corner[1]
    offset = tf.cast(tf.stack([x, y, x, y]), tf.float32)
    sample = dict(sample)
    sample["image"] = sample["image"][y : y + size[0], x : x + size[1]]
    sample["rows"] = sample["rows"][y : y + size[0]]
    sample["columns"] = sample["columns"][x : x + size[1]]
    for key in BOX_KEYS:
        sample[key] = clip(sample[key] - offset, size)
    return keep_objects(sample, has_area(sample["boxes"]))


def moved_window(sample, corner, size, limit, color, least=0.0):
    """A window that may stick out of the image, where it has one color.

    Args:
        corner, size: (y, x) and (h, w) of the window, int32 ``[2]``.
        limit: (h, w) from which on the image's pixels are left out.
        color: RGB 0..255; other than black makes the image float32.
        least: objects whose sides are not larger than this after clipping are dropped.
    """
    sources, insides = [], []
    for axis in (0, 1):
        source = tf.range(size[axis]) + corner[axis]
        inside = (source >= 0) & (source < limit[axis])
        sources.append(tf.clip_by_value(source, 0, tf.shape(sample["image"])[axis] - 1))
        insides.append(inside)
    image = sample["image"] if not any(color) else tf.cast(sample["image"], tf.float32)
    image = tf.gather(tf.gather(image, sources[0]), sources[1], axis=1)
    inside = (insides[0][:, None] & insides[1])[..., None]
    offset = tf.cast(tf.tile(corner[::-1], [2]), tf.float32)
    sample = dict(
        sample,
        image=tf.where(inside, image, tf.cast(tf.constant(color, tf.float32), image.dtype)),
        rows=tf.where(insides[0], tf.gather(sample["rows"], sources[0]), -1),
        columns=tf.where(insides[1], tf.gather(sample["columns"], sources[1]), -1),
        **{key: clip(sample[key] - offset, size) for key in BOX_KEYS},
    )
    sides = sample["boxes"][:, 2:] - sample["boxes"][:, :2]
    return keep_objects(sample, tf.reduce_all(sides > least, -1))


def keep_objects(sample, keep):
    """Drops the objects where ``keep [n]`` is False."""
    return dict(sample, **{k: tf.boolean_mask(sample[k], keep) for k in ("boxes", "labels", "objects")})


def clip(boxes, size):
    """Clips ``[n,4]`` boxes to an image of ``size`` (h, w)."""
    height, width = tf.cast(size[0], tf.float32), tf.cast(size[1], tf.float32)
    return tf.clip_by_value(boxes, 0.0, tf.stack([width, height, width, height]))


def intersect(boxes, windows):
    """Intersection of broadcast boxes, ``[..., 4]`` (may come out inverted: see ``has_area``)."""
    low = tf.maximum(boxes[..., :2], windows[..., :2])
    high = tf.minimum(boxes[..., 2:], windows[..., 2:])
    return tf.concat([low, high], axis=-1)


def has_area(boxes):
    return tf.reduce_all(boxes[..., 2:] > boxes[..., :2], axis=-1)


def center_inside(boxes, windows):
    """Whether the centers of boxes lie strictly inside of windows, both broadcast ``[..., 4]``."""
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    return tf.reduce_all((center > windows[..., :2]) & (center < windows[..., 2:]), -1)
