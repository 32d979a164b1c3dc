"""Learning-rate schedules of the published recipes: warm-up, then steps, a cosine or a polynomial."""

import abc
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import keras
import tensorflow as tf

from kdet.ranges import List, Number
from kdet.registry import register
from kdet.settings import CountOrZero, NotNegative, Positive, Share

Warmup = Literal["linear", "exp", "constant"]
WarmupRatio = Annotated[float, Number(0, 1, above=True)]


class Schedule(keras.optimizers.schedules.LearningRateSchedule, abc.ABC):
    """A function of the optimizer's iteration count alone, so a resumed run needs no extra state.

    A schedule of your own derives from this, gives :meth:`factor`, and is registered.

    Args:
        learning_rate: the rate after the warm-up, before any decay.
        steps_per_epoch: optimizer steps in one pass over the data.
        epochs: length of the whole run.
        warmup: ``"linear"`` or ``"exp"`` (from ``warmup_ratio`` up to 1), ``"constant"`` (``warmup_ratio``
            throughout); it multiplies what the schedule gives at that step.
        warmup_steps: its length in optimizer steps; 0 for none.
        warmup_ratio: in (0, 1].
    """

    def __init__(
        self,
        learning_rate: float,
        steps_per_epoch: int,
        epochs: float,
        warmup: Warmup = "linear",
        warmup_steps: CountOrZero = 0,
        warmup_ratio: WarmupRatio = 0.001,
    ) -> None:
        super().__init__()
        if warmup_steps and not (warmup_steps > 0 and 0 < warmup_ratio <= 1):
            raise ValueError(
                f"warmup_steps must be positive and warmup_ratio in (0, 1]; "
                f"got {warmup_steps} and {warmup_ratio}."
            )
        if steps_per_epoch < 1 or epochs <= 0:
            raise ValueError(f"steps_per_epoch and epochs must be positive; got {steps_per_epoch}, {epochs}.")
        self.learning_rate, self.steps_per_epoch, self.epochs = float(learning_rate), steps_per_epoch, epochs
        self.warmup, self.warmup_steps, self.warmup_ratio = warmup, warmup_steps, float(warmup_ratio)

    @abc.abstractmethod
    def factor(self, step: tf.Tensor) -> tf.Tensor:
        """What the rate is multiplied by at a step, a float32 scalar."""

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        factor = self.factor(step)
        if self.warmup_steps:
            factor *= tf.where(step < self.warmup_steps, self._warmup_factor(step), 1.0)
        return self.learning_rate * factor

    def _warmup_factor(self, step: tf.Tensor) -> tf.Tensor:
        progress = tf.minimum(step / self.warmup_steps, 1.0)
        if self.warmup == "linear":
            return self.warmup_ratio + (1 - self.warmup_ratio) * progress
        if self.warmup == "exp":
            return tf.pow(self.warmup_ratio, 1 - progress)
        return tf.fill(tf.shape(step), self.warmup_ratio)

    def progress(self, step: tf.Tensor, by_epoch: bool = True) -> tf.Tensor:
        """How much of the run lies behind ``step``, 0 to 1; ``by_epoch``: in whole epochs."""
        # The half step keeps whole epochs whole in float32.
        epochs = tf.floor((step + 0.5) / self.steps_per_epoch) if by_epoch else step / self.steps_per_epoch
        return tf.minimum(epochs / self.epochs, 1.0)

    def get_config(self) -> dict[str, Any]:
        names = "learning_rate steps_per_epoch epochs warmup warmup_steps warmup_ratio"
        return {name: vars(self)[name] for name in names.split()}


@register
class ConstantRate(Schedule):
    """The rate stays, after the warm-up.

    Args:
        learning_rate: the rate that the factors are of.
        steps_per_epoch: optimizer steps.
        epochs: of the whole run.
        warmup: "linear", "exp" or "constant": how the rate comes up to its own.
        warmup_steps: optimizer steps that this takes; 0 for none.
        warmup_ratio: what the rate begins with, as a share of its own.
    """

    def factor(self, step: tf.Tensor) -> tf.Tensor:
        return tf.ones_like(step)


@register
class StepDecay(Schedule):
    """The rate times ``gamma`` at each of ``steps``.

    Args:
        learning_rate: the rate that the factors are of.
        steps_per_epoch: optimizer steps.
        epochs: of the whole run.
        steps: milestones in epochs, with ``by_epoch=False`` in optimizer steps.
        gamma: factor of each.
        by_epoch: whether ``steps`` count epochs.
        warmup: "linear", "exp" or "constant": how the rate comes up to its own.
        warmup_steps: optimizer steps that this takes; 0 for none.
        warmup_ratio: what the rate begins with, as a share of its own.
    """

    def __init__(
        self,
        learning_rate: float,
        steps_per_epoch: int,
        epochs: float,
        steps: Annotated[Sequence[float], List(Number(0), ordered=True)] = (),
        gamma: Annotated[float, Number(0, 1e3, above=True)] = 0.1,
        by_epoch: bool = True,
        warmup: Warmup = "linear",
        warmup_steps: CountOrZero = 0,
        warmup_ratio: WarmupRatio = 0.001,
    ) -> None:
        super().__init__(learning_rate, steps_per_epoch, epochs, warmup, warmup_steps, warmup_ratio)
        self.steps, self.gamma, self.by_epoch = list(steps), float(gamma), by_epoch

    def factor(self, step: tf.Tensor) -> tf.Tensor:
        unit = self.steps_per_epoch if self.by_epoch else 1
        drops = [tf.cast(step >= round(milestone * unit), tf.float32) for milestone in self.steps]
        return tf.pow(self.gamma, tf.add_n(drops)) if drops else tf.ones_like(step)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "steps": self.steps, "gamma": self.gamma, "by_epoch": self.by_epoch}


@register
class CosineDecay(Schedule):
    """Half a cosine over the whole run down to ``min_ratio`` of the rate (Loshchilov & Hutter, 2017).

    Args:
        learning_rate: the rate that the factors are of.
        steps_per_epoch: optimizer steps.
        epochs: of the whole run.
        min_ratio: what is left at the end.
        by_epoch: count progress in whole epochs; ``False``: in optimizer steps.
        warmup: "linear", "exp" or "constant": how the rate comes up to its own.
        warmup_steps: optimizer steps that this takes; 0 for none.
        warmup_ratio: what the rate begins with, as a share of its own.
    """

    def __init__(
        self,
        learning_rate: float,
        steps_per_epoch: int,
        epochs: float,
        min_ratio: Share = 0.0,
        by_epoch: bool = True,
        warmup: Warmup = "linear",
        warmup_steps: CountOrZero = 0,
        warmup_ratio: WarmupRatio = 0.001,
    ) -> None:
        super().__init__(learning_rate, steps_per_epoch, epochs, warmup, warmup_steps, warmup_ratio)
        self.min_ratio, self.by_epoch = float(min_ratio), by_epoch

    def factor(self, step: tf.Tensor) -> tf.Tensor:
        share = 0.5 * (1 + tf.cos(math.pi * self.progress(step, self.by_epoch)))
        return self.min_ratio + (1 - self.min_ratio) * share

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "min_ratio": self.min_ratio, "by_epoch": self.by_epoch}


@register
class CosineThenFlat(Schedule):
    """YOLOX's (Ge et al., 2021): a quadratic rise, half a cosine, and a few epochs at its lowest.

    Args:
        learning_rate, steps_per_epoch, epochs: see :class:`Schedule`.
        warmup_epochs: of the rise from 0.
        flat_epochs: last epochs, at ``min_ratio``.
        min_ratio: what is left of the rate at the end of the cosine.
    """

    def __init__(
        self,
        learning_rate: float,
        steps_per_epoch: int,
        epochs: float,
        warmup_epochs: NotNegative = 5,
        flat_epochs: NotNegative = 15,
        min_ratio: Share = 0.05,
    ) -> None:
        super().__init__(learning_rate, steps_per_epoch, epochs)
        self.warmup_epochs, self.flat_epochs = warmup_epochs, flat_epochs
        self.min_ratio = float(min_ratio)

    def factor(self, step: tf.Tensor) -> tf.Tensor:
        rise = self.warmup_epochs * self.steps_per_epoch
        flat = (self.epochs - self.flat_epochs) * self.steps_per_epoch
        progress = tf.clip_by_value((step + 1.0 - rise) / max(flat - rise, 1.0), 0.0, 1.0)
        cosine = self.min_ratio + (1 - self.min_ratio) * 0.5 * (1 + tf.cos(math.pi * progress))
        return tf.where(step < rise, tf.square((step + 1.0) / max(rise, 1.0)), cosine)

    def get_config(self) -> dict[str, Any]:
        names = "learning_rate steps_per_epoch epochs warmup_epochs flat_epochs min_ratio"
        return {name: vars(self)[name] for name in names.split()}


@register
class FlatCosine(Schedule):
    """RTMDet's (Lyu et al., 2022): the rate stays for a share of the epochs, then falls as half a cosine.

    Args:
        learning_rate, steps_per_epoch, epochs, warmup, warmup_steps, warmup_ratio: see :class:`Schedule`.
        flat_share: share of the epochs, rounded down to whole ones, before the cosine.
        min_ratio: what is left of the rate at the end.
    """

    def __init__(
        self,
        learning_rate: float,
        steps_per_epoch: int,
        epochs: float,
        flat_share: Share = 0.5,
        min_ratio: Share = 0.05,
        warmup: Warmup = "linear",
        warmup_steps: CountOrZero = 0,
        warmup_ratio: WarmupRatio = 0.001,
    ) -> None:
        super().__init__(learning_rate, steps_per_epoch, epochs, warmup, warmup_steps, warmup_ratio)
        self.flat_share, self.min_ratio = float(flat_share), float(min_ratio)

    def factor(self, step: tf.Tensor) -> tf.Tensor:
        start = math.floor(self.epochs * self.flat_share) * self.steps_per_epoch
        length = max(self.epochs * self.steps_per_epoch - start, 1.0)
        progress = tf.clip_by_value((step - start) / length, 0.0, 1.0)
        return self.min_ratio + (1 - self.min_ratio) * 0.5 * (1 + tf.cos(math.pi * progress))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "flat_share": self.flat_share, "min_ratio": self.min_ratio}


@register
class PolynomialDecay(Schedule):
    """``(1 - progress) ** power`` over the whole run down to ``min_ratio`` of the rate.

    Args:
        learning_rate: the rate that the factors are of.
        steps_per_epoch: optimizer steps.
        epochs: of the whole run.
        power: 1 is a straight line.
        min_ratio: what is left at the end.
        by_epoch: count progress in whole epochs; ``False``: in optimizer steps.
        warmup: "linear", "exp" or "constant": how the rate comes up to its own.
        warmup_steps: optimizer steps that this takes; 0 for none.
        warmup_ratio: what the rate begins with, as a share of its own.
    """

    def __init__(
        self,
        learning_rate: float,
        steps_per_epoch: int,
        epochs: float,
        power: Positive = 1.0,
        min_ratio: Share = 0.0,
        by_epoch: bool = True,
        warmup: Warmup = "linear",
        warmup_steps: CountOrZero = 0,
        warmup_ratio: WarmupRatio = 0.001,
    ) -> None:
        super().__init__(learning_rate, steps_per_epoch, epochs, warmup, warmup_steps, warmup_ratio)
        self.power, self.min_ratio, self.by_epoch = float(power), float(min_ratio), by_epoch

    def factor(self, step: tf.Tensor) -> tf.Tensor:
        rest = tf.pow(1 - self.progress(step, self.by_epoch), self.power)
        return self.min_ratio + (1 - self.min_ratio) * rest

    def get_config(self) -> dict[str, Any]:
        own = {"power": self.power, "min_ratio": self.min_ratio, "by_epoch": self.by_epoch}
        return {**super().get_config(), **own}


def scaled_rate(learning_rate: float, batch_size: int, base_batch_size: int = 16) -> float:
    """The linear scaling rule (Goyal et al., 2017): the rate grows with the global batch."""
    return learning_rate * batch_size / base_batch_size
