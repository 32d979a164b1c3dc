"""The private names of Keras and TensorFlow that kdet relies on still mean what they meant."""

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from kdet import compat
from kdet.convert import keras_files


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(2)])
    model.compile("sgd")
    return model


def test_what_keras_would_write_is_what_it_writes(model, tmp_path):
    model.save_weights(tmp_path / "a.weights.h5")
    with h5py.File(tmp_path / "a.weights.h5") as file:
        written = keras_files.file_shapes(file)
    stored = compat.stored_values(model)
    assert {path: tuple(value.shape) for path, value in stored.items()} == written, (
        "keras.src.saving.saving_lib._save_state, or the store it writes to, has changed: see kdet/compat.py"
    )
    kept = {id(value) for value in stored.values()}
    assert all(id(variable) in kept for variable in model.weights)


def test_the_store_of_a_file_shows_the_file(tmp_path):
    seen = {}

    class Watching(keras.layers.Dense):
        def save_own_variables(self, store):
            seen["recording"] = compat.is_recording(store)
            super().save_own_variables(store)

        def load_own_variables(self, store):
            seen["file"] = sorted(compat.open_file(store))
            super().load_own_variables(store)

    model = keras.Sequential([keras.Input([3]), Watching(2)])
    model.save_weights(tmp_path / "a.weights.h5")
    assert seen["recording"] is False, "kdet.compat.is_recording takes a file of Keras for its own recorder"
    compat.stored_values(model)
    assert seen["recording"] is True
    model.load_weights(tmp_path / "a.weights.h5")
    assert "layers" in seen["file"], "saving_lib.H5IOStore.h5_file is no longer the open file"


def test_a_replaced_file_is_read(tmp_path):
    """What a detector does with a file in an older layout."""

    class Replacing(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def call(self, x):
            return self.dense(x)

        def load_own_variables(self, store):
            copy = h5py.File("copy", "w", driver="core", backing_store=False)
            copy["dense/vars/0"], copy["dense/vars/1"] = np.full((3, 2), 5.0), np.full(2, 7.0)
            store.h5_file = copy
            super().load_own_variables(store)

    model = Replacing()
    model(np.zeros((1, 3)))
    model.save_weights(tmp_path / "a.weights.h5")
    model.load_weights(tmp_path / "a.weights.h5")
    assert np.asarray(model.dense.kernel).tolist() == [[5.0] * 2] * 3
    assert np.asarray(model.dense.bias).tolist() == [7.0] * 2


def test_layers_at_any_depth():
    inner = keras.Sequential([keras.Input([3]), keras.layers.Dense(2)])
    outer = keras.Sequential([keras.Input([3]), inner])
    found = compat.layers_of(outer)
    assert found[0] is outer and inner in found and inner.layers[0] in found, "Layer._flatten_layers changed"


def test_a_built_model_is_not_called_symbolically():
    calls = []

    class Model(compat.BuiltModel):
        def __init__(self):
            super().__init__()
            self.weight = self.add_weight(shape=(), name="weight")
            self.built = True

        def call(self, x):
            calls.append(type(x))
            return x * self.weight

        def train_step(self, data):
            return {"loss": tf.constant(0.0)}

    model = Model()
    model.compile("sgd")
    model.fit(np.ones((2, 1)), np.ones((2, 1)), verbose=0)
    assert not calls, "fit calls the model first: Trainer._maybe_symbolic_build has another name"


def test_gradients_are_merged_before_they_are_applied():
    class Optimizer(compat.ReplicaOptimizer):
        def __init__(self):
            super().__init__(learning_rate=1.0, name="own")

        def merged(self, pairs):
            return [(2 * gradient, variable) for gradient, variable in pairs]

        def update_step(self, gradient, variable, learning_rate):
            self.assign_sub(variable, gradient)

    variable = keras.Variable(np.float32([5.0]))
    Optimizer().apply_gradients([(tf.constant([1.0]), variable)])
    assert np.asarray(variable).tolist() == [3.0], "Optimizer._backend_update_step is not called any more"


def test_xla_is_seen_while_tracing():
    seen = []

    def function(x):
        seen.append(compat.under_xla())
        return x + 1.0

    for compiled in (False, True):
        tf.function(function, jit_compile=compiled, autograph=False)(tf.constant(1.0))
    assert seen == [False, True], "tensorflow: control_flow_util.GraphOrParentsInXlaContext has changed"


def test_the_private_modules_of_tflite_are_there():
    parts = compat.tflite()
    assert parts.schema.BuiltinOperator.CONV_2D == 3 and callable(parts.convert.convert_saved_model)
    assert callable(parts.convert.mlir_quantize) and callable(parts.calibrator.Calibrator)
    assert callable(parts.flatbuffer_utils.convert_bytearray_to_object)
    assert callable(parts.interpreter.Interpreter)


def test_iterators_are_found_and_closed():
    iterator = iter(tf.data.Dataset.range(3))
    assert int(next(iterator)) == 0
    assert compat.close_iterators() >= 1, "tf.data iterators keep their handle under another name"
    with pytest.raises(Exception, match="."):
        next(iterator)


def test_the_callbacks_of_a_running_fit_are_a_list_that_takes_more():
    callbacks = keras.callbacks.CallbackList([keras.callbacks.Callback()])
    assert isinstance(callbacks.callbacks, list), "CallbackList.callbacks: see kdet/detectors/epoch_means.py"


def test_functions_that_a_trace_calls_are_found():
    def double(x):
        return x * 2.0

    def call(x):
        doubled = tf.function(double, autograph=False, experimental_implements="twice")(x)
        return tf.while_loop(lambda y: y < 8.0, lambda y: [y + 1.0], [doubled])[0]

    graph = tf.function(call, autograph=False).get_concrete_function(tf.TensorSpec([])).graph
    calls = {op.type: op for op in graph.get_operations()}
    inner, implements = compat.called_function(calls["PartitionedCall"], "f")
    assert implements == b"twice" and "Mul" in {op.type for op in inner.get_operations()}
    body, implements = compat.called_function(calls["StatelessWhile"], "body")
    assert implements == b"" and "AddV2" in {op.type for op in body.get_operations()}
