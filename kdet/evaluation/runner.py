"""Runs a detector over a dataset and scores what it finds."""

import tensorflow as tf

from kdet.evaluation.coco import METRICS, coco_metrics
from kdet.evaluation.results import ResultList
from kdet.evaluation.voc import RULES, voc_metrics


def evaluate(model, pipeline, metrics=("bbox",), out=None, on_first_batch=None, progress=None):
    """Scores a detector.

    Args:
        model: the detector.
        pipeline: evaluation data, ``kdet.data.load(spec, training=False)``.
        metrics: any of ``"bbox"``, ``"segm"``, ``"proposal"`` (COCO), ``"voc07"``, ``"voc12"`` (mAP).
        out: path for the detections as a COCO result file.
        on_first_batch: called with ``(inputs, detections)`` of the first batch, as NumPy.
        progress: called with the number of pictures done after every batch.

    Returns:
        ``{"bbox/AP": ..., "segm/AP50": ..., "voc12/mAP": ..., ...}``.

    Raises:
        ValueError: unknown metric, or one that the model's detections cannot be scored by.
    """
    known = (*METRICS, *(f"voc{rule}" for rule in RULES))
    unknown = [metric for metric in metrics if metric not in known]
    if unknown:
        raise ValueError(f"metrics must be among {', '.join(known)}; got {', '.join(unknown)}.")
    results = collect(model, pipeline, on_first_batch, progress)
    if "segm" in metrics and results.entries and "segmentation" not in results.entries[0]:
        raise ValueError(f"The metric 'segm' needs masks, and {type(model).__name__} predicts none.")
    if out:
        results.save(out)
    truth = ground_truth(pipeline)
    ids = {"image_ids": set(results.image_ids)}
    figures = {}
    for metric in metrics:
        if metric.startswith("voc"):
            found = voc_metrics(truth, results.entries, rule=metric.removeprefix("voc"), **ids)
        else:
            categories = pipeline.index.category_ids
            found = coco_metrics(truth, results.entries, metric, category_ids=categories, **ids)
        figures.update({f"{metric}/{name}": value for name, value in found.items()})
    return figures


def collect(model, pipeline, on_first_batch=None, progress=None):
    """The detections of a whole dataset as a :class:`ResultList`.

    The model runs as one graph per canvas shape: a smaller last batch is filled up with its first picture.
    """
    forward = forward_function(model)
    results = ResultList(pipeline.index.category_ids, getattr(model, "picture_masks", None))
    for number, (inputs, _) in enumerate(pipeline.dataset()):
        inputs = fill_batch(inputs, pipeline.batch_size)
        detections = {k: v.numpy() for k, v in forward(inputs).items()}
        if number == 0 and on_first_batch:
            on_first_batch({k: v.numpy() for k, v in inputs.items()}, detections)
        results.add(detections, inputs["image_id"].numpy(), inputs["original_size"].numpy())
        if progress:
            progress(len(results.image_ids))
    return results


def forward_function(model):
    """The compiled ``inputs -> Detections`` of a model, made once per model."""
    if getattr(model, "_kdet_forward", None) is None:
        # reduce_retracing would loosen the shapes after the second canvas.
        function = tf.function(lambda inputs: model(inputs, training=False))
        object.__setattr__(model, "_kdet_forward", function)
    return model._kdet_forward


def fill_batch(inputs, batch_size):
    """Repeats the first picture until the batch is full; the copies get the image id -1."""
    count = int(inputs["images"].shape[0])
    if count == batch_size:
        return inputs
    rows = tf.concat([tf.range(count), tf.zeros([batch_size - count], tf.int32)], 0)
    filled = {key: tf.gather(value, rows) for key, value in inputs.items()}
    real = tf.range(batch_size) < count
    filled["image_id"] = tf.where(real, filled["image_id"], tf.constant(-1, filled["image_id"].dtype))
    return filled


def ground_truth(pipeline):
    """COCO dict to score against: the annotation file itself where there is one, else the index."""
    return pipeline.index.to_coco()
