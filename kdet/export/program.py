"""A detector as a function of pixels alone: what every exported form is made of."""

import tensorflow as tf

from kdet import ops


class ExportError(ValueError):
    """A model cannot be exported in the wanted form; the message names the part and the way out."""


class Program(tf.Module):
    """Normalisation, network and post-processing of a detector, traced without Python around it.

    Args:
        model: detector.
        form: of the ops: ``portable`` (TensorFlow's own only) or ``compiled`` (kdet's library).
    """

    def __init__(self, model, form="portable"):
        super().__init__(name=model.name)
        if form not in ("portable", "compiled"):
            raise ValueError(f"ops is 'portable' or 'compiled', not {form!r}.")
        self.model, self.form = model, form

    def detect(self, inputs):
        """Detections of network inputs (the data contract), for use inside a trace.

        Args:
            inputs: images ``[N,H,W,3]``, or the dict with ``valid_size``, ``scale`` ...

        Returns:
            Detections: ``boxes [N,M,4]`` xyxy in original pixels, ``scores [N,M]``, ``labels [N,M]`` (-1:
            padding), ``num_detections [N]``, and where the model has them ``masks [N,M,m,m]``.
        """
        with ops.use(self.form):
            return self.model(inputs, training=False)

    def on_canvas(self, height, width, batch=1):
        """``detect`` for canvases of one shape that the picture fills: a ``ConcreteFunction``.

        Args:
            height, width: of the canvas; None leaves them open.
            batch: pictures per call; None leaves it open.

        Returns:
            ConcreteFunction of ``images``, uint8 ``[batch,height,width,3]`` RGB -> Detections.

        Raises:
            ExportError: the trace holds an op that TensorFlow alone does not have (``portable``).
        """
        spec = tf.TensorSpec([batch, height, width, 3], tf.uint8, name="images")
        function = tf.function(lambda images: self.detect(images), input_signature=[spec])
        traced = function.get_concrete_function()
        if self.form == "portable":
            check_stock_ops(traced)
        return traced


def check_stock_ops(traced):
    """Raises where a ``ConcreteFunction`` holds what stock TensorFlow cannot run without Python."""
    definition = traced.graph.as_graph_def()
    nodes = list(definition.node)
    for function in definition.library.function:
        nodes += function.node_def
    for node in nodes:
        if node.op.startswith("Kdet") or node.op in ("PyFunc", "PyFuncStateless", "EagerPyFunc"):
            raise ExportError(
                f"{node.name} is a {node.op}, which stock TensorFlow cannot run: the op was traced before "
                "the export. Load the model again and export it first, or pass ops='compiled'."
            )
