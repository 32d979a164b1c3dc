"""A random factor on the image's own size, and padding to a size: what RTMDet crops its images from.

Lyu et al., "RTMDet: An Empirical Study of Designing Real-Time Object Detectors", 2022 (arXiv:2212.07784).
"""

from collections.abc import Sequence
from typing import Annotated

import tensorflow as tf

from kdet.data import resize
from kdet.data.extent import Extent
from kdet.data.mosaic import Gray
from kdet.data.sample import Transform
from kdet.data.transforms import FACTOR, resized_sample
from kdet.ranges import List
from kdet.registry import register
from kdet.settings import Pair
from kdet.typing import Tensors


@register
class RandomScale(Transform):
    """Resizes the image by a random factor; a ``RandomCrop`` or ``Resize`` after it bounds the size.

    Args:
        ratio_range: (low, high) of the factor.
    """

    def __init__(
        self, ratio_range: Annotated[Sequence[float], List(FACTOR, length=2, ordered=True)] = (0.5, 2.0)
    ) -> None:
        self.ratio_range = tuple(ratio_range)

    def extent(self, before: Extent) -> Extent:
        return before.grown(self, straight=True)

    def __call__(self, sample: Tensors, seed: tf.Tensor) -> Tensors:
        factor = tf.random.stateless_uniform([], seed, *self.ratio_range, tf.float64)
        return resized_sample(sample, resize.scaled_size(tf.shape(sample["image"])[:2], factor))


@register
class Pad(Transform):
    """Pads below and to the right, up to a size; what is larger stays as it is.

    Args:
        size: (w, h).
        fill: gray of the padding.
    """

    def __init__(self, size: Pair = (640, 640), fill: Gray = 114) -> None:
        self.size, self.fill = tuple(map(int, size)), fill

    def extent(self, before: Extent) -> Extent:
        if before.kind == "fixed" and before.size is not None:
            width, height = (max(pair) for pair in zip(before.size, self.size, strict=True))
            return Extent("fixed", (width, height), straight=False)
        return before.grown(self)

    def __call__(self, sample: Tensors, seed: tf.Tensor) -> Tensors:
        image = sample["image"]
        below, right = tf.unstack(tf.maximum(tf.constant(self.size[::-1]) - tf.shape(image)[:2], 0))
        fill = tf.cast(self.fill, image.dtype)
        return dict(
            sample,
            image=tf.pad(image, [[0, below], [0, right], [0, 0]], constant_values=fill),
            rows=tf.pad(sample["rows"], [[0, below]], constant_values=-1),
            columns=tf.pad(sample["columns"], [[0, right]], constant_values=-1),
        )
