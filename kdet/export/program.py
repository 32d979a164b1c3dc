"""A detector as a function of tensors alone: what every exported form is made of."""

import contextlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kdet import ops
from kdet.contract import Detections
from kdet.detectors import Detector
from kdet.errors import KdetError
from kdet.export import explain
from kdet.ops import compiled, marks
from kdet.typing import PathLike, Tensor


class ExportError(KdetError):
    """A model cannot be exported in the wanted form; the message names the part and the way out."""


def save(module: tf.Module, path: PathLike, signatures: dict[str, Any]) -> None:
    """Writes a SavedModel without the gradients of kdet's ops, which nobody asks of detections.

    They can be a large part: a ResNeXt's take half of the file and of the time of its export.
    """
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, path, signatures, options)


class Program:
    """Normalization, network and post-processing of a detector, traced without Python around it.

    Args:
        model: detector.
        form: of the ops: ``portable`` (TensorFlow's own only) or ``compiled`` (kdet's library).
        marked: the portable ops are functions of the trace that carry their names (`kdet.ops.marks`), for
            formats that have ops of their own in their place.

    Raises:
        ValueError: another ``form``. Unavailable: ``compiled`` without the library.

    Attributes:
        takes_proposals: the model's second stage looks at boxes that come with the images (Fast R-CNN).
    """

    def __init__(self, model: Detector, form: str = "portable", marked: bool = False) -> None:
        if form not in ("portable", "compiled"):
            raise ValueError(f"ops is 'portable' or 'compiled', not {form!r}.")
        if form == "compiled":
            compiled.library()
        self.model, self.form, self.marked = model, form, marked
        self.takes_proposals = model.takes_proposals

    def detect(self, inputs: Any) -> Detections:
        """Detections of network inputs (the data contract), for use inside a trace.

        Args:
            inputs: images ``[N,H,W,3]``, or the dict with ``valid_size``, ``scale``, ``proposals`` ...

        Returns:
            Detections: ``boxes [N,M,4]`` xyxy in original pixels, ``scores [N,M]``, ``labels [N,M]`` (-1:
            padding), ``num_detections [N]``, and where the model has them ``masks [N,M,m,m]``.
        """
        with ops.use(self.form), marks.marking() if self.marked else contextlib.nullcontext():
            return self.model(inputs, training=False)

    def on_canvas(
        self, height: int | None, width: int | None, batch: int | None = 1, proposals: int | None = None
    ) -> Any:
        """``detect`` for images that fill a canvas of one shape: a ``ConcreteFunction``.

        Args:
            height, width: of the canvas; None leaves them open.
            batch: images per call; None leaves it open.
            proposals: how many of them per image, where the model takes them; None leaves it open.

        Returns:
            ConcreteFunction of ``images``, uint8 ``[batch,height,width,3]`` RGB, and where the model takes
            them ``proposals``, float32 ``[batch,proposals,4]`` xyxy in pixels of the canvas -> Detections.

        Raises:
            ExportError: see ``trace``.
        """
        canvas, spec = (height, width), tf.TensorSpec([batch, height, width, 3], tf.uint8, name="images")
        if not self.takes_proposals:
            return self.trace(lambda images: self.detect(images), spec, canvas=canvas)
        boxes = tf.TensorSpec([batch, proposals, 4], tf.float32, name="proposals")

        def detect(images: Tensor, proposals: Tensor) -> Detections:
            return self.detect({"images": images, "proposals": proposals})

        return self.trace(detect, spec, boxes, canvas=canvas)

    def trace(
        self,
        function: Callable[..., Any],
        *specs: tf.TensorSpec,
        canvas: tuple[int | None, int | None] = (None, None),
    ) -> Any:
        """``ConcreteFunction`` of a function of tensors that calls ``detect``.

        Args:
            function, specs: what is traced, and for what.
            canvas: (height, width) that the network looks at; None is open. For the way out of errors.

        Raises:
            ExportError: a layer cannot be traced for ``specs``, or (``portable``) the trace holds an op that
                TensorFlow alone does not have.
        """
        try:
            traced = tf.function(function, input_signature=specs, autograph=False).get_concrete_function()
        except (TypeError, ValueError, ArithmeticError, tf.errors.OpError) as error:
            where, way_out = "on a dynamic canvas", "a fixed one"
            if None not in canvas:
                where, way_out = "on a canvas of {}x{}".format(*canvas), "where it is too small, a larger one"
            raise ExportError(
                f"{self.model.name}: {explain.layer(error, self.model)} cannot be traced {where} "
                f"({explain.cause(error).rstrip('.')}). The way out: {way_out}, input_size=(height, width), "
                "in tools --input HEIGHTxWIDTH."
            ) from error
        if self.form == "portable":
            self._check_ops(traced)
        return traced

    def _check_ops(self, traced: Any) -> None:
        """Raises where a trace holds what TensorFlow alone cannot run."""
        definition = traced.graph.as_graph_def()
        nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
        for node in nodes:
            if node.op.startswith("Kdet") or "PyFunc" in node.op:
                raise ExportError(
                    f"{self.model.name}: {node.name} is a {node.op}, which TensorFlow alone cannot run. "
                    "The way out: ops='compiled' (in tools --ops compiled), and a program that loads kdet's "
                    "library."
                )
