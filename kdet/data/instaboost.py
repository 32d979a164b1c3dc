"""InstaBoost: the objects of an image moved a little, as an augmentation for instance segmentation.

Fang et al., "InstaBoost: Boosting Instance Segmentation via Probability Map Guided Copy-Pasting", 2019
(https://arxiv.org/abs/1908.07801), as the published recipes use it: every object moves near its own place.
The paper's appearance consistency map, which looks for other places, is off in all of them and not here.

In this file boxes are ``[x1, y1, x2, y2]`` in whole pixels, and a matrix ``[2, 3]`` maps the position (x, y)
of a pixel, counted from 0, to its new one.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageEnhance
from pycocotools import mask as coco_mask

from kdet import geometry
from kdet.data import masks, transforms
from kdet.data.sample import Transform
from kdet.errors import DataError, suggest
from kdet.ranges import List, Number
from kdet.registry import register
from kdet.settings import Positive, Share
from kdet.typing import Pair, Rle, Tensors

try:
    import cv2
except ImportError:
    cv2 = None

ACTIONS = ("normal", "horizontal", "vertical", "skip")
MIRRORS = {"horizontal": (-1, 1), "vertical": (1, -1)}  # signs of x and y
BORDER = 10  # pixels: an object that comes closer to the image's border counts as cut off by it
INPAINT_RADIUS = 5
COLORS = {"Color": (0, 30), "Brightness": (10, 20), "Contrast": (10, 20), "Sharpness": (0, 30)}  # tenths


@register
class InstaBoost(Transform):
    """Cuts the objects out, fills the holes they leave, and pastes each of them near its old place.

    Objects whose boxes overlap move together, so that what belongs together stays so. The move is about the
    middle of their common box: a size out of ``scale``, whole degrees out of ``theta``, whole pixels of at
    most a ``dx``-th of the box's width and a ``dy``-th of its height. What the image's border cuts off
    neither shrinks nor turns, is not mirrored, and moves outwards only: its cut edge never shows.

    A group hides what lies below, be it an earlier one (by its first annotation). Masks lose what other
    groups hide and what leaves the image, boxes are those of the masks, and objects of which nothing is
    left are dropped. Ignore regions keep their boxes and their place.

    The holes take the time: half a second where objects fill a third of an 800x600 image.

    The sample must hold ``shapes [n]``, the ``counts`` of every object's compressed RLE. They come out with
    as many rows, to be found by ``objects`` whatever is dropped.

    Args:
        probability: share of the images in which this happens; the others stay as they are.
        actions: weights of what happens to a group of objects: it moves ("normal"), moves mirrored
            ("horizontal", "vertical") or stays ("skip"). None: all move.
        scale: (low, high) factor of the size.
        dx, dy: what part of its width and height a group moves at most.
        theta: (low, high) degrees.
        color_probability: of these images, the share whose saturation, brightness, contrast and sharpness
            change too.

    Raises:
        ImportError: OpenCV, which fills the holes, is not installed.
    """

    needs_masks, keeps_masks = True, False

    def __init__(
        self,
        probability: Share = 0.5,
        actions: dict[str, float] | None = None,
        scale: Annotated[Sequence[float], List(Number(0, above=True), length=2, ordered=True)] = (0.8, 1.2),
        dx: Positive = 15,
        dy: Positive = 15,
        theta: Annotated[Sequence[int], List(Number(-360, 360, whole=True), length=2, ordered=True)] = (
            -1,
            1,
        ),
        color_probability: Share = 0.5,
    ) -> None:
        if cv2 is None:
            raise ImportError("The transform InstaBoost needs OpenCV: pip install opencv-python-headless.")
        actions = _checked(actions or {"normal": 1.0})
        self.probability, self.color_probability = probability, color_probability
        self.scale, self.theta, self.parts = tuple(scale), tuple(map(int, theta)), np.array([dx, dy])
        self.weights = np.array([actions.get(action, 0) for action in ACTIONS], float)

    def __call__(self, sample: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        chosen = tf.random.stateless_uniform([], tf.random.fold_in(seed, 0)) < self.probability
        return tf.cond(chosen, lambda: self._changed(sample, seed), lambda: dict(sample))

    def _changed(self, sample: Tensors, seed: tf.Tensor) -> Tensors:
        draw = tf.random.stateless_uniform([], tf.random.fold_in(seed, 1), 0, 2**31 - 1, tf.int32)
        given, kinds = [sample["image"], sample["shapes"], draw], [tf.uint8, tf.float32, tf.string]
        image, boxes, shapes = tf.numpy_function(self._run, given, kinds, stateful=False)
        sample = dict(
            sample,
            image=tf.ensure_shape(image, [None, None, 3]),
            boxes=tf.ensure_shape(boxes, [None, 4]),
            shapes=tf.ensure_shape(shapes, [None]),
        )
        return transforms.keep_objects(sample, geometry.is_real_box(sample["boxes"]))

    def _run(
        self, image: np.ndarray, shapes: np.ndarray, draw: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(int(draw))
        rles = masks.of_counts(shapes, *image.shape[:2])
        if rles:
            boxes = boxes_of(rles)
            groups = overlapping(boxes)
            matrices = [self.matrix(enclosing(boxes[group]), image.shape[:2], rng) for group in groups]
            image, rles = moved(image, rles, groups, matrices)
        if rng.random() < self.color_probability:
            image = recolored(image, rng)
        return image, boxes_of(rles).astype(np.float32), np.array([r["counts"] for r in rles], object)

    def matrix(self, box: np.ndarray, size: Pair, rng: np.random.Generator) -> np.ndarray:
        """Draws the move of what is in ``box``, in an image of ``size`` (h, w)."""
        cut = np.array([box[:2] < BORDER, box[2:] > np.array(size)[::-1] - BORDER])  # low and high, x and y
        weights = self.weights * (1, not cut.any(), not cut.any(), 1)
        action = rng.choice(ACTIONS, p=weights / weights.sum()) if weights.any() else "skip"
        if action == "skip":
            return np.eye(2, 3)
        limit = ((box[2:] - box[:2]) // self.parts).astype(int)
        (least, most), (first, last) = self.scale, self.theta
        scale, degrees = rng.uniform(least, most), int(rng.integers(first, last, endpoint=True))
        shift = rng.integers(-limit, limit, endpoint=True)
        if cut.any():
            scale, degrees = max(scale, 1.0), 0
            shift = np.clip(shift, np.where(cut[1], 0, -limit), np.where(cut[0], 0, limit))
        return similarity(box, scale, degrees, shift, MIRRORS.get(action, (1, 1)))


def _checked(actions: dict[str, float]) -> dict[str, float]:
    unknown = sorted(set(map(str, actions)) - set(ACTIONS))
    if unknown:
        raise DataError(f"actions has no {unknown[0]!r}. {suggest(unknown[0], ACTIONS)}")
    weights = list(actions.values())
    if not all(isinstance(w, (int, float)) and w >= 0 for w in weights) or not any(weights):
        raise DataError(f"actions must be weights, one above 0 at least; got {actions!r}.")
    return actions


def similarity(
    box: np.ndarray,
    scale: float = 1.0,
    degrees: float = 0,
    shift: Sequence[int] = (0, 0),
    mirror: Pair = (1, 1),
) -> np.ndarray:
    """The matrix that mirrors (signs of x and y), turns, resizes and shifts (x, y) about the box's middle."""
    turn = np.radians(degrees)
    cosine, sine = np.cos(turn), np.sin(turn)
    linear = scale * np.array([[cosine, -sine], [sine, cosine]]) * mirror
    middle = (box[:2] + box[2:] - 1) / 2
    return np.column_stack([linear, middle + shift - linear @ middle])


def overlapping(boxes: np.ndarray) -> list[np.ndarray]:
    """Positions in groups of boxes ``[n, 4]`` that overlap, directly or over others; by their first box."""
    from scipy.sparse import csgraph  # import time is precious

    low = np.maximum(boxes[:, None, :2], boxes[:, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    count, group = csgraph.connected_components((low < high).all(-1))  # [n, n]
    return [np.flatnonzero(group == number) for number in range(count)]


def moved(
    image: np.ndarray, rles: list[Rle], groups: Sequence[Any], matrices: Sequence[np.ndarray]
) -> tuple[np.ndarray, list[Rle]]:
    """The image with each group of objects cut out and pasted where its matrix says, in this order.

    Args:
        image: uint8 ``[h, w, 3]``.
        rles: compressed RLE of every object.
        groups: positions in ``rles``; each object is in one group.
        matrices: one per group.

    Returns:
        the new image, and the RLEs of what shows of the objects (of one that does not show: empty).
    """
    boxes, size = boxes_of(rles), image.shape[:2]
    canvas = cv2.inpaint(image, _union(rles), INPAINT_RADIUS, cv2.INPAINT_NS)
    shown = np.full(size, -1)  # number of the group on top
    moves: list[Any] = []
    for number, (group, matrix) in enumerate(zip(groups, matrices, strict=True)):
        window = _window(enclosing(boxes[group]), matrix, size)
        inside = np.s_[window[1] : window[3], window[0] : window[2]]
        shape = _union([rles[i] for i in group])
        opacity = _warp(255 * shape, matrix, window, cv2.INTER_CUBIC)[..., None] / 255
        pasted = _warp(image, matrix, window, cv2.INTER_CUBIC) * opacity + canvas[inside] * (1 - opacity)
        canvas[inside] = np.rint(pasted)
        shown[inside][_warp(shape, matrix, window, cv2.INTER_NEAREST) > 0] = number
        moves.extend((i, number, matrix, window, inside) for i in group)
    results = list(rles)
    for i, number, matrix, window, inside in moves:
        mask = np.zeros(size, np.uint8, order="F")
        mask[inside] = _warp(_union([rles[i]]), matrix, window, cv2.INTER_NEAREST)
        mask[shown != number] = 0
        results[i] = coco_mask.encode(mask)
    return canvas, results


def recolored(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Saturation, brightness, contrast and sharpness times random factors, in this order."""
    pil = Image.fromarray(image)
    for name, tenths in COLORS.items():
        pil = vars(ImageEnhance)[name](pil).enhance(rng.integers(*tenths, endpoint=True) / 10)
    return np.asarray(pil)


def boxes_of(rles: list[Rle]) -> np.ndarray:
    """Boxes ``[n, 4]`` float64 of masks; all zero for an empty one."""
    boxes = np.reshape(coco_mask.toBbox(rles), (-1, 4))
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def enclosing(boxes: np.ndarray) -> np.ndarray:
    """The box ``[4]`` around boxes ``[n, 4]``."""
    return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])


def _union(rles: list[Rle]) -> np.ndarray:
    return np.ascontiguousarray(coco_mask.decode(coco_mask.merge(rles)))  # [h, w] uint8, 0 or 1


def _window(box: np.ndarray, matrix: np.ndarray, size: Pair) -> list[int]:
    """The part of the image that a moved box can touch, as four ints: never empty."""
    corners = np.array([[x, y, 1] for x in box[::2] for y in box[1::2]])
    places = corners @ matrix.T  # [4, 2] (x, y)
    limit = np.array(size)[::-1]
    low = np.clip(np.floor(places.min(0)) - 2, 0, limit - 1)
    high = np.clip(np.ceil(places.max(0)) + 2, low + 1, limit)
    return [int(side) for side in (*low, *high)]


def _warp(pixels: np.ndarray, matrix: np.ndarray, window: Sequence[int], interpolation: int) -> np.ndarray:
    """What moves into ``window``; pixels from outside the image are 0 in masks, those of its edge else."""
    x1, y1, x2, y2 = window
    edge = cv2.BORDER_REPLICATE if pixels.ndim == 3 else cv2.BORDER_CONSTANT
    matrix = matrix - [[0, 0, x1], [0, 0, y1]]
    return cv2.warpAffine(pixels, matrix, (x2 - x1, y2 - y1), flags=interpolation, borderMode=edge)
