"""Detectors: one class per shape of detector, not per family."""

from kdet.detectors.base import Detector
from kdet.detectors.boxinst import BoxInst
from kdet.detectors.condinst import CondInst
from kdet.detectors.detection_transformer import DetectionTransformer, MaskDetectionTransformer
from kdet.detectors.distilled import DistilledDetector
from kdet.detectors.maskformer import MaskFormer
from kdet.detectors.panoptic_fpn import PanopticFPN
from kdet.detectors.preprocessor import Preprocessor
from kdet.detectors.rtmdet_ins import RTMDetIns
from kdet.detectors.single_stage import SingleStageDetector
from kdet.detectors.solo import SOLO
from kdet.detectors.sparse_rcnn import SparseRCNN
from kdet.detectors.trident import TridentDetector
from kdet.detectors.two_stage import ProposalNetwork, TwoStageDetector
from kdet.detectors.yolact import YOLACT

__all__ = [
    "BoxInst",
    "CondInst",
    "DetectionTransformer",
    "Detector",
    "DistilledDetector",
    "MaskDetectionTransformer",
    "MaskFormer",
    "PanopticFPN",
    "Preprocessor",
    "ProposalNetwork",
    "RTMDetIns",
    "SOLO",
    "YOLACT",
    "SingleStageDetector",
    "SparseRCNN",
    "TridentDetector",
    "TwoStageDetector",
]
