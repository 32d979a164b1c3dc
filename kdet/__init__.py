"""kdet: object detection and instance segmentation for Keras 3 and TensorFlow.

>>> import kdet
>>> detector = kdet.zoo.load("faster_rcnn_r50_fpn_1x")
>>> detector.predict(["street.jpg"])
"""

import os

__version__ = "0.1.0"

# TensorFlow's start-up messages do not help a user; a program that wants them sets the variable itself.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from kdet.quiet import startup  # noqa: E402

# Importing a room registers its classes, so that recipes and `.keras` files find them.
with startup():
    from kdet import (
        assigners,
        backbones,
        coders,
        config,
        contract,
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
        train,
        visualize,
        zoo,
    )

__all__ = [
    "assigners",
    "backbones",
    "coders",
    "config",
    "contract",
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
    "train",
    "visualize",
    "zoo",
]
