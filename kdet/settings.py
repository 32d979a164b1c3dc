"""The sections of a recipe: every key of ``data``, ``train`` and ``test`` with its range and its default.

Each section is a class, so its keys are checked as the keywords of any other class are (``kdet.schema``).
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from kdet.ranges import Either, List, Number, Part, Section, Text

Count = Annotated[int, Number(1, 2**31 - 1, whole=True, exact=True)]
CountOrZero = Annotated[int, Number(0, 2**31 - 1, whole=True, exact=True)]
Share = Annotated[float, Number(0, 1)]
Positive = Annotated[float, Number(0, above=True)]
NotNegative = Annotated[float, Number(0)]
SIDE = Number(1, 2**16, whole=True)
Side = Annotated[int, SIDE]
PAIR = List(SIDE, length=2)
Pair = Annotated[Sequence[int], PAIR]
Color = Annotated[Sequence[float], List(Number(0, 255), length=3)]
Files = Annotated[str | list[str], Either((Text("a path"), List(Text("a path"), least=1)))]
ClassNames = Annotated[Sequence[str], List(Text("the name of a class"), least=1)]
Path = Annotated[str, Text("a path")]
Rows = Annotated[int, Number(1, 100_000, whole=True, exact=True)]
FaultRule = Literal["error", "skip"]

METRICS: dict[str, tuple[dict[str, Any], str]] = {  # short names of metrics, and what each is
    "bbox": ({"type": "CocoAP"}, "COCO's AP of boxes"),
    "segm": ({"type": "CocoAP", "of": "segm"}, "COCO's AP of masks"),
    "proposal": (
        {"type": "CocoAP", "of": "proposal"},
        "COCO's average recall of boxes, whatever their class",
    ),
    "voc07": ({"type": "VocAP", "rule": "07"}, "Pascal VOC's mAP, precision at 11 recalls (2007)"),
    "voc12": ({"type": "VocAP"}, "Pascal VOC's mAP, area under the curve (2010-2012)"),
    "voc12_exclusive": (
        {"type": "VocAP", "pixel_inclusive": False},
        "the same without + 1 in the sides of boxes (WIDER FACE in MMDetection)",
    ),
    "lvis_bbox": ({"type": "LvisAP"}, "LVIS' federated AP of boxes"),
    "lvis_segm": ({"type": "LvisAP", "of": "segm"}, "LVIS' federated AP of masks"),
    "cityscapes": ({"type": "CityscapesAP"}, "Cityscapes' instance AP (masks)"),
    "open_images": ({"type": "OpenImagesAP"}, "Open Images' mAP (class hierarchy and image labels: see it)"),
    "panoptic": (
        {"type": "PanopticPQ"},
        "panoptic, segmentation and recognition quality of COCO's panoptic task",
    ),
    "wider_face": ({"type": "WiderFaceAP"}, "WIDER FACE's AP of easy, medium and hard faces"),
    "crowd_human": ({"type": "CrowdHumanAP"}, "CrowdHuman's AP, miss rate and Jaccard index"),
}
METRIC = Part("Metric", many=True, short={name: spec for name, (spec, _) in METRICS.items()})
OPTIMIZER = Part(
    "Optimizer",
    default="SGD",
    given=(
        "global_clipnorm",
        "name",
        *("use_ema", "ema_momentum", "ema_finalize", "ema_ramp_steps"),
        "gradient_accumulation_steps",
    ),
    extra={"base_batch_size": Number(1, 2**31 - 1, whole=True, exact=True)},
)
CALLBACKS = Part("Callback", many=True)
SCHEDULE = Part("Schedule", default="StepDecay", given=("learning_rate", "steps_per_epoch", "epochs"))


@dataclasses.dataclass(kw_only=True)
class Split:
    """``data.train``, ``data.val`` or ``data.test``: one data set and what happens to its images.

    The keys of the reader that ``type`` names stand here too.

    Attributes:
        type: the reader of the annotations: ``CocoReader``, ``CocoPanopticReader``, ``VocReader``,
            ``CityscapesReader``, ``WiderFaceReader``, ``CrowdHumanReader``, ``TFRecordReader``, or a
            registered one of your own.
        annotations: COCO: the JSON file; VOC: the split, ``.../ImageSets/Main/train.txt``; Cityscapes: the
            folder ``gtFine/train``; WIDER FACE: ``wider_face_train_bbx_gt.txt``; TFRecord: a file pattern. A
            list joins several.
        images: COCO: the image folder; Cityscapes: ``leftImg8bit/train``; VOC: the folder with
            ``JPEGImages/`` (default: the one around the split). A list goes with a list of annotations.
        classes: class names in label order, selects and reorders; default: all, in a recipe ``data.classes``.
        masks: deliver instance masks.
        on_missing, on_corrupt: "error", or "skip": leave such images out, count and report them;
            ``on_corrupt`` also covers annotations with values of the wrong kind and damaged segmentations.
        transforms: what happens to the images, in this order. Default: ``Resize`` to (1333, 800), and in
            training ``RandomFlip``. In evaluation only transforms that are no augmentation are applied.
        divisor: canvas sides are multiples of it; default 32, for fixed sizes 1.
        center_pad: with images in (a factor of) their own size: canvas sides are ``side | center_pad``.
        buckets: canvas shapes ``[[h, w], ...]``; training: default from ``transforms``. Evaluation without
            them pads every batch to its own largest height and width, as MMDetection does.
        max_boxes: padded number of objects G of every batch, more are cut off; default: from the data, in
            training one of a few for each batch.
        proposals, max_proposals: Fast R-CNN's proposal file (``.npz``, ``.json``, ``.pkl``).
        semantic, semantic_stride: folder of class maps (PNG, 255 = none); every 8th cell is delivered.
        limit: only the first images.
        filter_empty, min_size: training: leave out images without objects, or with a shorter side.
        min_box: training: leave out objects with a side of so many pixels or less, and images of such only.
        ignore_below: training: objects with a side below so many pixels become ignore regions.
        oversample: training: repeat images with classes that are in a smaller share of the images (LVIS:
            0.001).
        class_aware: training: the classes take turns, each gives its next image (Open Images).
        shuffle, repeat: training: random order; passes over the data per epoch.
        remainder: training: images that do not make up a batch: "fill" with others of the bucket, or "drop".
    """

    annotations: Files
    images: Files | None = None
    type: Annotated[str, Text("the name of a reader")] = "CocoReader"
    classes: ClassNames | None = None
    masks: bool = False
    on_missing: FaultRule = "error"
    on_corrupt: FaultRule = "error"
    transforms: Annotated[Sequence[Any], Part("Transform", many=True)] | None = None
    divisor: Side | None = None
    center_pad: CountOrZero | None = None
    buckets: Annotated[list[list[int]], List(PAIR, least=1)] | None = None
    max_boxes: Rows | None = None
    proposals: Files | None = None
    max_proposals: Rows = 2000
    semantic: Files | None = None
    semantic_stride: Count = 8
    limit: Count | None = None
    filter_empty: bool = True
    min_size: NotNegative = 32
    min_box: Positive | None = None
    ignore_below: Positive | None = None
    oversample: Positive | None = None
    class_aware: bool = False
    shuffle: bool = True
    repeat: Count = 1
    remainder: Literal["fill", "drop"] = "fill"


@dataclasses.dataclass(kw_only=True)
class Data:
    """``data``: the data sets, the classes that they share, and what an evaluation scores."""

    classes: ClassNames | None = None
    train: Annotated[dict[str, Any], Section(Split)] | None = None
    val: Annotated[dict[str, Any], Section(Split)] | None = None
    test: Annotated[dict[str, Any], Section(Split)] | None = None
    metrics: Annotated[Sequence[Any], METRIC] = ("bbox",)


@dataclasses.dataclass(kw_only=True)
class Ema:
    """``train.ema``: exponential averages of the weights, which are evaluated, kept as best and exported.

    Attributes:
        momentum: share of the old average in the new one at every step.
        ramp_steps: the momentum rises to that by ``1 - exp(-(step + 1) / ramp_steps)``; 0: it has it at once.
    """

    momentum: Share = 0.9998
    ramp_steps: CountOrZero = 0


@dataclasses.dataclass(kw_only=True)
class Train:
    """``train``: how long, how fast, and what happens beside it.

    Attributes:
        epochs: passes over the data (times ``data.train.repeat``).
        batch_size: images of one step, over all devices.
        optimizer: a mapping with the ``type`` and keywords of an optimizer; ``base_batch_size``: the batch
            that its learning rate is meant for (linear scaling rule).
        schedule: a mapping with the ``type`` and keywords of a schedule.
        callbacks: list of such mappings: Keras' callbacks (``EarlyStopping`` ...) or registered ones.
        clip: largest global norm of the gradients.
        precision: what is computed in.
        loss_scale: with ``mixed_float16``: "dynamic", or a number that only an overflow lowers.
        initial: weights to start from: "imagenet", a recipe, a file or an address.
        seed: of everything random.
        log_every: steps between two points in TensorBoard.
        save_every: steps between checkpoints within an epoch; 0: at the end of epochs only.
        evaluate_every: epochs between evaluations of ``data.val``; 0: none.
        plain_epochs: last epochs in which no transform puts several images together.
        late_losses_from: epochs before a head changes to the losses of its later phase (YOLOX, TOOD); a
            negative number counts from the end.
        ema: average the weights, see :class:`Ema`.
        accumulate: batches whose mean gradient makes one step of the optimizer.
        jit_compile: make one program of XLA of the step, see docs/xla.md.
        save_best: a figure of the log, ``val/bbox/AP`` or ``loss``: the weights with the best one are kept as
            ``best.weights.h5``.
    """

    epochs: Count = 12
    batch_size: Count = 2
    optimizer: Annotated[dict[str, Any], OPTIMIZER] | None = None
    schedule: Annotated[dict[str, Any], SCHEDULE] | None = None
    callbacks: Annotated[Sequence[Any], CALLBACKS] = ()
    clip: Positive | None = None
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    loss_scale: Annotated[float | str, Either((Number(0, above=True), ("dynamic",)))] = "dynamic"
    initial: Annotated[str, Text("'imagenet', a recipe, a file or an address")] | None = None
    seed: Annotated[int, Number(0, 2**32 - 1, whole=True, exact=True)] = 0
    log_every: Count = 50
    save_every: CountOrZero = 0
    evaluate_every: CountOrZero = 1
    plain_epochs: CountOrZero = 0
    late_losses_from: Annotated[int, Number(-(2**31), 2**31 - 1, whole=True, exact=True)] | None = None
    ema: Annotated[dict[str, Any], Section(Ema)] | None = None
    accumulate: Count = 1
    jit_compile: bool = False
    save_best: Annotated[str, Text("a figure of the log such as val/bbox/AP")] | None = None


@dataclasses.dataclass(kw_only=True)
class Test:
    """``test``: the views of ``kdet test --tta``."""

    scales: Annotated[Sequence[Any], List(Either((PAIR, Number(0, 100, above=True))), least=1)] | None = None
    flip: bool | None = None


SECTIONS = {"data": Data, "train": Train, "test": Test}

# Keys of an earlier spelling, and what says the same now.
_TRANSFORMS = {
    "resize": "Resize, sizes: [[1333, 800]]",
    "flip": "RandomFlip, probability: 0.5",
    "crop": "RandomCrop, size: [640, 640]",
    "crop_first": "CropFirst, ...",
    "center_crop": "CenterCrop, ...",
    "shift": "Shift, ...",
    "photometric": "Photometric",
    "expand": "Expand, ...",
    "overlap_crop": "OverlapCrop, ...",
    "albumentations": "Albumentations, transforms: [...]",
    "instaboost": "InstaBoost, ...",
}
NOW = {
    **{key: f"It is a transform now, transforms: [{{type: {text}}}]." for key, text in _TRANSFORMS.items()},
    "format": "The reader is named by its type now, type: CocoReader (VocReader, CityscapesReader, "
    "WiderFaceReader, TFRecordReader).",
}
TYPES_NOW = {
    "step": "StepDecay",
    "cosine": "CosineDecay",
    "polynomial": "PolynomialDecay",
    "constant": "ConstantRate",
}

# Arguments of the classes in `model` by name, whatever class has them.
_COUNT, _SHARE = Number(1, 2**31 - 1, whole=True, exact=True), Number(0, 1)
ARGUMENTS = {
    **dict.fromkeys(
        "num_classes in_channels out_channels channels filters hidden_channels feat_channels embed_dims "
        "units base_channels stem_channels num_heads num_outs num_levels num_stages num_queries "
        "num_proposals pad_divisor max_per_image nms_pre num groups radix kernel_size output_size "
        "num_points".split(),
        _COUNT,
    ),
    "depth": Number(1, 10_000, whole=True, exact=True),
    "std": List(Number(0, above=True), length=3),
    "mean": List(Number(), length=3),
    **dict.fromkeys("score_threshold iou_threshold pos_iou min_pos_iou pos_fraction".split(), _SHARE),
    "frozen_stages": Number(-1, 100, whole=True, exact=True),
}
