"""The keys of the sections ``data``, ``train`` and ``test`` of a recipe, and what each may be."""

from kdet.ranges import Either, List, Number, Text

# A leaf says what a key accepts: a tuple its choices, a form of `kdet.ranges` or a type its kind. A mapping
# is a section with these keys only. null leaves a key at its default.
COUNT = Number(1, 2**31 - 1, whole=True, exact=True)
COUNT_OR_0 = Number(0, 2**31 - 1, whole=True, exact=True)
SHARE = Number(0, 1)
POSITIVE = Number(0, above=True)
NOT_NEGATIVE = Number(0)
SIDE = Number(1, 2**16, whole=True)
PAIR = List(SIDE, length=2)
COLOR = List(Number(0, 255), length=3)
FLAG_OR_SECTION = Either((bool, dict))
FILES = Either((Text("a path"), List(Text("a path"), least=1)))
SIZES = Either((PAIR, List(Either((PAIR, Number(0, 100, above=True))), least=1)))
METRICS = {
    "bbox": "COCO's AP of boxes",
    "segm": "COCO's AP of masks",
    "proposal": "COCO's average recall of boxes, whatever their class",
    "voc07": "Pascal VOC's mAP, precision at 11 recalls (2007)",
    "voc12": "Pascal VOC's mAP, area under the curve (2010-2012)",
    "voc12_exclusive": "the same without + 1 in the sides of boxes (WIDER FACE in MMDetection)",
    "lvis_bbox": "LVIS' federated AP of boxes",
    "lvis_segm": "LVIS' federated AP of masks",
    "cityscapes": "Cityscapes' instance AP (masks)",
    "wider_face": "WIDER FACE's AP of easy, medium and hard faces",
}

DATASET = {
    "format": ("coco", "voc", "cityscapes", "wider_face", "tfrecord"),
    "annotations": FILES,  # file(s); for voc the image-set file(s)
    "images": FILES,  # image folder(s), one per annotation file or one for all
    "classes": List(Text("the name of a class"), least=1),  # default: data.classes
    "masks": bool,  # read instance masks
    "resize": {
        "sizes": Either((SIZES, Number(0, 100, above=True))),  # (long, short) limits
        "mode": ("keep_ratio", "fixed", "factor"),
        "multiscale": ("value", "range"),
        "ratio_range": List(Number(0, 100, above=True), length=2, ordered=True),
    },
    "flip": Either((bool, SHARE)),  # probability
    "crop": Either((PAIR, dict)),  # (w, h)
    "crop_first": dict,
    "center_crop": dict,
    "shift": FLAG_OR_SECTION,
    "photometric": (True, False, "last"),
    "expand": FLAG_OR_SECTION,
    "overlap_crop": FLAG_OR_SECTION,
    "albumentations": List(dict),
    "instaboost": FLAG_OR_SECTION,
    "semantic": FILES,  # folder(s) of class maps
    "semantic_stride": COUNT,
    "divisor": SIDE,
    "center_pad": COUNT_OR_0,
    "buckets": List(PAIR, least=1),
    "filter_empty": bool,  # leave out images without objects
    "min_size": NOT_NEGATIVE,  # leave out images with a shorter side
    "min_box": POSITIVE,  # leave out objects whose sides are not longer
    "ignore_below": POSITIVE,  # objects with a side below become ignore regions
    "oversample": Number(0, above=True),  # repeat images with classes that are rarer than this share
    "on_missing": ("error", "skip"),
    "on_corrupt": ("error", "skip"),
    "allow_outside": bool,  # image names may lead out of the folder
    "crowds": ("ignore", "objects"),  # what objects marked iscrowd are
    "max_boxes": Number(1, 100_000, whole=True, exact=True),  # padded number of objects
    "proposals": FILES,  # file(s) of pre-computed proposals (Fast R-CNN)
    "max_proposals": Number(1, 100_000, whole=True, exact=True),
    "shuffle": bool,
    "remainder": ("fill", "drop"),
    "repeat": COUNT,  # passes over the files that count as one epoch
    "limit": COUNT,  # only the first images
    "difficulty_lists": Text("a folder"),  # of WIDER FACE's lists of easy, medium and hard faces
}
# Where a value of DATASET is a mapping, its keys.
SUBSECTIONS = {
    "expand": {"mean": COLOR, "ratio": List(Number(1, 100), length=2, ordered=True)},
    "overlap_crop": {"min_ious": List(SHARE, least=1), "min_size": Number(0, 1, above=True)},
    "center_crop": {
        "size": PAIR,
        "ratios": List(Number(0, 100, above=True), least=1),
        "border": COUNT,
        "mean": COLOR,
    },
    "crop_first": {
        "probability": SHARE,
        "sizes": List(PAIR, least=1),
        "crop": List(SIDE, length=2, ordered=True),
    },
    "shift": {"probability": SHARE, "max_pixels": COUNT_OR_0},
    "crop": {
        "type": ("absolute", "absolute_range", "relative", "relative_range"),
        "size": List(Number(0, 2**16, above=True), length=2),
    },
    "instaboost": {
        "probability": SHARE,
        "actions": dict,
        "scale": List(POSITIVE, length=2, ordered=True),
        "dx": POSITIVE,
        "dy": POSITIVE,
        "theta": List(Number(-360, 360, whole=True), length=2, ordered=True),
        "color_probability": SHARE,
    },
}
SECTIONS = {
    "model": dict,
    "data": {
        "classes": List(Text("the name of a class"), least=1),
        "train": DATASET,
        "val": DATASET,
        "test": DATASET,
        "metrics": List(tuple(METRICS), least=1),
    },
    "train": {
        "optimizer": {
            "type": ("SGD", "AdamW"),
            "learning_rate": Number(0, 1e6, above=True),
            "momentum": Number(0, 1),
            "nesterov": bool,
            "beta_1": Number(0, 1),
            "beta_2": Number(0, 1),
            "epsilon": Number(0, 1),
            "weight_decay": Number(0, 1e6),
            "base_batch_size": COUNT,  # the batch that the rate is meant for (linear scaling rule)
            "parameters": dict,
        },
        "schedule": {
            "type": ("step", "cosine", "polynomial", "constant"),
            "steps": List(NOT_NEGATIVE, ordered=True),
            "gamma": Number(0, 1e3, above=True),
            "min_ratio": SHARE,
            "power": POSITIVE,
            "by_epoch": bool,
            "warmup": ("linear", "exp", "constant"),
            "warmup_steps": COUNT_OR_0,
            "warmup_ratio": Number(0, 1, above=True),
        },
        "epochs": COUNT,
        "batch_size": COUNT,  # images of one step, over all devices
        "clip": POSITIVE,  # largest global norm of the gradients
        "precision": ("float32", "mixed_float16", "mixed_bfloat16"),
        "loss_scale": Either((POSITIVE, ("dynamic",))),
        "initial": Text("'imagenet', a recipe, a file or an address"),
        "seed": Number(0, 2**32 - 1, whole=True, exact=True),
        "log_every": COUNT,
        "save_every": COUNT_OR_0,
        "evaluate_every": COUNT_OR_0,
    },
    "test": {
        "scales": List(Either((PAIR, Number(0, 100, above=True))), least=1),
        "flip": bool,
    },  # views of ``kdet test --tta``
    "metadata": dict,
}

# Arguments of the classes in `model` by name, whatever class has them.
ARGUMENTS = {
    **dict.fromkeys(
        "num_classes in_channels out_channels channels filters hidden_channels feat_channels embed_dims "
        "units base_channels stem_channels num_heads num_outs num_levels num_stages num_queries "
        "num_proposals pad_divisor max_per_image nms_pre num groups radix kernel_size output_size "
        "num_points".split(),
        COUNT,
    ),
    "depth": Number(1, 10_000, whole=True, exact=True),
    "std": List(Number(0, above=True), length=3),
    "mean": List(Number(), length=3),
    "score_threshold": SHARE,
    "iou_threshold": SHARE,
    "pos_iou": SHARE,
    "min_pos_iou": SHARE,
    "pos_fraction": SHARE,
    "frozen_stages": Number(-1, 100, whole=True, exact=True),
}
