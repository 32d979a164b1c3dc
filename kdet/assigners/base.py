"""What a head asks of its assigner."""

from typing import Any, ClassVar

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
