"""From a trace of TensorFlow to a graph of ONNX: `Converter`."""

from kdet.export.nodes.convert import Converter
from kdet.export.nodes.kernels import sampled_deform_conv2d
from kdet.export.nodes.values import Unsupported

__all__ = ["Converter", "Unsupported", "sampled_deform_conv2d"]
