"""Which classes are taken for which."""

from typing import Any

import numpy as np

from kdet.analysis.matches import scenes
from kdet.typing import Array, Result


def confusion(
    truth: dict[str, Any],
    results: list[Result],
    of: str = "bbox",
    score: float = 0.3,
    overlap: float = 0.5,
    most: int = 100,
) -> Array:
    """Counts of objects by their class and that of the detection that covers them best.

    Pairs are made by falling IoU whatever the classes, each object and each detection once. What lies in a
    crowd of its class does not count.

    Args:
        truth, results, of, most: see :func:`kdet.analysis.matches.scenes`.
        score: detections below it are left out.
        overlap: least IoU of a pair.

    Returns:
        int ``[classes + 1, classes + 1]``: rows are the true classes, columns the predicted ones; in the last
        row stand detections of nothing, in the last column missed objects.
    """
    classes = len(truth["categories"])
    matrix = np.zeros((classes + 1, classes + 1), int)
    for scene in scenes(truth, results, of, most):
        in_crowd = (scene.crowd_overlaps > overlap) & (scene.labels[:, None] == scene.crowds[None])
        keep = scene.scores >= score
        free, open_ = keep.copy(), np.ones(len(scene.truth), bool)
        rows, columns = np.nonzero((scene.overlaps >= overlap) & keep[:, None])
        # of equal overlaps one of the same class first
        same = scene.labels[rows] == scene.truth[columns]
        for place in np.lexsort((~same, -scene.overlaps[rows, columns])):
            i, j = rows[place], columns[place]
            if free[i] and open_[j]:
                free[i] = open_[j] = False
                matrix[scene.truth[j], scene.labels[i]] += 1
        np.add.at(matrix[:, classes], scene.truth[open_], 1)
        np.add.at(matrix[classes], scene.labels[free & ~in_crowd.any(1)], 1)
    return matrix
