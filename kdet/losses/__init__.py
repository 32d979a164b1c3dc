"""Losses. Each maps ``(pred, target, weight, avg_factor)`` to a scalar."""

from kdet.losses.base import Loss
from kdet.losses.classification import CrossEntropyLoss, FocalLoss
from kdet.losses.iou import BoundedIoULoss, CIoULoss, DIoULoss, GIoULoss, IoULoss
from kdet.losses.keypoints import AssociativeEmbeddingLoss, GaussianFocalLoss
from kdet.losses.quality import DistributionFocalLoss, QualityFocalLoss, VarifocalLoss
from kdet.losses.regression import BalancedL1Loss, L1Loss, MSELoss, SmoothL1Loss, smooth_l1

__all__ = [
    "AssociativeEmbeddingLoss",
    "BalancedL1Loss",
    "BoundedIoULoss",
    "CIoULoss",
    "CrossEntropyLoss",
    "DIoULoss",
    "DistributionFocalLoss",
    "FocalLoss",
    "GIoULoss",
    "GaussianFocalLoss",
    "IoULoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "QualityFocalLoss",
    "SmoothL1Loss",
    "VarifocalLoss",
    "smooth_l1",
]
