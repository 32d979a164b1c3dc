"""Necks: feature maps to feature maps."""

from kdet.necks.base import Neck
from kdet.necks.bfp import BFP
from kdet.necks.channel_mapper import ChannelMapper
from kdet.necks.ct_resnet import CTResNetNeck
from kdet.necks.deimv2_encoder import DEIMv2Encoder, DEIMv2LiteEncoder, DEIMv2ShortEncoder
from kdet.necks.dfine_encoder import DFineEncoder
from kdet.necks.dilated_encoder import DilatedEncoder
from kdet.necks.dyhead import DyHead
from kdet.necks.fpg import FPG
from kdet.necks.fpn import FPN
from kdet.necks.fpn_carafe import FPNCarafe
from kdet.necks.hrfpn import HRFPN
from kdet.necks.hybrid_encoder import HybridEncoder
from kdet.necks.nas_fcos_fpn import NASFCOSFPN
from kdet.necks.nas_fpn import NASFPN
from kdet.necks.pafpn import PAFPN
from kdet.necks.projectors import LWDETRProjector, RFDETRProjector
from kdet.necks.rfp import RFP
from kdet.necks.ssd_neck import SSDNeck
from kdet.necks.yolo import YOLOV3Neck
from kdet.necks.yolox_pafpn import YOLOXPAFPN, CSPNeXtPAFPN

__all__ = [
    "Neck",
    "BFP",
    "CSPNeXtPAFPN",
    "CTResNetNeck",
    "ChannelMapper",
    "DEIMv2Encoder",
    "DEIMv2LiteEncoder",
    "DEIMv2ShortEncoder",
    "DFineEncoder",
    "DilatedEncoder",
    "DyHead",
    "FPG",
    "FPN",
    "FPNCarafe",
    "HRFPN",
    "HybridEncoder",
    "LWDETRProjector",
    "NASFCOSFPN",
    "NASFPN",
    "PAFPN",
    "RFDETRProjector",
    "RFP",
    "SSDNeck",
    "YOLOV3Neck",
    "YOLOXPAFPN",
]
