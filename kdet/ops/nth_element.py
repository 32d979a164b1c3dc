"""The smallest values of rows as the C++ library's ``nth_element`` takes them, for all rows in one graph.

``torch.topk`` on CPU selects with it in short rows, so which of several equally near anchors becomes an
object's depends on it. The algorithm is quickselect: the median of three values, moved to the front, splits
what is left; the side that holds the wanted place goes on, and three values or fewer are sorted. (After many
bad splits the library turns to a heap, which rows of some hundred values do not come to.)
"""

import tensorflow as tf

from kdet.typing import Tensor

WINDOW = 3  # no more values are sorted instead of split


def smallest_by_nth_element(values: tf.Tensor, count: int) -> tf.Tensor:
    """Indices int32 ``[R,count]`` of the smallest ``values [R,P]``, in the order of ``torch.topk``.

    Args:
        values: float; no NaN.
        count: at most P and 17 (the library sorts more in another way).
    """
    rows, length = tf.shape(values)[0], tf.shape(values)[1]
    queue = tf.tile(tf.range(length)[None], [rows, 1])  # [R, P]
    first, last = tf.zeros([rows], tf.int32), tf.fill([rows], length)
    place = tf.range(length)[None]

    def split(queue: Tensor, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        going = last - first > WINDOW
        held = tf.gather(values, queue, batch_dims=1)
        pivot = _median_of_three(held, first, last)
        front = first[:, None]
        swapped = tf.where(place == front, pivot[:, None], tf.where(place == pivot[:, None], front, place))
        swapped = tf.where(going[:, None], swapped, place)
        moved, cut = _partition(tf.gather(held, swapped, batch_dims=1), first, last, going)
        order = tf.gather(swapped, moved, batch_dims=1)
        above = cut > count - 1
        return (
            tf.gather(queue, order, batch_dims=1),
            tf.where(going & ~above, cut, first),
            tf.where(going & above, cut, last),
        )

    queue, first, last = tf.while_loop(
        lambda queue, first, last: tf.reduce_any(last - first > WINDOW), split, (queue, first, last)
    )
    held = tf.gather(values, queue, batch_dims=1)
    held = tf.where(
        place < first[:, None], -float("inf"), tf.where(place < last[:, None], held, float("inf"))
    )
    queue = tf.gather(queue, tf.argsort(held, axis=1, stable=True), batch_dims=1)[:, :count]
    # all but the last of them are sorted afterwards
    held = tf.gather(values, queue[:, :-1], batch_dims=1)
    queue = tf.concat(
        [tf.gather(queue[:, :-1], tf.argsort(held, axis=1, stable=True), batch_dims=1), queue[:, -1:]], axis=1
    )
    return tf.ensure_shape(queue, [None, count])


def _median_of_three(held: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Place ``[R]`` of the median of the second, the middle and the last value of a window."""
    places = first + 1, first + (last - first) // 2, last - 1
    a, b, c = (_value_at(held, place) for place in places)
    one, two, three = places
    rising = tf.where(b < c, two, tf.where(a < c, three, one))
    return tf.where(a < b, rising, tf.where(a < c, one, tf.where(b < c, three, two)))


def _value_at(held: Tensor, place: Tensor) -> Tensor:
    """``held [R,P]`` at ``place [R]``; anything where a row is done and has no such place."""
    return tf.gather(held, tf.clip_by_value(place, 0, tf.shape(held)[1] - 1), batch_dims=1)


def _partition(held: Tensor, first: Tensor, last: Tensor, going: Tensor) -> tuple[Tensor, Tensor]:
    """Splits windows by their first value: ``(places to take from [R,P], start of the upper part [R])``.

    One pointer runs up to the next value that is not below the pivot, one down to the next that is not above;
    the two change places until the pointers meet. So the m-th such value from the left changes with the m-th
    from the right.
    """
    length = tf.shape(held)[1]
    place = tf.range(length)[None]
    pivot = _value_at(held, first)[:, None]
    inside = (place > first[:, None]) & (place < last[:, None])
    left = _places(inside & (held >= pivot), length, reverse=False)  # [R, P], by m
    right = _places(inside & (held <= pivot), -1, reverse=True)
    change = (left < right) & going[:, None]
    changes = tf.reduce_sum(tf.cast(change, tf.int32), 1)
    moved = _scattered(tf.where(change, left, length), right, tf.tile(place, [tf.shape(held)[0], 1]))
    moved = _scattered(tf.where(change, right, length), left, moved)
    met = tf.gather(left, tf.minimum(changes, length - 1), batch_dims=1)
    before = tf.gather(right, tf.maximum(changes - 1, 0), batch_dims=1)
    return moved, tf.where(changes > 0, tf.minimum(met, before), met)


def _places(flags: Tensor, rest: Tensor | int, reverse: bool) -> Tensor:
    """``[R,P]``: the place of the m-th flag from the left (``reverse``: right), ``rest`` beyond the last."""
    length = tf.shape(flags)[1]
    rank = tf.cumsum(tf.cast(flags, tf.int32), axis=1, reverse=reverse) - 1
    place = tf.broadcast_to(tf.range(length)[None], tf.shape(flags))
    return _scattered(tf.where(flags, rank, length), place, tf.fill(tf.shape(flags), rest))


def _scattered(places: Tensor, values: Tensor, into: Tensor) -> Tensor:
    """``into [R,P]`` with ``values [R,P]`` at ``places [R,P]``; what goes to place P is dropped."""
    rows, length = tf.shape(into)[0], tf.shape(into)[1]
    target = places + (length + 1) * tf.range(rows)[:, None]
    wide = tf.reshape(tf.pad(into, [[0, 0], [0, 1]]), [-1])
    wide = tf.tensor_scatter_nd_update(wide, tf.reshape(target, [-1, 1]), tf.reshape(values, [-1]))
    return tf.reshape(wide, [rows, length + 1])[:, :length]
