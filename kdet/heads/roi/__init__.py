"""Second stages: heads on regions of interest."""

from kdet.heads.roi.bbox_head import BBoxHead
from kdet.heads.roi.cascade import CascadeRoIHead
from kdet.heads.roi.extractor import SingleRoIExtractor
from kdet.heads.roi.mask_head import FCNMaskHead
from kdet.heads.roi.standard import StandardRoIHead

__all__ = ["BBoxHead", "CascadeRoIHead", "FCNMaskHead", "SingleRoIExtractor", "StandardRoIHead"]
