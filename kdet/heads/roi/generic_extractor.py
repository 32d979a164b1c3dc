"""Maps of regions from all levels (Rossi et al., 2020, arXiv:2004.13665)."""

from typing import Any

import tensorflow as tf

from kdet import ops
from kdet.heads.roi.extractor import SingleRoIExtractor
from kdet.layers import ConvModule, GeneralizedAttention
from kdet.registry import register
from kdet.typing import Maps, Spec, Tensor


@register
class GenericRoIExtractor(SingleRoIExtractor):
    """RoIAlign from every level, a shared convolution on each, their sum, then attention within the region.

    Args:
        filters, kernel_size: of the convolution.
        attention: arguments of ``GeneralizedAttention``.
        other arguments: see ``SingleRoIExtractor``.
    """

    def __init__(
        self,
        output_size: int = 7,
        filters: int = 256,
        kernel_size: int = 5,
        attention: Spec | None = None,
        sampling_ratio: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(output_size=output_size, sampling_ratio=sampling_ratio, **kwargs)
        self.pre_module = ConvModule(filters, kernel_size, padding=kernel_size // 2)
        self.post_module = GeneralizedAttention(**(attention or {"num_heads": 6, "terms": "0100"}))

    def call(self, features: Maps, rois: Tensor) -> Tensor:
        total, only = 0.0, tf.zeros(tf.shape(rois)[:2], tf.int32)
        for x, stride in zip(features, self.strides):
            crops = ops.multilevel_roi_align(
                (x,), rois, only, self.output_size, (stride,),
                sampling_ratio=self.sampling_ratio, aligned=self.aligned,
            )  # fmt: skip
            total += self.pre_module(tf.reshape(crops, [-1, *crops.shape[2:]]))
        pooled = self.post_module(total)
        return tf.reshape(pooled, [tf.shape(rois)[0], -1, *pooled.shape[1:]])
