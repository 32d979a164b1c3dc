"""Heat maps of keypoints: Gaussian targets, peaks, values at places."""

from typing import Any

import tensorflow as tf

from kdet.typing import Tensor


def gaussian_radius(height: Tensor, width: Tensor, min_overlap: float) -> Tensor:
    """How far both corners of a box may stray until the IoU falls below ``min_overlap`` (Law & Deng, 2018).

    The least over three cases: both corners move the same way, both inwards, both outwards.

    Args:
        height, width: ``[...]``.

    Returns:
        float64 ``[...]``.
    """
    height, width = tf.cast(height, tf.float64), tf.cast(width, tf.float64)
    total, area = height + width, height * width

    def root(a: Any, b: Tensor, c: Tensor, sign: float) -> Tensor:
        return (b + sign * tf.sqrt(b * b - 4.0 * a * c)) / (2.0 * a)

    same_way = root(1.0, total, area * (1.0 - min_overlap) / (1.0 + min_overlap), -1.0)
    inwards = root(4.0, 2.0 * total, (1.0 - min_overlap) * area, -1.0)
    outwards = root(4.0 * min_overlap, -2.0 * min_overlap * total, (min_overlap - 1.0) * area, 1.0)
    return tf.minimum(tf.minimum(same_way, inwards), outwards)


def gaussian_heatmap(centers: Tensor, radius: Tensor, labels: Tensor, shape: Any, num_classes: int) -> Tensor:
    """One map per class with a peak of height 1 at every object.

    Args:
        centers: int32 ``[B,G,2]`` (x, y).
        radius: int32 ``[B,G]``, where the peak ends; its sigma is a sixth of the diameter.
        labels: int32 ``[B,G]``, -1 = padding.
        shape: (h, w).
        num_classes: number of maps.

    Returns:
        float32 ``[B,h,w,classes]``; where peaks meet, the higher.
    """
    spread = tf.cast(2 * radius + 1, tf.float32) / 6.0
    reach = tf.cast(radius, tf.float32)[..., None]
    squares, near = [], []
    for size, center in zip(shape, (centers[..., 1], centers[..., 0])):
        away = tf.cast(tf.range(size) - center[..., None], tf.float32)  # [B, G, size]
        squares.append(tf.square(away))
        near.append(tf.abs(away) <= reach)
    power = (squares[0][..., None] + squares[1][..., None, :]) / (2.0 * tf.square(spread))[..., None, None]
    inside = near[0][..., None] & near[1][..., None, :] & (labels >= 0)[..., None, None]
    peaks = tf.where(inside, tf.exp(-power), 0.0)  # [B, G, h, w]
    batch = tf.shape(labels)[0]
    images = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(labels))
    places = tf.stack([images, tf.maximum(labels, 0)], -1)
    maps = tf.zeros([batch, num_classes, *shape])
    return tf.transpose(tf.tensor_scatter_nd_max(maps, places, peaks), [0, 2, 3, 1])


def top_peaks(heat: Tensor, kernel_size: int, limit: int) -> tuple[Tensor, ...]:
    """The highest local maxima over all classes.

    Args:
        heat: ``[B,h,w,C]``.
        kernel_size: side of the window in which a peak is the maximum.
        limit: how many.

    Returns:
        ``(scores [B,k], labels [B,k] int32, cells [B,k] int32)``; a cell is ``y * w + x``.
    """
    highest = tf.nn.max_pool2d(heat, kernel_size, 1, "SAME")
    peaks = tf.where(highest == heat, heat, 0.0)
    scores, index = tf.math.top_k(tf.reshape(peaks, [tf.shape(heat)[0], -1]), limit)
    classes = heat.shape[-1]
    return scores, index % classes, index // classes


def values_at(maps: Tensor, cells: Tensor) -> Tensor:
    """Rows ``[B,k,C]`` of maps ``[B,h,w,C]`` at cells ``[B,k]`` (``y * w + x``), float32."""
    flat = tf.reshape(maps, [tf.shape(maps)[0], -1, maps.shape[-1]])
    return tf.cast(tf.gather(flat, cells, batch_dims=1), tf.float32)


def last_of_its_place(places: Tensor, real: Tensor) -> Tensor:
    """Which objects no later one of the image shares its place with: bool ``[B,G]``.

    Args:
        places: int32 ``[B,G]``.
        real: bool ``[B,G]``, False for padding.
    """
    same = (places[:, :, None] == places[:, None, :]) & real[:, None, :]
    order = tf.range(tf.shape(places)[1])
    return real & ~tf.reduce_any(same & (order > order[:, None]), 2)
