"""The learning-rate schedule of the published recipes: warm-up, then steps, a cosine or a polynomial."""

import math

import keras
import tensorflow as tf

POLICIES = ("constant", "step", "cosine", "polynomial")
WARMUPS = ("linear", "constant", "exp")


@keras.saving.register_keras_serializable(package="kdet")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A function of the optimizer's iteration count alone, so a resumed run needs no extra state.

    Args:
        learning_rate: the rate after the warm-up, before any decay.
        steps_per_epoch: optimizer steps in one pass over the data.
        epochs: length of the whole run; what ``cosine`` and ``polynomial`` stretch over.
        type: ``"constant"``; ``"step"`` (times ``gamma`` at each of ``steps``); ``"cosine"`` (half a cosine
            down to ``min_ratio`` of the rate, Loshchilov & Hutter 2017); ``"polynomial"``
            (``(1 - progress) ** power`` down to ``min_ratio``).
        steps, gamma: milestones in epochs (in optimizer steps with ``by_epoch=False``) and factor of each.
        min_ratio, power: see ``type``.
        by_epoch: count progress in whole epochs; ``False``: in optimizer steps.
        warmup: ``"linear"`` or ``"exp"`` (from ``warmup_ratio`` up to 1), ``"constant"`` (``warmup_ratio``
            throughout); it multiplies what the schedule gives at that step.
        warmup_steps: its length in optimizer steps; 0 for none.
        warmup_ratio: in (0, 1].
    """

    def __init__(
        self,
        learning_rate,
        steps_per_epoch,
        epochs,
        type="step",
        steps=(),
        gamma=0.1,
        min_ratio=0.0,
        power=1.0,
        by_epoch=True,
        warmup="linear",
        warmup_steps=0,
        warmup_ratio=0.001,
    ):
        super().__init__()
        for key, value, known in (("type", type, POLICIES), ("warmup", warmup, WARMUPS)):
            if value not in known:
                raise ValueError(f"schedule.{key} must be one of {', '.join(known)}; got {value!r}.")
        if warmup_steps and not (warmup_steps > 0 and 0 < warmup_ratio <= 1):
            raise ValueError(
                f"schedule: warmup_steps must be positive and warmup_ratio in (0, 1]; "
                f"got {warmup_steps} and {warmup_ratio}."
            )
        if steps_per_epoch < 1 or epochs <= 0:
            raise ValueError(f"steps_per_epoch and epochs must be positive; got {steps_per_epoch}, {epochs}.")
        self.learning_rate, self.steps_per_epoch, self.epochs = float(learning_rate), steps_per_epoch, epochs
        self.type, self.steps, self.gamma = type, list(steps), float(gamma)
        self.min_ratio, self.power, self.by_epoch = float(min_ratio), float(power), by_epoch
        self.warmup, self.warmup_steps, self.warmup_ratio = warmup, warmup_steps, float(warmup_ratio)

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        factor = getattr(self, f"_{self.type}")(step)
        if self.warmup_steps:
            factor *= tf.where(step < self.warmup_steps, self._warmup_factor(step), 1.0)
        return self.learning_rate * factor

    def _warmup_factor(self, step):
        progress = tf.minimum(step / self.warmup_steps, 1.0)
        if self.warmup == "linear":
            return self.warmup_ratio + (1 - self.warmup_ratio) * progress
        if self.warmup == "exp":
            return tf.pow(self.warmup_ratio, 1 - progress)
        return tf.fill(tf.shape(step), self.warmup_ratio)

    def _progress(self, step):
        """How much of the run lies behind ``step``: 0 to 1."""
        # The half step keeps whole epochs whole in float32.
        epochs = (
            tf.floor((step + 0.5) / self.steps_per_epoch) if self.by_epoch else step / self.steps_per_epoch
        )
        return tf.minimum(epochs / self.epochs, 1.0)

    def _constant(self, step):
        return tf.ones_like(step)

    def _step(self, step):
        unit = self.steps_per_epoch if self.by_epoch else 1
        drops = [tf.cast(step >= round(milestone * unit), tf.float32) for milestone in self.steps]
        return tf.pow(self.gamma, tf.add_n(drops)) if drops else tf.ones_like(step)

    def _cosine(self, step):
        return self.min_ratio + (1 - self.min_ratio) * 0.5 * (1 + tf.cos(math.pi * self._progress(step)))

    def _polynomial(self, step):
        return self.min_ratio + (1 - self.min_ratio) * tf.pow(1 - self._progress(step), self.power)

    def get_config(self):
        names = (
            "learning_rate steps_per_epoch epochs type steps gamma min_ratio power by_epoch "
            "warmup warmup_steps warmup_ratio"
        )
        return {name: getattr(self, name) for name in names.split()}


def scaled_rate(learning_rate, batch_size, base_batch_size=16):
    """The linear scaling rule (Goyal et al., 2017): the rate grows with the global batch."""
    return learning_rate * batch_size / base_batch_size
