"""Runs a detector over a dataset and scores what it finds."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import tensorflow as tf

from kdet.class_names import require_same
from kdet.contract import Canvas
from kdet.data.pipeline import Pipeline
from kdet.detectors import Detector
from kdet.detectors.predict import Augmentation, view_batches, view_plan
from kdet.detectors.replicas import Place
from kdet.evaluation import metrics as metric_table
from kdet.evaluation.results import ResultList
from kdet.evaluation.shares import joined_results, packed
from kdet.evaluation.truth import Truth
from kdet.evaluation.workers import Workers
from kdet.typing import Array, PathLike, Tensor

T = TypeVar("T")
logger = logging.getLogger("kdet.evaluation")


def evaluate(
    model: Detector,
    pipeline: Pipeline,
    metrics: Sequence[str] = ("bbox",),
    out: PathLike | None = None,
    on_first_batch: Callable[[dict[str, Array], dict[str, Array]], None] | None = None,
    progress: Callable[[int], None] | None = None,
    augment: Any = None,
) -> dict[str, float]:
    """Scores a detector.

    The replicas and workers of the strategy that the model was built under share the batches, which are
    those of one device; worker 0 scores them and writes ``out``. All workers must call it.

    Args:
        model: the detector.
        pipeline: evaluation data, ``kdet.data.load(spec, training=False)``.
        metrics: names (``kdet.settings.METRICS`` says what each is), mappings with the ``type`` of a
            registered metric as in a recipe, or ``Metric`` objects.
        out: path for the detections as a COCO result file.
        on_first_batch: called with ``(inputs, detections)`` of the first batch, as NumPy, by the worker that
            has it.
        progress: called with the number of images done after every batch; of several workers by the first,
            as if the others were as far.
        augment: test-time augmentation, see ``kdet.detectors.predict.Augmentation``; the images then get
            the sizes of the augmentation or of the model's preprocessor, not the pipeline's.

    Returns:
        ``{"bbox/AP": ..., "segm/AP50": ..., "voc12/mAP": ..., ...}``, on every worker.

    Raises:
        ValueError: unknown metric, or one that the data or the model's detections cannot be scored by.
    """
    chosen: dict[str, metric_table.Metric] = {}
    for one in metrics:
        name, metric = metric_table.find(one)
        if name in chosen:
            raise ValueError(
                f"Two metrics have the name {name!r} (data.metrics): give one a `name` of its own."
            )
        chosen[name] = metric
    scene = metric_table.Scene(pipeline.index, Truth(pipeline.index))
    for metric in chosen.values():
        metric.check(scene)
    if model.num_classes is not None:
        require_same(
            model.class_names,
            pipeline.class_names,
            "the model",
            f"the data set {pipeline.index.name}",
            "Choose the classes by name in data.classes, or set model.class_names where both mean the same.",
        )
    workers = Workers(model.distribute_strategy)
    results = workers.every(
        lambda: collect(model, pipeline, on_first_batch, progress, augment, workers.place)
    )
    if workers.place.workers > 1:
        parts = workers.gathered(packed(results))
        results = joined_results(pipeline.index.category_ids, parts)

    def score() -> dict[str, float]:
        if out:
            results.save(out)
        return scored(chosen, scene, results, model)

    return workers.of_chief(score)


def scored(
    chosen: dict[str, metric_table.Metric], scene: metric_table.Scene, results: ResultList, model: Detector
) -> dict[str, float]:
    """The figures of all metrics by ``metric/figure``; arguments as in ``evaluate``."""
    for name, metric in chosen.items():
        if metric.masks and results.entries and "segmentation" not in results.entries[0]:
            raise ValueError(f"The metric {name!r} needs masks, and {type(model).__name__} predicts none.")
    if results.not_finite:
        logger.warning(
            "The model made %d detections whose box or score is not finite; they are left out.",
            results.not_finite,
        )
    scene = dataclasses.replace(scene, panoptic=results.panoptic or None)
    figures: dict[str, float] = {}
    for name, metric in chosen.items():
        found = metric.score(scene, results.entries, set(results.image_ids))
        figures.update({f"{name}/{figure}": value for figure, value in found.items()})
    return figures


def collect(
    model: Detector,
    pipeline: Pipeline,
    on_first_batch: Callable[[dict[str, Array], dict[str, Array]], None] | None = None,
    progress: Callable[[int], None] | None = None,
    augment: Any = None,
    place: Place | None = None,
) -> ResultList:
    """The detections of a whole dataset as a :class:`ResultList`, or of a worker's share.

    Args:
        model, pipeline, on_first_batch, progress, augment: as in ``evaluate``.
        place: which worker this is, and how many replicas it has; default: the only one.
    """
    place = place or Place.of(model.distribute_strategy)
    results = ResultList(pipeline.index.category_ids, model.image_masks)
    if augment:
        run = augmented_batches(model, pipeline, Augmentation.of(augment), place)
    else:
        run = plain_batches(model, pipeline, place)
    for number, (inputs, detections) in enumerate(run):
        if number == 0 and on_first_batch and place.is_chief:
            on_first_batch({k: v.numpy() for k, v in inputs.items()}, detections)
        results.add(detections, inputs["image_id"].numpy(), inputs["original_size"].numpy())
        if progress and place.is_chief:
            progress(min(len(results.image_ids) * place.workers, len(pipeline.index)))
    return results


def plain_batches(
    model: Detector, pipeline: Pipeline, place: Place
) -> Iterator[tuple[dict[str, Tensor], dict[str, Array]]]:
    """``(inputs, detections)`` of the pipeline's batches, of a worker those of its share.

    The model runs as one graph for all canvases, or one per canvas where those of the pipeline are fixed.
    Every replica gets a batch of its own.
    """
    canvas: Canvas = "buckets" if pipeline.fixed_canvases else "own"

    def batches() -> Iterator[dict[str, Tensor]]:
        for inputs in pipeline.share(place.index, place.workers):
            yield enlarged(inputs, model.smallest) if canvas == "own" else inputs

    if place.local * place.workers == 1:
        for inputs in batches():
            yield inputs, model.predict_on_batch(inputs, canvas)
        return
    # with fixed canvases the replicas take one shape at a time: a graph for each, not for all pairs
    for group in grouped(batches(), place.local, key=shape_of if pipeline.fixed_canvases else None):
        every = [group[min(row, len(group) - 1)] for row in range(place.local)]
        yield from zip(group, model.predict_on_replicas([[one] for one in every], canvas=canvas))


def augmented_batches(
    model: Detector, pipeline: Pipeline, augmentation: Augmentation, place: Place
) -> Iterator[tuple[dict[str, Tensor], dict[str, Array]]]:
    """``(inputs of the first size, detections)``, the images read one by one and resized for every view."""
    records = []
    positions = None
    if place.workers > 1:  # whole batches, as one device makes them
        sizes = pipeline.index.records.sizes.tolist()
        plan = view_plan(model, sizes, pipeline.batch_size, augmentation)
        first, last = (number * len(plan) // place.workers for number in (place.index, place.index + 1))
        positions = [position for batch in plan[first:last] for position in batch]

    def images() -> Iterator[Array]:
        for record, image in pipeline.images(positions):
            records.append(record)
            yield image

    def batches() -> Iterator[tuple[list[Any], Tensor]]:
        for rows, views in view_batches(model, images(), pipeline.batch_size, augmentation):
            fillers = len(views[0]["images"]) - len(rows)
            image_id = [records[row].image_id for row in rows] + [-1] * fillers
            yield views, tf.constant(image_id, tf.int64)

    if place.local * place.workers == 1:
        for views, image_id in batches():
            found = model.predict_views_on_batch(views, augmentation.flip)
            yield {**views[0], "image_id": image_id}, found
        return
    for group in grouped(batches(), place.local):
        every = [group[min(row, len(group) - 1)][0] for row in range(place.local)]
        for (views, image_id), found in zip(group, model.predict_on_replicas(every, augmentation.flip)):
            yield {**views[0], "image_id": image_id}, found


def grouped(items: Iterable[T], size: int, key: Callable[[T], Any] | None = None) -> Iterator[list[T]]:
    """``size`` items at a time, fewer at the end and where ``key`` changes."""
    group: list[T] = []
    for item in items:
        if len(group) == size or (group and key is not None and key(item) != key(group[0])):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def shape_of(inputs: dict[str, Tensor]) -> tuple[int, ...]:
    """The shape of a batch of images."""
    return tuple(inputs["images"].shape)


def enlarged(inputs: dict[str, Any], smallest: int) -> dict[str, Tensor]:
    """The inputs on a canvas with no side below ``smallest``, as ``predict`` has it."""
    height, width = inputs["images"].shape[1:3]
    below, right = max(smallest - height, 0), max(smallest - width, 0)
    if not (below or right):
        return inputs
    return {**inputs, "images": tf.pad(inputs["images"], [[0, 0], [0, below], [0, right], [0, 0]])}
