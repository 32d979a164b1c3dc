"""Heads that predict a set of objects, one per query."""

from kdet.heads.query.criterion import SetCriterion
from kdet.heads.query.deformable_detr import DeformableDETRHead
from kdet.heads.query.detr import DETRHead
from kdet.heads.query.sparse import EmbeddingRPNHead, SparseRoIHead

__all__ = ["DETRHead", "DeformableDETRHead", "EmbeddingRPNHead", "SetCriterion", "SparseRoIHead"]
