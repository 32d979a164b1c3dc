"""Every private name of Keras and TensorFlow that kdet uses, and differences between their versions.

``tests/test_compat.py`` has a test for each, on every allowed version; its failure says what broke.
"""

import functools
import gc
import importlib
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import h5py
import keras
import tensorflow as tf
from keras.src.saving import saving_lib
from tensorflow.python.data.ops.multi_device_iterator_ops import OwnedMultiDeviceIterator
from tensorflow.python.ops import control_flow_util

from kdet.typing import Tensor

KERAS = tuple(int(part) for part in keras.__version__.split(".")[:2])
# where iterators keep what TensorFlow destroys them by
HANDLES = {
    tf.data.Iterator: "_iterator_resource",
    OwnedMultiDeviceIterator: "_multi_device_iterator_resource",
}


class _Entry:
    """Takes what one object stores."""

    def __init__(self, values: dict[str, Any], prefix: str) -> None:
        self.values, self.prefix = values, prefix

    def __setitem__(self, key: str, value: Any) -> None:
        self.values[self.prefix + key] = value


class _Recorder(saving_lib.H5IOStore):
    """Looks like a file to Keras and keeps what would be written."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def __bool__(self) -> bool:
        return True

    def make(self, path: str, metadata: dict[str, Any] | None = None) -> _Entry:
        return _Entry(self.values, f"{path}/vars/" if path else "vars/")


def stored_values(model: keras.Model) -> dict[str, Any]:
    """Return what Keras would write into a weights file of a model, by its path in the file.

    Weights are the ``keras.Variable`` objects themselves; the slots of an optimizer are arrays.
    """
    recorder = _Recorder()
    saving_lib._save_state(model, recorder, None, "", set())
    return recorder.values


def is_recording(store: Any) -> bool:
    """Return whether the ``store`` of a ``save_own_variables`` belongs to :func:`stored_values`."""
    return isinstance(store, _Entry)


def open_file(store: Any) -> h5py.File | None:
    """Return the HDF5 file behind the ``store`` of a ``load_own_variables``.

    None for weights in several files and for stores that are no files.
    """
    return store.h5_file if type(store) is saving_lib.H5IOStore else None


def close_iterators() -> int:
    """Close every iterator over a ``tf.data.Dataset`` of this process; they cannot be used afterwards.

    An iterator ends when the last reference to its handle goes. Returns only when the functions that it
    runs in the background have returned, so none of them asks for the interpreter later.

    Returns:
        how many were open.
    """
    known, count = {}, 0
    gc.unfreeze()  # objects that a program froze are not listed
    for candidate in gc.get_objects():
        kind = type(candidate)
        if kind not in known:  # asked once per class: there may be a million objects
            known[kind] = next((name for base, name in HANDLES.items() if issubclass(kind, base)), None)
        name = known[kind]
        if name is not None and vars(candidate).get(name) is not None:
            setattr(candidate, name, None)
            count += 1
    return count


def layers_of(model: keras.Layer) -> list[keras.Layer]:
    """Return a layer or model and all layers inside it, at any depth."""
    return list(model._flatten_layers())


class BuiltModel(keras.Model):
    """A model that has all its variables: ``fit`` does not call it symbolically on its first batch."""

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        pass


class ReplicaOptimizer(keras.optimizers.Optimizer):
    """An optimizer that sums gradients over the replicas before anything else is done with them.

    Keras would clip and decay on each replica by itself.
    """

    ema_momentum: Any

    def bind(self, model: keras.Model) -> Any:
        """Look at the model that is compiled with the optimizer; called before it builds."""

    def merged(self, pairs: list[tuple[Tensor, tf.Variable]]) -> list[tuple[Tensor, tf.Variable]]:
        """Return what to apply for ``[(gradient, variable), ...]`` that are summed over the replicas."""
        return pairs

    def averaging_momentum(self) -> Any:
        """Return the share of the old average of the weights in the new one, at this step."""
        return self.ema_momentum

    def _update_model_variables_moving_average(self, trainable_variables: list[keras.Variable]) -> None:
        constant = self.ema_momentum
        self.ema_momentum = self.averaging_momentum()  # which is all that Keras reads
        try:
            super()._update_model_variables_moving_average(trainable_variables)
        finally:
            self.ema_momentum = constant

    def _clip_gradients(self, grads: list[Tensor]) -> list[Tensor]:
        return grads

    def _apply_weight_decay(self, variables: list[keras.Variable]) -> None:
        pass

    def _backend_update_step(
        self, grads: list[Tensor], trainable_variables: list[keras.Variable], learning_rate: Tensor
    ) -> None:
        variables = [v.value if isinstance(v, keras.Variable) else v for v in trainable_variables]
        pairs = self.merged(self._all_reduce_sum_gradients(list(zip(grads, variables))))
        tf.__internal__.distribute.interim.maybe_merge_call(
            self._distributed_tf_update_step, self._distribution_strategy, pairs, learning_rate
        )


def averages_of(optimizer: keras.optimizers.Optimizer | None) -> list[tuple[keras.Variable, keras.Variable]]:
    """Return ``(variable, its average)`` of what an optimizer with ``use_ema=True`` averages; else nothing.

    Keras' own callback that uses them (``SwapEMAWeights``) reads the same two attributes.
    """
    inner: Any = optimizer
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        inner = optimizer.inner_optimizer
    if inner is None or not inner.use_ema or not inner.built:
        return []
    pairs = zip(inner._trainable_variables, inner._model_variables_moving_average, strict=True)
    return [(variable, average) for variable, average in pairs if average is not None]


def under_xla() -> bool:
    """Return whether what is traced now is for XLA (``jit_compile=True``)."""
    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


@functools.cache
def tflite() -> types.SimpleNamespace:
    """Return TensorFlow Lite's private modules, imported when they are first asked for.

    ``convert``, ``calibrator``, ``schema`` (of the flatbuffer), ``flatbuffer_utils``, ``interpreter``.
    """
    names = {
        "convert": "tensorflow.lite.python.convert",
        "calibrator": "tensorflow.lite.python.optimize.calibrator",
        "schema": "tensorflow.lite.python.schema_py_generated",
        "flatbuffer_utils": "tensorflow.lite.tools.flatbuffer_utils",
        "interpreter": "tensorflow.lite.python.interpreter",
    }
    return types.SimpleNamespace(**{key: importlib.import_module(name) for key, name in names.items()})


# what makes a dataset out of a dataset
_DERIVING = (
    "apply", "batch", "cache", "concatenate", "enumerate", "filter", "map", "prefetch", "repeat", "shard",
    "shuffle", "skip", "take", "take_while", "unbatch", "with_options",
)  # fmt: skip


class WatchedDataset(tf.data.Dataset):
    """A dataset, and the datasets made of it, whose elements are fetched inside a context manager.

    (``_inputs`` is TensorFlow's name for what a dataset is made of; it has no public counterpart.)

    Args:
        data: the dataset.
        watch: makes a context manager for every fetch.
    """

    def __init__(self, data: tf.data.Dataset, watch: Callable[[], AbstractContextManager[Any]]) -> None:
        self._watched, self._watch = data, watch
        super().__init__(tf.data.experimental.to_variant(data))

    def _inputs(self) -> list[tf.data.Dataset]:
        return [self._watched]

    @property
    def element_spec(self) -> Any:
        return self._watched.element_spec

    def __iter__(self) -> Iterator[Any]:
        if not tf.executing_eagerly():
            return super().__iter__()
        iterator = _watched_iterator()(self)
        iterator.watch = self._watch
        return iterator


@functools.cache
def _watched_iterator() -> type[Any]:
    """TensorFlow's class of iterators (it is not exported) with the fetch inside ``watch``."""

    base: Any = type(iter(tf.data.Dataset.range(1)))

    class WatchedIterator(base):
        watch: Callable[[], AbstractContextManager[Any]]

        def __next__(self) -> Any:
            with self.watch():
                return super().__next__()

    return WatchedIterator


def _deriving(name: str) -> Callable[..., tf.data.Dataset]:
    plain = getattr(tf.data.Dataset, name)  # one of the methods listed above

    @functools.wraps(plain)
    def derive(self: Any, *arguments: Any, **keywords: Any) -> tf.data.Dataset:
        return WatchedDataset(plain(self, *arguments, **keywords), self._watch)

    return derive


for _name in _DERIVING:
    setattr(WatchedDataset, _name, _deriving(_name))


def watched_dataset(data: tf.data.Dataset, watch: Any) -> tf.data.Dataset:
    """``data`` as a :class:`WatchedDataset`; inside a graph, where nothing is fetched, ``data`` itself."""
    return WatchedDataset(data, watch) if tf.executing_eagerly() else data


def called_function(op: tf.Operation, attribute: str) -> tuple[Any, bytes]:
    """Return the graph of a function that an op of a trace calls, and what the function implements.

    Args:
        op: of a graph of this process.
        attribute: of the op that names the function.
    """
    name = op.get_attr(attribute).name
    function = op.graph._get_function(name)
    return function.graph, function.definition.attr["_implements"].s
