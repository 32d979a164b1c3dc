"""One image on its way through the transforms, and what a transform is."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kdet.data.extent import Extent
from kdet.registry import Component

BOX_KEYS = ("boxes", "ignore_boxes", "proposals")


class Sample(dict[str, tf.Tensor]):
    """An image with its boxes, a mapping of tensors.

    ``image [h,w,3]``, ``boxes [n,4]``, ``labels [n]``, ``objects [n]`` (the position of each object in its
    record, by which the masks are found later), ``ignore_boxes [m,4]``, ``proposals [p,4]``, ``scale [2]``
    (y, x) and the index maps ``rows [h]``, ``columns [w]`` into the image on disk (-1: outside; see
    ``kdet.data.masks``). Where a transform needs or changes masks, the sample also holds ``shapes [n]``, the
    ``counts`` of an RLE for each of its objects, and ``frame [2]``, (h, w) of the image that these RLEs,
    ``rows`` and ``columns`` are of.

    Attributes:
        step: number of the batch that the image is for, an int64 scalar.
        seed: of the run.
    """

    def __init__(
        self,
        values: dict[str, tf.Tensor],
        step: tf.Tensor | int = 0,
        seed: int = 0,
        others: Callable[[int], list["Sample"]] | None = None,
    ) -> None:
        super().__init__(values)
        self.step, self.seed, self._others = step, seed, others

    def others(self, count: int) -> list["Sample"]:
        """``count`` other images of the data set, drawn by the seed and the image's place in its batch.

        They are as they lie on disk, or (:attr:`Transform.takes_finished`) as the transforms before this one
        leave them.

        Raises:
            ValueError: the sample is not of a pipeline in training.
        """
        if self._others is None:
            raise ValueError("Only samples of a training pipeline have other images.")
        return self._others(count)


class Transform(Component):
    """What happens to an image and its objects; derive from it, register the class, and name it in a recipe.

    A transform is called with a :class:`Sample` and a seed, int ``[2]``, and returns the changed mapping. It
    must be a function of both alone: then a run repeats itself, and continues exactly where it was stopped.

    Attributes:
        augmentation: left out in evaluation.
        mixes: puts other images in. Such transforms are left out in the last ``train.plain_epochs``.
        images: how many images take part in one: it makes room for their objects in the targets.
        needs_masks: works on ``shapes``, so the data set must have masks.
        keeps_masks: objects do not change their masks, so class maps and proposals can follow.
        takes_finished: ``Sample.others`` have gone through the transforms before.
        recent: ``Sample.others`` are images of so many places before this one in the order of the training,
            as all transforms before, those that mix too, leave them there; None: any of the data set.

    Example:
        >>> @kdet.registry.register
        ... class Darken(kdet.data.Transform):
        ...     def __init__(self, factor: float = 0.5):
        ...         self.factor = factor
        ...
        ...     def __call__(self, sample, seed):
        ...         return dict(sample, image=tf.cast(sample["image"], tf.float32) * self.factor)
    """

    augmentation = True
    mixes = False
    images = 1
    needs_masks = False
    keeps_masks = True
    takes_finished = False
    recent: int | None = None

    def __call__(self, sample: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        raise NotImplementedError(f"{type(self).__name__} must define __call__().")

    def extent(self, before: Extent) -> Extent:
        """Which sizes images have after this transform, by those before it; default: the same."""
        return before

    def prepare(self, **facts: Any) -> None:
        """Called once, by a pipeline in training.

        Args:
            **facts: ``masks`` and ``semantic``: what must follow the image; ``sizes_canvas``: this is the
                transform whose ``Extent.parts`` the canvases are made for.
        """
