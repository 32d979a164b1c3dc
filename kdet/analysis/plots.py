"""Pictures of an analysis, drawn with Matplotlib."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdet.analysis.curves import RECALLS, Curves
from kdet.analysis.logs import Series
from kdet.analysis.tide import KINDS, MEANING, Errors
from kdet.typing import Array

SHOWN = 20  # classes in one plot


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure  # it takes a while, and needs no display so

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: pathlib.Path) -> pathlib.Path:
    figure.savefig(path, dpi=110)
    return path


def precision_recall(found: Curves, path: pathlib.Path, overlap: str = "0.5") -> pathlib.Path:
    """Precision over recall at one IoU, a line for each of the classes with the most AP, and their mean."""
    figure = _figure(7, 5)
    axes = figure.subplots()
    lines = {name: own[overlap] for name, own in found.precision.items() if overlap in own}
    shown = sorted(lines, key=lambda name: -float(lines[name].mean()))[:SHOWN]
    for name in shown:
        axes.plot(RECALLS, lines[name], lw=1, label=f"{name} {lines[name].mean():.3f}")
    if lines:
        mean = np.mean(list(lines.values()), axis=0)
        axes.plot(RECALLS, mean, lw=2.5, color="black", label=f"mean {mean.mean():.3f}")
        axes.legend(fontsize=7, ncols=2 if len(shown) > 10 else 1)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title(f"precision over recall at IoU {overlap}")
    return _save(figure, path)


def confusion_matrix(matrix: Array, names: Sequence[str], path: pathlib.Path) -> pathlib.Path:
    """Shares of the true classes (rows) by predicted class; counts in the cells where they fit."""
    labels = [*names, "(nothing)"]
    size = min(4 + 0.35 * len(labels), 24)
    figure = _figure(size + 1, size)
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    ticks = range(len(labels))
    axes.set_xticks(ticks, labels, rotation=90, fontsize=7)
    axes.set_yticks(ticks, labels, fontsize=7)
    axes.set(xlabel="predicted", ylabel="true", title="what is taken for what")
    if len(labels) <= 25:
        for i, row in enumerate(matrix):
            for j, count in enumerate(row):
                if count:
                    color = "white" if share[i, j] > 0.5 else "black"
                    axes.text(j, i, str(count), ha="center", va="center", fontsize=6, color=color)
    figure.colorbar(image, shrink=0.7)
    return _save(figure, path)


def error_kinds(found: Errors, path: pathlib.Path) -> pathlib.Path:
    """What every kind of error costs, and how many there are."""
    figure = _figure(8, 3.6)
    left, right = figure.subplots(1, 2)
    left.barh(KINDS, [found.costs[kind] for kind in KINDS], color="#c0504d")
    left.set(xlabel="points of AP50 that mending it adds", title="cost")
    right.barh(KINDS, [found.counts[kind] for kind in KINDS], color="#4f81bd")
    right.set(xlabel="errors", title="count")
    for axes in (left, right):
        axes.invert_yaxis()
    figure.suptitle(", ".join(f"{kind}: {MEANING[kind]}" for kind in KINDS), fontsize=6)
    return _save(figure, path)


def sizes(found: Curves, path: pathlib.Path) -> pathlib.Path:
    """AP of small, medium and large objects, over all classes and for those with the most AP."""
    figure = _figure(8, 4)
    axes = figure.subplots()
    rows = {"all classes": found.overall}
    best = sorted(found.ap, key=lambda name: -np.nan_to_num(found.ap[name]["AP"]))
    rows.update({name: found.ap[name] for name in best[:SHOWN]})
    places = np.arange(len(rows))
    for shift, size in enumerate(("small", "medium", "large")):
        values = np.nan_to_num([figures[size] for figures in rows.values()])
        axes.bar(places + (shift - 1) * 0.27, values, 0.25, label=size)
    axes.set_xticks(places, list(rows), rotation=45, ha="right", fontsize=7)
    axes.set(ylabel="AP", ylim=(0, 1), title="AP by size of the object")
    axes.legend()
    return _save(figure, path)


def training(logs: Mapping[str, Series], path: pathlib.Path) -> pathlib.Path:
    """Losses, figures of the validation and the learning rate over the epochs, of one or several runs."""
    names = list(dict.fromkeys(name for series in logs.values() for name in series))
    panels = {
        "loss": [name for name in names if name == "loss"],
        "parts of the loss": [n for n in names if "loss" in n and n != "loss" and not n.startswith("val/")],
        "validation": [n for n in names if n.startswith("val/") and n.rsplit("/", 1)[1] in _VALIDATION],
        "learning rate": [name for name in names if name == "learning_rate"],
    }
    panels = {title: found for title, found in panels.items() if found}
    figure = _figure(5 * min(2, len(panels)), 3.4 * ((len(panels) + 1) // 2))
    all_axes = np.ravel(figure.subplots((len(panels) + 1) // 2, min(2, len(panels)), squeeze=False))
    for axes, (title, found) in zip(all_axes, panels.items(), strict=False):
        for run, series in logs.items():
            for name in found:
                if name in series:
                    label = name if len(logs) == 1 else f"{run}: {name}"
                    axes.plot(*series[name], marker=".", lw=1, label=label)
        axes.set(xlabel="epoch", title=title)
        axes.legend(fontsize=6)
    for axes in all_axes[len(panels) :]:
        axes.set_axis_off()
    return _save(figure, path)


_VALIDATION = ("AP", "AP50", "AP75", "mAP", "AR@100")
