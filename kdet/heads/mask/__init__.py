"""Mask heads of one-stage detectors."""

from kdet.heads.mask.prototypes import PrototypeMaskHead, SemanticLossHead

__all__ = [
    "PrototypeMaskHead",
    "SemanticLossHead",
]
