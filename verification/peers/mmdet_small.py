"""Records small goldens of the reference: published configs with fewer channels, layers and classes.

    PEER/bin/python verification/peers/mmdet_small.py --generator DIR --out FOLDER --size H W CONFIG ...

Writes ``FOLDER/seed0/FAMILY__NAME.npz`` and, with ``--noise``, ``FOLDER/seed0/noisy/FAMILY__NAME.npz``.
Runs in the environment of PyTorch and MMDetection 2.x; DIR holds the program that makes the goldens
(``make_golden.py``). What shrinks here is what ``verification.small`` shrinks of kdet's recipe, by the same
factors: ``python -m verification.record_small`` compares the names and shapes of all weights of the two.
"""

import argparse
import functools
import inspect
import pathlib
import re
import sys
import time

NOISE = 1e-6  # relative, on the images
DIVIDE, LEAST, NUM_CLASSES = 4, 8, 3
# Arguments that are widths, of the configs or the defaults of their classes.
WIDTHS = {
    "aspp_out_channels",
    "block_mid_channels",
    "cls_in_channels",
    "cls_out_channels",
    "conv_out_channels",
    "embed_dims",
    "fc_channels",
    "fc_out_channels",
    "feat_channels",
    "feedforward_channels",
    "in_channels",
    "inter_channels",
    "num_feats",
    "out_channels",
    "out_conv_channels",
    "output_channels",
    "point_feat_channels",
    "proposal_feature_channel",
    "reg_cls_out_channels",
    "reg_in_channels",
    "reg_offset_out_channels",
}
# The most that a small variant has of a count.
COUNTS = {
    "max_per_img": 100,
    "nms_post": 100,
    "nms_pre": 300,
    "num_proposals": 50,
    "num_query": 50,
    "num_stages": 3,
    "stack_times": 4,
    "two_stage_num_proposals": 50,
    "subdivision_num_points": 196,
}
# Widths that are no arguments in kdet.
KEPT = {"DIIHead": "feedforward_channels", "DynamicConv": "feat_channels"}
LAYERS = {"encoder": 2, "decoder": 3}
BACKBONES = {
    "HourglassNet": {
        "downsample_times": 3,
        "feat_channel": 64,
        "num_stacks": 2,
        "stage_channels": [64, 64, 96, 96],
        "stage_blocks": [1, 1, 1, 1],
    },
    "RegNet": {"arch": "regnetx_800mf"},
    "ResNet": {"depth": 18},
}
DARKNET = {53: ((1, 1, 1, 1, 1), ((32, 64), (64, 32), (32, 64), (64, 128), (128, 256)))}
HRNET_WIDTH = 8
BOTTLENECKS, BLOCKS = 26, (2, 2, 2, 2)  # ResNet-26, the smallest in use that has them


# Further layers whose outputs get a root mean square, as make_golden's CALIB.
CALIBRATED = [(r"deconv2$", 0.5)]  # heat maps of Grid R-CNN: far from 0 cells tie after the sigmoid
# Factors of generated weights, by patterns of their names.
SCALED = {
    # Split attention normalizes one pixel of the two images: their difference over its root. It must not lie
    # near the epsilon of the norm, where that multiplies rounding by 300.
    r"^backbone\.layer.*\.fc1\.weight$": 30.0,
    r"^backbone\.layer.*\.fc2\.weight$": 0.3,
}


def shrink(model):
    """Makes the ``model`` dict of a config small, in place."""
    backbone = model["backbone"]
    before = channels_of(backbone)
    whole_stage = "shared_head" in model.get("roi_head", {})  # the head is a stage of the real ResNet-50
    if not whole_stage:
        shrink_backbone(backbone)
    after = channels_of(backbone)
    if not model.get("neck"):
        replace(model, before[-1], after[-1] * DIVIDE)  # which are divided below
    if whole_stage:
        replace(model, 2048, 2048 * DIVIDE)
    for name, part in model.items():
        if name == "teacher_config":
            shrink(part["model"])
        elif name != "backbone":
            shrink_part(part)
    if model["type"] == "DETR":  # where there cannot be more
        model["test_cfg"]["max_per_img"] = model["bbox_head"]["num_query"]
    stages = model.get("roi_head", {}).get("num_stages")
    if stages:  # Sparse R-CNN has more of them
        for spec in (model["roi_head"], model["train_cfg"]):
            spec.update({key: value[:stages] for key, value in spec.items() if isinstance(value, list)})
    feed(model.get("neck"), after)
    if backbone["type"] == "SSDVGG":  # hands the maps of the backbone on
        widths = model["neck"]["out_channels"]
        widths[: len(after)] = after
        model["bbox_head"]["in_channels"] = widths


def replace(spec, old, new):
    """Channels that the parts of a model without a neck get from the backbone."""
    for key, value in spec.items() if isinstance(spec, dict) else ():
        if key in ("in_channels", "out_channels") and value == old:
            spec[key] = new
        replace(value, old, new)


def shrink_part(spec):
    for child in spec if isinstance(spec, list) else ():
        shrink_part(child)
    if not isinstance(spec, dict):
        return
    for key, child in spec.items():
        shrink_backbone(child) if key == "rfp_backbone" else shrink_part(child)
    if "num_classes" in spec and "Semantic" not in str(spec.get("type")):
        spec["num_classes"] = NUM_CLASSES
    values = {**(defaults(spec["type"]) if "type" in spec else {}), **spec}
    for key in WIDTHS & values.keys():
        if isinstance(values[key], int):
            spec[key] = max(values[key] // DIVIDE, LEAST)
        elif isinstance(values[key], (list, tuple)) and all(isinstance(v, int) for v in values[key]):
            spec[key] = [max(v // DIVIDE, LEAST) for v in values[key]]
    for key in COUNTS.keys() & values.keys():
        if isinstance(values[key], int):
            spec[key] = min(values[key], COUNTS[key])
    if "proto_channels" in values:  # None is enlarging; the last is the number of prototypes
        *widths, protos = values["proto_channels"]
        spec["proto_channels"] = [*(width and width // DIVIDE for width in widths), protos]
    if spec.get("type") in KEPT:
        spec[KEPT[spec["type"]]] = values[KEPT[spec["type"]]]
    if "paths" in spec:
        spec["paths"] = spec["paths"][: spec["stack_times"]]
    if "DeformRoIPoolPack" in str(spec.get("type")):
        spec["deform_fc_channels"] = 1024 // DIVIDE
    if "attn_cfgs" in spec:  # a layer of a transformer, whose second half has a default for all
        width = first(spec["attn_cfgs"])["embed_dims"]
        spec["ffn_cfgs"] = {
            "type": "FFN",
            "embed_dims": width,
            "feedforward_channels": spec.get("feedforward_channels", 1024 // DIVIDE),
            "num_fcs": 2,
            "ffn_drop": 0.0,
            "act_cfg": {"type": "ReLU", "inplace": True},
        }
    for key, most in LAYERS.items():
        if "num_layers" in (spec.get(key) or {}):
            spec[key]["num_layers"] = min(spec[key]["num_layers"], most)


def first(value):
    return value[0] if isinstance(value, (list, tuple)) else value


def feed(neck, channels):
    """Gives the first neck the channels that the backbone returns."""
    if isinstance(neck, list):
        neck = neck[0]
    if not neck or "in_channels" not in neck:
        return
    if neck["type"] == "YOLOV3Neck":  # begins with the coarsest map
        channels = channels[::-1]
    wide = isinstance(neck["in_channels"], (list, tuple))
    neck["in_channels"] = list(channels) if wide else channels[-1]


def shrink_backbone(spec):
    kind = spec["type"]
    spec.update(BACKBONES.get(kind, {}))
    if kind == "HRNet":
        width = spec["extra"]["stage2"]["num_channels"][0]
        for stage in ("stage2", "stage3", "stage4"):
            part = spec["extra"][stage]
            part["num_channels"] = [n * HRNET_WIDTH // width for n in part["num_channels"]]
    elif "depth" in spec and kind not in ("Darknet", "RegNet", "SSDVGG"):
        bottlenecks = kind != "ResNet" or any(spec.get(key) for key in ("dcn", "plugins", "groups"))
        spec["depth"] = BOTTLENECKS if bottlenecks else 18
        spec["base_channels"] = 32
        if spec.get("rfp_inplanes"):  # the feedback of DetectoRS
            spec["rfp_inplanes"] //= DIVIDE
        if spec.get("stem_channels"):
            spec["stem_channels"] = 32


def add_architectures():
    """Makes small backbones known to the classes that list theirs."""
    from mmdet.models.backbones import (
        darknet,
        detectors_resnet,
        detectors_resnext,
        res2net,
        resnest,
        resnet,
        resnext,
    )

    darknet.Darknet.arch_settings = DARKNET
    for cls in (resnet.ResNet, resnext.ResNeXt, res2net.Res2Net, resnest.ResNeSt,
                detectors_resnet.DetectoRS_ResNet, detectors_resnext.DetectoRS_ResNeXt):  # fmt: skip
        cls.arch_settings = {**cls.arch_settings, BOTTLENECKS: (cls.arch_settings[50][0], BLOCKS)}


def shrink_constants():
    """Makes a quarter of the widths that no config can set."""
    from mmdet.models.dense_heads import CornerHead
    from mmdet.models.utils.transformer import DeformableDetrTransformer

    layers = CornerHead._make_layers
    CornerHead._make_layers = functools.partialmethod(layers, feat_channels=256 // DIVIDE)
    embed = DeformableDetrTransformer.get_proposal_pos_embed
    DeformableDetrTransformer.get_proposal_pos_embed = functools.partialmethod(
        embed, num_pos_feats=128 // DIVIDE
    )


def scaled(initial_adjust):
    """``initial_adjust`` of make_golden, with ``SCALED``."""

    @functools.wraps(initial_adjust)
    def call(model, shapes, tied, seed):
        adjust = initial_adjust(model, shapes, tied, seed)
        for name, _ in shapes:
            for pattern, factor in SCALED.items():
                if re.search(pattern, name):
                    times, plus = adjust.get(name, [1.0, 0.0])
                    adjust[name] = [times * factor, plus]
        return adjust

    return call


def channels_of(spec):
    """Channels of what a backbone returns."""
    import torch
    from mmcv import ConfigDict
    from mmdet.models import build_backbone

    net = build_backbone(ConfigDict(spec))
    net.eval()
    with torch.no_grad():
        outputs = net(torch.zeros(1, 3, 128, 128))
    return [x.shape[1] for x in outputs if x.shape[1] != 3]  # DetectoRS hands the image on, too


def defaults(kind):
    """Default arguments of a class by the name of its registry, those of its bases too."""
    from mmcv.cnn.bricks.registry import (
        ATTENTION,
        FEEDFORWARD_NETWORK,
        POSITIONAL_ENCODING,
        TRANSFORMER_LAYER,
        TRANSFORMER_LAYER_SEQUENCE,
    )
    from mmdet.models.builder import MODELS
    from mmdet.models.utils.builder import TRANSFORMER

    found = {}
    for registry in (MODELS, TRANSFORMER, ATTENTION, FEEDFORWARD_NETWORK, POSITIONAL_ENCODING,
                     TRANSFORMER_LAYER, TRANSFORMER_LAYER_SEQUENCE):  # fmt: skip
        cls = registry.get(kind)
        if cls is None:
            continue
        for base in reversed(cls.__mro__):
            if "__init__" in vars(base):
                parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
                found.update({p.name: p.default for p in parameters if p.default is not p.empty})
        break
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="+")
    parser.add_argument("--generator", required=True, help="folder of make_golden.py")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder of the new goldens")
    parser.add_argument("--size", type=int, nargs=2, default=(96, 128), metavar=("H", "W"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--proposals", type=int, nargs=2, metavar=("TRAIN", "TEST"), help="most regions of an image's RPN"
    )
    parser.add_argument("--noise", action="store_true", help="once more with noise on the images")
    options = parser.parse_args()
    sys.path.insert(0, options.generator)
    import common
    import make_golden
    import torch

    add_architectures()
    shrink_constants()
    torch.set_num_threads(1)
    load = common.load_model_cfg

    def load_small(path):
        config, model = load(path)
        shrink(model)
        return config, model

    common.load_model_cfg = load_small
    make_golden.BUDGET, make_golden.MAX_VALUES = 60_000, 512
    make_golden.CALIB += CALIBRATED
    make_golden.initial_adjust = scaled(make_golden.initial_adjust)
    if options.proposals:
        make_golden.TRAIN_PROPOSALS, make_golden.TEST_PROPOSALS = options.proposals
    for name in options.configs:
        path = common.find_config(name)
        file = make_golden.golden_name(common.config_id(path))
        for seed in options.seeds:
            folder = options.out / f"seed{seed}"
            try:
                meta = make(path, seed, options.size, folder / file)
                if options.noise:
                    make(path, seed, options.size, folder / "noisy" / file, NOISE, meta["adjust"])
            except Exception as error:
                print(f"{name}: {error!r}", flush=True)


def make(path, seed, size, out, noise=0.0, adjust=None):
    """Computes and writes the golden of a config; gives its meta data."""
    import make_golden

    start = time.time()
    meta, arrays, full, _ = make_golden.compute(
        path, seed, tuple(size), log=lambda *x: None, noise=noise, adjust=adjust
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    written = make_golden.save(str(out), meta, arrays, full)
    train = meta["train"]
    print(f"{out}: {written} B, det {meta['ndet']}, training {train['status']} {train.get('error', '')}, "
          f"{time.time() - start:.1f} s", flush=True)  # fmt: skip
    return meta


if __name__ == "__main__":
    main()
