"""Layers that backbones, necks and heads are made of."""

from kdet.layers.attention import DeformableAttention, FeatureLevels, MultiheadAttention
from kdet.layers.attention2d import GeneralizedAttention
from kdet.layers.base import Layer, TorchNamed
from kdet.layers.carafe import CarafeUpsample
from kdet.layers.composite import Composite, apply_list
from kdet.layers.conditional_attention import ConditionalAttention
from kdet.layers.context import dropping_paths, inference, quick_convolutions, statistics_of_rows
from kdet.layers.context_block import ContextBlock
from kdet.layers.conv import Conv2D, ConvTranspose2D
from kdet.layers.conv_module import ConvModule, make_conv, register_conv
from kdet.layers.csp import CSPLayer, swish_conv
from kdet.layers.cspnext import CSPNeXtLayer
from kdet.layers.darknet_conv import darknet_conv, leaky_relu
from kdet.layers.deformable import DeformConv2D, DeformConvPack, ModulatedDeformConvPack
from kdet.layers.distribution import global_uniform, num_replicas, replica_mean, replica_sum
from kdet.layers.drop_path import drop_path, drop_path_rates
from kdet.layers.dropout import DropoutMasks
from kdet.layers.dynamic_relu import DynamicReLU, hard_sigmoid
from kdet.layers.embedding import Embedding
from kdet.layers.fused import conv_norm, sequence
from kdet.layers.gated import RMSNorm, SwiGLU
from kdet.layers.initializers import truncated_normal
from kdet.layers.inverted_residual import InvertedResidual, SqueezeExcite, divisible
from kdet.layers.level_points_attention import LevelPointsAttention
from kdet.layers.linear import Linear, PointConv
from kdet.layers.masked_conv import MaskedConv2D
from kdet.layers.mlp import MLP
from kdet.layers.nested import LayerDict, LayerList
from kdet.layers.no_xla import NoXla
from kdet.layers.non_local import NonLocal2D
from kdet.layers.norm import BatchNorm, GroupNorm, LayerNorm, make_norm
from kdet.layers.normed import NormedConv2D, NormedLinear
from kdet.layers.patches import PatchEmbed, PatchMerging
from kdet.layers.places import place_maps, with_places
from kdet.layers.prelu import PReLU
from kdet.layers.projected_attention import EncoderLayer, ProjectedAttention, TwoLayers, gelu
from kdet.layers.reduced_attention import SpatialReductionAttention
from kdet.layers.resample import (
    adaptive_max_pool,
    enlarge_aligned,
    max_pool,
    padded_average,
    resize_bilinear,
    resize_corners,
    upsample_nearest,
)
from kdet.layers.same_conv import SameConv2D
from kdet.layers.separable import SeparableConvModule
from kdet.layers.shapes import sizes_of
from kdet.layers.spread_conv import SpreadConv2D
from kdet.layers.standardised import StandardisedConv2D
from kdet.layers.token_windows import cut_windows, join_windows, resized_table
from kdet.layers.transformer import (
    FFN,
    Given,
    NamedTransformerLayer,
    SinePositionEncoding,
    TransformerDecoder,
    TransformerEncoder,
    TransformerLayer,
    interleaved_waves,
    sine_encoding,
    wavelengths,
)
from kdet.layers.upsampling_conv import UpsamplingConv2D
from kdet.layers.window_attention import ShiftedWindowAttention, WindowAttention

__all__ = [
    "BatchNorm",
    "CSPLayer",
    "CSPNeXtLayer",
    "CarafeUpsample",
    "Composite",
    "ConditionalAttention",
    "ContextBlock",
    "Conv2D",
    "ConvModule",
    "ConvTranspose2D",
    "DeformConv2D",
    "DeformConvPack",
    "DeformableAttention",
    "DropoutMasks",
    "DynamicReLU",
    "Embedding",
    "EncoderLayer",
    "FFN",
    "FeatureLevels",
    "GeneralizedAttention",
    "Given",
    "GroupNorm",
    "InvertedResidual",
    "Layer",
    "LayerDict",
    "LayerList",
    "LayerNorm",
    "LevelPointsAttention",
    "Linear",
    "MLP",
    "MaskedConv2D",
    "ModulatedDeformConvPack",
    "MultiheadAttention",
    "NamedTransformerLayer",
    "NoXla",
    "NonLocal2D",
    "NormedConv2D",
    "NormedLinear",
    "PReLU",
    "PatchEmbed",
    "PatchMerging",
    "PointConv",
    "ProjectedAttention",
    "RMSNorm",
    "SameConv2D",
    "SeparableConvModule",
    "ShiftedWindowAttention",
    "SinePositionEncoding",
    "SpatialReductionAttention",
    "SpreadConv2D",
    "SqueezeExcite",
    "StandardisedConv2D",
    "TorchNamed",
    "SwiGLU",
    "TransformerDecoder",
    "TransformerEncoder",
    "TransformerLayer",
    "TwoLayers",
    "UpsamplingConv2D",
    "WindowAttention",
    "adaptive_max_pool",
    "apply_list",
    "conv_norm",
    "cut_windows",
    "darknet_conv",
    "divisible",
    "drop_path",
    "drop_path_rates",
    "dropping_paths",
    "gelu",
    "global_uniform",
    "enlarge_aligned",
    "hard_sigmoid",
    "inference",
    "interleaved_waves",
    "join_windows",
    "leaky_relu",
    "make_conv",
    "make_norm",
    "max_pool",
    "num_replicas",
    "padded_average",
    "place_maps",
    "quick_convolutions",
    "register_conv",
    "replica_mean",
    "replica_sum",
    "resize_bilinear",
    "resize_corners",
    "resized_table",
    "sequence",
    "sine_encoding",
    "sizes_of",
    "statistics_of_rows",
    "swish_conv",
    "truncated_normal",
    "upsample_nearest",
    "wavelengths",
    "with_places",
]
