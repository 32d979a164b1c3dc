"""Small variants of recipes: the same parts with fewer channels, layers and regions.

What is shown on a small variant (that a family learns, that its files load again) is shown for the code of
the published model, at a hundredth of its cost.
"""

import inspect
import math

from kdet import registry
from kdet.building import build
from kdet.overrides import class_count

# Arguments that are widths. All shrink by one factor, so that parts which must agree still do.
WIDTHS = {
    "aspp_filters",
    "channels",
    "conv_filters",
    "fc_units",
    "ffn_units",
    "filters",
    "hidden_channels",
    "hidden_units",
    "out_channels",
    "point_filters",
    "units",
}
# Arguments that are counts, and the most that a small variant has of it.
COUNTS = {
    "decoder_layers": 3,
    "encoder_layers": 2,
    "max_per_image": 100,
    "nms_pre": 300,
    "num": 64,
    "num_proposals": 50,
    "num_queries": 50,
    "num_stages": 3,
    "stack_times": 4,
    "stacks": 1,
    "subdivision_points": 196,
}
# Transformers whose widths the parts behind them share.
SHARED_WIDTHS = {"DINOv3Adapter"}
# Where a recursive pyramid has a backbone of its own.
FED = "rfp_backbone"
# The smallest backbone of every kind; half the channels are set apart from this.
BACKBONES = {
    "ResNet": {"depth": 18},
    "Res2Net": {"depth": 50},
    "ResNeSt": {"depth": 50},
    "RegNet": {"arch": "regnetx_800mf"},
    "HRNet": {"width": 8},
    "CSPDarknet": {"depth_factor": 0.33, "width_factor": 0.125},
    "CSPNeXt": {"depth_factor": 0.167, "width_factor": 0.125},
    "Darknet": {"blocks": [1, 1, 1, 1, 1], "channels": [64, 32, 64, 128, 256]},
    "LWDETRViT": {"units": 32, "num_heads": 2},
    "WindowedDINOv2": {"units": 32, "num_heads": 2},
    "HourglassNet": {"channels": [64, 64, 96, 96], "blocks": [1, 1, 1, 1], "stacks": 1, "filters": 64},
}


def small_variant(config, divide=4, num_classes=3, from_scratch=True):
    """Makes the model section of a recipe small, in place.

    Widths (those that a class has as its default, too) are divided, the backbone becomes the smallest of
    its kind with half the channels, nothing is loaded at first.

    Args:
        config: :class:`kdet.config.Config`.
        divide: of all widths outside the backbone.
        num_classes: of the small model, where it has classes.
        from_scratch: nothing is frozen and batch norms learn; otherwise both are as the recipe has them.

    Returns:
        ``config``.
    """
    model = config["model"]
    for name, part in model.items():
        if name != "backbone":
            _shrink(part, divide)
    whole_stage = "shared_head" in model.get("roi_head", {})  # the head is a stage of the real ResNet-50
    if from_scratch:
        _unfreeze(model["backbone"])
    for backbone in backbones(model):
        if backbone["type"] in SHARED_WIDTHS:
            _shrink(backbone, divide)
        _shrink_backbone(backbone, keep_size=whole_stage)
    if "num_params" in model.get("bbox_head", {}):  # of the networks that CondInst's points predict
        model["bbox_head"]["num_params"] = build(model["mask_head"]).convs.count
    if class_count(model) is not None:
        config.override({"model.num_classes": num_classes})
    config.get("train", {}).pop("initial", None)
    return config


def backbones(model):
    """The backbone of a model section, and that which a recursive pyramid feeds."""
    necks = model.get("neck") or []
    necks = necks if isinstance(necks, list) else [necks]
    return [model["backbone"], *(neck[FED] for neck in necks if FED in neck)]


def _shrink(spec, divide):
    parts = [spec[key] for key in spec if key != FED] if isinstance(spec, dict) else spec
    for child in parts if isinstance(parts, list) else ():
        _shrink(child, divide)
    if not isinstance(spec, dict) or "type" not in spec:
        return
    values = {**default_arguments(spec["type"]), **spec}
    for key in WIDTHS & values.keys():
        widths = values[key]
        if isinstance(widths, int):
            spec[key] = max(widths // divide, 8)
        elif isinstance(widths, (list, tuple)):
            spec[key] = [max(width // divide, 8) for width in widths]
    heads = values.get("num_heads")
    if isinstance(heads, int) and spec.get("units", 0) % heads:
        spec["num_heads"] = math.gcd(spec["units"], heads)
    for key in COUNTS.keys() & values.keys():
        if isinstance(values[key], int):
            spec[key] = min(values[key], COUNTS[key])


def _is_resnet(spec):
    return issubclass(registry.get(spec["type"]), registry.get("ResNet"))


def _unfreeze(spec):
    known = default_arguments(spec["type"])
    for key, value in (("frozen_stages", -1), ("norm_eval", False)):
        if key in known:
            spec[key] = value
    if isinstance(spec.get("norm"), dict):
        spec["norm"].pop("trainable", None)


def _shrink_backbone(spec, keep_size):
    spec.pop("pretrained", None)
    if keep_size:
        return
    is_resnet = _is_resnet(spec)
    spec.update(BACKBONES.get(spec["type"], {}))
    if is_resnet and spec["type"] != "RegNet":
        if any(spec.get(key) for key in ("dcn", "plugins", "groups")):  # only bottlenecks have them
            spec["depth"] = 50
        spec["base_channels"] = 32
        if spec.get("stem_channels"):
            spec["stem_channels"] = 32


def default_arguments(type_name):
    """Defaults of a class's arguments, those that it hands on to its bases too."""
    found = {}
    for cls in reversed(registry.get(type_name).__mro__):
        if cls.__module__.startswith("kdet.") and "__init__" in vars(cls):
            parameters = inspect.signature(cls.__init__).parameters.values()
            found.update({p.name: p.default for p in parameters if p.default is not p.empty})
    return found
