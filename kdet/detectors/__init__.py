"""Detectors: one class per shape of detector, not per family."""

from kdet.detectors.base import Detector
from kdet.detectors.distilled import DistilledDetector
from kdet.detectors.preprocessor import Preprocessor
from kdet.detectors.prototype import PrototypeDetector
from kdet.detectors.query import QueryDetector, SparseDetector
from kdet.detectors.single_stage import SingleStageDetector
from kdet.detectors.trident import TridentDetector
from kdet.detectors.two_stage import ProposalNetwork, TwoStageDetector

__all__ = [
    "Detector",
    "DistilledDetector",
    "Preprocessor",
    "ProposalNetwork",
    "PrototypeDetector",
    "QueryDetector",
    "SingleStageDetector",
    "SparseDetector",
    "TridentDetector",
    "TwoStageDetector",
]
