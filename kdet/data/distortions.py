"""The stronger augmentation of SSD, YOLO and YOLACT recipes, on the ``sample`` of ``kdet.data.transforms``.

Liu et al., "SSD: Single Shot MultiBox Detector", 2016, section 2.2.
"""

import tensorflow as tf

from kdet.data import transforms


class Photometric:
    """Random brightness, contrast, saturation, hue and channel order, each in half of the pictures.

    The picture becomes float32 and is not clipped to 0..255.
    """

    brightness, contrast, saturation, hue = 32.0, (0.5, 1.5), (0.5, 1.5), 18.0  # hue in degrees

    def __call__(self, sample, seed):
        coins = tf.random.stateless_uniform([6], tf.random.fold_in(seed, 0)) < 0.5
        draws = tf.random.stateless_uniform([4], tf.random.fold_in(seed, 1))
        image = tf.cast(sample["image"], tf.float32)
        image += tf.where(coins[0], (2 * draws[0] - 1) * self.brightness, 0.0)
        factor = tf.where(coins[1], _between(self.contrast, draws[1]), 1.0)
        contrast_first = coins[2]
        image *= tf.where(contrast_first, factor, 1.0)
        hue, saturation, value = tf.unstack(tf.image.rgb_to_hsv(image), axis=-1)
        saturation *= tf.where(coins[3], _between(self.saturation, draws[2]), 1.0)
        hue = (hue + tf.where(coins[4], (2 * draws[3] - 1) * self.hue / 360, 0.0)) % 1.0
        image = tf.image.hsv_to_rgb(tf.stack([hue, saturation, value], axis=-1))
        image *= tf.where(contrast_first, 1.0, factor)
        order = tf.random.experimental.stateless_shuffle(tf.range(3), tf.random.fold_in(seed, 2))
        image = tf.gather(image, tf.where(coins[5], order, tf.range(3)), axis=-1)
        return dict(sample, image=image)


class Expand:
    """Puts the picture somewhere on a larger canvas of one colour, in half of the cases.

    Args:
        mean: the colour, RGB 0..255.
        ratio: (low, high) size of the canvas relative to the picture.
    """

    def __init__(self, mean=(0, 0, 0), ratio=(1, 4)):
        self.mean, self.ratio = tuple(mean), tuple(ratio)

    def __call__(self, sample, seed):
        chosen = tf.random.stateless_uniform([], tf.random.fold_in(seed, 0)) < 0.5
        return tf.cond(chosen, lambda: self._expanded(sample, seed), lambda: dict(sample))

    def _expanded(self, sample, seed):
        draws = tf.random.stateless_uniform([3], tf.random.fold_in(seed, 1), dtype=tf.float64)
        image = sample["image"]
        source = tf.shape(image)[:2]
        size = tf.cast(source, tf.float64) * _between(self.ratio, draws[0])
        corner = tf.cast(draws[1:] * (size - tf.cast(source, tf.float64)), tf.int32)  # (y, x)
        after = tf.cast(size, tf.int32) - source - corner
        padding = tf.stack([corner, after], axis=1)  # [2, 2]
        colour = tf.cast(tf.constant(self.mean, tf.float32), image.dtype)
        inside = tf.pad(tf.ones(source, tf.bool), padding)
        image = tf.pad(image, tf.concat([padding, [[0, 0]]], 0))
        moved = tf.cast(tf.stack([corner[1], corner[0]] * 2), tf.float32)
        return dict(
            sample,
            image=tf.where(inside[..., None], image, colour),
            rows=tf.pad(sample["rows"], padding[:1], constant_values=-1),
            columns=tf.pad(sample["columns"], padding[1:], constant_values=-1),
            **{key: sample[key] + moved for key in transforms.BOX_KEYS},
        )


class OverlapCrop:
    """Cuts a window that overlaps every object by a randomly chosen IoU at least (or none at all).

    Each round draws one of ``min_ious``, 0 or "leave it", and tries 50 windows of sides ``min_size``..1
    of the picture and aspect 1/2..2; the first that fits is taken. Objects whose centre lies outside are
    dropped. (The reference goes on until a round succeeds; here the picture stays whole after ten.)
    """

    rounds, tries = 10, 50

    def __init__(self, min_ious=(0.1, 0.3, 0.5, 0.7, 0.9), min_size=0.3):
        self.min_ious, self.min_size = tuple(min_ious), min_size

    def __call__(self, sample, seed):
        boxes = tf.concat([sample["boxes"], sample["ignore_boxes"]], axis=0)
        source = tf.shape(sample["image"])[:2]
        windows, allowed = self._windows(source, tf.random.fold_in(seed, 0))  # [R, T, 4], [R, T]
        modes = tf.constant([1.0, *self.min_ious, 0.0])
        picks = tf.random.stateless_uniform(
            [self.rounds], tf.random.fold_in(seed, 1), 0, modes.shape[0], tf.int32
        )
        mode = tf.gather(modes, picks)  # [R], 1: leave the picture
        some = tf.shape(boxes)[0] > 0
        overlaps = _iou(boxes, windows[:, :, None, :])  # [R, T, n]
        fits = allowed & tf.reduce_all(overlaps >= mode[:, None, None], -1)
        fits &= tf.reduce_any(transforms.centre_inside(boxes, windows[:, :, None, :]), -1) | ~some
        leave = mode == 1
        done = leave | tf.reduce_any(fits, -1)  # [R]
        round_ = tf.argmax(done, output_type=tf.int32)
        window = windows[round_, tf.argmax(fits[round_], output_type=tf.int32)]
        cut = done[round_] & ~leave[round_]
        return tf.cond(cut, lambda: self._cut(sample, window), lambda: dict(sample))

    def _windows(self, source, seed):
        """Whole-pixel windows xyxy, and which of them have an allowed shape."""
        draws = tf.random.stateless_uniform([self.rounds, self.tries, 4], seed)
        full = tf.cast(source, tf.float32)
        size = full * (self.min_size + (1 - self.min_size) * draws[..., :2])  # (h, w)
        corner = draws[..., 2:] * (full - size)
        windows = tf.floor(tf.concat([corner[..., ::-1], (corner + size)[..., ::-1]], -1))
        aspect = size[..., 0] / size[..., 1]
        return windows, (aspect >= 0.5) & (aspect <= 2) & transforms.has_area(windows)

    @staticmethod
    def _cut(sample, window):
        sample = transforms.keep_objects(sample, transforms.centre_inside(sample["boxes"], window))
        kept = transforms.centre_inside(sample["ignore_boxes"], window)
        sample["ignore_boxes"] = tf.boolean_mask(sample["ignore_boxes"], kept)
        whole = tf.cast(window, tf.int32)
        return transforms.crop(sample, whole[1::-1], whole[:1:-1] - whole[1::-1])


def _between(limits, unit):
    low, high = limits
    return low + (high - low) * unit


def _iou(boxes, windows):
    common = transforms.intersect(boxes, windows)
    sides = tf.maximum(common[..., 2:] - common[..., :2], 0)
    shared = sides[..., 0] * sides[..., 1]
    return shared / tf.maximum(_area(boxes) + _area(windows) - shared, 1e-6)


def _area(boxes):
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
