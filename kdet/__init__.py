"""kdet: object detection and instance segmentation for Keras 3 and TensorFlow.

>>> import kdet
>>> detector = kdet.zoo.load("faster_rcnn_r50_fpn_1x")
>>> detector.predict(["street.jpg"])
"""

import importlib
import importlib.util

__version__ = "0.1.0"

# Importing a room registers its classes, so that recipes and `.keras` files find them.
_ROOMS = (
    "layers",
    "backbones",
    "necks",
    "priors",
    "coders",
    "assigners",
    "samplers",
    "losses",
    "heads",
    "postprocess",
    "detectors",
    "convert",
    "data",
    "train",
    "config",
    "zoo",
)
for _room in _ROOMS:
    if importlib.util.find_spec(f"kdet.{_room}"):
        importlib.import_module(f"kdet.{_room}")
