"""The data contract: every key and every record that passes between the rooms, declared once.

All tensors are batched and padded to static shapes. ``B`` counts images, ``G`` objects of one image, ``I``
its regions to ignore, ``P`` priors or proposals, ``N`` detections; sizes are (height, width). Boxes are
float32 ``[x1, y1, x2, y2]`` without + 1. *Network pixels* are those of the images as the model gets them,
after resizing; *original pixels* are those of the image on disk.

The keys carry their form as ``Annotated[tf.Tensor, Form(...)]``; :func:`forms` reads it.

>>> forms(Targets)["labels"]
Form(shape='[B,G]', dtype=tf.int32, padding=-1)
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, get_type_hints

import tensorflow as tf

from kdet.typing import Maps

PADDING_LABEL = -1
# the label of a cell of a semantic map that does not count
IGNORED_CELL = 255

# What images are padded to: a batch to its own sides as in MMDetection, or to one of a few shapes.
Canvas = Literal["own", "buckets"]


class Form(NamedTuple):
    """What stands under a key of the data contract.

    Attributes:
        shape: axes by name, as in ``[B,G,4]``.
        dtype: of the tensor.
        padding: value of the rows that fill the batch; None for a tensor without such rows.
    """

    shape: str
    dtype: tf.DType
    padding: float | None = None

    @property
    def rank(self) -> int:
        """Number of axes."""
        axes = self.shape.strip("[]")
        return len(axes.split(",")) if axes else 0


Boxes = Annotated[tf.Tensor, Form("[B,N,4]", tf.float32, 0.0)]
Scores = Annotated[tf.Tensor, Form("[B,N]", tf.float32, 0.0)]
Labels = Annotated[tf.Tensor, Form("[B,N]", tf.int32, PADDING_LABEL)]
Count = Annotated[tf.Tensor, Form("[B]", tf.int32)]
Size = Annotated[tf.Tensor, Form("[B,2]", tf.float32)]
GivenProposals = Annotated[tf.Tensor, Form("[B,P,4]", tf.float32, 0.0)]


class OptionalInputs(TypedDict, total=False):
    """What a user may say about the images; see :class:`Inputs`."""

    valid_size: Size
    original_size: Size
    scale: Size
    flipped: Annotated[tf.Tensor, Form("[B]", tf.bool)]
    image_id: Annotated[tf.Tensor, Form("[B]", tf.int64)]
    proposals: GivenProposals


class Inputs(OptionalInputs):
    """The ``x`` of ``fit``, the argument of ``model(...)``; an image tensor alone stands for it too.

    Attributes:
        images: RGB in 0..255, float32 or uint8, not normalized, at the top left of a canvas of zeros.
        valid_size: (h, w) of the image within the canvas, in network pixels. Default: the whole canvas.
        original_size: (h, w) on disk, in original pixels. Default: ``valid_size / scale``.
        scale: (y, x) factors, network pixels per original pixel. Default: 1.
        flipped: the image is mirrored left to right (test-time augmentation). Default: not.
        image_id: identity of the image for evaluation; -1: a row that only fills the batch.
        proposals: where ``Detector.takes_proposals``, boxes in network pixels; zero area is padding.
    """

    images: Annotated[tf.Tensor, Form("[B,H,W,3]", tf.float32, 0.0)]


class ImageInfo(OptionalInputs, total=False):
    """What is known of the images beside their pixels (``info`` in code).

    It holds what the inputs say (``valid_size``, ``original_size`` and ``scale`` always, see
    :class:`Inputs`), and what the model adds:

    Attributes:
        padded_size: (h, w), network pixels: the canvas that the image would have on its own, padded to the
            preprocessor's ``pad_divisor``. Added by ``Detector.preprocess``.
        border: (top, bottom, left, right) of the image in the canvas, network pixels. Only at inference,
            where the preprocessor has ``center_pad`` (CornerNet).
        canvas: (h, w) of the batch's images with their padding, network pixels. Added for query heads.
        seed: of this step's random draws. Only in training.
    """

    padded_size: Size
    border: Annotated[tf.Tensor, Form("[B,4]", tf.float32)]
    canvas: Annotated[tf.Tensor, Form("[2]", tf.float32)]
    seed: Annotated[tf.Tensor, Form("[2]", tf.int32)]


class OptionalTargets(TypedDict, total=False):
    """What only some models learn from; see :class:`Targets`."""

    ignore_boxes: Annotated[tf.Tensor, Form("[B,I,4]", tf.float32, 0.0)]
    masks: Annotated[tf.Tensor, Form("[B,G,H,W/8]", tf.uint8, 0)]
    semantic: Annotated[tf.Tensor, Form("[B,h,w]", tf.int32, IGNORED_CELL)]
    proposals: GivenProposals


class Targets(OptionalTargets):
    """The ``y`` of ``fit``: what is to be found in the images.

    Attributes:
        boxes: of the objects, network pixels.
        labels: classes from 0 on; -1 where a row is padding.
        ignore_boxes: regions to ignore (crowds), network pixels; zero area is padding.
        masks: of the objects on the canvas, eight pixels to the byte (``np.packbits(masks, axis=-1)``).
        semantic: class of every cell, 255 where a cell does not count.
        proposals: boxes that a second stage learns from, network pixels; zero area is padding.
    """

    boxes: Annotated[tf.Tensor, Form("[B,G,4]", tf.float32, 0.0)]
    labels: Annotated[tf.Tensor, Form("[B,G]", tf.int32, PADDING_LABEL)]


class OptionalDetections(TypedDict, total=False):
    """What only some models give; see :class:`Detections`."""

    masks: Annotated[tf.Tensor, Form("[B,N,m,m]", tf.float32, 0.0)]
    mask_scores: Scores
    panoptic: Annotated[tf.Tensor, Form("[B,H,W]", tf.int32, 0)]
    segment_labels: Annotated[tf.Tensor, Form("[B,S]", tf.int32, PADDING_LABEL)]
    segment_scores: Annotated[tf.Tensor, Form("[B,S]", tf.float32, 0.0)]
    segment_areas: Annotated[tf.Tensor, Form("[B,S]", tf.int32, 0)]
    image_id: Annotated[tf.Tensor, Form("[B]", tf.int64)]
    coefficients: Annotated[tf.Tensor, Form("[B,N,K]", tf.float32, 0.0)]


class Detections(OptionalDetections):
    """What ``model(...)`` returns, best first; rows from ``num_detections`` on are padding.

    Attributes:
        boxes: original pixels.
        scores: in 0..1.
        labels: classes from 0 on; -1 where a row is padding.
        num_detections: rows of each image that are detections.
        masks: probabilities within the box, of ``m`` x ``m`` cells; of YOLACT within the whole image; of SOLO
            and Mask2Former uint8 0 and 1 of the image itself, in original pixels, at the top left of as many
            as the largest image of the batch has. ``Detector.image_masks`` makes masks of the image of them.
        mask_scores: the scores of the masks (Mask Scoring R-CNN).
        panoptic: which segment every original pixel belongs to, 1 + its row below; 0: to none. Images lie at
            the top left of the largest size of the batch.
        segment_labels: classes of the panoptic segments; -1 where a row is padding.
        segment_scores: in 0..1.
        segment_areas: in original pixels.
        image_id: of the inputs, in what ``predict`` returns for network inputs that have it.
        coefficients: of the prototypes, from YOLACT's box head to its mask head only.
    """

    boxes: Boxes
    scores: Scores
    labels: Labels
    num_detections: Count


class Proposals(TypedDict):
    """What a region proposal network returns, best first; rows from ``num_detections`` on are padding.

    Attributes:
        boxes: network pixels.
        scores: objectness in 0..1.
        levels: the level of the pyramid that a proposal comes from; -1 where a row is padding.
        num_detections: rows of each image that are proposals.
    """

    boxes: Boxes
    scores: Scores
    levels: Labels
    num_detections: Count


class Candidates(NamedTuple):
    """What dense and keypoint heads find, before duplicates are removed.

    Attributes:
        boxes: ``[B,K,4]`` in original pixels.
        scores: ``[B,K]``, ``kdet.postprocess.INVALID_SCORE`` for rows that are no candidates.
        labels: int32 ``[B,K]``, classes from 0 on.
    """

    boxes: tf.Tensor
    scores: tf.Tensor
    labels: tf.Tensor


class LevelPrediction(NamedTuple):
    """What a dense head predicts on one level of the pyramid, ``n`` priors per image.

    Attributes:
        scores: ``[B,n,C]``, any monotone form of the probability; the best are chosen by it.
        probability: turns ``scores`` into probabilities (the identity where they are that already).
        regression: ``[B,n,R]``, what ``DenseHead.decode_boxes`` makes boxes from.
        factor: ``[B,n]`` in 0..1, multiplies the probabilities that pass the threshold; None for no factor.
    """

    scores: tf.Tensor
    probability: Callable[[tf.Tensor], tf.Tensor]
    regression: tf.Tensor
    factor: tf.Tensor | None = None


class View(NamedTuple):
    """The images of a batch as the network sees them once (test-time augmentation has several views).

    Attributes:
        images: normalized ``[B,H,W,3]``.
        info: ImageInfo of this view.
    """

    images: tf.Tensor
    info: ImageInfo


class RoIView(NamedTuple):
    """What a second stage sees of one view of the images.

    Attributes:
        features: tuple of ``[B,h,w,C]``.
        proposals: ``[B,N,4]`` in network pixels of this view; zero area is padding. Row n is the same region
            of the image in all views.
        info: ImageInfo of this view.
    """

    features: Maps
    proposals: tf.Tensor
    info: ImageInfo


class Assignment(NamedTuple):
    """Which object each prior is responsible for.

    Attributes:
        gt_index: int32 ``[B,P]``, row of the targets, -1 for background.
        weight: float32 ``[B,P]``, 0 for priors that take no part in the loss.
        overlaps: float32 ``[B,P]``, quality of the match (IoU with the best object) or None.
    """

    gt_index: tf.Tensor
    weight: tf.Tensor
    overlaps: tf.Tensor | None = None

    @property
    def positive(self) -> tf.Tensor:
        """bool ``[B,P]``: assigned to an object and counted."""
        return tf.logical_and(self.gt_index >= 0, self.weight > 0)

    @property
    def negative(self) -> tf.Tensor:
        """bool ``[B,P]``: background and counted."""
        return tf.logical_and(self.gt_index < 0, self.weight > 0)

    def count_positive(self) -> tf.Tensor:
        """Positives of the batch, but at least one of every image (as MMDetection normalizes): float32."""
        per_image = tf.reduce_sum(tf.cast(self.positive, tf.float32), 1)
        return tf.reduce_sum(tf.maximum(per_image, 1.0))

    def gather(self, values: tf.Tensor) -> tf.Tensor:
        """Rows ``[B,P,...]`` of the targets' ``values [B,G,...]``; row 0 for background."""
        return tf.gather(values, tf.maximum(self.gt_index, 0), batch_dims=1)

    def labels(self, targets: Targets, background: int) -> tf.Tensor:
        """Class of every prior ``[B,P]`` int32, ``background`` where none."""
        labels = self.gather(targets["labels"])
        return tf.where(self.gt_index >= 0, labels, background)


def forms(contract: type) -> dict[str, Form]:
    """The form of every key of a dict of the contract (``Inputs``, ``ImageInfo``, ``Targets``, ...)."""
    hints: dict[str, Any] = get_type_hints(contract, include_extras=True)
    return {key: hint.__metadata__[0] for key, hint in hints.items()}
