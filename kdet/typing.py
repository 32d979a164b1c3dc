"""Names of the types that signatures of kdet repeat.

Tensors, layers and models have no types of their own for a type checker (TensorFlow and Keras ship none), so
these names are for the reader; docstrings say shapes and units.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

# What TensorFlow computes with: eager and symbolic tensors, variables, and what it converts by itself.
Tensor: TypeAlias = tf.Tensor
# A NumPy array of any dtype.
Array: TypeAlias = NDArray[Any]
# One map per level or stage, ``[B,h,w,C]``, finest first.
Maps: TypeAlias = Sequence[tf.Tensor]
# A dtype by its name or of TensorFlow or NumPy.
DType: TypeAlias = str | tf.DType | np.dtype[Any]
# A file or a folder.
PathLike: TypeAlias = str | os.PathLike[str]
# A mapping that stands for an object: the ``type`` of a class and the keywords of its constructor.
Spec: TypeAlias = dict[str, Any]
# A key path of a recipe: ``("model", "neck", "type")``.
KeyPath: TypeAlias = tuple[str, ...]
# (height, width), or what else goes along y and along x.
Pair: TypeAlias = tuple[int, int]
# One detection or one object of an image as in COCO's JSON.
Result: TypeAlias = dict[str, Any]
# Arrays, or what ``np.asarray`` makes one of, by their PyTorch names.
StateDict: TypeAlias = Mapping[str, Any]
# How a PyTorch tensor lies in memory compared with the Keras variable it fills (``kdet.convert.layouts``).
LayoutRule: TypeAlias = str | tuple[Any, ...] | None
# Torch names of a layer's tensors: (attribute, how the tensor lies in PyTorch).
TorchTensors: TypeAlias = dict[str, tuple[str, LayoutRule]]
# What ``make_norm`` builds a norm from: a kind, a mapping with a ``kind``, or None for none.
Norm: TypeAlias = str | dict[str, Any] | None
# Name of an activation of Keras, or a function.
Activation: TypeAlias = str | Callable[[tf.Tensor], tf.Tensor] | None
# What Keras gives ``build``: ints, None where a size is open.
Shape: TypeAlias = Sequence[Any]
# What ``make_conv`` builds a convolution from: a kind, a mapping with a ``kind``, a layer, or None.
Conv: TypeAlias = str | dict[str, Any] | Any | None
# A compressed run-length encoding of one mask: ``size`` [h, w] and ``counts``.
Rle: TypeAlias = dict[str, Any]
# Tensors by name, such as a sample of the data pipeline.
Tensors: TypeAlias = dict[str, tf.Tensor]
