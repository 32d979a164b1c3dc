"""The graphs that a detector predicts in."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kdet.inputs import CANVASES, check_canvas


class Traces:
    """A function of network inputs as graphs: one for all heights and widths, or one per shape.

    A ``tf.function`` would be traced for the first shape, again at the second, and keep both.

    Args:
        function: ``(inputs, flip) -> dict of tensors``; ``inputs`` is a list of what a detector takes.

    Attributes:
        count: graphs made so far.
    """

    def __init__(self, function: Callable[[list[Any], bool], Any]) -> None:
        # AutoGraph has nothing to rewrite here and takes seconds to read all the sources
        self._of: dict[str, Any] = {
            canvas: tf.function(function, reduce_retracing=False, autograph=False) for canvas in CANVASES
        }
        self._graphs: dict[Any, Any] = {}

    @property
    def count(self) -> int:
        return len(self._graphs)

    def __call__(self, inputs: list[Any], flip: bool = False, canvas: str = "own") -> dict[str, tf.Tensor]:
        """The function's results.

        Args:
            inputs: list of image tensors ``[B,H,W,3]``, or of dicts of the data contract.
            flip: passed on.
            canvas: "own": the graph that takes any height and width, one for each number of rows.
                "buckets": the graph of just these shapes, all static.
        """
        check_canvas(canvas)
        inputs = tf.nest.map_structure(tf.convert_to_tensor, inputs)
        specs = tf.nest.map_structure(tf.TensorSpec.from_tensor, inputs)
        if canvas == "own":
            specs = [_open(spec) for spec in specs]
        names = tuple(tuple(sorted(x)) if isinstance(x, dict) else None for x in specs)
        key = (canvas, flip, names, *tf.nest.flatten(specs))
        if key not in self._graphs:
            self._graphs[key] = self._of[canvas].get_concrete_function(specs, flip)
        return self._graphs[key](inputs, flip)


def _open(spec: Any) -> Any:
    """Specs of one input with height and width of the images left open."""
    if isinstance(spec, dict):
        return {**spec, "images": _open(spec["images"])}
    return tf.TensorSpec([spec.shape[0], None, None, *spec.shape[3:]], spec.dtype)
