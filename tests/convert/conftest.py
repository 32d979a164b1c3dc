"""A detector of a few hundred numbers with the names of Mask R-CNN."""

import keras
import numpy as np
import pytest

from kdet.convert import torch_items
from tests.convert.plain_layers import Conv, Dense, Norm


class Node(keras.layers.Layer):
    """Holds what it is given under the names it is given."""

    def __init__(self, **children):
        super().__init__()
        for name, child in children.items():
            setattr(self, name, child)
        self.built = True


def built(layer, *shape):
    layer.build((None, *shape))
    return layer


def make_backbone(blocks=1):
    conv1, bn1 = built(Conv(4, 3, use_bias=False), 8, 8, 3), built(Norm(), 8, 8, 4)
    layer1 = [Node(conv1=built(Conv(4, 1, use_bias=False), 8, 8, 4)) for _ in range(blocks)]
    return Node(conv1=conv1, bn1=bn1, layer1=layer1)


def make_detector(classes=3):
    head = Node(fc_cls=built(Dense(classes + 1), 5), fc_reg=built(Dense(4 * classes), 5))
    mask = Node(conv_logits=built(Conv(classes, 1), 8, 8, 2))
    return Node(backbone=make_backbone(), roi_head=Node(bbox_head=head, mask_head=mask))


def make_state(model):
    """Distinct numbers for every tensor of a model, in PyTorch's layout."""
    rng = np.random.default_rng(0)
    return {k: rng.normal(size=slot.shape).astype("float32") for k, slot in torch_items(model).items()}


@pytest.fixture
def toys():
    class Toys:
        backbone, detector, state = map(staticmethod, (make_backbone, make_detector, make_state))

    return Toys


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    """Every test has its own empty cache."""
    monkeypatch.setenv("KDET_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
