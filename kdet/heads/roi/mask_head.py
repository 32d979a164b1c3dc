"""Mask R-CNN's mask branch (He et al., 2017)."""

from typing import Any

import keras
import tensorflow as tf

from kdet import geometry, ops
from kdet.contract import Assignment, ImageInfo, Targets
from kdet.heads.base import Losses
from kdet.layers import Composite, ConvModule, ConvTranspose2D, NoXla, make_conv, replica_mean
from kdet.losses import CrossEntropyLoss, Loss
from kdet.registry import register
from kdet.typing import Conv, Spec, Tensor


@register
class FCNMaskHead(NoXla, Composite):
    """Convolutions, a learned 2x up-sampling, one mask per class.

    Args:
        num_classes: without background.
        num_convs, filters: 3x3 convolutions.
        class_agnostic: one mask instead of one per class.
        norm, conv: specs of the convolutions.
        predictor: spec of the last convolution.
        mask_threshold: probability from which a pixel belongs to the object.
        loss_mask: loss on logits and binary targets.

    Call: ``[N,h,w,C] -> logits [N,2h,2w,classes]``.
    """

    def __init__(
        self,
        num_classes: int,
        num_convs: int = 4,
        filters: int = 256,
        class_agnostic: bool = False,
        norm: str | Spec | None = None,
        conv: str | Spec | keras.Layer | None = None,
        mask_threshold: float = 0.5,
        loss_mask: Loss | None = None,
        predictor: Conv = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_classes, self.class_agnostic = num_classes, class_agnostic
        self.predictor = predictor
        self.mask_threshold = mask_threshold
        self.loss_mask = loss_mask or CrossEntropyLoss(use_sigmoid=True)
        he = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
        self.convs = [
            ConvModule(filters, 3, padding=1, norm=norm, conv=conv, kernel_initializer=he)
            for _ in range(num_convs)
        ]
        self.add_predictor(filters, 1 if class_agnostic else num_classes, he)

    def add_predictor(self, filters: int, masks: Tensor, initializer: Any) -> None:
        """Adds the layers after the convolutions, for ``masks`` masks per region."""
        self.upsample = ConvTranspose2D(filters, 2, kernel_initializer=initializer)
        self.conv_logits = make_conv(self.predictor, masks, 1, kernel_initializer=initializer)

    def features(self, x: Tensor) -> Tensor:
        """The convolutions before the up-sampling."""
        for conv in self.convs:
            x = conv(x)
        return x

    def logits(self, x: Tensor) -> Tensor:
        """Masks from ``features``."""
        return self.conv_logits(tf.nn.relu(self.upsample(x)))

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        return self.logits(self.features(x))

    def of_class(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The logits of each region's own class: ``[N,m,m,classes], [N] -> [N,m,m]`` float32."""
        logits = tf.cast(logits, tf.float32)
        if self.class_agnostic:
            return logits[..., 0]
        labels = tf.clip_by_value(labels, 0, self.num_classes - 1)
        return tf.gather(tf.transpose(logits, [0, 3, 1, 2]), labels, batch_dims=1)

    def probabilities(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Masks ``[B,N,m,m]`` of the classes ``labels [B,N]`` from the logits of ``B*N`` regions."""
        masks = tf.sigmoid(self.of_class(logits, tf.reshape(labels, [-1])))
        count = labels.shape[1] if labels.shape[1] is not None else tf.shape(labels)[1]
        return tf.reshape(masks, [tf.shape(labels)[0], count, *masks.shape[1:]])

    def targets(
        self, rois: Tensor, assignment: Assignment, targets: Targets, info: ImageInfo, size: int
    ) -> Tensor:
        """Binary masks of the assigned objects within the regions: ``[B*S,size,size]``."""
        # as in MMDetection, masks end where the image's own padding ends
        rois = geometry.clip(rois, info["padded_size"])
        masks = ops.crop_masks(targets["masks"], rois, tf.maximum(assignment.gt_index, 0), size)
        return tf.reshape(masks, [-1, size, size])

    def compute_losses(
        self,
        logits: Tensor,
        rois: Tensor,
        assignment: Assignment,
        targets: Targets,
        info: ImageInfo,
        wanted: Tensor | None = None,
    ) -> Losses:
        """``{"loss_mask": scalar}``, averaged over the positives' pixels.

        Args:
            logits: of ``call`` for ``B*S`` regions.
            rois: ``[B,S,4]``.
            assignment: ``Assignment [B,S]``; rows that are not positive do not count.
            targets: the data contract's dict with ``masks``.
            info: ImageInfo with ``padded_size``.
            wanted: of ``targets``, where the caller has them already.
        """
        size = logits.shape[1]
        labels = tf.reshape(assignment.labels(targets, background=0), [-1])
        weight = tf.reshape(tf.cast(assignment.positive, tf.float32), [-1])
        wanted = self.targets(rois, assignment, targets, info, size) if wanted is None else wanted
        count = replica_mean(tf.reduce_sum(weight))
        return {"loss_mask": self.loss_of_masks(self.of_class(logits, labels), wanted, weight, count)}

    def loss_of_masks(self, logits: Tensor, wanted: Tensor, weight: Tensor, count: Tensor) -> Tensor:
        """The loss of masks ``[R,m,m]`` of which those with ``weight [R]`` count, ``count`` of them."""
        pixels = count * logits.shape[1] * logits.shape[2]
        return self.loss_mask(logits, wanted, weight, tf.maximum(pixels, 1.0))
