"""What a head asks of its sampler."""

from typing import ClassVar

import tensorflow as tf

from kdet.contract import Assignment
from kdet.registry import Component


class Sampler(Component):
    """Decides which assigned priors take part in the loss.

    Attributes:
        needs_losses: ``select`` takes the loss of every proposal ``[B,P]`` in the place of a seed.
        add_gt_as_proposals: the objects themselves join the proposals (second stages only).
    """

    needs_losses: ClassVar[bool] = False
    add_gt_as_proposals: bool = False

    @property
    def max_positives(self) -> int:
        """Most positives of one image that ``select`` gives."""
        raise NotImplementedError(f"{type(self).__name__} draws for dense heads only.")

    def __call__(self, assignment: Assignment, seed: tf.Tensor) -> Assignment:
        """The assignment with weight 0 for priors that were not drawn.

        Args:
            assignment: of ``[B,P]`` priors.
            seed: int32 ``[2]``, fixes the draw.
        """
        raise NotImplementedError(f"{type(self).__name__} must define __call__().")

    def select(self, assignment: Assignment, seed: tf.Tensor) -> tuple[tf.Tensor, Assignment]:
        """A static number of rows, positives first: ``(rows [B,S] int32, Assignment [B,S])``.

        Args:
            assignment: of ``[B,P]`` proposals.
            seed: int32 ``[2]``, fixes the draw; losses ``[B,P]`` where ``needs_losses``.
        """
        raise NotImplementedError(f"{type(self).__name__} draws for dense heads only.")
