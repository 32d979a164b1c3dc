"""Which of equal values ``torch.topk`` takes on a CPU: the order that the goldens were made in.

Bags of anchors and nearest anchors end in ties as a rule, and who of the equal ones is in is an accident of
the selection. The reference on a GPU takes them by index, as ``tf.math.top_k`` does; on a CPU it runs the
heap and the partition of C++'s ``std::partial_sort`` and ``std::nth_element``. For a golden those are part of
its fixed randomness: the checker selects as they do, so that what follows can be compared exactly.
"""

import numpy as np
import tensorflow as tf


def smallest(values, count):
    """Stands in for a selection of the ``count`` smallest ``values [...,P]``: int32 ``[...,count]``."""

    def rows(array):
        flat = array.reshape(-1, array.shape[-1])
        chosen = [select(row, count) for row in flat]
        return np.asarray(chosen, np.int32).reshape(*array.shape[:-1], count)

    return tf.constant(rows(np.asarray(values)))


def select(values, count):
    """Indices of the ``count`` smallest of a row, ascending."""
    items = [(float(v), i) for i, v in enumerate(values)]
    if 64 * count <= len(items):
        _heap_select(items, 0, count, len(items))
        for end in range(count - 1, 0, -1):  # heap to ascending order
            last, items[end] = items[end], items[0]
            _sift(items, 0, 0, end, last)
    else:
        _partition_select(items, count - 1)
        items[: count - 1] = sorted(items[: count - 1], key=lambda item: item[0])
    return [index for _, index in items[:count]]


def _less(a, b):
    return a[0] < b[0]


def _sift(items, start, hole, length, value):
    """Puts ``value`` into the heap ``items[start:start + length]`` whose cell ``hole`` is free."""
    top, child = hole, hole
    while child < (length - 1) // 2:
        child = 2 * (child + 1)
        child -= _less(items[start + child], items[start + child - 1])
        items[start + hole] = items[start + child]
        hole = child
    if length % 2 == 0 and child == (length - 2) // 2:
        child = 2 * child + 1
        items[start + hole] = items[start + child]
        hole = child
    while hole > top and _less(items[start + (hole - 1) // 2], value):
        items[start + hole] = items[start + (hole - 1) // 2]
        hole = (hole - 1) // 2
    items[start + hole] = value


def _heap_select(items, start, middle, end):
    """The smallest of ``items[start:end]`` into ``items[start:middle]``, as a heap, the largest first."""
    length = middle - start
    for parent in range((length - 2) // 2, -1, -1):
        _sift(items, start, parent, length, items[start + parent])
    for i in range(middle, end):
        if _less(items[i], items[start]):
            value, items[i] = items[i], items[start]
            _sift(items, start, 0, length, value)


def _partition_select(items, nth):
    """Quickselect: nothing before ``items[nth]`` is larger, nothing behind it smaller."""
    first, last = 0, len(items)
    rounds = 2 * (len(items).bit_length() - 1)
    while last - first > 3:
        if rounds == 0:
            _heap_select(items, first, nth + 1, last)
            items[first], items[nth] = items[nth], items[first]
            return
        rounds -= 1
        cut = _partition(items, first, last)
        first, last = (cut, last) if cut <= nth else (first, cut)
    items[first:last] = sorted(items[first:last], key=lambda item: item[0])


def _partition(items, first, last):
    """Splits ``items[first:last]`` around the median of its second, middle and last; returns where."""
    a, b, c = first + 1, first + (last - first) // 2, last - 1
    low, high = (a, b) if _less(items[a], items[b]) else (b, a)
    middle = high if _less(items[high], items[c]) else c if _less(items[low], items[c]) else low
    items[first], items[middle] = items[middle], items[first]
    pivot, left, right = items[first], first + 1, last
    while True:
        while _less(items[left], pivot):
            left += 1
        right -= 1
        while _less(pivot, items[right]):
            right -= 1
        if left >= right:
            return left
        items[left], items[right] = items[right], items[left]
        left += 1
