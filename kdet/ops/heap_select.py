"""The smallest values of rows as the C++ library's ``partial_sort`` takes them, for all rows in one graph.

``torch.topk`` on CPU selects with it in long rows. The first values make a heap with the largest on top; what
comes later and is smaller than the top takes its place and sinks. Which of equal values lies on top depends
on the way the library moves them, which is followed here.
"""

import tensorflow as tf

from kdet.typing import Tensor

WINDOW = 256  # values that a step looks through for the next that is smaller than the top


def smallest_by_heap(values: tf.Tensor, count: int) -> tf.Tensor:
    """Indices int32 ``[R,count]`` of the smallest ``values [R,P]``, in the order of ``torch.topk``.

    Args:
        values: float; no NaN.
        count: at most P.
    """
    rows, length = tf.shape(values)[0], tf.shape(values)[1]
    heap = tf.ensure_shape(values[:, :count], [None, count]), tf.tile(tf.range(count)[None], [rows, 1])
    for parent in range(count // 2 - 1, -1, -1):
        heap = _sink(heap, parent, count, _at(heap, tf.fill([rows], parent)))

    def step(start: Tensor, held: Tensor, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Every row goes on to the next value that is smaller than its top, or by a window."""
        place = start[:, None] + tf.range(WINDOW)  # [R, W]
        seen = tf.gather(values, tf.minimum(place, length - 1), batch_dims=1)
        smaller = (seen < held[:, :1]) & (place < length)
        found = tf.reduce_any(smaller, 1)
        next_ = start + tf.argmax(smaller, 1, tf.int32)
        value = tf.gather(values, tf.minimum(next_, length - 1), batch_dims=1), next_
        sunk = _sink((held, indices), 0, count, value)
        held, indices = (tf.where(found[:, None], new, old) for new, old in zip(sunk, (held, indices)))
        return tf.where(found, next_ + 1, start + WINDOW), held, indices

    _, *heap = tf.while_loop(
        lambda start, held, indices: tf.reduce_any(start < length), step, (tf.fill([rows], count), *heap)
    )
    for end in range(count - 1, 0, -1):  # the largest goes to the end
        value, top = _at(heap, tf.fill([rows], end)), _at(heap, tf.zeros([rows], tf.int32))
        heap = _sink(_put(heap, tf.fill([rows], end), top), 0, end, value)
    return tf.ensure_shape(heap[1], [None, count])


def _sink(
    heap: tuple[Tensor, Tensor], top: int, length: int, value: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Puts ``value`` into the first ``length`` places of a heap, whose place ``top`` is free.

    The larger child moves up until there is none; from there the value rises while it is larger.
    """
    hole = tf.fill(tf.shape(heap[0])[:1], top)
    for _ in range(length.bit_length()):
        child = 2 * (hole + 1)
        second, first = _at(heap, child), _at(heap, child - 1)
        larger = tf.where(second[0] < first[0], child - 1, child)
        goes = hole < (length - 1) // 2
        heap = _put(heap, tf.where(goes, hole, -1), _at(heap, larger))
        hole = tf.where(goes, larger, hole)
    if length % 2 == 0 and length:
        only = hole == (length - 2) // 2  # a child without a sibling
        heap = _put(heap, tf.where(only, hole, -1), _at(heap, 2 * hole + 1))
        hole = tf.where(only, 2 * hole + 1, hole)
    for _ in range(length.bit_length()):
        parent = (hole - 1) // 2
        above = _at(heap, parent)
        rises = (hole > top) & (above[0] < value[0])
        heap = _put(heap, tf.where(rises, hole, -1), above)
        hole = tf.where(rises, parent, hole)
    return _put(heap, hole, value)


def _at(heap: tuple[Tensor, Tensor], place: Tensor) -> tuple[Tensor, Tensor]:
    """``(values, indices)`` of the heaps at ``place [R]``; anything where there is no such place."""
    place = tf.clip_by_value(place, 0, heap[0].shape[1] - 1)
    return tuple(tf.gather(part, place, batch_dims=1) for part in heap)


def _put(heap: tuple[Tensor, Tensor], place: Tensor, entry: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The heaps with ``entry`` at ``place [R]``, unchanged where that is -1."""
    here = tf.range(heap[0].shape[1])[None] == place[:, None]
    return tuple(tf.where(here, new[:, None], part) for part, new in zip(heap, entry))
