"""Small goldens: every recorded architecture with few channels and small images, seconds each.

A small golden is read and compared as a large one is; its model is ``verification.small.small_variant`` of
the recipe. ``small_goldens.csv`` says which of them hold the parts of which recorded architecture.
"""

import contextlib
import csv
import fnmatch
import json
import pathlib
import traceback
from unittest import mock

import numpy as np

from kdet import convert, ops
from kdet.backbones import resnet
from kdet.config import Config
from kdet.ops import dispatch
from verification import checks, run, training
from verification.golden import Golden
from verification.small import backbones, default_arguments, small_variant

HERE = pathlib.Path(__file__).resolve().parent
TABLE = HERE / "small_goldens.csv"
FOLDER = HERE.parent / "tests" / "golden" / "small"
MISSING = HERE / "results" / "small_missing.json"
SIZE = (128, 192)
# Images of models that need others, or have gradients that fewer pixels leave steadier, by shell patterns.
SIZES = {
    "*_c4_*": (96, 128),
    "tridentnet*": (96, 128),
    "vfnet_r50_fpn_mdconv*": (96, 128),
    "sabl_retinanet_r50_fpn_gn_1x": (96, 128),
    "pisa_retinanet*": (96, 128),
    "nas_fcos*": (96, 128),
    "*attention_0010_1x": (96, 128),
    "*_gcb_*": (96, 128),
    "*_gn_ws-all_*": (96, 128),
    "*_gn-all_*": (96, 128),
    "*_s50_*": (96, 128),
    "*hrnetv2p*": (96, 128),
    "cascade_rcnn*": (96, 128),
    "htc*": (96, 128),
    "detectors*": (96, 128),
    "*ssd*": (260, 260),  # the least that leaves their last map a pixel
    "c*_hourglass*": (127, 191),
    "yolact*": (138, 138),  # a quarter of the canvas
    "*_fpg*": (128, 256),
    "*_nasfpn*": (128, 256),
}
# Regions of an image's RPN in training and at inference, of models that would take long.
PROPOSALS = {
    "*_c4_*": (16, 32),  # a whole stage of ResNet-50 for every region
    "tridentnet*": (16, 32),
}
# Share of the gradients that may be zero in a golden worth keeping.
MAX_ZERO_GRADIENTS = 0.2
# Part of the tolerance of a gradient that noise on the images may change it by.
STEADY = 0.1
# How often what misses is computed again, under noise of the size of rounding (relative, on the images).
# Gradients of ReLUs jump where a unit switches, which a processor's rounding decides where it is near; norms
# of maps of one pixel amplify it. A number has to meet its golden under one noise; a wrong line misses under
# all of them.
NUDGES, NOISE = 4, 1e-7


class Nudged(Golden):
    """A golden whose images have noise on them, drawn by ``nudge``; 0: none."""

    nudge = 0

    def images(self):
        images = super().images()
        noise = np.random.default_rng(self.nudge).standard_normal(images.shape, np.float32)
        return images * (1.0 + NOISE * noise) if self.nudge else images


def table():
    """Rows of ``small_goldens.csv``: the recorded architectures, and which small goldens hold their parts."""
    with open(TABLE, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def recorded():
    """``{recipe: config of the reference}`` of the small goldens that there are to be."""
    return {row["recipe"]: row["mmdet_config"] for row in table() if row["rest_in"] == row["recipe"]}


def missing():
    """``{recipe: why}`` of the small goldens that the recorder could not record."""
    return json.loads(MISSING.read_text(encoding="utf-8")) if MISSING.exists() else {}


def note_missing(reasons):
    """Adds to `missing`; those that are there are taken out."""
    found = {**missing(), **reasons}
    found = {name: why for name, why in sorted(found.items()) if not (FOLDER / f"{name}.npz").exists()}
    MISSING.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def size(recipe):
    """(h, w) of the images of a small golden."""
    return next((size for pattern, size in SIZES.items() if fnmatch.fnmatch(recipe, pattern)), SIZE)


def proposals(recipe):
    """The most regions of an image's RPN in training and at inference, or None where they are many."""
    return next((most for pattern, most in PROPOSALS.items() if fnmatch.fnmatch(recipe, pattern)), None)


def variant(recipe, to_defaults=()):
    """The small variant of a recipe that its golden was recorded of.

    Args:
        recipe: name.
        to_defaults: key paths in the model section that are left to the defaults of the classes.

    Returns:
        :class:`kdet.config.Config`.
    """
    config = small_variant(Config.load(recipe), from_scratch=False)
    backbone = config["model"]["backbone"]
    for one in backbones(config["model"]):
        if one.get("depth") == 50 and "base_channels" in one:
            resnet.DEPTHS.setdefault(
                26, (True, (2, 2, 2, 2))
            )  # ResNet-26, the smallest of bottlenecks in use
            one["depth"] = 26
    if backbone["type"] == "HourglassNet":  # of one alone the reference has a block that nothing uses
        config.override({"model.backbone.stacks": 2, "model.bbox_head.stacks": 2})
    for path in to_defaults:
        spec = config["model"]
        *parents, key = path.split(".")
        for parent in parents:
            spec = spec[int(parent) if isinstance(spec, list) else parent]
        del spec[key]
    return config


def written_defaults(spec, path=()):
    """Key paths of the arguments in a nested spec that say what the default of the class says."""
    found = []
    for key, value in spec.items() if isinstance(spec, dict) else enumerate(spec):
        if isinstance(value, (dict, list)):
            found += written_defaults(value, (*path, str(key)))
    if isinstance(spec, dict) and "type" in spec:
        defaults = default_arguments(spec["type"])
        found += [
            ".".join((*path, key)) for key in spec if key in defaults and _same(spec[key], defaults[key])
        ]
    return found


def _same(value, default):
    if isinstance(value, list) and isinstance(default, (list, tuple)):
        return len(value) == len(default) and all(map(_same, value, default))
    return type(value) is type(default) and value == default


def check(path, compared=None):
    """All rows of a small golden, whose path this is: ``[Row]``; ``compared`` as for `compare`."""
    golden = Nudged(str(path))
    return compare(golden, golden.meta["to_defaults"], compared=compared)


@contextlib.contextmanager
def uses_of_ops():
    """Collects ``(op, file and function that called it)`` of the ops with two forms that run within."""
    found, choose = set(), dispatch.choose
    folder = str(pathlib.Path(dispatch.__file__).parent)

    def noting(name, implementation, portable, compiled_form=None, **options):
        if compiled_form is not None:
            outside = (frame for frame, _ in traceback.walk_stack(None)
                       if not frame.f_code.co_filename.startswith((folder, __file__)))  # fmt: skip
            caller = next(outside).f_code
            found.add((name, caller.co_filename, caller.co_name))
        return choose(name, implementation, portable, compiled_form, **options)

    with mock.patch.object(dispatch, "choose", noting):
        yield found


def compare(golden, to_defaults=(), forms=("portable", "auto"), compared=None):
    """All rows of a small golden.

    Args:
        golden: `Nudged`.
        to_defaults: as for `variant`. Arguments that a recipe repeats from their defaults are left out, so
            that the defaults are tested, too.
        forms: of the ops. All that the golden holds is compared under the first, detections and losses
            under the others.
        compared: uses of ops (as of `uses_of_ops`) whose forms have been compared; those of this golden are
            added. The other forms are left out where it has no further one. None compares them always.

    Returns:
        ``[Row]``; stages of the second form have its name in front.
    """
    recipe = run.recipe_of(golden.meta["config"])
    model = run.build(golden, recipe, lambda name: variant(name, to_defaults if name == recipe else ()))
    state = [(variable, variable.numpy()) for variable in model.non_trainable_variables]
    with ops.use(forms[0]), uses_of_ops() as uses:
        rows = _steadied_rows(model, golden, state)
    if compared is not None:
        if uses <= compared:
            return rows
        compared |= uses
    for form in forms[1:]:
        _restore(state)
        with ops.use(form):
            found = [checks.end_row(model, golden)]
            training.make_deterministic(model, golden)  # the streams of random numbers from their start
            found.append(training.loss_row(golden, training.losses_of(model, golden)))
        rows += [row._replace(stage=f"{form}: {row.stage}") for row in found]
    return rows


def _steadied_rows(model, golden, state):
    """All rows, what misses under the noise that brings it nearest; ``state`` is that before training."""
    rows, least = [], {}
    for golden.nudge in range(NUDGES + 1):
        _restore(state)
        again = checks.stage_rows(model, golden)
        again += training.training_rows(model, golden, least)
        rows = [min(both, key=lambda row: row.error) for both in zip(rows or again, again, strict=True)]
        if all(row.passed for row in rows):
            break
    golden.nudge = 0
    return rows


def _restore(state):
    """Gives variables the values of ``[(variable, value)]`` again, which training has changed."""
    for variable, value in state:
        variable.assign(value)


def differing_tensors(golden):
    """How the weights of kdet's small variant differ from those of the golden: ``[str]``."""
    model = variant(run.recipe_of(golden.meta["config"])).build("model")
    mine = {name: tuple(slot.shape) for name, slot in convert.torch_items(model).items()}
    wanted = {
        name: tuple(shape)
        for name, shape in golden.meta["state_dict"]
        if not name.endswith("num_batches_tracked")
    }
    return [
        f"{name}: {mine.get(name, 'none')} here, {wanted.get(name, 'none')} in the golden"
        for name in dict.fromkeys([*mine, *wanted])
        if mine.get(name) != wanted.get(name)
    ]


def emptiness(golden):
    """What a golden has nothing of, so that comparing it would say nothing: ``[str]``."""
    train, missing = golden.meta["train"], []
    if train["status"] != "ok":
        return [f"training failed: {train.get('error')}"]
    missing += [f"no detections in image {i}" for i in range(2) if not len(golden.full(f"det/{i}/boxes"))]
    missing += [f"{name} is 0" for name, values in train["losses"].items()
                if "loss" in name and not any(values)]  # fmt: skip
    norms = golden.full("train/grad_norms")
    zeros = [name for name, norm in zip(train["grad_names"], norms) if norm == 0]
    if len(zeros) > MAX_ZERO_GRADIENTS * len(norms):
        missing.append(f"{len(zeros)} of {len(norms)} gradients are 0: {zeros[0]} ...")
    return missing


def leave_out_unsteady(golden, noisy):
    """Drops gradients that the reference itself does not keep under noise of the size of rounding.

    Their norms become NaN, which ``verification.training`` passes over.

    Args:
        golden: is changed.
        noisy: the same, computed with noise on the images.

    Returns:
        The share of the gradients that was dropped.
    """
    norms = golden.full("train/grad_norms")
    names, floor = golden.meta["train"]["grad_names"], 1e-5 * norms.max()
    change = np.abs(noisy.full("train/grad_norms") - norms) / np.maximum(norms, floor)
    for i, name in enumerate(names):
        key = f"f/train/grad/{name}"
        if key in golden.d:
            scale = max(np.abs(golden.d[key]).max(), floor)
            change[i] = max(change[i], np.abs(noisy.d[key] - golden.d[key]).max() / scale)
    unsteady = change > STEADY * checks.TOLERANCE["gradient"]
    golden.d["f/train/grad_norms"] = np.where(unsteady, np.nan, norms)
    for name in np.asarray(names)[unsteady]:
        golden.d.pop(f"f/train/grad/{name}", None)
    return unsteady.mean()
