"""Detectors: one class per shape of detector, not per family."""

from kdet.detectors.base import Detector
from kdet.detectors.distilled import DistilledDetector
from kdet.detectors.preprocessor import Preprocessor
from kdet.detectors.single_stage import SingleStageDetector
from kdet.detectors.sparse_rcnn import SparseRCNN
from kdet.detectors.trident import TridentDetector
from kdet.detectors.two_stage import ProposalNetwork, TwoStageDetector
from kdet.detectors.yolact import YOLACT

__all__ = [
    "Detector",
    "DistilledDetector",
    "Preprocessor",
    "ProposalNetwork",
    "YOLACT",
    "SingleStageDetector",
    "SparseRCNN",
    "TridentDetector",
    "TwoStageDetector",
]
