"""Ops: every one with a portable form in TensorFlow, some with a compiled form too."""

from kdet.ops.batch_norm import batch_norm
from kdet.ops.carafe import carafe
from kdet.ops.compiled import load
from kdet.ops.conv3x3 import conv3x3
from kdet.ops.corner_pool import corner_pool
from kdet.ops.crop_masks import crop_masks, unpack_bits
from kdet.ops.deform_conv import deform_conv2d
from kdet.ops.deform_roi_pool import deform_roi_pool
from kdet.ops.dispatch import under_xla, use
from kdet.ops.fast_nms import fast_nms
from kdet.ops.grouped_conv import grouped_conv2d
from kdet.ops.mask_points import (
    packed_areas_in_boxes,
    packed_mask_areas,
    packed_mask_centers,
    packed_masks_at,
    sample_packed_masks,
)
from kdet.ops.masked_conv import masked_conv2d
from kdet.ops.ms_deform_attn import ms_deform_attn
from kdet.ops.nms import nms
from kdet.ops.paste_masks import paste_masks, paste_masks_numpy
from kdet.ops.point_sample import point_sample
from kdet.ops.polygons import polygons_of, rasterize_polygons
from kdet.ops.ranking import rank_within
from kdet.ops.resize_masks import nearest_masks, pack_bits, resize_masks, strided_masks
from kdet.ops.roi_align import multilevel_roi_align, roi_align
from kdet.ops.soft_nms import soft_nms
from kdet.ops.uniform import fold_in, uniform

__all__ = [
    "batch_norm",
    "carafe",
    "conv3x3",
    "corner_pool",
    "crop_masks",
    "deform_conv2d",
    "deform_roi_pool",
    "fast_nms",
    "fold_in",
    "grouped_conv2d",
    "load",
    "masked_conv2d",
    "ms_deform_attn",
    "multilevel_roi_align",
    "nearest_masks",
    "nms",
    "pack_bits",
    "packed_areas_in_boxes",
    "packed_mask_areas",
    "packed_mask_centers",
    "packed_masks_at",
    "paste_masks",
    "paste_masks_numpy",
    "point_sample",
    "polygons_of",
    "rank_within",
    "rasterize_polygons",
    "resize_masks",
    "roi_align",
    "sample_packed_masks",
    "soft_nms",
    "under_xla",
    "strided_masks",
    "uniform",
    "unpack_bits",
    "use",
]
