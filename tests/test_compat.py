"""The private names of Keras and TensorFlow that kdet relies on still mean what they meant."""

import h5py
import keras
import numpy as np
import pytest

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
