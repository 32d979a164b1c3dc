"""Ten steps of training: what a run carries from one step to the next, as numbers.

The goldens hold the losses of a first step. From the second step on losses also hold what the steps before
left behind: weights, momentum, learning rate, running statistics, the state of losses and heads; and every
step has random draws of its own. ``CASES`` are tiny models, each of which carries something else.

``straight`` and ``resumed`` give the same numbers: the second saves the weights in the middle and goes on
with a new model.
"""

import dataclasses
import functools
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

from kdet import convert
from kdet.config import Config
from kdet.settings import Train
from kdet.train.section import make_optimizer
from kdet.zoo import dtype_policy
from verification import inputs as synthetic
from verification.recorder import resolve
from verification.small import small_variant
from verification.weights import generate

STEPS, RESUME_AT, EPOCH = 10, 5, 5
SIZE, CLASSES = (96, 128), 3
ROUNDING = 3e-7  # of a few operations in float32
# the rate rises for three steps and falls by gamma at step 7, counted in optimizer steps
TRAIN = {
    "epochs": STEPS // EPOCH,
    "batch_size": 2,
    "clip": 5.0,
    "optimizer": {"type": "SGD", "learning_rate": 0.002, "momentum": 0.9, "weight_decay": 1e-4},
    "schedule": {
        "type": "StepDecay", "steps": [7], "by_epoch": False, "warmup_steps": 3, "warmup_ratio": 0.1
    },
    "precision": "float32",
    "loss_scale": "dynamic",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Case:
    """A tiny model in training.

    Attributes:
        recipe: of the zoo.
        carries: what the case is there for.
        model: changes of the recipe's ``model`` section by dotted keys.
        train: sections that replace those of ``TRAIN``.
        state: attribute paths of variables that are recorded after every step.
        divide: see ``small_variant``.
    """

    recipe: str
    carries: str
    model: dict = dataclasses.field(default_factory=dict)
    train: dict = dataclasses.field(default_factory=dict)
    state: tuple = ()
    divide: int = 16


NORM = ("backbone.bn1.moving_mean", "backbone.bn1.moving_variance")
# Some losses blow up rounding within a few steps (samples that change their bin, draws that change their
# cell): there the weights hardly move, and what is recorded is the state beside them.
SLOW = {**TRAIN["optimizer"], "learning_rate": 1e-5}
# Adam makes whole steps out of gradients that are nothing but rounding, so its floor is high
ADAM = {"type": "AdamW", "learning_rate": 1e-5, "weight_decay": 0.05, "epsilon": 1e-3}
COSINE = {
    "type": "CosineDecay",
    "by_epoch": False,
    "min_ratio": 0.1,
    "warmup": "constant",
    "warmup_steps": 2,
    "warmup_ratio": 0.5,
}
POLYNOMIAL = {
    "type": "PolynomialDecay",
    "power": 2.0,
    "warmup": "exp",
    "warmup_steps": 4,
    "warmup_ratio": 0.01,
}
CASES = {
    "autoassign": Case(
        "autoassign_r50_fpn_8x2_1x",
        "center priors, which learn",
        divide=8,  # its towers are normed in 32 groups
        train={"optimizer": SLOW},
        state=("bbox_head.center_prior.mean",),
    ),
    "detr": Case(
        "detr_r50_8x2_150e", "dropout, Adam's moments", train={"optimizer": ADAM, "schedule": COSINE}
    ),
    "dynamic": Case(
        "dynamic_rcnn_r50_fpn_1x",
        "a threshold and a beta that follow the proposals",
        {
            "roi_head.interval": 3,
            "roi_head.lowest_iou": 0.2,
            "roi_head.iou_rank": 10,
            "roi_head.beta_rank": 6,
            "roi_head.largest_beta": 2.0,
        },
        state=tuple(f"roi_head.{name}" for name in ("_iou", "_beta", "_ious", "_betas", "_steps")),
    ),
    "faster": Case("faster_rcnn_r50_fpn_1x", "draws of the samplers, batch norm", state=NORM),
    "ga": Case("ga_faster_r50_caffe_fpn_1x", "draws of guided anchors"),
    "ghm": Case(
        "retinanet_ghm_r50_fpn_1x",
        "two histograms that every level moves",
        train={"optimizer": SLOW},
        state=("bbox_head.loss_cls.acc_sum", "bbox_head.loss_bbox.acc_sum"),
    ),
    "grid": Case(
        "grid_rcnn_r50_fpn_gn-head_1x",
        "jitter of the proposals",
        {"roi_head.sampler.num": 12},
        {"optimizer": SLOW},
        divide=8,
    ),
    "half": Case(
        "retinanet_r18_fpn_1x",
        "a loss scale that overflows at first",
        train={"precision": "mixed_float16", "loss_scale": 2.0**18, "optimizer": SLOW},
        state=("optimizer.dynamic_scale", "optimizer.iterations"),
    ),
    "htc": Case("htc_r50_fpn_1x", "draws of every stage of a cascade", train={"optimizer": SLOW}),
    "ld": Case("ld_r18_gflv1_r101_fpn_coco_1x", "a teacher", divide=8),
    "libra": Case(
        "libra_faster_rcnn_r50_fpn_1x",
        "draws balanced over objects and overlaps",
        # few enough that none lies at the edge of a bin of overlaps or of the suppression
        {
            "rpn_head.train_proposals.nms_pre": 20,
            "rpn_head.train_proposals.max_per_image": 30,
            "roi_head.sampler.num": 16,
        },
        train={"optimizer": SLOW},
    ),
    "ohem": Case("faster_rcnn_r50_fpn_ohem_1x", "the hardest examples", train={"schedule": POLYNOMIAL}),
    "pisa": Case("pisa_faster_rcnn_r50_fpn_1x", "draws by score and rank"),
    "points": Case(
        "point_rend_r50_caffe_fpn_mstrain_1x", "random points", train={"optimizer": SLOW}, divide=8
    ),
    "yolact": Case("yolact_r50_1x8", "draws of masks", train={"optimizer": SLOW}),
}


def straight(case, noise=None):
    """The numbers of ten steps: ``{name: array [10, ...]}``.

    Args:
        case: what to train.
        noise: a seed: the weights differ in their last bits, as the numbers of another processor do.
    """
    return _Run(case, noise).fit(0, STEPS)


def resumed(case):
    """As ``straight``, of which the second half is done by a new model that loads what the first saved."""
    first = _Run(case)
    begun = first.fit(0, RESUME_AT)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "half.weights.h5"
        first.model.save_weights(path)
        second = _Run(case)
        second.model.load_weights(path)
    rest = second.fit(RESUME_AT, STEPS - RESUME_AT)
    return {name: np.concatenate([begun[name], rest[name]]) for name in begun}


class _Run:
    def __init__(self, case, noise=None):
        self.case = case
        settings = Train(**{**TRAIN, **case.train})
        with dtype_policy(settings.precision):
            self.model = built(case.recipe, case.divide, case.model, noise=noise)
        if hasattr(self.model, "attach_teacher"):
            self.model.attach_teacher(built("gfl_r50_fpn_1x", case.divide, prefix="teacher_model."))
        self.model.compile(optimizer=make_optimizer(settings, EPOCH), run_eagerly=True)
        self.start = [np.asarray(v) for v in self.model.trainable_variables]

    def fit(self, start, count):
        log = _Log(self)
        batches = [batch(number) for number in range(2)]
        data = tf.data.Dataset.from_tensor_slices(
            tf.nest.map_structure(lambda *parts: tf.stack(parts), *batches)
        )
        data = data.repeat().skip(start).take(count)
        self.model.fit(data, steps_per_epoch=count, shuffle=False, verbose=0, callbacks=[log])
        return {name: np.stack(values) for name, values in log.values.items()}

    def numbers(self, losses):
        """What is recorded after a step."""
        moved = [np.sum((np.asarray(v) - w) ** 2) for v, w in zip(self.model.trainable_variables, self.start)]
        state = {f"state/{path}": np.float32(resolve(self.model, path)) for path in self.case.state}
        rate = {"learning_rate": np.float32(self.model.optimizer.learning_rate)}
        return {
            **{f"loss/{name}": np.float32(value) for name, value in losses.items()},
            **state,
            **rate,
            "moved": np.float32(np.sqrt(np.sum(moved))),
        }


class _Log(keras.callbacks.Callback):
    def __init__(self, run):
        super().__init__()
        self.run, self.values = run, {}

    def on_train_batch_end(self, batch, logs=None):
        for name, value in self.run.numbers(logs).items():
            self.values.setdefault(name, []).append(value)


def built(recipe, divide, changes=(), prefix="", noise=None):
    """The tiny variant of a recipe with generated weights; ``noise`` as in ``straight``."""
    config = small_variant(Config.load(recipe, check=False), divide, CLASSES)
    backbone = config["model"]["backbone"]
    if backbone["type"] == "ResNet":
        config.override({"model.backbone.base_channels": 8})
    config.override({f"model.{key}": value for key, value in dict(changes).items()})
    model = config.build("model")
    state = {k: generate(prefix + k, slot.shape) for k, slot in convert.torch_items(model).items()}
    if noise is not None:
        rng = np.random.default_rng(noise)
        state = {k: np.float32(v * (1 + ROUNDING * rng.standard_normal(v.shape))) for k, v in state.items()}
    convert.load_state_dict(model, state)
    return model


@functools.cache
def batch(number):
    """Two images with objects, an ignore region each, masks and a class map: ``(inputs, targets)``."""
    h, w = SIZE
    pixels = synthetic.make_images(2, h, w, seed=number).transpose(0, 2, 3, 1)
    truth = [synthetic.make_gt(i, h, w, CLASSES, seed=number) for i in range(2)]
    count = max(len(boxes) for boxes, _, _ in truth)

    def padded(arrays, value=0):
        rest = [(0, 0)] * (arrays[0].ndim - 1)
        return np.stack([np.pad(a, [(0, count - len(a)), *rest], constant_values=value) for a in arrays])

    masks = [synthetic.make_masks(boxes, h, w) for boxes, _, _ in truth]
    inputs = {
        "images": np.uint8(np.clip(pixels * 58 + 116, 0, 255)),
        "valid_size": np.float32([[h, w]] * 2),
    }
    targets = {
        "boxes": padded([boxes for boxes, _, _ in truth]),
        "labels": padded([np.int32(labels) for _, labels, _ in truth], -1),
        "ignore_boxes": np.stack([ignored for _, _, ignored in truth]),
        "masks": np.packbits(padded(masks), axis=-1),
        "semantic": np.int32(synthetic.make_semantic(2, h // 8, w // 8, 183, number)[:, 0]),
    }
    return tf.nest.map_structure(tf.constant, (inputs, targets))
