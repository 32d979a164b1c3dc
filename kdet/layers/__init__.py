"""Layers that backbones, necks and heads are made of."""

from kdet.layers.composite import Composite
from kdet.layers.conv import Conv2D, ConvTranspose2D
from kdet.layers.conv_module import ConvModule, make_conv, register_conv
from kdet.layers.distribution import global_uniform, num_replicas, replica_mean
from kdet.layers.linear import Linear
from kdet.layers.norm import BatchNorm, GroupNorm, LayerNorm, make_norm
from kdet.layers.resample import max_pool, upsample_nearest

__all__ = [
    "BatchNorm",
    "Composite",
    "Conv2D",
    "ConvModule",
    "ConvTranspose2D",
    "GroupNorm",
    "LayerNorm",
    "Linear",
    "global_uniform",
    "make_conv",
    "make_norm",
    "max_pool",
    "num_replicas",
    "register_conv",
    "replica_mean",
    "upsample_nearest",
]
