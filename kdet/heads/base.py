"""What detectors ask of their heads."""

from typing import Any, ClassVar, Protocol, TypeAlias

import tensorflow as tf

from kdet.contract import Candidates, Detections, ImageInfo, Proposals, Targets
from kdet.layers import Composite
from kdet.typing import Maps, Tensor

Losses: TypeAlias = dict[str, Tensor]


class Head(Composite):
    """The head of a single-stage detector: ``outputs = head(features, info, training)``.

    Outputs are what the family's head predicts, in its own form; the other methods take them. A subclass
    gives ``call``, ``compute_losses`` and ``candidates`` (or ``decode`` and ``decode_views``, where it has
    none).

    Args:
        num_classes: classes without background.
        postprocess: makes detections of candidates.

    Attributes:
        torch_name: its name in the checkpoint; "" lists its parts at the level of the detector.
        has_late_losses: whether the losses change in the course of a training.
        late_losses: whether they are those of the later phase now (see ``train.late_losses_from``).
        merges_views: whether detections of several views of an image can be merged; queries of different
            views have nothing in common that could be.
    """

    torch_name: ClassVar[str] = "bbox_head"
    has_late_losses: ClassVar[bool] = False
    late_losses: bool = False
    merges_views: ClassVar[bool] = True

    def __init__(self, num_classes: int, postprocess: Any, **kwargs: Any) -> None:
        # sizes and boxes must not be cast to the compute dtype; the layers inside cast what they work on
        super().__init__(autocast=False, **kwargs)
        self.num_classes, self.postprocess = num_classes, postprocess

    def call(self, features: Maps, info: ImageInfo, training: bool = False) -> Any:
        """Outputs of the head.

        Args:
            features: maps ``[B,h,w,C]``, fine to coarse.
            info: ImageInfo, with ``seed`` in training.
            training: whether the losses are wanted.
        """
        raise NotImplementedError(f"{type(self).__name__} must define call().")

    def outputs_for_losses(self, features: Maps, targets: Targets, info: ImageInfo) -> Any:
        """Outputs in training; heads that are shown noised objects override it."""
        return self(features, info, training=True)

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """Losses by name (scalars)."""
        raise NotImplementedError(f"{type(self).__name__} must define compute_losses().")

    def taught_losses(
        self, outputs: Any, taught: Any, teacher: "Head", targets: Targets, info: ImageInfo
    ) -> Losses:
        """Losses by name of a head that learns from another detector.

        Args:
            outputs: of this head.
            taught: of the teacher's head, for the same images; no gradient goes there.
            teacher: the teacher's head.
        """
        raise NotImplementedError(f"{type(self).__name__} does not learn from a teacher.")

    def candidates(self, outputs: Any, info: ImageInfo) -> Candidates:
        """Best candidates before suppression, in original pixels."""
        raise NotImplementedError(f"{type(self).__name__} must define candidates().")

    def suppress(self, candidates: Candidates) -> Detections:
        """Detections from candidates (of one view of the images, or of several)."""
        return self.postprocess(candidates)

    def decode(self, outputs: Any, info: ImageInfo) -> Detections:
        """Detections in original pixels from the outputs."""
        return self.suppress(self.candidates(outputs, info))

    def decode_views(self, views: list[tuple[Any, ImageInfo]]) -> Detections:
        """Detections in original pixels from ``[(outputs, info), ...]`` of several views of the images.

        Raises:
            NotImplementedError: the head does not merge views.
        """
        if not self.merges_views:
            raise NotImplementedError(
                f"{type(self).__name__} has no test-time augmentation: predict without `augment`."
            )
        found = [self.candidates(outputs, info) for outputs, info in views]
        return self.suppress(Candidates(*(tf.concat(parts, 1) for parts in zip(*found))))


class ProposalHead(Protocol):
    """The first stage of a two-stage detector: ``outputs = head(features, info, training)``.

    Attributes:
        test_proposals: ``ProposalSelection`` at inference.
    """

    test_proposals: Any

    def __call__(self, features: Maps, info: ImageInfo, training: bool = False) -> Any:
        """What the head predicts, in its own form; the other methods take it."""

    def proposals(self, outputs: Any, info: ImageInfo, training: bool = False) -> Proposals:
        """The best boxes of the batch, in network pixels."""

    def compute_losses(self, outputs: Any, targets: Targets, info: ImageInfo) -> Losses:
        """Losses by name (scalars)."""
