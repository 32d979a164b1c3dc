"""Masks as weighted sums of prototypes (YOLACT, Bolya et al., 2019)."""

from typing import Any

import tensorflow as tf

from kdet import ops
from kdet.contract import Assignment, ImageInfo, Targets
from kdet.coordinates import size_as_box
from kdet.heads.base import Losses
from kdet.layers import Composite, Conv2D, replica_mean, resize_bilinear
from kdet.losses import CrossEntropyLoss
from kdet.registry import register
from kdet.typing import Maps, Pair, Tensor


class Protonet(Composite):
    """Three convolutions, twice the size, a convolution, a projection to the prototypes.

    Call: ``[B,h,w,C] -> [B,2h,2w,num_protos]``, not negative.
    """

    torch_names = {"steps": ""}

    def __init__(self, num_protos: int, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)

        def conv(width: int, kernel_size: int) -> Conv2D:
            return Conv2D(width, kernel_size, padding=kernel_size // 2, kernel_initializer="glorot_uniform")

        # positions as in the checkpoint's Sequential, with a ReLU behind every step
        convs = [conv(filters, 3), conv(filters, 3), conv(filters, 3), None, conv(filters, 3)]
        self.steps = [s for step in (*convs, conv(num_protos, 1)) for s in (step, None)]

    def call(self, x: Tensor) -> Tensor:
        for step in self.steps[::2]:
            x = resize_bilinear(x, 2 * tf.shape(x)[1:3]) if step is None else step(x)
            x = tf.nn.relu(x)
        return x


@register
class PrototypeMaskHead(Composite):
    """Prototypes of the whole image; a mask is their sum by an object's coefficients, cut to its box.

    Args:
        num_protos: number of prototypes.
        filters: channels of the convolutions.
        max_masks: masks per image in the loss, drawn from the positives.
        loss_weight: factor of the loss.
        mask_threshold: probability above which a pixel belongs to the object.

    Call: ``[B,h,w,C] -> [B,2h,2w,num_protos]``.
    """

    def __init__(
        self,
        num_protos: int = 32,
        filters: int = 256,
        max_masks: int = 100,
        loss_weight: float = 6.125,
        mask_threshold: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.protonet = Protonet(num_protos, filters)
        self.max_masks, self.loss_weight, self.mask_threshold = max_masks, loss_weight, mask_threshold

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        return self.protonet(x)

    def assemble(self, prototypes: Tensor, coefficients: Tensor, boxes: Tensor, size: Tensor) -> Tensor:
        """Mask probabilities in the frame of the image.

        Args:
            prototypes: ``[B,h,w,P]``.
            coefficients: ``[B,N,P]``.
            boxes: ``[B,N,4]`` in network pixels; outside (and a cell around) them the masks are 0.
            size: ``[B,2]`` (h, w) of the images in network pixels.

        Returns:
            ``[B,N,h,w]``.
        """
        prototypes = tf.cast(prototypes, tf.float32)
        masks = tf.sigmoid(tf.einsum("bhwp,bnp->bnhw", prototypes, tf.cast(coefficients, tf.float32)))
        cells = tf.cast(tf.shape(prototypes)[1:3], tf.float32)
        boxes = boxes / size_as_box(size) * tf.tile(cells[::-1], [2])
        low, high = tf.minimum(boxes[..., :2], boxes[..., 2:]), tf.maximum(boxes[..., :2], boxes[..., 2:])
        low = tf.maximum(low - 1.0, 0.0)[..., None]  # [B, N, 2, 1]
        high = tf.minimum(high + 1.0, cells[::-1])[..., None]
        column, row = tf.range(cells[1]), tf.range(cells[0])
        inside_x = (column >= low[..., 0, :]) & (column < high[..., 0, :])  # [B, N, w]
        inside_y = (row >= low[..., 1, :]) & (row < high[..., 1, :])  # [B, N, h]
        return tf.where(inside_y[..., None] & inside_x[..., None, :], masks, 0.0)

    def compute_losses(
        self,
        features: Maps,
        coefficients: Tensor,
        assignment: Assignment,
        targets: Targets,
        info: ImageInfo,
        canvas: Pair,
    ) -> Losses:
        """Binary cross entropy of the positives' masks within their objects' boxes.

        Args:
            features: ``[B,h,w,C]``.
            coefficients: ``[B,A,P]`` of all anchors.
            assignment: ``Assignment [B,A]``.
            targets, info: see the data contract.
            canvas: (H, W) of the batch.

        Returns:
            ``{"loss_mask": scalar}``.
        """
        prototypes = self(features, training=True)
        positive = assignment.positive
        seed = ops.fold_in(info["seed"], 2)
        order = tf.cast(positive, tf.float32) * (1.0 + ops.uniform(tf.shape(positive), seed))
        order, rows = tf.math.top_k(order, self.max_masks)
        chosen = tf.cast(order > 0.0, tf.float32)  # [B, M]
        objects = tf.maximum(tf.gather(assignment.gt_index, rows, batch_dims=1), 0)
        boxes = tf.gather(targets["boxes"], objects, batch_dims=1)  # [B, M, 4]
        coefficients = tf.gather(coefficients, rows, batch_dims=1)
        masks = self.assemble(prototypes, coefficients, boxes, info["valid_size"])
        truth = ops.resize_masks(targets["masks"], canvas, tf.unstack(tf.shape(masks)[2:]))
        truth = tf.gather(tf.cast(truth > 0.5, tf.float32), objects, batch_dims=1)
        each = -(truth * _clamped_log(masks) + (1.0 - truth) * _clamped_log(1.0 - masks))
        share = (boxes[..., 2:] - boxes[..., :2]) / size_as_box(info["valid_size"])[..., :2]
        area = tf.where(chosen > 0.0, share[..., 0] * share[..., 1], 1.0)
        total = tf.reduce_sum(tf.reduce_mean(each, [2, 3]) / area * chosen)
        return {"loss_mask": self.loss_weight * total / tf.maximum(replica_mean(tf.reduce_sum(chosen)), 1.0)}


def _clamped_log(x: Tensor) -> Tensor:
    """Logarithm, -100 (without a gradient) where it is infinite."""
    return tf.where(x > 0.0, tf.math.log(tf.where(x > 0.0, x, 1.0)), -100.0)


@register
class SemanticLossHead(Composite):
    """A 1x1 convolution to class maps that only exists for its loss on the features.

    Args:
        num_classes: classes without background.

    Call: ``[B,h,w,C] -> [B,h,w,classes]``.
    """

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.loss = num_classes, CrossEntropyLoss(use_sigmoid=True)
        self.segm_conv = Conv2D(num_classes, 1, kernel_initializer="glorot_uniform")

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        return self.segm_conv(x)

    def compute_losses(self, features: Maps, targets: Targets, canvas: Pair) -> Losses:
        """``{"loss_segm": scalar}``: binary cross entropy per class, summed, per pixel of the map."""
        maps = self(features, training=True)
        truth = ops.resize_masks(targets["masks"], canvas, tf.unstack(tf.shape(maps)[1:3]))
        real = targets["labels"] >= 0
        # as in MMDetection, objects of class c go to map c - 1, which the published weights have learned
        classes = tf.where(real, (targets["labels"] - 1) % self.num_classes, -1)
        truth = tf.einsum(
            "bghw,bgc->bhwc", tf.cast(truth > 0.5, tf.float32), tf.one_hot(classes, self.num_classes)
        )
        weight = tf.cast(tf.reduce_any(real, 1), tf.float32)[:, None, None]  # [B, 1, 1]
        pixels = tf.cast(tf.reduce_prod(tf.shape(maps)[:3]), tf.float32)
        return {"loss_segm": self.loss(maps, tf.minimum(truth, 1.0), weight, pixels)}
