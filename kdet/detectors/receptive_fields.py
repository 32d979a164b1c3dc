"""Searched dilations (RF-Next, Gao et al., 2022, https://arxiv.org/abs/2206.06637)."""

from collections.abc import Mapping, Sequence

import keras

from kdet.convert.walk import named_layers
from kdet.errors import ConfigError
from kdet.layers import Conv2D, SpreadConv2D
from kdet.registry import Component, register
from kdet.typing import Pair


@register
class ReceptiveFields(Component):
    """Gives the convolutions of a detector other dilations than they were built with.

    It sees every plain convolution with an odd kernel above 1x1, in the necks and heads too. In MMDetection a
    hook does this to the model before training.

    Args:
        dilations: by the convolution's name in the checkpoint (``neck.fpn_convs.1.conv``), where it is not 1.
        branches: every convolution looks with two dilations, half and one and a half times its own, mixed by
            learned weights, see ``SpreadConv2D``; else with its own alone.
        skip: convolutions with one of these words in their name, or in that of a layer around them, stay as
            they are.
        largest: bound of the dilations of branches.
    """

    def __init__(
        self,
        dilations: Mapping[str, int] | None = None,
        branches: bool = False,
        skip: Sequence[str] = (),
        largest: int = 24,
    ) -> None:
        self.dilations, self.branches = dict(dilations or {}), branches
        self.skip, self.largest = tuple(skip), largest

    def apply(self, model: keras.Model) -> None:
        """Changes the convolutions of a model that is not built.

        Raises:
            ConfigError: a name of ``dilations`` is not that of such a convolution.
        """
        spread: dict[int, SpreadConv2D] = {}
        unused = set(self.dilations)
        for name, layer, replace in list(named_layers(model)):
            if type(layer) is not Conv2D or not any(size > 1 and size % 2 for size in layer.kernel_size):
                continue
            if any(word in name for word in self.skip):
                continue
            unused.discard(name)
            own = self.dilations.get(name, 1)
            if self.branches:
                if id(layer) not in spread:
                    spread[id(layer)] = SpreadConv2D(layer, self.around(own))
                replace(spread[id(layer)])
            else:
                layer.dilate((own, own))
        if unused:
            raise ConfigError(
                f"receptive_fields.dilations: {sorted(unused)[0]!r} is no convolution of this model with an "
                "odd kernel above 1x1, or one to skip; names are those of its checkpoint."
            )

    def around(self, dilation: int) -> list[Pair]:
        """The dilations (y, x) of the branches of a convolution."""
        sides = (min(max(round(factor * dilation), 1), self.largest) for factor in (0.5, 1.5))
        return [(side, side) for side in dict.fromkeys(sides)]
