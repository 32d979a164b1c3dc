"""One model against one golden in training: losses and gradients."""

import re

import numpy as np
import tensorflow as tf

from kdet import convert
from kdet.convert import layouts
from verification import inputs as parity_inputs
from verification import randomness
from verification.checks import Row, golden_images, info_of, worst_row

MAX_POSITIVES = 64


def apply_train_settings(model, notes):
    """The golden's deterministic training: samplers take everything, fewer proposals."""
    for note in notes:
        found = re.search(r"rpn_proposal\.\w+=(\d+)", note)
        if found:
            model.rpn_head.train_proposals.max_per_image = int(found.group(1))
    for layer in model._flatten_layers():
        if hasattr(layer, "dropout"):
            layer.dropout = 0.0
    for sampler in _samplers(model):
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


def training_targets(golden):
    """The golden's ground truth as padded Targets."""
    truths = [golden.gt(i) for i in range(2)]
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
        classes = int(re.search(r"H//8,W//8,(\d+)", golden.meta["train"]["gt_semantic_seg"]).group(1))
        semantic = parity_inputs.make_semantic(2, h // 8, w // 8, classes, golden.meta["seed"])
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


def training_rows(model, golden):
    """Losses and gradients."""
    train = golden.meta["train"]
    if train["status"] != "ok":
        return []
    make_deterministic(model, golden)
    with tf.GradientTape() as tape:
        losses = losses_of(model, golden)
        total = tf.add_n([v for k, v in losses.items() if "loss" in k])
    return [loss_row(golden, losses), gradient_row(model, golden, tape, total)]


def make_deterministic(model, golden):
    """The golden's settings and draws in training."""
    apply_train_settings(model, golden.meta["train"]["cfg_overrides"])
    randomness.fix(model, _samplers(model), golden.meta["seed"])


def losses_of(model, golden):
    """The model's losses of the golden's images and objects."""
    return model.forward_losses(
        golden_images(golden), info_of(golden), training_targets(golden), proposals=training_proposals(golden)
    )


def loss_row(golden, losses):
    """The worst of the losses."""
    train, errors, notes = golden.meta["train"], {}, {}
    wanted = {k: sum(v) for k, v in train["losses"].items() if "loss" in k}
    scale = max(map(abs, wanted.values()), default=1.0)
    for name, value in wanted.items():
        mine = float(losses[name]) if name in losses else float("nan")
        # a loss that is nothing but rounding is compared on the scale of the others
        errors[name] = abs(mine - value) / max(abs(value), 1e-4 * scale)
        notes[name] = f"{name} {mine:.6g}, golden {value:.6g}"
    return worst_row("losses", "loss", errors, notes)


def gradient_row(model, golden, tape, total):
    """Norms of all gradients and the stored samples of some.

    Norms count relative to themselves, samples relative to the largest value of their whole tensor, as
    ``Golden.error`` does it with outputs. The largest of the 64 stored values would be no scale: they are
    the corner of one filter and may all lie near zero, and there the reference misses its own golden under
    noise of the size of rounding (plain FCOS by 1.7e-3, on the scale of the tensor by 1.1e-4). The golden
    does not store the largest value of a gradient, so it is ours; the norm keeps it from being anything
    else.
    """
    slots = convert.torch_items(model)
    names = golden.meta["train"]["grad_names"]
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

    norms = dict(zip(names, golden.full("train/grad_norms")))
    floor = 1e-5 * np.nanmax(list(norms.values()))
    errors, notes = {}, {}
    for name in names:
        if name not in variables:
            return Row("gradients", float("inf"), False, f"{name} does not train here")
        if np.isnan(norms[name]):  # left out: the reference itself does not keep it
            continue
        mine = gradient(name)
        norm = 0.0 if mine is None else float(np.linalg.norm(mine.astype(np.float64)))
        errors[name] = abs(norm - norms[name]) / max(norms[name], floor)
        notes[name] = f"{name} norm {norm:.6g}, golden {norms[name]:.6g}"
        key = f"f/train/grad/{name}"
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
    return worst_row("gradients", "gradient", errors, notes)
