"""Backbones: pictures to feature maps."""

from kdet.backbones.darknet import Darknet
from kdet.backbones.hourglass import HourglassNet
from kdet.backbones.resnet import ResLayer, ResNet
from kdet.backbones.trident import TridentResNet
from kdet.backbones.vgg import SSDVGG

__all__ = ["SSDVGG", "Darknet", "HourglassNet", "ResLayer", "ResNet", "TridentResNet"]
