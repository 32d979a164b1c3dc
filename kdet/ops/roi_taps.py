"""Which pixels a RoIAlign bin takes from along one axis, and with what weights."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kdet.typing import Tensor

# A tap takes from the samples within one pixel. Adaptive samples are more than half a pixel apart,
# so these are at most four; the fifth guards against rounding.
_ADAPTIVE_CANDIDATES = 5


class AxisTaps:
    """The bins of RoIs along one axis.

    A RoI's members (`start`, `step` of a bin, samples per bin `grid`, map `size`, number of `taps`
    per bin) are tensors of one shape, ``[M]`` at first; `map` gathers or reshapes them together.

    Args:
        start, extent: ``[M]`` float32, in pixels of the map, already shifted by half a pixel where
            the RoIs are aligned. A RoI of no positive extent has no taps when sampling is adaptive.
        size: ``[M]`` int32, pixels of the map.
        bins: number of bins.
        sampling_ratio: samples per bin, or 0 for ``ceil(extent / bins)``.
    """

    def __init__(self, start: Tensor, extent: Tensor, size: Tensor, bins: int, sampling_ratio: int) -> None:
        self.bins, self.sampling_ratio = bins, sampling_ratio
        self.start, self.step, self.size = start, extent / bins, size
        if sampling_ratio > 0:
            self.grid = tf.fill(tf.shape(start), float(sampling_ratio))
            self.taps = tf.fill(tf.shape(start), 2 * sampling_ratio)
        else:
            # Graph optimizers turn the division into a multiplication, which may land just above
            # a whole number; the correction makes the ceiling exact.
            grid = tf.math.ceil(extent / bins)
            self.grid = tf.where((grid - 1.0) * bins >= extent, grid - 1.0, grid)
            self.taps = tf.zeros_like(size)
            self.taps = self._adaptive_taps(extent)

    def map(self, function: Callable[..., Any]) -> "AxisTaps":
        """The same RoIs with ``function`` applied to every member."""
        mapped = object.__new__(AxisTaps)
        mapped.bins, mapped.sampling_ratio = self.bins, self.sampling_ratio
        mapped.start, mapped.step, mapped.size = map(function, (self.start, self.step, self.size))
        mapped.grid, mapped.taps = function(self.grid), function(self.taps)
        return mapped

    def tap(self, bin_index: Tensor, t: Tensor, slope: bool = False) -> tuple[Tensor, Tensor]:
        """Pixel (int32) and weight (float32) of tap ``t`` of a bin; arguments broadcast.

        The weights of one bin sum to 1 where all its samples lie on the map. A tap past the end of
        the list has weight 0 and a pixel on the map. With ``slope`` the weight's derivative by the
        bin's position comes third.
        """
        low = self._bin_start(bin_index)
        if self.sampling_ratio > 0:
            # Two taps per sample, for fixed samples may lie far apart.
            samples = [tf.cast(t // 2, tf.float32)]
            pixel = tf.floor(self._clipped(self._sample(low, samples[0]))) + tf.cast(t % 2, tf.float32)
        else:
            pixel = tf.floor(self._clipped(self._sample(low, 0.0))) + tf.cast(t, tf.float32)
            samples = self._samples_near(low, pixel)
        shapes = (self._hat, self._slope) if slope else (self._hat,)
        weights = [self._mean(shape, low, samples, pixel) for shape in shapes]
        return tf.cast(tf.minimum(pixel, self._end()), tf.int32), *weights

    def adaptive_weight(self, bin_index: Tensor, pixel: Tensor) -> Tensor:
        """Weight of any whole ``pixel`` (float32) in a bin that is sampled adaptively."""
        low = self._bin_start(bin_index)
        return self._mean(self._hat, low, self._samples_near(low, pixel), pixel)

    def _samples_near(self, low: Tensor, pixel: Tensor) -> list[Tensor]:
        """Indices of all adaptive samples that a pixel can take from."""
        spacing = tf.maximum(self.step / tf.maximum(self.grid, 1.0), 1e-12)
        nearest = tf.maximum(tf.math.ceil((pixel - 1.0 - self._sample(low, 0.0)) / spacing), 0.0)
        return [nearest + k for k in range(_ADAPTIVE_CANDIDATES)]

    def _mean(
        self, shape: Callable[..., Any], low: Tensor, samples: Sequence[Tensor], pixel: Tensor
    ) -> Tensor:
        total = tf.add_n([shape(low, index, pixel) for index in samples])
        on_map = (pixel <= self._end()) & (self.size > 0)
        return tf.where(on_map, total / tf.maximum(self.grid, 1.0), 0.0)

    def _bin_start(self, bin_index: Tensor) -> Tensor:
        return self.start + tf.cast(bin_index, tf.float32) * self.step

    def _end(self) -> Tensor:
        return tf.maximum(tf.cast(self.size, tf.float32) - 1.0, 0.0)

    def _adaptive_taps(self, extent: Tensor) -> Tensor:
        """Longest list of any bin, ``[M]`` int32: from the first sample's pixel to the last's."""
        low = self.start[:, None] + tf.range(self.bins, dtype=tf.float32) * self.step[:, None]
        axis = self.map(lambda values: values[:, None])
        first, last = axis._sample(low, 0.0), axis._sample(low, axis.grid - 1.0)
        limit = tf.cast(axis.size, tf.float32)
        top = tf.minimum(tf.floor(axis._clipped(last)) + 1.0, limit - 1.0)
        inside = (last >= -1.0) & (first <= limit) & (extent[:, None] > 0.0)
        count = tf.cast(top - tf.floor(axis._clipped(first)), tf.int32) + 1
        return tf.reduce_max(tf.where(inside, count, 0), axis=1)

    def _sample(self, low: Tensor, index: Tensor) -> Tensor:
        return low + (index + 0.5) * self.step / tf.maximum(self.grid, 1.0)

    def _clipped(self, position: Tensor) -> Tensor:
        return tf.clip_by_value(position, 0.0, self._end())

    def _hat(self, low: Tensor, index: Tensor, pixel: Tensor) -> Tensor:
        """Bilinear weight that sample ``index`` gives to ``pixel``; 0 for samples that do not count."""
        position = self._sample(low, index)
        counts = (position >= -1.0) & (position <= tf.cast(self.size, tf.float32)) & (index < self.grid)
        return tf.where(counts, tf.maximum(1.0 - tf.abs(self._clipped(position) - pixel), 0.0), 0.0)

    def _slope(self, low: Tensor, index: Tensor, pixel: Tensor) -> Tensor:
        """Derivative of `_hat` by the sample's position; 0 where the position is clipped."""
        position = self._sample(low, index)
        counts = (position >= 0.0) & (position < self._end()) & (index < self.grid)
        distance = tf.floor(position) - pixel
        return tf.where(counts & (distance == 0.0), -1.0, tf.where(counts & (distance == -1.0), 1.0, 0.0))
