"""WIDER FACE's official protocol (Yang et al., 2016): AP of the easy, medium and hard faces at overlap 0.5.

Which faces are easy, medium or hard is in the benchmark's lists (``eval_tools/ground_truth/*.mat``). Faces
that do not belong to a subset are neither required nor mistakes to find.
"""

import collections
import dataclasses
import io
import os
from collections.abc import Mapping, Sequence

import numpy as np

from kdet.data.files import read_bytes
from kdet.errors import DataError, MissingFile, first_line, short
from kdet.evaluation.entries import check_results
from kdet.evaluation.overlaps import xywh_iou
from kdet.evaluation.results import finite
from kdet.typing import Array, PathLike, Result

SUBSETS = ("easy", "medium", "hard")
OVERLAP = 0.5
THRESHOLDS = 1 - np.arange(1, 1001) / 1000  # of the scores, scaled to 0..1


@dataclasses.dataclass
class Faces:
    """The faces of one image: ``boxes [n,4]`` float xywh, and the bool ``[n]`` of every subset."""

    boxes: np.ndarray
    subsets: dict[str, np.ndarray]


def read_difficulty_lists(folder: str) -> dict[str, Faces]:
    """The faces of every image by its name without ending, such as ``0--Parade/0_Parade_Parade_0_102``.

    Args:
        folder: holds ``wider_easy_val.mat``, ``wider_medium_val.mat``, ``wider_hard_val.mat``.

    Raises:
        FileNotFoundError, ValueError: naming the file.
    """
    faces: dict[str, Faces] = {}
    for subset in SUBSETS:
        path = os.path.join(folder, f"wider_{subset}_val.mat")
        for name, boxes, chosen in _read_list(path):
            entry = faces.setdefault(name, Faces(boxes, {}))
            if len(chosen) and not 1 <= chosen.min() <= chosen.max() <= len(entry.boxes):
                raise ValueError(f"{path}: the list of {name} names faces beyond its {len(entry.boxes)}.")
            entry.subsets[subset] = np.isin(np.arange(1, len(entry.boxes) + 1), chosen)
    return faces


def _read_list(path: PathLike) -> list[tuple[str, Array, Array]]:
    """``(image name, boxes [n,4], numbers of the chosen faces from 1)`` of every image."""
    from scipy.io import loadmat  # import time is precious

    try:
        content = loadmat(io.BytesIO(read_bytes(path, "list of faces")))
        events, files = content["event_list"][:, 0], content["file_list"][:, 0]
        boxes, chosen = content["face_bbx_list"][:, 0], content["gt_list"][:, 0]
        found = []
        for event, names, of_event, picks in zip(events, files, boxes, chosen, strict=True):
            for i, name in enumerate(names[:, 0]):
                image = f"{event.item()}/{name.item()}"
                faces = np.asarray(of_event[i, 0], float).reshape(-1, 4)
                found.append((image, faces, np.asarray(picks[i, 0], int).ravel()))
        return found
    except MissingFile as error:
        raise MissingFile(
            f"The metric 'wider_face' needs {path}: data.val.difficulty_lists must be the folder of the "
            "benchmark's lists (eval_tools/ground_truth)."
        ) from error
    except DataError:
        raise
    except Exception as error:  # what a damaged file makes of SciPy's reader is open
        raise DataError(
            f"{path} is no list of WIDER FACE's evaluation tools ({short(first_line(error))})."
        ) from error


def wider_face_metrics(
    faces: Mapping[str, Faces], results: Sequence[Result], names: Mapping[int, str]
) -> dict[str, float]:
    """Score detections of faces.

    Args:
        faces: of ``read_difficulty_lists``.
        results: list of COCO result dicts (``image_id``, ``bbox`` xywh, ``score``); all are faces. What is
            not finite does not count.
        names: name (``<event>/<file>``, with or without ending) by image id, of the images to evaluate.

    Returns:
        ``{"easy": AP, "medium": AP, "hard": AP}``; NaN for a subset without faces.

    Raises:
        ValueError: an image that the lists do not hold.
    """
    check_results(results)
    stems = {image_id: os.path.splitext(name)[0].replace(os.sep, "/") for image_id, name in names.items()}
    unknown = sorted(stem for stem in stems.values() if stem not in faces)
    if unknown:
        raise ValueError(
            f"WIDER FACE's lists do not hold the image {unknown[0]} (and {len(unknown) - 1} others): they "
            "are of the validation set."
        )
    found = _scaled([r for r in finite(results) if r["image_id"] in stems])
    figures = {}
    for subset in SUBSETS:
        shown = hits = np.zeros(len(THRESHOLDS))
        count = 0
        for image_id, stem in stems.items():
            wanted = faces[stem].subsets[subset]
            count += int(wanted.sum())
            if len(wanted) and image_id in found:
                of_image = _curve(faces[stem].boxes, wanted, *found[image_id])
                shown, hits = shown + of_image[0], hits + of_image[1]
        figures[subset] = _average_precision(shown, hits, count)
    return figures


def _scaled(results: Sequence[Result]) -> dict[int, tuple[Array, Array]]:
    """``{image id: (boxes [n,4], scores [n])}``, best first, scores scaled so that they span 0..1."""
    scores = np.array([r["score"] for r in results])
    low, high = (scores.min(), scores.max()) if len(scores) else (0.0, 1.0)
    of_image = collections.defaultdict(list)
    for result in results:
        score = (result["score"] - low) / (high - low) if high > low else 1.0
        of_image[result["image_id"]].append((score, result["bbox"]))
    found = {}
    for image_id, rows in of_image.items():
        rows.sort(key=lambda row: -row[0])
        found[image_id] = np.array([b for _, b in rows], float), np.array([s for s, _ in rows])
    return found


def _curve(faces: Array, wanted: Array, boxes: Array, scores: Array) -> Array:
    """Of one image, how many detections count and how many wanted faces are found, at every threshold."""
    overlaps = xywh_iou(boxes, faces, extra=1.0)  # [detections, faces]; the last pixel belongs to a box
    best = overlaps.argmax(axis=1)
    reached = overlaps[np.arange(len(boxes)), best] >= OVERLAP
    counts = ~(reached & ~wanted[best])
    new = np.zeros(len(boxes), bool)
    taken = np.zeros(len(faces), bool)
    for i in np.flatnonzero(reached & counts):
        new[i], taken[best[i]] = not taken[best[i]], True
    last = np.searchsorted(-scores, -THRESHOLDS, side="right")  # detections with this score or more
    totals = np.concatenate([np.zeros((2, 1)), np.cumsum([counts, new], axis=1)], axis=1)
    return totals[:, last]


def _average_precision(shown: Array, hits: Array, count: int) -> float:
    if not count:
        return float("nan")
    precision = np.append(hits / np.maximum(shown, 1), 0.0)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(hits / count, prepend=0.0) * envelope[:-1]))
