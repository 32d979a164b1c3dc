"""Scores detections by the rules of COCO, LVIS, Pascal VOC, Cityscapes, WIDER FACE and CrowdHuman."""

from kdet.evaluation.cityscapes import cityscapes_metrics
from kdet.evaluation.coco import coco_metrics
from kdet.evaluation.crowd_human import crowd_human_metrics
from kdet.evaluation.lvis import lvis_metrics
from kdet.evaluation.metrics import Metric, Scene
from kdet.evaluation.results import ResultList
from kdet.evaluation.runner import evaluate
from kdet.evaluation.voc import voc_metrics
from kdet.evaluation.wider_face import read_difficulty_lists, wider_face_metrics

__all__ = [
    "Metric",
    "ResultList",
    "Scene",
    "cityscapes_metrics",
    "coco_metrics",
    "crowd_human_metrics",
    "evaluate",
    "lvis_metrics",
    "read_difficulty_lists",
    "voc_metrics",
    "wider_face_metrics",
]
