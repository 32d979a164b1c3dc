"""Lists and dicts of layers inside others."""

import keras
import numpy as np
import tensorflow as tf

from kdet import compat, convert
from kdet.layers import Composite, LayerDict, LayerList, Linear


class Towers(Composite):
    def __init__(self):
        super().__init__()
        self.plain = [Linear(2), None]
        self.sizes = [(1, 2), (3, 4)]
        self.towers = [[Linear(2), None, Linear(3)], [Linear(4)], [[Linear(5)]]]
        self.cells = [{"a": Linear(2), "b": Linear(3)}, {}]
        self.named = {"x": [Linear(6)], "y": Linear(7)}

    def call(self, x):
        inner = [*self.towers[0], *self.towers[1], *self.towers[2][0], *self.named["x"], self.named["y"]]
        layers = [self.plain[0], *inner, self.cells[0]["a"], self.cells[0]["b"]]
        return tf.concat([layer(x) for layer in layers if layer is not None], -1)


def make():
    model = Towers()
    model(tf.ones([1, 2]))
    return model


def test_inner_lists_behave_like_lists_and_other_values_stay():
    model = make()
    assert isinstance(model.towers[0], LayerList) and isinstance(model.cells[0], LayerDict)
    assert model.plain[1] is None and isinstance(model.plain[0], Linear)
    assert [tuple(size) for size in model.sizes] == [(1, 2), (3, 4)]
    assert not isinstance(model.sizes[0], LayerList)
    tower = model.towers[0]
    assert tower.built and model.cells[0].built  # there is nothing to build: Keras waits for nobody
    assert len(tower) == 3 and tower[1] is None and tower[-1] is list(tower)[2] and len(tower[:2]) == 2
    assert "a" in model.cells[0] and "c" not in model.cells[0] and [*model.cells[0]] == ["a", "b"]
    assert not model.cells[1] and dict(model.cells[0].items())["b"] is model.cells[0]["b"]


def test_names_of_checkpoints_go_through_them():
    names = list(convert.torch_items(make()))
    wanted = "plain.0 towers.0.0 towers.0.2 towers.1.0 towers.2.0.0 cells.0.a cells.0.b named.x.0 named.y"
    assert names == [f"{name}.{kind}" for name in wanted.split() for kind in ("weight", "bias")]


def test_keras_saves_all_of_it(tmp_path):
    inputs = keras.Input([2])
    one, other = (keras.Model(inputs, make()(inputs)) for _ in range(2))
    assert len(compat.stored_values(one)) == len(one.weights) == 18
    one.save_weights(tmp_path / "a.weights.h5")
    other.load_weights(tmp_path / "a.weights.h5")
    for ours, theirs in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
