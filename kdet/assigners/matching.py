"""The cheapest one-to-one matching of rows and columns: SciPy's outside of XLA, loops of tensors within.

Both are the shortest augmenting paths of Crouse (2016, "On implementing 2D rectangular assignment
algorithms"): object by object, the cheapest chain of changes that gives it a prediction.
"""

import numpy as np
import tensorflow as tf

from kdet import ops
from kdet.typing import Array, Tensor


def cheapest_matching(cost: Tensor, real: Tensor) -> Tensor:
    """The matching of predictions and objects whose summed cost is least.

    Args:
        cost: ``[R,Q,G]`` of ``R`` problems with ``Q`` predictions and ``G`` objects. What is not finite is no
            match. Of equally cheap matchings any may be taken.
        real: bool ``[R,G]``, the objects that are to be matched; where they are more than the predictions,
            as many as there are predictions.

    Returns:
        int32 ``[R,Q]``, the object of every prediction, -1 for none.
    """
    if ops.under_xla():
        return _by_loops(cost, real)
    matched = tf.numpy_function(_by_scipy, [cost, real], tf.int32, stateful=False)
    return tf.reshape(matched, tf.shape(cost)[:2])


def _by_scipy(cost: Array, real: Array) -> Array:
    from scipy.optimize import linear_sum_assignment  # import time is precious

    matched = np.full(cost.shape[:2], -1, np.int32)
    for index in range(len(cost)):
        objects = np.flatnonzero(real[index])
        mine = cost[index][:, objects]
        finite = np.isfinite(mine)
        if not finite.all():  # dearer than any matching without, and no match where there is none
            dearest = np.abs(mine, where=finite, out=np.zeros_like(mine)).max(initial=1.0)
            mine = np.where(finite, mine, np.float64(dearest) * 4 * len(objects))
        rows, columns = linear_sum_assignment(mine)
        there = finite[rows, columns]
        matched[index][rows[there]] = objects[columns[there]]
    return matched


def _by_loops(cost: Tensor, real: Tensor) -> Tensor:
    """The same without leaving the graph, in arrays of static shapes.

    Names are those of the paper: ``u`` and ``v`` are the prices of objects and predictions, under which no
    pair costs less than nothing.
    """
    cost = tf.transpose(tf.cast(cost, tf.float64), [0, 2, 1])  # [R, G, Q]
    finite = tf.math.is_finite(cost)
    dearest = tf.reduce_max(tf.where(finite & real[..., None], tf.abs(cost), 1.0), [1, 2], keepdims=True)
    count = tf.reduce_sum(tf.cast(real, tf.float64), 1)[:, None, None]
    cost = tf.where(finite, cost, dearest * 4.0 * tf.maximum(count, 1.0))
    rows, objects, predictions = tf.unstack(tf.shape(cost))
    # Where objects must go without: places that cost more than any prediction, so all of these are taken.
    places = tf.maximum(objects, predictions)
    dearest = tf.reduce_max(cost, [1, 2], keepdims=True) + 1.0
    cost = tf.concat([cost, tf.tile(dearest, [1, objects, places - predictions])], 2)
    infinite = tf.constant(np.inf, tf.float64)

    def at(values: Tensor, index: Tensor) -> Tensor:
        return tf.gather(values, tf.maximum(index, 0), batch_dims=1)

    def is_(index: Tensor, size: Tensor) -> Tensor:
        return tf.range(size) == index[:, None]

    def add_object(
        new: Tensor, u: Tensor, v: Tensor, place_of: Tensor, object_of: Tensor
    ) -> tuple[Tensor, ...]:
        """Finds the cheapest chain from the object ``new`` to a free place, and changes along it."""

        def look(
            sink: Tensor, at_object: Tensor, least: Tensor, shortest: Tensor, path: Tensor, seen: Tensor,
            passed: Tensor,
        ) -> tuple[Tensor, ...]:  # fmt: skip
            """Goes on to the nearest place that was not seen yet; to its object where it is taken."""
            goes = sink < 0
            length = least[:, None] + at(cost, at_object) - at(u, at_object)[:, None] - v
            shorter = goes[:, None] & ~seen & (length < shortest)
            path = tf.where(shorter, at_object[:, None], path)
            shortest = tf.where(shorter, length, shortest)
            passed |= goes[:, None] & is_(at_object, objects)
            place = tf.argmin(tf.where(seen, infinite, shortest), 1, tf.int32)
            least = tf.where(goes, at(shortest, place), least)
            owner = at(object_of, place)
            seen |= goes[:, None] & is_(place, places)
            sink = tf.where(goes & (owner < 0), place, sink)
            return sink, tf.where(goes & (owner >= 0), owner, at_object), least, shortest, path, seen, passed

        wanted = real[:, new]
        start = (
            tf.where(wanted, -1, 0),  # a padded object has arrived
            tf.fill([rows], new),
            tf.zeros([rows], tf.float64),
            tf.fill([rows, places], infinite),
            tf.fill([rows, places], -1),
            tf.zeros([rows, places], tf.bool),
            tf.zeros([rows, objects], tf.bool),
        )
        sink, _, least, shortest, path, seen, passed = tf.while_loop(
            lambda sink, *_: tf.reduce_any(sink < 0), look, start
        )
        own = tf.where(place_of >= 0, at(shortest, place_of), 0.0)  # of the new object, which has no place: 0
        u = tf.where(passed, u + least[:, None] - own, u)
        v = tf.where(seen, v - (least[:, None] - shortest), v)

        def change(place: Tensor, place_of: Tensor, object_of: Tensor) -> tuple[Tensor, ...]:
            """The object that led to a place takes it and leaves its own, back to the new object."""
            goes = place >= 0
            taker = at(path, place)
            object_of = tf.where(goes[:, None] & is_(place, places), taker[:, None], object_of)
            left = at(place_of, taker)  # -1: the new object had none
            place_of = tf.where(goes[:, None] & is_(taker, objects), place[:, None], place_of)
            return tf.where(goes, left, -1), place_of, object_of

        _, place_of, object_of = tf.while_loop(
            lambda place, *_: tf.reduce_any(place >= 0),
            change,
            (tf.where(wanted, sink, -1), place_of, object_of),
        )
        return new + 1, u, v, place_of, object_of

    start = (
        tf.constant(0),
        tf.zeros([rows, objects], tf.float64),
        tf.zeros([rows, places], tf.float64),
        tf.fill([rows, objects], -1),
        tf.fill([rows, places], -1),
    )
    *_, object_of = tf.while_loop(lambda new, *_: new < objects, add_object, start)
    matched = object_of[:, :predictions]
    there = tf.gather(tf.transpose(finite, [0, 2, 1]), tf.maximum(matched, 0), batch_dims=2)
    return tf.where(there, matched, -1)
