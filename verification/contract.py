"""What holds for every model of the zoo, whatever its weights: files, precision, empty batches, batching.

Each clause of ``CONTRACT`` asserts one thing about a ``Subject`` and returns how many values it looked at.
"""

import functools
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

from kdet import convert
from kdet.zoo import dtype_policy
from verification.checks import detections_of
from verification.matching import match_detections
from verification.weights import generate

SIZE = (96, 128)
# under which untrained models find something, too
EASY = {"score_threshold": 0.0, "max_distance": 1e4, "filter_threshold": 0.0, "object_threshold": 0.0}


class Subject:
    """A model with generated weights and two images to show it.

    Thresholds are lowered so that untrained scores pass them.

    Args:
        config: :class:`kdet.config.Config`.
        size: (h, w) of the canvas, larger where the model needs it.
    """

    def __init__(self, config, size=SIZE):
        self.config = config
        _lower_thresholds(config["model"])
        self.model = config.build("model")
        state = {k: generate(k, slot.shape) for k, slot in convert.torch_items(self.model).items()}
        # of filters that are standardised: these scales come from the filters and would explode
        state = {k: v for k, v in state.items() if not k.endswith(("weight_gamma", "weight_beta"))}
        convert.load_state_dict(self.model, state, strict=False)
        smallest = max(getattr(part, "build_size", 0) for part in self.model._flatten_layers())
        rule = self.model.preprocessor  # transformers in windows take whole ones; CornerNet any canvas
        step = 1 if rule.center_pad else rule.pad_divisor
        self.size = size = tuple(-(-max(side, smallest) // step) * step for side in size)
        if hasattr(self.model, "attach_teacher"):
            self.model.attach_teacher(self.model)  # any detector with the same outputs will do
        draw = np.random.default_rng(0)
        valid = np.float32([size, [size[0] - 12, size[1] - 20]])
        self.inputs = {
            "images": tf.constant(draw.integers(0, 256, (2, *size, 3)), tf.uint8),
            "valid_size": tf.constant(valid),
        }
        if self.model.takes_proposals:
            corners = draw.uniform(0, [size[1] / 2, size[0] / 2], (2, 20, 2))
            self.inputs["proposals"] = tf.constant(
                np.concatenate([corners, corners + draw.uniform(8, 48, (2, 20, 2))], -1), tf.float32
            )

    @functools.cached_property
    def detections(self):
        """What the model finds in the two images as it was built; training moves some of its state."""
        return self.model(self.inputs)

    def row(self, index):
        """The inputs of one of the images, on the canvas of both."""
        return {name: value[index : index + 1] for name, value in self.inputs.items()}

    def empty_targets(self):
        """Targets of two images without an object."""
        h, w = self.size
        targets = {
            "boxes": tf.zeros([2, 3, 4]),
            "labels": tf.fill([2, 3], -1),
            "masks": tf.zeros([2, 3, h, -(-w // 8)], tf.uint8),
            "semantic": tf.zeros([2, h // 8, w // 8], tf.int32),
        }
        return targets | {k: v for k, v in self.inputs.items() if k == "proposals"}


def same_after_loading(subject):
    """Saved as ``.keras`` and loaded, the model makes exactly the same detections."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        subject.model.save(path)
        again = keras.models.load_model(path)
    assert [v.trainable for v in again.weights] == [v.trainable for v in subject.model.weights]
    found, wanted = again(subject.inputs), subject.detections
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    return len(wanted)


def finite_in_bfloat16(subject):
    """Under ``mixed_bfloat16`` the same weights give finite detections of the same shapes and dtypes."""
    with dtype_policy("mixed_bfloat16"):
        model = subject.config.build("model")
    model.set_weights(subject.model.get_weights())
    found = model(subject.inputs)
    for name, wanted in subject.detections.items():
        value = found[name]
        assert (value.shape, value.dtype) == (wanted.shape, wanted.dtype), name
        assert np.isfinite(value).all(), f"{name} is not finite"
    return len(found)


def two_are_one_and_one(subject):
    """A batch of two images gives what two batches of one give, up to rounding."""
    detections, total = subject.detections, 0
    for index in range(2):
        alone = detections_of([subject.model(subject.row(index))], 0)
        both = detections_of([detections], index)
        count = len(both["boxes"])
        assert len(alone["boxes"]) == count, f"{len(alone['boxes'])} detections alone, {count} of two"
        wanted = np.concatenate([alone["boxes"], alone["scores"][:, None]], -1)
        missed = int((match_detections(wanted, alone["labels"], both, pixels=0.01) < 0).sum())
        assert missed <= 0.01 * count, f"{missed} of {count} detections differ"
        total += count
    return total


def learns_from_no_objects(subject):
    """A batch without an object has finite losses and finite gradients."""
    with tf.GradientTape() as tape:
        losses = subject.model.compute_losses(subject.inputs, subject.empty_targets())
        total = tf.add_n(list(losses.values()))
    for name, value in losses.items():
        assert value.shape == () and np.isfinite(value), f"{name} is {value}"
    gradients = [g for g in tape.gradient(total, subject.model.trainable_variables) if g is not None]
    assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients), "gradients are not finite"
    return len(gradients)


# the last changes the state of the model
CONTRACT = (same_after_loading, finite_in_bfloat16, two_are_one_and_one, learns_from_no_objects)


def _lower_thresholds(spec):
    for child in spec.values() if isinstance(spec, dict) else spec if isinstance(spec, list) else ():
        _lower_thresholds(child)
    if isinstance(spec, dict):
        spec.update({key: value for key, value in EASY.items() if key in spec})
