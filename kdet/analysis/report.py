"""An analysis of detections as one HTML page with images and plots beside it."""

import dataclasses
import html
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from kdet.analysis import confusion, curves, plots, tide
from kdet.analysis.logs import Series
from kdet.data import DatasetIndex, decoding, masks
from kdet.errors import DataError
from kdet.typing import Array, Result
from kdet.writing import whole

WORST = 24  # images beside the truth
SIDE = 480  # pixels of the longer side of one of them

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px; padding: 0 1rem }
table { border-collapse: collapse; font-size: 13px } td, th { padding: 2px 10px; text-align: right }
td:first-child, th:first-child { text-align: left } tr:nth-child(even) { background: #f4f4f4 }
img { max-width: 100% } figure { margin: 1rem 0 } figcaption { color: #555; font-size: 13px }
"""


@dataclasses.dataclass
class Analysis:
    """The figures of an analysis.

    Attributes:
        of: what was compared, "bbox" or "segm".
        curves: precision over recall and AP by class and size.
        errors: kinds of errors and what each costs.
        confusion: ``[classes + 1, classes + 1]``.
        score: from which a detection counts in ``confusion`` and the drawn images.
    """

    of: str
    curves: curves.Curves
    errors: tide.Errors
    confusion: Array
    score: float

    def figures(self) -> dict[str, Any]:
        """Everything as JSON can hold it; a figure without ground truth is None."""
        return {
            "of": self.of,
            "score": self.score,
            "overall": _plain(self.curves.overall),
            "classes": {name: _plain(own) for name, own in self.curves.ap.items()},
            "errors": {
                "AP50": self.errors.ap,
                "costs": self.errors.costs,
                "counts": self.errors.counts,
                "false_positives": self.errors.false_positives,
                "false_negatives": self.errors.false_negatives,
            },
            "confusion": self.confusion.tolist(),
        }


def analyze(truth: dict[str, Any], results: list[Result], of: str = "bbox", score: float = 0.3) -> Analysis:
    """Analyzes the detections of a data set.

    Args:
        truth: COCO dict, ``index.to_coco()``.
        results: COCO result dicts.
        of: compare boxes (``"bbox"``) or masks (``"segm"``).
        score: detections below it are left out of the confusion matrix.

    Example:
        >>> found = analyze(index.to_coco(), json.load(open("detections.json")))
        >>> print(found.errors.costs)
    """
    return Analysis(
        of,
        curves.curves(truth, results, of),
        tide.errors(truth, results, of),
        confusion.confusion(truth, results, of, score),
        score,
    )


def write_report(
    folder: pathlib.Path,
    analysis: Analysis | None = None,
    index: DatasetIndex | None = None,
    results: Sequence[Result] = (),
    logs: Mapping[str, Series] | None = None,
) -> pathlib.Path:
    """Writes ``report.html``, ``figures.json`` and PNGs into a folder.

    Args:
        folder: created where it is not there.
        analysis: of the results; None: only the logs are shown.
        index: the data set, to draw the worst images.
        results: COCO result dicts.
        logs: by the name of the run, see :func:`kdet.analysis.logs.read_log`.

    Returns:
        the path of ``report.html``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[str] = []
    if analysis is not None:
        parts += _overview(analysis)
        names = analysis.curves.names
        drawn = [
            (plots.error_kinds(analysis.errors, folder / "errors.png"), "Kinds of errors (TIDE)"),
            (plots.precision_recall(analysis.curves, folder / "precision_recall.png"), ""),
            (plots.precision_recall(analysis.curves, folder / "precision_recall_75.png", "0.75"), ""),
            (plots.sizes(analysis.curves, folder / "sizes.png"), ""),
            (
                plots.confusion_matrix(analysis.confusion, names, folder / "classes.png"),
                _confused(analysis),
            ),
        ]
        parts += [_image(path, text) for path, text in drawn]
        with whole(folder / "figures.json") as part:
            part.write_text(json.dumps(analysis.figures(), indent=1, allow_nan=False), encoding="utf-8")
        if index is not None:
            parts.append("<h2>Worst images</h2><p>Left the truth, right what was found.</p>")
            parts += _worst(folder, analysis, index, results)
    if logs:
        parts += ["<h2>Training</h2>", _image(plots.training(logs, folder / "training.png"), "")]
    page = f"<!doctype html><meta charset='utf-8'><title>kdet analyze</title><style>{_STYLE}</style>"
    target = folder / "report.html"
    with whole(target) as part:
        part.write_text(page + "\n".join(parts), encoding="utf-8")
    return target


def _overview(analysis: Analysis) -> list[str]:
    kind = "boxes" if analysis.of == "bbox" else "masks"
    columns = list(analysis.curves.overall)
    rows = {"all classes": analysis.curves.overall, **analysis.curves.ap}
    lines = []
    for name, own in rows.items():
        cells = "".join(f"<td>{_number(own[column])}</td>" for column in columns)
        lines.append(f"<tr><td>{html.escape(name)}</td>{cells}</tr>")
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    errors = analysis.errors
    return [
        f"<h1>Detections: AP of {kind} {_number(analysis.curves.overall['AP'])}</h1>",
        f"<table><tr><th>class</th>{head}</tr>{''.join(lines)}</table>",
        "<h2>Errors</h2>",
        f"<p>AP50 is {errors.ap:.1f}. Without any false detection it would rise by "
        f"{errors.false_positives:.1f}, with every object found by {errors.false_negatives:.1f} points.</p>",
    ]


def _confused(analysis: Analysis) -> str:
    """The pairs of classes that are mistaken most often."""
    names = analysis.curves.names
    matrix = analysis.confusion[:-1, :-1].copy()
    np.fill_diagonal(matrix, 0)
    order = np.argsort(-matrix, axis=None)[:5]
    pairs = [divmod(int(place), len(names)) for place in order if matrix.flat[place]]
    found = [f"{names[i]} taken for {names[j]} ({matrix[i, j]})" for i, j in pairs]
    return "Most often: " + ", ".join(found) if found else "No class is taken for another."


def _image(path: pathlib.Path, text: str) -> str:
    return f"<figure><img src='{path.name}' alt=''><figcaption>{html.escape(text)}</figcaption></figure>"


def _worst(
    folder: pathlib.Path, analysis: Analysis, index: DatasetIndex, results: Sequence[Result]
) -> list[str]:
    """Pictures of the images with the most errors among the detections that count."""
    strong = [r for r in results if r["score"] >= analysis.score]
    counts = tide.errors(index.to_coco(), strong, analysis.of).images
    ranked = sorted(index.records, key=lambda r: -sum(counts.get(r.image_id, {}).values()))
    found: dict[int, list[Result]] = {}
    for result in strong:
        found.setdefault(result["image_id"], []).append(result)
    parts = []
    for number, record in enumerate(ranked[:WORST]):
        errors = {kind: count for kind, count in counts.get(record.image_id, {}).items() if count}
        if not errors:
            break
        drawn = _side_by_side(index, record, found.get(record.image_id, []))
        if drawn is None:
            continue
        path = folder / f"worst_{number:02d}.png"
        drawn.save(path)
        text = f"{record.name}: " + ", ".join(f"{count} {kind}" for kind, count in errors.items())
        parts.append(_image(path, text))
    return parts or ["<p>No image has an error.</p>"]


def _side_by_side(index: DatasetIndex, record: Any, results: list[Result]) -> Any:
    from kdet import visualize

    try:
        image = decoding.decode(index.read(record))
    except (DataError, OSError):
        return None
    size = image.shape[:2]
    label_of = {number: label for label, number in enumerate(index.category_ids)}
    true: dict[str, Any] = {}
    if index.has_masks and len(record.labels) and size == (record.height, record.width):
        true["masks"] = np.stack([masks.rasterize(s, *size) for s in index.segmentations(record)])
    left = visualize.draw(image, record.boxes, record.labels, index.class_names, **true)
    boxes = np.array([r["bbox"] for r in results], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = np.array([label_of[r["category_id"]] for r in results], int)
    more: dict[str, Any] = {"scores": np.array([r["score"] for r in results])}
    if results and all("segmentation" in r for r in results):
        more["masks"] = np.stack([masks.rasterize(r["segmentation"], *size) for r in results])
    right = visualize.draw(image, boxes, labels, index.class_names, **more)
    sheet = Image.fromarray(visualize.grid([left, right], columns=2))
    sheet.thumbnail((2 * SIDE, 2 * SIDE))
    return sheet


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _plain(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in figures.items()}
