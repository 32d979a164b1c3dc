"""What a head asks of its assigner, and the rule on what is not finite.

NaN and infinity never match: an object whose box holds one is no object, a prior that holds one takes no
part, and a predicted box, loss or cost that is one is nobody's best. Where they come from a model that
diverges, its losses say so (``check_numerics``).
"""

from typing import Any, ClassVar

import tensorflow as tf

from kdet import geometry
from kdet.contract import Assignment, Targets
from kdet.registry import Component
from kdet.typing import Tensor


class Assigner(Component):
    """Decides which object each prior answers for.

    Attributes:
        needs_levels: the call takes ``level_sizes`` too, how many priors every level has.
        uses_points: the priors are points ``[P,3]`` (x, y, stride) in a head that has boxes too (RepPoints).
    """

    needs_levels: ClassVar[bool] = False
    uses_points: ClassVar[bool] = False

    def __call__(self, priors: Tensor, targets: Targets, *args: Any, **kwargs: Any) -> Assignment:
        """Assign priors to objects.

        Args:
            priors: boxes ``[P,4]`` or ``[B,P,4]``, or points.
            targets: the objects.
            *args: ``valid``, bool ``[B,P]``: priors that may be used (None: all); ``predictions``: boxes
                ``[B,P,4]`` of the head, for assigners that look at them.
            **kwargs: what some assigners must know of the levels, see ``needs_levels``.
        """
        raise NotImplementedError(f"{type(self).__name__} must define __call__().")


def objects_of(targets: Targets) -> tuple[Tensor, Tensor]:
    """The boxes ``[B,G,4]`` of targets, all finite, and which of them are objects, bool ``[B,G]``."""
    boxes, finite = geometry.finite_rows(targets["boxes"])
    return boxes, (targets["labels"] >= 0) & finite


def finite_predictions(predictions: Tensor, scores: Tensor, usable: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes ``[B,P,4]`` and scores ``[B,P,C]``, all finite, and the ``usable [B,P]`` of which both were."""
    predictions, boxed = geometry.finite_rows(predictions)
    scores, scored = geometry.finite_rows(scores)
    return predictions, scores, usable & boxed & scored


def usable_priors(priors: Tensor, valid: Tensor | None, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The priors, all finite, and which of them may be used.

    Args:
        priors: ``[P,n]`` or ``[B,P,n]``.
        valid: bool, broadcastable to ``[B,P]``; None for all.
        boxes: ``[B,G,4]``, of the objects.

    Returns:
        ``(priors, bool [B,P])``.
    """
    priors, finite = geometry.finite_rows(priors)
    usable = finite if valid is None else finite & valid
    return priors, tf.broadcast_to(usable, [tf.shape(boxes)[0], tf.shape(priors)[-2]])
