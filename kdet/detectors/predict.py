"""Prediction on images as users have them: paths, encoded bytes, arrays of any size."""

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kdet import ops
from kdet.coordinates import network_boxes
from kdet.detectors.given import images_of
from kdet.errors import first_line
from kdet.results import Results
from kdet.typing import Array

OWN_SIZE = ("masks", "panoptic")  # keys of results that are lists of arrays in the images' own sizes


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The views of an image that are merged into one set of detections (test-time augmentation).

    Attributes:
        scales: sizes to look at it in: (long, short) limits, (w, h) for a preprocessor without
            ``keep_ratio``, or factors of the image's own size; None for the preprocessor's size alone.
        flip: look at every size mirrored left to right too.
    """

    scales: tuple[Any, ...] | None = None
    flip: bool = True

    @classmethod
    def of(cls, spec: Any, where: str = "augment") -> "Augmentation":
        """From what users write: None or False, True, or a mapping of the attributes.

        Raises:
            ValueError: naming the key and the value.
        """
        if isinstance(spec, cls):
            return spec
        if spec is None or spec is False:
            return cls(flip=False)
        spec = {} if spec is True else spec
        known = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(spec, dict):
            raise ValueError(f"{where} must be true, false or a mapping of {', '.join(known)}; got {spec!r}.")
        for key in spec:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1) or known
                raise ValueError(f"{where} has no key {key!r}; did you mean {' or '.join(near)}?")
        if not isinstance(spec.get("flip", True), bool):
            raise ValueError(f"{where}.flip must be true or false; got {spec['flip']!r}.")
        scales = spec.get("scales")
        if scales is not None and not (isinstance(scales, (list, tuple)) and scales):
            raise ValueError(f"{where}.scales must be a list of sizes or factors; got {scales!r}.")
        return cls(**{**spec, "scales": None if scales is None else tuple(scales)})


def view_batches(
    model: Any,
    images: Any,
    batch_size: int,
    augmentation: Any,
    canvas: str = "own",
    ahead: int | None = None,
) -> Iterator[Any]:
    """``data.batches`` of images in the sizes that an ``Augmentation`` wants of a model."""
    from kdet import data  # the pipeline is only needed here, and import time is precious

    rule = model.preprocessor
    sizes = [rule.resize_rule(scale) for scale in augmentation.scales or (None,)]
    return data.batches(
        images, sizes, batch_size=batch_size, divisor=rule.pad_divisor, center_pad=rule.center_pad,
        canvas=canvas, smallest=model.smallest, ahead=ahead,
    )  # fmt: skip


def view_plan(model: Any, image_sizes: Any, batch_size: int, augmentation: Augmentation) -> list[list[int]]:
    """Positions of the images that ``view_batches`` puts together; ``image_sizes [n,2]`` (h, w)."""
    from kdet.data.inference import SizeRule, planned_batches

    rule = model.preprocessor
    rules = [
        SizeRule(rule.resize_rule(scale), rule.pad_divisor, rule.center_pad, smallest=model.smallest)
        for scale in augmentation.scales or (None,)
    ]
    return planned_batches(map(tuple, image_sizes), rules, batch_size)


def predict_images(
    model: Any,
    images: Any,
    batch_size: int = 1,
    verbose: int = 0,
    augment: Any = None,
    proposals: Sequence[Array] | None = None,
    canvas: str = "own",
) -> Results:
    """Detections of images of any sizes, in their own pixels.

    Args:
        model: detector.
        images: see ``kdet.detectors.given.TAKEN``; arrays are RGB. A generator is read as it goes.
        batch_size: images of like shape that go through together, on the smallest canvas that holds them.
        verbose: 1 for a progress bar.
        augment: an ``Augmentation`` or what ``Augmentation.of`` takes.
        proposals: for a model that makes none itself (Fast R-CNN): of every image boxes ``[p,4]``, xyxy in
            its pixels.
        canvas: "own" or "buckets", see ``Detector.predict``.

    Returns:
        ``Results``, a dict of NumPy arrays over the images in their order: ``boxes [P,N,4]``,
        ``scores [P,N]``, ``labels [P,N]`` (-1 for padding), ``num_detections [P]``, and where the model has
        them ``masks``, a list of bool ``[num_detections, h, w]`` in the image's size, and ``panoptic``, a
        list of int ``[h, w]``, with ``segment_labels``, ``segment_scores`` and ``segment_areas`` ``[P,S]``.
    """
    augmentation = Augmentation.of(augment)
    images = images_of(images)
    if proposals is not None or model.takes_proposals:
        images = list(images)
    count = len(images) if isinstance(images, list) else None
    sources = images if isinstance(images, list) else None
    given = given_proposals(model, proposals, count)
    bar = keras.utils.Progbar(count) if verbose else None
    rows = {}
    for positions, views in view_batches(model, images, batch_size, augmentation, canvas):
        if given is not None:
            views = [with_proposals(inputs, given[positions]) for inputs in views]
        found = model.predict_views_on_batch(views, augmentation.flip, canvas)
        sizes = views[0]["original_size"].numpy().astype(int)
        for row, position in enumerate(positions):
            own = {k: v[row] for k, v in found.items()}
            if "masks" in own:
                own["masks"] = model.image_masks(own, *sizes[row])
            if "panoptic" in own:
                height, width = sizes[row]
                own["panoptic"] = own["panoptic"][:height, :width]
            rows[position] = own
        if bar is not None:
            bar.add(len(positions))
    if not rows:
        return Results(no_predictions(model), model.class_names)
    stacked = {k: [rows[i][k] for i in range(len(rows))] for k in rows[0]}
    found = {k: v if k in OWN_SIZE else np.stack(v) for k, v in stacked.items()}
    return Results(found, model.class_names, sources)


def no_predictions(model: Any) -> dict[str, Any]:
    """What ``predict_images`` gives for no image: arrays of the usual shapes with no row."""
    inputs = {"images": tf.zeros([1, model.smallest, model.smallest, 3])}
    if model.takes_proposals:
        inputs["proposals"] = tf.zeros([1, 1, 4])
    found = {k: v.numpy()[:0] for k, v in model(inputs).items()}
    return {k: [] if k in OWN_SIZE else v for k, v in found.items()}


def given_proposals(model: Any, proposals: Sequence[Array] | None, images: int | None) -> Array | None:
    """The ``proposals`` of ``predict_images`` as one array ``[images,P,4]`` padded with zeros, or None.

    Raises:
        ValueError: proposals are missing, not wanted, or not of this number of images or form.
    """
    if (proposals is not None) != model.takes_proposals:
        raise ValueError(
            f"{model.name} has no RPN: give predict(images, proposals=[boxes [p,4] of every image])."
            if model.takes_proposals
            else f"{model.name} makes its own proposals: predict takes none."
        )
    if proposals is None:
        return None
    try:
        rows = [np.asarray(boxes, np.float32) for boxes in proposals]
    except (TypeError, ValueError) as error:
        raise ValueError(f"proposals must be arrays [p,4], one per image: {first_line(error)}.") from error
    broken = next((i for i, boxes in enumerate(rows) if not np.isfinite(boxes).all()), None)
    if broken is not None:
        raise ValueError(f"The proposals of image {broken}, counted from 0, hold NaN or infinite numbers.")
    shapes = [boxes.shape for boxes in rows]
    if len(rows) != images or any(len(shape) != 2 or shape[1] != 4 for shape in shapes):
        raise ValueError(f"proposals must be {images} arrays [p,4], one per image; got shapes {shapes}.")
    padded = np.zeros((images, max([1, *(shape[0] for shape in shapes)]), 4), np.float32)
    for one, boxes in zip(padded, rows):
        one[: len(boxes)] = boxes
    return padded


def with_proposals(inputs: Any, boxes: Array) -> dict[str, Any]:
    """Network inputs with ``boxes [b,P,4]`` of their first b rows, xyxy in pixels of the images."""
    rows = np.zeros((inputs["images"].shape[0], *boxes.shape[1:]), np.float32)  # the last ones are fillers
    rows[: len(boxes)] = boxes
    return {**inputs, "proposals": network_boxes(rows, inputs)}


def paste(detections: dict[str, Any], height: int, width: int, threshold: float = 0.5) -> Array:
    """Masks ``[num,height,width]`` bool from masks in the frames of their boxes."""
    count = int(detections["num_detections"])
    return ops.paste_masks_numpy(
        detections["masks"][:count], detections["boxes"][:count], height, width, threshold
    )
