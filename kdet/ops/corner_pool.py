"""Corner pooling (CornerNet, Law and Deng 2018): the running maximum towards one side."""

from collections.abc import Sequence

import tensorflow as tf

from kdet.ops import compiled, dispatch
from kdet.ops.arguments import check_shapes
from kdet.typing import Tensor

# direction -> (axis of an NHWC map, whether the pixels after a place count or those before it)
_DIRECTIONS = {"top": (1, True), "bottom": (1, False), "left": (2, True), "right": (2, False)}


def corner_pool(x: Tensor, direction: str, implementation: str | None = None) -> Tensor:
    """Replaces every value by the largest one from its place on.

    Args:
        x: ``[B,H,W,C]``.
        direction: ``top`` looks at a place and all below it, ``bottom`` at all above, ``left`` at
            all to the right, ``right`` at all to the left.

    Returns:
        ``[B,H,W,C]``. Among equal values the gradient goes to the nearest one.
    """
    if direction not in _DIRECTIONS:
        raise ValueError(f"corner_pool knows the directions {sorted(_DIRECTIONS)}, not {direction!r}.")
    axis, after = _DIRECTIONS[direction]
    x = tf.convert_to_tensor(x)
    check_shapes("corner_pool", x=(x, "B H W C"))
    form = dispatch.choose(
        "corner_pool", implementation, portable=_portable, compiled_form=_compiled, dtype=x.dtype
    )
    return form(x, axis=axis, after=after)


def _compiled(x: Tensor, axis: int, after: bool) -> Tensor:
    return compiled.library().kdet_corner_pool(x=x, vertical=axis == 1, after=after)


@tf.RegisterGradient("KdetCornerPool")
def _compiled_gradient(op: tf.Operation, upstream: Tensor) -> Sequence[Tensor | None]:
    attributes = {name: op.get_attr(name) for name in ("vertical", "after")}
    return compiled.library().kdet_corner_pool_grad(upstream=upstream, x=op.inputs[0], **attributes)


def _portable(x: Tensor, axis: int, after: bool) -> Tensor:
    def step(shift: int, x: Tensor) -> tuple[int, Tensor]:
        pads, begin, extent = [[0, 0]] * 4, [0] * 4, [-1] * 4
        pads[axis] = [0, shift] if after else [shift, 0]
        begin[axis], extent[axis] = (shift if after else 0), size - shift
        moved = tf.pad(
            tf.slice(x, begin, extent),
            pads,
            constant_values=float("-inf") if x.dtype.is_floating else x.dtype.min,
        )
        # The gradient of a tie goes to the first argument: the nearer pixel, as the reference's.
        return 2 * shift, tf.ensure_shape(tf.maximum(x, moved), shape)

    size, shape, shift = x.shape[axis], x.shape, 1
    if size is None:
        size = tf.shape(x)[axis]
        return tf.while_loop(lambda shift, x: shift < size, step, (shift, x))[1]
    while shift < size:
        shift, x = step(shift, x)
    return x
