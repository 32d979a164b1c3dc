"""The head of RTMDet-Ins: RTMDet's with masks (Lyu et al., 2022, arXiv:2212.07784)."""

import math
from typing import Any

import tensorflow as tf

from kdet import ops
from kdet.contract import Detections, ImageInfo, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.base import flatten_levels, level_shapes
from kdet.heads.dense.rtmdet import RTMDetHead
from kdet.heads.dense.towers import apply_tower, conv_tower, small_normal
from kdet.heads.mask.dynamic import DynamicConvs, chosen_rows
from kdet.heads.mask.own_size import OwnSizes
from kdet.layers import Composite, Conv2D, ConvModule, replica_mean, resize_bilinear
from kdet.losses import DiceLoss, Loss
from kdet.registry import register
from kdet.typing import Maps, Norm, Tensor

# predicted distances reach an object of this size in one unit of the masks' coordinates, in strides
REACH = 8.0


class FusedMaskFeatures(Composite):
    """One map from all levels: enlarged to the finest, put together, and through a tower.

    Args:
        filters: of the inner maps.
        out_channels: of the result.
        norm: spec of the norms.

    Call: ``tuple of [B,h,w,C] -> [B,h,w,out_channels]`` in the size of the first.
    """

    def __init__(self, filters: int, out_channels: int, norm: Norm, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fusion_conv = Conv2D(filters, 1, kernel_initializer=small_normal())
        self.stacked_convs = conv_tower(4, filters, norm=norm, activation="silu")
        self.projection = Conv2D(out_channels, 1, kernel_initializer=small_normal())

    def call(self, maps: Maps) -> Tensor:
        size = tf.shape(maps[0])[1:3]
        x = tf.concat([maps[0], *(resize_bilinear(x, size) for x in maps[1:])], -1)
        return self.projection(apply_tower(self.stacked_convs, self.fusion_conv(x)))


@register
class RTMDetInsHead(RTMDetHead):
    """``RTMDetHead`` whose points also predict a small network each, which draws the object on a common map.

    Boxes and classes come from one tower. Distances are ReLUs, in strides. As published, the towers of the
    networks share nothing.

    Args:
        num_prototypes: channels of the common map.
        channels, depth: of the predicted networks.
        loss_mask: of every positive's mask, probabilities ``[...,n]``; default Dice.
        mask_threshold: probability above which a pixel belongs to the object.
        other arguments: see ``RTMDetHead``; ``exp_on_reg`` has no effect.

    Outputs: ``(scores, distances, networks, map)``: tuples over the levels of ``[B,h,w,classes]``,
    ``[B,h,w,4]``, ``[B,h,w,K]``, and ``[B,h,w,num_prototypes]``.
    """

    first_distance = 1.0

    def __init__(
        self,
        stacked_convs: int = 2,
        filters: int = 256,
        norm: Norm = "bn",
        num_prototypes: int = 8,
        channels: int = 8,
        depth: int = 3,
        loss_mask: Loss | None = None,
        mask_threshold: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(stacked_convs=stacked_convs, filters=filters, norm=norm, **kwargs)
        self.loss_mask = loss_mask or DiceLoss(epsilon=5e-6, loss_weight=2.0)
        self.mask_threshold = mask_threshold
        self.convs = DynamicConvs(num_prototypes, channels, depth, self.strides[0], offset=0.0)
        self.kernel_convs = [
            conv_tower(stacked_convs, filters, norm=norm, activation="silu") for _ in self.strides
        ]
        self.rtm_kernel = self.predictions(self.convs.count)
        self.mask_head = FusedMaskFeatures(filters, num_prototypes, norm)

    def box_towers(self, depth: int, filters: int, norm: Norm) -> list[list[ConvModule]]:
        return [list(tower) for tower in self.cls_convs]  # the same layers

    def distances(self, x: Tensor, index: int) -> Tensor:
        return tf.nn.relu(x) * self.strides[index]

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> tuple[Any, ...]:
        common = tf.cast(self.mask_head(features), tf.float32)
        return *super().call(features, info, training), common

    def level(self, index: int, x: Tensor) -> tuple[Tensor, ...]:
        both = apply_tower(self.cls_convs[index], x)
        distances = self.distances(tf.cast(self.rtm_reg[index](both), tf.float32), index)
        networks = self.rtm_kernel[index](apply_tower(self.kernel_convs[index], x))
        return self.rtm_cls[index](both), distances, networks

    def masks_of(self, outputs: Any, rows: Tensor, network_rows: Tensor | None = None) -> Tensor:
        """Logits ``[B,M,h,w]`` of the masks of points ``rows [B,M]``, on the common map.

        ``network_rows``: the points whose networks draw them, where these are others.
        """
        predicted = flatten_levels(outputs[2], self.convs.count)
        predicted = tf.gather(predicted, rows if network_rows is None else network_rows, batch_dims=1)
        points = tf.gather(tf.concat(self.priors(level_shapes(outputs[0])), 0), rows)  # [B, M, 3]
        return self.convs.masks(outputs[3], predicted, points[..., :2], REACH * points[..., 2])

    # ---- training

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """``loss_cls``, ``loss_bbox``, and ``loss_mask`` of the masks of all positives.

        Raises:
            ValueError: the targets have no masks.
        """
        if "masks" not in targets:
            raise ValueError(
                f"{type(self).__name__} learns masks: the data must have them (data.train.masks: true)."
            )
        losses, assignment = self.assigned_losses(outputs, targets, info)
        count = replica_mean(tf.reduce_sum(tf.cast(assignment.positive, tf.float32)))
        limit = self.assigner.topk * tf.shape(targets["labels"])[1]
        rows, real = chosen_rows(assignment.positive, limit)
        # as in MMDetection, which counts the networks' rows without the points in a batch's padding: the
        # same rows where images are padded to the whole canvas, as these models are trained
        counted = tf.cumsum(tf.cast(assignment.weight > 0, tf.int32), 1) - 1  # [B, P]
        network_rows = tf.maximum(tf.gather(counted, rows, batch_dims=1), 0)
        logits = self.masks_of(outputs, rows, network_rows)  # [B, M, h, w]
        size = 2 * tf.shape(logits)[2:]
        logits = tf.transpose(resize_bilinear(tf.transpose(logits, [0, 2, 3, 1]), size), [0, 3, 1, 2])
        truth = ops.strided_masks(targets["masks"], self.strides[0] // 2, size)
        owner = tf.maximum(tf.gather(assignment.gt_index, rows, batch_dims=1), 0)
        truth = tf.gather(truth, owner, batch_dims=1)
        shape = tf.concat([tf.shape(rows), [size[0] * size[1]]], 0)
        each = self.loss_mask.elementwise(tf.sigmoid(tf.reshape(logits, shape)), tf.reshape(truth, shape))
        total = tf.reduce_sum(tf.where(real, each, 0.0)) / tf.maximum(count, 1.0)
        return {**losses, "loss_mask": self.loss_mask.loss_weight * total}

    # ---- inference

    def decode(self, outputs: Any, info: ImageInfo) -> Detections:
        """Detections in original pixels, with ``masks`` uint8 ``[B,N,H,W]`` of the images."""
        candidates, rows = self.located_candidates(outputs, info)
        found, kept = self.postprocess.nms(*candidates, self.postprocess.max_per_image)
        rows = tf.gather(rows, kept, batch_dims=1)  # [B, N]
        logits = tf.where((found["labels"] >= 0)[..., None, None], self.masks_of(outputs, rows), -1e4)
        found["masks"] = self.image_masks(logits, info)
        return found

    def image_masks(self, logits: Tensor, info: ImageInfo) -> Tensor:
        """Logits ``[B,N,h,w]`` on the common map as masks of the images, uint8 ``[B,N,H,W]``.

        They are enlarged to the canvas, which is resized as a whole; the image is cut out of it then.
        """
        own = OwnSizes(info, tf.shape(logits)[2:] * self.strides[0])
        canvas = tf.cast(own.canvas, tf.float32)
        least = math.log(self.mask_threshold / (1.0 - self.mask_threshold))

        def one(valid: Tensor, size: Tensor, maps: Tensor, scale: Tensor) -> Tensor:
            whole = tf.maximum(tf.cast(tf.math.ceil(canvas / scale), tf.int32), size)
            x = resize_bilinear(resize_bilinear(maps[None], own.canvas), whole)[0, : size[0], : size[1]]
            return own.filled(tf.transpose(tf.cast(x > least, tf.uint8), [2, 0, 1]), size)

        maps = tf.transpose(logits, [0, 2, 3, 1])
        found = own.each(one, [maps, info["scale"]], tf.TensorSpec([None, None, None], tf.uint8))
        return tf.ensure_shape(found, [*logits.shape[:2], None, None])
