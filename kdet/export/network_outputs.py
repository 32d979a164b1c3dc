"""What is compared of a detector and its TFLite file when neither finds anything.

Images of noise, or a model that has learned nothing, rarely pass a score threshold, and two empty lists are
equal whatever made them. So the values that the network hands to its decoding are compared: the outputs of a
dense head; the maps and the proposals' outputs of a two-stage detector, whose second stage stays unseen.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kdet.export import flatbuffer, quantize
from kdet.export.litert import Runner
from kdet.export.program import ExportError
from kdet.typing import Array, Tensor


def check(
    name: str,
    single: bytes,
    content: bytes,
    function: Any,
    limit: float,
    images: Array,
    **proposals: Array,
) -> float:
    """Compares the network of a TFLite file with the function that it was made of.

    Args:
        name: of the model, for the error.
        single: bytes of the float32 file that ``content`` was made of, in which the network ends.
        content: bytes of the file.
        function: ``ConcreteFunction`` that ``single`` was converted from.
        limit: largest difference of a tensor, as a share of its size (both as root mean squares).
        images, proposals: inputs of both.

    Returns:
        The largest difference.

    Raises:
        ExportError: beyond the limit, or nothing of the file has the name of anything in ``function``.
    """
    model = flatbuffer.read(single)
    names = [model.subgraphs[0].tensors[i].name.decode() for i in quantize.find_network(model).outputs]
    runner = Runner(content, keep_all=True)
    runner(images, **proposals)
    index = {tensor["name"]: tensor["index"] for tensor in runner.interpreter.get_tensor_details()}
    alike = {tensor: _alike(function.graph, tensor) for tensor in names}
    inside = values(function, alike, [images, *proposals.values()])
    found = {}
    for tensor in names:
        got = runner.interpreter.get_tensor(index[tensor]).ravel()
        if differences := [apart(got, value) for value in inside[tensor] if value.size == got.size]:
            found[tensor] = min(differences)
    if not found:
        raise ExportError(
            f"{name} finds nothing on these images, and no tensor of the exported TFLite model could be "
            "compared instead. It was not written. The way out: representative=[images with objects], or "
            "check=False."
        )
    worst = max(found, key=lambda tensor: np.nan_to_num(found[tensor], nan=np.inf))
    if not found[worst] <= limit:
        raise ExportError(
            f"{name}: {worst.partition(';')[0]} of the exported TFLite model differs from the model's by "
            f"{found[worst]:.2%} (allowed: {limit:.2%}). It was not written."
        )
    return found[worst]


def _alike(graph: tf.Graph, name: str) -> list[Tensor]:
    """Float tensors of a trace that a file's tensor may be: its name is of one op, or of several fused ones.

    The converter numbers names that it needs twice, and leaves out the bias or activation that comes last.
    """
    known, found = {op.name: op for op in graph.get_operations()}, []
    for part in name.split(";"):
        op = known.get(part) or known.get(re.sub(r"\d+$", "", part))
        if op is not None:
            found += op.outputs
            found += [out for after in op.outputs[0].consumers() for out in after.outputs]
    return list({tensor.name: tensor for tensor in found if tensor.dtype == tf.float32}.values())


def values(
    function: Any, tensors: Mapping[str, Sequence[Tensor]], inputs: Sequence[Array]
) -> dict[str, list[Array]]:
    """Values inside of a ``ConcreteFunction`` for its inputs, as arrays.

    Args:
        tensors: dict of lists of tensors of its graph.
    """
    definition = function.graph.as_graph_def()
    places = [tensor.name for tensor in function.inputs]
    names = {key: [tensor.name for tensor in some] for key, some in tensors.items()}

    wanted = sorted({name for some in names.values() for name in some})

    @tf.function(autograph=False)
    def run(*inputs: Tensor) -> dict[str, Tensor]:
        return dict(
            zip(wanted, tf.graph_util.import_graph_def(definition, dict(zip(places, inputs)), wanted))
        )

    found = run(*map(tf.constant, inputs), *function.captured_inputs)
    return {key: [found[name].numpy() for name in some] for key, some in names.items()}


def apart(got: Array, wanted: Array) -> float:
    """The root mean square of a difference as a share of that of what is wanted."""
    size = np.sqrt(np.mean(np.square(wanted, dtype=np.float64)))
    return np.sqrt(np.mean(np.square(got - wanted.ravel(), dtype=np.float64))) / max(size, 1e-30)
