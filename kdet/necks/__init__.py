"""Necks: feature maps to feature maps."""

from kdet.necks.bfp import BFP
from kdet.necks.dilated_encoder import DilatedEncoder
from kdet.necks.fpg import FPG
from kdet.necks.fpn import FPN
from kdet.necks.fpn_carafe import FPNCarafe
from kdet.necks.hrfpn import HRFPN
from kdet.necks.nas_fpn import NASFPN
from kdet.necks.pafpn import PAFPN
from kdet.necks.rfp import RFP
from kdet.necks.ssd_neck import SSDNeck

__all__ = ["BFP", "FPG", "FPN", "HRFPN", "NASFPN", "PAFPN", "RFP", "FPNCarafe", "SSDNeck"]
__all__ = ["BFP", "FPG", "FPN", "HRFPN", "NASFPN", "PAFPN", "RFP", "FPNCarafe"]
__all__ = ["BFP", "FPN", "DilatedEncoder"]
