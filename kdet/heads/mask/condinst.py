"""CondInst: masks from networks that FCOS' points predict (Tian et al., 2020, arXiv:2003.05664)."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from kdet import ops
from kdet.contract import Assignment, Detections, ImageInfo, Targets
from kdet.heads.base import Losses
from kdet.heads.dense.base import flatten_levels, level_shapes
from kdet.heads.dense.fcos import FCOSHead
from kdet.heads.dense.towers import Scale, apply_tower, prediction
from kdet.heads.mask.dynamic import DynamicConvs, chosen_rows
from kdet.heads.mask.own_size import OwnSizes
from kdet.layers import Composite, Conv2D, ConvModule, enlarge_aligned, replica_mean, resize_bilinear
from kdet.losses import DiceLoss, Loss
from kdet.registry import register
from kdet.typing import Maps, Norm, Tensor

# strides that reach one unit of the masks' coordinates
REACH = 8.0


class Instances(NamedTuple):
    """Points that draw masks.

    Attributes:
        networks: what they predict, ``[B,N,K]``.
        points: ``[B,N,3]`` (x, y, stride).
    """

    networks: Tensor
    points: Tensor


class Drawn(NamedTuple):
    """Masks that are learned.

    Attributes:
        logits, truth: ``[B,M,h,w]``.
        real: bool ``[B,M]``; the others fill the batch.
    """

    logits: Tensor
    truth: Tensor
    real: Tensor


@register
class CondInstBoxHead(FCOSHead):
    """``FCOSHead`` whose points also predict a small network each (``controller``), from the box tower.

    Args:
        num_params: numbers of a network, as many as ``CondInstMaskHead.convs`` takes.
        other arguments: see ``FCOSHead``.

    Outputs: those of ``FCOSHead``, and a tuple over the levels of ``[B,h,w,num_params]``.
    """

    def __init__(self, num_params: int = 169, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_params = num_params
        self.controller = prediction(num_params)

    def predicted(self, cls: Tensor, reg: Tensor, scale: Scale, stride: int) -> tuple[Tensor, ...]:
        return *super().predicted(cls, reg, scale, stride), self.controller(reg)

    def instances(self, outputs: Any, rows: Tensor) -> Instances:
        """The points ``rows [B,N]``, counted over all levels."""
        networks = tf.gather(flatten_levels(outputs[3], self.num_params), rows, batch_dims=1)
        return Instances(networks, tf.gather(tf.concat(self.priors(level_shapes(outputs[0])), 0), rows))

    def confidence(self, outputs: Any) -> Tensor:
        """How sure all points are of their object, ``[B,P]``."""
        scores = tf.reduce_max(flatten_levels(outputs[0], self.num_classes), -1)
        return tf.sigmoid(scores) * tf.sigmoid(flatten_levels(outputs[2], 1)[..., 0])

    def decode_with_instances(self, outputs: Any, info: ImageInfo) -> tuple[Detections, Instances]:
        """Detections in original pixels, and the points that they come from."""
        candidates, rows = self.located_candidates(outputs, info)
        found, kept = self.postprocess.nms(*candidates, self.postprocess.max_per_image)
        return found, self.instances(outputs, tf.gather(rows, kept, batch_dims=1))


class MaskBranch(Composite):
    """One map from the finest levels: each through a convolution, enlarged, added, and through a tower.

    Args:
        levels: how many, beginning with the finest.
        filters: of the inner maps.
        out_channels: of the result.
        norm: spec of the norms.

    Call: ``tuple of [B,h,w,C] -> [B,h,w,out_channels]`` in the size of the first; each level is half of the
    one before.
    """

    def __init__(
        self, levels: int = 3, filters: int = 128, out_channels: int = 8, norm: Norm = "bn", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)

        def conv() -> ConvModule:
            return ConvModule(filters, 3, padding=1, norm=norm, kernel_initializer=_initializer())

        self.convs_all_levels = [{f"conv{level}": conv()} for level in range(levels)]
        self.conv_branch = [conv() for _ in range(4)]
        self.conv_pred = Conv2D(out_channels, 1, kernel_initializer=_initializer())

    def call(self, maps: Maps) -> Tensor:
        total = 0.0
        for level, (convs, x) in enumerate(zip(self.convs_all_levels, maps)):
            for _, conv in convs.items():
                total += enlarge_aligned(conv(x), 2**level)
        return self.conv_pred(apply_tower(self.conv_branch, total))


def _initializer() -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(1.0, "fan_in", "uniform")


@register
class CondInstMaskHead(Composite):
    """Draws the objects of points with the networks that they predict.

    Args:
        filters: of the inner maps of the branch that makes the common map.
        in_channels: of the common map.
        channels, depth: of the predicted networks.
        stride: of the common map.
        out_stride: of the masks that are learned.
        max_masks: so many positives of an image are learned, drawn at random; None: all.
        norm: spec of the branch's norms.
        loss_mask: of every mask's probabilities ``[...,n]``; default Dice.
        mask_threshold: probability above which a pixel belongs to the object.

    Call: ``maps, Instances -> logits [B,N,h,w]`` of ``out_stride``.
    """

    def __init__(
        self,
        filters: int = 128,
        in_channels: int = 8,
        channels: int = 8,
        depth: int = 3,
        stride: int = 8,
        out_stride: int = 4,
        max_masks: int | None = None,
        norm: Norm = "bn",
        loss_mask: Loss | None = None,
        mask_threshold: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.convs = DynamicConvs(in_channels, channels, depth, stride)
        self.out_stride, self.max_masks = out_stride, max_masks
        self.mask_feature_head = MaskBranch(filters=filters, out_channels=in_channels, norm=norm)
        self.loss_mask = loss_mask or DiceLoss(epsilon=5e-6)
        self.mask_threshold = mask_threshold

    def call(self, features: Maps, instances: Instances, training: bool = False) -> Tensor:
        common = tf.cast(self.mask_feature_head(features), tf.float32)
        points = instances.points
        logits = self.convs.masks(common, instances.networks, points[..., :2], REACH * points[..., 2])
        logits = enlarge_aligned(tf.transpose(logits, [0, 2, 3, 1]), self.convs.stride // self.out_stride)
        return tf.transpose(logits, [0, 3, 1, 2])

    # ---- training

    def learned(self, assignment: Assignment, confidence: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Which positives are learned: rows int32 ``[B,M]``, and which of them are real.

        Args:
            assignment: of the points.
            confidence: ``[B,P]``, see ``CondInstBoxHead``.
            seed: int32 ``[2]``, of the step.
        """
        wanted, count = assignment.positive, tf.shape(confidence)[1]
        if self.max_masks is None:
            return chosen_rows(wanted, count)
        draw = tf.random.stateless_uniform(tf.shape(confidence), ops.fold_in(seed, 5))
        order = tf.argsort(tf.where(wanted, draw, 2.0), axis=1)
        kept = tf.gather(wanted, order, batch_dims=1)[:, : self.max_masks]
        rows, real = chosen_rows(kept, self.max_masks)
        return tf.gather(order, rows, batch_dims=1), real

    def draw(
        self,
        features: Maps,
        box_head: CondInstBoxHead,
        outputs: Any,
        assignment: Assignment,
        targets: Targets,
        info: ImageInfo,
    ) -> Drawn:
        """The masks of the positives that are learned."""
        rows, real = self.learned(assignment, tf.stop_gradient(box_head.confidence(outputs)), info["seed"])
        logits = self(features, box_head.instances(outputs, rows), training=True)  # [B, M, h, w]
        return Drawn(logits, self.truth(targets, assignment, rows, tf.shape(logits)[2:]), real)

    def truth(self, targets: Targets, assignment: Assignment, rows: Tensor, size: Tensor) -> Tensor:
        """The masks of the objects that points ``rows [B,M]`` answer for: 0 and 1, ``[B,M,h,w]``."""
        masks = ops.strided_masks(targets["masks"], self.out_stride, size)
        owner = tf.maximum(tf.gather(assignment.gt_index, rows, batch_dims=1), 0)
        return tf.gather(masks, owner, batch_dims=1)

    def mask_losses(self, drawn: Drawn) -> Losses:
        """``loss_mask``, the mean of all masks' losses."""
        return {"loss_mask": self.mean_loss(flat(tf.sigmoid(drawn.logits)), flat(drawn.truth), drawn.real)}

    def mean_loss(self, found: Tensor, truth: Tensor, real: Tensor) -> Tensor:
        """The mean of ``loss_mask`` of the rows of ``[B,M,n]`` that count."""
        count = tf.maximum(replica_mean(tf.reduce_sum(tf.cast(real, tf.float32))), 1.0)
        each = tf.where(real, self.loss_mask.elementwise(found, truth), 0.0)
        return self.loss_mask.loss_weight * tf.reduce_sum(each) / count

    # ---- inference

    def image_masks(self, logits: Tensor, info: ImageInfo) -> Tensor:
        """Logits ``[B,N,h,w]`` as masks of the images, uint8 ``[B,N,H,W]``."""
        own = OwnSizes(info, tf.shape(logits)[2:] * self.out_stride)

        def one(valid: Tensor, size: Tensor, maps: Tensor) -> Tensor:
            x = enlarge_aligned(maps[None], self.out_stride)[:, : valid[0], : valid[1]]
            inside = tf.cast(resize_bilinear(x, size)[0] > self.mask_threshold, tf.uint8)
            return own.filled(tf.transpose(inside, [2, 0, 1]), size)

        maps = tf.transpose(tf.sigmoid(logits), [0, 2, 3, 1])
        found = own.each(one, [maps], tf.TensorSpec([None, None, None], tf.uint8))
        return tf.ensure_shape(found, [*logits.shape[:2], None, None])


def flat(maps: Tensor) -> Tensor:
    """``[B,M,h,w] -> [B,M,h*w]``."""
    batch, number, height, width = tf.unstack(tf.shape(maps))
    return tf.reshape(maps, [batch, number, height * width])
