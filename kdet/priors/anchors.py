"""Anchor boxes on a grid (Ren et al., 2015)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kdet.priors.base import PriorGenerator, Shape
from kdet.registry import register
from kdet.typing import Array, Tensor


@register
class AnchorGenerator(PriorGenerator):
    """Boxes of several sizes and shapes at every cell of every level.

    Args:
        strides: pixels between neighboring cells, one per level.
        ratios: height / width of the boxes.
        scales: side lengths in multiples of the base size.
        octave_base_scale, scales_per_octave: RetinaNet's way to give ``scales``:
            ``octave_base_scale * 2 ** (i / scales_per_octave)``.
        base_sizes: base side per level; the strides when None.
        scale_major: boxes of one cell run over scales first, then ratios (else the other way).
        center_offset: center of the box in a cell, in multiples of the stride.
        center: center of the box in a cell in pixels, the same on every level, in the place of
            ``center_offset``.
    """

    def __init__(
        self,
        strides: Sequence[int],
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
        scales: Sequence[float] | None = None,
        octave_base_scale: float | None = None,
        scales_per_octave: int | None = None,
        base_sizes: Sequence[Any] | None = None,
        scale_major: bool = True,
        center_offset: float = 0.0,
        center: float | None = None,
    ) -> None:
        octaves = (octave_base_scale is None, scales_per_octave is None)
        if octaves != ((scales is not None),) * 2:
            raise ValueError(
                "AnchorGenerator: give either scales, or octave_base_scale and scales_per_octave."
            )
        if octave_base_scale is not None and scales_per_octave is not None:
            scales = [octave_base_scale * 2 ** (i / scales_per_octave) for i in range(scales_per_octave)]
        self.strides = tuple(strides)
        self.scale_major, self.center_offset, self.center = scale_major, center_offset, center
        sizes = base_sizes or self.strides
        self.base_anchors = [
            self._cell(size, stride, np.asarray(scales, np.float32), np.asarray(ratios, np.float32))
            for size, stride in zip(sizes, self.strides, strict=True)
        ]

    @property
    def num_anchors(self) -> Any:
        """Boxes per cell (the same on every level)."""
        return len(self.base_anchors[0])

    def _cell(self, base: Any, stride: int, scales: Array, ratios: Array) -> Array:
        root = np.sqrt(ratios)
        order = (slice(None), None), (None, slice(None))
        first, second = order if self.scale_major else order[::-1]
        w = (base * (1 / root)[first] * scales[second]).ravel()
        h = (base * root[first] * scales[second]).ravel()
        x = y = self.center_offset * stride if self.center is None else self.center
        return np.stack([x - 0.5 * w, y - 0.5 * h, x + 0.5 * w, y + 0.5 * h], -1).astype(np.float32)

    def __call__(self, shapes: Sequence[Shape]) -> list[Tensor]:
        """Anchors of every level.

        Args:
            shapes: ``(h, w)`` of every level's map, ints or scalar tensors.

        Returns:
            list of float32 ``[h*w*A, 4]``, in the order of a flattened ``[h, w, A]`` map.
        """
        return [
            grid_boxes(base, stride, h, w)
            for base, stride, (h, w) in zip(self.base_anchors, self.strides, shapes, strict=True)
        ]

    def by_cell(self, shapes: Sequence[Shape]) -> Tensor:
        """The anchors of every cell side by side, level by level: ``[P, 4*A]``."""
        return tf.concat([tf.reshape(a, [-1, 4 * self.num_anchors]) for a in self(shapes)], 0)

    def valid(self, shapes: Sequence[Shape], padded_size: Tensor) -> Tensor:
        """Which anchors sit on cells of the image, not of the batch's padding: ``[B, P]`` bool."""
        return valid_cells(self.strides, shapes, padded_size, self.num_anchors)


def valid_cells(
    strides: Sequence[int], shapes: Sequence[Shape], padded_size: Tensor, per_cell: int = 1
) -> Tensor:
    """Which priors sit on cells of the image, not of the batch's padding.

    Args:
        strides, shapes: stride and (h, w) of every level.
        padded_size: ``[B,2]`` (h, w) of every image padded on its own.
        per_cell: priors of one cell, the same for all levels or a list over them.

    Returns:
        bool ``[B, P]``.
    """
    counts = per_cell if isinstance(per_cell, list) else [per_cell] * len(shapes)
    flags = []
    for stride, (h, w), count in zip(strides, shapes, counts, strict=True):
        limit = tf.math.ceil(padded_size / stride)  # [B, 2]
        rows = tf.cast(tf.range(h), tf.float32)[None, :] < limit[:, :1]
        columns = tf.cast(tf.range(w), tf.float32)[None, :] < limit[:, 1:]
        cells = tf.logical_and(rows[:, :, None], columns[:, None, :])
        cells = tf.repeat(cells[..., None], count, -1)
        flags.append(tf.reshape(cells, [tf.shape(cells)[0], -1]))
    return tf.concat(flags, 1)


def grid_boxes(base: Any, stride: int, h: Any, w: Any) -> Tensor:
    """Boxes ``base [A,4]`` repeated at every cell: ``[h*w*A, 4]``."""
    y = tf.cast(tf.range(h), tf.float32) * stride
    x = tf.cast(tf.range(w), tf.float32) * stride
    yy, xx = tf.meshgrid(y, x, indexing="ij")
    shifts = tf.stack([xx, yy, xx, yy], -1)  # [h, w, 4]
    return tf.reshape(shifts[:, :, None, :] + base, [-1, 4])
