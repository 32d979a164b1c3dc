"""Assigners: which prior answers for which object."""

from kdet.assigners.assignment import Assignment
from kdet.assigners.atss import ATSSAssigner
from kdet.assigners.grid import GridAssigner
from kdet.assigners.max_iou import MaxIoUAssigner
from kdet.assigners.nearest_points import NearestPointAssigner
from kdet.assigners.points_in_boxes import PointInBoxAssigner
from kdet.assigners.uniform import UniformAssigner

__all__ = [
    "ATSSAssigner",
    "Assignment",
    "GridAssigner",
    "MaxIoUAssigner",
    "NearestPointAssigner",
    "PointInBoxAssigner",
    "UniformAssigner",
]
