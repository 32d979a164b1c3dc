"""Dense layers one after the other."""

from typing import Any

import keras

from kdet.layers.composite import Composite
from kdet.layers.linear import Linear
from kdet.registry import register
from kdet.typing import Activation, Tensor


@register
class MLP(Composite):
    """Dense layers with an activation between them.

    Args:
        units: size of the result.
        hidden_units: of the layers before the last.
        num_layers: how many.
        activation: Keras activation name.
        last_kernel: Keras initializer of the last layer's kernel.

    Call: ``[..., C] -> [..., units]``.
    """

    def __init__(
        self,
        units: int,
        hidden_units: int,
        num_layers: int = 2,
        last_kernel: Any = "glorot_uniform",
        activation: Activation = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)
        self.layers = [Linear(hidden_units) for _ in range(num_layers - 1)]
        self.layers.append(Linear(units, kernel_initializer=last_kernel))

    def call(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)
