"""Backbones: images to feature maps."""

from kdet.backbones.base import Backbone
from kdet.backbones.convnext import ConvNeXt
from kdet.backbones.csp_darknet import CSPDarknet
from kdet.backbones.cspnext import CSPNeXt
from kdet.backbones.darknet import Darknet
from kdet.backbones.dinov3 import DINOv3Adapter
from kdet.backbones.efficientnet import EfficientNet
from kdet.backbones.feedback_resnet import FeedbackResNet
from kdet.backbones.hgnet_v2 import HGNetV2
from kdet.backbones.hourglass import HourglassNet
from kdet.backbones.hrnet import HRNet
from kdet.backbones.mobilenet_v2 import MobileNetV2
from kdet.backbones.pvt import PyramidVisionTransformer, PyramidVisionTransformerV2
from kdet.backbones.regnet import RegNet
from kdet.backbones.res2net import Res2Net
from kdet.backbones.resnest import ResNeSt
from kdet.backbones.resnet import ResLayer, ResNet
from kdet.backbones.resnet_vd import ResNetVd
from kdet.backbones.swin import SwinTransformer
from kdet.backbones.trident import TridentResNet
from kdet.backbones.vgg import SSDVGG
from kdet.backbones.windowed_vit import LWDETRViT, WindowedDINOv2

__all__ = [
    "Backbone",
    "CSPDarknet",
    "CSPNeXt",
    "ConvNeXt",
    "DINOv3Adapter",
    "Darknet",
    "EfficientNet",
    "FeedbackResNet",
    "HGNetV2",
    "HRNet",
    "HourglassNet",
    "LWDETRViT",
    "MobileNetV2",
    "PyramidVisionTransformer",
    "PyramidVisionTransformerV2",
    "RegNet",
    "Res2Net",
    "ResLayer",
    "ResNeSt",
    "ResNet",
    "ResNetVd",
    "SSDVGG",
    "SwinTransformer",
    "TridentResNet",
    "WindowedDINOv2",
]
