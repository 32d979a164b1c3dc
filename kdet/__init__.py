"""kdet: object detection and instance segmentation for Keras 3 and TensorFlow.

>>> import kdet
>>> detector = kdet.zoo.load("faster_rcnn_r50_fpn_1x")
>>> detector.predict(["street.jpg"])
"""

__version__ = "0.1.0"

# Importing a room registers its classes, so that recipes and `.keras` files find them.
from kdet import (
    assigners,
    backbones,
    coders,
    config,
    convert,
    data,
    detectors,
    evaluation,
    heads,
    layers,
    losses,
    necks,
    ops,
    postprocess,
    priors,
    samplers,
    structures,
    train,
    visualize,
    zoo,
)

__all__ = [
    "assigners",
    "backbones",
    "coders",
    "config",
    "convert",
    "data",
    "detectors",
    "evaluation",
    "heads",
    "layers",
    "losses",
    "necks",
    "ops",
    "postprocess",
    "priors",
    "samplers",
    "structures",
    "train",
    "visualize",
    "zoo",
]
