"""Mask heads of one-stage detectors."""

from kdet.heads.mask.boxinst import BoxInstMaskHead
from kdet.heads.mask.condinst import CondInstBoxHead, CondInstMaskHead
from kdet.heads.mask.heuristic import HeuristicFusion
from kdet.heads.mask.panoptic import MaskQueries, Segments
from kdet.heads.mask.prototypes import PrototypeMaskHead, SemanticLossHead
from kdet.heads.mask.rtmdet_ins import RTMDetInsHead
from kdet.heads.mask.solo import DecoupledSOLOHead, LocationHead, SOLOHead
from kdet.heads.mask.solov2 import MaskFeatures, SOLOv2Head
from kdet.heads.mask.stuff import StuffHead

__all__ = [
    "BoxInstMaskHead",
    "CondInstBoxHead",
    "CondInstMaskHead",
    "DecoupledSOLOHead",
    "HeuristicFusion",
    "LocationHead",
    "MaskFeatures",
    "MaskQueries",
    "PrototypeMaskHead",
    "RTMDetInsHead",
    "SOLOHead",
    "Segments",
    "SOLOv2Head",
    "SemanticLossHead",
    "StuffHead",
]
