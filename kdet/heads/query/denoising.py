"""Contrastive denoising: queries made of the objects, with noise (Zhang et al., 2023, arXiv:2203.03605)."""

from typing import NamedTuple

import tensorflow as tf

from kdet import geometry, ops
from kdet.assigners.base import objects_of
from kdet.contract import Assignment, ImageInfo, Targets
from kdet.coordinates import size_as_box
from kdet.layers import global_uniform
from kdet.registry import Component, register
from kdet.typing import Tensor

_STREAM = 8  # of the step's seed


class NoiseDraws(NamedTuple):
    """The random numbers of all noised queries.

    Attributes:
        flips: float32 ``[B,D]`` in [0, 1), small ones replace a label.
        labels: int32 ``[B,D]``, the labels that stand in for the replaced ones.
        signs: float32 ``[B,D,4]``, -1 or 1: where each side of a box goes.
        sizes: float32 ``[B,D,4]`` in [0, 1): how far.
    """

    flips: Tensor
    labels: Tensor
    signs: Tensor
    sizes: Tensor


class NoisedQueries(NamedTuple):
    """``D`` queries of every image that start from objects.

    They lie in groups, the same for all images. A group holds every object twice: first all positives, then
    all negatives, each half as long as the image with most objects has objects. Behind the groups come
    slots that are not in use.

    Attributes:
        labels: int32 ``[B,D]``, -1 where there is no object.
        boxes: float32 ``[B,D,4]`` (cx, cy, w, h) in 0..1 of the image, 0 where there is no object.
        group: int32 ``[D]``, -1 where the slot is not in use.
        assignment: what each is to say: positives their object, all others in use the background.
    """

    labels: Tensor
    boxes: Tensor
    group: Tensor
    assignment: Assignment

    @property
    def real(self) -> Tensor:
        """bool ``[B,D]``: made of an object."""
        return self.labels >= 0

    def visible(self, queries: int | Tensor) -> Tensor:
        """Which query may look at which when these stand in front of others.

        Args:
            queries: number of the queries behind them. All see those; of the noised ones nobody sees
                another group than its own.

        Returns:
            bool ``[1,D+queries,D+queries]``, the key last.
        """
        own = tf.concat([self.group, tf.fill([queries], -2)], 0)
        return ((own[:, None] == own[None]) | (own[None] == -2))[None]


@register
class ContrastiveDenoising(Component):
    """Makes noised queries out of the targets of a batch, in static shapes.

    The number of groups is ``num_queries`` divided by the largest number of objects of an image, but at
    least one. With targets padded to ``G`` objects there are ``D = 2 * max(num_queries, G)`` slots.

    Positives have every side moved by less than half of the width or height of their object (times
    ``box_noise``), negatives by once to twice as much.

    Args:
        num_queries: noised positives of an image, as far as its objects go.
        flip_probability: of a label to be replaced by one of all labels.
        box_noise: factor of the noise of boxes.

    Example:
        >>> noised = ContrastiveDenoising(num_queries=100)(targets, info, num_classes=80)
        >>> attended = attention(queries, key_valid=noised.visible(900))
    """

    def __init__(
        self, num_queries: int = 100, flip_probability: float = 0.25, box_noise: float = 1.0
    ) -> None:
        self.num_queries, self.flip_probability, self.box_noise = num_queries, flip_probability, box_noise

    def __call__(
        self, targets: Targets, info: ImageInfo, num_classes: int, draws: NoiseDraws | None = None
    ) -> NoisedQueries:
        """The noised queries of a batch.

        Args:
            targets: the data contract's dict.
            info: ImageInfo with ``valid_size`` and, without ``draws``, ``seed``.
            num_classes: labels to choose from.
            draws: the random numbers; drawn from the seed where None.
        """
        boxes, real = objects_of(targets)
        batch, padded = tf.unstack(tf.shape(real))
        slots = 2 * max(self.num_queries, real.shape[1]) if real.shape[1] else self.slots(padded)
        rows = tf.argsort(tf.cast(~real, tf.int32), 1, stable=True)  # objects come first
        count = tf.reduce_sum(tf.cast(real, tf.int32), 1)
        most = tf.reduce_max(count)
        per_half = tf.maximum(most, 1)
        groups = tf.maximum(self.num_queries // per_half, 1)
        place = tf.range(slots)
        used = place < 2 * groups * most
        half, item = place // per_half % 2, place % per_half
        made = used & (item < count[:, None])  # [B, D]
        index = tf.broadcast_to(tf.minimum(item, padded - 1), [batch, slots])
        index = tf.gather(rows, index, batch_dims=1)
        assignment = Assignment(
            tf.where(made & (half == 0), index, -1),
            tf.broadcast_to(tf.cast(used, tf.float32), tf.shape(index)),
        )
        draws = self.draw(info["seed"], batch, slots, num_classes) if draws is None else draws
        labels = tf.gather(targets["labels"], index, batch_dims=1)
        labels = tf.where(draws.flips < self.flip_probability, draws.labels, labels)
        truth = tf.gather(boxes / size_as_box(info["valid_size"]), index, batch_dims=1)
        far = draws.sizes + tf.cast(half, tf.float32)[:, None]
        sides = tf.tile(truth[..., 2:] - truth[..., :2], [1, 1, 2])
        noised = tf.clip_by_value(truth + draws.signs * far * sides * (0.5 * self.box_noise), 0.0, 1.0)
        return NoisedQueries(
            labels=tf.where(made, labels, -1),
            boxes=tf.where(made[..., None], geometry.to_center_size(noised), 0.0),
            group=tf.where(used, place // (2 * per_half), -1),
            assignment=assignment,
        )

    def slots(self, padded: Tensor) -> Tensor:
        """Number of slots ``D`` for targets that are padded to so many objects."""
        return 2 * tf.maximum(self.num_queries, padded)

    def draw(self, seed: Tensor, batch: Tensor, slots: int | Tensor, num_classes: int) -> NoiseDraws:
        """Random numbers for ``batch`` images of ``slots`` queries; the same for every split of a batch."""
        numbers = global_uniform(ops.fold_in(seed, _STREAM), batch, slots * 10)
        flips, labels, signs, sizes = tf.split(tf.reshape(numbers, [batch, slots, 10]), [1, 1, 4, 4], -1)
        return NoiseDraws(
            flips[..., 0],
            tf.cast(labels[..., 0] * float(num_classes), tf.int32),
            tf.where(signs < 0.5, -1.0, 1.0),
            sizes,
        )
