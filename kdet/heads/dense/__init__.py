"""Heads with a prediction at every cell."""

from kdet.heads.dense.anchor import AnchorHead
from kdet.heads.dense.atss import ATSSHead
from kdet.heads.dense.autoassign import AutoAssignHead
from kdet.heads.dense.base import DenseHead
from kdet.heads.dense.cascade_rpn import CascadeRPNHead, CascadeRPNStage
from kdet.heads.dense.ddod import DDODHead
from kdet.heads.dense.fcos import FCOSHead
from kdet.heads.dense.fovea import FoveaHead
from kdet.heads.dense.free_anchor import FreeAnchorHead
from kdet.heads.dense.fsaf import FSAFHead
from kdet.heads.dense.gfl import GFLHead
from kdet.heads.dense.ghm import GHMRetinaHead
from kdet.heads.dense.guided_anchor import GARetinaHead, GARPNHead
from kdet.heads.dense.lad import LADHead
from kdet.heads.dense.ld import LDHead
from kdet.heads.dense.paa import PAAHead
from kdet.heads.dense.pisa import PISARetinaHead
from kdet.heads.dense.pisa_ssd import PISASSDHead
from kdet.heads.dense.reppoints import RepPointsHead
from kdet.heads.dense.retina import RetinaHead
from kdet.heads.dense.retina_sep_bn import RetinaSepBNHead
from kdet.heads.dense.rpn import RPNHead
from kdet.heads.dense.rtmdet import RTMDetHead
from kdet.heads.dense.sabl import SABLRetinaHead
from kdet.heads.dense.ssd import SSDHead
from kdet.heads.dense.tood import TOODHead
from kdet.heads.dense.vfnet import VFNetHead
from kdet.heads.dense.yolact import YOLACTHead
from kdet.heads.dense.yolo import YOLOV3Head
from kdet.heads.dense.yolof import YOLOFHead
from kdet.heads.dense.yolox import YOLOXHead

__all__ = [
    "ATSSHead",
    "AnchorHead",
    "AutoAssignHead",
    "CascadeRPNHead",
    "CascadeRPNStage",
    "DDODHead",
    "DenseHead",
    "FCOSHead",
    "FSAFHead",
    "FoveaHead",
    "FreeAnchorHead",
    "GARPNHead",
    "GARetinaHead",
    "GFLHead",
    "GHMRetinaHead",
    "LADHead",
    "LDHead",
    "PAAHead",
    "PISARetinaHead",
    "PISASSDHead",
    "RPNHead",
    "RTMDetHead",
    "RepPointsHead",
    "RetinaHead",
    "RetinaSepBNHead",
    "SABLRetinaHead",
    "SSDHead",
    "TOODHead",
    "VFNetHead",
    "YOLACTHead",
    "YOLOFHead",
    "YOLOV3Head",
    "YOLOXHead",
]
