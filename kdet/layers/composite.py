"""Layers that are made of layers."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.layers.base import Layer
from kdet.layers.nested import wrap_inner
from kdet.typing import Tensor


class Composite(Layer):
    """A layer whose variables all belong to its children.

    Children build on their first call. ``build`` does nothing, because Keras would otherwise run the
    whole subtree symbolically once per nesting level before the first real call.

    Attributes may be lists of lists (or of dicts) of layers: the inner ones become ``LayerList`` and
    ``LayerDict``, so that Keras saves what is in them.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, wrap_inner(value))

    def build(self, *input_shapes: Any) -> None:
        pass


def apply_list(layers: Sequence[Any], x: Tensor) -> Tensor:
    """``x`` through a list of layers at their places in the checkpoint's sequence; None is a ReLU."""
    for layer in layers:
        x = tf.nn.relu(x) if layer is None else layer(x)
    return x
