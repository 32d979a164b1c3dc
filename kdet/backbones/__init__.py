"""Backbones: pictures to feature maps."""

from kdet.backbones.resnet import ResLayer, ResNet

__all__ = ["ResLayer", "ResNet"]
