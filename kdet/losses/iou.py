"""Losses on the overlap of decoded boxes: ``pred, target [..., 4]`` xyxy -> one value per box."""

import tensorflow as tf

from kdet import geometry
from kdet.losses.base import Loss
from kdet.losses.regression import smooth_l1
from kdet.registry import register
from kdet.typing import Tensor


@register
class IoULoss(Loss):
    """Loss of the plain IoU (Yu et al., 2016).

    Args:
        mode: "log" (-ln IoU), "linear" (1 - IoU) or "square" (1 - IoU^2).
    """

    uses_boxes = True

    def __init__(self, mode: str = "log", epsilon: float = 1e-6, loss_weight: float = 1.0) -> None:
        if mode not in ("log", "linear", "square"):
            raise ValueError(f"IoULoss: mode must be 'log', 'linear' or 'square', not {mode!r}.")
        self.mode, self.epsilon, self.loss_weight = mode, epsilon, loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        iou = tf.maximum(geometry.aligned_iou(pred, target), self.epsilon)
        if self.mode == "log":
            return -tf.math.log(iou)
        return 1.0 - (iou if self.mode == "linear" else tf.square(iou))


@register
class GIoULoss(Loss):
    """1 - generalized IoU (Rezatofighi et al., 2019)."""

    uses_boxes = True
    variant = "giou"

    def __init__(self, epsilon: float = 1e-7, loss_weight: float = 1.0) -> None:
        self.epsilon, self.loss_weight = epsilon, loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        return 1.0 - geometry.aligned_iou(pred, target, self.variant, self.epsilon)


@register
class DIoULoss(GIoULoss):
    """1 - distance IoU (Zheng et al., 2020)."""

    variant = "diou"


@register
class CIoULoss(GIoULoss):
    """1 - complete IoU (Zheng et al., 2020)."""

    variant = "ciou"


@register
class BoundedIoULoss(Loss):
    """Upper bounds of the IoU in each of center and size, smoothed (Tychsen-Smith & Petersson, 2018).

    Gives four values per box.
    """

    uses_boxes = True

    def __init__(self, beta: float = 0.2, epsilon: float = 1e-3, loss_weight: float = 1.0) -> None:
        self.beta, self.epsilon, self.loss_weight = beta, epsilon, loss_weight

    def elementwise(self, pred: Tensor, target: Tensor) -> Tensor:
        size = pred[..., 2:] - pred[..., :2]
        target_size = target[..., 2:] - target[..., :2]
        shift = tf.abs(target[..., :2] + target[..., 2:] - pred[..., :2] - pred[..., 2:]) * 0.5
        center = 1.0 - tf.maximum(
            (target_size - 2.0 * shift) / (target_size + 2.0 * shift + self.epsilon), 0.0
        )
        ratio = 1.0 - tf.minimum(target_size / (size + self.epsilon), size / (target_size + self.epsilon))
        return smooth_l1(tf.concat([center, ratio], -1), self.beta)
