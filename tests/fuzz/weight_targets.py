"""Targets for files of weights, whatever wrote them: filled as the file says, or nothing changed."""

import numpy as np

from kdet.convert import cache, read_pth, safe_load
from kdet.convert.pth import StoredTensor
from kdet.detectors.saving import Saving
from tests.convert.plain_layers import Conv, Norm
from tests.fuzz.mutations import damaged
from tests.fuzz.target import ASSETS, Target


class Checkpoints(Target):
    def prepare(self):
        folder = ASSETS / "checkpoints"
        self.valid = [(folder / name).read_bytes() for name in ("zip.pth", "stream.pth")]

    def case(self, random):
        path = self.write("damaged.pth", damaged(random, random.choice(self.valid)))
        self._walk(read_pth(path))

    def _walk(self, tree):
        if isinstance(tree, dict):
            for value in tree.values():
                self._walk(value)
        elif isinstance(tree, StoredTensor):
            assert tree.numpy().shape == tree.shape


class Net(Saving):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = Conv(2, 3), Norm()
        self(np.zeros((1, 8, 8, 3), np.float32))

    def call(self, x):
        return self.norm(self.conv(x))


class _OfNet(Target):
    """A file of the weights of ``Net``."""

    name: str

    def prepare(self):
        self.model = Net()
        self.save(self.folder / self.name)
        self.content = (self.folder / self.name).read_bytes()
        self.values = self.model.get_weights()

    def case(self, random):
        path = self.write(self.name, damaged(random, self.content))
        try:
            self.load(path)
            assert all(np.isfinite(value).all() for value in self.model.get_weights())
            if not self.has_sums:  # a changed value is a value
                self.model.set_weights(self.values)
        finally:  # either way the values are the true ones
            for found, value in zip(self.model.get_weights(), self.values, strict=True):
                np.testing.assert_array_equal(found, value)


class Converted(_OfNet):
    name, has_sums = "net.safetensors", True

    def save(self, path):
        cache.save_weights(self.model, path)

    def load(self, path):
        cache.fill(self.model, path)


class KerasWeights(_OfNet):
    name, has_sums = "net.weights.h5", False

    def save(self, path):
        self.model.save_weights(path)

    def load(self, path):
        safe_load.load(self.model, path)


class KerasArchive(KerasWeights):
    name, has_sums = "net.keras", True

    def save(self, path):
        self.model.save(path)
