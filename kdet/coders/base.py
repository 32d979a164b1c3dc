"""What a head asks of its coder."""

from typing import Any

import tensorflow as tf

from kdet.registry import Component


class Coder(Component):
    """Turns boxes into regression targets and predictions into boxes.

    Coders of one box per prior take what follows; what a family's own coder takes instead is in its docstring
    (``BucketingCoder``, ``YOLOCoder``).
    """

    def encode(self, priors: tf.Tensor, boxes: tf.Tensor, *args: Any) -> Any:
        """Targets ``[...,4]`` of boxes ``[...,4]`` relative to priors ``[...,4]`` or points ``[...,2+]``."""
        raise NotImplementedError(f"{type(self).__name__} does not encode.")

    def decode(self, priors: tf.Tensor, *predictions: Any, **limits: Any) -> tf.Tensor:
        """Boxes float32 ``[B,...,4]`` from predictions; ``max_size [B,2]`` (h, w) cuts them to the image."""
        raise NotImplementedError(f"{type(self).__name__} must define decode().")
