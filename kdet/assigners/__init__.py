"""Assigners: which prior answers for which object."""

from kdet.assigners.approx_max_iou import ApproxMaxIoUAssigner
from kdet.assigners.atss import ATSSAssigner
from kdet.assigners.base import Assigner
from kdet.assigners.best_two import BestTwoAssigner
from kdet.assigners.center_region import CenterRegionAssigner
from kdet.assigners.dynamic_soft_label import DynamicSoftLabelAssigner
from kdet.assigners.grid import GridAssigner
from kdet.assigners.hungarian import HungarianAssigner
from kdet.assigners.mask_hungarian import MaskHungarianAssigner
from kdet.assigners.max_iou import MaxIoUAssigner
from kdet.assigners.mixture import MixtureSelection
from kdet.assigners.nearest_points import NearestPointAssigner
from kdet.assigners.points_in_boxes import PointInBoxAssigner
from kdet.assigners.region import RegionAssigner
from kdet.assigners.sim_ota import SimOTAAssigner
from kdet.assigners.task_aligned import TaskAlignedAssigner
from kdet.assigners.uniform import UniformAssigner

__all__ = [
    "Assigner",
    "ATSSAssigner",
    "ApproxMaxIoUAssigner",
    "BestTwoAssigner",
    "CenterRegionAssigner",
    "DynamicSoftLabelAssigner",
    "GridAssigner",
    "HungarianAssigner",
    "MaskHungarianAssigner",
    "MaxIoUAssigner",
    "MixtureSelection",
    "NearestPointAssigner",
    "PointInBoxAssigner",
    "RegionAssigner",
    "SimOTAAssigner",
    "TaskAlignedAssigner",
    "UniformAssigner",
]
