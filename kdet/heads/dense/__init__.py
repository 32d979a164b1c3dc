"""Heads with a prediction at every cell."""

from kdet.heads.dense.anchor import AnchorHead
from kdet.heads.dense.atss import ATSSHead
from kdet.heads.dense.base import DenseHead
from kdet.heads.dense.fcos import FCOSHead
from kdet.heads.dense.gfl import GFLHead
from kdet.heads.dense.pisa import PISASSDHead
from kdet.heads.dense.reppoints import RepPointsHead
from kdet.heads.dense.retina import RetinaHead
from kdet.heads.dense.rpn import RPNHead
from kdet.heads.dense.ssd import SSDHead
from kdet.heads.dense.vfnet import VFNetHead
from kdet.heads.dense.yolact import YOLACTHead
from kdet.heads.dense.yolo import YOLOV3Head
from kdet.heads.dense.yolof import YOLOFHead

__all__ = [
    "ATSSHead",
    "AnchorHead",
    "DenseHead",
    "FCOSHead",
    "GFLHead",
    "PISASSDHead",
    "RPNHead",
    "RepPointsHead",
    "RetinaHead",
    "SSDHead",
    "VFNetHead",
    "YOLACTHead",
    "YOLOFHead",
    "YOLOV3Head",
]
