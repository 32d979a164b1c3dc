"""Layers that backbones, necks and heads are made of."""

from kdet.layers.attention import DeformableAttention, FeatureLevels, MultiheadAttention
from kdet.layers.attention2d import GeneralizedAttention
from kdet.layers.base import Layer
from kdet.layers.carafe import CarafeUpsample
from kdet.layers.composite import Composite, apply_list
from kdet.layers.context import inference, quick_convolutions, statistics_of_rows
from kdet.layers.context_block import ContextBlock
from kdet.layers.conv import Conv2D, ConvTranspose2D
from kdet.layers.conv_module import ConvModule, make_conv, register_conv
from kdet.layers.darknet_conv import darknet_conv
from kdet.layers.deformable import DeformConv2D, DeformConvPack, ModulatedDeformConvPack
from kdet.layers.distribution import global_uniform, num_replicas, replica_mean
from kdet.layers.dropout import DropoutMasks
from kdet.layers.embedding import Embedding
from kdet.layers.fused import conv_norm, sequence
from kdet.layers.linear import Linear, PointConv
from kdet.layers.masked_conv import MaskedConv2D
from kdet.layers.nested import LayerDict, LayerList
from kdet.layers.no_xla import NoXla
from kdet.layers.non_local import NonLocal2D
from kdet.layers.norm import BatchNorm, GroupNorm, LayerNorm, make_norm
from kdet.layers.resample import (
    adaptive_max_pool,
    max_pool,
    resize_bilinear,
    resize_corners,
    upsample_nearest,
)
from kdet.layers.standardised import StandardisedConv2D
from kdet.layers.transformer import (
    FFN,
    Given,
    SinePositionEncoding,
    TransformerDecoder,
    TransformerEncoder,
    TransformerLayer,
    interleaved_waves,
    wavelengths,
)

__all__ = [
    "BatchNorm",
    "CarafeUpsample",
    "Composite",
    "ContextBlock",
    "Conv2D",
    "ConvModule",
    "ConvTranspose2D",
    "DeformConv2D",
    "DeformConvPack",
    "DeformableAttention",
    "DropoutMasks",
    "Embedding",
    "FFN",
    "FeatureLevels",
    "GeneralizedAttention",
    "Given",
    "GroupNorm",
    "Layer",
    "LayerDict",
    "LayerList",
    "LayerNorm",
    "Linear",
    "MaskedConv2D",
    "ModulatedDeformConvPack",
    "MultiheadAttention",
    "NoXla",
    "NonLocal2D",
    "PointConv",
    "SinePositionEncoding",
    "StandardisedConv2D",
    "TransformerDecoder",
    "TransformerEncoder",
    "TransformerLayer",
    "adaptive_max_pool",
    "apply_list",
    "conv_norm",
    "darknet_conv",
    "global_uniform",
    "inference",
    "interleaved_waves",
    "make_conv",
    "make_norm",
    "max_pool",
    "num_replicas",
    "quick_convolutions",
    "register_conv",
    "replica_mean",
    "resize_bilinear",
    "resize_corners",
    "sequence",
    "statistics_of_rows",
    "upsample_nearest",
    "wavelengths",
]
