"""Backbones: images to feature maps."""

from kdet.backbones.base import Backbone
from kdet.backbones.darknet import Darknet
from kdet.backbones.feedback_resnet import FeedbackResNet
from kdet.backbones.hourglass import HourglassNet
from kdet.backbones.hrnet import HRNet
from kdet.backbones.regnet import RegNet
from kdet.backbones.res2net import Res2Net
from kdet.backbones.resnest import ResNeSt
from kdet.backbones.resnet import ResLayer, ResNet
from kdet.backbones.trident import TridentResNet
from kdet.backbones.vgg import SSDVGG

__all__ = [
    "Backbone",
    "Darknet",
    "FeedbackResNet",
    "HRNet",
    "HourglassNet",
    "RegNet",
    "Res2Net",
    "ResLayer",
    "ResNeSt",
    "ResNet",
    "SSDVGG",
    "TridentResNet",
]
