"""SGD and AdamW with PyTorch's update rule, which the published recipes assume.

They differ from Keras' own in three ways that change a training curve: SGD adds weight decay to the
gradient *before* the momentum and keeps momentum free of the learning rate (a step of the schedule does
not rescale what is already in flight); clipping by global norm sees the gradient of the whole batch,
after the sum over replicas; and every parameter may have its own learning-rate and weight-decay factor.
"""

from typing import Annotated, Any

import keras
import tensorflow as tf

from kdet.compat import ReplicaOptimizer
from kdet.ranges import Number
from kdet.registry import register
from kdet.settings import CountOrZero, Share
from kdet.train.param_groups import ParamGroups

Rate = Annotated[float, Number(0, 1e6, above=True)]
Decay = Annotated[float, Number(0, 1e6)]
Steps = Annotated[int, Number(2, 2**31 - 1, whole=True, exact=True)]
SHARED = ("use_ema", "ema_momentum", "gradient_accumulation_steps")  # as in Keras
OWN = ("parameters", "ema_finalize", "ema_ramp_steps")


class GroupedOptimizer(ReplicaOptimizer):
    """What both optimizers share: factors per parameter, and clipping after the all-reduce.

    Args:
        learning_rate: float or ``LearningRateSchedule``.
        weight_decay: float, multiplied by each parameter's ``decay_mult``.
        global_clipnorm: largest L2 norm of the whole gradient, or ``None``.
        parameters: mapping of :class:`kdet.train.param_groups.ParamGroups` arguments, or ``None``.
        use_ema, ema_momentum: keep exponential averages of the weights, as in Keras.
        ema_finalize: the weights become their averages at the end of ``fit``, as in Keras.
        gradient_accumulation_steps: batches whose mean gradient makes one step, as in Keras; on one device.
        ema_ramp_steps: the averages follow the weights at first: ``ema_momentum`` counts times
            ``1 - exp(-(step + 1) / ema_ramp_steps)``; 0: from the beginning as it is.

    The factors are looked up when a model is compiled with the optimizer (:meth:`bind`).
    """

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float = 0.0,
        global_clipnorm: float | None = None,
        parameters: dict[str, Any] | None = None,
        name: str | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_finalize: bool = True,
        gradient_accumulation_steps: int | None = None,
        ema_ramp_steps: int = 0,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate,
            name=name,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            gradient_accumulation_steps=gradient_accumulation_steps,
        )
        self.ema_finalize, self.ema_ramp_steps = ema_finalize, ema_ramp_steps
        self.weight_decay = float(weight_decay)
        self.global_clipnorm = global_clipnorm
        self.parameters = dict(parameters or {})
        self._rules = ParamGroups(**self.parameters)
        self._multipliers: dict[Any, Any] = {}

    def bind(self, model: keras.Model) -> "GroupedOptimizer":
        """Looks up ``(lr_mult, decay_mult)`` of every variable of ``model``; call before training."""
        self._multipliers = {}
        for variable, pair in self._rules.resolve(model):
            key = self._var_key(variable)
            if pair != (1.0, 1.0):
                self._multipliers[key] = pair
        return self

    def multipliers(self, variable: Any) -> tuple[float, float]:
        """``(lr_mult, decay_mult)`` of a variable."""
        return self._multipliers.get(self._var_key(variable), (1.0, 1.0))

    def merged(self, pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        return clip_by_global_norm(pairs, self.global_clipnorm) if self.global_clipnorm else pairs

    def get_config(self) -> dict[str, Any]:
        base = super().get_config()
        config = {k: base[k] for k in ("name", "learning_rate", "weight_decay", "global_clipnorm", *SHARED)}
        return {**config, **{name: vars(self)[name] for name in OWN}}

    def averaging_momentum(self) -> Any:
        if not self.ema_ramp_steps:
            return self.ema_momentum
        step = tf.cast(tf.convert_to_tensor(self.iterations), tf.float32)
        return self.ema_momentum * (1.0 - tf.exp(-(step + 1.0) / self.ema_ramp_steps))

    def finalize_variable_values(self, var_list: list[Any]) -> None:
        """Called by Keras at the end of ``fit``."""
        if self.ema_finalize:
            super().finalize_variable_values(var_list)


@register
class SGD(GroupedOptimizer):
    """Stochastic gradient descent: ``v = momentum * v + gradient + decay * w``, then ``w -= lr * v``.

    Args:
        learning_rate: number or ``LearningRateSchedule``.
        momentum: factor of the running buffer, 0 for none.
        nesterov: step along ``gradient + momentum * buffer`` instead of the buffer.
        weight_decay: times the weight, added to the gradient, times each parameter's ``decay_mult``.
        global_clipnorm: largest L2 norm of the whole gradient, or None.
        parameters: factors of single parameters: the keywords of
            :class:`kdet.train.param_groups.ParamGroups`, or None.
        use_ema: keep exponential averages of the weights.
        ema_momentum: share of an average that stays in a step.
        ema_finalize: the weights become their averages at the end of ``fit``.
        ema_ramp_steps: so many steps the averages follow the weights more closely; 0: none.
        gradient_accumulation_steps: batches whose mean gradient makes one step, on one device; None for 1.
    """

    def __init__(
        self,
        learning_rate: Rate = 0.02,
        momentum: Share = 0.9,
        nesterov: bool = False,
        weight_decay: Decay = 0.0,
        global_clipnorm: float | None = None,
        parameters: dict[str, Any] | None = None,
        name: str = "sgd",
        use_ema: bool = False,
        ema_momentum: Share = 0.99,
        ema_finalize: bool = True,
        gradient_accumulation_steps: Steps | None = None,
        ema_ramp_steps: CountOrZero = 0,
    ) -> None:
        super().__init__(
            learning_rate,
            weight_decay,
            global_clipnorm,
            parameters,
            name,
            use_ema,
            ema_momentum,
            ema_finalize,
            gradient_accumulation_steps,
            ema_ramp_steps,
        )
        self.momentum = float(momentum)
        self.nesterov = nesterov

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self.momentums = self.add_optimizer_variables(variables, "momentum") if self.momentum else []

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        lr_mult, decay_mult = self.multipliers(variable)
        direction = tf.cast(tf.convert_to_tensor(gradient), variable.dtype)
        if self.weight_decay * decay_mult:
            direction += self.weight_decay * decay_mult * variable
        if self.momentum:
            buffer = self.momentums[self._get_variable_index(variable)]
            moved = self.momentum * tf.convert_to_tensor(buffer) + direction
            self.assign(buffer, moved)
            direction = direction + self.momentum * moved if self.nesterov else moved
        self.assign_sub(variable, tf.cast(learning_rate, variable.dtype) * lr_mult * direction)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}


@register
class AdamW(GroupedOptimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019); epsilon outside the bias correction.

    Steps are counted per parameter: where a parameter gets no gradient, its moments, its count and itself
    stay as they are.

    Args:
        learning_rate: number or ``LearningRateSchedule``.
        beta_1: decay rate of the mean of the gradients.
        beta_2: decay rate of the mean of their squares.
        epsilon: floor of the denominator.
        weight_decay: share of a weight that the learning rate takes off in a step, times each parameter's
            ``decay_mult``.
        global_clipnorm: largest L2 norm of the whole gradient, or None.
        parameters: factors of single parameters: the keywords of
            :class:`kdet.train.param_groups.ParamGroups`, or None.
        use_ema: keep exponential averages of the weights.
        ema_momentum: share of an average that stays in a step.
        ema_finalize: the weights become their averages at the end of ``fit``.
        ema_ramp_steps: so many steps the averages follow the weights more closely; 0: none.
        gradient_accumulation_steps: batches whose mean gradient makes one step, on one device; None for 1.
    """

    def __init__(
        self,
        learning_rate: Rate = 1e-4,
        beta_1: Share = 0.9,
        beta_2: Share = 0.999,
        epsilon: Share = 1e-8,
        weight_decay: Decay = 0.01,
        global_clipnorm: float | None = None,
        parameters: dict[str, Any] | None = None,
        name: str = "adamw",
        use_ema: bool = False,
        ema_momentum: Share = 0.99,
        ema_finalize: bool = True,
        gradient_accumulation_steps: Steps | None = None,
        ema_ramp_steps: CountOrZero = 0,
    ) -> None:
        super().__init__(
            learning_rate,
            weight_decay,
            global_clipnorm,
            parameters,
            name,
            use_ema,
            ema_momentum,
            ema_finalize,
            gradient_accumulation_steps,
            ema_ramp_steps,
        )
        self.beta_1, self.beta_2, self.epsilon = float(beta_1), float(beta_2), float(epsilon)

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self.first_moments, self.second_moments = self.add_optimizer_variables(
            variables, ["first_moment", "second_moment"]
        )
        self.steps = [
            self.add_variable(shape=(), initializer="zeros", dtype="float32", name=f"steps_{i}")
            for i in range(len(variables))
        ]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        lr_mult, decay_mult = self.multipliers(variable)
        lr = tf.cast(learning_rate, variable.dtype) * lr_mult
        gradient = tf.cast(tf.convert_to_tensor(gradient), variable.dtype)
        index = self._get_variable_index(variable)
        m, v = self.first_moments[index], self.second_moments[index]
        first = self.beta_1 * tf.convert_to_tensor(m) + (1 - self.beta_1) * gradient
        second = self.beta_2 * tf.convert_to_tensor(v) + (1 - self.beta_2) * tf.square(gradient)
        self.assign(m, first)
        self.assign(v, second)
        count = tf.convert_to_tensor(self.steps[index]) + 1.0
        self.assign(self.steps[index], count)
        step = tf.cast(count, variable.dtype)
        first /= 1 - self.beta_1**step
        denominator = tf.sqrt(second / (1 - self.beta_2**step)) + self.epsilon
        decay = lr * self.weight_decay * decay_mult * variable
        self.assign_sub(variable, decay + lr * first / denominator)

    def get_config(self) -> dict[str, Any]:
        own = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="kdet")
class LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Keras' dynamic loss scaling, safe on several replicas.

    Keras asks replica 0 alone whether the gradients are finite. Here all replicas answer together, so
    an overflow on any of them skips the step on all of them.
    """

    def build(self, var_list: list[Any]) -> None:
        if not self.built:  # Keras builds once more when it loads a compiled model
            super().build(var_list)

    def check_finite(self, grads: list[Any]) -> tf.Tensor:
        bad = tf.add_n([tf.math.count_nonzero(~tf.math.is_finite(g)) for g in grads if g is not None])
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            bad = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(bad > 0, tf.float32))
        return tf.equal(tf.cast(bad, tf.float32), 0.0)


def clip_by_global_norm(pairs: list[tuple[Any, Any]], max_norm: float) -> list[tuple[Any, Any]]:
    """Scales ``(gradient, variable)`` pairs so that the norm of all gradients is at most ``max_norm``."""
    grads = [None if g is None else tf.convert_to_tensor(g) for g, _ in pairs]
    norm = tf.sqrt(
        tf.add_n([tf.reduce_sum(tf.square(tf.cast(g, tf.float32))) for g in grads if g is not None])
    )
    factor = tf.minimum(1.0, max_norm / (norm + 1e-6))
    return [(None if g is None else g * tf.cast(factor, g.dtype), v) for g, (_, v) in zip(grads, pairs)]
