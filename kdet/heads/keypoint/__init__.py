"""Heads that find objects by keypoints."""

from kdet.heads.keypoint.center import CenterNetHead
from kdet.heads.keypoint.centripetal import CentripetalHead
from kdet.heads.keypoint.corner import CornerHead

__all__ = [
    "CenterNetHead",
    "CentripetalHead",
    "CornerHead",
]
