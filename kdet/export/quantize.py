"""Smaller numbers for the network of a TFLite model; decoding and suppression stay in float32.

Positions of boxes do not survive in eight bits, nor anchors in half precision, and the converter's own
switches know no border between a network and what follows it. So a model is converted once, in float32,
and its flatbuffer is rewritten: here is what counts as its network, and what becomes of the weights.
"""

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from kdet import compat
from kdet.export import flatbuffer
from kdet.export.program import ExportError
from kdet.typing import Array

schema = compat.tflite().schema

# operators with weights, and the axis of the output channels in these
_WEIGHTED = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0, "FULLY_CONNECTED": 0}
# a matrix of fewer elements is arithmetic of a decoder, such as the bins of a box distribution
_LEAST_WEIGHTS = 256
# operators between them that lose nothing much in eight bits
_PLAIN = frozenset(
    "ADD AVERAGE_POOL_2D CONCATENATION LEAKY_RELU MAX_POOL_2D PAD RELU RELU6 RESIZE_BILINEAR "
    "RESIZE_NEAREST_NEIGHBOR".split()
)
# what comes after these works on chosen boxes: the second stage of a two-stage detector stays in float
_CHOICES = frozenset(
    "TOPK_V2 NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 WHILE IF CALL_ONCE ARG_MAX".split()
)


@dataclasses.dataclass
class Network:
    """The part of a main graph up to its last weights.

    Attributes:
        members: indices of its operators.
        outputs: tensors that the rest of the graph takes from it.
        float_names: outputs (bytes) of those of its operators that quantisation must leave alone.
    """

    members: set[int]
    outputs: list[int]
    float_names: list[bytes]


def find_network(model: Any) -> Network:
    """The ``Network`` of a ``schema.ModelT``: operators on the way to a weighted one, before any choice.

    Raises:
        ExportError: there are no convolutions or dense layers.
    """
    graph = model.subgraphs[0]
    # what comes with the images are boxes that somebody has chosen
    chosen = {i for i in graph.inputs if graph.tensors[i].type != schema.TensorType.UINT8}
    fed: set[int] = set()
    eligible: list[int] = []
    plain: set[int] = set()
    for index, operator in enumerate(graph.operators):
        name, inputs = flatbuffer.op_name(model, operator), [i for i in operator.inputs if i >= 0]
        if name in _CHOICES or chosen.intersection(inputs):
            chosen.update(operator.outputs)
            continue
        eligible.append(index)
        weighted = weights_of(model, operator) is not None
        if weighted or (fed.intersection(inputs) and _is_plain(model, name, inputs)):
            plain.add(index)
        if weighted or fed.intersection(inputs):
            fed.update(operator.outputs)
    members: set[int] = set()
    needed: set[int] = set()
    for index in reversed(eligible):
        operator = graph.operators[index]
        if weights_of(model, operator) is not None or needed.intersection(operator.outputs):
            members.add(index)
            needed.update(operator.inputs)
    if not members:
        raise ExportError("This model has no convolution before its first choice of boxes to quantise.")
    taken = set(graph.outputs)
    taken.update(*(op.inputs for i, op in enumerate(graph.operators) if i not in members))
    made = [tensor for index in sorted(members) for tensor in graph.operators[index].outputs]
    left = [tensor for index in members - plain for tensor in graph.operators[index].outputs]
    names = [graph.tensors[tensor].name for tensor in left]
    return Network(members, [tensor for tensor in made if tensor in taken], names)


def _is_plain(model: Any, name: str, inputs: Any) -> bool:
    # a sum with a constant shifts something: sampling positions for one
    constants = [i for i in inputs if flatbuffer.data_of(model, i) is not None]
    return name in _PLAIN and not (name == "ADD" and constants)


def weights_of(model: Any, operator: Any) -> Array | None:
    """Float weights of a convolution or dense layer as an array, None for other operators."""
    if flatbuffer.op_name(model, operator) not in _WEIGHTED:
        return None
    weights = flatbuffer.array_of(model, operator.inputs[1])
    return weights if weights is not None and weights.size >= _LEAST_WEIGHTS else None


def to_int8(content: bytes, images: Iterable[Array]) -> bytes:
    """A float32 flatbuffer whose network computes in 8-bit integers.

    Args:
        content: bytes.
        images: iterable of input batches, uint8 ``[B,H,W,3]``; they decide the ranges of the activations.

    Raises:
        ExportError: there is no network, or TensorFlow's runtime, which measures it, cannot run an operator.
    """
    model = flatbuffer.read(content)
    network = find_network(model)
    part = flatbuffer.extract(model, network.members, network.outputs)
    names = [name.decode() for name in network.float_names]
    try:
        measured = compat.tflite().calibrator.Calibrator(flatbuffer.write(part))
        measured = measured.calibrate(lambda: ([batch] for batch in images))
        quantized = compat.tflite().convert.mlir_quantize(measured, denylisted_nodes=names)
    except (RuntimeError, ValueError, compat.tflite().convert.ConverterError) as error:
        where, reason = _operator_of(error, part), str(error).strip().partition("Node number")[0]
        raise ExportError(
            f"int8 fails at {where}: {reason.splitlines()[0].rstrip('. ')}. The way out: dtype='dynamic', or "
            "'fp16'."
        ) from error
    flatbuffer.replace(model, network.members, network.outputs, flatbuffer.read(quantized))
    return flatbuffer.write(model)


def _operator_of(error: BaseException, model: Any) -> str:
    """The operator that a runtime's message numbers, by kind and place in the detector."""
    number = re.search(r"Node number (\d+)", str(error))
    operators = model.subgraphs[0].operators
    if number is None or int(number[1]) >= len(operators):
        return "the network"
    operator = operators[int(number[1])]
    name = model.subgraphs[0].tensors[operator.outputs[0]].name.decode()
    return f"{flatbuffer.op_name(model, operator)} ({name.partition(';')[0]})"


def to_float16(content: bytes) -> bytes:
    """A float32 flatbuffer that stores its weights in 16 bits; it computes in float32."""
    model = flatbuffer.read(content)
    graph = model.subgraphs[0]
    # version 3 of DEQUANTIZE is the first that takes float16
    code = flatbuffer.add_operator_code(model, schema.BuiltinOperator.DEQUANTIZE, 3)
    widened, operators = {}, []
    for operator in graph.operators:
        weights = weights_of(model, operator)
        if weights is not None:
            tensor = operator.inputs[1]
            if tensor not in widened:
                name = graph.tensors[tensor].name
                stored = flatbuffer.add_constant(
                    model,
                    weights.astype(np.float16),
                    schema.TensorType.FLOAT16,
                    name + b"/float16",
                )
                widened[tensor] = _activation(graph, tensor, name + b"/float32")
                widen = schema.OperatorT()
                widen.opcodeIndex, widen.inputs, widen.outputs = code, [stored], [widened[tensor]]
                operators.append(widen)
            _set_weights(operator, widened[tensor])
        operators.append(operator)
    graph.operators = operators
    flatbuffer.drop_unused(model)
    return flatbuffer.write(model)


def _activation(graph: Any, like: Any, name: bytes) -> int:
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.name = (
        graph.tensors[like].shape,
        schema.TensorType.FLOAT32,
        name,
    )
    tensor.buffer = 0
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def to_dynamic(content: bytes) -> bytes:
    """A float32 flatbuffer with 8-bit weights; activations are quantised as they come, at run time."""
    model = flatbuffer.read(content)
    graph = model.subgraphs[0]
    stored = {}
    for operator in graph.operators:
        name, weights = flatbuffer.op_name(model, operator), weights_of(model, operator)
        if weights is None or name == "TRANSPOSE_CONV" or _in_groups(graph, operator, name):
            continue  # these have no kernel for float activations and 8-bit weights
        tensor = operator.inputs[1]
        if tensor not in stored:
            # dense layers: one scale for all, which every version of the runtime knows
            axis = None if name == "FULLY_CONNECTED" else _WEIGHTED[name]
            integers, quantization = _eight_bits(weights, axis)
            stored[tensor] = flatbuffer.add_constant(
                model,
                integers,
                schema.TensorType.INT8,
                graph.tensors[tensor].name + b"/int8",
                quantization,
            )
        _set_weights(operator, stored[tensor])
    flatbuffer.drop_unused(model)
    return flatbuffer.write(model)


def _in_groups(graph: Any, operator: Any, name: str) -> bool:
    channels = [graph.tensors[i].shape[-1] for i in operator.inputs[:2]]
    return name == "CONV_2D" and channels[0] != channels[1]


def _set_weights(operator: Any, tensor: int) -> None:
    operator.inputs = [operator.inputs[0], tensor, *operator.inputs[2:]]


def _eight_bits(weights: Array, axis: int | None) -> tuple[Array, Any]:
    """Integers -127..127 and their ``QuantizationParametersT``, symmetric, with a scale per ``axis``."""
    others = tuple(k for k in range(weights.ndim) if k != axis)
    scale = np.maximum(np.abs(weights).max(axis=others, keepdims=True) / 127.0, 1e-12).astype(np.float32)
    quantization = schema.QuantizationParametersT()
    quantization.scale = scale.ravel()
    quantization.zeroPoint = np.zeros(scale.size, np.int64)
    quantization.quantizedDimension = axis or 0
    return np.clip(np.round(weights / scale), -127, 127).astype(np.int8), quantization
