"""TFLite flatbuffers as Python objects: what a graph consists of, and cutting and joining graphs."""

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kdet import compat
from kdet.typing import Array

schema, flatbuffer_utils = compat.tflite().schema, compat.tflite().flatbuffer_utils
_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


def read(content: bytes) -> Any:
    """The ``schema.ModelT`` of a flatbuffer's bytes."""
    return flatbuffer_utils.convert_bytearray_to_object(content)


def write(model: Any) -> bytes:
    """The bytes of a ``schema.ModelT``."""
    return flatbuffer_utils.convert_object_to_bytearray(model)


def op_name(model: Any, operator: Any) -> str:
    """``CONV_2D`` and the like; for TensorFlow's own ops (and custom ones) ``FlexName``."""
    code = model.operatorCodes[operator.opcodeIndex]
    if code.customCode:
        return code.customCode.decode()
    return _NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def select_ops(model: Any) -> list[str]:
    """Names of the TensorFlow ops that need the Flex delegate, sorted."""
    used = {op_name(model, operator) for graph in model.subgraphs for operator in graph.operators}
    return sorted(name.removeprefix("Flex") for name in used if name.startswith("Flex"))


def data_of(model: Any, tensor: int) -> Array | None:
    """Bytes (uint8) of a constant tensor of the main graph, None for others."""
    data = model.buffers[model.subgraphs[0].tensors[tensor].buffer].data
    return None if data is None or len(data) == 0 else np.asarray(data, np.uint8)


def array_of(model: Any, tensor: int) -> Array | None:
    """A float32 constant of the main graph as an array; None for other tensors."""
    description, data = model.subgraphs[0].tensors[tensor], data_of(model, tensor)
    if data is None or description.type != schema.TensorType.FLOAT32:
        return None
    return data.view(np.float32).reshape(description.shape)


def add_constant(model: Any, array: Array, tensor_type: int, name: bytes, quantization: Any = None) -> int:
    """Adds a constant tensor to the main graph and returns its index."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(array.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.name = list(array.shape), tensor_type, name
    tensor.buffer, tensor.quantization = len(model.buffers) - 1, quantization
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def add_operator_code(model: Any, builtin: int, version: int) -> int:
    """Index of an operator code, which is added."""
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = builtin, version
    code.deprecatedBuiltinCode = min(builtin, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def extract(model: Any, members: Collection[int], outputs: Sequence[int]) -> Any:
    """The operators ``members`` of the main graph as a model of their own.

    Args:
        model: ``ModelT``; unchanged.
        members: indices of operators whose inputs are constants, graph inputs or each other's outputs.
        outputs: tensors that the new model returns, in this order.
    """
    part = copy.copy(model)
    part.subgraphs, part.signatureDefs = [copy.copy(model.subgraphs[0])], []
    graph = part.subgraphs[0]
    graph.tensors = [copy.copy(tensor) for tensor in graph.tensors]
    graph.operators = [copy.copy(graph.operators[i]) for i in sorted(members)]
    graph.inputs, graph.outputs = _inputs_of(model, members), list(outputs)
    part.buffers = list(model.buffers)
    drop_unused(part)
    return part


def replace(model: Any, members: Collection[int], outputs: Sequence[int], part: Any) -> None:
    """Puts ``part`` into the main graph of ``model`` in the place of the operators ``members``.

    Args:
        model: ``ModelT``; changed.
        members, outputs: as given to ``extract``.
        part: ``ModelT`` made of what ``extract`` gave.
    """
    graph, new = model.subgraphs[0], part.subgraphs[0]
    borders = [*_inputs_of(model, members), *outputs]
    place = dict(zip([*new.inputs, *new.outputs], borders, strict=True))
    for index, tensor in enumerate(new.tensors):
        if index not in place:
            place[index] = len(graph.tensors)
            tensor.buffer += len(model.buffers)
            graph.tensors.append(tensor)
    for operator in new.operators:
        operator.opcodeIndex += len(model.operatorCodes)
        _relabel(operator, place)
    model.buffers += part.buffers
    model.operatorCodes += part.operatorCodes
    kept = [operator for i, operator in enumerate(graph.operators) if i not in members]
    graph.operators = list(new.operators) + kept
    drop_unused(model)


def _inputs_of(model: Any, members: Collection[int]) -> list[int]:
    """Inputs of the main graph that the operators ``members`` read, in their order."""
    graph = model.subgraphs[0]
    read = {tensor for index in members for tensor in graph.operators[index].inputs}
    return [tensor for tensor in graph.inputs if tensor in read]


def drop_unused(model: Any) -> None:
    """Forgets tensors of the main graph, their data, and operator codes that nothing refers to."""
    graph = model.subgraphs[0]
    maps = [entry for signature in model.signatureDefs or [] if signature.subgraphIndex == 0
            for entry in [*signature.inputs, *signature.outputs]]  # fmt: skip
    used = {*graph.inputs, *graph.outputs, *(entry.tensorIndex for entry in maps)}
    for operator in graph.operators:
        used.update(operator.inputs, operator.outputs, _intermediates(operator))
    order = sorted(used - {-1})
    place = {old: new for new, old in enumerate(order)}
    graph.tensors = [graph.tensors[i] for i in order]
    graph.inputs, graph.outputs = ([place[i] for i in side] for side in (graph.inputs, graph.outputs))
    for entry in maps:
        entry.tensorIndex = place[entry.tensorIndex]
    for operator in graph.operators:
        _relabel(operator, place)
    operators = [operator for part in model.subgraphs for operator in part.operators]
    codes = sorted({operator.opcodeIndex for operator in operators})
    model.operatorCodes = [model.operatorCodes[i] for i in codes]
    for operator in operators:
        operator.opcodeIndex = codes.index(operator.opcodeIndex)
    data = {tensor.buffer for part in model.subgraphs for tensor in part.tensors}
    data |= {entry.buffer for entry in model.metadata or []}
    # the others keep their numbers and lose their bytes
    model.buffers = [b if i in data else schema.BufferT() for i, b in enumerate(model.buffers)]


def _relabel(operator: Any, place: Mapping[int, int]) -> None:
    """Gives an operator's tensors new numbers; -1 stands for an input that is left out."""
    operator.inputs = [i if i < 0 else place[i] for i in operator.inputs]
    operator.outputs = [place[i] for i in operator.outputs]
    operator.intermediates = [place[i] for i in _intermediates(operator)]


def _intermediates(operator: Any) -> Any:
    return [] if operator.intermediates is None else operator.intermediates
