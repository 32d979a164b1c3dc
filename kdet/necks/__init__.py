"""Necks: feature maps to feature maps."""

from kdet.necks.bfp import BFP
from kdet.necks.fpg import FPG
from kdet.necks.fpn import FPN
from kdet.necks.fpn_carafe import FPNCarafe
from kdet.necks.hrfpn import HRFPN
from kdet.necks.nas_fpn import NASFPN
from kdet.necks.pafpn import PAFPN
from kdet.necks.rfp import RFP

__all__ = ["BFP", "FPG", "FPN", "FPNCarafe", "HRFPN", "NASFPN", "PAFPN", "RFP"]
