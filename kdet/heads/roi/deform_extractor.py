"""Deformable RoI pooling (Dai et al., 2017, arXiv:1703.06211; modulated: arXiv:1811.11168)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet import ops
from kdet.heads.roi.extractor import SingleRoIExtractor
from kdet.layers import Composite, Linear, apply_list
from kdet.registry import register
from kdet.typing import Maps, Tensor


class BinOffsets(Composite):
    """Predicts how far the bins of a region move, and how much each counts, from its pooled features.

    Args:
        output_size: rows and columns.
        units: of the hidden layers.
        modulated: predict the bins' factors.

    Call: ``[N,s,s,C] -> [N,s,s,2]`` (x, y) relative to the region's size, and ``[N,s,s,1]`` or None.
    """

    def __init__(self, output_size: int, units: int = 1024, modulated: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.output_size = output_size
        bins = output_size * output_size
        # positions as in the checkpoint's Sequential: None are its activations
        self.offset_fc = [
            Linear(units, flatten=True),
            None,
            Linear(units),
            None,
            Linear(2 * bins, kernel_initializer="zeros"),
        ]
        self.mask_fc = None
        if modulated:
            self.mask_fc = [Linear(units, flatten=True), None, Linear(bins, kernel_initializer="zeros")]

    def call(self, x: Tensor) -> Tensor:
        size = self.output_size
        offsets = tf.reshape(apply_list(self.offset_fc, x), [-1, 2, size, size])
        offsets = tf.transpose(offsets, [0, 2, 3, 1])
        if self.mask_fc is None:
            return offsets, None
        return offsets, tf.reshape(tf.sigmoid(apply_list(self.mask_fc, x)), [-1, size, size, 1])


@register
class DeformRoIExtractor(SingleRoIExtractor):
    """RoIAlign whose bins move to where the region's own features send them.

    Args:
        modulated: bins are weighed as well.
        units: hidden units of the offsets' layers; every level has layers of its own.
        gamma: offsets are this part of the region's size.
        other arguments: see ``SingleRoIExtractor``.
    """

    def __init__(
        self,
        output_size: int = 7,
        strides: Sequence[int] = (4, 8, 16, 32),
        modulated: bool = False,
        units: int = 1024,
        gamma: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(output_size=output_size, strides=strides, **kwargs)
        self.gamma = gamma
        self.roi_layers = [BinOffsets(output_size, units, modulated) for _ in self.strides]

    def call(self, features: Maps, rois: Tensor) -> Tensor:
        levels = self.levels(rois)
        plain = self.pool(features, rois, levels, None)
        merged = tf.reshape(plain, [-1, *plain.shape[2:]])  # [B*N, s, s, C]
        # all levels' layers see all regions, so that shapes stay static; each region keeps its own level's
        own = tf.reshape(levels, [-1, 1, 1, 1])
        offsets = factors = 0.0
        for level, layer in enumerate(self.roi_layers):
            moved, factor = layer(merged)
            offsets += tf.where(own == level, moved, 0.0)
            factors += 0.0 if factor is None else tf.where(own == level, factor, 0.0)
        shape = tf.shape(plain)[:4]
        pooled = self.pool(features, rois, levels, tf.reshape(offsets, tf.concat([shape, [2]], 0)))
        if self.roi_layers[0].mask_fc is None:
            return pooled
        return pooled * tf.cast(tf.reshape(factors, tf.concat([shape, [1]], 0)), pooled.dtype)

    def pool(self, features: Maps, rois: Tensor, levels: Tensor, offsets: Tensor | None) -> Tensor:
        """Regions ``[B,N,s,s,C]`` with their bins moved by ``offsets [B,N,s,s,2]`` or not at all."""
        return ops.deform_roi_pool(
            tuple(features[: len(self.strides)]), rois, levels, offsets, self.output_size, self.strides,
            sampling_ratio=self.sampling_ratio, gamma=self.gamma,
        )  # fmt: skip
