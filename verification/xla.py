"""What XLA makes of a model: the same detections and the same training step, with static shapes.

Each clause of ``CLAUSES`` asserts one thing about a ``verification.contract.Subject``, whose model runs its
portable ops with and without XLA, and returns how many values it looked at.
"""

import re

import numpy as np
import tensorflow as tf

from kdet import ops
from verification.checks import detections_of
from verification.matching import match_detections

# of losses and of the whole gradient, relative to themselves; of one variable's gradient
LOSS, GRADIENT, PART = 1e-4, 1e-3, 1e-2
# share of the largest gradient's norm below which a gradient is rounding
FLOOR = 1e-4
# boxes of the two images' objects, as shares of the canvas (x1, y1, x2, y2)
BOXES = [
    [[0.05, 0.1, 0.45, 0.6], [0.5, 0.3, 0.8, 0.9], [0.3, 0.05, 0.42, 0.2]],
    [[0.1, 0.2, 0.7, 0.8], [0.55, 0.1, 0.72, 0.35], [0.0, 0.0, 0.0, 0.0]],
]
CALLBACKS = ("PyFunc", "PyFuncStateless", "EagerPyFunc")


def same_detections(subject, static=True):
    """Nearly all detections have their like among those without XLA, and all shapes are static.

    Args:
        subject: the model and its inputs.
        static: look at the shapes, too, which XLA works out once more for that.
    """
    found = [
        _portable(lambda x: subject.model.detect_inputs([x]), by_xla, static, subject.inputs)
        for by_xla in (False, True)
    ]
    total = 0
    for image in range(2):
        wanted, mine = (detections_of([one], image) for one in found)
        count = len(wanted["boxes"])
        assert len(mine["boxes"]) == count, f"{len(mine['boxes'])} detections, {count} without XLA"
        rows = np.concatenate([wanted["boxes"], wanted["scores"][:, None]], -1)
        missed = int((match_detections(rows, wanted["labels"], mine, pixels=0.01) < 0).sum())
        assert missed <= 0.01 * count, f"{missed} of {count} detections differ"
        total += count
    return total


def same_step(subject, static=True):
    """Losses and gradients are those without XLA; arguments as in `same_detections`."""
    model, targets = subject.model, targets_of(subject)
    state = [(variable, variable.numpy()) for variable in model.non_trainable_variables]

    def step(inputs, targets):
        with tf.GradientTape() as tape:
            losses = model.compute_losses(inputs, targets)
            total = tf.add_n(list(losses.values()))
        return losses, tape.gradient(total, model.trainable_variables)

    found = []
    for by_xla in (False, True):
        for variable, value in state:  # which a step changes
            variable.assign(value)
        found.append(_portable(step, by_xla, static, subject.inputs, targets))
    (losses, gradients), (own_losses, own_gradients) = found
    for name, value in losses.items():
        assert np.isfinite(value), f"{name} is {value}"
        error = abs(own_losses[name] - value)
        assert error <= LOSS * max(abs(value), LOSS), f"{name} is {own_losses[name]}, {value} without XLA"
    names = [variable.path for variable in model.trainable_variables]
    norms, errors = np.zeros(len(names)), np.zeros(len(names))
    for i, (name, value, own) in enumerate(zip(names, gradients, own_gradients, strict=True)):
        assert (value is None) == (own is None), f"gradient of {name}"
        if value is not None:
            norms[i], errors[i] = np.linalg.norm(value), np.linalg.norm(own - value)
    error = np.linalg.norm(errors) / np.linalg.norm(norms)
    assert error <= GRADIENT, f"the gradient is off by {error:.1e}"
    shares = errors / np.maximum(norms, FLOOR * norms.max())
    worst = shares.argmax()
    assert shares[worst] <= PART, f"gradient of {names[worst]} is off by {shares[worst]:.1e}"
    return len(names)


CLAUSES = (same_detections, same_step)


def targets_of(subject):
    """Targets of the subject's two images: boxes, their masks and a semantic map."""
    height, width = subject.size
    boxes = np.float32(BOXES) * np.float32([width, height, width, height])
    rows, columns = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    x1, y1, x2, y2 = (boxes[..., k, None, None] for k in range(4))
    inside = (rows >= y1) & (rows < y2) & (columns >= x1) & (columns < x2)
    targets = {
        "boxes": tf.constant(boxes),
        "labels": tf.constant([[0, 1, 0], [1, 0, -1]]),
        "masks": tf.constant(np.packbits(inside, axis=-1)),
        "semantic": tf.constant(np.int32(inside.any(1)[:, ::8, ::8])),
    }
    return targets | {k: v for k, v in subject.inputs.items() if k == "proposals"}


def _portable(function, by_xla, static, *inputs):
    """What a function of tensors gives, eager or as a program of XLA, as NumPy arrays."""
    with ops.use("portable"):
        if by_xla:
            function = tf.function(function, autograph=False, jit_compile=True)
            if static:
                check_static(function, *inputs)
        found = function(*inputs)
    return tf.nest.map_structure(
        lambda value: None if value is None else tf.convert_to_tensor(value).numpy(), found
    )


def check_static(graph, *inputs):
    """Raises unless XLA knows all shapes of a ``tf.function`` and runs it without the host."""
    traced = graph.get_concrete_function(*inputs).graph.as_graph_def()
    nodes = [node.op for function in traced.library.function for node in function.node_def]
    nodes += [node.op for node in traced.node]
    called = sorted(set(CALLBACKS).intersection(nodes))
    assert not called, f"the graph calls back into Python ({', '.join(called)})"
    program = graph.experimental_get_compiler_ir(*inputs)(stage="hlo")
    open_ = re.findall(r"^.*\[[^\]]*<=\d+.*$", program, re.MULTILINE)
    assert not open_, f"{len(open_)} shapes are known at run time only, first: {open_[0].strip()[:200]}"
