"""Detectors: one class per shape of detector, not per family."""

from kdet.detectors.base import Detector
from kdet.detectors.distilled import DistilledDetector
from kdet.detectors.preprocessor import Preprocessor
from kdet.detectors.prototype import YOLACT
from kdet.detectors.query import QueryDetector, SparseRCNN
from kdet.detectors.single_stage import SingleStageDetector
from kdet.detectors.trident import TridentDetector
from kdet.detectors.two_stage import ProposalNetwork, TwoStageDetector

__all__ = [
    "Detector",
    "DistilledDetector",
    "Preprocessor",
    "ProposalNetwork",
    "YOLACT",
    "QueryDetector",
    "SingleStageDetector",
    "SparseRCNN",
    "TridentDetector",
    "TwoStageDetector",
]
