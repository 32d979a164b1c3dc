"""Objects against priors, some objects at a time.

An assigner looks at every pair of an object and a prior, with several numbers for each. All pairs of 1000
objects and 200,000 priors would be 800 MB a number, so what an assigner wants to know of a prior is found by
going over the objects in blocks. Blocks of padding behind the last object are left out.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import tensorflow as tf

from kdet.typing import Tensor

BLOCK = 16  # objects that are held against all priors at a time

# (number of the first object of the block, rows of the block, what was found) -> what is found now
Step: TypeAlias = Callable[[Tensor | int, list[Tensor], list[Tensor]], Sequence[Tensor]]


def over_objects(step: Step, rows: Sequence[Tensor], real: Tensor, start: Sequence[Tensor]) -> list[Tensor]:
    """What is known of the priors when all objects were looked at.

    Args:
        step: gets ``(first, some, found)`` and returns what ``found`` becomes: ``first`` is the number of the
            block's first object, ``some`` the rows of the block, with which of them are objects behind them.
        rows: of the objects, ``[B,G,...]`` each.
        real: bool ``[B,G]``, which rows are objects.
        start: ``found`` before the first block; shapes and dtypes stay.

    Returns:
        ``found`` after the last block, without gradients.
    """
    rows = [*rows, real]
    if real.shape[1] == 0:
        return list(start)
    if real.shape[1] is not None and real.shape[1] <= BLOCK:
        return [tf.stop_gradient(one) for one in step(0, rows, list(start))]
    last = tf.reduce_max(tf.where(real, tf.range(1, tf.shape(real)[1] + 1), 0))
    blocks = [_in_blocks(one) for one in rows]

    def add(block: Tensor, *found: Tensor) -> tuple[Tensor, ...]:
        some = [tf.gather(one, block) for one in blocks]
        return block + 1, *step(block * BLOCK, some, list(found))

    _, *found = tf.while_loop(lambda block, *_: block * BLOCK < last, add, (0, *start))
    return [tf.stop_gradient(one) for one in found]


def of_objects(
    function: Callable[..., Sequence[Tensor]], rows: Sequence[Tensor], dtypes: Sequence[tf.DType]
) -> list[Tensor]:
    """What is known of every object, ``[B,G,...]`` each, without gradients.

    Args:
        function: gets the rows of a block, ``[B,g,...]``, and gives tensors ``[B,g,...]``.
        rows: of the objects, ``[B,G,...]`` each.
        dtypes: of what it gives.
    """
    objects = tf.shape(rows[0])[1]
    if rows[0].shape[1] is not None and rows[0].shape[1] <= BLOCK:
        return [tf.stop_gradient(one) for one in function(*rows)]
    blocks = tuple(_in_blocks(one) for one in rows)
    found = tf.map_fn(lambda some: tuple(function(*some)), blocks, fn_output_signature=tuple(dtypes))
    return [tf.stop_gradient(_joined(one)[:, :objects]) for one in found]


def _in_blocks(rows: Tensor) -> Tensor:
    """``[B,G,...]`` as ``[blocks,B,BLOCK,...]``, one at least, the last filled up with zeros."""
    objects = tf.shape(rows)[1]
    count = tf.maximum(-(-objects // BLOCK), 1)
    padded = tf.pad(rows, [[0, 0], [0, count * BLOCK - objects], *[[0, 0]] * (rows.shape.rank - 2)])
    batch, _, *others = tf.unstack(tf.shape(padded))
    blocks = tf.reshape(padded, [batch, count, BLOCK, *others])
    blocks = tf.transpose(blocks, [1, 0, *range(2, rows.shape.rank + 1)])
    return tf.ensure_shape(blocks, [None, rows.shape[0], BLOCK, *rows.shape[2:]])


def _joined(blocks: Tensor) -> Tensor:
    """``[blocks,B,BLOCK,...]`` as ``[B,G,...]``."""
    count, batch, size, *others = tf.unstack(tf.shape(blocks))
    rows = tf.transpose(blocks, [1, 0, *range(2, blocks.shape.rank)])
    return tf.reshape(rows, [batch, count * size, *others])


def first_best(
    value: Tensor, index: Tensor, values: Tensor, first: Tensor | int, *others: tuple[Tensor, Tensor]
) -> list[Tensor]:
    """The largest value of every prior and whose it is, of several objects the first.

    Args:
        value, index: ``[B,P]``, of the objects before.
        values: ``[B,g,P]``, of the objects of a block.
        first: number of its first object.
        *others: pairs ``([B,P], [B,g,P])`` that go with the value.

    Returns:
        ``[value, index, *others]`` with the objects of the block, ``[B,P]`` each.
    """
    row = tf.argmax(values, 1, tf.int32)  # [B, P]
    best = tf.reduce_max(values, 1)
    better = best > value
    found = [tf.where(better, best, value), tf.where(better, row + first, index)]
    for before, given in others:
        mine = tf.gather(tf.transpose(given, [0, 2, 1]), row, batch_dims=2)
        found.append(tf.where(better, mine, before))
    return found
