"""Base of layers that are made of layers."""

import keras


class Composite(keras.layers.Layer):
    """A layer whose variables all belong to its children.

    Children build on their first call. ``build`` does nothing, because Keras would otherwise run the
    whole subtree symbolically once per nesting level before the first real call.
    """

    def build(self, *input_shapes):
        pass
