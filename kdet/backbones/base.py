"""What a detector asks of its backbone."""

from typing import Protocol

import tensorflow as tf

from kdet.typing import Maps


class Backbone(Protocol):
    """Images to maps.

    Attributes:
        feature_info: channels and stride of every map, fine to coarse.
    """

    feature_info: list[tuple[int, int]]

    def __call__(self, images: tf.Tensor, training: bool = False) -> Maps:
        """Maps ``[B,h,w,C]`` of normalized images ``[B,H,W,3]``."""
