"""The files that backbones start their training from, by the names that the recipes use."""

import pathlib
import re

import keras

from kdet.convert import state_dict as state_dicts
from kdet.convert.checkpoint import read_checkpoint
from kdet.convert.fetch import FetchError, fetch
from kdet.convert.foreign import adapted
from kdet.convert.state_dict import LoadReport
from kdet.convert.walk import torch_items

_OPEN_MMLAB = "https://download.openmmlab.com/pretrain/third_party/"
_TORCHVISION = "https://download.pytorch.org/models/"

_FILES = {
    "torchvision://resnet18": _TORCHVISION + "resnet18-f37072fd.pth",
    "torchvision://resnet34": _TORCHVISION + "resnet34-b627a593.pth",
    "torchvision://resnet50": _TORCHVISION + "resnet50-0676ba61.pth",
    "torchvision://resnet101": _TORCHVISION + "resnet101-63fe2227.pth",
    "torchvision://resnet152": _TORCHVISION + "resnet152-394f9c45.pth",
    "open-mmlab://vgg16_caffe": _OPEN_MMLAB + "vgg16_caffe-292e1171.pth",
    "open-mmlab://detectron/resnet50_caffe": _OPEN_MMLAB + "resnet50_caffe-788b5fa3.pth",
    "open-mmlab://detectron/resnet101_caffe": _OPEN_MMLAB + "resnet101_caffe-3ad79236.pth",
    "open-mmlab://detectron2/resnet50_caffe": _OPEN_MMLAB + "resnet50_msra-5891d200.pth",
    "open-mmlab://detectron2/resnet101_caffe": _OPEN_MMLAB + "resnet101_msra-6cc46731.pth",
    "open-mmlab://detectron2/resnext101_32x8d": _OPEN_MMLAB + "resnext101_32x8d-1516f1aa.pth",
    "open-mmlab://resnext50_32x4d": _OPEN_MMLAB + "resnext50-32x4d-0ab1a123.pth",
    "open-mmlab://resnext101_32x4d": _OPEN_MMLAB + "resnext101_32x4d-a5af3160.pth",
    "open-mmlab://resnext101_64x4d": _OPEN_MMLAB + "resnext101_64x4d-ee2c6f71.pth",
    "open-mmlab://contrib/resnet50_gn": _OPEN_MMLAB + "resnet50_gn_thangvubk-ad1730dd.pth",
    "open-mmlab://detectron/resnet50_gn": _OPEN_MMLAB + "resnet50_gn-9186a21c.pth",
    "open-mmlab://detectron/resnet101_gn": _OPEN_MMLAB + "resnet101_gn-cac0ab98.pth",
    "open-mmlab://jhu/resnet50_gn_ws": _OPEN_MMLAB + "resnet50_gn_ws-15beedd8.pth",
    "open-mmlab://jhu/resnet101_gn_ws": _OPEN_MMLAB + "resnet101_gn_ws-3e3c308c.pth",
    "open-mmlab://jhu/resnext50_32x4d_gn_ws": _OPEN_MMLAB + "resnext50_32x4d_gn_ws-0d87ac85.pth",
    "open-mmlab://jhu/resnext101_32x4d_gn_ws": _OPEN_MMLAB + "resnext101_32x4d_gn_ws-34ac1a9e.pth",
    "open-mmlab://msra/hrnetv2_w18": _OPEN_MMLAB + "hrnetv2_w18-00eb2006.pth",
    "open-mmlab://msra/hrnetv2_w32": _OPEN_MMLAB + "hrnetv2_w32-dc9eeb4f.pth",
    "open-mmlab://msra/hrnetv2_w40": _OPEN_MMLAB + "hrnetv2_w40-ed0b031c.pth",
    "open-mmlab://res2net101_v1d_26w_4s": _OPEN_MMLAB + "res2net101_v1d_26w_4s_mmdetv2-f0a600f9.pth",
    "open-mmlab://regnetx_400mf": _OPEN_MMLAB + "regnetx_400mf-a5b10d96.pth",
    "open-mmlab://regnetx_800mf": _OPEN_MMLAB + "regnetx_800mf-1f4be4c7.pth",
    "open-mmlab://regnetx_1.6gf": _OPEN_MMLAB + "regnetx_1.6gf-5791c176.pth",
    "open-mmlab://regnetx_3.2gf": _OPEN_MMLAB + "regnetx_3.2gf-c2599b0f.pth",
    "open-mmlab://regnetx_4.0gf": _OPEN_MMLAB + "regnetx_4.0gf-a88f671e.pth",
    "open-mmlab://regnetx_6.4gf": _OPEN_MMLAB + "regnetx_6.4gf-006af45d.pth",
    "open-mmlab://regnetx_8.0gf": _OPEN_MMLAB + "regnetx_8.0gf-3c68abe7.pth",
    "open-mmlab://regnetx_12gf": _OPEN_MMLAB + "regnetx_12gf-4c2a3350.pth",
    "open-mmlab://resnest50": _OPEN_MMLAB + "resnest50_d2-7497a55b.pth",
    "open-mmlab://resnest101": _OPEN_MMLAB + "resnest101_d2-f3b931b2.pth",
    "open-mmlab://darknet53": _OPEN_MMLAB + "darknet53-a628ea1b.pth",
    "mocov2://resnet50_800ep": (
        "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar"
    ),
    "swav://resnet50_800ep": "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar",
    "timm://efficientnet_b1": (
        "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
        "efficientnet_b1-533bc792.pth"
    ),
    "open-mmlab://mmdet/mobilenet_v2": (
        "https://download.openmmlab.com/mmdetection/v2.0/third_party/"
        "mobilenet_v2_batch256_imagenet-ff34753d.pth"
    ),
}

# Parts that detectors add to a classification network; they start from their own initializers. (VGG's
# features 31 and 33 are SSD's fc6 and fc7.)
_ADDED = re.compile(
    r"(^|\.)(conv_offset|context_block|gen_attention_block|switch|weight_diff|pre_context|post_context"
    r"|offset_s|offset_l|rfp_conv)(\.|$)"
    r"|^features\.3[13]\."
    r"|^norm[0-3]\."  # behind the outputs of Swin and ConvNeXt
    r"|(^|\.)branch_weights$"
)


# attributes of backbones that hold their stages in a list
_LISTS_OF_STAGES = ("layers", "stages", "downsample_layers")


def names() -> list[str]:
    """All names that ``load_pretrained`` knows, sorted."""
    return sorted(_FILES)


def resolve(source: pathlib.Path | str) -> str:
    """The address of a pretrained file by name; addresses and existing paths come back unchanged.

    Raises:
        FetchError: an unknown name.
    """
    source = str(source)
    if source in _FILES:
        return _FILES[source]
    if source.startswith(("http://", "https://")) or pathlib.Path(source).is_file():
        return source
    raise FetchError(f"No pretrained file is known as {source!r}. Known: {', '.join(names())}.")


def load_pretrained(layer: keras.layers.Layer, source: pathlib.Path | str) -> LoadReport:
    """Fills a built backbone from a classification checkpoint.

    The classifier, and whole stages that the backbone does not have, are left out; parts that detectors
    add (deformable offsets, context blocks ...) keep their initial values. Everything else has to match.

    Args:
        layer: the backbone.
        source: a name such as ``"torchvision://resnet50"``, an address, or a path.

    Returns:
        A ``LoadReport``.

    Raises:
        FetchError, CheckpointError: the file cannot be downloaded or read.
        IncompleteStateDict: the file is for another backbone.
    """
    address = resolve(source)
    path = fetch(address) if address.startswith(("http://", "https://")) else address
    state = read_checkpoint(path).state_dict
    inside = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    stages = {_stage(name) for name in torch_items(layer)}
    state = {name: tensor for name, tensor in adapted(inside or state).items() if _stage(name) in stages}
    return state_dicts.load_state_dict(layer, state, may_keep=_ADDED.search)


def _stage(name: str) -> str:
    """The stage of a backbone that a tensor belongs to: ``layer1``, in a list of stages ``stages.0``."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] in _LISTS_OF_STAGES else parts[0]
