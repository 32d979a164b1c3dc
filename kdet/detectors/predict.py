"""Prediction on pictures as users have them: paths, encoded bytes, arrays of any size."""

import math
import os

import keras
import numpy as np

from kdet import ops


def is_pictures(x):
    """True for a picture or a list of pictures, False for what Keras' own ``predict`` takes."""
    if isinstance(x, (str, bytes, os.PathLike)):
        return True
    if isinstance(x, np.ndarray):
        return x.ndim in (3, 4)
    return isinstance(x, (list, tuple)) and all(
        isinstance(p, (str, bytes, os.PathLike)) or (isinstance(p, np.ndarray) and p.ndim in (2, 3))
        for p in x
    )


def predict_pictures(model, pictures, batch_size=1, verbose=0):
    """Detections of pictures of any sizes, in their own pixels.

    Args:
        model: detector.
        pictures: one picture or a list: paths, encoded JPEG or PNG bytes, RGB arrays ``[h,w,3]`` 0..255.
        batch_size: pictures of one bucket shape that go through together.
        verbose: 1 for a progress bar.

    Returns:
        dict of NumPy arrays over the pictures in their order: ``boxes [P,N,4]``, ``scores [P,N]``,
        ``labels [P,N]`` (-1 for padding), ``num_detections [P]``, and where the model has them ``masks``,
        a list of bool ``[num_detections, h, w]`` in the picture's size.
    """
    from kdet import data  # the pipeline is only needed here, and import time is precious

    if isinstance(pictures, (str, bytes, os.PathLike)) or getattr(pictures, "ndim", 4) == 3:
        pictures = [pictures]
    rule = model.preprocessor
    size = list(rule.size) if rule.keep_ratio else {"mode": "fixed", "sizes": [list(rule.size)]}
    bar = keras.utils.Progbar(math.ceil(len(pictures))) if verbose else None
    rows = [None] * len(pictures)
    for positions, inputs in data.batches(pictures, size, batch_size=batch_size, divisor=rule.pad_divisor):
        found = {k: np.asarray(v) for k, v in model.predict_on_batch(inputs).items()}
        sizes = np.asarray(inputs["original_size"]).astype(int)
        for row, position in enumerate(positions):
            own = {k: v[row] for k, v in found.items()}
            if "masks" in own:
                own["masks"] = model.picture_masks(own, *sizes[row])
            rows[position] = own
        if bar is not None:
            bar.add(len(positions))
    stacked = {k: [r[k] for r in rows] for k in rows[0]} if rows else {}
    return {k: v if k == "masks" else np.stack(v) for k, v in stacked.items()}


def paste(detections, height, width, threshold=0.5):
    """Masks ``[num,height,width]`` bool from masks in the frames of their boxes."""
    count = int(detections["num_detections"])
    return ops.paste_masks_numpy(
        detections["masks"][:count], detections["boxes"][:count], height, width, threshold
    )
