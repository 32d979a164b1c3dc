"""Losses. Each maps ``(pred, target, weight, avg_factor)`` to a scalar."""

from kdet.losses.base import Loss
from kdet.losses.classification import CrossEntropyLoss, FocalLoss
from kdet.losses.dice import DiceLoss
from kdet.losses.distillation import DistillationLoss
from kdet.losses.ghm import GHMClassificationLoss, GHMRegressionLoss
from kdet.losses.iou import BoundedIoULoss, CIoULoss, DIoULoss, GIoULoss, IoULoss
from kdet.losses.keypoints import AssociativeEmbeddingLoss, GaussianFocalLoss
from kdet.losses.matched import IoUAwareLoss, MatchabilityAwareLoss, MatchedVarifocalLoss
from kdet.losses.prime_samples import classification_aware_box_loss, prime_sample_weights
from kdet.losses.quality import DistributionFocalLoss, QualityFocalLoss, VarifocalLoss
from kdet.losses.regression import BalancedL1Loss, L1Loss, MSELoss, SmoothL1Loss, smooth_l1
from kdet.losses.seesaw import SeesawLoss

__all__ = [
    "AssociativeEmbeddingLoss",
    "BalancedL1Loss",
    "BoundedIoULoss",
    "CIoULoss",
    "CrossEntropyLoss",
    "DIoULoss",
    "DiceLoss",
    "DistillationLoss",
    "DistributionFocalLoss",
    "FocalLoss",
    "GHMClassificationLoss",
    "GHMRegressionLoss",
    "GIoULoss",
    "GaussianFocalLoss",
    "IoUAwareLoss",
    "IoULoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "MatchabilityAwareLoss",
    "MatchedVarifocalLoss",
    "QualityFocalLoss",
    "SeesawLoss",
    "SmoothL1Loss",
    "VarifocalLoss",
    "classification_aware_box_loss",
    "prime_sample_weights",
    "smooth_l1",
]
