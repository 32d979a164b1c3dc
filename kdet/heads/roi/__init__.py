"""Second stages: heads on regions of interest."""

from kdet.heads.roi.bbox_head import BBoxHead
from kdet.heads.roi.cascade import CascadeRoIHead
from kdet.heads.roi.double_head import DoubleBBoxHead, DoubleRoIHead
from kdet.heads.roi.extractor import SingleRoIExtractor
from kdet.heads.roi.htc import HTCMaskHead, HTCRoIHead, HTCStage
from kdet.heads.roi.mask_head import FCNMaskHead
from kdet.heads.roi.point_rend import CoarseMaskHead, MaskPointHead, PointRendRoIHead, PointRoIExtractor
from kdet.heads.roi.semantic import FusedSemanticHead
from kdet.heads.roi.standard import StandardRoIHead

__all__ = [
    "BBoxHead",
    "CascadeRoIHead",
    "CoarseMaskHead",
    "DoubleBBoxHead",
    "DoubleRoIHead",
    "FCNMaskHead",
    "FusedSemanticHead",
    "HTCMaskHead",
    "HTCRoIHead",
    "HTCStage",
    "MaskPointHead",
    "PointRendRoIHead",
    "PointRoIExtractor",
    "SingleRoIExtractor",
    "StandardRoIHead",
]
