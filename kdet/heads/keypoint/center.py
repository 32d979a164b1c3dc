"""The head of CenterNet (Zhou et al., 2019, arXiv:1904.07850): objects as the points in their middle."""

from typing import Any

import tensorflow as tf

from kdet import geometry
from kdet.contract import PADDING_LABEL, Candidates, Detections, ImageInfo, Targets
from kdet.coordinates import original_boxes
from kdet.heads.base import Head, Losses
from kdet.heads.dense.towers import prior_bias, small_normal
from kdet.heads.keypoint.heatmaps import (
    gaussian_heatmap,
    gaussian_radius,
    last_of_its_place,
    top_peaks,
    values_at,
)
from kdet.layers import Conv2D, apply_list, replica_mean
from kdet.losses import Loss
from kdet.postprocess import PostProcess
from kdet.registry import register
from kdet.typing import Maps

# cells of the map are so many pixels
STRIDE = 4


@register
class CenterNetHead(Head):
    """A heat map of centers per class; the size of the box and the place within the cell at each.

    Args:
        num_classes: classes without background.
        loss_center_heatmap, loss_wh, loss_offset: of the three maps.
        filters: channels within each branch.
        kernel_size: side of the window in which a center is the maximum.
        postprocess: ``PostProcess``; the best ``max_per_image`` peaks are the detections, and nothing is
            suppressed.

    Outputs: ``(heat, sizes, offsets)``, tuples of one map ``[B,h,w,classes]`` (probabilities) and twice
    ``[B,h,w,2]`` (x, y in cells).
    """

    def __init__(
        self,
        num_classes: int,
        loss_center_heatmap: Loss,
        loss_wh: Loss,
        loss_offset: Loss,
        filters: int = 64,
        kernel_size: int = 3,
        postprocess: PostProcess | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, postprocess=postprocess or PostProcess(), **kwargs)
        self.loss_center_heatmap, self.loss_wh, self.loss_offset = loss_center_heatmap, loss_wh, loss_offset
        self.kernel_size = kernel_size

        def branch(channels: int, initializer: Any, bias: Any = "zeros") -> list[Any]:
            return [
                Conv2D(filters, 3, padding=1, kernel_initializer=initializer),
                None,
                Conv2D(channels, 1, kernel_initializer=initializer, bias_initializer=bias),
            ]

        self.heatmap_head = branch(num_classes, None, prior_bias(0.1))
        self.wh_head, self.offset_head = (branch(2, small_normal(0.001)) for _ in range(2))

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, ...]:
        (x,) = features
        branches = (self.heatmap_head, self.wh_head, self.offset_head)
        heat, sizes, offsets = (tf.cast(apply_list(branch, x), tf.float32) for branch in branches)
        return (tf.sigmoid(heat),), (sizes,), (offsets,)

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """``loss_center_heatmap``, ``loss_wh`` and ``loss_offset``."""
        (heat,), (sizes,), (offsets,) = outputs
        shape = tf.unstack(tf.shape(heat)[1:3])
        boxes, labels = targets["boxes"] / STRIDE, targets["labels"]
        size, center = boxes[..., 2:] - boxes[..., :2], geometry.centers(boxes)  # [B, G, 2] (x, y)
        radius = tf.cast(tf.maximum(gaussian_radius(size[..., 1], size[..., 0], 0.3), 0.0), tf.int32)
        place = tf.where((labels >= 0)[..., None], tf.cast(center, tf.int32), 0)
        wanted = gaussian_heatmap(place, radius, labels, shape, self.num_classes)
        peaks = tf.maximum(replica_mean(tf.reduce_sum(tf.cast(wanted == 1.0, tf.float32))), 1.0)
        cells = place[..., 1] * shape[1] + place[..., 0]
        # of several objects with their center in one cell the last counts
        weight = tf.cast(last_of_its_place(cells, labels >= 0), tf.float32)
        within = center - tf.cast(place, tf.float32)
        return {
            "loss_center_heatmap": self.loss_center_heatmap(heat, wanted, None, peaks),
            "loss_wh": self.loss_wh(values_at(sizes, cells), size, weight, 2.0 * peaks),
            "loss_offset": self.loss_offset(values_at(offsets, cells), within, weight, 2.0 * peaks),
        }

    def candidates(self, outputs: Any, info: ImageInfo) -> Candidates:
        """The best peaks as boxes in original pixels; best first."""
        (heat,), (sizes,), (offsets,) = outputs
        scores, labels, cells = top_peaks(heat, self.kernel_size, self.postprocess.max_per_image)
        width = tf.shape(heat)[2]
        center = tf.cast(tf.stack([cells % width, cells // width], -1), tf.float32)
        center += values_at(offsets, cells)
        boxes = geometry.from_center_size(tf.concat([center, values_at(sizes, cells)], -1)) * STRIDE
        if "border" in info:
            top, _, left, _ = tf.unstack(info["border"], axis=-1)
            boxes -= tf.stack([left, top, left, top], -1)[:, None]
        return Candidates(original_boxes(boxes, info), scores, labels)

    def suppress(self, candidates: Candidates) -> Detections:
        """The best ``max_per_image`` candidates."""
        limit = self.postprocess.max_per_image
        best = tf.math.top_k(candidates.scores, limit)
        boxes, labels = (
            tf.gather(part, best.indices, batch_dims=1) for part in (candidates.boxes, candidates.labels)
        )
        real = best.values > self.postprocess.score_threshold
        return {
            "boxes": tf.where(real[..., None], boxes, 0.0),
            "scores": tf.where(real, best.values, 0.0),
            "labels": tf.where(real, labels, PADDING_LABEL),
            "num_detections": tf.reduce_sum(tf.cast(real, tf.int32), 1),
        }
