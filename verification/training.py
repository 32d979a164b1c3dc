"""One model against one golden in training: losses and gradients."""

import re
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kdet import convert, geometry
from kdet.convert import layouts
from verification import inputs as parity_inputs
from verification import queries, randomness, transformers_stages
from verification.checks import Row, golden_images, info_of, worst_row

MAX_POSITIVES = 64


def apply_train_settings(model, notes, samplers_take_all=True):
    """The golden's deterministic training: fewer proposals, and as a rule samplers that take everything."""
    for note in notes:
        found = re.search(r"rpn_proposal\.\w+=(\d+)", note)
        if found:
            model.rpn_head.train_proposals.max_per_image = int(found.group(1))
    for layer in model._flatten_layers():
        if hasattr(layer, "dropout"):
            layer.dropout = 0.0
    for sampler in _samplers(model) if samplers_take_all else ():
        if hasattr(sampler, "num"):
            sampler.num, sampler.neg_pos_ub = 1_000_000, -1
            if sampler.add_gt_as_proposals:
                # no golden has more positives in an image; mask heads need not run on padding
                sampler.pos_fraction = (MAX_POSITIVES + 0.5) / sampler.num


def _samplers(model):
    for layer in model._flatten_layers():
        for name, value in vars(layer).items():
            if "sampler" in name:
                yield from value if isinstance(value, (list, tuple)) else [value]


def given_objects(golden, i):
    """``golden.gt(i)``, with the boxes that the reference was given.

    Transformers is given centers and sizes in shares of the image, rounded to float32.
    """
    boxes, *rest = golden.gt(i)
    if f"f/gt/{i}/cxcywh" in golden.d:
        height, width = golden.meta["img_metas"][i]["img_shape"][:2]
        center, size = np.split(np.float64(golden.full(f"gt/{i}/cxcywh")), 2, -1)
        corners = np.concatenate([center - size / 2, center + size / 2], -1)
        boxes = np.float32(corners * [width, height, width, height])
    return boxes, *rest


def training_targets(golden):
    """The golden's ground truth as padded Targets."""
    truths = [given_objects(golden, i) for i in range(2)]
    limit = max(len(boxes) for boxes, _, _ in truths)
    h, w = golden.meta["input"]["h"], golden.meta["input"]["w"]

    def pad(arrays, value=0):
        return np.stack(
            [
                np.pad(a, [(0, limit - len(a))] + [(0, 0)] * (a.ndim - 1), constant_values=value)
                for a in arrays
            ]
        )

    targets = {
        "boxes": tf.constant(pad([t[0] for t in truths])),
        "labels": tf.constant(pad([t[1].astype(np.int32) for t in truths], -1)),
    }
    used = golden.meta["train"]["kwargs"]
    if "gt_bboxes_ignore" in used:
        targets["ignore_boxes"] = tf.constant(np.stack([t[2] for t in truths]))
    if "gt_masks" in used:
        masks = [np.zeros((len(t[0]), h, w), np.uint8) for t in truths]
        for i, mask in enumerate(masks):
            own = golden.gt_masks(i)[:, :h, :w]  # as large as the image padded alone, which may be larger
            mask[:, : own.shape[1], : own.shape[2]] = own
        targets["masks"] = tf.constant(np.packbits(pad(masks), axis=-1))
    if "gt_semantic_seg" in used:
        rule = golden.meta["train"]["gt_semantic_seg"]
        stride, classes = map(int, re.search(r"H//(\d+),W//\d+,(\d+)", rule).groups())
        semantic = parity_inputs.make_semantic(2, h // stride, w // stride, classes, golden.meta["seed"])
        if repeated := re.search(r"repeated (\d+)x", rule):
            semantic = np.repeat(np.repeat(semantic, int(repeated[1]), 2), int(repeated[1]), 3)
        targets["semantic"] = tf.constant(semantic[:, 0].astype(np.int32))
    return targets


def training_proposals(golden):
    """What the RoI head was trained on, padded with empty boxes, or None."""
    if "f/train/proposals/0" not in golden.d:
        return None
    count = sum(name.startswith("f/train/proposals/") for name in golden.d)  # TridentNet: per branch too
    boxes = [golden.full(f"train/proposals/{i}")[:, :4] for i in range(count)]
    limit = max(map(len, boxes))
    return tf.constant(np.stack([np.pad(b, [(0, limit - len(b)), (0, 0)]) for b in boxes]))


def training_rows(model, golden, least=None):
    """Losses and gradients.

    Args:
        model, golden: what is compared.
        least: dict, errors of the gradients in earlier calls; the smallest counts, and is noted here.
    """
    train = golden.meta["train"]
    if train["status"] != "ok":
        return []
    make_deterministic(model, golden)
    with queries.chosen(model, golden):
        rows = phase_rows(model, golden, Phase(train, "train", ""), least)
    if later := train.get("later"):
        model.use_late_losses(True)
        phase = Phase(later, f"train/{later['name']}", f"{later['name']}: ")
        rows += phase_rows(model, golden, phase, least)
        model.use_late_losses(False)
    return rows


class Phase(NamedTuple):
    """What a golden holds of one phase of training.

    Attributes:
        train: its entry in the golden's ``meta``: losses, names of the gradients.
        prefix: of the golden's arrays.
        label: in front of its stages in the report.
    """

    train: dict
    prefix: str
    label: str


def regions_as_objects(targets):
    """Targets whose ignore regions are objects of class 0, as the second stage of CrowdDet's golden had them.

    The data set gives ignore regions the class -1, the golden's maker gave 0.
    """
    regions = targets["ignore_boxes"]
    labels = tf.where(geometry.is_real_box(regions), 0, -1)
    return {
        "boxes": tf.concat([targets["boxes"], regions], 1),
        "labels": tf.concat([targets["labels"], labels], 1),
    }


def phase_rows(model, golden, phase, least=None):
    """Losses and gradients of one phase; ``least`` as of `training_rows`."""
    with tf.GradientTape() as tape:
        losses = losses_of(model, golden)
        total = tf.add_n([v for k, v in losses.items() if "loss" in k])
    rows = [loss_row(golden, losses, phase.train), gradient_row(model, golden, tape, total, phase, least)]
    return [row._replace(stage=phase.label + row.stage) for row in rows]


def make_deterministic(model, golden):
    """The golden's settings and draws in training."""
    # MMDetection 3.3 drew for its goldens as many as its recipes say, the first
    draws = golden.meta.get("format", 1) >= 3
    apply_train_settings(model, golden.meta["train"]["cfg_overrides"], samplers_take_all=not draws)
    randomness.fix(model, _samplers(model), golden)
    queries.fix_draws(model, golden)
    if golden.meta["model_type"] == "BoxInst":
        similar, images = model.similar, recorded_images(model, golden)
        object.__setattr__(model, "similar", lambda _, info: similar(images, info))
    if golden.meta["model_type"] == "CrowdDet":
        losses = model.roi_head.compute_losses
        object.__setattr__(
            model.roi_head,
            "compute_losses",
            lambda maps, proposals, targets, info: losses(maps, proposals, regions_as_objects(targets), info),
        )


def losses_of(model, golden):
    """The model's losses of the golden's images and objects."""
    info = info_of(golden)
    if golden.meta["model_type"] == "BoxInst":
        info["seed"] = tf.constant([0, 5000])  # a step amid the warm-up
    return model.forward_losses(
        golden_images(golden), info, training_targets(golden), proposals=training_proposals(golden)
    )


def recorded_images(model, golden):
    """The uint8 images of a golden, normalized, ``[2,h,w,3]``: BoxInst looks at their colors."""
    h, w = golden.meta["input"]["h"], golden.meta["input"]["w"]
    rule, found = model.preprocessor, np.zeros((2, h, w, 3), np.float32)
    for i, meta in enumerate(golden.meta["img_metas"]):
        height, width = meta["img_shape"][:2]
        pixels = golden.made_picture(i, h, w)[:height, :width]
        found[i, :height, :width] = (pixels - np.float32(rule.mean)) / np.float32(rule.std)
    return tf.constant(found)


def loss_row(golden, losses, train=None):
    """The worst of the losses; ``train`` as in :class:`Phase`, by default the golden's first."""
    errors, notes = {}, {}
    found = (train or golden.meta["train"])["losses"]
    wanted = {k: sum(v) for k, v in found.items() if "loss" in k}
    for pattern, weight in transformers_stages.loss_weights(golden):
        wanted.update({k: weight * v for k, v in wanted.items() if re.match(pattern, k)})
    scale = max(map(abs, wanted.values()), default=1.0)
    for name, value in wanted.items():
        mine = float(losses[name]) if name in losses else float("nan")
        # a loss that is nothing but rounding is compared on the scale of the others
        errors[name] = abs(mine - value) / max(abs(value), 1e-4 * scale)
        notes[name] = f"{name} {mine:.6g}, golden {value:.6g}"
    return worst_row("losses", "loss", errors, notes)


def gradient_row(model, golden, tape, total, phase, least=None):
    """Norms of all gradients and the stored samples of some.

    Norms count relative to themselves, samples relative to the largest value of their whole tensor, as
    ``Golden.error`` does it with outputs. The largest of the 64 stored values would be no scale: they are
    the corner of one filter and may all lie near zero, and there the reference misses its own golden under
    noise of the size of rounding (plain FCOS by 1.7e-3, on the scale of the tensor by 1.1e-4). The golden
    does not store the largest value of a gradient, so it is ours; the norm keeps it from being anything
    else.
    """
    slots = convert.torch_items(model)
    names = phase.train["grad_names"]
    variables = {n: s.variables for n, s in slots.items() if all(v.trainable for v in s.variables)}
    flat = {id(v): v for n in variables for v in variables[n]}
    gradients = dict(zip(flat, tape.gradient(total, [v.value for v in flat.values()])))

    def gradient(name):
        parts = [gradients[id(v)] for v in variables[name]]
        if all(p is None for p in parts):
            return None
        filled = [np.zeros(v.shape, np.float32) if p is None else np.asarray(tf.convert_to_tensor(p))
                  for p, v in zip(parts, variables[name])]  # fmt: skip
        rule = slots[name].rule
        return np.concatenate([np.atleast_1d(layouts.to_torch(rule, p)) for p in filled])

    norms = dict(zip(names, golden.full(f"{phase.prefix}/grad_norms")))
    floor = 1e-5 * np.nanmax(list(norms.values()))
    errors, notes = {}, {}
    stored = {name for name, _ in golden.meta["state_dict"]}
    for name in names:
        if name not in stored and name not in variables:  # without an element: no checkpoint has it
            continue
        if name not in variables:
            return Row("gradients", float("inf"), False, f"{name} does not train here")
        if np.isnan(norms[name]):  # left out: the reference itself does not keep it
            continue
        mine = gradient(name)
        norm = 0.0 if mine is None else float(np.linalg.norm(mine.astype(np.float64)))
        errors[name] = abs(norm - norms[name]) / max(norms[name], floor)
        notes[name] = f"{name} norm {norm:.6g}, golden {norms[name]:.6g}"
        key = f"f/{phase.prefix}/grad/{name}"
        if key in golden.d and mine is not None:
            sample = golden.d[key]
            difference = np.abs(mine.ravel()[:64] - sample).max()
            errors[name] = max(errors[name], difference / max(np.abs(mine).max(), floor))
    shared = {id(v) for n in norms for v in variables.get(n, ())}  # tied tensors count under one name
    extra = [
        n
        for n in variables
        if id(variables[n][0]) not in shared and n not in norms and gradient(n) is not None
    ]
    if extra:
        return Row(
            "gradients",
            float("inf"),
            False,
            f"the reference does not train {extra[0]} (and {len(extra) - 1} more)",
        )
    if least is not None:
        for name, error in errors.items():
            errors[name] = least[phase.prefix, name] = min(error, least.get((phase.prefix, name), error))
    return worst_row("gradients", "gradient", errors, notes)
