"""Side-aware boundary localization: every side of the box from its own features (Wang et al., 2020)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kdet.coders import BucketingCoder
from kdet.contract import Assignment, ImageInfo, Targets
from kdet.heads.base import Losses
from kdet.heads.roi.bbox_head import BBoxHead
from kdet.heads.roi.standard import split_batch
from kdet.layers import Conv2D, ConvModule, Layer, Linear
from kdet.losses import Loss
from kdet.registry import register
from kdet.typing import Tensor


@register
class Upsample1D(Layer):
    """Transposed 1-D convolution of size and stride 2: ``[N,n,C] -> [N,2n,filters]``."""

    torch_tensors = {"weight": ("kernel", None), "bias": ("bias", None)}

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape: Any) -> None:
        he = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], self.filters, 2), initializer=he)
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        y = tf.einsum("nic,cok->niko", x, tf.convert_to_tensor(self.kernel))
        return tf.reshape(y, [-1, 2 * x.shape[1], self.filters]) + self.bias


@register
class SABLHead(BBoxHead):
    """Dense layers for the class; columns and rows of the region, by attention, for the sides.

    Args:
        coder: ``BucketingCoder`` with twice as many buckets as the region has columns.
        loss_cls: loss on the class scores.
        loss_bbox_cls, loss_bbox_reg: losses on buckets and offsets.
        filters: channels of the box branch.
        num_pre_convs, num_post_convs: 3x3 convolutions before the attention, of length 3 after it.
        num_fcs: dense layers of the class branch.
        other arguments: see ``BBoxHead``.

    Call: ``[N,h,w,C] -> (scores [N,classes+1], (buckets [N,4*n], offsets [N,4*n]))``.
    """

    torch_names = {"shared_fcs": "cls_fcs"}
    coder: BucketingCoder

    def __init__(
        self,
        loss_bbox_cls: Loss,
        loss_bbox_reg: Loss,
        filters: int = 256,
        num_pre_convs: int = 2,
        num_post_convs: int = 1,
        num_fcs: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            loss_bbox=loss_bbox_reg, num_shared_fcs=num_fcs, regress=False, class_agnostic=True, **kwargs
        )
        self.loss_bbox_cls, self.loss_bbox_reg = loss_bbox_cls, loss_bbox_reg

        def convs(count: int, kernel_size: Any, padding: Any) -> list[ConvModule]:
            return [ConvModule(filters, kernel_size, padding=padding) for _ in range(count)]

        self.upsample_x, self.upsample_y = Upsample1D(filters), Upsample1D(filters)
        self.reg_pre_convs = convs(num_pre_convs, 3, 1)
        self.reg_post_conv_xs = convs(num_post_convs, (1, 3), (0, 1))
        self.reg_post_conv_ys = convs(num_post_convs, (3, 1), (1, 0))
        normal = keras.initializers.RandomNormal
        self.reg_conv_att_x = Conv2D(1, 1, kernel_initializer=normal(stddev=0.01))
        self.reg_conv_att_y = Conv2D(1, 1, kernel_initializer=normal(stddev=0.01))
        self.fc_reg_cls = Linear(1, kernel_initializer=normal(stddev=0.01))
        self.fc_reg_offset = Linear(1, kernel_initializer=normal(stddev=0.001))

    def call(self, x: Tensor, training: bool = False) -> tuple[Tensor, Any]:
        scores, _ = super().call(x)
        for conv in self.reg_pre_convs:
            x = conv(x)
        # [N, buckets, C] along x and along y
        along = (
            self.line(x, 1, self.reg_conv_att_x, self.reg_post_conv_xs, self.upsample_x),
            self.line(x, 2, self.reg_conv_att_y, self.reg_post_conv_ys, self.upsample_y),
        )
        predictions = (
            tf.concat([self.sides(fc(line)[..., 0]) for line in along], -1)
            for fc in (self.fc_reg_cls, self.fc_reg_offset)
        )
        return scores, tuple(predictions)

    @staticmethod
    def line(x: Tensor, axis: int, attention: keras.Layer, convs: Sequence[Any], upsample: Any) -> Tensor:
        """The region's features with ``axis`` averaged away by attention, at double length."""
        share = tf.sigmoid(attention(x))
        share /= tf.reduce_sum(share, axis, keepdims=True)
        x = tf.reduce_sum(x * share, axis, keepdims=True)
        for conv in convs:
            x = conv(x)
        return tf.nn.relu(upsample(tf.squeeze(x, axis)))

    @staticmethod
    def sides(x: Tensor) -> Tensor:
        """``[N,buckets]`` of an axis as its two sides, both from the outside inwards."""
        first, second = x.shape[1] - x.shape[1] // 2, x.shape[1] // 2
        return tf.concat([x[:, :first], x[:, second:][:, ::-1]], -1)

    def class_boxes(self, deltas: Tensor, rois: Tensor, info: ImageInfo | None = None) -> Tensor:
        buckets, offsets = (split_batch(d, rois) for d in deltas)
        max_size = None if info is None else info["valid_size"]
        return self.coder.decode(rois, buckets, offsets, max_size)[:, :, None, :]

    def confidence(self, deltas: Tensor) -> Tensor | None:
        return self.coder.confidence(deltas[0])

    def compute_losses(
        self,
        scores: Tensor,
        deltas: Any,
        rois: Tensor,
        assignment: Assignment,
        targets: Targets,
        loss_bbox: Loss | None = None,
    ) -> Losses:
        """``{"loss_cls", "loss_bbox_cls", "loss_bbox_reg"}``; see ``BBoxHead``."""
        losses = super().compute_losses(scores, None, rois, assignment, targets)
        # each [B, S, 4, n]
        buckets, bucket_weights, offsets, offset_weights = self.encoded(rois, assignment, targets)
        positive = tf.cast(assignment.positive, tf.float32)[..., None, None]
        count = tf.maximum(self.sampled(assignment), 1.0)
        bucket_logits, offset_values = (self.coder.per_side(split_batch(d, rois)) for d in deltas)
        losses["loss_bbox_cls"] = self.loss_bbox_cls(
            bucket_logits, buckets, bucket_weights * positive, count * 4.0
        )
        losses["loss_bbox_reg"] = self.loss_bbox_reg(offset_values, offsets, offset_weights * positive, count)
        return losses
