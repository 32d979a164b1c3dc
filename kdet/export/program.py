"""A detector as a function of tensors alone: what every exported form is made of."""

import traceback

import keras
import tensorflow as tf

from kdet import ops


class ExportError(ValueError):
    """A model cannot be exported in the wanted form; the message names the part and the way out."""


class Program:
    """Normalisation, network and post-processing of a detector, traced without Python around it.

    Args:
        model: detector.
        form: of the ops: ``portable`` (TensorFlow's own only) or ``compiled`` (kdet's library).

    Attributes:
        takes_proposals: the model's second stage looks at boxes that come with the pictures (Fast R-CNN).
    """

    def __init__(self, model, form="portable"):
        if form not in ("portable", "compiled"):
            raise ValueError(f"ops is 'portable' or 'compiled', not {form!r}.")
        self.model, self.form = model, form
        self.takes_proposals = model.takes_proposals

    def detect(self, inputs):
        """Detections of network inputs (the data contract), for use inside a trace.

        Args:
            inputs: images ``[N,H,W,3]``, or the dict with ``valid_size``, ``scale``, ``proposals`` ...

        Returns:
            Detections: ``boxes [N,M,4]`` xyxy in original pixels, ``scores [N,M]``, ``labels [N,M]`` (-1:
            padding), ``num_detections [N]``, and where the model has them ``masks [N,M,m,m]``.
        """
        with ops.use(self.form):
            return self.model(inputs, training=False)

    def on_canvas(self, height, width, batch=1, proposals=None):
        """``detect`` for pictures that fill a canvas of one shape: a ``ConcreteFunction``.

        Args:
            height, width: of the canvas; None leaves them open.
            batch: pictures per call; None leaves it open.
            proposals: how many of them per picture, where the model takes them; None leaves it open.

        Returns:
            ConcreteFunction of ``images``, uint8 ``[batch,height,width,3]`` RGB, and where the model takes
            them ``proposals``, float32 ``[batch,proposals,4]`` xyxy in pixels of the canvas -> Detections.

        Raises:
            ExportError: see ``trace``.
        """
        pictures = tf.TensorSpec([batch, height, width, 3], tf.uint8, name="images")
        if not self.takes_proposals:
            return self.trace(lambda images: self.detect(images), pictures)
        boxes = tf.TensorSpec([batch, proposals, 4], tf.float32, name="proposals")
        return self.trace(
            lambda images, proposals: self.detect({"images": images, "proposals": proposals}), pictures, boxes
        )

    def trace(self, function, *specs):
        """``ConcreteFunction`` of a function of tensors that calls ``detect``.

        Raises:
            ExportError: a layer cannot be traced for ``specs``, or (``portable``) the trace holds an op that
                TensorFlow alone does not have.
        """
        try:
            traced = tf.function(function, input_signature=specs).get_concrete_function()
        except (TypeError, ValueError, ArithmeticError, tf.errors.OpError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            message = lines[-1] if lines else type(error).__name__  # tf.function puts the code before it
            raise ExportError(
                f"{self.model.name}: {_layer_of(error)} cannot be traced ({message}). The way out, where the "
                "canvas is dynamic: input_size=(height, width), in tools --input HEIGHTxWIDTH."
            ) from error
        if self.form == "portable":
            self._check_ops(traced)
        return traced

    def _check_ops(self, traced):
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


def _layer_of(error):
    """The innermost layer on the way to an error, by class and name."""
    layer = "the detector"
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.Layer):
            layer = f"{type(owner).__name__} {owner.name!r}"
    return layer
