"""Runs a detector over a dataset and scores what it finds."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from kdet.class_names import require_same
from kdet.contract import Canvas
from kdet.data.pipeline import Pipeline
from kdet.detectors import Detector
from kdet.detectors.predict import Augmentation, view_batches
from kdet.evaluation import metrics as metric_table
from kdet.evaluation.results import ResultList
from kdet.typing import Array, PathLike, Tensor

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

    Args:
        model: the detector.
        pipeline: evaluation data, ``kdet.data.load(spec, training=False)``.
        metrics: names (``kdet.settings.METRICS`` says what each is), mappings with the ``type`` of a
            registered metric as in a recipe, or ``Metric`` objects.
        out: path for the detections as a COCO result file.
        on_first_batch: called with ``(inputs, detections)`` of the first batch, as NumPy.
        progress: called with the number of images done after every batch.
        augment: test-time augmentation, see ``kdet.detectors.predict.Augmentation``; the images then get
            the sizes of the augmentation or of the model's preprocessor, not the pipeline's.

    Returns:
        ``{"bbox/AP": ..., "segm/AP50": ..., "voc12/mAP": ..., ...}``.

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
    scene = metric_table.Scene(pipeline.index, pipeline.index.to_coco())
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
    results = collect(model, pipeline, on_first_batch, progress, augment)
    for name, metric in chosen.items():
        if metric.masks and results.entries and "segmentation" not in results.entries[0]:
            raise ValueError(f"The metric {name!r} needs masks, and {type(model).__name__} predicts none.")
    if results.not_finite:
        logger.warning(
            "The model made %d detections whose box or score is not finite; they are left out.",
            results.not_finite,
        )
    if out:
        results.save(out)
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
) -> ResultList:
    """The detections of a whole dataset as a :class:`ResultList`; arguments as in ``evaluate``."""
    results = ResultList(pipeline.index.category_ids, model.image_masks)
    augmentation = Augmentation.of(augment)
    run = augmented_batches(model, pipeline, augmentation) if augment else plain_batches(model, pipeline)
    for number, (inputs, detections) in enumerate(run):
        if number == 0 and on_first_batch:
            on_first_batch({k: v.numpy() for k, v in inputs.items()}, detections)
        results.add(detections, inputs["image_id"].numpy(), inputs["original_size"].numpy())
        if progress:
            progress(len(results.image_ids))
    return results


def plain_batches(
    model: Detector, pipeline: Pipeline
) -> Iterator[tuple[dict[str, Tensor], dict[str, Array]]]:
    """``(inputs, detections)`` of the pipeline's batches.

    The model runs as one graph for all canvases, or one per canvas where those of the pipeline are fixed: a
    smaller last batch is filled up with its first image.
    """
    canvas: Canvas = "buckets" if pipeline.fixed_canvases else "own"
    for inputs, _ in pipeline.dataset():
        if canvas == "own":
            inputs = enlarged(inputs, model.smallest)
        inputs = fill_batch(inputs, pipeline.batch_size)
        yield inputs, model.predict_on_batch(inputs, canvas)


def augmented_batches(
    model: Detector, pipeline: Pipeline, augmentation: Augmentation
) -> Iterator[tuple[dict[str, Tensor], dict[str, Array]]]:
    """``(inputs of the first size, detections)``, the images read one by one and resized for every view."""
    records = []

    def images() -> Iterator[Array]:
        for record, image in pipeline.images():
            records.append(record)
            yield image

    for positions, views in view_batches(model, images(), pipeline.batch_size, augmentation):
        detections = model.predict_views_on_batch(views, augmentation.flip)
        fillers = len(views[0]["images"]) - len(positions)
        image_id = tf.constant([records[p].image_id for p in positions] + [-1] * fillers, tf.int64)
        yield {**views[0], "image_id": image_id}, detections


def enlarged(inputs: dict[str, Any], smallest: int) -> dict[str, Tensor]:
    """The inputs on a canvas with no side below ``smallest``, as ``predict`` has it."""
    height, width = inputs["images"].shape[1:3]
    below, right = max(smallest - height, 0), max(smallest - width, 0)
    if not (below or right):
        return inputs
    return {**inputs, "images": tf.pad(inputs["images"], [[0, 0], [0, below], [0, right], [0, 0]])}


def fill_batch(inputs: dict[str, Any], batch_size: int) -> dict[str, Tensor]:
    """Repeats the first image until the batch is full; the copies get the image id -1."""
    count = int(inputs["images"].shape[0])
    if count == batch_size:
        return inputs
    rows = tf.concat([tf.range(count), tf.zeros([batch_size - count], tf.int32)], 0)
    filled = {key: tf.gather(value, rows) for key, value in inputs.items()}
    real = tf.range(batch_size) < count
    filled["image_id"] = tf.where(real, filled["image_id"], tf.constant(-1, filled["image_id"].dtype))
    return filled
