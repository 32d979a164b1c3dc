"""Second stages: heads on regions of interest."""

from kdet.heads.roi.bbox_head import BBoxHead
from kdet.heads.roi.carafe_mask_head import CarafeMaskHead
from kdet.heads.roi.cascade import CascadeRoIHead
from kdet.heads.roi.deform_extractor import DeformRoIExtractor
from kdet.heads.roi.double_head import DoubleBBoxHead, DoubleRoIHead
from kdet.heads.roi.extractor import SingleRoIExtractor
from kdet.heads.roi.generic_extractor import GenericRoIExtractor
from kdet.heads.roi.htc import HTCMaskHead, HTCRoIHead, HTCStage
from kdet.heads.roi.mask_head import FCNMaskHead
from kdet.heads.roi.point_rend import CoarseMaskHead, MaskPointHead, PointRendRoIHead, PointRoIExtractor
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
    "FCNMaskHead",
    "FusedSemanticHead",
    "GenericRoIExtractor",
    "HTCMaskHead",
    "HTCRoIHead",
    "HTCStage",
    "MaskPointHead",
    "PointRendRoIHead",
    "PointRoIExtractor",
    "SingleRoIExtractor",
    "StandardRoIHead",
]
