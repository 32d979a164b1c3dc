"""Whether two programs find the same in the same images: what an export is held against its detector by."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kdet.detectors import Detector
from kdet.export.program import ExportError
from kdet.typing import Array


@dataclasses.dataclass(frozen=True)
class Bound:
    """How far an exported model may lie from its detector.

    Attributes:
        box, score: largest difference of a pair of detections: in pixels, or per cent of the box's longer
            side where that is more; and in score.
        mask: largest mean difference of a pair's masks.
        lost: largest share of the detections without a partner. Candidates that score the same but for
            rounding change places, which decides who survives suppression.
        spare: so many more may lack one: scores near the threshold of an image with few objects.
        network: where nothing is found, largest difference of the network's outputs,
            see ``network_outputs.check``.
    """

    box: float
    score: float
    mask: float
    lost: float
    spare: int = 0
    network: float = 0.0


def noise_images(model: Detector, height: int, width: int, batch: int = 1, seed: int = 0) -> Array:
    """Smooth random images uint8 ``[batch,height,width,3]`` of the brightness that the model expects."""
    random: np.random.Generator = np.random.default_rng(seed)
    total: Any = 0.0
    for cell, amplitude in ((48, 1.6), (16, 1.0), (5, 0.6), (1, 0.25)):
        coarse = random.uniform(-1, 1, (batch, height // cell + 2, width // cell + 2, 3))
        total += amplitude * tf.image.resize(coarse, (height, width)).numpy()
    rule = model.preprocessor
    images = total * np.asarray(rule.std, np.float32) + np.asarray(rule.mean, np.float32)
    images = images if rule.channel_order == "rgb" else images[..., ::-1]
    return np.clip(np.round(images), 0, 255).astype(np.uint8)


def some_boxes(height: int, width: int, batch: int, count: int) -> Array:
    """The same random boxes of several sizes in every call: float32 ``[batch,count,4]`` xyxy."""
    random = np.random.default_rng(0)
    size = np.asarray([width, height], np.float32)
    centers, half = (
        random.uniform(0, size, (count, 2)),
        random.uniform(4, np.maximum(size / 3, 5), (count, 2)),
    )
    boxes = np.concatenate([np.maximum(centers - half, 0), np.minimum(centers + half, size)], -1)
    return np.tile(boxes.astype(np.float32), (batch, 1, 1))


def compare(
    title: str,
    run: Callable[..., dict[str, Array]],
    function: Callable[..., Any],
    batches: Sequence[Array],
    bound: Bound,
    **proposals: Array,
) -> "Difference":
    """Runs an exported model beside the function that it was made of.

    Args:
        title: of the exported model, for the error.
        run: images (and proposals) -> Detections in NumPy.
        function: images (and proposals) -> Detections.
        batches: list of images uint8 ``[B,H,W,3]``.
        bound: ``Bound``.
        **proposals: where the model takes them ``proposals``, float32 ``[B,P,4]``, for all batches.

    Returns:
        ``Difference`` over all images.

    Raises:
        ExportError: values that are not numbers, or a difference beyond the bound.
    """
    given = {name: tf.constant(value) for name, value in proposals.items()}
    total = Difference()
    for images in batches:
        got = run(images, **proposals)
        if any(np.isnan(value).any() for value in got.values()):
            raise ExportError(f"{title} computes NaN; it was not written.")
        wanted = {k: np.asarray(v) for k, v in function(tf.constant(images), **given).items()}
        total = total + difference(wanted, got, bound)
    if total.lost > bound.lost * total.found + bound.spare:
        raise ExportError(f"{title} differs from the model: {total}. It was not written.")
    return total


@dataclasses.dataclass(frozen=True)
class Difference:
    """Detections of the model, how many of them the other lacks or has too many, worst differences."""

    found: int = 0
    lost: int = 0
    box: float = 0.0
    score: float = 0.0

    def __add__(self, other: "Difference") -> "Difference":
        return Difference(
            self.found + other.found,
            self.lost + other.lost,
            max(self.box, other.box),
            max(self.score, other.score),
        )

    def __str__(self) -> str:
        return (
            f"{self.lost} of {self.found} detections without a partner, "
            f"the others within {self.box:.2g} pixels and {self.score:.2g} in score"
        )


def difference(wanted: Any, got: Any, bound: Bound) -> Difference:
    """Pairs the detections of two runs (NumPy, batched) by label and place: ``Difference``."""
    total = Difference()
    for row in range(len(wanted["boxes"])):
        ours, theirs = (
            {k: side[k][row][: side["num_detections"][row]] for k in side if k != "num_detections"}
            for side in (wanted, got)
        )
        taken, lost, box, score = np.zeros(len(theirs["boxes"]), bool), 0, 0.0, 0.0
        for index, (place, mark, label) in enumerate(zip(ours["boxes"], ours["scores"], ours["labels"])):
            apart = np.abs(theirs["boxes"] - place).max(-1, initial=0.0)
            marks = np.abs(theirs["scores"] - mark)
            limit = bound.box * max(1.0, np.max(place[2:] - place[:2]) / 100.0)
            fits = (theirs["labels"] == label) & (apart <= limit) & (marks <= bound.score) & ~taken
            if "masks" in ours:
                masks = np.abs(theirs["masks"] - ours["masks"][index])
                fits &= masks.mean((1, 2)) <= bound.mask
            if fits.any():
                best = np.where(fits, apart, np.inf).argmin()
                taken[best] = True
                box, score = max(box, float(apart[best])), max(score, float(marks[best]))
            else:
                lost += 1
        total += Difference(len(ours["boxes"]), max(lost, int((~taken).sum())), box, score)
    return total
