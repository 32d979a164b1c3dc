"""Normalization layers with PyTorch's numerics, and the spec that chooses one."""

from typing import Any

import keras
import tensorflow as tf

from kdet import ops
from kdet.layers import context
from kdet.layers.base import Layer
from kdet.layers.distribution import num_replicas, replica_sum
from kdet.layers.no_xla import NoXla
from kdet.registry import register
from kdet.typing import Norm, Shape, Tensor


@register
class BatchNorm(NoXla, Layer):
    """Batch normalization (Ioffe & Szegedy, 2015) as PyTorch computes it.

    Differs from Keras' layer: it fuses with the convolution before it at inference, the running
    variance is the unbiased one, and ``use_running_stats`` (``norm_eval`` of the published recipes)
    normalizes with the running statistics while gamma and beta still learn. Under a distribution
    strategy batch statistics are those of the global batch.

    Args:
        epsilon: added to the variance.
        momentum: weight of the new statistics (PyTorch's convention).
        use_running_stats: never use batch statistics.
    """

    torch_tensors = {
        "weight": ("gamma", None),
        "bias": ("beta", None),
        "running_mean": ("moving_mean", None),
        "running_var": ("moving_variance", None),
    }

    def __init__(
        self,
        epsilon: float = 1e-5,
        momentum: float = 0.1,
        use_running_stats: bool = False,
        gamma_initializer: Any = "ones",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.epsilon, self.momentum, self.use_running_stats = epsilon, momentum, use_running_stats
        self.gamma_initializer = keras.initializers.get(gamma_initializer)

    def build(self, input_shape: Shape) -> None:
        def weight(name: str, initializer: Any, trainable: bool) -> keras.Variable:
            return self.add_weight(
                name=name,
                shape=(input_shape[-1],),
                initializer=initializer,
                trainable=trainable,
                dtype="float32",
                autocast=False,
            )

        self.gamma = weight("gamma", self.gamma_initializer, True)
        self.beta = weight("beta", "zeros", True)
        self.moving_mean = weight("moving_mean", "zeros", False)
        self.moving_variance = weight("moving_variance", "ones", False)

    @property
    def statistics_are_fixed(self) -> bool:
        """True where batch statistics are certainly not used, training or not."""
        return self.use_running_stats or not self.trainable or context.in_inference()

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """The norm under its running statistics as ``x * scale + shift``: float32 ``[C]`` each."""
        scale = self.gamma * tf.math.rsqrt(self.moving_variance + self.epsilon)
        return scale, self.beta - self.moving_mean * scale

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        if not training or self.statistics_are_fixed:
            mean = tf.convert_to_tensor(self.moving_mean)
            variance = tf.convert_to_tensor(self.moving_variance)
            return tf.raw_ops.FusedBatchNormV3(
                x=x, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=self.epsilon,
                is_training=False,
            ).y  # fmt: skip
        total = replica_sum if num_replicas() > 1 else None
        out = ops.batch_norm(x, gamma, beta, self.epsilon, context.counted_rows(), total)
        share = self.momentum * tf.cast(out.count > 0.0, tf.float32)
        for variable, new in ((self.moving_mean, out.mean), (self.moving_variance, out.variance)):
            variable.assign(variable + share * (tf.stop_gradient(new) - variable))
        return out.y


@register
class GroupNorm(Layer, keras.layers.GroupNormalization):
    """Group normalization (Wu & He, 2018) with PyTorch's epsilon."""

    torch_tensors = {"weight": ("gamma", None), "bias": ("beta", None)}

    def __init__(self, groups: int = 32, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(groups=groups, epsilon=epsilon, **kwargs)


@register
class LayerNorm(Layer, keras.layers.LayerNormalization):
    """Layer normalization over the last axis with PyTorch's epsilon."""

    torch_tensors = {"weight": ("gamma", None), "bias": ("beta", None)}

    def __init__(self, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(epsilon=epsilon, **kwargs)


_KINDS = {"bn": ("bn", BatchNorm), "gn": ("gn", GroupNorm), "ln": ("ln", LayerNorm)}


def make_norm(spec: Norm) -> tuple[str | None, keras.layers.Layer | None]:
    """A new normalization layer and its short name in checkpoints.

    Args:
        spec: None, a kind (``"bn"``, ``"gn"``, ``"ln"``) or a dict ``{"kind": ..., **arguments}``.

    Returns:
        ``(short_name, layer)``, or ``(None, None)`` for no normalization.
    """
    if spec is None:
        return None, None
    spec = {"kind": spec} if isinstance(spec, str) else dict(spec)
    kind = spec.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"norm: unknown kind {kind!r}, choose one of {sorted(_KINDS)}.")
    short, cls = _KINDS[kind]
    return short, cls(**spec)
