"""Scores detections: COCO AP of boxes and masks, proposal recall, Pascal VOC mAP."""

from kdet.evaluation.coco import coco_metrics
from kdet.evaluation.results import ResultList
from kdet.evaluation.runner import evaluate
from kdet.evaluation.voc import voc_metrics

__all__ = ["ResultList", "coco_metrics", "evaluate", "voc_metrics"]
