"""PointRend: coarse masks refined at the points that are least certain (Kirillov et al., 2020)."""

from typing import Any

import keras
import tensorflow as tf

from kdet import geometry, ops
from kdet.contract import Assignment, Detections, ImageInfo, Targets
from kdet.coordinates import network_boxes
from kdet.heads.base import Losses
from kdet.heads.roi.mask_head import FCNMaskHead
from kdet.heads.roi.standard import StandardRoIHead, first_rows, merge_batch, split_batch
from kdet.layers import Composite, ConvModule, Linear, NoXla, PointConv, global_uniform, replica_mean
from kdet.losses import CrossEntropyLoss, Loss
from kdet.registry import register
from kdet.typing import Maps, Tensor


def region_points(rois: Tensor, points: Tensor) -> Tensor:
    """Points ``[B,N,P,2]`` relative to regions ``[B,N,4]``, in pixels of the image."""
    return rois[:, :, None, :2] + points * (rois[:, :, None, 2:] - rois[:, :, None, :2])


def sample_map(features: Tensor, points: Tensor, stride: int) -> Tensor:
    """Bilinear samples ``[B,N,P,C]`` of a map of ``stride`` at points ``[B,N,P,2]`` in pixels."""
    size = tf.cast(tf.shape(features)[2:0:-1] * stride, tf.float32)  # (w, h)
    count = points.shape[1] or tf.shape(points)[1]
    batch, length = tf.shape(points)[0], points.shape[2]
    sampled = ops.point_sample(features, tf.reshape(points / size, [batch, count * length, 2]))
    return tf.reshape(sampled, [batch, count, length, features.shape[-1]])


def grid_points(size: int) -> Tensor:
    """Centers of ``size`` x ``size`` cells of the unit square: ``[size*size, 2]`` (x, y), row by row."""
    centers = (tf.range(size, dtype=tf.float32) + 0.5) / size
    x, y = tf.meshgrid(centers, centers)
    return tf.stack([tf.reshape(x, [-1]), tf.reshape(y, [-1])], -1)


@register
class PointRoIExtractor(NoXla, Composite):
    """One bilinear sample of the finest map per cell of the region.

    Args:
        output_size: rows and columns of a region's features.
        stride: of the map.

    Call: ``(tuple of [B,h,w,C], rois [B,N,4]) -> [B,N,output_size,output_size,C]``.
    """

    def __init__(self, output_size: int = 14, stride: int = 4, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.output_size, self.stride = output_size, stride

    def call(self, features: Maps, rois: Tensor, scale: float = 1.0) -> Tensor:
        points = region_points(rois, grid_points(self.output_size))
        sampled = sample_map(features[0], points, self.stride)
        count, size = rois.shape[1] or tf.shape(rois)[1], self.output_size
        return tf.reshape(sampled, [tf.shape(rois)[0], count, size, size, sampled.shape[-1]])


@register
class CoarseMaskHead(FCNMaskHead):
    """Small masks from dense layers.

    Args:
        size: rows and columns of the masks, half of the region's.
        num_fcs, fc_units: dense layers.
        other arguments: see ``FCNMaskHead``.

    Call: ``[N,2*size,2*size,C] -> logits [N,size,size,classes]``.
    """

    def __init__(
        self,
        num_classes: int,
        size: int = 7,
        num_fcs: int = 2,
        fc_units: int = 1024,
        num_convs: int = 0,
        **kwargs: Any,
    ) -> None:
        self.size, self.num_fcs, self.fc_units = size, num_fcs, fc_units
        super().__init__(num_classes=num_classes, num_convs=num_convs, **kwargs)

    def add_predictor(self, filters: int, masks: Tensor, initializer: Any) -> None:
        self.downsample_conv = ConvModule(filters, 2, stride=2)
        self.fcs = [Linear(self.fc_units, flatten=i == 0) for i in range(self.num_fcs)]
        small = keras.initializers.Constant(0.001)
        self.fc_logits = Linear(masks * self.size**2, kernel_initializer=small)

    def logits(self, x: Tensor) -> Tensor:
        x = self.downsample_conv(x)
        for fc in self.fcs:
            x = tf.nn.relu(fc(x))
        # the checkpoints' order is (class, y, x)
        masks = tf.reshape(
            self.fc_logits(x), [-1, self.fc_logits.units // self.size**2, self.size, self.size]
        )
        return tf.transpose(masks, [0, 2, 3, 1])


class PointLayer(Composite):
    """Dense layer on points and ReLU."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv = PointConv(units)

    def call(self, x: Tensor) -> Tensor:
        return tf.nn.relu(self.conv(x))


@register
class MaskPointHead(NoXla, Composite):
    """Classifies points by the features there and the coarse masks' logits, which every layer sees again.

    Args:
        num_classes: without background.
        num_fcs, fc_units: dense layers.
        num_points: points per region in training.
        oversample_ratio: times as many are drawn to choose from.
        importance_ratio: share of the points that are the least certain of those; the others are random.
        loss_point: loss on logits and binary targets.

    Call: ``(fine [N,P,C], coarse [N,P,classes]) -> logits [N,P,classes]``.
    """

    def __init__(
        self,
        num_classes: int,
        num_fcs: int = 3,
        fc_units: int = 256,
        num_points: int = 196,
        oversample_ratio: int = 3,
        importance_ratio: float = 0.75,
        loss_point: Loss | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_points, self.oversample_ratio = num_points, oversample_ratio
        self.importance_ratio = importance_ratio
        self.loss_point = loss_point or CrossEntropyLoss(use_sigmoid=True)
        self.fcs = [PointLayer(fc_units) for _ in range(num_fcs)]
        self.fc_logits = PointConv(
            num_classes, kernel_initializer=keras.initializers.RandomNormal(0.0, 0.001)
        )

    def call(self, fine: Tensor, coarse: Tensor, training: bool = False) -> Tensor:
        x = tf.concat([fine, coarse], -1)
        for fc in self.fcs:
            x = tf.concat([fc(x), coarse], -1)
        return self.fc_logits(x)

    def random_points(self, seed: Tensor, like: Tensor, count: int) -> Tensor:
        """``[B,N,count,2]`` in [0, 1) for the regions of ``like [B,N,...]``."""
        batch, regions = tf.shape(like)[0], like.shape[1]
        numbers = global_uniform(seed, batch, regions * count * 2)
        return tf.reshape(numbers, [batch, regions, count, 2])

    def training_points(self, masks: Tensor, seed: Tensor, like: Tensor) -> Tensor:
        """Points relative to the regions, the uncertain ones first: ``[B,N,num_points,2]``.

        Args:
            masks: logits ``[B*N,m,m,1]`` of the regions' own classes.
            seed: int32 ``[2]``.
            like: ``[B,N,...]``.
        """
        uncertain = int(self.importance_ratio * self.num_points)
        drawn = merge_batch(self.random_points(seed, like, int(self.num_points * self.oversample_ratio)))
        certainty = tf.abs(ops.point_sample(masks, drawn)[..., 0])
        rows = tf.math.top_k(-certainty, uncertain).indices
        chosen = split_batch(tf.gather(drawn, rows, batch_dims=1), like)
        seed = ops.fold_in(seed, 1)
        others = self.random_points(seed, like, self.num_points - uncertain)
        return tf.stop_gradient(tf.concat([chosen, others], 2))


@register
class PointRendRoIHead(NoXla, StandardRoIHead):
    """Mask branch of coarse masks that a point head refines.

    Args:
        point_head: ``MaskPointHead``.
        subdivision_steps: doublings of the mask's size at inference.
        subdivision_points: points that each step refines.
        other arguments: see ``StandardRoIHead``.
    """

    def __init__(
        self, point_head: Any, subdivision_steps: int = 5, subdivision_points: int = 784, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.point_head = point_head
        self.subdivision_steps, self.subdivision_points = subdivision_steps, subdivision_points

    def point_logits(self, features: Maps, coarse: Tensor, rois: Tensor, points: Tensor) -> Tensor:
        """Logits ``[B*N,P,classes]`` at points ``[B,N,P,2]`` relative to regions ``[B,N,4]``."""
        fine = sample_map(features[0], region_points(rois, points), self.mask_roi_extractor.stride)
        rough = ops.point_sample(coarse, merge_batch(points))
        return self.point_head(merge_batch(fine), rough)

    def mask_losses(
        self, features: Maps, rois: Tensor, assignment: Assignment, targets: Targets, info: ImageInfo
    ) -> Losses:
        rois, assignment = first_rows(rois, assignment, self.sampler.max_positives)
        coarse = self.mask_forward(features, rois, training=True)
        losses = self.mask_head.compute_losses(coarse, rois, assignment, targets, info)
        # points lie within the image's own padding, as the targets of the coarse masks do
        rois = geometry.clip(rois, info["padded_size"])
        labels = tf.reshape(assignment.labels(targets, background=0), [-1])
        seed = ops.fold_in(info["seed"], 3)
        own = self.mask_head.of_class(coarse, labels)[..., None]
        points = self.point_head.training_points(own, seed, rois)
        logits = self.point_logits(features, coarse, rois, points)  # [B*S, P, classes]
        logits = self.mask_head.of_class(logits[:, None], labels)[:, 0]
        wanted = ops.sample_packed_masks(targets["masks"], region_points(rois, points), assignment.gt_index)
        weight = merge_batch(tf.cast(assignment.positive, tf.float32))
        count = replica_mean(tf.reduce_sum(weight)) * self.point_head.num_points
        loss = self.point_head.loss_point(logits, merge_batch(wanted), weight, tf.maximum(count, 1.0))
        return {**losses, "loss_point": loss}

    def predict_masks(self, features: Maps, detections: Detections, info: ImageInfo) -> dict[str, Tensor]:
        rois = network_boxes(detections["boxes"], info)
        labels = tf.reshape(detections["labels"], [-1])
        coarse = self.mask_forward(features, rois)
        masks = self.mask_head.of_class(coarse, labels)  # only the detected class is refined
        size = self.mask_head.size
        for step in range(self.subdivision_steps):
            size *= 2
            masks = tf.image.resize(masks[..., None], [size, size])[..., 0]
            last = step == self.subdivision_steps - 1
            if self.subdivision_points < 4 * size**2 or last:
                masks = self.refine(masks, features, coarse, rois, labels)
        return {"masks": split_batch(tf.sigmoid(masks), rois)}

    def refine(self, masks: Tensor, features: Maps, coarse: Tensor, rois: Tensor, labels: Tensor) -> Tensor:
        """Masks ``[B*N,m,m]`` with new logits at their least certain cells."""
        size = masks.shape[1]
        flat = tf.reshape(masks, [-1, size**2])
        cells = tf.math.top_k(-tf.abs(flat), min(self.subdivision_points, size**2)).indices
        points = split_batch(tf.gather(grid_points(size), cells), rois)
        logits = self.point_logits(features, coarse, rois, points)
        logits = self.mask_head.of_class(logits[:, None], labels)[:, 0]
        rows = tf.broadcast_to(tf.range(tf.shape(cells)[0])[:, None], tf.shape(cells))
        flat = tf.tensor_scatter_nd_update(flat, tf.stack([rows, cells], -1), logits)
        return tf.reshape(flat, tf.shape(masks))
