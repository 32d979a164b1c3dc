"""Ops: every one with a portable form in TensorFlow, some with a compiled form too."""

from kdet.ops.crop_masks import crop_masks, unpack_bits
from kdet.ops.fast_nms import fast_nms
from kdet.ops.grouped_conv import grouped_conv2d
from kdet.ops.nms import nms
from kdet.ops.paste_masks import paste_masks, paste_masks_numpy
from kdet.ops.roi_align import multilevel_roi_align, roi_align
from kdet.ops.soft_nms import soft_nms

__all__ = [
    "crop_masks",
    "fast_nms",
    "grouped_conv2d",
    "multilevel_roi_align",
    "nms",
    "paste_masks",
    "paste_masks_numpy",
    "roi_align",
    "soft_nms",
    "unpack_bits",
]
