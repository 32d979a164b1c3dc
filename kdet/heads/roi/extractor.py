"""Maps of regions of interest from a pyramid."""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet import geometry, ops
from kdet.layers import Composite, NoXla
from kdet.registry import register
from kdet.typing import Maps, Tensor


@register
class SingleRoIExtractor(NoXla, Composite):
    """RoIAlign from the one level that fits the size of the region (Lin et al., 2016).

    Args:
        output_size: rows and columns of a region's features.
        strides: strides of the maps that are used (the first ``len(strides)`` of the pyramid).
        sampling_ratio: samples per bin side; 0 for as many as the bin has pixels.
        finest_scale: regions whose side is below twice this go to the first level.
        aligned: half-pixel correct (False in models of 1.x).
    """

    def __init__(
        self,
        output_size: int = 7,
        strides: Sequence[int] = (4, 8, 16, 32),
        sampling_ratio: int = 0,
        finest_scale: int = 56,
        aligned: bool = True,
        **kwargs: Any,
    ) -> None:
        # boxes must not be cast to the compute dtype
        super().__init__(autocast=False, **kwargs)
        self.output_size, self.strides = output_size, tuple(strides)
        self.sampling_ratio, self.finest_scale, self.aligned = sampling_ratio, finest_scale, aligned

    def levels(self, rois: Tensor) -> Tensor:
        """Index of the map for each region: int32 ``[B,N]``."""
        scale = tf.sqrt(tf.maximum(geometry.area(rois), 0.0)) / self.finest_scale
        level = tf.floor(tf.math.log(scale + 1e-6) / math.log(2.0))
        return tf.cast(tf.clip_by_value(level, 0.0, len(self.strides) - 1.0), tf.int32)

    def call(self, features: Maps, rois: Tensor, scale: float = 1.0) -> Tensor:
        """Crops regions.

        Args:
            features: tuple of ``[B,h,w,C]``.
            rois: ``[B,N,4]`` in network pixels.
            scale: crop the regions enlarged by this factor (from the level of the region itself).

        Returns:
            ``[B,N,output_size,output_size,C]``.
        """
        crops = rois if scale == 1.0 else geometry.scale_boxes(rois, scale)
        return ops.multilevel_roi_align(
            tuple(features[: len(self.strides)]), crops, self.levels(rois), self.output_size, self.strides,
            sampling_ratio=self.sampling_ratio, aligned=self.aligned,
        )  # fmt: skip
