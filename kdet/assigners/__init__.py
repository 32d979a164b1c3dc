"""Assigners: which prior answers for which object."""

from kdet.assigners.assignment import Assignment
from kdet.assigners.max_iou import MaxIoUAssigner

__all__ = ["Assignment", "MaxIoUAssigner"]
