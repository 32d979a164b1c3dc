"""Necks: feature maps to feature maps."""

from kdet.necks.base import Neck
from kdet.necks.bfp import BFP
from kdet.necks.channel_mapper import ChannelMapper
from kdet.necks.dilated_encoder import DilatedEncoder
from kdet.necks.fpg import FPG
from kdet.necks.fpn import FPN
from kdet.necks.fpn_carafe import FPNCarafe
from kdet.necks.hrfpn import HRFPN
from kdet.necks.nas_fcos_fpn import NASFCOSFPN
from kdet.necks.nas_fpn import NASFPN
from kdet.necks.pafpn import PAFPN
from kdet.necks.rfp import RFP
from kdet.necks.ssd_neck import SSDNeck
from kdet.necks.yolo import YOLOV3Neck

__all__ = [
    "Neck",
    "BFP",
    "ChannelMapper",
    "DilatedEncoder",
    "FPG",
    "FPN",
    "FPNCarafe",
    "HRFPN",
    "NASFCOSFPN",
    "NASFPN",
    "PAFPN",
    "RFP",
    "SSDNeck",
    "YOLOV3Neck",
]
