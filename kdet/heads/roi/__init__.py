"""Second stages: heads on regions of interest."""

from kdet.heads.roi.bbox_head import BBoxHead
from kdet.heads.roi.carafe_mask_head import CarafeMaskHead
from kdet.heads.roi.cascade import CascadeRoIHead
from kdet.heads.roi.deform_extractor import DeformRoIExtractor
from kdet.heads.roi.double_head import DoubleBBoxHead, DoubleRoIHead
from kdet.heads.roi.dynamic import DynamicRoIHead
from kdet.heads.roi.extractor import SingleRoIExtractor
from kdet.heads.roi.generic_extractor import GenericRoIExtractor
from kdet.heads.roi.grid import GridHead, GridRoIHead
from kdet.heads.roi.htc import HTCMaskHead, HTCRoIHead, HTCStage
from kdet.heads.roi.mask_head import FCNMaskHead
from kdet.heads.roi.mask_scoring import MaskIoUHead, MaskScoringRoIHead
from kdet.heads.roi.multi_instance import MultiInstanceBBoxHead, MultiInstanceRoIHead
from kdet.heads.roi.pisa import PISARoIHead
from kdet.heads.roi.point_rend import CoarseMaskHead, MaskPointHead, PointRendRoIHead, PointRoIExtractor
from kdet.heads.roi.sabl import SABLHead
from kdet.heads.roi.scnet import (
    FeatureRelayHead,
    GlobalContextHead,
    SCNetBBoxHead,
    SCNetMaskHead,
    SCNetRoIHead,
    SCNetSemanticHead,
    SCNetStage,
)
from kdet.heads.roi.seesaw import SeesawBBoxHead
from kdet.heads.roi.semantic import FusedSemanticHead
from kdet.heads.roi.standard import StandardRoIHead

__all__ = [
    "BBoxHead",
    "CarafeMaskHead",
    "CascadeRoIHead",
    "CoarseMaskHead",
    "DeformRoIExtractor",
    "DoubleBBoxHead",
    "DoubleRoIHead",
    "DynamicRoIHead",
    "FCNMaskHead",
    "FeatureRelayHead",
    "FusedSemanticHead",
    "GenericRoIExtractor",
    "GlobalContextHead",
    "GridHead",
    "GridRoIHead",
    "HTCMaskHead",
    "HTCRoIHead",
    "HTCStage",
    "MaskIoUHead",
    "MaskPointHead",
    "MaskScoringRoIHead",
    "MultiInstanceBBoxHead",
    "MultiInstanceRoIHead",
    "PISARoIHead",
    "PointRendRoIHead",
    "PointRoIExtractor",
    "SABLHead",
    "SCNetBBoxHead",
    "SCNetMaskHead",
    "SCNetRoIHead",
    "SCNetSemanticHead",
    "SCNetStage",
    "SeesawBBoxHead",
    "SingleRoIExtractor",
    "StandardRoIHead",
]
