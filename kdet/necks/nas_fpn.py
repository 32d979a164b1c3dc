"""NAS-FPN (Ghiasi et al., 2019, arXiv:1904.07392)."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kdet.layers import Composite, ConvModule, upsample_nearest
from kdet.registry import register
from kdet.typing import Maps, Spec, Tensor

# One merging step per line: name in the checkpoint, kind, the two levels (or earlier results) that are
# merged, the level whose size the result has, and the name of the result. Names of levels are overwritten
# as in the searched architecture (figure 6 of the paper).
CELLS = (
    ("gp_64_4", "gp", "6", "4", 4, "4a"),
    ("sum_44_4", "sum", "4a", "4", 4, "4b"),
    ("sum_43_3", "sum", "4b", "3", 3, "3"),
    ("sum_34_4", "sum", "3", "4b", 4, "4"),
    ("gp_43_5", "gp", "4", "3", 5, "5a"),
    ("sum_55_5", "sum", "5", "5a", 5, "5"),
    ("gp_54_7", "gp", "5", "4b", 7, "7a"),
    ("sum_77_7", "sum", "7", "7a", 7, "7"),
    ("gp_75_6", "gp", "7", "5", 6, "6"),
)
# merging steps whose result goes into the next one as it is
WITHOUT_CONVOLUTION = ("gp_43_5", "gp_54_7")


def resize_to(x: Tensor, like: Tensor, steps: int) -> Tensor:
    """``x`` at the size of ``like``: enlarged to the nearest pixel, or reduced to the maximum of windows.

    Sizes that do not divide are padded with zeros around first.

    Args:
        x, like: ``[B,h,w,C]``; heights and widths may be open.
        steps: levels that ``like`` is coarser than ``x``; negative where it is finer.
    """
    if steps == 0:
        return x
    if steps < 0:
        return upsample_nearest(x, like)
    size, (height, width) = size_of(x), size_of(like)
    rows, columns = -(-size[0] // height), -(-size[1] // width)
    add_y, add_x = rows * height - size[0], columns * width - size[1]
    padding = [[0, 0], [add_y // 2, add_y - add_y // 2], [add_x // 2, add_x - add_x // 2], [0, 0]]
    x = tf.pad(x, padding)
    if None not in (*x.shape[1:3], *like.shape[1:3]):
        return tf.nn.max_pool2d(x, (rows, columns), (rows, columns), "VALID")
    windows = tf.reshape(x, [-1, height, rows, width, columns, x.shape[-1]])
    return tf.ensure_shape(tf.reduce_max(windows, [2, 4]), [*x.shape[:1], *like.shape[1:3], x.shape[-1]])


def size_of(x: Tensor) -> Any:
    """(height, width): numbers where both are known, otherwise scalar tensors."""
    return tf.unstack(tf.shape(x)[1:3]) if None in x.shape[1:3] else tuple(x.shape[1:3])


class MergeCell(Composite):
    """Two maps merged at a given size: by their sum, or the first gated by the second's mean and added.

    Args:
        kind: "sum" or "gp" (global pooling).
        filters: of the convolution behind, None for none.
        norm: its spec.
    """

    def __init__(
        self, kind: str, filters: int | None = None, norm: str | Spec | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.kind, self.out_conv = kind, None
        if filters is not None:
            self.out_conv = ConvModule(filters, 3, padding=1, norm=norm, activation_first=True, use_bias=True)

    def call(self, first: Tensor, second: Tensor, like: Tensor, steps: Sequence[int]) -> Tensor:
        first, second = resize_to(first, like, steps[0]), resize_to(second, like, steps[1])
        if self.kind == "gp":
            first = first * tf.sigmoid(tf.reduce_mean(second, [1, 2], keepdims=True))
        x = first + second
        return x if self.out_conv is None else self.out_conv(x)


@register
class NASFPN(Composite):
    """The searched pyramid, stacked.

    Args:
        out_channels: channels of every output.
        stack_times: repetitions of the searched cell.
        start_level: first backbone map to use; its last one plus two pooled levels make five.
        num_inputs: number of backbone maps.
        norm: spec of all norms.

    Call: ``tuple of [B,h,w,C] -> tuple of five [B,h,w,out_channels]``, fine to coarse.
    """

    # the coarsest level needs a pixel
    build_size = 128

    def __init__(
        self,
        out_channels: int = 256,
        stack_times: int = 7,
        start_level: int = 1,
        num_inputs: int = 4,
        norm: str | Spec | None = "bn",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.start_level = start_level

        def module() -> Any:
            return ConvModule(out_channels, 1, norm=norm, activation=None)

        levels = num_inputs - start_level
        self.lateral_convs = [module() for _ in range(levels)]
        # in the checkpoint each is a Sequential of convolution and pooling
        self.extra_downsamples = [[module(), None] for _ in range(5 - levels)]
        self.fpn_stages = [
            {
                name: MergeCell(kind, None if name in WITHOUT_CONVOLUTION else out_channels, norm)
                for name, kind, *_ in CELLS
            }
            for _ in range(stack_times)
        ]

    def call(self, inputs: Maps, training: bool = False) -> tuple[Any, ...]:
        maps = [conv(x) for conv, x in zip(self.lateral_convs, inputs[self.start_level :])]
        for conv, _ in self.extra_downsamples:
            maps.append(tf.nn.max_pool2d(conv(maps[-1]), 2, 2, "VALID"))
        sizes = dict(enumerate(maps, 3))
        known = {str(level): x for level, x in sizes.items()}
        for stage in self.fpn_stages:
            for name, _, first, second, level, result in CELLS:
                steps = [level - int(source[0]) for source in (first, second)]
                known[result] = stage[name](known[first], known[second], sizes[level], steps=steps)
        return tuple(known[str(level)] for level in sorted(sizes))
