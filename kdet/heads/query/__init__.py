"""Heads that predict a set of objects, one per query."""

from kdet.heads.query.conditional_detr import ConditionalDETRHead
from kdet.heads.query.criterion import SetCriterion
from kdet.heads.query.dab_detr import DABDETRHead
from kdet.heads.query.ddq import DDQHead, DDQOutputs
from kdet.heads.query.deformable_detr import DeformableDETRHead
from kdet.heads.query.deimv2_decoder import DEIMv2Decoder
from kdet.heads.query.denoising import ContrastiveDenoising, NoisedQueries, NoiseDraws
from kdet.heads.query.detr import DETRHead
from kdet.heads.query.dfine import DFineHead
from kdet.heads.query.dfine_decoder import DFineDecoder, DistributionOutputs
from kdet.heads.query.dino import DINOHead, QueryOutputs
from kdet.heads.query.distribution_criterion import DistributionCriterion
from kdet.heads.query.lwdetr import Cells, GroupOutputs, LWDETRHead
from kdet.heads.query.lwdetr_decoder import LWDETRDecoder
from kdet.heads.query.mask_criterion import DenseMaskCriterion, MaskCriterion, PointMaskCriterion
from kdet.heads.query.mask_queries import Mask2FormerHead, MaskFormerHead, MaskQueryHead
from kdet.heads.query.one_to_many import OneToManyCriterion
from kdet.heads.query.pixel_decoders import DeformablePixelDecoder, EncoderPixelDecoder, PixelDecoder
from kdet.heads.query.point_masks import PointMaskLosses
from kdet.heads.query.quality_criterion import QualityCriterion
from kdet.heads.query.query_inst import DynamicMaskHead, QueryInstRoIHead
from kdet.heads.query.rfdetr_masks import MaskOutputs, MaskSet, RFDETRMaskHead
from kdet.heads.query.rtdetr import RTDETRHead, RTDETROutputs
from kdet.heads.query.rtdetr_decoder import LayerOutputs, RTDETRDecoder, RTDETRv2Decoder
from kdet.heads.query.sparse import EmbeddingRPNHead, SparseRoIHead

__all__ = [
    "Cells",
    "ConditionalDETRHead",
    "ContrastiveDenoising",
    "DABDETRHead",
    "DDQHead",
    "DDQOutputs",
    "DEIMv2Decoder",
    "DETRHead",
    "DFineDecoder",
    "DFineHead",
    "DINOHead",
    "DeformableDETRHead",
    "DeformablePixelDecoder",
    "DenseMaskCriterion",
    "DistributionCriterion",
    "DistributionOutputs",
    "DynamicMaskHead",
    "EmbeddingRPNHead",
    "EncoderPixelDecoder",
    "GroupOutputs",
    "LWDETRDecoder",
    "LWDETRHead",
    "LayerOutputs",
    "Mask2FormerHead",
    "MaskCriterion",
    "MaskFormerHead",
    "MaskOutputs",
    "MaskQueryHead",
    "MaskSet",
    "NoiseDraws",
    "NoisedQueries",
    "OneToManyCriterion",
    "PixelDecoder",
    "PointMaskCriterion",
    "PointMaskLosses",
    "QualityCriterion",
    "QueryInstRoIHead",
    "QueryOutputs",
    "RFDETRMaskHead",
    "RTDETRDecoder",
    "RTDETRHead",
    "RTDETROutputs",
    "RTDETRv2Decoder",
    "SetCriterion",
    "SparseRoIHead",
]
