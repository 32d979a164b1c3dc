"""Backbones: pictures to feature maps."""

from kdet.backbones.resnet import ResLayer, ResNet
from kdet.backbones.vgg import SSDVGG

__all__ = ["SSDVGG", "ResLayer", "ResNet"]
